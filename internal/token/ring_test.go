package token

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestRingLaws holds any ring at any moment against what rotation promises.
func TestRingLaws(t *testing.T) {
	p := pool()
	base := time.Unix(1_800_000_000, 0)
	rapid.Check(t, func(t *rapid.T) {
		longest := MasterLife + time.Duration(rapid.IntRange(0, 10).Draw(t, "longer"))*time.Hour
		hours := rapid.SliceOfN(rapid.IntRange(0, 40), 1, 8).Draw(t, "hours")
		var keys []Key
		for i, h := range hours {
			from, alg, s := base.Add(time.Duration(h)*time.Hour), ES256, crypto.Signer(nil)
			if i < 6 {
				s = p.ec[i]
			} else {
				s, alg = p.rsa[i-6], RS256
			}
			k, err := KeyFrom(s, alg, from)
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, k)
		}
		r, err := NewRing(keys, longest)
		if err != nil {
			t.Fatal(err)
		}
		shuffled, err := NewRing(rapid.Permutation(keys).Draw(t, "order"), longest)
		if err != nil {
			t.Fatal(err)
		}
		now := base.Add(time.Duration(rapid.Int64Range(-5*3600, 70*3600).Draw(t, "second")) * time.Second)
		if rapid.Bool().Draw(t, "at a border") {
			now = rapid.SampledFrom(keys).Draw(t, "key").SignsFrom().
				Add(rapid.SampledFrom([]time.Duration{0, longest, longest + Leeway}).Draw(t, "border")).
				Add(rapid.SampledFrom([]time.Duration{-time.Second, 0, time.Second}).Draw(t, "side"))
		}
		one, err1 := r.JWKS(now)
		two, err2 := shuffled.JWKS(now)
		if err1 != nil || err2 != nil || !bytes.Equal(one, two) {
			t.Fatalf("the same keys in another order: %s, %s (%v, %v)", one, two, err1, err2)
		}
		for _, alg := range []Alg{ES256, RS256} {
			signing, ok := r.Signing(alg, now)
			var want Key // the newest that has begun
			for _, k := range keys {
				if k.Alg() == alg && !k.SignsFrom().After(now) &&
					(want.IsZero() || k.SignsFrom().After(want.SignsFrom()) || k.SignsFrom().Equal(want.SignsFrom()) && k.KID() > want.KID()) {
					want = k
				}
			}
			if ok == want.IsZero() || ok && signing != want.KID() {
				t.Fatalf("%s signs %s at %v, want %v", alg, signing, now, want)
			}
			if !ok {
				continue
			}
			// What it signs now can be verified until the longest life is over,
			// leeway included, by whoever looks at the JWKS of that moment.
			for _, after := range []time.Duration{0, time.Second, longest / 2, longest, longest + Leeway - time.Second} {
				if !slices.Contains(r.Published(now.Add(after)), signing) {
					t.Fatalf("%s is not published %v after it signed", signing, after)
				}
				if _, _, ok := r.keyAt(signing, now.Add(after)); !ok {
					t.Fatalf("%s is not believed %v after it signed", signing, after)
				}
			}
		}
		// Future keys are published, and those long replaced are not.
		for _, k := range keys {
			replaced := time.Time{}
			for _, o := range keys {
				later := o.SignsFrom().After(k.SignsFrom()) || o.SignsFrom().Equal(k.SignsFrom()) && o.KID() > k.KID()
				if o.Alg() == k.Alg() && later && (replaced.IsZero() || o.SignsFrom().Before(replaced)) {
					replaced = o.SignsFrom()
				}
			}
			want := replaced.IsZero() || now.Before(replaced.Add(longest+Leeway))
			if got := slices.Contains(r.Published(now), k.KID()); got != want {
				t.Fatalf("%v, replaced at %v, is published at %v: %v", k, replaced, now, got)
			}
			if _, _, ok := r.keyAt(k.KID(), now); ok != want {
				t.Fatalf("%v is believed at %v: %v", k, now, ok)
			}
		}
		set, err := ParseJWKS(one)
		if err != nil || len(set.keys) != len(r.Published(now)) {
			t.Fatalf("%s: %v", one, err)
		}
	})
}

func TestRingRefuses(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		keys    []Key
		longest time.Duration
	}{
		"zero key":      {[]Key{{}}, MasterLife},
		"twice":         {[]Key{w.signs, w.signs}, MasterLife},
		"short overlap": {[]Key{w.signs}, MasterLife - time.Second},
		"no overlap":    {[]Key{w.signs}, 0},
	} {
		if _, err := NewRing(c.keys, c.longest); !errors.Is(err, ErrKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
	empty := mustRing(t)
	if jwks, err := empty.JWKS(w.now); err != nil || string(jwks) != `{"keys":[]}` {
		t.Errorf("%s, %v", jwks, err)
	}
	if algs := w.ring.Algs(w.now); !slices.Equal(algs, []Alg{ES256, RS256}) {
		t.Error(algs)
	}
	if algs := mustRing(t, w.future).Algs(w.now); algs != nil {
		t.Error(algs)
	}
}

// kms is a key whose private part is elsewhere.
type kms struct {
	crypto.Signer
	err error
}

func (k kms) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if k.err != nil {
		return nil, k.err
	}
	return k.Signer.Sign(rand, digest, opts)
}

// TestKeyElsewhere: a key in a KMS signs, cannot be marshalled, and its failure
// is an error.
func TestKeyElsewhere(t *testing.T) {
	w := newWorld(t)
	for alg, s := range map[Alg]crypto.Signer{ES256: pool().ec[0], RS256: pool().rsa[1]} {
		k, err := KeyFrom(kms{Signer: s}, alg, w.now)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.Marshal(); !errors.Is(err, ErrKey) {
			t.Error(err)
		}
		r := mustRing(t, k)
		raw, err := (&Issuer{origin, func() *Ring { return r }}).Identity(w.identity(), alg, w.now)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := (Verifier{origin, stsAud, r}).Identity(raw, w.now); err != nil {
			t.Error(err)
		}
		away := errors.New("away")
		if k, err = KeyFrom(kms{s, away}, alg, w.now); err != nil {
			t.Fatal(err)
		}
		r = mustRing(t, k)
		if _, err := (&Issuer{origin, func() *Ring { return r }}).Identity(w.identity(), alg, w.now); !errors.Is(err, ErrIssue) {
			t.Error(err)
		}
	}
}

func TestParseJWKSRefuses(t *testing.T) {
	w := newWorld(t)
	good, err := mustRing(t, w.signs).JWKS(w.now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseJWKS(good); err != nil {
		t.Fatal(err)
	}
	private, err := pool().ec[2].Bytes()
	if err != nil {
		t.Fatal(err)
	}
	one := string(good[len(`{"keys":[`) : len(good)-2])
	edit := func(from, to string) string {
		s := string(bytes.Replace(good, []byte(from), []byte(to), 1))
		if s == string(good) {
			t.Fatal("nothing to replace: " + from)
		}
		return s
	}
	for name, s := range map[string]string{
		"empty": "", "null": "null", "array": "[]", "no keys": `{}`, "none": `{"keys":[]}`, "null key": `{"keys":[null]}`,
		"text": `{"keys":["x"]}`, "two lists": `{"keys":[` + one + `],"keys":[` + one + `]}`, "twice": `{"keys":[` + one + "," + one + `]}`,
		"private":       edit(`"kty"`, `"d":"`+b64(make([]byte, 32))+`","kty"`),
		"private, good": edit(`"kty"`, `"d":"`+b64(private)+`","kty"`),
		"other kid":     edit(w.signs.KID(), w.future.KID()), "kid a path": edit(w.signs.KID(), "../x"),
		"encryption": edit(`"sig"`, `"enc"`), "symmetric": `{"keys":[{"kty":"oct","alg":"ES256","use":"sig","k":"AAAA","kid":"x"}]}`,
		"HS256 only":         `{"keys":[{"kty":"oct","alg":"HS256","use":"sig","k":"AAAA","kid":"x"}]}`,
		"RS256 of an EC key": edit(`"ES256"`, `"RS256"`), "trailing": string(good) + "x", "off the curve": edit(`"x":"`, `"x":"AAAA`),
		"huge": `{"keys":[` + one + `],"x":"` + string(bytes.Repeat([]byte("x"), maxKeySet)) + `"}`,
		"many": `{"keys":[` + string(bytes.Repeat([]byte(`{"alg":"x"},`), maxKeys)) + one + `]}`,
	} {
		if _, err := ParseJWKS([]byte(s)); !errors.Is(err, ErrKeySet) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// An algorithm of tomorrow does not break today's readers.
	set, err := ParseJWKS([]byte(`{"keys":[{"kty":"AKP","alg":"ML-DSA-44","use":"sig","kid":"x"},` + one + `],"x":1}`))
	if err != nil || len(set.keys) != 1 {
		t.Error(err)
	}
	if _, _, ok := set.Key("x"); ok {
		t.Error("it has a key that it cannot use")
	}
}

// TestRotationDay: tokens across one rotation, read by somebody who fetched the
// JWKS once before it.
func TestRotationDay(t *testing.T) {
	w := newWorld(t)
	jwks, err := w.ring.JWKS(w.now)
	if err != nil {
		t.Fatal(err)
	}
	set, err := ParseJWKS(jwks)
	if err != nil {
		t.Fatal(err)
	}
	for minute := range 120 {
		now := w.now.Add(time.Duration(minute) * time.Minute)
		d := w.identity()
		d.Issued, d.Expires = now, now.Add(time.Hour)
		raw, err := w.issuer().Identity(d, ES256, now)
		if err != nil {
			t.Fatal(err)
		}
		for _, keys := range []Keys{w.ring, set} {
			if _, err := (Verifier{origin, stsAud, keys}).Identity(raw, now.Add(59*time.Minute)); err != nil {
				t.Errorf("minute %d: %v", minute, err)
			}
		}
		header, _ := readToken(t, jwks, raw)
		want := w.signs.KID()
		if minute >= 60 {
			want = w.future.KID()
		}
		if header != fmt.Sprintf(`{"alg":"ES256","kid":%q,"typ":"JWT"}`, want) {
			t.Errorf("minute %d: %s", minute, header)
		}
	}
}
