// Package signerclient asks a signer service: Client is a device's source of
// keys (vault.KeySource) and Wallets a broker's source of wallets. It depends
// on signerapi, and on internal/signer for names only; it keeps no key.
//
// Laws: only calls that change nothing are repeated, and all of these do; a
// refusal is never repeated; nothing is sent to a server whose certificate
// does not hold; redirects are not followed; the epoch never falls.
package signerclient

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/envelope"
	"github.com/litentry/agentkeys/internal/signer"
	"github.com/litentry/agentkeys/internal/signerapi"
)

var (
	// ErrUnreachable: no answer, or one that says to come again: the network,
	// the signer, its log or its roots. The same call may work later.
	ErrUnreachable = errors.New("the signer cannot be reached")
	// ErrRefused: the signer answered, and not with what was asked for. The
	// same call will fail again.
	ErrRefused = errors.New("the signer refused")
	// ErrAnswer: what answers is not a signer, or of another version.
	ErrAnswer = errors.New("the signer's answer is malformed")
)

// An epoch without a root is signer.ErrUnknownEpoch, as with a local signer.

// Options of a Client. URL, Key, Wallet and Token are needed.
type Options struct {
	URL    string            // an https origin
	CA     []byte            // PEM of those who sign the signer's certificate; nil: the system's
	Key    *ecdsa.PrivateKey // of the device, P-256
	Wallet agentkeys.Wallet  // of the session: whose token asks for the epoch
	// Token returns a signer token for the keys of a wallet, anew or one that
	// is still good.
	Token func(ctx context.Context, w agentkeys.Wallet) (string, error)
	// Epoch is the highest that this device has met; 0: none.
	Epoch uint32
	// Every is how old the epoch may be before it is asked for in the
	// background. Zero is a minute.
	Every time.Duration
	// Timeout of one try; zero is 5 s. Three are made.
	Timeout time.Duration
	Now     func() time.Time // nil: time.Now
}

// Client is a vault.KeySource whose roots are behind a signer service. It is
// safe for concurrent use.
type Client struct {
	o     Options
	calls *caller

	epoch atomic.Uint32
	mu    sync.Mutex
	asked time.Time // when the epoch was last known to be the current one
	busy  chan struct{}

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// New makes a Client. It asks nothing yet.
func New(o Options) (*Client, error) {
	if o.Token == nil || o.Wallet.IsZero() {
		return nil, errors.New("a signer's client needs a wallet and its tokens")
	}
	if o.Every <= 0 {
		o.Every = time.Minute
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	calls, err := newCaller(o.URL, o.CA, o.Key, o.Timeout)
	if err != nil {
		return nil, err
	}
	c := &Client{o: o, calls: calls}
	c.epoch.Store(o.Epoch)
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c, nil
}

// Close ends what is under way and lets connections go.
func (c *Client) Close() {
	c.cancel()
	c.wg.Wait()
	c.calls.http.CloseIdleConnections()
}

// KEK implements vault.KeySource. Failures: signer.ErrUnknownEpoch,
// ErrUnreachable, ErrRefused, ErrAnswer, agentkeys.ErrName, the error of ctx,
// and whatever Token says.
func (c *Client) KEK(ctx context.Context, w agentkeys.Wallet, s agentkeys.Service, epoch uint32) (envelope.KEK, error) {
	if err := ctx.Err(); err != nil {
		return envelope.KEK{}, err
	}
	if w.IsZero() || s.IsZero() {
		return envelope.KEK{}, fmt.Errorf("%w: a key needs a wallet and a service", agentkeys.ErrName)
	}
	if epoch == 0 {
		return envelope.KEK{}, fmt.Errorf("%w: 0", signer.ErrUnknownEpoch)
	}
	token, err := c.o.Token(ctx, w)
	if err != nil {
		return envelope.KEK{}, fmt.Errorf("a token for the signer: %w", err)
	}
	body, err := c.calls.do(ctx, http.MethodPost, signerapi.PathKEK, token, signerapi.KEKRequest{Wallet: w, Service: s, Epoch: epoch})
	defer clear(body)
	if err != nil {
		return envelope.KEK{}, err
	}
	b, current, err := readKEK(body)
	if err != nil {
		return envelope.KEK{}, err
	}
	k, err := envelope.NewKEK(b)
	if err != nil {
		return envelope.KEK{}, ErrAnswer
	}
	c.learn(current)
	return k, nil
}

// Epoch implements vault.KeySource: the highest epoch met so far. Where none
// is known it is asked for, for as long as a call may take, and 0 if there is
// no answer: no envelope is sealed under that. One that is older than Every is
// asked for in the background.
func (c *Client) Epoch() uint32 {
	c.mu.Lock()
	known, old := c.epoch.Load(), c.o.Now().Sub(c.asked) >= c.o.Every || c.asked.IsZero()
	var busy chan struct{}
	if old && c.ctx.Err() == nil {
		if c.busy == nil {
			c.busy = make(chan struct{})
			c.wg.Go(c.background)
		}
		busy = c.busy
	}
	c.mu.Unlock()
	if known == 0 && busy != nil {
		<-busy
		known = c.epoch.Load()
	}
	return known
}

func (c *Client) background() {
	_, _ = c.Refresh(c.ctx) // the next call of Epoch tries again
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.busy)
	c.busy = nil
}

// Refresh asks for the current epoch now, as before a rotation, and returns
// the highest met so far.
func (c *Client) Refresh(ctx context.Context) (uint32, error) {
	token, err := c.o.Token(ctx, c.o.Wallet)
	if err != nil {
		return 0, fmt.Errorf("a token for the signer: %w", err)
	}
	body, err := c.calls.do(ctx, http.MethodGet, signerapi.PathEpoch, token, nil)
	if err != nil {
		return 0, err
	}
	var a signerapi.EpochAnswer
	if err := decode(body, &a); err != nil || a.Epoch == 0 {
		return 0, ErrAnswer
	}
	return c.learn(a.Epoch), nil
}

// learn remembers the highest epoch: an older copy of the roots must not make
// us seal under a root that is about to be destroyed.
func (c *Client) learn(epoch uint32) uint32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = c.o.Now()
	if epoch > c.epoch.Load() {
		c.epoch.Store(epoch)
	}
	return c.epoch.Load()
}

// Wallets asks a signer service for wallets, with a broker's certificate. It
// is safe for concurrent use.
type Wallets struct{ calls *caller }

// NewWallets makes a Wallets over a broker's client key, whose thumbprint the
// signer's configuration lists. timeout is of one try; 0 is 5 s.
func NewWallets(address string, ca []byte, key *ecdsa.PrivateKey, timeout time.Duration) (*Wallets, error) {
	calls, err := newCaller(address, ca, key, timeout)
	if err != nil {
		return nil, err
	}
	return &Wallets{calls}, nil
}

// Master returns the wallet of an account. Failures: ErrUnreachable,
// ErrRefused, ErrAnswer, agentkeys.ErrName, the error of ctx.
func (w *Wallets) Master(ctx context.Context, account signer.AccountID) (agentkeys.Wallet, error) {
	return w.ask(ctx, signerapi.WalletRequest{Account: account.String()}, account)
}

// Agent returns the wallet of an account's agent. Failures are Master's.
func (w *Wallets) Agent(ctx context.Context, account signer.AccountID, label agentkeys.Agent) (agentkeys.Wallet, error) {
	if label.IsZero() {
		return agentkeys.Wallet{}, fmt.Errorf("%w: an agent's wallet needs its label", agentkeys.ErrName)
	}
	return w.ask(ctx, signerapi.WalletRequest{Account: account.String(), Agent: &label}, account)
}

func (w *Wallets) ask(ctx context.Context, q signerapi.WalletRequest, account signer.AccountID) (agentkeys.Wallet, error) {
	if account.IsZero() {
		return agentkeys.Wallet{}, fmt.Errorf("%w: a wallet needs an account", agentkeys.ErrName)
	}
	body, err := w.calls.do(ctx, http.MethodPost, signerapi.PathWallet, "", q)
	if err != nil {
		return agentkeys.Wallet{}, err
	}
	var a signerapi.WalletAnswer
	if err := decode(body, &a); err != nil || a.Wallet.IsZero() {
		return agentkeys.Wallet{}, ErrAnswer
	}
	return a.Wallet, nil
}

// Ping asks for nothing and reports whether the signer answers, for a
// readiness check.
func (w *Wallets) Ping(ctx context.Context) error {
	_, err := w.calls.once(ctx, http.MethodGet, signerapi.PathEpoch, "", nil)
	if errors.Is(err, ErrRefused) {
		return nil // as it must: a broker gets no epoch
	}
	return err
}

// Close lets idle connections go.
func (w *Wallets) Close() { w.calls.http.CloseIdleConnections() }

// caller makes calls over mutual TLS.
type caller struct {
	base    string
	http    *http.Client
	timeout time.Duration
}

func newCaller(address string, ca []byte, key *ecdsa.PrivateKey, timeout time.Duration) (*caller, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("the address of a signer is an https origin, such as https://signer.example.com:8443")
	}
	cert, err := SelfSigned(key)
	if err != nil {
		return nil, err
	}
	var roots *x509.CertPool
	if len(ca) > 0 {
		roots = x509.NewCertPool()
		if !roots.AppendCertsFromPEM(ca) {
			return nil, errors.New("the signer's CA is not a certificate in PEM")
		}
	}
	if timeout <= 0 {
		timeout = 5 * time.Second
	}
	return &caller{
		base: "https://" + u.Host, timeout: timeout,
		http: &http.Client{
			Transport: &http.Transport{
				TLSClientConfig: &tls.Config{
					MinVersion: tls.VersionTLS13, RootCAs: roots,
					// Whoever the server says it wants: it pins our key.
					GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil },
				},
				ForceAttemptHTTP2:      true,
				TLSHandshakeTimeout:    timeout,
				MaxResponseHeaderBytes: 32 << 10,
				MaxIdleConnsPerHost:    4,
				IdleConnTimeout:        90 * time.Second,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

const maxAnswer = 16 << 10

// readAnswer reads a body into one array, which the caller clears: an array
// that is outgrown would be left behind.
func readAnswer(r io.Reader) ([]byte, error) {
	b := make([]byte, maxAnswer+1)
	n, err := io.ReadFull(r, b)
	switch {
	case err == nil:
		clear(b)
		return nil, ErrAnswer
	case err != io.EOF && err != io.ErrUnexpectedEOF:
		clear(b)
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return b[:n], nil
}
