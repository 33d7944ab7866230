package rig

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/litentry/agentkeys/internal/testsrv/versity"
)

// inside names the binary under test to a process in namespaces of its own.
const inside = "AGENTKEYS_E2E_INSIDE"

// Inside gives the namespaces a loopback interface and names, if this process
// is in ones that Again made, and returns the binary under test. It returns ""
// in any other process. Nothing has to run yet but main.
func Inside() (program string, err error) {
	if program = os.Getenv(inside); program == "" {
		return "", nil
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return "", fmt.Errorf("make mounts private: %w", err)
	}
	// It goes with the program: what is mounted must stay.
	hosts := filepath.Join(filepath.Dir(program), fmt.Sprint("hosts-", os.Getpid()))
	text := "127.0.0.1 localhost " + SignerHost + " " + SignerExample + " " + MailHost + "\n" +
		AddressA + " " + BrokerHost + "\n" + AddressB + " " + BrokerHost + "\n"
	if err := os.WriteFile(hosts, []byte(text), 0o644); err != nil {
		return "", err
	}
	if err := unix.Mount(hosts, "/etc/hosts", "", unix.MS_BIND, ""); err != nil {
		return "", fmt.Errorf("mount /etc/hosts: %w", err)
	}
	return program, loopback()
}

func loopback() error {
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

// Again is a command that runs this binary once more, in network and mount
// namespaces of its own, for the program. It dies with this process.
func Again(ctx context.Context, program string, args ...string) (*exec.Cmd, error) {
	// What needs the outside is done before.
	if _, err := versity.Program(ctx, nil); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Env = append(os.Environ(), inside+"="+program)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	return cmd, nil
}

// Explain says what it takes to make namespaces, if that is what is amiss.
func Explain(err error) error {
	if errors.Is(err, syscall.EPERM) {
		return fmt.Errorf("these tests need namespaces of their own, which this user may not make: run them as root: %w", err)
	}
	return err
}
