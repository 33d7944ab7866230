package broker

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// What a State answers. Any other error of Apply means that the change may or
// may not have been made.
var (
	// ErrAbsent: there is no item of that name, or it has expired.
	ErrAbsent = errors.New("no such item")
	// ErrConflict: what a change rests on does not hold. Nothing was changed.
	ErrConflict = errors.New("the state was changed meanwhile")
	// ErrInvalid: a bad name, kind, limit or change: a mistake of the caller's.
	ErrInvalid = errors.New("invalid name, limit or change")
)

// Bounds of a State.
const (
	MaxName    = 256      // bytes of a kind or name
	MaxValue   = 64 << 10 // bytes of a value
	MaxList    = 1000     // items of a list, or events
	MaxChanges = 64       // writes of one change, and its events
)

// Key names an item: a kind, as `device`, and a name in it. Both are of 1 to
// MaxName printable ASCII bytes without spaces.
type Key struct {
	Kind, Name string
}

func (k Key) String() string { return k.Kind + "/" + k.Name }

// Valid reports whether k can name an item.
func (k Key) Valid() error {
	for _, s := range []string{k.Kind, k.Name} {
		if len(s) == 0 || len(s) > MaxName {
			return fmt.Errorf("%w: %q", ErrInvalid, k)
		}
		for i := range len(s) {
			if s[i] <= ' ' || s[i] >= 0x7f {
				return fmt.Errorf("%w: %q", ErrInvalid, k)
			}
		}
	}
	return nil
}

// Item is what is kept under a key.
type Item struct {
	Key     Key
	Value   []byte
	Version int64     // positive, new at every write, never reused for the key
	Expires time.Time // zero: never; whole milliseconds. From then on it is absent
}

// Write is one step of a change.
type Write struct {
	Key Key
	// Expect is the version the item must have; 0: it must be absent.
	Expect int64
	// Value is what to keep; nil: the item is deleted, or, with Expect 0, only
	// its absence is demanded.
	Value []byte
	// Expires is cut to whole milliseconds. If not zero it is of the years 1970
	// to 9999; what is past already leaves the item absent.
	Expires time.Time
	// Check demands Expect and changes nothing: Value and Expires do not count.
	// What was checked still holds at the moment of the change.
	Check bool
}

// Change is made as a whole or not at all. No two writes name the same key. It
// may be empty.
type Change struct {
	Writes []Write
	// Events are appended in order if the change is made.
	Events []NewEvent
}

// NewEvent is something every replica must hear of.
type NewEvent struct {
	Topic string // 1 to MaxName printable ASCII bytes: whom it concerns
	Value []byte
}

// Event is one that has happened.
type Event struct {
	Seq   int64 // grows by one; no event becomes visible behind one that was read
	Topic string
	Value []byte
	At    time.Time // by the clock of whoever appended it, in whole milliseconds
}

// State is what the replicas of a broker share. Backends: sqlitestate, for one
// node, and pgstate; statetest.Conformance is their exam.
//
// Concurrency: any number of goroutines may use one State, and with pgstate any
// number of processes. Changes are serializable: each is made as if alone, and
// of racing ones that rest on the same version exactly one wins. A read that
// starts after a change was acknowledged, by whichever replica, sees it. Each
// read is of one moment, a list too. No two replicas' changes can keep each
// other waiting for ever.
//
// Durability: an acknowledged change survives a crash of this process, its
// machine, and of the database's. What is read will not be taken back.
//
// Time is the backend's argument, now, as told by its owner's clock: an item
// is absent once now reaches Expires, though it may be removed later. Replicas
// whose clocks differ differ about that, and only about that.
//
// A context that is done before the call begins gives its error, and nothing
// happens; one that ends during Apply leaves it made or not made. No slice is
// shared with the caller once a call has returned.
type State interface {
	// Get returns an item. ErrAbsent.
	Get(ctx context.Context, k Key) (Item, error)
	// List returns up to limit items of a kind whose names begin with prefix,
	// in byte order of their names, from the first beyond after ("" starts at
	// the beginning; it need not be there). Fewer than limit are the last.
	// prefix and after are empty or as a name is; limit is 1 to MaxList.
	List(ctx context.Context, kind, prefix, after string, limit int) ([]Item, error)
	// Apply makes a change. It returns the versions of the writes in their
	// order, 0 for what was deleted or only checked. ErrConflict, ErrInvalid.
	Apply(ctx context.Context, c Change) ([]int64, error)
	// Events returns up to limit events after seq, oldest first. Events older
	// than a day may be gone. limit is 1 to MaxList.
	Events(ctx context.Context, after int64, limit int) ([]Event, error)
	// Last returns the seq of the newest event, 0 if there was none ever.
	Last(ctx context.Context) (int64, error)
	// Wait returns when there may be events after seq, from whichever replica,
	// or with an error once ctx is done or the state closed. It may return too
	// early, and is late by 200 ms at most while the database answers; that it
	// does not is no error of Wait's.
	Wait(ctx context.Context, after int64) error
	// Ping reports whether changes could be made now.
	Ping(ctx context.Context) error
	// Sweep removes items that expired, and events older than a day. Any
	// replica may call it at any time.
	Sweep(ctx context.Context) error
	// Shared reports whether other processes may use the same state.
	Shared() bool
	// Close releases it. Calls under way end first, and later ones fail; to
	// close it again does nothing.
	Close() error
}
