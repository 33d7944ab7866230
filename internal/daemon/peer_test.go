package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/inject"
)

// somebody is a user that nobody is.
const somebody = 47110

// TestMain lets the test's own program be the other process.
func TestMain(m *testing.M) {
	if path := os.Getenv("DAEMON_TEST_DIAL"); path != "" {
		os.Exit(dial(path))
	}
	if os.Getenv("DAEMON_TEST_HARDEN") != "" {
		h := Harden()
		fmt.Printf("not dumpable: %t, no core: %t\n", h.NotDumpable, h.NoCore)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// dial connects to a socket, and waits to be let go.
func dial(path string) int {
	conn, err := net.Dial("unix", path)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	_, _ = os.Stdin.Read(make([]byte, 1))
	_ = conn.Close()
	return 0
}

// helper starts the test's program as another process, of another user if uid
// is not 0, from a place where anybody may run it.
func helper(t *testing.T, uid int, env ...string) *exec.Cmd {
	t.Helper()
	dir, err := os.MkdirTemp("", "daemon-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(exe)
	if err == nil {
		err = errors.Join(os.Chmod(dir, 0o755), os.WriteFile(filepath.Join(dir, "helper"), data, 0o755))
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(dir, "helper"))
	cmd.Env, cmd.Dir = append(append(os.Environ(), "GORACE=atexit_sleep_ms=5"), env...), "/"
	if uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	}
	return cmd
}

// sleeper is a process that does nothing for long.
func sleeper(t *testing.T, argv ...string) *exec.Cmd {
	t.Helper()
	if argv == nil {
		argv = []string{"sleep", "1000"}
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	if err := cmd.Start(); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

// childOf waits for a process to have a child.
func childOf(t *testing.T, pid int) int {
	t.Helper()
	for range 500 {
		out, _ := exec.Command("pgrep", "-P", fmt.Sprint(pid)).Output()
		var child int
		if n, _ := fmt.Sscan(string(out), &child); n == 1 {
			return child
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Skip("no child, or no pgrep")
	return 0
}

func TestDescends(t *testing.T) {
	if _, err := exec.LookPath("pgrep"); err != nil {
		t.Skip(err)
	}
	me := os.Getpid()
	child := sleeper(t).Process.Pid
	shell := sleeper(t, "sh", "-c", "sleep 1000; true").Process.Pid
	grandchild := childOf(t, shell)
	for _, c := range []struct {
		what  string
		pid   int
		roots map[int]bool
		want  bool
	}{
		{"a process of itself", child, map[int]bool{child: true}, true},
		{"a child", child, map[int]bool{me: true}, true},
		{"a grandchild", grandchild, map[int]bool{me: true}, true},
		{"a grandchild of its parent", grandchild, map[int]bool{shell: true}, true},
		{"a sibling", child, map[int]bool{shell: true}, false},
		{"a parent", me, map[int]bool{child: true, shell: true, grandchild: true}, false},
		{"of several", grandchild, map[int]bool{child: true, shell: true}, true},
		{"of none", grandchild, nil, false},
		{"the first process", 1, map[int]bool{me: true}, false},
		{"no process: who cannot be placed is taken for one", 1 << 30, map[int]bool{me: true}, true},
	} {
		if got := Descends(c.pid, c.roots); got != c.want {
			t.Errorf("%s: %t", c.what, got)
		}
	}
}

// TestDescendsByName: a process may call itself what it likes.
func TestDescendsByName(t *testing.T) {
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Skip(err)
	}
	data, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a) S 1 (b", ") S 1 1 1 1", "x y z", "a\nb"} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, data, 0o700); err != nil {
			t.Fatal(err)
		}
		p := sleeper(t, path, "1000")
		if !Descends(p.Process.Pid, map[int]bool{os.Getpid(): true}) {
			t.Errorf("%q is not found to be a child", name)
		}
		if Started(p.Process.Pid) == "" || Started(p.Process.Pid) == Started(1) {
			t.Errorf("%q started at %q", name, Started(p.Process.Pid))
		}
	}
}

func TestStarted(t *testing.T) {
	first := sleeper(t)
	at := Started(first.Process.Pid)
	time.Sleep(30 * time.Millisecond)
	second := sleeper(t)
	if at == "" || at != Started(first.Process.Pid) || at == Started(second.Process.Pid) {
		t.Errorf("started at %q, then %q; another at %q", at, Started(first.Process.Pid), Started(second.Process.Pid))
	}
	_ = first.Process.Kill()
	_ = first.Wait()
	if got := Started(first.Process.Pid); got != "" {
		t.Errorf("a process that is gone started at %q", got)
	}
}

// accept has another process connect to a socket that anybody may use, and
// returns the server's end of the connection.
func accept(t *testing.T, uid int, env ...string) (net.Conn, *exec.Cmd) {
	t.Helper()
	dir, err := os.MkdirTemp("", "peer-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	ln, err := net.Listen("unix", path)
	if err == nil {
		err = errors.Join(os.Chmod(dir, 0o755), os.Chmod(path, 0o777))
	}
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	cmd := helper(t, uid, append(env, "DAEMON_TEST_DIAL="+path)...)
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn, cmd
}

func TestPeerOf(t *testing.T) {
	conn, cmd := accept(t, 0)
	p, err := PeerOf(conn)
	if err != nil || p.PID != cmd.Process.Pid || p.UID != os.Getuid() {
		t.Errorf("%+v %v, want pid %d", p, err, cmd.Process.Pid)
	}
	me := inject.Caller{Agent: agentOf(t, "coder")}
	got, ok := withCaller(context.Background(), me, conn, nil).Value(peerKey{}).(peer)
	if !ok || got.err != nil || got.caller != me {
		t.Errorf("%+v", got)
	}
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if _, err := PeerOf(a); !errors.Is(err, ErrPeer) {
		t.Errorf("no socket: %v", err)
	}
	if got := withCaller(context.Background(), me, a, nil).Value(peerKey{}).(peer); !errors.Is(got.err, ErrPeer) {
		t.Errorf("no socket: %+v", got)
	}
}

func TestPeerOfAnotherUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to be another user")
	}
	conn, _ := accept(t, somebody)
	p, err := PeerOf(conn)
	if err != nil || p.UID != somebody {
		t.Errorf("%+v %v", p, err)
	}
	got, _ := withCaller(context.Background(), inject.Caller{}, conn, nil).Value(peerKey{}).(peer)
	if !errors.Is(got.err, ErrPeer) {
		t.Errorf("another user may use the socket: %+v", got)
	}
}

// TestListenUnix: the directory keeps others out, from the first moment on.
func TestListenUnix(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "run", "agents", "coder.sock")
	ln, err := ListenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700, filepath.Dir(filepath.Dir(path)): 0o700} {
		if fi, err := os.Lstat(name); err != nil || fi.Mode().Perm() != want {
			t.Errorf("%s: %v %v", name, fi.Mode(), err)
		}
	}
	if conn, err := net.Dial("unix", path); err != nil {
		t.Error(err)
	} else {
		_ = conn.Close()
	}
	_ = ln.Close()

	// One that a dead process left is replaced.
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	_ = dead.Close()
	if ln, err = ListenUnix(path); err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()

	for _, mode := range []os.FileMode{0o701, 0o710, 0o750, 0o755, 0o777} {
		open := filepath.Join(t.TempDir(), "open")
		if err := errors.Join(os.Mkdir(open, mode), os.Chmod(open, mode)); err != nil {
			t.Fatal(err)
		}
		if _, err := ListenUnix(filepath.Join(open, "s")); err == nil || !strings.Contains(err.Error(), "chmod 700") {
			t.Errorf("directory %04o: %v", mode, err)
		}
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(filepath.Dir(path), link); err != nil {
		t.Fatal(err)
	}
	if _, err := ListenUnix(filepath.Join(link, "s")); err == nil {
		t.Error("a link to a directory")
	}
	if _, err := ListenUnix(filepath.Join(dir, strings.Repeat("x", 100), "s")); err == nil || !strings.Contains(err.Error(), "103") {
		t.Errorf("a path that is too long: %v", err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ListenUnix(filepath.Join(file, "s")); err == nil {
		t.Error("below a file")
	}
}

// TestListenUnixInSomebodysDirectory: whoever owns the directory could put a
// socket of their own in the place of this one.
func TestListenUnixInSomebodysDirectory(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to be another user")
	}
	dir := filepath.Join(t.TempDir(), "theirs")
	if err := errors.Join(os.Mkdir(dir, 0o700), os.Chown(dir, somebody, somebody)); err != nil {
		t.Fatal(err)
	}
	if ln, err := ListenUnix(filepath.Join(dir, "s")); err == nil {
		_ = ln.Close()
		t.Error("it listens there")
	}
}

func TestHarden(t *testing.T) {
	// In a process of its own: this one shall stay open to debuggers.
	cmd := helper(t, 0, "DAEMON_TEST_HARDEN=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("not dumpable: true, no core: true")) {
		t.Errorf("%v %s", err, out)
	}
}
