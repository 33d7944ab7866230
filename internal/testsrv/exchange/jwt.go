package exchange

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strings"
	"sync"
)

// claims are those that a service looks at.
type claims struct {
	Issuer    string   `json:"iss"`
	Subject   string   `json:"sub"`
	Audience  audience `json:"aud"`
	Expires   int64    `json:"exp"`
	NotBefore int64    `json:"nbf"`
	Issued    int64    `json:"iat"`
}

// audience is one or several (RFC 7519 §4.1.3).
type audience []string

// UnmarshalJSON takes both.
func (a *audience) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*a = audience{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(a))
}

// issuerKeys are the keys of an issuer, fetched when a token names one that is
// not known.
type issuerKeys struct {
	client *http.Client

	mu  sync.Mutex
	all map[string]jwk
}

type jwk struct {
	Kid string `json:"kid"`
	Kty string `json:"kty"`
	Alg string `json:"alg"`
	Crv string `json:"crv"`
	X   string `json:"x"`
	Y   string `json:"y"`
	N   string `json:"n"`
	E   string `json:"e"`
}

// verified returns the claims of a token whose signature is by a key that the
// issuer publishes.
func (k *issuerKeys) verified(ctx context.Context, raw, issuer string) (claims, error) {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return claims{}, errors.New("it is no JWT")
	}
	var head struct{ Alg, Kid, Typ string }
	var c claims
	sig, err := base64.RawURLEncoding.Strict().DecodeString(parts[2])
	if err != nil || decode(parts[0], &head) != nil || decode(parts[1], &c) != nil {
		return claims{}, errors.New("it is no JWT")
	}
	if head.Typ != "JWT" && head.Typ != "" {
		return claims{}, errors.New("it is for something else")
	}
	key, err := k.key(ctx, issuer, head.Kid)
	if err != nil {
		return claims{}, err
	}
	if !key.signed(head.Alg, parts[0]+"."+parts[1], sig) {
		return claims{}, errors.New("the signature is not good")
	}
	return c, nil
}

func decode(part string, into any) error {
	data, err := base64.RawURLEncoding.Strict().DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}

func (k *issuerKeys) key(ctx context.Context, issuer, kid string) (jwk, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if key, ok := k.all[kid]; ok {
		return key, nil
	}
	var d struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	if err := k.fetch(ctx, issuer+"/.well-known/openid-configuration", &d); err != nil {
		return jwk{}, err
	}
	if d.Issuer != issuer {
		return jwk{}, errors.New("the issuer calls itself something else")
	}
	var set struct{ Keys []jwk }
	if err := k.fetch(ctx, d.Keys, &set); err != nil {
		return jwk{}, err
	}
	k.all = map[string]jwk{}
	for _, key := range set.Keys {
		k.all[key.Kid] = key
	}
	key, ok := k.all[kid]
	if !ok {
		return jwk{}, errors.New("the issuer does not publish that key")
	}
	return key, nil
}

func (k *issuerKeys) fetch(ctx context.Context, url string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := k.client.Do(req)
	if err != nil {
		return fmt.Errorf("the issuer cannot be reached: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the issuer answered %s", res.Status)
	}
	return json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(into)
}

// signed reports whether sig is good, by the algorithm that the key is for: a
// token does not choose it.
func (j jwk) signed(alg, input string, sig []byte) bool {
	sum := sha256.Sum256([]byte(input))
	number := func(s string) *big.Int {
		b, _ := base64.RawURLEncoding.Strict().DecodeString(s)
		return new(big.Int).SetBytes(b)
	}
	switch {
	case alg == "ES256" && j.Kty == "EC" && j.Crv == "P-256" && (j.Alg == alg || j.Alg == ""):
		point := make([]byte, 65)
		point[0] = 4 // uncompressed
		x, y := number(j.X), number(j.Y)
		if x.BitLen() > 256 || y.BitLen() > 256 || len(sig) != 64 { // RFC 7518 §3.4
			return false
		}
		x.FillBytes(point[1:33])
		y.FillBytes(point[33:])
		pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
		if err != nil { // not on the curve
			return false
		}
		return ecdsa.Verify(pub, sum[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:]))
	case alg == "RS256" && j.Kty == "RSA" && (j.Alg == alg || j.Alg == ""):
		e := number(j.E)
		if !e.IsInt64() {
			return false
		}
		pub := &rsa.PublicKey{N: number(j.N), E: int(e.Int64())}
		return rsa.VerifyPKCS1v15(pub, crypto.SHA256, sum[:], sig) == nil
	}
	return false
}
