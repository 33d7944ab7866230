// Package remote joins what a device needs of a broker into the parts of a
// local.Host: the broker's client and stream, the store under the wallet's own
// session, and the signer's keys. It decides nothing and keeps nothing but
// tokens that are about to end, and is the one place that knows all of these
// packages.
package remote

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/awssts"
	"github.com/litentry/agentkeys/internal/book"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/brokerclient"
	"github.com/litentry/agentkeys/internal/device"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/local"
	"github.com/litentry/agentkeys/internal/mailhead"
	"github.com/litentry/agentkeys/internal/s3blob"
	"github.com/litentry/agentkeys/internal/s3mail"
	"github.com/litentry/agentkeys/internal/signerclient"
)

// ErrIncomplete says that the broker names no store or no signer, so that
// nothing can be kept with it.
var ErrIncomplete = errors.New("the broker names no place to keep credentials")

// Options are what a Broker needs.
type Options struct {
	URL     string     // the broker's origin
	Key     device.Key // of this device, which the broker knows
	Roots   *x509.CertPool
	Version string
	Log     *slog.Logger
	Now     func() time.Time
}

// Broker is a device's side of a broker, from a session on.
type Broker struct {
	client  *brokerclient.Client
	stream  *brokerclient.Stream
	keys    *signerclient.Client
	blobs   *s3blob.Bucket
	mail    *local.Mail // nil: no mail comes in
	session brokerapi.Session
	key     device.Key
	own     []string // audiences of tokens that open what is kept with the broker

	sessions *awssts.Sessions
	tokens   *tokens
	done     context.CancelFunc
	ending   sync.WaitGroup

	mu      sync.Mutex
	taken   map[lent]*grant.Grant     // revoked here, and not acknowledged by the broker
	wallets map[agentkeys.Wallet]bool // that have had a session at STS
}

// Client makes a client of the broker: enough to log in and out.
func (o Options) Client() (*brokerclient.Client, error) {
	return brokerclient.New(brokerclient.Options{
		URL: o.URL, Key: o.Key.Private(), Roots: o.Roots, Agent: "agentkeys/" + o.Version, Log: o.Log, Now: o.Now,
	})
}

// Open takes a session with the device's key, asks the broker where store and
// signer are, and begins to follow it.
func Open(ctx context.Context, o Options) (_ *Broker, err error) {
	b := &Broker{taken: map[lent]*grant.Grant{}, wallets: map[agentkeys.Wallet]bool{}, key: o.Key}
	defer func() {
		if err != nil {
			b.Close()
		}
	}()
	if b.client, err = o.Client(); err != nil {
		return nil, err
	}
	cfg, err := b.client.Config(ctx)
	if err != nil {
		return nil, err
	}
	if cfg.Cloud == nil || cfg.Signer == nil {
		return nil, fmt.Errorf("%w: %s", ErrIncomplete, cfg.Issuer)
	}
	if b.session, err = b.client.Session(ctx); err != nil {
		return nil, err
	}
	b.own = []string{b.client.Origin(), cfg.Cloud.Audience, cfg.Signer.Audience}
	if err := b.openStore(*cfg.Cloud); err != nil {
		return nil, err
	}
	if err := b.openKeys(*cfg.Signer, o); err != nil {
		return nil, err
	}
	b.stream = b.client.Events()
	open, done := context.WithCancel(context.Background())
	b.done = done
	b.ending.Go(func() {
		select {
		case <-open.Done():
		case <-b.stream.Out():
			b.forget()
		}
	})
	return b, nil
}

// in refuses what a device that is out asks for: store and signer would take
// what it was given before, until that ends.
func (b *Broker) in() error {
	select {
	case <-b.stream.Out():
		return explain(brokerclient.ErrEnded)
	default:
		return nil
	}
}

// forget drops the sessions and tokens of a device that is out.
func (b *Broker) forget() {
	b.tokens.forget()
	b.mu.Lock()
	defer b.mu.Unlock()
	for w := range b.wallets {
		b.sessions.Forget(w)
	}
}

func (b *Broker) openStore(c brokerapi.Cloud) (err error) {
	b.sessions, err = awssts.New(awssts.Config{Region: c.Region, Endpoint: c.STSEndpoint, RoleARN: c.RoleARN},
		func(ctx context.Context, w agentkeys.Wallet) (string, error) {
			// Used once: the session that comes of it lasts.
			b.mu.Lock()
			b.wallets[w] = true
			b.mu.Unlock()
			m, err := b.client.Mint(ctx, c.Audience, w, 0)
			return m.Token, err
		})
	if err != nil {
		return err
	}
	b.blobs, err = s3blob.Open(s3blob.Config{
		Region: c.Region, Bucket: c.Bucket, Endpoint: c.S3Endpoint, PathStyle: c.PathStyle,
		ClaimDeletes: c.S3Endpoint != "", // another server than AWS's own
	}, b.sessions.Credentials)
	if err != nil || c.Mail == nil {
		return err
	}
	inbox, err := s3mail.Open(s3mail.Config{Region: c.Region, Bucket: c.Bucket, Endpoint: c.S3Endpoint, PathStyle: c.PathStyle},
		s3mail.Credentials{Wallet: b.sessions.Credentials})
	if err != nil {
		return err
	}
	b.mail = &local.Mail{Inbox: mail{inbox, b.in}, Domain: c.Mail.Domain, Receiver: mailhead.SES()}
	if c.Mail.Receiver != "" {
		b.mail.Receiver = mailhead.Host(c.Mail.Receiver)
	}
	return nil
}

func (b *Broker) openKeys(s brokerapi.Signer, o Options) (err error) {
	b.tokens = &tokens{now: o.Now, mint: func(ctx context.Context, w agentkeys.Wallet) (brokerclient.Minted, error) {
		return b.client.Mint(ctx, s.Audience, w, 0)
	}}
	b.keys, err = signerclient.New(signerclient.Options{
		URL: s.URL, CA: []byte(s.CA), Key: o.Key.Private(), Wallet: b.session.Wallet, Token: b.tokens.get, Now: o.Now,
	})
	return err
}

// Session is the one that Open took.
func (b *Broker) Session() brokerapi.Session { return b.session }

// Parts are the parts of a Host.
func (b *Broker) Parts() (*local.Remote, error) {
	seed, err := b.key.LogSeed()
	if err != nil {
		return nil, err
	}
	d := directory{b.stream, nil}
	if s := b.session; !s.Agent.IsZero() {
		// A broker tells an agent of its grants, and it knows who it is.
		d.self = &book.Agent{Label: s.Agent, Wallet: s.Wallet}
	}
	return &local.Remote{
		Issuer: b.client.Origin(), Wallet: b.session.Wallet, Agent: b.session.Agent, LogSeed: seed,
		Keys: keys{b.keys, b.in}, Blobs: blobs{b.blobs, b.in}, Dir: d, Changes: b, Stream: stream{b.stream}, Account: b.client,
		Mail: b.mail, Identity: b.identity,
	}, nil
}

// Close ends the stream and lets connections go. The Host is closed before.
func (b *Broker) Close() {
	if b.done != nil {
		b.done()
		b.ending.Wait()
	}
	if b.stream != nil {
		b.stream.Close()
	}
	if b.keys != nil {
		b.keys.Close()
	}
	if b.client != nil {
		b.client.Close()
	}
}
