package grant

import (
	"sync"
	"time"
)

// Ledger counts what grants have used. It is safe for concurrent use. After a
// restart it is rebuilt from a Snapshot and the audit entries that follow it,
// so that no crash gives a budget back.
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

// reserve takes one request, and a hold of money, out of g's budgets. The
// hold is the largest cost seen under the grant, at least a hundredth of the
// budget: what a request costs is known only after its answer, so requests
// already on their way can overshoot, each by its own cost less its hold.
func (l *Ledger) reserve(g *Grant, reqID string, now time.Time) (Money, *Denial) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.account(g.ID)
	a.roll(g, now)
	if g.Requests != nil && a.ReqUsed >= g.Requests.Limit {
		return 0, deny(CodeRequestsSpent, retryAt(g.Requests.Per.End(now), now),
			"the grant's budget of %s is used up", g.Requests)
	}
	var hold Money
	if g.Budget != nil {
		hold = max(a.Largest, g.Budget.Limit/100, 1)
		taken := a.Spent.plus(a.held)
		if taken >= g.Budget.Limit || a.held > 0 && taken.plus(hold) > g.Budget.Limit {
			return 0, deny(CodeBudgetSpent, retryAt(g.Budget.Per.End(now), now),
				"the grant's budget of %s is used up: %s spent, %s held for requests under way", g.Budget, a.Spent, a.held)
		}
	}
	if g.Rate != nil {
		next := a.TAT
		if next.Before(now) {
			next = now
		}
		next = next.Add(g.Rate.Per / time.Duration(g.Rate.Limit))
		if wait := next.Sub(now) - g.Rate.Per; wait > 0 {
			return 0, deny(CodeRateLimited, wait, "the grant allows %s", g.Rate)
		}
		a.TAT = next
	}
	a.take(reqID, hold)
	return hold, nil
}

func (a *Account) take(reqID string, hold Money) {
	a.ReqUsed++
	if hold > 0 {
		if a.Open == nil {
			a.Open = map[string]Money{}
		}
		a.Open[reqID] = hold
		a.held = a.held.plus(hold)
	}
}

// undo gives back a reservation whose record failed. The rate keeps its count.
func (l *Ledger) undo(id, reqID string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.account(id)
	a.ReqUsed = max(0, a.ReqUsed-1)
	a.close(reqID)
}

func (a *Account) close(reqID string) Money {
	hold := a.Open[reqID]
	delete(a.Open, reqID)
	a.held -= hold
	return hold
}

func (l *Ledger) settle(id, reqID string, cost Money, known bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.account(id).settle(reqID, cost, known)
}

func (a *Account) settle(reqID string, cost Money, known bool) {
	a.close(reqID)
	a.Spent = a.Spent.plus(cost)
	if known {
		a.Largest = max(a.Largest, cost)
	}
}

// Replay applies an audit entry of g written before this process started.
// Applying an entry that a Snapshot holds already charges nothing twice for a
// grant with a money budget; a request may be counted twice.
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
		if _, open := a.Open[e.Request]; !open {
			a.take(e.Request, e.Hold)
		}
	case e.Op == OpSettle:
		if _, open := a.Open[e.Request]; open || g.Budget == nil {
			a.settle(e.Request, e.Cost, !e.Estimate)
		}
	}
}

// CloseOpen charges every reservation that was under way when the last
// process ended: its cost is not known, so its hold is spent.
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
		c.Open = make(map[string]Money, len(a.Open))
		for k, v := range a.Open {
			c.Open[k] = v
		}
		out[id] = c
	}
	return out
}

// Restore replaces every account by a snapshot's.
func (l *Ledger) Restore(snap map[string]Account) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.accounts = make(map[string]*Account, len(snap))
	for id, a := range snap {
		a.held = 0
		for _, h := range a.Open {
			a.held = a.held.plus(h)
		}
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
	a := l.account(g.ID)
	a.roll(g, now)
	return Usage{a.ReqUsed, a.Spent, a.held}
}

func retryAt(end, now time.Time) time.Duration {
	if end.IsZero() {
		return 0
	}
	return end.Sub(now)
}
