package dirmail

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/durable/durabletest"
	"github.com/litentry/agentkeys/internal/mailstore"
	"github.com/litentry/agentkeys/internal/mailstore/mailstoretest"
)

// body is longer than one page, so that half of it could be there.
var body = strings.Repeat("mail ", 4000)

func TestMain(m *testing.M) {
	durabletest.Main(m, map[string]durabletest.Op{
		"write": func(dir string) error {
			return with(dir, func(d *Dir) error { return writeBody(d) })
		},
		"write again": func(dir string) error {
			return with(dir, func(d *Dir) error {
				err := d.Write(context.Background(), id, strings.NewReader("another"), 7)
				if errors.Is(err, mailstore.ErrExists) {
					return durabletest.Ack("exists")
				}
				return err
			})
		},
		"place":       func(dir string) error { return placeOp(dir, false) },
		"place again": func(dir string) error { return placeOp(dir, true) },
		"remove": func(dir string) error {
			return with(dir, func(d *Dir) error { return d.Remove(context.Background(), id) })
		},
		"open":    func(dir string) error { _, err := Open(dir); return err },
		"deliver": deliver,
		"race":    race,
		"hold": func(dir string) error {
			d, err := Open(dir)
			if err != nil {
				return err
			}
			r, w := io.Pipe()
			go func() { _, _ = w.Write([]byte("half")); _ = durabletest.Ack("writing") }()
			return d.Write(context.Background(), id, r, 8)
		},
	})
}

// with opens dir before that which is looked at.
func with(dir string, do func(*Dir) error) error {
	d, err := Open(dir)
	if err != nil {
		return err
	}
	durabletest.Begin()
	return do(d)
}

func writeBody(d *Dir) error {
	return d.Write(context.Background(), id, strings.NewReader(body), int64(len(body)))
}

func placeOp(dir string, before bool) error {
	return with(dir, func(d *Dir) error {
		ctx := context.Background()
		p, err := d.Read(ctx, id, 0, 1, "")
		if err != nil {
			return err
		}
		created, err := d.Place(ctx, id, p.Version, wallet)
		if err == nil && created == before {
			return fmt.Errorf("created is %v", created)
		}
		return err
	})
}

func nothing(*testing.T, string) {}

func arrived(t *testing.T, dir string) {
	t.Helper()
	d := openAt(t, dir)
	if err := writeBody(d); err != nil {
		t.Fatal(err)
	}
	_ = d.Close()
}

func placed(t *testing.T, dir string) {
	t.Helper()
	arrived(t, dir)
	d := openAt(t, dir)
	p, err := d.Read(t.Context(), id, 0, 1, "")
	if err != nil {
		t.Fatal(err)
	}
	place(t, d, id, p.Version, wallet)
	_ = d.Close()
}

// TestEveryCall: whatever call fails or is the last, each message is there
// whole or not at all, no source suffers, nil means that it is there, and the
// next Open leaves nothing half-written.
func TestEveryCall(t *testing.T) {
	inbox := inboxOf(wallet) + "/m"
	for _, c := range []struct {
		op      string
		prepare func(*testing.T, string)
		before  []string // what is there before, and afterwards
		may     string   // what may be there
		done    bool     // whether it is after success
	}{
		{"write", nothing, nil, "inbound/m", true},
		{"write again", arrived, []string{"inbound/m"}, "", false},
		{"place", arrived, []string{"inbound/m"}, inbox, true},
		{"place again", placed, []string{"inbound/m", inbox}, "", false},
		{"remove", placed, []string{inbox}, "inbound/m", false},
		{"open", placed, []string{"inbound/m", inbox}, "", false},
	} {
		t.Run(c.op, func(t *testing.T) {
			durabletest.Each(t, c.op, c.prepare, func(t *testing.T, r durabletest.Run) {
				d, err := Open(r.Dir)
				if err != nil {
					t.Fatalf("%+v, then open: %v", r.Fault, err)
				}
				defer d.Close()
				got := objects(t, r.Dir)
				for _, key := range c.before {
					if string(got[key]) != body {
						t.Errorf("%+v: %s has %d bytes", r.Fault, key, len(got[key]))
					}
					delete(got, key)
				}
				data, ok := got[c.may]
				if ok && string(data) != body {
					t.Errorf("%+v: %s has %d bytes", r.Fault, c.may, len(data))
				}
				if acked := r.Err == nil; acked && ok != c.done {
					t.Errorf("%+v: told of success, and %s is there: %v", r.Fault, c.may, ok)
				}
				delete(got, c.may)
				for key := range got {
					t.Errorf("%+v: %s is left", r.Fault, key)
				}
				// A failed sync must not be taken for success.
				if strings.Contains(r.Name, "sync") && r.Errno != "" && r.Err == nil {
					t.Errorf("%+v: a failed sync went unnoticed", r.Fault)
				}
			})
		})
	}
}

// TestOrder: a step that is missing cannot be made to fail.
func TestOrder(t *testing.T) {
	const file, link, dir = "openat fchmod write fsync close", "linkat", "openat fsync close"
	for _, c := range []struct {
		op      string
		prepare func(*testing.T, string)
		want    string
	}{
		{"write", nothing, file + " " + link + " " + dir + " unlinkat"},
		{"write again", arrived, dir},
		// The inbox is made, with what is above it; then all of it is synced.
		{"place again", placed, "openat pread64 close openat " + dir + " " + dir + " " + dir + " close"},
		{"remove", placed, "unlinkat " + dir},
	} {
		var got []string
		for _, call := range durabletest.Calls(t, c.op, c.prepare) {
			if call.Name != "newfstatat" && call.Name != "fstat" {
				got = append(got, call.Name)
			}
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.op, s, c.want)
		}
	}
	var got []string
	for _, call := range durabletest.Calls(t, "place", arrived) {
		if call.Name == "fsync" || call.Name == "linkat" || call.Name == "mkdirat" {
			got = append(got, call.Name)
		}
	}
	// The file; two directories, each with the one above; the name; all above it.
	for _, call := range durabletest.Calls(t, "open", placed) {
		if call.Name == "fsync" { // what is there may not be on disk yet
			got = append(got, "open")
		}
	}
	if s, want := strings.Join(got, " "), "fsync mkdirat fsync mkdirat fsync linkat fsync fsync fsync open"; s != want {
		t.Errorf("place: %s, want %s", s, want)
	}
}

// deliver writes messages, places each and removes its source, and says so,
// until it is killed.
func deliver(dir string) error {
	ctx := context.Background()
	d, err := Open(dir)
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		m := mailstoretest.ID(fmt.Sprintf("%d-%d", os.Getpid(), i))
		data := whole(m, rand.IntN(200_000))
		if err := d.Write(ctx, m, bytes.NewReader(data), int64(len(data))); err != nil {
			return err
		}
		if err := durabletest.Ack("written " + m.String()); err != nil {
			return err
		}
		p, err := d.Read(ctx, m, 0, 100, "")
		if err != nil {
			return err
		}
		if created, err := d.Place(ctx, m, p.Version, wallet); err != nil || !created {
			return fmt.Errorf("created %v, %w", created, err)
		}
		if err := durabletest.Ack("placed " + m.String()); err != nil {
			return err
		}
		if err := d.Remove(ctx, m); err != nil {
			return err
		}
	}
}

// whole is a message that begins with the hash of its id and of the rest.
func whole(m agentkeys.MessageID, n int) []byte {
	body := bytes.Repeat([]byte{byte(rand.Int())}, n)
	return append(sum(m, body), body...)
}

func sum(m agentkeys.MessageID, body []byte) []byte {
	s := sha256.Sum256(append([]byte(m.String()), body...))
	return s[:]
}

// TestKill kills a process that writes and places, again and again: what was
// acknowledged is there, all of it, and nothing is half there.
func TestKill(t *testing.T) {
	dir := filepath.Join(memDir(t), "mail")
	acks := map[string]bool{}
	for range 15 {
		for _, a := range durabletest.KillAfter(t, "deliver", dir, 3, rand.N(15*time.Millisecond)) {
			acks[a] = true
		}
		d, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		all := objects(t, dir)
		for key, data := range all {
			m := mailstoretest.ID(filepath.Base(key))
			if len(data) < sha256.Size || !bytes.Equal(data[:sha256.Size], sum(m, data[sha256.Size:])) || strings.HasPrefix(key, tempName) {
				t.Errorf("%s is half a message, of %d bytes", key, len(data))
			}
		}
		for a := range acks {
			what, m, _ := strings.Cut(a, " ")
			_, waits := all["inbound/"+m]
			_, there := all[inboxOf(wallet)+"/"+m]
			if !there && (what == "placed" || !waits) {
				t.Errorf("%s, and it is lost", a)
			}
		}
		_ = d.Close()
	}
	t.Log(len(acks), "acknowledged")
}

const raced = 40

// race places each message that waits, and says which it was the first to
// place, and removes it.
func race(dir string) error {
	ctx := context.Background()
	d, err := Open(dir)
	if err != nil {
		return err
	}
	for i := range raced {
		m := mailstoretest.ID(fmt.Sprint("m", i))
		p, err := d.Read(ctx, m, 0, 10, "")
		if errors.Is(err, mailstore.ErrGone) {
			continue
		}
		if err != nil {
			return err
		}
		created, err := d.Place(ctx, m, p.Version, wallet)
		if errors.Is(err, mailstore.ErrGone) {
			continue
		}
		if err != nil {
			return err
		}
		if created {
			if err := durabletest.Ack(m.String()); err != nil {
				return err
			}
		}
		if err := d.Remove(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

// TestProcesses: of several processes one places each message.
func TestProcesses(t *testing.T) {
	dir := filepath.Join(memDir(t), "mail")
	d := openAt(t, dir)
	for i := range raced {
		write(t, d, mailstoretest.ID(fmt.Sprint("m", i)), body)
	}
	var procs []*durabletest.Process
	for range 4 {
		procs = append(procs, durabletest.Start(t, "race", dir))
	}
	first := map[string]int{}
	for _, p := range procs {
		acks, err := p.Wait()
		if err != nil {
			t.Error(err)
		}
		for _, m := range acks {
			first[m]++
		}
	}
	all := objects(t, dir)
	for i := range raced {
		m := fmt.Sprint("m", i)
		if first[m] != 1 || string(all[inboxOf(wallet)+"/"+m]) != body {
			t.Errorf("%s was placed by %d, and has %d bytes", m, first[m], len(all[inboxOf(wallet)+"/"+m]))
		}
	}
	if len(all) != raced {
		t.Errorf("%d files are left", len(all))
	}
}

// TestSweep: what a killed process was writing is removed, but nothing of a
// process that is at work.
func TestSweep(t *testing.T) {
	dir := filepath.Join(memDir(t), "mail")
	p := durabletest.Start(t, "hold", dir)
	if _, ok := p.Next(); !ok {
		t.Fatal("it is not writing")
	}
	temps := func() int {
		entries, err := os.ReadDir(filepath.Join(dir, tempName))
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	d := openAt(t, dir)
	if n := temps(); n != 1 {
		t.Errorf("%d files are being written", n)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	_, _ = p.Wait()
	again := openAt(t, dir) // as long as d is open it may be d's
	if n := temps(); n != 1 {
		t.Errorf("%d files are being written, for all it can know", n)
	}
	_, _ = d.Close(), again.Close()
	openAt(t, dir)
	if n := temps(); n != 0 {
		t.Errorf("%d files are left", n)
	}
}

// TestFailedSync: after one, nothing is believed any more.
func TestFailedSync(t *testing.T) {
	ctx, d := t.Context(), open(t)
	v := write(t, d, id, "one")
	sync := d.sync
	d.sync = func(dir string) error {
		if filepath.Base(dir) == botsName {
			return syscall.EIO
		}
		return sync(dir)
	}
	if _, err := d.Place(ctx, id, v, wallet); !errors.Is(err, ErrStopped) || !errors.Is(err, syscall.EIO) {
		t.Errorf("place: %v", err)
	}
	d.sync = sync
	if created, err := d.Place(ctx, id, v, wallet); !errors.Is(err, ErrStopped) || created {
		t.Errorf("again: %v, %v", created, err)
	}
	if err := d.Remove(ctx, id); !errors.Is(err, ErrStopped) {
		t.Errorf("remove: %v", err)
	}
	if err := d.Write(ctx, mailstoretest.ID("n"), strings.NewReader("x"), 1); !errors.Is(err, ErrStopped) {
		t.Errorf("write: %v", err)
	}
	if _, err := d.Read(ctx, id, 0, 1, v); err != nil {
		t.Errorf("read: %v", err)
	}
	// What is not about the disk's word stops nothing.
	d = openAt(t, d.root)
	d.sync = func(string) error { return syscall.ENOSPC }
	if _, err := d.Place(ctx, id, v, wallet); !errors.Is(err, syscall.ENOSPC) || errors.Is(err, ErrStopped) {
		t.Errorf("no space: %v", err)
	}
	d.sync = sync
	if created, err := d.Place(ctx, id, v, wallet); err != nil || created {
		t.Errorf("then: %v, %v", created, err)
	}
}

// TestSynced: nil means that the file and all directories above it are synced,
// also if somebody else made them.
func TestSynced(t *testing.T) {
	d := open(t)
	v := write(t, d, id, "one")
	own := filepath.Join(d.root, botsName, wallet.String())
	want := fmt.Sprint([]string{filepath.Join(own, inboundName), own, filepath.Join(d.root, botsName)})
	for _, created := range []bool{true, false} {
		var synced []string
		d.sync = func(dir string) error { synced = append(synced, dir); return nil }
		if got, err := d.Place(t.Context(), id, v, wallet); err != nil || got != created {
			t.Fatal(got, err)
		}
		if fmt.Sprint(synced) != want {
			t.Errorf("synced %v, want %v", synced, want)
		}
	}
}
