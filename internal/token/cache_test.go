package token

import (
	"crypto"
	"errors"
	"sync"
	"testing"
	"time"
)

// TestCache: what is remembered holds no longer, and for nobody else, than what
// is verified.
func TestCache(t *testing.T) {
	w := newWorld(t)
	v := w.verifier(typSession)
	s := w.session(Master)
	raw, err := w.issuer().Session(s, w.now)
	if err != nil {
		t.Fatal(err)
	}
	c := NewCache(10)
	warm := func() {
		t.Helper()
		for range 2 {
			if got, err := c.Session(v, raw, w.now.Add(time.Minute)); err != nil || got != s {
				t.Fatalf("%+v, %v", got, err)
			}
		}
		if c.Len() != 1 {
			t.Fatalf("%d are remembered", c.Len())
		}
	}
	warm()
	other := v
	other.Keys = mustRing(t, w.future)
	gone := v
	gone.Keys = (*Ring)(nil)
	foreign, wrong := v, v
	foreign.Issuer, wrong.Audience = "https://other.example", "https://other.example"
	for name, c2 := range map[string]struct {
		v   Verifier
		raw string
		at  time.Duration
	}{
		"expired":          {v, raw, time.Hour + Leeway},
		"long expired":     {v, raw, 24 * time.Hour},
		"before its time":  {v, raw, -time.Minute},
		"key withdrawn":    {other, raw, time.Minute},
		"no keys":          {gone, raw, time.Minute},
		"another issuer":   {foreign, raw, time.Minute},
		"another audience": {wrong, raw, time.Minute},
		"another token":    {v, raw[:len(raw)-1], time.Minute},
		"large":            {v, string(make([]byte, maxToken+1)), time.Minute},
	} {
		for range 2 {
			if got, err := c.Session(c2.v, c2.raw, w.now.Add(c2.at)); !errors.Is(err, ErrToken) || got != (Session{}) {
				t.Errorf("%s: %+v, %v", name, got, err)
			}
		}
		warm()
	}
	// Within the leeway it is verified, as it would be without the cache.
	if _, err := c.Session(v, raw, w.now.Add(time.Hour+Leeway-time.Second)); err != nil {
		t.Error(err)
	}
}

// switched has one key, in whose place another may be put: then no signature
// holds, and only what is remembered is believed.
type switched struct {
	kid  string
	pub  crypto.PublicKey
	spun bool
}

func (s *switched) Key(kid string) (Alg, crypto.PublicKey, bool) {
	if s.spun {
		return ES256, pool().ec[5].Public(), kid == s.kid
	}
	return ES256, s.pub, kid == s.kid
}

// TestCacheBound: however many tokens come, few are remembered, and the one in
// use is among them.
func TestCacheBound(t *testing.T) {
	w := newWorld(t)
	keys := &switched{kid: w.signs.KID(), pub: pool().ec[2].Public()}
	v := Verifier{origin, origin, keys}
	const size = 8
	c := NewCache(size)
	fresh := func() string {
		t.Helper()
		raw, err := w.issuer().Session(w.session(Agent), w.now)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Session(v, raw, w.now); err != nil {
			t.Fatal(err)
		}
		return raw
	}
	use := fresh()
	for range 50 {
		once := fresh()
		keys.spun = true
		for _, raw := range []string{use, once} {
			if _, err := c.Session(v, raw, w.now); err != nil {
				t.Fatalf("a token in use was forgotten: %v", err)
			}
		}
		keys.spun = false
		if _, err := c.Session(v, once[:len(once)-2], w.now); !errors.Is(err, ErrToken) {
			t.Fatal(err)
		}
		if n := c.Len(); n > size {
			t.Fatalf("%d are remembered", n)
		}
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				if _, err := c.Session(v, use, w.now); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
