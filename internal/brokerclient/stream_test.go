package brokerclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/grant"
)

// heard collects what a Watch was told.
type heard struct {
	mu   sync.Mutex
	gone []string
	agts int
}

func (h *heard) take(c Change) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, g := range c.Gone {
		h.gone = append(h.gone, g.ID)
	}
	if c.Agents {
		h.agts++
	}
}

func (h *heard) has(id string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Contains(strings.Join(h.gone, " "), id)
}

func follow(t *testing.T, c *Client) (*Stream, *heard) {
	t.Helper()
	s, h := c.Events(), new(heard)
	s.Watch(h.take)
	t.Cleanup(s.Close)
	if err := s.Fresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s, h
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); {
		if time.Now().After(end) {
			t.Fatalf("not so: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestDirectoryFollows(t *testing.T) {
	f := newFake(t)
	c := f.known(t)
	s, h := follow(t, c)
	if len(s.Agents())+len(s.Grants()) != 0 {
		t.Error("something is there")
	}
	if _, err := c.CreateAgent(t.Context(), coder); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the agent is known", func() bool { a, ok := s.Agent(coder); return ok && a.Wallet == child })
	first, err := c.PutGrant(t.Context(), coder, router, brokerapi.Terms{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Await(t.Context(), func() bool { g := s.Grant(coder, router); return g != nil && g.ID == first.ID }); err != nil {
		t.Fatal(err)
	}
	second, err := c.PutGrant(t.Context(), coder, router, brokerapi.Terms{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first is replaced", func() bool { return h.has(first.ID) && s.Grant(coder, router).ID == second.ID })
	if err := c.RemoveGrant(t.Context(), coder, router); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the second is gone", func() bool { return h.has(second.ID) && s.Grant(coder, router) == nil })
	if h.agts != 1 || f.streams.Load() != 1 {
		t.Errorf("%d changes of agents, %d streams", h.agts, f.streams.Load())
	}
}

// TestMadeAnew: an agent that was removed and made anew, while nothing was
// heard, is another.
func TestMadeAnew(t *testing.T) {
	f := newFake(t)
	made := time.Now().UTC()
	f.agents = []brokerapi.Agent{{Label: coder, Wallet: child, Created: made}}
	_, h := follow(t, f.known(t))
	again := func(what string, streams int32, changes int) {
		t.Helper()
		f.hangUp()
		eventually(t, what, func() bool { return f.streams.Load() == streams })
		eventually(t, what, func() bool {
			h.mu.Lock()
			defer h.mu.Unlock()
			return h.agts >= changes
		})
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.agts != changes {
			t.Errorf("%s: %d changes", what, h.agts)
		}
	}
	again("the same", 2, 1) // a change that it makes shows at the latest with the next
	f.set(func() { f.agents[0].Created = made.Add(time.Millisecond) })
	again("another", 3, 2)
}

// TestReconnect: what happened while nothing was heard is known with the next
// snapshot, and what did not change is the same as before.
func TestReconnect(t *testing.T) {
	f := newFake(t)
	f.grants["coder/openrouter"] = f.grant(time.Now().Add(time.Hour))
	s, h := follow(t, f.known(t))
	g := s.Grant(coder, router)
	f.hangUp()
	eventually(t, "another stream", func() bool { return f.streams.Load() == 2 })
	if err := s.Fresh(t.Context()); err != nil || s.Grant(coder, router) != g || h.has(g.ID) {
		t.Errorf("not the same: %v", err)
	}
	f.set(func() { f.deaf = true })
	f.hangUp()
	f.set(func() { clear(f.grants) })
	eventually(t, "silence", func() bool { _, live, _ := s.Heard(); return !live })
	if s.Grant(coder, router) != g {
		t.Error("the directory forgot what it was told last")
	}
	f.set(func() { f.deaf = false })
	if err := s.Fresh(t.Context()); err != nil {
		t.Error(err)
	}
	if s.Grant(coder, router) != nil || !h.has(g.ID) {
		t.Error("a revocation in between was not noticed")
	}
}

// TestSilence: a connection that stands and says nothing is left for another.
func TestSilence(t *testing.T) {
	f := newFake(t)
	s, _ := follow(t, f.known(t))
	f.set(func() { f.mute = true })
	eventually(t, "silence", func() bool { _, live, _ := s.Heard(); return !live })
	err := s.Fresh(t.Context())
	if !errors.Is(err, ErrStale) || !strings.Contains(err.Error(), "unreachable since 20") {
		t.Errorf("%v", err)
	}
	if f.streams.Load() < 2 {
		t.Error("it did not try again")
	}
	f.set(func() { f.mute = false })
	if err := s.Fresh(t.Context()); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	f.set(func() { f.mute = true })
	eventually(t, "silence", func() bool { _, live, _ := s.Heard(); return !live })
	cancel()
	if err := s.Fresh(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("who gave up: %v", err)
	}
}

// TestSleep: after a laptop's sleep, in which the monotonic clock stood still,
// nothing that was heard before counts, nor what lay in the socket.
func TestSleep(t *testing.T) {
	f := newFake(t)
	c := f.known(t)
	var mu sync.Mutex
	var slept time.Duration
	s := &Stream{c: c, kicked: make(chan struct{}, 1), stop: func() {}}
	now := func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return time.Now().Add(slept).Round(0)
	}
	s.Directory = newDirectory(now, func() {})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := s.follow(ctx)
		done <- err
	}()
	eventually(t, "a beat", func() bool { _, live, _ := s.Heard(); return live })
	mu.Lock()
	slept = time.Hour
	mu.Unlock()
	if _, live, _ := s.Heard(); live {
		t.Error("what was heard before the sleep counts")
	}
	select {
	case err := <-done:
		if !errors.Is(err, errSilent) {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the word behind the sleep was believed")
	}
	if _, live, _ := s.Heard(); live {
		t.Error("a beat from before the sleep counts")
	}
	cancel()
	// A clock that is set back is as bad.
	s.beaten(now())
	mu.Lock()
	slept -= time.Minute
	mu.Unlock()
	if _, live, _ := s.Heard(); live {
		t.Error("a beat of the future counts")
	}
}

// TestLate: beats that were held up on the way are as old as they are.
func TestLate(t *testing.T) {
	s := &Stream{}
	s.Directory = newDirectory(time.Now, func() {})
	now := time.Now()
	path := transit{asked: now, from: now.Add(-time.Hour)}
	beat := func(at, came time.Duration) error {
		text, _ := json.Marshal(brokerapi.Beat{At: now.Add(at - time.Hour)})
		return s.hear(event{brokerapi.EventBeat, text}, &path, now.Add(came))
	}
	for i := range 5 {
		at := time.Duration(i) * 300 * time.Millisecond
		if err := beat(at, at+50*time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
	// Each a little later than the one before: after a while too late, however
	// regularly they come.
	var err error
	for i := 5; i < 20 && err == nil; i++ {
		err = beat(time.Duration(i)*300*time.Millisecond, time.Duration(i)*500*time.Millisecond)
		if age := since(s.beat, now.Add(time.Duration(i)*500*time.Millisecond)); err == nil && age < time.Duration(i)*200*time.Millisecond-50*time.Millisecond {
			t.Errorf("beat %d counts as %v old", i, age)
		}
	}
	if !errors.Is(err, errSilent) {
		t.Errorf("late beats count: %v", err)
	}
}

// TestHeldUp: beats that are all held up by as much are as old as they are.
func TestHeldUp(t *testing.T) {
	f := newFake(t)
	c := f.known(t)
	if _, err := c.Session(t.Context()); err != nil {
		t.Fatal(err)
	}
	line := func(w io.Writer, name string, v any) {
		data, _ := json.Marshal(v)
		fmt.Fprintf(w, "event: %s\ndata: %s\n\n", name, data)
	}
	f.set(func() {
		f.answer = func(w http.ResponseWriter, r *http.Request) {
			at := time.Now().Add(-time.Hour).UTC() // clocks differ
			time.Sleep(freshFor + 100*time.Millisecond)
			w.Header().Set("Content-Type", "text/event-stream")
			line(w, brokerapi.EventSnapshot, brokerapi.Snapshot{At: at, Agents: []brokerapi.Agent{}, Grants: []grant.Grant{}})
			for i := range 3 {
				line(w, brokerapi.EventBeat, brokerapi.Beat{At: at.Add(time.Duration(i) * 100 * time.Millisecond)})
				_ = http.NewResponseController(w).Flush()
				time.Sleep(100 * time.Millisecond)
			}
		}
	})
	s := &Stream{c: c}
	s.Directory = newDirectory(time.Now, func() {})
	_, err := s.follow(t.Context())
	if !errors.Is(err, errSilent) {
		t.Errorf("late beats count: %v", err)
	}
	if at, live, _ := s.Heard(); live {
		t.Errorf("it is live as of %v ago", time.Since(at))
	}
}

func TestEnded(t *testing.T) {
	for what, end := range map[string]func(*fake, *Client){
		"by an event": func(f *fake, _ *Client) { f.set(func() { f.tell(brokerapi.EventEnded, struct{}{}) }) },
		"by a refusal": func(f *fake, c *Client) {
			f.set(func() { delete(f.devices, c.Device()) })
			f.hangUp()
		},
	} {
		f := newFake(t)
		f.agents = []brokerapi.Agent{{Label: coder, Wallet: child}}
		g := f.grant(time.Now().Add(time.Hour))
		f.grants["coder/openrouter"] = g
		c := f.known(t)
		s, h := follow(t, c)
		end(f, c)
		eventually(t, what+": the end", func() bool { return errors.Is(s.Fresh(t.Context()), ErrEnded) })
		if len(s.Grants())+len(s.Agents()) != 0 || !h.has(g.ID) || h.agts != 2 {
			t.Errorf("%s: %v %v", what, s.Grants(), h)
		}
		if _, live, err := s.Heard(); live || !errors.Is(err, ErrEnded) {
			t.Errorf("%s: %v", what, err)
		}
		select {
		case <-s.Out():
		default:
			t.Errorf("%s: it is not out", what)
		}
	}
}

// TestTake: what was revoked here is not in force again, whatever comes.
func TestTake(t *testing.T) {
	f := newFake(t)
	g := f.grant(time.Now().Add(time.Hour))
	f.grants["coder/openrouter"] = g
	s, h := follow(t, f.known(t))
	if got := s.Take(coder, router); got == nil || got.ID != g.ID || !h.has(g.ID) {
		t.Errorf("taken: %v", got)
	}
	if s.Take(coder, router) != nil {
		t.Error("taken twice")
	}
	f.set(func() { f.tell(brokerapi.EventGrant, g) })
	f.hangUp()
	eventually(t, "another stream", func() bool { return f.streams.Load() == 2 })
	if err := s.Fresh(t.Context()); err != nil || s.Grant(coder, router) != nil {
		t.Errorf("it is back: %v", err)
	}
	other := f.grant(time.Now().Add(time.Hour))
	f.set(func() { f.tell(brokerapi.EventGrant, other) })
	eventually(t, "another grant", func() bool { return s.Grant(coder, router) != nil })
	// What ends one grant does not end the next.
	f.set(func() {
		f.tell(brokerapi.EventRevoked, brokerapi.Revoked{Agent: coder, Service: router, Grant: g.ID})
		f.tell(brokerapi.EventAgents, []brokerapi.Agent{{Label: coder, Wallet: child}})
	})
	eventually(t, "the event behind it", func() bool { return len(s.Agents()) == 1 })
	if s.Grant(coder, router) == nil {
		t.Error("the wrong one ended")
	}
}

func TestBadStreams(t *testing.T) {
	f := newFake(t)
	c := f.known(t)
	if _, err := c.Session(t.Context()); err != nil {
		t.Fatal(err)
	}
	snap := "event: snapshot\ndata: {\"at\":\"2026-11-21T12:00:00Z\",\"agents\":[],\"grants\":[]}\n\n"
	for what, text := range map[string]string{
		"no snapshot":     "event: beat\ndata: {}\n\n",
		"no time":         "event: snapshot\ndata: {\"agents\":[],\"grants\":[]}\n\n",
		"no json":         "event: snapshot\ndata: {\n\n",
		"twice":           "event: snapshot\ndata: {\"agents\":[],\"agents\":[],\"grants\":[]}\n\n",
		"senseless grant": "event: snapshot\ndata: {\"agents\":[],\"grants\":[{\"id\":\"x\"}]}\n\n",
		"later grant":     snap + "event: grant\ndata: {}\n\n",
		"no beat":         snap + "event: beat\ndata: {}\n\n",
		"later revoked":   snap + "event: revoked\ndata: []\n\n",
		// First, when a stream has the time to say as much on any machine.
		"endless line":  "event: snapshot\ndata: " + strings.Repeat("x", maxEvent) + "\n\n",
		"endless event": "event: snapshot\n" + strings.Repeat("data: "+strings.Repeat("x", 1<<20)+"\n", 17),
	} {
		f.set(func() {
			f.answer = func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				fmt.Fprint(w, text)
			}
		})
		s := &Stream{c: c}
		s.Directory = newDirectory(time.Now, func() {})
		if _, err := s.follow(t.Context()); !errors.Is(err, ErrAnswer) {
			t.Errorf("%s: %.200v", what, err)
		}
	}
}

func TestEventForms(t *testing.T) {
	in := newEvents(strings.NewReader(": c\n\nevent: a\ndata: 1\ndata:2\r\nid: 7\nretry: 1\n\nevent: lost\n\ndata\n\nevent:b\ndata:  x\n\n"))
	for _, want := range []event{{"a", []byte("1\n2")}, {"", nil}, {"b", []byte(" x")}} {
		got, err := in.next()
		if err != nil || got.name != want.name || string(got.data) != string(want.data) {
			t.Errorf("%+q %v, want %+q", got, err, want)
		}
	}
	if _, err := in.next(); err == nil {
		t.Error("more")
	}
}

func FuzzEvents(f *testing.F) {
	f.Add("event: a\ndata: b\n\n")
	f.Add("data: \r\n\r\n:\n\n")
	f.Fuzz(func(t *testing.T, s string) {
		in := newEvents(strings.NewReader(s))
		for {
			ev, err := in.next()
			if err != nil {
				return
			}
			// Written again it is read again.
			text := "event: " + ev.name + "\n"
			for line := range strings.SplitSeq(string(ev.data), "\n") {
				text += "data: " + line + "\n"
			}
			again, err := newEvents(strings.NewReader(text + "\n")).next()
			if err != nil || again.name != ev.name || string(again.data) != string(ev.data) {
				t.Errorf("%+q: %+q %v", ev, again, err)
			}
		}
	})
}
