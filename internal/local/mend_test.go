package local

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/book"
	"github.com/litentry/agentkeys/internal/envelope"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/secret"
)

const groqKey = "gsk_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOP"

// copies are what is stored under a wallet.
func (w *world) copies(wallet agentkeys.Wallet) string {
	w.t.Helper()
	infos, err := w.vault.Infos(w.t.Context(), wallet)
	if err != nil {
		w.t.Fatal(err)
	}
	var names []string
	for _, i := range infos {
		names = append(names, i.Service.String())
	}
	return strings.Join(names, " ")
}

// copyOf is what an agent's copy says.
func (w *world) copyOf(wallet agentkeys.Wallet, name string) string {
	w.t.Helper()
	p, err := w.decider.Own(w.t.Context(), grant.ActReveal, wallet, serviceOf(w.t, name), grant.Event{Time: time.Now(), Op: "test.read"})
	if err != nil {
		w.t.Fatal(err)
	}
	rec, _, err := w.vault.Load(w.t.Context(), p)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(rec.Secret.Expose())
}

// TestMendCopies: a copy without a grant goes, and one with a grant stays.
func TestMendCopies(t *testing.T) {
	w := newWorld(t)
	w.store("openrouter", routerKey(1))
	w.store("groq", groqKey)
	a, b := w.agent("a"), w.agent("b")
	w.lend("a", "openrouter", book.Terms{})
	// Killed between the copy and the grant.
	if err := w.sealCopy(t.Context(), a, serviceOf(t, "groq")); err != nil {
		t.Fatal(err)
	}
	// Killed between the end of a grant, or of an agent, and that of the copy.
	w.lend("b", "openrouter", book.Terms{})
	if _, err := w.book.RemoveAgent(t.Context(), b.Label, time.Now()); err != nil {
		t.Fatal(err)
	}
	if w.copies(a.Wallet) != "groq openrouter" || w.copies(b.Wallet) != "openrouter" {
		t.Fatalf("%q %q", w.copies(a.Wallet), w.copies(b.Wallet))
	}
	k := w.killed()
	k.open()
	if k.copies(a.Wallet) != "openrouter" || k.copies(b.Wallet) != "" || k.copies(k.wallet) != "groq openrouter" {
		t.Errorf("%q %q %q", k.copies(a.Wallet), k.copies(b.Wallet), k.copies(k.wallet))
	}
	if k.copyOf(a.Wallet, "openrouter") != routerKey(1) || k.revealed("groq") != groqKey {
		t.Error("a key was lost")
	}
	// A new agent under the old label is not in anybody's way.
	k.agent("b")
	k.lend("b", "openrouter", book.Terms{})
}

// TestMendStores: a store that was cut off between the owner's key and the
// agents' copies is gone on with.
func TestMendStores(t *testing.T) {
	for _, snapshot := range []bool{false, true} {
		t.Run(fmt.Sprintf("snapshot=%t", snapshot), func(t *testing.T) {
			w := newWorld(t)
			w.store("openrouter", routerKey(1))
			a := w.agent("coder")
			w.lend("coder", "openrouter", book.Terms{})
			if snapshot {
				if err := w.saveLedger(); err != nil {
					t.Fatal(err)
				}
			}
			ctx, svc := context.Background(), serviceOf(t, "openrouter")
			p, err := w.decider.Own(ctx, grant.ActStore, w.wallet, svc, grant.Event{Time: time.Now(), Op: opStore, Actor: w.wallet})
			if err == nil {
				_, err = w.vault.Store(ctx, p, envelope.Record{Secret: secret.FromString(routerKey(2)), Kind: "api-key", Route: "import"})
			}
			if err != nil {
				t.Fatal(err)
			}
			if w.copyOf(a.Wallet, "openrouter") != routerKey(1) {
				t.Fatal("the copy is new already")
			}
			k := w.killed()
			k.open()
			if k.revealed("openrouter") != routerKey(2) || k.copyOf(a.Wallet, "openrouter") != routerKey(2) {
				t.Errorf("the owner has %s, the agent %s", k.revealed("openrouter"), k.copyOf(a.Wallet, "openrouter"))
			}
			// What is finished is not done again.
			k.close()
			size := func() int64 { k.open(); defer k.close(); return k.audit.Size() }
			if first, second := size(), size(); second > first+3 {
				t.Errorf("%d entries, then %d after another start", first, second)
			}
		})
	}
}

// TestStoreIsDoneLast: a store is on record as done when the copies are
// renewed, or mend would not know.
func TestStoreIsDoneLast(t *testing.T) {
	w := newWorld(t)
	w.store("openrouter", routerKey(1))
	w.agent("coder")
	w.lend("coder", "openrouter", book.Terms{})
	if res := w.store("openrouter", routerKey(2)); len(res.Agents) != 1 {
		t.Errorf("%+v", res)
	}
	entries, err := w.audit.Tail(2)
	if err != nil || len(entries) != 2 {
		t.Fatal(entries, err)
	}
	last, before := entries[1].Event, entries[0].Event
	if last.Op != opStore || last.Decision != grant.Done || last.Revision != 2 || before.Agent.IsZero() {
		t.Errorf("%s %s after %s", last.Op, last.Decision, before.Op)
	}
}

// TestRemoteMend: a key whose storing was interrupted is sealed anew for the
// agents, and a copy without a grant, which another machine may be about to
// lend, goes if it stays one.
func TestRemoteMend(t *testing.T) {
	f, master, _, up := farWorld(t)
	ctx, router := t.Context(), serviceOf(t, "openrouter")
	second := master.agent("second")
	p, err := master.decider.Own(ctx, grant.ActStore, master.wallet, router, grant.Event{Time: time.Now(), Op: opStore, Actor: master.wallet})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := master.vault.Store(ctx, p, envelope.Record{Secret: secret.FromString(routerKey(2)), Kind: "api-key", Route: "import"}); err != nil {
		t.Fatal(err)
	}
	if err := master.sealCopy(ctx, second, router); err != nil {
		t.Fatal(err)
	}
	ledger := master.paths.Ledger()
	master.close()
	if err := os.Remove(ledger); err != nil { // it was killed, and did not save it
		t.Fatal(err)
	}
	master.openFar(f, "")
	within(t, "the copy is renewed", func() bool {
		time.Sleep(50 * time.Millisecond) // the budget is a hundred requests
		if status, body := master.ask("coder"); status != 200 {
			t.Fatal(status, body)
		}
		asked := up.requests()
		return asked[len(asked)-1].Header.Get("Authorization") == "Bearer "+routerKey(2)
	})
	within(t, "the agent is looked after", func() bool { return master.doubted("second") })
	master.sweep(ctx)
	if master.copies(second.Wallet) == "" {
		t.Error("gone at once")
	}
	master.sweep(ctx)
	if master.copies(second.Wallet) != "" {
		t.Error("a copy is left")
	}
}
