package statetest

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/broker"
)

// call is one call on a register, from when it began to when it returned. A
// write that was made leads from version expect to version made; a read returned
// made; a refusal says that expect was not the version at some moment between.
type call struct {
	begin, end   time.Duration
	kind         callKind
	expect, made int64
}

type callKind int

const (
	reads callKind = iota
	writes
	refused
)

// testLinearizable lets several read and replace one item, and finds an order
// of all calls in which each answer is right and that no call leaves whose time
// it was.
func testLinearizable(t *testing.T, w *world) {
	const clients, each = 6, 60
	replicas := []broker.State{w.State, w.replica()}
	first := w.put("register", "x", 0)
	start := time.Now() // monotonic
	var mu sync.Mutex
	var history []call
	var wg sync.WaitGroup
	for n := range clients {
		s := replicas[n%2]
		wg.Go(func() {
			known := first
			for range each {
				c := call{begin: time.Since(start), kind: reads}
				if rand.IntN(2) == 0 {
					i, err := s.Get(t.Context(), key("register"))
					if err != nil {
						t.Error(err)
						return
					}
					c.made, known = i.Version, i.Version
				} else {
					c.kind, c.expect = writes, known
					v, err := s.Apply(t.Context(), broker.Change{Writes: []broker.Write{{Key: key("register"), Expect: known, Value: []byte("x")}}})
					switch {
					case err == nil:
						c.made, known = v[0], v[0]
					case errors.Is(err, broker.ErrConflict):
						c.kind = refused
					default:
						t.Error(err)
						return
					}
				}
				c.end = time.Since(start)
				mu.Lock()
				history = append(history, c)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if err := linearizable(first, history); err != nil {
		t.Error(err)
	}
}

// linearizable looks for the order. Since no version is used twice, that of the
// writes is their chain of versions, and the place of a read is behind the write
// it saw; what is left is that real time agrees, and that a refusal has a
// moment with another version.
func linearizable(first int64, history []call) error {
	next := map[int64]int64{}
	for _, c := range history {
		if c.kind == writes {
			if other, twice := next[c.expect]; twice {
				return fmt.Errorf("versions %d and %d both replaced %d", other, c.made, c.expect)
			}
			next[c.expect] = c.made
		}
	}
	place := map[int64]int{first: 0}
	for v, ok := next[first]; ok; v, ok = next[v] {
		if _, again := place[v]; again {
			return fmt.Errorf("version %d came twice", v)
		}
		place[v] = len(place)
	}
	// After a call the register is at least where the call left it; before it,
	// at most where it found it.
	type span struct{ found, left int }
	spans := make([]span, len(history))
	for i, c := range history {
		switch p, ok := place[c.made]; {
		case c.kind == refused:
			spans[i] = span{len(place), 0} // settled below
		case !ok:
			return fmt.Errorf("version %d replaced nothing that was", c.made)
		case c.kind == writes:
			spans[i] = span{p - 1, p}
		default:
			spans[i] = span{p, p}
		}
	}
	order := make([]int, len(history))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(history[a].begin, history[b].begin) })
	for _, i := range order {
		low, high := 0, len(place)-1
		for j, other := range history {
			if other.end < history[i].begin {
				low = max(low, spans[j].left)
			}
			if other.begin > history[i].end {
				high = min(high, spans[j].found)
			}
		}
		if history[i].kind == refused {
			at, was := place[history[i].expect]
			if low > high || low == high && was && at == low {
				return fmt.Errorf("refused at %v–%v, with version %d there all the time", history[i].begin, history[i].end, history[i].expect)
			}
			continue
		}
		if spans[i].found < low || spans[i].left > high {
			return fmt.Errorf("the call at %v–%v found version %d of the chain, when it was between %d and %d", history[i].begin, history[i].end, spans[i].found, low, high)
		}
	}
	return nil
}
