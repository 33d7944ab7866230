package local

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/mint"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/vault"
)

const (
	// keyGrace is how long a key that was replaced stays alive: as long as a
	// machine may have it opened, and requests that it sent last longer.
	keyGrace = 5 * time.Minute
	// atOnce is how long whoever ends a grant waits for the service to have
	// deleted its key. The grant has ended before.
	atOnce = 3 * time.Second
	// lost is how long after it was asked for a key may still turn up in the
	// service's list. It is looked for several times, however long that was ago.
	lost = 10 * time.Minute
	// Between tries.
	firstPause, longestPause = 2 * time.Second, 10 * time.Minute
)

// errStrange: the key was made at another management API than the one that is
// set now.
var errStrange = errors.New("it was made at another management API than the one that is set now")

func (h *Host) grace() time.Duration {
	if h.opts.KeyGrace > 0 {
		return h.opts.KeyGrace
	}
	return keyGrace
}

// unwanted has a key deleted, not before notBefore.
func (h *Host) unwanted(name string, notBefore time.Time) {
	err := h.minted.update(name, func(k *MintedKey) {
		if k.State == MintedLive {
			k.State, k.NotBefore = MintedDeleting, notBefore.UTC()
		}
		if notBefore.Before(k.NotBefore) {
			k.NotBefore = notBefore.UTC()
		}
	})
	if err != nil {
		h.log.Warn("that a key is to be deleted at its service was not written down", "name", name, "err", err)
	}
}

// supersede has what was made for an agent, or for the master, deleted once
// requests under way are over, except keep.
func (h *Host) supersede(a agentkeys.Agent, svc agentkeys.Service, keep string) {
	for _, k := range h.minted.of(a, svc) {
		// One that is not settled may be about to take the place of this one. If
		// it is not, it goes when that has turned out.
		if k.Name != keep && k.Grant != "" {
			h.unwanted(k.Name, h.now().Add(h.grace()))
		}
	}
}

// endMinted has the keys of an agent, or of the master, deleted now that nothing
// may use them any more, and waits a little for the service to have done it.
// What is not done then is tried again until it is. An agent that was granted
// the service anew meanwhile keeps the key of that grant.
func (h *Host) endMinted(ctx context.Context, a agentkeys.Agent, svcs ...agentkeys.Service) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), atOnce)
	defer cancel()
	var wg sync.WaitGroup
	for _, svc := range svcs {
		g := h.dir.Grant(a, svc)
		all := h.minted.where(func(k MintedKey) bool {
			return k.Agent == a && k.Service == svc && k.State != MintedMaking && (a.IsZero() || !h.inForce(g))
		})
		for _, k := range all {
			if k.Grant == "" {
				continue // about to be settled, by whoever made it or by the next look
			}
			h.unwanted(k.Name, h.now())
			wg.Go(func() { h.deleteMinted(ctx, k.Name) })
		}
	}
	wg.Wait()
	h.minted.poke()
}

// reaps looks after the keys until ctx ends.
func (h *Host) reaps(ctx context.Context) {
	if h.manage() != nil {
		return
	}
	const every = 2 * time.Second
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		h.reap(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-h.minted.wake:
		}
	}
}

// reap compares the keys with what is in force, and deletes at the services what
// is due.
func (h *Host) reap(ctx context.Context) {
	h.minted.reaping.Lock()
	defer h.minted.reaping.Unlock()
	all := h.minted.where(func(MintedKey) bool { return true })
	if len(all) == 0 {
		return
	}
	known := true
	if r := h.opts.Remote; r != nil {
		// A grant that has not been heard of yet is one too.
		known = r.Stream.Fresh(ctx) == nil
	}
	h.lookAgain(ctx)
	const most = 8 // at a time
	slots := make(chan struct{}, most)
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, k := range all {
		if k.State == MintedLive && known && h.judge(ctx, k.Name) {
			h.forgetGone(ctx, k.Name)
		}
		now := h.now()
		k, ok := h.minted.get(k.Name)
		if !ok || k.State == MintedLive || ahead(now, k.NotBefore, h.grace()) || ahead(now, k.Next, mint.MaxRetryAfter) || ctx.Err() != nil {
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			h.deleteMinted(ctx, k.Name)
		})
	}
}

// lookEvery is how often it is looked whether the master's own keys are still
// those that are stored.
const lookEvery = time.Minute

// lookAgain has the master's own keys compared anew where another revision is
// stored than they were compared with: another machine of the master's may have
// replaced it, or a store here have come to pass that seemed to fail.
func (h *Host) lookAgain(ctx context.Context) {
	m, now := &h.minted, h.now()
	m.mu.Lock()
	since := now.Sub(m.looked)
	due := len(m.seen) > 0 && (since < 0 || since >= lookEvery)
	if due {
		m.looked = now
	}
	m.mu.Unlock()
	if !due {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, atOnce)
	defer cancel()
	infos, err := h.vault.Infos(ctx, h.wallet)
	if err != nil {
		return // the next time
	}
	stored := map[agentkeys.Service]vault.Info{}
	for _, i := range infos {
		stored[i.Service] = i
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, revision := range m.seen {
		if i := stored[m.keys[name].Service]; i.Err == nil && i.Revision != revision {
			m.seen[name] = 0
		}
	}
}

// ahead reports whether t is still to come. What is further away than most was
// written by a clock that has been set back since, and is now.
func ahead(now, t time.Time, most time.Duration) bool {
	return now.Before(t) && t.Sub(now) <= most
}

// judge decides whether a key is wanted still. missing says that it is the
// master's own, and that what is stored is not where it was: by whose doing is
// not known.
func (h *Host) judge(ctx context.Context, name string) (missing bool) {
	if k, ok := h.minted.get(name); !ok || h.serves(k) || h.minted.putOff(name, h.now()) || !h.minted.hold(name) {
		return false
	}
	defer h.minted.release(name)
	// What is being changed is not looked at half-way.
	h.change.Lock()
	defer h.change.Unlock()
	k, ok := h.minted.get(name)
	if !ok || k.State != MintedLive {
		return false
	}
	if k.Agent.IsZero() {
		return errors.Is(h.adopt(ctx, k, h.wallet, ownGrant), vault.ErrMissing)
	}
	g := h.dir.Grant(k.Agent, k.Service)
	switch {
	case !h.inForce(g):
		h.unwanted(name, h.now())
	case h.federated(k.Service):
		h.unwanted(name, h.now().Add(h.grace())) // tokens are exchanged instead
	case k.Grant == g.ID: // since the look before
	case k.Grant != "":
		h.unwanted(name, h.now().Add(h.grace())) // granted anew
	default:
		// Whoever made it ended before it was settled what it is for.
		_ = h.adopt(ctx, k, g.Wallet, g.ID)
	}
	return false
}

// forgetGone forgets a key that the service does not know any more, because
// another machine has had it deleted. One that it knows stays: a store that has
// lost something may get it back.
func (h *Host) forgetGone(ctx context.Context, name string) {
	if !h.minted.hold(name) {
		return
	}
	defer h.minted.release(name)
	k, _ := h.minted.get(name)
	m, management, err := h.manager(ctx, k)
	if err != nil {
		return
	}
	defer management.Clear()
	all, err := m.List(ctx, management, k.Name)
	if err != nil || slices.ContainsFunc(all, func(l mint.Listed) bool { return l.ID == k.ID }) {
		return
	}
	if err := h.minted.drop(name); err != nil {
		h.log.Warn("a key that is gone is not forgotten yet", "name", name, "err", err)
	}
}

// serves reports whether a key is known to be what it was made for.
func (h *Host) serves(k MintedKey) bool {
	if k.Agent.IsZero() {
		h.minted.mu.Lock()
		defer h.minted.mu.Unlock()
		return k.Grant == ownGrant && h.minted.seen[k.Name] != 0
	}
	g := h.dir.Grant(k.Agent, k.Service)
	return h.inForce(g) && k.Grant == g.ID && !h.federated(k.Service)
}

// adopt keeps a key that is what is stored, and lets go of any other.
func (h *Host) adopt(ctx context.Context, k MintedKey, w agentkeys.Wallet, grantID string) error {
	rec, hdr, err := h.copyHeader(ctx, w, k.Service)
	rec.Secret.Clear()
	switch {
	case err != nil && !errors.Is(err, vault.ErrNotFound) && !unreadable(err):
		// Tried again, but not at every look: each is on record.
		const pause = 30 * time.Second
		h.minted.mu.Lock()
		h.minted.later[k.Name] = h.now().Add(pause)
		h.minted.mu.Unlock()
		return err
	case err == nil && rec.Route == string(catalog.Mint) && rec.KeyID == k.ID:
		if k.Grant != grantID {
			if err := h.minted.update(k.Name, func(k *MintedKey) { k.Grant = grantID }); err != nil {
				h.log.Warn("what a minted key is for was not written down", "name", k.Name, "err", err)
			}
		}
		if k.Agent.IsZero() {
			h.minted.saw(k.Name, hdr.Revision)
		}
		h.supersede(k.Agent, k.Service, k.Name)
	case err == nil && k.Grant != "":
		h.unwanted(k.Name, h.now().Add(h.grace())) // it was in use until it was replaced
	default:
		h.unwanted(k.Name, h.now())
	}
	return nil
}

// deleteMinted deletes a key at its service, or says when that is tried again.
func (h *Host) deleteMinted(ctx context.Context, name string) {
	if !h.minted.hold(name) {
		return
	}
	defer h.minted.release(name)
	k, ok := h.minted.get(name)
	if !ok || k.State == MintedLive {
		return
	}
	ev := grant.Event{
		Time: h.now().UTC(), Op: opUnmint, Actor: h.wallet, Agent: k.Agent, Svc: k.Service, Subject: k.Name, Decision: grant.Allowed,
	}
	if k.Grant != ownGrant {
		ev.Grant = k.Grant
	}
	if k.ID != "" {
		ev.Subject += ", id " + k.ID
	}
	if k.Tries == 0 { // the log need not have every try
		if err := h.audit.Record(ctx, ev); err != nil {
			if err = fmt.Errorf("nothing is deleted that cannot be recorded: %w", err); ctx.Err() == nil && err.Error() != k.Error {
				h.log.Warn("a key was not deleted at its service; that is tried again", "name", name, "err", err)
				h.putOff(name, firstPause, func(k *MintedKey) { k.Error = err.Error() })
			}
			return
		}
	}
	err := h.unmake(ctx, k)
	if err == nil {
		ev.Time, ev.Decision = h.now().UTC(), grant.Done
		if err := h.audit.Record(context.WithoutCancel(ctx), ev); err != nil {
			h.log.Error("the end of a minted key was not recorded", "name", name, "err", err)
		}
		if err := h.minted.drop(name); err != nil {
			h.log.Warn("a key that is gone is not forgotten yet", "name", name, "err", err)
			h.putOff(name, nextPause(k), func(k *MintedKey) {
				k.Tries++
				k.Error = fmt.Sprintf("it is gone, but that cannot be written down: %v", err)
			})
		}
		return
	}
	if k.Tries == 0 {
		ev.Time, ev.Decision, ev.Reason = h.now().UTC(), grant.Failed, mintReason(err)
		if err := h.audit.Note(ev); err != nil {
			h.log.Error("a failure was not recorded", "name", name, "err", err)
		}
		h.log.Warn("a key was not deleted at its service; that is tried again", "name", name, "err", err)
	}
	pause := nextPause(k)
	if u, ok := errors.AsType[*mint.Unavailable](err); ok && u.RetryAfter > 0 {
		pause = u.RetryAfter
	}
	h.putOff(name, pause, func(k *MintedKey) {
		k.Tries++
		k.Error = err.Error()
	})
}

// nextPause is how long it is until the next try at deleting k.
func nextPause(k MintedKey) time.Duration {
	return min(firstPause<<min(k.Tries, 20), longestPause)
}

// putOff has a deletion tried again after a pause.
func (h *Host) putOff(name string, pause time.Duration, change func(*MintedKey)) {
	err := h.minted.update(name, func(k *MintedKey) {
		change(k)
		k.Next = h.now().Add(pause).UTC()
	})
	if err != nil {
		h.log.Warn("a try was not written down", "name", name, "err", err)
	}
}

// errLost: it may turn up yet.
var errLost = errors.New("the service does not list it, and may yet")

// unmake asks the service.
func (h *Host) unmake(ctx context.Context, k MintedKey) error {
	m, management, err := h.manager(ctx, k)
	if err != nil {
		return err
	}
	defer management.Clear()
	if k.ID != "" {
		return m.Revoke(ctx, management, k.ID)
	}
	return h.unmakeNamed(ctx, m, management, k)
}

// manager is what can be asked about a key: the management API that made it,
// with the management key.
func (h *Host) manager(ctx context.Context, k MintedKey) (*mint.Minter, secret.Value, error) {
	e, err := h.cat.entry(k.Service)
	if err != nil {
		return nil, secret.Value{}, err
	}
	m, at, err := h.minter(e)
	if err != nil {
		return nil, secret.Value{}, err
	}
	if at != k.At {
		return nil, secret.Value{}, fmt.Errorf("%w: %s", errStrange, k.At)
	}
	management, err := h.managementKey(ctx, k.Service)
	return m, management, err
}

// unmakeNamed deletes a key of which only the name is known.
func (h *Host) unmakeNamed(ctx context.Context, m *mint.Minter, management secret.Value, k MintedKey) error {
	all, err := m.List(ctx, management, k.Name)
	if err != nil {
		return err
	}
	found := false
	for _, l := range all {
		if l.Name != k.Name {
			continue
		}
		if err := m.Revoke(ctx, management, l.ID); err != nil {
			return err
		}
		found = true
	}
	// Not by the clock alone, which may have been set.
	const least = 5
	if !found && (h.now().Before(k.Created.Add(lost)) || k.Tries < least) {
		return errLost
	}
	return nil
}

// Minted lists the keys that are alive at services, or may be.
func (h *Host) Minted(context.Context) ([]MintedKey, error) {
	if err := h.manage(); err != nil {
		return nil, err
	}
	return append(h.minted.where(func(MintedKey) bool { return true }), h.minted.unread...), nil
}
