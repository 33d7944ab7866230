package grant_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/litentry/agentkeys/internal/grant"
)

type silent struct{}

func (silent) Record(context.Context, grant.Event) error { return nil }
func (silent) Note(grant.Event) error                    { return nil }

// account is the ledger's arithmetic said once more: every charge with the
// window that it was charged to, and nothing ever reset.
type account struct {
	grant   *grant.Grant
	latest  time.Time // that a use was asked for: windows do not come back
	uses    map[time.Time]int64
	spent   map[time.Time]grant.Money
	largest grant.Money
	held    map[string]grant.Money
}

func newAccount(g *grant.Grant) *account {
	return &account{grant: g, uses: map[time.Time]int64{}, spent: map[time.Time]grant.Money{}, held: map[string]grant.Money{}}
}

func (a *account) windows() (requests, money time.Time) {
	if a.grant.Requests != nil {
		requests = a.grant.Requests.Per.Start(a.latest)
	}
	if a.grant.Budget != nil {
		money = a.grant.Budget.Per.Start(a.latest)
	}
	return requests, money
}

func (a *account) usage(now time.Time) grant.Usage {
	was := a.latest
	a.see(now)
	requests, money := a.windows()
	a.latest = was
	u := grant.Usage{Requests: a.uses[requests], Spent: a.spent[money]}
	for _, h := range a.held {
		u.Held += h
	}
	return u
}

func (a *account) see(now time.Time) {
	if now.After(a.latest) {
		a.latest = now
	}
}

// use returns the code of a denial, or "" and the hold.
func (a *account) use(id string, now time.Time) (grant.Code, grant.Money) {
	a.see(now)
	u := a.usage(now)
	if r := a.grant.Requests; r != nil && u.Requests >= r.Limit {
		return grant.CodeRequestsSpent, 0
	}
	var hold grant.Money
	if b := a.grant.Budget; b != nil {
		hold = max(a.largest, (b.Limit+99)/100)
		if u.Spent+u.Held >= b.Limit || u.Held > 0 && u.Spent+u.Held+hold > b.Limit {
			return grant.CodeBudgetSpent, 0
		}
		a.held[id] = hold
	}
	requests, _ := a.windows()
	a.uses[requests]++
	return "", hold
}

func (a *account) undo(id string) {
	requests, _ := a.windows()
	a.uses[requests]--
	delete(a.held, id)
}

func (a *account) settle(id string, cost grant.Money, known bool) {
	if !known {
		cost = a.held[id]
		if b := a.grant.Budget; b != nil {
			cost = max(cost, (b.Limit+9)/10)
		}
	} else {
		a.largest = max(a.largest, cost)
	}
	delete(a.held, id)
	_, money := a.windows()
	a.spent[money] += cost
}

func drawGrant(t *rapid.T, id string) *grant.Grant {
	windows := rapid.SampledFrom([]grant.Window{grant.Hour, grant.Day, grant.Week, grant.Month, grant.Total})
	g := lend(id, func(g *grant.Grant) { g.Expires = noon.AddDate(1000, 0, 0) })
	if rapid.Bool().Draw(t, "has requests") {
		g.Requests = &grant.Requests{Limit: rapid.Int64Range(1, 12).Draw(t, "requests"), Per: windows.Draw(t, "per")}
	}
	if rapid.Bool().Draw(t, "has budget") {
		g.Budget = &grant.Budget{Limit: grant.Money(rapid.Int64Range(1, 1000).Draw(t, "budget")), Per: windows.Draw(t, "per")}
	}
	return g
}

func drawStep(t *rapid.T) time.Duration {
	return time.Duration(rapid.SampledFrom([]int64{
		0, 1, int64(time.Minute), int64(time.Hour), int64(25 * time.Hour), int64(8 * 24 * time.Hour), int64(-time.Minute), int64(-30 * time.Hour),
	}).Draw(t, "step"))
}

// TestLedgerModel: uses, settlements, failed records and a restless clock,
// against the model.
func TestLedgerModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := newDesk()
		models := map[string]*account{}
		var grants []*grant.Grant
		for i := range 2 {
			g := drawGrant(t, fmt.Sprintf("g%d", i))
			grants = append(grants, g)
			models[g.ID] = newAccount(g)
		}
		type way struct {
			permit grant.Permit
			grant  *grant.Grant
			id     string
		}
		var under []way
		t.Repeat(map[string]func(*rapid.T){
			"use": func(t *rapid.T) {
				g := rapid.SampledFrom(grants).Draw(t, "grant")
				m := models[g.ID]
				failing := rapid.IntRange(0, 4).Draw(t, "failing") == 0
				r := d.request()
				want, hold := m.use(r.ID, d.now)
				d.tape.before = func(grant.Event) error {
					if failing {
						return errDisk
					}
					return nil
				}
				p, err := d.Use(ctx, bot, alice, or, g, anything, r)
				if failing && want == "" {
					if !errors.Is(err, errDisk) {
						t.Fatal(err)
					}
					m.undo(r.ID)
					return
				}
				if err == nil != (want == "") {
					t.Fatalf("%v, want %q", err, want)
				}
				if den, ok := errors.AsType[*grant.Denial](err); err != nil && (!ok || den.Code != want) {
					t.Fatalf("%v, want %q", err, want)
				}
				if err == nil {
					if e := d.tape.last(); e.Hold != hold {
						t.Fatalf("holds %d, want %d", e.Hold, hold)
					}
					under = append(under, way{p, g, r.ID})
				}
			},
			"settle": func(t *rapid.T) {
				if len(under) == 0 {
					t.Skip()
				}
				i := rapid.IntRange(0, len(under)-1).Draw(t, "which")
				w := under[i]
				under = append(under[:i], under[i+1:]...)
				o := grant.Outcome{Status: 200, Known: rapid.Bool().Draw(t, "known"), Cost: grant.Money(rapid.Int64Range(-50, 500).Draw(t, "cost"))}
				if err := d.Settle(w.permit, d.now, o); err != nil {
					t.Fatal(err)
				}
				models[w.grant.ID].settle(w.id, o.Cost, o.Known && o.Cost >= 0)
			},
			"time": func(t *rapid.T) { d.now = d.now.Add(drawStep(t)) },
			"json": func(t *rapid.T) { d.ledger.Restore(throughJSON(t, d.ledger.Snapshot())) },
			"": func(t *rapid.T) {
				for id, m := range models {
					if got, want := d.usage(m.grant), m.usage(d.now); got != want {
						t.Fatalf("%s: %+v, want %+v", id, got, want)
					}
				}
			},
		})
	})
}

func throughJSON(t *rapid.T, snap map[string]grant.Account) map[string]grant.Account {
	data, err := json.Marshal(snap)
	if err != nil {
		t.Fatal(err)
	}
	var back map[string]grant.Account
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	return back
}

// disk is a Recorder that keeps what was noted only once something is
// recorded behind it, as a log does that syncs for those who wait.
type disk struct {
	log     []grant.Event
	durable int
	fail    bool // the next Record fails,
	persist bool // and its entry is there nevertheless
	during  func()
}

func (k *disk) Record(_ context.Context, e grant.Event) error {
	if k.during != nil {
		k.during()
	}
	if k.fail {
		if k.persist {
			k.log = append(k.log, e)
		}
		return errDisk
	}
	k.log = append(k.log, e)
	k.durable = len(k.log)
	return nil
}

func (k *disk) Note(e grant.Event) error {
	k.log = append(k.log, e)
	return nil
}

// TestNoCrashGivesBudgetBack kills the process at any point: between the
// record and the settlement, with settlements not yet on the disk, before a
// snapshot, after one, with no snapshot at all. Over all lives, no window has
// more requests than its budget, and all that was charged stays charged: a
// cost that reached the disk or a snapshot as it is, any other as its hold.
func TestNoCrashGivesBudgetBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := &disk{}
		g := drawGrant(t, "g")
		if g.Budget != nil {
			g.Budget.Per = grant.Total // windows are the other model's business
		}
		type use struct {
			hold, cost grant.Money
			settled    int // 1 + position of its settlement in the log, -1: in the snapshot only
			lost       bool
		}
		type saved struct {
			size     int
			accounts map[string]grant.Account
			settled  map[string]bool
		}
		var (
			now     = noon
			n       int
			ledger  = grant.NewLedger()
			decider = grant.NewDecider(ledger, k)
			under   = map[string]grant.Permit{}
			order   []string
			uses    = map[string]*use{}
			windows = map[time.Time]int64{}
			ghosts  int64 // uses not permitted that are in the log or a snapshot all the same
			last    saved
		)
		snapshot := func() {
			last = saved{k.durable, throughJSON(t, ledger.Snapshot()), map[string]bool{}}
			for id, u := range uses {
				last.settled[id] = u.settled != 0
			}
		}
		check := func(t *rapid.T) {
			var want grant.Usage
			for _, u := range uses {
				if u.settled == 0 && !u.lost {
					want.Held += u.hold
				} else if u.lost {
					want.Spent += u.hold
				} else {
					want.Spent += u.cost
				}
			}
			if g.Requests != nil {
				want.Requests = windows[g.Requests.Per.Start(now)]
			} else {
				want.Requests = windows[time.Time{}]
			}
			got := ledger.Usage(g, now)
			if ghosts == 0 && got != want || got.Requests < want.Requests || got.Spent < want.Spent || got.Held < want.Held {
				t.Fatalf("%+v, want %+v, %d ghosts", got, want, ghosts)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"use": func(t *rapid.T) {
				n++
				id := fmt.Sprintf("r%d", n)
				k.fail = rapid.IntRange(0, 5).Draw(t, "failing") == 0
				k.persist = k.fail && rapid.Bool().Draw(t, "persisting")
				k.during = nil
				if rapid.IntRange(0, 5).Draw(t, "snapshot meanwhile") == 0 {
					k.during = snapshot
				}
				before := len(k.log)
				p, err := decider.Use(ctx, bot, alice, or, g, anything, grant.Request{ID: id, Method: "POST", Path: "/x", Time: now})
				if errors.Is(err, errDisk) && (len(k.log) > before || k.during != nil) {
					ghosts++
				}
				if err != nil {
					return
				}
				under[id] = p
				order = append(order, id)
				uses[id] = &use{hold: k.log[len(k.log)-1].Hold}
				w := time.Time{}
				if g.Requests != nil {
					w = g.Requests.Per.Start(now)
				}
				if windows[w]++; g.Requests != nil && windows[w] > g.Requests.Limit {
					t.Fatalf("%d requests in the window of %s, of %s", windows[w], w, g.Requests)
				}
			},
			"settle": func(t *rapid.T) {
				if len(order) == 0 {
					t.Skip()
				}
				i := rapid.IntRange(0, len(order)-1).Draw(t, "which")
				id := order[i]
				order = append(order[:i], order[i+1:]...)
				o := grant.Outcome{Status: 200, Known: true, Cost: grant.Money(rapid.Int64Range(0, 300).Draw(t, "cost"))}
				if err := decider.Settle(under[id], now, o); err != nil {
					t.Fatal(err)
				}
				uses[id].cost, uses[id].settled = o.Cost, len(k.log)
			},
			"time":     func(t *rapid.T) { now = now.Add(max(0, drawStep(t))) },
			"snapshot": func(*rapid.T) { snapshot() },
			"crash": func(t *rapid.T) {
				kept := rapid.IntRange(k.durable, len(k.log)).Draw(t, "kept")
				k.log, k.durable = k.log[:kept], kept
				if rapid.IntRange(0, 3).Draw(t, "snapshot unreadable") == 0 {
					last = saved{}
				}
				ledger = grant.NewLedger()
				ledger.Restore(last.accounts)
				for _, e := range k.log[last.size:] {
					ledger.Replay(g, e)
					ledger.Replay(lend("another"), e)
				}
				ledger.CloseOpen()
				decider = grant.NewDecider(ledger, k)
				under, order = map[string]grant.Permit{}, nil
				for id, u := range uses {
					switch {
					case u.lost || u.settled > 0 && u.settled <= kept:
					case last.settled[id]:
						u.settled = -1
					default:
						u.settled, u.lost = 0, true
					}
				}
			},
			"": check,
		})
	})
}
