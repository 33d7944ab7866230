package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/litentry/agentkeys/internal/daemon"
	"github.com/litentry/agentkeys/internal/durable"
	"github.com/litentry/agentkeys/internal/keychain"
	"github.com/litentry/agentkeys/internal/local"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/signer"
)

// custody says who keeps what opens the roots file.
type custody struct {
	Version int    `json:"version"`
	Keeper  string `json:"keeper"`
	// Account is the name of the entry in the keychain.
	Account string `json:"account,omitempty"`
}

const (
	keeperKeychain   = "keychain"
	keeperPassphrase = "passphrase"
	maxPassphrase    = 4096
)

// unlock opens the roots, making them at the first run.
func (a *app) unlock(ctx context.Context, p local.Paths, passphraseFile string) (signer.Roots, error) {
	if !exists(p.Roots()) {
		return a.begin(ctx, p, passphraseFile)
	}
	key, err := a.fileKey(ctx, p, passphraseFile)
	if err != nil {
		return signer.Roots{}, err
	}
	defer key.Clear()
	roots, err := signer.OpenFile(p.Roots(), key)
	return roots, explainOrNil(err)
}

// begin makes the roots. Nothing is written before all has been asked for.
func (a *app) begin(ctx context.Context, p local.Paths, passphraseFile string) (signer.Roots, error) {
	if exists(p.LogKey()) {
		// New roots would orphan everything that the lost ones have sealed.
		return signer.Roots{}, rootsMissing(p)
	}
	// The passphrase, and then the roots, are about to be in this memory.
	daemon.Harden()
	c, err := a.chooseKeeper(ctx, passphraseFile)
	if err != nil {
		return signer.Roots{}, err
	}
	var key signer.FileKey
	defer func() { key.Clear() }()
	if c.Keeper == keeperPassphrase {
		if key, err = a.passphraseKey(ctx, passphraseFile, true); err != nil {
			return signer.Roots{}, err
		}
	}
	if err := durable.MkdirAll(p.Data); err != nil {
		return signer.Roots{}, explain(err)
	}
	// One first start at a time: of two, each would make a keychain entry, and
	// the later one would be remembered for the roots of the earlier.
	free, err := lockRoots(ctx, p)
	if err != nil {
		return signer.Roots{}, err
	}
	defer free()
	if exists(p.Roots()) {
		if c.Keeper == keeperKeychain {
			if key, err = a.fileKey(ctx, p, passphraseFile); err != nil {
				return signer.Roots{}, err
			}
		}
		roots, err := signer.OpenFile(p.Roots(), key)
		return roots, explainOrNil(err)
	}
	if c.Keeper == keeperKeychain {
		if key, err = a.keychainKey(ctx, &c); err != nil {
			return signer.Roots{}, err
		}
	}
	data, err := json.Marshal(c)
	if err != nil {
		return signer.Roots{}, err
	}
	if err := durable.WriteFile(p.Custody(), append(data, '\n')); err != nil {
		return signer.Roots{}, explain(err)
	}
	roots := signer.NewRoots()
	return roots, explainOrNil(signer.CreateFile(p.Roots(), roots, key))
}

func rootsMissing(p local.Paths) error {
	return failWith(exitCorrupt, "corrupt", fmt.Errorf("%s is missing, though there is state that needs it", p.Roots()),
		"restore it from a backup; without it the stored keys cannot be opened, and you begin anew in another AGENTKEYS_HOME")
}

// lockRoots waits until nobody else makes or rotates the roots.
func lockRoots(ctx context.Context, p local.Paths) (free func(), err error) {
	for {
		free, err := durable.Lock(p.Roots() + ".lock")
		if !errors.Is(err, durable.ErrLocked) {
			return free, explainOrNil(err)
		}
		select {
		case <-ctx.Done():
			return nil, errInterrupted
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// fileKey finds or asks for what opens the roots file that is there.
func (a *app) fileKey(ctx context.Context, p local.Paths, passphraseFile string) (signer.FileKey, error) {
	// The passphrase, and then the roots, are about to be in this memory.
	daemon.Harden()
	c, err := readCustody(p.Custody())
	if err != nil {
		return signer.FileKey{}, err
	}
	if c.Keeper == keeperKeychain {
		v, err := keychain.Get(ctx, c.Account)
		if err != nil {
			return signer.FileKey{}, explain(err)
		}
		return signer.RandomKey(v)
	}
	return a.passphraseKey(ctx, passphraseFile, false)
}

func (a *app) passphraseKey(ctx context.Context, file string, first bool) (signer.FileKey, error) {
	v, err := a.passphrase(ctx, a.passphraseFile(file), first)
	if err != nil {
		return signer.FileKey{}, err
	}
	key, err := signer.Passphrase(v)
	return key, explainOrNil(err)
}

func (a *app) passphraseFile(flag string) string {
	if flag != "" {
		return flag
	}
	return a.getenv("AGENTKEYS_PASSPHRASE_FILE")
}

// chooseKeeper settles at the first run where the passphrase will live.
func (a *app) chooseKeeper(ctx context.Context, passphraseFile string) (custody, error) {
	c := custody{Version: 1, Keeper: keeperPassphrase}
	if a.passphraseFile(passphraseFile) != "" {
		return c, nil
	}
	err := keychain.Probe(ctx)
	switch {
	case err == nil:
		c.Keeper = keeperKeychain
	case errors.Is(err, keychain.ErrLocked):
		return c, explain(err)
	case !a.onTerminal():
		return c, failWith(exitLocked, "no-keychain",
			fmt.Errorf("there is no OS keychain to keep the passphrase, and no terminal to ask for one: %w", err),
			"give --passphrase-file FILE, a file only you can read with a long passphrase in it")
	}
	return c, nil
}

// keychainKey makes a key in the keychain.
func (a *app) keychainKey(ctx context.Context, c *custody) (signer.FileKey, error) {
	var id [8]byte
	_, _ = rand.Read(id[:])
	c.Account = hex.EncodeToString(id[:])
	v, err := keychain.Create(ctx, c.Account)
	if err != nil {
		return signer.FileKey{}, explain(err)
	}
	fmt.Fprintln(a.stderr, "The roots of your keys are sealed by a secret in the OS keychain.")
	return signer.RandomKey(v)
}

func readCustody(path string) (custody, error) {
	c := custody{Keeper: keeperPassphrase}
	data, err := os.ReadFile(path)
	if isMissing(err) {
		return c, nil
	}
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(data, &c); err != nil || c.Version != 1 || c.Keeper != keeperKeychain && c.Keeper != keeperPassphrase {
		return c, failWith(exitCorrupt, "corrupt", fmt.Errorf("%s is damaged", path),
			`restore it from a backup; if you open your keys with a passphrase, its content is {"version":1,"keeper":"passphrase"}`)
	}
	return c, nil
}

// passphrase reads the passphrase from a file or asks for it, twice when it
// is new.
func (a *app) passphrase(ctx context.Context, file string, first bool) (secret.Value, error) {
	if file != "" {
		v, err := secretFile(file, maxPassphrase)
		switch _, told := errors.AsType[*problem](err); {
		case told:
			return v, err
		case err != nil:
			return v, failWith(exitLocked, "locked", fmt.Errorf("the passphrase file cannot be read: %w", err), "give a file that you can read, and nobody else")
		case v.IsZero():
			return v, failWith(exitLocked, "empty", fmt.Errorf("the passphrase file %s is empty", file), "put a long passphrase into it")
		case first && v.Len() < minPassphrase:
			v.Clear()
			return v, failWith(exitLocked, "weak", fmt.Errorf("the passphrase in %s is too short", file), fmt.Sprintf("choose one of at least %d characters", minPassphrase))
		}
		return v, nil
	}
	if !a.onTerminal() {
		return secret.Value{}, failWith(exitLocked, "locked", errors.New("your keys are sealed by a passphrase and there is no terminal to ask for it"),
			"give --passphrase-file FILE or set AGENTKEYS_PASSPHRASE_FILE")
	}
	if !first {
		return a.hidden(ctx, "Passphrase: ")
	}
	fmt.Fprint(a.stderr, "Your keys will be sealed by a passphrase. There is no way back without it.\n")
	for {
		v, err := a.hidden(ctx, "New passphrase (at least 12 characters): ")
		if err != nil {
			return v, err
		}
		if v.Len() < minPassphrase {
			fmt.Fprintln(a.stderr, "That is too short.")
			continue
		}
		again, err := a.hidden(ctx, "The same again: ")
		if err != nil {
			return v, err
		}
		if v.Equal(again) {
			again.Clear()
			return v, nil
		}
		fmt.Fprintln(a.stderr, "The two differ.")
	}
}

const minPassphrase = 12
