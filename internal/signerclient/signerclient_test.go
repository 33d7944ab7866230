package signerclient_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/envelope"
	"github.com/litentry/agentkeys/internal/signer"
	"github.com/litentry/agentkeys/internal/signer/signertest"
	"github.com/litentry/agentkeys/internal/signerapi"
	"github.com/litentry/agentkeys/internal/signerclient"
	"github.com/litentry/agentkeys/internal/vault"
)

var _ vault.KeySource = (*signerclient.Client)(nil)

var (
	router = agentkeys.Must(agentkeys.ParseService("openrouter"))
	own    = agentkeys.WalletFrom([20]byte{1})
	alice  = agentkeys.Must(signer.ParseAccountID("a11ce"))
)

// peer is a server that answers as it is told: what a signer might do at its
// worst. The real one is met in internal/signersrv.
type peer struct {
	*httptest.Server
	ca     []byte
	asked  atomic.Int64
	answer atomic.Pointer[http.HandlerFunc]
}

func newPeer(t *testing.T) *peer {
	p := &peer{}
	p.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.asked.Add(1)
		if len(r.TLS.PeerCertificates) != 1 {
			t.Error("the client showed no certificate")
		}
		(*p.answer.Load())(w, r)
	}))
	p.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS13}
	p.StartTLS()
	t.Cleanup(p.Close)
	p.ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Certificate().Raw})
	p.says(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	return p
}

func (p *peer) says(f http.HandlerFunc) { p.asked.Store(0); p.answer.Store(&f) }

func text(status int, s string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status); _, _ = w.Write([]byte(s)) }
}

func problem(status int, code string) http.HandlerFunc {
	b, _ := json.Marshal(brokerapi.Problem{Status: status, Code: code, Title: "Told so"})
	return text(status, string(b))
}

func kek(b byte, epoch uint32) string {
	return fmt.Sprintf(`{"kek":%q,"epoch":%d}`, base64.StdEncoding.EncodeToString(signertest.Root(b)), epoch)
}

func newClient(t *testing.T, p *peer, change ...func(*signerclient.Options)) *signerclient.Client {
	t.Helper()
	o := signerclient.Options{
		URL: p.URL, CA: p.ca, Key: key(t, elliptic.P256()), Wallet: own, Timeout: 5 * time.Second,
		Token: func(context.Context, agentkeys.Wallet) (string, error) { return "token", nil },
	}
	for _, f := range change {
		f(&o)
	}
	c, err := signerclient.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func key(t *testing.T, c elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// What each answer means, and how often it is asked for.
func TestAnswers(t *testing.T) {
	p := newPeer(t)
	c := newClient(t, p)
	for _, q := range []struct {
		name   string
		answer http.HandlerFunc
		want   error
		asked  int64
	}{
		{"a key", text(200, kek(1, 3)), nil, 1},
		{"refused", problem(403, brokerapi.CodeForbidden), signerclient.ErrRefused, 1},
		{"a bad token", problem(401, brokerapi.CodeToken), signerclient.ErrRefused, 1},
		{"malformed, it says", problem(400, brokerapi.CodeRequest), signerclient.ErrRefused, 1},
		{"no such epoch", problem(404, signerapi.CodeEpoch), signer.ErrUnknownEpoch, 1},
		{"its log is full", problem(503, brokerapi.CodeUnavailable), signerclient.ErrUnreachable, 3},
		{"too often", problem(429, brokerapi.CodeRate), signerclient.ErrUnreachable, 3},
		{"a proxy without it", text(502, "<html>"), signerclient.ErrUnreachable, 3},
		{"another server", text(404, "<html>"), signerclient.ErrAnswer, 1},
		{"a redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/v1/kek", http.StatusTemporaryRedirect)
		}, signerclient.ErrAnswer, 1},
		{"nothing", text(200, ""), signerclient.ErrAnswer, 1},
		{"no key", text(200, `{"epoch":1}`), signerclient.ErrAnswer, 1},
		{"zeros", text(200, kek(0, 1)), signerclient.ErrAnswer, 1},
		{"epoch zero", text(200, kek(1, 0)), signerclient.ErrAnswer, 1},
		{"an epoch that is too large", text(200, strings.Replace(kek(1, 1), ":1}", ":4294967296}", 1)), signerclient.ErrAnswer, 1},
		{"a short key", text(200, `{"kek":"AQEB","epoch":1}`), signerclient.ErrAnswer, 1},
		{"a long key", text(200, fmt.Sprintf(`{"kek":%q,"epoch":1}`, base64.StdEncoding.EncodeToString(make([]byte, 48)))), signerclient.ErrAnswer, 1},
		{"a key of 33 bytes", text(200, fmt.Sprintf(`{"kek":%q,"epoch":1}`, base64.StdEncoding.EncodeToString(append(signertest.Root(1), 1)))), signerclient.ErrAnswer, 1},
		{"no base64", text(200, strings.Replace(kek(1, 1), "AQEB", "A*EB", 1)), signerclient.ErrAnswer, 1},
		{"more behind it", text(200, kek(1, 1)+"x"), signerclient.ErrAnswer, 1},
		{"endless", text(200, strings.Repeat(" ", 1<<20)), signerclient.ErrAnswer, 1},
		{"cut off", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, signerclient.ErrUnreachable, 3},
	} {
		p.says(q.answer)
		k, err := c.KEK(t.Context(), own, router, 1)
		if q.want == nil && err != nil || q.want != nil && !errors.Is(err, q.want) {
			t.Errorf("%s: %v, want %v", q.name, err, q.want)
		}
		if n := p.asked.Load(); n != q.asked {
			t.Errorf("%s: asked %d times, want %d", q.name, n, q.asked)
		}
		if q.want == nil {
			want, kerr := envelope.NewKEK(signertest.Root(1))
			if kerr != nil {
				t.Fatal(kerr)
			}
			signertest.Same(t, k, want, own, router)
		}
		if err != nil && strings.Contains(err.Error(), "AQEB") {
			t.Errorf("%s: the error quotes the answer: %v", q.name, err)
		}
	}
	if c.Epoch() != 3 {
		t.Errorf("epoch %d", c.Epoch())
	}
	// A failure that passes is not seen.
	p.says(func(w http.ResponseWriter, r *http.Request) {
		if p.asked.Load() < 3 {
			problem(503, brokerapi.CodeUnavailable)(w, r)
			return
		}
		text(200, kek(1, 3))(w, r)
	})
	if _, err := c.KEK(t.Context(), own, router, 1); err != nil {
		t.Errorf("at the third try: %v", err)
	}
}

func TestNotAsked(t *testing.T) {
	p := newPeer(t)
	c := newClient(t, p)
	if _, err := c.KEK(t.Context(), agentkeys.Wallet{}, router, 1); !errors.Is(err, agentkeys.ErrName) {
		t.Errorf("%v", err)
	}
	if _, err := c.KEK(t.Context(), own, agentkeys.Service{}, 1); !errors.Is(err, agentkeys.ErrName) {
		t.Errorf("%v", err)
	}
	if _, err := c.KEK(t.Context(), own, router, 0); !errors.Is(err, signer.ErrUnknownEpoch) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.KEK(ctx, own, router, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	sad := errors.New("no session")
	lost := newClient(t, p, func(o *signerclient.Options) {
		o.Token = func(context.Context, agentkeys.Wallet) (string, error) { return "", sad }
	})
	if _, err := lost.KEK(t.Context(), own, router, 1); !errors.Is(err, sad) {
		t.Errorf("%v", err)
	}
	// Nothing goes to a server that cannot show who it is.
	stranger := newPeer(t)
	stranger.says(text(200, kek(1, 1)))
	other := newClient(t, p, func(o *signerclient.Options) { o.CA = nil; o.URL = stranger.URL })
	if _, err := other.KEK(t.Context(), own, router, 1); !errors.Is(err, signerclient.ErrUnreachable) || stranger.asked.Load() != 0 {
		t.Errorf("an unknown certificate: %v", err)
	}
	if p.asked.Load() != 0 {
		t.Errorf("asked %d times", p.asked.Load())
	}
}

// A call ends with its context, while it waits too.
func TestCancel(t *testing.T) {
	p := newPeer(t)
	c := newClient(t, p)
	ctx, cancel := context.WithCancel(t.Context())
	p.says(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // or net/http does not notice who hangs up
		cancel()
		<-r.Context().Done()
	})
	if _, err := c.KEK(ctx, own, router, 1); !errors.Is(err, context.Canceled) || p.asked.Load() != 1 {
		t.Errorf("%v, asked %d times", err, p.asked.Load())
	}
	ctx, cancel = context.WithCancel(t.Context())
	p.says(func(w http.ResponseWriter, r *http.Request) { problem(503, brokerapi.CodeUnavailable)(w, r); cancel() })
	if _, err := c.KEK(ctx, own, router, 1); !errors.Is(err, context.Canceled) || p.asked.Load() != 1 {
		t.Errorf("%v, asked %d times", err, p.asked.Load())
	}
}

// The epoch is asked for when it is needed, again when it is old, and never
// falls.
func TestEpoch(t *testing.T) {
	p := newPeer(t)
	var skew atomic.Int64
	c := newClient(t, p, func(o *signerclient.Options) {
		o.Now = func() time.Time { return time.Unix(1e9, 0).Add(time.Duration(skew.Load())) }
	})
	p.says(problem(403, brokerapi.CodeForbidden))
	if e := c.Epoch(); e != 0 {
		t.Errorf("without an answer: %d", e)
	}
	p.says(text(200, `{"epoch":4}`))
	for range 5 {
		if e := c.Epoch(); e != 4 {
			t.Errorf("epoch %d", e)
		}
	}
	if n := p.asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	p.says(text(200, `{"epoch":2}`))
	if e, err := c.Refresh(t.Context()); err != nil || e != 4 || c.Epoch() != 4 {
		t.Errorf("an older copy of the roots: %d %v", e, err)
	}
	p.says(text(200, kek(1, 1)))
	if _, err := c.KEK(t.Context(), own, router, 1); err != nil || c.Epoch() != 4 {
		t.Errorf("an older epoch with a key: %d, %v", c.Epoch(), err)
	}
	// Old: what is known is returned at once, and renewed behind it.
	p.says(text(200, `{"epoch":5}`))
	skew.Store(int64(2 * time.Minute))
	if e := c.Epoch(); e != 4 && e != 5 {
		t.Errorf("epoch %d", e)
	}
	for deadline := time.Now().Add(10 * time.Second); c.Epoch() != 5; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the epoch was not renewed")
		}
	}
	for _, bad := range []string{`{"epoch":0}`, `{}`, `{"epoch":9,"epoch":10}`, `{"Epoch":9}`, `[]`, ``} {
		p.says(text(200, bad))
		if _, err := c.Refresh(t.Context()); !errors.Is(err, signerclient.ErrAnswer) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	known := newClient(t, p, func(o *signerclient.Options) { o.Epoch = 7 })
	p.says(problem(503, brokerapi.CodeUnavailable))
	if e := known.Epoch(); e != 7 {
		t.Errorf("what the device had met: %d", e)
	}
	known.Close()
	if e := known.Epoch(); e != 7 {
		t.Errorf("closed: %d", e)
	}
}

func TestNewRefuses(t *testing.T) {
	p := newPeer(t)
	good := signerclient.Options{
		URL: p.URL, CA: p.ca, Key: key(t, elliptic.P256()), Wallet: own,
		Token: func(context.Context, agentkeys.Wallet) (string, error) { return "", nil },
	}
	for name, change := range map[string]func(*signerclient.Options){
		"http": func(o *signerclient.Options) { o.URL = "http://s.test" }, "path": func(o *signerclient.Options) { o.URL = "https://s.test/x" },
		"user": func(o *signerclient.Options) { o.URL = "https://u:p@s.test" }, "nowhere": func(o *signerclient.Options) { o.URL = "" },
		"CA": func(o *signerclient.Options) { o.CA = []byte("x") }, "no key": func(o *signerclient.Options) { o.Key = nil },
		"P-384": func(o *signerclient.Options) { o.Key = key(t, elliptic.P384()) }, "wallet": func(o *signerclient.Options) { o.Wallet = agentkeys.Wallet{} },
		"token": func(o *signerclient.Options) { o.Token = nil },
	} {
		o := good
		change(&o)
		if _, err := signerclient.New(o); err == nil {
			t.Errorf("%s: made", name)
		}
	}
}

func TestWalletAnswers(t *testing.T) {
	p := newPeer(t)
	w, err := signerclient.NewWallets(p.URL, p.ca, key(t, elliptic.P256()), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for answer, want := range map[string]error{
		`{"wallet":"0x0100000000000000000000000000000000000000"}`: nil, `{}`: signerclient.ErrAnswer, `{"wallet":null}`: signerclient.ErrAnswer,
		`{"wallet":"0X0100000000000000000000000000000000000000"}`: signerclient.ErrAnswer, `{"wallet":""}`: signerclient.ErrAnswer,
	} {
		p.says(text(200, answer))
		got, err := w.Master(t.Context(), alice)
		if want == nil && (err != nil || got != own) || want != nil && !errors.Is(err, want) {
			t.Errorf("%s: %v %v", answer, got, err)
		}
	}
	if _, err := w.Master(t.Context(), signer.AccountID{}); !errors.Is(err, agentkeys.ErrName) {
		t.Errorf("%v", err)
	}
	p.says(text(502, ""))
	if err := w.Ping(t.Context()); !errors.Is(err, signerclient.ErrUnreachable) {
		t.Errorf("ping: %v", err)
	}
	p.says(problem(403, brokerapi.CodeForbidden))
	if err := w.Ping(t.Context()); err != nil {
		t.Errorf("ping: %v", err)
	}
}
