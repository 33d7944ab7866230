package mailbox

import (
	"context"
	"errors"
	"hash/maphash"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/mailstore"
	"github.com/litentry/agentkeys/internal/verifymail"
)

// maxJudged bounds what is remembered, at about 16 bytes for each message.
const maxJudged = 1 << 20

// search is the state of one Wait or Find.
type search struct {
	o    Options
	from time.Time // what came before is not of this run; zero: all is
	best *Found    // the newest that counts

	// judged holds what need not be read again, as hashes of ids: those are up
	// to 128 bytes each. That two are alike, and the second is overlooked, is
	// one chance in 10¹³ with a million messages.
	judged map[uint64]struct{}
	seed   maphash.Seed
	tally  Tally
	last   error // of the last look, nil if it was complete
}

func newSearch(o Options) (*search, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	s := &search{o: o, judged: map[uint64]struct{}{}, seed: maphash.MakeSeed(), tally: Tally{Refused: map[verifymail.Reason]int{}}}
	if !o.Query.NotBefore.IsZero() {
		s.from = o.Query.NotBefore.Add(-Skew)
		s.o.Query.NotBefore = s.from
	}
	for _, id := range o.Known {
		if err := s.remember(id); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// look goes through the whole inbox once and judges what is new. After an error
// that is temporary another look does what is left.
func (s *search) look(ctx context.Context) error {
	before := s.tally
	s.tally.Older, s.tally.Unread = 0, 0
	err := s.through(ctx)
	if ctx.Err() != nil {
		// What was counted half way says nothing.
		s.tally.Older, s.tally.Unread = before.Older, before.Unread
		return err
	}
	s.last = err
	return err
}

func (s *search) through(ctx context.Context) (unread error) {
	for it, err := range List(ctx, s.o.Inbox, s.o.Wallet) {
		switch {
		case err != nil:
			return err
		case !s.from.IsZero() && it.At.Before(s.from):
			s.tally.Older++
			continue
		case s.known(it.ID):
			continue
		}
		err := s.judge(ctx, it)
		switch {
		case err == nil:
			err = s.remember(it.ID)
		case ctx.Err() == nil && !s.permanent(err):
			// The others may be readable.
			s.tally.Unread++
			unread, err = err, nil
		}
		if err != nil {
			return err
		}
	}
	return unread
}

// judge reads one message. An error says that it is not known yet what it is.
func (s *search) judge(ctx context.Context, it mailstore.Item) error {
	if it.Size > MaxRead {
		s.refuse(verifymail.TooLarge)
		return nil
	}
	msg, err := s.o.Inbox.Fetch(ctx, s.o.Wallet, it.ID, MaxRead)
	switch {
	case errors.Is(err, mailstore.ErrTooLarge):
		s.refuse(verifymail.TooLarge)
		return nil
	case errors.Is(err, mailstore.ErrGone):
		s.refuse(Gone)
		return nil
	case err != nil:
		return err
	}
	result, err := verifymail.Extract(msg, s.o.Query, s.o.Rules)
	clear(msg) // it has the link or code in it
	if no, ok := errors.AsType[*verifymail.Refusal](err); ok {
		s.refuse(no.Reason)
		return nil
	}
	if err != nil {
		return err
	}
	s.offer(Found{Item: it, Result: result})
	return nil
}

func (s *search) refuse(why verifymail.Reason) { s.tally.Refused[why]++ }

// offer keeps the newest of what counts, and forgets the other.
func (s *search) offer(f Found) {
	if s.best == nil {
		s.best = &f
		return
	}
	s.tally.Superseded++
	if newer(f, *s.best) {
		*s.best, f = f, *s.best
	}
	f.Clear()
}

// take gives away the best.
func (s *search) take() (Found, bool) {
	if s.best == nil {
		return Found{}, false
	}
	f := *s.best
	s.best = nil
	return f, true
}

// newer says which of two messages is. What counts is when the receiver took
// it: a router may have sorted the older one last. Within a second, which is
// all that a Received line tells, the store's clock decides, then the ids, so
// that every look decides alike.
func newer(a, b Found) bool {
	if c := a.Result.Verdicts.At.Compare(b.Result.Verdicts.At); c != 0 {
		return c > 0
	}
	if c := a.Item.At.Compare(b.Item.At); c != 0 {
		return c > 0
	}
	return a.Item.ID.String() > b.Item.ID.String()
}

func (s *search) known(id agentkeys.MessageID) bool {
	_, ok := s.judged[maphash.String(s.seed, id.String())]
	return ok
}

func (s *search) remember(id agentkeys.MessageID) error {
	if len(s.judged) == maxJudged {
		return errCrowded
	}
	s.judged[maphash.String(s.seed, id.String())] = struct{}{}
	return nil
}
