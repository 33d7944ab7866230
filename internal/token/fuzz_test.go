package token

import (
	"bytes"
	"errors"
	"testing"

	"github.com/litentry/agentkeys/internal/secret"
)

// FuzzSession: whatever comes, a refusal is ErrToken, and what is believed was
// signed by us.
func FuzzSession(f *testing.F) {
	w := newWorld(f)
	raw, err := w.issuer().Session(w.session(Agent), w.now)
	if err != nil {
		f.Fatal(err)
	}
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

// FuzzClaims: signed claims of any text. What is believed says one thing, and
// issued again it says the same.
func FuzzClaims(f *testing.F) {
	w := newWorld(f)
	for _, typ := range purposes {
		f.Add([]byte(mustJSON(f, w.claims(typ))))
	}
	f.Fuzz(func(t *testing.T, claims []byte) {
		for _, typ := range purposes {
			raw := forge(t, `{"alg":"ES256","kid":"`+w.signs.KID()+`","typ":"`+typ+`"}`, string(claims), "ES256", pool().ec[2])
			v := w.verifier(typ)
			var again string
			var err error
			switch typ {
			case typSession:
				var s Session
				if s, err = v.Session(raw, w.now); err == nil {
					again, err = w.issuer().Session(s, s.Issued)
				}
			case typAccess:
				var a Access
				if a, err = v.Access(raw, w.now); err == nil {
					again, err = w.issuer().Access(a, a.Issued)
				}
			case typIdentity:
				var d Identity
				if d, err = v.Identity(raw, w.now); err == nil {
					again, err = w.issuer().Identity(d, ES256, d.Issued)
				}
			}
			if errors.Is(err, ErrIssue) {
				t.Errorf("%s: believed, and would not be issued: %v", claims, err)
			} else if err == nil {
				if err := verifyAs(v, typ, again, w.now); err != nil {
					t.Errorf("%s: issued again, and refused: %v", claims, err)
				}
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
