package dirmail

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/durable"
	"github.com/litentry/agentkeys/internal/mailstore"
	"github.com/litentry/agentkeys/internal/mailstore/mailstoretest"
)

var (
	wallet = mailstoretest.Wallet(1)
	id     = mailstoretest.ID("m")
)

func write(t testing.TB, d *Dir, id agentkeys.MessageID, data string) mailstore.Version {
	t.Helper()
	if err := d.Write(t.Context(), id, strings.NewReader(data), int64(len(data))); err != nil {
		t.Fatal(err)
	}
	p, err := d.Read(t.Context(), id, 0, 1, "")
	if err != nil {
		t.Fatal(err)
	}
	return p.Version
}

func place(t testing.TB, d *Dir, id agentkeys.MessageID, v mailstore.Version, w agentkeys.Wallet) {
	t.Helper()
	if created, err := d.Place(t.Context(), id, v, w); err != nil || !created {
		t.Fatal(created, err)
	}
}

func TestModes(t *testing.T) {
	for _, umask := range []int{0, 0o277} {
		dir := filepath.Join(memDir(t), "mail")
		old := syscall.Umask(umask)
		d := openAt(t, dir)
		v := write(t, d, id, "one")
		place(t, d, id, v, wallet)
		_, err := d.Refuse(t.Context(), id, v, "odd")
		syscall.Umask(old)
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			fi, err := e.Info()
			if err != nil {
				return err
			}
			want := fs.FileMode(0o600)
			if e.IsDir() {
				want = fs.ModeDir | 0o700
			}
			if fi.Mode() != want {
				t.Errorf("umask %#o: %s is %v, want %v", umask, path, fi.Mode(), want)
			}
			all = append(all, strings.TrimPrefix(path, dir))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		w := "/bots/" + wallet.String()
		want := "[ /.lock /.tmp /bots " + w + " " + w + "/inbound " + w + "/inbound/m /inbound /inbound/m /refused /refused/odd /refused/odd/m]"
		if fmt.Sprint(all) != want {
			t.Errorf("there is %v, want %v", all, want)
		}
	}
}

func TestExposed(t *testing.T) {
	dir := t.TempDir()
	for _, mode := range []fs.FileMode{0o750, 0o705, 0o701, 0o777} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir); !errors.Is(err, durable.ErrExposed) || !strings.Contains(err.Error(), "chmod 700") {
			t.Errorf("%v: %v", mode, err)
		}
	}
}

// TestForeign puts what is no plain file or directory in each place: nothing
// is read or written through it, removed for it, or taken for a copy.
func TestForeign(t *testing.T) {
	own := "bots/" + wallet.String()
	for _, place := range []string{"inbound", "inbound/m", "bots", own, own + "/inbound", own + "/inbound/m", "refused", "refused/odd", "refused/odd/m", ".tmp"} {
		for _, kind := range []string{"link to the same", "dangling link", "pipe", "other"} {
			t.Run(place+", "+kind, func(t *testing.T) {
				ctx, d := t.Context(), open(t)
				v := write(t, d, id, "one")
				path, moved := filepath.Join(d.root, place), filepath.Join(filepath.Dir(d.root), "moved")
				file := filepath.Base(place) == "m"
				if file && place != "inbound/m" {
					if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(moved, []byte("victim"), 0o600); err != nil {
						t.Fatal(err)
					}
				} else if err := os.MkdirAll(path, 0o700); err != nil && !file {
					t.Fatal(err)
				} else if err := os.Rename(path, moved); err != nil {
					t.Fatal(err)
				}
				var err error
				switch kind {
				case "link to the same":
					err = os.Symlink(moved, path)
				case "dangling link":
					err = os.Symlink(moved+"x", path)
				case "pipe":
					err = syscall.Mkfifo(path, 0o600)
				case "other": // a file for a directory, a directory for a file
					if file {
						err = os.Mkdir(path, 0o700)
					} else {
						err = os.WriteFile(path, nil, 0o600)
					}
				}
				if err != nil {
					t.Fatal(err)
				}
				_, read := d.Read(ctx, id, 0, 10, v)
				_, placed := d.Place(ctx, id, v, wallet)
				_, refused := d.Refuse(ctx, id, v, "odd")
				_, list := d.List(ctx, wallet, agentkeys.MessageID{}, 10)
				_, waiting := d.Waiting(ctx, agentkeys.MessageID{}, 10)
				_, fetch := d.Fetch(ctx, wallet, id, 100)
				written := d.Write(ctx, id, strings.NewReader("x"), 1)
				removed := d.Remove(ctx, id)
				got := map[string]error{
					"read": read, "place": placed, "refuse": refused, "list": list, "waiting": waiting,
					"fetch": fetch, "write": written, "remove": removed,
				}
				for _, what := range map[string][]string{
					"inbound": {"read", "place", "refuse", "waiting", "write", "remove"}, "inbound/m": {"read", "place", "refuse", "write", "remove"},
					"bots": {"place", "list", "fetch"}, own: {"place", "list", "fetch"}, own + "/inbound": {"place", "list", "fetch"}, own + "/inbound/m": {"place", "fetch"},
					"refused": {"refuse"}, "refused/odd": {"refuse"}, "refused/odd/m": {"refuse"},
					".tmp": {"place", "refuse"},
				}[place] {
					if !errors.Is(got[what], ErrForeign) {
						t.Errorf("%s: %v", what, got[what])
					}
				}
				if fi, err := os.Lstat(path); err != nil || fi.Mode().IsRegular() != (kind == "other" && !file) {
					t.Errorf("it has become %v, %v", fi, err)
				}
				if data, err := os.ReadFile(moved); file && place != "inbound/m" && (err != nil || string(data) != "victim") {
					t.Errorf("the victim has become %q, %v", data, err)
				}
				if again, err := Open(d.root); err == nil {
					_ = again.Close()
				} else if !errors.Is(err, ErrForeign) {
					t.Errorf("open: %v", err)
				}
			})
		}
	}
	d := open(t)
	lock := filepath.Join(d.root, lockName)
	if err := os.Remove(lock); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/null", lock); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(d.root); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("the lock is a link: %v", err)
	}
}

// TestListLeavesOutLinks: a link is no message, whatever it is called.
func TestListLeavesOutLinks(t *testing.T) {
	d := open(t)
	place(t, d, id, write(t, d, id, "one"), wallet)
	dir := filepath.Join(d.root, inboxOf(wallet))
	if err := os.Symlink("m", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "dir"), 0o700); err != nil {
		t.Fatal(err)
	}
	p, err := d.List(t.Context(), wallet, agentkeys.MessageID{}, 10)
	if err != nil || len(p.Items) != 1 || p.Items[0].ID != id || p.More {
		t.Errorf("%+v, %v", p, err)
	}
}

// TestLargeDirectory: of more names than are looked at at once, the first come
// first.
func TestLargeDirectory(t *testing.T) {
	d := open(t)
	const all = 9000
	for i := range all {
		if err := os.WriteFile(filepath.Join(d.root, inboundName, fmt.Sprintf("m%05d", i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, from := range []int{0, 1, 4500, all - 1000, all - 999} {
		after := agentkeys.MessageID{}
		if from > 0 {
			after = mailstoretest.ID(fmt.Sprintf("m%05d", from-1))
		}
		p, err := d.Waiting(t.Context(), after, mailstore.MaxPage)
		n := min(mailstore.MaxPage, all-from)
		if err != nil || len(p.Items) != n || p.More != (from+n < all) {
			t.Fatalf("from %d: %d items, more %v, %v", from, len(p.Items), p.More, err)
		}
		for i, item := range p.Items {
			if want := fmt.Sprintf("m%05d", from+i); item.ID.String() != want {
				t.Fatalf("from %d: %s, want %s", from, item.ID, want)
			}
		}
	}
}

// TestInPlace: whoever changes a file in inbound/ in place changes no copy, and
// is found out if it was read before.
func TestInPlace(t *testing.T) {
	d := open(t)
	v := write(t, d, id, "one")
	place(t, d, id, v, wallet)
	time.Sleep(20 * time.Millisecond) // more than a tick of the kernel's
	f, err := os.OpenFile(filepath.Join(d.root, "inbound/m"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("two"); err != nil {
		t.Fatal(err)
	}
	if data, err := d.Fetch(t.Context(), wallet, id, 10); err != nil || string(data) != "one" {
		t.Errorf("the copy is %q, %v", data, err)
	}
	if _, err := d.Read(t.Context(), id, 0, 10, v); !errors.Is(err, mailstore.ErrChanged) {
		t.Errorf("read: %v", err)
	}
	for _, w := range []byte{2, 1} { // where there is no copy yet, and where there is
		if created, err := d.Place(t.Context(), id, v, mailstoretest.Wallet(w)); !errors.Is(err, mailstore.ErrChanged) || created {
			t.Errorf("place: %v, %v", created, err)
		}
	}
}

// meddling is a context that does something each time that it is looked at.
type meddling struct {
	context.Context
	do func(look int)
	n  *int
}

func (m meddling) Err() error {
	*m.n++
	m.do(*m.n)
	return m.Context.Err()
}

// TestMeddling: a source that is changed, or becomes shorter, in the middle of
// a copy is found out, and a copy that is called off leaves nothing.
func TestMeddling(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(path string, cancel func()) error
		want error
	}{
		"changed": {func(path string, _ func()) error {
			time.Sleep(20 * time.Millisecond)
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteAt([]byte("changed"), 1000)
			return errors.Join(err, f.Close())
		}, mailstore.ErrChanged},
		"shorter":    {func(path string, _ func()) error { return os.Truncate(path, step+1) }, mailstore.ErrChanged},
		"called off": {func(_ string, cancel func()) error { cancel(); return nil }, context.Canceled},
	} {
		for look := 2; look <= 4; look++ {
			d := open(t)
			v := write(t, d, id, strings.Repeat("x", 2*step+100))
			ctx, cancel := context.WithCancel(t.Context())
			created, err := d.Place(meddling{ctx, func(n int) {
				if n == look {
					if err := c.do(filepath.Join(d.root, "inbound/m"), cancel); err != nil {
						t.Error(err)
					}
				}
			}, new(int)}, id, v, wallet)
			cancel()
			if !errors.Is(err, c.want) || created {
				t.Errorf("%s at look %d: %v, %v", name, look, created, err)
			}
			if all := objects(t, d.root); len(all) != 1 {
				t.Errorf("%s at look %d: %d files", name, look, len(all))
			}
		}
	}
}

// TestMemory: the kernel copies.
func TestMemory(t *testing.T) {
	per := map[int]uint64{}
	for _, size := range []int{1 << 10, mailstore.MaxMessage} {
		d := open(t)
		v := write(t, d, id, strings.Repeat("x", size))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		place(t, d, id, v, wallet)
		runtime.ReadMemStats(&after)
		per[size] = after.TotalAlloc - before.TotalAlloc
	}
	if t.Log(per); per[mailstore.MaxMessage] > per[1<<10]+1<<20 {
		t.Errorf("bytes allocated by size of message: %v", per)
	}
}

func TestPrune(t *testing.T) {
	ctx, d := t.Context(), open(t)
	now := time.Now()
	age := func(path string, age time.Duration) {
		t.Helper()
		if err := os.Chtimes(filepath.Join(d.root, path), now.Add(-age), now.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	inbox := inboxOf(wallet)
	for name, old := range map[string]time.Duration{"old": 48 * time.Hour, "new": time.Hour} {
		m := mailstoretest.ID(name)
		v := write(t, d, m, "one")
		place(t, d, m, v, wallet)
		if _, err := d.Refuse(ctx, m, v, "odd"); err != nil {
			t.Fatal(err)
		}
		for _, dir := range []string{"inbound/", inbox + "/", "refused/odd/"} {
			age(dir+name, old)
		}
	}
	for _, odd := range []string{"inbound/.hidden", "refused/odd/a b", "refused/file", "bots/file", "bots/0xother/inbound/old", ".tmp/x"} {
		plant(t, d.root, odd, nil)
		age(odd, 48*time.Hour)
	}
	if err := os.Symlink("new", filepath.Join(d.root, "inbound/link")); err != nil {
		t.Fatal(err)
	}
	n, err := d.Prune(ctx, now.Add(-24*time.Hour))
	if n != 3 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	all := objects(t, d.root)
	for _, gone := range []string{"inbound/old", inbox + "/old", "refused/odd/old"} {
		if _, ok := all[gone]; ok {
			t.Errorf("there is %s", gone)
		}
	}
	if len(all) != 3+6+1 {
		t.Errorf("%d files are left", len(all))
	}
	if n, err := d.Prune(ctx, now.Add(-24*time.Hour)); n != 0 || err != nil {
		t.Errorf("again: %d, %v", n, err)
	}
	if n, err := d.Prune(ctx, now.Add(time.Minute)); n != 3 || err != nil {
		t.Errorf("all: %d, %v", n, err)
	}
}

func TestRefused(t *testing.T) {
	ctx, d := t.Context(), open(t)
	var want []string
	for _, reason := range []string{"a", "a-b", "b", "several-wallets"} {
		for _, name := range []string{"A", "a", "b"} {
			m := mailstoretest.ID(name + "-" + reason)
			if _, err := d.Refuse(ctx, m, write(t, d, m, reason), reason); err != nil {
				t.Fatal(err)
			}
			want = append(want, reason+"/"+m.String())
		}
	}
	for _, odd := range []string{"refused/x", "refused/Odd/x", "refused/.x/x", "refused/a/.x", "refused/empty/.x"} {
		plant(t, d.root, odd, nil)
	}
	for _, limit := range []int{1, 2, 3, 4, 11, 12, 13, mailstore.MaxPage} {
		var got []string
		var after mailstore.Item
		for n := 0; ; n++ {
			p, err := d.Refused(ctx, after, limit)
			if err != nil || len(p.Items) > limit || p.More && len(p.Items) != limit || n > 20 {
				t.Fatalf("by %d: %+v, %v", limit, p, err)
			}
			for _, i := range p.Items {
				got, after = append(got, i.Reason+"/"+i.ID.String()), i
				if i.Size != int64(len(i.Reason)) || i.At.IsZero() {
					t.Errorf("%+v", i)
				}
			}
			if !p.More {
				break
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("by %d: %v\nwant %v", limit, got, want)
		}
	}
	for _, limit := range []int{0, mailstore.MaxPage + 1} {
		if _, err := d.Refused(ctx, mailstore.Item{}, limit); !errors.Is(err, mailstore.ErrInvalid) {
			t.Errorf("by %d: %v", limit, err)
		}
	}
	if _, err := d.Refused(ctx, mailstore.Item{Reason: "../inbound"}, 1); !errors.Is(err, mailstore.ErrInvalid) {
		t.Error(err)
	}
	m := mailstoretest.ID("a-b")
	if data, err := d.FetchRefused(ctx, "b", m, 10); err != nil || string(data) != "b" {
		t.Errorf("%q, %v", data, err)
	}
	for _, reason := range []string{"", "..", "../inbound", "a b"} {
		if _, err := d.FetchRefused(ctx, reason, m, 10); !errors.Is(err, mailstore.ErrInvalid) {
			t.Errorf("%q: %v", reason, err)
		}
	}
	if _, err := d.FetchRefused(ctx, "a", m, 10); !errors.Is(err, mailstore.ErrGone) {
		t.Error(err)
	}
	if _, err := d.FetchRefused(ctx, "several-wallets", mailstoretest.ID("a-several-wallets"), 1); !errors.Is(err, mailstore.ErrTooLarge) {
		t.Error(err)
	}
}
