package local

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/book"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/daemon"
	"github.com/litentry/agentkeys/internal/envelope"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/signer"
	"github.com/litentry/agentkeys/internal/vault"
)

// ErrNoCost says that a money budget cannot be kept: the service does not say
// what a request cost, and the owner has set no prices.
var ErrNoCost = errors.New("the cost of a request is not known")

// ErrTerms says that the terms of a grant make no sense.
var ErrTerms = errors.New("impossible terms")

// CreateAgent adds an agent with a wallet derived for its label and opens its
// socket.
func (h *Host) CreateAgent(ctx context.Context, label agentkeys.Agent) (book.Agent, error) {
	if err := h.manage(); err != nil {
		return book.Agent{}, err
	}
	a, err := h.dir.CreateAgent(ctx, label, h.now())
	if err != nil {
		return a, err
	}
	h.listenAgent(a)
	return a, nil
}

// RemoveAgent ends an agent: its grants, tokens, socket and copies. It can be
// repeated after a failure. An agent made later under the same label has the
// same wallet.
func (h *Host) RemoveAgent(ctx context.Context, label agentkeys.Agent) error {
	if err := h.manage(); err != nil {
		return err
	}
	a, ok := h.dir.Agent(label)
	if !ok {
		return fmt.Errorf("%w: %s", book.ErrUnknownAgent, label)
	}
	// As in Revoke, what stops the agent waits for nothing, neither its other
	// grants nor the store.
	var errs []error
	var svcs []agentkeys.Service
	defer func() { h.endMinted(ctx, label, svcs...) }()
	for _, g := range h.grantsOf(label) {
		svcs = append(svcs, g.Svc)
		if _, err := h.dir.RemoveGrant(ctx, label, g.Svc, h.now()); err != nil && !errors.Is(err, book.ErrUnknownGrant) {
			errs = append(errs, err)
		}
		h.daemon.Revoked(g.Wallet, g.Svc)
		h.ledger.Drop(g.ID)
	}
	if err := errors.Join(append(errs, h.takeOut(ctx, label))...); err != nil {
		return err
	}
	h.change.Lock()
	defer h.change.Unlock()
	// The agent goes last: until then a repetition finds what is left of it,
	// and a broker lets its master at its copies.
	infos, err := h.vault.Infos(ctx, a.Wallet)
	if err != nil {
		return err
	}
	for _, i := range infos {
		if err := h.deleteCopy(ctx, grant.Event{Agent: label, Subject: a.Wallet.String()}, a.Wallet, i.Service); err != nil {
			return err
		}
	}
	gone, err := h.dir.RemoveAgent(ctx, label, h.now())
	if _, still := h.dir.Agent(label); !still {
		h.daemon.CloseAgent(label)
	}
	for _, g := range gone { // dead ones, whose files could not be removed before
		h.ledger.Drop(g.ID)
	}
	return err
}

// takeOut ends the device of an agent at the broker, and a code that could
// bring it another.
func (h *Host) takeOut(ctx context.Context, label agentkeys.Agent) error {
	if h.opts.Remote == nil {
		return nil
	}
	// A new code ends those before it, and nobody is told this one.
	_, err := h.opts.Remote.Account.Enrolment(ctx, label)
	errs := []error{err}
	all, err := h.opts.Remote.Account.Devices(ctx)
	errs = append(errs, err)
	for _, d := range all {
		if d.Agent != label {
			continue
		}
		err := h.RevokeDevice(ctx, d.ID)
		if p, ok := errors.AsType[*brokerapi.Problem](err); ok && p.Code == brokerapi.CodeNotFound {
			continue // out already
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Agents returns every agent.
func (h *Host) Agents() []book.Agent { return h.dir.Agents() }

// GrantInfo is a grant with what has been used of it.
type GrantInfo struct {
	grant.Grant
	Usage   grant.Usage `json:"usage"`
	Expired bool        `json:"expired"`
	Minted  *MintedKey  `json:"minted,omitempty"` // a key of its own; nil: a copy of the master's
}

// Grant lends svc to an agent on terms, in place of an earlier grant. Before it
// does, it seals a key into the agent's own prefix: one that the service makes
// for this grant, if there is a management key, or else a copy of the master's.
func (h *Host) Grant(ctx context.Context, label agentkeys.Agent, svc agentkeys.Service, t book.Terms) (GrantInfo, error) {
	if err := h.manage(); err != nil {
		return GrantInfo{}, err
	}
	e, a, err := h.lendable(label, svc, t)
	if err != nil {
		return GrantInfo{}, err
	}
	// Not under the lock, which revocations wait for: a service takes its time.
	own, err := h.mintFor(ctx, e, a, t)
	if err != nil {
		return GrantInfo{}, err
	}
	defer own.done()
	h.change.Lock()
	defer h.change.Unlock()
	if _, a, err = h.lendable(label, svc, t); err != nil { // still
		return GrantInfo{}, err
	}
	if h.federated(svc) {
		own = nil // if it was set while the key was made, which goes again
	}
	if own != nil {
		err = h.seal(ctx, a, svc, own.rec)
	} else {
		err = h.sealCopy(ctx, a, svc)
	}
	if err != nil {
		return GrantInfo{}, err
	}
	old := h.dir.Grant(label, svc)
	g, err := h.dir.PutGrant(ctx, label, svc, t, h.now())
	if err != nil && h.opts.Remote != nil && old == nil {
		// The agent's own machine could read a copy without a grant. If the
		// broker made the grant all the same, it lends nothing.
		gone := grant.Event{Agent: label, Subject: a.Wallet.String(), Reason: "the grant was not acknowledged"}
		err = errors.Join(err, h.deleteCopy(context.WithoutCancel(ctx), gone, a.Wallet, svc))
	}
	if err != nil {
		h.doubt(label)
		return GrantInfo{}, err
	}
	if old != nil {
		h.ledger.Drop(old.ID)
	}
	if own != nil {
		own.settle(g.ID)
	} else {
		h.supersede(label, svc, "")
	}
	return h.grantInfo(g), nil
}

// lendable returns the parties of a grant on terms, if it can be made.
func (h *Host) lendable(label agentkeys.Agent, svc agentkeys.Service, t book.Terms) (e *catalog.Entry, a book.Agent, err error) {
	if e, err = h.cat.entry(svc); err != nil {
		return nil, a, err
	}
	a, ok := h.dir.Agent(label)
	if !ok {
		return nil, a, fmt.Errorf("%w: %s", book.ErrUnknownAgent, label)
	}
	if !t.Expires.After(h.now()) {
		return nil, a, fmt.Errorf("%w: the grant would expire before it begins", ErrTerms)
	}
	for _, r := range t.Rules {
		switch e.Policy().Dead(r) {
		case grant.CodePathShut:
			return nil, a, fmt.Errorf("%w: %s is shut: it manages or echoes keys; only --unsafe-path opens it", ErrTerms, r)
		case grant.CodePathDenied:
			return nil, a, fmt.Errorf("%w: %s does not lend %s; 'agentkeys services show %s' says what it lends", ErrTerms, svc, r, svc)
		}
	}
	if t.Budget != nil && !priced(e) {
		return nil, a, fmt.Errorf("%w: %s does not report it", ErrNoCost, svc)
	}
	return e, a, nil
}

// priced reports whether the cost of an answer can be known at all.
func priced(e *catalog.Entry) bool {
	switch e.Usage.Pricing {
	case catalog.PricingReported, catalog.PricingNone:
		return true
	case catalog.PricingTable:
		if fields, ok := e.Usage.Tokens.Get(); ok && len(fields.Model) == 0 {
			// Its answers do not name the model, so only a price for all counts.
			_, all := e.Owner.Prices["*"]
			return all
		}
		return len(e.Owner.Prices) > 0
	}
	return false
}

// Revoke ends the grant of svc to an agent. When it returns nil no later
// request finds the grant or a cached credential, and the copy is gone.
func (h *Host) Revoke(ctx context.Context, label agentkeys.Agent, svc agentkeys.Service) error {
	if err := h.manage(); err != nil {
		return err
	}
	// The grant goes before the lock is waited for: what holds it must not
	// delay a revocation.
	g, err := h.dir.RemoveGrant(ctx, label, svc, h.now())
	if g != nil {
		h.daemon.Revoked(g.Wallet, svc)
	}
	// After all that is done here: no revocation waits for a service.
	defer h.endMinted(ctx, label, svc)
	if a, ok := h.dir.Agent(label); g == nil && ok && h.opts.Remote != nil && errors.Is(err, book.ErrUnknownGrant) && h.leftCopy(ctx, a, svc) {
		g, err = &grant.Grant{Agent: label, Wallet: a.Wallet, Svc: svc}, nil
	}
	if err != nil {
		return err
	}
	h.change.Lock()
	defer h.change.Unlock()
	return h.removeCopy(ctx, g)
}

// Grants returns every grant with its usage.
func (h *Host) Grants() []GrantInfo {
	out := []GrantInfo{}
	for _, g := range h.dir.Grants() {
		out = append(out, h.grantInfo(g))
	}
	return out
}

func (h *Host) grantInfo(g *grant.Grant) GrantInfo {
	now := h.now()
	return GrantInfo{*g, h.ledger.Usage(g, now), !now.Before(g.Expires), h.mintedOf(g)}
}

// sealCopy seals the master's credential once more into the agent's prefix.
// Where tokens are exchanged there is nothing to seal.
func (h *Host) sealCopy(ctx context.Context, a book.Agent, svc agentkeys.Service) error {
	if h.federated(svc) {
		return nil
	}
	e := grant.Event{Time: h.now(), Op: "credential.lend", Actor: h.wallet, Agent: a.Label, Subject: a.Wallet.String()}
	read, err := h.decider.Own(ctx, grant.ActLend, h.wallet, svc, e)
	if err != nil {
		return err
	}
	rec, _, err := h.vault.Load(ctx, read)
	if err != nil {
		return err
	}
	defer rec.Secret.Clear()
	return h.seal(ctx, a, svc, rec)
}

// seal seals a key into an agent's prefix.
func (h *Host) seal(ctx context.Context, a book.Agent, svc agentkeys.Service, rec envelope.Record) error {
	e := grant.Event{Time: h.now(), Op: "credential.seal", Actor: h.wallet, Agent: a.Label, Subject: a.Wallet.String()}
	write, err := h.decider.Own(ctx, grant.ActStore, a.Wallet, svc, e)
	if err != nil {
		return err
	}
	_, err = h.vault.Store(ctx, write, rec)
	if unreadable(err) {
		// Not overwritten by the vault; but this is only a copy.
		del, derr := h.decider.Own(ctx, grant.ActDelete, a.Wallet, svc, e)
		if derr != nil {
			return derr
		}
		if derr := h.vault.Delete(ctx, del); derr != nil && !errors.Is(derr, vault.ErrNotFound) {
			return derr
		}
		_, err = h.vault.Store(ctx, write, rec)
	}
	h.daemon.Forget(a.Wallet, svc)
	return err
}

// unreadable reports whether what is stored cannot be opened, now or later.
func unreadable(err error) bool {
	return slices.ContainsFunc([]error{
		envelope.ErrCommitment, envelope.ErrDecrypt, envelope.ErrTruncated, envelope.ErrVersion, envelope.ErrRecord,
		envelope.ErrTooLarge, vault.ErrSize, signer.ErrUnknownEpoch,
	}, func(is error) bool { return errors.Is(err, is) })
}

// lentTo names the agents of grants.
func lentTo(grants []*grant.Grant) string {
	names := make([]string, len(grants))
	for i, g := range grants {
		names[i] = g.Agent.String()
	}
	return strings.Join(names, ", ")
}

// removeCopy deletes the copy that a grant had sealed, unless the agent was
// granted the service anew meanwhile: then it belongs to that grant. One that
// is gone already is as good. h.change is held.
func (h *Host) removeCopy(ctx context.Context, g *grant.Grant) error {
	h.ledger.Drop(g.ID)
	if h.dir.Grant(g.Agent, g.Svc) != nil {
		return nil
	}
	return h.deleteCopy(ctx, grant.Event{Agent: g.Agent, Subject: g.Wallet.String(), Grant: g.ID}, g.Wallet, g.Svc)
}

// hasCopy reports whether there is a copy, of whatever grant.
func (h *Host) hasCopy(ctx context.Context, w agentkeys.Wallet, svc agentkeys.Service) (bool, error) {
	infos, err := h.vault.Infos(ctx, w)
	return slices.ContainsFunc(infos, func(i vault.Info) bool { return i.Service == svc }), err
}

func (h *Host) deleteCopy(ctx context.Context, e grant.Event, w agentkeys.Wallet, svc agentkeys.Service) error {
	if !e.Agent.IsZero() {
		h.noteStranger(h.stranger(ctx, e.Agent, w, svc), h.now())
	}
	h.daemon.Forget(w, svc)
	e.Time, e.Op, e.Actor = h.now(), "credential.delete", h.wallet
	p, err := h.decider.Own(ctx, grant.ActDelete, w, svc, e)
	if err != nil {
		return err
	}
	if err := h.vault.Delete(ctx, p); err != nil && !errors.Is(err, vault.ErrNotFound) {
		return err
	}
	return nil
}

// Session is a token for a process of an agent.
type Session struct {
	Token   string    `json:"token"`
	Expires time.Time `json:"expires"`
}

// SessionTTL bounds the life of a token that its holder does not renew.
const (
	SessionTTL    = time.Hour
	MaxSessionTTL = 30 * 24 * time.Hour
)

// StartSession issues a token for an agent.
func (h *Host) StartSession(ctx context.Context, label agentkeys.Agent, ttl time.Duration) (Session, error) {
	if ttl <= 0 || ttl > MaxSessionTTL {
		return Session{}, fmt.Errorf("%w: a session lasts up to 30 days", ErrTerms)
	}
	now := h.now()
	s := Session{Expires: now.Add(ttl)}
	var err error
	s.Token, err = h.book.IssueToken(ctx, label, now, s.Expires)
	return s, err
}

// Runs is the processes that run agents.
func (h *Host) Runs() *daemon.Runs { return h.runs }

// SessionAgent returns whose session a token is.
func (h *Host) SessionAgent(token string) (agentkeys.Agent, bool) {
	a, ok := h.book.AgentByToken(book.TokenMark+token, h.now())
	return a.Label, ok
}

// RenewSession prolongs a token by SessionTTL from now.
func (h *Host) RenewSession(token string) error {
	now := h.now()
	return h.book.RenewToken(token, now, now.Add(SessionTTL))
}

// EndSession ends a token.
func (h *Host) EndSession(ctx context.Context, token string) error {
	return h.book.EndToken(ctx, token, h.now())
}
