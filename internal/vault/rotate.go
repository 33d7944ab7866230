package vault

import (
	"context"
	"errors"
	"fmt"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/grant"
)

// Reseal opens the credential that p, for reseal, is for, and seals it under
// toEpoch as its next revision. One that is under toEpoch or a later epoch is
// left alone, so it may be repeated. It refuses what Load refuses: an old
// revision that was put back is not to be dressed up as a new one.
func (v *Vault) Reseal(ctx context.Context, p grant.Permit, toEpoch uint32) error {
	k, err := permitted(p, grant.ActReseal)
	if err != nil {
		return err
	}
	for n := range attempts {
		if err := pause(ctx, n); err != nil {
			return k.about(err)
		}
		done, err := v.tryReseal(ctx, k, toEpoch)
		if done || err != nil {
			return k.about(err)
		}
	}
	return k.about(ErrConflict)
}

func (v *Vault) tryReseal(ctx context.Context, k Key, toEpoch uint32) (done bool, err error) {
	o, err := v.load(ctx, k)
	if err != nil {
		return false, err
	}
	defer o.rec.Secret.Clear()
	if o.hdr.Epoch >= toEpoch {
		return true, nil
	}
	h := o.hdr
	h.Epoch, h.Revision = toEpoch, h.Revision+1
	return v.put(ctx, k, h, o.rec, Replace(o.version))
}

// Unfinished says what a rotation could not bring under the current epoch. As
// long as there is any, the older roots must be kept.
type Unfinished struct{ Failed []error }

func (u *Unfinished) Error() string {
	return fmt.Sprintf("%d credentials could not be sealed anew, the first: %v", len(u.Failed), u.Failed[0])
}

func (u *Unfinished) Unwrap() []error { return u.Failed }

// Rotate brings the credentials of wallets under the current epoch of v's
// keys, which has been installed, and saved, before. It may be killed at any
// point and repeated, run twice at once, and run beside any other use of the
// store: every object opens under exactly one known key all along. progress,
// which may be nil, is called after each of the credentials found to be old.
//
// It returns nil if a last pass over all of wallets found nothing under an
// older epoch, and only then may the older roots be retired. This holds for
// the stores of this Vault; where other processes store as well, first let
// each of them have the new epoch and finish what it had begun. One credential
// that fails does not stop the others; the error is *Unfinished then.
//
// Rotation protects what is stored from then on: a copy of the old objects
// still opens with the old root.
func Rotate(ctx context.Context, v *Vault, wallets []agentkeys.Wallet, permit func(context.Context, agentkeys.Wallet, agentkeys.Service) (grant.Permit, error), progress func(done, total int)) error {
	epoch := v.keys.Epoch()
	for range attempts { // a lying store could keep it busy for ever
		old, failed, err := v.before(ctx, wallets, epoch)
		if err != nil {
			return err
		}
		moved := 0
		for n, k := range old {
			err := v.resealAs(ctx, k, epoch, permit)
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case err != nil && !errors.Is(err, ErrNotFound): // deleted meanwhile
				failed = append(failed, err)
			default:
				moved++
			}
			if progress != nil {
				progress(n+1, len(old))
			}
		}
		switch {
		case moved > 0:
			continue // only a pass that finds nothing proves anything
		case len(failed) > 0:
			return &Unfinished{failed}
		}
		return nil
	}
	return ErrConflict
}

// before finds what claims to be under an older epoch, or under one that there
// cannot be yet.
func (v *Vault) before(ctx context.Context, wallets []agentkeys.Wallet, epoch uint32) (old []Key, failed []error, err error) {
	if err := v.settle(ctx); err != nil {
		return nil, nil, err
	}
	for _, w := range wallets {
		infos, err := v.Infos(ctx, w)
		if err != nil {
			return nil, nil, err
		}
		for _, i := range infos {
			switch {
			case i.Err != nil:
				failed = append(failed, i.Err)
			case i.Epoch < epoch, i.Epoch > v.keys.Epoch():
				old = append(old, Key{w, i.Service})
			}
		}
	}
	return old, failed, nil
}

// settle waits for the stores under way: one that took the old epoch, and
// creates its object after the last pass, would be lost with the old root.
func (v *Vault) settle(ctx context.Context) error {
	v.mu.Lock()
	var under []chan struct{}
	for c := range v.stores {
		under = append(under, c)
	}
	v.mu.Unlock()
	for _, c := range under {
		select {
		case <-c:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (v *Vault) resealAs(ctx context.Context, k Key, epoch uint32, permit func(context.Context, agentkeys.Wallet, agentkeys.Service) (grant.Permit, error)) error {
	p, err := permit(ctx, k.wallet, k.service)
	if err != nil {
		return k.about(err)
	}
	if !p.Allows(grant.ActReseal, k.wallet, k.service) {
		return k.about(ErrPermit)
	}
	return v.Reseal(ctx, p, epoch)
}
