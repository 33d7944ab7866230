package statetest

import (
	"testing"
	"time"
)

func ms(n int) time.Duration { return time.Duration(n) * time.Millisecond }

// TestLinearizableTellsWrongOnes: the judge of histories is judged.
func TestLinearizableTellsWrongOnes(t *testing.T) {
	w := func(b, e int, expect, made int64) call {
		return call{begin: ms(b), end: ms(e), kind: writes, expect: expect, made: made}
	}
	r := func(b, e int, v int64) call { return call{begin: ms(b), end: ms(e), kind: reads, made: v} }
	no := func(b, e int, v int64) call { return call{begin: ms(b), end: ms(e), kind: refused, expect: v} }
	for name, c := range map[string]struct {
		ok      bool
		history []call
	}{
		"nothing":                           {true, nil},
		"one after the other":               {true, []call{r(0, 1, 1), w(2, 3, 1, 5), r(4, 5, 5), no(6, 7, 1), w(8, 9, 5, 7)}},
		"at once":                           {true, []call{w(0, 9, 1, 5), r(1, 2, 1), r(3, 4, 5), no(5, 6, 1), no(1, 8, 5), w(7, 9, 5, 7)}},
		"a late read of the old":            {false, []call{w(0, 1, 1, 5), r(2, 3, 1)}},
		"an early read of the new":          {false, []call{r(0, 1, 5), w(2, 3, 1, 5)}},
		"a read that goes back":             {false, []call{w(0, 9, 1, 5), r(1, 2, 5), r(3, 4, 1)}},
		"a version used twice":              {false, []call{w(0, 9, 1, 5), w(0, 9, 1, 6)}},
		"a version from nowhere":            {false, []call{r(0, 1, 4)}},
		"a write on nothing":                {false, []call{w(0, 1, 3, 4)}},
		"writes against time":               {false, []call{w(4, 5, 1, 5), w(0, 1, 5, 7)}},
		"refused without cause":             {false, []call{no(0, 1, 1), w(2, 3, 1, 5)}},
		"refused without cause, in the end": {false, []call{w(0, 1, 1, 5), no(2, 3, 5)}},
		"refused for one it had read":       {false, []call{w(0, 9, 1, 5), r(1, 2, 5), no(3, 4, 5)}},
	} {
		if err := linearizable(1, c.history); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}
