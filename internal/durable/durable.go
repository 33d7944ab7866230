// Package durable owns writes that survive a crash: a file is either the old
// one or the new one, whole, and a nil error means that the disk has it. It
// depends on the standard library only and knows nothing of what it writes.
//
// Every function returns an error, and promises nothing, when any step failed:
// after a failed fsync the state of the file is unknown, and callers must not
// acknowledge. What is there is whole even then: the old file or the new one.
//
// The directory a path is in belongs to the user alone; names in it are
// trusted. A symbolic link in the place of a file is replaced or refused, never
// written through.
package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

// ErrLocked says that another process holds the lock.
var ErrLocked = errors.New("locked already")

// tempPrefix starts the names of unfinished files; Sweep removes them.
const tempPrefix = ".tmp-"

// WriteFile replaces path, or creates it, with data, mode 0600 whatever the
// umask.
func WriteFile(path string, data []byte) error {
	tmp, err := writeTemp(path, data)
	if err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		_ = os.Remove(tmp)
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// CreateFile creates path with data, mode 0600, or fails with fs.ErrExist and
// leaves what is there alone. Of several racing calls one wins. The file system
// must have hard links.
func CreateFile(path string, data []byte) error {
	tmp, err := writeTemp(path, data)
	if err != nil {
		return err
	}
	// A link, unlike a rename, refuses a name that is taken.
	err = os.Link(tmp, path)
	_ = os.Remove(tmp)
	if err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// Remove removes path. A path that is not there is fs.ErrNotExist, and then it
// is durably not there: an earlier Remove may have got no further than that.
func Remove(path string) error {
	err := os.Remove(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if serr := SyncDir(filepath.Dir(path)); serr != nil {
		return serr
	}
	return err
}

// ErrExposed: other users may read or write a directory.
var ErrExposed = errors.New("the directory is open to other users")

// Private makes dir, if need be, and returns its absolute path. ErrExposed, if
// it was there and other users have rights on it.
func Private(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if err := MkdirAll(dir); err != nil {
		return "", err
	}
	fi, err := os.Stat(dir)
	if err != nil {
		return "", err
	}
	if fi.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("%w: %s is %#o: chmod 700 it", ErrExposed, dir, fi.Mode().Perm())
	}
	return dir, nil
}

// MkdirAll makes dir and its parents, each new one 0700 whatever the umask, and
// synced.
func MkdirAll(dir string) error {
	if fi, err := os.Stat(dir); err == nil {
		if !fi.IsDir() {
			return &fs.PathError{Op: "mkdir", Path: dir, Err: syscall.ENOTDIR}
		}
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := MkdirAll(parent); err != nil {
			return err
		}
	}
	switch err := os.Mkdir(dir, 0o700); {
	case err == nil:
		err = os.Chmod(dir, 0o700)
		if err == nil {
			err = SyncDir(parent)
		}
		if err != nil {
			_ = os.Remove(dir) // so that the next attempt does not take it for durable
		}
		return err
	case errors.Is(err, fs.ErrExist):
		// Made by somebody else meanwhile, or a dangling link.
		if fi, serr := os.Stat(dir); serr != nil || !fi.IsDir() {
			return err
		}
		return SyncDir(parent)
	default:
		return err
	}
}

// SyncDir makes the entries of dir durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}

// Sweep removes what interrupted writes left in dir. Only the process that
// alone writes dir may call it.
func Sweep(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), tempPrefix) || e.IsDir() {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Lock takes an exclusive lock on path, creating it, mode 0600. It does not
// wait: a lock held elsewhere, in this process or another, is ErrLocked. It is
// held until unlock is called or the process ends, however that ends. Nobody
// may remove path.
func Lock(path string) (unlock func(), err error) {
	// Not an os.File: the garbage collector would unlock it for a caller that
	// has dropped unlock.
	var fd int
	for {
		fd, err = syscall.Open(path, syscall.O_RDWR|syscall.O_CREAT|syscall.O_CLOEXEC|syscall.O_NOFOLLOW, 0o600)
		if err != syscall.EINTR {
			break
		}
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	if err := syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = syscall.Close(fd)
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: %s", ErrLocked, path)
		}
		return nil, &fs.PathError{Op: "flock", Path: path, Err: err}
	}
	if err := syscall.Fchmod(fd, 0o600); err != nil { // the umask may have taken more
		_ = syscall.Close(fd)
		return nil, &fs.PathError{Op: "chmod", Path: path, Err: err}
	}
	return sync.OnceFunc(func() {
		// A child that is just being started has fd too, until it executes its
		// program: to close it would not be enough.
		_ = syscall.Flock(fd, syscall.LOCK_UN)
		_ = syscall.Close(fd)
	}), nil
}

func writeTemp(path string, data []byte) (name string, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), tempPrefix+"*")
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	if err = f.Chmod(0o600); err == nil {
		_, err = f.Write(data)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return f.Name(), err
}
