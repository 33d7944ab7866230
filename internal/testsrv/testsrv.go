// Package testsrv plays third parties over real sockets: the OpenRouter, OpenAI
// and Anthropic APIs as their official clients know them, and a catalogue of
// hostile answers (see Hostile). It serves tests and the demo command; nothing
// else in production may import it. It depends on the standard library only,
// and not on testing.
//
// An answer is a function of the request alone: the same prompt gets the same
// text, which quotes a digest of the prompt (see Reply), so that a client can
// tell its own answer from another's. Model names that steer an answer are
// listed at Models.
//
// Known divergences from the live services: any model name is accepted; the
// figures in rate headers never move; a request with two different credentials
// is refused whichever of them is right, because it means that a proxy passed
// on what its client sent.
package testsrv

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"
)

// Options say what a Server is. Only Shape is needed.
type Options struct {
	Shape Shape
	// Addr is where to listen, 127.0.0.1:0 if empty.
	Addr string
	// Keys are the accepted keys by label. The label is what Requests reports.
	Keys map[string]string
	// Keyring, if set, is asked about every other key: "" if it is not accepted,
	// else its label. It may be called from many goroutines.
	Keyring func(key string) (label string)
	// Charge, if set, is told what each call of OpenRouter's chat costs before it
	// is answered; an error refuses the call with 402. It may be called from many
	// goroutines.
	Charge func(key string, usd float64) error
	// Extra, if set, answers what the API has no path for.
	Extra http.Handler
	// Hosts are further names that the certificate is good for: the live host,
	// for a client that is made to dial here but verifies the real name.
	Hosts []string
	// HTTP1 leaves HTTP/2 out, which the hostile paths that break the framing
	// of HTTP/1.1 need.
	HTTP1 bool
	// Fault spoils the certificate.
	Fault CertFault

	// Events is how many pieces of text a streamed answer has; 0 is one a word.
	Events int
	// Gap is slept before every event of a stream but the first.
	Gap time.Duration
	// Gate, if set, is called before event k = 0, 1, … of every stream is
	// written. It may block until ctx, the request's, is done; an error cuts
	// the connection.
	Gate func(ctx context.Context, k int) error

	// Compress has the APIs, streams included, answer in gzip to a client that
	// accepts it, as the live ones do.
	Compress bool
	// Encoders add content codings to /hostile/echo/encoded/{coding}, such as
	// "br", for which the standard library has no writer.
	Encoders map[string]func([]byte) ([]byte, error)
	// Remember is how many requests Requests keeps at most, 10,000 if zero: the oldest
	// are forgotten first.
	Remember int
	// ErrorLog gets what net/http complains about; discarded if nil.
	ErrorLog *log.Logger
}

// Server is a third party that is listening.
type Server struct {
	opts   Options
	vendor *vendor
	caPEM  []byte
	addr   string
	http   *http.Server
	seen   recorder

	// ctx ends with the Server, and with it every handler that never would.
	ctx      context.Context
	cancel   context.CancelFunc
	handlers sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	hijacked map[net.Conn]struct{}
}

// Start makes a Server that listens by the time it returns.
func Start(opts Options) (*Server, error) {
	v, ok := vendors[opts.Shape]
	if !ok {
		return nil, errors.New("testsrv: unknown shape")
	}
	for label, key := range opts.Keys {
		if label == "" || key == "" {
			return nil, errors.New("testsrv: a key needs a label and a value")
		}
	}
	if opts.Addr == "" {
		opts.Addr = "127.0.0.1:0"
	}
	if opts.Remember <= 0 {
		opts.Remember = 10_000
	}
	if opts.ErrorLog == nil {
		opts.ErrorLog = log.New(io.Discard, "", 0)
	}
	cert, caPEM, err := NewCertificate(opts.Hosts, opts.Fault)
	if err != nil {
		return nil, fmt.Errorf("testsrv: %w", err)
	}
	ln, err := net.Listen("tcp", opts.Addr)
	if err != nil {
		return nil, fmt.Errorf("testsrv: %w", err)
	}

	s := &Server{opts: opts, vendor: v, caPEM: caPEM, addr: ln.Addr().String(), hijacked: map[net.Conn]struct{}{}}
	s.seen = recorder{keys: opts.Keys, ring: opts.Keyring, limit: opts.Remember}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(!opts.HTTP1)
	s.http = &http.Server{
		Handler:           s.handler(),
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12},
		Protocols:         protocols,
		ErrorLog:          opts.ErrorLog,
		ReadHeaderTimeout: 30 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return s.ctx },
	}
	s.handlers.Go(func() { _ = s.http.ServeTLS(ln, "", "") })
	return s, nil
}

// URL is the origin, https://127.0.0.1:PORT, without the base path.
func (s *Server) URL() string { return "https://" + s.addr }

// BaseURL is the origin with the base path of the live service.
func (s *Server) BaseURL() string { return s.URL() + s.vendor.base }

// Addr is host and port.
func (s *Server) Addr() string { return s.addr }

// CAPEM is the certificate of the authority that signed the server's. Its key
// is gone: it can sign nothing else.
func (s *Server) CAPEM() []byte { return append([]byte(nil), s.caPEM...) }

// Requests returns what arrived, oldest first. A request is in it before its
// answer begins.
func (s *Server) Requests() []Seen { return s.seen.all() }

// Close stops listening, cuts every connection and waits for the handlers.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	for c := range s.hijacked {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.cancel()
	err := s.http.Close()
	s.handlers.Wait()
	return err
}

// enter counts a handler in, so that Close can wait for it. It reports false
// when the Server is closed already.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.handlers.Add(1)
	}
	return !s.closed
}

// adopt remembers a hijacked connection, which http.Server.Close leaves alone.
// It reports false when the Server is closed already.
func (s *Server) adopt(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.hijacked[c] = struct{}{}
	return true
}

func (s *Server) drop(c net.Conn) {
	s.mu.Lock()
	delete(s.hijacked, c)
	s.mu.Unlock()
	_ = c.Close()
}
