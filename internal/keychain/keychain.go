// Package keychain owns the one secret that AgentKeys keeps in the keychain of
// the operating system: 32 random bytes that wrap the roots file. It adapts
// zalando/go-keyring (Secret Service over D-Bus, macOS Keychain, Windows
// Credential Manager) and must not know what the secret wraps.
//
// Laws: where there is no usable keychain that is an error with a name, and
// never another place to keep the secret; every call ends, whatever the
// keychain does.
package keychain

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/zalando/go-keyring"

	"github.com/litentry/agentkeys/internal/secret"
)

var (
	// ErrUnavailable: there is no keychain here, or none that works or answers.
	ErrUnavailable = errors.New("no usable OS keychain")
	// ErrLocked: there is one, and it did not get unlocked.
	ErrLocked = errors.New("the OS keychain is locked")
	// ErrNotFound: the keychain has no secret for this id.
	ErrNotFound = errors.New("the OS keychain has no such secret")
	// ErrExists: it has one already, which something may be wrapped with.
	ErrExists = errors.New("the OS keychain has this secret already")
	// ErrDamaged: it has something under this id that Create did not put there.
	ErrDamaged = errors.New("the secret in the OS keychain is damaged")
)

// Size is the length of the secret in bytes.
const Size = 32

const (
	service = "agentkeys"
	// patience is for a call without an earlier deadline: long enough for a
	// person to type the password that unlocks the keychain.
	patience = 60 * time.Second
)

// Probe reports whether the keychain can be used, by keeping something in it
// and taking it out again: nil, ErrUnavailable or ErrLocked.
func Probe(ctx context.Context) error {
	id := "probe-" + rand.Text()
	if _, err := Create(ctx, id); err != nil {
		return err
	}
	return Delete(ctx, id)
}

// Create makes a random secret for id, a stable name of the state directory it
// is for, keeps it, and returns it once the keychain has given it back. A
// secret that is there is ErrExists. Keychains know no atomic creation: two
// Creates of one id at once are for the caller to prevent.
func Create(ctx context.Context, id string) (secret.Value, error) {
	switch _, err := Get(ctx, id); {
	case err == nil, errors.Is(err, ErrDamaged):
		return secret.Value{}, ErrExists
	case !errors.Is(err, ErrNotFound):
		return secret.Value{}, err
	}
	b := make([]byte, Size)
	_, _ = rand.Read(b) // never fails: it crashes the program instead
	v := secret.New(b)
	// go-keyring takes strings, which cannot be cleared: accepted.
	text := base64.StdEncoding.EncodeToString(b)
	if _, err := bounded(ctx, func() (string, error) { return "", keyring.Set(service, id, text) }); err != nil {
		return secret.Value{}, err
	}
	kept, err := Get(ctx, id)
	if err != nil {
		return secret.Value{}, err
	}
	defer kept.Clear()
	if !kept.Equal(v) {
		return secret.Value{}, ErrDamaged
	}
	return v, nil
}

// Get returns the secret for id: 32 bytes, which the caller clears.
// ErrNotFound, ErrLocked, ErrUnavailable, ErrDamaged.
func Get(ctx context.Context, id string) (secret.Value, error) {
	if id == "" {
		return secret.Value{}, errors.New("a keychain secret needs an id")
	}
	text, err := bounded(ctx, func() (string, error) { return keyring.Get(service, id) })
	if err != nil {
		return secret.Value{}, err
	}
	b, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(b) != Size {
		clear(b)
		return secret.Value{}, ErrDamaged
	}
	return secret.New(b), nil
}

// Delete removes the secret for id. What it wrapped is lost. ErrNotFound,
// ErrLocked, ErrUnavailable.
func Delete(ctx context.Context, id string) error {
	if id == "" {
		return errors.New("a keychain secret needs an id")
	}
	_, err := bounded(ctx, func() (string, error) { return "", keyring.Delete(service, id) })
	return err
}

// bounded runs call until ctx or patience ends. go-keyring takes no context
// and waits for a bus, a keychain or a person for ever: a call that does not
// end is left behind.
func bounded(ctx context.Context, call func() (string, error)) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if err := reachable(); err != nil {
		return "", err
	}
	type result struct {
		s   string
		err error
	}
	done := make(chan result, 1)
	go func() {
		s, err := call()
		done <- result{s, classify(err)}
	}()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case r := <-done:
		return r.s, r.err
	case <-timer.C:
		return "", fmt.Errorf("%w: it does not answer; is a prompt to unlock it waiting?", ErrUnavailable)
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.Canceled) {
			return "", ctx.Err()
		}
		return "", fmt.Errorf("%w: it does not answer: %w", ErrUnavailable, ctx.Err())
	}
}

// classify names an error of go-keyring, of which it names one itself.
func classify(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, keyring.ErrNotFound):
		return ErrNotFound
	case isLocked(err):
		return fmt.Errorf("%w: %w", ErrLocked, err)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

func isLocked(err error) bool {
	// macOS: exit codes of security(1) are the low byte of an OSStatus:
	// errSecInteractionNotAllowed, errSecAuthFailed, userCanceledErr.
	var exit interface{ ExitCode() int }
	if runtime.GOOS == "darwin" && errors.As(err, &exit) {
		code := exit.ExitCode()
		return code == 36 || code == 51 || code == 128
	}
	// Secret Service: org.freedesktop.Secret.Error.IsLocked, and go-keyring's
	// own word for a prompt that was dismissed or could not be shown.
	s := strings.ToLower(err.Error())
	return strings.Contains(s, "locked") || strings.Contains(s, "failed to unlock")
}

// reachable refuses where the D-Bus library would start a bus of its own with
// dbus-launch: a keychain on it would be another one each time, and a process
// that nobody ends. It looks in the same places for a bus as the library does.
func reachable() error {
	if runtime.GOOS == "darwin" || runtime.GOOS == "windows" {
		return nil
	}
	if a := os.Getenv("DBUS_SESSION_BUS_ADDRESS"); a != "" && a != "autolaunch:" {
		return nil
	}
	if u, err := user.Current(); err == nil {
		for _, name := range []string{"bus", "dbus-session"} {
			if _, err := os.Stat(filepath.Join("/run/user", u.Uid, name)); err == nil {
				return nil
			}
		}
	}
	return fmt.Errorf("%w: there is no D-Bus session (DBUS_SESSION_BUS_ADDRESS is not set)", ErrUnavailable)
}
