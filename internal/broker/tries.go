package broker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/litentry/agentkeys/internal/grant"
)

const (
	// maxTries is how often a change is tried while others change what it rests
	// on. Those of this replica take turns: what is left are other replicas.
	maxTries = 20
	// maxPause is the longest time between two tries.
	maxPause = 100 * time.Millisecond
	// maxTurn is how long a change waits for its turn. Turns spare work, and
	// nothing rests on them: one that takes longer must not hold up a revocation.
	maxTurn = 3 * time.Second
)

// tries is one change, over all tries at it: each entry is made once.
type tries struct {
	b      *Broker
	open   []grant.Event // recorded as allowed, the outcome not yet
	missed error         // why one of them could not be recorded
}

// change repeats f, which reads, decides and changes, for as long as others
// change what it rests on. Changes of the same lane, as an account, take turns.
func (b *Broker) change(ctx context.Context, lane string, f func(t *tries) error) error {
	defer b.lanes.enter(ctx, lane)()
	t := &tries{b: b}
	err := t.run(ctx, f)
	for _, e := range t.open {
		if nerr := b.note(context.WithoutCancel(ctx), e, grant.Failed, "it was changed meanwhile"); nerr != nil {
			b.o.Log.Error("an outcome could not be recorded", "op", e.Op, "err", nerr)
		}
	}
	return err
}

func (t *tries) run(ctx context.Context, f func(t *tries) error) error {
	var err error
	for n := range maxTries {
		if n > 0 {
			pause := min(time.Millisecond<<n, maxPause)
			select {
			case <-ctx.Done():
			case <-time.After(rand.N(pause)):
			}
		}
		if err = ctx.Err(); err != nil {
			break
		}
		if err = f(t); !errors.Is(err, ErrConflict) {
			return err
		}
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// record writes the entry before a change, and change makes it; the entry
// after says how that went, also when the caller is no longer there to hear it.
// A try that is lost leaves the entry before for the next.
func (t *tries) record(ctx context.Context, e grant.Event, change func() error) error {
	if !slices.Contains(t.open, e) {
		if err := t.b.note(ctx, e, grant.Allowed, ""); err != nil {
			return err
		}
		t.open = append(t.open, e)
	}
	return t.outcome(ctx, e, change())
}

// revoke is record for what must not fail open: the change is made whether or
// not it could be recorded before.
func (t *tries) revoke(ctx context.Context, e grant.Event, change func() error) error {
	if !slices.Contains(t.open, e) {
		if err := t.b.note(ctx, e, grant.Allowed, ""); err != nil {
			t.missed = err
		}
		t.open = append(t.open, e)
	}
	err := t.outcome(ctx, e, change())
	if err == nil && t.missed != nil {
		err = fmt.Errorf("it is revoked, but %w", t.missed)
	}
	return err
}

func (t *tries) outcome(ctx context.Context, e grant.Event, err error) error {
	if errors.Is(err, ErrConflict) {
		return err
	}
	t.open = slices.DeleteFunc(t.open, func(o grant.Event) bool { return o == e })
	decision, reason := grant.Done, ""
	if err != nil {
		decision, reason = grant.Failed, "the state does not answer: it may be made or not"
	}
	if rerr := t.b.note(context.WithoutCancel(ctx), e, decision, reason); err == nil && rerr != nil {
		return fmt.Errorf("it is done, but %w", rerr)
	}
	return err
}

// lanes are where changes that would be in each other's way take turns, in the
// order in which they come.
type lanes struct {
	mu  sync.Mutex
	all map[string]*lane
}

type lane struct {
	turn  chan struct{} // full while it is somebody's
	users int
}

// enter waits for a turn, for maxTurn at most.
func (l *lanes) enter(ctx context.Context, name string) (leave func()) {
	l.mu.Lock()
	if l.all == nil {
		l.all = map[string]*lane{}
	}
	a := l.all[name]
	if a == nil {
		a = &lane{turn: make(chan struct{}, 1)}
		l.all[name] = a
	}
	a.users++
	l.mu.Unlock()
	wait := time.NewTimer(maxTurn)
	defer wait.Stop()
	mine := false
	select {
	case a.turn <- struct{}{}:
		mine = true
	case <-ctx.Done():
	case <-wait.C:
	}
	return func() {
		if mine {
			<-a.turn
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if a.users--; a.users == 0 {
			delete(l.all, name)
		}
	}
}
