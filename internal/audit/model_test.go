package audit

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/secret"
)

func memDir(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "audit-test")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func testOptions(t testing.TB) Options {
	k, err := NewKey("agentkeys/test", secret.New(bytes.Repeat([]byte{7}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	return Options{Signer: k, Verifier: k.Verifier(), CheckpointEvery: time.Hour, JournalSize: 2 << 10}
}

// copyLog copies a log as a crash would leave it: every file as it is. Only
// the files of the directory as they are now count, so it is called between
// operations.
func copyLog(t interface{ Fatal(...any) }, from, to string) {
	err := filepath.WalkDir(from, func(p string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), b, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// modelEvent is event number i of a run, of a length that varies.
func modelEvent(i, size int) grant.Event {
	return grant.Event{Time: time.Unix(int64(i), 0), Op: "test", Subject: fmt.Sprint(i), Reason: string(bytes.Repeat([]byte{'r'}, size))}
}

// The model of a log is a list. Every operation, and a crash that leaves any
// part of a write that was under way, does to the log what it does to the
// list.
func TestModel(t *testing.T) {
	root, opts, runs := memDir(t), testOptions(t), 0
	rapid.Check(t, func(t *rapid.T) {
		runs++
		dir := filepath.Join(root, fmt.Sprint(runs))
		defer os.RemoveAll(dir)
		l, err := Open(dir, opts)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { l.Close() }()
		var (
			want   [][]byte // all that was recorded and noted
			sure   int      // how many of them are acknowledged
			signed []Checkpoint
			next   int
		)
		add := func(n, size int, put func(grant.Event) error) {
			for range n {
				e := modelEvent(next, size)
				next++
				var enc encoded
				if err := enc.set(&e); err != nil {
					t.Fatal(err)
				}
				want = append(want, bytes.Clone(enc.entry()))
				if err := put(e); err != nil {
					t.Fatal(err)
				}
			}
		}
		read := func() {
			i := 0
			if err := l.Replay(0, func(e Entry) error {
				if i >= len(want) || !bytes.Equal(e.Raw, want[i]) || e.Index != int64(i) {
					return fmt.Errorf("entry %d is %s", i, e.Raw)
				}
				i++
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if i < sure {
				t.Fatalf("%d entries, %d were acknowledged", i, sure)
			}
		}
		reopen := func(at string) {
			dir = at
			if l, err = Open(dir, opts); err != nil {
				t.Fatal(err)
			}
			read()
			want = want[:l.Size()]
			sure = len(want)
			rep, err := Verify(dir, VerifyOptions{Verifier: opts.Verifier, Known: signed})
			if err != nil || rep.Checked != l.Size() || rep.Uncovered != 0 {
				t.Fatalf("%+v: %v", rep, err)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"record": func(t *rapid.T) {
				add(rapid.IntRange(1, 40).Draw(t, "n"), rapid.IntRange(0, 300).Draw(t, "size"),
					func(e grant.Event) error { return l.Record(context.Background(), e) })
				sure = len(want)
			},
			"note": func(t *rapid.T) {
				add(rapid.IntRange(1, 200).Draw(t, "n"), rapid.IntRange(0, 30).Draw(t, "size"), l.Note)
			},
			"checkpoint": func(t *rapid.T) {
				c, err := l.Checkpoint(context.Background())
				if err != nil || c.Size != int64(len(want)) {
					t.Fatal(c.Size, err)
				}
				signed, sure = append(signed, c), len(want)
			},
			"close": func(t *rapid.T) {
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				sure = len(want)
				reopen(dir)
			},
			"crash": func(t *rapid.T) {
				if err := l.sync(); err != nil {
					t.Fatal(err)
				}
				sure = len(want)
				runs++
				to := filepath.Join(root, fmt.Sprint(runs))
				// These keep what runs in the background from running.
				l.pub.Lock()
				l.journal.mu.Lock()
				copyLog(t, dir, to)
				last, off := filepath.Join(to, journalName, segmentName(l.journal.segments[len(l.journal.segments)-1])), l.journal.off
				l.journal.mu.Unlock()
				l.pub.Unlock()
				// One more batch was being written, and parts of it arrived.
				var torn []byte
				for range rapid.IntRange(0, 5).Draw(t, "unfinished") {
					e := modelEvent(next, rapid.IntRange(0, 99).Draw(t, "size"))
					next++
					var enc encoded
					if err := enc.set(&e); err != nil {
						t.Fatal(err)
					}
					torn = appendFrame(torn, int64(len(want)), int64(sure), enc.entry())
					want = append(want, bytes.Clone(enc.entry()))
				}
				sealFrames(torn)
				f, err := os.OpenFile(last, os.O_RDWR, 0)
				if err != nil {
					t.Fatal(err)
				}
				const sector = 64
				for at := 0; at < len(torn); at += sector {
					if rapid.Bool().Draw(t, "arrived") {
						if _, err := f.WriteAt(torn[at:min(at+sector, len(torn))], off+int64(at)); err != nil {
							t.Fatal(err)
						}
					}
				}
				if cut := rapid.Int64Range(0, int64(len(torn))).Draw(t, "cut"); rapid.Bool().Draw(t, "file is cut") {
					if err := f.Truncate(off + cut); err != nil {
						t.Fatal(err)
					}
				}
				f.Close()
				old := dir
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				reopen(to)
				os.RemoveAll(old)
			},
			"": func(t *rapid.T) {
				if got := l.Size(); got < int64(sure) || got > int64(len(want)) {
					t.Fatalf("size %d, want %d to %d", got, sure, len(want))
				}
			},
		})
		read()
	})
}

// Whatever part of the last segment a crash leaves, the log opens to exactly
// the entries that are whole in it, and goes on from there.
func TestEveryPrefixReopens(t *testing.T) {
	root, opts := memDir(t), testOptions(t)
	opts.JournalSize = 64 << 10
	dir := filepath.Join(root, "log")
	l, err := Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	// A full bundle and some more under a checkpoint, then a few by themselves.
	for i := range 280 {
		if err := l.Note(modelEvent(i, 0)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.Checkpoint(context.Background()); err != nil {
		t.Fatal(err)
	}
	covered := l.Size()
	start := l.journal.off
	ends := []int64{}
	for i := range 4 {
		if err := l.Record(context.Background(), modelEvent(280+i, i)); err != nil {
			t.Fatal(err)
		}
		ends = append(ends, l.journal.off)
	}
	if ends[0] < start {
		t.Fatal("the test wants the last entries in one segment")
	}
	l.journal.mu.Lock()
	name := segmentName(l.journal.segments[len(l.journal.segments)-1])
	l.journal.mu.Unlock()
	// TestScanEveryPrefix tries every byte; here it is those around a frame's
	// end, and some of the others.
	for cut := start; cut <= ends[3]+1; cut++ {
		if near := slices.ContainsFunc(ends, func(at int64) bool { return cut >= at-1 && cut <= at+1 }); !near && cut%9 != 0 {
			continue
		}
		to := filepath.Join(root, "copy")
		copyLog(t, dir, to)
		if err := os.Truncate(filepath.Join(to, journalName, name), cut); err != nil {
			t.Fatal(err)
		}
		want := covered
		for _, at := range ends {
			if at <= cut {
				want++
			}
		}
		c, err := Open(to, opts)
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if c.Size() != want {
			t.Fatalf("cut at %d: %d entries, want %d", cut, c.Size(), want)
		}
		if err := c.Record(context.Background(), modelEvent(999, 9)); err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if rep, err := Verify(to, VerifyOptions{Verifier: opts.Verifier}); err != nil || rep.Checked != want+1 {
			t.Fatalf("cut at %d: %+v, %v", cut, rep, err)
		}
		if err := os.RemoveAll(to); err != nil {
			t.Fatal(err)
		}
	}
}
