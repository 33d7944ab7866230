// Package vault owns stored credentials: it seals and opens them over a store
// that sees only ciphertext, numbers their revisions, notices when the store
// puts an old one back, and moves them to a new sealing root. It owns the Blobs
// contract that stores implement.
//
// It must not depend on a signer, a store or a network: keys, objects and
// marks come through KeySource, Blobs and Marks. It takes no decision of its
// own: each method demands a grant.Permit, which says what may be done to
// which credential.
package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/envelope"
	"github.com/litentry/agentkeys/internal/grant"
)

// What a Vault refuses besides the errors of Blobs, Marks, its KeySource and
// envelope. Every error of a Vault about one credential is an *Error.
var (
	// ErrPermit: the permit is zero or for something else.
	ErrPermit = errors.New("no permit for this")
	// ErrRollback: authentic, but older than what this device has stored, read
	// or deleted before. Storing a new secret, or deleting, ends it.
	ErrRollback = errors.New("the store holds an older revision than this device has seen")
	// ErrMissing: this device has seen a revision and never deleted it, but
	// the store has none. It is not ErrNotFound: either another device deleted
	// it, or the store withholds it. Storing a new secret, or deleting, ends it.
	ErrMissing = errors.New("the store no longer has a credential that this device has seen")
)

// Error says which credential could not be handled.
type Error struct {
	Wallet  agentkeys.Wallet
	Service agentkeys.Service
	Err     error
}

func (e *Error) Error() string {
	return fmt.Sprintf("credential %s of %s: %v", e.Service, e.Wallet, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// KeySource answers for the sealing roots; signer.Signer is one. It may be
// called from many goroutines.
type KeySource interface {
	// KEK derives a key, which the caller clears.
	KEK(ctx context.Context, w agentkeys.Wallet, s agentkeys.Service, epoch uint32) (envelope.KEK, error)
	// Epoch is what new envelopes are sealed under. It never falls.
	Epoch() uint32
}

// Vault stores and opens credentials. Any number of goroutines, and of Vaults
// in other processes, may work on one store.
//
// A revision counts the stores of one credential from 1. A mark remembers the
// highest on this device, so that an older one is refused; on a device that
// never met a credential the first read accepts whatever is authentic. The
// mark is raised after a write, before it is acknowledged: killed in between,
// the store is ahead of the mark, which is no alarm. Where two devices write
// one credential and one of them deletes it, a store on the other, which
// cannot know how far the revisions had come, may look like a rollback to the
// first: an alarm for nothing is the accepted side to err on.
type Vault struct {
	blobs Blobs
	keys  KeySource
	marks Marks

	mu     sync.Mutex
	stores map[chan struct{}]bool // those under way; closed as they end
}

// New makes a Vault.
func New(b Blobs, k KeySource, m Marks) *Vault {
	return &Vault{blobs: b, keys: k, marks: m, stores: map[chan struct{}]bool{}}
}

// attempts bounds how often one call starts again after losing a race. Some
// other call wins each time, so it takes as many writers at once to run out.
const attempts = 100

// pause waits a little before attempt n, so that writers do not stay in step.
func pause(ctx context.Context, n int) error {
	if n == 0 {
		return ctx.Err()
	}
	t := time.NewTimer(rand.N(time.Millisecond << min(n, 5)))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// permitted returns what p is for, if it is for one of actions.
func permitted(p grant.Permit, actions ...grant.Action) (Key, error) {
	k := CredentialKey(p.Wallet(), p.Service())
	if k.IsZero() || !slices.Contains(actions, p.Action()) || !p.Allows(p.Action(), k.wallet, k.service) {
		return Key{}, ErrPermit
	}
	return k, nil
}

// about names the credential in an error.
func (k Key) about(err error) error {
	if err == nil {
		return nil
	}
	return &Error{k.wallet, k.service, err}
}

// decrypt opens an object whatever its revision.
func (v *Vault) decrypt(ctx context.Context, k Key, sealed []byte) (envelope.Header, envelope.Record, error) {
	u, err := envelope.ParseHeader(sealed)
	if err != nil {
		return envelope.Header{}, envelope.Record{}, err
	}
	kek, err := v.keys.KEK(ctx, k.wallet, k.service, u.Epoch)
	if err != nil {
		return envelope.Header{}, envelope.Record{}, err
	}
	defer kek.Clear()
	return envelope.Open(kek, envelope.Name{Wallet: k.wallet, Service: k.service}, sealed)
}

// put seals rec as h and writes it if c holds. done is false if the caller has
// to look again and start over: it lost a race, or took a revision number that
// a deletion used up in the meantime.
func (v *Vault) put(ctx context.Context, k Key, h envelope.Header, rec envelope.Record, c Condition) (done bool, err error) {
	kek, err := v.keys.KEK(ctx, k.wallet, k.service, h.Epoch)
	if err != nil {
		return false, err
	}
	defer kek.Clear()
	sealed, err := envelope.Seal(kek, envelope.Name{Wallet: k.wallet, Service: k.service}, h, rec)
	if err != nil {
		return false, err
	}
	if _, err := v.blobs.Put(ctx, k, sealed, c); err != nil {
		// It may have been done all the same; a conflict may even be with the
		// backend's own first try. The salt makes these bytes ours alone.
		there, _, gerr := v.blobs.Get(ctx, k)
		if gerr != nil || !bytes.Equal(there, sealed) {
			if errors.Is(err, ErrConflict) {
				return false, nil
			}
			return false, err
		}
	}
	m, err := v.marks.Raise(ctx, k, Mark{Revision: h.Revision})
	if err != nil {
		return false, err
	}
	return m.Removing < h.Revision, nil
}
