package daemon

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/inject"
	"github.com/litentry/agentkeys/internal/testsrv"
)

// through sends a request through a daemon.
func through(t *testing.T, dial func(context.Context, string, string) (net.Conn, error), host, token string) (*http.Response, error) {
	t.Helper()
	tr := &http.Transport{DialContext: dial}
	t.Cleanup(tr.CloseIdleConnections)
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+host+"/openai/models", nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return (&http.Client{Transport: tr, Timeout: 10 * time.Second}).Do(req)
}

func status(t *testing.T, resp *http.Response, err error) int {
	t.Helper()
	if err != nil {
		t.Error(err)
		return 0
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// TestListen serves on loopback and on sockets, over a service that is held
// until the test lets it go.
func TestListen(t *testing.T) {
	w := newWorld(t)
	srv, err := testsrv.Start(testsrv.Options{Shape: testsrv.OpenAI})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	w.opts.Routes.lookup = func(s agentkeys.Service) (*catalog.Entry, error) {
		return entryOf(t, s.String(), catalog.Settings{
			BaseURL: srv.URL() + "/v1", CAPEM: string(srv.CAPEM()), AllowAddresses: []netip.AddrPort{netip.MustParseAddrPort(srv.Addr())},
		}), nil
	}
	w.opts.Routes.Forget(serviceOf(t, "openai"))

	addr, err := w.ListenLoopback(0)
	if err != nil {
		t.Fatal(err)
	}
	if tcp := addr.(*net.TCPAddr); !tcp.IP.IsLoopback() || tcp.Port == 0 {
		t.Errorf("%v", addr)
	}
	if _, err := w.ListenLoopback(addr.(*net.TCPAddr).Port); err == nil {
		t.Error("two listeners on one port")
	}
	// The stand-in refuses the shelf's key: what matters here is who gets there.
	if got := func() int { r, err := through(t, nil, addr.String(), "good"); return status(t, r, err) }(); got != 401 {
		t.Errorf("with a token: %d", got)
	}
	if n := len(srv.Requests()); n != 1 {
		t.Fatalf("the service saw %d requests", n)
	}
	if got := func() int { r, err := through(t, nil, addr.String(), "bad"); return status(t, r, err) }(); got != 401 || len(srv.Requests()) != 1 {
		t.Errorf("with no good token: %d, and the service saw it", got)
	}

	if err := w.ListenAgent(w.caller); err != nil {
		t.Fatal(err)
	}
	if err := w.ListenAgent(w.caller); err != nil {
		t.Errorf("listening twice: %v", err)
	}
	path := w.SocketPath(w.caller.Agent)
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}
	if got := func() int { r, err := through(t, dial, "agentkeys", ""); return status(t, r, err) }(); got != 401 || len(srv.Requests()) != 2 {
		t.Errorf("on the socket: %d, the service saw %d requests", got, len(srv.Requests()))
	}
	// An agent that is closed is cut off.
	held, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	w.CloseAgent(w.caller.Agent)
	w.CloseAgent(w.caller.Agent)
	w.CloseAgent(agentOf(t, "never-there"))
	_ = held.SetDeadline(time.Now().Add(5 * time.Second))
	if n, err := held.Read(make([]byte, 1)); n != 0 || err == nil || os.IsTimeout(err) {
		t.Errorf("a connection lives on: %d %v", n, err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
	if err := w.ListenAgent(w.caller); err != nil {
		t.Errorf("listening again: %v", err)
	}
	long := inject.Caller{Agent: agentOf(t, strings.Repeat("a", 63)), Wallet: wallet(9)}
	if len(w.SocketPath(long.Agent)) > maxSocketPath {
		if err := w.ListenAgent(long); err == nil {
			t.Error("a socket with too long a path")
		}
	}
	if w.Cached() != 1 {
		t.Errorf("%d keys open", w.Cached())
	}
	if err := w.Close(context.Background()); err != nil {
		t.Error(err)
	}
	if w.Cached() != 0 || !w.shelf.cleared(0) {
		t.Error("keys are left after Close")
	}
	if _, err := os.Lstat(w.opts.SocketDir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the sockets' directory is left: %v", err)
	}
	if _, err := net.Dial("tcp", addr.String()); err == nil {
		t.Error("it listens after Close")
	}
}

// TestSweep: idle credentials go by themselves.
func TestSweep(t *testing.T) {
	l, v := newLender(t), &shelf{text: "key"}
	d := New(Options{
		Directory: &book{}, Decider: l.decider, Vault: v, Routes: NewRoutes(nil), Idle: 20 * time.Millisecond,
		Log: slog.New(slog.DiscardHandler), Now: time.Now, SocketDir: t.TempDir(),
	})
	defer func() { _ = d.Close(context.Background()) }()
	p := l.permit(wallet(1))
	if _, err := d.cache.get(t.Context(), p, time.Now()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(60 * time.Millisecond)
	if d.Cached() != 1 {
		t.Error("evicted while in use")
	}
	(*backend)(d).Settle(p, grant.Outcome{Status: 200})
	for i := 0; d.Cached() != 0; i++ {
		if i == 30_000 {
			t.Fatal("not evicted")
		}
		time.Sleep(time.Millisecond)
	}
	if !v.cleared(0) {
		t.Error("not cleared")
	}
}
