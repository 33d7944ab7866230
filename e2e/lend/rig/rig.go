// Package rig runs the built agentkeys for end-to-end tests: a home of its
// own, its commands, its background process, stand-ins for the services, and
// agents. Only tests import it.
package rig

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/control"
	"github.com/litentry/agentkeys/internal/local"
	"github.com/litentry/agentkeys/internal/testsrv/ports"
)

// built is the program under test, made once a process.
var built struct {
	sync.Once
	dir, bin string
	err      error
}

// Main runs a package's tests. TestMain calls it: it makes this process the
// one that background processes are left to, so that each can be waited for,
// and clears the built program away.
func Main(m *testing.M) {
	subreaper()
	code := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// Program is the path of agentkeys, built from the checkout, or a copy of the
// one that AGENTKEYS_E2E_PROGRAM names. Anybody on the machine may run it.
// AGENTKEYS_E2E_RACE builds it with the race detector.
func Program(t testing.TB) string {
	t.Helper()
	built.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "agentkeys-e2e-"); built.err != nil {
			return
		}
		built.bin = filepath.Join(built.dir, "agentkeys")
		if built.err = os.Chmod(built.dir, 0o755); built.err != nil {
			return
		}
		if ready := os.Getenv("AGENTKEYS_E2E_PROGRAM"); ready != "" {
			built.err = copyProgram(ready, built.bin)
			return
		}
		// Linked once for all packages: what go run starts is cached.
		args := []string{"run", "-exec", "cp"}
		if os.Getenv("AGENTKEYS_E2E_RACE") != "" {
			args = append(args, "-race")
		}
		out, err := exec.Command("go", append(args, "github.com/litentry/agentkeys/cmd/agentkeys", built.bin)...).CombinedOutput()
		if built.err = err; err != nil {
			built.err = errors.New(string(out))
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.bin
}

// Self is a copy of the test's own program that anybody may run.
func Self(t testing.TB) string {
	t.Helper()
	Program(t)
	path := filepath.Join(built.dir, "self")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	exe, err := os.Executable()
	if err == nil {
		err = copyProgram(exe, path)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Helper starts Self with a variable set, and with arguments.
func Helper(t testing.TB, value, variable string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(Self(t), args...)
	cmd.Env = append(os.Environ(), variable+"="+value)
	cmd.Dir = "/"
	return cmd
}

func copyProgram(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o755)
}

// Home is one user's agentkeys.
type Home struct {
	t   testing.TB
	bin string
	// Dir is AGENTKEYS_HOME.
	Dir   string
	Paths local.Paths
	// Env is what commands find in their environment.
	Env []string
	// UID is whom commands run as, if not 0.
	UID int
	// Passphrase opens the roots.
	Passphrase string

	mu  sync.Mutex
	pid int // of the background process, 0 if there is none
}

// New makes a home. Nothing runs in it yet; what does at the test's end is
// killed.
func New(t testing.TB) *Home {
	t.Helper()
	dir, err := os.MkdirTemp("", "ak-") // short: sockets are in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return At(t, dir)
}

// At is New in a directory that stays.
func At(t testing.TB, dir string) *Home {
	t.Helper()
	h := &Home{t: t, bin: Program(t), Dir: filepath.Join(dir, "home"), Passphrase: Random(24)}
	pass := filepath.Join(dir, "passphrase")
	if err := errors.Join(os.MkdirAll(h.Dir, 0o700), os.WriteFile(pass, []byte(h.Passphrase+"\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	var err error
	if h.Paths, err = local.PathsFrom(func(name string) string {
		if name == "AGENTKEYS_HOME" {
			return h.Dir
		}
		return ""
	}); err != nil {
		t.Fatal(err)
	}
	h.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + os.TempDir(),
		"AGENTKEYS_HOME=" + h.Dir, "AGENTKEYS_PASSPHRASE_FILE=" + pass,
		// Neither a keychain of the machine's nor a way to one.
		"DBUS_SESSION_BUS_ADDRESS=unix:path=" + filepath.Join(dir, "no-bus"),
	}
	t.Cleanup(func() {
		h.Kill()
		log, _ := os.ReadFile(h.Paths.DaemonLog())
		for _, bad := range []string{"DATA RACE", "panic: ", "fatal error: "} {
			if bytes.Contains(log, []byte(bad)) {
				t.Errorf("the daemon's log has %q", bad)
			}
		}
		if t.Failed() {
			t.Logf("the end of the daemon's log:\n%s", log[max(0, len(log)-8192):])
		}
	})
	return h
}

// RunAs gives the home to another user, whom commands run as from then on.
func (h *Home) RunAs(uid int) {
	h.t.Helper()
	h.UID = uid
	err := filepath.WalkDir(filepath.Dir(h.Dir), func(path string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, uid, uid))
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

// Credential is what makes a process one of the home's user, nil for the
// test's own.
func (h *Home) Credential() *syscall.Credential {
	if h.UID == 0 {
		return nil
	}
	return &syscall.Credential{Uid: uint32(h.UID), Gid: uint32(h.UID)}
}

// Command makes a command of agentkeys.
func (h *Home) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, h.bin, args...)
	cmd.Env = h.Env
	cmd.Dir = filepath.Dir(h.Dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: h.Credential()}
	return cmd
}

// Result is how a command ended.
type Result struct {
	Code           int
	Stdout, Stderr string
}

// Run runs a command to its end.
func (h *Home) Run(stdin string, args ...string) Result {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := h.Command(ctx, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		h.t.Fatalf("agentkeys %q: %v", args, err)
	}
	return Result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// OK runs a command that must succeed and returns what it printed.
func (h *Home) OK(args ...string) string {
	h.t.Helper()
	return h.OKWith("", args...)
}

// OKWith is OK with something on standard input.
func (h *Home) OKWith(stdin string, args ...string) string {
	h.t.Helper()
	r := h.Run(stdin, args...)
	if r.Code != 0 {
		h.t.Fatalf("agentkeys %q ended with %d\n%s%s", args, r.Code, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// Up starts the background process.
func (h *Home) Up(args ...string) local.Status {
	h.t.Helper()
	st, err := h.TryUp(args...)
	if err != nil {
		h.t.Fatal(err)
	}
	return st
}

// TryUp is Up for when it may fail.
func (h *Home) TryUp(args ...string) (st local.Status, err error) {
	h.t.Helper()
	up := []string{"up", "--json"}
	if _, err := os.Stat(h.Paths.Port()); err != nil {
		// The default one would be shared by all tests on the machine.
		port, err := ports.Take(h.t.Cleanup)
		if err != nil {
			return st, err
		}
		up = append(up, "--port", strconv.Itoa(port))
	}
	r := h.Run("", append(up, args...)...)
	if r.Code != 0 {
		return st, errors.New("agentkeys up: " + r.Stderr)
	}
	if err := json.Unmarshal([]byte(r.Stdout), &st); err != nil {
		return st, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pid = st.PID
	return st, nil
}

// PID is that of the background process.
func (h *Home) PID() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.pid
}

// Kill ends the background process, if there is one, as a power cut would, and
// returns when it is gone.
func (h *Home) Kill() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.pid != 0 {
		_ = syscall.Kill(h.pid, syscall.SIGKILL)
		reap(h.pid)
		h.pid = 0
	}
}

// Down stops the background process.
func (h *Home) Down() {
	h.t.Helper()
	h.OK("down")
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.pid != 0 {
		reap(h.pid)
		h.pid = 0
	}
}

// Client talks to the background process as its owner.
func (h *Home) Client() *control.Client { return control.NewClient(h.Paths.Control()) }

// Status asks the background process about itself.
func (h *Home) Status() local.Status {
	h.t.Helper()
	st, err := h.Client().Status(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	return st
}

// Random returns n random bytes in hexadecimal.
func Random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}
