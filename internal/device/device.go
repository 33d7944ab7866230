// Package device owns the key by which a broker knows this device: an ECDSA
// key on P-256, made of 32 random bytes that stay in one place which its user
// chose. It must not depend on a network, nor know what is signed with the key.
//
// Laws:
//   - The place is the one that was named. Where it cannot be used that is an
//     error which names the others, and never another place.
//   - A key that is there is never overwritten.
//   - No error and no format shows the bytes.
package device

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"

	"github.com/litentry/agentkeys/internal/secret"
)

// SeedSize is the length in bytes of what a key is made of.
const SeedSize = 32

var (
	// ErrSeed: these bytes are not a seed.
	ErrSeed = errors.New("not the seed of a device key")
	// ErrNotFound: there is no device key in the place where it was put.
	ErrNotFound = errors.New("the device key is gone")
	// ErrExists: there is a device key, or something else, in the place already.
	ErrExists = errors.New("there is a device key already")
	// ErrExposed: others can read or replace the file of the key.
	ErrExposed = errors.New("the file of the device key is open to others")
	// ErrNoKeychain: the key would be kept in a keychain, and there is none that
	// works. It wraps the keychain's error.
	ErrNoKeychain = errors.New("the OS keychain cannot keep the device key")
)

// Key is a device's key. The zero Key is none.
type Key struct {
	seed secret.Value
	ec   *ecdsa.PrivateKey
}

// New makes a key that is nowhere but in memory.
func New() Key {
	b := make([]byte, SeedSize)
	_, _ = rand.Read(b) // never fails: it crashes the program instead
	k, err := FromSeed(secret.New(b))
	if err != nil {
		panic(err) // 32 bytes are a seed
	}
	return k
}

// FromSeed derives the key of a seed, which it owns from then on:
//
//	private key = HKDF-SHA256(seed, salt "agentkeys/v1/device", info "p256"), 48 bytes,
//	              as a big-endian number mod (n-1), plus 1
//
// 48 bytes make the bias negligible (FIPS 186-5, A.2.1).
func FromSeed(seed secret.Value) (Key, error) {
	if seed.Len() != SeedSize {
		seed.Clear()
		return Key{}, ErrSeed
	}
	wide, err := hkdf.Key(sha256.New, seed.Expose(), []byte(salt), "p256", 48)
	if err != nil {
		return Key{}, err
	}
	defer clear(wide)
	less := new(big.Int).Sub(elliptic.P256().Params().N, big.NewInt(1))
	d := new(big.Int).SetBytes(wide)
	d.Mod(d, less).Add(d, big.NewInt(1))
	raw := d.FillBytes(make([]byte, 32))
	defer clear(raw)
	ec, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), raw)
	if err != nil {
		return Key{}, fmt.Errorf("deriving the device key: %w", err)
	}
	return Key{seed, ec}, nil
}

const salt = "agentkeys/v1/device"

// IsZero reports whether k is no key.
func (k Key) IsZero() bool { return k.ec == nil }

// Private is the key itself: it signs DPoP proofs, and handshakes with the
// signer.
func (k Key) Private() *ecdsa.PrivateKey { return k.ec }

// Seed is a copy of what the key is made of, for the process that will use it.
// The caller clears it.
func (k Key) Seed() secret.Value { return k.seed.Clone() }

// LogSeed derives the Ed25519 seed of the key that signs this device's audit
// log: HKDF-SHA256(seed, salt as above, info "audit log"), 32 bytes. The caller
// clears it.
func (k Key) LogSeed() (secret.Value, error) {
	if k.IsZero() {
		return secret.Value{}, ErrSeed
	}
	b, err := hkdf.Key(sha256.New, k.seed.Expose(), []byte(salt), "audit log", 32)
	return secret.New(b), err
}

// Clear clears the seed. The key in the form of crypto/ecdsa cannot be cleared:
// accepted.
func (k Key) Clear() { k.seed.Clear() }

// Format keeps every verb from printing the key.
func (k Key) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(secret.Redaction)) }
