// Package mailstore owns the contracts of stored mail: where a receiver puts a
// message, how the router brings it to a wallet, and how that wallet reads it.
// Stores are dirmail, a directory, and s3mail, a bucket; mailstoretest is their
// exam. It depends on the root package only.
//
//	inbound/<message id>                what has arrived, written by the receiver
//	bots/<wallet>/inbound/<message id>  sorted, written by the router
//	refused/<reason>/<message id>       what can never be sorted, written by the router
//
// A message is never changed: each of these is a copy, byte for byte.
package mailstore

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"

	"github.com/litentry/agentkeys"
)

const (
	// MaxMessage is the largest message in bytes, as SES takes it.
	MaxMessage = 40 << 20
	// MaxPage is the largest limit of a listing.
	MaxPage = 1000
	// MaxReason is the length of the longest reason of a refusal, [a-z0-9-]+.
	MaxReason = 40
)

// What a store answers. Any other error means that the call may or may not have
// been done, or may yet be: it is temporary, and repeating it is safe.
var (
	// ErrGone: there is no such message, or no longer.
	ErrGone = errors.New("no such message")
	// ErrExists: a message of this id has arrived before.
	ErrExists = errors.New("there is a message of this id already")
	// ErrChanged: the message is not the one that was read before.
	ErrChanged = errors.New("the message was replaced meanwhile")
	// ErrTooLarge: a message beyond MaxMessage or beyond what was asked for.
	ErrTooLarge = errors.New("the message is too large")
	// ErrInvalid: a zero id or wallet, a bad reason, range or limit: a mistake
	// of the caller's, never of the data.
	ErrInvalid = errors.New("invalid message id, wallet, reason, range or limit")
)

// Version names the bytes of one message; it is opaque to everybody but its
// store, and never "".
type Version string

// Part is some of a message.
type Part struct {
	Data    []byte
	Size    int64 // of the whole message, in bytes
	Version Version
}

// Item is one message of a listing.
type Item struct {
	ID   agentkeys.MessageID `json:"id"`
	Size int64               `json:"size"` // in bytes
	// At is when it came to this place, by the store's clock.
	At time.Time `json:"at"`
	// Reason is why it was refused; "" of what was not.
	Reason string `json:"reason,omitempty"`
}

// Page is a part of a listing.
type Page struct {
	Items []Item
	// More says that there may be more beyond the last item.
	More bool
}

// Arrived is inbound/, as a router uses it. Any number of routers may be at
// work at once, on the same messages too.
type Arrived interface {
	// Read returns up to n bytes of a message from off on; fewer only at its
	// end, none from there on. With v it must still be that version. ErrGone,
	// ErrChanged.
	Read(ctx context.Context, id agentkeys.MessageID, off, n int64, v Version) (Part, error)
	// Place copies a message at v into w's inbox, without reading it here, if
	// there is none of this id yet; created says whether this call did. When it
	// returns nil the copy is durable. ErrGone, ErrChanged.
	Place(ctx context.Context, id agentkeys.MessageID, v Version, w agentkeys.Wallet) (created bool, err error)
	// Refuse copies a message at v to where what cannot be sorted is kept, in
	// the same way.
	Refuse(ctx context.Context, id agentkeys.MessageID, v Version, reason string) (created bool, err error)
	// Remove removes a message from inbound/. One that is gone is as good.
	Remove(ctx context.Context, id agentkeys.MessageID) error
}

// Spool is inbound/, as a receiver of our own uses it. (SES has its own way.)
type Spool interface {
	// Write stores a message of size bytes. When it returns nil the message is
	// durable; otherwise nothing of it is to be seen, unless the error is of
	// the kind that leaves it open. ErrExists, ErrTooLarge.
	Write(ctx context.Context, id agentkeys.MessageID, r io.Reader, size int64) error
	// Waiting lists up to limit messages, of 1 to MaxPage, in the byte order of
	// their ids, from the first beyond after; the zero id starts from the
	// beginning. Names that are no message ids are left out.
	Waiting(ctx context.Context, after agentkeys.MessageID, limit int) (Page, error)
}

// Inbox is what wallets read: their own.
type Inbox interface {
	// List is Waiting for the inbox of w.
	List(ctx context.Context, w agentkeys.Wallet, after agentkeys.MessageID, limit int) (Page, error)
	// Fetch returns a whole message of w's inbox of up to limit bytes. ErrGone;
	// ErrTooLarge, with nothing read.
	Fetch(ctx context.Context, w agentkeys.Wallet, id agentkeys.MessageID, limit int64) ([]byte, error)
}

// Walker is an Inbox that goes through all of an inbox at once, for which its
// pages would each cost as much as all of it.
type Walker interface {
	// Walk goes through w's inbox in no order, and after an error no further.
	// What comes or goes meanwhile may be missing.
	Walk(ctx context.Context, w agentkeys.Wallet) iter.Seq2[Item, error]
}

// Stater is an Inbox that can look at one message by its id.
type Stater interface {
	// Stat is that message of a listing. ErrGone.
	Stat(ctx context.Context, w agentkeys.Wallet, id agentkeys.MessageID) (Item, error)
}

// Watcher is an Inbox that can tell of new messages.
type Watcher interface {
	// Watch sends on the channel after something came into w's inbox, once for
	// any number of messages, until ctx ends. It is a hint: who gets it lists.
	Watch(ctx context.Context, w agentkeys.Wallet) (<-chan struct{}, error)
}

// ValidReason reports whether s can be a reason of a refusal, which is part of
// a key.
func ValidReason(s string) bool {
	if s == "" || len(s) > MaxReason {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}
