// Package dirblob owns what a vault keeps on a laptop's disk: Dir, its objects
// as files below one directory, and Marks, what the device remembers of them,
// below another. It implements vault's Blobs and Marks and must not look into
// what it stores.
//
// Laws: files are 0600 in directories of 0700; nothing is followed out of the
// tree, so a symbolic link in it is refused; one call at a time touches a tree,
// among all processes, so what is read is what the disk has.
//
// The directory must be on a local file system with flock and fsync. Whoever
// runs as the same user can undo all of this: that is not defended.
package dirblob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/litentry/agentkeys/internal/durable"
	"github.com/litentry/agentkeys/internal/vault"
)

var (
	// ErrForeign: something in the tree is no file or directory of its own,
	// such as a symbolic link.
	ErrForeign = errors.New("not a plain file or directory")
	// ErrStopped: an earlier write could not be made durable, so that neither
	// what is there nor what is written next can be relied on.
	ErrStopped = errors.New("writing stopped after a failed sync; check the disk and start again")
)

const lockName = ".lock"

// tree is a directory that one call at a time may touch.
type tree struct {
	root string
	turn chan struct{} // holds one token: flock does not wait with a context
	// The two ways to write; durable's, except in tests.
	write  func(path string, data []byte) error
	remove func(path string) error

	mu      sync.Mutex
	stopped error
}

// openTree makes root if need be, refuses it if it is open to others, and
// removes what interrupted writes left.
func openTree(root string) (*tree, error) {
	root, err := durable.Private(root)
	if err != nil {
		return nil, err
	}
	t := &tree{root: root, turn: make(chan struct{}, 1), write: durable.WriteFile, remove: durable.Remove}
	unlock, err := t.lock(context.Background())
	if err != nil {
		return nil, err
	}
	defer unlock()
	return t, t.sweep()
}

// sweep removes temporary files. It holds the lock, so nobody is writing one.
func (t *tree) sweep() error {
	return filepath.WalkDir(t.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return durable.Sweep(path)
	})
}

// lock waits for the tree, first among the goroutines of this process and then
// among processes, until ctx ends. The kernel frees the lock of a process that
// is killed.
func (t *tree) lock(ctx context.Context) (unlock func(), _ error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case t.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	f, err := os.OpenFile(filepath.Join(t.root, lockName), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		<-t.turn
		return nil, err
	}
	release := func() { _ = f.Close(); <-t.turn }
	if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
		return release, nil
	}
	locked := make(chan error, 1)
	go func() { locked <- flock(f) }()
	select {
	case err := <-locked:
		if err != nil {
			release()
			return nil, err
		}
		return release, nil
	case <-ctx.Done():
		// The wait itself cannot be called off; it ends with its turn.
		go func() { <-locked; release() }()
		return nil, ctx.Err()
	}
}

func flock(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// path returns where name is, given relative to the root with slashes. It
// refuses a symbolic link, or whatever else is no directory, on the way.
// absent says that a directory on the way is not there.
func (t *tree) path(name string) (path string, absent bool, err error) {
	parts := strings.Split(name, "/")
	path = t.root
	for _, part := range parts[:len(parts)-1] {
		path = filepath.Join(path, part)
		switch fi, err := os.Lstat(path); {
		case errors.Is(err, fs.ErrNotExist):
			return filepath.Join(t.root, filepath.FromSlash(name)), true, nil
		case err != nil:
			return "", false, err
		case !fi.IsDir():
			return "", false, fmt.Errorf("%w: %s", ErrForeign, path)
		}
	}
	return filepath.Join(path, parts[len(parts)-1]), false, nil
}

// open opens a plain file; fs.ErrNotExist if there is none.
func (t *tree) open(name string) (*os.File, error) {
	path, absent, err := t.path(name)
	if err != nil {
		return nil, err
	}
	if absent {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	// Not to wait for the other end of a pipe that is in a file's place.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) {
		return nil, fmt.Errorf("%w: %s", ErrForeign, path)
	}
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = fmt.Errorf("%w: %s", ErrForeign, path)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// read reads a plain file of at most limit bytes; a larger one is ErrSize.
func (t *tree) read(name string, limit int64) ([]byte, error) {
	f, err := t.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, vault.ErrSize
	}
	return b, nil
}

// put replaces a file, or creates it with the directories above it.
func (t *tree) put(name string, data []byte) error {
	if err := t.stop(nil); err != nil {
		return err
	}
	path, absent, err := t.path(name)
	if err != nil {
		return err
	}
	if absent {
		if err := durable.MkdirAll(filepath.Dir(path)); err != nil {
			return t.stop(err)
		}
		// All the way up: a directory that is there may be one that a killed
		// process made and did not get to sync.
		for dir := filepath.Dir(path); dir != t.root; dir = filepath.Dir(dir) {
			if err := durable.SyncDir(filepath.Dir(dir)); err != nil {
				return t.stop(err)
			}
		}
	}
	return t.stop(t.write(path, data))
}

// del removes a file.
func (t *tree) del(name string) error {
	if err := t.stop(nil); err != nil {
		return err
	}
	path, _, err := t.path(name)
	if err != nil {
		return err
	}
	return t.stop(t.remove(path))
}

// stop stops all writing after an I/O error, and returns why. The kernel may
// report a failed sync once and forget it: the next one would be believed.
func (t *tree) stop(err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if errors.Is(err, syscall.EIO) && t.stopped == nil {
		t.stopped = fmt.Errorf("%w: %w", ErrStopped, err)
	}
	if t.stopped != nil {
		return t.stopped
	}
	return err
}
