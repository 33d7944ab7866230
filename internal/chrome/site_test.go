package chrome

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/provision/recipe"
)

// The hosts of the tests: two that are listed and one that is not, though the
// server answers for it.
const (
	shop  = "shop.example"
	login = "login.other.example"
	evil  = "evil.example"
)

// site serves pages under all three names on one address, and remembers what
// was asked of it.
type site struct {
	t    *testing.T
	addr netip.AddrPort
	ca   []byte

	mu     sync.Mutex
	pages  map[string]http.HandlerFunc
	visits []string
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, pages: map[string]http.HandlerFunc{}}
	cert, ca := certificate(t)
	s.ca = ca
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = netip.MustParseAddrPort(l.Addr().String())
	srv := &http.Server{Handler: s, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: 10 * time.Second,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}}
	go func() { _ = srv.ServeTLS(l, "", "") }()
	t.Cleanup(func() { _ = srv.Close() })
	return s
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.visits = append(s.visits, r.Method+" "+r.Host+r.URL.RequestURI())
	h := s.pages[r.Host+r.URL.Path]
	s.mu.Unlock()
	if h == nil {
		http.NotFound(w, r)
		return
	}
	h(w, r)
}

// page adds a page of HTML.
func (s *site) page(address, html string) {
	s.handle(address, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, "<!doctype html><meta charset=utf-8><title>t</title><body>"+html)
	})
}

func (s *site) handle(address string, h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pages[address] = h
}

// visited returns the requests for a host, icons aside.
func (s *site) visited(host string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, v := range s.visits {
		if _, rest, _ := strings.Cut(v, " "); strings.HasPrefix(rest, host+"/") && rest != host+"/favicon.ico" {
			out = append(out, v)
		}
	}
	return out
}

func certificate(t *testing.T) (tls.Certificate, []byte) {
	t.Helper()
	make := func(c, parent *x509.Certificate, signer *ecdsa.PrivateKey) ([]byte, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if signer == nil {
			signer = key
		}
		c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
		if err != nil {
			t.Fatal(err)
		}
		return der, key
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	caDER, caKey := make(ca, ca, nil)
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: []string{shop, login, evil}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, key := make(leaf, ca, caKey)
	return tls.Certificate{Certificate: [][]byte{der, caDER}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER})
}

// run is a browser in a test, with what it logged.
type run struct {
	*Browser
	recipe.Page
	t    *testing.T
	s    *site
	logs *bytes.Buffer
}

func launch(t *testing.T, s *site, change ...func(*Options)) *run {
	t.Helper()
	logs := new(bytes.Buffer)
	o := Options{Hosts: []string{shop, login}, Site: s.addr, CAPEM: s.ca, Dir: passableDir(t), Log: slog.New(slog.NewTextHandler(logs, nil))}
	for _, c := range change {
		c(&o)
	}
	b, err := Launch(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return &run{Browser: b, Page: b.Page(), t: t, s: s, logs: logs}
}

func (r *run) open(address string) {
	r.t.Helper()
	if err := r.Open(r.t.Context(), "https://"+address); err != nil {
		r.t.Fatalf("opening %s: %v", address, err)
	}
}

// until looks until ok says so. It is bounded by the test's own time.
func (r *run) until(what string, ok func(recipe.View) bool, css ...string) recipe.View {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 40*time.Second)
	defer cancel()
	for {
		v, err := r.Look(ctx, css)
		if err != nil {
			r.t.Fatalf("looking for %s: %v; last: %+v", what, err, v)
		}
		if ok(v) {
			return v
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// see returns the one element that matches a selector, waiting for it.
func (r *run) see(css string) recipe.Element {
	r.t.Helper()
	var e recipe.Element
	r.until(css, func(v recipe.View) bool {
		for _, x := range v.Elements {
			if len(x.CSS) > 0 {
				e = x
				return true
			}
		}
		return false
	}, css)
	return e
}

func (r *run) do(css string, act recipe.Act) {
	r.t.Helper()
	if err := r.Do(r.t.Context(), r.see(css).ID, act); err != nil {
		r.t.Fatalf("%s: %v", css, err)
	}
}

func (r *run) click(css string) { r.t.Helper(); r.do(css, recipe.Act{Click: true}) }

// read returns the text of an element.
func (r *run) read(css string) string {
	r.t.Helper()
	v, err := r.Read(r.t.Context(), r.see(css).ID)
	if err != nil {
		r.t.Fatalf("reading %s: %v", css, err)
	}
	return string(v.Expose())
}

// stopped looks until the guard says why.
func (r *run) stopped(want error) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 40*time.Second)
	defer cancel()
	for {
		if _, err := r.Look(ctx, nil); err != nil {
			if !errors.Is(err, want) {
				r.t.Fatalf("the page was stopped with %v, want %v", err, want)
			}
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// passableDir is a directory that a user other than root can get to, so that
// nobody else's runs are in it.
func passableDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{filepath.Dir(dir), dir} {
		if err := os.Chmod(d, 0o711); err != nil { //nolint:gosec // Passing through is what it is for.
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "browser")
}
