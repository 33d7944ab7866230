package local

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/book"
	"github.com/litentry/agentkeys/internal/grant"
)

// doubts are the agents that may have copies without a grant in force: their
// own machines could open them.
type doubts struct {
	sweep sync.Mutex // one sweep at a time
	until time.Time  // grants that expired before are looked after

	mu     sync.Mutex
	agents map[agentkeys.Agent]*doubt
}

// doubt is what the last look at an agent found.
type doubt struct {
	// spare are the revisions of copies without a grant. One that is found
	// again as it was goes; one that is new may be another device's, which is
	// about to make the grant.
	spare  map[agentkeys.Service]uint64
	warned bool
}

// doubt has an agent's copies looked at by the next sweeps.
func (h *Host) doubt(label agentkeys.Agent) {
	h.doubts.mu.Lock()
	defer h.doubts.mu.Unlock()
	if h.doubts.agents == nil {
		h.doubts.agents = map[agentkeys.Agent]*doubt{}
	}
	if h.doubts.agents[label] == nil {
		h.doubts.agents[label] = &doubt{}
	}
}

// inForce reports whether a grant, which may be nil, lends anything now.
func (h *Host) inForce(g *grant.Grant) bool { return g != nil && h.now().Before(g.Expires) }

// sweeps deletes copies whose grant has ended, until ctx ends.
func (h *Host) sweeps(ctx context.Context) {
	if h.manage() != nil {
		return
	}
	const every = 10 * time.Second
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			h.sweep(ctx)
		}
	}
}

// sweep looks at the agents in doubt: what it finds twice, it deletes.
func (h *Host) sweep(ctx context.Context) {
	h.doubts.sweep.Lock()
	defer h.doubts.sweep.Unlock()
	now := h.now()
	for _, g := range h.dir.Grants() {
		if !now.Before(g.Expires) && !g.Expires.Before(h.doubts.until) {
			h.doubt(g.Agent)
		}
	}
	h.doubts.until = now
	h.doubts.mu.Lock()
	all := make(map[agentkeys.Agent]*doubt, len(h.doubts.agents))
	for label, d := range h.doubts.agents {
		all[label] = d
		delete(h.doubts.agents, label)
	}
	h.doubts.mu.Unlock()
	for label, d := range all {
		a, ok := h.dir.Agent(label)
		if !ok {
			continue
		}
		err := h.sweepAgent(ctx, a, d)
		if err != nil && !d.warned && ctx.Err() == nil {
			d.warned = true
			h.log.Warn("copies without a grant were not all deleted; that is tried again", "agent", label.String(), "err", err)
		}
		if err != nil || len(d.spare) > 0 {
			h.doubts.mu.Lock()
			h.doubts.agents[label] = d
			h.doubts.mu.Unlock()
		}
	}
}

func (h *Host) sweepAgent(ctx context.Context, a book.Agent, d *doubt) error {
	if r := h.opts.Remote; r != nil {
		// A grant that has not been heard of yet is one too.
		if err := r.Stream.Fresh(ctx); err != nil {
			return err
		}
	}
	h.change.Lock()
	defer h.change.Unlock()
	infos, err := h.vault.Infos(ctx, a.Wallet)
	if err != nil {
		return err
	}
	before := d.spare
	d.spare = map[agentkeys.Service]uint64{}
	for _, i := range infos {
		if h.inForce(h.dir.Grant(a.Label, i.Service)) {
			continue
		}
		if rev, again := before[i.Service]; again && rev == i.Revision {
			e := grant.Event{Agent: a.Label, Subject: a.Wallet.String(), Reason: "its grant has ended"}
			derr := h.deleteCopy(ctx, e, a.Wallet, i.Service)
			if derr == nil {
				continue
			}
			err = errors.Join(err, derr)
		}
		d.spare[i.Service] = i.Revision
	}
	return err
}
