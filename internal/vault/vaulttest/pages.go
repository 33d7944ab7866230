package vaulttest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/litentry/agentkeys/internal/vault"
)

// listAll reads a wallet page by page and checks what every listing promises.
func listAll(t *testing.T, b vault.Blobs, n byte, limit int) []string {
	t.Helper()
	var all []string
	var last vault.Key
	for {
		page, err := b.List(t.Context(), vault.CredentialPrefix(Wallet(n)), last, limit)
		if err != nil {
			t.Fatalf("list: %v", err)
		}
		if len(page.Items) > limit {
			t.Fatalf("%d items for limit %d", len(page.Items), limit)
		}
		for _, i := range page.Items {
			if i.Key.Wallet() != Wallet(n) {
				t.Fatalf("%s is listed under wallet %x", i.Key, n)
			}
			if i.Key.String() <= last.String() {
				t.Fatalf("%s is listed after %s", i.Key, last)
			}
			last = i.Key
			all = append(all, i.Key.Service().String())
		}
		if !page.More || len(page.Items) == 0 {
			return all
		}
	}
}

// odd are services whose keys sort, match or fold in ways that trip a store:
// "a-b.enc" comes before "a.enc", and one is as long as can be.
var odd = []string{
	"0", "00", "9", "a", "a-", "a--", "a-b", "a0", "aa", "ab", "aux", "con", "credentials", "enc", "nul",
	"tmp", "z", "z-", "z9", strings.Repeat("a", 63), strings.Repeat("a", 62), strings.Repeat("z-", 31),
}

func testOddKeys(t *testing.T, b vault.Blobs) {
	for _, s := range odd {
		put(t, b, Key(1, s), s, vault.Create())
	}
	for _, s := range odd {
		holds(t, b, Key(1, s), s)
	}
	want := slices.Clone(odd)
	slices.SortFunc(want, func(a, b string) int { return strings.Compare(a+".enc", b+".enc") })
	for _, limit := range []int{1, 2, 7, len(odd) - 1, len(odd), len(odd) + 1, vault.MaxPage} {
		if got := listAll(t, b, 1, limit); !slices.Equal(got, want) {
			t.Errorf("limit %d lists %v, want %v", limit, got, want)
		}
	}
}

func testPages(t *testing.T, b vault.Blobs) {
	ctx, p := t.Context(), vault.CredentialPrefix(Wallet(1))
	page, err := b.List(ctx, p, vault.Key{}, 1)
	if err != nil || len(page.Items) != 0 || page.More {
		t.Fatalf("an empty store lists %v, %v", page, err)
	}
	for i := range 5 {
		put(t, b, Key(1, fmt.Sprint("k", i)), "x", vault.Create())
		put(t, b, Key(2, fmt.Sprint("k", i)), "x", vault.Create())
	}
	// after need not be there: it may have been deleted since its page.
	page, err = b.List(ctx, p, Key(1, "k1x"), 2)
	if err != nil || len(page.Items) != 2 || page.Items[0].Key != Key(1, "k2") || !page.More {
		t.Errorf("after a key that is not there: %v, %v", page, err)
	}
	page, err = b.List(ctx, p, Key(1, "k4"), 2)
	if err != nil || len(page.Items) != 0 || page.More {
		t.Errorf("after the last key: %v, %v", page, err)
	}
}

// testPagesWhileChanging lists again and again while other keys come and go:
// those that stay must be listed exactly once each time.
func testPagesWhileChanging(t *testing.T, b vault.Blobs) {
	var stay []string
	for i := range 12 {
		s := fmt.Sprintf("stay-%02d", i)
		stay = append(stay, s)
		put(t, b, Key(1, s), "x", vault.Create())
	}
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
				k := Key(1, fmt.Sprintf("stay-%02d-go-%d", i%13, n))
				v, err := b.Put(t.Context(), k, []byte("x"), vault.Create())
				if err == nil {
					err = b.Delete(t.Context(), k, v)
				}
				if err != nil {
					t.Errorf("%s: %v", k, err)
					return
				}
			}
		})
	}
	for _, limit := range []int{1, 2, 3, 5, 100} {
		got := slices.DeleteFunc(listAll(t, b, 1, limit), func(s string) bool { return strings.Contains(s, "go") })
		if !slices.Equal(got, stay) {
			t.Errorf("limit %d lists %v", limit, got)
		}
	}
	close(stop)
	wg.Wait()
}

// race runs n calls at once and returns which of them succeeded; the others
// must have failed with one of losing.
func race(t *testing.T, n int, call func(i int) error, losing ...error) []int {
	t.Helper()
	errs := make([]error, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = call(i)
		})
	}
	close(start)
	wg.Wait()
	var won []int
	for i, err := range errs {
		switch {
		case err == nil:
			won = append(won, i)
		case !slices.ContainsFunc(losing, func(l error) bool { return errors.Is(err, l) }):
			t.Errorf("racer %d: %v", i, err)
		}
	}
	return won
}
