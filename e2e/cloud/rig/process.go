package rig

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/litentry/agentkeys"
)

// Process is a program that runs until the test ends.
type Process struct {
	name string
	cmd  *exec.Cmd
	log  lines
	done chan struct{}
}

// Log is what it has printed.
func (p *Process) Log() string { return p.log.String() }

// PID is its process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// lines is what a program prints.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// Start starts the program. What it prints is shown if the test fails.
func (w *World) Start(name string, home *Home, args ...string) *Process {
	w.t.Helper()
	p := &Process{name: name, cmd: exec.Command(w.Program, args...), done: make(chan struct{})}
	p.cmd.Env = w.env(home)
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	w.t.Cleanup(func() {
		p.Stop(syscall.SIGTERM)
		if w.t.Failed() {
			w.t.Logf("%s printed:\n%s", name, p.log.String())
		}
	})
	return p
}

// Signal signals the process, which goes on.
func (p *Process) Signal(sig syscall.Signal) error { return p.cmd.Process.Signal(sig) }

// Stop signals the process and waits for its end.
func (p *Process) Stop(sig syscall.Signal) {
	_ = p.cmd.Process.Signal(sig)
	select {
	case <-p.done:
	case <-time.After(20 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// Home is one user's machine.
type Home struct {
	Path string
	w    *World
}

// Home makes a machine.
func (w *World) Home(name string) *Home {
	h := &Home{w.Path(name), w}
	if err := os.MkdirAll(h.Path, 0o700); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _, _ = w.Run(h, "down") })
	return h
}

func (w *World) env(h *Home) []string {
	dir := w.Dir
	if h != nil {
		dir = h.Path
	}
	return []string{"HOME=" + dir, "AGENTKEYS_HOME=" + filepath.Join(dir, "ak"), "PATH=" + os.Getenv("PATH"), "SSL_CERT_FILE=" + w.CA, "LANG=C.UTF-8", "TMPDIR=" + w.Dir}
}

// Run runs a command to its end and returns what it printed.
func (w *World) Run(h *Home, args ...string) (string, error) {
	w.t.Helper()
	return w.RunWith(h, nil, args...)
}

// RunWith is Run with standard input.
func (w *World) RunWith(h *Home, stdin io.Reader, args ...string) (string, error) {
	w.t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), Patience)
	defer stop()
	cmd := exec.CommandContext(ctx, w.Program, args...)
	cmd.Env, cmd.Stdin = w.env(h), stdin
	// Their own files: a background process must not keep a pipe of ours open.
	var out lines
	r, pw, err := os.Pipe()
	if err != nil {
		w.t.Fatal(err)
	}
	defer r.Close()
	cmd.Stdout, cmd.Stderr = pw, pw
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		_, _ = io.Copy(&out, r)
	}()
	err = cmd.Run()
	_ = pw.Close()
	select {
	case <-copied:
	case <-time.After(time.Second): // a child of it has the pipe still
	}
	if err != nil {
		err = fmt.Errorf("agentkeys %s: %w\n%s", strings.Join(args, " "), err, &out)
	}
	return out.String(), err
}

// OK runs a command of the home's user that must succeed.
func (h *Home) OK(args ...string) string {
	h.w.t.Helper()
	return h.w.Must(h.w.Run(h, args...))
}

// Refused runs one that must not, and returns what it printed.
func (h *Home) Refused(args ...string) string {
	h.w.t.Helper()
	out, err := h.w.Run(h, args...)
	if err == nil {
		h.w.t.Fatalf("agentkeys %s succeeded:\n%s", strings.Join(args, " "), out)
	}
	return out
}

// Login logs the home's user in by mail, as a person with a browser does, and
// returns the wallet.
func (h *Home) Login(email string) agentkeys.Wallet {
	w := h.w
	w.t.Helper()
	done := make(chan error, 1)
	go func() {
		_, err := w.Run(h, "login", "--broker", Origin, "--email", email, "--device-key", "file:"+filepath.Join(h.Path, "device.key"), "--name", "laptop of "+email)
		done <- err
	}()
	hand, err := w.OpenLink()
	if err != nil {
		w.t.Fatal(err)
	}
	w.Await("the command that asked", func() bool { // a person is slower than the mail
		res, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/login?login=%s&code=%s", hand.Port, hand.Login, hand.Code))
		if err != nil {
			return false
		}
		return res.Body.Close() == nil && res.StatusCode == http.StatusOK
	})
	if err := <-done; err != nil {
		w.t.Fatal(err)
	}
	var profile struct {
		Wallet agentkeys.Wallet `json:"wallet"`
	}
	data, err := os.ReadFile(filepath.Join(h.Path, "ak", "config", "broker.json"))
	if err == nil {
		err = json.Unmarshal(data, &profile)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return profile.Wallet
}

// JSON reads what a command answers.
func (h *Home) JSON(into any, args ...string) {
	h.w.t.Helper()
	out := h.OK(append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), into); err != nil {
		h.w.t.Fatalf("agentkeys %s: %v in\n%s", strings.Join(args, " "), err, out)
	}
}
