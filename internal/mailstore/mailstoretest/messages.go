package mailstoretest

import (
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/mailstore"
)

func testRead(t *testing.T, w World) {
	ctx, s := t.Context(), w.Store
	for i, size := range []int{0, 1, 2047, 2048, 2049, 16 << 10, 300_000} {
		id, want := ID("m"+string(rune('0'+i))), text(i, size)
		v := write(t, s, id, want)
		for _, r := range [][2]int64{{0, 1}, {0, 2048}, {0, 1 << 30}, {2048, 14 << 10}, {1, 1}, {int64(size), 1}, {int64(size) + 1, 5}, {1 << 30, 1 << 20}, {max(0, int64(size)-1), 2}} {
			p, err := s.Read(ctx, id, r[0], r[1], v)
			from := min(r[0], int64(size))
			to := min(from+r[1], int64(size))
			if err != nil || string(p.Data) != want[from:to] || p.Size != int64(size) || p.Version != v {
				t.Errorf("of %d bytes, %d from %d on: %d bytes of %d, version %q, %v", size, r[1], r[0], len(p.Data), p.Size, p.Version, err)
			}
			clear(p.Data) // a store lends nothing of its own
		}
	}
	_, err := s.Read(ctx, ID("other"), 0, 2048, "")
	fails(t, "read what is not there", err, mailstore.ErrGone)
	_, err = s.Read(ctx, ID("other"), 2048, 2048, version(t, s, ID("m1")))
	fails(t, "read what is not there, at a version", err, mailstore.ErrGone)
}

// testVersions: a version names the bytes of one message.
func testVersions(t *testing.T, w World) {
	ctx, s, id := t.Context(), w.Store, ID("m")
	v := write(t, s, id, "one")
	if again := version(t, w.other(), id); again != v {
		t.Errorf("versions %q and %q of the same", v, again)
	}
	w.Plant(t, arrivedAt(id), []byte("two"))
	now := version(t, s, id)
	if now == v {
		t.Error("other bytes have the same version")
	}
	for _, off := range []int64{0, 1, 3} {
		_, err := s.Read(ctx, id, off, 10, v)
		fails(t, "read at an old version", err, mailstore.ErrChanged)
	}
	_, err := s.Place(ctx, id, v, Wallet(1))
	fails(t, "place at an old version", err, mailstore.ErrChanged)
	_, err = s.Refuse(ctx, id, v, "odd")
	fails(t, "refuse at an old version", err, mailstore.ErrChanged)
	w.holds(t, map[string]string{arrivedAt(id): "two"})
	place(t, s, id, now, Wallet(1), true)
	// What is placed is never replaced, and a call that did not create says so.
	w.Plant(t, arrivedAt(id), []byte("three"))
	place(t, s, id, version(t, s, id), Wallet(1), false)
	if created, _ := s.Place(ctx, id, now, Wallet(1)); created {
		t.Error("placed twice")
	}
	w.holds(t, map[string]string{arrivedAt(id): "three", placedAt(Wallet(1), id): "two"})
}

func testPlace(t *testing.T, w World) {
	ctx, s := t.Context(), w.Store
	want := map[string]string{}
	for i, size := range []int{0, 1, 5000, 6 << 20} {
		id, data := ID("m"+string(rune('0'+i))), text(i, size)
		v := write(t, s, id, data)
		place(t, s, id, v, Wallet(byte(i)), true)
		place(t, s, id, v, Wallet(byte(i)), false)
		place(t, w.other(), id, v, Wallet(byte(i)), false)
		want[arrivedAt(id)], want[placedAt(Wallet(byte(i)), id)] = data, data
	}
	w.holds(t, want)
	// The copy does not live by its source.
	if err := s.Remove(ctx, ID("m2")); err != nil {
		t.Fatal(err)
	}
	w.Plant(t, arrivedAt(ID("m1")), []byte("another"))
	delete(want, arrivedAt(ID("m2")))
	want[arrivedAt(ID("m1"))] = "another"
	w.holds(t, want)
	_, err := s.Place(ctx, ID("m9"), version(t, s, ID("m3")), Wallet(1))
	fails(t, "place what is not there", err, mailstore.ErrGone)
	if created, _ := s.Place(ctx, ID("m2"), version(t, s, ID("m3")), Wallet(2)); created {
		t.Error("placed what was gone")
	}
	w.holds(t, want)
}

func testRefuse(t *testing.T, w World) {
	ctx, s, id := t.Context(), w.Store, ID("m")
	v := write(t, s, id, "one")
	long := strings.Repeat("r", mailstore.MaxReason)
	for _, reason := range []string{"several-wallets", "0", long} {
		for _, want := range []bool{true, false} {
			created, err := s.Refuse(ctx, id, v, reason)
			if err != nil || created != want {
				t.Errorf("refuse for %s: %v, %v, want %v", reason, created, err, want)
			}
		}
	}
	w.holds(t, map[string]string{
		arrivedAt(id): "one", refusedAt("several-wallets", id): "one", refusedAt("0", id): "one", refusedAt(long, id): "one",
	})
	_, err := s.Refuse(ctx, ID("other"), v, "odd")
	fails(t, "refuse what is not there", err, mailstore.ErrGone)
}

func testRemove(t *testing.T, w World) {
	s, a, b := w.Store, ID("a"), ID("b")
	write(t, s, a, "one")
	write(t, s, b, "two")
	for range 2 {
		if err := s.Remove(t.Context(), a); err != nil {
			t.Errorf("remove: %v", err)
		}
	}
	_, err := s.Read(t.Context(), a, 0, 1, "")
	fails(t, "read what was removed", err, mailstore.ErrGone)
	w.holds(t, map[string]string{arrivedAt(b): "two"})
}

func testWrite(t *testing.T, w World) {
	ctx, s := t.Context(), w.Store
	want := map[string]string{}
	before := time.Now().Add(-2 * time.Minute) // a store has its own clock, and S3 whole seconds
	for i, size := range []int{0, 1, 40_000, 9<<20 + 1} {
		id, data := ID("m"+string(rune('0'+i))), text(i, size)
		// Not a reader that can seek, and one that gives a little at a time.
		r := io.MultiReader(iotest.HalfReader(strings.NewReader(data)))
		if err := s.Write(ctx, id, r, int64(size)); err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		want[arrivedAt(id)] = data
	}
	w.holds(t, want)
	for id, text := range map[string]string{"m1": "x", "m2": "another"} {
		fails(t, "write again", s.Write(ctx, ID(id), strings.NewReader(text), int64(len(text))), mailstore.ErrExists)
	}
	w.holds(t, want)
	for _, i := range pages(t, 10, waiting(t, s)) {
		if i.Size != int64(len(want[arrivedAt(i.ID)])) || i.At.Before(before) || i.At.After(time.Now().Add(2*time.Minute)) || i.Reason != "" {
			t.Errorf("listed as %+v", i)
		}
	}
}

// testWriteFails: of what could not be read there is nothing.
func testWriteFails(t *testing.T, w World) {
	ctx, s := t.Context(), w.Store
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		r    io.Reader
		size int64
		want error // nil: any
	}{
		"breaks":          {io.MultiReader(strings.NewReader(text(1, 5000)), iotest.ErrReader(broken)), 9000, broken},
		"breaks early":    {iotest.ErrReader(broken), 9, broken},
		"breaks when big": {io.MultiReader(strings.NewReader(text(1, 7<<20)), iotest.ErrReader(broken)), 8 << 20, broken},
		"too short":       {strings.NewReader(text(1, 5000)), 5001, nil},
		"empty":           {strings.NewReader(""), 1, nil},
		"too long":        {strings.NewReader(text(1, 5001)), 5000, nil},
		"not empty":       {strings.NewReader("x"), 0, nil},
		"too large":       {strings.NewReader("x"), mailstore.MaxMessage + 1, mailstore.ErrTooLarge},
		"negative":        {strings.NewReader("x"), -1, mailstore.ErrInvalid},
	} {
		err := s.Write(ctx, ID("m"), c.r, c.size)
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		w.holds(t, nil)
	}
	write(t, s, ID("m"), "one")
	w.holds(t, map[string]string{arrivedAt(ID("m")): "one"})
}

func testFetch(t *testing.T, w World) {
	ctx, s, id := t.Context(), w.Store, ID("m")
	data := text(1, 5000)
	v := write(t, s, id, data)
	_, err := s.Fetch(ctx, Wallet(1), id, 1<<20)
	fails(t, "fetch what is not there", err, mailstore.ErrGone)
	place(t, s, id, v, Wallet(1), true)
	for range 2 {
		got, err := s.Fetch(ctx, Wallet(1), id, 5000)
		if err != nil || string(got) != data {
			t.Errorf("fetch: %d bytes, %v", len(got), err)
		}
		clear(got)
	}
	for _, limit := range []int64{4999, 1, 0} {
		got, err := s.Fetch(ctx, Wallet(1), id, limit)
		fails(t, "fetch what is too large", err, mailstore.ErrTooLarge)
		if len(got) > 0 {
			t.Errorf("and yet %d bytes", len(got))
		}
	}
	_, err = s.Fetch(ctx, Wallet(2), id, 1<<20)
	fails(t, "fetch from another's", err, mailstore.ErrGone)
}

func testInvalid(t *testing.T, w World) {
	ctx, s, id := t.Context(), w.Store, ID("m")
	var noID agentkeys.MessageID
	var nobody agentkeys.Wallet
	v := write(t, s, id, "one")
	_, read := s.Read(ctx, noID, 0, 1, "")
	_, negative := s.Read(ctx, id, -1, 1, v)
	_, none := s.Read(ctx, id, 0, 0, v)
	_, place := s.Place(ctx, noID, v, Wallet(1))
	_, to := s.Place(ctx, id, v, nobody)
	_, any := s.Place(ctx, id, "", Wallet(1))
	_, refuse := s.Refuse(ctx, noID, v, "odd")
	_, refuseAny := s.Refuse(ctx, id, "", "odd")
	_, list := s.List(ctx, nobody, noID, 1)
	_, listNone := s.List(ctx, Wallet(1), noID, 0)
	_, listAll := s.List(ctx, Wallet(1), noID, mailstore.MaxPage+1)
	_, waitNone := s.Waiting(ctx, noID, 0)
	_, waitAll := s.Waiting(ctx, noID, mailstore.MaxPage+1)
	_, fetch := s.Fetch(ctx, Wallet(1), noID, 1)
	_, fetchNobody := s.Fetch(ctx, nobody, id, 1)
	got := map[string]error{
		"read no id": read, "read before the beginning": negative, "read nothing": none,
		"place no id": place, "place for nobody": to, "place any version": any,
		"refuse no id": refuse, "refuse any version": refuseAny, "remove no id": s.Remove(ctx, noID),
		"write no id":    s.Write(ctx, noID, strings.NewReader(""), 0),
		"list nobody's":  list,
		"list no items":  listNone,
		"list all items": listAll, "no waiting": waitNone, "all waiting": waitAll,
		"fetch no id": fetch, "fetch nobody's": fetchNobody,
	}
	for _, reason := range []string{"", "A", "a b", "..", "a/b", "ä", strings.Repeat("r", mailstore.MaxReason+1)} {
		_, got["refuse for "+reason] = s.Refuse(ctx, id, v, reason)
	}
	if x, ok := s.(mailstore.Watcher); ok {
		_, got["watch nobody's"] = x.Watch(ctx, nobody)
	}
	for _, what := range slices.Sorted(maps.Keys(got)) {
		fails(t, what, got[what], mailstore.ErrInvalid)
	}
	w.holds(t, map[string]string{arrivedAt(id): "one"})
}
