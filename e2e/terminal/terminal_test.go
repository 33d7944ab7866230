// Package terminal drives the program on a real terminal, as a person does:
// keys are pressed in tmux, and what is looked at is the screen.
package terminal

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// patience is how long a screen may take to show what is expected.
const patience = 60 * time.Second

// terminal is a pane of 80 columns and 24 rows with a shell in it.
type terminal struct {
	t       *testing.T
	socket  string // of a tmux server of its own
	dir     string // the shell's working directory
	home    string // AGENTKEYS_HOME
	tty     string
	secrets map[string]string // what must never be on the screen
	shots   int
}

// agentkeys builds the program once.
var agentkeys = func() func(t *testing.T) string {
	var dir string
	return func(t *testing.T) string {
		t.Helper()
		if dir == "" {
			d, err := os.MkdirTemp("", "ak-terminal-")
			if err != nil {
				t.Fatal(err)
			}
			dir = d
			// Linked once for all packages: what go run starts is cached.
			build := exec.Command("go", "run", "-exec", "cp", "github.com/litentry/agentkeys/cmd/agentkeys", dir)
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			removeAtEnd = append(removeAtEnd, dir)
		}
		return dir
	}
}()

var removeAtEnd []string

func TestMain(m *testing.M) {
	code := m.Run()
	for _, dir := range removeAtEnd {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

// open opens a terminal with a shell that finds the program, has no keychain
// and nothing else of its user's. It is closed, and the background process
// stopped, at the end of the test.
func open(t *testing.T) *terminal {
	t.Helper()
	if _, err := exec.LookPath("tmux"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("there is no tmux: run make setup")
		}
		t.Skip("SKIPPED: there is no tmux: run make setup")
	}
	bin := agentkeys(t)
	// Short, for the sake of sockets.
	dir, err := os.MkdirTemp("/tmp", "ak-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	x := &terminal{t: t, socket: filepath.Join(dir, "tmux"), dir: dir, home: filepath.Join(dir, "h"), secrets: map[string]string{}}
	env := []string{
		"PATH=" + bin + ":" + os.Getenv("PATH"), "HOME=" + dir, "AGENTKEYS_HOME=" + x.home, "TMPDIR=" + dir,
		"DBUS_SESSION_BUS_ADDRESS=unix:path=" + filepath.Join(dir, "no-bus"), "PS1=$ ", "LANG=C.UTF-8", "TZ=UTC", "GORACE=atexit_sleep_ms=5",
	}
	args := []string{"-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", "-c", dir, "--", "env", "-i", "TERM=screen"}
	start := exec.Command("tmux", append([]string{"-S", x.socket}, append(append(args, env...), "sh", "-i")...)...)
	start.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "LANG=C.UTF-8"}
	if out, err := start.CombinedOutput(); err != nil {
		t.Fatalf("tmux: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the screen at the end:\n%s", x.scroll())
		}
		down := exec.Command(filepath.Join(bin, "agentkeys"), "down")
		down.Env = env
		if out, err := down.CombinedOutput(); err != nil {
			t.Errorf("agentkeys down: %v\n%s", err, out)
		}
		x.tmux("kill-server")
	})
	x.tty = strings.TrimSpace(x.tmux("display-message", "-p", "#{pane_tty}"))
	x.expect("$ ")
	return x
}

func (x *terminal) tmux(args ...string) string {
	x.t.Helper()
	out, err := exec.Command("tmux", append([]string{"-S", x.socket}, args...)...).CombinedOutput()
	if err != nil {
		x.t.Fatalf("tmux %s: %v\n%s", args[0], err, out)
	}
	return string(out)
}

// typed presses the keys of a text, and no more.
func (x *terminal) typed(text string) { x.t.Helper(); x.tmux("send-keys", "-l", "--", text) }

// press presses keys by tmux's names for them: Enter, C-c.
func (x *terminal) press(keys ...string) {
	x.t.Helper()
	x.tmux(append([]string{"send-keys"}, keys...)...)
}

// enter types a line.
func (x *terminal) enter(line string) { x.t.Helper(); x.typed(line); x.press("Enter") }

// paste pastes a text as a terminal does, brackets and all if it is asked to,
// and ends it with Enter.
func (x *terminal) paste(text string) {
	x.t.Helper()
	file := filepath.Join(x.t.TempDir(), "paste")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		x.t.Fatal(err)
	}
	x.tmux("load-buffer", file)
	x.tmux("paste-buffer", "-p", "-d")
	x.press("Enter")
}

// screen is what a person sees.
func (x *terminal) screen() string { return x.tmux("capture-pane", "-p") }

// scroll is that and what has scrolled away, with lines that were too long for
// the screen in one piece.
func (x *terminal) scroll() string {
	out, _ := exec.Command("tmux", "-S", x.socket, "capture-pane", "-p", "-J", "-S", "-").CombinedOutput()
	return string(out)
}

// expect waits until the screen shows each of the texts.
func (x *terminal) expect(texts ...string) {
	x.t.Helper()
	var all string
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		all = x.scroll()
		missing := ""
		for _, text := range texts {
			if !strings.Contains(all, text) {
				missing = text
			}
		}
		if missing == "" {
			return
		}
		if time.Now().After(end) {
			x.t.Fatalf("the screen never showed %q", missing)
		}
	}
}

// run types a command, waits for its end and returns its output. Its exit code
// must be the one that is wanted.
func (x *terminal) run(want int, line string) string {
	x.t.Helper()
	x.clear()
	x.enter(line)
	return x.ended(want)
}

// ended waits until the command on the screen has ended, by asking for its
// exit code.
func (x *terminal) ended(want int) string {
	x.t.Helper()
	x.prompt()
	out := x.scroll()
	x.enter("echo code=$?")
	x.prompt()
	x.expect(fmt.Sprintf("\ncode=%d\n", want))
	x.safe()
	return out
}

// prompt waits until the last line is a prompt, with nothing behind it.
func (x *terminal) prompt() {
	x.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		lines := strings.Split(strings.TrimRight(x.scroll(), "\n"), "\n")
		// A program that an interrupt ended leaves the cursor behind its ^C.
		last := strings.TrimSpace(lines[len(lines)-1])
		if len(lines) > 1 && strings.TrimLeft(last, `^C\Z`) == "$" {
			return
		}
	}
	x.t.Fatal("the prompt never came back")
}

// clear empties the screen and its history. A screen that is empty stays as it
// is: nothing on it would tell when it has been cleared once more.
func (x *terminal) clear() {
	x.t.Helper()
	x.safe()
	if strings.TrimSpace(x.scroll()) == "$" {
		return
	}
	x.enter("clear")
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if strings.TrimSpace(x.scroll()) == "$" {
			break
		}
		x.tmux("clear-history")
	}
}

// safe looks for secrets on the screen and in its history.
func (x *terminal) safe() {
	x.t.Helper()
	all := x.scroll()
	for name, text := range x.secrets {
		if strings.Contains(strings.ReplaceAll(all, "\n", ""), text) {
			x.t.Fatalf("%s is on the screen", name)
		}
	}
}

// echoes fails unless the terminal shows what is typed, or does not, as stty
// says.
func (x *terminal) echoes(want bool) {
	x.t.Helper()
	var out []byte
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		var err error
		if out, err = exec.Command("stty", "-F", x.tty, "-a").CombinedOutput(); err != nil {
			x.t.Fatalf("stty: %v\n%s", err, out)
		}
		if strings.Contains(" "+string(out), " echo ") == want {
			return
		}
	}
	x.t.Fatalf("echo is not %t:\n%s", want, out)
}

// shot keeps what is on the screen for a person to look at, and fails if a line
// of it was too long: it is where the test's log says.
func (x *terminal) shot(name string) {
	x.t.Helper()
	dir := os.Getenv("AGENTKEYS_SCREENS")
	if dir == "" {
		return
	}
	x.shots++
	file := filepath.Join(dir, fmt.Sprintf("%s-%02d-%s.txt", x.t.Name(), x.shots, name))
	if err := os.WriteFile(file, []byte(x.screen()), 0o600); err != nil {
		x.t.Fatal(err)
	}
}
