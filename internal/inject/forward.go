package inject

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/litentry/agentkeys/internal/grant"
)

// send sends the request to the upstream and waits for the head of its answer.
func (x *exchange) send() *problem {
	x.out.body.init(x.r, x.p.maxBody, x.sink.conn, x.p.stall)
	if n := x.r.ContentLength; 0 < n && n <= maxSmall {
		if err := x.out.readSmall(n); err != nil {
			return x.failed(err, true)
		}
	}
	if x.revoked() { // while the body was read: nothing has gone out yet
		return x.failed(x.ctx.Err(), true)
	}
	x.outcome.Unsent = false
	res, err := x.route.Transport.RoundTrip(x.c.request(x.ctx, x.r, x.target, x.header, x.query, x.lent, &x.out))
	if err != nil {
		return x.failed(err, false)
	}
	x.res, x.outcome.Status = res, res.StatusCode
	switch {
	case res.StatusCode == http.StatusSwitchingProtocols:
		return x.reject(codeSwitched, "the service switched protocols")
	case res.StatusCode < 200 || res.StatusCode > 999:
		return x.reject(codeBroken, "the service's answer has an impossible status")
	}
	return nil
}

// answer passes the upstream's answer back.
func (x *exchange) answer() *problem {
	decoded, err := x.decode()
	if err != nil {
		return x.reject(codeEncoding, "the service answered in an encoding that nobody asked for")
	}
	length := x.res.ContentLength
	if decoded {
		length = -1
	}
	contentType := x.res.Header.Get("Content-Type")
	if x.route.Meter != nil && x.res.StatusCode < 300 {
		x.meter = x.route.Meter()
	}
	found := x.begin(length, contentType, decoded)
	size := int(min(max(length, 0), bigBuffer))
	hits, err := x.sink.pass(x.res.Body, x.lent.redactor, newTap(x.meter, x.c.meterKeys, contentType, length), size)
	found += hits
	if err == nil && len(x.res.Trailer) > 0 {
		found += trailers(x.w, x.res, x.lent.redactor)
	}
	if found > 0 {
		x.p.log.Warn("the service echoed the credential; it was redacted", slog.String("service", x.route.Service.String()), slog.String("request", x.id), slog.Int("times", found))
	}
	return x.ended(err)
}

// decode puts a decoder before the body where one is needed.
func (x *exchange) decode() (decoded bool, err error) {
	res := x.res
	if x.r.Method == http.MethodHead || res.StatusCode == http.StatusNoContent || res.StatusCode == http.StatusNotModified || res.ContentLength == 0 {
		return false, nil
	}
	body, decoded, err := decode(res)
	if err == nil {
		res.Body = body
	}
	return decoded, err
}

// begin writes the head of the answer, and says how it will be flushed.
func (x *exchange) begin(length int64, contentType string, decoded bool) (found int) {
	s := &x.sink
	if length < 0 {
		s.flush = s.flusher()
	}
	if length < 0 || length > smallBuffer {
		s.moved = time.Time{} // what the server's own deadline is not meant for
	}
	if !x.out.body.ended() {
		// The service answers before it has got all. The server would read the
		// rest of the body away from under the transport, and what it cannot
		// read it would later take for another request.
		_ = http.NewResponseController(x.w).EnableFullDuplex()
		x.w.Header().Set("Connection", "close")
		s.flush = s.flusher() // finish may have to wait
	}
	x.headed = true
	found = x.c.head(x.w, x.res, x.target, x.lent.redactor, decoded)
	// A stream may be silent for long after its headers. A document is not,
	// and saves a packet if they wait for it.
	if s.flush != nil && !isJSON(contentType) {
		s.extend()
		_ = s.flush()
	}
	return found
}

// reject is for an answer that is not passed on.
func (x *exchange) reject(c code, detail string) *problem {
	x.outcome.Reason = string(c)
	return fault(c, detail)
}

// failed is for a request without an answer. Whose fault it was is asked in
// the order in which one causes the next. early says that the upstream was not
// even asked.
func (x *exchange) failed(err error, early bool) *problem {
	x.outcome.Unsent = early
	if x.revoked() {
		x.outcome.Reason = string(codeRevoked)
		return fault(code(grant.CodeNoGrant), "the grant was revoked")
	}
	pb, stalled := x.out.body.fault()
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
