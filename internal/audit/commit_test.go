package audit

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// hold makes the batch that gathers wait for its turn, as if the disk were
// busy with the one before it, and returns what ends that.
func hold(l *Log) (release func()) {
	turn := make(chan struct{})
	l.mu.Lock()
	l.next.turn = turn
	l.mu.Unlock()
	return func() { close(turn) }
}

func queued(l *Log) (count, bytes int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.next.count, len(l.next.frames)
}

// eventually waits for what other goroutines are about to do.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// Who comes while the disk is busy is made durable by one sync for all.
func TestGroupCommit(t *testing.T) {
	l, err := Open(memDir(t), testOptions(t))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	release := hold(l)
	const n = 20
	done := make(chan error, n)
	for i := range n {
		go func() { done <- l.Record(context.Background(), modelEvent(i, 0)) }()
	}
	eventually(t, "all in one batch", func() bool { c, _ := queued(l); return c == n })
	if l.Size() != 0 || len(done) != 0 {
		t.Fatal("a record was acknowledged while the disk was busy")
	}
	release()
	for range n {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	if l.Size() != n {
		t.Fatalf("%d entries", l.Size())
	}
}

// Notes do not pile up in memory without bound while the disk is busy, and
// none is dropped.
func TestNotesAreBounded(t *testing.T) {
	l, err := Open(memDir(t), testOptions(t))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	release := hold(l)
	const size = 10_000
	const n = 2 * maxBatch / size
	done := make(chan error, 1)
	go func() {
		for i := range n {
			if err := l.Note(modelEvent(i, size)); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	eventually(t, "the queue is full", func() bool { _, b := queued(l); return b > maxBatch-2*size })
	time.Sleep(20 * time.Millisecond) // time to do it wrong
	if _, b := queued(l); b > maxBatch || len(done) > 0 {
		t.Errorf("%d bytes are queued", b)
	}
	release()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if _, err := l.Checkpoint(context.Background()); err != nil || l.Size() != n {
		t.Fatalf("%d entries, want %d: %v", l.Size(), n, err)
	}
}

// Nor do entries that wait for their tiles.
func TestBacklogIsBounded(t *testing.T) {
	o := testOptions(t)
	l, err := Open(memDir(t), o)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.pub.Lock() // no tile can be written
	done := make(chan error, 1)
	const n = 1000
	go func() {
		for i := range n {
			if err := l.Record(context.Background(), modelEvent(i, 50)); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	eventually(t, "a backlog", func() bool { return l.tail.backlog() > 2*o.JournalSize })
	was := l.Size()
	time.Sleep(20 * time.Millisecond)
	if now := l.Size(); now > was+1 || len(done) > 0 {
		t.Errorf("%d entries, and then %d", was, now)
	}
	l.pub.Unlock()
	if err := <-done; err != nil || l.Size() != n {
		t.Fatal(l.Size(), err)
	}
}

// A segment stays until full tiles hold all of it, however many there are.
func TestSegmentsStay(t *testing.T) {
	dir, o := memDir(t), testOptions(t)
	o.JournalSize = 16 << 10
	l, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.pub.Lock() // let segments gather
	const n = 256 + 200
	for i := range n {
		if err := l.Record(context.Background(), modelEvent(i, 0)); err != nil {
			t.Fatal(err)
		}
	}
	l.journal.mu.Lock()
	before := len(l.journal.segments)
	l.journal.mu.Unlock()
	l.pub.Unlock()
	if _, err := l.publish(false); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(memDir(t), "crashed")
	l.pub.Lock()
	l.journal.mu.Lock()
	after := len(l.journal.segments)
	copyLog(t, dir, to)
	l.journal.mu.Unlock()
	l.pub.Unlock()
	if before < 3 || after >= before || after < 2 {
		t.Fatalf("%d segments, then %d: the test wants some to go and some to stay", before, after)
	}
	c, err := Open(to, o)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.Size() != n {
		t.Errorf("%d entries, want %d", c.Size(), n)
	}
}

// To open a log takes its right edge and its journal, not all it holds.
func TestOpenReadsTheEdge(t *testing.T) {
	dir, o := memDir(t), testOptions(t)
	o.JournalSize = 1 << 20
	l, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	const n = 256*256 + 256*3 + 7
	for i := range n {
		if err := l.Note(modelEvent(i, 0)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if l, err = Open(dir, o); err != nil { // so that the journal starts with the last bundle
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, level := range []string{"entries", "0"} {
		for _, name := range []string{"000", "001", "255", "257"} {
			if err := os.Remove(filepath.Join(dir, "tile", level, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.Remove(filepath.Join(dir, "tile/1/000")); err != nil {
		t.Fatal(err)
	}
	if l, err = Open(dir, o); err != nil {
		t.Fatal(err)
	}
	if err := l.Note(modelEvent(n, 0)); err != nil {
		t.Fatal(err)
	}
	c, err := l.Checkpoint(context.Background())
	if err != nil || c.Size != n+1 {
		t.Fatal(c.Size, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// What interrupted writes left is cleared away.
func TestOpenTidies(t *testing.T) {
	dir, o := memDir(t), testOptions(t)
	l, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 300 {
		if err := l.Note(modelEvent(i, 0)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	left := []string{".tmp-1", "journal/.tmp-new", "journal/.tmp-spare", "tile/0/.tmp-001", "tile/entries/.tmp-001",
		"tile/0/001.p/.tmp-3", "tile/0/000.p/200", "tile/entries/000.p/200"}
	for _, name := range left {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte("left"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if l, err = Open(dir, o); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range left {
		if has, err := exists(dir, strings.TrimSuffix(name, "/200")); err != nil || has {
			t.Errorf("%s is still there: %v", name, err)
		}
	}
}

// A full tile that the last run left, and no checkpoint covers yet, is what
// the journal says, or the log is damaged.
func TestOpenComparesTiles(t *testing.T) {
	for _, name := range []string{"", "tile/entries/000", "tile/0/000"} {
		dir, o := memDir(t), testOptions(t)
		o.JournalSize = 1 << 20
		l, err := Open(dir, o)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 300 {
			if err := l.Note(modelEvent(i, 0)); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.sync(); err != nil {
			t.Fatal(err)
		}
		if _, err := l.publish(false); err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(memDir(t), "crashed")
		copyLog(t, dir, to)
		l.Close()
		if name != "" {
			p := filepath.Join(to, name)
			b, err := os.ReadFile(p)
			if err != nil {
				t.Fatal(err)
			}
			b[77] ^= 1
			if err := os.WriteFile(p, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		l, err = Open(to, o)
		if (err == nil) != (name == "") || err != nil && !errors.Is(err, ErrCorrupt) {
			t.Errorf("%q changed: %v", name, err)
		}
		if err == nil {
			l.Close()
		}
	}
}

// noSigner is a signer out of reach.
type noSigner struct{ note.Signer }

func (noSigner) Sign([]byte) ([]byte, error) { return nil, errors.New("out of reach") }

// Until there is a new checkpoint nothing goes that the old one needs, even
// what a tidy directory would not have.
func TestOldCheckpointKeepsItsTiles(t *testing.T) {
	dir, o := memDir(t), testOptions(t)
	o.JournalSize = 1 << 20
	l, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const signed, all = 65500, 65900
	for i := range all {
		if i == signed {
			if _, err := l.Checkpoint(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Note(modelEvent(i, 0)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.sync(); err != nil {
		t.Fatal(err)
	}
	crashed := filepath.Join(memDir(t), "crashed")
	l.pub.Lock()
	l.journal.mu.Lock()
	copyLog(t, dir, crashed)
	l.journal.mu.Unlock()
	l.pub.Unlock()
	bad := o
	bad.Signer = noSigner{o.Signer}
	wrong := filepath.Join(crashed, tilePath(entriesLevel, 255, tileWidth))
	for _, openFails := range []func(){
		func() { // before the full bundle is written
			if err := os.WriteFile(wrong, []byte("wrong"), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(crashed, o); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("with a wrong bundle: %v", err)
			}
			if err := os.Remove(wrong); err != nil {
				t.Fatal(err)
			}
		},
		func() { // after that
			if _, err := Open(crashed, bad); err == nil || errors.Is(err, ErrCorrupt) {
				t.Fatalf("without a signer: %v", err)
			}
		},
	} {
		openFails()
		rep, err := Verify(crashed, VerifyOptions{Verifier: o.Verifier})
		if err != nil || rep.Checked != signed || rep.Uncovered != all-signed {
			t.Fatalf("%+v: %v", rep, err)
		}
	}
	if l, err = Open(crashed, o); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if rep, err := Verify(crashed, VerifyOptions{Verifier: o.Verifier}); err != nil || rep.Checked != all {
		t.Fatalf("%+v: %v", rep, err)
	}
}
