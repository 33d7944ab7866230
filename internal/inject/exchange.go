package inject

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/litentry/agentkeys/internal/grant"
)

// exchange is one request under way.
type exchange struct {
	p *Proxy
	w http.ResponseWriter
	r *http.Request

	ctx     context.Context // of the loan
	start   time.Time
	id      string // in the audit log, once it has been decided on
	headed  bool   // the status has been written
	aborted bool
	outcome grant.Outcome
}

// guarded turns a panic into a problem, without the value of the panic, which
// may be anything.
func (x *exchange) guarded() (pb *problem) {
	defer func() {
		if e := recover(); e != nil {
			x.p.log.Error("panic", slog.String("type", fmt.Sprintf("%T", e)), slog.String("request", x.id), slog.String("stack", string(debug.Stack())))
			pb = fault(codeInternal, "AgentKeys failed")
		}
	}()
	return x.serve()
}

// serve does it all, in the order of the laws.
func (x *exchange) serve() *problem {
	p, r := x.p, x.r
	if pb := p.hosts.check(r); pb != nil {
		return pb
	}
	t, pb := parseTarget(r)
	if pb != nil {
		return pb
	}
	if r.ContentLength > p.maxBody {
		return fault(codeTooLarge, "the body is longer than AgentKeys forwards")
	}
	if p.busy.Add(1) > p.maxBusy {
		p.busy.Add(-1)
		return fault(codeBusy, "too many requests are under way")
	}
	defer p.busy.Add(-1)

	// The route is looked up first, for it says where a placeholder may stand;
	// what it is, or that there is none, is told to known callers only.
	route, c, routeErr := p.route(t)
	var room [4]string
	header, presented := c.sift(r.Header, room[:0])
	query, presented := c.siftQuery(t.query, presented)
	caller, err := p.backend.Identify(r, presented)
	switch {
	case errors.Is(err, ErrUnknownCaller):
		return fault(codeCaller, "the request has no placeholder that AgentKeys knows")
	case err != nil:
		return x.unlent("identify", err)
	case routeErr != nil:
		return routeErr
	}

	x.id = p.prefix + strconv.FormatUint(p.sequence.Add(1), 36)
	loan, err := p.backend.Lend(r.Context(), caller, route, grant.Request{ID: x.id, Method: r.Method, Path: t.path, Time: x.start})
	if err != nil {
		return x.unlent("lend", err)
	}
	defer x.settle(loan.Permit)
	// What would be settled after a panic, here and further down.
	x.outcome = grant.Outcome{Unsent: true, Reason: string(codeInternal)}
	if !loan.Permit.Allows(grant.ActUse, caller.Wallet, route.Service) {
		return fault(codeInternal, "the permit is not for this use")
	}
	l, err := p.lending.acquire(route, loan.Secret, x.start)
	if err != nil {
		x.outcome.Reason = string(codeCredential)
		return fault(codeCredential, err.Error())
	}
	defer p.lending.release(l)
	if x.ctx = loan.Context; x.ctx == nil {
		x.ctx = r.Context()
	}
	return x.forward(route, c, t, header, query, l)
}

func (p *Proxy) route(t target) (*Route, *compiled, *problem) {
	route, err := p.backend.Route(t.service)
	switch {
	case errors.Is(err, ErrUnknownService):
		return nil, nil, fault(codeService, "AgentKeys serves no such service here")
	case err != nil:
		p.log.Error("route", slog.String("service", t.service.String()), slog.Any("error", err))
		return nil, nil, fault(codeRoute, "the service's route could not be made")
	}
	c, err := route.compile()
	if err != nil {
		p.log.Error("route", slog.String("service", t.service.String()), slog.Any("error", err))
		return nil, nil, fault(codeRoute, "the service's route is malformed")
	}
	return route, c, nil
}

// unlent is the problem of a request that the Backend did not let through.
func (x *exchange) unlent(what string, err error) *problem {
	pb := lendProblem(err)
	if pb.code == codeNotLent {
		if x.r.Context().Err() != nil {
			x.aborted = true // nobody is there to be told
		}
		x.p.log.Error(what, slog.Any("error", err), slog.String("request", x.id))
	}
	return pb
}

func (x *exchange) settle(permit grant.Permit) { x.p.backend.Settle(permit, x.outcome) }

// forward sends the request and passes the answer back.
func (x *exchange) forward(route *Route, c *compiled, t target, header http.Header, query string, l *lent) *problem {
	s := x.sink()
	o := new(outgoing)
	o.body.init(x.r, x.p.maxBody, s.conn, x.p.stall)
	defer o.body.finish()
	if n := x.r.ContentLength; 0 < n && n <= maxSmall {
		if err := o.readSmall(n); err != nil {
			return x.failed(err, o, true)
		}
	}
	if x.revoked() { // while the body was read: nothing has gone out yet
		return x.failed(x.ctx.Err(), o, true)
	}
	x.outcome.Unsent = false
	res, err := route.Transport.RoundTrip(c.request(x.ctx, x.r, t, header, query, l, o))
	if err != nil {
		return x.failed(err, o, false)
	}
	body := res.Body
	defer func() { _ = body.Close() }()
	x.outcome.Status = res.StatusCode
	switch {
	case res.StatusCode == http.StatusSwitchingProtocols:
		return x.reject(codeSwitched, "the service switched protocols")
	case res.StatusCode < 200 || res.StatusCode > 999:
		return x.reject(codeBroken, "the service's answer has an impossible status")
	}
	bodyless := x.r.Method == http.MethodHead || res.StatusCode == http.StatusNoContent || res.StatusCode == http.StatusNotModified || res.ContentLength == 0
	decoded := false
	if !bodyless {
		if body, decoded, err = decode(res); err != nil {
			body = res.Body
			return x.reject(codeEncoding, "the service answered in an encoding that nobody asked for")
		}
	}

	length := res.ContentLength
	if decoded {
		length = -1
	}
	contentType := res.Header.Get("Content-Type")
	var m Meter
	if route.Meter != nil && res.StatusCode < 300 {
		m = route.Meter()
		defer func() { x.outcome.Cost, x.outcome.Known = m.Result() }()
	}
	if length < 0 {
		s.flush = s.flusher()
	}
	if length < 0 || length > smallBuffer {
		s.moved = time.Time{} // what the server's own deadline is not meant for
	}
	if !o.body.ended() {
		// The service answers before it has got all. The server would read the
		// rest of the body away from under the transport, and what it cannot
		// read it would later take for another request.
		_ = http.NewResponseController(x.w).EnableFullDuplex()
		x.w.Header().Set("Connection", "close")
		s.flush = s.flusher() // finish may have to wait
	}
	x.headed = true
	found := c.head(x.w, res, t, l.redactor, decoded)
	// A stream may be silent for long after its headers. A document is not,
	// and saves a packet if they wait for it.
	if s.flush != nil && !isJSON(contentType) {
		s.extend()
		_ = s.flush()
	}
	size := int(min(max(length, 0), bigBuffer))
	hits, err := s.pass(body, l.redactor, newTap(m, c.meterKeys, contentType, length), size)
	found += hits
	if err == nil && len(res.Trailer) > 0 {
		found += trailers(x.w, res, l.redactor)
	}
	if found > 0 {
		x.p.log.Warn("the service echoed the credential; it was redacted", slog.String("service", route.Service.String()), slog.String("request", x.id), slog.Int("times", found))
	}
	return x.ended(err)
}

// reject is for an answer that is not passed on.
func (x *exchange) reject(c code, detail string) *problem {
	x.outcome.Reason = string(c)
	return fault(c, detail)
}

// failed is for a request without an answer. Whose fault it was is asked in
// the order in which one causes the next. early says that the upstream was not
// even asked.
func (x *exchange) failed(err error, o *outgoing, early bool) *problem {
	x.outcome.Unsent = early
	if x.revoked() {
		x.outcome.Reason = string(codeRevoked)
		return fault(code(grant.CodeNoGrant), "the grant was revoked")
	}
	pb, stalled := o.body.fault()
	// The server takes a stalled body for a closed connection.
	if x.r.Context().Err() != nil && !stalled {
		x.outcome.Reason = string(codeClientClosed)
		x.aborted = true
		return nil
	}
	if pb != nil {
		x.outcome.Reason = string(pb.code)
		return pb
	}
	pb, x.outcome.Unsent = failure(err)
	x.outcome.Reason = string(pb.code)
	return pb
}

// ended is for the end of a body that had begun.
func (x *exchange) ended(err error) *problem {
	switch {
	case x.revoked():
		// Whatever err is: an upstream whose connection is being closed may
		// end its answer as if that were all.
		x.outcome.Reason = string(codeRevoked)
	case err == nil:
		x.outcome.Reason = ""
		return nil
	case errors.Is(err, errAgentGone) || x.r.Context().Err() != nil:
		x.outcome.Reason = string(codeClientClosed)
	default:
		x.outcome.Reason = string(codeCut)
	}
	x.aborted = true
	return nil
}

// revoked reports whether the grant was taken back under way.
func (x *exchange) revoked() bool { return errors.Is(context.Cause(x.ctx), ErrRevoked) }

func (x *exchange) sink() sink {
	conn, ok := x.w.(deadlines)
	if !ok {
		conn = http.NewResponseController(x.w) // finds it behind wrappers
	}
	return sink{w: x.w, conn: conn, stall: x.p.stall, moved: x.start}
}
