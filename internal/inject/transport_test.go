package inject

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// The name that TLS is asked for, the Host header and the address are those of
// the route, whatever the agent says.
func TestHostAndNameAgree(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		names := make(chan string, 10)
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, r.Host+" "+r.Header.Get("Host"))
		}))
		srv.EnableHTTP2 = h2
		srv.TLS = &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) { names <- h.ServerName; return nil, nil }}
		srv.StartTLS()
		t.Cleanup(srv.Close)
		route := routeTo(t, srv.Listener.Addr(), srv.Certificate())
		// example.com is in the certificate; the dialer is told where it is.
		route.Base = parseURL("https://example.com/api/v1")
		route.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			if address != "example.com:443" {
				t.Errorf("dialled %s", address)
			}
			return new(net.Dialer).DialContext(ctx, network, srv.Listener.Addr().String())
		}
		addr := serve(t, newBackend(route), Options{})
		answer := raw(t, addr, "GET /openrouter/a HTTP/1.1\r\nHost: "+addr+"\r\nX-Api-Key: "+placeholder+"\r\nX-Forwarded-Host: evil.example\r\nX-Host: evil.example\r\nForwarded: host=evil.example\r\n\r\n")
		if !strings.HasSuffix(answer, "example.com ") || <-names != "example.com" {
			t.Errorf("h2=%v: %s", h2, answer)
		}
	}
}

func TestNoProxyOfTheEnvironment(t *testing.T) {
	spy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = spy.Close() }()
	go func() {
		for {
			c, err := spy.Accept()
			if err != nil {
				return
			}
			t.Error("the proxy of the environment was used")
			_ = c.Close()
		}
	}()
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "https_proxy"} {
		t.Setenv(name, "http://"+spy.Addr().String())
	}
	tr := NewTransport(TransportOptions{})
	if tr.Proxy != nil {
		t.Error("a proxy function is set")
	}
	route := upstream(t, false, func(http.ResponseWriter, *http.Request) {})
	if res, _ := get(t, serve(t, newBackend(route), Options{}), "/openrouter/a"); res.StatusCode != 200 {
		t.Errorf("%d", res.StatusCode)
	}
}

func TestTransportIsBounded(t *testing.T) {
	tr := NewTransport(TransportOptions{})
	if tr.TLSHandshakeTimeout == 0 || tr.ResponseHeaderTimeout == 0 || tr.IdleConnTimeout == 0 || tr.MaxIdleConns == 0 || tr.MaxResponseHeaderBytes == 0 || tr.TLSClientConfig.MinVersion < tls.VersionTLS12 || tr.TLSClientConfig.InsecureSkipVerify {
		t.Errorf("unbounded: %+v", tr)
	}
}

// Slow and endless headers end; nobody else waits for them.
func TestServerBounds(t *testing.T) {
	route := upstream(t, false, func(http.ResponseWriter, *http.Request) {})
	p := New(newBackend(route), Options{Hosts: SocketHosts()})
	srv := NewServer(p)
	if srv.ReadHeaderTimeout == 0 || srv.IdleTimeout == 0 || srv.WriteTimeout == 0 || srv.MaxHeaderBytes == 0 {
		t.Error("unbounded")
	}
	srv.ReadHeaderTimeout, srv.IdleTimeout = 200*time.Millisecond, 200*time.Millisecond
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	for name, beginning := range map[string]string{"slow": "GET / HTTP/1.1\r\nX: ", "nothing": "", "idle": "GET / HTTP/1.1\r\nHost: x\r\n\r\n"} {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, beginning)
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.Copy(io.Discard, c); err != nil {
			t.Errorf("%s: the connection was not closed: %v", name, err)
		}
		_ = c.Close()
	}
	// Over a unix socket, too, and past a wrapper that hides the connection.
	if res, _ := get(t, serve(t, newBackend(route), Options{}), "/openrouter/a"); res.StatusCode != 200 {
		t.Errorf("%d", res.StatusCode)
	}
}

// The server itself writes no log: what it would write, agents and panics choose.
func TestServerLogsNothing(t *testing.T) {
	var logged bytes.Buffer
	log.SetOutput(&logged)
	defer log.SetOutput(io.Discard)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(canary) }))
	go func() { _ = srv.Serve(l) }()
	raw(t, l.Addr().String(), "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	_ = srv.Close()
	if logged.Len() > 0 {
		t.Errorf("logged: %s", logged.String())
	}
}

type hidden struct{ w http.ResponseWriter }

func (h hidden) Header() http.Header         { return h.w.Header() }
func (h hidden) Write(b []byte) (int, error) { return h.w.Write(b) }
func (h hidden) WriteHeader(s int)           { h.w.WriteHeader(s) }
func (h hidden) Unwrap() http.ResponseWriter { return h.w }

// A wrapped ResponseWriter loses neither flushing nor deadlines.
func TestWrappedWriter(t *testing.T) {
	pieces := make(chan string, 1)
	b := newBackend(gated(t, false, "text/event-stream", pieces))
	p := New(b, Options{Hosts: SocketHosts()})
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.ServeHTTP(hidden{w}, r) }))
	srv.Config.WriteTimeout = 200 * time.Millisecond
	srv.Start()
	t.Cleanup(srv.Close)
	res, err := client(t).Do(newRequest(t, "GET", srv.URL+"/openrouter/a", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	for range 3 {
		time.Sleep(150 * time.Millisecond)
		pieces <- "data\n\n"
		within(t, "event", func() error { _, err := io.ReadFull(res.Body, make([]byte, 6)); return err })
	}
	close(pieces)
	if _, err := io.ReadAll(res.Body); err != nil {
		t.Error(err)
	}
}

// A problem that comes late, after the server's own deadline, still arrives.
func TestLateProblem(t *testing.T) {
	route := rawUpstream(t, func(*http.Request, net.Conn) { time.Sleep(400 * time.Millisecond) })
	p := New(newBackend(route), Options{Hosts: SocketHosts(), Stall: time.Second})
	srv := httptest.NewUnstartedServer(p)
	srv.Config.WriteTimeout = 300 * time.Millisecond
	srv.Start()
	t.Cleanup(srv.Close)
	if res, body := do(t, newRequest(t, "GET", srv.URL+"/openrouter/a", nil)); res.StatusCode != 502 {
		t.Errorf("%d %s", res.StatusCode, body)
	}
}
