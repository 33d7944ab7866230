package inject

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/grant"
)

func TestUpstreamFailures(t *testing.T) {
	silent := rawUpstream(t, func(_ *http.Request, c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	silent.Transport.(*http.Transport).ResponseHeaderTimeout = 100 * time.Millisecond

	refused := upstream(t, false, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	refused.Base = parseURL("https://" + l.Addr().String() + "/x?")
	refused.Base.ForceQuery = false
	refused.Transport = NewTransport(TransportOptions{Allow: []netip.AddrPort{netip.MustParseAddrPort(l.Addr().String())}})

	unlisted := upstream(t, true, func(http.ResponseWriter, *http.Request) { t.Error("an address that is not listed was reached") })
	unlisted.Transport = NewTransport(TransportOptions{})

	unknown := upstream(t, true, func(http.ResponseWriter, *http.Request) { t.Error("an upstream of an unknown authority was reached") })
	unknown.Transport = NewTransport(TransportOptions{Roots: x509.NewCertPool(), Allow: []netip.AddrPort{netip.MustParseAddrPort(unknown.Base.Host)}})

	otherName := upstream(t, true, func(http.ResponseWriter, *http.Request) { t.Error("an upstream of another name was reached") })
	_, port, _ := net.SplitHostPort(otherName.Base.Host)
	otherName.Base = parseURL("https://localhost:" + port + "/api/v1") // the test certificate is for 127.0.0.1 and example.com

	old := httptest.NewUnstartedServer(nil)
	old.TLS = &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}
	old.Config.ErrorLog = NewServer(nil).ErrorLog
	old.StartTLS()
	t.Cleanup(old.Close)
	oldTLS := routeTo(t, old.Listener.Addr(), old.Certificate())

	plain := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("an upstream without TLS was reached") }))
	t.Cleanup(plain.Close)
	noTLS := routeTo(t, plain.Listener.Addr(), old.Certificate())

	noName := upstream(t, false, nil)
	noName.Base = parseURL("https://no-such-name.invalid/api")

	cut := rawUpstream(t, func(*http.Request, net.Conn) {})

	for name, c := range map[string]struct {
		route  *Route
		status int
		code   string
		unsent bool
	}{
		"silent": {silent, 504, "upstream-timeout", false}, "refused": {refused, 502, "upstream-unreachable", true}, "not listed": {unlisted, 403, "upstream-forbidden-address", true},
		"unknown authority": {unknown, 502, "upstream-tls", true}, "other name": {otherName, 502, "upstream-tls", true}, "TLS 1.1": {oldTLS, 502, "upstream-tls", true},
		"no TLS": {noTLS, 502, "upstream-tls", true}, "no such name": {noName, 502, "upstream-unreachable", true}, "cut": {cut, 502, "upstream-broken", false},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBackend(c.route)
			var logged bytes.Buffer
			addr := serve(t, b, Options{Logger: slog.New(slog.NewJSONHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))})
			res, body := do(t, newRequest(t, "POST", "http://"+addr+"/openrouter/a?token=in-the-query", strings.NewReader("{}")))
			if res.StatusCode != c.status || codeOf(body) != c.code {
				t.Errorf("%d %s, want %d %s", res.StatusCode, body, c.status, c.code)
			}
			if o := b.outcome(t); o.Reason != c.code || o.Unsent != c.unsent || o.Status != 0 {
				t.Errorf("outcome %+v", o)
			}
			for what, text := range map[string]string{"answer": body, "log": logged.String()} {
				for _, s := range []string{"in-the-query", placeholder, "127.0.0.1:", "api/v1"} {
					if strings.Contains(text, s) {
						t.Errorf("the %s shows %q: %s", what, s, text)
					}
				}
				if hit := findCanary([]byte(text)); hit != "" {
					t.Errorf("the %s has the secret as %s", what, hit)
				}
			}
		})
	}
}

func TestDenials(t *testing.T) {
	route := upstream(t, false, func(http.ResponseWriter, *http.Request) { t.Error("a denied request was sent") })
	b := newBackend(route)
	addr := serve(t, b, Options{})
	for _, c := range []struct {
		err        error
		status     int
		code       string
		retry      string
		shouldQuit bool
	}{
		{&grant.Denial{Code: grant.CodeNoGrant, Detail: "agent x has no grant"}, 403, "no-grant", "", true},
		{&grant.Denial{Code: grant.CodeExpired}, 403, "grant-expired", "", true},
		{&grant.Denial{Code: grant.CodePathShut}, 403, "path-shut", "", true},
		{&grant.Denial{Code: grant.CodePathDenied}, 403, "path-not-allowed", "", true},
		{&grant.Denial{Code: grant.CodeRequestsSpent, RetryAfter: time.Hour}, 403, "requests-spent", "", true},
		{&grant.Denial{Code: grant.CodeBudgetSpent, RetryAfter: time.Hour}, 403, "budget-spent", "", true},
		{&grant.Denial{Code: grant.CodeRateLimited, RetryAfter: 1500 * time.Millisecond}, 429, "rate-limited", "2", false},
		{fmt.Errorf("wrapped: %w", &grant.Denial{Code: grant.CodeRateLimited}), 429, "rate-limited", "1", false},
		{&grant.Denial{Code: "of-a-later-date"}, 403, "of-a-later-date", "", true},
		{errors.New("disk full at /secret/path"), 503, "not-lent", "", true},
		{&NoToken{Final: true, Detail: "ours", Err: errors.New("the vendor said /secret/path")}, 503, "exchange-refused", "", true},
		{&NoToken{Final: true, After: time.Minute, Err: io.EOF}, 503, "exchange-refused", "", true},
		{&NoToken{After: 2500 * time.Millisecond, Detail: "ours", Err: errors.New("the vendor said /secret/path")}, 503, "exchange-failed", "3", false},
		{fmt.Errorf("wrapped: %w", &NoToken{Err: io.EOF}), 503, "exchange-failed", "", false},
		{&grant.Denial{Code: "broker-unreachable", RetryAfter: time.Second}, 503, "broker-unreachable", "1", false},
	} {
		b.lend = func() error { return c.err }
		res, body := get(t, addr, "/openrouter/a?q=in-the-query")
		if res.StatusCode != c.status || codeOf(body) != c.code || res.Header.Get("Retry-After") != c.retry || (res.Header.Get("X-Should-Retry") == "false") != c.shouldQuit {
			t.Errorf("%v: %d %v %s", c.err, res.StatusCode, res.Header, body)
		}
		if strings.Contains(body, "/secret/path") || strings.Contains(body, "in-the-query") {
			t.Errorf("%v: the answer says too much: %s", c.err, body)
		}
	}
	if len(b.settled) > 0 {
		t.Error("a denial was settled")
	}
	b.lend = nil
	b.identify = errors.New("the kernel does not say")
	if res, body := get(t, addr, "/openrouter/a"); res.StatusCode != 503 || codeOf(body) != "not-lent" || strings.Contains(body, "kernel") {
		t.Errorf("%d %s", res.StatusCode, body)
	}
}

// A problem is RFC 9457's, and what SDKs look for besides.
func TestProblemShape(t *testing.T) {
	for c, s := range sorts {
		w := httptest.NewRecorder()
		w.Header().Set("X-Left-Over", canary)
		(&problem{code: c, detail: "the detail", request: "id-1"}).render(w)
		var p struct {
			Type, Title, Detail, Code, Cure, Request string
			Status                                   int
			Error                                    struct{ Message, Type, Code string }
		}
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
			t.Fatal(err)
		}
		if p.Type != problemTypes+string(c) || p.Title != s.title || p.Status != s.status || p.Detail != "the detail" || p.Code != string(c) || p.Cure != s.cure || p.Request != "id-1" {
			t.Errorf("%s: %+v", c, p)
		}
		if p.Error.Code != string(c) || p.Error.Type == "" || !strings.Contains(p.Error.Message, s.title) || !strings.Contains(p.Error.Message, "the detail") || !strings.Contains(p.Error.Message, s.cure) {
			t.Errorf("%s: %+v", c, p.Error)
		}
		h := w.Result().Header
		if h.Get("Content-Type") != "application/problem+json" || h.Get("X-Left-Over") != "" || s.title == "" || s.cure == "" || w.Code != s.status {
			t.Errorf("%s: %d %v", c, w.Code, h)
		}
		if (s.status == 401) != (h.Get("WWW-Authenticate") != "") {
			t.Errorf("%s: %v", c, h)
		}
	}
}

func TestErrorsAreOneFunction(t *testing.T) {
	b := newBackend()
	addr := serve(t, b, Options{})
	for path, want := range map[string]int{"/nope/x": 404, "/openrouter/x": 404, "/": 404} {
		res, body := get(t, addr, path)
		if res.StatusCode != want || res.Header.Get("Content-Type") != "application/problem+json" || codeOf(body) != "unknown-service" {
			t.Errorf("%s: %d %s", path, res.StatusCode, body)
		}
	}
	// Which services there are is told to known callers only.
	for _, path := range []string{"/nope/x", "/openrouter/x"} {
		r := newRequest(t, "GET", "http://"+addr+path, nil)
		r.Header.Del("Authorization")
		if res, body := do(t, r); res.StatusCode != 401 || codeOf(body) != "unknown-caller" {
			t.Errorf("%s: %d %s", path, res.StatusCode, body)
		}
	}
}

type panicking struct{ Backend }

func (panicking) Route(agentkeys.Service) (*Route, error) { panic("with " + canary + " in it") }

type panickingTransport struct{}

func (panickingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	panic(r.Header.Get("Authorization"))
}

// A panic is answered, settled and logged, without its value.
func TestPanics(t *testing.T) {
	b := newBackend()
	if res, body := get(t, serve(t, panicking{b}, Options{}), "/openrouter/a"); res.StatusCode != 500 || codeOf(body) != "internal" {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	route := upstream(t, false, nil)
	route.Transport = panickingTransport{}
	b = newBackend(route)
	if res, body := get(t, serve(t, b, Options{}), "/openrouter/a"); res.StatusCode != 500 || codeOf(body) != "internal" {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	if o := b.outcome(t); o.Reason != "internal" || o.Unsent {
		t.Errorf("outcome %+v", o)
	}
	route = upstream(t, false, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, "{}")
	})
	route.Meter = func() Meter { return panickingMeter{} }
	b = newBackend(route)
	res, err := client(t).Do(newRequest(t, "GET", "http://"+serve(t, b, Options{})+"/openrouter/a", nil))
	if err == nil {
		_, err = io.ReadAll(res.Body)
		_ = res.Body.Close()
	}
	if err == nil {
		t.Error("an answer ended as if it were whole")
	}
	if o := b.outcome(t); o.Reason != "internal" || o.Status != 200 {
		t.Errorf("outcome %+v", o)
	}
}

type panickingMeter struct{}

func (panickingMeter) Feed([]byte)                 { panic("meter") }
func (panickingMeter) Result() (grant.Money, bool) { return 0, false }

// A permit that is not for this very use moves no credential.
func TestPermitIsChecked(t *testing.T) {
	route := upstream(t, false, func(http.ResponseWriter, *http.Request) { t.Error("sent without a permit") })
	b := newBackend(route)
	for name, lend := range map[string]func(*permitBackend){
		"zero":  func(p *permitBackend) { p.permit = grant.Permit{} },
		"other": func(p *permitBackend) {},
	} {
		p := &permitBackend{backend: b}
		other := *b.grant
		other.Wallet = theMaster
		var err error
		if p.permit, err = b.decider.Use(t.Context(), theAgent, theMaster, theService, &other, allowAll(), grant.Request{ID: name, Method: "GET", Path: "/a", Time: time.Now()}); err != nil {
			t.Fatal(err)
		}
		lend(p)
		if res, body := get(t, serve(t, p, Options{}), "/openrouter/a"); res.StatusCode != 500 {
			t.Errorf("%s: %d %s", name, res.StatusCode, body)
		}
		if o := b.outcome(t); !o.Unsent || o.Reason == "" {
			t.Errorf("%s: outcome %+v", name, o)
		}
	}
}

type permitBackend struct {
	*backend
	permit grant.Permit
}

func (p *permitBackend) Lend(context.Context, Caller, *Route, grant.Request) (Loan, error) {
	return Loan{Permit: p.permit, Secret: p.secret}, nil
}

func TestBusy(t *testing.T) {
	release := make(chan struct{})
	route := upstream(t, true, func(http.ResponseWriter, *http.Request) { <-release })
	b := newBackend(route)
	addr := serve(t, b, Options{MaxUnderWay: 2})
	done := make(chan int, 2)
	for range 2 {
		r := newRequest(t, "GET", "http://"+addr+"/openrouter/a", nil)
		go func() {
			res, err := client(t).Do(r)
			if err != nil {
				done <- 0
				return
			}
			_ = res.Body.Close()
			done <- res.StatusCode
		}()
	}
	for b.uses() < 2 {
		time.Sleep(time.Millisecond)
	}
	if res, body := get(t, addr, "/openrouter/a"); res.StatusCode != 503 || codeOf(body) != "busy" || res.Header.Get("X-Should-Retry") != "" {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	close(release)
	if a, b := <-done, <-done; a != 200 || b != 200 {
		t.Errorf("%d %d", a, b)
	}
	if res, _ := get(t, addr, "/openrouter/a"); res.StatusCode != 200 {
		t.Errorf("after the rush: %d", res.StatusCode)
	}
}
