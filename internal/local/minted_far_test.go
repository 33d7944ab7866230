package local

import (
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
