package vault

import (
	"context"
	"errors"
)

// ErrMark: what this device remembers of a credential cannot be read. Removing
// it makes the next read the first one on a new device.
var ErrMark = errors.New("the rollback mark is damaged")

// Mark is what a device remembers of one credential, so that a store which
// puts an old state back is noticed. Its revisions only ever rise, each apart
// from the others, so marks merge in any order; the zero Mark is that of a
// credential never met.
type Mark struct {
	// Revision is the highest that was stored or opened here.
	Revision uint64
	// Removing is the highest that this device set out to delete: from then
	// on it may be missing.
	Removing uint64
	// Removed is the highest that this device knows to be deleted: from then
	// on it must not come back.
	Removed uint64
}

// Merge returns the higher of each.
func (m Mark) Merge(o Mark) Mark {
	return Mark{max(m.Revision, o.Revision), max(m.Removing, o.Removing), max(m.Removed, o.Removed)}
}

// Marks keeps the Mark of each credential on this device, apart from the
// Blobs it guards against. Any number of goroutines and processes may use one;
// each key is linearizable. The zero Key is ErrInvalid.
type Marks interface {
	// Get returns the mark of k; the zero Mark if there is none. ErrMark.
	Get(ctx context.Context, k Key) (Mark, error)
	// Raise merges m into the mark of k and returns the result, which is
	// durable then. ErrMark.
	Raise(ctx context.Context, k Key, m Mark) (Mark, error)
}
