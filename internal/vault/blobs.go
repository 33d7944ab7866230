package vault

import (
	"context"
	"errors"

	"github.com/litentry/agentkeys/internal/envelope"
)

// What Blobs answer. Any other error means that the call may or may not have
// been done, or may yet be.
var (
	// ErrNotFound: there is no object under this key.
	ErrNotFound = errors.New("no such credential")
	// ErrConflict: the condition of a Put or Delete does not hold. Nothing was
	// changed by this call, unless the backend repeated a request of its own:
	// who must know reads the object.
	ErrConflict = errors.New("the stored credential was changed meanwhile")
	// ErrSize: an object beyond MaxBlob, given or found.
	ErrSize = errors.New("object is too large for a credential")
	// ErrInvalid: a zero key, prefix, version or condition, or a bad limit: a
	// mistake of the caller's, never of the data.
	ErrInvalid = errors.New("invalid key, prefix, condition or limit")
)

const (
	// MaxBlob is the largest object in bytes.
	MaxBlob = envelope.MaxSealed
	// MaxPage is the largest limit of a List.
	MaxPage = 1000
)

// Version names one state of one object: equal versions mean equal bytes. It
// is opaque to everybody but the backend that made it, and never "".
type Version string

// Condition says what must hold for a Put. The zero Condition is refused, so
// that nothing is ever overwritten unseen.
type Condition struct {
	create bool
	v      Version
}

// Create demands that there is no object.
func Create() Condition { return Condition{create: true} }

// Replace demands that the object is the one read as v. Replace("") is the
// zero Condition.
func Replace(v Version) Condition { return Condition{v: v} }

// Match takes c apart, for backends: create, or the version to replace. The
// zero Condition is ErrInvalid.
func (c Condition) Match() (create bool, v Version, err error) {
	if !c.create && c.v == "" {
		return false, "", ErrInvalid
	}
	return c.create, c.v, nil
}

// Blobs keeps small objects under Keys: ciphertext, of which it need not know
// anything. Backends: dirblob, s3blob; vaulttest.Conformance is their exam.
//
// Concurrency: any number of goroutines, processes and hosts may use one
// store. Each key behaves as if its calls happened one at a time (it is
// linearizable): of racing Puts with one condition exactly one succeeds, and a
// read that starts after a write was acknowledged sees it or a later one.
//
// Durability: a nil error means that the write survives a crash of this
// process and of its machine; and nothing is read that a crash may take back.
// An object is replaced whole or not at all; no reader sees a part.
//
// A context that is done before the call begins gives its error, and nothing
// happens; one that ends during a write leaves it done or not done.
type Blobs interface {
	// Get returns an object and its version. ErrNotFound; ErrSize, with the
	// version all the same, so that what is too large can be deleted.
	Get(ctx context.Context, k Key) (data []byte, v Version, err error)
	// Put writes an object if c holds, and returns its new version. A Replace
	// of what is not there is ErrConflict, as is a Create of what is. It does
	// not keep data. ErrConflict, ErrSize.
	Put(ctx context.Context, k Key, data []byte, c Condition) (Version, error)
	// Delete removes an object if it is at version v. ErrNotFound if there is
	// none, ErrConflict if it is at another version.
	Delete(ctx context.Context, k Key, v Version) error
	// List returns up to limit objects under p, of 1 to MaxPage, in the byte
	// order of their keys, from the first key beyond after; the zero Key
	// starts from the beginning. What was there all along, from before the
	// first page to after the last, is listed exactly once; what came or went
	// meanwhile, at most once. Names that are no Keys are left out.
	List(ctx context.Context, p Prefix, after Key, limit int) (Page, error)
}

// Page is a part of a listing.
type Page struct {
	Items []Item
	// More says that there may be more beyond the last item, which is then to
	// be passed as after. A page without items has no more.
	More bool
}

// Item is one object of a listing.
type Item struct {
	Key  Key
	Size int64 // in bytes
}
