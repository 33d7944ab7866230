package crash_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/litentry/agentkeys/e2e/lend/rig"
	"github.com/litentry/agentkeys/internal/control"
)

// fault is a system call that fails.
type fault struct {
	call, errno string
	when        string // in the words of strace: 3 for the third, 3+ for each from there on
	path        string // below the home, of the file or directory that alone is affected; "" for all
}

func (f fault) String() string {
	return strings.TrimSuffix(f.call+":"+f.errno+":"+f.when+" "+f.path, " ")
}

// faults are those to try: all of them, or a few.
func faults(rng *rand.Rand, wallet string, all bool) []fault {
	// Where one kind of change alone fails, and the log goes on.
	var one []fault
	for _, when := range []string{"1+", "3"} {
		for _, path := range []string{
			"data/store/bots/" + wallet + "/credentials/openrouter.enc", "data/broker/grants/granted-0@openrouter.json",
			"data/broker/agents/hired-0-0.json",
		} {
			one = append(one, fault{"renameat", "EIO", when, path}, fault{"unlinkat", "EIO", when, path})
		}
		for _, path := range []string{"data/broker/grants", "data/broker/agents", "data/broker/tokens", "data/store/bots/" + wallet + "/credentials"} {
			one = append(one, fault{"fsync", "EIO", when, path})
		}
	}
	var list []fault
	for _, f := range []struct{ call, errno string }{
		{"fdatasync", "EIO"}, {"fsync", "EIO"}, {"pwrite64", "ENOSPC"}, {"renameat", "EIO"}, {"linkat", "ENOSPC"},
		{"unlinkat", "EIO"}, {"fsync", "ENOSPC"}, {"pwrite64", "EIO"}, {"openat", "ENOSPC"}, {"mkdirat", "ENOSPC"}, {"ftruncate", "EIO"},
	} {
		// strace counts by thread, and threads come and go: a number says
		// nothing but early or late.
		for _, n := range []int{1, 2, 3, 5, 8, 13, 21, 34} {
			list = append(list, fault{call: f.call, errno: f.errno, when: fmt.Sprint(n)}, fault{call: f.call, errno: f.errno, when: fmt.Sprint(n, "+")})
		}
	}
	if all {
		return append(one, list...)
	}
	// What stops the log, once and for good, what fails each change, and some
	// others.
	few := []fault{{call: "fdatasync", errno: "EIO", when: "5"}, {call: "fdatasync", errno: "EIO", when: "3+"}, one[0], one[2]}
	for len(few) < 9 {
		if from := append(one, list...); len(few) < 6 {
			few = append(few, one[rng.IntN(len(one))])
		} else {
			few = append(few, from[rng.IntN(len(from))])
		}
	}
	return few
}

// TestFailingDisk lets the system calls of a daemon under ten writers fail, and
// then kills it: no false acknowledgement, errors that say what to do, a log
// that once stopped stays so, and nothing lost.
func TestFailingDisk(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip(err)
	}
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	seed := number(t, "AGENTKEYS_CRASH_SEED", rand.Uint64())
	rng := rand.New(rand.NewPCG(seed, 2))
	w := newWorld(t, rig.New(t))
	list := faults(rng, w.h.Status().Wallet.String(), number(t, "AGENTKEYS_CRASH_ROUNDS", 0) >= 100)
	t.Logf("%d faults, AGENTKEYS_CRASH_SEED=%d", len(list), seed)
	notStarted, stopped, refused := 0, 0, map[string]int{}
	for _, f := range list {
		st, err := w.client.Status(t.Context())
		must(t, err)
		w.h.Down()
		d := w.trace(strace, f)
		switch {
		case !d.ready():
			notStarted++
			d.end()
			said := d.said.String()
			if !strings.Contains(said, "agentkeys: ") || strings.Contains(said, "panic") {
				t.Errorf("%v: it does not start, and says %q", f, said)
			}
		default:
			errs := w.underFaults(t, f, rng, d)
			if w.stopped.Load() {
				stopped++
			}
			for code, n := range errs {
				refused[code] += n
			}
			d.end()
		}
		w.stopped.Store(false)
		w.h.Up()
		w.checkAll(t, st.LogSize)
		if t.Failed() {
			t.Fatalf("%v of AGENTKEYS_CRASH_SEED=%d: %s", f, seed, d.said.String())
		}
	}
	t.Logf("%d faults: %d times it did not start, %d times the log stopped; errors by code: %v", len(list), notStarted, stopped, refused)
	if stopped == 0 {
		t.Error("the log never stopped: this shows little")
	}
}

// traced is a daemon in the foreground under strace.
type traced struct {
	w    *world
	cmd  *exec.Cmd
	said bytes.Buffer
	over chan struct{}
}

func (w *world) trace(strace string, f fault) *traced {
	d := &traced{w: w, over: make(chan struct{})}
	args := []string{"-f", "-qq", "-o", os.DevNull, "-e", "trace=" + f.call, "-e", fmt.Sprintf("inject=%s:error=%s:when=%s", f.call, f.errno, f.when)}
	if f.path != "" {
		args = append(args, "-P", filepath.Join(w.h.Dir, f.path))
	} else {
		args = append(args, "--seccomp-bpf") // faster, and not to be had with -P
	}
	d.cmd = exec.Command(strace, append(args, rig.Program(w.t), "up", "--foreground")...)
	d.cmd.Env = w.h.Env
	d.cmd.Stdout, d.cmd.Stderr = &d.said, &d.said
	must(w.t, d.cmd.Start())
	go func() {
		_ = d.cmd.Wait()
		close(d.over)
	}()
	return d
}

// ready waits until the daemon serves, or has ended.
func (d *traced) ready() bool {
	for {
		select {
		case <-d.over:
			return false
		case <-time.After(10 * time.Millisecond):
		}
		if _, err := d.w.client.Status(d.w.t.Context()); err == nil {
			return true
		}
	}
}

// end kills the daemon, and strace ends with it. It may be called again.
func (d *traced) end() {
	select {
	case <-d.over:
		return // the number may be somebody else's by now
	default:
	}
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", d.cmd.Process.Pid, d.cmd.Process.Pid))
	for _, text := range strings.Fields(string(children)) {
		if pid, err := strconv.Atoi(text); err == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	select {
	case <-d.over:
	case <-time.After(10 * time.Second):
		_ = d.cmd.Process.Kill()
		<-d.over
	}
}

// underFaults has the writers at work for a while, and returns how often they
// were refused, by code.
func (w *world) underFaults(t *testing.T, f fault, rng *rand.Rand, d *traced) map[string]int {
	t.Helper()
	codes := map[string]int{}
	ctx, cancel := context.WithCancel(t.Context())
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for ctx.Err() == nil {
			st, err := w.client.Status(ctx)
			if err == nil && st.LogError != "" {
				w.stopped.Store(true)
			} else if err == nil && w.stopped.Load() {
				t.Errorf("%v: the log had stopped, and goes on", f)
			}
			time.Sleep(2 * time.Millisecond)
		}
	}()
	var mu = make(chan struct{}, 1)
	var denied atomic.Int64
	w.work(rng, func(wr writer, err error) bool {
		var answer *control.Error
		switch {
		case errors.As(err, &answer):
			mu <- struct{}{}
			codes[answer.Code]++
			<-mu
			// A change that was not made, and was begun, leaves its writer
			// wrong about what is there.
			known := []string{control.CodeDisk, control.CodeExists, control.CodeNotFound, control.CodeCorrupt, control.CodeConflict}
			if !slices.Contains(known, answer.Code) || answer.Problem == "" || answer.Fix == "" {
				t.Errorf("%v: %T: %s: %q, %q", f, wr, answer.Code, answer.Problem, answer.Fix)
			}
		case strings.HasPrefix(err.Error(), "answered "):
			denied.Add(1)
			if !strings.HasPrefix(err.Error(), "answered 503 not-lent") {
				t.Errorf("%v: %T: %v", f, wr, err)
			}
		default:
			return false // the process is gone
		}
		time.Sleep(time.Millisecond)
		return true
	}, func() {
		select {
		case <-d.over:
		case <-time.After(500 * time.Millisecond):
		}
		cancel()
		<-watched
		d.end()
	})
	if w.stopped.Load() {
		if denied.Load() == 0 {
			t.Logf("%v: nobody asked after the log had stopped", f)
		}
	}
	return codes
}

// TestFullDisk lets a real disk run full under ten writers.
func TestFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to mount a small disk")
	}
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=96m"); err != nil {
		t.Skip("no disk can be mounted here: ", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	seed := number(t, "AGENTKEYS_CRASH_SEED", rand.Uint64())
	rng := rand.New(rand.NewPCG(seed, 3))
	w := newWorld(t, rig.At(t, dir))
	filler := filepath.Join(dir, "filler")
	codes := map[string]int{}
	for round := range 3 {
		st, err := w.client.Status(t.Context())
		must(t, err)
		mu := make(chan struct{}, 1)
		w.work(rng, func(wr writer, err error) bool {
			var answer *control.Error
			if !errors.As(err, &answer) {
				return strings.HasPrefix(err.Error(), "answered 503 not-lent")
			}
			mu <- struct{}{}
			codes[answer.Code]++
			<-mu
			if answer.Code == control.CodeInternal || answer.Fix == "" {
				t.Errorf("%T: %s: %q, %q", wr, answer.Code, answer.Problem, answer.Fix)
			}
			time.Sleep(time.Millisecond)
			return true
		}, func() {
			time.Sleep(100 * time.Millisecond)
			fill(t, filler, rng.IntN(3)*4096)
			time.Sleep(300 * time.Millisecond)
			w.h.Kill()
		})
		// It does not start on a full disk, and says why.
		fill(t, filler, 0)
		r := w.h.Run("", "up")
		if r.Code != 9 || !strings.Contains(r.Stderr, "free some space") {
			t.Errorf("on a full disk: %+v", r)
			if r.Code == 0 {
				w.h.OK("down")
			}
		}
		must(t, os.Remove(filler))
		w.h.Up()
		w.checkAll(t, st.LogSize)
		if t.Failed() {
			t.Fatalf("round %d of AGENTKEYS_CRASH_SEED=%d", round+1, seed)
		}
	}
	t.Logf("errors by code: %v", codes)
	if codes[control.CodeDisk] == 0 {
		t.Error("nobody was told of the full disk")
	}
}

// fill takes all of a disk but so many bytes.
func fill(t *testing.T, path string, leave int) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	must(t, err)
	defer f.Close()
	block := make([]byte, 4096)
	for range 100 << 20 / len(block) {
		if _, err := f.Write(block); err != nil {
			break
		}
	}
	if leave > 0 {
		fi, err := f.Stat()
		must(t, err)
		must(t, f.Truncate(fi.Size()-int64(leave)))
	}
}
