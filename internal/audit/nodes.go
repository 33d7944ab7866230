package audit

import (
	"sync"

	"golang.org/x/mod/sumdb/tlog"
)

// nodes is a tile with all that can be computed from it: row 0 is its hashes,
// and each row above holds the complete subtrees over two of the row below.
type nodes [tileHeight + 1][]tlog.Hash

func newNodes(data []byte) *nodes {
	var n nodes
	row := make([]tlog.Hash, len(data)/tlog.HashSize, 2*tileWidth)
	for i := range row {
		row[i] = tlog.Hash(data[i*tlog.HashSize:])
	}
	n[0] = row
	for k := 1; k < len(n); k++ {
		below := n[k-1]
		row = row[len(row) : len(row)+len(below)/2]
		for i := range row {
			row[i] = tlog.NodeHash(below[2*i], below[2*i+1])
		}
		n[k] = row
	}
	return &n
}

// maxNodes bounds the tiles that a Reader remembers, at 16 KiB each.
const maxNodes = 256

type tileID struct {
	level int
	n     int64
}

// tileCache remembers the tiles from level 1 up: they are few, and every
// proof needs one of each level. It is emptied when it is full, which takes a
// log of ten million entries.
type tileCache struct {
	mu    sync.Mutex
	tiles map[tileID]*nodes
}

func (c *tileCache) get(id tileID, load func() ([]byte, error)) (*nodes, error) {
	c.mu.Lock()
	n := c.tiles[id]
	c.mu.Unlock()
	if n != nil {
		return n, nil
	}
	data, err := load()
	if err != nil {
		return nil, err
	}
	n = newNodes(data)
	if id.level > 0 {
		c.mu.Lock()
		if c.tiles == nil || len(c.tiles) >= maxNodes {
			c.tiles = map[tileID]*nodes{}
		}
		c.tiles[id] = n
		c.mu.Unlock()
	}
	return n, nil
}

// hashes reads stored hashes for one proof.
func (r *Reader) hashes() tlog.HashReader {
	var last tileID
	var leaves *nodes // the only tile of level 0 that an inclusion proof needs
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, x := range indexes {
			level, n := tlog.SplitStoredHashIndex(x)
			row := level % tileHeight
			id := tileID{level / tileHeight, n >> (tileHeight - row)}
			tile := leaves
			if id.level > 0 || leaves == nil || id != last {
				var err error
				if tile, err = r.cache.get(id, func() ([]byte, error) { return r.tile(id.level, id.n) }); err != nil {
					return nil, err
				}
				if id.level == 0 {
					leaves, last = tile, id
				}
			}
			in := n - id.n<<(tileHeight-row)
			if in >= int64(len(tile[row])) {
				return nil, ErrRange
			}
			out[i] = tile[row][in]
		}
		return out, nil
	})
}
