package webserve

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"time"

	"github.com/litentry/agentkeys/internal/brokerapi"
)

// Options of a Handler.
type Options struct {
	Log     *slog.Logger
	Metrics *Metrics       // nil: none
	Limiter *Limiter       // by Subnet of Peer, for every request; nil: none
	Trusted []netip.Prefix // proxies whose X-Forwarded-For counts
	Now     func() time.Time
}

type requestKey struct{}

// RequestID names the request of a context, in logs and to the client.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestKey{}).(string)
	return id
}

// Handler answers every request of mux with a request id, a log line, metrics
// and limits; a panic of mux is a problem to the client, and a stack in the
// log.
func Handler(mux *http.ServeMux, o Options) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := o.Now()
		id := rand.Text()
		r = withPeer(r.WithContext(context.WithValue(r.Context(), requestKey{}, id)), o.Trusted)
		h := w.Header()
		h.Set("X-Request-Id", id)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		_, route := mux.Handler(r)
		if route == "" {
			route = "none"
		}
		a := &answer{ResponseWriter: w}
		if o.Metrics != nil {
			o.Metrics.inflight.Inc()
			defer o.Metrics.inflight.Dec()
		}
		defer func() {
			took := o.Now().Sub(start)
			if p := recover(); p != nil {
				if p == http.ErrAbortHandler { //nolint:errorlint // net/http compares it so
					panic(p)
				}
				// Its value may hold what the request held.
				o.Log.Error("panic", "request", id, "route", route, "type", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
				if a.status == 0 {
					WriteProblem(a, r, &brokerapi.Problem{
						Code: brokerapi.CodeInternal, Status: http.StatusInternalServerError, Title: "Internal error",
						Fix: "report the request id to the operator",
					})
				}
			}
			status := a.status
			if status == 0 {
				status = http.StatusOK
			}
			if o.Metrics != nil {
				o.Metrics.observe(route, status, took)
			}
			o.Log.Info("request", "request", id, "method", method(r.Method), "route", route, "status", status,
				"peer", Peer(r).String(), "ms", float64(took.Microseconds())/1e3)
		}()
		if o.Limiter != nil {
			if wait, ok := o.Limiter.Allow(Subnet(Peer(r))); !ok {
				if Peer(r) == remote(r) { // a proxy's connection is others' too
					h.Set("Connection", "close")
				}
				WriteLimited(a, r, wait)
				return
			}
		}
		if route == "none" {
			mux.ServeHTTP(missing{a, r}, r)
			return
		}
		mux.ServeHTTP(a, r)
	})
}

// method bounds what a client can write into a log.
func method(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return m
	}
	return "other"
}

// answer remembers the status.
type answer struct {
	http.ResponseWriter
	status int
}

func (a *answer) WriteHeader(status int) {
	if a.status == 0 && status >= 200 {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	return a.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// missing turns the mux's own refusals, which are plain text, into problems.
type missing struct {
	http.ResponseWriter
	r *http.Request
}

func (m missing) WriteHeader(status int) {
	p := &brokerapi.Problem{Code: brokerapi.CodeNotFound, Status: status, Title: http.StatusText(status)}
	if status == http.StatusMethodNotAllowed {
		p.Code, p.Detail = brokerapi.CodeRequest, "it answers to "+m.Header().Get("Allow")
	}
	if status < 400 { // a redirect to a clean path
		m.ResponseWriter.WriteHeader(status)
		return
	}
	m.Header().Del("Content-Length")
	WriteProblem(m.ResponseWriter, m.r, p)
}

func (m missing) Write(b []byte) (int, error) { return len(b), nil }
