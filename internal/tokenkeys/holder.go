package tokenkeys

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"github.com/litentry/agentkeys/internal/token"
)

// Interval is how often a directory is read again. A lead of Rotate is longer.
const Interval = 10 * time.Second

// Holder has the ring of a directory, and reads it again. It is safe for
// concurrent use.
type Holder struct {
	dir     string
	longest time.Duration
	ring    atomic.Pointer[token.Ring]
	failure atomic.Pointer[error]
	reading sync.Mutex
}

// Hold reads dir. Errors are those of Load and token.NewRing, and ErrEmpty.
// longest is how long a retired key stays published.
func Hold(dir string, longest time.Duration) (*Holder, error) {
	h := &Holder{dir: dir, longest: longest}
	if err := h.Reload(); err != nil {
		return nil, err
	}
	return h, nil
}

// Ring returns the ring that was last read well.
func (h *Holder) Ring() *token.Ring { return h.ring.Load() }

// Err returns why the last reading failed, nil if it did not: the ring is then
// older than the directory, and the broker is not ready.
func (h *Holder) Err() error {
	if p := h.failure.Load(); p != nil {
		return *p
	}
	return nil
}

// Reload reads the directory now. If it fails, the ring stays as it was.
func (h *Holder) Reload() error {
	h.reading.Lock() // so that an older reading never replaces a newer one
	defer h.reading.Unlock()
	ring, err := h.read()
	if err != nil {
		h.failure.Store(&err)
		return err
	}
	h.ring.Store(ring)
	h.failure.Store(nil)
	return nil
}

func (h *Holder) read() (*token.Ring, error) {
	keys, err := Load(h.dir)
	if errors.Is(err, fs.ErrNotExist) {
		// The directory, or a key that was pruned between listing and reading.
		keys, err = Load(h.dir)
	}
	if err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%w in %s: make one by a rotation, or mount what should be there", ErrEmpty, h.dir)
	}
	return token.NewRing(keys, h.longest)
}

// Watch reloads every interval, or Interval if that is zero, until ctx ends.
// Failures are for Err to tell.
func (h *Holder) Watch(ctx context.Context, every time.Duration) {
	if every <= 0 {
		every = Interval
	}
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			_ = h.Reload()
		}
	}
}
