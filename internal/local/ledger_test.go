package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/audit"
	"github.com/litentry/agentkeys/internal/book"
	"github.com/litentry/agentkeys/internal/grant"
)

// use has the agent of a grant use it once.
func (w *world) use(g *grant.Grant, id string) grant.Permit {
	w.t.Helper()
	r, err := w.routes.Route(g.Svc)
	if err != nil {
		w.t.Fatal(err)
	}
	p, err := w.decider.Use(context.Background(), g.Agent, g.Wallet, g.Svc, g, r.Policy, grant.Request{
		ID: id, Method: "POST", Path: "/chat/completions", Time: time.Now(),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func (w *world) settle(p grant.Permit, cost grant.Money) {
	w.t.Helper()
	if err := w.decider.Settle(p, time.Now(), grant.Outcome{Status: 200, Cost: cost, Known: true}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) usage(g *grant.Grant) grant.Usage {
	w.t.Helper()
	for _, i := range w.Grants() {
		if i.ID == g.ID {
			return i.Usage
		}
	}
	w.t.Fatalf("grant %s is gone", g.ID)
	return grant.Usage{}
}

// lentWorld has an agent with a budget in requests and in money.
func lentWorld(t *testing.T) (*world, *grant.Grant) {
	t.Helper()
	w := newWorld(t)
	w.store("openrouter", routerKey(1))
	w.agent("coder")
	g := w.lend("coder", "openrouter", book.Terms{
		Requests: &grant.Requests{Limit: 100, Per: grant.Total}, Budget: &grant.Budget{Limit: 100 * grant.USD, Per: grant.Total},
	})
	return w, g
}

// TestLedgerSurvives: what was used is used, however the process ended and
// whatever became of the snapshot.
func TestLedgerSurvives(t *testing.T) {
	w, g := lentWorld(t)
	for i := range 10 {
		w.settle(w.use(g, fmt.Sprint("r", i)), 3*grant.USD/100)
	}
	want := grant.Usage{Requests: 10, Spent: 30 * grant.USD / 100}
	if got := w.usage(g); got != want {
		t.Fatalf("%+v", got)
	}

	w.close()
	w.open()
	if got := w.usage(g); got != want {
		t.Errorf("after a restart: %+v", got)
	}
	path := w.paths.Ledger()
	snapshot, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for what, data := range map[string]string{
		"no snapshot": "", "half a snapshot": string(snapshot[:len(snapshot)/2]), "no JSON": "hello",
		"a snapshot of a negative log": strings.Replace(string(snapshot), `"size":`, `"size":-`, 1),
		"an empty object":              "{}",
	} {
		w.close()
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if data != "" {
			if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		w.open()
		if got := w.usage(g); got != want {
			t.Errorf("%s: %+v", what, got)
		}
	}
	if !strings.Contains(w.log.String(), "ledger snapshot unusable") {
		t.Error("nobody is told")
	}
	// A log that has lost what was counted is not begun anew.
	w.close()
	newer := strings.Replace(string(snapshot), `"size":`, `"size":1`, 1)
	if err := os.WriteFile(path, []byte(newer), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(w.options()); !errors.Is(err, ErrLogShort) {
		t.Errorf("a snapshot of a longer log: %v", err)
	}
}

// TestLedgerAfterKill: a kill gives nothing back. Of a request under way the
// hold is spent; a snapshot taken meanwhile counts no money twice.
func TestLedgerAfterKill(t *testing.T) {
	w, g := lentWorld(t)
	w.settle(w.use(g, "a"), 2*grant.USD)
	if err := w.saveLedger(); err != nil {
		t.Fatal(err)
	}
	w.settle(w.use(g, "b"), 2*grant.USD)
	under := w.use(g, "c") // under way; its hold is the largest cost seen
	if err := w.audit.Record(context.Background(), grant.Event{Op: "test.sync", Decision: grant.Done}); err != nil {
		t.Fatal(err)
	}
	k := w.killed()
	k.open()
	if got, want := k.usage(g), (grant.Usage{Requests: 3, Spent: 6 * grant.USD}); got != want {
		t.Errorf("after a kill: %+v, want %+v", got, want)
	}
	// And again, with nothing written in between.
	k2 := k.killed()
	k2.open()
	if got := k2.usage(g); got != k.usage(g) {
		t.Errorf("after another: %+v", got)
	}
	w.settle(under, grant.USD)
	if got, want := w.usage(g), (grant.Usage{Requests: 3, Spent: 5 * grant.USD}); got != want {
		t.Errorf("where nothing was killed: %+v, want %+v", got, want)
	}
}

// TestLedgerForgets: a grant that is gone leaves nothing behind, and one in its
// place counts from zero.
func TestLedgerForgets(t *testing.T) {
	w, g := lentWorld(t)
	w.settle(w.use(g, "a"), grant.USD)
	next := w.lend("coder", "openrouter", book.Terms{Requests: &grant.Requests{Limit: 5, Per: grant.Total}})
	if got := w.usage(next); got != (grant.Usage{}) {
		t.Errorf("a grant in the place of another: %+v", got)
	}
	w.use(next, "b")
	if err := w.Revoke(t.Context(), next.Agent, next.Svc); err != nil {
		t.Fatal(err)
	}
	path := w.paths.Ledger()
	w.close()
	var snap ledgerFile
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, &snap)
	}
	if err != nil || len(snap.Accounts) != 0 || snap.Size == 0 {
		t.Errorf("%s %v", data, err)
	}
	w.open()
	n := 0
	if err := w.audit.Replay(0, func(audit.Entry) error { n++; return nil }); err != nil || n == 0 {
		t.Errorf("%d entries, %v", n, err)
	}
}
