// Package keychain owns the one entry that AgentKeys keeps in the operating
// system's keychain: the wrapping key of the signer's roots file. It depends on
// go-keyring and knows nothing of roots. It never falls back to a file.
package keychain

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/zalando/go-keyring"

	"github.com/litentry/agentkeys/internal/secret"
)

// The outcomes a caller branches on.
var (
	// ErrUnavailable: there is no keychain, or it does not answer.
	ErrUnavailable = errors.New("no OS keychain can be used")
	// ErrLocked: there is one, and it is locked.
	ErrLocked = errors.New("the OS keychain is locked")
	// ErrNotFound: it has no such entry.
	ErrNotFound = errors.New("the OS keychain has no such entry")
)

const (
	service = "agentkeys"
	// patience bounds a call: a session bus may take a message and never answer.
	patience = 10 * time.Second
)

// Probe reports whether the keychain can be used at all: nil, ErrUnavailable
// or ErrLocked.
func Probe() error {
	_, err := call(context.Background(), func() (string, error) { return keyring.Get(service, "probe") })
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// Get returns the secret kept under account. ErrNotFound, ErrLocked,
// ErrUnavailable.
func Get(ctx context.Context, account string) (secret.Value, error) {
	text, err := call(ctx, func() (string, error) { return keyring.Get(service, account) })
	if err != nil {
		return secret.Value{}, err
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return secret.Value{}, fmt.Errorf("%w: what is there is not ours", ErrNotFound)
	}
	return secret.New(b), nil
}

// Set keeps a secret under account, in place of what was there.
func Set(ctx context.Context, account string, v secret.Value) error {
	_, err := call(ctx, func() (string, error) {
		return "", keyring.Set(service, account, base64.StdEncoding.EncodeToString(v.Expose()))
	})
	return err
}

// call runs f with a bound on its time and gives its error a type.
func call(ctx context.Context, f func() (string, error)) (string, error) {
	type result struct {
		text string
		err  error
	}
	done := make(chan result, 1)
	go func() {
		text, err := f()
		done <- result{text, err}
	}()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case <-ctx.Done():
		return "", fmt.Errorf("%w: it does not answer", ErrUnavailable)
	case r := <-done:
		switch {
		case r.err == nil:
			return r.text, nil
		case errors.Is(r.err, keyring.ErrNotFound):
			return "", ErrNotFound
		case strings.Contains(strings.ToLower(r.err.Error()), "locked"):
			return "", ErrLocked
		}
		return "", fmt.Errorf("%w: %v", ErrUnavailable, r.err)
	}
}
