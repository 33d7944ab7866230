package smtpin

import (
	"context"
	"sync"
	"time"

	"github.com/litentry/agentkeys"
)

// deliverer tells the owner of what is in the spool. Its queue is short: a full
// one makes senders wait for their 250, which slows them down.
type deliverer struct {
	call  func(context.Context, agentkeys.MessageID, string) error
	limit time.Duration
	log   func(id agentkeys.MessageID)
	ctx   context.Context
	queue chan arrival
	wg    sync.WaitGroup

	mu      sync.RWMutex // held to write by stop alone
	stopped bool
}

type arrival struct {
	id   agentkeys.MessageID
	rcpt string
}

func newDeliverer(ctx context.Context, c Config) *deliverer {
	d := &deliverer{call: c.Deliver, limit: c.Limits.Deliver, ctx: ctx, queue: make(chan arrival, 64)}
	d.log = func(id agentkeys.MessageID) { c.Log.Warn("mail: not delivered yet", "id", id.String()) }
	if c.Deliver == nil {
		return d
	}
	for range 4 {
		d.wg.Go(func() {
			for a := range d.queue {
				ctx, cancel := context.WithTimeout(d.ctx, d.limit)
				if err := d.call(ctx, a.id, a.rcpt); err != nil {
					d.log(a.id)
				}
				cancel()
			}
		})
	}
	return d
}

// give passes a message on. After stop it is left to whoever looks through the
// spool.
func (d *deliverer) give(id agentkeys.MessageID, rcpt string) {
	if d.call == nil {
		return
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.stopped {
		return
	}
	select {
	case d.queue <- arrival{id, rcpt}:
	case <-d.ctx.Done():
	}
}

// stop waits for what is in the queue, until ctx ends; then calls are cancelled.
func (d *deliverer) stop(ctx context.Context) error {
	d.mu.Lock()
	if !d.stopped {
		d.stopped = true
		close(d.queue)
	}
	d.mu.Unlock()
	done := make(chan struct{})
	go func() { d.wg.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
