package signersrv_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/signer"
	"github.com/litentry/agentkeys/internal/signer/signertest"
	"github.com/litentry/agentkeys/internal/signerapi"
	"github.com/litentry/agentkeys/internal/signerclient"
	"github.com/litentry/agentkeys/internal/signersrv"
	"github.com/litentry/agentkeys/internal/token"
)

// recorder fails when told, and remembers.
type recorder struct {
	err    error
	events []grant.Event
}

func (r *recorder) Record(_ context.Context, e grant.Event) error {
	r.events = append(r.events, e)
	return r.err
}

func (r *recorder) Note(e grant.Event) error { return r.Record(context.Background(), e) }

func ask(t *testing.T, w *world, d *ecdsa.PrivateKey) (int, brokerapi.Problem, string) {
	t.Helper()
	a := w.access(d, token.Master, alice)
	status, p, text, _ := w.call(d, "POST", signerapi.PathKEK, w.sign(a), kekBody(a.Wallet, router, 1))
	return status, p, text
}

func TestNoRecordNoKey(t *testing.T) {
	rec := &recorder{err: errors.New("the disk is full of canaries")}
	w := newWorld(t, func(w *world) { w.opts.Recorder = rec })
	d := newDevice(t)
	status, p, text := ask(t, w, d)
	if status != 503 || p.Code != brokerapi.CodeUnavailable || strings.Contains(text, "canaries") {
		t.Errorf("%d %s", status, text)
	}
	if len(rec.events) != 1 {
		t.Fatalf("%d tries to record", len(rec.events))
	}
	c := w.client(d, w.wallet(alice), func(agentkeys.Wallet) string { return w.sign(w.access(d, token.Master, alice)) })
	if _, err := c.KEK(t.Context(), w.wallet(alice), router, 1); !errors.Is(err, signerclient.ErrUnreachable) || errors.Is(err, signerclient.ErrRefused) {
		t.Errorf("the client: %v", err)
	}
	rec.err = nil
	if status, _, _ := ask(t, w, d); status != 200 {
		t.Errorf("with a log again: %d", status)
	}
	// A refusal that cannot be recorded is a refusal still.
	rec.err = errors.New("full")
	raw := w.sign(w.access(d, token.Master, alice))
	if status, p, _, _ := w.call(d, "POST", signerapi.PathKEK, raw, kekBody(w.wallet(bob), router, 1)); status != 403 || p.Code != brokerapi.CodeForbidden {
		t.Errorf("%d", status)
	}
}

// spoilt is a core whose roots cannot be asked.
type spoilt struct {
	signer.Core
	err error
}

func (s spoilt) ExposeKEK(context.Context, agentkeys.Wallet, agentkeys.Service, uint32) (secret.Value, error) {
	return secret.Value{}, s.err
}

func TestRootsFail(t *testing.T) {
	rec := &recorder{}
	w := newWorld(t, func(w *world) {
		w.opts.Recorder, w.opts.Core = rec, spoilt{w.core, errors.New("kms: throttled canary")}
	})
	status, p, text := ask(t, w, newDevice(t))
	if status != 503 || p.Code != brokerapi.CodeUnavailable || strings.Contains(text, "canary") || len(rec.events) != 0 {
		t.Errorf("%d %s, %d entries", status, text, len(rec.events))
	}
}

// The signer learns a new key of the issuer's by itself, forgets a withdrawn
// one, and does neither at the price of being made to ask all the time.
func TestKeyRotation(t *testing.T) {
	w := newWorld(t)
	d := newDevice(t)
	if status, _, text := ask(t, w, d); status != 200 {
		t.Fatal(text)
	}
	if n := w.issuer.asked.Load(); n != 1 {
		t.Errorf("the issuer was asked %d times", n)
	}
	old := w.sign(w.access(d, token.Master, alice))
	own := w.wallet(alice)
	w.issuer.rotate(t, w.now())
	if status, _, _ := ask(t, w, d); status != 401 || w.issuer.asked.Load() != 1 {
		t.Errorf("within ten seconds: %d, asked %d times", status, w.issuer.asked.Load())
	}
	w.skew.Add(int64(11 * time.Second))
	if status, _, text := ask(t, w, d); status != 200 || w.issuer.asked.Load() != 2 {
		t.Errorf("the new key: %s, asked %d times", text, w.issuer.asked.Load())
	}
	if status, _, _, _ := w.call(d, "POST", signerapi.PathKEK, old, kekBody(own, router, 1)); status != 401 {
		t.Errorf("the withdrawn key: %d", status)
	}
	// Tokens of unknown keys do not make us ask.
	for range 20 {
		status, _, _, _ := w.call(d, "POST", signerapi.PathKEK, old, kekBody(own, router, 1))
		if status != 401 {
			t.Errorf("%d", status)
		}
	}
	if n := w.issuer.asked.Load(); n != 2 {
		t.Errorf("asked %d times", n)
	}
	// The issuer is away: what was read stays in force, for a day.
	w.issuer.answers(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	if err := w.keys.Refresh(t.Context()); err == nil {
		t.Error("a refresh without an issuer went well")
	}
	if status, _, text := ask(t, w, d); status != 200 {
		t.Errorf("with the last good keys: %s", text)
	}
	w.skew.Add(int64(25 * time.Hour))
	if status, p, _ := ask(t, w, d); status != 503 || p.Code != brokerapi.CodeUnavailable {
		t.Errorf("a day later: %d", status)
	}
	rr := httptest.NewRecorder()
	w.ops.ServeHTTP(rr, httptest.NewRequest("GET", brokerapi.PathReady, nil))
	if rr.Code != 503 || !strings.Contains(rr.Body.String(), `"issuer-keys"`) {
		t.Errorf("ready: %d %s", rr.Code, rr.Body)
	}
	w.issuer.answers(nil)
	w.skew.Add(int64(11 * time.Second))
	if status, _, text := ask(t, w, d); status != 200 {
		t.Errorf("the issuer is back: %s", text)
	}
}

// What is not a key set is not believed, and what says to look elsewhere not
// followed.
func TestKeySetRefused(t *testing.T) {
	w := newWorld(t)
	elsewhere := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		b, _ := w.issuer.ring.Load().JWKS(w.now())
		_, _ = rw.Write(b)
	}))
	defer elsewhere.Close()
	w.issuer.ca.AddCert(elsewhere.Certificate())
	d := newDevice(t)
	for name, answer := range map[string]http.HandlerFunc{
		"redirect": func(rw http.ResponseWriter, r *http.Request) {
			http.Redirect(rw, r, elsewhere.URL+r.URL.Path, http.StatusFound)
		},
		"text":  func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write([]byte("hello")) },
		"empty": func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write([]byte(`{"keys":[]}`)) },
		"endless": func(rw http.ResponseWriter, _ *http.Request) {
			for range 100 {
				_, _ = rw.Write(bytes.Repeat([]byte(" "), 1024))
			}
			b, _ := w.issuer.ring.Load().JWKS(w.now())
			_, _ = rw.Write(b)
		},
	} {
		w.issuer.answers(answer)
		if err := w.keys.Refresh(t.Context()); err == nil {
			t.Errorf("%s: believed", name)
		}
		if status, p, _ := ask(t, w, d); status != 503 || p.Code != brokerapi.CodeUnavailable {
			t.Errorf("%s: %d", name, status)
		}
		w.skew.Add(int64(time.Minute))
	}
	w.issuer.answers(nil)
	// An issuer whose certificate nobody vouches for.
	stranger, err := signersrv.FetchKeys(w.issuer.srv.URL, x509.NewCertPool(), w.opts.Log, w.now)
	if err != nil {
		t.Fatal(err)
	}
	if err := stranger.Ready(t.Context()); !errors.Is(err, signersrv.ErrKeys) {
		t.Errorf("an unknown certificate: %v", err)
	}
	for _, bad := range []string{"http://broker.test", "https://broker.test/x", "https://u:p@broker.test", "broker.test", "https://broker.test?x=1", ""} {
		if _, err := signersrv.FetchKeys(bad, nil, w.opts.Log, w.now); err == nil {
			t.Errorf("%q is taken for an issuer", bad)
		}
	}
}

func TestKeysFromFile(t *testing.T) {
	w := newWorld(t, func(w *world) {
		k := signersrv.FileKeys(w.path("jwks.json"), w.opts.Log, w.now)
		w.keys, w.opts.Keys, w.opts.Ready = k, k, k.Ready
	})
	d := newDevice(t)
	if status, _, _ := ask(t, w, d); status != 503 {
		t.Errorf("without the file: %d", status)
	}
	put := func() {
		b, err := w.issuer.ring.Load().JWKS(w.now())
		if err != nil {
			t.Fatal(err)
		}
		write(t, w.path("jwks.json"), b)
		w.skew.Add(int64(11 * time.Second))
	}
	put()
	if status, _, text := ask(t, w, d); status != 200 {
		t.Error(text)
	}
	w.issuer.rotate(t, w.now())
	put()
	if status, _, text := ask(t, w, d); status != 200 {
		t.Error(text)
	}
	if w.issuer.asked.Load() != 0 {
		t.Error("the issuer was asked all the same")
	}
}

// A restart with rotated roots: the epoch moves, keys of the old one still come
// out, and clients find their way.
func TestRestart(t *testing.T) {
	w := newWorld(t)
	d := newDevice(t)
	own := w.wallet(alice)
	c := w.client(d, own, func(agentkeys.Wallet) string { return w.sign(w.access(d, token.Master, alice)) })
	first, err := c.KEK(t.Context(), own, router, 1)
	if err != nil {
		t.Fatal(err)
	}
	addr := strings.TrimPrefix(w.url, "https://")
	w.stop()
	if _, err := c.KEK(t.Context(), own, router, 1); !errors.Is(err, signerclient.ErrUnreachable) {
		t.Errorf("while it is down: %v", err)
	}
	if c.Epoch() != 1 {
		t.Error("the epoch fell")
	}
	next, err := w.roots.AddEpoch()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.core.Install(next); err != nil {
		t.Fatal(err)
	}
	w.start(addr)
	again, err := c.KEK(t.Context(), own, router, 1)
	if err != nil {
		t.Fatal(err)
	}
	signertest.Same(t, first, again, own, router)
	if e, err := c.Refresh(t.Context()); err != nil || e != 2 || c.Epoch() != 2 {
		t.Errorf("epoch %d, %v", e, err)
	}
	if n := len(w.events()); n != 2 {
		t.Errorf("%d entries after the restart, want both", n)
	}
}

func TestConnections(t *testing.T) {
	w := newWorld(t)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(w.ca)
	good := newDevice(t)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := func(k *ecdsa.PrivateKey) tls.Certificate {
		c, err := signerclient.SelfSigned(good)
		if err != nil {
			t.Fatal(err)
		}
		c.PrivateKey = k // which may not be the certificate's
		return c
	}
	for _, c := range []struct {
		name string
		conf *tls.Config
		ok   bool
	}{
		{"a P-256 certificate", &tls.Config{Certificates: []tls.Certificate{cert(good)}}, true},
		{"no certificate", &tls.Config{}, false},
		{"TLS 1.2", &tls.Config{Certificates: []tls.Certificate{cert(good)}, MaxVersion: tls.VersionTLS12}, false},
		{"another's certificate without its key", &tls.Config{Certificates: []tls.Certificate{cert(newDevice(t))}}, false},
		{"a P-384 certificate", &tls.Config{Certificates: []tls.Certificate{selfSignedP384(t, p384)}}, false},
	} {
		c.conf.RootCAs = pool
		tr := &http.Transport{TLSClientConfig: c.conf}
		req, err := http.NewRequestWithContext(t.Context(), "GET", w.url+signerapi.PathEpoch, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := tr.RoundTrip(req)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
		if err == nil {
			_ = res.Body.Close()
			if res.StatusCode != 401 || res.TLS.Version != tls.VersionTLS13 {
				t.Errorf("%s: %d", c.name, res.StatusCode)
			}
		}
		tr.CloseIdleConnections()
	}
}

func selfSignedP384(t *testing.T, k *ecdsa.PrivateKey) tls.Certificate {
	t.Helper()
	if _, err := signerclient.SelfSigned(k); err == nil {
		t.Error("a P-384 key got a device certificate")
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: k}
}

func TestLimits(t *testing.T) {
	w := newWorld(t, func(w *world) {
		stopped := w.now()
		w.opts.Now = func() time.Time { return stopped }
		w.opts.Limits = signersrv.Limits{
			Device: signersrv.Limit{Every: time.Minute, Burst: 5},
			Wallet: signersrv.Limit{Every: time.Minute, Burst: 2},
		}
	})
	count := func(d *ecdsa.PrivateKey, a signer.AccountID) (ok, limited int) {
		for range 4 {
			x := w.access(d, token.Master, a)
			status, p, _, h := w.call(d, "POST", signerapi.PathKEK, w.sign(x), kekBody(x.Wallet, router, 1))
			switch {
			case status == 200:
				ok++
			case status == 429 && p.Code == brokerapi.CodeRate && h.Get("Retry-After") != "":
				limited++
			}
		}
		return ok, limited
	}
	laptop, desktop := newDevice(t), newDevice(t)
	if ok, limited := count(laptop, alice); ok != 2 || limited != 2 {
		t.Errorf("one wallet: %d and %d", ok, limited)
	}
	if ok, limited := count(desktop, alice); ok != 0 || limited != 4 {
		t.Errorf("the same wallet from another device: %d and %d", ok, limited)
	}
	if ok, limited := count(laptop, bob); ok != 1 || limited != 3 {
		t.Errorf("the same device for another wallet: %d and %d", ok, limited)
	}
	if ok, _ := count(newDevice(t), bob); ok != 1 {
		t.Errorf("another device, another wallet: %d", ok)
	}
	peer := newWorld(t, func(w *world) {
		stopped := w.now()
		w.opts.Now = func() time.Time { return stopped }
		w.opts.Limits = signersrv.Limits{Peer: signersrv.Limit{Every: time.Minute, Burst: 3}}
	})
	for n := range 5 {
		status, _, _, _ := peer.call(newDevice(t), "GET", signerapi.PathEpoch, "", "")
		if want := map[bool]int{true: 401, false: 429}[n < 3]; status != want {
			t.Errorf("request %d of a peer: %d, want %d", n, status, want)
		}
	}
}

// Nothing that is secret is in a log, a metric or a refusal.
func TestNoLeaks(t *testing.T) {
	w := newWorld(t)
	d := newDevice(t)
	own := w.wallet(alice)
	raw := w.sign(w.access(d, token.Master, alice))
	kek, err := w.core.ExposeKEK(t.Context(), own, router, 1)
	if err != nil {
		t.Fatal(err)
	}
	status, _, text, h := w.call(d, "POST", signerapi.PathKEK, raw, kekBody(own, router, 1))
	want := `{"kek":"` + base64.StdEncoding.EncodeToString(kek.Expose()) + `","epoch":1}`
	if status != 200 || text != want || h.Get("Content-Type") != "application/json" {
		t.Fatalf("%d %s, want %s", status, text, want)
	}
	for range 3 {
		w.call(newDevice(t), "POST", signerapi.PathKEK, raw, kekBody(own, router, 1))
		w.call(d, "POST", signerapi.PathKEK, raw+"x", kekBody(own, router, 1))
		w.call(d, "POST", signerapi.PathKEK+"?token="+raw, "", kekBody(own, router, 1))
	}
	seen := bytes.Clone(w.log.bytes())
	for _, path := range []string{brokerapi.PathMetrics, brokerapi.PathHealth, brokerapi.PathReady} {
		rr := httptest.NewRecorder()
		w.ops.ServeHTTP(rr, httptest.NewRequest("GET", path, nil))
		if rr.Code != 200 {
			t.Errorf("%s: %d", path, rr.Code)
		}
		seen = append(seen, rr.Body.Bytes()...)
	}
	if !bytes.Contains(seen, []byte(`agentkeys_signer_keys_total{result="given"} 1`)) {
		t.Error("keys are not counted")
	}
	for _, e := range w.events() {
		seen = append(seen, mustJSON(e)...)
	}
	_, payload, _ := strings.Cut(raw, ".")
	for _, leak := range [][]byte{[]byte(base64.StdEncoding.EncodeToString(kek.Expose())), []byte(raw), []byte(payload[:40]), kek.Expose()} {
		if bytes.Contains(seen, leak) {
			t.Errorf("%.8q… leaked", leak)
		}
	}
}

func TestNewRefusals(t *testing.T) {
	w := newWorld(t)
	for name, change := range map[string]func(*signersrv.Options){
		"core": func(o *signersrv.Options) { o.Core = nil }, "keys": func(o *signersrv.Options) { o.Keys = nil },
		"recorder": func(o *signersrv.Options) { o.Recorder = nil }, "issuer": func(o *signersrv.Options) { o.Issuer = "" },
		"audience": func(o *signersrv.Options) { o.Audience = "" }, "broker": func(o *signersrv.Options) { o.Brokers = []token.Thumbprint{{}} },
	} {
		o := w.opts
		o.Metrics = nil
		change(&o)
		if _, err := signersrv.New(o); err == nil {
			t.Errorf("made without a %s", name)
		}
	}
	if _, _, err := signersrv.NewCertificate(nil, time.Now()); err == nil {
		t.Error("a certificate for nobody")
	}
}
