// Package tokenkeys keeps the keys that sign tokens in a directory: one file
// per key, named after it. It knows files and times; what a key is and which of
// them signs is token's business. It has no network and no clock of its own.
//
// Laws:
//   - What others on the machine could have read or written is not used.
//   - Whatever is in the directory is understood, or nothing of it is used.
//   - At every moment of a rotation or a pruning, however it ends, what is in
//     the directory loads, and publishes every key whose tokens may still live.
package tokenkeys

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/litentry/agentkeys/internal/durable"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/token"
)

var (
	// ErrExposed: others on this machine may read or write a key.
	ErrExposed = errors.New("signing keys are open to other users")
	// ErrUnknown: something is in the directory that is no signing key.
	ErrUnknown = errors.New("not a directory of signing keys")
	// ErrFull: there are as many keys as readers of a key set put up with.
	ErrFull = errors.New("too many signing keys")
	// ErrEmpty: there is no key.
	ErrEmpty = errors.New("no signing key")
)

// The directory, mode 0700, holds
//
//	<kid>.key   one key as token.Key.Marshal writes it, mode 0600
//	.lock       whoever changes the directory holds it
//	.tmp-*      what an interrupted write left; ignored, swept by the next
//
// and nothing else. A copy of a key under another name is another kid, and so
// refused.
const (
	suffix   = ".key"
	lockName = ".lock"
	tempName = ".tmp-"
	maxFile  = 16 << 10
)

// Load reads every key of dir, in the order of their files' names. Errors wrap
// ErrExposed, ErrUnknown, token.ErrKey or what the file system says; they name
// the file, and what to do. An empty directory has no keys and no error.
func Load(dir string) ([]token.Key, error) {
	if err := checkDir(dir); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var keys []token.Key
	for _, e := range entries {
		name := e.Name()
		path := filepath.Join(dir, name)
		if name == lockName || strings.HasPrefix(name, tempName) {
			continue
		}
		kid, isKey := strings.CutSuffix(name, suffix)
		if !isKey {
			return nil, fmt.Errorf("%w: %s: only <kid>%s files belong here: move it elsewhere", ErrUnknown, path, suffix)
		}
		k, err := loadFile(path)
		if err != nil {
			return nil, err
		}
		if kid != k.KID() { // so that no key is there twice
			return nil, fmt.Errorf("%w: %s holds the key %s: name it %s%s, or remove it if that is there too", ErrUnknown, path, k.KID(), k.KID(), suffix)
		}
		keys = append(keys, k)
	}
	return keys, nil
}

func checkDir(dir string) error {
	fi, err := os.Lstat(dir)
	switch {
	case err != nil:
		return err
	case fi.Mode()&fs.ModeSymlink != 0:
		return fmt.Errorf("%w: %s is a symbolic link, which others may turn elsewhere: name the directory itself", ErrExposed, dir)
	case !fi.IsDir():
		return fmt.Errorf("%w: %s is not a directory", ErrUnknown, dir)
	}
	return checkOwner(dir, fi, 0o700)
}

// checkOwner allows mode or less: what a group may read, a member may copy, and
// what it may write, replace.
func checkOwner(path string, fi fs.FileInfo, mode fs.FileMode) error {
	st, ok := fi.Sys().(*syscall.Stat_t)
	switch {
	case !ok || int(st.Uid) != os.Geteuid():
		return fmt.Errorf("%w: %s belongs to another user: chown %d %s, if you trust where it comes from", ErrExposed, path, os.Geteuid(), path)
	case fi.Mode().Perm()&^mode != 0:
		return fmt.Errorf("%w: %s has mode %#o: chmod %#o %s, and rotate if somebody may have read it", ErrExposed, path, fi.Mode().Perm(), mode, path)
	}
	return nil
}

// loadFile looks at what it has opened, not at what was there before.
func loadFile(path string) (token.Key, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) {
		return token.Key{}, fmt.Errorf("%w: %s is a symbolic link, which others may turn elsewhere: put the file in its place", ErrExposed, path)
	}
	if err != nil {
		return token.Key{}, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return token.Key{}, err
	}
	if !fi.Mode().IsRegular() {
		return token.Key{}, fmt.Errorf("%w: %s is not a regular file: move it elsewhere", ErrUnknown, path)
	}
	if err := checkOwner(path, fi, 0o600); err != nil {
		return token.Key{}, err
	}
	v, err := secret.Read(f, maxFile)
	defer v.Clear()
	if errors.Is(err, secret.ErrTooLarge) {
		return token.Key{}, fmt.Errorf("%w: %s is too large for a key: move it elsewhere", ErrUnknown, path)
	}
	if err != nil && err != io.EOF {
		return token.Key{}, fmt.Errorf("%s: %w", path, err)
	}
	k, err := token.ParseKey(v)
	if err != nil {
		return token.Key{}, fmt.Errorf("%s: %w: restore it from a backup, or remove it: then tokens that it signed are refused", path, err)
	}
	return k, nil
}

// maxKeys bounds the keys of a directory: many readers take no longer key sets.
const maxKeys = 48

// Rotate makes a key for alg. The first of its alg signs at once; another signs
// when lead has passed, so that until then everybody has come to know it: lead
// is at least as long as others keep the JWKS, and replicas the directory. It
// makes dir, mode 0700, if there is none. When it returns nil the disk has the
// key; after an error it has it or not, and all the others.
func Rotate(dir string, alg token.Alg, now time.Time, lead time.Duration) (token.Key, error) {
	if lead < 0 {
		return token.Key{}, errors.New("a key cannot sign before it is made")
	}
	if err := durable.MkdirAll(dir); err != nil {
		return token.Key{}, err
	}
	keys, unlock, err := change(dir)
	if err != nil {
		return token.Key{}, err
	}
	defer unlock()
	if len(keys) >= maxKeys {
		return token.Key{}, fmt.Errorf("%w: there are %d in %s, which are all published until no token of theirs can be alive: prune, or wait some hours", ErrFull, len(keys), dir)
	}
	from := now
	for _, k := range keys {
		if k.Alg() == alg {
			from = now.Add(lead + time.Second - time.Nanosecond) // a Key cuts to seconds
		}
	}
	k, err := token.NewKey(alg, from)
	if err != nil {
		return token.Key{}, err
	}
	v, err := k.Marshal()
	if err != nil {
		return token.Key{}, err
	}
	defer v.Clear()
	if err := durable.CreateFile(filepath.Join(dir, k.KID()+suffix), v.Expose()); err != nil {
		return token.Key{}, err
	}
	return k, nil
}

// Prune removes the keys that are published no more, and returns their kids.
// longest is what the ring is made with.
func Prune(dir string, now time.Time, longest time.Duration) (removed []string, err error) {
	keys, unlock, err := change(dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	ring, err := token.NewRing(keys, longest)
	if err != nil {
		return nil, err
	}
	for _, kid := range ring.Retired(now) {
		if err := durable.Remove(filepath.Join(dir, kid+suffix)); err != nil {
			return removed, err
		}
		removed = append(removed, kid)
	}
	return removed, nil
}

// change takes the lock of dir, sweeps and loads it.
func change(dir string) (keys []token.Key, unlock func(), err error) {
	if err := checkDir(dir); err != nil {
		return nil, nil, err
	}
	if unlock, err = durable.Lock(filepath.Join(dir, lockName)); err != nil {
		return nil, nil, fmt.Errorf("%s is being changed: try again: %w", dir, err)
	}
	if err = durable.Sweep(dir); err == nil {
		keys, err = Load(dir)
	}
	if err != nil {
		unlock()
		return nil, nil, err
	}
	return keys, unlock, nil
}
