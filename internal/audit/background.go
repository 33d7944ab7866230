package audit

import (
	"fmt"
	"time"
)

// noteDelay is how long a noted entry may wait for the disk when nobody
// records anything.
const noteDelay = 50 * time.Millisecond

// stop makes err the reason for which nothing is written any more, unless
// there is one already, and returns the reason.
func (l *Log) stop(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = fmt.Errorf("%w: %w", ErrStopped, err)
	}
	return l.err
}

// background flushes what was only noted and publishes what is durable. It
// sleeps while nothing happens.
func (l *Log) background() {
	defer close(l.gone)
	var flush, sign <-chan time.Time
	for {
		select {
		case <-l.quit:
			return
		case <-l.noted:
			if flush == nil {
				flush = time.After(noteDelay)
			}
		case <-l.dirty:
			if sign == nil {
				sign = time.After(l.opts.CheckpointEvery)
			}
		case <-l.full:
			// An error stops the log, and the next caller is told.
			if _, err := l.publish(false); err != nil {
				continue
			}
			if err := l.journal.prepare(); err != nil {
				_ = l.stop(err)
			}
		case <-flush:
			flush = nil
			_ = l.sync()
		case <-sign:
			sign = nil
			_, _ = l.publish(true)
		}
	}
}

// poke wakes a receiver that is not awake already.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
