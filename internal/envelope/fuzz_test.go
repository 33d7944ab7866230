package envelope

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/litentry/agentkeys/internal/secret"
)

// FuzzOpen takes any bytes as an envelope, and as the plaintext of one, which
// the tag would otherwise keep the fuzzer from.
func FuzzOpen(f *testing.F) {
	for _, v := range readVectors(f).Vectors {
		if len(v.Sealed) < 1000 {
			f.Add(v.Sealed)
		}
	}
	for _, m := range malformed() {
		f.Add(m.plaintext)
	}
	f.Add(padded(canonical))
	kek, name := testKEK(f, kekFor(aliceRouter, 1)), aliceRouter.parse()
	salt := [saltSize]byte(stream("fuzz", saltSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		opensToItself(t, kek, name, b)
		opensToItself(t, kek, name, sealRaw(t, kek, name, Header{1, 1}, b, salt))
		opensToItself(t, kek, name, sealRaw(t, kek, name, Header{1, 1}, padded(string(b)), salt))
	})
}

// opensToItself wants a typed refusal, or a record that seals to those bytes.
func opensToItself(t *testing.T, kek KEK, name Name, sealed []byte) {
	t.Helper()
	h, r, err := Open(kek, name, sealed)
	if err != nil {
		if _, known := results[resultOf(err)]; !known {
			t.Fatalf("untyped refusal: %v", err)
		}
		wantNothing(t, "refusal", h, r)
		return
	}
	again, err := seal(kek, name, h, r, saltOf(sealed))
	if err != nil || !bytes.Equal(again, sealed) {
		t.Fatalf("opens, but seals to other bytes (error %v)", err)
	}
}

func FuzzParseHeader(f *testing.F) {
	for _, v := range readVectors(f).Vectors {
		if len(v.Sealed) < 1000 {
			f.Add(v.Sealed)
		}
	}
	kek, name := testKEK(f, kekFor(aliceRouter, 1)), aliceRouter.parse()
	f.Fuzz(func(t *testing.T, b []byte) {
		u, err := ParseHeader(b)
		if err != nil {
			if _, _, openErr := Open(kek, name, b); u != (UnverifiedHeader{}) || openErr == nil || resultOf(openErr) != resultOf(err) {
				t.Fatalf("ParseHeader says %v with %v, Open says %v", u, err, openErr)
			}
			return
		}
		again := []byte{version}
		again = binary.BigEndian.AppendUint32(again, u.Epoch)
		again = binary.BigEndian.AppendUint64(again, u.Revision)
		if !bytes.HasPrefix(b, again) {
			t.Fatalf("%x parses as %x", b[:len(again)], again)
		}
	})
}

func FuzzSealOpen(f *testing.F) {
	f.Add([]byte("sk-or-v1-0123"), "api-key", "key_01", "mint", int64(1767225600), int64(0), uint32(1), uint64(1))
	f.Add([]byte{0, 0xff}, "\x00\u2028", "\"\\\b\f\n\r\t\x1f\x7f", "<&>🔑\ufffd", int64(-1), int64(1e12), uint32(0), uint64(1<<63))
	f.Add(make([]byte, 300), "\xff", "", "", int64(1), int64(1), uint32(1), uint64(1))
	kek, name := testKEK(f, kekFor(aliceRouter, 1)), aliceRouter.parse()
	f.Fuzz(func(t *testing.T, b []byte, kind, keyID, route string, verified, expires int64, epoch uint32, revision uint64) {
		h := Header{epoch, revision}
		r := Record{secret.New(bytes.Clone(b)), kind, keyID, route, time.Unix(verified, 5), time.Unix(expires, 0).UTC()}
		sealed, err := Seal(kek, name, h, r)
		valid := func(s int64) bool { return s >= 1 && s <= maxTime }
		zeroTime := time.Time{}.Unix()
		fits := len(b) > 0 && (valid(verified) || verified == zeroTime) && (valid(expires) || expires == zeroTime) &&
			utf8.ValidString(kind) && utf8.ValidString(keyID) && utf8.ValidString(route)
		switch {
		case epoch == 0 || revision == 0:
			if !errors.Is(err, ErrZero) {
				t.Fatalf("%v, want ErrZero", err)
			}
			return
		case errors.Is(err, ErrTooLarge):
			if len(b)/3*4+6*(len(kind)+len(keyID)+len(route)) < MaxPlaintext-300 {
				t.Fatal("would have fitted")
			}
			return
		case errors.Is(err, ErrRecord):
			if fits {
				t.Fatalf("a valid record: %v", err)
			}
			return
		case err != nil || !fits:
			t.Fatalf("a malformed record: %v", err)
		}
		gotHeader, got, err := Open(kek, name, sealed)
		if err != nil {
			t.Fatal(err)
		}
		if gotHeader != h || !got.Secret.Equal(r.Secret) || got.Kind != kind || got.KeyID != keyID || got.Route != route ||
			got.VerifiedAt.Unix() != verified && verified != zeroTime || got.ExpiresAt.Unix() != expires {
			t.Fatal("what opens is not what was sealed")
		}
		opensToItself(t, kek, name, sealed)
	})
}
