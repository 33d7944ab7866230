// Package exchange plays the token endpoints of services that take a token of
// an issuer's for a short-lived one of their own: Anthropic, OpenAI and Hugging
// Face, over real TLS. It verifies what it is given as they do: it finds the
// issuer's keys by discovery, and checks the signature, the times, and issuer,
// audience and subject against a rule. It serves tests and the demo command,
// and must not depend on testing, nor on what makes the tokens.
//
// Known divergences from the live services: why a token was refused is not in
// the answer, as Hugging Face has it; that the others' endpoints put their
// errors into the form of RFC 6749 §5.2 as well is assumed, and so is the form
// of OpenAI's tokens.
package exchange

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/litentry/agentkeys/internal/testsrv"
)

// Rule is what somebody has set up at the service: which tokens it trusts.
type Rule struct {
	// Parameters are the ids that a request has to name, by field. A field that
	// is not here must not be there either.
	Parameters map[string]string
	Issuer     string
	Audience   string
	Subject    string
	// Off has it refuse every token; those that it gave before live on.
	Off bool
}

// Options say what a Server is.
type Options struct {
	Shape string // anthropic, openai or huggingface
	Addr  string // 127.0.0.1:0 if empty
	Rule  Rule
	// IssuerCA are the certificates that the issuer's is checked with, PEM.
	IssuerCA []byte
	// Lifetime of tokens, in whole seconds; an hour if 0.
	Lifetime time.Duration
	// Now is the service's clock; the real one if nil.
	Now func() time.Time
	// Hosts are further names that the certificate is good for.
	Hosts []string
}

// Asked is one request for a token.
type Asked struct {
	At      time.Time
	Subject string // of a token that could be read
	Label   string // of the token that was given, "" if none was
	Why     string // none was
}

// Server is a token endpoint that is listening.
type Server struct {
	o     Options
	vend  vendor
	url   string
	caPEM []byte
	http  *http.Server
	done  chan struct{}
	keys  *issuerKeys

	mu    sync.Mutex
	rule  Rule
	life  time.Duration
	down  int // the status that every request gets; 0: none
	given map[[sha256.Size]byte]token
	asked []Asked
	made  []string
}

type token struct {
	label string
	ends  time.Time
}

// vendor is what sets one service apart.
type vendor struct {
	path      string
	assertion string            // the field of our token
	fixed     map[string]string // fields that have one value
	betas     []string          // of Anthropic-Beta
	prefix    string            // of the tokens
	kind      string            // token_type
}

const exchangeGrant = "urn:ietf:params:oauth:grant-type:token-exchange"

var vendors = map[string]vendor{
	"anthropic": {
		path: "/v1/oauth/token", assertion: "assertion", prefix: "sk-ant-oat01-", kind: "Bearer",
		fixed: map[string]string{"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer"},
		betas: []string{"oauth-2025-04-20", "oidc-federation-2026-04-01"},
	},
	"openai": {
		path: "/oauth/token", assertion: "subject_token", prefix: "played-", kind: "Bearer",
		fixed: map[string]string{"grant_type": exchangeGrant, "subject_token_type": "urn:ietf:params:oauth:token-type:jwt"},
	},
	"huggingface": {
		path: "/oauth/token", assertion: "subject_token", prefix: "hf_jwt_", kind: "bearer",
		fixed: map[string]string{"grant_type": exchangeGrant, "subject_token_type": "urn:ietf:params:oauth:token-type:id_token"},
	},
}

// Start makes a Server that listens by the time it returns.
func Start(o Options) (*Server, error) {
	v, ok := vendors[o.Shape]
	switch {
	case !ok:
		return nil, errors.New("exchange: unknown shape")
	case o.Rule.Issuer == "" || o.Rule.Audience == "" || o.Rule.Subject == "":
		return nil, errors.New("exchange: a rule names an issuer, an audience and a subject")
	case o.Lifetime < 0 || o.Lifetime%time.Second != 0:
		return nil, errors.New("exchange: a token lives for whole seconds")
	}
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	if o.Lifetime == 0 {
		o.Lifetime = time.Hour
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	keys, err := newIssuerKeys(o.IssuerCA)
	if err != nil {
		return nil, err
	}
	cert, caPEM, err := testsrv.NewCertificate(o.Hosts, testsrv.CertGood)
	if err != nil {
		return nil, fmt.Errorf("exchange: %w", err)
	}
	ln, err := net.Listen("tcp", o.Addr)
	if err != nil {
		return nil, fmt.Errorf("exchange: %w", err)
	}
	s := &Server{
		o: o, vend: v, url: "https://" + ln.Addr().String(), caPEM: caPEM, done: make(chan struct{}), keys: keys,
		rule: o.Rule, life: o.Lifetime, given: map[[sha256.Size]byte]token{},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+v.path, s.exchange)
	s.http = &http.Server{
		Handler: mux, TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12},
		ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0),
	}
	go func() {
		defer close(s.done)
		_ = s.http.ServeTLS(ln, "", "")
	}()
	return s, nil
}

// URL is where tokens are exchanged.
func (s *Server) URL() string { return s.url + s.vend.path }

// Addr is host and port.
func (s *Server) Addr() string { return strings.TrimPrefix(s.url, "https://") }

// CAPEM is the certificate of the authority that signed the server's.
func (s *Server) CAPEM() []byte { return slices.Clone(s.caPEM) }

// SetRule puts another rule in the place of the one there is.
func (s *Server) SetRule(r Rule) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rule = r
}

// SetLifetime changes how long tokens live that are given from now on.
func (s *Server) SetLifetime(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.life = d
}

// Down has every request answered with status, until it is 0.
func (s *Server) Down(status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = status
}

// Keyring names a token that was given and has not ended, for testsrv's
// Options.
func (s *Server) Keyring(key string) (label string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.given[sha256.Sum256([]byte(key))]
	if !ok || !s.o.Now().Before(t.ends) {
		return ""
	}
	return t.label
}

// Asked returns every request for a token, oldest first.
func (s *Server) Asked() []Asked {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

// Given returns every token that was given, oldest first, for who looks whether
// one is anywhere that it should not be.
func (s *Server) Given() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.made)
}

// Close stops listening and cuts every connection.
func (s *Server) Close() error {
	err := s.http.Close()
	<-s.done
	s.keys.client.CloseIdleConnections()
	return err
}

// refusal is why a request gets no token.
type refusal struct {
	status int
	code   string // of RFC 6749 §5.2
	why    string // not answered
}

func (s *Server) exchange(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	rule, life, down := s.rule, s.life, s.down
	s.mu.Unlock()
	asked := Asked{At: time.Now()}
	answer := func(status int, body map[string]any) {
		s.mu.Lock()
		s.asked = append(s.asked, asked)
		s.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(body)
	}
	refuse := func(f *refusal) {
		asked.Why = f.why
		answer(f.status, map[string]any{"error": f.code, "error_description": "the token was not accepted"})
	}
	if down != 0 {
		refuse(&refusal{down, "server_error", "down"})
		return
	}
	assertion, f := s.read(r, rule)
	if f != nil {
		refuse(f)
		return
	}
	subject, err := s.verify(r.Context(), assertion, rule)
	asked.Subject = subject
	switch {
	case err != nil:
		refuse(&refusal{http.StatusBadRequest, "invalid_grant", err.Error()})
		return
	case rule.Off:
		refuse(&refusal{http.StatusBadRequest, "invalid_grant", "the rule is off"})
		return
	}
	made := s.vend.prefix + rand.Text() + rand.Text()
	s.mu.Lock()
	s.made = append(s.made, made)
	asked.Label = "token-" + strconv.Itoa(len(s.made))
	s.given[sha256.Sum256([]byte(made))] = token{asked.Label, s.o.Now().Add(life)}
	s.mu.Unlock()
	answer(http.StatusOK, map[string]any{"access_token": made, "token_type": s.vend.kind, "expires_in": int(life / time.Second)})
}

// read takes a request apart, strictly, and returns the token in it.
func (s *Server) read(r *http.Request, rule Rule) (string, *refusal) {
	bad := func(why string) (string, *refusal) {
		return "", &refusal{http.StatusBadRequest, "invalid_request", why}
	}
	if r.Header.Get("Content-Type") != "application/json" {
		return bad("it is not JSON")
	}
	if r.Header.Get("Authorization") != "" || r.Header.Get("X-Api-Key") != "" {
		return bad("a credential came along")
	}
	betas := strings.Split(r.Header.Get("Anthropic-Beta"), ",")
	for _, b := range s.vend.betas {
		if !slices.Contains(betas, b) {
			return bad("anthropic-beta lacks " + b)
		}
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, 64<<10))
	if err != nil {
		return bad("it is too long")
	}
	var fields map[string]string
	if json.Unmarshal(body, &fields) != nil {
		return bad("it cannot be read")
	}
	assertion := fields[s.vend.assertion]
	delete(fields, s.vend.assertion)
	if assertion == "" || len(assertion) > 16<<10 {
		return bad("it has no token, or one that is too long")
	}
	for name, value := range s.vend.fixed {
		if fields[name] != value {
			return bad(name + " is not " + value)
		}
		delete(fields, name)
	}
	for name, value := range rule.Parameters {
		if fields[name] != value {
			return "", &refusal{http.StatusBadRequest, "invalid_grant", "another " + name}
		}
		delete(fields, name)
	}
	for name := range fields {
		return bad("an unknown field: " + name)
	}
	return assertion, nil
}

func (s *Server) verify(ctx context.Context, raw string, rule Rule) (subject string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c, err := s.keys.verified(ctx, raw, rule.Issuer)
	if err != nil {
		return "", err
	}
	now := s.o.Now().Unix()
	switch {
	case c.Issuer != rule.Issuer:
		err = errors.New("another issuer")
	case !slices.Contains(c.Audience, rule.Audience):
		err = errors.New("another audience")
	case c.Subject != rule.Subject:
		err = errors.New("another subject")
	case c.Expires == 0 || now >= c.Expires:
		err = errors.New("it has ended")
	case now < c.NotBefore-leeway || now < c.Issued-leeway:
		err = errors.New("it is not good yet")
	}
	return c.Subject, err
}

// leeway is how far ahead the issuer's clock may be, in seconds.
const leeway = 5

func newIssuerKeys(ca []byte) (*issuerKeys, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, errors.New("exchange: the issuer's CA is no certificate")
	}
	return &issuerKeys{client: &http.Client{
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}
