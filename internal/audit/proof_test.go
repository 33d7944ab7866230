package audit_test

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/litentry/agentkeys/internal/audit"
)

func TestInclusion(t *testing.T) {
	dir, entries, _ := sample(t)
	v := newKey(t, 1).Verifier()
	r, err := audit.OpenReader(dir, v)
	if err != nil {
		t.Fatal(err)
	}
	for i := range r.Head().Size {
		p, err := r.Inclusion(i)
		if err != nil {
			t.Fatalf("entry %d: %v", i, err)
		}
		back, err := audit.ParseInclusion(p.Text())
		if err != nil {
			t.Fatal(err)
		}
		e, at, err := back.Verify(v)
		if err != nil || e.Index != i || !bytes.Equal(e.Raw, entries[i]) || at.Size != 600 || e.Event.Request != event(int(i)).Request {
			t.Fatalf("entry %d: %+v, %v", i, e, err)
		}
	}
	for _, i := range []int64{-1, 600, 1 << 40} {
		if _, err := r.Inclusion(i); !errors.Is(err, audit.ErrRange) {
			t.Errorf("entry %d: %v", i, err)
		}
	}
}

// A proof with any byte changed does not prove, unless it is the same proof.
func TestInclusionTampered(t *testing.T) {
	dir, _, _ := sample(t)
	v := newKey(t, 1).Verifier()
	r, err := audit.OpenReader(dir, v)
	if err != nil {
		t.Fatal(err)
	}
	p, err := r.Inclusion(300)
	if err != nil {
		t.Fatal(err)
	}
	text := p.Text()
	for i := range text {
		bad := bytes.Clone(text)
		bad[i] ^= 1
		q, err := audit.ParseInclusion(bad)
		if err == nil {
			_, _, err = q.Verify(v)
		}
		if !errors.Is(err, audit.ErrProof) && !errors.Is(err, audit.ErrCheckpoint) {
			t.Errorf("byte %d (%q): %v", i, text[i], err)
		}
	}
	if _, _, err := p.Verify(newKey(t, 2).Verifier()); !errors.Is(err, audit.ErrCheckpoint) {
		t.Errorf("by another key: %v", err)
	}
	if e, err := p.VerifyAt(r.Head()); err != nil || e.Index != 300 {
		t.Errorf("at its checkpoint: %+v, %v", e, err)
	}
	other := r.Head()
	other.Root[3] ^= 1
	if _, err := p.VerifyAt(other); !errors.Is(err, audit.ErrProof) {
		t.Errorf("at another checkpoint: %v", err)
	}
	if _, _, err := (audit.Inclusion{}).Verify(v); err == nil {
		t.Error("the zero proof proves")
	}
	// Tiles that do not prove are noticed where the proof is made.
	b := read(t, dir, "tile/0/001")
	b[32*45] ^= 1
	write(t, filepath.Join(dir, "tile/0/001"), b)
	_, err = r.Inclusion(300)
	wantCorrupt(t, err, audit.BadTile, 300, 1, -1)
}

func TestConsistency(t *testing.T) {
	dir, entries, known := sample(t)
	v := newKey(t, 1).Verifier()
	r, err := audit.OpenReader(dir, v)
	if err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(memDir(t), "empty")
	l := mustOpen(t, empty, options(t))
	for _, old := range append(known, l.Head()) {
		p, err := r.Consistency(old)
		if err != nil {
			t.Fatalf("from %d: %v", old.Size, err)
		}
		if err := r.Head().Extends(old, p); err != nil {
			t.Fatalf("from %d: %v", old.Size, err)
		}
		other := old
		other.Root[0] ^= 1
		if err := r.Head().Extends(other, p); !errors.Is(err, audit.ErrProof) {
			t.Errorf("from another %d: %v", old.Size, err)
		}
		if _, err := r.Consistency(other); old.Size > 0 {
			wantCorrupt(t, err, audit.Fork, 0, old.Size, -1)
		}
		other = old
		other.Origin = "elsewhere"
		if err := r.Head().Extends(other, p); !errors.Is(err, audit.ErrProof) {
			t.Errorf("from elsewhere: %v", err)
		}
		if len(p) > 0 {
			bad := append(tlog.TreeProof(nil), p...)
			bad[0][0] ^= 1
			if err := r.Head().Extends(old, bad); !errors.Is(err, audit.ErrProof) {
				t.Errorf("from %d with another proof: %v", old.Size, err)
			}
		}
	}
	forge(t, dir, entries[:100], newKey(t, 1))
	if r, err = audit.OpenReader(dir, v); err != nil {
		t.Fatal(err)
	}
	_, err = r.Consistency(known[3])
	wantCorrupt(t, err, audit.Rollback, 100, 1, -1)
}

func TestReaderReplays(t *testing.T) {
	dir, entries, _ := sample(t)
	r, err := audit.OpenReader(dir, newKey(t, 1).Verifier())
	if err != nil {
		t.Fatal(err)
	}
	for _, from := range []int64{0, 1, 255, 256, 300, 599, 600} {
		next := from
		if err := r.Replay(from, func(e audit.Entry) error {
			if e.Index != next || !bytes.Equal(e.Raw, entries[next]) {
				return fmt.Errorf("got entry %d", e.Index)
			}
			next++
			return nil
		}); err != nil || next != 600 {
			t.Errorf("from %d: to %d, %v", from, next, err)
		}
	}
	if _, err := audit.OpenReader(dir, newKey(t, 2).Verifier()); !errors.Is(err, audit.ErrCorrupt) {
		t.Errorf("by another key: %v", err)
	}
}
