package webserve

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Server serves one listener.
type Server struct {
	Listener net.Listener
	Handler  http.Handler
	TLS      *tls.Config // nil: plain
	Log      *slog.Logger
	Grace    time.Duration  // for what is under way at the end; 0: 10 s
	Patience time.Duration  // with a request, to the last byte of its answer; 0: 1 min
	Trusted  []netip.Prefix // proxies, which may have any number of connections
}

// perPeer bounds the connections of one Subnet: limits of requests do not see
// those on which nothing is asked. Many machines may stand behind one address.
const perPeer = 1024

// bound closes what a peer opens beyond perPeer.
func (s *Server) bound() func(net.Conn, http.ConnState) {
	var mu sync.Mutex
	held := map[string]int{}
	return func(c net.Conn, state http.ConnState) {
		p, err := netip.ParseAddrPort(c.RemoteAddr().String())
		a := p.Addr().Unmap()
		if err != nil || a.IsLoopback() || slices.ContainsFunc(s.Trusted, func(t netip.Prefix) bool { return t.Contains(a) }) {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		switch key := Subnet(a); state {
		case http.StateNew:
			if held[key]++; held[key] > perPeer {
				_ = c.Close()
			}
		case http.StateClosed, http.StateHijacked:
			if held[key]--; held[key] <= 0 {
				delete(held, key)
			}
		}
	}
}

// Serve serves until ctx ends, then lets requests under way end for as long as
// Grace. Requests' contexts end with ctx only after that; Stopping tells
// streams to end before.
func (s *Server) Serve(ctx context.Context) error {
	patience := s.Patience
	if patience == 0 {
		patience = time.Minute
	}
	stopping := make(chan struct{})
	base, cancel := context.WithCancel(context.WithValue(context.WithoutCancel(ctx), stoppingKey{}, (<-chan struct{})(stopping)))
	defer cancel()
	srv := &http.Server{
		Handler:           s.Handler,
		TLSConfig:         s.TLS,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      patience, // who does not read would keep a connection for ever
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ConnState:         s.bound(),
		BaseContext:       func(net.Listener) context.Context { return base },
		ErrorLog:          slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
	}
	failed := make(chan error, 1)
	go func() {
		if s.TLS != nil {
			failed <- srv.ServeTLS(s.Listener, "", "")
			return
		}
		failed <- srv.Serve(s.Listener)
	}()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	close(stopping)
	grace := s.Grace
	if grace == 0 {
		grace = 10 * time.Second
	}
	end, stop := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer stop()
	err := srv.Shutdown(end)
	if err != nil {
		err = srv.Close()
	}
	if e := <-failed; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	return err
}

type stoppingKey struct{}

// Stopping is closed when the server of a request begins to stop. Streams,
// which would never end, end then.
func Stopping(ctx context.Context) <-chan struct{} {
	c, _ := ctx.Value(stoppingKey{}).(<-chan struct{})
	return c
}

// Stream readies an answer that goes on for as long as it likes, which bounds
// meant for plain requests would cut. Whoever streams bounds each write.
func Stream(w http.ResponseWriter) *http.ResponseController {
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Time{})
	_ = rc.SetWriteDeadline(time.Time{})
	return rc
}

// Certificate reads a certificate and its key from files, anew when they
// change, so that a renewed one is served without a restart.
type Certificate struct {
	certFile, keyFile string

	mu      sync.Mutex
	cert    *tls.Certificate
	checked time.Time
}

// LoadCertificate reads a certificate for the first time.
func LoadCertificate(certFile, keyFile string) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile}
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	c.cert, c.checked = &cert, time.Now()
	return c, nil
}

// Config serves the certificate, over TLS 1.2 at least.
func (c *Certificate) Config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current(), nil }}
}

func (c *Certificate) current() *tls.Certificate {
	const every = 10 * time.Second
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.checked) > every {
		c.checked = now
		// A pair that is being replaced does not match: the old one serves on.
		if cert, err := tls.LoadX509KeyPair(c.certFile, c.keyFile); err == nil {
			c.cert = &cert
		}
	}
	return c.cert
}
