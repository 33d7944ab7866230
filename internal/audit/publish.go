package audit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/litentry/agentkeys/internal/durable"
)

// putBundles is how many bundles are written before their memory is freed.
const putBundles = 64

// Checkpoint makes durable all that was recorded or noted before, and
// publishes a checkpoint that covers it. ctx is heeded until that begins.
func (l *Log) Checkpoint(ctx context.Context) (Checkpoint, error) {
	if err := ctx.Err(); err != nil {
		return Checkpoint{}, err
	}
	if err := l.sync(); err != nil {
		return Checkpoint{}, err
	}
	return l.publish(true)
}

// publish writes the full bundles of the tail as tiles, and if sign is set
// publishes a checkpoint of all that is durable.
func (l *Log) publish(sign bool) (Checkpoint, error) {
	l.pub.Lock()
	defer l.pub.Unlock()
	if err := l.Err(); err != nil {
		return Checkpoint{}, err
	}
	ready, part := l.tail.state()
	for len(ready) > 0 {
		n := min(len(ready), putBundles)
		var tiles []tile
		for _, b := range ready[:n] {
			tiles = append(tiles, tile{entriesLevel, b.n, tileWidth, b.entries}, tile{0, b.n, tileWidth, b.leaves})
			tiles = append(tiles, l.tree.push(b.leaves)...)
		}
		if err := l.put(tiles); err != nil {
			return Checkpoint{}, l.stop(err)
		}
		l.tail.drop(n)
		ready = ready[n:]
		if l.journal != nil {
			if err := l.journal.retire(l.tree.bundles * tileWidth); err != nil {
				return Checkpoint{}, l.stop(err)
			}
		}
	}
	head := l.signed.Load()
	if !sign || head != nil && head.Size == part.end() {
		return *head, nil
	}
	return l.sign(head, part)
}

// sign publishes a checkpoint of the full tiles and part, after the partial
// tiles it needs. It is called with pub held.
func (l *Log) sign(head *Checkpoint, part bundle) (Checkpoint, error) {
	if head != nil && head.Size > part.end() {
		return Checkpoint{}, l.stop(fmt.Errorf("the log would shrink from %d to %d entries", head.Size, part.end()))
	}
	root, err := l.tree.root(part.leaves)
	if err != nil {
		return Checkpoint{}, l.stop(err)
	}
	c, err := signCheckpoint(l.opts.Signer, part.end(), root)
	if err == nil {
		// A signer may be far away, and what it signs is what Open must accept.
		_, err = ParseCheckpoint(c.Signed, l.opts.Verifier)
	}
	if err != nil {
		poke(l.dirty) // the disk is not at fault: try again
		return Checkpoint{}, fmt.Errorf("signing a checkpoint: %w", err)
	}
	if err := l.put(l.tree.edge(part)); err != nil {
		return Checkpoint{}, l.stop(err)
	}
	if err := durable.WriteFile(filepath.Join(l.dir, checkpointName), c.Signed); err != nil {
		return Checkpoint{}, l.stop(err)
	}
	l.signed.Store(&c)
	if head != nil {
		l.prune(head.Size, c.Size)
	}
	return c, nil
}

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
