package inject

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

// The sizes of the buffers through which bodies pass. A stream of events gets
// a small one, so that many can be open; it is exchanged for a large one if
// that fills up, and back after as many small reads. The large one has room for
// the longest form and more.
const (
	smallBuffer = 4 << 10
	bigBuffer   = 32 << 10
	smallReads  = 8
)

var (
	smallBuffers = sync.Pool{New: func() any { return new([smallBuffer]byte) }}
	bigBuffers   = sync.Pool{New: func() any { return new([bigBuffer]byte) }}
)

func getBuffer(size int) []byte {
	if size <= smallBuffer {
		return smallBuffers.Get().(*[smallBuffer]byte)[:]
	}
	return bigBuffers.Get().(*[bigBuffer]byte)[:]
}

func putBuffer(b []byte) {
	if len(b) == smallBuffer {
		smallBuffers.Put((*[smallBuffer]byte)(b))
	} else {
		bigBuffers.Put((*[bigBuffer]byte)(b))
	}
}

// deadlines is what net/http's ResponseWriter can do for the agent's
// connection.
type deadlines interface {
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

// sink writes to the agent: at once where the answer is a stream, and not
// beyond the patience that a slow agent is shown. The deadline is moved only
// now and then, since moving it costs as much as a small write.
type sink struct {
	w     http.ResponseWriter
	flush func() error // nil: the server's buffer decides
	conn  deadlines
	stall time.Duration
	moved time.Time // when the deadline was set; at first, by the server
}

var errAgentGone = errors.New("the agent is gone")

func (s *sink) extend() {
	if now := time.Now(); now.Sub(s.moved) > s.stall/4 {
		s.moved = now
		_ = s.conn.SetWriteDeadline(now.Add(s.stall))
	}
}

func (s *sink) write(b []byte, flush bool) error {
	s.extend()
	if _, err := s.w.Write(b); err != nil {
		return errAgentGone
	}
	if flush && s.flush != nil && s.flush() != nil {
		return errAgentGone
	}
	return nil
}

func (s *sink) flusher() func() error {
	if f, ok := s.w.(interface{ FlushError() error }); ok {
		return f.FlushError
	}
	return http.NewResponseController(s.w).Flush // finds it behind wrappers
}

// pass moves body to the agent, redacted. It returns how often it redacted,
// and errAgentGone or the error that body ended with, nil for its proper end.
func (s *sink) pass(body io.Reader, x *redactor, t tap, size int) (found int, err error) {
	buf := getBuffer(size)
	defer func() { putBuffer(buf) }()
	held, idle, few := 0, 0, 0
	for {
		n, rerr := body.Read(buf[held:])
		if n == 0 && rerr == nil {
			if idle++; idle > 100 {
				return found, io.ErrNoProgress
			}
			continue
		}
		idle = 0
		n += held
		ready, hits := x.redact(buf[:n], rerr == io.EOF)
		found += hits
		if ready > 0 {
			if t != nil {
				t.feed(buf[:ready])
			}
			// The server ends the last piece itself.
			if err := s.write(buf[:ready], rerr != io.EOF); err != nil {
				return found, err
			}
		}
		held = copy(buf, buf[ready:n])
		if rerr == io.EOF {
			if t != nil {
				t.end()
			}
			return found, nil
		}
		if rerr != nil {
			return found, rerr
		}
		switch {
		case len(buf) == smallBuffer && (n == smallBuffer || held > smallBuffer/2):
			buf, few = swapBuffer(buf, held, bigBuffer), 0
		case n > smallBuffer/2:
			few = 0
		case len(buf) == bigBuffer && s.flush != nil:
			if few++; few >= smallReads {
				buf = swapBuffer(buf, held, smallBuffer)
			}
		}
	}
}

// swapBuffer exchanges a buffer, of which held bytes are in use, for another.
func swapBuffer(buf []byte, held, size int) []byte {
	other := getBuffer(size)
	copy(other, buf[:held])
	putBuffer(buf)
	return other
}
