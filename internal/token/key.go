package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/cryptosigner"

	"github.com/litentry/agentkeys/internal/secret"
)

// Alg is a signature algorithm of RFC 7518. The zero Alg is none, and refused.
type Alg string

// The algorithms. ES256 is the default; RS256 is for audiences that need it
// and costs some twenty times as much.
const (
	ES256 Alg = "ES256"
	RS256 Alg = "RS256"
)

// rsaBits is what NewKey makes; keys of others have from rsaBits to maxRSABits.
const (
	rsaBits    = 2048
	maxRSABits = 4096
)

// ErrKey is wrapped by every refusal of a signing key.
var ErrKey = errors.New("unusable signing key")

// Key is a signing key with the time from which it signs. It is published from
// the moment it is in a Ring. Copies share the key. The zero Key is refused.
type Key struct{ p *key }

type key struct {
	kid  string
	alg  Alg
	from time.Time
	pub  crypto.PublicKey
	// private is nil for a key that stays elsewhere, such as in a KMS.
	private crypto.Signer
	// signs keeps no state, and so is safe for concurrent use.
	signs jose.OpaqueSigner
	// heads are the encoded headers, by typ: they are the same in every token.
	heads map[string]string
}

// NewKey makes a random key that signs from the given time, cut to seconds.
func NewKey(alg Alg, signsFrom time.Time) (Key, error) {
	var (
		s   crypto.Signer
		err error
	)
	switch alg {
	case ES256:
		s, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case RS256:
		s, err = rsa.GenerateKey(rand.Reader, rsaBits)
	default:
		return Key{}, fmt.Errorf("%w: the algorithm is ES256 or RS256", ErrKey)
	}
	if err != nil {
		return Key{}, err
	}
	return KeyFrom(s, alg, signsFrom)
}

// KeyFrom makes a Key of a signer, which may be in a KMS: then it cannot be
// marshalled.
func KeyFrom(s crypto.Signer, alg Alg, signsFrom time.Time) (Key, error) {
	if s == nil {
		return Key{}, fmt.Errorf("%w: none", ErrKey)
	}
	k := &key{alg: alg, from: signsFrom.UTC().Truncate(time.Second), pub: s.Public()}
	if k.from.Unix() <= 0 {
		return Key{}, fmt.Errorf("%w: no time from which it signs", ErrKey)
	}
	t, err := keyThumbprint(alg, k.pub)
	if err != nil {
		return Key{}, err
	}
	k.kid = t.String()
	switch s.(type) {
	case *ecdsa.PrivateKey, *rsa.PrivateKey:
		k.private = s
	}
	k.signs, k.heads = cryptosigner.Opaque(s), map[string]string{}
	for _, typ := range []string{typSession, typAccess, typIdentity} {
		b, err := json.Marshal(header{string(alg), k.kid, typ})
		if err != nil {
			return Key{}, fmt.Errorf("%w: %w", ErrKey, err)
		}
		k.heads[typ] = base64.RawURLEncoding.EncodeToString(b)
	}
	return Key{k}, nil
}

// keyThumbprint refuses keys that do not suit their algorithm.
func keyThumbprint(alg Alg, pub crypto.PublicKey) (Thumbprint, error) {
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		if t, err := ThumbprintOf(k); err == nil && alg == ES256 {
			return t, nil
		}
		return Thumbprint{}, fmt.Errorf("%w: ES256 wants a key on P-256", ErrKey)
	case *rsa.PublicKey:
		if alg == RS256 && k.N != nil && k.N.BitLen() >= rsaBits && k.N.BitLen() <= maxRSABits && k.E == 65537 {
			return rsaThumbprint(k), nil
		}
		return Thumbprint{}, fmt.Errorf("%w: RS256 wants an RSA key of %d to %d bits and exponent 65537", ErrKey, rsaBits, maxRSABits)
	}
	return Thumbprint{}, fmt.Errorf("%w: neither ECDSA nor RSA", ErrKey)
}

// IsZero reports whether k is the invalid zero value.
func (k Key) IsZero() bool { return k.p == nil }

// KID returns the thumbprint of the public key, which names it; "" for the
// zero Key.
func (k Key) KID() string {
	if k.p == nil {
		return ""
	}
	return k.p.kid
}

// Alg returns the algorithm.
func (k Key) Alg() Alg {
	if k.p == nil {
		return ""
	}
	return k.p.alg
}

// SignsFrom returns the time from which k signs, in whole seconds, UTC.
func (k Key) SignsFrom() time.Time {
	if k.p == nil {
		return time.Time{}
	}
	return k.p.from
}

// Format implements fmt.Formatter for every verb: it prints the kid.
func (k Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "key "+k.KID()) }

// LogValue implements slog.LogValuer.
func (k Key) LogValue() slog.Value { return slog.StringValue("key " + k.KID()) }

// MarshalJSON fails with secret.ErrMarshal; Marshal is how a key is written.
func (k Key) MarshalJSON() ([]byte, error) { return nil, secret.ErrMarshal }

// keyJSON is a key at rest, as encoding/json writes it without indentation:
//
//	version     1
//	kid         RFC 7638 thumbprint of the public key
//	alg         ES256 or RS256
//	signs_from  RFC 3339, whole seconds, UTC
//	pkcs8       PKCS #8 DER, standard base64
//
// A reader accepts nothing but that one encoding, so that duplicate, unknown
// or differently cased members cannot mean two things.
type keyJSON struct {
	Version   int    `json:"version"`
	KID       string `json:"kid"`
	Alg       Alg    `json:"alg"`
	SignsFrom string `json:"signs_from"`
	PKCS8     []byte `json:"pkcs8"`
}

// Marshal returns the form that ParseKey reads.
func (k Key) Marshal() (secret.Value, error) {
	if k.p == nil || k.p.private == nil {
		return secret.Value{}, fmt.Errorf("%w: its private part is not here", ErrKey)
	}
	der, err := x509.MarshalPKCS8PrivateKey(k.p.private)
	if err != nil {
		return secret.Value{}, fmt.Errorf("%w: %w", ErrKey, err)
	}
	defer clear(der)
	b, err := json.Marshal(keyJSON{1, k.p.kid, k.p.alg, k.p.from.Format(time.RFC3339), der})
	return secret.New(b), err
}

// ParseKey reads what Marshal returned. Errors never quote the input.
func ParseKey(v secret.Value) (Key, error) {
	damaged := fmt.Errorf("%w: damaged, or not a signing key of this program", ErrKey)
	var f keyJSON
	if v.Len() > maxToken || json.Unmarshal(v.Expose(), &f) != nil || f.Version != 1 {
		return Key{}, damaged
	}
	defer clear(f.PKCS8)
	from, err := time.Parse(time.RFC3339, f.SignsFrom)
	if err != nil {
		return Key{}, damaged
	}
	private, err := x509.ParsePKCS8PrivateKey(f.PKCS8)
	if err != nil {
		return Key{}, damaged
	}
	s, ok := private.(crypto.Signer)
	if !ok {
		return Key{}, damaged
	}
	k, err := KeyFrom(s, f.Alg, from)
	if err != nil {
		return Key{}, err
	}
	again, err := k.Marshal()
	defer again.Clear()
	if err != nil || !again.Equal(v) {
		return Key{}, damaged
	}
	return k, nil
}
