package audit

import (
	"bytes"

	"golang.org/x/mod/sumdb/tlog"
)

// checked is a bundle compared with its tile.
type checked struct {
	entries [][]byte
	leaves  []byte // as many as there are whole entries, up to the tile's
	bad     int    // the first entry that is not the tile's, -1 if all are
	left    int    // bytes that follow the last
}

func checkBundle(data, stored []byte) checked {
	c := checked{bad: -1}
	for len(c.leaves) < len(stored) {
		e, rest, ok := nextEntry(data)
		if !ok {
			break
		}
		h := leafHash(e)
		c.entries, c.leaves, data = append(c.entries, e), append(c.leaves, h[:]...), rest
	}
	c.left = len(data)
	for i := 0; i < len(stored); i += tlog.HashSize {
		if i >= len(c.leaves) || !bytes.Equal(c.leaves[i:i+tlog.HashSize], stored[i:i+tlog.HashSize]) {
			c.bad = i / tlog.HashSize
			break
		}
	}
	return c
}

// blame says what is wrong with bundle n, or with its tile: the hash above
// tells which of the two was changed.
func (w *walk) blame(n int64, c checked, stored []byte) error {
	var fits func(leaves []byte) bool
	if len(stored) == tileWidth*tlog.HashSize {
		above, err := w.hash(1, n)
		fits = func(leaves []byte) bool {
			h := subtreeHash(leaves)
			return err == nil && bytes.Equal(h[:], above)
		}
	} else {
		fits = func(leaves []byte) bool {
			h, err := w.tree.root(leaves)
			return err == nil && h == w.r.head.Root
		}
	}
	if len(c.leaves) == len(stored) && fits(c.leaves) && !fits(stored) {
		return corrupt(BadTile, n*tileWidth+int64(c.bad), "%s does not fit the entry", tilePath(0, n, len(stored)/tlog.HashSize)).at(0)
	}
	return classify(w.r, n, c, stored)
}

// classify says what happened to the first bad entry of bundle n, if its tile
// is to be trusted.
func classify(r *Reader, n int64, c checked, stored []byte) *CorruptError {
	index := n*tileWidth + int64(c.bad)
	at := c.bad * tlog.HashSize
	if at >= len(c.leaves) {
		if c.left > 0 {
			return corrupt(Cut, index, "its bundle ends within it")
		}
		return corrupt(Cut, index, "its bundle ends before it")
	}
	here, wanted := c.leaves[at:at+tlog.HashSize], stored[at:at+tlog.HashSize]
	if findHash(c.leaves, wanted) < 0 && bytes.Equal(here, next(stored, at)) {
		return corrupt(Cut, index, "it is gone, and the next stands in its place")
	}
	if findHash(stored, here) < 0 && bytes.Equal(wanted, next(c.leaves, at)) {
		return corrupt(Edited, index, "an entry that was not logged stands before it")
	}
	if i := findHash(stored, here); i >= 0 {
		return corrupt(Reordered, index, "entry %d stands in its place", n*tileWidth+int64(i))
	}
	// Elsewhere in the log: worth a pass over all leaves, once.
	for m := int64(0); m*tileWidth < r.head.Size; m++ {
		if tile, err := r.tile(0, m); err == nil && m != n {
			if i := findHash(tile, here); i >= 0 {
				return corrupt(Reordered, index, "entry %d stands in its place", m*tileWidth+int64(i))
			}
		}
	}
	return corrupt(Edited, index, "it is not the entry that was logged")
}

// next returns the hash after the one at offset at, nil if there is none.
func next(hashes []byte, at int) []byte {
	if at += tlog.HashSize; at < len(hashes) {
		return hashes[at : at+tlog.HashSize]
	}
	return nil
}

func findHash(hashes, h []byte) int {
	for i := 0; i < len(hashes); i += tlog.HashSize {
		if bytes.Equal(hashes[i:i+tlog.HashSize], h) {
			return i / tlog.HashSize
		}
	}
	return -1
}
