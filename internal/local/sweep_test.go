package local

import (
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/book"
	"github.com/litentry/agentkeys/internal/grant"
)

// doubted reports whether the next sweep looks at an agent.
func (w *world) doubted(label string) bool {
	w.Host.doubts.mu.Lock()
	defer w.Host.doubts.mu.Unlock()
	return w.Host.doubts.agents[agentOf(w.t, label)] != nil
}

// lendBriefly lends until soon, and returns when that is over.
func (w *world) lendBriefly(label, name string) {
	w.t.Helper()
	g := w.lend(label, name, book.Terms{Expires: time.Now().Add(100 * time.Millisecond)})
	within(w.t, "the grant is over", func() bool { return !w.inForce(g) })
}

// TestSweepExpired: the copy of a grant that expires goes, and a new key is not
// sealed for it again.
func TestSweepExpired(t *testing.T) {
	w := newWorld(t)
	w.store("openrouter", routerKey(1))
	w.store("groq", groqKey)
	a := w.agent("coder")
	w.lend("coder", "groq", book.Terms{})
	w.sweep(t.Context())
	w.lendBriefly("coder", "openrouter")
	if w.copies(a.Wallet) != "groq openrouter" {
		t.Fatal(w.copies(a.Wallet))
	}
	k := w.killed()
	w.sweep(t.Context())
	w.sweep(t.Context())
	if w.copies(a.Wallet) != "groq" || w.doubted("coder") {
		t.Errorf("%q, looked at again: %t", w.copies(a.Wallet), w.doubted("coder"))
	}
	if res := w.store("openrouter", routerKey(2)); len(res.Agents) != 0 || w.copies(a.Wallet) != "groq" {
		t.Errorf("%v %q", res.Agents, w.copies(a.Wallet))
	}
	if res := w.store("groq", groqKey); len(res.Agents) != 1 {
		t.Errorf("%v", res.Agents)
	}
	w.lend("coder", "openrouter", book.Terms{})
	if w.copyOf(a.Wallet, "openrouter") != routerKey(2) {
		t.Error("granted again, it has another key")
	}
	// What expired before a restart goes with it.
	k.open()
	if k.copies(a.Wallet) != "groq" {
		t.Errorf("%q", k.copies(a.Wallet))
	}
}

// expire ends every grant as the next state that a broker tells would.
func (f *far) expire() {
	var c Change
	f.set(func() {
		for k, g := range f.grants {
			c.Gone = append(c.Gone, g)
			delete(f.grants, k)
		}
	})
	f.tell(c)
}

// TestSweepRemote: the copy of a grant that has ended elsewhere goes, and that
// of one in force, or about to be, stays.
func TestSweepRemote(t *testing.T) {
	f, master, agent, _ := farWorld(t)
	ctx, coder, router := t.Context(), agentOf(t, "coder"), serviceOf(t, "openrouter")
	a, _ := master.Host.dir.Agent(coder)
	twice := func() string {
		master.sweep(ctx)
		master.sweep(ctx)
		return master.copies(a.Wallet)
	}
	master.doubt(coder)
	if twice() == "" {
		t.Fatal("a grant in force lost its copy")
	}
	f.expire()
	within(t, "the end was heard", func() bool { return master.doubted("coder") })
	// Another device grants anew, and is between copy and grant.
	master.sweep(ctx)
	if err := master.sealCopy(ctx, a, router); err != nil {
		t.Fatal(err)
	}
	master.sweep(ctx)
	if master.copies(a.Wallet) == "" {
		t.Error("a new copy is gone")
	}
	if _, err := (seen{far: f}).PutGrant(ctx, coder, router, book.Terms{Expires: time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	if status, body := agent.ask("coder"); twice() == "" || status != 200 {
		t.Errorf("%d %s", status, body)
	}
	f.expire()
	within(t, "the end was heard", func() bool { return master.doubted("coder") })
	f.set(func() { f.silent = ErrAway })
	if twice() == "" {
		t.Error("deleted, and there may be a grant that was not heard of")
	}
	f.set(func() { f.silent = nil })
	if twice() != "" || master.doubted("coder") {
		t.Error("a copy is left")
	}
}

// TestRemoveEveryCopy: no copy outlives the owner's key, not that of a grant
// that is over either.
func TestRemoveEveryCopy(t *testing.T) {
	f, master, agent, _ := farWorld(t)
	f.expire()
	if agent.copies(agent.wallet) == "" {
		t.Fatal("no copy to begin with")
	}
	f.set(func() { f.away = ErrAway })
	if err := master.Remove(t.Context(), serviceOf(t, "openrouter"), true); err == nil {
		t.Error("removed, and its copies were not looked for")
	}
	f.set(func() { f.away = nil })
	if err := master.Remove(t.Context(), serviceOf(t, "openrouter"), true); err != nil {
		t.Fatal(err)
	}
	if agent.copies(agent.wallet) != "" {
		t.Error("a copy is left")
	}
	if p, err := master.decider.Own(t.Context(), grant.ActReveal, master.wallet, serviceOf(t, "openrouter"), grant.Event{Time: time.Now(), Op: "test.read"}); err != nil {
		t.Error(err)
	} else if _, _, err := master.vault.Load(t.Context(), p); err == nil {
		t.Error("the key is left")
	}
}
