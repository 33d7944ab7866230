package signersrv_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/audit"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/signer"
	"github.com/litentry/agentkeys/internal/signerapi"
	"github.com/litentry/agentkeys/internal/signerclient"
	"github.com/litentry/agentkeys/internal/signersrv"
	"github.com/litentry/agentkeys/internal/token"
	"github.com/litentry/agentkeys/internal/webserve"
)

const audience = "https://signer.test"

var (
	router = agentkeys.Must(agentkeys.ParseService("openrouter"))
	coder  = agentkeys.Must(agentkeys.ParseAgent("coder"))
	tester = agentkeys.Must(agentkeys.ParseAgent("tester"))
	alice  = agentkeys.Must(signer.ParseAccountID("a11ce"))
	bob    = agentkeys.Must(signer.ParseAccountID("b0b"))
)

// world is an issuer and a signer service, each on a socket.
type world struct {
	t     testing.TB
	core  *signer.Signer
	roots signer.Roots
	dir   string
	log   *syncBuffer

	issuer *issuer
	keys   *signersrv.IssuerKeys
	audit  *audit.Log
	opts   signersrv.Options
	broker *ecdsa.PrivateKey

	url string
	ca  []byte
	ops http.Handler

	stop func()
	skew atomic.Int64
}

func (w *world) now() time.Time { return time.Now().Add(time.Duration(w.skew.Load())) }

// issuer serves its key set over TLS.
type issuer struct {
	srv     *httptest.Server
	ca      *x509.CertPool
	caPEM   []byte
	ring    atomic.Pointer[token.Ring]
	key     token.Key
	private *ecdsa.PrivateKey // of key
	asked   atomic.Int64
	mu      sync.Mutex
	answer  http.HandlerFunc // instead of the key set
}

func newIssuer(t testing.TB, now func() time.Time) *issuer {
	i := &issuer{}
	i.rotate(t, now())
	i.srv = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.asked.Add(1)
		i.mu.Lock()
		answer := i.answer
		i.mu.Unlock()
		if answer != nil {
			answer(w, r)
			return
		}
		if r.URL.Path != brokerapi.PathKeys {
			http.NotFound(w, r)
			return
		}
		b, err := i.ring.Load().JWKS(now())
		if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		_, _ = w.Write(b)
	}))
	t.Cleanup(i.srv.Close)
	i.ca = x509.NewCertPool()
	i.ca.AddCert(i.srv.Certificate())
	i.caPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.srv.Certificate().Raw})
	return i
}

// rotate replaces the only key, as if the earlier one were withdrawn.
func (i *issuer) rotate(t testing.TB, now time.Time) {
	t.Helper()
	i.private = newDevice(t)
	k, err := token.KeyFrom(i.private, token.ES256, now.Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	r, err := token.NewRing([]token.Key{k}, token.MasterLife)
	if err != nil {
		t.Fatal(err)
	}
	i.key = k
	i.ring.Store(r)
}

func (i *issuer) answers(h http.HandlerFunc) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.answer = h
}

func newWorld(t testing.TB, change ...func(*world)) *world {
	w := &world{t: t, dir: t.TempDir(), log: &syncBuffer{}, roots: signer.NewRoots(), broker: newDevice(t)}
	w.core = signer.New(w.roots)
	w.issuer = newIssuer(t, w.now)
	logger := slog.New(slog.NewTextHandler(w.log, nil))
	var err error
	if w.keys, err = signersrv.FetchKeys(w.issuer.srv.URL, w.issuer.ca, logger, w.now); err != nil {
		t.Fatal(err)
	}
	w.opts = signersrv.Options{
		Core: w.core, Issuer: w.issuer.srv.URL, Audience: audience, Keys: w.keys, Ready: w.keys.Ready,
		Brokers: []token.Thumbprint{thumb(t, w.broker)}, Log: logger, Now: w.now,
	}
	for _, f := range change {
		f(w)
	}
	cert, key, err := signersrv.NewCertificate([]string{"127.0.0.1"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	w.ca = cert
	write(t, w.path("server.crt"), cert)
	write(t, w.path("server.key"), key)
	w.start("127.0.0.1:0")
	t.Cleanup(func() {
		w.stop()
		if bytes.Contains(w.log.bytes(), []byte("msg=panic")) {
			t.Errorf("the log has a panic:\n%s", w.log.bytes())
		}
	})
	return w
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

func (w *world) start(addr string) {
	w.t.Helper()
	if w.opts.Recorder == nil {
		seed, err := w.core.LogSeed()
		if err != nil {
			w.t.Fatal(err)
		}
		key, err := audit.NewKey("agentkeys/signer-test", seed)
		if err != nil {
			w.t.Fatal(err)
		}
		if w.audit, err = audit.Open(w.path("audit"), audit.Options{Signer: key, Verifier: key.Verifier(), JournalSize: 1 << 20}); err != nil {
			w.t.Fatal(err)
		}
		w.opts.Recorder = w.audit
	}
	w.opts.Metrics = webserve.NewMetrics("test")
	s, err := signersrv.New(w.opts)
	if err != nil {
		w.t.Fatal(err)
	}
	w.ops = s.Operations()
	cert, err := webserve.LoadCertificate(w.path("server.crt"), w.path("server.key"))
	if err != nil {
		w.t.Fatal(err)
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.url = "https://" + ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	srv := &webserve.Server{Listener: ln, Handler: s.Handler(), TLS: signersrv.TLS(cert), Log: w.opts.Log}
	go func() { done <- srv.Serve(ctx) }()
	w.stop = func() {
		if w.stop = func() {}; true {
			cancel()
			if err := <-done; err != nil {
				w.t.Errorf("serving: %v", err)
			}
		}
		if w.audit != nil {
			if err := w.audit.Close(); err != nil {
				w.t.Error(err)
			}
			w.audit, w.opts.Recorder = nil, nil
		}
	}
}

func (w *world) wallet(a signer.AccountID, label ...agentkeys.Agent) agentkeys.Wallet {
	w.t.Helper()
	p := signer.MasterPath()
	if len(label) > 0 {
		p = signer.AgentPath(label[0])
	}
	got, err := w.core.Wallet(a, p)
	if err != nil {
		w.t.Fatal(err)
	}
	return got
}

// access is what the broker would put into a token of a master, or of an agent.
func (w *world) access(device *ecdsa.PrivateKey, role token.Role, a signer.AccountID, label ...agentkeys.Agent) token.Access {
	x := token.Access{
		ID: token.NewID(), Account: a.String(), Wallet: w.wallet(a, label...), Role: role,
		Device: thumb(w.t, device), Audience: audience, Expires: w.now().Add(5 * time.Minute).Truncate(time.Second),
	}
	if len(label) > 0 {
		x.Agent, x.Parent = label[0], w.wallet(a)
	}
	return x
}

func (w *world) sign(a token.Access) string {
	w.t.Helper()
	i := token.Issuer{Issuer: w.issuer.srv.URL, Ring: w.issuer.ring.Load}
	raw, err := i.Access(a, w.now())
	if err != nil {
		w.t.Fatal(err)
	}
	return raw
}

// client is a device's, whose tokens are made as tok says.
func (w *world) client(device *ecdsa.PrivateKey, own agentkeys.Wallet, tok func(agentkeys.Wallet) string) *signerclient.Client {
	w.t.Helper()
	c, err := signerclient.New(signerclient.Options{
		URL: w.url, CA: w.ca, Key: device, Wallet: own, Timeout: 5 * time.Second,
		Token: func(_ context.Context, q agentkeys.Wallet) (string, error) { return tok(q), nil },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(c.Close)
	return c
}

// call makes one request, as anybody could.
func (w *world) call(device *ecdsa.PrivateKey, method, path, raw, body string) (status int, p brokerapi.Problem, text string, header http.Header) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, bytes.NewReader([]byte(body)))
	if err != nil {
		w.t.Fatal(err)
	}
	if raw != "" {
		req.Header.Set("Authorization", "Bearer "+raw)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	return w.send(device, req)
}

func (w *world) send(device *ecdsa.PrivateKey, req *http.Request) (status int, p brokerapi.Problem, text string, header http.Header) {
	w.t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(w.ca)
	conf := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}
	if device != nil {
		cert, err := signerclient.SelfSigned(device)
		if err != nil {
			w.t.Fatal(err)
		}
		conf.Certificates = []tls.Certificate{cert}
	}
	tr := &http.Transport{TLSClientConfig: conf}
	defer tr.CloseIdleConnections()
	res, err := tr.RoundTrip(req)
	if err != nil {
		return 0, p, err.Error(), nil
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, p, err.Error(), nil
	}
	if res.StatusCode != http.StatusOK {
		if err := json.Unmarshal(b, &p); err != nil || p.Status != res.StatusCode || res.Header.Get("Content-Type") != "application/problem+json" || p.Request == "" {
			w.t.Errorf("%s answered %d without a problem: %s", req.URL.Path, res.StatusCode, b)
		}
	}
	return res.StatusCode, p, string(b), res.Header
}

func kekBody(w agentkeys.Wallet, s agentkeys.Service, epoch uint32) string {
	b, _ := json.Marshal(signerapi.KEKRequest{Wallet: w, Service: s, Epoch: epoch})
	return string(b)
}

// events closes the log and reads it.
func (w *world) events() (all []grant.Event) {
	w.t.Helper()
	if _, err := w.audit.Checkpoint(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	if err := w.audit.Replay(0, func(e audit.Entry) error { all = append(all, e.Event); return nil }); err != nil {
		w.t.Fatal(err)
	}
	return all
}

func newDevice(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func thumb(t testing.TB, k *ecdsa.PrivateKey) token.Thumbprint {
	t.Helper()
	p, err := token.ThumbprintOf(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func write(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) bytes() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Clone(s.b.Bytes())
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}
