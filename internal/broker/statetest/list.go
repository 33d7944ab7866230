package statetest

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/litentry/agentkeys/internal/broker"
)

// oddNames sort, match or fold in ways that trip a store.
func oddNames() []string {
	names := []string{
		"%", "%%", "a%", "a%b", "a_b", "a_", "_", "aXb", "ab", "AB", "aB", "Ab", "a-b", "a.b", "a/b", "a", "A", "aa", "a0", "a~", "a!", "a'", `a"`,
		`a\`, `a\%`, "a*", "a?", "a[b]", "NULL", "0", "00", "1e1", "-", "--", ";", "~~", strings.Repeat("~", broker.MaxName), strings.Repeat("a", broker.MaxName),
	}
	for c := byte('!'); c <= '~'; c++ {
		names = append(names, "c"+string(rune(c)), string(rune(c)))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func testOddNames(t *testing.T, w *world) {
	odd := oddNames()
	for from := 0; from < len(odd); from += broker.MaxChanges {
		var c broker.Change
		for _, n := range odd[from:min(from+broker.MaxChanges, len(odd))] {
			c.Writes = append(c.Writes, broker.Write{Key: key(n), Value: []byte(n)})
		}
		applied(t, w, c)
	}
	for _, n := range odd {
		w.holds(n, n)
	}
	for _, limit := range []int{1, 7, len(odd) - 1, len(odd), broker.MaxList} {
		if got := names(t, w, "test", "", limit); !slices.Equal(got, odd) {
			t.Errorf("limit %d lists %q", limit, got)
		}
	}
	for _, prefix := range append([]string{"zz", "ac", strings.Repeat("~", broker.MaxName-1)}, odd...) {
		var want []string
		for _, n := range odd {
			if strings.HasPrefix(n, prefix) {
				want = append(want, n)
			}
		}
		if got := names(t, w, "test", prefix, 3); !slices.Equal(got, want) {
			t.Errorf("prefix %q lists %q, want %q", prefix, got, want)
		}
	}
	for _, kind := range []string{"TEST", "tes", "test2", "%", "tes_"} {
		if got := names(t, w, kind, "", 10); len(got) > 0 {
			t.Errorf("kind %q lists %q", kind, got)
		}
	}
}

func testPages(t *testing.T, w *world) {
	for _, n := range []string{"k0", "k1", "k2", "k3", "m"} {
		w.put(n, n, 0)
	}
	for _, c := range []struct {
		prefix, after string
		limit         int
		want          []string
	}{
		{"", "k1", 2, []string{"k2", "k3"}},
		{"", "k1x", 2, []string{"k2", "k3"}}, // it need not be there
		{"k", "a", 9, []string{"k0", "k1", "k2", "k3"}},
		{"k", "k3", 9, nil},
		{"k", "z", 9, nil},
		{"k2", "k0", 9, []string{"k2"}},
		{"", "m", 9, nil},
	} {
		items, err := w.List(t.Context(), "test", c.prefix, c.after, c.limit)
		var got []string
		for _, i := range items {
			got = append(got, i.Key.Name)
			if string(i.Value) != i.Key.Name {
				t.Errorf("%s is listed with %q", i.Key, i.Value)
			}
		}
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%+v: %v, %v", c, got, err)
		}
	}

	// Others come and go meanwhile: those that stay are listed once each.
	stay := names(t, w, "test", "", 10)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for n := range 2 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				k := key(fmt.Sprintf("k%d-go-%d", i%5, n))
				v, err := w.Apply(t.Context(), broker.Change{Writes: []broker.Write{{Key: k, Value: []byte("x")}}})
				if err == nil {
					_, err = w.Apply(t.Context(), broker.Change{Writes: []broker.Write{{Key: k, Expect: v[0]}}})
				}
				if err != nil {
					t.Errorf("%s: %v", k, err)
					return
				}
			}
		})
	}
	for _, limit := range []int{1, 2, 3, 100, 1, 2, 3, 100} {
		got := slices.DeleteFunc(names(t, w, "test", "", limit), func(s string) bool { return strings.Contains(s, "go") })
		if !slices.Equal(got, stay) {
			t.Errorf("limit %d lists %v", limit, got)
		}
	}
	close(stop)
	wg.Wait()
}
