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
	return h.reseal(ctx, h.signer.Epoch(), progress)
}

// Epochs is a keeper of keys elsewhere, whose operator rotates its roots.
type Epochs interface {
	// Refresh asks for the current epoch now.
	Refresh(ctx context.Context) (uint32, error)
}

// Reseal seals every credential anew under the current epoch of a signer
// elsewhere, and returns it. It may be interrupted at any point and repeated.
func (h *Host) Reseal(ctx context.Context, progress func(done, total int)) (uint32, error) {
	if err := h.manage(); err != nil {
		return 0, err
	}
	keys, ok := h.keys.(Epochs)
	if !ok {
		return 0, ErrNoBroker
	}
	if !h.rotating.TryLock() {
		return 0, ErrRotating
	}
	defer h.rotating.Unlock()
	epoch, err := keys.Refresh(ctx)
	if err != nil {
		return 0, err
	}
	return epoch, h.reseal(ctx, epoch, progress)
}

func (h *Host) reseal(ctx context.Context, epoch uint32, progress func(done, total int)) error {
	e := grant.Event{Time: h.now(), Op: "key.rotate", Actor: h.wallet, Epoch: epoch, Decision: grant.Allowed}
	if err := h.audit.Record(ctx, e); err != nil {
		return err
	}
	wallets := []agentkeys.Wallet{h.wallet}
	for _, a := range h.dir.Agents() {
		wallets = append(wallets, a.Wallet)
	}
	permit := func(ctx context.Context, w agentkeys.Wallet, s agentkeys.Service) (grant.Permit, error) {
		return h.decider.Own(ctx, grant.ActReseal, w, s, grant.Event{
			Time: h.now(), Op: "credential.reseal", Actor: h.wallet, Subject: w.String(), Epoch: epoch,
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
