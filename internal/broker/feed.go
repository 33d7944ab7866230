package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/token"
)

const (
	// freshFor bounds how old the last complete reading of the events may be
	// for what it said to count.
	freshFor = 300 * time.Millisecond
	// readEvery is how long a reading waits for events: it ends with a beat, so
	// that several fit into freshFor.
	readEvery = 140 * time.Millisecond
	// lagsAfter is how old it may be before the replica is not ready.
	lagsAfter = 2 * time.Second
	// gapAfter is how long the feed may be out of touch and go on where it was:
	// a state keeps events for a day.
	gapAfter = time.Hour
	// queueLen is how many events a subscriber may be behind.
	queueLen = 256
	// maxStreams is how many streams a device may have: connections that are
	// dead for the client may live on for us.
	maxStreams = 8
	// maxAllStreams is how many all devices of an account may have here.
	maxAllStreams = 64
)

// notice is the value of an event, whose topic is the account. Kind is that of
// the stream, brokerapi.EventGrant and so on.
type notice struct {
	Kind    string              `json:"kind"`
	Agent   agentkeys.Agent     `json:"agent,omitzero"` // whom it concerns besides the master
	Device  token.Thumbprint    `json:"device,omitzero"`
	Grant   *grant.Grant        `json:"grant,omitempty"`
	Revoked []brokerapi.Revoked `json:"revoked,omitempty"` // up to MaxGrants
}

func (n notice) event(account string) NewEvent {
	value, err := json.Marshal(n)
	if err != nil {
		panic(fmt.Sprintf("broker: a notice cannot be written: %v", err)) // our own types: it can
	}
	return NewEvent{Topic: account, Value: value}
}

// feed reads the state's events, one reader for all streams of a replica. What
// it tells it tells in their order.
type feed struct {
	state State
	now   func() time.Time
	log   *slog.Logger
	hear  func(topic string, n *notice) // before subscribers do; nil: whatever may have happened

	mu   sync.Mutex
	seq  int64     // of the last event that was told
	read time.Time // when the last complete reading began: all before is told
	subs map[string]map[*subscription]struct{}
	made uint64 // subscriptions
}

func newFeed(s State, now func() time.Time, log *slog.Logger, hear func(string, *notice)) *feed {
	return &feed{state: s, now: now, log: log, hear: hear, subs: map[string]map[*subscription]struct{}{}}
}

// fresh reports whether all that was acknowledged freshFor ago has been told.
func (f *feed) fresh() bool { return f.within(freshFor) }

func (f *feed) within(d time.Duration) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.read.IsZero() && since(f.now(), f.read) <= d
}

// since is how long ago then was, by whichever clock says longer: the monotonic
// one stands still while a machine sleeps, and the other may be set back.
func since(now, then time.Time) time.Duration {
	return max(now.Sub(then), now.Round(0).Sub(then.Round(0)))
}

// run reads until ctx ends.
func (f *feed) run(ctx context.Context) {
	defer f.dropAll()
	started := false
	for failures := 0; ctx.Err() == nil; {
		err := f.step(ctx, started)
		if err == nil {
			started, failures = true, 0
			f.wait(ctx)
			continue
		}
		if failures++; failures == 1 && ctx.Err() == nil {
			f.log.Warn("the events cannot be read", "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(readEvery):
		}
	}
}

// step reads all there is. Where the state is behind what was told, or lacks
// something of it, it is another one, as an older copy: then nothing that was
// remembered counts, and every stream begins anew.
func (f *feed) step(ctx context.Context, started bool) error {
	ctx, stop := context.WithTimeout(ctx, 2*time.Second)
	defer stop()
	began := f.now()
	f.mu.Lock()
	seq, gap := f.seq, started && since(began, f.read) > gapAfter
	f.mu.Unlock()
	last, err := f.state.Last(ctx)
	if err != nil {
		return err
	}
	if !started || gap || last < seq {
		if started {
			f.log.Warn("the events do not go on where they were; everything is read again", "told", seq, "last", last)
		}
		f.hear("", nil)
		f.dropAll()
		f.caughtUp(last, began)
		return nil
	}
	for {
		events, err := f.state.Events(ctx, seq, MaxList)
		if err != nil {
			return err
		}
		for _, e := range events {
			if e.Seq != seq+1 {
				f.stale()
				return fmt.Errorf("event %d comes after %d", e.Seq, seq)
			}
			f.deliver(e.Topic, e.Value, e.Seq)
			seq = e.Seq
		}
		if len(events) < MaxList {
			f.caughtUp(seq, began)
			return nil
		}
	}
}

// stale makes it as if nothing had been read for long: the next step is after a
// gap.
func (f *feed) stale() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.read = time.Time{}
}

func (f *feed) wait(ctx context.Context) {
	f.mu.Lock()
	seq := f.seq
	f.mu.Unlock()
	ctx, stop := context.WithTimeout(ctx, readEvery)
	defer stop()
	if err := f.state.Wait(ctx, seq); err != nil {
		<-ctx.Done() // also where Wait fails at once, so as not to spin
	}
}

// deliver tells of one event.
func (f *feed) deliver(topic string, value []byte, seq int64) {
	n := new(notice)
	if err := json.Unmarshal(value, n); err != nil {
		// A later version's, perhaps: whatever it says, nothing remembered
		// outlives it, and who listens takes a new snapshot.
		f.log.Warn("an event does not parse", "seq", seq)
		n = nil
	}
	f.hear(topic, n)
	f.mu.Lock()
	defer f.mu.Unlock()
	for s := range f.subs[topic] {
		switch {
		case n == nil:
			f.drop(s)
		case (seq == 0 || seq > s.from) && s.concerns(n):
			f.send(s, told{notice: n})
		}
	}
	f.seq = max(f.seq, seq)
}

// tell tells this replica's streams what the state did not take.
func (f *feed) tell(e NewEvent) { f.deliver(e.Topic, e.Value, 0) }

// caughtUp says that all before began is told, and beats.
func (f *feed) caughtUp(seq int64, began time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seq, f.read = seq, began
	for _, subs := range f.subs {
		for s := range subs {
			f.send(s, told{beat: began})
		}
	}
}

// told is one thing that a subscriber is told.
type told struct {
	notice *notice
	beat   time.Time
}

// subscription is one stream's place in the feed.
type subscription struct {
	number uint64
	topic  string
	from   int64           // events up to this one are in its snapshot
	agent  agentkeys.Agent // zero: the master
	device token.Thumbprint
	queue  chan told // closed when the stream must end
}

func (s *subscription) concerns(n *notice) bool {
	switch n.Kind {
	case brokerapi.EventEnded:
		return n.Device == s.device
	case brokerapi.EventAgents:
		return s.agent.IsZero()
	}
	return s.agent.IsZero() || n.Agent == s.agent
}

// send queues; who is too far behind is dropped, and takes a new snapshot when
// it comes back. f.mu is held.
func (f *feed) send(s *subscription, t told) {
	select {
	case s.queue <- t:
	default:
		f.drop(s)
	}
}

// drop ends a subscription. f.mu is held.
func (f *feed) drop(s *subscription) {
	if _, ok := f.subs[s.topic][s]; !ok {
		return
	}
	delete(f.subs[s.topic], s)
	if len(f.subs[s.topic]) == 0 {
		delete(f.subs, s.topic)
	}
	close(s.queue)
}

func (f *feed) dropAll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, subs := range f.subs {
		for s := range subs {
			f.drop(s)
		}
	}
}

// add begins a subscription, at the cost of the device's oldest if it has too
// many. It reports whether there was room.
func (f *feed) add(s *subscription) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	var oldest *subscription
	n := 0
	for o := range f.subs[s.topic] {
		if o.device == s.device {
			if n++; oldest == nil || o.number < oldest.number {
				oldest = o
			}
		}
	}
	if n >= maxStreams {
		f.drop(oldest)
	}
	if len(f.subs[s.topic]) >= maxAllStreams {
		return false
	}
	f.made++
	s.number = f.made
	if f.subs[s.topic] == nil {
		f.subs[s.topic] = map[*subscription]struct{}{}
	}
	f.subs[s.topic][s] = struct{}{}
	return true
}

func (f *feed) remove(s *subscription) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.drop(s)
}
