package audit

import (
	"context"
	"runtime"

	"github.com/litentry/agentkeys/internal/grant"
)

// maxBatch bounds what is queued for one sync, and so for all that was noted
// and is not durable: who comes when it is full waits for the disk.
const maxBatch = 1 << 20

// maxGather bounds how often gather looks, where the run queue never empties.
const maxGather = 8

// batch is the entries that one write and one sync make durable. While one
// batch is written the next one gathers, so batches are as large as the disk
// is slow: alone, an entry waits for nobody.
//
// The first Record in a batch leads it: it waits for its turn, then closes the
// batch to newcomers, writes it, and wakes the others.
type batch struct {
	*buffers
	first int64 // index of its first entry: all below are durable by its turn
	count int
	led   bool
	turn  <-chan struct{} // closed when all batches before this one are done
	done  chan struct{}
	err   error // to be read once done
}

// buffers outlive their batch and serve another.
type buffers struct {
	frames []byte
	leaves []byte
}

// Record implements grant.Recorder. ctx is heeded until e is queued: from
// then on e may become durable whatever the caller does, so Record stays to
// say whether it did.
func (l *Log) Record(ctx context.Context, e grant.Event) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b, lead, err := l.enqueue(&e, true)
	switch {
	case err != nil:
		return err
	case lead:
		l.flush(b)
	default:
		<-b.done
	}
	return b.err
}

// Note implements grant.Recorder. What is noted is durable with the next sync,
// which the log itself sees to within about 50 ms. Note waits for the disk
// only while a MiB of entries is queued already.
func (l *Log) Note(e grant.Event) error {
	_, _, err := l.enqueue(&e, false)
	return err
}

// enqueue gives e its place in the log. With wait it also says whether the
// caller has to lead the batch.
func (l *Log) enqueue(e *grant.Event, wait bool) (b *batch, lead bool, err error) {
	if e.Time.IsZero() {
		e.Time = l.opts.Now()
	}
	enc := encoders.Get().(*encoded)
	defer enc.release()
	if err := enc.set(e); err != nil {
		return nil, false, err
	}
	leaf := enc.leaf()

	l.mu.Lock()
	defer l.mu.Unlock()
	if b, err = l.room(frameHeader + len(enc.entry())); err != nil {
		return nil, false, err
	}
	b.frames = appendFrame(b.frames, b.first+int64(b.count), b.first, enc.entry())
	b.leaves = append(b.leaves, leaf[:]...)
	b.count++
	if !wait {
		if !b.led {
			poke(l.noted)
		}
		return b, false, nil
	}
	lead = !b.led
	b.led = true
	return b, lead, nil
}

// room returns the batch that takes n more bytes, once there is one. It is
// called with mu held, and lets go of it while it waits.
func (l *Log) room(n int) (*batch, error) {
	for {
		switch {
		case l.err != nil:
			return nil, l.err
		case l.closed:
			return nil, ErrClosed
		}
		b := l.next
		if b.count == 0 || len(b.frames)+n <= maxBatch {
			return b, nil
		}
		lead := !b.led
		b.led = true
		l.mu.Unlock()
		if lead {
			l.flush(b)
		} else {
			<-b.done
		}
		l.mu.Lock()
	}
}

// sync makes durable all that was queued before it was called.
func (l *Log) sync() error {
	l.mu.Lock()
	b := l.next
	if b.count == 0 {
		l.mu.Unlock()
		<-b.turn
		return l.Err()
	}
	lead := !b.led
	b.led = true
	l.mu.Unlock()
	if lead {
		l.flush(b)
	} else {
		<-b.done
	}
	return b.err
}

// flush leads b.
func (l *Log) flush(b *batch) {
	<-b.turn
	l.gather(b)
	l.mu.Lock()
	err := l.err
	l.next = l.newBatch(b.first+int64(b.count), b.done)
	l.mu.Unlock()
	if err == nil {
		if err = l.write(b); err != nil {
			err = l.stop(err)
		}
	}
	b.err = err
	used := b.buffers
	b.buffers = nil
	close(b.done)

	l.mu.Lock()
	if len(l.free) < 2 {
		used.frames, used.leaves = used.frames[:0], used.leaves[:0]
		l.free = append(l.free, used)
	}
	l.mu.Unlock()
}

// gather lets those join b who are about to. The end of the last batch woke
// its writers, and each may have its next entry at hand: if b were closed at
// once it would hold the one or two who happened to run first, and all others
// would wait for two syncs instead of one. Alone, this costs one look around
// the run queue.
func (l *Log) gather(b *batch) {
	for was, try := 0, 0; try < maxGather; try++ {
		l.mu.Lock()
		n := b.count
		l.mu.Unlock()
		if n == was {
			return
		}
		was = n
		runtime.Gosched()
	}
}

// newBatch makes the batch that gathers from now on. It is called with mu
// held, or before the log is shared.
func (l *Log) newBatch(first int64, turn <-chan struct{}) *batch {
	b := &batch{first: first, turn: turn, done: make(chan struct{})}
	if n := len(l.free); n > 0 {
		b.buffers, l.free = l.free[n-1], l.free[:n-1]
	} else {
		b.buffers = &buffers{}
	}
	return b
}

// write makes b durable and takes it into the tail. It runs for one batch at
// a time.
func (l *Log) write(b *batch) error {
	if l.tail.backlog() > 2*l.opts.JournalSize {
		// The disk takes entries faster than tiles. Let it catch up: what
		// waits is in memory, and in segments that cannot go yet.
		if _, err := l.publish(false); err != nil {
			return err
		}
	}
	sealFrames(b.frames)
	var err error
	if l.journal.fits(len(b.frames)) {
		err = l.journal.append(b.frames)
	} else {
		err = l.journal.rotate(journalHeader{b.first, b.first}, b.frames)
	}
	if err != nil {
		return err
	}
	if l.tail.add(b.frames, b.leaves) > l.opts.JournalSize/4 {
		poke(l.full)
	}
	poke(l.dirty)
	return nil
}
