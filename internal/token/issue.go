package token

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/litentry/agentkeys"
)

// Issuer signs tokens. It keeps nothing but where its ring is.
type Issuer struct {
	Issuer string       // iss of every token, and aud of sessions: the broker's origin
	Ring   func() *Ring // the keys of this moment; never nil
}

// Session signs a session token. Whoever calls has decided that the device may
// have it.
func (i *Issuer) Session(s Session, now time.Time) (string, error) {
	r, err := i.times(&s.Issued, &s.Expires, now)
	if err == nil {
		err = s.check()
	}
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrIssue, err)
	}
	return i.sign(ES256, typSession, now, s.claims(r, i.Issuer))
}

// Access signs a signer token.
func (i *Issuer) Access(a Access, now time.Time) (string, error) {
	r, err := i.times(&a.Issued, &a.Expires, now)
	if err == nil {
		err = a.check()
	}
	if err == nil && a.Audience == i.Issuer {
		err = errOwnAudience
	}
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrIssue, err)
	}
	return i.sign(ES256, typAccess, now, a.claims(r))
}

// Identity signs a web-identity token. Whoever calls has decided that the
// wallet may have one for that audience.
func (i *Issuer) Identity(id Identity, alg Alg, now time.Time) (string, error) {
	r, err := i.times(&id.Issued, &id.Expires, now)
	if err == nil {
		err = id.check()
	}
	if err == nil && id.Audience == i.Issuer {
		err = errOwnAudience
	}
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrIssue, err)
	}
	return i.sign(alg, typIdentity, now, id.claims(r))
}

var errOwnAudience = errors.New("the issuer itself is the audience of sessions alone")

func (s Session) claims(r registered, aud string) holderClaims {
	r.Sub, r.Aud, r.Jti = s.Account, audience(aud), s.ID
	return holderClaims{r, clientID, newHolder(s.Wallet, s.Role, s.Parent, s.Agent), confirmation{s.Device}}
}

func (a Access) claims(r registered) holderClaims {
	r.Sub, r.Aud, r.Jti = a.Account, audience(a.Audience), a.ID
	return holderClaims{r, clientID, newHolder(a.Wallet, a.Role, a.Parent, a.Agent), confirmation{a.Device}}
}

func (id Identity) claims(r registered) identityClaims {
	r.Sub, r.Aud, r.Jti = subjectPrefix+id.Wallet.String(), audience(id.Audience), id.ID
	return identityClaims{r, id.Wallet, tags{principalTags{[]agentkeys.Wallet{id.Wallet}}, []string{tagKey}}}
}

func newHolder(w agentkeys.Wallet, r Role, parent agentkeys.Wallet, a agentkeys.Agent) holder {
	h := holder{Wallet: w, Role: r}
	if !parent.IsZero() {
		h.Parent, h.Agent = &parent, &a
	}
	return h
}

// times cuts to seconds, which is what a token can say.
func (i *Issuer) times(issued, expires *time.Time, now time.Time) (registered, error) {
	if err := checkAudience(i.Issuer); err != nil {
		return registered{}, fmt.Errorf("no issuer: %w", err)
	}
	if !issued.IsZero() && issued.Unix() != now.Unix() {
		return registered{}, errors.New("a token is issued now")
	}
	*issued, *expires = now.Truncate(time.Second), expires.Truncate(time.Second)
	return registered{Iss: i.Issuer, Iat: issued.Unix(), Nbf: issued.Unix(), Exp: expires.Unix()}, nil
}

func (i *Issuer) sign(alg Alg, typ string, now time.Time, claims any) (string, error) {
	var ring *Ring
	if i.Ring != nil {
		ring = i.Ring()
	}
	k := ring.signing(alg, now)
	if k == nil {
		return "", fmt.Errorf("%w: no key signs with %s now", ErrIssue, alg)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrIssue, err)
	}
	// RFC 7515, section 5.1, with the library's signature: its own way there
	// writes the header anew for each token, twice.
	b64, head := base64.RawURLEncoding, k.heads[typ]
	raw := make([]byte, 0, len(head)+b64.EncodedLen(len(payload))+100)
	raw = b64.AppendEncode(append(append(raw, head...), '.'), payload)
	sig, err := k.signs.SignPayload(raw, jose.SignatureAlgorithm(alg))
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrIssue, err)
	}
	return string(b64.AppendEncode(append(raw, '.'), sig)), nil
}
