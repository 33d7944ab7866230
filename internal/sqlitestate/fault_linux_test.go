package sqlitestate

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// injected runs writeOn with a fault in its system calls, and verifies that
// what was acknowledged is there afterwards.
func injected(t *testing.T, fault string) (made, failed, stopped int) {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Fatal("this test needs strace: run `make setup`")
	}
	path := filepath.Join(t.TempDir(), "state", "broker.db")
	calls, _, _ := strings.Cut(fault, ":")
	cmd := exec.Command(strace, "-f", "-qq", "-o", os.DevNull, "-e", "trace="+calls, "-e", "inject="+fault, os.Args[0])
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", roleVar+"=write", pathVar+"="+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		switch word, _, _ := strings.Cut(lines.Text(), " "); word {
		case "made":
			made++
		case "failed":
			failed++
		case "stopped":
			stopped++
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%s: %v", fault, err)
	}
	s := open(t, path)
	defer s.Close()
	for i := range made {
		if _, err := s.Get(t.Context(), item(i).Key); err != nil {
			t.Errorf("%s: acknowledged item %d: %v", fault, i, err)
		}
	}
	// Of the one that was not acknowledged all is there or nothing.
	last, err := s.Last(t.Context())
	_, gerr := s.Get(t.Context(), item(made).Key)
	if err != nil || (gerr == nil) != (last == int64(made)+1) {
		t.Errorf("%s: after %d items the last event is %d, %v, and the next item: %v", fault, made, last, err, gerr)
	}
	shut(t, s)
	return made, failed, stopped
}

// TestFailedSync: one failed sync, whichever it is, stops the writer. strace
// counts the calls of each thread; to open the file takes eleven.
func TestFailedSync(t *testing.T) {
	for _, n := range []int{15, 17, 20, 30} {
		if made, _, stopped := injected(t, fmt.Sprintf("fsync,fdatasync:error=EIO:when=%d", n)); stopped != 1 || made == 0 {
			t.Errorf("sync %d failed: %d items made, and stopped %d times", n, made, stopped)
		}
	}
}

// TestFailedWrite: so does a write that failed.
func TestFailedWrite(t *testing.T) {
	if made, _, stopped := injected(t, "pwrite64:error=EIO:when=300"); stopped != 1 || made == 0 {
		t.Errorf("%d items made, and stopped %d times", made, stopped)
	}
}

// TestFullDisk: a disk that is full for a while stops nothing.
func TestFullDisk(t *testing.T) {
	if made, failed, stopped := injected(t, "pwrite64:error=ENOSPC:when=300..310"); made != 200 || failed == 0 || stopped != 0 {
		t.Errorf("%d items made, %d failures, stopped %d times", made, failed, stopped)
	}
}
