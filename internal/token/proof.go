package token

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	josejson "github.com/go-jose/go-jose/v4/json"
)

// ErrProof is wrapped by every refusal of a DPoP proof, with the reason.
var ErrProof = errors.New("invalid proof")

// Proof is what a DPoP proof (RFC 9449) says: that Key made this very request,
// about now. It holds for one request: the caller remembers ID for
// 2 × ProofWindow, with Key, and refuses it a second time.
type Proof struct {
	ID     string
	Key    Thumbprint
	Issued time.Time
}

// proofHeader is the whole header of a proof.
type proofHeader struct {
	Typ string `json:"typ"`
	Alg string `json:"alg"`
	JWK ecJWK  `json:"jwk"`
}

// ecJWK is a public key. There is no d: a private key in a header is refused
// as an unknown member.
type ecJWK struct {
	Kty string `json:"kty"`
	Crv string `json:"crv"`
	X   string `json:"x"`
	Y   string `json:"y"`
}

// UnmarshalJSON implements json.Unmarshaler.
func (k *ecJWK) UnmarshalJSON(b []byte) error {
	type plain ecJWK
	return strict(b, (*plain)(k))
}

func (k *ecJWK) public() (*ecdsa.PublicKey, Thumbprint, error) {
	x, errX := base64.RawURLEncoding.Strict().DecodeString(k.X)
	y, errY := base64.RawURLEncoding.Strict().DecodeString(k.Y)
	if k.Kty != "EC" || k.Crv != "P-256" || errX != nil || errY != nil || len(x) != 32 || len(y) != 32 || !isBase64URL(k.X+k.Y) {
		return nil, Thumbprint{}, errPublicKey
	}
	point := append(append([]byte{4}, x...), y...)
	pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		return nil, Thumbprint{}, errPublicKey
	}
	return pub, ecThumbprint(point), nil
}

// proofClaims are those of RFC 9449 section 4.2. Others are allowed and
// ignored, as the RFC has it.
type proofClaims struct {
	Jti string `json:"jti"`
	Htm string `json:"htm"`
	Htu string `json:"htu"`
	Iat int64  `json:"iat"`
	Ath string `json:"ath,omitempty"`
}

// NewProof signs a proof for one request. accessToken is what the request
// carries, or "".
func NewProof(key *ecdsa.PrivateKey, method, url, accessToken string, now time.Time) (string, error) {
	if key == nil || key.Curve != elliptic.P256() {
		return "", fmt.Errorf("proof: %w", errPublicKey)
	}
	htu, err := normalise(url)
	if err != nil {
		return "", fmt.Errorf("proof: %w", err)
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{EmbedJWK: true}).WithType(typProof))
	if err != nil {
		return "", fmt.Errorf("proof: %w", err)
	}
	payload, err := json.Marshal(proofClaims{NewID(), method, htu, now.Unix(), hashOf(accessToken)})
	if err != nil {
		return "", fmt.Errorf("proof: %w", err)
	}
	jws, err := s.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("proof: %w", err)
	}
	return jws.CompactSerialize()
}

// VerifyProof verifies a proof for the request that came: its method, its URL
// by the server's own configuration, and the access token it carries, or "".
// Errors wrap ErrProof.
func VerifyProof(raw, method, url, accessToken string, now time.Time) (Proof, error) {
	p, err := verifyProof(raw, method, url, accessToken, now)
	if err != nil {
		return Proof{}, fmt.Errorf("%w: %w", ErrProof, err)
	}
	return p, nil
}

func verifyProof(raw, method, url, accessToken string, now time.Time) (Proof, error) {
	parts, err := split(raw)
	if err != nil {
		return Proof{}, err
	}
	var h proofHeader
	if err := strict(parts[0], &h); err != nil {
		return Proof{}, fmt.Errorf("header: %w", err)
	}
	if h.Typ != typProof {
		return Proof{}, errors.New("made for another purpose")
	}
	if h.Alg != string(ES256) {
		return Proof{}, errors.New("the algorithm is ES256")
	}
	pub, thumb, err := h.JWK.public()
	if err != nil {
		return Proof{}, err
	}
	if err := verify(raw, ES256, pub); err != nil {
		return Proof{}, err
	}
	var c proofClaims
	if josejson.Unmarshal(parts[1], &c) != nil {
		return Proof{}, errMembers
	}
	return Proof{c.Jti, thumb, unix(c.Iat)}, c.check(method, url, accessToken, now)
}

func (c *proofClaims) check(method, url, accessToken string, now time.Time) error {
	want, err := normalise(url)
	if err != nil {
		return err
	}
	got, err := normalise(c.Htu)
	if err != nil {
		return errors.New("malformed htu")
	}
	switch {
	case !isIdentifier(c.Jti):
		return errIdentifier
	case method == "" || c.Htm != method:
		return errors.New("made for another method")
	case got != want:
		return errors.New("made for another URL")
	case !saneTime(c.Iat):
		return errors.New("iat is missing")
	case now.Sub(unix(c.Iat)).Abs() > ProofWindow:
		return fmt.Errorf("iat is more than %v from now: set the clock of the device", ProofWindow)
	case subtle.ConstantTimeCompare([]byte(c.Ath), []byte(hashOf(accessToken))) != 1:
		return errors.New("made for another access token")
	}
	return nil
}

// hashOf is ath, "" without a token.
func hashOf(accessToken string) string {
	if accessToken == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(accessToken))
	return b64(sum[:])
}

// normalise applies the syntax- and scheme-based normalisation of RFC 3986
// section 6.2 as far as it cannot change the meaning: case of scheme, host and
// escapes, the default port, the empty path. Query and fragment go (RFC 9449
// section 4.3).
func normalise(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil || u.Opaque != "" || u.User != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http" {
		return "", errors.New("the URL is not an absolute one of http or https")
	}
	host := strings.ToLower(u.Host)
	port := map[string]string{"https": ":443", "http": ":80"}[u.Scheme]
	host = strings.TrimSuffix(strings.TrimSuffix(host, port), ":")
	path := []byte(u.EscapedPath())
	if len(path) == 0 {
		path = []byte("/")
	}
	for i := 0; i+2 < len(path); i++ {
		if path[i] == '%' {
			copy(path[i+1:], strings.ToUpper(string(path[i+1:i+3])))
		}
	}
	return u.Scheme + "://" + host + string(path), nil
}
