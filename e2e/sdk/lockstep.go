package sdk

import (
	"context"
	"sync"
)

// Lockstep holds a server's streams back until a client has printed what was
// sent before: whatever buffers on the way hangs the client. The zero value is
// ready. It serves one client at a time.
type Lockstep struct {
	mu      sync.Mutex
	printed int
	changed chan struct{} // closed at the next change
}

// Gate lets event k go when the client has printed k-1 events, which leaves the
// server at most one ahead: there are events that an SDK keeps to itself, such
// as pings, but no two in a row.
func (l *Lockstep) Gate(ctx context.Context, k int) error {
	for {
		l.mu.Lock()
		if l.changed == nil {
			l.changed = make(chan struct{})
		}
		printed, changed := l.printed, l.changed
		l.mu.Unlock()
		if printed >= k-1 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Printed is to be called for every step as it comes from the client.
func (l *Lockstep) Printed(s Step) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.printed = s.Event // 0 at a step's end: the next stream starts anew
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
}
