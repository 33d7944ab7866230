package mailbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/mailstore"
)

const (
	// gap is the shortest time between two looks, whatever the inbox tells:
	// mail that others send must not keep this at work.
	gap = 100 * time.Millisecond
	// lastLook is how long before the deadline the last look begins, so that
	// what came since the one before is not missed.
	lastLook = 2 * time.Second
	// maxTries is how often a look that met temporary errors is repeated when
	// there is a message that counts already. A newer one may be among what
	// could not be read; it may also never be readable.
	maxTries = 3
)

var errCrowded = fmt.Errorf("%w: it has more than a million messages of this run's time", ErrInbox)

func (s *search) wait(parent context.Context) (Found, error) {
	began := time.Now()
	ctx, stop := context.WithCancel(parent) // ends the watch
	defer stop()
	w := watch{wallet: s.o.Wallet}
	w.inbox, _ = s.o.Inbox.(mailstore.Watcher)
	delay, tries := s.o.First, 0
	for parent.Err() == nil {
		w.open(ctx) // before looking: what comes meanwhile is told
		err := s.look(ctx)
		if tries++; s.best == nil {
			tries = 0
		}
		if parent.Err() != nil {
			break
		}
		if err == nil || tries > maxTries || s.permanent(err) {
			if found, ok := s.take(); ok {
				return found, nil
			}
			if err != nil && s.permanent(err) {
				return Found{}, s.final(err)
			}
		}
		next := beforeDeadline(ctx, delay-rand.N(delay/4+1))
		if s.o.Progress != nil {
			s.o.Progress(Seen{Tally: s.tally.clone(), Err: err, Next: next})
		}
		if w.sleep(ctx, next) {
			delay = s.o.First
		} else {
			delay = min(2*delay, s.o.Last)
		}
	}
	return s.end(parent.Err(), time.Since(began))
}

// end is the end of a wait whose context ended.
func (s *search) end(over error, waited time.Duration) (Found, error) {
	found, ok := s.take()
	switch {
	case ok && errors.Is(over, context.DeadlineExceeded):
		return found, nil
	case ok:
		found.Clear() // nobody waits for it
		return Found{}, over
	case errors.Is(over, context.DeadlineExceeded):
		return Found{}, s.timeout(waited)
	}
	return Found{}, over
}

// beforeDeadline shortens a delay so that a last look has its time.
func beforeDeadline(ctx context.Context, delay time.Duration) time.Duration {
	at, ok := ctx.Deadline()
	if !ok {
		return delay
	}
	if left := time.Until(at) - lastLook; left > 0 {
		return min(delay, left)
	}
	// That was it. A hint may still come, and the deadline comes first.
	return max(time.Until(at), 0) + lastLook
}

// watch is the part of an inbox that tells of new mail, if it has one.
type watch struct {
	inbox  mailstore.Watcher
	wallet agentkeys.Wallet
	hints  <-chan struct{} // nil: there is no watch now
}

// open begins to watch, or again if the watch was lost. That it fails is no
// failure: polling finds the same, and meets the same error if it lasts.
func (w *watch) open(ctx context.Context) {
	if w.inbox == nil || w.hints != nil {
		return
	}
	if hints, err := w.inbox.Watch(ctx, w.wallet); err == nil {
		w.hints = hints
	}
}

// sleep waits for d or for a hint, and says whether it was one.
func (w *watch) sleep(ctx context.Context, d time.Duration) (hinted bool) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	early := time.NewTimer(min(gap, d))
	defer early.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-early.C:
	}
	for {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			return false
		case _, ok := <-w.hints:
			if ok {
				return true
			}
			w.hints = nil // lost: the next look opens another
		}
	}
}

func (s *search) permanent(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, mailstore.ErrInvalid) || errors.Is(err, ErrInbox) ||
		s.o.Permanent != nil && s.o.Permanent(err)
}

// final says of a permanent error that it is one.
func (s *search) final(err error) error {
	if s.permanent(err) && !errors.Is(err, ErrInbox) {
		return fmt.Errorf("%w: %w", ErrInbox, err)
	}
	return err
}
