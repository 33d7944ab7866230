package mailstoretest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/mailstore"
)

func testCancelled(t *testing.T, w World) {
	s, id := w.Store, ID("m")
	v := write(t, s, id, "one")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var after agentkeys.MessageID
	_, read := s.Read(ctx, id, 0, 1, "")
	_, place := s.Place(ctx, id, v, Wallet(1))
	_, refuse := s.Refuse(ctx, id, v, "odd")
	_, list := s.List(ctx, Wallet(1), after, 1)
	_, waiting := s.Waiting(ctx, after, 1)
	_, fetch := s.Fetch(ctx, Wallet(1), id, 1)
	got := map[string]error{
		"read": read, "place": place, "refuse": refuse, "list": list, "waiting": waiting, "fetch": fetch,
		"write": s.Write(ctx, ID("new"), strings.NewReader("x"), 1), "remove": s.Remove(ctx, id),
	}
	if x, ok := s.(mailstore.Watcher); ok {
		_, got["watch"] = x.Watch(ctx, Wallet(1))
	}
	for _, what := range slices.Sorted(maps.Keys(got)) {
		fails(t, what, got[what], context.Canceled)
	}
	w.holds(t, map[string]string{arrivedAt(id): "one"})
}

// sorted are ids in the order of their bytes, which is not a person's.
var sorted = []string{
	"-", "-a", "0", "00", "9", "A", "A-b", "A.b", "A0", "Z", "_", "_z", "a", "a-", "a-b", "a.", "a.b", "a.eml", "a0", "a_b", "aa", "b", "z", "z.." + strings.Repeat("z", 125),
}

func testPages(t *testing.T, w World) {
	s := w.Store
	if p, err := s.List(t.Context(), Wallet(1), agentkeys.MessageID{}, 10); err != nil || len(p.Items) > 0 || p.More {
		t.Errorf("an empty inbox lists %+v, %v", p, err)
	}
	if p, err := s.Waiting(t.Context(), agentkeys.MessageID{}, 10); err != nil || len(p.Items) > 0 || p.More {
		t.Errorf("an empty store lists %+v, %v", p, err)
	}
	for i, name := range sorted {
		v := write(t, s, ID(name), strings.Repeat("x", i))
		place(t, s, ID(name), v, Wallet(1), true)
	}
	want := strings.Join(sorted, " ")
	for what, list := range map[string]func(agentkeys.MessageID, int) (mailstore.Page, error){
		"waiting": waiting(t, s), "inbox": inbox(t, s, Wallet(1)),
	} {
		for _, limit := range []int{1, 2, 5, len(sorted) - 1, len(sorted), mailstore.MaxPage} {
			items := pages(t, limit, list)
			if got := ids(items); got != want {
				t.Fatalf("%s by %d: %s\nwant %s", what, limit, got, want)
			}
			for i, item := range items {
				if item.Size != int64(i) || item.At.IsZero() {
					t.Errorf("%s: %+v", what, item)
				}
			}
		}
		for _, after := range append(slices.Clone(sorted), "A-", "A-c", "a-0", "zz", "0-") {
			var want []string
			for _, name := range sorted {
				if name > after {
					want = append(want, name)
				}
			}
			p, err := list(ID(after), mailstore.MaxPage)
			if err != nil || ids(p.Items) != strings.Join(want, " ") {
				t.Errorf("%s after %s: %s, %v", what, after, ids(p.Items), err)
			}
		}
	}
}

// testPagesWhileChanging: what is there all the time is listed once, whatever
// comes and goes between two pages.
func testPagesWhileChanging(t *testing.T, w World) {
	s := w.Store
	for i := range 12 {
		write(t, s, ID(fmt.Sprintf("stays-%02d", i)), "x")
	}
	n := 0
	seen := map[string]int{}
	for _, i := range pages(t, 2, func(after agentkeys.MessageID, limit int) (mailstore.Page, error) {
		n++
		write(t, w.other(), ID(fmt.Sprintf("sta-%d", n)), "x")
		write(t, w.other(), ID(fmt.Sprintf("stays-%02d-%d", n, n)), "x")
		if err := w.other().Remove(t.Context(), ID(fmt.Sprintf("sta-%d", n-1))); err != nil {
			t.Fatal(err)
		}
		return s.Waiting(t.Context(), after, limit)
	}) {
		seen[i.ID.String()]++
	}
	for i := range 12 {
		if name := fmt.Sprintf("stays-%02d", i); seen[name] != 1 {
			t.Errorf("%s was listed %d times", name, seen[name])
		}
	}
}

// testOddNames: what has no message id for a name is nobody's message.
func testOddNames(t *testing.T, w World) {
	s := w.Store
	v := write(t, s, ID("m"), "one")
	place(t, s, ID("m"), v, Wallet(1), true)
	own := "bots/" + Wallet(1).String() + "/inbound/"
	for _, key := range []string{
		"inbound/.hidden", "inbound/a b", "inbound/ä", "inbound/l/m", "inbound/" + strings.Repeat("x", 129), "inbound/a+b", "inbound/a%2Fb",
		own + ".hidden", own + "a b", own + "l/m", "bots/" + Wallet(1).String() + "/credentials/openrouter.enc",
		"bots/" + strings.ToUpper(Wallet(1).String()) + "/inbound/x", "inboundx", "bots/inbound/x",
	} {
		w.Plant(t, key, []byte("odd"))
	}
	for limit := 1; limit < 4; limit++ {
		if got := ids(pages(t, limit, waiting(t, s))); got != "m" {
			t.Errorf("waiting, by %d: %s", limit, got)
		}
		if got := ids(pages(t, limit, inbox(t, s, Wallet(1)))); got != "m" {
			t.Errorf("inbox, by %d: %s", limit, got)
		}
	}
}

// testIsolation: a wallet's inbox has what was placed there, and no neighbour's.
func testIsolation(t *testing.T, w World) {
	s := w.Store
	for i, wallet := range []byte{0x10, 0x11} {
		for _, name := range []string{"m", "n"}[:i+1] {
			id := ID(fmt.Sprint(name, i))
			place(t, s, id, write(t, s, id, name), Wallet(wallet), true)
		}
	}
	write(t, s, ID("unsorted"), "x")
	for wallet, want := range map[byte]string{0x10: "m0", 0x11: "m1 n1", 0x01: "", 0x12: ""} {
		if got := ids(pages(t, 10, inbox(t, s, Wallet(wallet)))); got != want {
			t.Errorf("wallet %#x lists %q, want %q", wallet, got, want)
		}
	}
}

func testWatch(t *testing.T, w World) {
	s, ok := w.Store.(mailstore.Watcher)
	if !ok {
		t.Skip("this store cannot watch")
	}
	put := func(name string, wallet byte) {
		t.Helper()
		place(t, w.other(), ID(name), write(t, w.other(), ID(name), "x"), Wallet(wallet), true)
	}
	wait := func(c <-chan struct{}, what string) {
		t.Helper()
		select {
		case _, ok := <-c:
			if !ok {
				t.Fatalf("%s: the channel is closed", what)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: nothing was told", what)
		}
	}
	put("before", 2)
	for _, wallet := range []byte{1, 2} { // one has an inbox, one has not
		ctx, cancel := context.WithCancel(t.Context())
		a, err := s.Watch(ctx, Wallet(wallet))
		if err != nil {
			t.Fatal(err)
		}
		b, err := s.Watch(t.Context(), Wallet(wallet))
		if err != nil {
			t.Fatal(err)
		}
		for n := range 3 {
			put(fmt.Sprintf("m-%d-%d", wallet, n), wallet)
			wait(a, fmt.Sprintf("wallet %d, message %d", wallet, n))
			wait(b, fmt.Sprintf("wallet %d, message %d, another watcher", wallet, n))
		}
		cancel()
		closed := time.After(20 * time.Second)
		for open := true; open; {
			select {
			case _, open = <-a:
			case <-closed:
				t.Fatal("a channel whose context has ended is not closed")
			}
		}
		put(fmt.Sprintf("m-%d-after", wallet), wallet)
		wait(b, "after another's end")
	}
}
