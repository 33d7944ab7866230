package audit

import (
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/tlog"
)

// tree is the right edge of the Merkle tree above its leaves: for every level
// from 1 up, the hashes of the tile that is not full yet. With the leaves of
// the bundle being filled it is all that a root needs, so a log of any length
// fits in a few KiB.
type tree struct {
	bundles int64    // full bundles beneath
	levels  [][]byte // levels[0] is level 1; 32 bytes a hash
}

// tile is a tile or a bundle to be written.
type tile struct {
	level int // entriesLevel for a bundle
	n     int64
	w     int
	data  []byte
}

func (t tile) path() string { return tilePath(t.level, t.n, t.w) }

// push adds a full bundle and returns the tiles above it that are full now.
func (t *tree) push(leaves []byte) (full []tile) {
	h := subtreeHash(leaves)
	t.bundles++
	for i := 0; ; i++ {
		if i == len(t.levels) {
			t.levels = append(t.levels, nil)
		}
		t.levels[i] = append(t.levels[i], h[:]...)
		if len(t.levels[i]) < tileWidth*tlog.HashSize {
			return full
		}
		done := t.levels[i]
		// A new slice: the old one is the tile's now.
		t.levels[i] = nil
		full = append(full, tile{i + 1, t.bundles>>(tileHeight*(i+1)) - 1, tileWidth, done})
		h = subtreeHash(done)
	}
}

// edge returns the partial tiles of the tree with part on its right.
func (t *tree) edge(part bundle) (partial []tile) {
	if part.count > 0 {
		partial = append(partial, tile{entriesLevel, part.n, part.count, part.entries}, tile{0, part.n, part.count, part.leaves})
	}
	for i, data := range t.levels {
		if len(data) > 0 {
			partial = append(partial, tile{i + 1, t.bundles >> (tileHeight * (i + 1)), len(data) / tlog.HashSize, data})
		}
	}
	return partial
}

// load sets t to the edge of the first size entries, a multiple of 256, from
// the tiles of a larger tree.
func (t *tree) load(r *Reader, size int64) error {
	t.bundles, t.levels = size/tileWidth, nil
	for level := 1; level < tileLevels(size); level++ {
		n := size >> (tileHeight * (level + 1))
		var data []byte
		if w := tileWidthAt(level, n, size); w > 0 {
			stored, err := r.tile(level, n)
			if err != nil {
				return err
			}
			data = slices.Clone(stored[:w*tlog.HashSize])
		}
		t.levels = append(t.levels, data)
	}
	return nil
}

func (t *tree) clone() *tree {
	c := &tree{bundles: t.bundles}
	for _, l := range t.levels {
		c.levels = append(c.levels, slices.Clone(l))
	}
	return c
}

// root is the root hash of the tree with leaves on its right.
func (t *tree) root(leaves []byte) (tlog.Hash, error) {
	size := t.bundles*tileWidth + int64(len(leaves)/tlog.HashSize)
	return tlog.TreeHash(size, tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, x := range indexes {
			c := tlog.TileForIndex(tileHeight, x)
			data := leaves
			if c.L > 0 {
				if c.L > len(t.levels) {
					return nil, fmt.Errorf("no tile at level %d", c.L)
				}
				data = t.levels[c.L-1]
			}
			h, err := hashInTile(c, data, x)
			if err != nil {
				return nil, err
			}
			out[i] = h
		}
		return out, nil
	}))
}

// hashInTile computes the stored hash x from the tile that c names, whose
// data may be wider than c says.
func hashInTile(c tlog.Tile, data []byte, x int64) (tlog.Hash, error) {
	if c.W = len(data) / tlog.HashSize; c.W == 0 {
		return tlog.Hash{}, fmt.Errorf("tile %s is empty", tilePath(c.L, c.N, c.W))
	}
	return tlog.HashFromTile(c, data, x)
}

// subtreeHash is the hash of the complete subtree over a full tile's hashes.
func subtreeHash(data []byte) tlog.Hash {
	if len(data) != tileWidth*tlog.HashSize {
		panic("audit: subtreeHash of a partial tile")
	}
	// In place, on the stack: this runs for every bundle that is logged.
	var h [tileWidth]tlog.Hash
	for i := range h {
		h[i] = tlog.Hash(data[i*tlog.HashSize:])
	}
	for n := tileWidth / 2; n > 0; n /= 2 {
		for i := range n {
			h[i] = tlog.NodeHash(h[2*i], h[2*i+1])
		}
	}
	return h[0]
}
