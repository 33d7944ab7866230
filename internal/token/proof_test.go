package token

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

const tokenURL = "https://broker.example/v1/token"

func (w *world) jwk() string {
	x, y := w.device.X.FillBytes(make([]byte, 32)), w.device.Y.FillBytes(make([]byte, 32))
	return fmt.Sprintf(`{"kty":"EC","crv":"P-256","x":%q,"y":%q}`, b64(x), b64(y))
}

func (w *world) proofClaims(ath string) object {
	o := object{"jti": "0123456789abcdefABCDE_", "htm": "POST", "htu": tokenURL, "iat": w.now.Unix()}
	if ath != "" {
		o["ath"] = ath
	}
	return o
}

func TestProof(t *testing.T) {
	w := newWorld(t)
	for _, access := range []string{"", "a.b.c"} {
		raw, err := NewProof(w.device, "POST", tokenURL+"?x=1#y", access, w.now)
		if err != nil {
			t.Fatal(err)
		}
		p, err := VerifyProof(raw, "POST", tokenURL, access, w.now)
		if err != nil || p.Key != w.thumb || len(p.ID) != 22 || !p.Issued.Equal(w.now) {
			t.Errorf("%+v, %v", p, err)
		}
		// A replay says the same id again: that is how it is known.
		again, err := VerifyProof(raw, "POST", tokenURL, access, w.now.Add(time.Second))
		if err != nil || again != p {
			t.Errorf("%+v, %v, want %+v", again, err, p)
		}
		other, err := NewProof(w.device, "POST", tokenURL, access, w.now)
		if err != nil || other == raw {
			t.Error("two proofs are one", err)
		}
	}
	for name, err := range map[string]error{
		"P-384":  second(NewProof(pool().p384, "POST", tokenURL, "", w.now)),
		"no key": second(NewProof(nil, "POST", tokenURL, "", w.now)),
		"no URL": second(NewProof(w.device, "POST", "/v1/token", "", w.now)),
	} {
		if err == nil {
			t.Error(name)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// TestProofMatrix crosses method, URL, access token and time.
func TestProofMatrix(t *testing.T) {
	w := newWorld(t)
	type dim struct {
		value any
		ok    bool
	}
	const access = "header.claims.signature"
	methods := []dim{{"POST", true}, {"GET", false}, {"post", false}, {"", false}, {nil, false}, {7, false}}
	urls := []dim{
		{tokenURL, true}, {"https://BROKER.example/v1/token", true}, {"HTTPS://broker.example:443/v1/token", true}, {tokenURL + "?q=1", true}, {tokenURL + "#f", true},
		{"http://broker.example/v1/token", false}, {"https://broker.example:8443/v1/token", false}, {"https://broker.example/v1/Token", false},
		{tokenURL + "/", false}, {"https://broker.example//v1/token", false}, {"https://broker.example/v1/../v1/token", false}, {"https://broker.example", false},
		{"https://broker.example.evil.example/v1/token", false}, {"https://evil@broker.example/v1/token", false}, {"https://evil.example/v1/token", false},
		{"/v1/token", false}, {"//broker.example/v1/token", false}, {"", false}, {nil, false}, {[]string{tokenURL}, false}, {"https://broker.example/v1%2ftoken", false},
		{"ftp://broker.example/v1/token", false}, {"https:broker.example/v1/token", false}, {"https://broker.example\\v1/token", false},
	}
	aths := []dim{{hashOf(access), true}, {hashOf("another"), false}, {"", false}, {access, false}, {nil, false}}
	times := []struct {
		iat any
		ok  bool
	}{
		{w.now.Unix(), true}, {w.now.Unix() - 60, true}, {w.now.Unix() + 60, true}, {w.now.Unix() - 61, false}, {w.now.Unix() + 61, false},
		{nil, false}, {0, false}, {-1, false}, {fmt.Sprint(w.now.Unix()), false}, {float64(w.now.Unix()) + 0.5, false},
	}
	cells, good := 0, 0
	header := `{"typ":"dpop+jwt","alg":"ES256","jwk":` + w.jwk() + `}`
	judge := func(claims object, want bool) {
		t.Helper()
		cells++
		_, err := VerifyProof(forge(t, header, mustJSON(t, claims), "ES256", w.device), "POST", tokenURL, access, w.now)
		if (err == nil) != want || err != nil && !errors.Is(err, ErrProof) {
			t.Errorf("%v: %v, want accepted %v", claims, err, want)
		}
		if want {
			good++
		}
	}
	for _, m := range methods {
		for _, u := range urls {
			for _, a := range aths[:3] {
				judge(w.proofClaims("").with("htm", m.value).with("htu", u.value).with("ath", a.value), m.ok && u.ok && a.ok)
			}
		}
	}
	for _, a := range aths {
		for _, at := range times {
			judge(w.proofClaims("").with("ath", a.value).with("iat", at.iat), a.ok && at.ok)
		}
	}
	for jti, ok := range map[string]bool{"": false, "short": false, "0123456789abcdef": true, strings.Repeat("x", 128): true, strings.Repeat("x", 129): false, "0123456789abcde/": false} {
		judge(w.proofClaims(hashOf(access)).with("jti", jti), ok)
	}
	judge(w.proofClaims(hashOf(access)).with("jti", nil), false)
	judge(w.proofClaims(hashOf(access)).with("nonce", "x"), true) // others may say more
	t.Logf("%d cells, %d of them good", cells, good)
}

// TestProofHeader: key, algorithm and purpose.
func TestProofHeader(t *testing.T) {
	w := newWorld(t)
	p := pool()
	jwk := w.jwk()
	x, y := w.device.X.FillBytes(make([]byte, 32)), w.device.Y.FillBytes(make([]byte, 32))
	d, err := w.device.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	p384x, p384y := p.p384.X.FillBytes(make([]byte, 48)), p.p384.Y.FillBytes(make([]byte, 48))
	head := func(alg, typ, jwk string) string { return fmt.Sprintf(`{"typ":%q,"alg":%q,"jwk":%s}`, typ, alg, jwk) }
	good := head("ES256", typProof, jwk)
	edit := func(from, to string) string {
		s := strings.Replace(good, from, to, 1)
		if s == good {
			t.Fatal("nothing to replace: " + from)
		}
		return s
	}
	lastX := b64(x)[42]
	twinX := b64(x)[:42] + string(lastX+1) // other trailing bits, maybe another byte
	for _, c := range []struct {
		name, header, alg string
		key               any
		ok                bool
	}{
		{"good", good, "ES256", w.device, true},
		{"stranger's signature", good, "ES256", p.ec[5], false},
		{"none", head("none", typProof, jwk), "none", nil, false},
		{"unsigned", good, "none", nil, false},
		{"HS256 by the key", head("HS256", typProof, jwk), "HS256", append(x[:32:32], y...), false},
		{"HS256 of an oct key", head("HS256", typProof, `{"kty":"oct","k":"`+b64(p.secret)+`"}`), "HS256", p.secret, false},
		{"RS256", head("RS256", typProof, fmt.Sprintf(`{"kty":"RSA","n":%q,"e":"AQAB"}`, b64(p.rsa[0].N.Bytes()))), "RS256", p.rsa[0], false},
		{"ES384", head("ES384", typProof, fmt.Sprintf(`{"kty":"EC","crv":"P-384","x":%q,"y":%q}`, b64(p384x), b64(p384y))), "ES384", p.p384, false},
		{"P-384 under ES256", head("ES256", typProof, fmt.Sprintf(`{"kty":"EC","crv":"P-384","x":%q,"y":%q}`, b64(p384x), b64(p384y))), "ES384", p.p384, false},
		{"EdDSA", head("EdDSA", typProof, `{"kty":"OKP","crv":"Ed25519","x":"`+b64(p.ed.Public().(ed25519.PublicKey))+`"}`), "EdDSA", p.ed, false},
		{"typ JWT", head("ES256", "JWT", jwk), "ES256", w.device, false},
		{"typ at+jwt", head("ES256", typSession, jwk), "ES256", w.device, false},
		{"typ in capitals", head("ES256", "DPOP+JWT", jwk), "ES256", w.device, false},
		{"no typ", edit(`"typ":"dpop+jwt",`, ""), "ES256", w.device, false},
		{"no alg", edit(`"alg":"ES256",`, ""), "ES256", w.device, false},
		{"no jwk", edit(`,"jwk":`+jwk, ""), "ES256", w.device, false},
		{"jwk null", edit(jwk, "null"), "ES256", w.device, false},
		{"jwk empty", edit(jwk, "{}"), "ES256", w.device, false},
		{"jwk text", edit(jwk, `"x"`), "ES256", w.device, false},
		{"jwk twice", edit(`}}`, `},"jwk":`+jwk+`}`), "ES256", w.device, false},
		{"private", edit(`"kty"`, `"d":"`+b64(d)+`","kty"`), "ES256", w.device, false},
		{"kid", edit(`"typ"`, `"kid":"x","typ"`), "ES256", w.device, false},
		{"crit", edit(`"typ"`, `"crit":["exp"],"typ"`), "ES256", w.device, false},
		{"b64", edit(`"typ"`, `"b64":true,"typ"`), "ES256", w.device, false},
		{"jku", edit(`"typ"`, `"jku":"https://evil.example","typ"`), "ES256", w.device, false},
		{"x5c", edit(`"typ"`, `"x5c":["MIIB"],"typ"`), "ES256", w.device, false},
		{"x twice", edit(`"kty"`, `"x":"`+b64(x)+`","kty"`), "ES256", w.device, false},
		{"x of another", edit(b64(x), b64(p.ec[5].X.FillBytes(make([]byte, 32)))), "ES256", w.device, false},
		{"x twin", edit(b64(x), twinX), "ES256", w.device, false},
		{"x short", edit(b64(x), b64(x[1:])), "ES256", w.device, false},
		{"x long", edit(b64(x), b64(append([]byte{0}, x...))), "ES256", w.device, false},
		{"x and y cut elsewhere", head("ES256", typProof, fmt.Sprintf(`{"kty":"EC","crv":"P-256","x":%q,"y":%q}`, b64(x[:31]), b64(append([]byte{x[31]}, y...)))), "ES256", w.device, false},
		{"unknown member of the key", edit(`"kty"`, `"ext":true,"kty"`), "ES256", w.device, false},
		{"x padded", edit(b64(x), base64.URLEncoding.EncodeToString(x)), "ES256", w.device, false},
		{"x broken", edit(b64(x), b64(x)[:20]+`\n`+b64(x)[20:]), "ES256", w.device, false},
		{"zero point", head("ES256", typProof, fmt.Sprintf(`{"kty":"EC","crv":"P-256","x":%q,"y":%q}`, b64(make([]byte, 32)), b64(make([]byte, 32)))), "ES256", w.device, false},
		{"crv unknown", edit("P-256", "p-256"), "ES256", w.device, false},
	} {
		_, err := VerifyProof(forge(t, c.header, mustJSON(t, w.proofClaims("")), c.alg, c.key), "POST", tokenURL, "", w.now)
		if (err == nil) != c.ok || err != nil && !errors.Is(err, ErrProof) {
			t.Errorf("%s: %v, want accepted %v", c.name, err, c.ok)
		}
	}
	for name, claims := range map[string]string{
		"iat twice":   `{"jti":"0123456789abcdef","htm":"POST","htu":"` + tokenURL + `","iat":1,"iat":` + fmt.Sprint(w.now.Unix()) + `}`,
		"in capitals": `{"JTI":"0123456789abcdef","HTM":"POST","HTU":"` + tokenURL + `","IAT":` + fmt.Sprint(w.now.Unix()) + `}`,
		"null":        "null", "array": "[]", "text": "x",
	} {
		if _, err := VerifyProof(forge(t, good, claims, "ES256", w.device), "POST", tokenURL, "", w.now); !errors.Is(err, ErrProof) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A session token is no proof, and a proof no token.
	raw, err := w.issuer().Session(w.session(Master), w.now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := VerifyProof(raw, "POST", tokenURL, "", w.now); !errors.Is(err, ErrProof) {
		t.Error(err)
	}
	proof, err := NewProof(w.device, "POST", tokenURL, raw, w.now)
	if err != nil {
		t.Fatal(err)
	}
	for _, typ := range purposes {
		if err := verifyAs(w.verifier(typ), typ, proof, w.now); !errors.Is(err, ErrToken) {
			t.Errorf("%s: %v", typ, err)
		}
	}
	for _, large := range []string{proof + strings.Repeat("A", maxToken), strings.Repeat(".", maxToken), ""} {
		if _, err := VerifyProof(large, "POST", tokenURL, raw, w.now); !errors.Is(err, ErrProof) {
			t.Error(err)
		}
	}
	if _, err := VerifyProof(proof, "POST", "", raw, w.now); !errors.Is(err, ErrProof) {
		t.Errorf("a server without an address: %v", err)
	}
}

func TestThumbprint(t *testing.T) {
	w := newWorld(t)
	text := w.thumb.String()
	if got, err := ParseThumbprint(text); err != nil || got != w.thumb {
		t.Errorf("%v, %v", got, err)
	}
	last := text[42]
	for _, bad := range []string{"", text[:42], text + "A", text + "=", " " + text[1:], text[:42] + "/", text[:42] + string(last+1), text[:20] + "\n" + text[21:], strings.Repeat("A", 43)} {
		if got, err := ParseThumbprint(bad); err == nil && got.String() != bad {
			t.Errorf("%q is read as %q", bad, got)
		} else if err != nil && !got.IsZero() {
			t.Errorf("%q: an error and a value", bad)
		}
	}
	if (Thumbprint{}).String() != "" || !(Thumbprint{}).IsZero() {
		t.Error("the zero thumbprint has a name")
	}
	for name, pub := range map[string]any{
		"P-384": pool().p384.Public(), "RSA": pool().rsa[0].Public(), "nil": nil, "typed nil": (*ecdsa.PublicKey)(nil),
		"private": w.device,
	} {
		if _, err := ThumbprintOf(pub); err == nil {
			t.Errorf("%s has a thumbprint", name)
		}
	}
}
