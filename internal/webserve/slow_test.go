package webserve_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/webserve"
)

// Whoever asks and does not read the answer is let go, over HTTP/1 and HTTP/2,
// and a stream that bounds its own writes goes on.
func TestNeverReads(t *testing.T) {
	const patience = 300 * time.Millisecond
	for _, protos := range [][]string{{"http/1.1"}, {"h2"}} {
		let, streamed := make(chan error, 1), make(chan bool)
		mux := http.NewServeMux()
		mux.HandleFunc("GET /long", func(w http.ResponseWriter, _ *http.Request) {
			part := make([]byte, 1<<20)
			for {
				if _, err := w.Write(part); err != nil {
					let <- err
					return
				}
			}
		})
		mux.HandleFunc("GET /stream", func(w http.ResponseWriter, _ *http.Request) {
			rc := webserve.Stream(w)
			_ = rc.Flush()
			<-streamed
			_, _ = io.WriteString(w, "whole")
		})
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		// One that only lends its certificate.
		lender := httptest.NewUnstartedServer(http.NotFoundHandler())
		lender.StartTLS()
		defer lender.Close()
		srv := &webserve.Server{
			Listener: ln, Handler: webserve.Handler(mux, webserve.Options{Log: quiet(), Now: time.Now}), Log: quiet(), Patience: patience,
			TLS: &tls.Config{Certificates: lender.TLS.Certificates, NextProtos: protos},
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- srv.Serve(ctx) }()
		client := lender.Client()
		client.Transport.(*http.Transport).ForceAttemptHTTP2 = protos[0] == "h2"
		stream, err := client.Get("https://" + ln.Addr().String() + "/stream")
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.Get("https://" + ln.Addr().String() + "/long")
		if err != nil {
			t.Fatal(err)
		}
		if want := map[string]int{"http/1.1": 1, "h2": 2}[protos[0]]; res.ProtoMajor != want {
			t.Fatalf("%s is spoken, want %s", res.Proto, protos[0])
		}
		select {
		case <-let:
		case <-time.After(30 * time.Second):
			t.Errorf("%s: it is still waited for", protos[0])
		}
		res.Body.Close()
		close(streamed)
		if data, err := io.ReadAll(stream.Body); string(data) != "whole" || err != nil {
			t.Errorf("%s: the stream got %q, %v", protos[0], data, err)
		}
		stream.Body.Close()
		stop()
		<-ended
	}
}

// Who asks too often does not keep a connection as well, unless it is a
// proxy's, which is others' too.
func TestLimitedCloses(t *testing.T) {
	for via, want := range map[string]string{"": "close", "192.0.2.7": ""} {
		h := webserve.Handler(http.NewServeMux(), webserve.Options{
			Log: quiet(), Now: time.Now, Limiter: webserve.NewLimiter(time.Hour, 1, 10, time.Now),
			Trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		})
		var w *httptest.ResponseRecorder
		for range 2 {
			r := httptest.NewRequest("GET", "/", nil)
			r.RemoteAddr = "10.0.0.1:99"
			if via != "" {
				r.Header.Set("X-Forwarded-For", via)
			}
			w = httptest.NewRecorder()
			h.ServeHTTP(w, r)
		}
		if got := w.Header().Get("Connection"); w.Code != 429 || got != want {
			t.Errorf("by %q: %d, Connection: %q, want %q", via, w.Code, got, want)
		}
	}
}

// far is a listener whose peers are elsewhere.
type far struct {
	net.Listener
	peers chan string
}

func (f far) Accept() (net.Conn, error) {
	c, err := f.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return farConn{c, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(<-f.peers))}, nil
}

type farConn struct {
	net.Conn
	peer net.Addr
}

func (c farConn) RemoteAddr() net.Addr { return c.peer }

// One peer has so many connections and no more, whether it asks for anything
// or not; others, and proxies, are not hindered by it.
func TestConnections(t *testing.T) {
	const most = 1024
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(http.ResponseWriter, *http.Request) {})
	peers := make(chan string, 1)
	srv := &webserve.Server{
		Listener: far{ln, peers}, Handler: mux, Log: quiet(), Trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Grace: time.Millisecond,
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(ctx) }()
	open := func(peer string) net.Conn {
		peers <- peer
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	served := func(c net.Conn) bool {
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		n, _ := c.Read(make([]byte, 1))
		return n == 1
	}
	var held []net.Conn
	for range most {
		held = append(held, open("192.0.2.1:9"))
	}
	if served(open("192.0.2.1:9")) || !served(held[0]) {
		t.Error("it may have more, or what it had is closed")
	}
	for _, peer := range []string{"192.0.2.2:9", "[2001:db8::1]:9", "10.0.0.1:9"} {
		if !served(open(peer)) {
			t.Errorf("%s is hindered", peer)
		}
	}
	for range most {
		open("10.0.0.1:9")
	}
	if !served(open("10.0.0.1:9")) {
		t.Error("a proxy is bound")
	}
	for _, c := range held {
		_ = c.Close()
	}
	for end := time.Now().Add(30 * time.Second); !served(open("192.0.2.1:9")); {
		if time.Now().After(end) {
			t.Fatal("what it closed counts on")
		}
		time.Sleep(50 * time.Millisecond)
	}
	stop()
	<-ended
}
