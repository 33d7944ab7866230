package lend_test

import (
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/litentry/agentkeys/e2e/lend/rig"
	"github.com/litentry/agentkeys/internal/testsrv"
)

// within waits until something is so.
func within(t *testing.T, limit time.Duration, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}

// TestIdle: what is not used is not kept in memory, and is there again when it
// is.
func TestIdle(t *testing.T) {
	h := rig.New(t)
	h.Up("--idle", "200ms")
	hold := make(chan struct{})
	s := h.StandIn(testsrv.Options{Shape: testsrv.OpenRouter, Gate: func(ctx context.Context, k int) error {
		if k < 3 {
			return nil
		}
		select {
		case <-hold:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}})
	h.OK("agent", "create", "coder")
	h.OK("grant", "coder", s.Name)
	a := h.Session("coder")
	for round := range 4 {
		ans, err := a.Chat(s.Name, "hello")
		want(t, fmt.Sprint("request ", round), ans, err, 200, "")
		if round == 0 {
			if n := h.Status().Cached; n != 1 {
				t.Errorf("%d keys open in memory", n)
			}
		}
		within(t, 10*time.Second, "the key is cleared", func() bool { return h.Status().Cached == 0 })
	}

	// A stream that is silent for longer than that is not idle.
	resp, err := a.Open(t.Context(), "POST", s.Name, "/chat/completions", rig.ChatBody("some-model", "stream", true))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	time.Sleep(600 * time.Millisecond)
	if n := h.Status().Cached; n != 1 {
		t.Errorf("%d keys open in memory during a stream", n)
	}
	close(hold)
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Error(err)
	}
	within(t, 10*time.Second, "the key is cleared", func() bool { return h.Status().Cached == 0 })
}

// TestIdleConnections: a service that has closed its end of a connection kept
// for later costs no request, of whatever method.
func TestIdleConnections(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("http2=%t", http2), func(t *testing.T) {
			h := rig.New(t)
			h.Up()
			var mu sync.Mutex
			conns := map[string]bool{}
			srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				b, _ := io.ReadAll(r.Body)
				mu.Lock()
				conns[r.RemoteAddr] = true
				mu.Unlock()
				_, _ = fmt.Fprintf(w, "%s %s", r.Proto, b)
			}))
			srv.EnableHTTP2 = http2
			srv.Config.IdleTimeout = 50 * time.Millisecond
			closed := make(chan struct{}, 100)
			srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
				if s == http.StateClosed {
					closed <- struct{}{}
				}
			}
			srv.StartTLS()
			defer srv.Close()
			h.CustomAt("closer", srv.URL, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}))
			h.Store("closer", rig.Key(""))
			h.OK("agent", "create", "coder")
			h.OK("grant", "coder", "closer")
			a := h.Session("coder")
			for i := range 12 {
				method, body := "GET", ""
				if i%2 == 1 {
					method, body = "POST", "something"
				}
				ans, err := a.Do(method, "closer", "/", body)
				want(t, fmt.Sprint(method, " ", i), ans, err, 200, "")
				if wanted := map[bool]string{false: "HTTP/1.1 ", true: "HTTP/2.0 "}[http2] + body; string(ans.Body) != wanted {
					t.Errorf("%q, want %q", ans.Body, wanted)
				}
				// Not while it is being closed: what is sent then may be lost, and
				// a POST is not sent twice.
				<-closed
				time.Sleep(20 * time.Millisecond)
			}
			mu.Lock()
			defer mu.Unlock()
			if len(conns) != 12 {
				t.Errorf("%d connections for 12 requests", len(conns))
			}
		})
	}
}
