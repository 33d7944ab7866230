package grant_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/grant"
)

var (
	ctx    = context.Background()
	master = wallet(1)
	alice  = wallet(2)
	mallet = wallet(3)
	bot    = agentkeys.Must(agentkeys.ParseAgent("bot"))
	other  = agentkeys.Must(agentkeys.ParseAgent("other"))
	or     = agentkeys.Must(agentkeys.ParseService("openrouter"))
	brave  = agentkeys.Must(agentkeys.ParseService("brave-search"))

	// A Wednesday.
	noon = time.Date(2026, 4, 15, 12, 0, 0, 0, time.UTC)

	anything = grant.Policy{Allow: rules("* /**")}
)

func wallet(n byte) agentkeys.Wallet {
	return agentkeys.WalletFrom([agentkeys.WalletSize]byte{19: n})
}

func rules(texts ...string) []grant.Rule { return agentkeys.Must(grant.ParseRules(texts)) }

// lend is a grant of openrouter to bot for a year, changed by each of with.
func lend(id string, with ...func(*grant.Grant)) *grant.Grant {
	g := &grant.Grant{
		ID: id, Master: master, Wallet: alice, Agent: bot, Svc: or,
		Created: noon, Expires: noon.AddDate(1, 0, 0),
	}
	for _, f := range with {
		f(g)
	}
	return g
}

func budget(text string) func(*grant.Grant) {
	return func(g *grant.Grant) {
		money, requests, err := grant.ParseBudget(text)
		if err != nil {
			panic(err)
		}
		if money != nil {
			g.Budget = money
		} else {
			g.Requests = requests
		}
	}
}

func rate(text string) func(*grant.Grant) {
	return func(g *grant.Grant) { g.Rate = agentkeys.Must(grant.ParseRate(text)) }
}

// tape is a Recorder in memory.
type tape struct {
	mu     sync.Mutex
	events []grant.Event
	err    error // of every call, if set
	// before runs ahead of every Record, without the lock; its error is the
	// answer.
	before func(grant.Event) error
}

func (t *tape) Record(_ context.Context, e grant.Event) error {
	if t.before != nil {
		if err := t.before(e); err != nil {
			return err
		}
	}
	return t.Note(e)
}

func (t *tape) Note(e grant.Event) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil {
		t.events = append(t.events, e)
	}
	return t.err
}

func (t *tape) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.err = err
}

func (t *tape) all() []grant.Event {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]grant.Event(nil), t.events...)
}

func (t *tape) last() grant.Event {
	all := t.all()
	if len(all) == 0 {
		return grant.Event{}
	}
	return all[len(all)-1]
}

// desk is a Decider with its ledger, its tape and a clock.
type desk struct {
	*grant.Decider
	ledger *grant.Ledger
	tape   *tape
	now    time.Time

	mu sync.Mutex
	n  int
}

func newDesk() *desk {
	d := &desk{ledger: grant.NewLedger(), tape: &tape{}, now: noon}
	d.Decider = grant.NewDecider(d.ledger, d.tape)
	return d
}

func (d *desk) request() grant.Request {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.n++
	return grant.Request{ID: fmt.Sprintf("r%d", d.n), Method: "POST", Path: "/x", Time: d.now}
}

// use asks for one request under g, to a service that allows anything.
func (d *desk) use(g *grant.Grant) (grant.Permit, error) {
	return d.Use(ctx, bot, alice, or, g, anything, d.request())
}

// spend uses g once, at a known cost.
func (d *desk) spend(t testing.TB, g *grant.Grant, cost grant.Money) {
	t.Helper()
	p, err := d.use(g)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Settle(p, d.now, grant.Outcome{Status: 200, Cost: cost, Known: true}); err != nil {
		t.Fatal(err)
	}
}

func (d *desk) usage(g *grant.Grant) grant.Usage { return d.ledger.Usage(g, d.now) }

// code returns the code of a denial, "" for a permit, and fails on any other
// error or on a permit that comes with one.
func code(t testing.TB, p grant.Permit, err error) grant.Code {
	t.Helper()
	if err == nil {
		if !p.Allows(grant.ActUse, alice, or) {
			t.Fatal("no error, and no permit")
		}
		return ""
	}
	if p != (grant.Permit{}) {
		t.Fatalf("a permit comes with %v", err)
	}
	den, ok := errors.AsType[*grant.Denial](err)
	if !ok {
		t.Fatalf("%v is not a denial", err)
	}
	return den.Code
}
