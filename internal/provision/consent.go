package provision

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/secret"
)

var (
	// ErrConsent: what came back is not the answer to what was asked.
	ErrConsent = errors.New("the consent is not valid")
	// ErrDeclined: the person or the service said no.
	ErrDeclined = errors.New("the consent was declined")
)

// Consent is the door of OAuth with PKCE on a loopback callback (RFC 8252, RFC
// 7636): a person clicks once, and a code becomes a key.
//
// OpenRouter's form of it has no client registration, and its callback URL is
// given with each request: the state of RFC 6749 is a parameter of that URL.
type Consent struct {
	Entry *catalog.Entry
	// Authorize is the page on which the person agrees, Token where the code is
	// turned into a key, Issuer what an iss parameter of the answer must be
	// (RFC 9207).
	Authorize, Token *url.URL
	Issuer           string
	HTTP             http.RoundTripper
	// Show leads a person to the page; nil: nobody is there.
	Show func(context.Context, Invitation) error
	// Patience is how long a person has; zero: five minutes.
	Patience time.Duration
}

// Invitation leads a person to the page on which they agree.
type Invitation struct {
	// Page is the service's. It holds what an answer is known by, so it is for
	// the person's eyes alone.
	Page string
	// Once is a page of ours that leads there, the first time that a program of
	// this user asks for it. It may stand among the arguments of a program, where
	// other users of the machine see it.
	Once string
}

// consents are the services whose form of consent is known, and built: the
// issuer, and the paths of the page and of the endpoint, the latter below the
// base URL of the API.
var consents = map[string]struct{ issuer, authorize, token string }{
	"openrouter": {"https://openrouter.ai", "https://openrouter.ai/auth", "/auth/keys"},
}

// NewConsent makes the door of a service.
func NewConsent(e *catalog.Entry, rt http.RoundTripper, show func(context.Context, Invitation) error) *Consent {
	c := &Consent{Entry: e, HTTP: rt, Show: show}
	if f, ok := consents[e.ID.String()]; ok {
		c.Authorize, _ = url.Parse(f.authorize)
		c.Token, c.Issuer = e.Base.JoinPath(f.token), f.issuer
		if e.Played() {
			// Played by a server on loopback, that a person's browser reaches.
			c.Authorize.Host = e.Owner.SiteAddress.String()
		}
	}
	return c
}

// Name implements Door.
func (c *Consent) Name() catalog.Door { return catalog.Consent }

// Look implements Door.
func (c *Consent) Look(context.Context) (Opening, error) {
	fact := c.Entry.Doors[catalog.Consent]
	o := Opening{Needs: []string{"a click of yours"}}
	switch {
	case fact.State != catalog.DoorKnown:
		o.Needs, o.Why = nil, fact.Fact
	case c.Authorize == nil:
		o.Needs, o.Why = nil, "known, and not built: "+fact.Fact
	case c.Show == nil:
		o.Why, o.Fix = "a person has to agree on a page of the service", "run it in a terminal, with --door consent"
	default:
		o.Open = true
		o.Does = []string{
			"your own browser opens " + c.Authorize.Host + ", where you agree",
			"the code that comes back to a port of this machine is turned into a key, which belongs to your account there",
		}
	}
	return o, nil
}

// Enter implements Door.
func (c *Consent) Enter(ctx context.Context, j *Journal, tell Tell) (Found, error) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return Found{}, err
	}
	state, verifier := random(), random()
	sum := sha256.Sum256([]byte(verifier))
	port := ln.Addr().(*net.TCPAddr).Port
	back := &url.URL{Scheme: "http", Host: fmt.Sprintf("localhost:%d", port), Path: "/callback", RawQuery: url.Values{"state": {state}}.Encode()}
	page := *c.Authorize
	page.RawQuery = url.Values{
		"callback_url": {back.String()}, "code_challenge_method": {"S256"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])},
	}.Encode()

	patience := c.Patience
	if patience == 0 {
		patience = 5 * time.Minute
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	answers := make(chan answer, 1)
	once := "/" + random()
	desk := &desk{issuer: c.Issuer, port: port, state: state, once: once, page: page.String(), answers: answers}
	srv := &http.Server{Handler: desk, ReadHeaderTimeout: 5 * time.Second, MaxHeaderBytes: 16 << 10}
	go func() { _ = srv.Serve(ln) }()
	defer func() {
		// The page with our answer is on its way to the browser.
		short, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = srv.Shutdown(short)
	}()
	say(tell, Phase{Name: "consent", Note: "agree in your browser"})
	if err := c.Show(ctx, Invitation{Page: page.String(), Once: fmt.Sprintf("http://127.0.0.1:%d%s", port, once)}); err != nil {
		return Found{}, err
	}
	select {
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.Canceled) {
			return Found{}, ctx.Err()
		}
		return Found{}, fmt.Errorf("%w: nobody agreed", ErrPerson)
	case a := <-answers:
		if a.err != nil {
			return Found{}, a.err
		}
		defer a.code.Clear()
		say(tell, Phase{Name: "exchange", Note: "the code is turned into a key"})
		key, err := c.exchange(ctx, a.code, verifier)
		return Found{Secret: key}, err
	}
}

type answer struct {
	code secret.Value
	err  error
}

// desk is what listens on loopback while a person agrees. Whoever else asks, a
// page of another origin or another user included, learns nothing and ends
// nothing.
type desk struct {
	issuer            string
	port              int
	state, once, page string
	led               atomic.Bool // somebody has been led to the page
	answers           chan<- answer
}

// ServeHTTP leads to the page once, and takes the first answer that knows the
// state.
func (d *desk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	here := r.Host == fmt.Sprintf("localhost:%d", d.port) || r.Host == fmt.Sprintf("127.0.0.1:%d", d.port)
	state := r.URL.Query().Get("state")
	once, callback := same(r.URL.Path, d.once), r.URL.Path == "/callback" && same(state, d.state)
	if r.Method != http.MethodGet || !here || !once && !callback || !ours(r) {
		http.Error(w, "not found", http.StatusNotFound)
		return
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	var a answer
	switch {
	case callback:
		a = d.read(r.URL.Query())
	case d.led.CompareAndSwap(false, true):
		http.Redirect(w, r, d.page, http.StatusFound)
		return
	default:
		a.err = fmt.Errorf("%w: its page was opened twice, perhaps by another user of this machine", ErrConsent)
	}
	text := "That is all: you can close this page and go back to the terminal."
	if a.err != nil {
		text = "Nothing was made: " + a.err.Error() + "."
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	fmt.Fprintf(w, consentPage, html.EscapeString(text))
	select {
	case d.answers <- a:
	default: // the first one counts
	}
}

func (d *desk) read(q url.Values) (a answer) {
	iss, hasIss := q["iss"]
	switch {
	case hasIss && (len(iss) != 1 || iss[0] != d.issuer):
		a.err = fmt.Errorf("%w: it is another issuer's", ErrConsent)
	case q.Has("error"):
		a.err = ErrDeclined
	case len(q["code"]) != 1 || len(q.Get("code")) > 1024 || q.Get("code") == "":
		a.err = fmt.Errorf("%w: it has no code", ErrConsent)
	default:
		a.code = secret.FromString(q.Get("code"))
	}
	return a
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

const consentPage = `<!doctype html><html lang="en"><meta charset="utf-8"><title>AgentKeys</title>
<style>body{font:17px/1.5 system-ui,sans-serif;max-width:34em;margin:18vh auto;padding:0 1.5em;color:#1d2430}
h1{font-size:1.15em;margin:0 0 .4em}</style>
<h1>AgentKeys</h1><p>%s</p></html>
`

// exchange turns the code into a key.
func (c *Consent) exchange(ctx context.Context, code secret.Value, verifier string) (secret.Value, error) {
	body, err := json.Marshal(map[string]string{
		"code": string(code.Expose()), "code_verifier": verifier, "code_challenge_method": "S256",
	})
	if err != nil {
		return secret.Value{}, err
	}
	defer clear(body)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.Token.String(), bytes.NewReader(body))
	if err != nil {
		return secret.Value{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	resp, err := c.HTTP.RoundTrip(req)
	if err != nil {
		return secret.Value{}, fmt.Errorf("%s could not be reached", c.Token.Host) // err may have more of it
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	defer clear(text)
	if err != nil || resp.StatusCode != http.StatusOK {
		return secret.Value{}, fmt.Errorf("%w: %s answered %d", ErrConsent, c.Token.Host, resp.StatusCode)
	}
	var out struct {
		Key string `json:"key"`
	}
	if json.Unmarshal(text, &out) != nil || out.Key == "" {
		return secret.Value{}, fmt.Errorf("%w: %s answered without a key", ErrConsent, c.Token.Host)
	}
	key := secret.FromString(out.Key)
	if err := c.Entry.CheckKey(key.Expose()); err != nil {
		key.Clear()
		return secret.Value{}, fmt.Errorf("%w: %w", ErrConsent, err)
	}
	return key, nil
}

// random returns 256 bits as RFC 7636 wants a verifier.
func random() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}
