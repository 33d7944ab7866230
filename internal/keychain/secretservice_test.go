//go:build linux

package keychain

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zalando/go-keyring"
)

// What each test asks of a keychain is asked by a process of its own: the
// D-Bus library keeps the first bus it met for the life of a process.
const roleVar = "KEYCHAIN_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVar); role != "" {
		if err := roles[role](); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

var roles = map[string]func() error{
	"use": use, "still there": stillThere, "locked": lockedRole, "unavailable": unavailable, "hangs": hangs,
	"ready": ready,
}

// want fails unless err is one of the package's errors.
func want(what string, err, wanted error) error {
	if !errors.Is(err, wanted) {
		return fmt.Errorf("%s: %v, want %v", what, err, wanted)
	}
	return nil
}

// ready waits for a keychain to come up, locked or not.
func ready() error {
	deadline := time.Now().Add(20 * time.Second)
	for {
		_, err := Get(context.Background(), "nothing")
		if !errors.Is(err, ErrUnavailable) {
			return nil
		}
		if time.Now().After(deadline) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func use() error {
	ctx := context.Background()
	if err := Probe(ctx); err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	_, err := Get(ctx, "state-1")
	if err := want("get nothing", err, ErrNotFound); err != nil {
		return err
	}
	if err := want("delete nothing", Delete(ctx, "state-1"), ErrNotFound); err != nil {
		return err
	}
	v, err := Create(ctx, "state-1")
	if err != nil || v.Len() != Size {
		return fmt.Errorf("create: %d bytes, %w", v.Len(), err)
	}
	other, err := Create(ctx, "state-2")
	if err != nil || other.Equal(v) {
		return fmt.Errorf("create another: %w", err)
	}
	_, err = Create(ctx, "state-1")
	if err := want("create again", err, ErrExists); err != nil {
		return err
	}
	if got, err := Get(ctx, "state-1"); err != nil || !got.Equal(v) {
		return fmt.Errorf("get: another secret, %w", err)
	}
	if err := Delete(ctx, "state-2"); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	_, err = Get(ctx, "state-2")
	if err := want("get what was deleted", err, ErrNotFound); err != nil {
		return err
	}
	for _, bad := range []string{"", "x", "AAAA", strings.Repeat("A", 44)} {
		if err := keyring.Set(service, "damaged", bad); err != nil {
			return err
		}
		_, err := Get(ctx, "damaged")
		if err := want(fmt.Sprintf("get %q", bad), err, ErrDamaged); err != nil {
			return err
		}
		_, err = Create(ctx, "damaged")
		if err := want(fmt.Sprintf("create over %q", bad), err, ErrExists); err != nil {
			return err
		}
	}
	fmt.Printf("%x\n", v.Expose())
	return nil
}

func stillThere() error {
	v, err := Get(context.Background(), "state-1")
	fmt.Printf("%x\n", v.Expose())
	return err
}

func lockedRole() error { return everyCall(ErrLocked) }

func unavailable() error { return everyCall(ErrUnavailable) }

func everyCall(wanted error) error {
	ctx := context.Background()
	_, err := Get(ctx, "state-1")
	if err := want("get", err, wanted); err != nil {
		return err
	}
	_, err = Create(ctx, "state-1")
	if err := want("create", err, wanted); err != nil {
		return err
	}
	if err := want("probe", Probe(ctx), wanted); err != nil {
		return err
	}
	return want("delete", Delete(ctx, "state-1"), wanted)
}

func hangs() error {
	for range 3 {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		start := time.Now()
		err := Probe(ctx)
		cancel()
		if err := want("probe", err, ErrUnavailable); err != nil {
			return err
		}
		if d := time.Since(start); d > 10*time.Second {
			return fmt.Errorf("it took %v to give up", d)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(20*time.Millisecond, cancel)
	_, err := Get(ctx, "state-1")
	return want("cancelled", err, context.Canceled)
}

// ask runs role in another process, whose environment is env, and returns what
// it printed.
func ask(t *testing.T, role string, env ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append([]string{"GORACE=atexit_sleep_ms=0", roleVar + "=" + role}, env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v: %s", role, err, out)
	}
	return strings.TrimSpace(string(out))
}

func needs(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatalf("%s is not installed (Debian: dbus-daemon, gnome-keyring)", p)
			}
			t.Skipf("%s is not installed (Debian: dbus-daemon, gnome-keyring)", p)
		}
	}
}

// session is a private D-Bus session in a home directory of its own. Its bus
// starts no services, so that nothing but what a test starts answers.
type session struct {
	env []string
}

func newSession(t *testing.T) *session {
	t.Helper()
	needs(t, "dbus-daemon")
	dir := t.TempDir()
	run := filepath.Join(dir, "run")
	if err := os.Mkdir(run, 0o700); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "bus.conf")
	err := os.WriteFile(config, []byte(`<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:tmpdir=/tmp</listen>
  <auth>EXTERNAL</auth>
  <policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy>
</busconfig>`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	s := &session{env: []string{"HOME=" + dir, "XDG_RUNTIME_DIR=" + run, "XDG_DATA_HOME=" + dir, "PATH=" + os.Getenv("PATH")}}
	_, out := s.start(t, "", "dbus-daemon", "--config-file="+config, "--nofork", "--nopidfile", "--print-address=1")
	address, err := out.ReadString('\n')
	if err != nil {
		t.Fatalf("dbus-daemon: %v", err)
	}
	s.env = append(s.env, "DBUS_SESSION_BUS_ADDRESS="+strings.TrimSpace(address))
	return s
}

// start starts a daemon of the session, which ends with the test or with stop.
func (s *session) start(t *testing.T, stdin, name string, args ...string) (stop func(), out *bufio.Reader) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = s.env
	cmd.Stdin = strings.NewReader(stdin)
	var log bytes.Buffer
	cmd.Stderr = &log
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s: %s", name, log.Bytes())
		}
	}
	t.Cleanup(stop)
	return stop, bufio.NewReader(pipe)
}

// keyring starts a Secret Service, unlocked by password unless that is "".
func (s *session) keyring(t *testing.T, password string) (stop func()) {
	t.Helper()
	needs(t, "gnome-keyring-daemon")
	args := []string{"--foreground", "--components=secrets"}
	if password != "" {
		args = append(args, "--unlock")
	}
	stop, _ = s.start(t, password, "gnome-keyring-daemon", args...)
	ask(t, "ready", s.env...)
	return stop
}

func TestSecretService(t *testing.T) {
	s := newSession(t)
	stop := s.keyring(t, "the login password")
	made := ask(t, "use", s.env...)
	if len(made) != 2*Size {
		t.Fatalf("printed %q", made)
	}
	if got := ask(t, "still there", s.env...); got != made {
		t.Errorf("another process reads another secret")
	}
	stop()
	ask(t, "unavailable", s.env...)
	stop = s.keyring(t, "")
	ask(t, "locked", s.env...)
	stop()
	s.keyring(t, "the login password")
	if got := ask(t, "still there", s.env...); got != made {
		t.Errorf("unlocked again, it has another secret")
	}
}

// TestNoBus: on a machine without a session no bus is started in its stead.
func TestNoBus(t *testing.T) {
	dir := t.TempDir()
	ran := filepath.Join(dir, "ran")
	script := "#!/bin/sh\necho ran > " + ran + "\n"
	if err := os.WriteFile(filepath.Join(dir, "dbus-launch"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	path := "PATH=" + dir + ":" + os.Getenv("PATH")
	ask(t, "unavailable", path, "DBUS_SESSION_BUS_ADDRESS=unix:path="+filepath.Join(dir, "none"))
	if _, err := os.Stat(fmt.Sprintf("/run/user/%d/bus", os.Getuid())); err == nil {
		t.Skip("this user has a bus that cannot be hidden")
	}
	ask(t, "unavailable", path)
	ask(t, "unavailable", path, "DBUS_SESSION_BUS_ADDRESS=autolaunch:")
	if _, err := os.Stat(ran); err == nil {
		t.Error("dbus-launch was run")
	}
}

// TestBusWithoutKeychain: a bus, but nobody on it who keeps secrets.
func TestBusWithoutKeychain(t *testing.T) {
	ask(t, "unavailable", newSession(t).env...)
}

// TestHangingBus: something accepts connections and never answers.
func TestHangingBus(t *testing.T) {
	dir, err := os.MkdirTemp("", "bus") // a short path: sockets have a limit
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ask(t, "hangs", "DBUS_SESSION_BUS_ADDRESS=unix:path="+filepath.Join(dir, "s"))
}
