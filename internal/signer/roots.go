package signer

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"

	"github.com/litentry/agentkeys/internal/secret"
)

const rootSize = 32

// Roots is an account id, the identity root and the sealing roots by epoch,
// counted from 1; the highest is current. It cannot be printed, marshalled or
// compared with ==. Each Roots has bytes of its own, which Clear overwrites;
// the methods that change something return new Roots. The zero Roots is
// refused everywhere.
type Roots struct {
	_ [0]func()
	// A pointer to Values, which hold pointers: fmt ignores methods on
	// unexported fields of other people's structs, and then prints addresses,
	// but follows one pointer where the verb does not fit.
	box *rootBox
}

type rootBox struct {
	account  AccountID
	identity secret.Value
	sealing  map[uint32]secret.Value
	epoch    uint32 // the highest key of sealing
}

// NewRoots makes random roots, at epoch 1, for a new random account.
func NewRoots() Roots {
	return Roots{box: &rootBox{
		account:  NewAccountID(),
		identity: randomRoot(),
		sealing:  map[uint32]secret.Value{1: randomRoot()},
		epoch:    1,
	}}
}

// AddEpoch returns roots with one more sealing root, random, as the current
// one. Save them before anything is sealed under the new epoch.
func (r Roots) AddEpoch() (Roots, error) {
	if r.isZero() {
		return Roots{}, errZeroRoots
	}
	if r.box.epoch == math.MaxUint32 {
		return Roots{}, errors.New("the last epoch is in use")
	}
	n := r.clone()
	n.box.epoch++
	n.box.sealing[n.box.epoch] = randomRoot()
	return n, nil
}

// RetireBefore returns roots without the sealing roots of epochs below epoch,
// which is at most the current one. Whatever is still sealed under them is
// lost: ask vault.Rotate first.
func (r Roots) RetireBefore(epoch uint32) (Roots, error) {
	if r.isZero() {
		return Roots{}, errZeroRoots
	}
	if epoch > r.box.epoch {
		return Roots{}, fmt.Errorf("cannot retire the current epoch %d", r.box.epoch)
	}
	n := r.clone()
	for e, v := range n.box.sealing {
		if e < epoch {
			v.Clear()
			delete(n.box.sealing, e)
		}
	}
	return n, nil
}

// Account is whose roots these are.
func (r Roots) Account() AccountID {
	if r.isZero() {
		return AccountID{}
	}
	return r.box.account
}

// Epoch is the current epoch, 0 for the zero Roots.
func (r Roots) Epoch() uint32 {
	if r.isZero() {
		return 0
	}
	return r.box.epoch
}

// Clear overwrites the roots, which are zero from then on.
func (r Roots) Clear() {
	if r.box == nil {
		return
	}
	r.box.identity.Clear()
	for _, v := range r.box.sealing {
		v.Clear()
	}
	*r.box = rootBox{}
}

var errZeroRoots = errors.New("zero roots")

func (r Roots) isZero() bool { return r.box == nil || r.box.epoch == 0 }

func (r Roots) sealing(epoch uint32) (secret.Value, bool) {
	v, ok := r.box.sealing[epoch]
	return v, ok
}

func (r Roots) clone() Roots {
	b := &rootBox{
		account:  r.box.account,
		identity: r.box.identity.Clone(),
		sealing:  make(map[uint32]secret.Value, len(r.box.sealing)),
		epoch:    r.box.epoch,
	}
	for e, v := range r.box.sealing {
		b.sealing[e] = v.Clone()
	}
	return Roots{box: b}
}

// continuedBy reports whether n may replace r without orphaning what was
// derived from r, retired epochs aside.
func (r Roots) continuedBy(n Roots) bool {
	if n.isZero() || n.box.account != r.box.account || !n.box.identity.Equal(r.box.identity) || n.box.epoch < r.box.epoch {
		return false
	}
	for e, v := range n.box.sealing {
		if old, ok := r.box.sealing[e]; ok && !old.Equal(v) {
			return false
		}
	}
	return true
}

func randomRoot() secret.Value {
	b := make([]byte, rootSize)
	_, _ = rand.Read(b) // never fails: it crashes the program instead
	return secret.New(b)
}

// Format implements fmt.Formatter for every verb.
func (r Roots) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, secret.Redaction) }

// String implements fmt.Stringer.
func (r Roots) String() string { return secret.Redaction }

// GoString implements fmt.GoStringer.
func (r Roots) GoString() string { return secret.Redaction }

// LogValue implements slog.LogValuer.
func (r Roots) LogValue() slog.Value { return slog.StringValue(secret.Redaction) }

// MarshalJSON fails with secret.ErrMarshal.
func (r Roots) MarshalJSON() ([]byte, error) { return nil, secret.ErrMarshal }

// MarshalText fails with secret.ErrMarshal.
func (r Roots) MarshalText() ([]byte, error) { return nil, secret.ErrMarshal }

// MarshalBinary fails with secret.ErrMarshal.
func (r Roots) MarshalBinary() ([]byte, error) { return nil, secret.ErrMarshal }

// MarshalYAML fails with secret.ErrMarshal.
func (r Roots) MarshalYAML() (any, error) { return nil, secret.ErrMarshal }

// GobEncode fails with secret.ErrMarshal.
func (r Roots) GobEncode() ([]byte, error) { return nil, secret.ErrMarshal }

// EncodeRoots returns roots in the form of the roots file's plaintext, to hand
// them to another process of this program over a pipe or a socket of the same
// user, and nowhere else. Whoever gets it clears it.
func EncodeRoots(r Roots) (secret.Value, error) {
	if r.isZero() {
		return secret.Value{}, errZeroRoots
	}
	b, err := formatRoots(r)
	return secret.New(b), err
}

// DecodeRoots reads what EncodeRoots wrote, or fails with ErrCorrupt. It does
// not clear v.
func DecodeRoots(v secret.Value) (Roots, error) { return parseRoots(v.Expose()) }

// Epochs is the number of sealing roots there are: more than one while a
// rotation is under way.
func (r Roots) Epochs() int {
	if r.isZero() {
		return 0
	}
	return len(r.box.sealing)
}
