package daemon

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// Peer is a process at the other end of a Unix socket, as the kernel knows it.
type Peer struct {
	UID int
	PID int
}

// PeerOf asks the kernel who connected.
func PeerOf(c net.Conn) (Peer, error) {
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return Peer{}, fmt.Errorf("%w: not a Unix socket", ErrPeer)
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return Peer{}, err
	}
	var p Peer
	var cerr error
	err = raw.Control(func(fd uintptr) {
		var cred *unix.Xucred
		if cred, cerr = unix.GetsockoptXucred(int(fd), unix.SOL_LOCAL, unix.LOCAL_PEERCRED); cerr != nil {
			return
		}
		p.UID = int(cred.Uid)
		p.PID, cerr = unix.GetsockoptInt(int(fd), unix.SOL_LOCAL, unix.LOCAL_PEERPID)
	})
	if err != nil {
		return Peer{}, err
	}
	return p, cerr
}

// Descends reports whether the process pid is, or descends from, one of roots.
func Descends(pid int, roots map[int]bool) bool {
	for range 1024 {
		if pid <= 1 {
			return false
		}
		if roots[pid] {
			return true
		}
		kp, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
		if err != nil {
			return true
		}
		pid = int(kp.Eproc.Ppid)
	}
	return true
}

// Started returns when a process started, in a form that tells it from a later
// one with the same pid, or "" if there is none.
func Started(pid int) string {
	kp, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil {
		return ""
	}
	t := kp.Proc.P_starttime
	return fmt.Sprintf("%d.%06d", t.Sec, t.Usec)
}
