package envelope

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
)

func wantRefusal(t *testing.T, what string, kek KEK, name Name, sealed []byte, want ...error) {
	t.Helper()
	h, r, err := Open(kek, name, sealed)
	wantNothing(t, what, h, r)
	for _, w := range want {
		if errors.Is(err, w) {
			return
		}
	}
	t.Errorf("%s: %v, want %v", what, err, want)
}

func TestEveryBitFlip(t *testing.T) {
	kek, name, sealed := honest(t)
	for bit := range 8 * len(sealed) {
		at := bit / 8
		b := bytes.Clone(sealed)
		b[at] ^= 1 << (bit % 8)
		var want error
		switch {
		case at == 0:
			want = ErrVersion
		case at < saltAt:
			want = ErrDecrypt
			if b[4] == 0 && at < 5 || b[12] == 0 && at >= 5 { // 1 has become 0
				want = ErrZero
			}
		case at < headerSize:
			want = ErrCommitment
		default:
			want = ErrDecrypt
		}
		wantRefusal(t, fmt.Sprintf("bit %d of byte %d", bit%8, at), kek, name, b, want)
	}
}

func TestEveryCut(t *testing.T) {
	kek, name, _ := honest(t)
	sealed, err := Seal(kek, name, Header{1, 1}, sample(make([]byte, 300)))
	if err != nil {
		t.Fatal(err)
	}
	for n := range sealed {
		want := ErrTruncated
		if n >= minSealed {
			want = ErrDecrypt
		}
		wantRefusal(t, fmt.Sprintf("cut to %d", n), kek, name, sealed[:n], want)
		if n > 0 {
			wantRefusal(t, fmt.Sprintf("without the first %d", n), kek, name, sealed[n:], ErrVersion, ErrTruncated, ErrZero, ErrCommitment)
		}
	}
	for n := 1; n <= 2*padUnit; n++ {
		wantRefusal(t, fmt.Sprintf("extended by %d", n), kek, name, append(bytes.Clone(sealed), make([]byte, n)...), ErrDecrypt)
	}
	wantRefusal(t, "too large", kek, name, append(bytes.Clone(sealed), make([]byte, MaxSealed)...), ErrTooLarge)
}

// TestSwap moves envelopes between every two of four places, each with the
// key that the signer would give for it, and with the key that sealed it.
func TestSwap(t *testing.T) {
	type place struct {
		name  vectorName
		epoch uint32
	}
	places := []place{{aliceRouter, 1}, {aliceBrave, 1}, {bobRouter, 1}, {aliceRouter, 2}}
	for _, from := range places {
		kek := testKEK(t, kekFor(from.name, from.epoch))
		sealed, err := Seal(kek, from.name.parse(), Header{from.epoch, 5}, sample([]byte("s")))
		if err != nil {
			t.Fatal(err)
		}
		for _, to := range places {
			if from == to {
				continue
			}
			what := fmt.Sprintf("%v at %v", from, to)
			wantRefusal(t, what, testKEK(t, kekFor(to.name, to.epoch)), to.name.parse(), sealed, ErrCommitment)
			if from.name != to.name {
				wantRefusal(t, what+" with its own key", kek, to.name.parse(), sealed, ErrDecrypt)
			}
		}
	}
}

// TestSplice joins the header of one envelope to the body of another of the
// same key and name: an old body under a new revision, for instance.
func TestSplice(t *testing.T) {
	kek, name, a := honest(t)
	b, err := Seal(kek, name, Header{1, 2}, sample([]byte("sk-or-v1-newer!")))
	if err != nil {
		t.Fatal(err)
	}
	for at := 1; at < len(a); at++ {
		spliced := append(bytes.Clone(a[:at]), b[at:]...)
		if bytes.Equal(spliced, a) || bytes.Equal(spliced, b) {
			continue // their first bytes are the same
		}
		wantRefusal(t, fmt.Sprintf("spliced at %d", at), kek, name, spliced, ErrCommitment, ErrDecrypt)
	}
}

func TestZeroIsRefused(t *testing.T) {
	kek, name, sealed := honest(t)
	cleared := testKEK(t, kekFor(aliceRouter, 1))
	cleared.Clear()
	h, r := Header{1, 1}, sample([]byte("s"))
	for _, c := range []struct {
		what string
		kek  KEK
		name Name
		h    Header
	}{
		{"zero key", KEK{}, name, h},
		{"cleared key", cleared, name, h},
		{"zero name", kek, Name{}, h},
		{"zero wallet", kek, Name{Service: name.Service}, h},
		{"zero service", kek, Name{Wallet: name.Wallet}, h},
		{"zero epoch", kek, name, Header{Revision: 1}},
		{"zero revision", kek, name, Header{Epoch: 1}},
	} {
		if b, err := Seal(c.kek, c.name, c.h, r); !errors.Is(err, ErrZero) || b != nil {
			t.Errorf("Seal with %s: %v, want ErrZero", c.what, err)
		}
		if c.h == h {
			wantRefusal(t, c.what, c.kek, c.name, sealed, ErrZero)
		}
	}
}
