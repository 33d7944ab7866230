package audit

import (
	"context"
	"fmt"
	"path/filepath"

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
