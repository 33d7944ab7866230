package audit_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/litentry/agentkeys/internal/audit"
)

// acks is what a child process was promised, in memory shared with the test:
// to note a promise takes no system call, so none that fails, and a killed
// process leaves all it noted.
type acks struct {
	ready atomic.Uint32 // the log is open
	lies  atomic.Uint32 // promises made after one could not be
	acked [maxWriters]atomic.Int64
}

const maxWriters = 16

func mapAcks(path string) (*acks, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	const size = int(unsafe.Sizeof(acks{}))
	if err := f.Truncate(int64(size)); err != nil {
		return nil, err
	}
	b, err := syscall.Mmap(int(f.Fd()), 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	return (*acks)(unsafe.Pointer(&b[0])), nil
}

// childName names record i of writer w in the round that is being run.
func childName(round string, w int, i int64) string { return fmt.Sprintf("%s/%d/%d", round, w, i) }

// child is another process: "what" is how many writers there are, how many
// entries each records, 0 for no end, and the size of a segment.
func child(what string) {
	var writers int
	var each, size int64
	if _, err := fmt.Sscanf(what, "%d %d %d", &writers, &each, &size); err != nil {
		panic(err)
	}
	dir, round := os.Getenv("AUDIT_TEST_DIR"), os.Getenv("AUDIT_TEST_ROUND")
	a, err := mapAcks(os.Getenv("AUDIT_TEST_ACKS"))
	if err != nil {
		panic(err)
	}
	o := options(&testing.T{})
	o.CheckpointEvery = 2 * time.Millisecond
	o.JournalSize = size
	if each > 0 {
		// One writer and no timers: the same system calls every time.
		o.CheckpointEvery = quiet
	}
	l, err := audit.Open(dir, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	a.ready.Store(1)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			failed := false
			for i := int64(0); each == 0 || i < each; i++ {
				e := event(int(i))
				e.Request, e.Subject = childName(round, w, i), strconv.Itoa(w)
				if each > 0 && i%40 == 39 {
					_, _ = l.Checkpoint(context.Background())
				}
				if err := l.Record(context.Background(), e); err != nil {
					failed = true
					continue
				}
				if failed {
					a.lies.Add(1)
				}
				a.acked[w].Store(i + 1)
			}
		})
	}
	wg.Wait()
	if err := l.Close(); err != nil {
		os.Exit(3)
	}
}

// startChild runs this test binary as a child, under the command given.
func startChild(t testing.TB, dir, acks, round, what string, under ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := append(under, self)
	c := exec.Command(args[0], args[1:]...)
	c.Env = append(os.Environ(), "AUDIT_TEST_CHILD="+what, "AUDIT_TEST_DIR="+dir, "AUDIT_TEST_ACKS="+acks, "AUDIT_TEST_ROUND="+round)
	if len(under) > 0 {
		c.Env = append(c.Env, "GOMAXPROCS=1") // so that few threads make the calls
	}
	c.Stderr = &strings.Builder{}
	// Should the test die, its child shall not go on for ever.
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	return c
}

// checkPromises opens the log in dir as it was left, and holds it to what the
// child of this round was promised. It returns how many promises there were.
func checkPromises(t testing.TB, dir, round string, a *acks) int64 {
	t.Helper()
	if a.lies.Load() > 0 {
		t.Fatalf("%d records were promised after one had failed", a.lies.Load())
	}
	o := options(t)
	l, err := audit.Open(dir, o)
	if err != nil {
		t.Fatalf("opening what the child left: %v", err)
	}
	defer l.Close()
	var next [maxWriters]int64
	if err := l.Replay(0, func(e audit.Entry) error {
		if !strings.HasPrefix(e.Event.Request, round+"/") {
			return nil
		}
		w, err := strconv.Atoi(e.Event.Subject)
		if err != nil {
			return err
		}
		if want := childName(round, w, next[w]); e.Event.Request != want {
			return fmt.Errorf("entry %d is %s, want %s", e.Index, e.Event.Request, want)
		}
		next[w]++
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	var total int64
	for w := range next {
		n := a.acked[w].Load()
		if next[w] < n {
			t.Errorf("writer %d was promised %d entries and the log has %d", w, n, next[w])
		}
		total += n
	}
	size := l.Size()
	if err := l.Record(context.Background(), event(0)); err != nil {
		t.Fatalf("the log does not go on: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	mustVerify(t, dir, size+1)
	checkNames(t, dir, size+1)
	return total
}
