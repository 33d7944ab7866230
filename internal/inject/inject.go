// Package inject owns the injecting reverse proxy: it takes a request of an
// agent, has it decided and recorded, puts the credential in, sends it to the
// one upstream that the credential is for, and hands the answer back without
// the credential. It depends on the grant, secret and netguard packages, the
// standard library and decoders; never on what stores, provisions or describes
// credentials, which a Backend stands for.
//
// Laws:
//   - Who may ask at all is settled first: a listener answers only to its own
//     names, and to no page of another origin.
//   - No credential moves without a grant.Permit for this very use, and every
//     Permit is settled exactly once, whatever happens.
//   - What the agent says about credentials, routing or framing is dropped
//     before anything is added; what is injected always wins; the host, the
//     scheme and the TLS name come from the Route alone.
//   - The path that was decided on is, byte for byte, the path that is sent.
//     It is never decoded on the way.
//   - Redirects are answers, not orders: none is followed.
//   - Every byte that goes back has been searched for every form of the
//     credential, before anything else sees it; an answer that cannot be
//     searched is not passed on.
//   - A byte that has been searched is sent at once: only what may still turn
//     out to be the credential is held back.
//   - A broken answer never looks like a whole one.
//   - No error, log line or problem carries a credential, a token, a query or
//     upstream text.
package inject

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/secret"
)

// ErrUnknownCaller is what Backend.Identify returns for a request that nobody
// it knows has made. The agent gets 401.
var ErrUnknownCaller = errors.New("unknown caller")

// ErrUnknownService is what Backend.Route returns for a service that this
// proxy does not serve. The agent gets 404.
var ErrUnknownService = errors.New("unknown service")

// Placement is one place where the credential goes: a header, after a prefix
// such as "Bearer ", or a query parameter. Exactly one of Header and Query is
// set.
type Placement struct {
	Header string
	Prefix string
	Query  string
}

// Route is how one service is reached. It is immutable once it has been given
// to a Proxy, and not to be copied. A Backend returns the same *Route for a
// service until the service's settings change: work done once per Route and
// credential is kept by its address.
type Route struct {
	Service agentkeys.Service
	// Base is where the service's API begins, https://openrouter.ai/api/v1.
	// Plain http is for loopback addresses only.
	Base *url.URL
	// Place says where the credential goes: everywhere listed.
	Place []Placement
	// Exchanged says that the credential is a token, and no stored key: either
	// stands where the other does not. The Backend sees to that.
	Exchanged bool
	// Constant headers are set if the agent did not set them.
	Constant http.Header
	// Merged headers are lists (RFC 9110 section 5.6.1): to what the agent sent
	// is added what it lacks of them.
	Merged http.Header
	// StripHeaders and StripQuery are dropped from requests besides the
	// generic set and the places of Place, and searched for placeholders.
	StripHeaders, StripQuery []string
	Policy                   grant.Policy
	// Transport sends the request; see NewTransport.
	Transport http.RoundTripper
	// Meter makes a Meter for one answer. nil: nothing is metered.
	Meter func() Meter
	// MeterKeys are words one of which is in every document that may tell the
	// cost; events of a stream without any are not fed to the Meter. nil
	// means "usage" and "cost".
	MeterKeys []string

	once     sync.Once
	compiled *compiled
	err      error
}

// Meter reads what an answer cost out of it. Its methods are called from one
// goroutine.
type Meter interface {
	// Feed gets a whole JSON body, or the data of one server-sent event. doc
	// is redacted and valid only during the call.
	Feed(doc []byte)
	// Result is asked for once, after the last Feed.
	Result() (cost grant.Money, known bool)
}

// Caller is an identified agent and the wallet whose prefix holds its copies.
type Caller struct {
	Agent  agentkeys.Agent
	Wallet agentkeys.Wallet
}

// Loan is a credential for one use. The Backend neither changes nor clears
// Secret before it is told to settle Permit; the Proxy neither keeps nor clears
// it, but keeps what it derived from it until Proxy.Forget.
type Loan struct {
	Permit grant.Permit
	Secret secret.Value
	// Context ends the use: made of the one that Lend got, it is cancelled, with
	// ErrRevoked as its cause, when the grant is taken back. nil: only the agent
	// ends it.
	Context context.Context
}

// ErrRevoked is why a Loan's Context ends before its use does.
var ErrRevoked = errors.New("the grant was revoked")

// NoToken is why Backend.Lend has nothing to lend on a Route whose credential is
// exchanged for. The agent is told Detail, and not Err.
type NoToken struct {
	// Final: asking again is no use until somebody has changed something.
	Final  bool
	Detail string        // in our own words
	After  time.Duration // when it is tried again, if not Final; 0: not known
	Err    error
}

func (e *NoToken) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *NoToken) Unwrap() error { return e.Err }

// Code is that of the problem which it is answered with.
func (e *NoToken) Code() string {
	if e.Final {
		return string(codeExchangeRefused)
	}
	return string(codeExchangeFailed)
}

// Backend is what a Proxy asks. Its methods are called from many goroutines.
type Backend interface {
	// Identify says who makes r. presented holds what stood in the request
	// where credentials stand: candidates for a placeholder token, valid
	// during the call. Identify does not read the body.
	Identify(r *http.Request, presented []string) (Caller, error)
	// Route returns the service's route or ErrUnknownService.
	Route(agentkeys.Service) (*Route, error)
	// Lend decides, records and unlocks. A refusal is a *grant.Denial; any
	// other error, a *NoToken too, is answered with 503.
	Lend(ctx context.Context, c Caller, r *Route, req grant.Request) (Loan, error)
	// Settle is called exactly once for every Loan.
	Settle(grant.Permit, grant.Outcome)
}
