package local

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/book"
	"github.com/litentry/agentkeys/internal/envelope"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/mint"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/vault"
)

// ErrNoManagement says that a service's keys cannot be minted: there is no key
// for that.
var ErrNoManagement = errors.New("there is no management key")

// opMint and opUnmint are recorded before and after a service is asked.
const (
	opMint   = "key.mint"
	opUnmint = "key.revoke"
)

// namePrefix begins the names of the keys that this program makes, so that a
// person knows them on the service's page.
const namePrefix = "agentkeys-"

// mintedName is a name that was never used before.
func mintedName(a agentkeys.Agent) string {
	const random = 6
	var b [random]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand aborts the process instead
	who := a.String()
	if a.IsZero() {
		who = "own"
	}
	who = who[:min(len(who), mint.MaxName-len(namePrefix)-1-2*random)]
	return namePrefix + strings.TrimRight(who, "-") + "-" + hex.EncodeToString(b[:])
}

// minter returns what makes keys for a service as it is set now.
func (h *Host) minter(e *catalog.Entry) (*mint.Minter, string, error) {
	if _, err := mint.Address(e); err != nil {
		return nil, "", err
	}
	// The route's transport, and with it its addresses and certificates.
	route, err := h.routes.Route(e.ID)
	if err != nil {
		return nil, "", err
	}
	m, err := mint.New(e, route.Transport)
	if err != nil {
		return nil, "", err
	}
	return m, m.Place(), nil
}

// mints returns what grants of a service are given keys by, nil if they are
// given copies of the master's.
func (h *Host) mints(ctx context.Context, e *catalog.Entry) (*mint.Minter, error) {
	if e.Minting == nil || e.Owner.Federation != nil {
		return nil, nil
	}
	has, err := h.hasManagement(ctx, e.ID)
	if err != nil || !has {
		return nil, err
	}
	// With a management key whatever is in the way is an error: nobody is lent
	// the master's key instead without having asked for that.
	m, _, err := h.minter(e)
	return m, err
}

func (h *Host) hasManagement(ctx context.Context, svc agentkeys.Service) (bool, error) {
	name, err := drawerName(svc, DrawerManagement)
	if errors.Is(err, agentkeys.ErrName) {
		return false, nil // too long for a drawer
	}
	if err != nil {
		return false, err
	}
	return h.hasCopy(ctx, h.wallet, name)
}

// newKey is a key that was just made. Until it is settled nobody else touches
// it.
type newKey struct {
	h    *Host
	name string
	rec  envelope.Record
}

// makeKey makes a key at the service. What it is for is settled by settle; if
// that never happens, the key is deleted.
func (h *Host) makeKey(ctx context.Context, e *catalog.Entry, a agentkeys.Agent, w mint.Want) (_ *newKey, err error) {
	m, k, err := h.announce(e.ID, a)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			h.minted.release(k.Name)
			h.minted.poke()
		}
	}()
	w.Name = k.Name
	ev := grant.Event{Time: h.now().UTC(), Op: opMint, Actor: h.wallet, Agent: a, Svc: e.ID, Subject: k.Name, Decision: grant.Allowed}
	if err := h.audit.Record(ctx, ev); err != nil {
		return nil, errors.Join(fmt.Errorf("recording %s: %w", ev.Op, err), h.minted.drop(k.Name))
	}
	management, err := h.managementKey(ctx, e.ID)
	if err != nil {
		ev.Time, ev.Decision, ev.Reason = h.now().UTC(), grant.Failed, mintReason(err)
		return nil, errors.Join(err, h.audit.Record(context.WithoutCancel(ctx), ev), h.minted.drop(k.Name))
	}
	defer management.Clear()
	made, err := m.Mint(ctx, management, w)
	ctx = context.WithoutCancel(ctx)
	ev.Time, ev.Decision, ev.Reason = h.now().UTC(), grant.Failed, mintReason(err)
	if err != nil {
		rerr := h.audit.Record(ctx, ev)
		if !mint.Made(err) {
			return nil, errors.Join(fmt.Errorf("no key is made: %w", err), rerr, h.minted.drop(k.Name))
		}
		return nil, errors.Join(fmt.Errorf("no key is made for sure, and one that is will be deleted: %w", err), rerr)
	}
	if others := h.minted.where(func(o MintedKey) bool { return o.Service == k.Service && o.At == k.At && o.ID == made.ID }); len(others) > 0 {
		made.Secret.Clear()
		err = fmt.Errorf("%w: a key that was made before", mint.ErrAnswer)
		ev.Reason = mintReason(err)
		return nil, errors.Join(fmt.Errorf("no key is made for sure, and one that is will be deleted: %w", err), h.audit.Record(ctx, ev))
	}
	k.ID, k.State = made.ID, MintedLive
	if made.Limited {
		k.Limit, k.Per = w.Limit, w.Per
	}
	if made.Expiring {
		k.Expires = w.Expires.UTC()
	}
	n := &newKey{h: h, name: k.Name, rec: envelope.Record{Secret: made.Secret, Kind: "api-key", KeyID: k.ID, Route: string(catalog.Mint), ExpiresAt: k.Expires}}
	if err := h.minted.put(k); err != nil {
		n.rec.Secret.Clear()
		return nil, fmt.Errorf("a key is made and will be deleted: %w", err)
	}
	ev.Decision, ev.Reason, ev.Subject = grant.Done, "", k.Name+", id "+k.ID
	if err := h.audit.Record(ctx, ev); err != nil {
		n.rec.Secret.Clear()
		return nil, fmt.Errorf("a key is made and will be deleted: recording %s: %w", ev.Op, err)
	}
	return n, nil
}

// announce puts on disk that a key is about to be made, before the service is
// asked and before the management key is opened: whatever happens from here on,
// the key is found by its name, and who would remove the management key sees
// that it is needed. The key is held.
func (h *Host) announce(svc agentkeys.Service, a agentkeys.Agent) (*mint.Minter, MintedKey, error) {
	h.change.Lock()
	defer h.change.Unlock()
	e, err := h.cat.entry(svc) // as it is set now
	if err != nil {
		return nil, MintedKey{}, err
	}
	m, at, err := h.minter(e)
	if err != nil {
		return nil, MintedKey{}, err
	}
	k := MintedKey{Name: mintedName(a), Service: svc, Agent: a, State: MintedMaking, At: at, Created: h.now().UTC()}
	h.minted.hold(k.Name)
	if err := h.minted.put(k); err != nil {
		h.minted.release(k.Name)
		return nil, MintedKey{}, fmt.Errorf("no key is made: %w", err)
	}
	return m, k, nil
}

// managementKey opens the management key of a service. ErrNoManagement.
func (h *Host) managementKey(ctx context.Context, svc agentkeys.Service) (secret.Value, error) {
	v, err := h.Drawer(ctx, svc, DrawerManagement)
	if errors.Is(err, vault.ErrNotFound) {
		err = fmt.Errorf("%w: %s", ErrNoManagement, svc)
	}
	return v, err
}

// mintReason is an error in words for the log.
func mintReason(err error) string {
	for _, r := range []struct {
		is   error
		text string
	}{
		{mint.ErrRefused, "management key refused"}, {mint.ErrTemporary, "not reachable"},
		{mint.ErrSetup, "not set up"}, {mint.ErrUnsupported, "not supported"},
		{ErrNoManagement, "no management key"}, {errStrange, "made elsewhere"},
	} {
		if errors.Is(err, r.is) {
			return r.text
		}
	}
	return "unexpected answer"
}

// settle says what a new key is for, and that those made for the same before are
// not wanted any more, though not before grace is over: requests under way have
// them.
func (n *newKey) settle(grantID string) {
	h := n.h
	k, _ := h.minted.get(n.name)
	if err := h.minted.update(n.name, func(k *MintedKey) { k.Grant = grantID }); err != nil {
		h.log.Warn("what a minted key is for was not written down", "name", n.name, "err", err)
	}
	h.supersede(k.Agent, k.Service, n.name)
}

// done lets others look after the key: one that was not settled goes.
func (n *newKey) done() {
	if n == nil {
		return
	}
	n.rec.Secret.Clear()
	n.h.minted.release(n.name)
	n.h.minted.poke()
}

// wants is the key for a grant on terms.
func wants(t book.Terms) mint.Want {
	w := mint.Want{Expires: t.Expires}
	if t.Budget != nil {
		w.Limit, w.Per = t.Budget.Limit, t.Budget.Per
	}
	return w
}

// isMinted reports whether the copy of a grant is a key of its own, which the
// master's must not replace.
func (h *Host) isMinted(ctx context.Context, g *grant.Grant) bool {
	all := h.minted.of(g.Agent, g.Svc)
	if slices.ContainsFunc(all, func(k MintedKey) bool { return k.Grant == g.ID }) {
		return true
	}
	if h.opts.Remote == nil && len(all) == 0 {
		return false
	}
	// Another machine of the master's may have made it, or one here may not be
	// settled yet.
	rec, err := h.copyRecord(ctx, g.Wallet, g.Svc)
	rec.Secret.Clear()
	return err == nil && rec.Route == string(catalog.Mint) && rec.KeyID != ""
}

// copyRecord opens what is stored under a wallet.
func (h *Host) copyRecord(ctx context.Context, w agentkeys.Wallet, svc agentkeys.Service) (envelope.Record, error) {
	rec, _, err := h.copyHeader(ctx, w, svc)
	return rec, err
}

func (h *Host) copyHeader(ctx context.Context, w agentkeys.Wallet, svc agentkeys.Service) (envelope.Record, envelope.Header, error) {
	p, err := h.decider.Own(ctx, grant.ActVerify, w, svc, grant.Event{Time: h.now(), Op: "credential.compare", Actor: h.wallet, Subject: w.String()})
	if err != nil {
		return envelope.Record{}, envelope.Header{}, err
	}
	return h.vault.Load(ctx, p)
}

// Management is what a management key makes possible.
type Management struct {
	Service agentkeys.Service `json:"service"`
	Checked bool              `json:"checked"`           // the service knows it
	Windows []grant.Window    `json:"windows,omitempty"` // of budgets that the service itself keeps
	Expiry  bool              `json:"expiry"`            // the service itself ends keys
}

// ErrOtherAccount says that a management key does not know the keys that are
// alive: they could not be deleted with it.
var ErrOtherAccount = errors.New("the keys that were made so far are not this management key's")

// StoreManagement keeps a key that makes keys. The service is asked first. It
// takes v over.
func (h *Host) StoreManagement(ctx context.Context, svc agentkeys.Service, v secret.Value, force bool) (Management, error) {
	defer v.Clear()
	if err := h.manage(); err != nil {
		return Management{}, err
	}
	e, err := h.cat.entry(svc)
	if err != nil {
		return Management{}, err
	}
	m, _, err := h.minter(e)
	if err != nil {
		return Management{}, err
	}
	if v.Len() < MinSecret {
		return Management{}, ErrTooShort
	}
	for _, c := range v.Expose() {
		if c <= ' ' || c >= 0x7f {
			return Management{}, fmt.Errorf("%w: it has a space, a line break or another byte that cannot stand in a header", ErrKeyForm)
		}
	}
	if err := m.Check(ctx, v); err != nil {
		return Management{}, err
	}
	for {
		alive := h.aliveAt(svc)
		if err := h.knows(ctx, m, alive, v); err != nil && !force {
			return Management{}, err
		}
		if kept, err := h.keepManagement(ctx, svc, v, alive); err != nil {
			return Management{}, err
		} else if kept {
			break
		}
	}
	caps := m.Caps()
	h.minted.poke()
	return Management{Service: svc, Checked: true, Windows: caps.Windows, Expiry: caps.Expiry}, nil
}

// keepManagement keeps v unless a key has been announced since alive was looked
// at: it is made with the management key that v would replace.
func (h *Host) keepManagement(ctx context.Context, svc agentkeys.Service, v secret.Value, alive []MintedKey) (bool, error) {
	h.change.Lock()
	defer h.change.Unlock()
	for _, k := range h.aliveAt(svc) {
		if !slices.ContainsFunc(alive, func(o MintedKey) bool { return o.Name == k.Name }) {
			return false, nil
		}
	}
	return true, h.putDrawer(ctx, svc, DrawerManagement, v.Clone())
}

// aliveAt is what is alive at a service, or may be.
func (h *Host) aliveAt(svc agentkeys.Service) []MintedKey {
	return h.minted.where(func(k MintedKey) bool { return k.Service == svc })
}

// knows checks that a management key is of the account that has the keys made so
// far. Of another one it would seem that they are gone, most of all one of which
// only the name is known.
func (h *Host) knows(ctx context.Context, m *mint.Minter, alive []MintedKey, v secret.Value) error {
	if len(alive) == 0 {
		return nil
	}
	all, err := m.List(ctx, v, namePrefix)
	if err != nil {
		return err
	}
	for _, k := range alive {
		for _, l := range all {
			if l.ID == k.ID || k.ID == "" && l.Name == k.Name {
				return nil
			}
		}
	}
	return ErrOtherAccount
}

// ErrKeysAlive says that keys are alive that could not be deleted any more.
var ErrKeysAlive = errors.New("keys are alive at the service")

// RemoveManagement forgets a management key. ErrKeysAlive, unless force, while
// it is needed to delete keys.
func (h *Host) RemoveManagement(ctx context.Context, svc agentkeys.Service, force bool) error {
	if err := h.manage(); err != nil {
		return err
	}
	// No key is announced meanwhile; who announces one afterwards finds none to
	// make it with.
	h.change.Lock()
	defer h.change.Unlock()
	if alive := h.aliveAt(svc); len(alive) > 0 && !force {
		return fmt.Errorf("%w: %d of %s", ErrKeysAlive, len(alive), svc)
	}
	return h.removeDrawer(ctx, svc, DrawerManagement)
}

// managed reports whether there is a management key of a service among infos.
func managed(infos []vault.Info, svc agentkeys.Service) bool {
	name, err := drawerName(svc, DrawerManagement)
	return err == nil && slices.ContainsFunc(infos, func(i vault.Info) bool { return i.Service == name })
}

// mintFor makes a key for a grant on terms; nil if the grant is given a copy of
// the master's key.
func (h *Host) mintFor(ctx context.Context, e *catalog.Entry, a book.Agent, t book.Terms) (*newKey, error) {
	m, err := h.mints(ctx, e)
	if err != nil || m == nil {
		return nil, err
	}
	return h.makeKey(ctx, e, a.Label, wants(t))
}

// mintedOf is the key of a grant's own, or nil.
func (h *Host) mintedOf(g *grant.Grant) *MintedKey {
	for _, k := range h.minted.of(g.Agent, g.Svc) {
		if k.Grant == g.ID {
			return &k
		}
	}
	return nil
}

// stranger is a key that another machine of the master's made and that is stored
// for an agent, or for the master if a is zero; nil if there is none. Once it is
// replaced here, that machine may never hear of it.
func (h *Host) stranger(ctx context.Context, a agentkeys.Agent, w agentkeys.Wallet, svc agentkeys.Service) *MintedKey {
	if h.opts.Remote == nil {
		return nil
	}
	e, err := h.cat.entry(svc)
	if err != nil || e.Minting == nil {
		return nil
	}
	if has, err := h.hasManagement(ctx, svc); err != nil || !has {
		return nil
	}
	rec, err := h.copyRecord(ctx, w, svc)
	rec.Secret.Clear()
	if err != nil || rec.Route != string(catalog.Mint) || rec.KeyID == "" {
		return nil
	}
	if len(h.minted.where(func(k MintedKey) bool { return k.Service == svc && k.ID == rec.KeyID })) > 0 {
		return nil
	}
	_, at, err := h.minter(e)
	if err != nil {
		return nil
	}
	return &MintedKey{
		Name: mintedName(a), ID: rec.KeyID, Service: svc, Agent: a, Grant: "elsewhere", State: MintedDeleting, At: at, Created: h.now().UTC(),
	}
}

// noteStranger has a stranger deleted at its service, not before notBefore.
func (h *Host) noteStranger(k *MintedKey, notBefore time.Time) {
	if k == nil {
		return
	}
	k.NotBefore = notBefore.UTC()
	if err := h.minted.put(*k); err != nil {
		h.log.Warn("a key that another machine made was not noted", "name", k.Name, "err", err)
	}
}
