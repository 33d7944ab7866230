package brokerclient

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/device"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/token"
)

// fake is a broker of one account, over a real socket: it demands of a request
// what a broker does, and can be told to misbehave.
type fake struct {
	t   *testing.T
	srv *httptest.Server

	renewals, streams atomic.Int32

	mu       sync.Mutex
	origin   string // in its configuration
	life     time.Duration
	ahead    time.Duration // of its clock
	jtis     map[string]bool
	tokens   map[string]string // device by session
	devices  map[string]bool
	agents   []brokerapi.Agent
	grants   map[string]grant.Grant // by agent/service
	mute     bool                   // no beats, and no events
	deaf     bool                   // streams are not accepted
	code     string
	last     *http.Request // of the latest request, with its body
	lastBody string
	answer   http.HandlerFunc // in place of everything, if set
	subs     map[chan string]bool
}

func newFake(t *testing.T) *fake {
	f := &fake{
		t: t, life: time.Hour, jtis: map[string]bool{}, tokens: map[string]string{}, devices: map[string]bool{},
		grants: map[string]grant.Grant{}, subs: map[chan string]bool{}, code: "ABCD-EFGH",
	}
	f.srv = httptest.NewUnstartedServer(http.HandlerFunc(f.serve))
	f.srv.StartTLS()
	f.origin = f.srv.URL
	t.Cleanup(f.srv.Close)
	return f
}

func (f *fake) client(t *testing.T, k device.Key) *Client {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(f.srv.Certificate())
	c, err := New(Options{URL: f.srv.URL, Key: k.Private(), Roots: roots, Agent: "agentkeys/test", Log: slog.New(slog.DiscardHandler), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// known is a client whose device the broker knows.
func (f *fake) known(t *testing.T) *Client {
	t.Helper()
	c := f.client(t, device.New())
	f.set(func() { f.devices[c.Device()] = true })
	return c
}

func (f *fake) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func problem(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(brokerapi.Problem{Type: "urn:agentkeys:problem:" + code, Title: "no: " + code, Status: status, Code: code})
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

var (
	wallet = agentkeys.Must(agentkeys.ParseWallet("0x" + strings.Repeat("1a", 20)))
	child  = agentkeys.Must(agentkeys.ParseWallet("0x" + strings.Repeat("2b", 20)))
	coder  = agentkeys.Must(agentkeys.ParseAgent("coder"))
	router = agentkeys.Must(agentkeys.ParseService("openrouter"))
)

// session makes one; mu is held.
func (f *fake) session(dev string) brokerapi.Session {
	f.devices[dev] = true
	tok := "session-" + rand.Text()
	f.tokens[tok] = dev
	return brokerapi.Session{
		Token: tok, Type: "DPoP", Expires: time.Now().Add(f.ahead + f.life).UTC(), Account: "acct-1", Wallet: wallet,
		Role: string(token.Master), Device: dev,
	}
}

func (f *fake) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last, f.lastBody = r, string(body)
	if f.answer != nil {
		f.answer(w, r)
		return
	}
	tok, bound := strings.CutPrefix(r.Header.Get("Authorization"), "DPoP ")
	if !bound {
		tok = ""
	}
	proof, err := token.VerifyProof(r.Header.Get("DPoP"), r.Method, f.srv.URL+r.URL.Path, tok, time.Now().Add(f.ahead))
	if err != nil || f.jtis[proof.ID] {
		f.t.Errorf("%s %s: proof %v, seen %v", r.Method, r.URL.Path, err, f.jtis[proof.ID])
		problem(w, 401, brokerapi.CodeProof)
		return
	}
	f.jtis[proof.ID] = true
	dev := proof.Key.String()
	switch {
	case tok != "" && f.tokens[tok] != dev:
		problem(w, 401, brokerapi.CodeToken)
		return
	case tok != "" && !f.devices[dev]:
		problem(w, 401, brokerapi.CodeDevice)
		return
	}
	route := r.Method + " " + r.URL.Path
	open := route == "GET /v1/config" || route == "POST /v1/session" || strings.HasPrefix(route, "POST /v1/logins") || route == "POST /v1/enrol"
	if tok == "" && !open {
		problem(w, 401, brokerapi.CodeToken)
		return
	}
	switch route {
	case "GET /v1/config":
		reply(w, brokerapi.Config{Issuer: f.origin, Logins: []string{brokerapi.LoginEmail}})
	case "POST /v1/session":
		f.renewals.Add(1)
		if !f.devices[dev] {
			problem(w, 401, brokerapi.CodeDevice)
			return
		}
		reply(w, f.session(dev))
	case "POST /v1/logins":
		reply(w, brokerapi.Login{ID: "login-1", Expires: time.Now().Add(time.Minute)})
	case "POST /v1/logins/login-1/wallet":
		reply(w, brokerapi.Handoff{Code: f.code})
	case "POST /v1/logins/login-1/session", "POST /v1/enrol":
		var p brokerapi.HandoffProof
		if json.Unmarshal(body, &p) != nil || p.Code != f.code {
			problem(w, 403, brokerapi.CodeLogin)
			return
		}
		f.code = ""
		reply(w, f.session(dev))
	case "DELETE /v1/session":
		delete(f.devices, dev)
		w.WriteHeader(204)
	case "GET /v1/devices":
		reply(w, []brokerapi.Device{{ID: dev, Name: "this", Current: true}})
	case "GET /v1/agents":
		reply(w, f.agents)
	case "POST /v1/agents":
		var req brokerapi.AgentRequest
		_ = json.Unmarshal(body, &req)
		a := brokerapi.Agent{Label: req.Label, Wallet: child, Created: time.Now().UTC()}
		f.agents = append(f.agents, a)
		f.tell(brokerapi.EventAgents, f.agents)
		reply(w, a)
	case "POST /v1/agents/coder/enrolment":
		reply(w, brokerapi.Enrolment{Code: "enrol-code", Expires: time.Now().Add(time.Minute)})
	case "PUT /v1/agents/coder/grants/openrouter":
		g := f.grant(time.Now().Add(time.Hour))
		f.grants["coder/openrouter"] = g
		f.tell(brokerapi.EventGrant, g)
		reply(w, g)
	case "DELETE /v1/agents/coder/grants/openrouter":
		f.revoke(w)
	case "GET /v1/grants":
		all := []grant.Grant{}
		for _, g := range f.grants {
			all = append(all, g)
		}
		reply(w, all)
	case "POST /v1/token":
		reply(w, brokerapi.TokenAnswer{Token: "minted-" + rand.Text(), IssuedType: brokerapi.TypeJWT, TokenType: "N_A", ExpiresIn: 300})
	case "GET /v1/events":
		f.stream(w, r)
	default:
		problem(w, 404, brokerapi.CodeNotFound)
	}
}

func (f *fake) grant(expires time.Time) grant.Grant {
	return grant.Grant{
		ID: "g_" + strings.ToLower(rand.Text()), Master: wallet, Wallet: child, Agent: coder, Svc: router,
		Created: time.Now().UTC(), Expires: expires.UTC(),
	}
}

func (f *fake) revoke(w http.ResponseWriter) {
	g, ok := f.grants["coder/openrouter"]
	if !ok {
		problem(w, 404, brokerapi.CodeNotFound)
		return
	}
	delete(f.grants, "coder/openrouter")
	f.tell(brokerapi.EventRevoked, brokerapi.Revoked{Agent: coder, Service: router, Grant: g.ID})
	w.WriteHeader(204)
}

// tell sends an event to every stream; mu is held.
func (f *fake) tell(name string, v any) {
	data, _ := json.Marshal(v)
	for ch := range f.subs {
		ch <- fmt.Sprintf("event: %s\ndata: %s\n\n", name, data)
	}
}

// stream is called with mu held, and gives it back only at its end.
func (f *fake) stream(w http.ResponseWriter, r *http.Request) {
	if f.deaf {
		problem(w, 503, brokerapi.CodeUnavailable)
		return
	}
	f.streams.Add(1)
	snap := brokerapi.Snapshot{At: time.Now().Add(time.Hour).UTC(), Agents: f.agents, Grants: []grant.Grant{}}
	for _, g := range f.grants {
		snap.Grants = append(snap.Grants, g)
	}
	data, _ := json.Marshal(snap)
	ch := make(chan string, 100)
	f.subs[ch] = true
	f.mu.Unlock()
	defer f.mu.Lock()
	rc := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	if !f.isMute() {
		fmt.Fprintf(w, ": hello\r\n\r\nevent: snapshot\r\ndata: %s\r\n\r\n", data)
	}
	_ = rc.Flush()
	beat := time.NewTicker(100 * time.Millisecond)
	defer beat.Stop()
	for {
		text := fmt.Sprintf("event: beat\ndata: {\"at\":%q}\n\n", time.Now().Add(time.Hour).UTC().Format(time.RFC3339Nano)) // clocks differ
		select {
		case <-r.Context().Done():
		case <-beat.C:
		case text = <-ch:
		}
		mute := f.isMute()
		f.mu.Lock()
		if r.Context().Err() != nil || text == "" {
			delete(f.subs, ch)
			f.mu.Unlock()
			return
		}
		f.mu.Unlock()
		if mute {
			continue
		}
		if _, err := io.WriteString(w, text); err != nil {
			continue
		}
		_ = rc.Flush()
	}
}

func (f *fake) isMute() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mute
}

// hangUp ends every stream.
func (f *fake) hangUp() {
	f.set(func() {
		for ch := range f.subs {
			ch <- ""
		}
	})
}
