package envelope

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"

	"github.com/litentry/agentkeys/internal/secret"
)

const (
	kekSize   = 32
	info      = "agentkeys/v1/envelope"
	keySize   = 32
	nonceSize = 12
)

// KEK is the key-encryption key of one (wallet, service, epoch). It seals and
// opens and does nothing else: it cannot be read, printed, marshalled or
// compared with ==. Copies share the same bytes. The zero KEK is refused.
type KEK struct {
	_ [0]func()
	// A pointer to a Value, which points to the bytes: for a verb that does not
	// suit a pointer, such as %s, fmt follows one, also in an unexported field
	// of somebody's struct, where it calls no method. It does not follow two.
	v *secret.Value
}

// NewKEK makes a KEK of exactly 32 bytes and takes ownership of b: the caller
// must not keep it, and b is cleared if it is refused. All zeros are ErrZero:
// they are a buffer that nobody filled.
func NewKEK(b []byte) (KEK, error) {
	if len(b) != kekSize {
		clear(b)
		return KEK{}, fmt.Errorf("a key-encryption key is %d bytes, not %d", kekSize, len(b))
	}
	var or byte
	for _, c := range b {
		or |= c
	}
	if or == 0 {
		return KEK{}, ErrZero
	}
	v := secret.New(b)
	return KEK{v: &v}, nil
}

// Clear overwrites the key in every copy of k, which is then refused.
func (k KEK) Clear() {
	if k.v != nil {
		k.v.Clear()
	}
}

func (k KEK) isZero() bool { return k.v == nil || k.v.IsZero() }

// Format implements fmt.Formatter for every verb.
func (k KEK) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, secret.Redaction) }

// String implements fmt.Stringer.
func (k KEK) String() string { return secret.Redaction }

// GoString implements fmt.GoStringer.
func (k KEK) GoString() string { return secret.Redaction }

// LogValue implements slog.LogValuer.
func (k KEK) LogValue() slog.Value { return slog.StringValue(secret.Redaction) }

// MarshalJSON fails with secret.ErrMarshal.
func (k KEK) MarshalJSON() ([]byte, error) { return nil, secret.ErrMarshal }

// MarshalText fails with secret.ErrMarshal.
func (k KEK) MarshalText() ([]byte, error) { return nil, secret.ErrMarshal }

// MarshalBinary fails with secret.ErrMarshal.
func (k KEK) MarshalBinary() ([]byte, error) { return nil, secret.ErrMarshal }

// MarshalYAML fails with secret.ErrMarshal.
func (k KEK) MarshalYAML() (any, error) { return nil, secret.ErrMarshal }

// GobEncode fails with secret.ErrMarshal.
func (k KEK) GobEncode() ([]byte, error) { return nil, secret.ErrMarshal }

// derived is message key ‖ commitment ‖ nonce. The copies that HKDF and AES
// make inside the standard library cannot be cleared from here: accepted.
type derived []byte

func (d derived) message() []byte    { return d[:keySize] }
func (d derived) commitment() []byte { return d[keySize : keySize+commitmentSize] }
func (d derived) nonce() []byte      { return d[keySize+commitmentSize:] }
func (d derived) clear()             { clear(d) }

func derive(kek KEK, salt []byte) (derived, error) {
	return hkdfSHA256(kek.v.Expose(), salt, info, keySize+commitmentSize+nonceSize)
}

// hkdfSHA256 is RFC 5869 extract and expand.
func hkdfSHA256(key, salt []byte, info string, n int) ([]byte, error) {
	return hkdf.Key(sha256.New, key, salt, info, n)
}

// newAEAD returns AES-256-GCM with a 12-byte nonce and a 16-byte tag. Shorter
// AES keys are refused, which crypto/aes would take for AES-128 or AES-192.
func newAEAD(key []byte) (cipher.AEAD, error) {
	if len(key) != keySize {
		return nil, fmt.Errorf("an AES-256 key is %d bytes, not %d", keySize, len(key))
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
