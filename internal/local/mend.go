package local

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/audit"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/vault"
)

// unfinished are the services of which a key was being stored when the log
// ends: agents may have copies of the key before.
type unfinished map[agentkeys.Service]bool

func (u unfinished) replay(e audit.Entry) {
	if e.Event.Op != opStore {
		return
	}
	switch e.Event.Decision {
	case grant.Allowed:
		u[e.Event.Svc] = true
	case grant.Done:
		delete(u, e.Event.Svc)
	}
}

// mend ends what an earlier process was killed in the middle of. Copies whose
// grant is gone are deleted: a rotation would pass over those of an agent that
// is gone as well, and they would stand in the way of its next grant for good.
// Copies of a key that was being replaced are renewed. What cannot be mended is
// logged, and stops nobody.
func (h *Host) mend(ctx context.Context, u unfinished) {
	h.change.Lock()
	defer h.change.Unlock()
	if h.opts.Remote == nil {
		h.deleteOrphans(ctx)
	} else {
		// A copy without a grant may be one whose grant another device is just
		// about to make.
		for _, a := range h.dir.Agents() {
			h.doubt(a.Label)
		}
	}
	for svc := range u {
		for _, g := range h.grantsFor(svc) {
			a, ok := h.dir.Agent(g.Agent)
			if !ok || !h.inForce(g) || h.isMinted(ctx, g) {
				continue
			}
			if err := h.sealCopy(ctx, a, svc); err != nil && !errors.Is(err, vault.ErrNotFound) {
				h.log.Warn("a copy was not renewed", "agent", g.Agent.String(), "service", svc.String(), "err", err)
			}
		}
	}
}

// deleteOrphans deletes copies without a grant in force. h.change is held.
func (h *Host) deleteOrphans(ctx context.Context) {
	type place struct {
		w agentkeys.Wallet
		s agentkeys.Service
	}
	lent := map[place]bool{}
	for _, g := range h.dir.Grants() {
		lent[place{g.Wallet, g.Svc}] = h.inForce(g)
	}
	dirs, err := os.ReadDir(filepath.Join(h.paths.Store(), "bots"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		h.log.Warn("copies without a grant were not looked for", "err", err)
	}
	for _, d := range dirs {
		w, err := agentkeys.ParseWallet(d.Name())
		if err != nil || w == h.wallet {
			continue
		}
		infos, err := h.vault.Infos(ctx, w)
		if err != nil {
			h.log.Warn("copies without a grant were not looked for", "wallet", w.String(), "err", err)
		}
		for _, i := range infos {
			if lent[place{w, i.Service}] {
				continue
			}
			if err := h.deleteLeft(ctx, w, i.Service); err != nil {
				h.log.Warn("a copy without a grant was not deleted", "wallet", w.String(), "service", i.Service.String(), "err", err)
			}
		}
	}
}

func (h *Host) deleteLeft(ctx context.Context, w agentkeys.Wallet, svc agentkeys.Service) error {
	p, err := h.decider.Own(ctx, grant.ActDelete, w, svc, grant.Event{
		Time: h.now(), Op: "credential.delete", Actor: h.wallet, Subject: w.String(), Reason: "left by an interrupted change",
	})
	if err != nil {
		return err
	}
	return h.vault.Delete(ctx, p)
}
