// Package durabletest lets a test run a sequence of durable writes in processes
// of its own, in which each system call in turn fails or is the last. It is for
// tests only. The faults are strace's, so they strike the very calls that the
// code under test makes; nothing in it has to be prepared for them.
package durabletest

import (
	"bufio"
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	opVar  = "DURABLETEST_OP"
	dirVar = "DURABLETEST_DIR"
	begin  = "/durabletest/begin"
	end    = "/durabletest/end"
)

// Op is what a process of its own does in dir. It stops at the first error.
type Op func(dir string) error

// strace counts calls by thread, so an Op has to stay on one. Package
// variables are set on the main thread, and Main goes on where it was locked.
var locked = func() bool {
	child := os.Getenv(opVar) != ""
	if child {
		runtime.LockOSThread()
	}
	return child
}()

// Main is for TestMain. In a process that Start or Each has started, it runs
// the operation that it is there for.
func Main(m *testing.M, ops map[string]Op) {
	if !locked {
		os.Exit(m.Run())
	}
	op := ops[os.Getenv(opVar)]
	if op == nil {
		fmt.Fprintln(os.Stderr, "no such operation")
		os.Exit(2)
	}
	Begin()
	err := op(os.Getenv(dirVar))
	_ = syscall.Access(end, 0)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Begin moves the beginning of what Each looks at to here: what an Op did before
// was only preparation.
func Begin() { _ = syscall.Access(begin, 0) }

// Ack tells the parent that the Op has been told of a success. It is one
// write: the parent has the whole line or none of it.
func Ack(what string) error {
	_, err := os.Stdout.WriteString(what + "\n")
	return err
}

// Process is an Op that runs in a process of its own.
type Process struct {
	cmd    *exec.Cmd
	acks   *bufio.Scanner
	stderr bytes.Buffer
}

// Start runs an operation of Main's in dir.
func Start(t *testing.T, op, dir string) *Process { return start(t, nil, op, dir) }

func start(t *testing.T, wrapper []string, op, dir string) *Process {
	t.Helper()
	args := append(slices.Clone(wrapper), os.Args[0])
	p := &Process{cmd: exec.Command(args[0], args[1:]...)}
	p.cmd.Env = append(os.Environ(), opVar+"="+op, dirVar+"="+dir, "GORACE=atexit_sleep_ms=0", "GOTRACEBACK=none")
	p.cmd.Stderr = &p.stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	p.acks = bufio.NewScanner(out)
	return p
}

// Next waits for the next Ack; false means that there is none any more.
func (p *Process) Next() (string, bool) {
	if !p.acks.Scan() {
		return "", false
	}
	return p.acks.Text(), true
}

// Kill is kill -9.
func (p *Process) Kill() error { return p.cmd.Process.Kill() }

// Wait reads what is left of the acks and returns them with what the Op
// returned, which is neither nil nor an error of the Op's if it was killed.
func (p *Process) Wait() (acks []string, err error) {
	for {
		ack, ok := p.Next()
		if !ok {
			break
		}
		acks = append(acks, ack)
	}
	if err := p.cmd.Wait(); err != nil {
		return acks, fmt.Errorf("%w: %s", err, bytes.TrimSpace(p.stderr.Bytes()))
	}
	return acks, nil
}

// Dir makes a directory in memory, where there is such a thing: to survive a
// process needs no disk.
func Dir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "durabletest-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// Call is one system call.
type Call struct {
	Name string // such as renameat
	Args string // as strace prints them
	Nth  int    // of its name in the process, from 1
}

// Fault is what happens to one system call.
type Fault struct {
	Call
	Errno string // what it fails with, "" if the process is killed at it
}

// Run is one run of an Op under a Fault.
type Run struct {
	Fault
	Dir  string
	Acks []string
	Err  error // nil only if the Op returned nil
}

// calls are those that touch files.
const calls = "?open,openat,?creat,read,pread64,write,pwrite64,fsync,fdatasync,close,ftruncate,flock,getdents64," +
	"?rename,?renameat,?renameat2,?link,linkat,?unlink,unlinkat,?mkdir,mkdirat,?chmod,fchmod,fchmodat,?stat,?newfstatat,fstat,?access,?faccessat,?faccessat2"

// noSpace are the calls that a full disk fails first.
var noSpace = []string{"openat", "write", "pwrite64", "mkdirat", "linkat"}

// Each runs the operation of that name once for every system call on files
// that it makes, and every fault: EIO, ENOSPC where that can be, and kill -9.
// prepare makes what is in the directory beforehand, check looks at it
// afterwards. It needs strace: without it the test is skipped, and fails where
// CI is "true".
func Each(t *testing.T, op string, prepare func(t *testing.T, dir string), check func(t *testing.T, r Run)) {
	t.Helper()
	strace := find(t)
	var faults []Fault
	for _, c := range Calls(t, op, prepare) {
		for _, errno := range []string{"EIO", "ENOSPC", ""} {
			if errno != "ENOSPC" || slices.Contains(noSpace, c.Name) {
				faults = append(faults, Fault{c, errno})
			}
		}
	}
	for _, f := range faults {
		t.Run(fmt.Sprintf("%s-%d-%s", f.Name, f.Nth, f.Errno), func(t *testing.T) {
			t.Parallel()
			how := "signal=SIGKILL"
			if f.Errno != "" {
				how = "error=" + f.Errno
			}
			r := Run{Fault: f, Dir: Dir(t)}
			prepare(t, r.Dir)
			var log string
			log, r.Acks, r.Err = trace(t, strace, op, r.Dir, "-e", fmt.Sprintf("inject=%s:%s:when=%d", f.Name, how, f.Nth))
			log = log[max(0, strings.LastIndex(log, begin)):]
			if f.Errno != "" && !strings.Contains(log, "(INJECTED)") || f.Errno == "" && !strings.Contains(log, "+++ killed by SIGKILL") {
				t.Fatalf("%+v did not happen in:\n%s", f, log)
			}
			if f.Errno == "" && r.Err == nil {
				t.Fatal("killed, and yet it returned")
			}
			check(t, r)
		})
	}
}

// find returns the path of a strace that works here.
var find = func() func(*testing.T) string {
	probe := sync.OnceValues(func() (string, error) {
		path, err := exec.LookPath("strace")
		if err != nil {
			return "", err
		}
		out, err := exec.Command(path, "-f", "-o", os.DevNull, "-e", "trace="+calls, "-e", "inject=fsync:error=EIO:when=1", "true").CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		return path, err
	})
	return func(t *testing.T) string {
		t.Helper()
		if runtime.GOOS != "linux" {
			t.Skip("SKIPPED: system calls are made to fail on Linux only")
		}
		path, err := probe()
		switch {
		case err != nil && os.Getenv("CI") == "true":
			t.Fatalf("strace is needed: %v", err)
		case err != nil:
			t.Skipf("SKIPPED, no write has been made to fail: install strace: %v", err)
		}
		return path
	}
}()

// Calls runs the operation undisturbed and returns the system calls on files
// that it makes, but for its acks. It needs strace, as Each does.
func Calls(t *testing.T, op string, prepare func(t *testing.T, dir string)) []Call {
	t.Helper()
	dir := Dir(t)
	prepare(t, dir)
	log, _, err := trace(t, find(t), op, dir)
	if err != nil {
		t.Fatalf("%s fails undisturbed: %v", op, err)
	}
	lines := strings.Split(log, "\n")
	at := len(lines) - 1
	for at > 0 && !strings.Contains(lines[at], begin) {
		at--
	}
	thread, _, _ := strings.Cut(lines[at], " ")
	nth := map[string]int{}
	var all []Call
	for i, l := range lines {
		m := callLine.FindStringSubmatch(l)
		if m == nil || m[1] != thread {
			continue
		}
		c := Call{Name: m[2], Args: m[3]}
		nth[c.Name]++
		c.Nth = nth[c.Name]
		switch {
		case strings.Contains(c.Args, end):
			if len(all) == 0 {
				t.Fatalf("%s makes no system call on files", op)
			}
			return all
		case i > at && (c.Name != "write" || !strings.HasPrefix(c.Args, "1, ")):
			all = append(all, c)
		}
	}
	t.Fatalf("no end in:\n%s", log)
	return nil
}

var callLine = regexp.MustCompile(`^(\d+) +([a-z0-9_]+)\((.*)$`)

// trace runs op under strace and returns its log, too.
func trace(t *testing.T, strace, op, dir string, more ...string) (log string, acks []string, err error) {
	t.Helper()
	file := filepath.Join(Dir(t), "log")
	args := append([]string{strace, "-f", "-s", "64", "-o", file, "-e", "trace=" + calls}, more...)
	acks, err = start(t, args, op, dir).Wait()
	data, rerr := os.ReadFile(file)
	if rerr != nil {
		t.Fatal(rerr)
	}
	return string(data), acks, err
}

// KillAfter runs an operation and kills it when it has acknowledged n times and
// some more time has passed. It returns what was acknowledged.
func KillAfter(t *testing.T, op, dir string, n int, more time.Duration) []string {
	t.Helper()
	p := Start(t, op, dir)
	var acks []string
	for len(acks) < n {
		ack, ok := p.Next()
		if !ok {
			_, err := p.Wait()
			t.Fatalf("%s ended after %d acks: %v", op, len(acks), err)
		}
		acks = append(acks, ack)
	}
	time.Sleep(more)
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	rest, _ := p.Wait()
	return append(acks, rest...)
}

// Snapshot returns what is in dir: each file's path from there with its
// content, a directory with a slash.
func Snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if !d.Type().IsRegular() {
			all[rel+"/"] = d.Type().String()
			return nil
		}
		data, err := os.ReadFile(path)
		all[rel] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Names are the sorted keys of a Snapshot.
func Names(snapshot map[string]string) []string { return slices.Sorted(maps.Keys(snapshot)) }
