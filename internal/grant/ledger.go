package grant

import (
	"fmt"
	"maps"
	"sync"
	"time"
)

// Ledger counts what grants have used. It is safe for concurrent use. After a
// restart it is rebuilt from a Snapshot and the audit entries that follow it,
// so that no crash gives a budget back.
//
// A clock that goes backwards gives no window back either: a window that has
// begun lasts until its end by the clock. A clock that was far ahead for a
// while therefore leaves its mark until that time comes; new terms for the
// grant, which count from zero, are the way out.
type Ledger struct {
	mu       sync.Mutex
	accounts map[string]*Account
}

// Account is the state of one grant's counters. Its JSON is part of a
// snapshot, not of any wire format.
type Account struct {
	ReqStart time.Time `json:"req_start"`
	ReqUsed  int64     `json:"req_used"`
	Start    time.Time `json:"start"`
	Spent    Money     `json:"spent_nusd"`
	Largest  Money     `json:"largest_nusd"`
	// Open holds the reservations not settled yet, by request id.
	Open map[string]Money `json:"open,omitempty"`
	// TAT is the theoretical arrival time of the generic cell rate algorithm.
	TAT time.Time `json:"tat,omitzero"`

	held Money
}

// NewLedger makes an empty ledger.
func NewLedger() *Ledger { return &Ledger{accounts: map[string]*Account{}} }

func (l *Ledger) account(id string) *Account {
	a := l.accounts[id]
	if a == nil {
		a = &Account{Open: map[string]Money{}}
		l.accounts[id] = a
	}
	return a
}

// roll starts new windows where the old ones have ended.
func (a *Account) roll(g *Grant, now time.Time) {
	if g.Requests != nil {
		if s := g.Requests.Per.Start(now); s.After(a.ReqStart) {
			a.ReqStart, a.ReqUsed = s, 0
		}
	}
	if g.Budget != nil {
		if s := g.Budget.Per.Start(now); s.After(a.Start) {
			a.Start, a.Spent = s, 0
		}
	}
}

// reservation is what reserve took, for undo to give back.
type reservation struct {
	hold   Money
	window time.Time // that the request was counted in
}

// reserve takes one request, and a hold of money, out of g's budgets. What a
// request costs is known only after its answer, so the hold is a guess: the
// largest cost seen under the grant, at least a hundredth of the budget. While
// requests are under way, another goes out only if its hold fits the rest;
// with none under way one goes out as long as anything is left. So, as far as
// answers say what they cost, a budget is
// overshot by less than one request's cost when they come one after the other,
// and otherwise by no more than that and what each of those under way, fewer
// than a hundred, costs beyond its hold.
func (l *Ledger) reserve(g *Grant, reqID string, now time.Time) (reservation, *Denial, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.account(g.ID)
	if a.Open[reqID] > 0 {
		return reservation{}, nil, fmt.Errorf("request id %q is under way already", reqID)
	}
	a.roll(g, now)
	if g.Requests != nil && a.ReqUsed >= g.Requests.Limit {
		return reservation{}, deny(CodeRequestsSpent, wait(g.Requests.Per, a.ReqStart, now),
			"the grant's budget of %s is used up", g.Requests), nil
	}
	var hold Money
	if g.Budget != nil {
		hold = max(a.Largest, (g.Budget.Limit-1)/100+1)
		taken := a.Spent.plus(a.held)
		if taken >= g.Budget.Limit || a.held > 0 && taken.plus(hold) > g.Budget.Limit {
			var after time.Duration // how long those under way take is not known
			if a.Spent >= g.Budget.Limit {
				after = wait(g.Budget.Per, a.Start, now)
			}
			return reservation{}, deny(CodeBudgetSpent, after,
				"the grant's budget of %s is used up: %s spent, %s held for requests under way", g.Budget, a.Spent, a.held), nil
		}
	}
	if g.Rate != nil {
		burst := g.Rate.burst()
		tat := a.tick(g.Rate, now)
		if early := tat.Sub(now) - burst; early > 0 {
			return reservation{}, deny(CodeRateLimited, early, "the grant allows %s", g.Rate), nil
		}
		a.TAT = tat
	}
	a.take(reqID, hold)
	return reservation{hold, a.ReqStart}, nil, nil
}

// tick returns the theoretical arrival time after one more request at now. One
// that lies further ahead than a whole burst comes from a clock that has gone
// backwards since; it counts as a burst just made.
func (a *Account) tick(r *Rate, now time.Time) time.Time {
	if full := now.Add(r.burst()); a.TAT.After(full) {
		a.TAT = full
	}
	tat := a.TAT
	if tat.Before(now) {
		tat = now
	}
	return tat.Add(r.interval())
}

// take counts a request. Every one is open until it is settled, so that Replay
// knows those it has counted.
func (a *Account) take(reqID string, hold Money) {
	a.ReqUsed++
	a.Open[reqID] = hold
	a.held = a.held.plus(hold)
}

// undo gives back a reservation whose record failed, unless its window has
// ended since: the present one has not been charged for it. The rate keeps
// its count.
func (l *Ledger) undo(id, reqID string, r reservation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.accounts[id]
	if a == nil {
		return
	}
	if a.ReqStart.Equal(r.window) {
		a.ReqUsed = max(0, a.ReqUsed-1)
	}
	a.close(reqID)
}

func (a *Account) close(reqID string) Money {
	hold := a.Open[reqID]
	delete(a.Open, reqID)
	a.held = a.held.minus(hold)
	if len(a.Open) == 0 {
		a.held = 0
	}
	return hold
}

func (l *Ledger) settle(id, reqID string, cost Money, known bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a := l.accounts[id]; a != nil { // else the grant was dropped meanwhile
		a.settle(reqID, cost, known)
	}
}

func (a *Account) settle(reqID string, cost Money, known bool) {
	a.close(reqID)
	cost = max(0, cost)
	a.Spent = a.Spent.plus(cost)
	if known {
		a.Largest = max(a.Largest, cost)
	}
}

// Replay applies an audit entry of g written before this process started, in
// the order of the log. Entries that the Snapshot holds already are known by
// their request, so none is charged twice but a request that both began and
// ended while the snapshot was taken; none is left out.
func (l *Ledger) Replay(g *Grant, e Event) {
	if e.Grant != g.ID {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.account(g.ID)
	switch {
	case e.Op == OpUse && e.Decision == Allowed:
		a.roll(g, e.Time)
		if g.Rate != nil {
			a.TAT = a.tick(g.Rate, e.Time)
		}
		if _, open := a.Open[e.Request]; !open {
			a.take(e.Request, max(0, e.Hold))
		}
	case e.Op == OpSettle:
		if _, open := a.Open[e.Request]; open {
			a.settle(e.Request, e.Cost, !e.Estimate)
		}
	}
}

// CloseOpen charges every reservation that was under way when the last
// process ended: its cost is not known, so its hold is spent. That is so also
// for one that had been settled when the settlement, which waits for no disk,
// was lost in the crash.
func (l *Ledger) CloseOpen() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.accounts {
		for id := range a.Open {
			a.Spent = a.Spent.plus(a.close(id))
		}
	}
}

// Drop forgets a grant.
func (l *Ledger) Drop(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.accounts, id)
}

// Snapshot copies every account.
func (l *Ledger) Snapshot() map[string]Account {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[string]Account, len(l.accounts))
	for id, a := range l.accounts {
		c := *a
		c.Open = maps.Clone(a.Open)
		out[id] = c
	}
	return out
}

// Restore replaces every account by a snapshot's. Counters below zero, which
// no Ledger has, count as zero.
func (l *Ledger) Restore(snap map[string]Account) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.accounts = make(map[string]*Account, len(snap))
	for id, a := range snap {
		a.ReqUsed, a.Spent, a.Largest = max(0, a.ReqUsed), max(0, a.Spent), max(0, a.Largest)
		a.held = 0
		open := make(map[string]Money, len(a.Open))
		for req, h := range a.Open {
			open[req] = max(0, h)
			a.held = a.held.plus(open[req])
		}
		a.Open = open
		l.accounts[id] = &a
	}
}

// Usage is what a grant has used in its present windows.
type Usage struct {
	Requests int64 `json:"requests"`
	Spent    Money `json:"spent_nusd"`
	Held     Money `json:"held_nusd"`
}

// Usage returns the counters of g as of now.
func (l *Ledger) Usage(g *Grant, now time.Time) Usage {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.accounts[g.ID]
	if a == nil {
		return Usage{}
	}
	c := *a // to look must not roll the windows
	c.roll(g, now)
	return Usage{c.ReqUsed, c.Spent, c.held}
}

// wait is the time from now to the end of the window that began at start.
func wait(w Window, start, now time.Time) time.Duration {
	end := w.End(start)
	if end.IsZero() {
		return 0
	}
	return end.Sub(now)
}
