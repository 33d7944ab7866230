package control

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/daemon"
	"github.com/litentry/agentkeys/internal/local"
	"github.com/litentry/agentkeys/internal/secret"
)

// somebody is a user that nobody is.
const somebody = 47110

// TestMain lets the test's own program be another process: one that tries every
// door, one that runs an agent as `agentkeys run` does, or one that has made
// the socket before the owner.
func TestMain(m *testing.M) {
	socket := os.Getenv("CONTROL_TEST_SOCKET")
	switch os.Getenv("CONTROL_TEST") {
	case "":
		os.Exit(m.Run())
	case "try":
		for _, line := range tryAll(quiet{}, socket) {
			fmt.Println(line)
		}
	case "run":
		os.Exit(asRun(socket))
	case "impostor":
		os.Exit(impostor(socket))
	}
	os.Exit(0)
}

// quiet is a testing.TB for a program that is no test.
type quiet struct{ testing.TB }

func (quiet) Helper()           {}
func (quiet) Fatal(args ...any) { fmt.Println(args...); os.Exit(1) }

// asRun starts a session as `agentkeys run` does, has children try every door,
// and then tries itself.
func asRun(socket string) int {
	label, err := agentkeys.ParseAgent("coder")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	_, err = NewClient(socket).StartSession(context.Background(), SessionRequest{Agent: label, TTL: 60, Run: true})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	for _, argv := range [][]string{
		{os.Args[0]},
		{"sh", "-c", os.Args[0]},
		{"sh", "-c", "cd /; setsid " + os.Args[0] + " </dev/null & wait"},
	} {
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Env = append(os.Environ(), "CONTROL_TEST=try")
		out, err := cmd.CombinedOutput()
		fmt.Printf("%q: %v\n%s", argv, err, out)
	}
	fmt.Println("itself:")
	status, body := rawTo(quiet{}, socket, "GET", "/v1/agents", "")
	fmt.Println(status, body)
	return 0
}

// impostor serves a socket, and says what it was sent.
func impostor(socket string) int {
	ln, err := net.Listen("unix", socket)
	if err == nil {
		err = os.Chmod(socket, 0o777)
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("listening")
	_ = http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Printf("got %s %s %s\n", r.Method, r.URL, body)
		_, _ = io.WriteString(w, "{}")
	}))
	return 0
}

// helper is the test's own program in another role, of another user if uid is
// not 0.
func helper(t *testing.T, uid int, role, socket string) *exec.Cmd {
	t.Helper()
	dir := filepath.Dir(place(t))
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(exe)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "helper"), data, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(dir, "helper"))
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "CONTROL_TEST="+role, "CONTROL_TEST_SOCKET="+socket,
		"GORACE=atexit_sleep_ms=5")
	if uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	}
	return cmd
}

// TestAgentsAreTurnedAway: a process of an agent, however it was started, may
// ask for the status and for nothing else; the run itself, and everybody once
// the run is over, may.
func TestAgentsAreTurnedAway(t *testing.T) {
	w := newWorld(t)
	if _, err := w.client.CreateAgent(t.Context(), agentOf(t, "coder")); err != nil {
		t.Fatal(err)
	}
	out, err := helper(t, 0, "run", w.paths.Control()).CombinedOutput()
	text := string(out)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	for _, r := range routes {
		want := r.pattern + ": 403 "
		if r.access == anyone {
			want = r.pattern + ": 200 "
		}
		if n := strings.Count(text, want); n != 3 {
			t.Errorf("%q %d times of 3 in\n%s", want, n, text)
		}
	}
	if _, itself, _ := strings.Cut(text, "itself:\n"); !strings.HasPrefix(itself, "200 ") {
		t.Errorf("the run itself: %s", itself)
	}
	if n := strings.Count(text, `"code":"forbidden"`); n != 3*(len(routes)-1) {
		t.Errorf("%d refusals", n)
	}
	if w.stops.Load() != 0 {
		t.Error("an agent stopped the process")
	}
	// The run is over; its number may be somebody else's.
	if status, body := w.raw(t, "GET", "/v1/agents", ""); status != 200 {
		t.Errorf("%d %s", status, body)
	}
	if n := w.server.host.Runs().Len(); n != 0 {
		t.Errorf("%d are taken for running", n)
	}
}

// TestRunEnds: whoever ends its session runs nothing any more, and who renews a
// session is known again after a restart, but only if there is one.
func TestRunEnds(t *testing.T) {
	w := newWorld(t)
	if _, err := w.client.CreateAgent(t.Context(), agentOf(t, "coder")); err != nil {
		t.Fatal(err)
	}
	s, err := w.client.StartSession(t.Context(), SessionRequest{Agent: agentOf(t, "coder"), TTL: 60})
	if err != nil {
		t.Fatal(err)
	}
	runs := w.server.host.Runs().Len
	if runs() != 0 {
		t.Error("a session that is no run")
	}
	if err := w.client.RenewSession(t.Context(), "no such token"); err == nil || runs() != 0 {
		t.Errorf("%v, %d runs", err, runs())
	}
	if err := w.client.RenewSession(t.Context(), s.Token); err != nil || runs() != 1 {
		t.Errorf("%v, %d runs", err, runs())
	}
	if err := w.client.EndSession(t.Context(), s.Token); err != nil || runs() != 0 {
		t.Errorf("%v, %d runs", err, runs())
	}
}

// TestAnotherUser has another user come to the socket by a way that is open to
// them, which there is not.
func TestAnotherUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to be another user")
	}
	w := newWorld(t)
	path := place(t)
	ln, err := net.Listen("unix", path)
	if err == nil {
		err = os.Chmod(path, 0o777)
	}
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = w.server.Serve(ln) }()
	out, err := helper(t, somebody, "try", path).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, r := range routes {
		if !strings.Contains(string(out), r.pattern+": 403 ") {
			t.Errorf("%s is not refused:\n%s", r.pattern, out)
		}
	}
	// And by the way there is they do not come that far.
	out, err = helper(t, somebody, "try", w.paths.Control()).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "permission denied") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestImpostor: a client sends nothing to a process of another user, whoever
// made the socket first.
func TestImpostor(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to be another user")
	}
	path := place(t)
	if err := os.Chmod(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	cmd := helper(t, somebody, "impostor", path)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "listening" {
		t.Fatal(lines.Text())
	}
	c := NewClient(path)
	if _, err := c.Status(t.Context()); !errors.Is(err, daemon.ErrPeer) {
		t.Errorf("status: %v", err)
	}
	if _, err := c.Store(t.Context(), serviceOf(t, "openrouter"), secret.FromString("a-key-of-some-length"), local.StoreOptions{}); !errors.Is(err, daemon.ErrPeer) {
		t.Errorf("store: %v", err)
	}
	_ = cmd.Process.Kill()
	for lines.Scan() {
		t.Errorf("the impostor %s", lines.Text())
	}
	_ = cmd.Wait()
}

// TestPeerUnknown: without a kernel's word for who is there, nobody is let in.
func TestPeerUnknown(t *testing.T) {
	w := newWorld(t)
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = w.server.Serve(ln) }()
	c := &http.Client{Timeout: 5 * time.Second}
	resp, err := c.Get("http://" + ln.Addr().String() + "/v1/status")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 403 {
		t.Errorf("%d over TCP", resp.StatusCode)
	}
}
