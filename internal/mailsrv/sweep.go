package mailsrv

import (
	"context"
	"crypto/sha256"
	"iter"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/mailstore"
)

const (
	// sweepEvery is how often inbound/ is looked through for what nobody here
	// knows of: what was forgotten at a bound, and what another server, which
	// shares the store and was ended, has left.
	sweepEvery = 10 * time.Minute
	// missedAfter is how soon that is done where it is known to be needed.
	missedAfter = 5 * time.Second
	// listPatience bounds one page of a listing.
	listPatience = time.Minute
)

// sweeper finds what waits in inbound/.
type sweeper struct {
	waiting func(ctx context.Context, after agentkeys.MessageID, limit int) (mailstore.Page, error)
	walk    func(context.Context) iter.Seq2[mailstore.Item, error] // in its place, if not nil
	office  *office
	every   time.Duration // sweepEvery
	missed  time.Duration // missedAfter
	done    func(found int)
	failed  func(error)
}

// run sweeps at once, and then every so often, until ctx ends.
func (s *sweeper) run(ctx context.Context) {
	for failures := 0; ; {
		found, err := s.sweep(ctx)
		if ctx.Err() != nil {
			return
		}
		wait := s.every
		if err != nil {
			s.failed(err)
			wait = min(backOff(failures), s.every)
			failures++
		} else {
			s.done(found)
			failures = 0
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		case <-s.office.missed:
			// Not at once: as long as more comes than is handled, the sweep
			// would only stand in its way.
			timer.Reset(min(wait, s.missed))
			select {
			case <-ctx.Done():
			case <-timer.C:
			}
			timer.Stop()
		}
	}
}

// sweep walks through inbound/ once, and hands over what it finds as fast as it
// is handled.
func (s *sweeper) sweep(ctx context.Context) (found int, err error) {
	if s.walk != nil {
		for item, err := range s.walk(ctx) {
			if err != nil {
				return found, err
			}
			if s.office.find(ctx, item.ID) {
				found++
			}
		}
		return found, ctx.Err()
	}
	var after agentkeys.MessageID
	for {
		page, err := s.page(ctx, after)
		if err != nil {
			return found, err
		}
		for _, item := range page.Items {
			if s.office.find(ctx, item.ID) {
				found++
			}
			after = item.ID
		}
		if ctx.Err() != nil || !page.More || len(page.Items) == 0 {
			return found, ctx.Err()
		}
	}
}

func (s *sweeper) page(ctx context.Context, after agentkeys.MessageID) (mailstore.Page, error) {
	ctx, stop := context.WithTimeout(ctx, listPatience)
	defer stop()
	return s.waiting(ctx, after, mailstore.MaxPage)
}

// mostPassed is how many ignored messages are remembered, at some 50 bytes
// each. Those beyond are read again by each sweep, which does no harm.
const mostPassed = 1 << 20

// passed remembers which messages were ignored, so that a sweep costs the same
// however many there are. Ids are anybody's to choose where SES is not the one
// who does, so their digests are kept: all of one size.
type passed map[[16]byte]struct{}

func (p *passed) add(id agentkeys.MessageID) {
	if *p == nil {
		*p = passed{}
	}
	if len(*p) < mostPassed {
		(*p)[digest(id)] = struct{}{}
	}
}

func (p passed) has(id agentkeys.MessageID) bool {
	_, ok := p[digest(id)]
	return ok
}

func digest(id agentkeys.MessageID) [16]byte {
	sum := sha256.Sum256([]byte(id.String()))
	return [16]byte(sum[:16])
}
