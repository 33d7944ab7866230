package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

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
	key, err := a.fileKey(ctx, p, passphraseFile)
	if err != nil {
		return signer.Roots{}, err
	}
	defer key.Clear()
	roots, err := signer.OpenFile(p.Roots(), key)
	if errors.Is(err, fs.ErrNotExist) {
		roots = signer.NewRoots()
		err = signer.CreateFile(p.Roots(), roots, key)
		if errors.Is(err, fs.ErrExist) {
			// Another first start was quicker: its roots are the ones.
			roots.Clear()
			roots, err = signer.OpenFile(p.Roots(), key)
		}
	}
	return roots, explainOrNil(err)
}

// fileKey finds or asks for what opens the roots file.
func (a *app) fileKey(ctx context.Context, p local.Paths, passphraseFile string) (signer.FileKey, error) {
	if passphraseFile == "" {
		passphraseFile = a.getenv("AGENTKEYS_PASSPHRASE_FILE")
	}
	if err := durable.MkdirAll(p.Data); err != nil {
		return signer.FileKey{}, err
	}
	c, err := readCustody(p.Custody())
	if err != nil {
		return signer.FileKey{}, err
	}
	first := !exists(p.Roots())
	if first {
		if c, err = a.chooseKeeper(p, passphraseFile); err != nil {
			return signer.FileKey{}, err
		}
	}
	if c.Keeper == keeperKeychain {
		v, err := keychain.Get(ctx, c.Account)
		if err != nil {
			return signer.FileKey{}, explain(err)
		}
		return signer.RandomKey(v)
	}
	v, err := a.passphrase(ctx, passphraseFile, first)
	if err != nil {
		return signer.FileKey{}, err
	}
	key, err := signer.Passphrase(v)
	return key, explainOrNil(err)
}

// chooseKeeper settles at the first run where the passphrase will live.
func (a *app) chooseKeeper(p local.Paths, passphraseFile string) (custody, error) {
	c := custody{Version: 1, Keeper: keeperPassphrase}
	if passphraseFile == "" {
		err := keychain.Probe()
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
	}
	if c.Keeper == keeperKeychain {
		var id [8]byte
		_, _ = rand.Read(id[:])
		c.Account = hex.EncodeToString(id[:])
		raw := make([]byte, 32)
		_, _ = rand.Read(raw)
		v := secret.New(raw)
		defer v.Clear()
		if err := keychain.Set(context.Background(), c.Account, v); err != nil {
			return c, explain(err)
		}
		fmt.Fprintln(a.stderr, "The roots of your keys are sealed by a passphrase in the OS keychain.")
	}
	data, err := json.Marshal(c)
	if err != nil {
		return c, err
	}
	return c, durable.WriteFile(p.Custody(), append(data, '\n'))
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
		if err == nil && v.IsZero() {
			err = failWith(exitLocked, "empty", fmt.Errorf("the passphrase file %s is empty", file), "put a long passphrase into it")
		}
		return v, err
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
