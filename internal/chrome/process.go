package chrome

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/litentry/agentkeys/internal/provision/recipe"
)

// process is the browser that we started, in a process group of its own.
type process struct {
	pipe   *chromedp.PipeConn
	cmd    *exec.Cmd
	exited chan struct{}
	stderr *head
}

// start starts the browser. Its environment is made here: nothing of ours
// comes to it that it does not need.
func start(path string, args []string, p *profile, headed bool) (*process, error) {
	cmd := exec.Command(path, args...)
	cmd.Dir = p.dir
	cmd.Env = []string{"HOME=" + p.dir, "TMPDIR=" + p.temp, "PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8"}
	if headed {
		for _, name := range []string{"DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "XDG_RUNTIME_DIR"} {
			if v, ok := os.LookupEnv(name); ok {
				cmd.Env = append(cmd.Env, name+"="+v)
			}
		}
	}
	cmd.SysProcAttr = attributes()
	if os.Getuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}

	ours := make([]*os.File, 0, 3)
	theirs := make([]*os.File, 0, 3)
	fail := func(err error) (*process, error) {
		for _, f := range append(ours, theirs...) {
			_ = f.Close()
		}
		return nil, fmt.Errorf("%w: %w", ErrStart, err)
	}
	pipe := func(write bool) error {
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		if write {
			r, w = w, r
		}
		ours, theirs = append(ours, r), append(theirs, w)
		return nil
	}
	for _, write := range []bool{true, false, false} {
		if err := pipe(write); err != nil {
			return fail(err)
		}
	}
	cmd.ExtraFiles = theirs[:2]
	cmd.Stderr = theirs[2]
	out := &process{cmd: cmd, exited: make(chan struct{}), stderr: &head{}}

	started := make(chan error, 1)
	go func() {
		// The kernel kills the browser when the thread that started it ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
			close(out.exited)
		}
	}()
	if err := <-started; err != nil {
		if os.Getuid() == 0 && errors.Is(err, syscall.EPERM) {
			_, err = fail(err)
			return nil, fmt.Errorf("%w: root cannot become user %d here: %w", ErrSandbox, nobody, err)
		}
		return fail(err)
	}
	for _, f := range theirs {
		_ = f.Close()
	}
	go func() { _, _ = io.Copy(out.stderr, ours[2]); _ = ours[2].Close() }()
	out.pipe = chromedp.NewPipeConn(newMessages(ours[1]), ours[0])
	return out, nil
}

// explain adds to the error of a start what the browser said.
func (p *process) explain(err error) error {
	if !errors.Is(err, recipe.ErrGone) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	select {
	case <-p.exited:
	case <-time.After(time.Second):
	}
	said := p.stderr.String()
	for _, sign := range []string{"No usable sandbox", "without --no-sandbox", "setuid_sandbox", "SUID sandbox", "zygote_host"} {
		if strings.Contains(said, sign) {
			return fmt.Errorf("%w: allow user namespaces (kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns) or install chromium-sandbox", ErrSandbox)
		}
	}
	if said == "" {
		return fmt.Errorf("%w: %w", ErrStart, err)
	}
	return fmt.Errorf("%w: %w; it said: %s", ErrStart, err, said)
}

// kill ends the browser with everything that it started.
func (p *process) kill() {
	// Closed pipes make it end by itself; nothing of it is worth saving.
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	_ = p.cmd.Process.Kill()
	<-p.exited
}

// head keeps the beginning of what is written: what a browser says before any
// page is opened.
type head struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (h *head) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.buf.Write(b[:min(len(b), max(0, 2048-h.buf.Len()))])
	return len(b), nil
}

func (h *head) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.TrimSpace(h.buf.String())
}
