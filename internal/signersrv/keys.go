package signersrv

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/token"
)

const (
	maxKeySet   = 64 << 10
	keysEvery   = 5 * time.Minute  // between refreshes when nothing is asked for
	keysRetry   = 10 * time.Second // between refreshes at least, whoever asks
	keysTimeout = 3 * time.Second
	// keysGood bounds for how long keys are believed that could not be seen
	// again: whoever cuts the signer off must not keep a withdrawn key alive.
	keysGood = 24 * time.Hour
)

// ErrKeys: the issuer's keys were never read, or not for too long.
var ErrKeys = errors.New("the issuer's keys are not known")

// IssuerKeys are the public keys of one issuer, read from its key set and read
// again: every five minutes, and when a token names a key that is not among
// them, though not within ten seconds of the last try. The last good set stays
// in force for a day. It implements token.Keys.
type IssuerKeys struct {
	load func(ctx context.Context) ([]byte, error)
	log  *slog.Logger
	now  func() time.Time

	set atomic.Pointer[readSet]
	mu  sync.Mutex // held while reading
	// tried is when a read last began.
	tried time.Time
}

type readSet struct {
	keys *token.KeySet
	at   time.Time
}

// FetchKeys reads the key set of an issuer over TLS from its well-known path.
// issuer is an https origin; roots are who may have signed its certificate, nil
// for the system's. Redirects are not followed.
func FetchKeys(issuer string, roots *x509.CertPool, log *slog.Logger, now func() time.Time) (*IssuerKeys, error) {
	u, err := url.Parse(issuer)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("an issuer is an https origin, such as https://broker.example.com")
	}
	address := "https://" + u.Host + brokerapi.PathKeys
	client := &http.Client{
		Timeout: keysTimeout,
		Transport: &http.Transport{
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
			TLSHandshakeTimeout:    keysTimeout,
			MaxResponseHeaderBytes: 32 << 10,
			ForceAttemptHTTP2:      true,
			IdleConnTimeout:        time.Minute,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	load := func(ctx context.Context) ([]byte, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			return nil, err
		}
		res, err := client.Do(req)
		if err != nil {
			return nil, err
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("%s answered %d", address, res.StatusCode)
		}
		return readBounded(res.Body)
	}
	return &IssuerKeys{load: load, log: log, now: now}, nil
}

// FileKeys reads the key set of an issuer from a file.
func FileKeys(path string, log *slog.Logger, now func() time.Time) *IssuerKeys {
	load := func(context.Context) ([]byte, error) {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return readBounded(f)
	}
	return &IssuerKeys{load: load, log: log, now: now}
}

func readBounded(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxKeySet+1))
	if err == nil && len(b) > maxKeySet {
		err = fmt.Errorf("the key set has more than %d bytes", maxKeySet)
	}
	return b, err
}

// Key implements token.Keys.
func (k *IssuerKeys) Key(kid string) (token.Alg, crypto.PublicKey, bool) {
	if alg, pub, ok := k.known(kid); ok {
		return alg, pub, true
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	// Whoever had the lock may have read it.
	if alg, pub, ok := k.known(kid); ok {
		return alg, pub, true
	}
	if k.refresh(context.Background(), false) != nil {
		return "", nil, false
	}
	return k.known(kid)
}

func (k *IssuerKeys) known(kid string) (token.Alg, crypto.PublicKey, bool) {
	s := k.good()
	if s == nil {
		return "", nil, false
	}
	return s.keys.Key(kid)
}

func (k *IssuerKeys) good() *readSet {
	if s := k.set.Load(); s != nil && k.now().Sub(s.at) < keysGood {
		return s
	}
	return nil
}

// Ready tells whether there are keys to believe, reading them if there are
// none. It fails with ErrKeys.
func (k *IssuerKeys) Ready(ctx context.Context) error {
	if k.good() != nil {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.good() != nil {
		return nil
	}
	if err := k.refresh(ctx, false); err != nil {
		return fmt.Errorf("%w: %w", ErrKeys, err)
	}
	if k.good() == nil {
		return ErrKeys
	}
	return nil
}

// Refresh reads the keys now, however long ago that was done.
func (k *IssuerKeys) Refresh(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.refresh(ctx, true)
}

// refresh reads the keys, unless that was tried just now. The caller has mu.
func (k *IssuerKeys) refresh(ctx context.Context, force bool) error {
	now := k.now()
	if !force && !k.tried.IsZero() && now.Sub(k.tried) < keysRetry && now.Sub(k.tried) >= 0 {
		return nil
	}
	k.tried = now
	// Not the caller's: of several who wait, one that gives up must not spoil
	// the try for all.
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), keysTimeout)
	defer stop()
	data, err := k.load(ctx)
	var keys *token.KeySet
	if err == nil {
		keys, err = token.ParseJWKS(data)
	}
	if err != nil {
		k.log.Warn("the issuer's keys could not be read; those read last stay in force", "err", err)
		return err
	}
	k.set.Store(&readSet{keys, now})
	return nil
}

// Run refreshes the keys until ctx ends.
func (k *IssuerKeys) Run(ctx context.Context) {
	t := time.NewTicker(keysEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			_ = k.Refresh(ctx) // it is in the log
		}
	}
}
