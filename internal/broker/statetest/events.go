package statetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/broker"
)

func testEvents(t *testing.T, w *world) {
	ctx := t.Context()
	if last, err := w.Last(ctx); err != nil || last != 0 {
		t.Errorf("of an empty state the last event is %d, %v", last, err)
	}
	if events, err := w.Events(ctx, 0, 10); err != nil || len(events) > 0 {
		t.Errorf("%v, %v", events, err)
	}
	for i := range 5 {
		applied(t, w, broker.Change{
			Writes: []broker.Write{{Key: key(fmt.Sprint(i)), Value: []byte("x")}},
			Events: []broker.NewEvent{{Topic: "a", Value: eventValue(2 * i)}, {Topic: "b", Value: eventValue(2*i + 1)}},
		})
		w.move(time.Second)
	}
	// A refused change tells nothing.
	w.refuses("create again", broker.ErrConflict, broker.Write{Key: key("0"), Value: []byte("x")})
	applied(t, w, broker.Change{Events: []broker.NewEvent{{Topic: "c"}}})

	all, err := w.Events(ctx, 0, broker.MaxList)
	if err != nil || len(all) != 11 {
		t.Fatalf("%d events, %v", len(all), err)
	}
	before := int64(0)
	for i, e := range all {
		want := broker.Event{Seq: e.Seq, Topic: []string{"a", "b"}[i%2], Value: eventValue(i), At: w.in(time.Duration(i/2-5) * time.Second)}
		if i == 10 {
			want.Topic, want.Value = "c", nil
		}
		if e.Seq != before+1 || e.Topic != want.Topic || string(e.Value) != string(want.Value) || !e.At.Equal(want.At) {
			t.Errorf("event %d is %+v, want %+v behind %d", i, e, want, before)
		}
		before = e.Seq
	}
	if last, err := w.Last(ctx); err != nil || last != before {
		t.Errorf("the last is %d, %v, want %d", last, err, before)
	}
	for i := range all {
		some, err := w.Events(ctx, all[i].Seq, 3)
		if err != nil || !slices.EqualFunc(some, all[i+1:min(i+4, len(all))], func(a, b broker.Event) bool { return a.Seq == b.Seq }) {
			t.Errorf("after %d: %v, %v", all[i].Seq, some, err)
		}
	}
	if beyond, err := w.Events(ctx, before+100, 3); err != nil || len(beyond) > 0 {
		t.Errorf("%v, %v", beyond, err)
	}
}

// testEventsInOrder has several write events while others follow them: who
// follows has missed nothing in the end.
func testEventsInOrder(t *testing.T, w *world) {
	const writers, each = 6, 25
	var wg sync.WaitGroup
	replicas := []broker.State{w.State, w.replica()}
	total := 0
	for n := range writers {
		for i := range each {
			total += 1 + (n+i)%3
		}
	}
	followed := make([][]int64, 3)
	for f := range followed {
		s := replicas[f%2]
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			after := int64(0)
			for len(followed[f]) < total {
				if f == 2 {
					if err := s.Wait(ctx, after); err != nil {
						t.Errorf("wait: %v, with %d of %d events", err, len(followed[f]), total)
						return
					}
				}
				events, err := s.Events(ctx, after, 1+f*7)
				if err != nil {
					t.Errorf("events: %v, with %d of %d", err, len(followed[f]), total)
					return
				}
				for _, e := range events {
					if e.Seq != after+1 {
						t.Errorf("event %d came behind %d", e.Seq, after)
					}
					after = e.Seq
					followed[f] = append(followed[f], e.Seq)
				}
			}
		})
	}
	for n := range writers {
		wg.Go(func() {
			for i := range each {
				c := broker.Change{}
				for range 1 + (n+i)%3 {
					c.Events = append(c.Events, broker.NewEvent{Topic: fmt.Sprint("writer-", n), Value: eventValue(i)})
				}
				if i%2 == 0 {
					c.Writes = []broker.Write{{Key: key(fmt.Sprint(n, "-", i)), Value: []byte("x")}}
				}
				if _, err := replicas[n%2].Apply(t.Context(), c); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	all, err := w.Events(t.Context(), 0, broker.MaxList)
	if err != nil || len(all) != total {
		t.Fatalf("%d events, %v, want %d", len(all), err, total)
	}
	var seqs []int64
	of := map[string]string{}
	for _, e := range all {
		seqs = append(seqs, e.Seq)
		if n := fmt.Sprintf("%08s", e.Value[len("event "):]); n < of[e.Topic] {
			t.Errorf("%s of %s is behind %s", n, e.Topic, of[e.Topic])
		} else {
			of[e.Topic] = n
		}
	}
	for f := range followed {
		if !slices.Equal(followed[f], seqs) {
			t.Errorf("follower %d saw %v of %v", f, followed[f], seqs)
		}
	}
}

func testWait(t *testing.T, w *world) {
	applied(t, w, broker.Change{Events: []broker.NewEvent{{Topic: "a"}}})
	last, err := w.Last(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	within(t, "wait for what is there", func(ctx context.Context) error { return w.Wait(ctx, last-1) })

	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		for {
			err := w.Wait(ctx, last)
			if err != nil { // too early is allowed
				ended <- err
				return
			}
		}
	}()
	w.put("a", "no event", 0)
	cancel()
	select {
	case err := <-ended:
		fails(t, "wait", err, context.Canceled)
	case <-time.After(patience):
		t.Fatal("Wait does not end with its context")
	}
	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	for err = nil; err == nil; {
		err = w.Wait(short, last)
	}
	fails(t, "wait", err, context.DeadlineExceeded)
}

// testWaitAcross: two replicas wake each other, and many wait at once.
func testWaitAcross(t *testing.T, w *world) {
	const rounds = 10
	a, b := w.State, w.replica()
	var wg sync.WaitGroup
	for i, s := range []broker.State{a, b, a, b, a, b} {
		wg.Go(func() {
			within(t, fmt.Sprint("waiter ", i), func(ctx context.Context) error {
				after := int64(0)
				for heard := 0; heard < rounds; {
					if err := s.Wait(ctx, after); err != nil {
						return fmt.Errorf("after %d events: %w", heard, err)
					}
					events, err := s.Events(ctx, after, broker.MaxList)
					if err != nil {
						return err
					}
					for _, e := range events {
						heard++
						after = e.Seq
						if i < 2 && heard < rounds && heard%2 == i {
							if _, err := s.Apply(ctx, broker.Change{Events: []broker.NewEvent{{Topic: "next"}}}); err != nil {
								return err
							}
						}
					}
				}
				return nil
			})
		})
	}
	applied(t, a, broker.Change{Events: []broker.NewEvent{{Topic: "first"}}})
	wg.Wait()
}

func testClose(t *testing.T, w *world) {
	s := w.replica()
	w.put("a", "one", 0)
	waits := make(chan error, 1)
	go func() {
		for {
			if err := s.Wait(t.Context(), 1<<60); err != nil {
				waits <- err
				return
			}
		}
	}()
	// Calls under way end, each in one way.
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := 0; ; n++ {
				if _, err := s.Apply(t.Context(), broker.Change{Writes: []broker.Write{{Key: key(fmt.Sprint(i, "-", n)), Value: []byte("x")}}}); err != nil {
					return
				}
				if _, err := s.Get(t.Context(), key(fmt.Sprint(i, "-", n))); errors.Is(err, broker.ErrAbsent) {
					t.Error("acknowledged, and absent")
				} else if err != nil {
					return
				}
			}
		})
	}
	for {
		if items, err := s.List(t.Context(), "test", "7-", "", 2); err != nil || len(items) == 2 {
			break
		}
	}
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	wg.Wait()
	select {
	case err := <-waits:
		if errors.Is(err, context.Canceled) {
			t.Errorf("wait: %v", err)
		}
	case <-time.After(patience):
		t.Fatal("Wait does not end with Close")
	}
	if err := s.Close(); err != nil {
		t.Errorf("close again: %v", err)
	}
	if _, err := s.Get(t.Context(), key("a")); err == nil || errors.Is(err, broker.ErrAbsent) {
		t.Errorf("a closed state answers %v", err)
	}
	if _, err := s.Apply(t.Context(), broker.Change{Writes: []broker.Write{{Key: key("late"), Value: []byte("x")}}}); err == nil {
		t.Error("a closed state made a change")
	}
	if s.Ping(t.Context()) == nil {
		t.Error("a closed state would make changes")
	}
}

func testReopen(t *testing.T, w *world) {
	c := broker.Change{
		Writes: []broker.Write{
			{Key: key("a"), Value: []byte("one")}, {Key: key("b"), Value: []byte{}},
			{Key: key("c"), Value: []byte("three"), Expires: w.in(time.Minute)},
		},
		Events: []broker.NewEvent{{Topic: "a", Value: []byte("v")}, {Topic: "b"}},
	}
	versions := applied(t, w, c)
	newest := slices.Max(versions)
	gone := w.put("gone", "x", 0)
	w.apply(broker.Write{Key: key("gone"), Expect: gone})
	events, err := w.Events(t.Context(), 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		w.State = w.open()
		for i, wr := range c.Writes {
			if got := w.holds(wr.Key.Name, string(wr.Value)); got.Version != versions[i] || !got.Expires.Equal(wr.Expires) {
				t.Errorf("%+v, want version %d until %v", got, versions[i], wr.Expires)
			}
		}
		w.absent("gone")
		again, err := w.Events(t.Context(), 0, 10)
		if err != nil || fmt.Sprint(again) != fmt.Sprint(events) {
			t.Errorf("%v, %v, want %v", again, err, events)
		}
		if last, err := w.Last(t.Context()); err != nil || last != events[1].Seq {
			t.Errorf("the last event is %d, %v", last, err)
		}
		within(t, "wait for what is there", func(ctx context.Context) error { return w.Wait(ctx, events[0].Seq) })
	}
	v := w.put("gone", "x", 0)
	if v == gone || v <= newest {
		t.Errorf("version %d after %d and %d", v, newest, gone)
	}
	applied(t, w, broker.Change{Events: []broker.NewEvent{{Topic: "c"}}})
	if more, err := w.Events(t.Context(), events[1].Seq, 10); err != nil || len(more) != 1 {
		t.Errorf("%v, %v", more, err)
	}
}
