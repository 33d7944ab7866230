package siwe

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"
)

var order = func() *big.Int {
	n, _ := new(big.Int).SetString("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141", 16)
	return n
}()

func TestHalfOrder(t *testing.T) {
	if new(big.Int).Rsh(order, 1).Cmp(new(big.Int).SetBytes(halfOrder[:])) != 0 {
		t.Error("the largest low s is not half the order")
	}
}

func keyOf(b byte) (*secp256k1.PrivateKey, Address) {
	key := secp256k1.PrivKeyFromBytes(bytes.Repeat([]byte{b}, 32))
	sum := keccak(key.PubKey().SerializeUncompressed()[1:])
	return key, Address(sum[12:])
}

// sign is personal_sign: r, s, v.
func sign(key *secp256k1.PrivateKey, text string) []byte {
	h := hash(text)
	sig := ecdsa.SignCompact(key, h[:], false)
	return append(sig[1:], sig[0])
}

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func askOf(a Address) Ask {
	return Ask{
		Origin: "https://broker.example", Address: a, ChainID: 1, Nonce: "k3q9v7xw2m5t8z4b", Login: "lg_7f3k2m9q",
		Device: "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", Issued: noon, Expires: noon.Add(10 * time.Minute),
	}
}

func textOf(t testing.TB, a Ask) string {
	t.Helper()
	m, err := a.Message()
	if err != nil {
		t.Fatal(err)
	}
	return m.String()
}

func hexed(sig []byte) string { return "0x" + hex.EncodeToString(sig) }

func TestVerify(t *testing.T) {
	key, address := keyOf(7)
	ask := askOf(address)
	text := textOf(t, ask)
	sig := sign(key, text)
	if _, err := Verify(t.Context(), text, hexed(sig), ask, noon); err != nil {
		t.Fatal(err)
	}
	small := bytes.Clone(sig)
	small[64] -= 27
	if _, err := Verify(t.Context(), text, hexed(small), ask, noon); err != nil {
		t.Errorf("v of 0 or 1: %v", err)
	}
	for name, in := range map[string]time.Time{"first": noon, "first by a slow clock": noon.Add(-time.Minute), "last": noon.Add(10*time.Minute - 1)} {
		if _, err := Verify(t.Context(), text, hexed(sig), ask, in); err != nil {
			t.Errorf("the %s moment: %v", name, err)
		}
	}
	for name, in := range map[string]time.Time{"before": noon.Add(-time.Minute - 1), "after": noon.Add(10 * time.Minute), "years after": noon.AddDate(5, 0, 0)} {
		if _, err := Verify(t.Context(), text, hexed(sig), ask, in); !errors.Is(err, ErrRefused) {
			t.Errorf("%s its time: %v", name, err)
		}
	}
}

// TestVerifyComparesEveryField has the right person sign another message, well
// formed, in which one thing is otherwise.
func TestVerifyComparesEveryField(t *testing.T) {
	key, address := keyOf(7)
	_, other := keyOf(8)
	ask := askOf(address)
	asked, err := ask.Message()
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Message){
		"a scheme":           func(m *Message) { m.Scheme = "https" },
		"domain":             func(m *Message) { m.Domain = "evil.example" },
		"domain, sub":        func(m *Message) { m.Domain = "broker.example.evil.example" },
		"domain, port":       func(m *Message) { m.Domain = "broker.example:444" },
		"domain, capitals":   func(m *Message) { m.Domain = "BROKER.example" },
		"domain, user":       func(m *Message) { m.Domain = "broker.example@evil.example" },
		"address":            func(m *Message) { m.Address = other },
		"statement":          func(m *Message) { m.Statement = "Take part in the raffle." },
		"no statement":       func(m *Message) { m.Statement = "" },
		"uri":                func(m *Message) { m.URI = "https://evil.example" },
		"uri, slash":         func(m *Message) { m.URI += "/" },
		"chain":              func(m *Message) { m.ChainID = 137 },
		"nonce":              func(m *Message) { m.Nonce = "aaaaaaaaaaaaaaaa" },
		"nonce, longer":      func(m *Message) { m.Nonce += "0" },
		"issued":             func(m *Message) { m.Issued = TimeOf(noon.Add(-time.Second)) },
		"issued, spelling":   func(m *Message) { m.Issued, _ = ParseTime("2026-11-21T12:00:00.000Z") },
		"expires":            func(m *Message) { m.Expires = TimeOf(noon.AddDate(1, 0, 0)) },
		"no expiry":          func(m *Message) { m.Expires = Time{} },
		"not before":         func(m *Message) { m.NotBefore = TimeOf(noon.Add(-time.Hour)) },
		"no not before":      func(m *Message) { m.NotBefore = Time{} },
		"request id":         func(m *Message) { m.RequestID = "lg_0000000" },
		"no request id":      func(m *Message) { m.RequestID = "" },
		"device":             func(m *Message) { m.Resources = []string{"urn:agentkeys:device:evil"} },
		"no device":          func(m *Message) { m.Resources = nil },
		"another resource":   func(m *Message) { m.Resources = append(m.Resources[:1:1], "https://evil.example/") },
		"the device, second": func(m *Message) { m.Resources = append([]string{"https://evil.example/"}, m.Resources...) },
	} {
		m := asked
		change(&m)
		text, err := m.Text()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := Verify(t.Context(), text, hexed(sign(key, text)), ask, noon); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, change := range map[string]func(*Ask){
		"origin":  func(a *Ask) { a.Origin = "https://other.example" },
		"address": func(a *Ask) { a.Address = other },
		"chain":   func(a *Ask) { a.ChainID = 10 },
		"nonce":   func(a *Ask) { a.Nonce = "bbbbbbbbbbbbbbbb" },
		"login":   func(a *Ask) { a.Login = "lg_another" },
		"device":  func(a *Ask) { a.Device = "another" },
		"issued":  func(a *Ask) { a.Issued = noon.Add(-time.Minute) },
		"expires": func(a *Ask) { a.Expires = noon.Add(time.Hour) },
	} {
		want := ask
		change(&want)
		text := asked.String()
		if _, err := Verify(t.Context(), text, hexed(sign(key, text)), want, noon); !errors.Is(err, ErrRefused) {
			t.Errorf("a message for another %s: %v", name, err)
		}
	}
}

func TestAskRefuses(t *testing.T) {
	_, address := keyOf(7)
	for name, change := range map[string]func(*Ask){
		"a path":          func(a *Ask) { a.Origin += "/path" },
		"no scheme":       func(a *Ask) { a.Origin = "broker.example" },
		"a user":          func(a *Ask) { a.Origin = "https://a@broker.example" },
		"no address":      func(a *Ask) { a.Address = Address{} },
		"no chain":        func(a *Ask) { a.ChainID = 0 },
		"a short nonce":   func(a *Ask) { a.Nonce = "1234567" },
		"no nonce":        func(a *Ask) { a.Nonce = "" },
		"a broken login":  func(a *Ask) { a.Login = "a\nResources:" },
		"a broken device": func(a *Ask) { a.Device = "a b" },
		"no time":         func(a *Ask) { a.Expires = a.Issued },
	} {
		a := askOf(address)
		change(&a)
		if _, err := a.Message(); !errors.Is(err, ErrMessage) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSignature changes the signature of the right message.
func TestSignature(t *testing.T) {
	key, address := keyOf(7)
	stranger, _ := keyOf(8)
	ask := askOf(address)
	text := textOf(t, ask)
	good := sign(key, text)
	edit := func(f func([]byte) []byte) string { return hexed(f(bytes.Clone(good))) }
	put := func(at int, n *big.Int) string {
		return edit(func(b []byte) []byte { n.FillBytes(b[at : at+32]); return b })
	}
	high := func(b []byte) []byte {
		new(big.Int).Sub(order, new(big.Int).SetBytes(b[32:64])).FillBytes(b[32:64])
		b[64] ^= 27 ^ 28
		return b
	}
	cases := map[string]string{
		"nothing": "", "0x": "0x", "no 0x": hex.EncodeToString(good), "no hex": "0x" + strings.Repeat("zz", 65), "odd": hexed(good)[:131],
		"64 bytes":        edit(func(b []byte) []byte { return b[:64] }),
		"66 bytes":        edit(func(b []byte) []byte { return append(b, 0) }),
		"the other v":     edit(func(b []byte) []byte { b[64] ^= 27 ^ 28; return b }),
		"r of zero":       put(0, big.NewInt(0)),
		"s of zero":       put(32, big.NewInt(0)),
		"r of the order":  put(0, order),
		"s of the order":  put(32, order),
		"r beyond it":     put(0, new(big.Int).Add(order, big.NewInt(1))),
		"r of all ones":   put(0, new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 256), big.NewInt(1))),
		"r, s and v zero": hexed(make([]byte, 65)),
		"the high s":      edit(high),
		"somebody else's": hexed(sign(stranger, text)),
		"of another text": hexed(sign(key, text+" ")),
		"v first":         edit(func(b []byte) []byte { return append(b[64:65:65], b[:64]...) }),
		"too long":        "0x" + strings.Repeat("00", maxSignature+1),
		"undeployed":      hexed(append(bytes.Clone(good), undeployed...)),
	}
	for v := range 256 {
		if v != 27 && v != 28 && v != 0 && v != 1 {
			cases["v of "+big.NewInt(int64(v)).String()] = edit(func(b []byte) []byte { b[64] = byte(v); return b })
		}
	}
	for i := range good[:64] {
		cases["bit of byte "+big.NewInt(int64(i)).String()] = edit(func(b []byte) []byte { b[i] ^= 1; return b })
	}
	for name, sig := range cases {
		if _, err := Verify(t.Context(), text, sig, ask, noon); !errors.Is(err, ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Verify(t.Context(), text, cases["undeployed"], ask, noon); !strings.Contains(err.Error(), "ERC-6492") {
		t.Errorf("an undeployed contract's: %v", err)
	}
	// Not refused because broken: with its low twin it is the same signature.
	recovered, err := recoverAddress(hash(text), high(high(bytes.Clone(good))))
	if err != nil || recovered != address {
		t.Errorf("the twin of the twin: %v", err)
	}
}

// TestWycheproof recovers the signer of each published signature.
func TestWycheproof(t *testing.T) {
	dir := wycheproof(t)
	raw, err := os.ReadFile(filepath.Join(dir, "ecdsa_secp256k1_sha256_bitcoin_test.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		TestGroups []struct {
			PublicKey struct{ Uncompressed string }
			Tests     []struct {
				TcID             int
				Comment          string
				Msg, Sig, Result string
			}
		}
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	good, bad := 0, 0
	for _, g := range file.TestGroups {
		pub, err := hex.DecodeString(g.PublicKey.Uncompressed)
		if err != nil {
			t.Fatal(err)
		}
		sum := keccak(pub[1:])
		owner := Address(sum[12:])
		for _, c := range g.Tests {
			msg, _ := hex.DecodeString(c.Msg)
			der, _ := hex.DecodeString(c.Sig)
			rs, ok := compact(der)
			if !ok {
				continue // the fault is in the DER, which a wallet's signature has not
			}
			found := false
			for v := range byte(2) {
				who, err := recoverAddress(sha(msg), append(bytes.Clone(rs), v))
				found = found || err == nil && who == owner
			}
			// Ethereum has no v for an r beyond the order: of 2^128 signatures, one.
			overflow := c.Comment == "k*G has a large x-coordinate"
			for _, v := range []byte{2, 3, 29, 30, 31, 32} {
				if who, err := recoverAddress(sha(msg), append(bytes.Clone(rs), v)); err == nil {
					t.Errorf("%d (%s): v of %d gives %s", c.TcID, c.Comment, v, who)
				}
			}
			if found != (c.Result == "valid" && !overflow) {
				t.Errorf("%d (%s): found %v, want %s", c.TcID, c.Comment, found, c.Result)
			}
			if found {
				good++
			} else {
				bad++
			}
		}
	}
	if good < 150 || bad < 20 {
		t.Errorf("only %d valid and %d invalid ones were tried", good, bad)
	}
	t.Logf("%d valid, %d invalid", good, bad)
}

// contract plays the accounts of a chain.
type contract struct {
	chain   uint64
	code    []byte
	answer  []byte
	err     error
	codeErr error
	calls   [][]byte
}

func (c *contract) Chain() uint64                                 { return c.chain }
func (c *contract) Code(context.Context, Address) ([]byte, error) { return c.code, c.codeErr }
func (c *contract) Call(_ context.Context, _ Address, data []byte) ([]byte, error) {
	c.calls = append(c.calls, data)
	return c.answer, c.err
}

func TestContract(t *testing.T) {
	_, address := keyOf(7)
	stranger, _ := keyOf(8)
	ask := askOf(address)
	text := textOf(t, ask)
	yes := append(magic[:], make([]byte, 28)...)
	odd := make([]byte, 97)
	_, _ = rand.Read(odd)
	down := errors.New("down")
	for name, c := range map[string]struct {
		chain contract
		sig   []byte
		want  error
	}{
		"yes":                       {contract{chain: 1, code: []byte{1}, answer: yes}, odd, nil},
		"yes, to 65 bytes":          {contract{chain: 1, code: []byte{1}, answer: yes}, sign(stranger, text), nil},
		"no":                        {contract{chain: 1, code: []byte{1}, answer: make([]byte, 32)}, odd, ErrSignature},
		"reverted":                  {contract{chain: 1, code: []byte{1}}, odd, ErrSignature},
		"four bytes":                {contract{chain: 1, code: []byte{1}, answer: magic[:]}, odd, ErrSignature},
		"the magic on the right":    {contract{chain: 1, code: []byte{1}, answer: append(make([]byte, 28), magic[:]...)}, odd, ErrSignature},
		"the magic and more":        {contract{chain: 1, code: []byte{1}, answer: append(magic[:3:3], bytes.Repeat([]byte{0x7e}, 29)...)}, odd, ErrSignature},
		"two words":                 {contract{chain: 1, code: []byte{1}, answer: append(yes[:32:32], make([]byte, 32)...)}, odd, ErrSignature},
		"no contract":               {contract{chain: 1, answer: yes}, odd, ErrSignature},
		"no contract, but 65 bytes": {contract{chain: 1, answer: yes}, sign(stranger, text), ErrSignature},
		"another chain":             {contract{chain: 2, code: []byte{1}, answer: yes}, odd, ErrSignature},
		"no node for the code":      {contract{chain: 1, codeErr: down}, odd, ErrUnavailable},
		"no node for the call":      {contract{chain: 1, code: []byte{1}, err: down}, odd, ErrUnavailable},
	} {
		// Whatever is refused is of no contract.
		if contract, err := Verify(t.Context(), text, hexed(c.sig), ask, noon, &c.chain); !errors.Is(err, c.want) || (c.want == nil) != contract {
			t.Errorf("%s: %v, %v", name, contract, err)
		}
	}
	// The account's own key needs no node, even where there is code: EIP-7702.
	key, _ := keyOf(7)
	c := contract{chain: 1, code: []byte{0xef, 1, 0}, err: down, codeErr: down}
	if contract, err := Verify(t.Context(), text, hexed(sign(key, text)), ask, noon, &c); err != nil || contract {
		t.Errorf("the key of an account with code: %v, %v", contract, err)
	}
	// Nothing is asked for a message that is refused.
	c = contract{chain: 1, code: []byte{1}, answer: yes}
	if _, err := Verify(t.Context(), text, hexed(odd), ask, noon.Add(time.Hour), &c); !errors.Is(err, ErrRefused) || len(c.calls) != 0 {
		t.Errorf("an expired message reached the contract: %v", err)
	}
}

func TestCallData(t *testing.T) {
	h := hash("hello")
	data := isValidSignature(h, []byte{0xaa, 0xbb, 0xcc})
	want := "1626ba7e" + hex.EncodeToString(h[:]) + strings.Repeat("0", 62) + "40" + strings.Repeat("0", 63) + "3" + "aabbcc" + strings.Repeat("0", 58)
	if hex.EncodeToString(data) != want {
		t.Errorf("%x", data)
	}
	if n := len(isValidSignature(h, make([]byte, 64))); n != 4+32*3+64 {
		t.Errorf("64 bytes take %d", n)
	}
	sum := keccak([]byte("isValidSignature(bytes32,bytes)"))
	if !bytes.Equal(sum[:4], magic[:]) {
		t.Error("the magic value is not the selector")
	}
	// The published hash of personal_sign("hello"), as all wallet software has it.
	if got := hex.EncodeToString(h[:]); got != "50b2c43fd39106bafbba0da34fc430e1f91e3c96ea2acee2bc34119f92b37750" {
		t.Errorf("hello hashes to %s", got)
	}
}

// wycheproof is where the published vectors are: in the module cache, at the
// version that internal/envelope pins.
func wycheproof(t *testing.T) string {
	t.Helper()
	const module, sum = "github.com/c2sp/wycheproof@v0.0.0-20260902155932-3fa63dd0344a", "h1:pNbL2nztRsWfW/ispAwsvcDFxs9Id38uIsR2/Up5G2c="
	cmd := exec.Command("go", "mod", "download", "-json", module)
	cmd.Dir = t.TempDir() // outside this module, whose go.sum it would write to
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	out, err := cmd.Output()
	var m struct{ Dir, Sum, Error string }
	if jsonErr := json.Unmarshal(out, &m); jsonErr != nil || err != nil || m.Sum != sum {
		t.Fatalf("no Wycheproof vectors in the module cache (%v, %s, %s); `make setup` fetches them", err, m.Error, m.Sum)
	}
	return filepath.Join(m.Dir, "testvectors_v1")
}
