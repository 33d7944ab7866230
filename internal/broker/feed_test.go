package broker

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/token"
)

// script is a state that has only events.
type script struct {
	State
	events []Event
}

func (s *script) Last(context.Context) (int64, error) {
	if len(s.events) == 0 {
		return 0, nil
	}
	return s.events[len(s.events)-1].Seq, nil
}

func (s *script) Events(_ context.Context, after int64, _ int) ([]Event, error) {
	for i, e := range s.events {
		if e.Seq > after {
			return s.events[i:], nil
		}
	}
	return nil, nil
}

// TestFeedGap: behind a state that lacks what was told, as an older copy of it
// does, nothing counts that was remembered, and no stream goes on.
func TestFeedGap(t *testing.T) {
	event := func(seq int64) Event { return Event{Seq: seq, Topic: "a", Value: []byte("{}")} }
	for name, c := range map[string]struct {
		then []Event
		gap  bool
	}{
		"more":          {[]Event{event(4), event(5), event(6)}, false},
		"nothing new":   {[]Event{event(4), event(5)}, false},
		"swept":         {[]Event{event(5), event(6)}, false},
		"an older copy": {[]Event{event(4)}, true},
		"an empty one":  {nil, true},
		"one left out":  {[]Event{event(4), event(5), event(7)}, true},
	} {
		s, forgot := &script{events: []Event{event(4), event(5)}}, 0
		f := newFeed(s, time.Now, slog.New(slog.DiscardHandler), func(_ string, n *notice) {
			if n == nil {
				forgot++
			}
		})
		if err := f.step(t.Context(), false); err != nil || !f.fresh() {
			t.Fatalf("%s: %v", name, err)
		}
		sub := &subscription{topic: "a", queue: make(chan told, 9)}
		f.add(sub)
		forgot, s.events = 0, c.then
		if f.step(t.Context(), true) != nil {
			if f.fresh() {
				t.Errorf("%s: fresh, and not read", name)
			}
			if err := f.step(t.Context(), true); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if (forgot > 0) != c.gap || (len(f.subs) == 0) != c.gap || !f.fresh() {
			t.Errorf("%s: forgot %d times, %d streams, fresh %t", name, forgot, len(f.subs), f.fresh())
		}
		last, _ := s.Last(t.Context())
		if f.seq != last {
			t.Errorf("%s: it goes on from %d, want %d", name, f.seq, last)
		}
	}
}

// TestStreamsOfOneAccount: so many and no more, at the cost of no other account
// and of no device that is within its own bound.
func TestStreamsOfOneAccount(t *testing.T) {
	f := newFeed(nil, time.Now, slog.New(slog.DiscardHandler), func(string, *notice) {})
	add := func(account string, device int) (*subscription, bool) {
		s := &subscription{topic: account, device: token.Thumbprint{byte(device)}, queue: make(chan told, 9)}
		return s, f.add(s)
	}
	var all []*subscription
	for i := range maxAllStreams {
		s, ok := add("a", i/maxStreams)
		if !ok {
			t.Fatalf("stream %d is refused", i)
		}
		all = append(all, s)
	}
	if _, ok := add("a", 200); ok || len(f.subs["a"]) != maxAllStreams {
		t.Errorf("one too many: %t, of %d", ok, len(f.subs["a"]))
	}
	if _, ok := add("b", 200); !ok {
		t.Error("another account is refused")
	}
	if _, ok := add("a", 0); !ok || len(f.subs["a"]) != maxAllStreams { // in place of its own oldest
		t.Errorf("in place of another: %t, of %d", ok, len(f.subs["a"]))
	}
	f.remove(all[9])
	if _, ok := add("a", 200); !ok {
		t.Error("in the room of one that has ended it is refused")
	}
}

// TestStreamRefused: whoever finds no room is told when to ask again.
func TestStreamRefused(t *testing.T) {
	s := &script{}
	f := newFeed(s, time.Now, slog.New(slog.DiscardHandler), func(string, *notice) {})
	if err := f.step(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	for i := range maxAllStreams {
		f.add(&subscription{topic: "a", device: token.Thumbprint{byte(i)}, queue: make(chan told, 9)})
	}
	b := &Broker{o: Options{State: s, Now: time.Now}, feed: f}
	_, err := b.Subscribe(t.Context(), Caller{token.Session{Account: "a", Device: token.Thumbprint{99}}, true})
	var limit *LimitError
	if !errors.As(err, &limit) || limit.Wait <= 0 {
		t.Errorf("%v", err)
	}
}
