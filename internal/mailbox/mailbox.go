// Package mailbox owns the wait for one message: the one that a service sends
// to the address of this very run, in the inbox of the wallet that signs up.
// It knows an inbox by mailstore's contract and leaves it to verifymail which
// message counts.
//
// Laws: what came before the run is not read; a message is read once, again
// only if its reading failed; a whole pass decides, so of several messages that
// count (somebody asked for another) the newest is taken, in whatever order
// they are listed; memory does not grow with the inbox, but for eight bytes for
// each message of the run's time. No text, no sender and no link is in an error
// or in what is told of progress: reasons and counts only.
package mailbox

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/mailstore"
	"github.com/litentry/agentkeys/internal/verifymail"
)

const (
	// MaxRead is the size of the largest message that is read, in bytes.
	MaxRead = verifymail.MaxMessage
	// Skew is how far the store's clock may be behind the one that made
	// Query.NotBefore: S3 gives whole seconds, and no two clocks agree.
	Skew = time.Minute
	// FirstPoll and LastPoll bound the time between two looks: each is twice as
	// long as the one before.
	FirstPoll = 500 * time.Millisecond
	LastPoll  = 5 * time.Second
)

var (
	// ErrInbox says that the inbox cannot be read and that no repetition helps.
	ErrInbox = errors.New("the inbox cannot be read")
	// ErrOptions says that no message can be what is waited for.
	ErrOptions = errors.New("no message can be what is waited for")
)

// Options say which message is waited for, and where.
type Options struct {
	// Inbox, if it is a mailstore.Watcher too, is looked at when it tells of
	// something new, and at every poll all the same: a hint may be lost.
	Inbox  mailstore.Inbox
	Wallet agentkeys.Wallet
	// Query.To is an address of Wallet's. Query.NotBefore is when the run
	// began; what came Skew before that still counts as the run's.
	Query verifymail.Query
	Rules verifymail.Rules
	// Known were there before the run began: none of them counts.
	Known []agentkeys.MessageID
	// Service is for the words of a *Timeout; it may be zero.
	Service agentkeys.Service

	// Permanent says of an error of Inbox that no repetition helps, such as a
	// session that may not read this. nil: none but fs.ErrPermission and
	// mailstore.ErrInvalid, which always are.
	Permanent func(error) bool
	// Progress, if set, is told after every look, by the caller's goroutine.
	Progress func(Seen)
	// First and Last are FirstPoll and LastPoll, unless set.
	First, Last time.Duration
}

// Found is the message that was waited for.
type Found struct {
	Item   mailstore.Item
	Result verifymail.Result
}

// Clear forgets the link and the code.
func (f Found) Clear() {
	f.Result.Link.Clear()
	f.Result.Code.Clear()
}

// Seen is what there is to tell after a look.
type Seen struct {
	Tally
	// Err is why the look is not complete: an error that another may not meet.
	Err error
	// Next is when another follows, unless the inbox tells of something new
	// before; beyond the deadline: none does.
	Next time.Duration
}

// Wait waits for the message until ctx ends. If that is by its deadline, the
// error is a *Timeout. Other errors are ctx's own, ErrInbox and ErrOptions.
func Wait(ctx context.Context, o Options) (Found, error) {
	s, err := newSearch(o)
	if err != nil {
		return Found{}, err
	}
	return s.wait(ctx)
}

// Find looks once. If the message is not there, the error is a *Timeout; if it
// cannot be told because something could not be read, it is why.
func Find(ctx context.Context, o Options) (Found, error) {
	s, err := newSearch(o)
	if err != nil {
		return Found{}, err
	}
	err = s.look(ctx)
	switch found, ok := s.take(); {
	case ok:
		return found, nil
	case err != nil:
		return Found{}, s.final(err)
	}
	return Found{}, s.timeout(0)
}

// List goes through the inbox of w, in no order. After an error there is nothing
// more.
func List(ctx context.Context, inbox mailstore.Inbox, w agentkeys.Wallet) iter.Seq2[mailstore.Item, error] {
	if walker, ok := inbox.(mailstore.Walker); ok {
		return walker.Walk(ctx, w)
	}
	return func(yield func(mailstore.Item, error) bool) {
		var after agentkeys.MessageID
		for {
			page, err := inbox.List(ctx, w, after, mailstore.MaxPage)
			if err != nil {
				yield(mailstore.Item{}, err)
				return
			}
			for _, it := range page.Items {
				// A server that repeats itself would otherwise never end.
				if it.ID.String() <= after.String() {
					yield(mailstore.Item{}, errOrder)
					return
				}
				after = it.ID
				if !yield(it, nil) {
					return
				}
			}
			if !page.More {
				return
			}
			if len(page.Items) == 0 {
				yield(mailstore.Item{}, errOrder)
				return
			}
		}
	}
}

var errOrder = errors.New("the listing of the inbox goes in circles")

func (o *Options) check() error {
	bad := func(why string) error { return fmt.Errorf("%w: %s", ErrOptions, why) }
	switch {
	case o.Inbox == nil || o.Wallet.IsZero():
		return bad("no inbox or wallet is given")
	case o.Query.To.Wallet() != o.Wallet:
		// Its mail is in another inbox, or in none.
		return bad("the address is not of the wallet whose inbox it is")
	case o.First < 0 || o.Last < 0:
		return bad("a time between looks is negative")
	}
	// Better now than when the first message comes.
	_, err := verifymail.Extract(nil, o.Query, o.Rules)
	if no, ok := errors.AsType[*verifymail.Refusal](err); ok && no.Reason == verifymail.BadRules {
		return bad(no.Detail)
	}
	if o.First == 0 {
		o.First = FirstPoll
	}
	if o.Last == 0 {
		o.Last = LastPoll
	}
	o.Last = max(o.First, o.Last)
	return nil
}
