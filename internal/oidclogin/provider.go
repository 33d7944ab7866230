package oidclogin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/litentry/agentkeys/internal/broker"
	"github.com/litentry/agentkeys/internal/secret"
)

// Google is the issuer of Google accounts.
const Google = "https://accounts.google.com"

// Limits of what is asked of the provider.
const (
	timeout   = 10 * time.Second // of all, for one login
	try       = 4 * time.Second  // of one attempt to discover
	maxAnswer = 1 << 20
	attempts  = 3 // of discovery, for one login
	pause     = 200 * time.Millisecond
	rest      = time.Second    // after discovery failed
	fresh     = 24 * time.Hour // a discovered provider
)

// Config is one provider and this client of it.
type Config struct {
	Issuer       string // as the provider writes it
	ClientID     string
	ClientSecret secret.Value
	RedirectURL  string
	HostedDomain string // Google's hd: only accounts of that organisation; empty: all
}

// Provider is a relying party. It is safe for concurrent use.
type Provider struct {
	c    Config
	http *http.Client

	mu     sync.Mutex
	found  *discovered
	failed time.Time // when discovery last failed
}

var _ broker.ProviderLogin = (*Provider)(nil)

// discovered is what the provider says of itself.
type discovered struct {
	oauth2   oauth2.Config // without the secret
	verifier *oidc.IDTokenVerifier
	saysIss  bool // RFC 9207: all its answers have iss
	at       time.Time
}

// New makes a Provider. It does not connect.
func New(c Config) (*Provider, error) {
	for _, u := range []struct{ what, url string }{{"the issuer", c.Issuer}, {"the redirect URI", c.RedirectURL}} {
		if err := checkURL(u.url); err != nil {
			return nil, fmt.Errorf("%w: %s %v", ErrConfig, u.what, err)
		}
	}
	if c.ClientID == "" || c.ClientSecret.IsZero() {
		return nil, fmt.Errorf("%w: the client has no id or no secret: make a web client at the provider, with the redirect URI %s", ErrConfig, c.RedirectURL)
	}
	return &Provider{c: c, http: &http.Client{
		Timeout: timeout, Transport: bounded{http.DefaultTransport},
		// No document of OpenID Connect is elsewhere than it is said to be.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// checkURL takes https, and http on loopback.
func checkURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || u.RawQuery != "":
		return errors.New("is not a plain URL")
	case u.Scheme == "https" || u.Scheme == "http" && loopback(u.Hostname()):
		return nil
	}
	return errors.New("is not https, so that anybody on the way could answer")
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

// bounded cuts long answers off.
type bounded struct{ next http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.next.RoundTrip(r)
	if err == nil {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, maxAnswer), resp.Body}
	}
	return resp, err
}

// discover returns the provider's own description, asking for it where it is
// not known or old. An old one serves while no newer can be had.
func (p *Provider) discover(ctx context.Context) (*discovered, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.found != nil && time.Since(p.found.at) < fresh {
		return p.found, nil
	}
	if time.Since(p.failed) < rest {
		if p.found != nil {
			return p.found, nil
		}
		return nil, fmt.Errorf("%w: the provider did not describe itself a moment ago", broker.ErrUnavailable)
	}
	var d *discovered
	var err error
	within, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for n := range attempts {
		if d, err = p.ask(within); err == nil || errors.Is(err, ErrConfig) || n+1 == attempts {
			break
		}
		select {
		case <-within.Done():
		case <-time.After(pause << n):
		}
	}
	switch {
	case err == nil:
		p.found = d
		return d, nil
	case ctx.Err() == nil:
		p.failed = time.Now() // not so where it was the person who went away
	}
	if p.found != nil {
		return p.found, nil
	}
	// Whatever is wrong with the provider, a person who logs in can only wait.
	return nil, fmt.Errorf("%w: %w", broker.ErrUnavailable, err)
}

func (p *Provider) ask(ctx context.Context) (*discovered, error) {
	ctx, cancel := context.WithTimeout(oidc.ClientContext(ctx, p.http), try)
	defer cancel()
	provider, err := oidc.NewProvider(ctx, p.c.Issuer)
	if err != nil {
		var other *oidc.IssuerMismatchError
		if errors.As(err, &other) {
			return nil, fmt.Errorf("%w: it calls itself by another name than %s", ErrConfig, p.c.Issuer)
		}
		return nil, errors.New("the provider does not describe itself") // the library has its whole answer in the error
	}
	var said struct {
		JWKS      string   `json:"jwks_uri"`
		SaysIss   bool     `json:"authorization_response_iss_parameter_supported"`
		Auth      []string `json:"token_endpoint_auth_methods_supported"`
		Challenge []string `json:"code_challenge_methods_supported"`
	}
	if err := provider.Claims(&said); err != nil {
		return nil, errors.New("the provider's description is not as OpenID Connect has it")
	}
	endpoint := provider.Endpoint()
	for _, u := range []string{endpoint.AuthURL, endpoint.TokenURL, said.JWKS} {
		if checkURL(u) != nil {
			return nil, fmt.Errorf("%w: an endpoint of it is absent or not https", ErrConfig)
		}
	}
	if said.Challenge != nil && !slices.Contains(said.Challenge, "S256") {
		return nil, fmt.Errorf("%w: it does not know PKCE with S256", ErrConfig)
	}
	// The library would try one way and then the other, with a code that is good once.
	endpoint.AuthStyle = oauth2.AuthStyleInHeader
	if said.Auth != nil && !slices.Contains(said.Auth, "client_secret_basic") {
		endpoint.AuthStyle = oauth2.AuthStyleInParams
	}
	return &discovered{
		oauth2: oauth2.Config{
			ClientID: p.c.ClientID, RedirectURL: p.c.RedirectURL, Endpoint: endpoint, Scopes: []string{oidc.ScopeOpenID, oidc.ScopeEmail},
		},
		verifier: provider.VerifierContext(oidc.ClientContext(context.Background(), p.http), &oidc.Config{ClientID: p.c.ClientID}),
		saysIss:  said.SaysIss, at: time.Now(),
	}, nil
}
