package audit

import (
	"encoding/binary"
	"fmt"
)

// tileWidth is how many entries a bundle, and how many hashes a tile has:
// c2sp.org/tlog-tiles.
const (
	tileWidth  = 1 << tileHeight
	tileHeight = 8
)

// bundle is up to 256 consecutive entries from index 256·n on. In a file it is
// its entries, each behind its length:
//
//	offset  bytes  field
//	0       2      length m of the entry, big-endian
//	2       m      the entry
//	…
//
// A bundle only ever grows: what was read of it stays as it was.
type bundle struct {
	n       int64
	count   int
	entries []byte
	leaves  []byte // 32 bytes each: the tile at level 0
}

func (b *bundle) first() int64 { return b.n * tileWidth }
func (b *bundle) end() int64   { return b.first() + int64(b.count) }

// nextEntry splits off the first entry of a bundle.
func nextEntry(b []byte) (entry, rest []byte, ok bool) {
	if len(b) < 2 {
		return nil, b, false
	}
	n := 2 + int(binary.BigEndian.Uint16(b))
	if n > len(b) {
		return nil, b, false
	}
	return b[2:n], b[n:], true
}

// splitBundle returns the entries of a bundle, as many as there are whole, and
// what is left over. The entries are parts of b.
func splitBundle(b []byte) (entries [][]byte, rest []byte) {
	for {
		e, r, ok := nextEntry(b)
		if !ok {
			return entries, b
		}
		entries, b = append(entries, e), r
	}
}

// appendPrefixed appends an entry as a bundle has it.
func appendPrefixed(b, entry []byte) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(entry))), entry...)
}

// entriesLevel is the level of bundles, where a tilePath takes one.
const entriesLevel = -1

// tilePath is the path of a tile, or of a bundle, that is w wide. Three digits
// of n a directory keep directories small.
func tilePath(level int, n int64, w int) string {
	p := fmt.Sprintf("%03d", n%1000)
	for n >= 1000 {
		n /= 1000
		p = fmt.Sprintf("x%03d/%s", n%1000, p)
	}
	l := "entries"
	if level != entriesLevel {
		l = fmt.Sprint(level)
	}
	if w < tileWidth {
		return fmt.Sprintf("tile/%s/%s.p/%d", l, p, w)
	}
	return fmt.Sprintf("tile/%s/%s", l, p)
}

// tileWidthAt is how wide tile n of a level is in a tree of size entries: 256,
// or less at the right edge, or 0 beyond it.
func tileWidthAt(level int, n, size int64) int {
	level = max(level, 0)
	return int(min(max(size>>(tileHeight*level)-n*tileWidth, 0), tileWidth))
}

// tileLevels is how many levels of tiles a tree of size entries has.
func tileLevels(size int64) int {
	l := 0
	for size>>(tileHeight*l) > 0 {
		l++
	}
	return l
}
