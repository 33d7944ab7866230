package token

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// cell is one value of one dimension, with whether a token that has it may be
// believed if everything else is as it should be.
type cell struct {
	name string
	ok   bool
	// Each dimension uses what it needs.
	claims func(typ string, o object) object
	header func(typ string) (text, alg string, key any)
	at     time.Duration // from iat
}

// signatures: algorithm × key. ok is for web identities; sessions and signer
// tokens take ES256 alone.
func (w *world) signatures(t testing.TB) []cell {
	p := pool()
	pemOf := func(pub any) []byte {
		der, err := x509.MarshalPKIXPublicKey(pub)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	}
	at := func(name string, ok bool, headerAlg, kid, alg string, key any) cell {
		return cell{name: name, ok: ok, header: func(typ string) (string, string, any) {
			return fmt.Sprintf(`{"alg":%q,"kid":%q,"typ":%q}`, headerAlg, kid, typ), alg, key
		}}
	}
	es, rs := w.signs.KID(), w.rsa1.KID()
	return []cell{
		at("ES256", true, "ES256", es, "ES256", p.ec[2]),
		at("RS256", true, "RS256", rs, "RS256", p.rsa[0]),
		at("ES256 by the retired key", true, "ES256", w.retired.KID(), "ES256", p.ec[1]),
		at("ES256 by the next key", true, "ES256", w.future.KID(), "ES256", p.ec[3]),
		at("ES256 by a key that is out", false, "ES256", w.gone.KID(), "ES256", p.ec[0]),
		at("ES256 by a stranger's key", false, "ES256", es, "ES256", p.ec[5]),
		at("ES256 by a stranger's kid", false, "ES256", w.thumb.String(), "ES256", w.device),
		at("RS256 by a stranger's key", false, "RS256", rs, "RS256", p.rsa[1]),
		at("none", false, "none", es, "none", nil),
		at("None", false, "None", es, "none", nil),
		at("none by a good key", false, "none", es, "ES256", p.ec[2]),
		at("es256", false, "es256", es, "ES256", p.ec[2]),
		at("ES256 unsigned", false, "ES256", es, "none", nil),
		at("ES256 named, signed RS256", false, "ES256", rs, "RS256", p.rsa[0]),
		at("RS256 named, signed ES256", false, "RS256", es, "ES256", p.ec[2]),
		at("RS256 under the EC kid", false, "RS256", es, "RS256", p.rsa[0]),
		at("ES256 under the RSA kid", false, "ES256", rs, "ES256", p.ec[2]),
		at("HS256 by the EC public key", false, "HS256", es, "HS256", pemOf(p.ec[2].Public())),
		at("HS256 by the RSA public key", false, "HS256", rs, "HS256", pemOf(p.rsa[0].Public())),
		at("HS256 by the RSA modulus", false, "HS256", rs, "HS256", p.rsa[0].N.Bytes()),
		at("HS256 by the kid", false, "HS256", es, "HS256", []byte(es)),
		at("RS256 named, HS256 by the public key", false, "RS256", rs, "HS256", pemOf(p.rsa[0].Public())),
		at("RS512", false, "RS512", rs, "RS512", p.rsa[0]),
		at("PS256", false, "PS256", rs, "PS256", p.rsa[0]),
		at("ES384", false, "ES384", es, "ES384", p.p384),
		at("ES512", false, "ES512", es, "ES512", p.p521),
		at("EdDSA", false, "EdDSA", es, "EdDSA", p.ed),
		at("kid empty", false, "ES256", "", "ES256", p.ec[2]),
		at("kid a path", false, "ES256", "../../../../dev/null", "ES256", p.ec[2]),
		at("kid an address", false, "ES256", "https://evil.example/jwks.json", "ES256", p.ec[2]),
		at("kid a query", false, "ES256", "x' UNION SELECT 'k", "ES256", p.ec[2]),
	}
}

func set(name string, value any) func(string, object) object {
	return func(_ string, o object) object { return o.with(name, value) }
}

func audiences() []cell {
	on := func(name string, ok bool, f func(good string) any) cell {
		return cell{name: name, ok: ok, claims: func(_ string, o object) object { return o.with("aud", f(o["aud"].(string))) }}
	}
	return []cell{
		on("aud", true, func(s string) any { return s }),
		on("aud in an array", true, func(s string) any { return []string{s} }),
		on("aud twice", false, func(s string) any { return []string{s, s} }),
		on("aud and another", false, func(s string) any { return []string{s, "https://evil.example"} }),
		on("another aud", false, func(string) any { return "https://evil.example" }),
		on("no aud", false, func(string) any { return nil }),
		on("empty aud", false, func(string) any { return "" }),
		on("empty array", false, func(string) any { return []string{} }),
		on("array of null", false, func(string) any { return []any{nil} }),
		on("array of arrays", false, func(s string) any { return []any{[]string{s}} }),
		on("aud a number", false, func(string) any { return 7 }),
		on("aud an object", false, func(s string) any { return object{s: s} }),
		on("aud with a slash", false, func(s string) any { return s + "/" }),
		on("aud in capitals", false, func(s string) any { return strings.ToUpper(s) }),
		on("aud cut", false, func(s string) any { return s[:len(s)-1] }),
		on("aud with a space", false, func(s string) any { return s + " " }),
		on("aud with a NUL", false, func(s string) any { return s + "\x00" }),
	}
}

func issuers() []cell {
	return []cell{
		{name: "iss", ok: true, claims: set("iss", origin)},
		{name: "another iss", claims: set("iss", "https://evil.example")},
		{name: "iss with a slash", claims: set("iss", origin+"/")},
		{name: "iss over http", claims: set("iss", "http://broker.example")},
		{name: "iss with a port", claims: set("iss", origin+":443")},
		{name: "iss in capitals", claims: set("iss", "https://BROKER.example")},
		{name: "iss a subdomain of another", claims: set("iss", origin+".evil.example")},
		{name: "iss in an array", claims: set("iss", []string{origin})},
		{name: "no iss", claims: set("iss", nil)},
		{name: "empty iss", claims: set("iss", "")},
	}
}

// times: the forged token lives 300 s from iat.
func (w *world) times() []cell {
	iat := w.now.Unix()
	return []cell{
		{name: "at iat", ok: true},
		{name: "in the middle", ok: true, at: 150 * time.Second},
		{name: "30 s early", ok: true, at: -30 * time.Second},
		{name: "30.001 s early", at: -30*time.Second - time.Millisecond},
		{name: "a day early", at: -24 * time.Hour},
		{name: "in its last second", ok: true, at: 299 * time.Second},
		{name: "at exp", ok: true, at: 300 * time.Second},
		{name: "29.999 s late", ok: true, at: 330*time.Second - time.Millisecond},
		{name: "30 s late", at: 330 * time.Second},
		{name: "a day late", at: 24 * time.Hour},
		{name: "no iat", claims: set("iat", nil)},
		{name: "no nbf", claims: set("nbf", nil)},
		{name: "no exp", claims: set("exp", nil)},
		{name: "exp zero", claims: set("exp", 0)},
		{name: "exp negative", claims: set("exp", -1)},
		{name: "exp text", claims: set("exp", fmt.Sprint(iat+300))},
		{name: "exp fractional", claims: set("exp", float64(iat)+300.5)},
		{name: "exp huge", claims: set("exp", 1e300)},
		{name: "exp beyond 64 bits", claims: set("exp", uint64(1<<63))},
		{name: "exp before iat", claims: set("exp", iat-1)},
		{name: "exp at iat", claims: set("exp", iat)},
		{name: "nbf after iat", claims: set("nbf", iat+100), at: 200 * time.Second},
		{name: "nbf before iat", claims: set("nbf", iat-100)},
		{name: "lives too long", claims: set("exp", iat+5*3600+1)},
		{name: "lives for ever", claims: set("exp", 253402300799)},
	}
}

var purposes = []string{typSession, typAccess, typIdentity}

type verdicts struct {
	t         *testing.T
	w         *world
	cells, ok int
	forged    map[string]string
}

// judge forges one token and holds the verdict against the expected one.
func (j *verdicts) judge(typ, as string, sig cell, claims object, at time.Duration, want bool, name string) {
	j.t.Helper()
	header, alg, key := sig.header(typ)
	text := mustJSON(j.t, claims)
	raw, ok := j.forged[header+text+sig.name]
	if !ok {
		raw = forge(j.t, header, text, alg, key)
		j.forged[header+text+sig.name] = raw
	}
	err := verifyAs(j.w.verifier(as), as, raw, j.w.now.Add(at))
	j.cells++
	if want {
		j.ok++
	}
	switch {
	case (err == nil) != want:
		j.t.Errorf("%s token at the verifier of %s, %s: %v, want accepted %v", typ, as, name, err, want)
	case err != nil && !errors.Is(err, ErrToken):
		j.t.Errorf("%s: %v is not ErrToken", name, err)
	}
	// The same token a moment later gets the same verdict: refusals and
	// acceptances leave nothing behind.
	if again := verifyAs(j.w.verifier(as), as, raw, j.w.now.Add(at)); (again == nil) != (err == nil) {
		j.t.Errorf("%s: %v the second time", name, again)
	}
}

func sigOK(s cell, typ string) bool {
	return s.ok && (typ == typIdentity || !strings.HasPrefix(s.name, "RS"))
}

// TestMatrix crosses every purpose with every verifier, every signature, and
// some audiences, issuers and times; and, one at a time, every other value of
// those. A token may be believed only if each of its cells is good.
func TestMatrix(t *testing.T) {
	w := newWorld(t)
	j := &verdicts{t: t, w: w, forged: map[string]string{}}
	sigs, auds, isss, times := w.signatures(t), audiences(), issuers(), w.times()
	apply := func(typ string, cells ...cell) object {
		o := w.claims(typ)
		for _, c := range cells {
			if c.claims != nil {
				o = c.claims(typ, o)
			}
		}
		return o
	}
	for _, typ := range purposes {
		for _, as := range purposes {
			for _, sig := range sigs {
				for _, aud := range []cell{auds[0], auds[1], auds[4]} {
					for _, iss := range isss[:2] {
						for _, at := range []cell{times[0], times[5], times[7], times[3], times[8]} {
							want := typ == as && sigOK(sig, typ) && aud.ok && iss.ok && at.ok
							name := strings.Join([]string{sig.name, aud.name, iss.name, at.name}, ", ")
							j.judge(typ, as, sig, apply(typ, aud, iss, at), at.at, want, name)
						}
					}
				}
			}
		}
		for _, list := range [][]cell{auds, isss, times} {
			for _, c := range list {
				for _, sig := range []cell{sigs[0], sigs[1]} {
					j.judge(typ, typ, sig, apply(typ, c), c.at, c.ok && sigOK(sig, typ), sig.name+", "+c.name)
				}
			}
		}
	}
	if j.cells < 5000 || j.ok < 80 {
		t.Errorf("%d cells, %d of them good: too few", j.cells, j.ok)
	}
	t.Logf("%d cells, %d of them good", j.cells, j.ok)
}

// TestVerifierOfOthers: whatever purpose, a verifier for another audience or
// issuer, or one that was not configured, believes nothing.
func TestVerifierOfOthers(t *testing.T) {
	w := newWorld(t)
	for _, typ := range purposes {
		header, alg, key := w.signatures(t)[0].header(typ)
		raw := forge(t, header, mustJSON(t, w.claims(typ)), alg, key)
		good := w.verifier(typ)
		if err := verifyAs(good, typ, raw, w.now); err != nil {
			t.Fatal(err)
		}
		for name, v := range map[string]Verifier{
			"zero":           {},
			"no keys":        {good.Issuer, good.Audience, nil},
			"nil ring":       {good.Issuer, good.Audience, (*Ring)(nil)},
			"nil set":        {good.Issuer, good.Audience, (*KeySet)(nil)},
			"no issuer":      {"", good.Audience, good.Keys},
			"no audience":    {good.Issuer, "", good.Keys},
			"other issuer":   {"https://other.example", good.Audience, good.Keys},
			"other audience": {good.Issuer, "https://other.example", good.Keys},
		} {
			if err := verifyAs(v, typ, raw, w.now); !errors.Is(err, ErrToken) {
				t.Errorf("%s: a verifier with %s says %v", typ, name, err)
			}
			// Nor a token that names nobody either.
			nobody := forge(t, header, mustJSON(t, w.claims(typ).with("iss", v.Issuer).with("aud", v.Audience)), alg, key)
			if err := verifyAs(v, typ, nobody, w.now); (v.Issuer == "" || v.Audience == "" || v.Keys != good.Keys) && !errors.Is(err, ErrToken) {
				t.Errorf("%s: a verifier with %s believes in nobody", typ, name)
			}
		}
	}
}
