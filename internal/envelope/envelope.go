// Package envelope owns the bytes of a stored credential: how a record is
// sealed under a key-encryption key and opened again. It is pure: no clock, no
// network, no file, and crypto/rand is its only input besides its arguments.
// It depends on the standard library, the nouns and internal/secret, and must
// not learn where a key comes from or where an envelope is kept.
//
// Laws: a ciphertext is bound to everything that names it (wallet, service,
// epoch, revision); nothing is decrypted before the key has been shown to be
// the one that sealed it; a record has exactly one encoding.
package envelope

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"errors"
)

// What Open, ParseHeader and Seal refuse. On any of them no part of a record
// is returned, and no message quotes what was read.
var (
	// ErrTruncated: too short to be an envelope. A cut that leaves enough
	// bytes is ErrDecrypt.
	ErrTruncated = errors.New("envelope is truncated")
	// ErrVersion: the first byte is not a version this program knows.
	ErrVersion = errors.New("unknown envelope version")
	// ErrTooLarge: more than MaxPlaintext, or a sealed form that must hold more.
	ErrTooLarge = errors.New("envelope is too large")
	// ErrZero: a zero key, wallet, service, epoch or revision. Each names
	// nothing, so nothing may be bound to it.
	ErrZero = errors.New("zero key, wallet, service, epoch or revision")
	// ErrCommitment: sealed under another key, which a KEK for another wallet,
	// service or epoch is; or its salt or commitment was changed. Found before
	// any decryption.
	ErrCommitment = errors.New("envelope is not sealed under this key")
	// ErrDecrypt: the right key, but the header, the name or the ciphertext is
	// not the one that was sealed.
	ErrDecrypt = errors.New("envelope was altered or belongs to another name")
	// ErrRecord: authentic, but not the one encoding of a valid record; from
	// Seal, a record that has no encoding.
	ErrRecord = errors.New("malformed credential record")
)

// Seal encrypts r under kek, bound to name and h, with a fresh salt. It keeps
// neither kek nor r. Refusals: ErrZero, ErrRecord, ErrTooLarge.
func Seal(kek KEK, name Name, h Header, r Record) ([]byte, error) {
	var salt [saltSize]byte
	_, _ = rand.Read(salt[:]) // never fails: it crashes the program instead
	return seal(kek, name, h, r, salt)
}

// seal is Seal with the salt given. Two records under one key and salt would
// share a GCM nonce, so only Seal and the test vectors call it.
func seal(kek KEK, name Name, h Header, r Record, salt [saltSize]byte) ([]byte, error) {
	if err := check(kek, name, h); err != nil {
		return nil, err
	}
	t, err := r.text()
	if err != nil {
		return nil, err
	}
	n := t.size()
	if n > MaxPlaintext {
		return nil, ErrTooLarge
	}
	// The record is written where its ciphertext will stand and encrypted in
	// place: no copy of it is left to clear.
	sealed := make([]byte, headerSize+n, headerSize+n+tagSize)
	t.put(sealed[headerSize:])
	out, err := sealPadded(kek, name, h, sealed, salt)
	if err != nil {
		clear(sealed)
		return nil, err
	}
	return out, nil
}

// sealPadded fills in the header of sealed and encrypts what follows it.
func sealPadded(kek KEK, name Name, h Header, sealed []byte, salt [saltSize]byte) ([]byte, error) {
	k, err := derive(kek, salt[:])
	if err != nil {
		return nil, err
	}
	defer k.clear()
	sealed[0] = version
	binary.BigEndian.PutUint32(sealed[1:], h.Epoch)
	binary.BigEndian.PutUint64(sealed[5:], h.Revision)
	copy(sealed[saltAt:], salt[:])
	copy(sealed[commitmentAt:], k.commitment())
	a, err := newAEAD(k.message())
	if err != nil {
		return nil, err
	}
	head := sealed[:headerSize]
	return a.Seal(head, k.nonce(), sealed[headerSize:], associated(head, name)), nil
}

// Open decrypts sealed, which must have been sealed under kek for name. The
// caller clears the record's Secret. Refusals: every error of this package.
func Open(kek KEK, name Name, sealed []byte) (Header, Record, error) {
	u, err := ParseHeader(sealed)
	if err != nil {
		return Header{}, Record{}, err
	}
	h := Header(u) // verified below: nothing returns it before the tag is
	if err := check(kek, name, h); err != nil {
		return Header{}, Record{}, err
	}
	k, err := derive(kek, sealed[saltAt:commitmentAt])
	if err != nil {
		return Header{}, Record{}, err
	}
	defer k.clear()
	head := sealed[:headerSize]
	if subtle.ConstantTimeCompare(k.commitment(), head[commitmentAt:]) != 1 {
		return Header{}, Record{}, ErrCommitment
	}
	a, err := newAEAD(k.message())
	if err != nil {
		return Header{}, Record{}, err
	}
	plaintext, err := a.Open(nil, k.nonce(), sealed[headerSize:], associated(head, name))
	if err != nil {
		return Header{}, Record{}, ErrDecrypt
	}
	defer clear(plaintext)
	r, err := parseRecord(plaintext)
	if err != nil {
		return Header{}, Record{}, err
	}
	return h, r, nil
}

func check(kek KEK, name Name, h Header) error {
	if kek.isZero() || name.Wallet.IsZero() || name.Service.IsZero() || h.Epoch == 0 || h.Revision == 0 {
		return ErrZero
	}
	return nil
}
