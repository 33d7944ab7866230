package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// inNamespace marks the test's second self, which may mount.
const inNamespace = "AGENTKEYS_TEST_NAMESPACE"

// A disk that is full is a real one, of 48 MiB, mounted in a namespace of this
// test's own, so that nobody else sees it and nothing of it can stay.
func TestDiskFull(t *testing.T) {
	if os.Getenv(inNamespace) == "" {
		enter(t)
		return
	}
	// What is mounted here is not to spread to where this came from.
	if err := syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	p := scripts("testdata/disk")
	p.Setup = func(env *testscript.Env) error {
		var disk string
		env.Defer(func() {
			if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
				env.T().(testing.TB).Errorf("unmount: %v", err)
			}
		})
		if err := setup(env); err != nil {
			return err
		}
		disk = env.Values[scriptKey{}].(*script).base
		return syscall.Mount("none", disk, "tmpfs", 0, "size=48m,mode=0700")
	}
	p.Cmds["fill"] = cmdFill
	withManagement(&p)
	testscript.Run(t, p)
}

// enter runs the test again in a mount namespace, and, where that takes a
// privilege, in a user namespace that has it.
func enter(t *testing.T) {
	missing := t.Skipf
	if os.Getenv("CI") == "true" {
		missing = t.Fatalf
	}
	args := []string{"-test.run=^TestDiskFull$"}
	if testing.Verbose() {
		args = append(args, "-test.v")
	}
	var err error
	for _, flags := range []uintptr{syscall.CLONE_NEWNS, syscall.CLONE_NEWNS | syscall.CLONE_NEWUSER} {
		cmd := exec.Command(os.Args[0], args...)
		cmd.Env = append(os.Environ(), inNamespace+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
		if flags&syscall.CLONE_NEWUSER != 0 {
			one := func(id int) []syscall.SysProcIDMap { return []syscall.SysProcIDMap{{HostID: id, Size: 1}} }
			cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings = one(os.Getuid()), one(os.Getgid())
		}
		var out []byte
		if out, err = cmd.CombinedOutput(); errors.Is(err, syscall.EPERM) {
			continue
		}
		t.Log(strings.TrimSpace(string(out)))
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	missing("SKIPPED: no namespace to mount a small disk in: %v", err)
}

// fill [LEAVE] fills the disk up to a number of KiB that stay free, or makes
// it empty again with !.
func cmdFill(ts *testscript.TestScript, neg bool, args []string) {
	ballast := filepath.Join(scriptOf(ts).base, "ballast")
	if neg {
		ts.Check(os.Remove(ballast))
		return
	}
	f, err := os.OpenFile(ballast, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	ts.Check(err)
	defer f.Close()
	block := make([]byte, 4096)
	for {
		if _, err := f.Write(block); errors.Is(err, syscall.ENOSPC) {
			break
		} else {
			ts.Check(err)
		}
	}
	if len(args) == 1 {
		kib := map[string]int64{"4": 4, "16": 16, "64": 64}[args[0]]
		fi, err := f.Stat()
		ts.Check(err)
		ts.Check(f.Truncate(fi.Size() - kib<<10))
	}
}
