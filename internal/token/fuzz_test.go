package token

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/secret"
)

// FuzzSession: whatever comes, a refusal is ErrToken, and what is believed was
// signed by us.
func FuzzSession(f *testing.F) {
	w := newWorld(f)
	raw := forge(f, `{"alg":"ES256","kid":"`+w.signs.KID()+`","typ":"at+jwt"}`, mustJSON(f, w.claims(typSession)), "ES256", pool().ec[2])
	f.Add(raw)
	f.Add(rfc7515ES256)
	f.Add("..")
	v := w.verifier(typSession)
	c := NewCache(4)
	f.Fuzz(func(t *testing.T, s string) {
		got, err := v.Session(s, w.now)
		if (err == nil) != (s == raw) || err != nil && (!errors.Is(err, ErrToken) || got != Session{}) {
			t.Errorf("%q: %+v, %v", s, got, err)
		}
		if again, err2 := c.Session(v, s, w.now); again != got || (err == nil) != (err2 == nil) {
			t.Errorf("%q: the cache says %v", s, err2)
		}
	})
}

// FuzzClaims: claims of any text, as if their signature held. What is believed
// says one thing: written as an issuer writes it, it is read as the same.
func FuzzClaims(f *testing.F) {
	w := newWorld(f)
	for _, typ := range purposes {
		f.Add([]byte(mustJSON(f, w.claims(typ))))
	}
	f.Fuzz(func(t *testing.T, claims []byte) {
		registered := func(issued, expires time.Time) registered {
			return registered{Iss: origin, Iat: issued.Unix(), Nbf: issued.Unix(), Exp: expires.Unix()}
		}
		if s, err := w.verifier(typSession).readSession(claims, w.now); err == nil {
			text := mustJSON(t, s.claims(registered(s.Issued, s.Expires), origin))
			if again, err := w.verifier(typSession).readSession([]byte(text), w.now); err != nil || again != s {
				t.Errorf("%s: %+v, then %+v, %v", claims, s, again, err)
			}
		}
		if a, err := w.verifier(typAccess).readAccess(claims, w.now); err == nil {
			text := mustJSON(t, a.claims(registered(a.Issued, a.Expires)))
			if again, err := w.verifier(typAccess).readAccess([]byte(text), w.now); err != nil || again != a {
				t.Errorf("%s: %+v, then %+v, %v", claims, a, again, err)
			}
		}
		if d, err := w.verifier(typIdentity).readIdentity(claims, w.now); err == nil {
			text := mustJSON(t, d.claims(registered(d.Issued, d.Expires)))
			if again, err := w.verifier(typIdentity).readIdentity([]byte(text), w.now); err != nil || again != d {
				t.Errorf("%s: %+v, then %+v, %v", claims, d, again, err)
			}
		}
	})
}

// FuzzProof: a refusal is ErrProof, whatever the proof and the URL.
func FuzzProof(f *testing.F) {
	w := newWorld(f)
	f.Add([]byte(`{"typ":"dpop+jwt","alg":"ES256","jwk":`+w.jwk()+`}`), []byte(mustJSON(f, w.proofClaims(""))), tokenURL)
	f.Fuzz(func(t *testing.T, header, claims []byte, url string) {
		p, err := VerifyProof(forge(t, string(header), string(claims), "ES256", w.device), "POST", url, "", w.now)
		if err == nil && p.Key != w.thumb || err != nil && (!errors.Is(err, ErrProof) || p != Proof{}) {
			t.Errorf("%+v, %v", p, err)
		}
		if n, err := normalise(url); err == nil {
			if again, err := normalise(n); err != nil || again != n {
				t.Errorf("%q becomes %q, then %q, %v", url, n, again, err)
			}
		}
	})
}

// FuzzJWKS: what is read can be written by nobody else but an issuer of ours:
// every kid is its key's thumbprint.
func FuzzJWKS(f *testing.F) {
	w := newWorld(f)
	jwks, err := w.ring.JWKS(w.now)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(jwks)
	f.Add([]byte(`{"keys":[` + rfc7638RSA + `]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		set, err := ParseJWKS(data)
		if err != nil {
			if !errors.Is(err, ErrKeySet) || set != nil {
				t.Errorf("%v", err)
			}
			return
		}
		for kid, k := range set.keys {
			if got, err := keyThumbprint(k.alg, k.pub); err != nil || got.String() != kid {
				t.Errorf("%s: %v, %v", kid, got, err)
			}
		}
	})
}

// FuzzKey: a key file has one encoding.
func FuzzKey(f *testing.F) {
	w := newWorld(f)
	for _, k := range []Key{w.signs, w.rsa1} {
		v, err := k.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(bytes.Clone(v.Expose()))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		k, err := ParseKey(secret.New(bytes.Clone(data)))
		if err != nil {
			if !errors.Is(err, ErrKey) {
				t.Error(err)
			}
			return
		}
		again, err := k.Marshal()
		if err != nil || !bytes.Equal(again.Expose(), data) {
			t.Errorf("%q becomes another: %v", data, err)
		}
	})
}

// FuzzThumbprint: one encoding.
func FuzzThumbprint(f *testing.F) {
	f.Add(rfc9449Thumbprint)
	f.Fuzz(func(t *testing.T, s string) {
		if got, err := ParseThumbprint(s); err == nil && got.String() != s {
			t.Errorf("%q becomes %q", s, got)
		}
	})
}
