package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/big"
	"sync"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
)

const (
	origin     = "https://broker.example"
	signerAud  = "https://signer.example"
	stsAud     = "sts.amazonaws.com"
	masterText = "0x1111111111111111111111111111111111111111"
	agentText  = "0x2222222222222222222222222222222222222222"
	otherText  = "0x3333333333333333333333333333333333333333"
)

var (
	masterWallet = agentkeys.Must(agentkeys.ParseWallet(masterText))
	agentWallet  = agentkeys.Must(agentkeys.ParseWallet(agentText))
	ci           = agentkeys.Must(agentkeys.ParseAgent("ci"))
)

// pool are keys that all tests share: RSA keys take long to make.
var pool = sync.OnceValue(func() (p struct {
	ec     [6]*ecdsa.PrivateKey
	rsa    [3]*rsa.PrivateKey
	p384   *ecdsa.PrivateKey
	p521   *ecdsa.PrivateKey
	ed     ed25519.PrivateKey
	secret []byte
}) {
	for i := range p.ec {
		// The same in every process, see rawSign.
		d := sha256.Sum256([]byte{byte(i)})
		p.ec[i] = agentkeys.Must(ecdsa.ParseRawPrivateKey(elliptic.P256(), d[:]))
	}
	for i := range p.rsa {
		p.rsa[i] = agentkeys.Must(rsa.GenerateKey(rand.Reader, 2048))
	}
	p.p384 = agentkeys.Must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	p.p521 = agentkeys.Must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader))
	_, p.ed, _ = ed25519.GenerateKey(rand.Reader)
	p.secret = make([]byte, 32)
	return p
})

// world has a broker with four keys: one retired and still published, one that
// signs, one that will, and one for RS256; and one key that is out.
type world struct {
	now                                time.Time
	retired, signs, future, rsa1, gone Key
	ring                               *Ring
	device                             *ecdsa.PrivateKey
	thumb                              Thumbprint
}

func newWorld(t testing.TB) *world {
	t.Helper()
	p := pool()
	w := &world{now: time.Unix(1_800_000_000, 0).UTC(), device: p.ec[4]}
	key := func(s crypto.Signer, alg Alg, from time.Duration) Key {
		k, err := KeyFrom(s, alg, w.now.Add(from))
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	w.gone = key(p.ec[0], ES256, -100*time.Hour)
	w.retired = key(p.ec[1], ES256, -50*time.Hour)
	w.signs = key(p.ec[2], ES256, -time.Hour)
	w.future = key(p.ec[3], ES256, time.Hour)
	w.rsa1 = key(p.rsa[0], RS256, -time.Hour)
	var err error
	if w.ring, err = NewRing([]Key{w.future, w.rsa1, w.gone, w.signs, w.retired}, MasterLife); err != nil {
		t.Fatal(err)
	}
	if w.thumb, err = ThumbprintOf(w.device.Public()); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) issuer() *Issuer {
	return &Issuer{Issuer: origin, Ring: func() *Ring { return w.ring }}
}

func (w *world) session(r Role) Session {
	s := Session{ID: NewID(), Account: "acct1", Wallet: masterWallet, Role: r, Device: w.thumb, Issued: w.now, Expires: w.now.Add(time.Hour)}
	if r == Agent {
		s.Wallet, s.Parent, s.Agent = agentWallet, masterWallet, ci
	}
	return s
}

func (w *world) access() Access {
	return Access{NewID(), "acct1", agentWallet, Master, masterWallet, ci, w.thumb, signerAud, w.now, w.now.Add(AccessLife)}
}

func (w *world) identity() Identity {
	return Identity{NewID(), agentWallet, stsAud, w.now, w.now.Add(5 * time.Minute)}
}

func (w *world) verifier(typ string) Verifier {
	return Verifier{origin, map[string]string{typSession: origin, typAccess: signerAud, typIdentity: stsAud}[typ], w.ring}
}

// verifyAs calls the verifier of one purpose.
func verifyAs(v Verifier, typ, raw string, now time.Time) error {
	var err error
	switch typ {
	case typSession:
		_, err = v.Session(raw, now)
	case typAccess:
		_, err = v.Access(raw, now)
	case typIdentity:
		_, err = v.Identity(raw, now)
	}
	return err
}

// object is JSON under construction.
type object map[string]any

func (o object) with(name string, value any) object {
	o = maps.Clone(o)
	if value == nil {
		delete(o, name)
	} else {
		o[name] = value
	}
	return o
}

// claims are those of a good token of each purpose, written down once more by
// hand, for forging others.
func (w *world) claims(typ string) object {
	o := object{"iss": origin, "iat": w.now.Unix(), "nbf": w.now.Unix(), "exp": w.now.Unix() + 300, "jti": "0123456789abcdefABCDE_"}
	switch typ {
	case typIdentity:
		o["sub"] = "agentkeys:wallet:" + agentText
		o["aud"] = stsAud
		o["agentkeys_user_wallet"] = agentText
		o["https://aws.amazon.com/tags"] = object{
			"principal_tags":      object{"agentkeys_user_wallet": []string{agentText}},
			"transitive_tag_keys": []string{"agentkeys_user_wallet"},
		}
	default:
		o["sub"] = "acct1"
		o["client_id"] = "agentkeys"
		o["aud"] = map[string]string{typSession: origin, typAccess: signerAud}[typ]
		o["agentkeys"] = object{"wallet_address": agentText, "role": "agent", "parent_wallet": masterText, "agent": "ci"}
		o["cnf"] = object{"jkt": w.thumb.String()}
	}
	return o
}

func mustJSON(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// forge signs whatever it is told to, with the standard library alone. header
// and claims are JSON text.
func forge(t testing.TB, header, claims, alg string, key any) string {
	t.Helper()
	enc := base64.RawURLEncoding.EncodeToString
	input := enc([]byte(header)) + "." + enc([]byte(claims))
	return input + "." + enc(rawSign(t, input, alg, key))
}

func rawSign(t testing.TB, input, alg string, key any) []byte {
	t.Helper()
	h256, h384, h512 := sha256.Sum256([]byte(input)), sha512.Sum384([]byte(input)), sha512.Sum512([]byte(input))
	var sig []byte
	var err error
	ec := func(hash crypto.Hash, digest []byte, size int) []byte {
		// Without randomness (RFC 6979), so that a fuzzer's processes agree.
		der, e := key.(*ecdsa.PrivateKey).Sign(nil, digest, hash)
		var rs struct{ R, S *big.Int }
		if e == nil {
			_, e = asn1.Unmarshal(der, &rs)
		}
		if e != nil {
			t.Fatal(e)
		}
		return append(rs.R.FillBytes(make([]byte, size)), rs.S.FillBytes(make([]byte, size))...)
	}
	switch alg {
	case "ES256":
		sig = ec(crypto.SHA256, h256[:], 32)
	case "ES384":
		sig = ec(crypto.SHA384, h384[:], 48)
	case "ES512":
		sig = ec(crypto.SHA512, h512[:], 66)
	case "RS256":
		sig, err = rsa.SignPKCS1v15(nil, key.(*rsa.PrivateKey), crypto.SHA256, h256[:])
	case "RS512":
		sig, err = rsa.SignPKCS1v15(nil, key.(*rsa.PrivateKey), crypto.SHA512, h512[:])
	case "PS256":
		sig, err = rsa.SignPSS(rand.Reader, key.(*rsa.PrivateKey), crypto.SHA256, h256[:], nil)
	case "EdDSA":
		sig = ed25519.Sign(key.(ed25519.PrivateKey), []byte(input))
	case "HS256":
		m := hmac.New(sha256.New, key.([]byte))
		m.Write([]byte(input))
		sig = m.Sum(nil)
	case "none":
	default:
		t.Fatal("no such algorithm: " + alg)
	}
	if err != nil {
		t.Fatal(err)
	}
	return sig
}
