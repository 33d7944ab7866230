package versity

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// namespace is two threads: one that is in namespaces of its own and one that
// is not. Both last until leave, since what a thread started dies with it.
type namespace struct {
	in, out chan func()
}

// enter makes the namespaces. The file hosts is written, and is /etc/hosts in
// there.
func enter(hosts string) (*namespace, error) {
	if err := os.WriteFile(hosts, []byte("127.0.0.1 localhost\n"+issuerIP+" "+IssuerHost+"\n"), 0o644); err != nil {
		return nil, err
	}
	ns := &namespace{make(chan func()), make(chan func())}
	for _, c := range []chan func(){ns.in, ns.out} {
		go func() {
			runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
			for f := range c {
				f()
			}
		}()
	}
	err := ns.do(func() error {
		if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS | unix.CLONE_NEWNET); err != nil {
			return namespaceError("unshare", err)
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return namespaceError("make mounts private", err)
		}
		if err := unix.Mount(hosts, "/etc/hosts", "", unix.MS_BIND, ""); err != nil {
			return namespaceError("mount /etc/hosts", err)
		}
		return address()
	})
	if err != nil {
		ns.leave()
		return nil, err
	}
	return ns, nil
}

// address brings up the loopback interface, with issuerIP on it.
func address() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	up := func(name, ip string) error {
		r, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		if err := r.SetInet4Addr(net.ParseIP(ip).To4()); err != nil {
			return err
		}
		if err := unix.IoctlIfreq(fd, unix.SIOCSIFADDR, r); err != nil {
			return fmt.Errorf("versity: address %s: %w", ip, err)
		}
		r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
		if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r); err != nil {
			return fmt.Errorf("versity: bring up %s: %w", name, err)
		}
		return nil
	}
	if err := up("lo", "127.0.0.1"); err != nil {
		return err
	}
	return up("lo:1", issuerIP)
}

// do runs f on the thread inside, outside on the other.
func (ns *namespace) do(f func() error) error      { return on(ns.in, f) }
func (ns *namespace) outside(f func() error) error { return on(ns.out, f) }

func on(c chan func(), f func() error) error {
	err := make(chan error)
	c <- func() { err <- f() }
	return <-err
}

func (ns *namespace) leave() {
	close(ns.in)
	close(ns.out)
}

func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// attributes fails if dir cannot hold the attributes in which the gateway keeps
// what it knows of an object.
func attributes(dir string) error {
	if err := unix.Setxattr(dir, "user.agentkeys", []byte("1"), 0); err != nil {
		return fmt.Errorf("versity: %s holds no extended attributes; set TMPDIR to a directory that does, such as one on ext4: %w", dir, err)
	}
	return unix.Removexattr(dir, "user.agentkeys")
}
