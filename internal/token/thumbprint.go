package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"math/big"
)

var (
	errThumbprint = errors.New("a thumbprint is 43 characters of unpadded base64url")
	errPublicKey  = errors.New("a device key is an ECDSA key on P-256")
)

// Thumbprint names a public key: SHA-256 over the canonical JWK of RFC 7638.
// The zero Thumbprint names none.
type Thumbprint [sha256.Size]byte

// ThumbprintOf returns the thumbprint of a P-256 key; others are refused.
func ThumbprintOf(pub crypto.PublicKey) (Thumbprint, error) {
	k, ok := pub.(*ecdsa.PublicKey)
	if !ok || k == nil || k.Curve != elliptic.P256() {
		return Thumbprint{}, errPublicKey
	}
	point, err := k.Bytes() // 4, x, y; refuses what is not on the curve
	if err != nil {
		return Thumbprint{}, errPublicKey
	}
	return ecThumbprint(point), nil
}

// ecThumbprint takes an uncompressed point.
func ecThumbprint(point []byte) Thumbprint {
	return sha256.Sum256([]byte(`{"crv":"P-256","kty":"EC","x":"` + b64(point[1:33]) + `","y":"` + b64(point[33:]) + `"}`))
}

func rsaThumbprint(k *rsa.PublicKey) Thumbprint {
	e := big.NewInt(int64(k.E)).Bytes()
	return sha256.Sum256([]byte(`{"e":"` + b64(e) + `","kty":"RSA","n":"` + b64(k.N.Bytes()) + `"}`))
}

// ParseThumbprint parses the canonical base64url form.
func ParseThumbprint(s string) (Thumbprint, error) {
	var t Thumbprint
	if len(s) != 43 || !isBase64URL(s) {
		return t, errThumbprint
	}
	n, err := base64.RawURLEncoding.Strict().Decode(t[:], []byte(s))
	if err != nil || n != len(t) || t.IsZero() {
		return Thumbprint{}, errThumbprint
	}
	return t, nil
}

// IsZero reports whether t names no key.
func (t Thumbprint) IsZero() bool { return t == Thumbprint{} }

// String returns the base64url form, or "" for the zero value.
func (t Thumbprint) String() string {
	if t.IsZero() {
		return ""
	}
	return b64(t[:])
}

// MarshalText implements encoding.TextMarshaler.
func (t Thumbprint) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (t *Thumbprint) UnmarshalText(b []byte) (err error) {
	*t, err = ParseThumbprint(string(b))
	return err
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
