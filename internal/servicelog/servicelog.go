// Package servicelog keeps the audit log of a service that has no roots to
// derive the log's key from: the key's seed is a file beside the log.
//
//	DIR/seed      32 bytes in hex, mode 0600: whoever has it can sign the log
//	DIR/log.vkey  the key that checks the signatures, for `audit verify`
//	DIR/log/      the log
package servicelog

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/litentry/agentkeys/internal/audit"
	"github.com/litentry/agentkeys/internal/durable"
	"github.com/litentry/agentkeys/internal/secret"
)

// ErrSeed says that a log cannot be signed as it was before.
var ErrSeed = errors.New("the seed of the audit log cannot be used")

// Log is an open log with the key that checks it.
type Log struct {
	*audit.Log
	VerifierKey string // a C2SP note verifier key
	unlock      func()
}

// Open opens the log in dir, and makes it if there is none. origin names the
// log for good. One process at a time may have it open: durable.ErrLocked.
func Open(dir, origin string, now func() time.Time) (_ *Log, err error) {
	if err := durable.MkdirAll(dir); err != nil {
		return nil, err
	}
	unlock, err := durable.Lock(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, fmt.Errorf("audit log %s: %w", dir, err)
	}
	defer func() {
		if err != nil {
			unlock()
		}
	}()
	logDir := filepath.Join(dir, "log")
	seed, err := readSeed(filepath.Join(dir, "seed"), logDir)
	if err != nil {
		return nil, err
	}
	defer seed.Clear()
	key, err := audit.NewKey(origin, seed)
	if err != nil {
		return nil, err
	}
	if err := durable.WriteFile(filepath.Join(dir, "log.vkey"), []byte(key.VerifierKey()+"\n")); err != nil {
		return nil, err
	}
	log, err := audit.Open(logDir, audit.Options{Signer: key, Verifier: key.Verifier(), Now: now})
	if err != nil {
		return nil, err
	}
	return &Log{log, key.VerifierKey(), unlock}, nil
}

// Close writes what is noted and lets another process open the log.
func (l *Log) Close() error {
	defer l.unlock()
	return l.Log.Close()
}

// readSeed makes the seed where there is neither one nor a log.
func readSeed(path, log string) (secret.Value, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(log); !errors.Is(err, fs.ErrNotExist) {
			return secret.Value{}, fmt.Errorf("%w: %s is gone, and %s is not: put it back from a backup", ErrSeed, path, log)
		}
		return makeSeed(path)
	}
	if err != nil {
		return secret.Value{}, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return secret.Value{}, err
	}
	if fi.Mode().Perm()&0o077 != 0 {
		return secret.Value{}, fmt.Errorf("%w: others may read %s: chmod 600 %s", ErrSeed, path, path)
	}
	text, err := secret.Read(f, 256)
	if err != nil {
		return secret.Value{}, fmt.Errorf("%w: %s: %w", ErrSeed, path, err)
	}
	defer text.Clear()
	seed := make([]byte, 32)
	line := bytes.TrimSuffix(text.Expose(), []byte("\n"))
	if n, err := hex.Decode(seed, line[:min(len(line), 64)]); err != nil || n != 32 || len(line) != 64 {
		return secret.Value{}, fmt.Errorf("%w: %s does not hold 64 hexadecimal digits", ErrSeed, path)
	}
	return secret.New(seed), nil
}

func makeSeed(path string) (secret.Value, error) {
	seed := make([]byte, 32)
	_, _ = rand.Read(seed)
	text := secret.New(append(hex.AppendEncode(nil, seed), '\n'))
	defer text.Clear()
	return secret.New(seed), durable.CreateFile(path, text.Expose())
}
