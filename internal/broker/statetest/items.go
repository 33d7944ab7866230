package statetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/broker"
)

func testConditions(t *testing.T, w *world) {
	w.absent("a")
	w.refuses("replace nothing", broker.ErrConflict, broker.Write{Key: key("a"), Expect: 1, Value: []byte("x")})
	w.refuses("delete nothing", broker.ErrConflict, broker.Write{Key: key("a"), Expect: 1})
	w.refuses("check nothing", broker.ErrConflict, broker.Write{Key: key("a"), Expect: 1, Check: true})
	for what, demand := range map[string]broker.Write{
		"demand absence": {Key: key("a")}, "check absence": {Key: key("a"), Check: true},
		"check absence, with a value": {Key: key("a"), Check: true, Value: []byte("x")},
	} {
		if v := w.apply(demand); v[0] != 0 {
			t.Errorf("%s: version %d", what, v[0])
		}
		w.absent("a")
	}

	v1 := w.put("a", "one", 0)
	if i := w.holds("a", "one"); i.Version != v1 || !i.Expires.IsZero() {
		t.Errorf("%+v, want version %d and no end", i, v1)
	}
	w.refuses("create again", broker.ErrConflict, broker.Write{Key: key("a"), Value: []byte("x")})
	w.refuses("demand absence of what is there", broker.ErrConflict, broker.Write{Key: key("a")})
	w.refuses("check absence of what is there", broker.ErrConflict, broker.Write{Key: key("a"), Check: true})
	if v := w.apply(broker.Write{Key: key("a"), Expect: v1, Check: true, Value: []byte("x")}); v[0] != 0 {
		t.Errorf("a check returned version %d", v[0])
	}
	if i := w.holds("a", "one"); i.Version != v1 {
		t.Errorf("a check made version %d of %d", i.Version, v1)
	}

	v2 := w.put("a", "one", v1) // the same bytes are a write all the same
	for _, stale := range []int64{v1, v2 + 1, v2 - 1, 1 << 62} {
		w.refuses("replace another version", broker.ErrConflict, broker.Write{Key: key("a"), Expect: stale, Value: []byte("x")})
		w.refuses("delete another version", broker.ErrConflict, broker.Write{Key: key("a"), Expect: stale})
		w.refuses("check another version", broker.ErrConflict, broker.Write{Key: key("a"), Expect: stale, Check: true})
	}
	if v := w.apply(broker.Write{Key: key("a"), Expect: v2}); v[0] != 0 {
		t.Errorf("a deletion returned version %d", v[0])
	}
	w.absent("a")
	w.refuses("replace what was deleted", broker.ErrConflict, broker.Write{Key: key("a"), Expect: v2, Value: []byte("x")})
	v3 := w.put("a", "three", 0)
	if v3 == v1 || v3 == v2 {
		t.Errorf("version %d again", v3)
	}
	if last, err := w.Last(t.Context()); err != nil || last != 0 {
		t.Errorf("refused changes left event %d, %v", last, err)
	}
}

// testWhole: of a change with several writes, all are made or none, and one
// returns the versions in the order of the other.
func testWhole(t *testing.T, w *world) {
	a, z := w.put("a", "a1", 0), w.put("z", "z1", 0)
	for bad := range 4 {
		writes := []broker.Write{
			{Key: key("z"), Expect: z, Value: []byte("z2")},
			{Key: key("a"), Expect: a},
			{Key: key("m"), Value: []byte("m2")},
			{Key: key("b"), Check: true},
		}
		writes[bad].Expect += 1000
		w.refuses(fmt.Sprint("with write ", bad, " wrong"), broker.ErrConflict, writes...)
		if w.holds("z", "z1").Version != z || w.holds("a", "a1").Version != a {
			t.Error("a refused change made a version")
		}
		w.absent("m")
	}
	got := w.apply(
		broker.Write{Key: key("z"), Expect: z, Value: []byte("z2")},
		broker.Write{Key: key("a"), Expect: a},
		broker.Write{Key: key("m"), Value: []byte("m2")},
		broker.Write{Key: key("b"), Check: true},
		broker.Write{Key: broker.Key{Kind: "other", Name: "z"}, Value: []byte("o")},
	)
	w.absent("a")
	w.absent("b")
	o, err := w.Get(t.Context(), broker.Key{Kind: "other", Name: "z"})
	if err != nil || string(o.Value) != "o" {
		t.Errorf("%+v %v", o, err)
	}
	want := []int64{w.holds("z", "z2").Version, 0, w.holds("m", "m2").Version, 0, o.Version}
	if !slices.Equal(got, want) {
		t.Errorf("versions %v, want %v", got, want)
	}
	if v, err := w.Apply(t.Context(), broker.Change{}); err != nil || len(v) != 0 {
		t.Errorf("the empty change: %v %v", v, err)
	}
}

func testRefusals(t *testing.T, w *world) {
	v := w.put("a", "one", 0)
	long := strings.Repeat("x", broker.MaxName)
	for _, k := range []broker.Key{
		{}, {Kind: "test"}, {Name: "a"}, {Kind: "test", Name: "a b"}, {Kind: "te st", Name: "a"}, {Kind: "test", Name: "\x00"},
		{Kind: "test", Name: "a\n"}, {Kind: "test", Name: "\x7f"}, {Kind: "test", Name: "ä"}, {Kind: "test", Name: "\xff"},
		{Kind: "test", Name: long + "x"}, {Kind: long + "x", Name: "a"},
	} {
		_, err := w.Get(t.Context(), k)
		fails(t, fmt.Sprintf("get %q", k), err, broker.ErrInvalid)
		w.refuses(fmt.Sprintf("write %q", k), broker.ErrInvalid, broker.Write{Key: k, Value: []byte("x")})
		w.refuses(fmt.Sprintf("check %q", k), broker.ErrInvalid, broker.Write{Key: k, Check: true})
	}
	w.refuses("a name twice", broker.ErrInvalid, broker.Write{Key: key("a"), Expect: v, Check: true}, broker.Write{Key: key("b")},
		broker.Write{Key: key("a"), Expect: v, Value: []byte("x")})
	w.refuses("a negative version", broker.ErrInvalid, broker.Write{Key: key("b"), Expect: -1, Value: []byte("x")})
	w.refuses("too large a value", broker.ErrInvalid, broker.Write{Key: key("b"), Value: make([]byte, broker.MaxValue+1)})
	for _, year := range []int{-5000, 1969, 10_000, 300_000_000} {
		w.refuses("an odd end", broker.ErrInvalid, broker.Write{Key: key("b"), Value: []byte("x"), Expires: time.Date(year, 6, 1, 0, 0, 0, 0, time.UTC)})
	}
	many := make([]broker.Write, broker.MaxChanges+1)
	for i := range many {
		many[i] = broker.Write{Key: key(fmt.Sprint("many-", i)), Value: []byte("x")}
	}
	w.refuses("too many writes", broker.ErrInvalid, many...)
	for what, events := range map[string][]broker.NewEvent{
		"no topic": {{}}, "an odd topic": {{Topic: "a b"}}, "a long topic": {{Topic: long + "x"}},
		"a large event": {{Topic: "a", Value: make([]byte, broker.MaxValue+1)}},
		"many events":   slices.Repeat([]broker.NewEvent{{Topic: "a"}}, broker.MaxChanges+1),
	} {
		_, err := w.Apply(t.Context(), broker.Change{Writes: []broker.Write{{Key: key("b"), Value: []byte("x")}}, Events: events})
		fails(t, what, err, broker.ErrInvalid)
	}
	for _, c := range []struct {
		kind, prefix, after string
		limit               int
	}{
		{"", "", "", 1}, {"te st", "", "", 1}, {"test", "\x00", "", 1}, {"test", "ä", "", 1}, {"test", "", "a b", 1}, {"test", "", "\xff", 1},
		{"test", long + "x", "", 1}, {"test", "", long + "x", 1},
		{"test", "", "", 0}, {"test", "", "", -1}, {"test", "", "", broker.MaxList + 1},
	} {
		items, err := w.List(t.Context(), c.kind, c.prefix, c.after, c.limit)
		fails(t, fmt.Sprintf("list %+v", c), err, broker.ErrInvalid)
		if len(items) > 0 {
			t.Errorf("list %+v returned items", c)
		}
	}
	for _, limit := range []int{0, -1, broker.MaxList + 1} {
		_, err := w.Events(t.Context(), 0, limit)
		fails(t, fmt.Sprint("events with limit ", limit), err, broker.ErrInvalid)
	}
	if got := names(t, w, "test", "", 10); !slices.Equal(got, []string{"a"}) || w.holds("a", "one").Version != v {
		t.Errorf("refused calls left %v", got)
	}
	if last, err := w.Last(t.Context()); err != nil || last != 0 {
		t.Errorf("refused changes left event %d, %v", last, err)
	}
}

func testSizes(t *testing.T, w *world) {
	for i, n := range []int{0, 1, 4096, broker.MaxValue - 1, broker.MaxValue} {
		data := bytes.Repeat([]byte{byte(i)}, n)
		w.put(fmt.Sprint(i), string(data), 0)
		w.holds(fmt.Sprint(i), string(data))
	}
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	w.put("every", string(every), 0)
	w.holds("every", string(every))
	long := strings.Repeat("~", broker.MaxName)
	w.put(long, "long", 0)
	w.holds(long, "long")

	c := broker.Change{}
	for i := range broker.MaxChanges {
		c.Writes = append(c.Writes, broker.Write{Key: broker.Key{Kind: long, Name: fmt.Sprint(1000 - i)}, Value: make([]byte, broker.MaxValue)})
		c.Events = append(c.Events, broker.NewEvent{Topic: long, Value: eventValue(i)})
	}
	versions := applied(t, w, c)
	for i, v := range versions {
		item, err := w.Get(t.Context(), c.Writes[i].Key)
		if err != nil || item.Version != v || len(item.Value) != broker.MaxValue || slices.Index(versions, v) != i {
			t.Fatalf("write %d: version %d and %d bytes, want %d; %v", i, item.Version, len(item.Value), v, err)
		}
	}
	events, err := w.Events(t.Context(), 0, broker.MaxList)
	if err != nil || len(events) != broker.MaxChanges {
		t.Fatalf("%d events, %v", len(events), err)
	}
	for i, e := range events {
		if e.Topic != long || string(e.Value) != string(eventValue(i)) {
			t.Fatalf("event %d is %q", i, e.Value)
		}
	}
}

// testOwnBytes: a state keeps no slice of its caller's and lends none.
func testOwnBytes(t *testing.T, w *world) {
	data := []byte("one")
	w.apply(broker.Write{Key: key("a"), Value: data})
	clear(data)
	i := w.holds("a", "one")
	clear(i.Value)
	w.holds("a", "one")
}

func testCancelled(t *testing.T, w *world) {
	v := w.put("a", "one", 0)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := w.Get(ctx, key("a"))
	fails(t, "get", err, context.Canceled)
	_, err = w.List(ctx, "test", "", "", 1)
	fails(t, "list", err, context.Canceled)
	_, err = w.Apply(ctx, broker.Change{Writes: []broker.Write{{Key: key("a"), Expect: v, Value: []byte("x")}}})
	fails(t, "replace", err, context.Canceled)
	_, err = w.Apply(ctx, broker.Change{Writes: []broker.Write{{Key: key("b"), Value: []byte("x")}}})
	fails(t, "create", err, context.Canceled)
	_, err = w.Events(ctx, 0, 1)
	fails(t, "events", err, context.Canceled)
	_, err = w.Last(ctx)
	fails(t, "last", err, context.Canceled)
	fails(t, "wait", w.Wait(ctx, 0), context.Canceled)
	fails(t, "ping", w.Ping(ctx), context.Canceled)
	fails(t, "sweep", w.Sweep(ctx), context.Canceled)
	if w.holds("a", "one").Version != v {
		t.Error("a cancelled call made a version")
	}
	w.absent("b")

	// A context that ends while changes are made leaves each made or not, and
	// the state as good as before.
	for i := range 40 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*100*time.Microsecond)
		name := fmt.Sprint("late-", i)
		v, err := w.Apply(ctx, broker.Change{Writes: []broker.Write{
			{Key: key(name), Value: []byte("x")}, {Key: key("also-" + name), Value: []byte("x")},
		}})
		cancel()
		_, one := w.Get(t.Context(), key(name))
		_, two := w.Get(t.Context(), key("also-"+name))
		if errors.Is(one, broker.ErrAbsent) && two == nil {
			// A change that its caller gave up may be made later: between the
			// two reads, too.
			_, one = w.Get(t.Context(), key(name))
		}
		if errors.Is(one, broker.ErrAbsent) != errors.Is(two, broker.ErrAbsent) || err == nil && (one != nil || len(v) != 2) {
			t.Errorf("apply: %v, then get: %v and %v", err, one, two)
		}
	}
	if err := w.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}
