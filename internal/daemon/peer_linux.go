package daemon

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Peer is a process at the other end of a Unix socket, as the kernel knows it.
type Peer struct {
	UID int
	PID int
}

// PeerOf asks the kernel who connected. Where there is a pidfd it also makes
// sure that the pid still means that process, and not a later one.
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
		var cred *unix.Ucred
		if cred, cerr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); cerr != nil {
			return
		}
		p = Peer{UID: int(cred.Uid), PID: int(cred.Pid)}
		// SO_PEERPIDFD came with Linux 6.5; before it the pid has to do.
		if pidfd, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PEERPIDFD); err == nil {
			defer unix.Close(pidfd)
			// A process that has gone has a readable pidfd.
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, 0)
			if err == nil && n > 0 {
				cerr = fmt.Errorf("%w: it has exited", ErrPeer)
			}
		}
	})
	if err != nil {
		return Peer{}, err
	}
	return p, cerr
}

// Descends reports whether the process pid is, or descends from, one of roots.
// It answers true when it cannot tell.
func Descends(pid int, roots map[int]bool) bool {
	for range 1024 {
		if pid <= 1 {
			return false
		}
		if roots[pid] {
			return true
		}
		fields := procStat(pid)
		if fields == nil {
			return true
		}
		var err error
		if pid, err = strconv.Atoi(string(fields[statParent])); err != nil {
			return true
		}
	}
	return true
}

// Started returns when a process started, in a form that tells it from a later
// one with the same pid, or "" if there is none.
func Started(pid int) string {
	if fields := procStat(pid); fields != nil {
		return string(fields[statStart])
	}
	return ""
}

// Places in /proc/<pid>/stat after the name, see proc_pid_stat(5).
const (
	statParent = 1
	statStart  = 19
)

// procStat returns the fields that follow the name, which may hold anything.
func procStat(pid int) [][]byte {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return nil
	}
	i := bytes.LastIndexByte(stat, ')')
	if i < 0 {
		return nil
	}
	fields := bytes.Fields(stat[i+1:])
	if len(fields) <= statStart {
		return nil
	}
	return fields
}

// Children returns the processes whose parent is pid.
func Children(pid int) []int {
	names, _ := os.ReadDir("/proc")
	var out []int
	for _, n := range names {
		child, err := strconv.Atoi(n.Name())
		if err != nil {
			continue
		}
		if fields := procStat(child); fields != nil && string(fields[statParent]) == strconv.Itoa(pid) {
			out = append(out, child)
		}
	}
	return out
}
