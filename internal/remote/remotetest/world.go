// Package remotetest is all that a device needs of a broker, for the tests of
// whoever is such a device: a real broker over TLS, a real signer service that
// trusts it, and a stand-in for S3 and STS that keeps wallets apart.
package remotetest

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/broker"
	"github.com/litentry/agentkeys/internal/broker/brokerhttp"
	"github.com/litentry/agentkeys/internal/broker/brokertest"
	"github.com/litentry/agentkeys/internal/broker/pages"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/brokerclient"
	"github.com/litentry/agentkeys/internal/device"
	"github.com/litentry/agentkeys/internal/signer"
	"github.com/litentry/agentkeys/internal/signerclient"
	"github.com/litentry/agentkeys/internal/signersrv"
	"github.com/litentry/agentkeys/internal/siwe"
	"github.com/litentry/agentkeys/internal/token"
	"github.com/litentry/agentkeys/internal/webserve"
)

// World is a broker with its signer and its store.
type World struct {
	URL   string
	Roots *x509.CertPool // of the broker's certificate
	PEM   []byte         // the same
	Mail  *brokertest.Mail
	Cloud *Cloud

	t    testing.TB
	srv  *httptest.Server
	feed func() // stops it
}

// Start starts one. It ends with the test.
func Start(t testing.TB) *World {
	t.Helper()
	bw := brokertest.NewWorld(t)
	w := &World{t: t, Mail: bw.Mail, srv: httptest.NewUnstartedServer(nil)}
	w.URL = "https://" + w.srv.Listener.Addr().String()
	log := slog.New(slog.NewTextHandler(bw.Log, nil))

	key := brokertest.NewKey(t)
	signerURL, ca := startSigner(t, w.URL, bw.Issuer.Ring(), key, log)
	wallets, err := signerclient.NewWallets(signerURL, ca, key, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(wallets.Close)

	o := bw.Options(brokertest.SQLite(t, bw))
	o.Origin, o.Wallets = w.URL, signerWallets{wallets}
	login, err := siwe.NewLogin(w.URL)
	if err != nil {
		t.Fatal(err)
	}
	o.Wallet = &walletLogin{asks: login}
	o.Issuer = &token.Issuer{Issuer: w.URL, Ring: bw.Issuer.Ring}
	b, err := broker.New(o)
	if err != nil {
		t.Fatal(err)
	}
	w.run(b)
	w.Cloud = startCloud(t, token.Verifier{Issuer: w.URL, Audience: brokertest.STS, Keys: bw.Issuer.Ring()})
	p, err := pages.New(w.URL)
	if err != nil {
		t.Fatal(err)
	}
	h, err := brokerhttp.New(brokerhttp.Options{
		Broker: b, Issuer: o.Issuer, Pages: p, Log: log, Now: bw.Clock.Now, Config: brokerapi.Config{
			Version: "test", Signer: &brokerapi.Signer{URL: signerURL, Audience: brokertest.SignerAudience, CA: string(ca)},
			Cloud: &brokerapi.Cloud{
				Region: "us-east-1", Bucket: Bucket, RoleARN: "arn:aws:iam::111122223333:role/agentkeys-data", Audience: brokertest.STS,
				S3Endpoint: w.Cloud.URL, STSEndpoint: w.Cloud.URL, PathStyle: true,
			},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.srv.Config.Handler = h
	w.srv.StartTLS()
	t.Cleanup(func() { w.srv.CloseClientConnections(); w.srv.Close() })
	w.Roots = x509.NewCertPool()
	w.Roots.AddCert(w.srv.Certificate())
	w.PEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.srv.Certificate().Raw})
	return w
}

func (w *World) run(b *broker.Broker) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.Run(ctx)
	}()
	w.feed = sync.OnceFunc(func() { cancel(); <-done })
	w.t.Cleanup(w.feed)
	for end := time.Now().Add(20 * time.Second); b.Ready(ctx) != nil; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("the broker is not ready: %v", b.Ready(ctx))
		}
	}
}

// Silence stops the broker's feed: its streams end, and new ones are refused.
func (w *World) Silence() { w.feed() }

// HangUp cuts every connection to the broker.
func (w *World) HangUp() { w.srv.CloseClientConnections() }

// Client is a client of the broker for a device.
func (w *World) Client(k device.Key) *brokerclient.Client {
	w.t.Helper()
	c, err := brokerclient.New(brokerclient.Options{
		URL: w.URL, Key: k.Private(), Roots: w.Roots, Agent: "agentkeys/test", Log: slog.New(slog.DiscardHandler), Now: time.Now,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(c.Close)
	return c
}

// Login logs a device in as a user, by a mailed link.
func (w *World) Login(c *brokerclient.Client, address string) brokerapi.Session {
	w.t.Helper()
	ctx := w.t.Context()
	l, err := c.BeginLogin(ctx, brokerapi.LoginRequest{Method: brokerapi.LoginEmail, Email: address})
	if err != nil {
		w.t.Fatal(err)
	}
	_, h := w.OpenLink()
	s, err := c.EndLogin(ctx, l.ID, brokerapi.HandoffProof{Code: h.Code, Device: "test"})
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// OpenLink does what a browser does with the newest mailed link, and returns
// the login and what the page gets for it.
func (w *World) OpenLink() (login string, h brokerapi.Handoff) {
	w.t.Helper()
	all := w.Mail.Sent()
	if len(all) == 0 {
		w.t.Fatal("no mail was sent")
	}
	text := all[len(all)-1].Text
	_, link, found := strings.Cut(text, w.URL+"/login/mail#")
	login, secret, ok := strings.Cut(strings.Fields(link + " ")[0], ".")
	if !found || !ok {
		w.t.Fatalf("no link in %q", text)
	}
	return login, w.proveMail(login, secret)
}

// walletLogin asks for the real message, and takes brokertest.SignWallet for a
// signature.
type walletLogin struct {
	brokertest.WalletLogin
	asks *siwe.Login
}

// Message implements broker.WalletLogin.
func (l *walletLogin) Message(r broker.WalletRequest) (string, error) { return l.asks.Message(r) }

// Verify implements broker.WalletLogin.
func (l *walletLogin) Verify(_ context.Context, r broker.WalletRequest, message, signature string, _ time.Time) (bool, error) {
	want, err := l.Message(r)
	if err != nil || message != want || signature != brokertest.SignWallet(r.Address, message) {
		return false, errors.New("not the message, or not its signature")
	}
	return false, nil
}

// signerWallets asks the signer service for accounts as the broker has them.
type signerWallets struct{ w *signerclient.Wallets }

func (s signerWallets) Master(ctx context.Context, account string) (agentkeys.Wallet, error) {
	id, err := signer.ParseAccountID(account)
	if err != nil {
		return agentkeys.Wallet{}, err
	}
	return s.w.Master(ctx, id)
}

func (s signerWallets) Agent(ctx context.Context, account string, label agentkeys.Agent) (agentkeys.Wallet, error) {
	id, err := signer.ParseAccountID(account)
	if err != nil {
		return agentkeys.Wallet{}, err
	}
	return s.w.Agent(ctx, id, label)
}

func startSigner(t testing.TB, issuer string, keys token.Keys, brokerKey *ecdsa.PrivateKey, log *slog.Logger) (url string, ca []byte) {
	t.Helper()
	thumb, err := token.ThumbprintOf(&brokerKey.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	s, err := signersrv.New(signersrv.Options{
		Core: signer.New(signer.NewRoots()), Issuer: issuer, Audience: brokertest.SignerAudience, Keys: keys,
		Brokers: []token.Thumbprint{thumb}, Recorder: &brokertest.Tape{}, Metrics: webserve.NewMetrics("test"), Log: log, Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	certPEM, keyPEM, err := signersrv.NewCertificate([]string{"127.0.0.1"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, data := range map[string][]byte{"crt": certPEM, "key": keyPEM} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := webserve.LoadCertificate(filepath.Join(dir, "crt"), filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	srv := &webserve.Server{Listener: ln, Handler: s.Handler(), TLS: signersrv.TLS(cert), Log: log}
	go func() { done <- srv.Serve(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return "https://" + ln.Addr().String(), certPEM
}
