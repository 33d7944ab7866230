package durable_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/durable"
	"github.com/litentry/agentkeys/internal/durable/durabletest"
)

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// mode fails unless path is a regular file or a directory for its owner alone.
func mode(t *testing.T, path string, want fs.FileMode) {
	t.Helper()
	fi, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := fi.Mode() &^ fs.ModeSetgid; got != want {
		t.Errorf("%s is %s, want %s", path, got, want)
	}
}

func TestWriteFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for _, want := range []string{"one", "", strings.Repeat("x", 1<<20), "four"} {
		if err := durable.WriteFile(path, []byte(want)); err != nil || read(t, path) != want {
			t.Fatalf("%v", err)
		}
		mode(t, path, 0o600)
		if err := os.Chmod(path, 0o644); err != nil { // the next write is a new file
			t.Fatal(err)
		}
	}
	if err := durable.WriteFile(filepath.Join(path, "g"), nil); err == nil {
		t.Error("a file below a file")
	}
	if err := durable.WriteFile(filepath.Join(filepath.Dir(path), "no", "f"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
	dir := filepath.Join(filepath.Dir(path), "dir")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := durable.WriteFile(dir, nil); err == nil {
		t.Error("a directory is replaced by a file")
	}
	if got := durabletest.Names(durabletest.Snapshot(t, filepath.Dir(path))); strings.Join(got, " ") != "dir/ f" {
		t.Errorf("there is %q", got)
	}
}

func TestCreateFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := durable.CreateFile(path, []byte("first")); err != nil {
		t.Fatal(err)
	}
	mode(t, path, 0o600)
	if err := durable.CreateFile(path, []byte("second")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second one: %v", err)
	}
	if got := read(t, path); got != "first" {
		t.Errorf("%q", got)
	}
	if got := durabletest.Names(durabletest.Snapshot(t, filepath.Dir(path))); strings.Join(got, " ") != "f" {
		t.Errorf("there is %q", got)
	}
}

func TestRemove(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := durable.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what is not there: %v", err)
	}
	if err := durable.WriteFile(path, nil); err != nil {
		t.Fatal(err)
	}
	if err := durable.Remove(path); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestMkdirAll(t *testing.T) {
	dir := t.TempDir()
	deep := filepath.Join(dir, "a", "b", "c")
	for range 2 {
		if err := durable.MkdirAll(deep); err != nil {
			t.Fatal(err)
		}
	}
	for p := deep; p != dir; p = filepath.Dir(p) {
		mode(t, p, 0o700|fs.ModeDir)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	dangling := filepath.Join(dir, "dangling")
	if err := os.Symlink(filepath.Join(dir, "nowhere"), dangling); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{file, filepath.Join(file, "x"), dangling} {
		if err := durable.MkdirAll(p); err == nil {
			t.Errorf("%s is a directory", p)
		}
	}
	// Somebody else's choice of mode for a directory stays.
	open := filepath.Join(dir, "open")
	if err := os.Mkdir(open, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := durable.MkdirAll(open); err != nil {
		t.Fatal(err)
	}
	mode(t, open, 0o755|fs.ModeDir)

	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := durable.MkdirAll(filepath.Join(dir, "x", "y", "z")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// TestSymlinks: a link in the place of a file leads no write astray.
func TestSymlinks(t *testing.T) {
	dir := t.TempDir()
	victim := filepath.Join(dir, "victim")
	if err := os.WriteFile(victim, []byte("precious"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{victim, filepath.Join(dir, "nowhere")} {
		link := filepath.Join(dir, "link")
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
		if err := durable.CreateFile(link, []byte("new")); !errors.Is(err, fs.ErrExist) {
			t.Errorf("created over a link to %s: %v", target, err)
		}
		if unlock, err := durable.Lock(link); err == nil {
			unlock()
			t.Errorf("locked through a link to %s", target)
		}
		if fi, err := os.Lstat(link); err != nil || fi.Mode().Type() != fs.ModeSymlink {
			t.Errorf("the link has become a %v, %v", fi, err)
		}
		if err := durable.WriteFile(link, []byte("new")); err != nil {
			t.Fatal(err)
		}
		mode(t, link, 0o600)
		if err := durable.Remove(link); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
		if err := durable.Remove(link); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]string{"victim": "precious"}
	if got := durabletest.Snapshot(t, dir); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%q", got)
	}
}

func TestSweep(t *testing.T) {
	// Glob would take this name for a pattern.
	dir := filepath.Join(t.TempDir(), "a[b]*?")
	if err := durable.MkdirAll(filepath.Join(dir, ".tmp-dir")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{".tmp-", ".tmp-1", ".tmp-x.json", "f", ".tmp", "x.tmp-1", ".hidden"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("f", filepath.Join(dir, ".tmp-link")); err != nil {
		t.Fatal(err)
	}
	if err := durable.Sweep(dir); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(durabletest.Names(durabletest.Snapshot(t, dir)), " "); got != ".hidden .tmp .tmp-dir/ f x.tmp-1" {
		t.Errorf("left: %s", got)
	}
	if err := durable.Sweep(filepath.Join(dir, "no")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
}

// TestReadersSeeWholeFiles reads while others write.
func TestReadersSeeWholeFiles(t *testing.T) {
	path := filepath.Join(durabletest.Dir(t), "f")
	if err := durable.WriteFile(path, []byte(strings.Repeat("0", 1<<16))); err != nil {
		t.Fatal(err)
	}
	var done atomic.Bool
	var writers, readers sync.WaitGroup
	for i := range 2 {
		writers.Go(func() {
			for n := range 50 {
				if err := durable.WriteFile(path, []byte(strings.Repeat(strconv.Itoa(i), 1<<16+n))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	readers.Go(func() {
		for !done.Load() {
			data, err := os.ReadFile(path)
			if err != nil || len(data) < 1<<16 || strings.Trim(string(data), string(data[:1])) != "" {
				t.Errorf("%d bytes, %v", len(data), err)
				return
			}
		}
	})
	writers.Wait()
	done.Store(true)
	readers.Wait()
}

// race creates each of many files, and acknowledges those that it created.
func race(dir string) error {
	for i := range 40 {
		name := strconv.Itoa(i)
		err := durable.CreateFile(filepath.Join(dir, name), []byte(strconv.Itoa(os.Getpid())))
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err == nil {
			err = durabletest.Ack(name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// TestCreateFileRace: of many goroutines, and of many processes, one makes each
// file, and what is in it is the winner's.
func TestCreateFileRace(t *testing.T) {
	dir := durabletest.Dir(t)
	var procs []*durabletest.Process
	for range 4 {
		procs = append(procs, durabletest.Start(t, "race", dir))
	}
	made := map[string]int{}
	for _, p := range procs {
		acks, err := p.Wait()
		if err != nil {
			t.Error(err)
		}
		for _, name := range acks {
			made[name]++
		}
	}
	for i := range 40 {
		if name := strconv.Itoa(i); made[name] != 1 {
			t.Errorf("file %s was made %d times", name, made[name])
		}
	}
	var winners [8]int
	for i := range winners {
		path := filepath.Join(dir, fmt.Sprintf("g%d", i))
		var wins atomic.Int64
		var wg sync.WaitGroup
		for n := range 16 {
			wg.Go(func() {
				err := durable.CreateFile(path, []byte(strconv.Itoa(n)))
				if err == nil {
					wins.Add(1)
					winners[i] = n
				} else if !errors.Is(err, fs.ErrExist) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if wins.Load() != 1 || read(t, path) != strconv.Itoa(winners[i]) {
			t.Errorf("%d winners, %s in the file, last winner %d", wins.Load(), read(t, path), winners[i])
		}
	}
	for name := range durabletest.Snapshot(t, dir) {
		if strings.HasPrefix(name, ".tmp-") {
			t.Errorf("%s is left", name)
		}
	}
}

// hold takes a lock until it is killed.
func hold(dir string) error {
	if _, err := durable.Lock(filepath.Join(dir, "lock")); err != nil {
		return err
	}
	runtime.GC() // a lock must not depend on somebody's keeping unlock
	runtime.GC()
	if err := durabletest.Ack("held"); err != nil {
		return err
	}
	time.Sleep(time.Minute)
	return nil
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "lock")
	unlock, err := durable.Lock(path)
	if err != nil {
		t.Fatal(err)
	}
	mode(t, path, 0o600)
	if _, err := durable.Lock(path); !errors.Is(err, durable.ErrLocked) {
		t.Errorf("twice in one process: %v", err)
	}
	if _, err := durabletest.Start(t, "hold", dir).Wait(); err == nil || !strings.Contains(err.Error(), durable.ErrLocked.Error()) {
		t.Errorf("in another process: %v", err)
	}
	unlock()
	other := durabletest.Start(t, "hold", dir)
	if ack, ok := other.Next(); !ok || ack != "held" {
		_, err := other.Wait()
		t.Fatalf("once it is free: %v", err)
	}
	unlock() // a second time: not what another holds now
	if _, err := durable.Lock(path); !errors.Is(err, durable.ErrLocked) {
		t.Errorf("while another process holds it: %v", err)
	}
	if err := other.Kill(); err != nil {
		t.Fatal(err)
	}
	_, _ = other.Wait()
	again(t, path)
	if _, err := durable.Lock(filepath.Join(dir, "no", "lock")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
}

// TestUnlockTwice: the descriptor belongs to somebody else by then.
func TestUnlockTwice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := durable.Lock(path)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
	var files []*os.File
	for range 8 {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	unlock()
	for _, f := range files {
		if _, err := f.Stat(); err != nil {
			t.Error(err)
		}
		_ = f.Close()
	}
}

// TestUnlockInSpiteOfChildren: a child that is just being started has every
// descriptor of its parent, and with it the lock.
func TestUnlockInSpiteOfChildren(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := durable.Lock(path)
	if err != nil {
		t.Fatal(err)
	}
	var dup int
	for fd := range 256 { // stand in for the child: a second descriptor of the same file
		if target, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)); err == nil && target == path {
			if dup, err = syscall.Dup(fd); err != nil {
				t.Fatal(err)
			}
		}
	}
	if dup == 0 {
		unlock()
		t.Skip("no /proc to find the descriptor in")
	}
	defer func() { _ = syscall.Close(dup) }()
	unlock()
	again(t, path)
}

// underUmask tries the worst of umasks.
func underUmask(dir string) error {
	for _, mask := range []int{0, 0o022, 0o077, 0o277, 0o777} {
		syscall.Umask(mask)
		sub := filepath.Join(dir, fmt.Sprintf("%03o", mask))
		path := filepath.Join(sub, "x", "f")
		if err := durable.MkdirAll(filepath.Dir(path)); err != nil {
			return err
		}
		if err := durable.WriteFile(path, []byte("1")); err != nil {
			return err
		}
		if err := durable.CreateFile(path+"2", []byte("1")); err != nil {
			return err
		}
		for range 2 {
			unlock, err := durable.Lock(path + "3")
			if err != nil {
				return err
			}
			unlock()
		}
	}
	return nil
}

func TestUmask(t *testing.T) {
	dir := t.TempDir()
	if _, err := durabletest.Start(t, "any umask", dir).Wait(); err != nil {
		t.Fatal(err)
	}
	n := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || path == dir:
		case d.IsDir():
			mode(t, path, 0o700|fs.ModeDir)
		default:
			mode(t, path, 0o600)
			n++
		}
		return err
	})
	if err != nil || n != 15 {
		t.Errorf("%d files, %v", n, err)
	}
}

// writeForever writes and acknowledges numbers.
func writeForever(dir string) error {
	for i := 1; ; i++ {
		n := strconv.Itoa(i)
		if err := durable.WriteFile(filepath.Join(dir, "f"), []byte(strings.Repeat(n+"\n", 10_000))); err != nil {
			return err
		}
		if err := durabletest.Ack(n); err != nil {
			return err
		}
	}
}

// TestKilledWriter: after kill -9 the file is whole, and no older than what
// was acknowledged.
func TestKilledWriter(t *testing.T) {
	for i := range 6 {
		dir := durabletest.Dir(t)
		acks := durabletest.KillAfter(t, "write hard", dir, 1+i, time.Duration(i)*700*time.Microsecond)
		acked, err := strconv.Atoi(acks[len(acks)-1])
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(read(t, filepath.Join(dir, "f")), "\n"), "\n")
		got, err := strconv.Atoi(lines[0])
		if err != nil || got < acked || got > acked+1 || len(lines) != 10_000 || lines[9_999] != lines[0] {
			t.Errorf("%d acknowledged, %d lines of %d: %v", acked, len(lines), got, err)
		}
		if err := durable.Sweep(dir); err != nil {
			t.Fatal(err)
		}
		if left := durabletest.Names(durabletest.Snapshot(t, dir)); len(left) != 1 {
			t.Errorf("left: %q", left)
		}
	}
}
