package token

import (
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

// TestCacheBound: however many tokens come, few are remembered, and the one in
// use is among them.
func TestCacheBound(t *testing.T) {
	w := newWorld(t)
	v := w.verifier(typSession)
	const size = 8
	c := NewCache(size)
	use, err := w.issuer().Session(w.session(Agent), w.now)
	if err != nil {
		t.Fatal(err)
	}
	for range 50 {
		raw, err := w.issuer().Session(w.session(Agent), w.now)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range []string{raw, use, "no.token.this"} {
			_, err := c.Session(v, r, w.now)
			if (err == nil) != (r != "no.token.this") {
				t.Fatal(err)
			}
		}
		if n := c.Len(); n > size {
			t.Fatalf("%d are remembered", n)
		}
	}
	// A hit takes no signature: it allocates next to nothing.
	if n := testing.AllocsPerRun(50, func() { _, _ = c.Session(v, use, w.now) }); n > 5 {
		t.Errorf("the token in use was forgotten: %v allocations", n)
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
