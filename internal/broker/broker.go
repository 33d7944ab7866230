package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"time"

	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/token"
)

// How long things last.
const (
	LoginLife     = 15 * time.Minute // from its beginning to the hand-off
	EnrolmentLife = 10 * time.Minute
	// MaxIdentity is the longest life of a web-identity token that a caller can
	// ask for: it is nobody's in particular, and no revocation ends it.
	MaxIdentity = 15 * time.Minute
)

// How many of a thing an account may have.
const (
	MaxDevices   = 64 // the agents' not counted
	MaxAgents    = 1000
	MaxGrants    = 200  // of one agent
	MaxAllGrants = 2000 // of all agents
)

// maxCached bounds what a replica remembers of sessions and of devices.
const maxCached = 100_000

// Options say what a broker works with. A login method without its part is
// off.
type Options struct {
	// Origin is the broker's own, as https://broker.example: the issuer, what
	// links are built from, and the host that proofs of device keys are for.
	Origin   string
	State    State
	Recorder grant.Recorder
	// Issuer signs, with Origin as its Issuer; sessions are checked by its ring.
	Issuer  *token.Issuer
	Wallets Wallets

	Mailer   Mailer
	Wallet   WalletLogin
	Provider ProviderLogin
	Passkeys PasskeyLogin

	// Audiences are those of web-identity tokens, and how to sign for each.
	Audiences map[string]token.Alg
	// SignerAudience is that of signer tokens; "" if there is no signer.
	SignerAudience string

	Now func() time.Time
	Log *slog.Logger
}

// Broker is one replica. Its methods may be called from many goroutines.
type Broker struct {
	o        Options
	sessions *token.Cache
	proofs   proofs
	devices  *devices
	buried   ids // grants that were to be revoked here, though the state did not say that it is done
	feed     *feed
	lanes    lanes
}

// New makes a broker. Until Run runs it has no streams, and reads State for
// each check.
func New(o Options) (*Broker, error) {
	u, err := url.Parse(o.Origin)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.Scheme+"://"+u.Host != o.Origin {
		return nil, errors.New("a broker's origin is scheme and host alone, as https://broker.example")
	}
	if o.State == nil || o.Recorder == nil || o.Issuer == nil || o.Wallets == nil || o.Now == nil || o.Log == nil {
		return nil, errors.New("a broker needs a state, a recorder, an issuer, wallets, a clock and a log")
	}
	if o.Issuer.Issuer != o.Origin {
		return nil, fmt.Errorf("the issuer signs as %q, and the origin is %q", o.Issuer.Issuer, o.Origin)
	}
	for aud := range o.Audiences {
		if aud == "" || aud == o.Origin || aud == o.SignerAudience {
			return nil, fmt.Errorf("web-identity tokens cannot be for %q: other tokens are", aud)
		}
	}
	if o.SignerAudience == o.Origin {
		return nil, errors.New("the signer's audience cannot be the broker's origin")
	}
	o.Audiences = maps.Clone(o.Audiences)
	b := &Broker{o: o, devices: newDevices(), sessions: token.NewCache(maxCached), proofs: newProofs(o.State)}
	b.feed = newFeed(o.State, o.Now, o.Log, b.hear)
	return b, nil
}

// Run follows the state's events and sweeps what expired, until ctx ends.
func (b *Broker) Run(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.sweep(ctx)
	}()
	b.feed.run(ctx)
	<-done
}

func (b *Broker) sweep(ctx context.Context) {
	every := time.NewTicker(time.Minute)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
		if err := b.o.State.Sweep(ctx); err != nil && ctx.Err() == nil {
			b.o.Log.Warn("the state could not be swept", "err", err)
		}
	}
}

// Ready reports why changes could not be made now, or what is revoked not be
// heard of.
func (b *Broker) Ready(ctx context.Context) error {
	if err := b.o.State.Ping(ctx); err != nil {
		return stateError(err)
	}
	if !b.feed.within(lagsAfter) {
		return fmt.Errorf("%w: the feed of events lags", ErrUnavailable)
	}
	return nil
}

// Origin is the configured one.
func (b *Broker) Origin() string { return b.o.Origin }

// Methods are the login methods that are on.
func (b *Broker) Methods() []string {
	on := map[string]bool{
		brokerapi.LoginEmail: b.o.Mailer != nil, brokerapi.LoginWallet: b.o.Wallet != nil,
		brokerapi.LoginGoogle: b.o.Provider != nil, brokerapi.LoginPasskey: b.o.Passkeys != nil,
	}
	maps.DeleteFunc(on, func(_ string, is bool) bool { return !is })
	return slices.Sorted(maps.Keys(on))
}

// applyTime bounds a change, which does not end with the request: whoever
// hangs up in the middle must not leave it recorded as allowed and no more.
const applyTime = 10 * time.Second

func detach(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), applyTime)
}

func (b *Broker) apply(ctx context.Context, c Change) error {
	ctx, stop := detach(ctx)
	defer stop()
	_, err := b.o.State.Apply(ctx, c)
	return stateError(err)
}

// note makes one entry, durably.
func (b *Broker) note(ctx context.Context, e grant.Event, decision, reason string) error {
	e.Time, e.Decision, e.Reason = b.o.Now().UTC(), decision, reason
	if err := b.o.Recorder.Record(ctx, e); err != nil {
		return fmt.Errorf("%w: recording %s: %w", ErrUnavailable, e.Op, err)
	}
	return nil
}
