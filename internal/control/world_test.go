package control

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/daemon"
	"github.com/litentry/agentkeys/internal/local"
	"github.com/litentry/agentkeys/internal/signer"
)

// world is a Host behind a Server on a socket.
type world struct {
	host   *local.Host
	server *Server
	paths  local.Paths
	client *Client
	log    *bytes.Buffer
	mu     sync.Mutex // of log
	stops  atomic.Int64
}

func (w *world) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(b)
}

func (w *world) logged() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.String()
}

func newWorld(t *testing.T) *world {
	t.Helper()
	dir, err := os.MkdirTemp("", "ctl-") // short: sockets are in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	w := &world{log: &bytes.Buffer{}}
	w.paths, err = local.PathsFrom(func(name string) string { return map[string]string{"AGENTKEYS_HOME": dir}[name] })
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(w, nil))
	w.host, err = local.Open(local.Options{Paths: w.paths, Roots: signer.NewRoots(), Log: log, Now: time.Now, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	w.server = NewServer(w.host, log, func() { w.stops.Add(1) })
	ln, err := daemon.ListenUnix(w.paths.Control())
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- w.server.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := w.server.Close(ctx); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
		if err := w.host.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	w.client = NewClient(w.paths.Control())
	return w
}

func agentOf(t testing.TB, label string) agentkeys.Agent {
	t.Helper()
	a, err := agentkeys.ParseAgent(label)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func serviceOf(t testing.TB, name string) agentkeys.Service {
	t.Helper()
	s, err := agentkeys.ParseService(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// raw sends a request as it is and returns status and body.
func (w *world) raw(t *testing.T, method, path, body string) (int, string) {
	t.Helper()
	return rawTo(t, w.paths.Control(), method, path, body)
}

func rawTo(t testing.TB, socket, method, path, body string) (int, string) {
	t.Helper()
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}}}
	req, err := http.NewRequestWithContext(context.Background(), method, "http://agentkeys"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// concrete is a path for a route's pattern.
func concrete(pattern string) (method, path string) {
	method, path, _ = strings.Cut(pattern, " ")
	path = strings.NewReplacer("{service}", "openrouter", "{agent}", "coder").Replace(path)
	if path == "/v1/audit/tail" {
		path += "?n=1"
	}
	return method, path
}

// tryAll tries every route and returns a line for each.
func tryAll(t testing.TB, socket string) []string {
	var lines []string
	for _, r := range routes {
		method, path := concrete(r.pattern)
		status, body := rawTo(t, socket, method, path, "")
		lines = append(lines, fmt.Sprintf("%s: %d %s", r.pattern, status, strings.TrimSpace(body)))
	}
	return lines
}

// place is a socket in a directory that anybody may enter, and use.
func place(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ctl-open-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "s")
}
