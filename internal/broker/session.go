package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/token"
)

// Request is what of a request proves who makes it. Path is as the route has
// it; the rest of its URL is the configured origin, whatever the client says.
type Request struct {
	Method, Path string
	Proof        string // DPoP, RFC 9449
	Token        string // session token, "" if none
}

// DeviceKey is a key of which this request has proven possession. It is of no
// device yet, perhaps. Only ProveKey makes one.
type DeviceKey struct{ t token.Thumbprint }

func (k DeviceKey) isZero() bool { return k.t.IsZero() }

// String returns the thumbprint.
func (k DeviceKey) String() string { return k.t.String() }

// ProveKey checks the proof of a request without a token. ErrProof.
func (b *Broker) ProveKey(ctx context.Context, r Request) (DeviceKey, error) {
	if r.Token != "" {
		return DeviceKey{}, fmt.Errorf("%w: a token has no business here", ErrSession)
	}
	p, err := b.proof(ctx, r, nil)
	return DeviceKey{p}, err
}

// ProveDevice is ProveKey for the key of a device: of strangers' proofs nothing
// is kept. ErrProof, ErrDevice.
func (b *Broker) ProveDevice(ctx context.Context, r Request) (DeviceKey, error) {
	if r.Token != "" {
		return DeviceKey{}, fmt.Errorf("%w: a token has no business here", ErrSession)
	}
	p, err := b.proof(ctx, r, func(key token.Thumbprint) error {
		_, err := b.device(ctx, key)
		return err
	})
	return DeviceKey{p}, err
}

// proof checks a request's, and uses it up if its key is one to go on with.
func (b *Broker) proof(ctx context.Context, r Request, goOn func(token.Thumbprint) error) (token.Thumbprint, error) {
	now := b.o.Now()
	p, err := token.VerifyProof(r.Proof, r.Method, b.o.Origin+r.Path, r.Token, now)
	if err != nil {
		return token.Thumbprint{}, fmt.Errorf("%w: %w", ErrProof, err)
	}
	if goOn != nil {
		if err := goOn(p.Key); err != nil {
			return token.Thumbprint{}, err
		}
	}
	if err := b.proofs.use(ctx, p, now); err != nil {
		return token.Thumbprint{}, err
	}
	return p.Key, nil
}

// Caller is whoever has a session, on a device that may have it. Only
// Authenticate makes one; the zero Caller may do nothing.
type Caller struct {
	s  token.Session
	ok bool
}

// Authenticate checks the session token of a request, its proof, and that the
// device is still one. ErrSession, ErrProof, ErrDevice.
func (b *Broker) Authenticate(ctx context.Context, r Request) (Caller, error) {
	now := b.o.Now()
	v := token.Verifier{Issuer: b.o.Origin, Audience: b.o.Origin, Keys: b.o.Issuer.Ring()}
	s, err := b.sessions.Session(v, r.Token, now)
	if err != nil {
		return Caller{}, fmt.Errorf("%w: %w", ErrSession, err)
	}
	key, err := b.proof(ctx, r, nil)
	if err != nil {
		return Caller{}, err
	}
	if key != s.Device {
		return Caller{}, fmt.Errorf("%w: the session is another key's", ErrProof)
	}
	c := Caller{s, true}
	return c, b.check(ctx, c)
}

// check reports whether a session's device may still have it. ErrDevice.
func (b *Broker) check(ctx context.Context, c Caller) error {
	d, err := b.device(ctx, c.s.Device)
	if err != nil {
		return err
	}
	if d.Account != c.s.Account || d.Wallet != c.s.Wallet || d.Agent != c.s.Agent || d.Parent != c.s.Parent {
		return ErrDevice // it has become another's
	}
	return nil
}

// Master is a Caller that is the master of its account, and so may grant,
// enrol, list, and act for its agents. Only Caller.Master makes one.
type Master struct {
	s  token.Session
	ok bool
}

// Master is the one check of standing there is. ErrForbidden.
func (c Caller) Master() (Master, error) {
	if !c.ok || c.s.Role != token.Master || !c.s.Agent.IsZero() {
		return Master{}, ErrForbidden
	}
	return Master{c.s, true}, nil
}

// account is whose things a master may touch; there is none for the zero
// Master, which fails here rather than anywhere else.
func (m Master) account() string {
	if !m.ok {
		panic("broker: a Master that nobody made")
	}
	return m.s.Account
}

// Device is the thumbprint of the key that makes the call.
func (c Caller) Device() string { return c.s.Device.String() }

// Renew gives a device another session by its key alone. ErrDevice.
func (b *Broker) Renew(ctx context.Context, key DeviceKey) (brokerapi.Session, error) {
	if key.isZero() {
		return brokerapi.Session{}, ErrProof
	}
	d, err := b.device(ctx, key.t)
	if err != nil {
		return brokerapi.Session{}, err
	}
	return b.issue(ctx, key.t, d)
}

// issue records and signs a session token.
func (b *Broker) issue(ctx context.Context, key token.Thumbprint, d deviceRecord) (brokerapi.Session, error) {
	now := b.o.Now()
	s := token.Session{
		ID: token.NewID(), Account: d.Account, Wallet: d.Wallet, Role: token.Master, Parent: d.Parent, Agent: d.Agent,
		Device: key, Expires: now.Add(token.MasterLife).Truncate(time.Second),
	}
	if !d.Agent.IsZero() {
		s.Role, s.Expires = token.Agent, now.Add(token.AgentLife).Truncate(time.Second)
	}
	raw, err := b.o.Issuer.Session(s, now)
	if err != nil {
		return brokerapi.Session{}, err
	}
	e := grant.Event{Op: "session.start", Actor: d.Wallet, Parent: d.Parent, Agent: d.Agent, Subject: "device " + key.String()}
	if err := b.note(ctx, e, grant.Allowed, ""); err != nil {
		return brokerapi.Session{}, err
	}
	return brokerapi.Session{
		Token: raw, Type: "DPoP", Expires: s.Expires.UTC(), Account: d.Account, Wallet: d.Wallet, Role: string(s.Role),
		Parent: d.Parent, Agent: d.Agent, Device: key.String(),
	}, nil
}

// MintRequest asks for a token for an audience.
type MintRequest struct {
	Audience string
	Wallet   agentkeys.Wallet // zero: the caller's own
	Lifetime time.Duration    // zero: five minutes
}

// Mint releases a web-identity token, or a signer token where the audience is
// the signer's, once that is recorded. ErrAudience, ErrForbidden, ErrRequest.
func (b *Broker) Mint(ctx context.Context, c Caller, r MintRequest) (brokerapi.TokenAnswer, error) {
	if !c.ok {
		return brokerapi.TokenAnswer{}, ErrForbidden
	}
	alg, federated := b.o.Audiences[r.Audience]
	signer := b.o.SignerAudience != "" && r.Audience == b.o.SignerAudience
	if !federated && !signer {
		return brokerapi.TokenAnswer{}, ErrAudience
	}
	life := r.Lifetime
	switch {
	case life == 0:
		life = token.AccessLife
	case life < token.MinIdentity || life > MaxIdentity || life%time.Second != 0:
		return brokerapi.TokenAnswer{}, requestError("a lifetime is %d to %d seconds", int(token.MinIdentity.Seconds()), int(MaxIdentity.Seconds()))
	case signer:
		life = min(life, token.AccessLife)
	}
	w, parent, agent := c.s.Wallet, c.s.Parent, c.s.Agent
	if !r.Wallet.IsZero() && r.Wallet != w {
		m, err := c.Master()
		if err != nil {
			return brokerapi.TokenAnswer{}, err
		}
		if agent, err = b.agentOf(ctx, m, r.Wallet); err != nil {
			return brokerapi.TokenAnswer{}, err
		}
		w, parent = r.Wallet, c.s.Wallet
	}
	now := b.o.Now()
	id, expires := token.NewID(), now.Add(life)
	var raw string
	var err error
	if signer {
		raw, err = b.o.Issuer.Access(token.Access{
			ID: id, Account: c.s.Account, Wallet: w, Role: c.s.Role, Parent: parent, Agent: agent,
			Device: c.s.Device, Audience: r.Audience, Expires: expires,
		}, now)
	} else {
		raw, err = b.o.Issuer.Identity(token.Identity{ID: id, Wallet: w, Audience: r.Audience, Expires: expires}, alg, now)
	}
	if err != nil {
		return brokerapi.TokenAnswer{}, err
	}
	e := grant.Event{
		Op: "token.mint", Actor: c.s.Wallet, Parent: parent, Agent: agent,
		Subject: r.Audience + " as " + w.String() + " for " + life.String(), Request: id,
	}
	if err := b.note(ctx, e, grant.Allowed, ""); err != nil {
		return brokerapi.TokenAnswer{}, err
	}
	// Recording takes its time: what was revoked meanwhile gets no token.
	if err := b.check(ctx, c); err != nil {
		return brokerapi.TokenAnswer{}, err
	}
	return brokerapi.TokenAnswer{Token: raw, IssuedType: brokerapi.TypeJWT, TokenType: "N_A", ExpiresIn: int(life.Seconds())}, nil
}

// agentOf returns the master's agent of a wallet. ErrForbidden, also for one
// that is nobody's.
func (b *Broker) agentOf(ctx context.Context, m Master, w agentkeys.Wallet) (agentkeys.Agent, error) {
	rec, _, err := get[walletRecord](ctx, b.o.State, walletKey(w))
	switch {
	case errors.Is(err, ErrAbsent):
		return agentkeys.Agent{}, ErrForbidden
	case err != nil:
		return agentkeys.Agent{}, err
	case rec.Account != m.account() || rec.Agent.IsZero():
		return agentkeys.Agent{}, ErrForbidden
	}
	return rec.Agent, nil
}
