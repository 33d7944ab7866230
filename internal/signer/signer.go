// Package signer owns the two roots that everything else is derived from: the
// identity root, which names accounts and never rotates, and the sealing roots
// by epoch, which make key-encryption keys and do rotate. It also owns the file
// they are kept in on a laptop, and how an address is written for people.
//
// It must not learn what is stored, where, or who asks: it depends on no store,
// broker, network or keychain.
//
// Laws: a root leaves this package encrypted, in its file, or through
// EncodeRoots, to another process of this program; there is no call that signs
// what a caller chooses, so no signature can stand in for a key; nothing is
// derived for a name that is zero.
package signer

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/envelope"
	"github.com/litentry/agentkeys/internal/secret"
)

var (
	// ErrUnknownEpoch: this signer has no sealing root of that epoch. It was
	// retired, or the roots are an older copy.
	ErrUnknownEpoch = errors.New("no sealing root of this epoch")
	// ErrForeignRoots: roots that do not continue the installed ones.
	ErrForeignRoots = errors.New("these roots do not continue the installed ones")
)

// Signer derives wallets and keys from the roots it holds. It is safe for
// concurrent use, and prints as a redaction.
type Signer struct {
	mu    sync.RWMutex
	roots Roots
}

// New makes a Signer with a copy of r; the caller still clears r. It panics on
// roots that do not come from NewRoots or OpenFile, with which nothing works.
func New(r Roots) *Signer {
	if r.isZero() {
		panic("signer: New with zero Roots")
	}
	return &Signer{roots: r.clone()}
}

// Install replaces the roots, for a rotation, with a copy of r. It refuses, as
// ErrForeignRoots, another account or identity root, another key under a known
// epoch, and a current epoch that is older: each would orphan what is stored.
func (s *Signer) Install(r Roots) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.roots.continuedBy(r) {
		return ErrForeignRoots
	}
	old := s.roots
	s.roots = r.clone()
	old.Clear()
	return nil
}

// Account is whose roots these are.
func (s *Signer) Account() AccountID {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.roots.Account()
}

// Epoch is the epoch that new envelopes are sealed under.
func (s *Signer) Epoch() uint32 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.roots.Epoch()
}

// Wallet derives the wallet of account at path, the same for ever.
func (s *Signer) Wallet(account AccountID, path Path) (agentkeys.Wallet, error) {
	if account.IsZero() || path.IsZero() {
		return agentkeys.Wallet{}, fmt.Errorf("%w: a wallet needs an account and a path", agentkeys.ErrName)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return walletOf(s.roots.box.identity, account, path)
}

// KEK derives the key-encryption key of one credential under one epoch,
//
//	HMAC-SHA256(sealing root[epoch], KEKMessage(wallet, service))
//
// An HMAC, so that a cloud KMS can hold the root and answer the same question.
// The caller clears it. An epoch without a root is ErrUnknownEpoch.
func (s *Signer) KEK(ctx context.Context, w agentkeys.Wallet, svc agentkeys.Service, epoch uint32) (envelope.KEK, error) {
	v, err := s.ExposeKEK(ctx, w, svc, epoch)
	if err != nil {
		return envelope.KEK{}, err
	}
	return envelope.NewKEK(v.Expose())
}

// ExposeKEK implements Core.
func (s *Signer) ExposeKEK(ctx context.Context, w agentkeys.Wallet, svc agentkeys.Service, epoch uint32) (secret.Value, error) {
	if err := ctx.Err(); err != nil {
		return secret.Value{}, err
	}
	message, err := KEKMessage(w, svc)
	if err != nil {
		return secret.Value{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	root, ok := s.roots.sealing(epoch)
	if !ok {
		return secret.Value{}, fmt.Errorf("%w: %d", ErrUnknownEpoch, epoch)
	}
	m := hmac.New(sha256.New, root.Expose())
	m.Write(message)
	return secret.New(m.Sum(nil)), nil
}

// LogSeed derives the Ed25519 seed (RFC 8032 section 5.1.5, 32 bytes) of the
// key that signs the checkpoints of the audit log of this signer's account:
//
//	HKDF-SHA256(identity root, salt "agentkeys/v1/audit", info lp(account id), 32 bytes)
//
// It hangs on the identity root, because a log's key must outlive every
// rotation. The caller clears it.
func (s *Signer) LogSeed() (secret.Value, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return logSeedOf(s.roots.box.identity, s.roots.Account())
}

// Format implements fmt.Formatter for every verb.
func (s *Signer) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, secret.Redaction) }

// LogValue implements slog.LogValuer.
func (s *Signer) LogValue() slog.Value { return slog.StringValue(secret.Redaction) }

// MarshalJSON fails with secret.ErrMarshal.
func (s *Signer) MarshalJSON() ([]byte, error) { return nil, secret.ErrMarshal }
