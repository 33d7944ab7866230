package grant_test

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/litentry/agentkeys/internal/grant"
)

func TestRequestBudget(t *testing.T) {
	for _, c := range []struct {
		per        string
		from, last string // the last moment of the window of from
		wait       time.Duration
	}{
		{"hour", "2026-04-15T12:00:00Z", "2026-04-15T12:59:59.999999999Z", time.Hour},
		{"day", "2026-04-15T06:00:00Z", "2026-04-15T23:59:59.999999999Z", 18 * time.Hour},
		{"week", "2026-04-19T23:00:00Z", "2026-04-19T23:59:59.999999999Z", time.Hour}, // a Sunday
		{"month", "2026-02-01T00:00:00Z", "2026-02-28T23:59:59.999999999Z", 28 * 24 * time.Hour},
		{"total", "2026-01-01T00:00:00Z", "2026-12-31T00:00:00Z", 0},
	} {
		for _, kind := range []string{"2req", "2usd"} {
			d := newDesk()
			g := lend("g", budget(kind+"/"+c.per))
			want := grant.CodeRequestsSpent
			if g.Budget != nil {
				want = grant.CodeBudgetSpent
			}
			d.now = parseTime(t, c.from)
			d.spend(t, g, grant.USD)
			d.spend(t, g, grant.USD)
			for _, at := range []string{c.from, c.last} {
				d.now = parseTime(t, at)
				_, err := d.use(g)
				den, ok := errors.AsType[*grant.Denial](err)
				if !ok || den.Code != want {
					t.Fatalf("%s/%s at %s: %v", kind, c.per, at, err)
				}
				if at == c.from && den.RetryAfter != c.wait {
					t.Errorf("%s/%s: retry after %s, want %s", kind, c.per, den.RetryAfter, c.wait)
				}
				if at == c.last && c.per != "total" && den.RetryAfter != 1 {
					t.Errorf("%s/%s: retry after %s at the very end", kind, c.per, den.RetryAfter)
				}
			}
			d.now = d.now.Add(1)
			_, err := d.use(g)
			if c.per == "total" {
				if err == nil {
					t.Errorf("%s/total starts anew", kind)
				}
			} else if err != nil {
				t.Errorf("%s/%s in the next window: %v", kind, c.per, err)
			}
		}
	}
}

// TestClockGoesBackwards: nothing used comes back with the hour.
func TestClockGoesBackwards(t *testing.T) {
	d := newDesk()
	g := lend("g", budget("2req/hour"), budget("2usd/day"))
	d.spend(t, g, grant.USD)
	for _, back := range []time.Duration{time.Minute, time.Hour, 30 * 24 * time.Hour, 365 * 24 * time.Hour} {
		d.now = noon.Add(-back)
		if got := d.usage(g); got.Requests != 1 || got.Spent != grant.USD {
			t.Fatalf("%s back: %+v", back, got)
		}
	}
	d.spend(t, g, grant.USD) // a year ago
	d.now = noon
	_, err := d.use(g)
	den, ok := errors.AsType[*grant.Denial](err)
	if !ok || den.Code != grant.CodeRequestsSpent || den.RetryAfter != time.Hour {
		t.Fatalf("%v", err)
	}
	d.now = noon.AddDate(0, -1, 0) // asked then, the window that counts is still noon's
	if _, err := d.use(g); err == nil {
		t.Fatal("a window has come back")
	} else if den, _ := errors.AsType[*grant.Denial](err); den == nil || den.RetryAfter != noon.Add(time.Hour).Sub(d.now) {
		t.Errorf("%v", err)
	}
	// Looking from the future rolls nothing.
	if got := d.ledger.Usage(g, noon.AddDate(1, 0, 0)); got != (grant.Usage{}) {
		t.Errorf("next year: %+v", got)
	}
	if got := d.usage(g); got.Requests != 2 || got.Spent != 2*grant.USD {
		t.Errorf("after a look ahead: %+v", got)
	}
}

func TestRate(t *testing.T) {
	for _, text := range []string{"1/s", "3/s", "60/min", "7/min", "1000/h", "999983/s"} {
		d := newDesk()
		g := lend("g", rate(text))
		limit := g.Rate.Limit
		if limit > 10_000 {
			// A burst of as many is slow to make; one that is left over shows
			// as much.
			d.ledger.Restore(map[string]grant.Account{"g": {TAT: noon.Add(time.Duration(limit-1) * (g.Rate.Per/time.Duration(limit) + 1))}})
			limit = 1
		}
		for i := range limit {
			if _, err := d.use(g); err != nil {
				t.Fatalf("%s: request %d of a burst: %v", text, i+1, err)
			}
		}
		_, err := d.use(g)
		den, ok := errors.AsType[*grant.Denial](err)
		if !ok || den.Code != grant.CodeRateLimited || den.RetryAfter <= 0 || den.RetryAfter > g.Rate.Per/time.Duration(g.Rate.Limit)+1 {
			t.Fatalf("%s: after the burst: %v", text, err)
		}
		d.now = d.now.Add(den.RetryAfter - 1)
		if _, err := d.use(g); err == nil {
			t.Errorf("%s: too early by a nanosecond", text)
		}
		d.now = d.now.Add(1)
		if _, err := d.use(g); err != nil {
			t.Errorf("%s: when told to: %v", text, err)
		}
		if _, err := d.use(g); err == nil {
			t.Errorf("%s: two when one was free", text)
		}
	}
}

// TestRateAndTheClock: set back, the clock costs a burst, not its whole way.
func TestRateAndTheClock(t *testing.T) {
	d := newDesk()
	g := lend("g", rate("60/min"))
	if _, err := d.use(g); err != nil {
		t.Fatal(err)
	}
	d.now = noon.AddDate(0, 0, -1)
	_, err := d.use(g)
	den, ok := errors.AsType[*grant.Denial](err)
	if !ok || den.Code != grant.CodeRateLimited || den.RetryAfter != time.Second {
		t.Fatalf("%v", err)
	}
	d.now = d.now.Add(time.Second)
	if _, err := d.use(g); err != nil {
		t.Error(err)
	}
	// A denied request does not push the next one further away.
	for range 1000 {
		_, _ = d.use(g)
	}
	d.now = d.now.Add(time.Second)
	if _, err := d.use(g); err != nil {
		t.Error(err)
	}
}

// TestOvershoot is the bound that reserve promises.
func TestOvershoot(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := newDesk()
		limit := grant.Money(rapid.Int64Range(1, 5000).Draw(t, "limit"))
		g := lend("g", func(g *grant.Grant) { g.Budget = &grant.Budget{Limit: limit, Per: grant.Total} })
		dearest := rapid.Int64Range(0, 2*int64(limit)).Draw(t, "dearest")
		type way struct {
			permit     grant.Permit
			hold, cost grant.Money
		}
		var under []way
		bound := limit
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			if len(under) > 0 && rapid.IntRange(0, 2).Draw(t, "settle") == 0 {
				i := rapid.IntRange(0, len(under)-1).Draw(t, "which")
				w := under[i]
				under = append(under[:i], under[i+1:]...)
				if err := d.Settle(w.permit, noon, grant.Outcome{Status: 200, Cost: w.cost, Known: true}); err != nil {
					t.Fatal(err)
				}
				continue
			}
			before := d.usage(g)
			p, err := d.use(g)
			if err != nil {
				if den, ok := errors.AsType[*grant.Denial](err); !ok || (den.RetryAfter != 0) {
					t.Fatal(err)
				}
				if before.Held == 0 && before.Spent < limit {
					t.Fatalf("denied with nothing under way and %s left", limit-before.Spent)
				}
				continue
			}
			under = append(under, way{p, d.tape.last().Hold, grant.Money(rapid.Int64Range(0, dearest).Draw(t, "cost"))})
			if bound = limit; len(under) == 1 {
				bound += under[0].cost - 1
			} else {
				for _, w := range under {
					bound += max(0, w.cost-w.hold)
				}
			}
			if len(under) > 100 {
				t.Fatalf("%d under way", len(under))
			}
		}
		for _, w := range under {
			if err := d.Settle(w.permit, noon, grant.Outcome{Status: 200, Cost: w.cost, Known: true}); err != nil {
				t.Fatal(err)
			}
		}
		if got := d.usage(g); got.Spent > bound || got.Held != 0 {
			t.Fatalf("%+v of %d, the bound is %d", got, limit, bound)
		}
	})
}

// TestHeldIsNotSpent: whoever is denied because of requests under way is not
// told to wait for the next month.
func TestHeldIsNotSpent(t *testing.T) {
	d := newDesk()
	g := lend("g", budget("1usd/month"))
	d.spend(t, g, grant.USD/2)
	p, err := d.use(g) // holds the other half
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.use(g)
	den, ok := errors.AsType[*grant.Denial](err)
	if !ok || den.Code != grant.CodeBudgetSpent || den.RetryAfter != 0 {
		t.Fatalf("%v", err)
	}
	if err := d.Settle(p, noon, grant.Outcome{Status: 400}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.use(g); err != nil {
		t.Error(err)
	}
}

func TestHugeValues(t *testing.T) {
	d := newDesk()
	g := lend("g", func(g *grant.Grant) {
		g.Budget = &grant.Budget{Limit: math.MaxInt64, Per: grant.Day}
		g.Requests = &grant.Requests{Limit: math.MaxInt64, Per: grant.Total}
		g.Rate = &grant.Rate{Limit: 1e6, Per: math.MaxInt64}
	})
	d.spend(t, g, math.MaxInt64-1)
	if got := d.usage(g).Spent; got != math.MaxInt64-1 {
		t.Errorf("%d", got)
	}
	a, err := d.use(g) // holds as much as the last one cost
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.use(g); err == nil {
		t.Error("more than there is")
	}
	if err := d.Settle(a, d.now, grant.Outcome{Status: 200, Cost: math.MaxInt64, Known: true}); err != nil {
		t.Fatal(err)
	}
	if got := d.usage(g); got.Spent != math.MaxInt64 || got.Held != 0 {
		t.Errorf("%+v", got)
	}
	if _, err := d.use(g); err == nil {
		t.Error("a sum wrapped around")
	}
	// Counters that no ledger writes deny rather than wrap.
	d.ledger.Restore(map[string]grant.Account{
		"g": {ReqUsed: math.MinInt64, Spent: math.MinInt64, Largest: math.MinInt64, Open: map[string]grant.Money{"a": math.MaxInt64, "b": math.MaxInt64, "c": -5}},
	})
	if got := d.usage(g); got.Spent != 0 || got.Requests != 0 || got.Held != math.MaxInt64 {
		t.Errorf("%+v", got)
	}
	if _, err := d.use(g); err == nil {
		t.Error("held sums wrap around")
	}
	d.ledger.Replay(g, grant.Event{Op: grant.OpSettle, Grant: "g", Request: "a"})
	if got := d.usage(g); got.Held != math.MaxInt64 {
		t.Errorf("a sum that has lost count goes down: %+v", got)
	}
}

// TestReplayOfOddEntries: no entry, whoever wrote it, gives anything back.
func TestReplayOfOddEntries(t *testing.T) {
	d := newDesk()
	g := lend("g", budget("1usd"), budget("5req"))
	p, err := d.use(g)
	if err != nil {
		t.Fatal(err)
	}
	before := d.usage(g)
	for _, e := range []grant.Event{
		{},
		{Op: grant.OpUse, Grant: "g", Request: "x", Decision: grant.Denied, Hold: 5},
		{Op: grant.OpUse, Grant: "g", Request: "x", Hold: 5},
		{Op: grant.OpUse, Grant: "h", Request: "x", Decision: grant.Allowed, Hold: 5},
		{Op: grant.OpSettle, Grant: "g", Request: "unknown", Cost: 5},
		{Op: grant.OpSettle, Grant: "h", Request: "r1", Cost: 5},
		{Op: "grant.create", Grant: "g"},
	} {
		d.ledger.Replay(g, e)
		if got := d.usage(g); got != before {
			t.Errorf("%+v: %+v", e, got)
		}
	}
	d.ledger.Replay(g, grant.Event{Op: grant.OpUse, Grant: "g", Request: "n", Decision: grant.Allowed, Hold: -5, Time: noon})
	if got := d.usage(g); got.Held != before.Held || got.Requests != 2 {
		t.Errorf("negative hold: %+v", got)
	}
	d.ledger.Replay(g, grant.Event{Op: grant.OpSettle, Grant: "g", Request: "n", Cost: -5, Time: noon})
	if got := d.usage(g); got.Spent != 0 {
		t.Errorf("negative cost: %+v", got)
	}
	if err := d.Settle(p, noon, grant.Outcome{Status: 200, Cost: 1, Known: true}); err != nil || d.usage(g).Spent != 1 {
		t.Errorf("%+v, %v", d.usage(g), err)
	}
}

// TestRateSurvivesACrash: a restart is no way to a second burst.
func TestRateSurvivesACrash(t *testing.T) {
	d := newDesk()
	g := lend("g", rate("60/h"))
	for range 30 {
		d.spend(t, g, 0)
	}
	snap, size := d.ledger.Snapshot(), len(d.tape.all())
	for range 30 {
		d.spend(t, g, 0)
	}
	for name, from := range map[string]struct {
		snap map[string]grant.Account
		size int
	}{"snapshot": {snap, size}, "no snapshot": {}} {
		again := newDesk()
		again.ledger.Restore(from.snap)
		for _, e := range d.tape.all()[from.size:] {
			again.ledger.Replay(g, e)
		}
		_, err := again.use(g)
		if den, ok := errors.AsType[*grant.Denial](err); !ok || den.Code != grant.CodeRateLimited || den.RetryAfter != time.Minute {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestExactUnderLoad: as many permits as the budget has requests, however many
// ask at once, and also if records fail in between.
func TestExactUnderLoad(t *testing.T) {
	const limit, askers = 500, 16
	for _, failing := range []bool{false, true} {
		d := newDesk()
		var n atomic.Int64
		if failing {
			d.tape.before = func(grant.Event) error {
				if n.Add(1)%3 == 0 {
					return errDisk
				}
				return nil
			}
		}
		g := lend("g", budget(fmt.Sprintf("%dreq", limit)), budget("1000usd"))
		var permits atomic.Int64
		var wg sync.WaitGroup
		for range askers {
			wg.Go(func() {
				for {
					p, err := d.use(g)
					if errors.Is(err, errDisk) {
						continue
					}
					if _, denied := errors.AsType[*grant.Denial](err); denied {
						if failing && permits.Load() < limit {
							continue // somebody's reservation may yet be undone
						}
						return
					}
					if permits.Add(1); permits.Load() > limit {
						t.Error("too many")
						return
					}
					if err := d.Settle(p, d.now, grant.Outcome{Status: 200, Cost: 1000, Known: true}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if got := permits.Load(); got != limit {
			t.Errorf("failing %v: %d permits, want %d", failing, got, limit)
		}
		if got := d.usage(g); got != (grant.Usage{Requests: limit, Spent: limit * 1000}) {
			t.Errorf("failing %v: %+v", failing, got)
		}
	}
}

func TestDrop(t *testing.T) {
	d := newDesk()
	g, kept := lend("g", budget("2req")), lend("kept", budget("2req"))
	p, err := d.use(g)
	if err != nil {
		t.Fatal(err)
	}
	d.spend(t, kept, 1)
	d.ledger.Drop("g")
	d.ledger.Drop("unknown")
	// The answer to a request of a revoked grant comes late, or its owner
	// looks at it: neither brings its account back.
	if err := d.Settle(p, noon, grant.Outcome{Status: 200, Cost: 5, Known: true}); err != nil {
		t.Fatal(err)
	}
	if got := d.usage(g); got != (grant.Usage{}) {
		t.Errorf("%+v", got)
	}
	if snap := d.ledger.Snapshot(); len(snap) != 1 || snap["kept"].ReqUsed != 1 {
		t.Errorf("%+v", snap)
	}
}

// TestSnapshotIsACopy: what is counted later does not show in a snapshot, and
// what is done to a snapshot does not count.
func TestSnapshotIsACopy(t *testing.T) {
	d := newDesk()
	g := lend("g", budget("1usd"))
	if _, err := d.use(g); err != nil {
		t.Fatal(err)
	}
	snap := d.ledger.Snapshot()
	if _, err := d.use(g); err != nil {
		t.Fatal(err)
	}
	if a := snap["g"]; a.ReqUsed != 1 || len(a.Open) != 1 {
		t.Errorf("%+v", a)
	}
	d.ledger.Restore(snap)
	delete(snap["g"].Open, "r1")
	d.ledger.CloseOpen()
	if got := d.usage(g); got != (grant.Usage{Requests: 1, Spent: grant.USD / 100}) {
		t.Errorf("%+v", got)
	}
}

// BenchmarkUse: the check costs the same whatever else the ledger holds.
func BenchmarkUse(b *testing.B) {
	for _, accounts := range []int{1_000, 1_000_000} {
		b.Run(fmt.Sprintf("accounts=%d", accounts), func(b *testing.B) {
			snap := make(map[string]grant.Account, accounts)
			for i := range accounts {
				snap[fmt.Sprintf("g%d", i)] = grant.Account{ReqStart: noon, ReqUsed: 1, Spent: 1}
			}
			ledger := grant.NewLedger()
			ledger.Restore(snap)
			snap = nil
			d := grant.NewDecider(ledger, silent{})
			g := lend("g7", budget("9223372036854775807req/day"), budget("$9223372036/day"), rate("1000000/s"))
			pol := catalogue
			r := grant.Request{ID: "r", Method: "POST", Path: "/chat", Time: noon}
			b.ReportAllocs()
			for b.Loop() {
				r.Time = r.Time.Add(time.Microsecond)
				p, err := d.Use(ctx, bot, alice, or, g, pol, r)
				if err != nil {
					b.Fatal(err)
				}
				if err := d.Settle(p, r.Time, grant.Outcome{Status: 200, Cost: 1, Known: true}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestSilenceIsNotCheap: an agent that sees to it that no answer says what it
// cost has its budget used up after ten, or as many as the owner's own estimate
// allows, however little the answers before said.
func TestSilenceIsNotCheap(t *testing.T) {
	for unknown, want := range map[grant.Money]int{0: 10, grant.USD / 2: 2, grant.USD / 20: 20} {
		for _, o := range []grant.Outcome{{Status: 200}, {Status: 200, Reason: "client-closed", Cost: 1, Known: true}} {
			d := newDesk()
			g := lend("g", budget("1usd/day"))
			g.Budget.Unknown = unknown
			n := 0
			for ; n < 1000; n++ {
				p, err := d.use(g)
				if err != nil {
					break
				}
				if err := d.Settle(p, noon, o); err != nil {
					t.Fatal(err)
				}
			}
			if n != want {
				t.Errorf("unknown %s: %d requests, want %d", unknown, n, want)
			}
		}
	}
}
