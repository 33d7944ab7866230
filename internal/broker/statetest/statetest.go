// Package statetest owns the exam that every broker.State takes, with its
// contention and its crashes. It is for tests only, and depends on broker and
// the standard library.
package statetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/broker"
)

// Place is where a state is kept: each call opens it, by a clock. Of a state
// that is not shared, only one is open at a time.
type Place func(now func() time.Time) (broker.State, error)

// Conformance shows that a backend keeps the promises of broker.State. fresh
// makes an empty place, and is called once in each subtest.
func Conformance(t *testing.T, fresh func(t *testing.T) Place) {
	for _, c := range []struct {
		name string
		test func(*testing.T, *world)
	}{
		{"Conditions", testConditions},
		{"Whole", testWhole},
		{"Refusals", testRefusals},
		{"Sizes", testSizes},
		{"OwnBytes", testOwnBytes},
		{"CancelledContext", testCancelled},
		{"Expiry", testExpiry},
		{"Sweep", testSweep},
		{"OddNames", testOddNames},
		{"Pages", testPages},
		{"Events", testEvents},
		{"EventsInOrder", testEventsInOrder},
		{"Wait", testWait},
		{"WaitAcross", testWaitAcross},
		{"Close", testClose},
		{"Reopen", testReopen},
		{"RacingConsumptions", testRacingConsumptions},
		{"RacingCreations", testRacingCreations},
		{"Skew", testSkew},
		{"Crossing", testCrossing},
		{"NoLostUpdate", testNoLostUpdate},
		{"Linearizable", testLinearizable},
		{"NeverTorn", testNeverTorn},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := &world{t: t, place: fresh(t)}
			w.at.Store(time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC).UnixMilli())
			w.State = w.open()
			c.test(t, w)
		})
	}
}

// patience is for what must come, however slow the machine.
const patience = time.Minute

// world is an open state with the clock it goes by.
type world struct {
	broker.State
	t     *testing.T
	place Place
	clock
}

// open opens the place once more.
func (w *world) open() broker.State {
	w.t.Helper()
	s, err := w.place(w.now)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = s.Close() })
	return s
}

// replica returns another way to the same state: of another replica, if there
// can be one.
func (w *world) replica() broker.State {
	w.t.Helper()
	if !w.Shared() {
		return w.State
	}
	return w.open()
}

func key(name string) broker.Key { return broker.Key{Kind: "test", Name: name} }

// apply makes a change that must succeed.
func (w *world) apply(writes ...broker.Write) []int64 {
	w.t.Helper()
	return applied(w.t, w.State, broker.Change{Writes: writes})
}

func applied(t *testing.T, s broker.State, c broker.Change) []int64 {
	t.Helper()
	v, err := s.Apply(t.Context(), c)
	if err != nil {
		t.Fatalf("apply: %v", err)
	}
	if len(v) != len(c.Writes) {
		t.Fatalf("%d versions of %d writes", len(v), len(c.Writes))
	}
	return v
}

// put makes or replaces an item.
func (w *world) put(name, value string, expect int64) int64 {
	w.t.Helper()
	v := w.apply(broker.Write{Key: key(name), Expect: expect, Value: []byte(value)})[0]
	if v <= 0 || v == expect {
		w.t.Fatalf("%s: version %d after %d", name, v, expect)
	}
	return v
}

// refuses demands that a change fails with want.
func (w *world) refuses(what string, want error, writes ...broker.Write) {
	w.t.Helper()
	v, err := w.Apply(w.t.Context(), broker.Change{Writes: writes, Events: []broker.NewEvent{{Topic: "refused"}}})
	fails(w.t, what, err, want)
	if v != nil {
		w.t.Errorf("%s: versions %v of a refused change", what, v)
	}
}

func (w *world) holds(name, want string) broker.Item {
	w.t.Helper()
	i, err := w.Get(w.t.Context(), key(name))
	if err != nil || string(i.Value) != want || i.Key != key(name) || i.Version <= 0 {
		w.t.Fatalf("get %s: %+v, %v, want %q", name, i, err, want)
	}
	return i
}

func (w *world) absent(name string) {
	w.t.Helper()
	i, err := w.Get(w.t.Context(), key(name))
	fails(w.t, "get "+name, err, broker.ErrAbsent)
	if i.Version != 0 || i.Value != nil {
		w.t.Errorf("get %s: %+v beside an error", name, i)
	}
}

// names lists a kind page by page, and checks what every listing promises.
func names(t *testing.T, s broker.State, kind, prefix string, limit int) (all []string) {
	t.Helper()
	after := ""
	for {
		page, err := s.List(t.Context(), kind, prefix, after, limit)
		if err != nil {
			t.Fatalf("list: %v", err)
		}
		if len(page) > limit {
			t.Fatalf("%d items for limit %d", len(page), limit)
		}
		for _, i := range page {
			if i.Key.Kind != kind || i.Key.Name <= after || i.Version <= 0 {
				t.Fatalf("listed after %s/%s: %+v", kind, after, i)
			}
			after = i.Key.Name
			all = append(all, after)
		}
		if len(page) < limit {
			return all
		}
	}
}

func fails(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

// race runs n calls at once and returns which of them succeeded; the others
// must have failed with ErrConflict.
func race(t *testing.T, n int, call func(i int) error) (won []int) {
	t.Helper()
	errs := make([]error, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = call(i)
		})
	}
	close(start)
	wg.Wait()
	for i, err := range errs {
		if err == nil {
			won = append(won, i)
		} else if !errors.Is(err, broker.ErrConflict) {
			t.Errorf("racer %d: %v", i, err)
		}
	}
	return won
}

// within calls f with a context that ends before the test would hang.
func within(t *testing.T, what string, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := f(ctx); err != nil {
		t.Errorf("%s: %v", what, err)
	}
}

func eventValue(n int) []byte { return fmt.Appendf(nil, "event %d", n) }
