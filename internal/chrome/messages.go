package chrome

import (
	"bufio"
	"errors"
	"io"
	"slices"
)

// maxMessage bounds what the browser may say at once. A page makes it say what
// the page likes: what it writes to the console and throws comes as it is, up to
// half a gigabyte each.
const maxMessage = 16 << 20

// messages reads what ends with a zero byte each, and leaves out what is larger
// than maxMessage. Who waits for such an answer waits for its context.
type messages struct {
	io.Closer
	r    *bufio.Reader
	buf  []byte // of the message that is read
	rest []byte // of buf
}

func newMessages(r io.ReadCloser) *messages {
	return &messages{Closer: r, r: bufio.NewReaderSize(r, 1<<16)}
}

func (m *messages) Read(b []byte) (int, error) {
	for len(m.rest) == 0 {
		if err := m.next(); err != nil {
			return 0, err
		}
	}
	n := copy(b, m.rest)
	m.rest = m.rest[n:]
	return n, nil
}

// next reads a message into rest, or passes over it.
func (m *messages) next() error {
	clear(m.buf) // what a page showed, a key perhaps
	m.buf = m.buf[:0]
	for large := false; ; {
		part, err := m.r.ReadSlice(0)
		if large = large || len(m.buf)+len(part) > maxMessage; large {
			m.buf = nil
		} else {
			if n := len(m.buf) + len(part); n > cap(m.buf) {
				m.buf = slices.Grow(m.buf, max(len(part), len(m.buf)))
			}
			m.buf = append(m.buf, part...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			m.rest = m.buf
			return err
		}
	}
}
