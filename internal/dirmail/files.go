package dirmail

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/litentry/agentkeys/internal/durable"
	"github.com/litentry/agentkeys/internal/mailstore"
)

// path returns where name is in dir, which is given relative to the root with
// slashes. It refuses a symbolic link, or whatever else is no directory, on the
// way. absent says that a directory on the way is not there.
func (d *Dir) path(dir, name string) (path string, absent bool, err error) {
	path = d.root
	for part := range strings.SplitSeq(dir, "/") {
		path = filepath.Join(path, part)
		if absent {
			continue
		}
		switch fi, err := os.Lstat(path); {
		case errors.Is(err, fs.ErrNotExist):
			absent = true
		case err != nil:
			return "", false, err
		case !fi.IsDir():
			return "", false, fmt.Errorf("%w: %s", ErrForeign, path)
		}
	}
	return filepath.Join(path, name), absent, nil
}

// open opens a plain file for reading; ErrGone if there is none.
func (d *Dir) open(dir, name string) (*os.File, fs.FileInfo, error) {
	path, absent, err := d.path(dir, name)
	if err != nil {
		return nil, nil, err
	}
	if absent {
		return nil, nil, mailstore.ErrGone
	}
	// Not to wait for the other end of a pipe that is in a file's place.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil, mailstore.ErrGone
	case errors.Is(err, syscall.ELOOP):
		return nil, nil, fmt.Errorf("%w: %s", ErrForeign, path)
	case err != nil:
		return nil, nil, err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = fmt.Errorf("%w: %s", ErrForeign, path)
	}
	if err != nil {
		_ = f.Close()
		return nil, nil, err
	}
	return f, fi, nil
}

// versionOf tells files apart: see Dir.
func versionOf(fi fs.FileInfo) mailstore.Version {
	var dev, ino uint64
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		dev, ino = uint64(st.Dev), uint64(st.Ino) // not as wide everywhere
	}
	return mailstore.Version(fmt.Sprintf("%x-%x-%x-%x", dev, ino, fi.Size(), fi.ModTime().UnixNano()))
}

// create makes a file of what fill writes, if there is none of this name. When
// it returns nil, the file is durable, whoever made it.
func (d *Dir) create(ctx context.Context, dir, name string, fill func(*os.File) error) (created bool, err error) {
	if err := d.stop(nil); err != nil {
		return false, err
	}
	path, absent, err := d.path(dir, name)
	if err != nil {
		return false, err
	}
	there, err := plain(path)
	if err != nil {
		return false, err
	}
	if !there {
		tmp, err := d.temp(fill)
		if err != nil {
			return false, d.stop(err)
		}
		defer func() { _ = os.Remove(tmp) }()
		if err := ctx.Err(); err != nil {
			return false, err
		}
		if absent {
			if err := durable.MkdirAll(filepath.Dir(path)); err != nil {
				return false, d.stop(err)
			}
		}
		// A link, unlike a rename, refuses a name that is taken.
		err = os.Link(tmp, path)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return false, d.stop(err)
		}
		created = err == nil
		if there, err = plain(path); err != nil {
			return false, err
		}
		if !there && !created {
			return false, fmt.Errorf("%s came and went", path)
		}
	}
	// All the way up, and also if the file was there: it may be one that a
	// killed process made, in directories that it made, and did not get to sync.
	for at := filepath.Dir(path); at != d.root; at = filepath.Dir(at) {
		if err := d.sync(at); err != nil {
			return false, d.stop(err)
		}
	}
	return created, nil
}

// plain reports whether there is a plain file, and fails if there is something
// else.
func plain(path string) (bool, error) {
	switch fi, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case !fi.Mode().IsRegular():
		return false, fmt.Errorf("%w: %s", ErrForeign, path)
	}
	return true, nil
}

// temp makes an unfinished file, synced, and returns its path.
func (d *Dir) temp(fill func(*os.File) error) (path string, err error) {
	dir, _, err := d.path(tempName, "")
	if err != nil {
		return "", err
	}
	f, err := os.CreateTemp(dir, "*")
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	if err = f.Chmod(0o600); err == nil {
		err = fill(f)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return f.Name(), err
}
