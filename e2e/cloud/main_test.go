// Package cloud tries the broker as its operator and its users have it: real
// processes of the one binary, PostgreSQL, an S3 and STS that nobody here
// wrote, mail over SMTP, TLS everywhere. It has tests and nothing else.
//
// The tests run in network and mount namespaces of their own, in which the
// broker has its public name: nothing outside can be reached, and nothing
// outside is changed.
package cloud

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/litentry/agentkeys/internal/testsrv/versity"
)

const (
	brokerHost = versity.IssuerHost
	origin     = versity.IssuerURL
	addressA   = "127.77.0.1"
	addressB   = "127.77.0.2"
	inside     = "AGENTKEYS_E2E_INSIDE"
)

// program is the freshly built binary.
var program string

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e/cloud:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	if program = os.Getenv(inside); program != "" {
		if err := settle(); err != nil {
			return 0, err
		}
		return m.Run(), nil
	}
	// What needs the outside is done before.
	if _, err := versity.Program(context.Background(), nil); err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("", "ak-cloud-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	binary := filepath.Join(dir, "agentkeys")
	build := exec.Command("go", "build", "-o", binary, "../../cmd/agentkeys")
	if out, err := build.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("building agentkeys: %w\n%s", err, out)
	}
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"="+binary)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return exit.ExitCode(), nil
	case errors.Is(err, syscall.EPERM):
		return 0, fmt.Errorf("these tests need namespaces of their own, which this user may not make: run them as root: %w", err)
	}
	return 0, err
}

// settle gives the namespaces a loopback interface and names.
func settle() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	hosts := filepath.Join(filepath.Dir(program), "hosts")
	text := "127.0.0.1 localhost signer.agentkeys.test\n" + addressA + " " + brokerHost + "\n" + addressB + " " + brokerHost + "\n"
	if err := os.WriteFile(hosts, []byte(text), 0o644); err != nil {
		return err
	}
	if err := unix.Mount(hosts, "/etc/hosts", "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount /etc/hosts: %w", err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := r.SetInet4Addr(net.IPv4(127, 0, 0, 1).To4()); err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFADDR, r); err != nil {
		return err
	}
	r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r)
}
