package audit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/note"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/audit"
	"github.com/litentry/agentkeys/internal/durable"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/secret"
)

const origin = "agentkeys/0x2222222222222222222222222222222222222222"

func newKey(t testing.TB, seed byte) *audit.Key {
	t.Helper()
	k, err := audit.NewKey(origin, secret.New(bytes.Repeat([]byte{seed}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// memDir is a directory whose syncs cost nothing, for tests of what is
// written rather than of whether it reached the disk.
func memDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "audit-test")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// quiet keeps the log from publishing by itself.
const quiet = time.Hour

func options(t testing.TB) audit.Options {
	k := newKey(t, 1)
	return audit.Options{Signer: k, Verifier: k.Verifier(), CheckpointEvery: quiet, JournalSize: 16 << 10}
}

func mustOpen(t testing.TB, dir string, o audit.Options) *audit.Log {
	t.Helper()
	l, err := audit.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// useEvent is what the proxy records for a use, in some 400 bytes.
func useEvent() grant.Event {
	return grant.Event{
		Time: time.Date(2026, 7, 1, 12, 30, 45, 123456789, time.UTC), Op: grant.OpUse,
		Actor:  agentkeys.Must(agentkeys.ParseWallet("0x1111111111111111111111111111111111111111")),
		Parent: agentkeys.Must(agentkeys.ParseWallet("0x2222222222222222222222222222222222222222")),
		Agent:  agentkeys.Must(agentkeys.ParseAgent("research-bot")),
		Svc:    agentkeys.Must(agentkeys.ParseService("openrouter")),
		Grant:  "g-0123456789abcdef", Request: "r-0123456789abcdef0123",
		Decision: grant.Allowed, Method: "POST", Path: "POST /v1/chat/completions", Hold: 50 * grant.USD / 1000,
	}
}

func event(i int) grant.Event {
	e := useEvent()
	e.Request = fmt.Sprintf("r-%06d", i)
	return e
}

func record(t testing.TB, l *audit.Log, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if err := l.Record(context.Background(), event(i)); err != nil {
			t.Fatal(err)
		}
	}
}

// fill logs many entries with few syncs.
func fill(t testing.TB, l *audit.Log, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if err := l.Note(event(i)); err != nil {
			t.Fatal(err)
		}
	}
	checkpoint(t, l)
}

func checkpoint(t testing.TB, l *audit.Log) audit.Checkpoint {
	t.Helper()
	c, err := l.Checkpoint(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func mustVerify(t testing.TB, dir string, size int64) audit.Report {
	t.Helper()
	rep, err := audit.Verify(dir, audit.VerifyOptions{Verifier: newKey(t, 1).Verifier()})
	if err != nil {
		t.Fatal(err)
	}
	if rep.Checked != size {
		t.Fatalf("verified %d entries, want %d", rep.Checked, size)
	}
	return rep
}

// requests returns the request ids of all entries.
func requests(t testing.TB, l *audit.Log) []string {
	t.Helper()
	var out []string
	if err := l.Replay(0, func(e audit.Entry) error {
		if e.Index != int64(len(out)) {
			t.Fatalf("entry %d came as number %d", e.Index, len(out))
		}
		out = append(out, e.Event.Request)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

func wantRequests(t testing.TB, l *audit.Log, n int) {
	t.Helper()
	got := requests(t, l)
	if len(got) != n {
		t.Fatalf("%d entries, want %d", len(got), n)
	}
	for i, r := range got {
		if r != event(i).Request {
			t.Fatalf("entry %d is %s", i, r)
		}
	}
}

func TestRecordAndReopen(t *testing.T) {
	dir, o := memDir(t), options(t)
	n := 0
	// Across the edges of bundles, segments and runs.
	for _, more := range []int{0, 1, 99, 155, 1, 1, 0, 300, 256, 700} {
		l := mustOpen(t, dir, o)
		wantRequests(t, l, n)
		for i := range more {
			var err error
			if e := event(n + i); i%3 == 1 {
				err = l.Note(e)
			} else {
				err = l.Record(context.Background(), e)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		n += more
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if rep := mustVerify(t, dir, int64(n)); rep.Uncovered != 0 || rep.Torn || rep.Head.Size != int64(n) {
			t.Fatalf("after Close: %+v", rep)
		}
	}
}

func TestEntryIsWhatWasRecorded(t *testing.T) {
	l := mustOpen(t, memDir(t), options(t))
	want := event(7)
	if err := l.Record(context.Background(), want); err != nil {
		t.Fatal(err)
	}
	got, err := l.Tail(5)
	if err != nil || len(got) != 1 || got[0].Unread != nil {
		t.Fatal(got, err)
	}
	if diff := cmp.Diff(want, got[0].Event, cmp.Comparer(func(a, b grant.Event) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
	if plain, _ := json.Marshal(want); string(got[0].Raw) != string(plain) {
		t.Errorf("stored %s, want %s", got[0].Raw, plain)
	}
}

func TestTimeIsStamped(t *testing.T) {
	o := options(t)
	now := time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("", 3600))
	o.Now = func() time.Time { return now }
	l := mustOpen(t, memDir(t), o)
	if err := l.Record(context.Background(), grant.Event{Op: "session.start"}); err != nil {
		t.Fatal(err)
	}
	if got, err := l.Tail(1); err != nil || !got[0].Event.Time.Equal(now) || !strings.Contains(string(got[0].Raw), "02:04:05.000000006Z") {
		t.Fatal(got, err)
	}
}

func TestRefusals(t *testing.T) {
	dir, o := memDir(t), options(t)
	l := mustOpen(t, dir, o)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	long := event(0)
	long.Subject = strings.Repeat("x", audit.MaxEntry)
	late := event(0)
	late.Time = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		what string
		err  error
		want error
	}{
		{"record with a cancelled context", l.Record(ctx, event(0)), context.Canceled},
		{"record of a long entry", l.Record(context.Background(), long), audit.ErrTooLarge},
		{"note of a long entry", l.Note(long), audit.ErrTooLarge},
		{"record in the year 10000", l.Record(context.Background(), late), audit.ErrTime},
		{"replay from -1", l.Replay(-1, nil), audit.ErrRange},
		{"replay from beyond the end", l.Replay(1, nil), audit.ErrRange},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %v", c.what, c.err, c.want)
		}
	}
	if _, err := audit.Open(dir, o); !errors.Is(err, durable.ErrLocked) {
		t.Errorf("second Open: %v", err)
	}
	o.Verifier = newKey(t, 2).Verifier()
	if _, err := audit.Open(memDir(t), o); err == nil {
		t.Error("Open took a verifier of another key")
	}
	// What was refused left nothing behind, and the log goes on.
	record(t, l, 0, 1)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if err := l.Record(context.Background(), event(1)); !errors.Is(err, audit.ErrClosed) {
		t.Errorf("Record after Close: %v", err)
	}
	if err := l.Note(event(1)); !errors.Is(err, audit.ErrClosed) {
		t.Errorf("Note after Close: %v", err)
	}
	mustVerify(t, dir, 1)
}

func TestLargestEntries(t *testing.T) {
	dir, o := memDir(t), options(t)
	l := mustOpen(t, dir, o)
	e := event(0)
	plain, _ := json.Marshal(e)
	e.Subject = strings.Repeat("x", audit.MaxEntry-len(plain)-len(`,"subject":""`))
	e.Subject += "x"
	if err := l.Note(e); !errors.Is(err, audit.ErrTooLarge) {
		t.Errorf("an entry of %d bytes: %v", audit.MaxEntry+1, err)
	}
	e.Subject = e.Subject[1:]
	const n = 260 // more than a bundle, each larger than a segment
	for range n {
		if err := l.Note(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	mustVerify(t, dir, n)
	if got, err := mustOpen(t, dir, o).Tail(1); err != nil || len(got[0].Raw) != audit.MaxEntry {
		t.Fatal(len(got[0].Raw), err)
	}
}

// A note needs nobody to record anything, and goes to its place in order.
func TestNoteIsFlushed(t *testing.T) {
	l := mustOpen(t, memDir(t), options(t))
	if err := l.Note(event(0)); err != nil {
		t.Fatal(err)
	}
	if err := l.Note(event(1)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	done := errors.New("done")
	if err := l.Follow(ctx, 1, func(audit.Entry) error { return done }); err != done {
		t.Fatal(err)
	}
	wantRequests(t, l, 2)
}

func TestCheckpointFollowsByItself(t *testing.T) {
	dir, o := memDir(t), options(t)
	o.CheckpointEvery = time.Millisecond
	l := mustOpen(t, dir, o)
	record(t, l, 0, 3)
	for l.Head().Size < 3 {
		time.Sleep(time.Millisecond)
	}
	b, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	if c, err := audit.ParseCheckpoint(b, o.Verifier); err != nil || c.Size != 3 {
		t.Fatal(c, err)
	}
	mustVerify(t, dir, 3)
}

func TestFollow(t *testing.T) {
	l := mustOpen(t, memDir(t), options(t))
	record(t, l, 0, 10)
	const n = 600
	got := make(chan int64, n)
	ended := make(chan error, 1)
	stuck := make(chan struct{})
	go func() { // never gets beyond its first entry, and delays nobody
		_ = l.Follow(context.Background(), 0, func(audit.Entry) error { <-stuck; return nil })
	}()
	go func() {
		ended <- l.Follow(context.Background(), 5, func(e audit.Entry) error { got <- e.Index; return nil })
	}()
	record(t, l, 10, 20)
	fill(t, l, 20, n)
	for i := int64(5); i < n; i++ {
		if g := <-got; g != i {
			t.Fatalf("got %d, want %d", g, i)
		}
	}
	close(stuck)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, audit.ErrClosed) {
		t.Errorf("Follow ended with %v", err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	l = mustOpen(t, memDir(t), options(t))
	cancel(context.DeadlineExceeded)
	if err := l.Follow(ctx, 0, nil); err != context.DeadlineExceeded {
		t.Errorf("Follow ended with %v", err)
	}
}

// Many writers and readers at once; the order of each writer is kept.
func TestConcurrently(t *testing.T) {
	dir, o := memDir(t), options(t)
	o.CheckpointEvery = time.Millisecond
	l := mustOpen(t, dir, o)
	const writers, each = 16, 80
	ctx, cancel := context.WithCancel(context.Background())
	var wg, readers sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				e := event(i)
				e.Subject = fmt.Sprint(w)
				var err error
				if i%4 == 3 {
					err = l.Note(e)
				} else {
					err = l.Record(context.Background(), e)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 2 {
		readers.Go(func() {
			for ctx.Err() == nil {
				_, err := l.Tail(300)
				if err != nil {
					t.Error(err)
				}
				if rep, err := audit.Verify(dir, audit.VerifyOptions{Verifier: o.Verifier}); err != nil {
					t.Errorf("beside a writer: %+v: %v", rep, err)
				}
			}
		})
		readers.Go(func() {
			_ = l.Follow(ctx, 0, func(audit.Entry) error { return nil })
		})
	}
	wg.Wait()
	cancel()
	readers.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	mustVerify(t, dir, writers*each)
	next := map[string]int{}
	err := mustOpen(t, dir, o).Replay(0, func(e audit.Entry) error {
		if want := event(next[e.Event.Subject]).Request; e.Event.Request != want {
			t.Errorf("writer %s: %s, want %s", e.Event.Subject, e.Event.Request, want)
		}
		next[e.Event.Subject]++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// What is published is what the next run must accept.
func TestSignerSignsSomethingElse(t *testing.T) {
	dir, o := memDir(t), options(t)
	s := &flakySigner{Signer: o.Signer}
	bad := o
	bad.Signer = s
	l := mustOpen(t, dir, bad)
	s.wrong = true
	record(t, l, 0, 2)
	if _, err := l.Checkpoint(context.Background()); !errors.Is(err, audit.ErrCheckpoint) {
		t.Errorf("Checkpoint: %v", err)
	}
	if err := l.Close(); err == nil {
		t.Error("Close published it")
	}
	wantRequests(t, mustOpen(t, dir, o), 2)
}

// A signer that cannot sign delays the checkpoint, and stops nothing.
func TestSignerOutOfReach(t *testing.T) {
	dir, o := memDir(t), options(t)
	s := &flakySigner{Signer: o.Signer}
	o.Signer = s
	l := mustOpen(t, dir, o)
	s.down = true
	record(t, l, 0, 2)
	if _, err := l.Checkpoint(context.Background()); err == nil || errors.Is(err, audit.ErrStopped) {
		t.Fatalf("Checkpoint: %v", err)
	}
	record(t, l, 2, 4)
	s.down = false
	if c := checkpoint(t, l); c.Size != 4 {
		t.Fatal(c.Size)
	}
}

type flakySigner struct {
	note.Signer
	down  bool
	wrong bool
}

func (s *flakySigner) Sign(msg []byte) ([]byte, error) {
	if s.down {
		return nil, errors.New("out of reach")
	}
	if s.wrong {
		msg = []byte("something else\n")
	}
	return s.Signer.Sign(msg)
}

func TestParseCheckpoint(t *testing.T) {
	k := newKey(t, 1)
	const root = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
	for text, ok := range map[string]bool{
		origin + "\n0\n" + root + "\n":                     true,
		origin + "\n9223372036854775807\n" + root + "\n":   true,
		origin + "\n7\n" + root + "\nan extension\nmore\n": true,
		"elsewhere\n7\n" + root + "\n":                     false,
		"\n7\n" + root + "\n":                              false,
		origin + "\n-7\n" + root + "\n":                    false,
		origin + "\n+7\n" + root + "\n":                    false,
		origin + "\n07\n" + root + "\n":                    false,
		origin + "\n7 \n" + root + "\n":                    false,
		origin + "\n9223372036854775808\n" + root + "\n":   false,
		origin + "\n7\n":                                   false,
		origin + "\n7\n" + root[4:] + "\n":                 false,
		origin + "\n7\n" + root[:42] + "V=\n":              false, // bits that mean nothing are set
		origin + "\n7\n" + root + "\n\n\n":                 false,
	} {
		signed, err := note.Sign(&note.Note{Text: text}, k)
		if err != nil {
			t.Fatal(err)
		}
		c, err := audit.ParseCheckpoint(signed, k.Verifier())
		if (err == nil) != ok || err != nil && !errors.Is(err, audit.ErrCheckpoint) {
			t.Errorf("%q: %+v, %v", text, c, err)
		}
	}
	if _, err := audit.ParseCheckpoint(bytes.Repeat([]byte{'x'}, 1<<20), k.Verifier()); !errors.Is(err, audit.ErrCheckpoint) {
		t.Errorf("a long one: %v", err)
	}
}

func TestKeyDoesNotPrint(t *testing.T) {
	k := newKey(t, 0xAB)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		for _, v := range []any{k, *k} {
			if s := fmt.Sprintf(verb, v); strings.Contains(strings.ToLower(s), "abab") || strings.Contains(s, "171 171") {
				t.Errorf("%s prints the seed: %s", verb, s)
			}
		}
	}
	if _, err := audit.NewKey(origin, secret.New(make([]byte, 31))); err == nil {
		t.Error("took a short seed")
	}
	if _, err := audit.NewKey("two words", secret.New(make([]byte, 32))); err == nil {
		t.Error("took an origin with a space")
	}
	if v, err := note.NewVerifier(k.VerifierKey()); err != nil || v.KeyHash() != k.KeyHash() || v.Name() != origin {
		t.Error(v, err)
	}
}
