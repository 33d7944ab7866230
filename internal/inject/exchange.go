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

// exchange is one request under way. It is allocated in one piece, so that
// little of it is on the stacks of streams, which are many and deep. The
// transport may look at out, and so keep all of it, a little longer.
type exchange struct {
	p     *Proxy
	w     http.ResponseWriter
	r     *http.Request
	start time.Time
	sink  sink

	target target
	route  *Route
	c      *compiled
	header http.Header // for the upstream, before the credential
	query  string      // likewise
	room   [4]string   // for what is presented
	caller Caller

	id      string          // in the audit log, once it has been decided on
	ctx     context.Context // of the loan
	permit  grant.Permit
	decided bool // permit is to be settled
	lent    *lent
	outcome grant.Outcome

	out     outgoing
	res     *http.Response
	meter   Meter
	headed  bool // the status has been written
	aborted bool
	counted bool // among those under way
}

func (p *Proxy) newExchange(w http.ResponseWriter, r *http.Request) *exchange {
	x := &exchange{p: p, w: w, r: r, start: time.Now()}
	conn, ok := w.(deadlines)
	if !ok {
		conn = http.NewResponseController(w) // finds it behind wrappers
	}
	// The server has set a deadline of its own at the start.
	x.sink = sink{w: w, conn: conn, stall: p.stall, moved: x.start}
	return x
}

// serve does it all, in the order of the laws. It turns a panic into a
// problem, without the value of the panic, which may be anything.
func (x *exchange) serve() (pb *problem) {
	defer func() {
		if e := recover(); e != nil {
			x.p.log.Error("panic", slog.String("type", fmt.Sprintf("%T", e)), slog.String("request", x.id), slog.String("stack", string(debug.Stack())))
			pb = fault(codeInternal, "AgentKeys failed")
		}
	}()
	defer x.end()
	if pb = x.admit(); pb != nil {
		return pb
	}
	if pb = x.lend(); pb != nil {
		return pb
	}
	if pb = x.send(); pb != nil || x.aborted {
		return pb
	}
	return x.answer()
}

// end gives back everything that was taken, in whatever state.
func (x *exchange) end() {
	if x.counted {
		defer x.p.busy.Add(-1)
	}
	if x.lent != nil {
		defer x.p.lending.release(x.lent)
	}
	if x.decided {
		defer x.settle()
	}
	if x.res != nil {
		_ = x.res.Body.Close()
	}
	x.out.body.finish()
	if x.meter != nil {
		x.outcome.Cost, x.outcome.Known = x.meter.Result()
	}
}

func (x *exchange) settle() { x.p.backend.Settle(x.permit, x.outcome) }

// admit finds out whether the request is one, and whose it is.
func (x *exchange) admit() (pb *problem) {
	p, r := x.p, x.r
	if pb = p.hosts.check(r); pb != nil {
		return pb
	}
	if x.target, pb = parseTarget(r); pb != nil {
		return pb
	}
	if r.ContentLength > p.maxBody {
		return fault(codeTooLarge, "the body is longer than AgentKeys forwards")
	}
	x.counted = true
	if p.busy.Add(1) > p.maxBusy {
		return fault(codeBusy, "too many requests are under way")
	}
	// The route is looked up first, for it says where a placeholder may stand;
	// what it is, or that there is none, is told to known callers only.
	var presented []string
	routeErr := x.setRoute()
	x.header, presented = x.c.sift(r.Header, x.room[:0])
	x.query, presented = x.c.siftQuery(x.target.query, presented)
	caller, err := p.backend.Identify(r, presented)
	switch {
	case errors.Is(err, ErrUnknownCaller):
		return fault(codeCaller, "the request has no placeholder that AgentKeys knows")
	case err != nil:
		return x.unlent("identify", err)
	case routeErr != nil:
		return routeErr
	}
	x.caller = caller
	return nil
}

// lend has the request decided and recorded, and gets the credential.
func (x *exchange) lend() *problem {
	x.id = x.p.prefix + strconv.FormatUint(x.p.sequence.Add(1), 36)
	loan, err := x.p.backend.Lend(x.r.Context(), x.caller, x.route, grant.Request{ID: x.id, Method: x.r.Method, Path: x.target.path, Time: x.start})
	if err != nil {
		return x.unlent("lend", err)
	}
	// What would be settled after a panic, here and further down.
	x.outcome = grant.Outcome{Unsent: true, Reason: string(codeInternal)}
	x.permit, x.decided = loan.Permit, true
	if !loan.Permit.Allows(grant.ActUse, x.caller.Wallet, x.route.Service) {
		return fault(codeInternal, "the permit is not for this use")
	}
	if x.lent, err = x.p.lending.acquire(x.route, loan.Secret, x.start); err != nil {
		x.outcome.Reason = string(codeCredential)
		return fault(codeCredential, err.Error())
	}
	if x.ctx = loan.Context; x.ctx == nil {
		x.ctx = x.r.Context()
	}
	return nil
}

func (x *exchange) setRoute() *problem {
	var err error
	x.route, err = x.p.backend.Route(x.target.service)
	switch {
	case errors.Is(err, ErrUnknownService):
		return fault(codeService, "AgentKeys serves no such service here")
	case err != nil:
		x.p.log.Error("route", slog.String("service", x.target.service.String()), slog.Any("error", err))
		return fault(codeRoute, "the service's route could not be made")
	}
	if x.c, err = x.route.compile(); err != nil {
		x.p.log.Error("route", slog.String("service", x.target.service.String()), slog.Any("error", err))
		return fault(codeRoute, "the service's route is malformed")
	}
	return nil
}

// unlent is the problem of a request that the Backend did not let through.
func (x *exchange) unlent(what string, err error) *problem {
	pb := lendProblem(err)
	switch pb.code {
	case codeNotLent, codeExchangeRefused, codeExchangeFailed:
		if x.r.Context().Err() != nil {
			x.aborted = true // nobody is there to be told
		}
	}
	if pb.code == codeNotLent { // who exchanges tokens has said it already
		x.p.log.Error(what, slog.Any("error", err), slog.String("request", x.id))
	}
	return pb
}
