package mailsrv

import (
	"container/heap"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"

	"github.com/litentry/agentkeys"
)

const (
	// workers is how many messages are handled at once: each waits for the
	// store most of the time.
	workers = 8
	// mostFresh is how many messages that have just come may wait to be handled.
	mostFresh = 1024
	// mostLater is how many are remembered that could not be handled and are
	// tried again. Those of one flooded wallet must not keep out others' mail,
	// so what is beyond is left to the next sweep.
	mostLater = 4096
	// soonest and latest bound the time between two tries of one message.
	soonest, latest = time.Second, 10 * time.Minute
)

// verdict is what became of a try.
type verdict int

const (
	again   verdict = iota // not decided, or not done: try again
	settled                // it is where it belongs
	ignored                // it stays in inbound/, and would the next time too
)

// post is a message on its way.
type post struct {
	id         agentkeys.MessageID
	recipients []string // of its envelope, as the receiver says; nil: unknown
	tries      int
	due        time.Time
}

// office handles messages that are in inbound/: those that have just come, and
// those that a crash, an outage or a limit left there. What it forgets, at its
// bounds or its end, is in the store all the same, for the next sweep.
type office struct {
	handle func(context.Context, *post) verdict
	now    func() time.Time
	log    *slog.Logger

	fresh  chan *post // from receivers
	swept  chan *post // from sweeps
	due    chan *post // from later
	wake   chan struct{}
	missed chan struct{} // something was forgotten: a sweep has to find it

	mu     sync.Mutex
	closed bool
	held   map[agentkeys.MessageID]bool // every post that is somewhere in here
	later  byTime
	passed passed
}

func newOffice(handle func(context.Context, *post) verdict, now func() time.Time, log *slog.Logger) *office {
	return &office{
		handle: handle, now: now, log: log,
		fresh: make(chan *post, mostFresh), swept: make(chan *post), due: make(chan *post),
		wake: make(chan struct{}, 1), missed: make(chan struct{}, 1),
		held: map[agentkeys.MessageID]bool{},
	}
}

// take takes a message that is in the store. It never waits: a sender must not
// be kept for what is the owner's affair.
func (o *office) take(id agentkeys.MessageID, recipients []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || o.held[id] {
		return
	}
	select {
	case o.fresh <- &post{id: id, recipients: recipients}:
		o.held[id] = true
	default:
		signal(o.missed)
	}
}

// find is take for a sweep, which waits until somebody has time. What is here
// already, or was ignored before, is not taken again.
func (o *office) find(ctx context.Context, id agentkeys.MessageID) (taken bool) {
	o.mu.Lock()
	if o.closed || o.held[id] || o.passed.has(id) {
		o.mu.Unlock()
		return false
	}
	o.held[id] = true
	o.mu.Unlock()
	select {
	case o.swept <- &post{id: id}:
		return true
	case <-ctx.Done():
		o.mu.Lock()
		delete(o.held, id)
		o.mu.Unlock()
		return false
	}
}

// size is how many messages are here, and how many of them wait to be tried
// again.
func (o *office) size() (held, later int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.held), len(o.later)
}

// run handles messages until ctx ends, and then those that have just come,
// for as long as until lasts.
func (o *office) run(ctx, until context.Context) {
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() { o.work(ctx, until) })
	}
	wg.Go(func() { o.clock(ctx) })
	<-ctx.Done()
	o.mu.Lock()
	o.closed = true
	close(o.fresh)
	o.mu.Unlock()
	wg.Wait()
}

func (o *office) work(ctx, until context.Context) {
	for {
		select {
		case p := <-o.swept:
			o.try(until, p)
		case p := <-o.due:
			o.try(until, p)
		case p, ok := <-o.fresh:
			if !ok {
				return
			}
			if until.Err() == nil {
				o.try(until, p)
			}
		case <-ctx.Done():
			for p := range o.fresh {
				if until.Err() == nil {
					o.try(until, p)
				}
			}
			return
		}
	}
}

// try handles a message once. Mail is anybody's: one that makes the program
// panic must not end it, since it would do so again at every start.
func (o *office) try(ctx context.Context, p *post) {
	v := again
	func() {
		defer func() {
			if r := recover(); r != nil {
				// Its value may hold what the message held.
				o.log.Error("panic", "message", p.id.String(), "type", fmt.Sprintf("%T", r), "stack", string(debug.Stack()))
			}
		}()
		v = o.handle(ctx, p)
	}()
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case v == ignored:
		o.passed.add(p.id)
		delete(o.held, p.id)
	case v == settled || ctx.Err() != nil:
		delete(o.held, p.id)
	case len(o.later) >= mostLater:
		delete(o.held, p.id)
	default:
		p.due = o.now().Add(backOff(p.tries))
		p.tries++
		heap.Push(&o.later, p)
		signal(o.wake)
	}
}

// backOff doubles with each try, less up to a half, so that what an outage
// stopped does not come back all at once.
func backOff(tries int) time.Duration {
	d := latest
	if tries < 16 {
		d = min(soonest<<tries, latest)
	}
	return d - rand.N(d/2)
}

// clock hands over what is due.
func (o *office) clock(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-o.wake:
		}
		for {
			o.mu.Lock()
			if len(o.later) == 0 {
				o.mu.Unlock()
				break
			}
			if wait := o.later[0].due.Sub(o.now()); wait > 0 {
				o.mu.Unlock()
				timer.Reset(wait)
				break
			}
			p := heap.Pop(&o.later).(*post)
			o.mu.Unlock()
			select {
			case o.due <- p:
			case <-ctx.Done():
				return
			}
		}
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// byTime is a heap of posts, the one that is due first on top.
type byTime []*post

func (h byTime) Len() int           { return len(h) }
func (h byTime) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h byTime) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *byTime) Push(x any)        { *h = append(*h, x.(*post)) }
func (h *byTime) Pop() any {
	old := *h
	p := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return p
}
