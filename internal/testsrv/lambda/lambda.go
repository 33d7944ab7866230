// Package lambda is the Runtime API of AWS Lambda over a socket, as its
// documentation has it (version 2018-06-01), so that a function's bootstrap can
// be run as the process that it is. It serves tests only, and depends on the
// standard library.
//
// It keeps one instance: an invocation is given out when the one before it was
// answered. What the platform does around a function, such as freezing it,
// retrying, or polling a queue, is the test's to do.
package lambda

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	version = "/2018-06-01/runtime/"
	// maxAnswer is the largest answer in bytes; a larger one gets 413.
	maxAnswer = 6<<20 + 100
)

// ErrProtocol: the function did what the Runtime API does not know.
var ErrProtocol = errors.New("not the Lambda Runtime API")

// Failure is an error that a function reported.
type Failure struct {
	Type    string `json:"errorType"`
	Message string `json:"errorMessage"`
}

func (f *Failure) Error() string { return f.Type + ": " + f.Message }

// Runtime is a running Runtime API. Any number of goroutines may use it.
type Runtime struct {
	// Addr is what AWS_LAMBDA_RUNTIME_API has to be: host:port.
	Addr string

	server *http.Server
	queue  chan *invocation
	closed chan struct{}

	mu      sync.Mutex
	running *invocation
}

type invocation struct {
	id       string
	payload  []byte
	deadline time.Duration
	done     chan struct{}
	body     []byte
	err      error
}

func (i *invocation) end(body []byte, err error) {
	i.body, i.err = body, err
	close(i.done)
}

// Start listens on a loopback address, until Close.
func Start() (*Runtime, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &Runtime{Addr: l.Addr().String(), queue: make(chan *invocation), closed: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+version+"invocation/next", r.next)
	mux.HandleFunc("POST "+version+"invocation/{id}/response", r.response)
	mux.HandleFunc("POST "+version+"invocation/{id}/error", r.failure)
	mux.HandleFunc("POST "+version+"init/error", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) })
	r.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = r.server.Serve(l) }()
	return r, nil
}

// Close ends it; who waits gets an error.
func (r *Runtime) Close() {
	close(r.closed)
	_ = r.server.Close()
	if i := r.take(""); i != nil {
		i.end(nil, errors.New("the runtime was closed"))
	}
}

// Invoke gives the function an event, which it has deadline's time for, and
// returns its answer. A function that reports an error is a *Failure. Nobody
// ends a function that is late: its answer counts whenever it comes.
func (r *Runtime) Invoke(ctx context.Context, payload []byte, deadline time.Duration) ([]byte, error) {
	i := &invocation{id: rand.Text(), payload: payload, deadline: deadline, done: make(chan struct{})}
	select {
	case r.queue <- i:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-r.closed:
		return nil, errors.New("the runtime was closed")
	}
	select {
	case <-i.done:
		return i.body, i.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// take returns what is running, if it has this id or any is meant, and ends
// that.
func (r *Runtime) take(id string) *invocation {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := r.running
	if i == nil || id != "" && i.id != id {
		return nil
	}
	r.running = nil
	return i
}

// next is where the function waits.
func (r *Runtime) next(w http.ResponseWriter, req *http.Request) {
	if i := r.take(""); i != nil {
		i.end(nil, fmt.Errorf("%w: asked for more without an answer", ErrProtocol))
	}
	var i *invocation
	select {
	case i = <-r.queue:
	case <-req.Context().Done():
		return
	case <-r.closed:
		return
	}
	r.mu.Lock()
	r.running = i
	r.mu.Unlock()
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Lambda-Runtime-Aws-Request-Id", i.id)
	h.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(time.Now().Add(i.deadline).UnixMilli(), 10))
	h.Set("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:eu-central-1:000000000000:function:test")
	h.Set("Lambda-Runtime-Trace-Id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=0")
	_, _ = w.Write(i.payload)
}

// answered reads what the function says of the invocation that is running.
func (r *Runtime) answered(w http.ResponseWriter, req *http.Request) (i *invocation, body []byte) {
	body, err := io.ReadAll(io.LimitReader(req.Body, maxAnswer+1))
	if i = r.take(req.PathValue("id")); i == nil || err != nil {
		http.Error(w, `{"errorType":"InvalidRequestID","errorMessage":"Invalid request ID"}`, http.StatusBadRequest)
		if i != nil {
			i.end(nil, fmt.Errorf("%w: %w", ErrProtocol, err))
		}
		return nil, nil
	}
	if len(body) > maxAnswer {
		http.Error(w, `{"errorType":"RequestEntityTooLarge"}`, http.StatusRequestEntityTooLarge)
		i.end(nil, &Failure{"Function.ResponseSizeTooLarge", "the answer is too large"})
		return nil, nil
	}
	w.WriteHeader(http.StatusAccepted)
	_, _ = io.WriteString(w, `{"status":"OK"}`)
	return i, body
}

func (r *Runtime) response(w http.ResponseWriter, req *http.Request) {
	if i, body := r.answered(w, req); i != nil {
		// An error in the middle of an answer comes behind it.
		if t := req.Trailer.Get("Lambda-Runtime-Function-Error-Type"); t != "" {
			i.end(nil, &Failure{t, "in the middle of the answer"})
			return
		}
		i.end(body, nil)
	}
}

func (r *Runtime) failure(w http.ResponseWriter, req *http.Request) {
	i, body := r.answered(w, req)
	if i == nil {
		return
	}
	f := &Failure{}
	if !strings.Contains(req.Header.Get("Content-Type"), "json") || json.Unmarshal(body, f) != nil || f.Type == "" {
		i.end(nil, fmt.Errorf("%w: an error without a type", ErrProtocol))
		return
	}
	i.end(nil, f)
}
