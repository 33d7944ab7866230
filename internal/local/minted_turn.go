package local

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/book"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/mint"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/vault"
)

// ErrNewKey says that the service does not take a key that it has just made.
var ErrNewKey = errors.New("the service does not accept the key it has made")

// KeyRotation is what became of a rotation of a service's keys.
type KeyRotation struct {
	Service agentkeys.Service `json:"service"`
	Keys    []KeyTurn         `json:"keys"` // the agents' in order, then the master's own
}

// KeyTurn is one key that took the place of another.
type KeyTurn struct {
	Agent agentkeys.Agent `json:"agent,omitzero"` // zero: the master's own
	ID    string          `json:"id"`             // of the new key
	// Old is the id of the one before, which is deleted at the service after
	// Until. "": it was not made here, and stays valid until it is deleted on the
	// service's page.
	Old   string    `json:"old,omitempty"`
	Until time.Time `json:"until,omitzero"`
}

// RotateKey gives every grant of a service, and the master, a key that the
// service makes now. Requests under way end with the key they began with; it is
// deleted at the service when they are over, if it was made here. It may be
// interrupted at any point and repeated.
func (h *Host) RotateKey(ctx context.Context, svc agentkeys.Service) (KeyRotation, error) {
	out := KeyRotation{Service: svc, Keys: []KeyTurn{}}
	if err := h.manage(); err != nil {
		return out, err
	}
	if !h.minted.turning.TryLock() {
		return out, ErrRotating
	}
	defer h.minted.turning.Unlock()
	e, err := h.cat.entry(svc)
	if err != nil {
		return out, err
	}
	if m, err := h.mints(ctx, e); err != nil || m == nil {
		return out, errors.Join(err, nothingMints(e, err))
	}
	own, err := h.hasCopy(ctx, h.wallet, svc)
	if err != nil {
		return out, err
	}
	grants := h.grantsFor(svc)
	if !own && len(grants) == 0 {
		return out, fmt.Errorf("%w: %s", vault.ErrNotFound, svc)
	}
	// The master's own key last: an agent may have a copy of it.
	for _, g := range grants {
		if !h.inForce(g) {
			continue
		}
		turn, err := h.turnGrant(ctx, e, g)
		if err != nil {
			return out, fmt.Errorf("the key of agent %s is still the old one: %w", g.Agent, err)
		}
		if turn.ID != "" {
			out.Keys = append(out.Keys, turn)
		}
	}
	if !own {
		return out, nil
	}
	turn, err := h.turnOwn(ctx, e)
	if err != nil {
		return out, fmt.Errorf("your own key is still the old one: %w", err)
	}
	out.Keys = append(out.Keys, turn)
	return out, nil
}

func nothingMints(e *catalog.Entry, err error) error {
	if err != nil {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrNoManagement, e.ID)
}

// turnGrant makes a key for a grant. One that ended meanwhile, or is given
// tokens instead, is left alone, and turn.ID is empty.
func (h *Host) turnGrant(ctx context.Context, e *catalog.Entry, g *grant.Grant) (turn KeyTurn, err error) {
	n, err := h.makeKey(ctx, e, g.Agent, h.wantsNow(g))
	if err != nil {
		return turn, err
	}
	defer n.done()
	if err := h.accepted(ctx, e, n.rec.Secret); err != nil {
		return turn, err
	}
	n.rec.VerifiedAt = h.now()
	h.change.Lock()
	defer h.change.Unlock()
	a, ok := h.dir.Agent(g.Agent)
	if now := h.dir.Grant(g.Agent, g.Svc); !ok || !h.inForce(now) || now.ID != g.ID || h.federated(g.Svc) {
		return turn, nil
	}
	old := h.stranger(ctx, g.Agent, g.Wallet, g.Svc)
	turn = h.turned(g.Agent, g.Svc, n, old)
	if err := h.seal(ctx, a, g.Svc, n.rec); err != nil {
		return KeyTurn{}, err
	}
	n.settle(g.ID)
	h.noteStranger(old, turn.Until)
	return turn, nil
}

// makeAnew gives the grants of a service keys of their own again, once tokens
// are not exchanged any more. h.change is not held: the service takes its time.
func (h *Host) makeAnew(ctx context.Context, svc agentkeys.Service) error {
	if h.manage() != nil {
		return nil
	}
	e, err := h.cat.entry(svc)
	if err != nil {
		return nil // it is gone, and nobody is lent it
	}
	if m, err := h.mints(ctx, e); err != nil || m == nil {
		return err
	}
	var errs []error
	for _, g := range h.grantsFor(svc) {
		if !h.inForce(g) {
			continue
		}
		if _, err := h.turnGrant(ctx, e, g); err != nil {
			errs = append(errs, fmt.Errorf("agent %s has no key until 'agentkeys rotate %s' makes one: %w", g.Agent, svc, err))
		}
	}
	return errors.Join(errs...)
}

// turnOwn makes a key in place of the master's own.
func (h *Host) turnOwn(ctx context.Context, e *catalog.Entry) (turn KeyTurn, err error) {
	n, err := h.makeKey(ctx, e, agentkeys.Agent{}, mint.Want{})
	if err != nil {
		return turn, err
	}
	defer n.done()
	if err := h.accepted(ctx, e, n.rec.Secret); err != nil {
		return turn, err
	}
	n.rec.VerifiedAt = h.now()
	h.change.Lock()
	defer h.change.Unlock()
	old := h.stranger(ctx, agentkeys.Agent{}, h.wallet, e.ID)
	turn = h.turned(agentkeys.Agent{}, e.ID, n, old)
	p, err := h.decider.Own(ctx, grant.ActStore, h.wallet, e.ID, grant.Event{Time: h.now(), Op: "credential.replace", Actor: h.wallet, Subject: n.name})
	if err != nil {
		return KeyTurn{}, err
	}
	revision, err := h.vault.Store(ctx, p, n.rec)
	if err != nil {
		return KeyTurn{}, err
	}
	h.minted.saw(n.name, revision)
	n.settle(ownGrant)
	h.noteStranger(old, turn.Until)
	return turn, nil
}

// turned says which key a new one is about to replace, maybe a stranger.
func (h *Host) turned(a agentkeys.Agent, svc agentkeys.Service, n *newKey, stranger *MintedKey) KeyTurn {
	t := KeyTurn{Agent: a, ID: n.rec.KeyID}
	before := h.minted.of(a, svc)
	if stranger != nil {
		before = append(before, *stranger)
	}
	for _, k := range before {
		if k.Name != n.name {
			t.Old, t.Until = k.ID, h.now().Add(h.grace()).UTC()
		}
	}
	return t
}

// wantsNow is the key for a grant that has been used already: a budget for its
// whole life has less left than it had.
func (h *Host) wantsNow(g *grant.Grant) mint.Want {
	w := wants(book.Terms{Budget: g.Budget, Expires: g.Expires})
	if w.Per == grant.Total && w.Limit > 0 {
		const least = grant.USD / 100 // some service may take nothing for no limit
		w.Limit = max(w.Limit-h.ledger.Usage(g, h.now()).Spent, least)
	}
	return w
}

// accepted waits until the service takes a key that it has just made. A service
// of which no harmless request is known is not asked.
func (h *Host) accepted(ctx context.Context, e *catalog.Entry, v secret.Value) error {
	if _, _, _, known := e.VerifyRequest(); !known {
		return nil
	}
	const patience = 15 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		verdict, detail, err := h.verify(ctx, e, v)
		if err == nil && verdict != catalog.Unclear {
			return nil
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
			continue
		case <-ctx.Done():
			t.Stop()
		}
		if err == nil {
			err = errors.New(detail)
		}
		return fmt.Errorf("%w: %w", ErrNewKey, err)
	}
}
