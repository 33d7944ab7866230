package envelope

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/secret"
)

// forge makes vectors from labels alone, so that they are the same every time.
type forge struct {
	t       testing.TB
	vectors []vector
}

var (
	aliceRouter = vectorName{"0x52908400098527886e0f7030069857d2e4169ee7", "openrouter"}
	aliceBrave  = vectorName{"0x52908400098527886e0f7030069857d2e4169ee7", "brave-search"}
	bobRouter   = vectorName{"0xde709f2102306220921060314715629080e2fb77", "openrouter"}
)

// stream returns n bytes that depend on the label only.
func stream(label string, n int) []byte {
	var b []byte
	for i := 0; len(b) < n; i++ {
		s := sha256.Sum256(fmt.Appendf(nil, "%s/%d", label, i))
		b = append(b, s[:]...)
	}
	return b[:n]
}

// kekFor stands in for the signer: another name or epoch has another key.
func kekFor(n vectorName, epoch uint32) string {
	return hex.EncodeToString(stream(fmt.Sprintf("kek %s %s %d", n.Wallet, n.Service, epoch), kekSize))
}

func (f *forge) salt(id string) [saltSize]byte { return [saltSize]byte(stream("salt "+id, saltSize)) }

func (f *forge) seal(id, kek string, n vectorName, h Header, r Record) []byte {
	f.t.Helper()
	b, err := seal(testKEK(f.t, kek), n.parse(), h, r, f.salt(id))
	if err != nil {
		f.t.Fatalf("%s: %v", id, err)
	}
	return b
}

// sealRaw seals a plaintext that Seal would never write.
func (f *forge) sealRaw(id, kek string, n vectorName, h Header, plaintext []byte) []byte {
	f.t.Helper()
	return sealRaw(f.t, testKEK(f.t, kek), n.parse(), h, plaintext, f.salt(id))
}

func sealRaw(t testing.TB, kek KEK, n Name, h Header, plaintext []byte, salt [saltSize]byte) []byte {
	t.Helper()
	b, err := sealPadded(kek, n, h, append(make([]byte, headerSize), plaintext...), salt)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (f *forge) valid(id string, n vectorName, h Header, r Record) []byte {
	f.t.Helper()
	kek := kekFor(n, h.Epoch)
	b := f.seal(id, kek, n, h, r)
	f.vectors = append(f.vectors, vector{
		ID: "valid/" + id, KEK: kek, Name: n, Sealed: b, Result: "ok",
		Header: describeHeader(h), Record: describeRecord(r),
	})
	return b
}

func (f *forge) invalid(id, kek string, n vectorName, sealed []byte, result string) {
	f.vectors = append(f.vectors, vector{ID: "invalid/" + id, KEK: kek, Name: n, Sealed: sealed, Result: result})
}

func sample(s []byte) Record {
	return Record{
		Secret: secret.New(s), Kind: "api-key", KeyID: "key_01", Route: "mint",
		VerifiedAt: time.Unix(1767225600, 0).UTC(), ExpiresAt: time.Unix(1798761600, 0).UTC(),
	}
}

func makeVectors(t testing.TB) []vector {
	f := &forge{t: t}
	f.validSizes()
	f.validText()
	f.validNumbers()
	f.invalidNames()
	f.invalidHeaders()
	f.invalidBytes()
	f.invalidPlaintexts()
	f.invalidKeys()
	return f.vectors
}

func (f *forge) validSizes() {
	h := Header{1, 1}
	for _, n := range []int{1, 2, 3, 4, 15, 16, 17, 31, 32, 33, 48, 64, 73, 127, 128, 129, 191, 255, 256, 257, 511, 512, 1000, 1024, 2048, 4096} {
		id := fmt.Sprintf("size/%d", n)
		f.valid(id, aliceRouter, h, sample(stream(id, n)))
	}
	// Around the edge of a padding unit, one byte at a time, by the key id.
	for n := 250; n <= 258; n++ {
		r := sample([]byte("sk-or-v1-edge"))
		t, err := r.text()
		if err != nil {
			f.t.Fatal(err)
		}
		used := len(t.head) + base64.StdEncoding.EncodedLen(len(t.secret)) + len(t.tail)
		r.KeyID += strings.Repeat("x", n-used)
		f.valid(fmt.Sprintf("padding/json-%d", n), aliceRouter, h, r)
	}
	f.valid("size/largest", aliceRouter, h, sample(stream("largest", largestSecret(f.t))))
}

// largestSecret is the most that fits beside the metadata of sample.
func largestSecret(t testing.TB) int {
	s, err := sample([]byte("s")).text()
	if err != nil {
		t.Fatal(err)
	}
	return (MaxPlaintext - len(s.head) - len(s.tail)) / 4 * 3
}

func (f *forge) validText() {
	h := Header{1, 7}
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for i, s := range []string{
		string(all), "\x00", "\x00\x00\x00\x00", "a\x00", "\xff\xfe", "\xed\xa0\x80", "\xc0\x80", "line\nline\r\n", " space ",
		"sk-or-v1-0123456789abcdef", "pässwörd", "密钥", "🔑🗝️", "\u2028\u2029", "{\"v\":1}", "\"}", "c2VjcmV0", "=====",
	} {
		f.valid(fmt.Sprintf("secret/%02d", i), aliceBrave, h, sample([]byte(s)))
	}
	for i, s := range []string{
		"", "0", "ключ", "鍵-42", "🔑", "a\"b", `a\b`, "a/b", "\b\t\n\f\r", "\x00\x01\x1f\x7f", "\u0080", "\u2028\u2029",
		"<script>&amp;</script>", "\ufeff", "\ufffd", "e\u0301", "\u00e9", "\U0010ffff", "=====", strings.Repeat("k", 300),
	} {
		r := sample([]byte("s"))
		r.KeyID = s
		f.valid(fmt.Sprintf("key-id/%02d", i), bobRouter, h, r)
	}
	r := sample([]byte("s"))
	r.Kind, r.Route = "oauth-\u2028token", "wëb\t\"door\""
	f.valid("kind-and-route", bobRouter, h, r)
	f.valid("only-a-secret", bobRouter, h, Record{Secret: secret.FromString("s")})
}

func (f *forge) validNumbers() {
	for _, e := range []uint32{2, 255, 256, 0x01000000, math.MaxUint32} {
		f.valid(fmt.Sprintf("epoch/%d", e), aliceRouter, Header{e, 1}, sample([]byte("s")))
	}
	for _, n := range []uint64{2, 256, 1 << 32, 1<<53 + 1, math.MaxUint64} {
		f.valid(fmt.Sprintf("revision/%d", n), aliceRouter, Header{1, n}, sample([]byte("s")))
	}
	for _, s := range []int64{1, 1 << 31, 1 << 32, maxTime} {
		r := sample([]byte("s"))
		r.VerifiedAt, r.ExpiresAt = time.Unix(s, 0), time.Unix(maxTime+1-s, 0)
		f.valid(fmt.Sprintf("time/%d", s), aliceRouter, Header{1, 1}, r)
	}
	for i, n := range []vectorName{
		{"0x0000000000000000000000000000000000000001", "0"},
		{"0xffffffffffffffffffffffffffffffffffffffff", strings.Repeat("z", 63)},
		{"0x0000000000000000000000000a00000000000000", "a-"},
	} {
		f.valid(fmt.Sprintf("name/%d", i), n, Header{1, 1}, sample([]byte("s")))
	}
}
