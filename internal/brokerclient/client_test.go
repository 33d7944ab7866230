package brokerclient

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/device"
)

func TestParseOrigin(t *testing.T) {
	for in, want := range map[string]string{
		"https://broker.example":       "https://broker.example",
		"https://Broker.Example:8443/": "https://broker.example:8443",
		"http://127.0.0.1:80":          "http://127.0.0.1:80",
		"http://[::1]:7":               "http://[::1]:7",
	} {
		if got, err := ParseOrigin(in); err != nil || got != want {
			t.Errorf("%s: %s %v", in, got, err)
		}
	}
	for _, bad := range []string{
		"", "broker.example", "https://", "https://:443", "ftp://x", "http://broker.example", "http://localhost", "http://10.0.0.1",
		"https://x/path", "https://x//", "https://x?q", "https://x?", "https://x#f", "https://user:sesame@x", "https://user:sesame@x:bad",
		"http://127.0.0.1.evil.example", "http://0.0.0.0",
	} {
		if got, err := ParseOrigin(bad); !errors.Is(err, ErrURL) || strings.Contains(err.Error(), "sesame") {
			t.Errorf("%s: %s %v", bad, got, err)
		}
	}
}

func TestEveryCall(t *testing.T) {
	f := newFake(t)
	c := f.known(t)
	ctx := t.Context()
	if cfg, err := c.Config(ctx); err != nil || cfg.Issuer != c.Origin() {
		t.Errorf("config: %+v %v", cfg, err)
	}
	if l, err := c.BeginLogin(ctx, brokerapi.LoginRequest{Method: brokerapi.LoginEmail, Email: "a@b.example"}); err != nil || l.ID != "login-1" {
		t.Errorf("login: %+v %v", l, err)
	}
	if h, err := c.ProveWallet(ctx, "login-1", brokerapi.WalletProof{Message: "m", Signature: "0x00"}); err != nil || h.Code == "" {
		t.Errorf("wallet: %+v %v", h, err)
	}
	if s, err := c.EndLogin(ctx, "login-1", brokerapi.HandoffProof{Code: f.code, Device: "laptop"}); err != nil || s.Wallet != wallet {
		t.Errorf("end: %v", err)
	}
	if _, err := c.CreateAgent(ctx, coder); err != nil {
		t.Error(err)
	}
	if all, err := c.Agents(ctx); err != nil || len(all) != 1 {
		t.Errorf("agents: %v %v", all, err)
	}
	if e, err := c.Enrolment(ctx, coder); err != nil || e.Code != "enrol-code" {
		t.Errorf("enrolment: %v %v", e, err)
	}
	g, err := c.PutGrant(ctx, coder, router, brokerapi.Terms{Expires: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	if all, err := c.Grants(ctx); err != nil || len(all) != 1 || all[0].ID != g.ID {
		t.Errorf("grants: %v %v", all, err)
	}
	if err := c.RemoveGrant(ctx, coder, router); err != nil {
		t.Error(err)
	}
	if err := c.RemoveGrant(ctx, coder, router); code(err) != brokerapi.CodeNotFound {
		t.Errorf("removed again: %v", err)
	}
	if all, err := c.Devices(ctx); err != nil || len(all) != 1 || !all[0].Current {
		t.Errorf("devices: %v %v", all, err)
	}
	m, err := c.Mint(ctx, "sts.amazonaws.com", child, 5*time.Minute)
	if err != nil || !strings.HasPrefix(m.Token, "minted-") || time.Until(m.Expires) < 4*time.Minute {
		t.Errorf("mint: %v %v", m, err)
	}
	for _, part := range []string{"audience=sts.amazonaws.com", "wallet=" + child.String(), "requested", "lifetime=300", "subject_token=session-"} {
		if strings.Contains(f.lastBody, part) == (part == "requested") {
			t.Errorf("form %s: %s", part, f.lastBody)
		}
	}
	if text := fmt.Sprintf("%v %+v %s %#v", m, m, m, m); strings.Contains(text, m.Token) {
		t.Errorf("printed: %s", text)
	}
	if _, err := json.Marshal(m); err == nil {
		t.Error("a token became JSON")
	}
	if f.renewals.Load() != 0 {
		t.Error("the session of the login was not used")
	}
	if err := c.Logout(ctx); err != nil {
		t.Error(err)
	}
	if err := c.Logout(ctx); err != nil {
		t.Errorf("logged out again: %v", err)
	}
	if _, err := c.Devices(ctx); !errors.Is(err, ErrDeviceOut) || code(err) != brokerapi.CodeDevice {
		t.Errorf("logged out: %v", err)
	}
}

func code(err error) string {
	if p, ok := errors.AsType[*brokerapi.Problem](err); ok {
		return p.Code
	}
	return ""
}

func TestOneSessionForAll(t *testing.T) {
	f := newFake(t)
	c := f.known(t)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if _, err := c.Devices(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := f.renewals.Load(); n != 1 {
		t.Errorf("%d sessions", n)
	}
}

// TestRenewal: a session is had anew before it ends, and when the broker does
// not take it any more.
func TestRenewal(t *testing.T) {
	f := newFake(t)
	c := f.known(t)
	c.o.Now = func() time.Time { return time.Now().Add(f.ahead) }
	old, err := c.Session(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f.ahead = f.life - 2*time.Minute
	if s, err := c.Session(t.Context()); err != nil || s.Token != old.Token {
		t.Errorf("renewed too early: %v", err)
	}
	f.ahead = f.life - 30*time.Second
	if s, err := c.Session(t.Context()); err != nil || s.Token == old.Token {
		t.Errorf("not renewed: %v", err)
	}
	f.set(func() { clear(f.tokens) })
	if _, err := c.Devices(t.Context()); err != nil {
		t.Errorf("a session that the broker forgot: %v", err)
	}
	f.set(func() { clear(f.tokens) })
	if _, err := c.Mint(t.Context(), "x", agentkeys.Wallet{}, 0); err != nil {
		t.Errorf("a session that the broker forgot: %v", err)
	}
}

func TestBadSessions(t *testing.T) {
	f := newFake(t)
	good := func(c *Client) brokerapi.Session {
		return brokerapi.Session{
			Token: "t", Type: "DPoP", Expires: time.Now().Add(time.Hour), Account: "a", Wallet: wallet, Role: "master", Device: c.Device(),
		}
	}
	if c := f.known(t); c.keep(good(c)) != nil {
		t.Error("the good one is refused")
	}
	for what, spoil := range map[string]func(*brokerapi.Session){
		"bearer":            func(s *brokerapi.Session) { s.Type = "Bearer" },
		"no token":          func(s *brokerapi.Session) { s.Token = "" },
		"header injection":  func(s *brokerapi.Session) { s.Token = "a\r\nb: c" },
		"huge":              func(s *brokerapi.Session) { s.Token = strings.Repeat("x", 1<<20) },
		"another's":         func(s *brokerapi.Session) { s.Device = "x" },
		"no wallet":         func(s *brokerapi.Session) { s.Wallet = agentkeys.Wallet{} },
		"no account":        func(s *brokerapi.Session) { s.Account = "" },
		"no role":           func(s *brokerapi.Session) { s.Role = "" },
		"another role":      func(s *brokerapi.Session) { s.Role = "root" },
		"agent of nobody":   func(s *brokerapi.Session) { s.Role, s.Agent = "agent", coder },
		"agent of no name":  func(s *brokerapi.Session) { s.Role, s.Parent = "agent", child },
		"master with agent": func(s *brokerapi.Session) { s.Agent = coder },
		"expired":           func(s *brokerapi.Session) { s.Expires = time.Now() },
	} {
		c := f.known(t)
		s := good(c)
		spoil(&s)
		if err := c.keep(s); !errors.Is(err, ErrAnswer) {
			t.Errorf("%s: %v", what, err)
		}
		if _, ok := c.current(); ok {
			t.Errorf("%s: it is kept", what)
		}
	}
}

func TestIssuer(t *testing.T) {
	f := newFake(t)
	f.origin = "https://another.example"
	if _, err := f.known(t).Config(t.Context()); !errors.Is(err, ErrIssuer) || !strings.Contains(err.Error(), "another.example") {
		t.Error(err)
	}
}

// TestHostileAnswers: whatever answers, there is a typed error without what it
// said, and in a bounded time and space.
func TestHostileAnswers(t *testing.T) {
	f := newFake(t)
	const canary = "canary-token-5f1e"
	header := func(w http.ResponseWriter, kind string) { w.Header().Set("Content-Type", kind) }
	for what, h := range map[string]http.HandlerFunc{
		"html":     func(w http.ResponseWriter, _ *http.Request) { header(w, "text/html"); fmt.Fprint(w, canary) },
		"not json": func(w http.ResponseWriter, _ *http.Request) { header(w, "application/json"); fmt.Fprint(w, "{"+canary) },
		"other type": func(w http.ResponseWriter, _ *http.Request) {
			header(w, "application/json")
			fmt.Fprintf(w, `{"access_token":["%s"]}`, canary)
		},
		"twice": func(w http.ResponseWriter, _ *http.Request) {
			header(w, "application/json")
			fmt.Fprintf(w, `{"access_token":"%s","access_token":"x"}`, canary)
		},
		"teapot": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(418); fmt.Fprint(w, canary) },
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://evil.example/"+canary, http.StatusTemporaryRedirect)
		},
		"endless": func(w http.ResponseWriter, _ *http.Request) {
			header(w, "application/json")
			for range 9 {
				fmt.Fprint(w, `"`+strings.Repeat(canary, 1<<15))
			}
		},
		"empty problem": func(w http.ResponseWriter, _ *http.Request) {
			header(w, "application/problem+json")
			w.WriteHeader(400)
			fmt.Fprint(w, `{}`)
		},
	} {
		f.set(func() { f.answer = h })
		_, err := f.known(t).Session(t.Context())
		if !errors.Is(err, ErrAnswer) || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: %v", what, err)
		}
	}
	f.set(func() {
		f.answer = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502); fmt.Fprint(w, canary) }
	})
	if _, err := f.known(t).Session(t.Context()); !errors.Is(err, ErrUnreachable) || strings.Contains(err.Error(), canary) {
		t.Errorf("a proxy's: %v", err)
	}
	f.set(func() {
		f.answer = func(w http.ResponseWriter, _ *http.Request) {
			header(w, "application/problem+json")
			w.WriteHeader(403)
			fmt.Fprint(w, `{"title":"no\u001b[2J\u202e","detail":"`+strings.Repeat("x", 9999)+`","code":"forbidden","status":200}`)
		}
	})
	_, err := f.known(t).Session(t.Context())
	p, ok := errors.AsType[*brokerapi.Problem](err)
	if !ok || p.Status != 403 || strings.ContainsAny(p.Title, "\x1b\u202e") || len(p.Detail) > 500 {
		t.Errorf("%#v", p)
	}
}

// TestOnlyTLS: a broker whose certificate nobody vouches for hears nothing.
func TestOnlyTLS(t *testing.T) {
	f := newFake(t)
	c, err := New(Options{URL: f.srv.URL, Key: device.New().Private(), Roots: x509.NewCertPool(), Log: slog.New(slog.DiscardHandler), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Session(t.Context()); !errors.Is(err, ErrUnreachable) || f.last != nil {
		t.Errorf("%v, heard %v", err, f.last)
	}
}

func TestUnreachable(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	c, err := New(Options{URL: "http://" + ln.Addr().String(), Key: device.New().Private(), Log: slog.New(slog.DiscardHandler), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Devices(t.Context()); !errors.Is(err, ErrUnreachable) {
		t.Error(err)
	}
	// Who gives up gets its own error, and at once.
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer silent.Close()
	if c, err = New(Options{URL: silent.URL, Key: device.New().Private(), Log: slog.New(slog.DiscardHandler), Now: time.Now}); err != nil {
		t.Fatal(err)
	}
	defer silent.CloseClientConnections()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := c.Config(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
