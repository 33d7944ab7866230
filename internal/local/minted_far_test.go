package local

import (
	"slices"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/book"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/testsrv/manage"
)

// TestRemoteMinted: with a broker, the agent's own machine uses the key that the
// master's had made, and whichever machine of the master's ends the grant ends
// the key.
func TestRemoteMinted(t *testing.T) {
	f, u := newFar(t), newUpstream(t, manage.Options{})
	master := f.host("")
	master.reachMint(u)
	master.manages(u)
	master.agent("coder")
	master.lend("coder", "openrouter", book.Terms{Budget: usd(5, grant.Month)})
	agent := f.host("coder")
	agent.reachMint(u)
	other := f.host("")
	other.reachMint(u)
	name := u.Live()[0].Name
	for _, w := range []*world{master, agent} {
		if status, body := w.says("coder"); status != 200 || u.usedKey() != name {
			t.Errorf("%d %s with %s", status, body, u.usedKey())
		}
	}
	if _, err := agent.Minted(t.Context()); err == nil {
		t.Error("an agent's machine manages keys")
	}
	// The machine that made it is off, and the other one ends the grant.
	master.close()
	if err := other.revoke("coder"); err != nil {
		t.Fatal(err)
	}
	within(t, "the key is gone", func() bool { other.due(); return len(u.Live()) == 0 && len(other.mintedKeys()) == 0 })
	master.openFar(f, "")
	within(t, "and forgotten", func() bool { master.due(); return len(master.mintedKeys()) == 0 })
	// And the other way round: a grant anew on one machine ends the other's key.
	master.lend("coder", "openrouter", book.Terms{Expires: time.Now().Add(time.Hour)})
	other.lend("coder", "openrouter", book.Terms{Expires: time.Now().Add(time.Hour)})
	within(t, "one key is left", func() bool { master.due(); return len(u.Live()) == 1 && len(master.mintedKeys()) == 0 })
	if status, body := agent.says("coder"); status != 200 || len(other.mintedKeys()) != 1 {
		t.Errorf("%d %s", status, body)
	}
}

// compares is how often what is stored was opened to be compared.
func (w *world) compares() int { return w.entries("credential.compare") }

// TestOwnReplacedElsewhere: a key of the master's own that another machine has
// replaced, or removed, is deleted by the machine that had it made, without being
// started anew; one that nobody touched is neither deleted nor opened.
func TestOwnReplacedElsewhere(t *testing.T) {
	for name, replace := range map[string]func(w *world){
		"stored": func(w *world) { w.store("openrouter", routerKey(2)) },
		"removed": func(w *world) {
			if err := w.Remove(w.t.Context(), serviceOf(w.t, "openrouter"), true); err != nil {
				w.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, u := newFar(t), newUpstream(t, manage.Options{})
			one, two := f.host(""), f.host("")
			for _, w := range []*world{one, two} {
				w.reachMint(u)
			}
			one.manages(u)
			one.store("openrouter", routerKey(1))
			if res, err := one.RotateKey(t.Context(), serviceOf(t, "openrouter")); err != nil || len(res.Keys) != 1 {
				t.Fatal(res, err)
			}
			compared := one.compares()
			for range 5 {
				one.due()
			}
			if len(u.Live()) != 1 || one.compares() != compared {
				t.Fatalf("alive: %v, compared %d times", u.Live(), one.compares()-compared)
			}
			replace(two)
			if two.close(); name == "stored" {
				// The other machine is lost before it could do anything.
				if all := u.Live(); len(all) != 1 {
					t.Fatalf("it is gone already: %v", all)
				}
			}
			within(t, "the old key is gone", func() bool { one.due(); return len(u.Live()) == 0 && len(one.mintedKeys()) == 0 })
		})
	}
}

// TestRotatedElsewhere: a rotation replaces what another machine had made as
// well, and has it deleted, though that machine never comes back.
func TestRotatedElsewhere(t *testing.T) {
	f, u := newFar(t), newUpstream(t, manage.Options{})
	one, two := f.host(""), f.host("")
	one.reachMint(u)
	two.reachMint(u)
	one.manages(u)
	one.store("openrouter", routerKey(1))
	one.agent("coder")
	one.lend("coder", "openrouter", book.Terms{Expires: time.Now().Add(time.Hour)})
	svc := serviceOf(t, "openrouter")
	if _, err := one.RotateKey(t.Context(), svc); err != nil {
		t.Fatal(err)
	}
	within(t, "one each is left", func() bool { one.due(); return len(u.Live()) == 2 })
	old := u.ids()
	one.close()
	res, err := two.RotateKey(t.Context(), svc)
	if err != nil || len(res.Keys) != 2 {
		t.Fatal(res, err)
	}
	for _, k := range res.Keys {
		if !slices.Contains(old, k.Old) || k.Until.Before(time.Now().Add(keyGrace-time.Minute)) {
			t.Errorf("%+v, and before there were %v", k, old)
		}
	}
	two.reap(t.Context())
	if len(u.Live()) != 4 {
		t.Errorf("within the time for requests under way: %v", u.Live())
	}
	within(t, "the new ones are left", func() bool {
		two.due()
		return len(u.Live()) == 2 && !slices.ContainsFunc(u.ids(), func(id string) bool { return slices.Contains(old, id) })
	})
	if status, body := two.says("coder"); status != 200 {
		t.Errorf("%d %s", status, body)
	}
	one.openFar(f, "")
	within(t, "the other one forgets its own", func() bool { one.due(); return len(one.mintedKeys()) <= 1 })
	if len(u.Live()) != 2 {
		t.Errorf("alive: %v", u.Live())
	}
}
