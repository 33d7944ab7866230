package statetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/broker"
)

func (w *world) lend(name, value string, expect int64, expires time.Time) int64 {
	w.t.Helper()
	return w.apply(broker.Write{Key: key(name), Expect: expect, Value: []byte(value), Expires: expires})[0]
}

func testExpiry(t *testing.T, w *world) {
	v := w.lend("a", "one", 0, w.in(time.Second))
	w.put("b", "stays", 0)
	w.move(999 * time.Millisecond)
	i := w.holds("a", "one")
	if !i.Expires.Equal(w.in(time.Millisecond)) {
		t.Errorf("expires %v, want %v", i.Expires, w.in(time.Millisecond))
	}
	if got := names(t, w, "test", "", 10); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("%v", got)
	}
	w.apply(broker.Write{Key: key("a"), Expect: v, Check: true})
	w.refuses("create before the end", broker.ErrConflict, broker.Write{Key: key("a"), Value: []byte("x")})

	w.move(time.Millisecond)
	w.absent("a")
	if got := names(t, w, "test", "", 1); !slices.Equal(got, []string{"b"}) {
		t.Errorf("%v", got)
	}
	w.refuses("check what expired", broker.ErrConflict, broker.Write{Key: key("a"), Expect: v, Check: true})
	w.refuses("replace what expired", broker.ErrConflict, broker.Write{Key: key("a"), Expect: v, Value: []byte("x")})
	w.refuses("delete what expired", broker.ErrConflict, broker.Write{Key: key("a"), Expect: v})
	w.apply(broker.Write{Key: key("a")}, broker.Write{Key: key("c"), Check: true})
	again := w.put("a", "two", 0)
	if again == v {
		t.Errorf("version %d again", v)
	}
	if i := w.holds("a", "two"); !i.Expires.IsZero() {
		t.Errorf("the end of the expired one, %v, is kept", i.Expires)
	}
	// A write without an end takes one away.
	v = w.lend("a", "three", again, w.in(time.Second))
	w.put("a", "four", v)
	w.move(time.Hour)
	w.holds("a", "four")
	// What ends in the past is never seen.
	w.lend("d", "past", 0, w.now())
	w.absent("d")
	w.lend("d", "past", 0, w.in(-time.Hour))
	w.absent("d")
	// Less than a millisecond does not count.
	w.lend("e", "one", 0, w.in(time.Millisecond+999*time.Microsecond))
	if i := w.holds("e", "one"); !i.Expires.Equal(w.in(time.Millisecond)) {
		t.Errorf("expires %v", i.Expires)
	}
	w.move(time.Millisecond)
	w.absent("e")
	// Ends as far as there are some.
	w.lend("f", "one", 0, time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC))
	w.holds("f", "one")
}

func testSweep(t *testing.T, w *world) {
	ctx := t.Context()
	const n = 1200 // more than a sweep may take at once
	for from := 0; from < n; from += broker.MaxChanges {
		var c broker.Change
		for i := from; i < min(from+broker.MaxChanges, n); i++ {
			c.Writes = append(c.Writes, broker.Write{Key: key(fmt.Sprint("gone-", i)), Value: []byte("x"), Expires: w.in(time.Minute)})
			c.Events = append(c.Events, broker.NewEvent{Topic: "old"})
		}
		applied(t, w, c)
	}
	v := w.lend("a", "one", 0, w.in(time.Minute))
	w.lend("b", "later", 0, w.in(time.Hour*48))
	w.put("c", "never", 0)
	if err := w.Sweep(ctx); err != nil {
		t.Fatal(err)
	}
	w.holds("a", "one")
	w.move(23 * time.Hour)
	applied(t, w, broker.Change{Events: []broker.NewEvent{{Topic: "young"}}})
	last, err := w.Last(ctx)
	if err != nil || last < n+1 {
		t.Fatalf("%d %v", last, err)
	}
	if err := w.Sweep(ctx); err != nil {
		t.Fatal(err)
	}
	if events, err := w.Events(ctx, 0, broker.MaxList); err != nil || len(events) != broker.MaxList {
		t.Errorf("%d events within the day, %v", len(events), err)
	}
	w.move(time.Hour + time.Millisecond)
	if err := w.Sweep(ctx); err != nil {
		t.Fatal(err)
	}
	events, err := w.Events(ctx, 0, broker.MaxList)
	if err != nil || len(events) != 1 || events[0].Seq != last || events[0].Topic != "young" {
		t.Errorf("after a day: %v, %v", events, err)
	}
	if got := names(t, w, "test", "", 10); !slices.Equal(got, []string{"b", "c"}) {
		t.Errorf("%v", got)
	}
	if again := w.put("a", "two", 0); again == v {
		t.Errorf("version %d again after a sweep", v)
	}
	// The clock may have been wrong: what was swept is gone all the same.
	w.move(-24 * time.Hour)
	w.absent("gone-0")
	w.move(72 * time.Hour)
	if err := w.Sweep(ctx); err != nil {
		t.Fatal(err)
	}
	if now, err := w.Last(ctx); err != nil || now != last {
		t.Errorf("with all events swept the last is %d, %v, want %d", now, err, last)
	}
	applied(t, w, broker.Change{Events: []broker.NewEvent{{Topic: "new"}}})
	if events, err := w.Events(ctx, last, 10); err != nil || len(events) != 1 || events[0].Seq <= last {
		t.Errorf("after %d: %v, %v", last, events, err)
	}
}
