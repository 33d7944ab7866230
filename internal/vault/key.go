package vault

import (
	"fmt"
	"strings"

	"github.com/litentry/agentkeys"
)

const (
	keyRoot = "bots/"
	keyDir  = "/credentials/"
	keyExt  = ".enc"
)

// Key names the object of one credential:
//
//	bots/<wallet>/credentials/<service>.enc
//
// It can be made only of a wallet and a service, which hold neither slash nor
// dot, so no Key leaves its wallet's prefix. It is comparable; the zero Key is
// refused everywhere.
type Key struct {
	wallet  agentkeys.Wallet
	service agentkeys.Service
}

// CredentialKey returns the key of a credential; the zero Key if either name
// is zero.
func CredentialKey(w agentkeys.Wallet, s agentkeys.Service) Key {
	if w.IsZero() || s.IsZero() {
		return Key{}
	}
	return Key{w, s}
}

// ParseKey parses a key that a store listed. It accepts what String returns
// and nothing else. Errors wrap agentkeys.ErrName.
func ParseKey(s string) (Key, error) {
	rest, root := strings.CutPrefix(s, keyRoot)
	wallet, rest, dir := strings.Cut(rest, keyDir)
	service, ext := strings.CutSuffix(rest, keyExt)
	if !root || !dir || !ext {
		return Key{}, fmt.Errorf("%w: a key is bots/<wallet>/credentials/<service>.enc", agentkeys.ErrName)
	}
	w, err := agentkeys.ParseWallet(wallet)
	if err != nil {
		return Key{}, err
	}
	svc, err := agentkeys.ParseService(service)
	if err != nil {
		return Key{}, err
	}
	return Key{w, svc}, nil
}

// Wallet is whose prefix the key is under.
func (k Key) Wallet() agentkeys.Wallet { return k.wallet }

// Service is what the credential is for.
func (k Key) Service() agentkeys.Service { return k.service }

// IsZero reports whether k is the invalid zero value.
func (k Key) IsZero() bool { return k == Key{} }

// String returns the text form, "" for the zero Key.
func (k Key) String() string {
	if k.IsZero() {
		return ""
	}
	return CredentialPrefix(k.wallet).String() + k.service.String() + keyExt
}

// Prefix names all credentials of one wallet: bots/<wallet>/credentials/. The
// zero Prefix, which would be everybody's, is refused everywhere.
type Prefix struct{ wallet agentkeys.Wallet }

// CredentialPrefix returns the prefix of a wallet's credentials.
func CredentialPrefix(w agentkeys.Wallet) Prefix { return Prefix{w} }

// Wallet is whose prefix it is.
func (p Prefix) Wallet() agentkeys.Wallet { return p.wallet }

// IsZero reports whether p is the invalid zero value.
func (p Prefix) IsZero() bool { return p.wallet.IsZero() }

// String returns the text form with its final slash, "" for the zero Prefix.
func (p Prefix) String() string {
	if p.IsZero() {
		return ""
	}
	return keyRoot + p.wallet.String() + keyDir
}

// Check refuses, with ErrInvalid, the arguments that no backend may accept in
// a List.
func (p Prefix) Check(after Key, limit int) error {
	if p.IsZero() || limit < 1 || limit > MaxPage || !after.IsZero() && after.wallet != p.wallet {
		return ErrInvalid
	}
	return nil
}
