package envelope

import (
	"crypto/rand"
	"fmt"
	"testing"
)

// The bare rows are AES-256-GCM of the same padded plaintext with a key that
// is set up anew each time, as every envelope has its own.
var benchSizes = []int{48, 4 << 10, 32 << 10}

func BenchmarkSeal(b *testing.B) {
	for _, n := range benchSizes {
		kek, name, r := testKEK(b, kekFor(aliceRouter, 1)), aliceRouter.parse(), sample(make([]byte, n))
		size := paddedSize(b, r)
		b.Run(fmt.Sprintf("envelope/%d", n), func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Seal(kek, name, Header{1, 1}, r); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("bare-gcm/%d", n), func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			key, p := make([]byte, keySize), make([]byte, size)
			for b.Loop() {
				nonce := make([]byte, nonceSize)
				_, _ = rand.Read(nonce)
				a, err := newAEAD(key)
				if err != nil {
					b.Fatal(err)
				}
				a.Seal(nil, nonce, p, nil)
			}
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, n := range benchSizes {
		kek, name, r := testKEK(b, kekFor(aliceRouter, 1)), aliceRouter.parse(), sample(make([]byte, n))
		sealed, err := Seal(kek, name, Header{1, 1}, r)
		if err != nil {
			b.Fatal(err)
		}
		size := paddedSize(b, r)
		b.Run(fmt.Sprintf("envelope/%d", n), func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := Open(kek, name, sealed); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("bare-gcm/%d", n), func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			key, nonce := make([]byte, keySize), make([]byte, nonceSize)
			a, err := newAEAD(key)
			if err != nil {
				b.Fatal(err)
			}
			c := a.Seal(nil, nonce, make([]byte, size), nil)
			for b.Loop() {
				a, err := newAEAD(key)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := a.Open(nil, nonce, c, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func paddedSize(b *testing.B, r Record) int {
	t, err := r.text()
	if err != nil {
		b.Fatal(err)
	}
	return t.size()
}
