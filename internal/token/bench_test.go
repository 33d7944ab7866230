package token

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"testing"
	"time"
)

// BenchmarkSignP256 is the floor of BenchmarkIssueIdentity: the bare signature.
func BenchmarkSignP256(b *testing.B) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	digest := sha256.Sum256([]byte("x"))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ecdsa.SignASN1(rand.Reader, k, digest[:]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkIssueIdentity(b *testing.B) {
	for _, alg := range []Alg{ES256, RS256} {
		b.Run(string(alg), func(b *testing.B) {
			w := newWorld(b)
			i := w.issuer()
			id := w.identity()
			b.ReportAllocs()
			for b.Loop() {
				id.ID = NewID()
				if _, err := i.Identity(id, alg, w.now); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkVerifySession(b *testing.B) {
	w := newWorld(b)
	raw, err := w.issuer().Session(w.session(Agent), w.now)
	if err != nil {
		b.Fatal(err)
	}
	v := w.verifier(typSession)
	b.Run("signature", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := v.Session(raw, w.now); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("cached", func(b *testing.B) {
		c := NewCache(1000)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.Session(v, raw, w.now.Add(time.Second)); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkVerifyProof(b *testing.B) {
	w := newWorld(b)
	raw, err := NewProof(w.device, "POST", "https://broker.example/v1/token", "a.b.c", w.now)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := VerifyProof(raw, "POST", "https://broker.example/v1/token", "a.b.c", w.now); err != nil {
			b.Fatal(err)
		}
	}
}
