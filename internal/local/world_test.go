package local

import (
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/book"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/signer"
	"github.com/litentry/agentkeys/internal/testsrv/ports"
)

// world is a Host and what it needs to be opened again.
type world struct {
	*Host
	t     *testing.T
	dir   string
	roots signer.Roots
	log   *syncBuffer
}

type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "loc-") // short: sockets are in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: shortDir(t), roots: signer.NewRoots(), log: &syncBuffer{}}
	w.open()
	t.Cleanup(w.close)
	return w
}

func (w *world) options() Options {
	p, err := PathsFrom(func(name string) string { return map[string]string{"AGENTKEYS_HOME": w.dir}[name] })
	if err != nil {
		w.t.Fatal(err)
	}
	// The Host owns the roots it is given.
	text, err := signer.EncodeRoots(w.roots)
	if err != nil {
		w.t.Fatal(err)
	}
	roots, err := signer.DecodeRoots(text)
	if err != nil {
		w.t.Fatal(err)
	}
	// Not the default ports, which all tests on the machine would share.
	port, mail := 0, MailSettings{}
	if _, err := os.Stat(p.Port()); err != nil {
		port = freePort(w.t)
	}
	if _, err := os.Stat(p.MailSettings()); err != nil {
		mail.Port = freePort(w.t)
	}
	return Options{Port: port, Mail: mail, Paths: p, Roots: roots, Log: slog.New(slog.NewTextHandler(w.log, nil)), Now: time.Now, Version: "test"}
}

// freePort is a port that is nobody else's until the test ends.
func freePort(t *testing.T) int {
	t.Helper()
	port, err := ports.Take(t.Cleanup)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func (w *world) open() {
	w.t.Helper()
	h, err := Open(w.options())
	if err != nil {
		w.t.Fatal(err)
	}
	w.Host = h
}

func (w *world) close() {
	w.t.Helper()
	if w.Host == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := w.Host.Close(ctx); err != nil {
		w.t.Error(err)
	}
	w.Host = nil
}

// killed is a world with what a kill at this moment would leave.
func (w *world) killed() *world {
	w.t.Helper()
	c := &world{t: w.t, dir: shortDir(w.t), roots: w.roots, log: &syncBuffer{}}
	if err := os.RemoveAll(c.dir); err != nil {
		w.t.Fatal(err)
	}
	// The sockets are nothing that a copy could have.
	for _, name := range []string{"config", "data", "state"} {
		if err := os.CopyFS(c.dir+"/"+name, os.DirFS(w.dir+"/"+name)); err != nil {
			w.t.Fatal(err)
		}
	}
	err := filepath.WalkDir(c.dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			err = os.Chmod(path, 0o700)
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := os.Remove(c.dir + "/data/port"); err != nil { // this process has it still
		w.t.Fatal(err)
	}
	w.t.Cleanup(c.close)
	return c
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

// routerKey is a key of OpenRouter's form.
func routerKey(n int) string { return fmt.Sprintf("sk-or-v1-%064x", n) }

func (w *world) store(name, key string) StoreResult {
	w.t.Helper()
	res, err := w.Store(w.t.Context(), serviceOf(w.t, name), secret.FromString(key), StoreOptions{NoVerify: true})
	if err != nil {
		w.t.Fatal(err)
	}
	return res
}

func (w *world) agent(label string) book.Agent {
	w.t.Helper()
	a, err := w.CreateAgent(w.t.Context(), agentOf(w.t, label))
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

func (w *world) lend(label, name string, t book.Terms) *grant.Grant {
	w.t.Helper()
	if t.Expires.IsZero() {
		t.Expires = time.Now().Add(time.Hour)
	}
	g, err := w.Grant(w.t.Context(), agentOf(w.t, label), serviceOf(w.t, name), t)
	if err != nil {
		w.t.Fatal(err)
	}
	return &g.Grant
}

func (w *world) revealed(name string) string {
	w.t.Helper()
	v, err := w.Reveal(w.t.Context(), serviceOf(w.t, name))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(v.Expose())
}

// service answers as it is told, over TLS.
type service struct {
	*httptest.Server
	mu     sync.Mutex
	status int
	body   string
	header http.Header
	asked  []*http.Request
}

func newService(t *testing.T) *service {
	s := &service{status: 200}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.asked = append(s.asked, r)
		for k, v := range s.header {
			w.Header()[k] = v
		}
		if s.status < 0 {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(s.status)
		_, _ = io.WriteString(w, s.body)
	}))
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func (s *service) answer(status int, body string, header http.Header) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status, s.body, s.header = status, body, header
}

func (s *service) requests() []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

// reach has a service of the catalogue reached at s.
func (w *world) reach(name string, s *service, path string) {
	w.t.Helper()
	url := s.URL + path
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	_, err := w.SetService(w.t.Context(), serviceOf(w.t, name), ServiceChange{
		BaseURL: &url, CAPEM: &ca, AllowAddresses: []netip.AddrPort{netip.MustParseAddrPort(strings.TrimPrefix(s.URL, "https://"))}, Force: true,
	})
	if err != nil {
		w.t.Fatal(err)
	}
}
