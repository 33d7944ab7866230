package token

import (
	"crypto"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
)

// ErrKeySet is wrapped by every refusal of a JWKS.
var ErrKeySet = errors.New("unusable key set")

// maxKeySet bounds a JWKS in bytes, maxKeys in keys.
const (
	maxKeySet = 256 << 10
	maxKeys   = 64
)

// KeySet are the keys of a JWKS.
type KeySet struct{ keys map[string]setKey }

type setKey struct {
	alg Alg
	pub crypto.PublicKey
}

// ParseJWKS reads the JWKS of an issuer that is known: what Ring.JWKS writes.
// Keys for other purposes or of other algorithms are left out; a set with
// private parts, kids that are no thumbprints, duplicates or no key is refused.
func ParseJWKS(data []byte) (*KeySet, error) {
	refuse := func(why string) (*KeySet, error) { return nil, fmt.Errorf("%w: %s", ErrKeySet, why) }
	if len(data) > maxKeySet {
		return refuse("too large")
	}
	var raw struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if json.Unmarshal(data, &raw) != nil {
		return refuse("not a JWKS")
	}
	if len(raw.Keys) > maxKeys {
		return refuse("too many keys")
	}
	set := &KeySet{keys: map[string]setKey{}}
	for _, r := range raw.Keys {
		var head struct {
			Use string `json:"use"`
			Alg Alg    `json:"alg"`
		}
		if json.Unmarshal(r, &head) != nil {
			return refuse("a key is malformed")
		}
		alg := head.Alg
		if alg != ES256 && alg != RS256 || head.Use != "sig" {
			continue
		}
		var k jose.JSONWebKey
		if k.UnmarshalJSON(r) != nil || !k.Valid() {
			return refuse("a key is malformed")
		}
		if !k.IsPublic() {
			return refuse("it has a private key: whoever published it must replace that key")
		}
		t, err := keyThumbprint(alg, k.Key)
		if err != nil {
			return refuse("a key does not suit its algorithm")
		}
		if k.KeyID != t.String() {
			return refuse("a kid is not the key's thumbprint")
		}
		if _, ok := set.keys[k.KeyID]; ok {
			return refuse("a key is there twice")
		}
		set.keys[k.KeyID] = setKey{alg, k.Key}
	}
	if len(set.keys) == 0 {
		return refuse("no key for ES256 or RS256")
	}
	return set, nil
}

// Key implements Keys.
func (s *KeySet) Key(kid string) (Alg, crypto.PublicKey, bool) {
	if s == nil {
		return "", nil, false
	}
	k, ok := s.keys[kid]
	return k.alg, k.pub, ok
}
