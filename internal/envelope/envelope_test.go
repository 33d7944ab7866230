package envelope

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/secret"
)

// honest is one sealed record, with the key and name it opens under.
func honest(t testing.TB) (KEK, Name, []byte) {
	t.Helper()
	h := Header{Epoch: 1, Revision: 1}
	kek := testKEK(t, kekFor(aliceRouter, h.Epoch))
	sealed, err := Seal(kek, aliceRouter.parse(), h, sample([]byte("sk-or-v1-honest")))
	if err != nil {
		t.Fatal(err)
	}
	return kek, aliceRouter.parse(), sealed
}

func TestSealOpens(t *testing.T) {
	kek, name := testKEK(t, kekFor(aliceRouter, 1)), aliceRouter.parse()
	h, r := Header{4, 1<<60 + 1}, sample([]byte("a\x00b\xff"))
	r.VerifiedAt = r.VerifiedAt.Add(999 * time.Millisecond).In(time.FixedZone("", 3600))
	sealed, err := Seal(kek, name, h, r)
	if err != nil {
		t.Fatal(err)
	}
	gotHeader, got, err := Open(kek, name, sealed)
	if err != nil {
		t.Fatal(err)
	}
	want := sample([]byte("a\x00b\xff"))
	if gotHeader != h || !got.Secret.Equal(want.Secret) || got.Kind != want.Kind || got.KeyID != want.KeyID ||
		got.Route != want.Route || got.VerifiedAt != want.VerifiedAt || got.ExpiresAt != want.ExpiresAt {
		t.Error("what opens is not what was sealed")
	}
	if u, err := ParseHeader(sealed); err != nil || Header(u) != h {
		t.Errorf("ParseHeader: %v, %v", u, err)
	}
	if !r.Secret.Equal(want.Secret) || kek.isZero() {
		t.Error("Seal or Open spent its arguments")
	}
}

// TestEveryEnvelopeIsFresh: salt, commitment, ciphertext and tag of the same
// record never repeat, so neither do key and nonce.
func TestEveryEnvelopeIsFresh(t *testing.T) {
	_, _, a := honest(t)
	_, _, b := honest(t)
	for _, f := range []struct{ from, to int }{{saltAt, commitmentAt}, {commitmentAt, headerSize}, {headerSize, len(a) - tagSize}, {len(a) - tagSize, len(a)}} {
		if bytes.Equal(a[f.from:f.to], b[f.from:f.to]) {
			t.Errorf("bytes %d to %d repeat", f.from, f.to)
		}
	}
}

func TestSealRefusesRecords(t *testing.T) {
	kek, name, _ := honest(t)
	with := func(change func(*Record)) Record { r := sample([]byte("s")); change(&r); return r }
	largest := largestSecret(t)
	for _, c := range []struct {
		what string
		r    Record
		want error
	}{
		{"zero record", Record{}, ErrRecord},
		{"empty secret", with(func(r *Record) { r.Secret = secret.New([]byte{}) }), ErrRecord},
		{"kind not UTF-8", with(func(r *Record) { r.Kind = "\xff" }), ErrRecord},
		{"key id not UTF-8", with(func(r *Record) { r.KeyID = "\xed\xa0\x80" }), ErrRecord},
		{"route not UTF-8", with(func(r *Record) { r.Route = "a\xc0" }), ErrRecord},
		{"verified in 1969", with(func(r *Record) { r.VerifiedAt = time.Unix(-1, 0) }), ErrRecord},
		{"expires at the Unix epoch", with(func(r *Record) { r.ExpiresAt = time.Unix(0, 0) }), ErrRecord},
		{"expires in 10000", with(func(r *Record) { r.ExpiresAt = time.Unix(maxTime+1, 0) }), ErrRecord},
		{"largest", sample(make([]byte, largest)), nil},
		{"one more", sample(make([]byte, largest+3)), ErrTooLarge},
		{"huge secret", sample(make([]byte, 1<<20)), ErrTooLarge},
		{"huge key id", with(func(r *Record) { r.KeyID = strings.Repeat("\x00", MaxPlaintext/6) }), ErrTooLarge},
		{"huger key id", with(func(r *Record) { r.KeyID = strings.Repeat("k", 1<<20) }), ErrTooLarge},
	} {
		b, err := Seal(kek, name, Header{1, 1}, c.r)
		if !errors.Is(err, c.want) || (err == nil) != (b != nil) {
			t.Errorf("%s: %v, want %v", c.what, err, c.want)
		}
		if len(b) > MaxSealed {
			t.Errorf("%s: %d bytes, more than MaxSealed", c.what, len(b))
		}
	}
}

// TestLengthIsHidden: within a padding unit the length of a key shows nothing.
func TestLengthIsHidden(t *testing.T) {
	kek, name, _ := honest(t)
	sizes := map[int]bool{}
	for n := 1; n <= 80; n++ {
		b, err := Seal(kek, name, Header{1, 1}, sample(make([]byte, n)))
		if err != nil {
			t.Fatal(err)
		}
		sizes[len(b)] = true
	}
	if len(sizes) != 1 || !sizes[minSealed] {
		t.Errorf("secrets of 1 to 80 bytes make envelopes of %v bytes, want %d", sizes, minSealed)
	}
}

// TestErrorsDoNotEcho: whoever reads the log learns nothing of a malformed
// record, of which the secret may be the readable part.
func TestErrorsDoNotEcho(t *testing.T) {
	kek, name, _ := honest(t)
	const canary = "90210"
	for _, text := range []string{`{"secret":` + canary, `{"` + canary + `":1}`, canary, `{"expires_at":` + canary + `e9}`, `{"kind":` + canary + `}`} {
		sealed := sealRaw(t, kek, name, Header{1, 1}, padded(text), [saltSize]byte{1})
		_, _, err := Open(kek, name, sealed)
		if !errors.Is(err, ErrRecord) || strings.Contains(err.Error(), canary) {
			t.Errorf("%v, want ErrRecord that quotes nothing", err)
		}
	}
}
