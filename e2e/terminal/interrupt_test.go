package terminal

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Ctrl-C at any question: 130, the terminal as it was, and nothing done.
func TestInterruptedQuestions(t *testing.T) {
	x := open(t)
	interrupt := func(name, command, question string, hidden bool, before ...string) {
		t.Helper()
		x.clear()
		x.enter(command)
		for i := 0; i+1 < len(before); i += 2 {
			x.expect(before[i])
			x.echoes(!hidden)
			x.enter(before[i+1])
		}
		x.expect(question)
		x.echoes(!hidden)
		if hidden {
			x.typed("half of a secr")
		}
		x.press("C-c")
		x.expect("agentkeys: interrupted")
		x.shot(name)
		x.ended(130)
		x.echoes(true)
	}
	x.secrets["what was typed at a hidden question"] = "half of a secr"

	interrupt("new-passphrase", "agentkeys up", "New passphrase", true)
	interrupt("new-passphrase-again", "agentkeys up", "The same again: ", true, "New passphrase", "correct horse battery staple")
	if _, err := os.Stat(x.home); !os.IsNotExist(err) {
		t.Errorf("an interrupted first start left something: %v", err)
	}
	contains(t, x.run(3, "agentkeys status"), "not running")

	srv, key := x.standin()
	x.up()
	x.run(0, "agentkeys services set openrouter --base-url "+srv.BaseURL()+" --ca ca.pem --allow-address "+srv.Addr())
	interrupt("store", "agentkeys store openrouter", "Paste the key for openrouter", true)
	contains(t, x.run(0, "agentkeys list"), "No keys yet")
	if len(srv.Requests()) > 0 {
		t.Error("half of a key was shown to the service")
	}

	x.clear()
	x.enter("agentkeys store openrouter")
	x.expect("Paste the key")
	x.echoes(false)
	x.paste(key)
	x.expect("good (revision 1)")
	x.ended(0)
	interrupt("store-again", "agentkeys store openrouter", "Paste the key for openrouter", true)
	contains(t, x.run(0, "agentkeys show openrouter"), "revision  1,")

	interrupt("reveal", "agentkeys reveal openrouter", "Type openrouter to go on: ", false)
	if out := x.run(0, "agentkeys audit tail -n 100"); strings.Contains(out, "credential.reveal") {
		t.Error("a reveal that was interrupted is on record")
	}

	x.run(0, "agentkeys down")
	interrupt("passphrase", "agentkeys up", "Passphrase: ", true)
	contains(t, x.run(3, "agentkeys status"), "not running")
}

// counter is a program that counts signals and ends by itself only when it is
// told to.
const counter = `
trap 'echo INT >>log' INT
trap 'echo QUIT >>log' QUIT
echo ready
until test -e enough; do sleep 0.05; done
exit 7
`

// What is pressed while a program runs as an agent reaches it once, and its
// exit code is what it makes of it.
func TestInterruptedRun(t *testing.T) {
	x := open(t)
	x.up()
	x.run(0, "agentkeys agent create coder")
	if err := os.WriteFile(filepath.Join(x.dir, "counter.sh"), []byte(counter), 0o600); err != nil {
		t.Fatal(err)
	}
	log, enough := filepath.Join(x.dir, "log"), filepath.Join(x.dir, "enough")
	logged := func(want string) {
		t.Helper()
		var got []byte
		for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			if got, _ = os.ReadFile(log); string(got) == want {
				break
			}
		}
		// A second signal for the same key would come now.
		time.Sleep(300 * time.Millisecond)
		if got, _ = os.ReadFile(log); string(got) != want {
			t.Fatalf("the program was sent %q, want %q", got, want)
		}
	}
	for _, command := range []string{
		"agentkeys run --as coder -- sh counter.sh",
		"echo some input | agentkeys run --as coder -- sh counter.sh",
		"agentkeys run --as coder -- sh counter.sh </dev/null",
	} {
		_, _ = os.Remove(log), os.Remove(enough)
		x.clear()
		x.enter(command)
		x.expect("ready")
		x.press("C-c")
		logged("INT\n")
		x.press("C-c")
		logged("INT\nINT\n")
		x.press("C-\\")
		logged("INT\nINT\nQUIT\n")
		if err := os.WriteFile(enough, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		x.ended(7)
	}

	// A program that does not mind ends by it, and agentkeys adds no word.
	x.clear()
	x.enter("agentkeys run --as coder -- sh -c 'echo ready; exec sleep 60'")
	x.expect("\nready\n")
	x.press("C-c")
	const notice = "agentkeys: coder is lent nothing at the moment: see 'agentkeys grants'\n"
	if out := strings.Replace(x.ended(130), notice, "", 1); strings.Contains(out, "agentkeys:") {
		t.Errorf("agentkeys had something to say:\n%s", out)
	}
	x.echoes(true)

	// Stopped and continued, it is where it was.
	_, _ = os.Remove(log), os.Remove(enough)
	x.clear()
	x.enter("agentkeys run --as coder -- sh counter.sh")
	x.expect("ready")
	x.press("C-z")
	x.expect("topped")
	x.clear()
	x.enter("fg")
	if err := os.WriteFile(enough, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	x.ended(7)

	// No session is left of all this.
	if left, _ := filepath.Glob(filepath.Join(x.home, "data", "broker", "tokens", "*.json")); len(left) > 0 {
		t.Errorf("sessions were left: %q", left)
	}
}

// Ctrl-C ends what follows a log, and is how one means to end it.
func TestInterruptedTail(t *testing.T) {
	x := open(t)
	x.up()
	for _, command := range []string{"agentkeys audit tail -f", "agentkeys logs -f"} {
		x.clear()
		x.enter(command)
		x.expect("start")
		x.press("C-c")
		x.ended(0)
	}
	x.run(0, "agentkeys down")
}
