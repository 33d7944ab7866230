// Package federate owns the exchange of a token of our issuer for a short-lived
// one of a service: what each kind of service is asked, and what it may answer.
// It keeps nothing and decides nothing: who may have a token, and when, is the
// caller's affair. It depends on catalog and secret, and must not depend on
// what makes tokens, on a vault or on the network's settings.
//
// Laws:
//   - A token of ours goes to the token endpoint and nowhere else: nothing is
//     followed, and https is demanded but on loopback.
//   - Neither token is in an error. Of what the service says, only its code word
//     is.
//   - What is not certainly a token that ends is no answer.
package federate

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/secret"
)

// What Exchange answers, as an *Error.
var (
	// ErrSetup: what the owner has set does not suffice to ask.
	ErrSetup = errors.New("federation is not set up")
	// ErrAssertion: our own token has not the form of one.
	ErrAssertion = errors.New("the identity token is malformed")
	// ErrRefused: the service was asked and said no. A token like this one helps
	// as little.
	ErrRefused = errors.New("the token was refused")
	// ErrTemporary: the service could not be asked, or cannot answer now.
	ErrTemporary = errors.New("the token endpoint does not answer now")
	// ErrAnswer: the service answered with something that is no token.
	ErrAnswer = errors.New("the token endpoint's answer is no token")
)

// Error says which service there is no token of. It wraps one of the above, and
// what went wrong on the way to it.
type Error struct {
	Host   string // of the token endpoint
	Status int    // of its answer, 0 if there was none
	Code   string // the service's own word, "" if it gave none that may be shown
	Detail string // ours
	// RetryAfter is how long the service wants not to be asked, with
	// ErrTemporary, at most MaxRetryAfter; 0: it did not say.
	RetryAfter time.Duration
	Err        error
	cause      error // not printed: it may quote what the other side sent
}

func (e *Error) Error() string {
	s := e.Err.Error()
	if e.Host != "" {
		s = e.Host + ": " + s
	}
	for _, more := range []string{e.Code, e.Detail} {
		if more != "" {
			s += ": " + more
		}
	}
	if e.Status != 0 {
		s += fmt.Sprintf(" (status %d)", e.Status)
	}
	return s
}

// Unwrap returns the sentinel and the cause.
func (e *Error) Unwrap() []error {
	if e.cause == nil {
		return []error{e.Err}
	}
	return []error{e.Err, e.cause}
}

// Token is what a service gave.
type Token struct {
	Secret  secret.Value // the caller's, to clear
	Expires time.Time    // by this machine's clock, counted from before it was asked
}

// MaxRetryAfter bounds what a service can have us wait.
const MaxRetryAfter = 5 * time.Minute

// MaxAssertion bounds our token. One service says so; no honest token comes
// near.
const MaxAssertion = 16 << 10

const (
	maxAnswer = 64 << 10
	// maxLife bounds how long a token is believed to live.
	maxLife = 24 * time.Hour
	// patience bounds one exchange.
	patience = 20 * time.Second
)

// Exchange asks e's service, as its owner has set it up, for a token in return
// for assertion, once. rt must follow no redirects; one that dials what it
// should not is the caller's affair. The caller keeps the assertion.
func Exchange(ctx context.Context, rt http.RoundTripper, e *catalog.Entry, assertion secret.Value) (Token, error) {
	s, u, err := setup(e)
	if err != nil {
		return Token{}, err
	}
	fail := func(is error, detail string, cause error) (Token, error) {
		return Token{}, &Error{Host: u.Host, Err: is, Detail: detail, cause: cause}
	}
	if !isJWT(assertion.Expose()) {
		return fail(ErrAssertion, "", nil)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	// The body is not cleared: a transport may still read it when it has
	// answered. What is in it ends within minutes, and only this host takes it.
	body := s.body(e.Owner.Federation.Parameters, assertion.Expose())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return fail(ErrSetup, "its token endpoint is no URL", nil)
	}
	req.Header = http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}, "User-Agent": {"agentkeys"}}
	for k, v := range s.headers {
		req.Header.Set(k, v)
	}
	asked := time.Now()
	res, err := rt.RoundTrip(req)
	if err != nil {
		return fail(ErrTemporary, away(err), err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	defer clear(answer)
	switch {
	case err != nil && res.StatusCode == http.StatusOK:
		return fail(ErrTemporary, "its answer broke off", err)
	case res.StatusCode != http.StatusOK:
		return Token{}, refusal(u.Host, res, answer, assertion.Expose())
	}
	tok, life, detail := s.token(answer)
	if detail != "" {
		return Token{}, &Error{Host: u.Host, Status: res.StatusCode, Err: ErrAnswer, Detail: detail}
	}
	return Token{tok, asked.Add(min(life, maxLife)).Round(0)}, nil
}

// away says in our own words why nobody was asked: those of a transport may be
// the other side's.
func away(err error) string {
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	_, nameless := errors.AsType[*net.DNSError](err)
	_, undialled := errors.AsType[*net.OpError](err)
	switch {
	case untrusted:
		return "its certificate is not accepted"
	case nameless:
		return "its name has no address"
	case errors.Is(err, context.DeadlineExceeded):
		return "it took too long"
	case undialled:
		return "there is no connection"
	}
	return ""
}

// Check reports what keeps e from being asked: ErrSetup, with the reason.
func Check(e *catalog.Entry) error {
	_, _, err := setup(e)
	return err
}

func setup(e *catalog.Entry) (*shape, *url.URL, error) {
	fail := func(format string, args ...any) (*shape, *url.URL, error) {
		return nil, nil, &Error{Err: ErrSetup, Detail: fmt.Sprintf(format, args...)}
	}
	if e.Federation == nil {
		return fail("%s is not known to exchange tokens", e.Name)
	}
	s := shapes[e.Federation.Shape]
	switch {
	case s == nil:
		return fail("how %s exchanges tokens is not known", e.Name)
	case e.Owner.Federation == nil:
		return fail("%s has not been set up", e.Name)
	}
	set := e.Owner.Federation.Parameters
	for _, p := range s.parameters {
		if set[p.name] == "" && p.required {
			return fail("%s has not been set", p.name)
		}
		if !isPlain(set[p.name]) {
			return fail("%s is not of plain characters", p.name)
		}
	}
	u := e.FederationURL()
	if u == nil || u.Host == "" || u.User != nil || u.Scheme != "https" && !(u.Scheme == "http" && onLoopback(u)) {
		return fail("the token endpoint is no https URL")
	}
	return s, u, nil
}

func onLoopback(u *url.URL) bool {
	at, err := netip.ParseAddrPort(u.Host)
	return err == nil && at.Addr().IsLoopback()
}

// isPlain reports whether text is short and printable ASCII.
func isPlain(text string) bool {
	for i := range len(text) {
		if text[i] < 0x21 || text[i] > 0x7e {
			return false
		}
	}
	return len(text) <= 256
}

// isJWT reports whether b has the outer form of a signed JWT (RFC 7515 §7.1).
func isJWT(b []byte) bool {
	if len(b) > MaxAssertion {
		return false
	}
	parts := bytes.Split(b, []byte("."))
	for _, p := range parts {
		if len(p) == 0 || bytes.ContainsFunc(p, func(r rune) bool { return !isBase64URL(r) }) {
			return false
		}
	}
	return len(parts) == 3
}

func isBase64URL(r rune) bool {
	return r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '_'
}
