package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/mod/sumdb/tlog"
)

// walk goes through a log from its first entry, building the tree anew and
// comparing it at every level with what is stored.
type walk struct {
	r      *Reader
	rep    Report
	tree   tree   // of the full bundles so far
	leaves []byte // of the last bundle, if it is partial
	stored []tile // by level, from 1 at index 0: the one in use
	known  []Checkpoint
	agreed int64 // the size of the last known checkpoint that agreed
}

// bundle checks the entries of bundle n and what is above them.
func (w *walk) bundle(n int64) error {
	data, wide, err := w.r.file(entriesLevel, n, maxBundle)
	if err != nil {
		return err
	}
	stored, err := w.r.tile(0, n)
	if err != nil {
		return err
	}
	width := len(stored) / tlog.HashSize
	c := checkBundle(data, stored)
	if c.bad >= 0 {
		return w.blame(n, c, stored)
	}
	if c.left > 0 && !wide {
		return corrupt(Malformed, n*tileWidth+int64(width)-1, "%d bytes follow it in its bundle", c.left).at(entriesLevel)
	}
	for i, e := range c.entries {
		if !json.Valid(e) || e[0] != '{' {
			return corrupt(Malformed, n*tileWidth+int64(i), "%v", errNotObject)
		}
	}
	if err := w.compareKnown(n, c.leaves); err != nil {
		return err
	}
	w.rep.Checked += int64(width)
	if width < tileWidth {
		w.leaves = c.leaves
		return nil
	}
	full := w.tree.push(c.leaves)
	for i := 0; i <= len(full); i++ {
		// The hash that level i+1 has just been given.
		hashes := w.tree.levels[i]
		if i < len(full) {
			hashes = full[i].data
		}
		q := w.tree.bundles>>(tileHeight*i) - 1
		have, err := w.hash(i+1, q)
		if err != nil {
			return err
		}
		if !bytes.Equal(have, hashes[len(hashes)-tlog.HashSize:]) {
			span := int64(1) << (tileHeight * (i + 1))
			return corrupt(BadTile, q*span, "%s does not fit the entries below it",
				tilePath(i+1, q/tileWidth, tileWidthAt(i+1, q/tileWidth, w.r.head.Size))).at(i + 1).among(span)
		}
	}
	return nil
}

// hash returns the q-th stored hash of a level from 1 up.
func (w *walk) hash(level int, q int64) ([]byte, error) {
	for len(w.stored) < level {
		w.stored = append(w.stored, tile{n: -1})
	}
	t := &w.stored[level-1]
	if n := q / tileWidth; t.n != n {
		data, err := w.r.tile(level, n)
		if err != nil {
			return nil, err
		}
		*t = tile{level: level, n: n, data: data}
	}
	return t.data[q%tileWidth*tlog.HashSize:][:tlog.HashSize], nil
}

// compareKnown holds the tree to the known checkpoints that end in bundle n,
// but not with it: those are the next bundle's.
func (w *walk) compareKnown(n int64, leaves []byte) error {
	for len(w.known) > 0 {
		k := w.known[0]
		in := k.Size - n*tileWidth
		if in > int64(len(leaves)/tlog.HashSize) || in == tileWidth {
			return nil
		}
		root, err := w.tree.root(leaves[:in*tlog.HashSize])
		if err != nil {
			return err
		}
		if root != k.Root {
			return corrupt(Fork, w.agreed, "a checkpoint of %d entries was signed for another past", k.Size).among(k.Size - w.agreed)
		}
		w.agreed, w.known = k.Size, w.known[1:]
	}
	return nil
}

// end compares the whole tree with the checkpoint, and the checkpoint with
// what is known beyond it.
func (w *walk) end() error {
	head := w.r.head
	if err := w.compareKnown(w.tree.bundles, w.leaves); err != nil {
		return err
	}
	root, err := w.tree.root(w.leaves)
	if err != nil {
		return err
	}
	if root != head.Root {
		return corrupt(BadRoot, w.agreed, "entries and tiles agree, but the tree is not the one that was signed").among(head.Size - w.agreed)
	}
	for _, k := range w.known {
		if k.Size > head.Size {
			return corrupt(Rollback, head.Size, "the log ends here, and a checkpoint of %d entries was signed", k.Size)
		}
	}
	return w.partials()
}

// partials checks the partial tiles that are kept for those who read by an
// older checkpoint: each is the beginning of the present one.
func (w *walk) partials() error {
	for level := entriesLevel; level < tileLevels(w.r.head.Size); level++ {
		n := w.r.head.Size >> (tileHeight * (max(level, 0) + 1))
		now := tileWidthAt(level, n, w.r.head.Size)
		kept, err := os.ReadDir(filepath.Dir(filepath.Join(w.r.dir, tilePath(level, n, 1))))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, d := range kept {
			v, err := strconv.Atoi(d.Name())
			if err != nil || v <= 0 || v >= now {
				continue
			}
			path := tilePath(level, n, v)
			data, err := readFile(filepath.Join(w.r.dir, path), maxBundle)
			if errors.Is(err, fs.ErrNotExist) {
				continue // pruned just now
			} else if err != nil {
				return err
			}
			hashes, err := w.r.tile(max(level, 0), n)
			if err != nil {
				return err
			}
			hashes = hashes[:v*tlog.HashSize]
			if level == entriesLevel {
				if c := checkBundle(data, hashes); c.bad >= 0 {
					return classify(w.r, n, c, hashes)
				} else if c.left > 0 {
					return corrupt(Malformed, n*tileWidth+int64(v)-1, "%d bytes follow it in %s", c.left, path).at(entriesLevel)
				}
			} else if !bytes.Equal(data, hashes) {
				span := int64(1) << (tileHeight * level)
				return corrupt(BadTile, n*tileWidth*span, "%s is not the beginning of its tile", path).at(level).among(int64(v) * span)
			}
		}
	}
	return nil
}
