package lend_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/litentry/agentkeys/e2e/lend/canary"
	"github.com/litentry/agentkeys/e2e/lend/rig"
	"github.com/litentry/agentkeys/internal/local"
	"github.com/litentry/agentkeys/internal/testsrv"
)

func init() {
	helpers["pry"] = pry
	helpers["victim"] = victim
}

// order is what a prier is told to do.
type order struct {
	Start []string // a program to start first, as a child: some systems let parents trace
	PID   int      // whom to look at; 0: what was started, and without the slowest way
	Find  string   // what to look for in its memory
}

// finding is what one way of prying got.
type finding struct {
	How   string
	Got   bool
	Found bool // Find was in it
	Why   string
}

// pry reads orders, one a line, tries every way into a process's memory and
// prints what it got.
func pry() error {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<20)
	var child *exec.Cmd
	for in.Scan() {
		var o order
		if err := json.Unmarshal(in.Bytes(), &o); err != nil {
			return err
		}
		if o.Start != nil {
			child = exec.Command(o.Start[0], o.Start[1:]...)
			child.Env = append(os.Environ(), helperVar+"=victim")
			child.Stdin = nil
			out, err := child.StdoutPipe()
			if err == nil {
				err = child.Start()
			}
			if err != nil {
				return err
			}
			said := ""
			for lines := bufio.NewScanner(out); said != "ready" && !json.Valid([]byte(said)); {
				if !lines.Scan() {
					return fmt.Errorf("%q said only %q", o.Start, said)
				}
				said += strings.TrimSpace(lines.Text())
			}
			fmt.Println(said)
			continue
		}
		slow := o.PID != 0
		if !slow {
			o.PID = child.Process.Pid
		}
		text, err := json.Marshal(pryInto(o, slow))
		if err != nil {
			return err
		}
		fmt.Println(string(text))
	}
	if child != nil {
		_ = child.Process.Kill()
		_ = child.Wait()
	}
	return in.Err()
}

// program is where the linker puts a program that is not position-independent.
const program = 0x400000

func pryInto(o order, slow bool) []finding {
	runtime.LockOSThread() // ptrace is of one thread
	defer runtime.UnlockOSThread()
	var list []finding
	try := func(how string, get func() ([]byte, error)) {
		b, err := get()
		f := finding{How: how, Got: err == nil && len(b) > 0, Found: bytes.Contains(b, []byte(o.Find))}
		if err != nil {
			f.Why = err.Error()
		}
		list = append(list, f)
	}
	proc := func(name string) string { return fmt.Sprintf("/proc/%d/%s", o.PID, name) }
	for _, name := range []string{"environ", "maps", "smaps", "auxv", "io", "stack"} {
		try(name, func() ([]byte, error) { return os.ReadFile(proc(name)) })
	}
	for _, name := range []string{"exe", "cwd", "root"} {
		try(name, func() ([]byte, error) {
			to, err := os.Readlink(proc(name))
			return []byte(to), err
		})
	}
	for _, name := range []string{"fd", "map_files", "ns"} {
		try(name, func() ([]byte, error) {
			entries, err := os.ReadDir(proc(name))
			return fmt.Append(nil, len(entries)), err
		})
	}
	try("mem", func() ([]byte, error) { return wholeMemory(o.PID) })
	try("mem, by a known address", func() ([]byte, error) {
		f, err := os.Open(proc("mem"))
		if err != nil {
			return nil, err
		}
		defer f.Close()
		b := make([]byte, 1<<12)
		n, err := f.ReadAt(b, program)
		return b[:n], err
	})
	try("process_vm_readv", func() ([]byte, error) {
		b := make([]byte, 1<<12)
		n, err := unix.ProcessVMReadv(o.PID, []unix.Iovec{{Base: &b[0], Len: 1 << 12}}, []unix.RemoteIovec{{Base: program, Len: 1 << 12}}, 0)
		return b[:max(n, 0)], err
	})
	try("ptrace attach", func() ([]byte, error) {
		if err := unix.PtraceAttach(o.PID); err != nil {
			return nil, err
		}
		var ws unix.WaitStatus
		_, _ = unix.Wait4(o.PID, &ws, unix.WALL, nil)
		return []byte("attached"), unix.PtraceDetach(o.PID)
	})
	try("ptrace seize", func() ([]byte, error) {
		if err := unix.PtraceSeize(o.PID); err != nil {
			return nil, err
		}
		_ = unix.PtraceInterrupt(o.PID)
		var ws unix.WaitStatus
		_, _ = unix.Wait4(o.PID, &ws, unix.WALL, nil)
		return []byte("seized"), unix.PtraceDetach(o.PID)
	})
	try("pidfd_getfd", func() ([]byte, error) {
		fd, err := unix.PidfdOpen(o.PID, 0)
		if err != nil {
			return nil, err
		}
		defer unix.Close(fd)
		got, err := unix.PidfdGetfd(fd, 0, 0)
		if err == nil {
			_ = unix.Close(got)
		}
		return []byte("a descriptor"), err
	})
	// gcore attaches, as ptrace does, and takes ten seconds where it may.
	if gcore, err := exec.LookPath("gcore"); err == nil && slow {
		try("gcore", func() ([]byte, error) {
			dir, err := os.MkdirTemp("", "gcore-")
			if err != nil {
				return nil, err
			}
			defer os.RemoveAll(dir)
			out, err := exec.Command(gcore, "-o", filepath.Join(dir, "core"), fmt.Sprint(o.PID)).CombinedOutput()
			if err != nil {
				return nil, fmt.Errorf("%w: %s", err, out)
			}
			return os.ReadFile(filepath.Join(dir, fmt.Sprintf("core.%d", o.PID)))
		})
	}
	return list
}

// wholeMemory reads what a process can write to.
func wholeMemory(pid int) ([]byte, error) {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return nil, err
	}
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		return nil, err
	}
	defer mem.Close()
	var all []byte
	for line := range strings.Lines(string(maps)) {
		var from, to int64
		var mode string
		if n, _ := fmt.Sscanf(line, "%x-%x %s", &from, &to, &mode); n != 3 || !strings.HasPrefix(mode, "rw") || to-from > 256<<20 {
			continue
		}
		b := make([]byte, to-from)
		n, _ := mem.ReadAt(b, from)
		all = append(all, b[:n]...)
	}
	if len(all) == 0 {
		return nil, errors.New("nothing of it can be read")
	}
	return all, nil
}

var kept []byte

// victim is a process that keeps a secret in its memory and does nothing about
// it. It is not in its environment or arguments.
func victim() error {
	secret, err := os.ReadFile(os.Getenv("VICTIM_FILE"))
	if err != nil {
		return err
	}
	kept = secret
	fmt.Println("ready")
	time.Sleep(time.Hour)
	_, err = io.Discard.Write(kept)
	return err
}

// prier is a process of the agent's user.
type prier struct {
	t   *testing.T
	in  io.WriteCloser
	out *bufio.Reader
}

func newPrier(t *testing.T, h *rig.Home, env ...string) *prier {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, rig.Self(t))
	cmd.Env = append(slices.Concat(h.Env, env), helperVar+"=pry")
	cmd.Dir = filepath.Dir(h.Dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: h.Credential()}
	cmd.Stderr = os.Stderr
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
		cancel()
	})
	return &prier{t, in, bufio.NewReader(out)}
}

func (p *prier) tell(o order) string {
	p.t.Helper()
	text, err := json.Marshal(o)
	if err == nil {
		_, err = p.in.Write(append(text, '\n'))
	}
	if err != nil {
		p.t.Fatal(err)
	}
	line, err := p.out.ReadString('\n')
	if err != nil {
		p.t.Fatal(err)
	}
	return line
}

func (p *prier) pry(pid int, find string) map[string]finding {
	p.t.Helper()
	var list []finding
	if err := json.Unmarshal([]byte(p.tell(order{PID: pid, Find: find})), &list); err != nil {
		p.t.Fatal(err)
	}
	all := map[string]finding{}
	for _, f := range list {
		all[f.How] = f
	}
	return all
}

// TestMemory lets a process of the daemon's own user, which for the foreground
// is also its parent, try every way into its memory. Each way is tried on a
// process that does not protect itself first: what fails there shows nothing.
func TestMemory(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to be another user")
	}
	h := rig.New(t)
	h.RunAs(somebody)
	h.Up()
	s := h.StandIn(testsrv.Options{Shape: testsrv.OpenRouter})
	h.OK("agent", "create", "coder")
	h.OK("grant", "coder", "openrouter")

	use := func() {
		t.Helper()
		cmd := h.Command(t.Context(), "run", "--as", "coder", "--", rig.Self(t))
		cmd.Env = append(slices.Clone(h.Env), helperVar+"=socket")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	use()

	// The unprotected one.
	file := h.File("victim", []byte(s.Key))
	p := newPrier(t, h, "VICTIM_FILE="+file)
	p.tell(order{Start: []string{rig.Self(t)}})
	able := p.pry(0, s.Key)
	if !able["mem"].Found {
		t.Skipf("this system keeps a user out of the user's own processes: %+v", able["mem"])
	}
	for how, f := range able {
		if !f.Got {
			t.Logf("%s gets nothing of any process here: %s", how, f.Why)
		}
	}

	hardened := func(what string, pid int) {
		t.Helper()
		for how, f := range p.pry(pid, s.Key) {
			if f.Got && how != "ns" {
				t.Errorf("%s: %s works (canary found: %t)", what, how, f.Found)
			}
		}
		// As root, who can: the key is there to be found.
		if all, err := wholeMemory(pid); err != nil || !bytes.Contains(all, []byte(s.Key)) {
			t.Errorf("%s: root does not find the key either: %v", what, err)
		}
		limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
		if err != nil || !strings.Contains(string(limits), "Max core file size        0                    0  ") {
			t.Errorf("%s: %v\n%s", what, err, limits)
		}
	}
	hardened("the daemon", h.PID())
	var st local.Status
	if err := json.Unmarshal([]byte(h.OK("status", "--json")), &st); err != nil || !st.Hardening.NotDumpable || !st.Hardening.NoCore {
		t.Errorf("%v, status says %+v", err, st)
	}

	// A crash leaves no core behind.
	pid := h.PID()
	_ = syscall.Kill(pid, syscall.SIGABRT)
	h.Kill()
	search := canary.New(s.Key, h.Passphrase)
	cleanDirs(t, search, h.Dir)
	for _, dir := range []string{"/", filepath.Dir(h.Dir), h.Dir} {
		cores, _ := filepath.Glob(filepath.Join(dir, "core*"))
		if len(cores) > 0 {
			t.Errorf("left behind: %q", cores)
		}
	}

	// In the foreground, as the prier's own child.
	p = newPrier(t, h)
	said := p.tell(order{Start: []string{rig.Program(t), "up", "--foreground", "--json"}})
	if err := json.Unmarshal([]byte(said), &st); err != nil || st.PID == pid {
		t.Fatalf("%v: %s", err, said)
	}
	use()
	hardened("in the foreground", st.PID)

	// A command that has the key in its hands.
	for _, args := range [][]string{{"store", "openrouter", "--stdin"}} {
		cmd := h.Command(t.Context(), args...)
		in, err := cmd.StdinPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err == nil {
			_, err = io.WriteString(in, s.Key)
		}
		if err != nil {
			t.Fatal(err)
		}
		for range 200 {
			if all, _ := wholeMemory(cmd.Process.Pid); bytes.Contains(all, []byte(s.Key)) {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		hardened(strings.Join(args, " "), cmd.Process.Pid)
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
}

func cleanDirs(t *testing.T, s *canary.Search, dirs ...string) {
	t.Helper()
	for _, dir := range dirs {
		found, _, err := s.Files(dir)
		if err != nil || len(found) > 0 {
			t.Errorf("%s: %v %q", dir, err, found)
		}
	}
}
