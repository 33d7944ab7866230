package terminal

import (
	"crypto/rand"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/litentry/agentkeys/internal/testsrv"
)

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}

// standin starts a server in the place of OpenRouter and returns a key for it.
func (x *terminal) standin() (srv *testsrv.Server, key string) {
	x.t.Helper()
	key = "sk-or-v1-" + randomHex(32)
	srv, err := testsrv.Start(testsrv.Options{Shape: testsrv.OpenRouter, Keys: map[string]string{"the key": key}})
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(func() { _ = srv.Close() })
	if err := os.WriteFile(filepath.Join(x.dir, "ca.pem"), srv.CAPEM(), 0o600); err != nil {
		x.t.Fatal(err)
	}
	x.secrets["the key"] = key
	return srv, key
}

// up starts the background process with a passphrase that is typed.
func (x *terminal) up() (passphrase string) {
	x.t.Helper()
	passphrase = "correct horse " + randomHex(6)
	x.secrets["the passphrase"] = passphrase
	x.clear()
	x.enter("agentkeys up")
	x.expect("New passphrase (at least 12 characters): ")
	x.echoes(false)
	x.enter(passphrase)
	x.expect("The same again: ")
	x.echoes(false)
	x.enter(passphrase)
	x.expect("agentkeys is up: agents reach it at http://127.0.0.1:")
	x.shot("up")
	x.ended(0)
	x.echoes(true)
	return passphrase
}

// contains fails unless a command's output has each text.
func contains(t *testing.T, out string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(out, text) {
			t.Fatalf("no %q in:\n%s", text, out)
		}
	}
}

// A person's first quarter of an hour.
func TestSession(t *testing.T) {
	x := open(t)
	contains(t, x.run(0, "agentkeys"), "Nothing is set up yet", "agentkeys up")
	x.shot("nothing-yet")
	srv, key := x.standin()
	passphrase := x.up()
	x.run(0, "agentkeys services set openrouter --base-url "+srv.BaseURL()+" --ca ca.pem --allow-address "+srv.Addr())

	x.clear()
	x.enter("agentkeys store openrouter")
	x.expect("Paste the key for openrouter (it is not shown): ")
	x.echoes(false)
	x.paste(key)
	x.expect("openrouter: stored, and the service says the key is good (revision 1)")
	x.shot("store")
	x.ended(0)
	x.echoes(true)

	contains(t, x.run(0, "agentkeys agent create coder"), "agent coder created, wallet 0x")
	contains(t, x.run(0, "agentkeys grant coder openrouter --path 'POST /chat/completions' --budget 5usd/day --rate 60/min --expires 7d"),
		"coder may use openrouter: POST /chat/completions, $5.00/day, 60/min, expires in 7d")
	x.shot("grant")
	// The demo's agent is a program that knows nothing but its environment.
	contains(t, x.run(0, "agentkeys run --as coder -- agentkeys demo agent"), "is a placeholder", "/openrouter/chat/completions → 200 OK", "/openrouter/keys → 403 Forbidden")
	x.shot("run")
	contains(t, x.run(42, "agentkeys run --as coder -- sh -c 'exit 42'"))
	contains(t, x.run(0, "agentkeys status"), "agentkeys is up for", "1 stored under epoch 1")
	x.shot("status")
	contains(t, x.run(0, "agentkeys list"), "openrouter  OpenRouter  1")
	x.shot("list")
	contains(t, x.run(0, "agentkeys show openrouter"), "not shown", "lent to")
	x.shot("show")
	contains(t, x.run(0, "agentkeys grants"), "2 req, $0.000")
	x.shot("grants")
	contains(t, x.run(0, "agentkeys revoke coder openrouter"), "coder may no longer use openrouter")
	contains(t, x.run(1, "agentkeys run --as coder -- agentkeys demo agent"), "I was lent nothing")
	contains(t, x.run(0, "agentkeys audit tail"), "credential.use", "grant.revoke")
	x.shot("audit-tail")
	contains(t, x.run(0, "agentkeys audit verify"), "the log is whole")
	x.shot("audit-verify")
	x.run(0, "agentkeys services show openrouter")
	x.shot("services-show")
	x.run(0, "agentkeys services | head -n 20")
	x.shot("services")
	x.run(0, "agentkeys doctor | cat")
	x.shot("doctor")
	x.run(0, "agentkeys help")
	x.shot("help")
	x.run(0, "agentkeys grant --help")
	x.shot("help-grant")
	contains(t, x.run(4, "agentkeys show anthropic"), "agentkeys: ", "  fix: ")
	x.shot("failure")

	// The one time that a key may be seen.
	delete(x.secrets, "the key")
	x.clear()
	x.enter("agentkeys reveal openrouter")
	x.expect("This shows the key and is recorded. Type openrouter to go on: ")
	x.enter("openrouter")
	x.expect(key)
	x.shot("reveal")
	x.ended(0)
	x.clear()
	x.secrets["the key"] = key

	// The next day: the passphrase once.
	contains(t, x.run(0, "agentkeys down"), "agentkeys is down")
	x.clear()
	x.enter("agentkeys up")
	x.expect("Passphrase: ")
	x.echoes(false)
	x.enter(passphrase)
	x.expect("agentkeys is up")
	x.ended(0)
	contains(t, x.run(0, "agentkeys list"), "openrouter")
}

// The demo tells its story without a question, and cleans up.
func TestDemo(t *testing.T) {
	x := open(t)
	out := x.run(0, "agentkeys demo --fast")
	contains(t, out, "The agent at work.", "→ 200 OK", "→ 403 Forbidden", "the log is whole", "0 with the key", "That is all of it.")
	x.shot("demo")
	if left, _ := filepath.Glob(filepath.Join(x.dir, "agentkeys-demo-*")); len(left) > 0 {
		t.Errorf("the demo left %q", left)
	}

	// Interrupted, it cleans up as well.
	x.clear()
	x.enter("agentkeys demo")
	x.expect("An agent, with a wallet of its own.")
	x.press("C-c")
	x.ended(130)
	if left, _ := filepath.Glob(filepath.Join(x.dir, "agentkeys-demo-*")); len(left) > 0 {
		t.Errorf("the demo left %q", left)
	}
	contains(t, x.run(3, "agentkeys status"), "not running")
}
