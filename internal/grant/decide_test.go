package grant_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/grant"
)

var errDisk = errors.New("no space left on device")

func TestZeroPermit(t *testing.T) {
	var p grant.Permit
	for _, a := range []grant.Action{"", grant.ActUse, grant.ActReveal, grant.ActLend, grant.ActVerify, grant.ActStore, grant.ActDelete, grant.ActReseal} {
		for _, w := range []agentkeys.Wallet{{}, alice} {
			for _, s := range []agentkeys.Service{{}, or} {
				if p.Allows(a, w, s) {
					t.Errorf("the zero permit allows %q on %q of %q", a, s, w)
				}
			}
		}
	}
	if !p.Wallet().IsZero() || !p.Service().IsZero() || p.Action() != "" {
		t.Error("the zero permit names something")
	}
	d := newDesk()
	if err := d.Settle(p, noon, grant.Outcome{Cost: grant.USD, Known: true}); err != nil || len(d.tape.all()) != 0 {
		t.Errorf("the zero permit is settled: %v", err)
	}
}

func TestPermitAllowsOneThing(t *testing.T) {
	d := newDesk()
	use, err := d.use(lend("g"))
	if err != nil {
		t.Fatal(err)
	}
	own, err := d.Own(ctx, grant.ActReveal, alice, or, grant.Event{Op: "credential.reveal"})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []grant.Permit{use, own} {
		if p.Wallet() != alice || p.Service() != or {
			t.Errorf("a permit for %s of %s", p.Service(), p.Wallet())
		}
		for _, a := range []grant.Action{"", grant.ActUse, grant.ActReveal, grant.ActLend} {
			for _, w := range []agentkeys.Wallet{{}, alice, mallet, master} {
				for _, s := range []agentkeys.Service{{}, or, brave} {
					want := a == p.Action() && w == alice && s == or
					if got := p.Allows(a, w, s); got != want {
						t.Errorf("permit to %s: %q on %q of %q: %v", p.Action(), a, s, w, got)
					}
				}
			}
		}
	}
}

func TestOwn(t *testing.T) {
	d := newDesk()
	e := grant.Event{Op: "credential.store", Actor: master, Time: noon.In(time.FixedZone("", 3600)), Subject: "s", Decision: "lie"}
	for _, a := range []grant.Action{grant.ActReveal, grant.ActLend, grant.ActVerify, grant.ActStore, grant.ActDelete, grant.ActReseal} {
		p, err := d.Own(ctx, a, alice, or, e)
		if err != nil || !p.Allows(a, alice, or) {
			t.Errorf("%s: %v", a, err)
		}
		want := e
		want.Svc, want.Decision, want.Time = or, grant.Allowed, noon
		if got := d.tape.last(); got != want {
			t.Errorf("%s: recorded %+v", a, got)
		}
		if err := d.Settle(p, noon, grant.Outcome{Cost: 1, Known: true}); err != nil || d.tape.last() != want {
			t.Errorf("%s: an owner's permit is settled: %v", a, err)
		}
	}
	recorded := len(d.tape.all())
	for name, try := range map[string]func() (grant.Permit, error){
		"use":            func() (grant.Permit, error) { return d.Own(ctx, grant.ActUse, alice, or, e) },
		"nothing":        func() (grant.Permit, error) { return d.Own(ctx, "", alice, or, e) },
		"unknown action": func() (grant.Permit, error) { return d.Own(ctx, "anything", alice, or, e) },
		"no wallet":      func() (grant.Permit, error) { return d.Own(ctx, grant.ActStore, agentkeys.Wallet{}, or, e) },
		"no service":     func() (grant.Permit, error) { return d.Own(ctx, grant.ActStore, alice, agentkeys.Service{}, e) },
		"no operation":   func() (grant.Permit, error) { return d.Own(ctx, grant.ActStore, alice, or, grant.Event{}) },
	} {
		p, err := try()
		if _, denied := errors.AsType[*grant.Denial](err); !denied || p != (grant.Permit{}) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := len(d.tape.all()); got != recorded {
		t.Errorf("%d entries for permits never given", got-recorded)
	}
	d.tape.fail(errDisk)
	if p, err := d.Own(ctx, grant.ActStore, alice, or, e); !errors.Is(err, errDisk) || p != (grant.Permit{}) {
		t.Errorf("a permit without a record: %v", err)
	}
}

// TestNoRecordNoPermit: a use that cannot be recorded is not permitted, and
// takes nothing out of the budgets.
func TestNoRecordNoPermit(t *testing.T) {
	d := newDesk()
	g := lend("g", budget("2req"), budget("1usd"))
	d.tape.fail(errDisk)
	for range 10 {
		if p, err := d.use(g); !errors.Is(err, errDisk) || p != (grant.Permit{}) {
			t.Fatalf("%v", err)
		}
	}
	if got := d.usage(g); got != (grant.Usage{}) {
		t.Errorf("used without a permit: %+v", got)
	}
	// A denial that cannot be recorded is not an answer either.
	if _, err := d.use(nil); !errors.Is(err, errDisk) {
		t.Errorf("%v", err)
	}
	d.tape.fail(nil)
	for range 2 {
		p, err := d.use(g)
		if got := code(t, p, err); got != "" {
			t.Fatal(err)
		}
	}
}

// TestUndoInALaterWindow: a record that fails after its window has ended must
// not make room in the next one.
func TestUndoInALaterWindow(t *testing.T) {
	d := newDesk()
	g := lend("g", budget("2req/hour"))
	nested := false
	d.tape.before = func(grant.Event) error {
		if nested {
			return nil
		}
		nested = true
		d.now = d.now.Add(time.Hour)
		for range 2 {
			if _, err := d.use(g); err != nil {
				t.Errorf("in the next window: %v", err)
			}
		}
		return errDisk
	}
	if _, err := d.use(g); !errors.Is(err, errDisk) {
		t.Fatal(err)
	}
	p, err := d.use(g)
	if got := code(t, p, err); got != grant.CodeRequestsSpent {
		t.Errorf("a third request in an hour of two: %q, %+v", got, d.usage(g))
	}
}

// TestPermitAfterRecord: there is no permit while the record is not durable.
func TestPermitAfterRecord(t *testing.T) {
	for name, decide := range map[string]func(*desk) (grant.Permit, error){
		"use": func(d *desk) (grant.Permit, error) { return d.use(lend("g")) },
		"own": func(d *desk) (grant.Permit, error) {
			return d.Own(ctx, grant.ActStore, alice, or, grant.Event{Op: "test"})
		},
	} {
		d := newDesk()
		recording, durable := make(chan struct{}), make(chan struct{})
		d.tape.before = func(grant.Event) error { close(recording); <-durable; return nil }
		permit := make(chan grant.Permit)
		go func() { p, _ := decide(d); permit <- p }()
		<-recording
		select {
		case <-permit:
			t.Errorf("%s: a permit before its record", name)
		case <-time.After(20 * time.Millisecond):
		}
		close(durable)
		if p := <-permit; p == (grant.Permit{}) {
			t.Errorf("%s: no permit after its record", name)
		}
	}
}

// ctxTape gives up with its context, as a recorder with a queue does.
type ctxTape struct{ tape }

func (t *ctxTape) Record(ctx context.Context, e grant.Event) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return t.tape.Record(ctx, e)
}

func TestContextReachesTheRecorder(t *testing.T) {
	d := grant.NewDecider(grant.NewLedger(), &ctxTape{})
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if p, err := d.Use(gone, bot, alice, or, lend("g"), anything, newDesk().request()); !errors.Is(err, context.Canceled) || p != (grant.Permit{}) {
		t.Error(err)
	}
	if p, err := d.Own(gone, grant.ActStore, alice, or, grant.Event{Op: "test"}); !errors.Is(err, context.Canceled) || p != (grant.Permit{}) {
		t.Error(err)
	}
}

// TestRequestIDs: a settlement finds its use by the id, so there must be one,
// and not two uses of one under way.
func TestRequestIDs(t *testing.T) {
	d := newDesk()
	g := lend("g", budget("1usd"))
	r := d.request()
	r.ID = ""
	if p, err := d.Use(ctx, bot, alice, or, g, anything, r); err == nil || p != (grant.Permit{}) {
		t.Error("a request without an id is let through")
	}
	r.ID = "same"
	first, err := d.Use(ctx, bot, alice, or, g, anything, r)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := d.Use(ctx, bot, alice, or, g, anything, r); err == nil || p != (grant.Permit{}) {
		t.Error("two requests of one id are under way")
	}
	if got := d.usage(g); got != (grant.Usage{Requests: 1, Held: grant.USD / 100}) {
		t.Errorf("%+v", got)
	}
	if err := d.Settle(first, noon, grant.Outcome{Unsent: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Use(ctx, bot, alice, or, g, anything, r); err != nil {
		t.Errorf("the id is free again: %v", err)
	}
}

func TestSettle(t *testing.T) {
	const hold, tenth = grant.USD / 100, grant.USD / 10
	for _, c := range []struct {
		name     string
		o        grant.Outcome
		cost     grant.Money
		estimate bool
		decision string
	}{
		{"known", grant.Outcome{Status: 200, Cost: 7, Known: true}, 7, false, grant.Done},
		{"known to be free", grant.Outcome{Status: 200, Known: true}, 0, false, grant.Done},
		{"more than all", grant.Outcome{Status: 200, Cost: 1 << 62, Known: true}, 1 << 62, false, grant.Done},
		{"not said", grant.Outcome{Status: 200}, tenth, true, grant.Done},
		{"said, not known", grant.Outcome{Status: 200, Cost: 7}, tenth, true, grant.Done},
		{"negative", grant.Outcome{Status: 200, Cost: -grant.USD, Known: true}, tenth, true, grant.Done},
		{"redirect", grant.Outcome{Status: 302}, tenth, true, grant.Done},
		{"refused", grant.Outcome{Status: 400}, 0, false, grant.Done},
		{"refused at a price", grant.Outcome{Status: 402, Cost: 3, Known: true}, 3, false, grant.Done},
		{"failed upstream", grant.Outcome{Status: 503}, 0, false, grant.Done},
		{"failed upstream, negative", grant.Outcome{Status: 503, Cost: -1, Known: true}, 0, false, grant.Done},
		{"never sent", grant.Outcome{Unsent: true, Reason: "dial"}, 0, false, grant.Failed},
		{"never came back", grant.Outcome{Reason: "timeout"}, tenth, true, grant.Failed},
		{"cut off", grant.Outcome{Status: 200, Reason: "cut"}, tenth, true, grant.Failed},
		{"cut off early", grant.Outcome{Status: 200, Reason: "cut", Cost: 7, Known: true}, tenth, true, grant.Failed},
		{"cut off late", grant.Outcome{Status: 200, Reason: "cut", Cost: tenth + 7, Known: true}, tenth + 7, true, grant.Failed},

		{"GET: not said", grant.Outcome{Status: 200}, 0, false, grant.Done},
		{"HEAD: not said", grant.Outcome{Status: 200}, 0, false, grant.Done},
		{"GET: known", grant.Outcome{Status: 200, Cost: 7, Known: true}, 7, false, grant.Done},
		{"GET: negative", grant.Outcome{Status: 200, Cost: -7, Known: true}, tenth, true, grant.Done},
		{"GET: never came back", grant.Outcome{Reason: "timeout"}, tenth, true, grant.Failed},
		{"GET: cut off", grant.Outcome{Status: 200, Reason: "cut"}, tenth, true, grant.Failed},
		{"DELETE: not said", grant.Outcome{Status: 204}, tenth, true, grant.Done},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDesk()
			g := lend("g", budget("1usd"))
			r := d.request()
			if method, _, ok := strings.Cut(c.name, ": "); ok {
				r.Method = method
			}
			p, err := d.Use(ctx, bot, alice, or, g, anything, r)
			if err != nil {
				t.Fatal(err)
			}
			used := d.tape.last()
			if used.Hold != hold {
				t.Errorf("%s held", used.Hold)
			}
			if err := d.Settle(p, noon.Add(time.Minute), c.o); err != nil {
				t.Fatal(err)
			}
			want := grant.Event{
				Time: noon.Add(time.Minute), Op: grant.OpSettle, Actor: alice, Parent: master, Agent: bot, Svc: or,
				Decision: c.decision, Reason: c.o.Reason, Grant: "g", Request: used.Request, Status: c.o.Status, Cost: c.cost, Estimate: c.estimate,
			}
			if got := d.tape.last(); got != want {
				t.Errorf("recorded %+v\nwant     %+v", got, want)
			}
			if got := d.usage(g); got != (grant.Usage{Requests: 1, Spent: c.cost}) {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestSettleOnce(t *testing.T) {
	d := newDesk()
	g := lend("g", budget("10usd"))
	p, err := d.use(g)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			copied := p
			if err := d.Settle(copied, noon, grant.Outcome{Status: 200, Cost: 5, Known: true}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := d.usage(g); got.Spent != 5 || got.Held != 0 || len(d.tape.all()) != 2 {
		t.Errorf("%+v, %d entries", got, len(d.tape.all()))
	}
}

// TestSettleWithoutRecord: the money is spent, whether or not that can be
// written down.
func TestSettleWithoutRecord(t *testing.T) {
	d := newDesk()
	g := lend("g", budget("10usd"))
	p, err := d.use(g)
	if err != nil {
		t.Fatal(err)
	}
	d.tape.fail(errDisk)
	if err := d.Settle(p, noon, grant.Outcome{Status: 200, Cost: 5, Known: true}); !errors.Is(err, errDisk) {
		t.Errorf("%v", err)
	}
	if got := d.usage(g); got.Spent != 5 || got.Held != 0 {
		t.Errorf("%+v", got)
	}
}

func TestDenialsAreThinnedOut(t *testing.T) {
	d := newDesk()
	ask := func(agent agentkeys.Agent, path string, at time.Duration) {
		t.Helper()
		r := d.request()
		r.Path, r.Time = path, noon.Add(at)
		if _, err := d.Use(ctx, agent, alice, or, nil, anything, r); err == nil {
			t.Fatal("allowed")
		}
	}
	type entry struct {
		at       time.Duration
		agent    agentkeys.Agent
		repeated int64
	}
	for i := range 100 {
		ask(bot, fmt.Sprintf("/%d", i), time.Duration(i)*time.Millisecond)
	}
	ask(other, "/", 50*time.Millisecond)
	ask(bot, "/", time.Second-1)
	ask(bot, "/", time.Second)
	ask(bot, "/", time.Second+1)
	ask(bot, "/", -time.Hour) // the clock was set back
	ask(bot, "/", -time.Hour+1)
	ask(bot, "/", 2*time.Hour)
	want := []entry{{0, bot, 0}, {50 * time.Millisecond, other, 0}, {time.Second, bot, 100}, {-time.Hour, bot, 1}, {2 * time.Hour, bot, 1}}
	var got []entry
	for _, e := range d.tape.all() {
		got = append(got, entry{e.Time.Sub(noon), e.Agent, e.Repeated})
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("recorded %v\nwant     %v", got, want)
	}
	// Another reason is another entry.
	r := d.request()
	r.Time, r.Path = noon.Add(2*time.Hour), "//"
	if _, err := d.Use(ctx, bot, alice, or, lend("g"), anything, r); err == nil || d.tape.last().Reason != string(grant.CodePathDenied) {
		t.Errorf("%+v", d.tape.last())
	}
}

// TestPermitsAreAllRecorded: only denials are thinned out.
func TestPermitsAreAllRecorded(t *testing.T) {
	d := newDesk()
	for range 50 {
		if _, err := d.use(lend("g")); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(d.tape.all()); got != 50 {
		t.Errorf("%d entries for 50 permits", got)
	}
}

// TestLogOfHostileRequest: what the agent chose is cut, and its query is not
// in the log.
func TestLogOfHostileRequest(t *testing.T) {
	d := newDesk()
	r := d.request()
	r.Method, r.Path = strings.Repeat("M", 1<<20), "/"+strings.Repeat("p", 1<<20)
	if _, err := d.Use(ctx, bot, alice, or, lend("g"), anything, r); err == nil {
		t.Fatal("allowed")
	}
	if e := d.tape.last(); len(e.Method) > 128 || len(e.Path) > 128 {
		t.Errorf("%d and %d bytes recorded", len(e.Method), len(e.Path))
	}
	r.Path, r.Time = "/x?key=CANARY", noon.Add(time.Hour)
	_, err := d.Use(ctx, bot, alice, or, nil, anything, r)
	if e := d.tape.last(); err == nil || e.Path != "/x" || strings.Contains(err.Error(), "CANARY") {
		t.Errorf("%+v, %v", e, err)
	}
}
