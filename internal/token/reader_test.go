package token

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
)

// readToken is a second reader, which shares no code with the package: the
// standard library's cryptography and JSON alone. It returns header and claims
// as text.
func readToken(t *testing.T, jwks []byte, raw string) (header, claims string) {
	t.Helper()
	var set struct {
		Keys []struct{ Kty, Kid, Alg, Use, Crv, X, Y, N, E string }
	}
	d := json.NewDecoder(bytes.NewReader(jwks))
	d.DisallowUnknownFields()
	if err := d.Decode(&set); err != nil {
		t.Fatal(err)
	}
	part := strings.Split(raw, ".")
	if len(part) != 3 {
		t.Fatal("not three parts")
	}
	decode := func(s string) []byte {
		b, err := base64.RawURLEncoding.Strict().DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var h struct{ Alg, Kid string }
	if err := json.Unmarshal(decode(part[0]), &h); err != nil {
		t.Fatal(err)
	}
	digest, sig := sha256.Sum256([]byte(part[0]+"."+part[1])), decode(part[2])
	ok := false
	for _, k := range set.Keys {
		number := func(s string) *big.Int { return new(big.Int).SetBytes(decode(s)) }
		if k.Kid != h.Kid || k.Alg != h.Alg || k.Use != "sig" {
			continue
		}
		switch k.Kty {
		case "EC":
			if k.Crv != "P-256" || len(sig) != 64 || k.Alg != "ES256" {
				t.Fatal("not ES256")
			}
			pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, decode(k.X)...), decode(k.Y)...))
			if err != nil {
				t.Fatal(err)
			}
			ok = ecdsa.Verify(pub, digest[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:]))
		case "RSA":
			pub := &rsa.PublicKey{N: number(k.N), E: int(number(k.E).Int64())}
			ok = k.Alg == "RS256" && rsa.VerifyPKCS1v15(pub, crypto.SHA256, digest[:], sig) == nil
		}
	}
	if !ok {
		t.Fatal("the second reader does not believe it")
	}
	return string(decode(part[0])), string(decode(part[1]))
}

// TestSecondReader: others read our tokens, and they say, to the byte, what the
// formats promise.
func TestSecondReader(t *testing.T) {
	w := newWorld(t)
	i := w.issuer()
	jwks, err := w.ring.JWKS(w.now)
	if err != nil {
		t.Fatal(err)
	}
	now, must := w.now.Unix(), func(raw string, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	const id = "0123456789abcdefABCDE_"
	common := func(sub, aud string, life int) string {
		return fmt.Sprintf(`"iss":"https://broker.example","sub":"%s","aud":"%s","iat":%d,"nbf":%d,"exp":%d,"jti":"%s"`, sub, aud, now, now, now+int64(life), id)
	}
	holder := func(rest string) string {
		return `,"client_id":"agentkeys","agentkeys":{` + rest + `},"cnf":{"jkt":"` + w.thumb.String() + `"}}`
	}
	master, agent, access, identity := w.session(Master), w.session(Agent), w.access(), w.identity()
	master.ID, agent.ID, access.ID, identity.ID = id, id, id, id
	own := access
	own.Wallet, own.Parent, own.Agent = masterWallet, agentkeys.Wallet{}, agentkeys.Agent{}
	agentHolder := `"wallet_address":"` + agentText + `","role":"%s","parent_wallet":"` + masterText + `","agent":"ci"`
	for _, c := range []struct{ raw, alg, typ, claims string }{
		{must(i.Session(master, w.now)), "ES256", "at+jwt", "{" + common("acct1", origin, 3600) + holder(`"wallet_address":"`+masterText+`","role":"master"`)},
		{must(i.Session(agent, w.now)), "ES256", "at+jwt", "{" + common("acct1", origin, 3600) + holder(fmt.Sprintf(agentHolder, "agent"))},
		{must(i.Access(access, w.now)), "ES256", "signer+jwt", "{" + common("acct1", signerAud, 300) + holder(fmt.Sprintf(agentHolder, "master"))},
		{must(i.Access(own, w.now)), "ES256", "signer+jwt", "{" + common("acct1", signerAud, 300) + holder(`"wallet_address":"`+masterText+`","role":"master"`)},
		{must(i.Identity(identity, ES256, w.now)), "ES256", "JWT", "{" + common("agentkeys:wallet:"+agentText, stsAud, 300) +
			`,"agentkeys_user_wallet":"` + agentText + `","https://aws.amazon.com/tags":{"principal_tags":{"agentkeys_user_wallet":["` + agentText + `"]},"transitive_tag_keys":["agentkeys_user_wallet"]}}`},
		{must(i.Identity(identity, RS256, w.now)), "RS256", "JWT", ""},
	} {
		header, claims := readToken(t, jwks, c.raw)
		kid := w.signs.KID()
		if c.alg == "RS256" {
			kid = w.rsa1.KID()
		} else if claims != c.claims {
			t.Errorf("claims\n%s, want\n%s", claims, c.claims)
		}
		if want := fmt.Sprintf(`{"alg":%q,"kid":%q,"typ":%q}`, c.alg, kid, c.typ); header != want {
			t.Errorf("header %s, want %s", header, want)
		}
	}
}

// TestRoundTrip: what was issued is what is verified.
func TestRoundTrip(t *testing.T) {
	w := newWorld(t)
	i := w.issuer()
	later := w.now.Add(time.Minute)
	for _, r := range []Role{Master, Agent} {
		s := w.session(r)
		raw, err := i.Session(s, w.now)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := w.verifier(typSession).Session(raw, later); err != nil || got != s {
			t.Errorf("%+v, %v, want %+v", got, err, s)
		}
	}
	a, id := w.access(), w.identity()
	raw, err := i.Access(a, w.now)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := w.verifier(typAccess).Access(raw, later); err != nil || got != a {
		t.Errorf("%+v, %v, want %+v", got, err, a)
	}
	jwks, err := w.ring.JWKS(w.now)
	if err != nil {
		t.Fatal(err)
	}
	set, err := ParseJWKS(jwks)
	if err != nil {
		t.Fatal(err)
	}
	for _, alg := range []Alg{ES256, RS256} {
		if raw, err = i.Identity(id, alg, w.now); err != nil {
			t.Fatal(err)
		}
		for _, keys := range []Keys{w.ring, set} {
			if got, err := (Verifier{origin, stsAud, keys}).Identity(raw, later); err != nil || got != id {
				t.Errorf("%+v, %v, want %+v", got, err, id)
			}
		}
	}
}
