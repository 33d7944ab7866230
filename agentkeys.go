// Package agentkeys holds the nouns that every part of AgentKeys shares:
// wallets, agents and services, with how each is parsed and printed. It
// depends on the standard library only.
//
// A noun can be made only by its parser (or from raw bytes), so holding one is
// proof that it is well formed. The zero value of each is invalid, prints as
// the empty string and names nothing; its parser refuses the empty string, so
// in JSON a field that may be zero is tagged omitzero.
package agentkeys

import (
	"encoding/hex"
	"errors"
	"fmt"
)

// ErrName is wrapped by every parse failure in this package. The offending
// input is never part of the message: a person may have pasted a key where a
// name was wanted.
var ErrName = errors.New("malformed name")

// WalletSize is the length of a wallet in bytes.
const WalletSize = 20

// Wallet is an account: the identity that object keys, associated data,
// principal tags and audit entries carry. Its only machine form is "0x" and 40
// lowercase hexadecimal digits.
type Wallet struct {
	b [WalletSize]byte
}

// WalletFrom makes a wallet of its 20 bytes.
func WalletFrom(b [WalletSize]byte) Wallet { return Wallet{b} }

// ParseWallet parses the canonical form. Mixed case is refused here: it is
// accepted only where a person types, see signer.ParseAddress.
func ParseWallet(s string) (Wallet, error) {
	var w Wallet
	if len(s) != 2+2*WalletSize || s[:2] != "0x" {
		return Wallet{}, fmt.Errorf("%w: a wallet is 0x and 40 lowercase hexadecimal digits", ErrName)
	}
	for _, c := range []byte(s[2:]) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return Wallet{}, fmt.Errorf("%w: a wallet is 0x and 40 lowercase hexadecimal digits", ErrName)
		}
	}
	if _, err := hex.Decode(w.b[:], []byte(s[2:])); err != nil {
		return Wallet{}, fmt.Errorf("%w: a wallet is 0x and 40 lowercase hexadecimal digits", ErrName)
	}
	if w.IsZero() {
		return Wallet{}, fmt.Errorf("%w: the zero address is nobody's wallet", ErrName)
	}
	return w, nil
}

// Bytes returns the 20 raw bytes.
func (w Wallet) Bytes() [WalletSize]byte { return w.b }

// IsZero reports whether w is the invalid zero value.
func (w Wallet) IsZero() bool { return w == Wallet{} }

// String returns the canonical lowercase form, or "" for the zero value.
func (w Wallet) String() string {
	if w.IsZero() {
		return ""
	}
	return "0x" + hex.EncodeToString(w.b[:])
}

// MarshalText implements encoding.TextMarshaler.
func (w Wallet) MarshalText() ([]byte, error) { return []byte(w.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler; it accepts what
// ParseWallet accepts.
func (w *Wallet) UnmarshalText(b []byte) (err error) {
	*w, err = ParseWallet(string(b))
	return err
}

// Agent is the label of an agent under its master, [a-z0-9][a-z0-9-]{0,62}.
type Agent struct{ s string }

// ParseAgent parses an agent label.
func ParseAgent(s string) (Agent, error) {
	if !isLabel(s) {
		return Agent{}, fmt.Errorf("%w: an agent label is 1 to 63 of a-z, 0-9 and -, not starting with -", ErrName)
	}
	return Agent{s}, nil
}

// IsZero reports whether a is the invalid zero value.
func (a Agent) IsZero() bool { return a.s == "" }

// String returns the label.
func (a Agent) String() string { return a.s }

// MarshalText implements encoding.TextMarshaler.
func (a Agent) MarshalText() ([]byte, error) { return []byte(a.s), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *Agent) UnmarshalText(b []byte) (err error) {
	*a, err = ParseAgent(string(b))
	return err
}

// Service is a catalogue id such as openrouter or brave-search,
// [a-z0-9][a-z0-9-]{0,62}.
type Service struct{ s string }

// ParseService parses a service id. It does not ask whether the catalogue
// knows it.
func ParseService(s string) (Service, error) {
	if !isLabel(s) {
		return Service{}, fmt.Errorf("%w: a service id is 1 to 63 of a-z, 0-9 and -, not starting with -", ErrName)
	}
	return Service{s}, nil
}

// IsZero reports whether s is the invalid zero value.
func (s Service) IsZero() bool { return s.s == "" }

// String returns the id.
func (s Service) String() string { return s.s }

// MarshalText implements encoding.TextMarshaler.
func (s Service) MarshalText() ([]byte, error) { return []byte(s.s), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Service) UnmarshalText(b []byte) (err error) {
	*s, err = ParseService(string(b))
	return err
}

// Must returns v, or panics if err is not nil. It is for names written in
// source code, never for input.
func Must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func isLabel(s string) bool {
	if len(s) == 0 || len(s) > 63 || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}
