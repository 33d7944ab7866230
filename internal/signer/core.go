package signer

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/envelope"
	"github.com/litentry/agentkeys/internal/secret"
)

// Core is what every signer derives, wherever its roots are: *Signer has them
// in memory, kmssigner in a cloud KMS. signertest.Conformance is the exam.
// Methods may be called from many goroutines; what they return is the
// caller's own, to clear.
//
// A name that is zero is agentkeys.ErrName, an epoch without a root
// ErrUnknownEpoch, a context that is done its error. Any other error means
// that the roots could not be asked, and that the same call may work later.
type Core interface {
	// Wallet derives the wallet of account at path, the same for ever.
	Wallet(account AccountID, path Path) (agentkeys.Wallet, error)
	// KEK derives the key-encryption key of one credential under one epoch.
	KEK(ctx context.Context, w agentkeys.Wallet, svc agentkeys.Service, epoch uint32) (envelope.KEK, error)
	// ExposeKEK derives the same key as its 32 bytes, to send them to the
	// device they belong to. Nothing else needs it.
	ExposeKEK(ctx context.Context, w agentkeys.Wallet, svc agentkeys.Service, epoch uint32) (secret.Value, error)
	// Epoch is the epoch that new envelopes are sealed under, from 1.
	Epoch() uint32
}

var _ Core = (*Signer)(nil)

// KEKMessage is what the sealing root of an epoch authenticates, with
// HMAC-SHA256, to make the key-encryption key of one credential:
//
//	"agentkeys/v1/kek" ‖ lp(20 wallet bytes) ‖ lp(service)
//
// where lp(x) is a 4-byte big-endian length ‖ x. It is no secret.
func KEKMessage(w agentkeys.Wallet, svc agentkeys.Service) ([]byte, error) {
	if w.IsZero() || svc.IsZero() {
		return nil, fmt.Errorf("%w: a key needs a wallet and a service", agentkeys.ErrName)
	}
	b := w.Bytes()
	m := append([]byte(kekLabel), lp(b[:])...)
	return append(m, lp([]byte(svc.String()))...), nil
}

// Identity is the identity root alone, for a signer whose sealing roots are
// kept elsewhere. Copies share the same bytes. The zero Identity is refused.
type Identity struct {
	_ [0]func()
	v *secret.Value // see Roots.box
}

// NewIdentity makes an Identity of exactly 32 bytes and takes ownership of
// root, which is cleared if it is refused. All zeros are a buffer that nobody
// filled.
func NewIdentity(root []byte) (Identity, error) {
	if !filled(root) {
		clear(root)
		return Identity{}, fmt.Errorf("an identity root is %d random bytes", rootSize)
	}
	v := secret.New(root)
	return Identity{v: &v}, nil
}

// Wallet derives the wallet of account at path, the same for ever.
func (i Identity) Wallet(account AccountID, path Path) (agentkeys.Wallet, error) {
	if account.IsZero() || path.IsZero() {
		return agentkeys.Wallet{}, fmt.Errorf("%w: a wallet needs an account and a path", agentkeys.ErrName)
	}
	if i.isZero() {
		return agentkeys.Wallet{}, errZeroRoots
	}
	return walletOf(*i.v, account, path)
}

// LogSeed derives the seed of the audit log of account as Signer.LogSeed does.
func (i Identity) LogSeed(account AccountID) (secret.Value, error) {
	if account.IsZero() {
		return secret.Value{}, fmt.Errorf("%w: a log needs an account", agentkeys.ErrName)
	}
	if i.isZero() {
		return secret.Value{}, errZeroRoots
	}
	return logSeedOf(*i.v, account)
}

// Clear overwrites the root in every copy of i, which is then refused.
func (i Identity) Clear() {
	if i.v != nil {
		i.v.Clear()
	}
}

func (i Identity) isZero() bool { return i.v == nil || i.v.IsZero() }

// Format implements fmt.Formatter for every verb.
func (i Identity) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, secret.Redaction) }

// LogValue implements slog.LogValuer.
func (i Identity) LogValue() slog.Value { return slog.StringValue(secret.Redaction) }

// MarshalJSON fails with secret.ErrMarshal.
func (i Identity) MarshalJSON() ([]byte, error) { return nil, secret.ErrMarshal }
