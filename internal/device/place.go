package device

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/litentry/agentkeys/internal/durable"
	"github.com/litentry/agentkeys/internal/keychain"
	"github.com/litentry/agentkeys/internal/secret"
)

// Place is where a device key is kept. As text:
//
//	keychain     the operating system's keychain
//	file:PATH    a file that only its owner can read, mode 0600
//	memory       nowhere: the key ends with the process, and so does its login
//
// The zero Place is none.
type Place struct {
	kind string
	path string // absolute
}

const (
	kindKeychain = "keychain"
	kindFile     = "file"
	kindMemory   = "memory"
)

// The places without a path.
var (
	Keychain = Place{kind: kindKeychain}
	Memory   = Place{kind: kindMemory}
)

// Choices says what a Place can be, for people.
const Choices = "keychain, file:PATH (a file that only you can read), or memory (until the process ends)"

// ErrPlace: the text names no place.
var ErrPlace = errors.New("no place for a device key")

// ParsePlace parses a place. A relative path counts from the working directory.
func ParsePlace(s string) (Place, error) {
	path, isFile := strings.CutPrefix(s, kindFile+":")
	switch {
	case s == kindKeychain:
		return Keychain, nil
	case s == kindMemory:
		return Memory, nil
	case !isFile || path == "" || strings.ContainsRune(path, 0):
		return Place{}, fmt.Errorf("%w: %q: there is %s", ErrPlace, s, Choices)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return Place{}, fmt.Errorf("%w: %w", ErrPlace, err)
	}
	return Place{kindFile, abs}, nil
}

func (p Place) String() string {
	if p.kind == kindFile {
		return kindFile + ":" + p.path
	}
	return p.kind
}

// IsZero reports whether p is no place.
func (p Place) IsZero() bool { return p == Place{} }

// MarshalText implements encoding.TextMarshaler.
func (p Place) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Place) UnmarshalText(b []byte) (err error) {
	*p, err = ParsePlace(string(b))
	return err
}

// Create makes a key and keeps it at p. In the keychain it goes by id, a name
// that no other key of this user has. ErrExists, ErrNoKeychain.
func Create(ctx context.Context, p Place, id string) (Key, error) {
	switch p.kind {
	case kindMemory:
		return New(), nil
	case kindKeychain:
		seed, err := keychain.Create(ctx, keychainID(id))
		if err != nil {
			return Key{}, keychainError(err)
		}
		return FromSeed(seed)
	case kindFile:
		k := New()
		err := durable.CreateFile(p.path, k.file())
		if errors.Is(err, fs.ErrExist) {
			err = fmt.Errorf("%w: %s", ErrExists, p.path)
		}
		if err != nil {
			k.Clear()
			return Key{}, err
		}
		return k, nil
	}
	return Key{}, ErrPlace
}

// Open returns the key that Create kept at p. ErrNotFound, ErrSeed, ErrExposed,
// ErrNoKeychain; in memory there is nothing to be opened, ErrNotFound.
func Open(ctx context.Context, p Place, id string) (Key, error) {
	switch p.kind {
	case kindMemory:
		return Key{}, fmt.Errorf("%w: it was in the memory of a process that has ended", ErrNotFound)
	case kindKeychain:
		seed, err := keychain.Get(ctx, keychainID(id))
		if err != nil {
			return Key{}, keychainError(err)
		}
		return FromSeed(seed)
	case kindFile:
		return readFile(p.path)
	}
	return Key{}, ErrPlace
}

// Forget destroys the key at p. One that is gone is as good.
func Forget(ctx context.Context, p Place, id string) error {
	var err error
	switch p.kind {
	case kindMemory:
	case kindKeychain:
		err = keychainError(keychain.Delete(ctx, keychainID(id)))
	case kindFile:
		// Not for the keychain: one that is not there has no file either.
		if err = durable.Remove(p.path); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	default:
		return ErrPlace
	}
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

func keychainID(id string) string { return "device-" + id }

func keychainError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, keychain.ErrNotFound):
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	case errors.Is(err, keychain.ErrExists):
		return fmt.Errorf("%w: %w", ErrExists, err)
	case errors.Is(err, keychain.ErrDamaged):
		return fmt.Errorf("%w: %w", ErrSeed, err)
	case errors.Is(err, keychain.ErrLocked), errors.Is(err, keychain.ErrUnavailable):
		return fmt.Errorf("%w: %w; there is also file:PATH, a file that only you can read, and memory, until the process ends", ErrNoKeychain, err)
	}
	return err
}

// mark begins the one line of a key's file; the seed in base64 follows.
const mark = "agentkeys-device-key-v1 "

func (k Key) file() []byte {
	seed := k.seed.Expose()
	out := base64.StdEncoding.AppendEncode([]byte(mark), seed)
	return append(out, '\n')
}

// readFile reads a key's file. Whoever else could read it may be this device to
// the broker; whoever else could write it may make this device another.
func readFile(path string) (Key, error) {
	// Not a pipe that nobody writes to: nothing that is opened here may block.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return Key{}, fmt.Errorf("%w: %s", ErrNotFound, path)
	}
	if err != nil {
		return Key{}, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return Key{}, err
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	switch {
	case !fi.Mode().IsRegular():
		return Key{}, fmt.Errorf("%w: %s is no regular file", ErrSeed, path)
	case fi.Mode().Perm()&0o077 != 0:
		return Key{}, fmt.Errorf("%w: %s has mode %04o, not 0600", ErrExposed, path, fi.Mode().Perm())
	case !ok || int(st.Uid) != os.Getuid():
		return Key{}, fmt.Errorf("%w: %s belongs to another user", ErrExposed, path)
	}
	data, err := io.ReadAll(io.LimitReader(f, 256))
	if err != nil {
		return Key{}, err
	}
	defer clear(data)
	text, ok := bytes.CutPrefix(bytes.TrimSuffix(data, []byte("\n")), []byte(mark))
	seed, err := base64.StdEncoding.Strict().AppendDecode(nil, text)
	if !ok || err != nil || len(seed) != SeedSize || bytes.ContainsAny(text, "\r\n") {
		clear(seed)
		return Key{}, fmt.Errorf("%w: %s", ErrSeed, path)
	}
	return FromSeed(secret.New(seed))
}
