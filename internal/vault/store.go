package vault

import (
	"context"
	"errors"

	"github.com/litentry/agentkeys/internal/envelope"
	"github.com/litentry/agentkeys/internal/grant"
)

// Store writes rec as the next revision of the credential that p, for store,
// is for, whatever is there, and returns the revision. It neither keeps nor
// clears rec. When it returns nil, the store and this device's mark are
// durable; after an error the old or the new one is there, whole, and Store
// may be called again.
//
// What is there but does not open is not overwritten: it may be readable to
// whoever has other roots. Its error is returned, and Delete clears the way.
func (v *Vault) Store(ctx context.Context, p grant.Permit, rec envelope.Record) (revision uint64, err error) {
	return v.store(ctx, p, rec, 0)
}

// Replace is Store on the condition that the credential is still the one that
// Load returned with header over; otherwise it is ErrConflict. It is for
// whoever changes what was read, such as the time of a verification, and must
// not undo what somebody else stored meanwhile.
func (v *Vault) Replace(ctx context.Context, p grant.Permit, rec envelope.Record, over envelope.Header) (revision uint64, err error) {
	if over.Revision == 0 {
		return 0, ErrInvalid
	}
	return v.store(ctx, p, rec, over.Revision)
}

func (v *Vault) store(ctx context.Context, p grant.Permit, rec envelope.Record, over uint64) (uint64, error) {
	k, err := permitted(p, grant.ActStore)
	if err != nil {
		return 0, err
	}
	defer v.begin()()
	for n := range attempts {
		if err := pause(ctx, n); err != nil {
			return 0, k.about(err)
		}
		c, current, err := v.current(ctx, k)
		if err != nil {
			return 0, k.about(err)
		}
		// The mark after the object: what was deleted before this moment has
		// raised it.
		m, err := v.marks.Get(ctx, k)
		if err != nil {
			return 0, k.about(err)
		}
		if over != 0 && current != over {
			return 0, k.about(ErrConflict)
		}
		h := envelope.Header{Epoch: v.keys.Epoch(), Revision: max(m.Revision, current) + 1}
		done, err := v.put(ctx, k, h, rec, c)
		if err != nil {
			return 0, k.about(err)
		}
		if done {
			return h.Revision, nil
		}
	}
	return 0, k.about(ErrConflict)
}

// current returns the verified revision of what is there, 0 if nothing is, and
// the condition under which to replace it. An old revision put back may be
// replaced: the next one is above the mark whatever is there.
func (v *Vault) current(ctx context.Context, k Key) (Condition, uint64, error) {
	sealed, version, err := v.blobs.Get(ctx, k)
	if errors.Is(err, ErrNotFound) {
		return Create(), 0, nil
	}
	if err != nil {
		return Condition{}, 0, err
	}
	hdr, rec, err := v.decrypt(ctx, k, sealed)
	rec.Secret.Clear()
	return Replace(version), hdr.Revision, err
}

// begin registers a store, so that a rotation can wait for those that may have
// taken the old epoch. The result ends it.
func (v *Vault) begin() (end func()) {
	c := make(chan struct{})
	v.mu.Lock()
	v.stores[c] = true
	v.mu.Unlock()
	return func() {
		v.mu.Lock()
		delete(v.stores, c)
		v.mu.Unlock()
		close(c)
	}
}

// Delete removes the credential that p, for delete, is for, be it readable or
// not. If there is none it is ErrNotFound, also where Load said ErrMissing,
// which it ends. After any other error it is there or not, and Delete may be
// called again.
func (v *Vault) Delete(ctx context.Context, p grant.Permit) error {
	k, err := permitted(p, grant.ActDelete)
	if err != nil {
		return err
	}
	for n := range attempts {
		if err := pause(ctx, n); err != nil {
			return k.about(err)
		}
		done, err := v.tryDelete(ctx, k)
		if done || err != nil {
			return k.about(err)
		}
	}
	return k.about(ErrConflict)
}

func (v *Vault) tryDelete(ctx context.Context, k Key) (done bool, err error) {
	// The mark first: it must not count a store that ends between the two
	// reads, which this call does not delete.
	m, err := v.marks.Get(ctx, k)
	if err != nil {
		return false, err
	}
	sealed, version, err := v.blobs.Get(ctx, k)
	absent := errors.Is(err, ErrNotFound)
	if err != nil && !absent && !errors.Is(err, ErrSize) {
		return false, err
	}
	revision := m.Revision
	// Deleting must work without the key, and when the object is damaged; then
	// the revision is not known, and the mark is the best guess.
	if hdr, rec, err := v.decrypt(ctx, k, sealed); err == nil {
		rec.Secret.Clear()
		revision = max(revision, hdr.Revision)
	}
	// Before the deed, so that a kill after it raises no alarm.
	if _, err := v.marks.Raise(ctx, k, Mark{Revision: revision, Removing: revision}); err != nil {
		return false, err
	}
	if !absent {
		err = v.blobs.Delete(ctx, k, version)
	}
	switch {
	case err == nil, errors.Is(err, ErrNotFound):
	case errors.Is(err, ErrConflict):
		return false, nil
	default:
		if _, _, gerr := v.blobs.Get(ctx, k); !errors.Is(gerr, ErrNotFound) {
			return false, err
		}
	}
	if _, err := v.marks.Raise(ctx, k, Mark{Removed: revision}); err != nil {
		return false, err
	}
	if absent {
		return true, ErrNotFound
	}
	return true, nil
}
