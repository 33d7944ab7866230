package token

import (
	"crypto"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// edit is a token that differs from a good one in its text.
type edit struct {
	name string
	ok   bool
	from string // what is replaced in the claims, all of it if empty
	to   string
}

// TestClaims: every claim that says something else, nothing, or two things.
func TestClaims(t *testing.T) {
	w := newWorld(t)
	jti := `"jti":"0123456789abcdefABCDE_"`
	common := []edit{
		{name: "as it should be", ok: true, from: jti, to: jti},
		{name: "spaces", ok: true, from: jti, to: "\n\t" + jti + " "},
		{name: "escapes", ok: true, from: `"iss"`, to: `"\u0069ss"`},
		{name: "iss twice", from: jti, to: jti + `,"iss":"` + origin + `"`},
		{name: "iss twice, escaped", from: jti, to: jti + `,"\u0069ss":"` + origin + `"`},
		{name: "exp twice", from: jti, to: jti + `,"exp":9999999999`},
		{name: "a claim in capitals", from: jti, to: jti + `,"EXP":9999999999`},
		{name: "iss in capitals alone", from: `"iss"`, to: `"ISS"`},
		{name: "a long s", from: `"iss"`, to: `"iſs"`},
		{name: "an unknown claim", from: jti, to: jti + `,"admin":true`},
		{name: "an unknown claim that is null", from: jti, to: jti + `,"admin":null`},
		{name: "an empty name", from: jti, to: jti + `,"":1`},
		{name: "jti null", from: jti, to: `"jti":null`},
		{name: "jti empty", from: jti, to: `"jti":""`},
		{name: "jti short", from: jti, to: `"jti":"0123456789abcde"`},
		{name: "jti of 16", ok: true, from: jti, to: `"jti":"0123456789abcdef"`},
		{name: "jti long", from: jti, to: `"jti":"` + strings.Repeat("x", 129) + `"`},
		{name: "jti with a slash", from: jti, to: `"jti":"0123456789abcdef/"`},
		{name: "jti a number", from: jti, to: `"jti":12345678901234567890`},
		{name: "sub null", from: `"sub":`, to: `"sub":null,"x":`},
		{name: "nothing", to: " "},
		{name: "null", to: "null"},
		{name: "an array", to: "[]"},
		{name: "a string", to: `"x"`},
		{name: "an empty object", to: "{}"},
		{name: "not JSON", to: "iss=broker"},
		{name: "deep", to: strings.Repeat("[", 10000)},
		{name: "deep and closed", to: strings.Repeat(`{"a":`, 1500) + "1" + strings.Repeat("}", 1500)},
	}
	holder := []edit{
		{name: "another client", from: `"client_id":"agentkeys"`, to: `"client_id":"other"`},
		{name: "account empty", from: `"sub":"acct1"`, to: `"sub":""`},
		{name: "account an address", from: `"sub":"acct1"`, to: `"sub":"a@example.com"`},
		{name: "account in capitals", from: `"sub":"acct1"`, to: `"sub":"Acct1"`},
		{name: "role unknown", from: `"role":"agent"`, to: `"role":"root"`},
		{name: "role in capitals", from: `"role":"agent"`, to: `"role":"AGENT"`},
		{name: "role empty", from: `"role":"agent"`, to: `"role":""`},
		{name: "role twice", from: `"role":"agent"`, to: `"role":"agent","role":"master"`},
		{name: "role in an array", from: `"role":"agent"`, to: `"role":["agent"]`},
		{name: "a master", ok: true, from: `"agent":"ci","parent_wallet":"` + masterText + `","role":"agent"`, to: `"role":"master"`},
		{name: "a master with nulls", from: `"agent":"ci","parent_wallet":"` + masterText + `","role":"agent"`, to: `"agent":null,"parent_wallet":null,"role":"master"`},
		{name: "no parent", from: `"parent_wallet":"` + masterText + `",`, to: ""},
		{name: "parent null", from: `"parent_wallet":"` + masterText + `"`, to: `"parent_wallet":null`},
		{name: "parent is the wallet", from: masterText, to: agentText},
		{name: "no agent", from: `"agent":"ci",`, to: ""},
		{name: "agent malformed", from: `"agent":"ci"`, to: `"agent":"../ci"`},
		{name: "agent null", from: `"agent":"ci"`, to: `"agent":null`},
		{name: "an unknown member inside", from: `"agent":"ci"`, to: `"agent":"ci","admin":true`},
		{name: "no cnf", from: `"cnf":{"jkt":"` + w.thumb.String() + `"},`, to: ""},
		{name: "cnf null", from: `"cnf":{"jkt":"` + w.thumb.String() + `"}`, to: `"cnf":null`},
		{name: "cnf empty", from: `"jkt":"` + w.thumb.String() + `"`, to: ""},
		{name: "cnf of a certificate too", from: `"jkt":`, to: `"x5t#S256":"x","jkt":`},
		{name: "cnf of a certificate", from: `"jkt"`, to: `"x5t#S256"`},
		{name: "jkt empty", from: w.thumb.String(), to: ""},
		{name: "jkt short", from: w.thumb.String(), to: w.thumb.String()[:42]},
		{name: "jkt padded", from: w.thumb.String(), to: w.thumb.String() + "="},
		{name: "jkt of zeros", from: w.thumb.String(), to: strings.Repeat("A", 43)},
		{name: "no wallet", from: `"wallet_address":"` + agentText + `"`, to: `"wallet_address":null`},
	}
	identity := []edit{
		{name: "another subject", from: "agentkeys:wallet:" + agentText, to: "agentkeys:wallet:" + otherText},
		{name: "another claim", from: `"agentkeys_user_wallet":"` + agentText + `"`, to: `"agentkeys_user_wallet":"` + otherText + `"`},
		{name: "another tag", from: `["` + agentText + `"]`, to: `["` + otherText + `"]`},
		{name: "two tags", from: `["` + agentText + `"]`, to: `["` + agentText + `","` + otherText + `"]`},
		{name: "a tag twice", from: `["` + agentText + `"]`, to: `["` + agentText + `","` + agentText + `"]`},
		{name: "no tag", from: `["` + agentText + `"]`, to: `[]`},
		{name: "a null tag", from: `["` + agentText + `"]`, to: `[null]`},
		{name: "no array", from: `["` + agentText + `"]`, to: `"` + agentText + `"`},
		{name: "another tag's name", from: `{"agentkeys_user_wallet":[`, to: `{"wallet":[`},
		{name: "one more tag", from: `"principal_tags":{`, to: `"principal_tags":{"admin":["1"],`},
		{name: "tags null", from: `"principal_tags":`, to: `"principal_tags":null,"x":`},
		{name: "not transitive", from: `"transitive_tag_keys":["agentkeys_user_wallet"]`, to: `"transitive_tag_keys":[]`},
		{name: "another transitive", from: `"transitive_tag_keys":["agentkeys_user_wallet"]`, to: `"transitive_tag_keys":["agentkeys_user_wallet","admin"]`},
	}
	for _, bad := range []string{
		"", "0x", agentText[2:], "0X" + agentText[2:], agentText[:41], agentText + "0", agentText + "/", agentText + "\\u0000",
		"0x" + strings.Repeat("A", 40), "0xAb" + agentText[4:], "0x" + strings.Repeat("0", 40), " " + agentText, "*", "..", "0x" + strings.Repeat("/", 40),
		"0x" + strings.Repeat("é", 20), "0x" + strings.Repeat("１", 13) + "1",
	} {
		holder = append(holder, edit{name: fmt.Sprintf("wallet %q", bad), from: `"wallet_address":"` + agentText, to: `"wallet_address":"` + bad})
		identity = append(identity, edit{name: fmt.Sprintf("wallet %q everywhere", bad), from: agentText, to: bad})
	}
	good, alg, key := w.signatures(t)[0].header, "ES256", any(pool().ec[2])
	n := 0
	for _, typ := range purposes {
		edits := append(common[:len(common):len(common)], holder...)
		if typ == typIdentity {
			edits = append(common[:len(common):len(common)], identity...)
		}
		claims := mustJSON(t, w.claims(typ))
		for _, e := range edits {
			n++
			text := e.to
			if e.from != "" {
				text = strings.Replace(strings.ReplaceAll(claims, e.from, e.to), ",}", "}", 1)
				if !e.ok && text == claims {
					t.Fatalf("%s: %s changes nothing", typ, e.name)
				}
			}
			header, _, _ := good(typ)
			err := verifyAs(w.verifier(typ), typ, forge(t, header, text, alg, key), w.now)
			if (err == nil) != e.ok || err != nil && !errors.Is(err, ErrToken) {
				t.Errorf("%s, %s: %v, want accepted %v", typ, e.name, err, e.ok)
			}
		}
	}
	t.Logf("%d cells", n)
}

// TestHeader: a header has three members, and nothing in it is ever fetched.
func TestHeader(t *testing.T) {
	w := newWorld(t)
	p := pool()
	jwk := fmt.Sprintf(`{"kty":"EC","crv":"P-256","x":%q,"y":%q}`, b64(p.ec[5].X.FillBytes(make([]byte, 32))), b64(p.ec[5].Y.FillBytes(make([]byte, 32))))
	more := []string{
		`"crit":["exp"]`, `"crit":[]`, `"crit":["b64"],"b64":false`, `"b64":true`, `"jwk":` + jwk,
		`"jku":"https://evil.example/jwks.json"`, `"jku":"` + origin + `/.well-known/jwks.json"`, `"x5u":"https://evil.example/c.pem"`,
		`"x5c":["MIIB"]`, `"x5t":"abc"`, `"x5t#S256":"abc"`, `"cty":"JWT"`, `"zip":"DEF"`, `"nonce":"x"`, `"enc":"A128GCM"`, `"p2c":1000000000`,
		`"alg":"ES256"`, `"alg":"none"`, `"ALG":"none"`, `"kid":"` + w.signs.KID() + `"`, `"Kid":"x"`, `"iss":"` + origin + `"`, `"url":"x"`, `"":""`,
	}
	for _, typ := range purposes {
		good := fmt.Sprintf(`"alg":"ES256","kid":%q,"typ":%q`, w.signs.KID(), typ)
		claims := mustJSON(t, w.claims(typ))
		try := func(header string, key any, ok bool) {
			t.Helper()
			err := verifyAs(w.verifier(typ), typ, forge(t, header, claims, "ES256", key), w.now)
			if (err == nil) != ok || err != nil && !errors.Is(err, ErrToken) {
				t.Errorf("%s, header %s: %v, want accepted %v", typ, header, err, ok)
			}
		}
		try("{"+good+"}", p.ec[2], true)
		for _, m := range more {
			for _, key := range []any{p.ec[2], p.ec[5]} { // ours, and the embedded one
				try("{"+good+","+m+"}", key, false)
				try("{"+m+","+good+"}", key, false)
			}
		}
		for _, m := range []string{
			`{}`, `null`, `[]`, ``, `"x"`, `{` + good, `{` + good + `}x`, `{` + good + `}{}`,
			strings.Replace("{"+good+"}", `"`+typ+`"`, `null`, 1),
			strings.Replace("{"+good+"}", `"`+typ+`"`, `"application/`+typ+`"`, 1),
			strings.Replace("{"+good+"}", `"`+typ+`"`, `"`+strings.ToUpper(typ)+`x"`, 1),
			strings.Replace("{"+good+"}", `"`+typ+`"`, `["`+typ+`"]`, 1),
			strings.Replace("{"+good+"}", `,"typ":"`+typ+`"`, ``, 1),
			strings.Replace("{"+good+"}", `"ES256"`, `["ES256"]`, 1),
			strings.Replace("{"+good+"}", `"alg":"ES256",`, ``, 1),
			strings.Replace("{"+good+"}", `"`+w.signs.KID()+`"`, `null`, 1),
			strings.Replace("{"+good+"}", `"`+w.signs.KID()+`"`, `{}`, 1),
		} {
			try(m, p.ec[2], false)
		}
	}
}

// asked are Keys that remember what was asked of them.
type asked struct {
	Keys
	kids []string
}

func (a *asked) Key(kid string) (Alg, crypto.PublicKey, bool) {
	a.kids = append(a.kids, kid)
	return a.Keys.Key(kid)
}

// TestKid: whoever looks keys up is never asked for a path or an address.
func TestKid(t *testing.T) {
	w := newWorld(t)
	a := &asked{Keys: w.ring}
	v := Verifier{origin, origin, a}
	for _, kid := range []string{
		"", ".", "../" + w.signs.KID(), "/etc/passwd", "https://evil.example/jwks.json", w.signs.KID() + "\u0000", w.signs.KID() + ".key", w.signs.KID() + " ",
		w.signs.KID()[:42], strings.Repeat("x", 8000), strings.Repeat("/", 43), strings.Repeat("A", 43), "x' OR 'a'='a",
	} {
		raw := forge(t, `{"alg":"ES256","kid":"`+kid+`","typ":"at+jwt"}`, mustJSON(t, w.claims(typSession)), "ES256", pool().ec[2])
		if _, err := v.Session(raw, w.now); !errors.Is(err, ErrToken) || a.kids != nil {
			t.Errorf("%q: %v, asked for %q", kid, err, a.kids)
		}
	}
}

// TestForm: what is not three parts of canonical base64url is refused before
// anything is decoded.
func TestForm(t *testing.T) {
	w := newWorld(t)
	raw, err := w.issuer().Session(w.session(Master), w.now)
	if err != nil {
		t.Fatal(err)
	}
	part := strings.Split(raw, ".")
	sig, err := base64.RawURLEncoding.DecodeString(part[2])
	if err != nil {
		t.Fatal(err)
	}
	other, err := w.issuer().Session(w.session(Master), w.now)
	if err != nil {
		t.Fatal(err)
	}
	otherPart := strings.Split(other, ".")
	join := func(p ...string) string { return strings.Join(p, ".") }
	// The last character of a 64-byte signature carries 4 bits that say
	// nothing: another encoding of the same bytes.
	last := strings.IndexByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", raw[len(raw)-1])
	twin := raw[:len(raw)-1] + string("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[last|1])
	if b, err := base64.RawURLEncoding.DecodeString(strings.Split(twin, ".")[2]); err != nil || string(b) != string(sig) {
		t.Fatal("the twin is not a second encoding")
	}
	cases := map[string]string{
		"empty": "", "dots": "..", "one dot": ".", "no dots": part[0], "two parts": join(part[0], part[1]),
		"four parts": raw + ".", "four whole parts": raw + ".AAAA", "a dot before": "." + raw, "five parts (JWE)": raw + "..", "many dots": strings.Repeat(".", 100000),
		"many parts": strings.Repeat("a.", 5000), "large": raw + strings.Repeat("A", maxToken), "one over the limit": strings.Repeat("A", maxToken-3) + ".A.A." + "",
		"no signature": join(part[0], part[1], ""), "no claims": join(part[0], "", part[2]), "no header": join("", part[1], part[2]),
		"space after": raw + " ", "space before": " " + raw, "line break": raw + "\n", "line break inside": part[0] + "\n." + join(part[1], part[2]),
		"line break in a part": raw[:10] + "\n" + raw[10:], "carriage return": raw[:10] + "\r" + raw[10:], "NUL": raw + "\x00",
		"padded": raw + "==", "standard alphabet": part[0] + "." + part[1] + "." + base64.RawStdEncoding.EncodeToString([]byte("\xfb\xff"+string(sig[2:]))),
		"twin signature": twin, "DPoP before": "DPoP " + raw, "JSON form": `{"protected":"` + part[0] + `","payload":"` + part[1] + `","signature":"` + part[2] + `"}`,
		"other claims": join(part[0], otherPart[1], part[2]), "other signature": join(part[0], part[1], otherPart[2]),
		"signature cut": join(part[0], part[1], b64(sig[:63])), "signature longer": join(part[0], part[1], b64(append(sig[:64:64], 0))),
		"signature zero": join(part[0], part[1], b64(make([]byte, 64))), "s zero": join(part[0], part[1], b64(append(sig[:32:32], make([]byte, 32)...))),
		"r zero": join(part[0], part[1], b64(append(make([]byte, 32), sig[32:]...))), "swapped": join(part[0], part[1], b64(append(sig[32:64:64], sig[:32]...))),
	}
	v := w.verifier(typSession)
	for name, bad := range cases {
		if _, err := v.Session(bad, w.now); !errors.Is(err, ErrToken) {
			t.Errorf("%s: %v", name, err)
		} else if len(err.Error()) > 200 {
			t.Errorf("%s: the refusal has %d bytes", name, len(err.Error()))
		}
	}
	// Any one character changed, or left out.
	for i := range len(raw) {
		for _, bad := range []string{raw[:i] + raw[i+1:], raw[:i] + string(raw[i]^1) + raw[i+1:]} {
			if _, err := v.Session(bad, w.now); !errors.Is(err, ErrToken) {
				t.Fatalf("character %d: %v", i, err)
			}
		}
	}
	if _, err := v.Session(raw, w.now); err != nil {
		t.Fatal(err)
	}
	if allocs := testing.AllocsPerRun(100, func() { _, _ = v.Session(cases["large"], w.now) }); allocs > 10 {
		t.Errorf("a large token costs %v allocations", allocs)
	}
}
