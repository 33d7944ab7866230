package oidclogin

import (
	"crypto/rand"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/litentry/agentkeys/internal/broker"
	"github.com/litentry/agentkeys/internal/oidclogin/oidctest"
	"github.com/litentry/agentkeys/internal/secret"
)

const back = "http://127.0.0.1:9/login/google/return"

func configOf(p oidctest.Provider) Config {
	return Config{Issuer: p.Issuer, ClientID: p.ClientID, ClientSecret: secret.FromString(p.ClientSecret), RedirectURL: p.RedirectURL}
}

func mustNew(t *testing.T, c Config) *Provider {
	t.Helper()
	p, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// flow is one login up to where the browser comes back.
type flow struct {
	state, nonce, verifier string
	back                   *url.URL
}

func walk(t *testing.T, p *Provider, account string) flow {
	t.Helper()
	f := flow{state: rand.Text(), nonce: rand.Text(), verifier: rand.Text() + rand.Text()}
	authURL, err := p.AuthURL(t.Context(), f.state, f.nonce, f.verifier)
	if err != nil {
		t.Fatal(err)
	}
	var page string
	if f.back, page = oidctest.Login(t, authURL, back, account); f.back == nil {
		t.Fatalf("the provider stopped at:\n%s", page)
	}
	if f.back.Query().Get("state") != f.state {
		t.Fatal("the state came back changed")
	}
	return f
}

func (f flow) identify(t *testing.T, p *Provider) (Person, error) {
	t.Helper()
	return p.Identify(t.Context(), f.back.Query().Get("code"), f.verifier, f.nonce, f.back.Query().Get("iss"))
}

// TestConformingProvider walks the whole flow with a certified implementation.
func TestConformingProvider(t *testing.T) {
	server := oidctest.Start(t, back)
	p := mustNew(t, configOf(server))

	f := walk(t, p, "ada.example-org")
	who, err := f.identify(t, p)
	if err != nil {
		t.Fatal(err)
	}
	want := Person{Issuer: server.Issuer, Subject: "ada.example-org", Email: "ada.example-org@mail.example", Verified: true, HostedDomain: "example.org"}
	if who != want {
		t.Errorf("got %+v, want %+v", who, want)
	}
	if _, err := f.identify(t, p); !errors.Is(err, ErrRefused) {
		t.Errorf("a code twice: %v", err)
	}
	f = walk(t, p, "ada")
	issuer, subject, err := p.Exchange(t.Context(), f.back.Query().Get("code"), f.verifier, f.nonce, f.back.Query().Get("iss"))
	if err != nil || issuer != server.Issuer || subject != "ada" {
		t.Errorf("%s, %s, %v", issuer, subject, err)
	}

	if who, err := walk(t, p, "eve.unverified").identify(t, p); err != nil || who.Verified || who.Subject != "eve.unverified" || who.Email == "" {
		t.Errorf("an address that is not verified: %+v, %v", who, err)
	}

	for name, change := range map[string]func(*flow){
		"another nonce":         func(f *flow) { f.nonce = rand.Text() },
		"no nonce":              func(f *flow) { f.nonce = "" },
		"another verifier":      func(f *flow) { f.verifier = rand.Text() + rand.Text() },
		"no verifier":           func(f *flow) { f.verifier = "" },
		"another issuer":        func(f *flow) { f.set("iss", "https://accounts.evil.example") },
		"the issuer and a dash": func(f *flow) { f.set("iss", server.Issuer+"/") },
		"no issuer":             func(f *flow) { f.set("iss", "") },
		"another code":          func(f *flow) { f.set("code", rand.Text()) },
		"no code":               func(f *flow) { f.set("code", "") },
	} {
		f := walk(t, p, "ada")
		change(&f)
		if who, err := f.identify(t, p); !errors.Is(err, ErrRefused) || who != (Person{}) {
			t.Errorf("%s: %+v, %v", name, who, err)
		}
	}

	// A code of this client's other redirect URI, and a wrong secret.
	c := configOf(server)
	c.RedirectURL = "http://127.0.0.1:9/elsewhere"
	elsewhere := mustNew(t, c)
	if _, err := walk(t, p, "ada").identify(t, elsewhere); !errors.Is(err, ErrRefused) {
		t.Errorf("another redirect URI at the exchange: %v", err)
	}
	authURL, err := elsewhere.AuthURL(t.Context(), rand.Text(), rand.Text(), rand.Text()+rand.Text())
	if err != nil {
		t.Fatal(err)
	}
	if to, page := oidctest.Login(t, authURL, back, "ada"); to != nil || !strings.Contains(page, "redirect_uri") {
		t.Errorf("another redirect URI was followed to %v", to)
	}
	c = configOf(server)
	c.ClientSecret = secret.FromString("not-the-secret-8f2c")
	if _, err := walk(t, p, "ada").identify(t, mustNew(t, c)); !errors.Is(err, broker.ErrUnavailable) || strings.Contains(err.Error(), "8f2c") {
		t.Errorf("a wrong client secret: %v", err)
	}

	// Only the accounts of one organisation.
	c = configOf(server)
	c.HostedDomain = "example.org"
	hosted := mustNew(t, c)
	if _, err := walk(t, hosted, "ada.example-org").identify(t, hosted); err != nil {
		t.Errorf("an account of the organisation: %v", err)
	}
	if _, err := walk(t, hosted, "ada").identify(t, hosted); !errors.Is(err, ErrRefused) {
		t.Errorf("an account of no organisation: %v", err)
	}
}

func (f *flow) set(name, value string) {
	q := f.back.Query()
	q.Set(name, value)
	f.back.RawQuery = q.Encode()
}

func TestAuthURL(t *testing.T) {
	p := mustNew(t, configOf(oidctest.Start(t, back)))
	nonce, state, verifier := rand.Text(), rand.Text(), "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	s, err := p.AuthURL(t.Context(), state, nonce, verifier)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	// The challenge is the example of RFC 7636, appendix B.
	for name, want := range map[string]string{
		"response_type": "code", "client_id": "agentkeys", "redirect_uri": back, "state": state, "nonce": nonce, "scope": "openid email",
		"code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", "code_challenge_method": "S256",
	} {
		if got := u.Query()[name]; len(got) != 1 || got[0] != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if strings.Contains(s, verifier) || strings.Contains(s, "secret") {
		t.Error("the URL tells the verifier, or the client's secret")
	}
	for _, weak := range [][3]string{{"", nonce, verifier}, {state, "", verifier}, {state, nonce, verifier[:42]}, {state, nonce, strings.Repeat("a", 129)}} {
		if _, err := p.AuthURL(t.Context(), weak[0], weak[1], weak[2]); !errors.Is(err, ErrRefused) {
			t.Errorf("%q: %v", weak, err)
		}
	}
}

// TestLazy starts the relying party before the provider is there.
func TestLazy(t *testing.T) {
	var up atomic.Bool
	var asked atomic.Int32
	srv := httptest.NewUnstartedServer(nil)
	srv.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if !up.Load() {
			http.Error(w, "not yet, canary-of-the-provider", http.StatusBadGateway)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		base := "http://" + r.Host
		_, _ = w.Write([]byte(`{"issuer":"` + base + `","authorization_endpoint":"` + base + `/a","token_endpoint":"` + base + `/t","jwks_uri":"` + base + `/k"}`))
	})
	srv.Start()
	defer srv.Close()
	p := mustNew(t, Config{Issuer: srv.URL, ClientID: "c", ClientSecret: secret.FromString("s"), RedirectURL: back})
	if asked.Load() != 0 {
		t.Error("the provider was asked before anybody logged in")
	}
	begin := func() error {
		_, err := p.AuthURL(t.Context(), rand.Text(), rand.Text(), rand.Text()+rand.Text())
		return err
	}
	if err := begin(); !errors.Is(err, broker.ErrUnavailable) || strings.Contains(err.Error(), "canary") {
		t.Errorf("no provider: %v", err)
	}
	if n := asked.Load(); n != attempts {
		t.Errorf("it was asked %d times, want %d", n, attempts)
	}
	if err := begin(); !errors.Is(err, broker.ErrUnavailable) || asked.Load() != attempts {
		t.Errorf("it was asked again at once: %v", err)
	}
	up.Store(true)
	p.failed = p.failed.Add(-rest)
	if err := begin(); err != nil {
		t.Errorf("the provider is up: %v", err)
	}
	// It is not asked again, and an old description serves while it is down.
	up.Store(false)
	before := asked.Load()
	if err := begin(); err != nil || asked.Load() != before {
		t.Errorf("it was asked again: %v", err)
	}
	p.found.at = p.found.at.Add(-fresh)
	if err := begin(); err != nil || asked.Load() != before+attempts {
		t.Errorf("an old description while the provider is down: %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	good := Config{Issuer: Google, ClientID: "c", ClientSecret: secret.FromString("s"), RedirectURL: "https://broker.example/login/google/return"}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"http":                 func(c *Config) { c.Issuer = "http://accounts.example" },
		"no issuer":            func(c *Config) { c.Issuer = "" },
		"a user in the issuer": func(c *Config) { c.Issuer = "https://a@accounts.example" },
		"a query":              func(c *Config) { c.Issuer = "https://accounts.example/?a" },
		"a redirect over http": func(c *Config) { c.RedirectURL = "http://broker.example/r" },
		"no redirect":          func(c *Config) { c.RedirectURL = "" },
		"no client":            func(c *Config) { c.ClientID = "" },
		"no secret":            func(c *Config) { c.ClientSecret = secret.Value{} },
	} {
		c := good
		change(&c)
		if _, err := New(c); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
