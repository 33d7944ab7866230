package audit

import (
	"context"
	"fmt"
)

// Replay calls fn for every durable entry from index from on, in order, up to
// those there were when it was called. fn must not change an Entry's Raw.
func (l *Log) Replay(from int64, fn func(Entry) error) error {
	return replay(from, l.Size(), l.bundle, fn)
}

// Tail returns the last n durable entries, or as many as there are.
func (l *Log) Tail(n int) ([]Entry, error) {
	size := l.Size()
	from := max(0, size-int64(n))
	out := make([]Entry, 0, size-from)
	err := replay(from, size, l.bundle, func(e Entry) error {
		out = append(out, e)
		return nil
	})
	return out, err
}

// Follow calls fn for every durable entry from index from on, waiting for
// those that are not there yet. It returns fn's error, the cause of ctx, or ErrClosed. However
// slow fn is, it delays no writer and misses no entry.
func (l *Log) Follow(ctx context.Context, from int64, fn func(Entry) error) error {
	for {
		size, more := l.tail.more()
		if from <= size {
			if err := replay(from, size, l.bundle, fn); err != nil {
				return err
			}
			from = size
		}
		if more == nil {
			return ErrClosed
		}
		select {
		case <-more:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// bundle returns bundle n from memory or, if it is not there, from disk: it is
// forgotten only when it is on disk.
func (l *Log) bundle(n int64) ([]byte, error) {
	if b, ok := l.tail.find(n); ok {
		return b.entries, nil
	}
	return (&Reader{dir: l.dir, head: Checkpoint{Size: (n + 1) * tileWidth}}).bundle(n)
}

// replay calls fn for the entries from from to size.
func replay(from, size int64, bundle func(int64) ([]byte, error), fn func(Entry) error) error {
	if from < 0 || from > size {
		return fmt.Errorf("%w: %d, the log has %d entries", ErrRange, from, size)
	}
	for i := from; i < size; {
		data, err := bundle(i / tileWidth)
		if err != nil {
			return err
		}
		at := i - i%tileWidth
		for end := min(at+tileWidth, size); at < end; at++ {
			raw, rest, ok := nextEntry(data)
			if !ok {
				return corrupt(Cut, at, "its bundle ends before it")
			}
			data = rest
			if at < i {
				continue
			}
			e, err := decode(at, raw)
			if err != nil {
				return corrupt(Malformed, at, "%v", err)
			}
			if err := fn(e); err != nil {
				return err
			}
		}
		i = at
	}
	return nil
}
