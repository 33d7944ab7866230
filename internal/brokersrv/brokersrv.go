// Package brokersrv joins the parts of a broker as its configuration names
// them: state, token keys, audit log, signer, login methods, HTTP. It decides
// nothing itself. It is the only package that knows them all, and like the
// broker it cannot decrypt.
package brokersrv

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"

	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/broker"
	"github.com/litentry/agentkeys/internal/broker/brokerhttp"
	"github.com/litentry/agentkeys/internal/broker/pages"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/brokerconf"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/mailout"
	"github.com/litentry/agentkeys/internal/oidclogin"
	"github.com/litentry/agentkeys/internal/passkey"
	"github.com/litentry/agentkeys/internal/pgstate"
	"github.com/litentry/agentkeys/internal/servicelog"
	"github.com/litentry/agentkeys/internal/signer"
	"github.com/litentry/agentkeys/internal/signerclient"
	"github.com/litentry/agentkeys/internal/siwe"
	"github.com/litentry/agentkeys/internal/siwe/ethrpc"
	"github.com/litentry/agentkeys/internal/sqlitestate"
	"github.com/litentry/agentkeys/internal/token"
	"github.com/litentry/agentkeys/internal/tokenkeys"
	"github.com/litentry/agentkeys/internal/webserve"
)

// Longest is how long a retired token key stays published: the longest life of
// a token, and what clocks may differ.
const Longest = token.MasterLife + 5*time.Minute

// Options are what the configuration does not say.
type Options struct {
	Log     *slog.Logger
	Now     func() time.Time
	Version string
	// KMSKey opens a token key that is in a KMS; nil: there are none.
	KMSKey func(ctx context.Context, region, endpoint, arn string) (crypto.Signer, error)
}

// keyring is the token keys, which may change while it is used.
type keyring interface {
	Ring() *token.Ring
	Err() error // why the keys are older than they should be
	Watch(ctx context.Context, every time.Duration)
}

// fixed is a keyring that does not change.
type fixed struct{ ring *token.Ring }

func (f fixed) Ring() *token.Ring                          { return f.ring }
func (f fixed) Err() error                                 { return nil }
func (f fixed) Watch(ctx context.Context, _ time.Duration) { <-ctx.Done() }

func openKeys(ctx context.Context, c *brokerconf.Config, o Options) (keyring, error) {
	if c.KMSKeys == nil {
		return tokenkeys.Hold(c.Keys, Longest)
	}
	if o.KMSKey == nil {
		return nil, fmt.Errorf("%w: keys in a KMS cannot be opened here", token.ErrKeySet)
	}
	var keys []token.Key
	for _, k := range c.KMSKeys.Keys {
		s, err := o.KMSKey(ctx, c.KMSKeys.Region, c.KMSKeys.Endpoint, k.ARN)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k.ARN, err)
		}
		key, err := token.KeyFrom(s, token.ES256, k.SignsFrom)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k.ARN, err)
		}
		keys = append(keys, key)
	}
	ring, err := token.NewRing(keys, Longest)
	return fixed{ring}, err
}

// Server is a broker that has its parts and listens.
type Server struct {
	broker  *broker.Broker
	keys    keyring
	servers []*webserve.Server
	addr    net.Addr
	handler http.Handler
	log     *slog.Logger
	closers []func() error
}

// Open opens every part that c names and listens. On an error all that was
// opened is closed again.
func Open(ctx context.Context, c *brokerconf.Config, o Options) (_ *Server, err error) {
	s := &Server{log: o.Log}
	defer func() {
		if err != nil {
			_ = s.close()
		}
	}()
	if s.keys, err = openKeys(ctx, c, o); err != nil {
		return nil, fmt.Errorf("token keys: %w", err)
	}
	if err := hasAlgs(s.keys.Ring(), c, o.Now()); err != nil {
		return nil, err
	}
	log, err := servicelog.Open(c.Audit, "agentkeys/broker/"+c.Host(), o.Now)
	if err != nil {
		return nil, err
	}
	s.onClose(log.Close)
	state, err := openState(ctx, c, o.Now)
	if err != nil {
		return nil, err
	}
	s.onClose(state.Close)
	wallets, err := openWallets(c.Signer)
	if err != nil {
		return nil, err
	}
	counted := &counter{log, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "agentkeys_operations_total", Help: "Entries of the audit log, by operation and decision.",
	}, []string{"op", "decision"})}
	issuer := &token.Issuer{Issuer: c.Origin, Ring: s.keys.Ring}
	bo := broker.Options{
		Origin: c.Origin, State: state, Recorder: counted, Issuer: issuer, Wallets: wallets,
		Audiences: map[string]token.Alg{}, SignerAudience: c.Signer.Audience, Now: o.Now, Log: o.Log,
	}
	for aud, alg := range c.Algs() {
		bo.Audiences[aud] = token.Alg(alg)
	}
	if err := methods(&bo, c); err != nil {
		return nil, err
	}
	if s.broker, err = broker.New(bo); err != nil {
		return nil, err
	}
	pg, err := pages.New(c.Origin)
	if err != nil {
		return nil, err
	}
	metrics := webserve.NewMetrics(o.Version)
	metrics.Registry.MustRegister(counted.ops, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "agentkeys_audit_entries", Help: "Entries of this replica's audit log.",
	}, func() float64 { return float64(log.Size()) }))
	checks := []webserve.Check{
		{Name: "token-keys", Try: func(context.Context) error { return s.keys.Err() }},
		{Name: "audit", Try: func(context.Context) error { return log.Err() }},
	}
	attempts := 3 * c.Limits.LoginsPerHour // a login begins, is proved, and ends
	if s.handler, err = brokerhttp.New(brokerhttp.Options{
		Broker: s.broker, Issuer: issuer, Config: c.API(o.Version), Pages: pg,
		Log: o.Log, Now: o.Now, Metrics: metrics, Trusted: trusted(c),
		Limiter:  webserve.NewLimiter(c.Limits.RequestEvery(), c.Limits.Burst, 100_000, o.Now),
		Attempts: webserve.NewLimiter(time.Hour/time.Duration(attempts), attempts, 100_000, o.Now),
		Checks:   checks,
	}); err != nil {
		return nil, err
	}
	return s, s.listen(c, o, metrics, checks)
}

func (s *Server) onClose(f func() error) { s.closers = append(s.closers, f) }

func hasAlgs(r *token.Ring, c *brokerconf.Config, now time.Time) error {
	need := []token.Alg{token.ES256}
	if c.NeedsRS256() {
		need = append(need, token.RS256)
	}
	for _, alg := range need {
		if _, ok := r.Signing(alg, now); !ok {
			return fmt.Errorf("%w: there is no %s key that signs yet: make one with 'agentkeys broker keys rotate --alg %s', or mend kms_keys", token.ErrKeySet, alg, alg)
		}
	}
	return nil
}

// counter counts what is recorded. Operations and decisions are the broker's
// own words, so there are few.
type counter struct {
	grant.Recorder
	ops *prometheus.CounterVec
}

// Record implements grant.Recorder.
func (c *counter) Record(ctx context.Context, e grant.Event) error {
	err := c.Recorder.Record(ctx, e)
	if err == nil {
		c.ops.WithLabelValues(e.Op, e.Decision).Inc()
	}
	return err
}

// Note implements grant.Recorder.
func (c *counter) Note(e grant.Event) error {
	err := c.Recorder.Note(e)
	if err == nil {
		c.ops.WithLabelValues(e.Op, e.Decision).Inc()
	}
	return err
}

func openState(ctx context.Context, c *brokerconf.Config, now func() time.Time) (broker.State, error) {
	if c.State.Postgres != nil {
		return pgstate.Open(ctx, c.State.Postgres.DSN, now)
	}
	return sqlitestate.Open(c.State.SQLite, now)
}

func openWallets(c *brokerconf.Signer) (broker.Wallets, error) {
	key, err := ReadKey(c.KeyFile)
	if err != nil {
		return nil, err
	}
	w, err := signerclient.NewWallets(c.URL, []byte(c.CA), key, 0)
	return wallets{w}, err
}

// wallets asks the signer for accounts as the broker writes them.
type wallets struct{ *signerclient.Wallets }

// Master implements broker.Wallets.
func (w wallets) Master(ctx context.Context, account string) (agentkeys.Wallet, error) {
	id, err := signer.ParseAccountID(account)
	if err != nil {
		return agentkeys.Wallet{}, err
	}
	wallet, err := w.Wallets.Master(ctx, id)
	return wallet, unavailable(err)
}

// Agent implements broker.Wallets.
func (w wallets) Agent(ctx context.Context, account string, label agentkeys.Agent) (agentkeys.Wallet, error) {
	id, err := signer.ParseAccountID(account)
	if err != nil {
		return agentkeys.Wallet{}, err
	}
	wallet, err := w.Wallets.Agent(ctx, id, label)
	return wallet, unavailable(err)
}

// unavailable says that trying again may help.
func unavailable(err error) error {
	if errors.Is(err, signerclient.ErrUnreachable) {
		return fmt.Errorf("%w: %w", broker.ErrUnavailable, err)
	}
	return err
}

// ReadKey reads the P-256 key of a client certificate: PKCS #8 in PEM, in a
// file that only its owner can read.
func ReadKey(path string) (*ecdsa.PrivateKey, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if fi.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("others may read the key %s: chmod 600 %s", path, path)
	}
	data, err := io.ReadAll(io.LimitReader(f, 16<<10))
	if err != nil {
		return nil, err
	}
	defer clear(data)
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, fmt.Errorf("%s holds no PRIVATE KEY in PEM", path)
	}
	defer clear(block.Bytes)
	any, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	key, ok := any.(*ecdsa.PrivateKey)
	if err != nil || !ok {
		return nil, fmt.Errorf("%s holds no P-256 key", path)
	}
	return key, nil
}

var securities = map[string]mailout.Security{"starttls": mailout.StartTLS, "tls": mailout.TLS, "plain": mailout.Plaintext}

// methods opens the login methods that are on.
func methods(o *broker.Options, c *brokerconf.Config) (err error) {
	l := c.Logins
	if m := l.Email; m != nil {
		mc := mailout.Config{Server: m.SMTP, Security: securities[m.Security], From: m.From, Username: m.User, Password: m.Password}
		if m.CA != "" {
			mc.Roots = x509.NewCertPool()
			mc.Roots.AppendCertsFromPEM([]byte(m.CA))
		}
		if o.Mailer, err = mailout.New(mc); err != nil {
			return fmt.Errorf("logins.email: %w", err)
		}
	}
	if w := l.Wallet; w != nil {
		var nodes []siwe.Contracts
		for _, ch := range w.Chains {
			n, err := ethrpc.New(string(ch.RPC.Expose()), ch.ID)
			if err != nil {
				return fmt.Errorf("logins.wallet, chain %d: %w", ch.ID, err)
			}
			nodes = append(nodes, n)
		}
		if o.Wallet, err = siwe.NewLogin(c.Origin, nodes...); err != nil {
			return fmt.Errorf("logins.wallet: %w", err)
		}
	}
	if g := l.Google; g != nil {
		if o.Provider, err = oidclogin.New(oidclogin.Config{
			Issuer: g.Issuer, ClientID: g.ClientID, ClientSecret: g.ClientSecret, HostedDomain: g.HostedDomain,
			RedirectURL: c.Origin + brokerapi.PathGoogleReturn,
		}); err != nil {
			return fmt.Errorf("logins.google: %w", err)
		}
	}
	if p := l.Passkey; p != nil {
		if o.Passkeys, err = passkey.New(c.Origin, p.RPID); err != nil {
			return fmt.Errorf("logins.passkey: %w", err)
		}
	}
	return nil
}

func (s *Server) listen(c *brokerconf.Config, o Options, metrics *webserve.Metrics, checks []webserve.Check) error {
	ln, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("listen = %q: %w", c.Listen, err)
	}
	s.onClose(ln.Close)
	s.addr = ln.Addr()
	var config *tls.Config
	if c.TLS != nil {
		cert, err := webserve.LoadCertificate(c.TLS.Cert, c.TLS.Key)
		if err != nil {
			return fmt.Errorf("tls: %w", err)
		}
		config = cert.Config()
	}
	s.servers = append(s.servers, &webserve.Server{Listener: ln, Handler: s.handler, TLS: config, Log: o.Log, Trusted: trusted(c)})
	if c.MetricsListen == "" {
		return nil
	}
	if ln, err = net.Listen("tcp", c.MetricsListen); err != nil {
		return fmt.Errorf("metrics_listen = %q: %w", c.MetricsListen, err)
	}
	s.onClose(ln.Close)
	mux := http.NewServeMux()
	mux.Handle("GET "+brokerapi.PathMetrics, metrics.Handler())
	mux.HandleFunc("GET "+brokerapi.PathHealth, webserve.Health)
	mux.HandleFunc("GET "+brokerapi.PathReady, webserve.Ready(webserve.Options{Log: o.Log},
		append(checks, webserve.Check{Name: "state", Try: s.broker.Ready})...))
	s.servers = append(s.servers, &webserve.Server{Listener: ln, Handler: mux, Log: o.Log})
	return nil
}

// Addr is where the API is served.
func (s *Server) Addr() net.Addr { return s.addr }

// Handler serves the API, for who has a listener of their own.
func (s *Server) Handler() http.Handler { return s.handler }

// Serve serves until ctx ends; then what is under way ends first, and the
// parts are closed.
func (s *Server) Serve(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	// The feed outlives the listeners: whoever is still served hears of
	// revocations.
	background, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	var wg sync.WaitGroup
	wg.Go(func() { s.broker.Run(background) })
	wg.Go(func() { s.keys.Watch(background, tokenkeys.Interval) })
	errs := make(chan error, len(s.servers))
	for _, srv := range s.servers {
		go func() {
			errs <- srv.Serve(ctx)
			stop() // if one fails, all end
		}()
	}
	var all []error
	for range s.servers {
		all = append(all, <-errs)
	}
	end()
	wg.Wait()
	return errors.Join(append(all, s.close())...)
}

func (s *Server) close() error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		if err := s.closers[i](); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	s.closers = nil
	return errors.Join(errs...)
}

func trusted(c *brokerconf.Config) []netip.Prefix {
	if c.BehindProxy == nil {
		return nil
	}
	return c.BehindProxy.Prefixes
}
