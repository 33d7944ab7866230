package token

import (
	"crypto"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/litentry/agentkeys"
)

// Verifier believes one issuer for one audience. Its zero value believes
// nobody.
type Verifier struct {
	Issuer   string
	Audience string // of sessions: the issuer itself
	Keys     Keys   // of that issuer
}

// Session verifies a session token. Errors wrap ErrToken.
func (v Verifier) Session(raw string, now time.Time) (Session, error) {
	s, _, err := v.session(raw, now)
	return s, err
}

func (v Verifier) session(raw string, now time.Time) (s Session, kid string, err error) {
	payload, kid, err := v.open(raw, typSession, now)
	if err == nil {
		s, err = v.readSession(payload, now)
	}
	if err != nil {
		return Session{}, "", refuse(err)
	}
	return s, kid, nil
}

// Access verifies a signer token. Errors wrap ErrToken.
func (v Verifier) Access(raw string, now time.Time) (a Access, err error) {
	payload, _, err := v.open(raw, typAccess, now)
	if err == nil {
		a, err = v.readAccess(payload, now)
	}
	if err != nil {
		return Access{}, refuse(err)
	}
	return a, nil
}

// Identity verifies a web-identity token as a third party should. Errors wrap
// ErrToken.
func (v Verifier) Identity(raw string, now time.Time) (id Identity, err error) {
	payload, _, err := v.open(raw, typIdentity, now)
	if err == nil {
		id, err = v.readIdentity(payload, now)
	}
	if err != nil {
		return Identity{}, refuse(err)
	}
	return id, nil
}

// readSession and those below judge claims whose signature holds. What they
// return beside an error is nothing to use.

func (v Verifier) readSession(payload []byte, now time.Time) (Session, error) {
	var c holderClaims
	if err := v.readHolder(payload, &c, now); err != nil {
		return Session{}, err
	}
	s := Session{c.Jti, c.Sub, c.Keys.Wallet, c.Keys.Role, deref(c.Keys.Parent), deref(c.Keys.Agent), c.Cnf.JKT, unix(c.Iat), unix(c.Exp)}
	return s, s.check()
}

func (v Verifier) readAccess(payload []byte, now time.Time) (Access, error) {
	var c holderClaims
	if err := v.readHolder(payload, &c, now); err != nil {
		return Access{}, err
	}
	a := Access{c.Jti, c.Sub, c.Keys.Wallet, c.Keys.Role, deref(c.Keys.Parent), deref(c.Keys.Agent), c.Cnf.JKT, string(c.Aud), unix(c.Iat), unix(c.Exp)}
	return a, a.check()
}

func (v Verifier) readIdentity(payload []byte, now time.Time) (Identity, error) {
	var c identityClaims
	if err := strict(payload, &c); err != nil {
		return Identity{}, err
	}
	if err := v.claims(&c.registered, now); err != nil {
		return Identity{}, err
	}
	id := Identity{c.Jti, c.Wallet, string(c.Aud), unix(c.Iat), unix(c.Exp)}
	t := c.Tags
	switch {
	case c.Sub != subjectPrefix+id.Wallet.String():
		return id, errors.New("the subject is not the wallet")
	case len(t.Principal.Wallet) != 1 || t.Principal.Wallet[0] != id.Wallet:
		return id, errors.New("the tag is not the wallet")
	case len(t.Transitive) != 1 || t.Transitive[0] != tagKey:
		return id, errors.New("other transitive tags")
	}
	return id, id.check()
}

func (v Verifier) readHolder(payload []byte, c *holderClaims, now time.Time) error {
	if err := strict(payload, c); err != nil {
		return err
	}
	if c.Client != clientID {
		return errors.New("another client")
	}
	return v.claims(&c.registered, now)
}

func refuse(err error) error { return fmt.Errorf("%w: %w", ErrToken, err) }

func unix(s int64) time.Time { return time.Unix(s, 0).UTC() }

func deref[T agentkeys.Wallet | agentkeys.Agent](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

func (v Verifier) claims(r *registered, now time.Time) error {
	switch {
	case v.Issuer == "" || r.Iss != v.Issuer:
		return errors.New("another issuer")
	case v.Audience == "" || string(r.Aud) != v.Audience:
		return errors.New("another audience")
	case !saneTime(r.Iat) || !saneTime(r.Nbf) || !saneTime(r.Exp):
		return errors.New("iat, nbf or exp is missing")
	case r.Nbf != r.Iat:
		return errors.New("nbf is not iat") // nothing here is post-dated
	case !now.Before(unix(r.Exp).Add(Leeway)):
		return errors.New("expired")
	case now.Before(unix(r.Iat).Add(-Leeway)):
		return errors.New("not valid yet")
	}
	return nil
}

// saneTime bounds a NumericDate to years up to 9999.
func saneTime(s int64) bool { return s > 0 && s < 253402300800 }

func (v Verifier) key(kid string, now time.Time) (Alg, crypto.PublicKey, bool) {
	if t, ok := v.Keys.(timed); ok {
		return t.keyAt(kid, now)
	}
	if v.Keys == nil {
		return "", nil, false
	}
	return v.Keys.Key(kid)
}

// open checks form, purpose, key and signature, in this order, and returns the
// claims, which nobody has judged.
func (v Verifier) open(raw, typ string, now time.Time) (payload []byte, kid string, err error) {
	parts, err := split(raw)
	if err != nil {
		return nil, "", err
	}
	var h header
	if err := strict(parts[0], &h); err != nil {
		return nil, "", fmt.Errorf("header: %w", err)
	}
	if h.Typ != typ {
		return nil, "", errors.New("made for another purpose")
	}
	if _, err := ParseThumbprint(h.Kid); err != nil {
		return nil, "", errors.New("malformed kid")
	}
	alg, pub, ok := v.key(h.Kid, now)
	if !ok {
		return nil, "", errors.New("unknown key")
	}
	if h.Alg != string(alg) || alg != ES256 && (alg != RS256 || typ != typIdentity) {
		return nil, "", errors.New("not the algorithm of its key, or not one for this purpose")
	}
	return parts[1], h.Kid, verify(raw, alg, pub)
}

// verify returns why the signature does not hold.
func verify(raw string, alg Alg, pub crypto.PublicKey) error {
	jws, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(alg)})
	if err == nil {
		_, err = jws.Verify(pub)
	}
	if err != nil {
		return errors.New("the signature does not hold")
	}
	return nil
}

// split returns the three decoded parts of a compact JWS. It bounds the size
// and counts the dots before it decodes anything, and takes one encoding only:
// Go's own base64 skips line breaks and ignores trailing bits.
func split(raw string) (parts [3][]byte, err error) {
	if len(raw) > maxToken {
		return parts, errors.New("too large")
	}
	if strings.Count(raw, ".") != 2 {
		return parts, errors.New("not three parts")
	}
	for i, s := range strings.Split(raw, ".") {
		if s == "" || !isBase64URL(s) {
			return parts, errors.New("not base64url")
		}
		if parts[i], err = base64.RawURLEncoding.Strict().DecodeString(s); err != nil {
			return parts, errors.New("not base64url")
		}
	}
	return parts, nil
}
