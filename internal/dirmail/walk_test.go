package dirmail

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/mailstore"
	"github.com/litentry/agentkeys/internal/mailstore/mailstoretest"
)

// gather takes a walk to its end.
func gather(t *testing.T, walk iter.Seq2[mailstore.Item, error]) map[string]mailstore.Item {
	t.Helper()
	all := map[string]mailstore.Item{}
	for item, err := range walk {
		if err != nil {
			t.Fatal(err)
		}
		key := item.Reason + "/" + item.ID.String()
		if _, ok := all[key]; ok {
			t.Errorf("%s twice", key)
		}
		all[key] = item
	}
	return all
}

// TestWalk: a walk has what all pages have, and nothing else.
func TestWalk(t *testing.T) {
	d := open(t)
	names := map[string]bool{}
	for len(names) < 2500 {
		names[fmt.Sprintf("%x", rand.Uint64()>>rand.IntN(60))] = true
	}
	for name := range names {
		for _, dir := range []string{"inbound", inboxOf(wallet), "refused/odd", "refused/a"} {
			plant(t, d.root, dir+"/"+name, []byte(name))
		}
	}
	plant(t, d.root, inboxOf(wallet)+"/.hidden", nil)
	plant(t, d.root, "inbound/no id", nil)
	plant(t, d.root, "refused/No-Reason/m", nil)
	if err := errors.Join(
		os.Symlink(filepath.Join(d.root, "inbound", "no id"), filepath.Join(d.root, inboxOf(wallet), "link")),
		os.Mkdir(filepath.Join(d.root, "inbound", "dir"), 0o700),
	); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	pages := func(list func(after mailstore.Item) (mailstore.Page, error)) map[string]mailstore.Item {
		all, order := map[string]mailstore.Item{}, []string(nil)
		for after := (mailstore.Item{}); ; {
			page, err := list(after)
			if err != nil {
				t.Fatal(err)
			}
			for _, after = range page.Items {
				all[after.Reason+"/"+after.ID.String()] = after
				order = append(order, after.Reason+"/"+after.ID.String())
			}
			if !page.More {
				if !slices.IsSorted(order) || len(order) != len(all) {
					t.Error("out of order")
				}
				return all
			}
		}
	}
	for _, limit := range []int{7, mailstore.MaxPage} {
		for what, x := range map[string]struct {
			walk  iter.Seq2[mailstore.Item, error]
			pages map[string]mailstore.Item
			n     int
		}{
			"inbox":   {d.Walk(ctx, wallet), pages(func(a mailstore.Item) (mailstore.Page, error) { return d.List(ctx, wallet, a.ID, limit) }), 2500},
			"waiting": {d.WalkWaiting(ctx), pages(func(a mailstore.Item) (mailstore.Page, error) { return d.Waiting(ctx, a.ID, limit) }), 2500},
			"refused": {d.WalkRefused(ctx), pages(func(a mailstore.Item) (mailstore.Page, error) { return d.Refused(ctx, a, mailstore.MaxPage) }), 5000},
			"nobody": {d.Walk(ctx, mailstoretest.Wallet(9)), pages(func(a mailstore.Item) (mailstore.Page, error) {
				return d.List(ctx, mailstoretest.Wallet(9), a.ID, limit)
			}), 0},
		} {
			if all := gather(t, x.walk); len(all) != x.n || !maps.Equal(all, x.pages) {
				t.Errorf("%s: %d walked, %d in pages, want %d", what, len(all), len(x.pages), x.n)
			}
		}
	}
}

// TestWalkEnds: with its context, and when nobody wants more, without a file
// that stays open.
func TestWalkEnds(t *testing.T) {
	d := open(t)
	for i := range 20 {
		write(t, d, mailstoretest.ID(fmt.Sprint("m", i)), "x")
	}
	files := func() int {
		all, err := os.ReadDir("/dev/fd")
		if err != nil {
			t.Skip(err)
		}
		return len(all)
	}
	before := files()
	for range 100 {
		for range d.WalkWaiting(t.Context()) {
			break
		}
	}
	if n := files(); n > before+2 {
		t.Errorf("%d files are open, %d before", n, before)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	n := 0
	var last error
	for _, err := range d.WalkWaiting(ctx) {
		n, last = n+1, err
		stop()
	}
	if n != 2 || !errors.Is(last, context.Canceled) {
		t.Errorf("%d, %v", n, last)
	}
	for _, err := range d.Walk(t.Context(), agentkeys.Wallet{}) {
		if !errors.Is(err, mailstore.ErrInvalid) {
			t.Error(err)
		}
	}
}

// TestStat: one message, as a listing has it.
func TestStat(t *testing.T) {
	d := open(t)
	ctx := t.Context()
	v := write(t, d, id, "text")
	place(t, d, id, v, wallet)
	if _, err := d.Refuse(ctx, id, v, "odd"); err != nil {
		t.Fatal(err)
	}
	for what, x := range map[string]struct {
		stat func(agentkeys.MessageID) (mailstore.Item, error)
		walk iter.Seq2[mailstore.Item, error]
	}{
		"inbox":   {func(m agentkeys.MessageID) (mailstore.Item, error) { return d.Stat(ctx, wallet, m) }, d.Walk(ctx, wallet)},
		"waiting": {func(m agentkeys.MessageID) (mailstore.Item, error) { return d.StatWaiting(ctx, m) }, d.WalkWaiting(ctx)},
		"refused": {func(m agentkeys.MessageID) (mailstore.Item, error) { return d.StatRefused(ctx, m) }, d.WalkRefused(ctx)},
	} {
		item, err := x.stat(id)
		if all := gather(t, x.walk); err != nil || len(all) != 1 || all[item.Reason+"/"+id.String()] != item || item.Size != 4 {
			t.Errorf("%s: %+v, %v; %v", what, item, err, all)
		}
		if _, err := x.stat(mailstoretest.ID("none")); !errors.Is(err, mailstore.ErrGone) {
			t.Errorf("%s: one that is not there: %v", what, err)
		}
		if _, err := x.stat(agentkeys.MessageID{}); !errors.Is(err, mailstore.ErrInvalid) && what != "refused" {
			t.Errorf("%s: no id: %v", what, err)
		}
	}
	if _, err := d.Stat(ctx, mailstoretest.Wallet(9), id); !errors.Is(err, mailstore.ErrGone) {
		t.Errorf("another's: %v", err)
	}
	if _, err := d.Stat(ctx, agentkeys.Wallet{}, id); !errors.Is(err, mailstore.ErrInvalid) {
		t.Errorf("nobody's: %v", err)
	}
	link := mailstoretest.ID("link")
	if err := os.Symlink("/etc/passwd", filepath.Join(d.root, inboxOf(wallet), link.String())); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Stat(ctx, wallet, link); !errors.Is(err, ErrForeign) {
		t.Errorf("a link: %v", err)
	}
}
