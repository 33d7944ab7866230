package audit

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// frames seals one batch of entries, each "{" index "}".
func frames(first, count int64) (b []byte, ends []int) {
	for i := first; i < first+count; i++ {
		b = appendFrame(b, i, first, entryOf(i))
		ends = append(ends, len(b))
	}
	sealFrames(b)
	return b, ends
}

func entryOf(i int64) []byte { return fmt.Appendf(nil, `{"i":%d}`, i) }

// segment makes a segment of batches of the given sizes, and says where each
// of its entries ends.
func segment(first int64, batches ...int64) (b []byte, ends []int) {
	b = journalHeader{first, first}.append(nil)
	for _, n := range batches {
		f, e := frames(first, n)
		for _, at := range e {
			ends = append(ends, len(b)+at)
		}
		b = append(b, f...)
		first += n
	}
	return append(b, make([]byte, 100)...), ends
}

func checkScan(t *testing.T, what string, b []byte, first, end, bad int64) *scanned {
	t.Helper()
	s, err := scanJournal(b)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if s.first != first || s.end() != end || s.bad != bad {
		t.Fatalf("%s: entries %d to %d, bad %d; want %d to %d, bad %d", what, s.first, s.end(), s.bad, first, end, bad)
	}
	for i, e := range s.entries {
		if !bytes.Equal(e, entryOf(first+int64(i))) {
			t.Fatalf("%s: entry %d is %q", what, i, e)
		}
	}
	return s
}

// A crash leaves some beginning of what was written: its whole frames are
// found, and nothing else.
func TestScanEveryPrefix(t *testing.T) {
	b, ends := segment(300, 1, 4, 2, 1)
	for n := range len(b) {
		if n < journalHeaderSize {
			if _, err := scanJournal(b[:n]); err != errHeader {
				t.Fatalf("cut at %d: %v", n, err)
			}
			continue
		}
		whole := int64(0)
		for _, at := range ends {
			if at <= n {
				whole++
			}
		}
		checkScan(t, fmt.Sprintf("cut at %d", n), b[:n], 300, 300+whole, -1)
	}
}

// A crash may leave any part of the last batch, in any order. What was durable
// before it stays; of the batch itself some beginning may.
func TestScanTornBatch(t *testing.T) {
	b, ends := segment(300, 3, 5)
	from := ends[2]
	for hole := from; hole < ends[7]; hole++ {
		torn := bytes.Clone(b)
		for i := hole; i < min(hole+16, ends[7]); i++ {
			torn[i] = 0
		}
		whole := int64(0)
		for _, at := range ends {
			if at <= hole {
				whole++
			}
		}
		s := checkScan(t, fmt.Sprintf("hole at %d", hole), torn, 300, 300+whole, -1)
		if !s.torn && hole < ends[6]-16 {
			t.Errorf("hole at %d: not said to be torn", hole)
		}
	}
}

// Damage to anything that a later batch knew to be durable is found.
func TestScanDamage(t *testing.T) {
	b, ends := segment(300, 1, 3, 2, 1)
	durable := 6 // by the last batch
	for at := journalHeaderSize; at < ends[durable-1]; at++ {
		for _, flip := range []byte{1, 0x80, 0xff} {
			d := bytes.Clone(b)
			d[at] ^= flip
			hit := int64(0)
			for at >= ends[hit] {
				hit++
			}
			checkScan(t, fmt.Sprintf("byte %d", at), d, 300, 300+hit, 300+hit)
		}
	}
	for at := range journalHeaderSize {
		d := bytes.Clone(b)
		d[at] ^= 1
		if _, err := scanJournal(d); err != errHeader {
			t.Errorf("byte %d of the header: %v", at, err)
		}
	}
	// What the header knows to be durable needs no later batch to tell.
	h := journalHeader{300, 302}.append(nil)
	f, _ := frames(300, 1)
	checkScan(t, "less than the header knows", append(h, f...), 300, 301, 301)
}

// A segment's space is used again; what it held before is never taken for
// what it holds now, nor for a sign of damage.
func TestScanLeftovers(t *testing.T) {
	old, _ := segment(100, 3, 50, 2)
	for n := int64(0); n < 40; n++ {
		b, ends := segment(155, n)
		used := journalHeaderSize
		if n > 0 {
			used = ends[n-1]
		}
		mixed := bytes.Clone(old)
		copy(mixed, b[:used])
		if s := checkScan(t, fmt.Sprintf("%d over an old segment", n), mixed, 155, 155+n, -1); s.torn {
			t.Errorf("%d over an old segment: said to be torn", n)
		}
	}
}

func TestReadJournalAcrossSegments(t *testing.T) {
	write := func(t *testing.T, dir string, first int64, batches ...int64) {
		b, _ := segment(first, batches...)
		if err := os.WriteFile(filepath.Join(dir, segmentName(first)), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name       string
		make       func(dir string)
		first, end int64
		kind       Kind
		bad        int64
	}{
		{"three in order", func(d string) { write(t, d, 5, 2); write(t, d, 7, 1, 1); write(t, d, 9) }, 5, 9, "", 0},
		{"the later of two that overlap is believed", func(d string) { write(t, d, 5, 4); write(t, d, 7, 3) }, 5, 10, "", 0},
		{"one is missing", func(d string) { write(t, d, 5, 2); write(t, d, 9, 1) }, 0, 0, BadFrame, 7},
		{"none", func(d string) {}, 0, 0, Missing, 3},
		{"under another name", func(d string) {
			write(t, d, 5, 2)
			if err := os.Rename(filepath.Join(d, segmentName(5)), filepath.Join(d, segmentName(6))); err != nil {
				t.Fatal(err)
			}
		}, 0, 0, BadFrame, 6},
		{"strange names", func(d string) {
			write(t, d, 5, 2)
			for _, n := range []string{"6", "x", ".tmp-spare", "-000000000000000001", "00000000000000000006"} {
				if err := os.WriteFile(filepath.Join(d, n), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}, 5, 7, "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			c.make(dir)
			next := c.first
			st, err := readJournal(dir, 3, func(i int64, e []byte) error {
				if c.kind == "" && (i != next || !bytes.Equal(e, entryOf(i))) {
					t.Errorf("entry %d, %s; want %d", i, e, next)
				}
				next++
				return nil
			})
			if c.kind != "" {
				var ce *CorruptError
				if !errors.As(err, &ce) || ce.Kind != c.kind || ce.Index != c.bad {
					t.Fatalf("got %v, want %s at %d", err, c.kind, c.bad)
				}
				return
			}
			if err != nil || st.first != c.first || st.end != c.end || next != c.end {
				t.Fatal(st, err)
			}
		})
	}
}
