package chrome

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// The browser makes a socket in its directory for temporary files, some levels
// down, and the path of a socket is 107 bytes at most. The profile's own
// directory may be longer than that allows, so this one is not in it.
const tempRoot = "/tmp"

var tempName = regexp.MustCompile(`^ak-[a-z2-7]{16}$`)

// makeTemp makes that directory, and says in the lock file first where it is:
// who sweeps after a killed run finds it there.
func (p *profile) makeTemp(root bool) error {
	parent := tempRoot
	if i, err := os.Stat(parent); err != nil || !i.IsDir() {
		parent = os.TempDir()
	}
	dir := filepath.Join(parent, "ak-"+strings.ToLower(rand.Text()[:16]))
	if _, err := p.lock.WriteString(dir); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	p.temp = dir
	if root {
		return os.Lchown(dir, nobody, nobody)
	}
	return nil
}

// remembered is the directory that a killed run left for temporary files.
func remembered(lock *os.File) string {
	text, err := io.ReadAll(io.LimitReader(lock, 4096))
	dir := string(text)
	if err != nil || !tempName.MatchString(filepath.Base(dir)) || filepath.Clean(dir) != dir ||
		filepath.Dir(dir) != tempRoot && filepath.Dir(dir) != filepath.Clean(os.TempDir()) {
		return ""
	}
	// By now it may be somebody else's who liked the name.
	i, err := os.Lstat(dir)
	if err != nil || !i.IsDir() || !isOf(i, os.Getuid()) && !(os.Getuid() == 0 && isOf(i, nobody)) {
		return ""
	}
	return dir
}

// clearDir removes a directory. Processes of a browser that was just killed may
// write there for a moment.
func clearDir(dir string) error {
	if dir == "" {
		return nil
	}
	var err error
	for range 100 {
		if err = os.RemoveAll(dir); err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("removing %s: %w", filepath.Base(dir), err)
}
