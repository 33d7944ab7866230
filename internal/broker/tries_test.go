package broker_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/broker"
	"github.com/litentry/agentkeys/internal/broker/brokertest"
	"github.com/litentry/agentkeys/internal/brokerapi"
)

// busy is a state of which others are always faster, so many times.
type busy struct {
	broker.State
	lose, lost atomic.Int64
}

func (s *busy) Apply(ctx context.Context, c broker.Change) ([]int64, error) {
	if s.lose.Add(-1) >= 0 {
		s.lost.Add(1)
		return nil, broker.ErrConflict
	}
	v, err := s.State.Apply(ctx, c)
	if errors.Is(err, broker.ErrConflict) {
		s.lost.Add(1)
	}
	return v, err
}

// TestTries: a change is recorded once, however often it is tried, and what is
// lost again and again ends.
func TestTries(t *testing.T) {
	w := brokertest.NewWorld(t)
	s := &busy{State: brokertest.SQLite(t, w)}
	b := w.Still(t, s)
	m := enter(t, w, b, "ada@example.org").master(t, w, b)
	if _, err := b.CreateAgent(t.Context(), m, ci); err != nil {
		t.Fatal(err)
	}
	svc := agentkeys.Must(agentkeys.ParseService("openrouter"))
	put := func() error {
		_, err := b.PutGrant(t.Context(), m, ci, svc, brokerapi.Terms{Expires: w.Clock.Now().Add(time.Hour)})
		return err
	}
	drop := func() error { return b.DeleteGrant(t.Context(), m, ci, svc) }
	counts := func(op string) string {
		return fmt.Sprint(w.Tape.Count(op, "allow"), w.Tape.Count(op, "done"), w.Tape.Count(op, "failed"))
	}
	for _, c := range []struct {
		op     string
		change func() error
		lose   int64
		lost   bool
		want   string // allow, done, failed
	}{
		{"grant.create", put, 3, false, "1 1 0"},
		{"grant.create", put, 1000, true, "2 1 1"},
		{"grant.revoke", drop, 1000, true, "1 0 1"},
		{"grant.revoke", drop, 3, false, "2 1 1"},
	} {
		s.lost.Store(0)
		s.lose.Store(c.lose)
		if err := c.change(); errors.Is(err, broker.ErrUnavailable) != c.lost || err != nil && !c.lost {
			t.Errorf("%s, %d lost: %v", c.op, c.lose, err)
		}
		if n := s.lost.Load(); n != min(c.lose, 20) {
			t.Errorf("%s, %d lost: tried and lost %d times", c.op, c.lose, n)
		}
		if got := counts(c.op); got != c.want {
			t.Errorf("%s, %d lost: recorded %s, want %s", c.op, c.lose, got, c.want)
		}
	}
}

// TestTurns: of one replica no changes to an account are in each other's way.
func TestTurns(t *testing.T) {
	w := brokertest.NewWorld(t)
	s := &busy{State: brokertest.SQLite(t, w)}
	b := w.Still(t, s)
	m := enter(t, w, b, "ada@example.org").master(t, w, b)
	if _, err := b.CreateAgent(t.Context(), m, ci); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 30 {
		svc := agentkeys.Must(agentkeys.ParseService(fmt.Sprint("s", i)))
		wg.Go(func() {
			if _, err := b.PutGrant(t.Context(), m, ci, svc, brokerapi.Terms{Expires: w.Clock.Now().Add(time.Hour)}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := s.lost.Load(); n != 0 {
		t.Errorf("%d tries were lost", n)
	}
}

// TestRevocationDoesNotWait: nor for an account's changes that do not end.
func TestRevocationDoesNotWait(t *testing.T) {
	w := brokertest.NewWorld(t)
	s := &stuck{State: brokertest.SQLite(t, w), free: make(chan struct{})}
	b := w.Still(t, s)
	m := enter(t, w, b, "ada@example.org").master(t, w, b)
	if _, err := b.CreateAgent(t.Context(), m, ci); err != nil {
		t.Fatal(err)
	}
	s.on.Store(true)
	svc := agentkeys.Must(agentkeys.ParseService("openrouter"))
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = b.PutGrant(t.Context(), m, ci, svc, brokerapi.Terms{Expires: w.Clock.Now().Add(time.Hour)})
	})
	for s.on.Load() { // until it has taken its turn
		time.Sleep(time.Millisecond)
	}
	if err := b.RemoveAgent(t.Context(), m, ci); err != nil {
		t.Error(err)
	}
	close(s.free)
	wg.Wait()
}

// stuck is a state that holds up one change until it is let free.
type stuck struct {
	broker.State
	on   atomic.Bool
	free chan struct{}
}

func (s *stuck) Apply(ctx context.Context, c broker.Change) ([]int64, error) {
	if s.on.Swap(false) {
		<-s.free
	}
	return s.State.Apply(ctx, c)
}
