// Package dirmail keeps mail in a directory: on a laptop, or with a receiver of
// one's own. It implements the contracts of package mailstore, depends on them
// and on package durable, and does not look into what it keeps.
//
//	inbound/<id>                what has arrived
//	bots/<wallet>/inbound/<id>  wallets' inboxes
//	refused/<reason>/<id>       what cannot be sorted
//	.tmp/                       what is being written
//	.lock                       held, shared, by each process that is at work
//
// Laws:
//   - Files are 0600 in directories of 0700, and nothing is followed out of the
//     tree: a symbolic link in it is refused.
//   - A message appears under its name whole and synced, or not at all, and
//     never takes the place of another.
//   - Any number of processes may be at work.
//   - Memory does not depend on the size of a message, except for Fetch's.
//
// The directory must be on a local file system with hard links, flock and
// fsync. Whoever runs as the same user can undo all of this: that is not
// defended.
package dirmail

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/litentry/agentkeys/internal/durable"
	"github.com/litentry/agentkeys/internal/mailstore"
)

var (
	// ErrForeign: something in the tree is no file or directory of its own,
	// such as a symbolic link.
	ErrForeign = errors.New("not a plain file or directory")
	// ErrStopped: an earlier write could not be made durable, so that neither
	// what is there nor what is written next can be relied on.
	ErrStopped = errors.New("writing stopped after a failed sync; check the disk and start again")
)

const (
	lockName    = ".lock"
	tempName    = ".tmp"
	inboundName = "inbound"
	botsName    = "bots"
	refusedName = "refused"
)

// Dir is a directory of mail. It is safe for concurrent use.
//
// Known divergences: a version is which file it is, how long and when last
// changed, so a file that is changed in place twice within a tick of the
// kernel's clock, to the same length, keeps it. Nobody here does that. And
// where names differ by more than case to the file system only, so do ids.
type Dir struct {
	root string
	// lock says to others that we may be writing in .tmp. It ends with the
	// process at the latest.
	lock *os.File
	// sync is the way to sync a directory; durable's, except in tests.
	sync func(dir string) error

	mu      sync.Mutex
	stopped error
}

var _ interface {
	mailstore.Arrived
	mailstore.Spool
	mailstore.Inbox
	mailstore.Walker
	mailstore.Stater
	mailstore.Watcher
} = (*Dir)(nil)

// Open opens root, making it if need be. It fails with durable.ErrExposed if other
// users have rights on it. What killed processes left half-written is removed
// when nobody else has root open.
func Open(root string) (*Dir, error) {
	root, err := durable.Private(root)
	if err != nil {
		return nil, err
	}
	d := &Dir{root: root, sync: durable.SyncDir}
	for _, name := range []string{inboundName, botsName, refusedName, tempName} {
		if _, _, err := d.path(name, ""); err != nil {
			return nil, err
		}
		if err := durable.MkdirAll(filepath.Join(root, name)); err != nil {
			return nil, err
		}
	}
	// What is there already may be what a killed process did not get to sync.
	if err := durable.SyncDir(root); err != nil {
		return nil, err
	}
	d.lock, err = os.OpenFile(filepath.Join(root, lockName), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	err = d.lock.Chmod(0o600) // the umask may have taken more
	if err == nil {
		err = d.sweep()
	}
	if err != nil {
		_ = d.lock.Close()
		return nil, err
	}
	return d, nil
}

// Close ends the work. Nothing else may be called during it or afterwards.
func (d *Dir) Close() error { return d.lock.Close() }

// sweep removes unfinished files if nobody else can be writing them, and takes
// the shared lock. Between the two locks another process may sweep: it finds
// nothing of ours, as we have not begun.
func (d *Dir) sweep() error {
	err := flock(d.lock, syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		entries, rerr := os.ReadDir(filepath.Join(d.root, tempName))
		if rerr != nil {
			return rerr
		}
		for _, e := range entries {
			if rerr := os.Remove(filepath.Join(d.root, tempName, e.Name())); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
				return rerr
			}
		}
	} else if !errors.Is(err, syscall.EWOULDBLOCK) {
		return err
	}
	// It waits for a sweep at most.
	return flock(d.lock, syscall.LOCK_SH)
}

func flock(f *os.File, how int) error {
	for {
		err := syscall.Flock(int(f.Fd()), how)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// stop stops all writing after an I/O error, and returns why. The kernel may
// report a failed sync once and forget it: the next one would be believed.
func (d *Dir) stop(err error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if errors.Is(err, syscall.EIO) && d.stopped == nil {
		d.stopped = fmt.Errorf("%w: %w", ErrStopped, err)
	}
	if d.stopped != nil {
		return d.stopped
	}
	return err
}
