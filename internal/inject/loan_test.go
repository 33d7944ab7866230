package inject

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/litentry/agentkeys/internal/grant"
)

// endingBackend lends under a context that the test can end.
type endingBackend struct {
	*backend
	end chan context.CancelCauseFunc
}

func (e endingBackend) Lend(ctx context.Context, c Caller, r *Route, req grant.Request) (Loan, error) {
	loan, err := e.backend.Lend(ctx, c, r, req)
	if err == nil {
		var cancel context.CancelCauseFunc
		loan.Context, cancel = context.WithCancelCause(ctx)
		e.end <- cancel
	}
	return loan, err
}

// A grant that is taken back ends what is under way: before the answer with a
// problem, in the middle of it by breaking it off, and the upstream's request
// with it.
func TestLoanEndsUnderWay(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		for _, early := range []bool{true, false} {
			t.Run(fmt.Sprintf("h2=%v early=%v", h2, early), func(t *testing.T) {
				begun, gone := make(chan struct{}), make(chan struct{})
				route := upstream(t, h2, func(w http.ResponseWriter, r *http.Request) {
					if !early {
						w.Header().Set("Content-Type", "text/event-stream")
						_, _ = io.WriteString(w, "data: one\n\n")
						_ = http.NewResponseController(w).Flush()
					}
					close(begun)
					<-r.Context().Done()
					close(gone)
				})
				b := endingBackend{newBackend(route), make(chan context.CancelCauseFunc, 1)}
				addr := serve(t, b, Options{})
				heard := make(chan struct{})
				go func() {
					if <-begun; !early {
						<-heard
					}
					(<-b.end)(ErrRevoked)
				}()
				res, err := client(t).Do(newRequest(t, "GET", "http://"+addr+"/openrouter/a", nil))
				if err != nil {
					t.Fatal(err)
				}
				body := make([]byte, len("data: one\n\n"))
				n, err := io.ReadFull(res.Body, body)
				close(heard)
				if err == nil {
					var rest []byte
					rest, err = io.ReadAll(res.Body)
					body = append(body, rest...)
				} else {
					body = body[:n]
				}
				_ = res.Body.Close()
				if early && (err != nil || res.StatusCode != 403 || codeOf(string(body)) != "no-grant") {
					t.Errorf("%d %s, %v", res.StatusCode, body, err)
				}
				if !early && (err == nil || string(body) != "data: one\n\n") {
					t.Errorf("%q, %v", body, err)
				}
				within(t, "upstream", func() error { <-gone; return nil })
				if o := b.outcome(t); o.Reason != "revoked" || o.Unsent {
					t.Errorf("outcome %+v", o)
				}
			})
		}
	}
	// One that ended before anything was sent sends nothing.
	route := upstream(t, true, func(http.ResponseWriter, *http.Request) { t.Error("sent after the end") })
	b := &endedBackend{newBackend(route)}
	if res, body := get(t, serve(t, b, Options{}), "/openrouter/a"); res.StatusCode != 403 || codeOf(body) != "no-grant" {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	if o := b.outcome(t); o.Reason != "revoked" || !o.Unsent {
		t.Errorf("outcome %+v", o)
	}
}

type endedBackend struct{ *backend }

func (e endedBackend) Lend(ctx context.Context, c Caller, r *Route, req grant.Request) (Loan, error) {
	loan, err := e.backend.Lend(ctx, c, r, req)
	var cancel context.CancelCauseFunc
	loan.Context, cancel = context.WithCancelCause(ctx)
	cancel(ErrRevoked)
	return loan, err
}
