package audit

import (
	"encoding/binary"
	"sync"

	"golang.org/x/mod/sumdb/tlog"
)

// tail is the durable entries that no full tile on disk holds yet, and where
// the log ends. All in it is durable.
type tail struct {
	mu    sync.Mutex
	size  int64
	ready []bundle // full, to be written as tiles, in order
	bytes int64    // of ready
	last  bundle   // being filled
	grown chan struct{}
	shut  bool
}

// add appends sealed frames and their leaves, and returns how many bytes of
// full bundles wait for the disk.
func (t *tail) add(frames, leaves []byte) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(frames) > 0 {
		n := frameHeader + int(binary.BigEndian.Uint16(frames[20:]))
		// From its length on a frame is what a bundle has.
		t.put(frames[20:n], leaves[:tlog.HashSize])
		frames, leaves = frames[n:], leaves[tlog.HashSize:]
	}
	t.wake()
	return t.bytes
}

func (t *tail) put(prefixed, leaf []byte) {
	b := &t.last
	b.entries = append(b.entries, prefixed...)
	b.leaves = append(b.leaves, leaf...)
	b.count++
	t.size++
	if b.count == tileWidth {
		t.ready = append(t.ready, *b)
		t.bytes += int64(len(b.entries))
		// The next bundle is likely to be about as large.
		t.last = bundle{
			n:       b.n + 1,
			entries: make([]byte, 0, len(b.entries)+len(b.entries)/8),
			leaves:  make([]byte, 0, tileWidth*tlog.HashSize),
		}
	}
}

// state returns what waits to be written: full bundles and the part of one.
// The slices will not change: what is appended later is behind their ends.
func (t *tail) state() (ready []bundle, part bundle) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ready, t.last
}

// backlog is how many bytes of full bundles wait for the disk.
func (t *tail) backlog() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.bytes
}

// part returns the bundle being filled.
func (t *tail) part() bundle {
	_, p := t.state()
	return p
}

// drop forgets the first n full bundles, which are on disk as tiles.
func (t *tail) drop(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, b := range t.ready[:n] {
		t.bytes -= int64(len(b.entries))
	}
	// A fresh slice, so that what was dropped can be collected.
	t.ready = append([]bundle(nil), t.ready[n:]...)
}

// find returns bundle n if it is in memory.
func (t *tail) find(n int64) (bundle, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n == t.last.n {
		return t.last, true
	}
	if len(t.ready) > 0 && n >= t.ready[0].n && n < t.last.n {
		return t.ready[n-t.ready[0].n], true
	}
	return bundle{}, false
}

// more returns the size, and a channel that is closed when it grows or the
// log is closed; it is nil once the log is.
func (t *tail) more() (int64, <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.shut {
		return t.size, nil
	}
	if t.grown == nil {
		t.grown = make(chan struct{})
	}
	return t.size, t.grown
}

func (t *tail) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.shut = true
	t.wake()
}

// wake tells those who follow. Nobody follows as a rule, so the channel is
// made by who wants it.
func (t *tail) wake() {
	if t.grown != nil {
		close(t.grown)
		t.grown = nil
	}
}
