package local

import (
	"context"
	"errors"
	"fmt"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/signer"
	"github.com/litentry/agentkeys/internal/vault"
)

// ErrRotating says that a rotation is under way already.
var ErrRotating = errors.New("a rotation is under way")

// Rotate takes roots, which must be the present ones with a newer epoch, and
// seals every credential anew under it. It may be interrupted at any point and
// repeated: until it returns nil, the roots of older epochs must be kept.
func (h *Host) Rotate(ctx context.Context, roots signer.Roots, progress func(done, total int)) error {
	if h.signer == nil {
		return ErrRemote
	}
	// Not h.change: stores and revocations go on. The vault sees to it that
	// none is lost.
	if !h.rotating.TryLock() {
		return ErrRotating
	}
	defer h.rotating.Unlock()
	if err := h.signer.Install(roots); err != nil {
		return err
	}
	e := grant.Event{Time: h.now(), Op: "key.rotate", Actor: h.wallet, Epoch: h.signer.Epoch(), Decision: grant.Allowed}
	if err := h.audit.Record(ctx, e); err != nil {
		return err
	}
	wallets := []agentkeys.Wallet{h.wallet}
	for _, a := range h.dir.Agents() {
		wallets = append(wallets, a.Wallet)
	}
	permit := func(ctx context.Context, w agentkeys.Wallet, s agentkeys.Service) (grant.Permit, error) {
		return h.decider.Own(ctx, grant.ActReseal, w, s, grant.Event{
			Time: h.now(), Op: "credential.reseal", Actor: h.wallet, Subject: w.String(), Epoch: h.signer.Epoch(),
		})
	}
	if err := vault.Rotate(ctx, h.vault, wallets, permit, progress); err != nil {
		return fmt.Errorf("rotation is not finished: %w", err)
	}
	e.Time, e.Decision = h.now(), grant.Done
	return h.audit.Record(ctx, e)
}

// Retire installs roots without the epochs that Rotate has emptied.
func (h *Host) Retire(roots signer.Roots) error {
	if h.signer == nil {
		return ErrRemote
	}
	if !h.rotating.TryLock() {
		return ErrRotating
	}
	defer h.rotating.Unlock()
	return h.signer.Install(roots)
}
