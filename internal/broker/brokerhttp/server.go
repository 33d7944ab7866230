package brokerhttp

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/litentry/agentkeys/internal/broker"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/token"
	"github.com/litentry/agentkeys/internal/webserve"
)

// Options say what is served.
type Options struct {
	Broker *broker.Broker
	Issuer *token.Issuer // whose keys are published: the broker's
	// Config is what clients are told; the issuer and the logins are filled in.
	Config brokerapi.Config
	Pages  Pages

	Log     *slog.Logger
	Now     func() time.Time
	Metrics *webserve.Metrics // counts requests; nil: does not
	// Exposition answers at brokerapi.PathMetrics; nil: nothing does.
	Exposition http.Handler
	// Limiter counts every request by peer, Attempts those that could be
	// guesses: logins, codes and keys. nil: no limit.
	Limiter, Attempts *webserve.Limiter
	Trusted           []netip.Prefix // proxies whose X-Forwarded-For counts
	// Checks are the parts besides the broker itself without which it is not
	// ready.
	Checks []webserve.Check
}

type server struct {
	o Options
	b *broker.Broker
	// cross refuses what a page of another site posts in the name of whoever
	// looks at it.
	cross *http.CrossOriginProtection
}

// New makes the handler of a broker's whole API.
func New(o Options) (http.Handler, error) {
	if o.Broker == nil || o.Issuer == nil || o.Pages == nil || o.Log == nil || o.Now == nil {
		return nil, errors.New("a broker is served with its issuer, pages, a log and a clock")
	}
	s := &server{o, o.Broker, http.NewCrossOriginProtection()}
	if err := s.cross.AddTrustedOrigin(o.Broker.Origin()); err != nil {
		return nil, err
	}
	s.o.Config.Issuer, s.o.Config.Logins = o.Broker.Origin(), o.Broker.Methods()
	mux := http.NewServeMux()
	for _, rt := range s.routes() {
		h, err := s.guard(rt)
		if err != nil {
			return nil, err
		}
		mux.Handle(rt.Method+" "+rt.Path, h)
	}
	return webserve.Handler(mux, webserve.Options{
		Log: o.Log, Metrics: o.Metrics, Limiter: o.Limiter, Trusted: o.Trusted, Now: o.Now,
	}), nil
}

// fail renders an error, the one place that does.
func (s *server) fail(w http.ResponseWriter, r *http.Request, err error) {
	p, challenge := render(err)
	if p.Code == brokerapi.CodeInternal || p.Code == brokerapi.CodeUnavailable {
		s.o.Log.Error("request failed", "request", webserve.RequestID(r.Context()), "err", err)
	}
	var limit *broker.LimitError
	if errors.As(err, &limit) {
		webserve.WriteLimited(w, r, limit.Wait)
		return
	}
	if challenge != "" {
		w.Header().Set("WWW-Authenticate", challenge)
	}
	if r.URL.Path == brokerapi.PathToken {
		p = oauth(p)
	}
	if p.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	webserve.WriteProblem(w, r, p)
}

// oauth says a problem of the token endpoint in OAuth's words as well.
func oauth(p *brokerapi.Problem) *brokerapi.Problem {
	out := *p
	switch p.Code {
	case brokerapi.CodeAudience:
		out.OAuth = "invalid_target" // RFC 8693
	case brokerapi.CodeProof:
		out.OAuth = "invalid_dpop_proof" // RFC 9449
	case brokerapi.CodeToken, brokerapi.CodeDevice:
		out.OAuth = "invalid_grant"
	case brokerapi.CodeForbidden:
		out.OAuth = "unauthorized_client"
	case brokerapi.CodeUnavailable:
		out.OAuth = "temporarily_unavailable"
	case brokerapi.CodeInternal:
		out.OAuth = "server_error"
	default:
		out.OAuth = "invalid_request"
	}
	out.Description = p.Title
	return &out
}

// challenge is the WWW-Authenticate of RFC 9449, section 7.1.
func challenge(code string) string {
	if code != "" {
		code = fmt.Sprintf(`error="%s", `, code)
	}
	return `DPoP realm="agentkeys", ` + code + `algs="ES256"`
}

// errNoSession: the request carries none.
var errNoSession = errors.New("no session")

// render says what an error is to a client: nothing that another did not
// know, and nothing of what went wrong inside.
func render(err error) (p *brokerapi.Problem, authenticate string) {
	var problem *brokerapi.Problem
	is := func(target error) bool { return errors.Is(err, target) }
	switch {
	case errors.As(err, &problem):
		return problem, ""
	case is(broker.ErrUnavailable):
		return &brokerapi.Problem{
			Code: brokerapi.CodeUnavailable, Status: http.StatusServiceUnavailable, Title: "A part that is needed does not answer",
			Detail: "what was asked for may have been done or not", Fix: "ask again",
		}, ""
	case is(errNoSession):
		return &brokerapi.Problem{
			Code: brokerapi.CodeToken, Status: http.StatusUnauthorized, Title: "This takes a session",
			Fix: "send Authorization: DPoP and a proof of the device key",
		}, challenge("")
	case is(broker.ErrSession):
		return &brokerapi.Problem{
			Code: brokerapi.CodeToken, Status: http.StatusUnauthorized, Title: "The session is not good",
			Fix: "ask for another at " + brokerapi.PathSession,
		}, challenge("invalid_token")
	case is(broker.ErrProof):
		return &brokerapi.Problem{
			Code: brokerapi.CodeProof, Status: http.StatusUnauthorized, Title: "The proof of the device key is not good",
			Detail: err.Error(), Fix: "sign one DPoP proof for each request; look at the clock of the device",
		}, challenge("invalid_dpop_proof")
	case is(broker.ErrDevice):
		return &brokerapi.Problem{
			Code: brokerapi.CodeDevice, Status: http.StatusUnauthorized, Title: "The device is not known, or not any more",
			Fix: "log in, or enrol, again",
		}, challenge("invalid_token")
	case is(broker.ErrLogin):
		return &brokerapi.Problem{
			Code: brokerapi.CodeLogin, Status: http.StatusForbidden, Title: "The login was refused, or has ended",
			Fix: "begin again",
		}, ""
	case is(broker.ErrForbidden):
		return &brokerapi.Problem{
			Code: brokerapi.CodeForbidden, Status: http.StatusForbidden, Title: "The session does not reach that far",
		}, challenge("insufficient_scope")
	case is(broker.ErrAudience):
		return &brokerapi.Problem{
			Code: brokerapi.CodeAudience, Status: http.StatusBadRequest, Title: "No tokens are issued for that audience",
			Fix: "ask the operator to configure it",
		}, ""
	}
	for _, known := range []struct {
		is     error
		code   string
		status int
		title  string
	}{
		{broker.ErrRequest, brokerapi.CodeRequest, http.StatusBadRequest, "The request is malformed"},
		{broker.ErrUnknownAgent, brokerapi.CodeNotFound, http.StatusNotFound, "There is no such agent"},
		{broker.ErrUnknownGrant, brokerapi.CodeNotFound, http.StatusNotFound, "There is no such grant"},
		{broker.ErrAgentExists, brokerapi.CodeExists, http.StatusConflict, "The agent exists already"},
		{broker.ErrTaken, brokerapi.CodeConflict, http.StatusConflict, "The device key is in use otherwise"},
		{broker.ErrFull, brokerapi.CodeConflict, http.StatusConflict, "There are too many of them"},
	} {
		if is(known.is) {
			p := &brokerapi.Problem{Code: known.code, Status: known.status, Title: known.title}
			if known.is == broker.ErrRequest { //nolint:errorlint // it is the table's own
				p.Detail = err.Error()
			}
			return p, ""
		}
	}
	return &brokerapi.Problem{
		Code: brokerapi.CodeInternal, Status: http.StatusInternalServerError, Title: "Internal error",
		Fix: "report the request id to the operator",
	}, ""
}
