package audit

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/litentry/agentkeys/internal/durable"
)

// prune removes the partial tiles of a tree of old entries whose full tiles
// are there, and needed, by the tree of size entries. Until then every partial
// tile that a checkpoint was published for stays, as the specification says,
// so that who reads by an older checkpoint is not cut off.
//
// What cannot be removed is only in the way, so errors are let pass.
func (l *Log) prune(old, size int64) {
	for level := entriesLevel; level < tileLevels(old); level++ {
		n := old >> (tileHeight * (max(level, 0) + 1))
		if w := tileWidthAt(level, n, old); w > 0 && tileWidthAt(level, n, size) == tileWidth {
			dir := filepath.Dir(filepath.Join(l.dir, tilePath(level, n, 1)))
			delete(l.dirs, dir)
			_ = os.RemoveAll(dir)
		}
	}
}

// tidy removes what a crash left at the right edge of a tree of size entries:
// unfinished files, and partial tiles that were about to be pruned. It is
// called when the checkpoint of that tree is published: until then, an older
// one needs its partial tiles.
func (l *Log) tidy(size int64) error {
	for level := entriesLevel; level < tileLevels(size); level++ {
		n := size >> (tileHeight * (max(level, 0) + 1))
		partial := filepath.Dir(filepath.Join(l.dir, tilePath(level, n, 1)))
		dir := filepath.Dir(partial)
		for _, d := range []string{partial, dir} {
			if err := durable.Sweep(d); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		names, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, d := range names {
			// Three digits each, so the order of names is that of numbers.
			if strings.HasSuffix(d.Name(), ".p") && d.Name() < filepath.Base(partial) {
				_ = os.RemoveAll(filepath.Join(dir, d.Name()))
			}
		}
	}
	return durable.Sweep(l.dir)
}
