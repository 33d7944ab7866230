package chrome

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// nobody is who Chromium runs as where we are root: its sandbox is not for
// root, and root's files are not for it.
const nobody = 65534

// profile is the directory of one run: <dir>/run-<x>, with a lock file beside
// it that is held as long as its owner lives.
type profile struct {
	dir  string
	temp string // for temporary files
	lock *os.File
}

// newProfile sweeps what killed runs left in dir and makes a directory for
// this one.
func newProfile(dir string) (*profile, error) {
	if dir == "" {
		return nil, fmt.Errorf("%w: no directory for the profile", ErrStart)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStart, err)
	}
	root := os.Getuid() == 0
	if root && !passable(dir) {
		// Another user cannot get there. The profile lives in a directory of
		// the system then, as private as it would be here. Anybody may have
		// taken the name, but in the last of these.
		for _, temp := range []string{os.TempDir(), tempRoot, "/var/tmp", "/run"} {
			dir = filepath.Join(temp, "agentkeys-browser")
			if _, err := os.Lstat(dir); passable(dir) && (errors.Is(err, fs.ErrNotExist) || ours(dir) == nil) {
				break
			}
		}
	}
	mode := os.FileMode(0o700)
	if root {
		mode = 0o711
	}
	if err := os.MkdirAll(dir, mode); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStart, err)
	}
	if err := ours(dir); err != nil {
		return nil, err
	}
	if root {
		if err := os.Chmod(dir, mode); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrStart, err)
		}
	}
	// One at a time makes and sweeps, so that nobody sweeps what is being made.
	gate, err := locked(filepath.Join(dir, "lock"), unix.LOCK_EX)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStart, err)
	}
	defer func() { _ = gate.Close() }()
	sweep(dir)
	run, err := os.MkdirTemp(dir, "run-")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStart, err)
	}
	p := &profile{dir: run}
	if p.lock, err = locked(run+".lock", unix.LOCK_EX|unix.LOCK_NB); err == nil {
		if err = p.fill(root); err == nil {
			err = p.makeTemp(root)
		}
	}
	if err != nil {
		_ = p.remove()
		return nil, fmt.Errorf("%w: %w", ErrStart, err)
	}
	return p, nil
}

// fill writes what the browser reads at its start, and hands the directory to
// who runs it.
func (p *profile) fill(root bool) error {
	paths := []string{filepath.Join(p.dir, "Default", "Preferences"), filepath.Join(p.dir, "Default"), p.dir}
	if err := os.Mkdir(paths[1], 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(paths[0], []byte(preferences), 0o600); err != nil {
		return err
	}
	for _, path := range paths {
		if root {
			if err := os.Lchown(path, nobody, nobody); err != nil {
				return err
			}
		}
	}
	return nil
}

// ours reports whether dir is a directory, no link, of this user alone to write.
func ours(dir string) error {
	i, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrStart, err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return fmt.Errorf("%w: %w", ErrStart, err)
	}
	if !i.IsDir() || int(st.Uid) != os.Getuid() || i.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%w: %s is not a directory that this user alone writes in", ErrStart, dir)
	}
	return nil
}

// passable reports whether any user may pass through the parents of dir.
func passable(dir string) bool {
	for p := filepath.Dir(dir); ; p = filepath.Dir(p) {
		if i, err := os.Stat(p); err == nil && i.Mode().Perm()&0o001 == 0 {
			return false
		}
		if p == filepath.Dir(p) {
			return true
		}
	}
}

func locked(path string, how int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), how); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// sweep removes the runs whose owners are gone.
func sweep(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), "run-") {
			continue
		}
		run := filepath.Join(dir, e.Name())
		lock, err := locked(run+".lock", unix.LOCK_EX|unix.LOCK_NB)
		if err != nil {
			continue
		}
		_ = (&profile{dir: run, temp: remembered(lock), lock: lock}).remove()
	}
}

// remove removes what the run had.
func (p *profile) remove() error {
	err := errors.Join(clearDir(p.temp), clearDir(p.dir))
	if p.lock != nil {
		if err == nil {
			err = os.Remove(p.lock.Name())
		}
		err = errors.Join(err, p.lock.Close())
		p.lock = nil
	}
	if err != nil {
		return fmt.Errorf("removing the browser's profile: %w", err)
	}
	return nil
}

// isOf reports whether a file is a user's.
func isOf(i os.FileInfo, uid int) bool {
	st, ok := i.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == uid
}
