// Package manage plays the management APIs of six services over TLS: keys are
// made, listed, limited, expired and deleted as the vendors' documents say. It
// serves tests and the demo. It does not depend on testing, nor on package
// mint, so that the two are written from the documents and not from each other.
//
// Known divergences from the live services: one management key is accepted, one
// team or project exists, what is charged counts at once, and a deleted key is
// refused from that moment on.
package manage

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/litentry/agentkeys/internal/testsrv"
)

// Scope is the only project, team or service account there is.
const Scope = "scope-1"

// Options say what a Server plays. Only Shape is needed.
type Options struct {
	Shape string // openrouter, openai, google, xai, resend or elevenlabs
	Addr  string // 127.0.0.1:0 if empty
	Now   func() time.Time
	// Before and After are called, if set, around what a request changes: After
	// when it is changed and not yet answered.
	Before, After func(method, path string)
}

// Outage is how a Server fails.
type Outage int

// The outages there are.
const (
	Up          Outage = iota
	Unavailable        // 503, and nothing is changed
	Busy               // 429 with Retry-After
	Cut                // the connection ends without an answer, and nothing is changed
	CutAfter           // likewise, and the change is made
	Silent             // nothing is answered, and nothing is changed
)

// Key is a key of the service.
type Key struct {
	ID, Name string
	Label    string // what Keyring calls it
	Live     bool
	Limit    float64 // 0: none
	Reset    string  // daily, weekly, monthly or ""
	Expires  time.Time
	Spent    float64
}

type key struct {
	Key
	digest [32]byte
}

// Seen is one request, without what authenticates it.
type Seen struct {
	Method, Path, Query, Body string
	Status                    int
}

// Server is a management API that is listening.
type Server struct {
	opts       Options
	management string
	caPEM      []byte
	addr       string
	http       *http.Server
	ctx        context.Context
	cancel     context.CancelFunc

	mu     sync.Mutex
	keys   []*key
	outage Outage
	seen   []Seen
}

// Start makes a Server that listens by the time it returns.
func Start(o Options) (*Server, error) {
	play, ok := plays[o.Shape]
	if !ok {
		return nil, errors.New("manage: unknown shape")
	}
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	cert, caPEM, err := testsrv.NewCertificate(nil, testsrv.CertGood)
	if err != nil {
		return nil, fmt.Errorf("manage: %w", err)
	}
	ln, err := net.Listen("tcp", o.Addr)
	if err != nil {
		return nil, fmt.Errorf("manage: %w", err)
	}
	s := &Server{opts: o, management: "mgmt-" + random(24), caPEM: caPEM, addr: ln.Addr().String()}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	mux := http.NewServeMux()
	for _, r := range play.routes {
		mux.HandleFunc(r.pattern, func(w http.ResponseWriter, req *http.Request) { s.serve(w, req, play, r.serve) })
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, req *http.Request) {
		s.serve(w, req, play, func(*Server, *call) (int, any) { return http.StatusNotFound, object{"error": "not found"} })
	})
	s.http = &http.Server{
		Handler: mux, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: 30 * time.Second,
		TLSConfig:   &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12},
		BaseContext: func(net.Listener) context.Context { return s.ctx },
	}
	go func() { _ = s.http.ServeTLS(ln, "", "") }()
	return s, nil
}

// Close stops listening and cuts every connection.
func (s *Server) Close() error {
	s.cancel()
	return s.http.Close()
}

// Addr is host and port.
func (s *Server) Addr() string { return s.addr }

// BaseURL is where the catalogue's address of the management API is played.
func (s *Server) BaseURL() string { return "https://" + s.addr + plays[s.opts.Shape].base }

// CAPEM is the certificate of the authority that signed the server's.
func (s *Server) CAPEM() []byte { return slices.Clone(s.caPEM) }

// Management is the management key, made at the start.
func (s *Server) Management() string { return s.management }

// Fail begins an outage, or ends it with Up.
func (s *Server) Fail(o Outage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outage = o
}

// Seen returns what arrived, oldest first.
func (s *Server) Seen() []Seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

// Keys returns every key that was ever made, oldest first.
func (s *Server) Keys() []Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Key, 0, len(s.keys))
	for _, k := range s.keys {
		out = append(out, k.Key)
		out[len(out)-1].Live = s.live(k)
	}
	return out
}

// Live returns the keys that are good now.
func (s *Server) Live() []Key {
	return slices.DeleteFunc(s.Keys(), func(k Key) bool { return !k.Live })
}

// Remove deletes a key as its owner can on the service's own page.
func (s *Server) Remove(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.keys {
		if k.ID == id {
			k.Live = false
		}
	}
}

// Keyring answers testsrv.Options.Keyring: the label of a key that is good.
func (s *Server) Keyring(text string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.find(text); k != nil && s.live(k) {
		return k.Label
	}
	return ""
}

// ErrLimit says that a key has spent what it may.
var ErrLimit = errors.New("the key's limit is exceeded")

// Charge answers testsrv.Options.Charge: it counts what a key spends. A key that
// has spent its limit spends no more.
func (s *Server) Charge(text string, usd float64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.find(text)
	if k == nil {
		return nil // not of this service
	}
	if k.Limit > 0 && k.Spent+usd > k.Limit {
		return ErrLimit
	}
	k.Spent += usd
	return nil
}

// Spend counts what a key, by its id, has spent elsewhere.
func (s *Server) Spend(id string, usd float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.keys {
		if k.ID == id {
			k.Spent += usd
		}
	}
}

func (s *Server) find(text string) *key {
	d := sha256.Sum256([]byte(text))
	for _, k := range s.keys {
		if k.digest == d {
			return k
		}
	}
	return nil
}

// live is for who holds mu.
func (s *Server) live(k *key) bool {
	return k.Key.Live && (k.Expires.IsZero() || s.opts.Now().Before(k.Expires))
}

// make makes a key with text as its secret.
func (s *Server) make(id, name, text string) *key {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := &key{Key{ID: id, Name: name, Label: name, Live: true}, sha256.Sum256([]byte(text))}
	s.keys = append(s.keys, k)
	return k
}

// byID returns a key that was not deleted, or nil.
func (s *Server) byID(id string) *key {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.keys {
		if k.ID == id && k.Key.Live {
			return k
		}
	}
	return nil
}

func random(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}

func digestOf(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		_, _ = io.WriteString(h, p+"\n")
	}
	return hex.EncodeToString(h.Sum(nil)[:20])
}
