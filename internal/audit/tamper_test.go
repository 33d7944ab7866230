package audit_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/litentry/agentkeys/internal/audit"
	"github.com/litentry/agentkeys/internal/grant"
)

// sample makes a closed log of 600 entries (bundles of 256, 256 and 88), with
// earlier checkpoints at 1, 300 and 512.
func sample(t testing.TB) (dir string, entries [][]byte, known []audit.Checkpoint) {
	dir = filepath.Join(memDir(t), "log")
	l := mustOpen(t, dir, options(t))
	at := 0
	for _, to := range []int{1, 300, 512, 600} {
		fill(t, l, at, to)
		at = to
		known = append(known, l.Head())
	}
	entries = raws(t, l)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, entries, known
}

const (
	bundle0 = "tile/entries/000"
	bundle1 = "tile/entries/001"
	bundle2 = "tile/entries/002.p/88"
	tile0   = "tile/0/000"
	tile2   = "tile/0/002.p/88"
	tile1up = "tile/1/000.p/2"
)

func TestTamper(t *testing.T) {
	base, entries, known := sample(t)
	edit := func(path string, f func([][]byte) [][]byte) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			p := filepath.Join(dir, path)
			write(t, p, join(f(split(read(t, p)))))
		}
	}
	swap := func(i, j int) func([][]byte) [][]byte {
		return func(e [][]byte) [][]byte { e[i], e[j] = e[j], e[i]; return e }
	}
	change := func(i int) func([][]byte) [][]byte {
		return func(e [][]byte) [][]byte {
			e[i] = bytes.Replace(e[i], []byte(`"allow"`), []byte(`"deny"`), 1)
			return e
		}
	}
	remove := func(path string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			if err := os.RemoveAll(filepath.Join(dir, path)); err != nil {
				t.Fatal(err)
			}
		}
	}
	flip := func(path string, at int) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			p := filepath.Join(dir, path)
			b := read(t, p)
			b[at] ^= 1
			write(t, p, b)
		}
	}
	cut := func(path string, n int) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			p := filepath.Join(dir, path)
			b := read(t, p)
			write(t, p, b[:len(b)-n])
		}
	}
	then := func(fs ...func(t *testing.T, dir string)) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			for _, f := range fs {
				f(t, dir)
			}
		}
	}
	// leaf makes the stored leaf hash fit what is stored as the entry.
	leaf := func(bundle, tile string, i int) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			h := tlog.RecordHash(split(read(t, dir, bundle))[i])
			b := read(t, dir, tile)
			copy(b[i*32:], h[:])
			write(t, filepath.Join(dir, tile), b)
		}
	}
	// rewritten is what somebody makes of the log who can change every file,
	// and signed again if they have the key too.
	rewritten := func(f func([][]byte) [][]byte, seed byte) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			e := f(slices.Clone(entries))
			remove("journal")(t, dir)
			if seed == 0 {
				forge(t, dir, e, nil)
			} else {
				forge(t, dir, e, newKey(t, seed))
			}
		}
	}
	for _, c := range []struct {
		name         string
		do           func(t *testing.T, dir string)
		known        []audit.Checkpoint
		kind         audit.Kind
		index, count int64
		level        int
	}{
		{"edited", edit(bundle1, change(44)), nil, audit.Edited, 300, 1, -1},
		{"edited, the first", edit(bundle0, change(0)), nil, audit.Edited, 0, 1, -1},
		{"edited, the last", edit(bundle2, change(87)), nil, audit.Edited, 599, 1, -1},
		{"two edited", then(edit(bundle2, change(3)), edit(bundle1, change(7))), nil, audit.Edited, 263, 1, -1},
		{"edited with its hash", then(edit(bundle1, change(44)), leaf(bundle1, "tile/0/001", 44)), nil, audit.BadTile, 256, 256, 1},
		{"edited with its hash, at the edge", then(edit(bundle2, change(3)), leaf(bundle2, tile2, 3), remove("journal"),
			remove("tile/0/002.p/44"), remove("tile/entries/002.p/44")), nil, audit.BadRoot, 0, 600, -1},
		{"swapped", edit(bundle1, swap(10, 20)), nil, audit.Reordered, 266, 1, -1},
		{"swapped neighbours", edit(bundle1, swap(10, 11)), nil, audit.Reordered, 266, 1, -1},
		{"swapped, at the edge", edit(bundle2, swap(0, 87)), nil, audit.Reordered, 512, 1, -1},
		{"swapped between bundles", func(t *testing.T, dir string) {
			edit(bundle0, func(e [][]byte) [][]byte { e[5] = entries[300]; return e })(t, dir)
			edit(bundle1, func(e [][]byte) [][]byte { e[44] = entries[5]; return e })(t, dir)
		}, nil, audit.Reordered, 5, 1, -1},
		{"dropped", edit(bundle0, func(e [][]byte) [][]byte { return slices.Delete(e, 9, 10) }), nil, audit.Cut, 9, 1, -1},
		{"dropped, the last of a bundle", edit(bundle0, func(e [][]byte) [][]byte { return e[:255] }), nil, audit.Cut, 255, 1, -1},
		{"all of a bundle dropped", edit(bundle0, func([][]byte) [][]byte { return nil }), nil, audit.Cut, 0, 1, -1},
		{"inserted", edit(bundle0, func(e [][]byte) [][]byte { return slices.Insert(e, 9, []byte("{}")) }), nil, audit.Edited, 9, 1, -1},
		{"added to a full bundle", edit(bundle0, func(e [][]byte) [][]byte { return append(e, []byte("{}")) }), nil, audit.Malformed, 255, 1, -1},
		{"added to the last bundle", edit(bundle2, func(e [][]byte) [][]byte { return append(e, []byte("{}")) }), nil, audit.Malformed, 599, 1, -1},
		{"bundle cut within an entry", cut(bundle2, 1), nil, audit.Cut, 599, 1, -1},
		{"bundle gone", remove(bundle1), nil, audit.Missing, 256, 256, -1},
		{"last bundle gone", remove(bundle2), nil, audit.Missing, 512, 88, -1},
		{"leaf tile gone", remove(tile0), nil, audit.Missing, 0, 256, 0},
		{"tile above gone", remove(tile1up), nil, audit.Missing, 0, 512, 1},
		{"leaf tile changed", flip(tile0, 32*77+5), nil, audit.BadTile, 77, 1, 0},
		{"leaf tile at the edge changed", flip(tile2, 32*7+5), nil, audit.BadTile, 519, 1, 0},
		{"tile above changed", flip(tile1up, 32+5), nil, audit.BadTile, 256, 256, 1},
		{"leaf tile cut", cut(tile0, 32), nil, audit.Malformed, 0, 256, 0},
		{"checkpoint gone", remove("checkpoint"), nil, audit.Missing, 0, 0, -1},
		{"checkpoint empty", func(t *testing.T, dir string) { write(t, filepath.Join(dir, "checkpoint"), nil) }, nil, audit.BadSig, 0, 0, -1},
		{"signed by another", rewritten(change(5), 2), nil, audit.BadSig, 0, 0, -1},
		{"all rewritten, not signed", rewritten(change(400), 0), nil, audit.BadRoot, 0, 600, -1},
		{"all rewritten, not signed, and a checkpoint is known", rewritten(change(400), 0), known[:2], audit.BadRoot, 300, 300, -1},
		{"fork", rewritten(change(5), 1), known[1:2], audit.Fork, 0, 300, -1},
		{"fork between two that are known", rewritten(change(400), 1), known, audit.Fork, 300, 212, -1},
		{"fork of the last", rewritten(change(599), 1), known, audit.Fork, 512, 88, -1},
		{"fork at a full bundle", rewritten(change(511), 1), known[2:3], audit.Fork, 0, 512, -1},
		{"rolled back", rewritten(func(e [][]byte) [][]byte { return e[:450] }, 1), known, audit.Rollback, 450, 1, -1},
		{"rolled back to nothing", rewritten(func(e [][]byte) [][]byte { return nil }, 1), known, audit.Rollback, 0, 1, -1},
		{"rolled back and edited", then(rewritten(func(e [][]byte) [][]byte { return e[:450] }, 1), edit(bundle0, change(7))), known, audit.Edited, 7, 1, -1},
		{"no JSON object was signed", rewritten(func(e [][]byte) [][]byte { e[310] = []byte(`["x"]`); return e }, 1), nil, audit.Malformed, 310, 1, -1},
		{"journal emptied", then(remove("journal"), func(t *testing.T, dir string) { write(t, filepath.Join(dir, "journal/.keep"), nil) }), nil, audit.Missing, 600, 1, -1},
		{"last segment gone", remove("journal/" + fmt.Sprintf("%019d", 512)), nil, audit.Cut, 512, 1, -1},
		{"an older checkpoint's tile changed", flip("tile/0/002.p/44", 32*3), nil, audit.BadTile, 512, 44, 0},
		{"an older checkpoint's bundle changed", edit("tile/entries/002.p/44", change(3)), nil, audit.Edited, 515, 1, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := copyDir(t, base)
			// What an older checkpoint left is made here, so that it is sure
			// to be there: the first 44 entries of the last bundle.
			write(t, filepath.Join(dir, "tile/0/002.p/44"), read(t, dir, tile2)[:44*32])
			write(t, filepath.Join(dir, "tile/entries/002.p/44"), join(entries[512:556]))
			v := newKey(t, 1).Verifier()
			if _, err := audit.Verify(dir, audit.VerifyOptions{Verifier: v, Known: known}); err != nil {
				t.Fatalf("before: %v", err)
			}
			c.do(t, dir)
			_, err := audit.Verify(dir, audit.VerifyOptions{Verifier: v, Known: c.known})
			wantCorrupt(t, err, c.kind, c.index, c.count, c.level)
		})
	}
}

// There is no byte of a log that can be changed unnoticed, and what is noticed
// is named.
func TestFlipEveryByte(t *testing.T) {
	base := filepath.Join(memDir(t), "log")
	o := options(t)
	o.JournalSize = 300 // two of these entries fit
	l := mustOpen(t, base, o)
	for i := range 3 {
		e := grant.Event{Time: event(i).Time, Op: "test", Subject: fmt.Sprint(i), Decision: grant.Allowed}
		if err := l.Record(context.Background(), e); err != nil {
			t.Fatal(err)
		}
		if i == 1 {
			checkpoint(t, l) // leaves partial tiles of its own
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	entries := raws(t, mustOpen(t, copyDir(t, base), o))
	var starts []int // of each entry in a bundle
	for i, at := 0, 0; i < len(entries); i++ {
		starts = append(starts, at)
		at += 2 + len(entries[i])
	}
	for path, data := range tree(t, base) {
		dir := copyDir(t, base)
		used := len(data)
		var first int64 // of a segment, and where its frames end
		var ends []int
		if strings.HasPrefix(path, "journal/") {
			first = int64(binary.BigEndian.Uint64([]byte(data[8:])))
			used = 32
			for i := first; i < int64(len(entries)) && data[used+20:used+22] != "\x00\x00"; i++ {
				used += 22 + len(entries[i])
				ends = append(ends, used)
			}
		}
		for at := range used {
			b := []byte(data)
			b[at] ^= 1 << (at % 8)
			write(t, filepath.Join(dir, path), b)
			_, err := audit.Verify(dir, audit.VerifyOptions{Verifier: o.Verifier})
			what := fmt.Sprintf("%s, byte %d", path, at)
			var kinds []audit.Kind
			index := int64(0)
			switch {
			case path == "checkpoint":
				kinds = []audit.Kind{audit.BadSig}
			case strings.HasPrefix(path, "journal/"):
				kinds = []audit.Kind{audit.BadFrame, audit.Cut}
				for index = first; at >= 32 && at >= ends[index-first]; index++ {
				}
			case strings.HasPrefix(path, "tile/entries/"):
				kinds = []audit.Kind{audit.Edited, audit.Cut}
				for int(index) < len(starts)-1 && at >= starts[index+1] {
					index++
				}
			case strings.HasPrefix(path, "tile/0/"):
				kinds = []audit.Kind{audit.BadTile}
				if strings.HasSuffix(path, "/3") {
					index = int64(at / 32)
				}
			}
			c, ok := err.(*audit.CorruptError)
			if !ok || !slices.Contains(kinds, c.Kind) || c.Index != index {
				t.Fatalf("%s: %v; want %v at %d", what, err, kinds, index)
			}
			// Opening it either refuses, or needs nothing of what was changed.
			if at%7 == 0 {
				before := tree(t, dir)
				l, err := audit.Open(dir, o)
				if err == nil {
					if got := raws(t, l); !slices.EqualFunc(got, entries, bytes.Equal) {
						t.Fatalf("%s: opens to %q", what, got)
					}
					_ = l.Close()
					if err := os.RemoveAll(dir); err != nil {
						t.Fatal(err)
					}
					dir = copyDir(t, base)
				} else if after := tree(t, dir); len(before) != len(after) || before[path] != after[path] {
					t.Fatalf("%s: Open refused it and changed it", what)
				}
			}
		}
	}
}

// What was signed binds the next run: a log that lost some of it, or has
// something else, is not opened, and not touched.
func TestOpenRefuses(t *testing.T) {
	base := filepath.Join(memDir(t), "log")
	o := options(t)
	l := mustOpen(t, base, o)
	fill(t, l, 0, 560)
	at560 := copyDir(t, base)
	fill(t, l, 560, 600)
	entries := raws(t, l)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := mustOpen(t, base, o).Close(); err != nil { // leaves one segment, from 512
		t.Fatal(err)
	}
	segments, err := filepath.Glob(filepath.Join(base, "journal", "0*"))
	if err != nil || len(segments) != 1 {
		t.Fatal(segments, err)
	}
	last, err := filepath.Rel(base, segments[0])
	if err != nil {
		t.Fatal(err)
	}
	// frame returns where the frame of an entry begins in a segment.
	frame := func(t *testing.T, dir, seg string, index int) int {
		b, at := read(t, dir, seg), 32
		for i := int(binary.BigEndian.Uint64(b[8:])); i < index; i++ {
			at += 22 + int(binary.BigEndian.Uint16(b[at+20:]))
		}
		return at
	}
	patch := func(t *testing.T, dir, path string, f func([]byte) []byte) {
		write(t, filepath.Join(dir, path), f(read(t, dir, path)))
	}
	for _, c := range []struct {
		name  string
		do    func(t *testing.T, dir string)
		kind  audit.Kind
		index int64
		count int64
	}{
		{"the journal is cut below what was signed", func(t *testing.T, dir string) {
			at := frame(t, dir, last, 590)
			patch(t, dir, last, func(b []byte) []byte { return b[:at] })
		}, audit.BadFrame, 590, 1},
		{"the journal is cut within a frame", func(t *testing.T, dir string) {
			at := frame(t, dir, last, 590)
			patch(t, dir, last, func(b []byte) []byte { return b[:at+5] })
		}, audit.BadFrame, 590, 1},
		{"a frame is damaged", func(t *testing.T, dir string) {
			at := frame(t, dir, last, 595)
			patch(t, dir, last, func(b []byte) []byte { b[at+30] ^= 1; return b })
		}, audit.BadFrame, 595, 1},
		{"a header is damaged", func(t *testing.T, dir string) {
			patch(t, dir, last, func(b []byte) []byte { b[9] ^= 1; return b })
		}, audit.BadFrame, 512, 1},
		{"the only segment is gone", func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, last)); err != nil {
				t.Fatal(err)
			}
		}, audit.Missing, 600, 1},
		{"the journal is gone", func(t *testing.T, dir string) {
			if err := os.RemoveAll(filepath.Join(dir, "journal")); err != nil {
				t.Fatal(err)
			}
		}, audit.Missing, 600, 1},
		{"the journal is of an earlier time", func(t *testing.T, dir string) {
			if err := os.RemoveAll(filepath.Join(dir, "journal")); err != nil {
				t.Fatal(err)
			}
			if err := os.CopyFS(filepath.Join(dir, "journal"), os.DirFS(filepath.Join(at560, "journal"))); err != nil {
				t.Fatal(err)
			}
		}, audit.Cut, 560, 1},
		{"the journal is of an earlier time, and the last bundle is gone", func(t *testing.T, dir string) {
			if err := os.RemoveAll(filepath.Join(dir, "journal")); err != nil {
				t.Fatal(err)
			}
			if err := os.CopyFS(filepath.Join(dir, "journal"), os.DirFS(filepath.Join(at560, "journal"))); err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(filepath.Join(dir, bundle2)); err != nil {
				t.Fatal(err)
			}
		}, audit.Cut, 560, 1},
		{"the checkpoint and the journal are gone", func(t *testing.T, dir string) {
			for _, path := range []string{"checkpoint", "journal"} {
				if err := os.RemoveAll(filepath.Join(dir, path)); err != nil {
					t.Fatal(err)
				}
			}
		}, audit.Missing, 0, 0},
		{"the checkpoint is of another log", func(t *testing.T, dir string) { forge(t, dir, entries, newKey(t, 2)) }, audit.BadSig, 0, 0},
		{"the checkpoint is of another past", func(t *testing.T, dir string) {
			e := slices.Clone(entries)
			e[555] = []byte(`{"op":"never"}`)
			forge(t, dir, e, newKey(t, 1))
		}, audit.BadFrame, 555, 1},
		{"the checkpoint is gone", func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "checkpoint")); err != nil {
				t.Fatal(err)
			}
		}, audit.Missing, 0, 0},
		{"the checkpoint and the tiles are gone", func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "checkpoint")); err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(filepath.Join(dir, "tile")); err != nil {
				t.Fatal(err)
			}
		}, audit.Missing, 0, 0},
		{"the right edge is changed", func(t *testing.T, dir string) {
			patch(t, dir, tile1up, func(b []byte) []byte { b[3] ^= 1; return b })
		}, audit.BadTile, 0, 256},
		{"all but the last bundle is of an earlier time", func(t *testing.T, dir string) {
			late := read(t, dir, bundle2)
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			if err := os.CopyFS(dir, os.DirFS(at560)); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(dir, bundle2), late)
		}, audit.Cut, 560, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := copyDir(t, base)
			c.do(t, dir)
			before := tree(t, dir)
			l, err := audit.Open(dir, o)
			if err == nil {
				_ = l.Close()
				t.Fatal("it opens")
			}
			wantCorrupt(t, err, c.kind, c.index, c.count, -2)
			after := tree(t, dir)
			for path, was := range before {
				if after[path] != was && path != "lock" {
					t.Errorf("%s was changed", path)
				}
				delete(after, path)
			}
			if len(after) > 0 {
				t.Errorf("Open made %d files", len(after))
			}
		})
	}
}
