package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"github.com/litentry/agentkeys/internal/durable"
	"github.com/litentry/agentkeys/internal/inject"
)

// ErrPeer says that the process at the other end of a socket may not use it.
var ErrPeer = errors.New("the process at the other end of the socket is not allowed")

type peerKey struct{}

type peer struct {
	caller inject.Caller
	err    error
}

// withCaller knows a socket's peer by the kernel. Whoever is of this process's
// own user may speak as the agent there, but for another agent's processes.
func withCaller(ctx context.Context, c inject.Caller, conn net.Conn, runs *Runs) context.Context {
	p := peer{caller: c}
	id, err := PeerOf(conn)
	switch {
	case err != nil:
		p.err = err
	case id.UID != os.Getuid():
		p.err = fmt.Errorf("%w: it runs as user %d", ErrPeer, id.UID)
	case runs != nil:
		if a, _, ok := runs.Of(id.PID); ok && a != c.Agent {
			p.err = fmt.Errorf("%w: it runs as agent %s", ErrPeer, a)
		}
	}
	return context.WithValue(ctx, peerKey{}, p)
}

// maxSocketPath is what fits a sockaddr_un, its final NUL included, on the
// smallest of the systems (macOS has 104, Linux 108).
const maxSocketPath = 103

// ListenUnix listens on a socket at path in a 0700 directory, which it makes.
// The caller holds whatever lock makes it the only one to do so: a socket left
// by a dead process is replaced.
func ListenUnix(path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("socket path is %d bytes long and the system takes %d: %s", len(path), maxSocketPath, path)
	}
	dir := filepath.Dir(path)
	if err := durable.MkdirAll(dir); err != nil {
		return nil, err
	}
	fi, err := os.Lstat(dir)
	if err != nil {
		return nil, err
	}
	// The directory, not the socket's own mode, keeps others out: between
	// bind and chmod there is no moment at which somebody else could connect.
	if !fi.IsDir() || fi.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("socket directory %s is open to others: chmod 700 it", dir)
	}
	// Root could listen in anybody's directory, and its owner put a socket of
	// their own in the place of this one.
	if st, ok := fi.Sys().(*syscall.Stat_t); !ok || int(st.Uid) != os.Getuid() {
		return nil, fmt.Errorf("socket directory %s belongs to somebody else", dir)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		_ = ln.Close()
		return nil, err
	}
	return ln, nil
}
