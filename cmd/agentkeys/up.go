package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/litentry/agentkeys/internal/control"
	"github.com/litentry/agentkeys/internal/device"
	"github.com/litentry/agentkeys/internal/durable"
	"github.com/litentry/agentkeys/internal/local"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/signer"
)

type upOptions struct {
	foreground     bool
	passphraseFile string
	port           int
	idle           time.Duration
	sockets        string // of agents; "": the usual place
	mail           local.MailSettings
}

func (a *app) upCmd() *cobra.Command {
	var o upOptions
	c := &cobra.Command{
		Use:   "up",
		Short: "Start the background process",
		Long: `Start the one background process that keeps, lends and records, on loopback
only. The first start makes the signer's roots and asks where their passphrase
lives: the OS keychain if there is one, otherwise your memory or a file of
yours. Starting what runs already is not an error.

After 'agentkeys login' it serves what is yours at the broker instead.`,
		Example: `  agentkeys up
  agentkeys up --passphrase-file ~/.agentkeys-passphrase
  agentkeys up --foreground`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.port < 0 || o.port > 65535 {
				return usage(cmd, errors.New("--port is a number from 1 to 65535"))
			}
			if o.mail.Server != "" && o.mail.Server != local.OwnServer {
				abs, err := filepath.Abs(o.mail.Server)
				if err != nil {
					return err
				}
				o.mail.Server = abs
			}
			if err := o.mail.Check(); err != nil {
				return usage(cmd, err)
			}
			return a.up(cmd.Context(), o)
		},
	}
	f := c.Flags()
	f.BoolVar(&o.foreground, "foreground", false, "stay in the foreground and log to standard error")
	f.StringVar(&o.passphraseFile, "passphrase-file", "", "read the passphrase from a `FILE` only you can read (or AGENTKEYS_PASSPHRASE_FILE)")
	f.IntVar(&o.port, "port", 0, "loopback `PORT` for agents (default: the one used before)")
	f.IntVar(&o.mail.Port, "mail-port", 0, "loopback `PORT` that takes mail by SMTP (default: the one used before)")
	f.StringVar(&o.mail.Domain, "mail-domain", "", "`DOMAIN` of your mail addresses (default: the one used before, or agentkeys.localhost)")
	f.StringVar(&o.mail.Resolver, "mail-resolver", "", "DNS server, `IP:PORT`, that says who sends for a domain (default: the one used before, or the system's)")
	f.StringVar(&o.mail.Server, "mail-config", "", "read the mail of the 'agentkeys mail serve' on this machine that `FILE` describes, or 'own'\nto receive it here again (default: as before)")
	f.BoolVar(&o.mail.Off, "no-mail", false, "take no mail, this time")
	f.DurationVar(&o.idle, "idle", 0, "clear an opened key from memory after a `SPAN` unused (default 5m)")
	return c
}

func (a *app) up(ctx context.Context, o upOptions) error {
	p, err := a.paths()
	if err != nil {
		return err
	}
	// The child is told everything by a pipe; it neither asks nor looks.
	if a.getenv(childVariable) != "" {
		return a.serveChild(p, o)
	}
	client := control.NewClient(p.Control())
	if st, err := client.Status(ctx); err == nil {
		return a.reportUp(p, st, true, o.port)
	}
	u, err := a.unlockAny(ctx, p, o)
	if err != nil {
		return err
	}
	if o.foreground {
		return a.serveForeground(ctx, p, o, u)
	}
	defer u.clear()
	st, already, err := a.start(ctx, p, o, u)
	if err != nil {
		return err
	}
	return a.reportUp(p, st, already, o.port)
}

// unlocked is what the background process serves with: the roots of this
// machine, or the device key of a login.
type unlocked struct {
	roots signer.Roots
	login *profile
	key   device.Key
}

func (u unlocked) clear() {
	u.roots.Clear()
	u.key.Clear()
}

// encode is what goes over the pipe, and how the child is told which it is.
func (u unlocked) encode() (v secret.Value, kind string, err error) {
	if u.login != nil {
		return u.key.Seed(), childOfLogin, nil
	}
	v, err = signer.EncodeRoots(u.roots)
	return v, childOfRoots, err
}

// unlockAny opens what there is to be served.
func (a *app) unlockAny(ctx context.Context, p local.Paths, o upOptions) (u unlocked, err error) {
	if u.login, err = readProfile(p); err != nil {
		return u, err
	}
	if u.login != nil {
		u.key, err = u.login.openDevice(ctx)
		return u, err
	}
	u.roots, err = a.unlock(ctx, p, o.passphraseFile)
	return u, err
}

// start starts the background process, or finds that somebody else has.
func (a *app) start(ctx context.Context, p local.Paths, o upOptions, u unlocked) (st local.Status, already bool, err error) {
	client := control.NewClient(p.Control())
	err = a.spawn(ctx, p, o, u)
	// Who has the lock may not serve yet, or no longer.
	for tries := 0; errors.Is(err, local.ErrRunning); tries++ {
		if st, err = client.Status(ctx); err == nil {
			return st, true, nil
		}
		select {
		case <-ctx.Done():
			return st, false, errInterrupted
		case <-time.After(20 * time.Millisecond):
		}
		if free, lerr := durable.Lock(p.Lock()); lerr == nil {
			free()
			err = a.spawn(ctx, p, o, u)
		} else if err = local.ErrRunning; tries == 1500 {
			return st, false, failWith(exitConflict, "conflict", errors.New("another process holds the state and does not answer"),
				"end it, or wait until it has ended, and try again")
		}
	}
	if err != nil {
		return st, false, err
	}
	st, err = client.Status(ctx)
	return st, false, err
}

func (a *app) reportUp(p local.Paths, st local.Status, already bool, port int) error {
	if already && port != 0 && !strings.HasSuffix(st.Address, fmt.Sprintf(":%d", port)) {
		return failWith(exitConflict, "conflict", fmt.Errorf("agentkeys is running on %s, not on port %d", st.Address, port),
			"run 'agentkeys down' first")
	}
	return a.print(st, func() {
		state := "is up"
		if already {
			state = "was up already"
		}
		fmt.Fprintf(a.stdout, "agentkeys %s: agents reach it at http://%s (pid %d)\n", state, st.Address, st.PID)
		switch {
		case st.Credentials > 0:
		case st.Managed+st.Exchanged == 0 && st.StoreError == "":
			fmt.Fprintln(a.stdout, "next: agentkeys store openrouter")
		case st.Grants == 0 && st.StoreError == "": // no key of one's own is needed
			fmt.Fprintln(a.stdout, "next: agentkeys grant AGENT SERVICE")
		}
	})
}

// childVariable marks the background process to itself, and says what comes
// over its pipe.
const (
	childVariable = "AGENTKEYS_CHILD"
	childOfRoots  = "1"
	childOfLogin  = "login"
)

// File descriptors the background process finds open.
const (
	unlockedFD = 3
	readyFD    = 4
)

// ready is the one line the background process answers with.
type ready struct {
	OK      bool           `json:"ok"`
	Running bool           `json:"running,omitempty"` // another process had the lock
	Error   *control.Error `json:"error,omitempty"`
	Exit    int            `json:"exit,omitempty"`
}

// spawn starts the background process, hands it the roots or the device key
// over a pipe, so that they are in no argument, file or variable, and waits
// until it serves.
func (a *app) spawn(ctx context.Context, p local.Paths, o upOptions, u unlocked) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	if err := durable.MkdirAll(p.State); err != nil {
		return err
	}
	logFile, err := openLogFile(p.DaemonLog())
	if err != nil {
		return err
	}
	defer logFile.Close()
	rootsR, rootsW, err := os.Pipe()
	if err != nil {
		return err
	}
	readyR, readyW, err := os.Pipe()
	if err != nil {
		return err
	}
	defer readyR.Close()
	text, kind, err := u.encode()
	if err != nil {
		return err
	}
	defer text.Clear()
	args := []string{"up"}
	if o.port != 0 {
		args = append(args, fmt.Sprintf("--port=%d", o.port))
	}
	if o.idle != 0 {
		args = append(args, "--idle="+o.idle.String())
	}
	args = append(args, mailArgs(o.mail)...)
	cmd := exec.Command(exe, args...)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.ExtraFiles = []*os.File{rootsR, readyW}
	cmd.Env = append(childEnv(os.Environ()), childVariable+"="+kind)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	_ = rootsR.Close()
	_ = readyW.Close()
	_, err = rootsW.Write(text.Expose())
	_ = rootsW.Close()
	if err != nil && !errors.Is(err, syscall.EPIPE) {
		return err
	}
	answer := make(chan ready, 1)
	go func() {
		var r ready
		line, _ := bufio.NewReader(readyR).ReadBytes('\n')
		if json.Unmarshal(line, &r) != nil {
			r.Error = &control.Error{Code: "failed", Problem: "the background process ended before it was ready", Fix: "see 'agentkeys logs'"}
		}
		answer <- r
	}()
	slow := time.NewTimer(time.Second)
	defer slow.Stop()
	for {
		select {
		case <-slow.C:
			a.hint("starting …")
		case <-ctx.Done():
			_ = cmd.Process.Signal(syscall.SIGTERM)
			return errInterrupted
		case r := <-answer:
			if r.OK {
				return cmd.Process.Release()
			}
			_ = cmd.Wait()
			if r.Running {
				return local.ErrRunning
			}
			return failWith(r.Exit, r.Error.Code, errors.New(r.Error.Problem), r.Error.Fix)
		}
	}
}

// mailArgs are the flags of settings.
func mailArgs(m local.MailSettings) (args []string) {
	if m.Port != 0 {
		args = append(args, fmt.Sprintf("--mail-port=%d", m.Port))
	}
	if m.Domain != "" {
		args = append(args, "--mail-domain="+m.Domain)
	}
	if m.Resolver != "" {
		args = append(args, "--mail-resolver="+m.Resolver)
	}
	if m.Server != "" {
		args = append(args, "--mail-config="+m.Server)
	}
	if m.Off {
		args = append(args, "--no-mail")
	}
	return args
}

// childEnv keeps what the background process needs and nothing else: the
// user's shell may hold real keys.
func childEnv(env []string) []string {
	var out []string
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		switch {
		case name == "HOME", name == "PATH", name == "TMPDIR", name == "TZ", name == "LANG", name == "USER",
			name == "AGENTKEYS_HOME", name == "SSL_CERT_FILE", name == "SSL_CERT_DIR", name == "DBUS_SESSION_BUS_ADDRESS",
			name == "GOCOVERDIR", strings.HasPrefix(name, "XDG_"), strings.HasPrefix(name, "LC_"):
			out = append(out, kv)
		}
	}
	return out
}

// maxLog is the size in bytes at which the log is moved aside.
const maxLog = 10 << 20

func openLogFile(path string) (*os.File, error) {
	if fi, err := os.Stat(path); err == nil && fi.Size() > maxLog {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, err
		}
	}
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
}

func (a *app) downCmd() *cobra.Command {
	return &cobra.Command{
		Use: "down", Short: "Stop the background process", Args: cobra.NoArgs,
		Long:    "Stop the background process and wait until it has ended. Requests under way\nget ten seconds. Stopping what does not run is not an error.",
		Example: "  agentkeys down",
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := a.paths()
			if err != nil {
				return err
			}
			client := control.NewClient(p.Control())
			err = client.Stop(cmd.Context())
			was := err == nil
			if err != nil && !errors.Is(err, control.ErrDown) {
				return err
			}
			if err := a.waitUnlocked(cmd.Context(), filepath.Clean(p.Lock())); err != nil {
				return err
			}
			return a.print(map[string]bool{"was_running": was}, func() {
				if was {
					fmt.Fprintln(a.stdout, "agentkeys is down")
				} else {
					fmt.Fprintln(a.stdout, "agentkeys was not running")
				}
			})
		},
	}
}

// waitUnlocked waits until no process holds the lock of the state.
func (a *app) waitUnlocked(ctx context.Context, lock string) error {
	if !exists(filepath.Dir(lock)) {
		return nil
	}
	for i := 0; ; i++ {
		unlock, err := durable.Lock(lock)
		if err == nil {
			unlock()
			return nil
		}
		if !errors.Is(err, durable.ErrLocked) {
			return err
		}
		if i == 100 {
			a.hint("waiting for requests under way …")
		}
		select {
		case <-ctx.Done():
			return errInterrupted
		case <-time.After(10 * time.Millisecond):
		}
	}
}
