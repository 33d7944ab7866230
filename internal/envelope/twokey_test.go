package envelope

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"errors"
	"math/bits"
	"testing"
)

// twoKey is an envelope whose GCM layer verifies under two keys, and which is
// wholly valid under the first.
type twoKey struct {
	sealed []byte
	record Record
}

// freeChars characters of the secret's base64 are free in their low 3 bits:
// "p" to "w" are 0x70 to 0x77, so any choice of those bits is valid base64.
// That is 192 unknowns for the 128 equations that make the two tags equal.
const freeChars = 64

// craftTwoKey makes one by the attack of Dodis, Grubbs, Ristenpart and Woodage
// (CRYPTO 2018), narrowed so that one of the two plaintexts is even a record.
// For a fixed ciphertext length, GHASH and so tag1 xor tag2 is an affine
// function over GF(2) of the ciphertext bits: ask for it bit by bit, solve.
func craftTwoKey(t testing.TB, one, two KEK, name Name, h Header, salt [saltSize]byte) twoKey {
	t.Helper()
	b64 := bytes.Repeat([]byte("p"), freeChars)
	raw, err := base64.StdEncoding.DecodeString(string(b64))
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := seal(one, name, h, sample(raw), salt)
	if err != nil {
		t.Fatal(err)
	}
	head, body := sealed[:headerSize], sealed[headerSize:len(sealed)-tagSize]
	a1, n1 := plainGCM(t, one, salt)
	a2, n2 := plainGCM(t, two, salt)
	ad := associated(head, name)
	tags := func(body []byte) [16]byte { return xor(tagFor(a1, n1, body, ad), tagFor(a2, n2, body, ad)) }

	plaintext, err := a1.Open(nil, n1, sealed[headerSize:], ad)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(plaintext, b64)
	base := tags(body)
	var columns [][16]byte
	for i := range 3 * freeChars {
		flip(body, at, i)
		columns = append(columns, xor(tags(body), base))
		flip(body, at, i)
	}
	for _, i := range solve(t, columns, base) {
		flip(body, at, i)
		flip(plaintext, at, i)
	}
	tag := tagFor(a1, n1, body, ad)
	copy(sealed[len(sealed)-tagSize:], tag[:])
	r, err := parseRecord(plaintext)
	if err != nil {
		t.Fatal(err)
	}
	return twoKey{sealed, r}
}

func flip(b []byte, at, i int) { b[at+i/3] ^= 1 << (i % 3) }
func xor(a, b [16]byte) [16]byte {
	for i := range a {
		a[i] ^= b[i]
	}
	return a
}

// plainGCM is the cipher of an envelope without its commitment.
func plainGCM(t testing.TB, k KEK, salt [saltSize]byte) (cipher.AEAD, []byte) {
	t.Helper()
	d, err := derive(k, salt[:])
	if err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(d.message())
	if err != nil {
		t.Fatal(err)
	}
	a, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	return a, d.nonce()
}

// tagFor returns the tag of a given ciphertext: sealing zeros yields the key
// stream, and sealing ciphertext xor key stream yields that ciphertext.
func tagFor(a cipher.AEAD, nonce, body, ad []byte) [16]byte {
	p := a.Seal(nil, nonce, make([]byte, len(body)), ad)[:len(body)]
	for i := range p {
		p[i] ^= body[i]
	}
	return [16]byte(a.Seal(nil, nonce, p, ad)[len(body):])
}

// solve returns which columns add up to want, by Gaussian elimination.
func solve(t testing.TB, columns [][16]byte, want [16]byte) []int {
	t.Helper()
	type row struct {
		sum  [16]byte
		from [3 * freeChars]bool // the columns that make it
	}
	basis := map[int]row{} // by leading bit
	lead := func(v [16]byte) int {
		for i, c := range v {
			if c != 0 {
				return i*8 + bits.LeadingZeros8(c)
			}
		}
		return -1
	}
	reduce := func(r row) (row, int) {
		for {
			p := lead(r.sum)
			b, ok := basis[p]
			if !ok {
				return r, p
			}
			r.sum = xor(r.sum, b.sum)
			for i := range r.from {
				r.from[i] = r.from[i] != b.from[i]
			}
		}
	}
	for i, c := range columns {
		r := row{sum: c}
		r.from[i] = true
		if r, p := reduce(r); p >= 0 {
			basis[p] = r
		}
	}
	r, p := reduce(row{sum: want})
	if p >= 0 {
		t.Fatal("no such ciphertext")
	}
	var picked []int
	for i, in := range r.from {
		if in {
			picked = append(picked, i)
		}
	}
	return picked
}

func TestTwoKeyCiphertext(t *testing.T) {
	one, two := testKEK(t, kekFor(aliceRouter, 1)), testKEK(t, kekFor(aliceRouter, 2))
	name, h, salt := aliceRouter.parse(), Header{1, 2}, [saltSize]byte(stream("two-key test", saltSize))
	c := craftTwoKey(t, one, two, name, h, salt)
	ad := associated(c.sealed[:headerSize], name)

	var plain [2][]byte
	for i, k := range []KEK{one, two} {
		a, nonce := plainGCM(t, k, salt)
		p, err := a.Open(nil, nonce, c.sealed[headerSize:], ad)
		if err != nil {
			t.Fatalf("plain GCM refuses key %d: the ciphertext shows nothing", i+1)
		}
		plain[i] = p
	}
	if bytes.Equal(plain[0], plain[1]) {
		t.Fatal("both keys give one plaintext: the ciphertext shows nothing")
	}
	if _, r, err := Open(one, name, c.sealed); err != nil || !r.Secret.Equal(c.record.Secret) {
		t.Fatalf("under the key it commits to: %v", err)
	}
	// GCM would accept, so a decryption before the comparison would end in
	// ErrRecord, having decrypted under a key that sealed nothing.
	gotHeader, r, err := Open(two, name, c.sealed)
	if !errors.Is(err, ErrCommitment) {
		t.Errorf("under the other key: %v, want ErrCommitment", err)
	}
	wantNothing(t, "other key", gotHeader, r)
}
