package inject

import (
	"bytes"
	"strings"
)

// What is kept of an answer for its meter. A document beyond these bounds is
// not fed, and its cost stays unknown.
const (
	maxMeteredBody  = 4 << 20
	maxMeteredEvent = 1 << 20
)

// tap sees the redacted body on its way, without delaying or changing it.
type tap interface {
	feed(b []byte)
	// end is called after the last byte of a whole body.
	end()
}

func isJSON(contentType string) bool {
	media, _, _ := strings.Cut(contentType, ";")
	media = strings.ToLower(strings.TrimSpace(media))
	return media == "application/json" || strings.HasSuffix(media, "+json")
}

func isEventStream(contentType string) bool {
	const sse = "text/event-stream"
	return len(contentType) >= len(sse) && strings.EqualFold(contentType[:len(sse)], sse)
}

// newTap returns the tap for an answer, nil where none is needed. length is -1
// where it is not known.
func newTap(m Meter, keys []string, contentType string, length int64) tap {
	switch {
	case m == nil:
		return nil
	case isEventStream(contentType):
		t := &eventTap{meter: m}
		for _, k := range keys {
			t.keys = append(t.keys, []byte(k))
		}
		return t
	case isJSON(contentType) && length <= maxMeteredBody:
		return &bodyTap{meter: m, length: length}
	}
	return nil
}

// bodyTap collects a JSON body.
type bodyTap struct {
	meter  Meter
	length int64
	buf    []byte
	over   bool
	fed    bool
}

func (t *bodyTap) feed(b []byte) {
	switch {
	case t.over || t.fed:
	case t.length == int64(len(b)) && t.buf == nil: // all of it at once
		t.meter.Feed(b)
		t.fed = true
	case len(t.buf)+len(b) > maxMeteredBody:
		t.over, t.buf = true, nil
	default:
		if t.buf == nil && t.length > 0 {
			t.buf = make([]byte, 0, t.length)
		}
		t.buf = append(t.buf, b...)
	}
}

func (t *bodyTap) end() {
	if !t.over && !t.fed && len(t.buf) > 0 {
		t.meter.Feed(t.buf)
	}
	t.buf = nil
}

// eventTap follows a stream of server-sent events and feeds the data of those
// that have one of the keys in them.
type eventTap struct {
	meter Meter
	keys  [][]byte

	line  []byte // the beginning of a line that has not ended
	begun bool   // that line has a byte, kept or not
	data  []byte // of the event under way, its lines joined
	has   bool   // the event has had a data line
	over  bool   // the event is too long to be fed
	cr    bool   // the last byte was a carriage return: a line feed ends nothing
}

func (t *eventTap) feed(b []byte) {
	if t.cr && len(b) > 0 {
		if b[0] == '\n' {
			b = b[1:]
		}
		t.cr = false
	}
	for len(b) > 0 {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			i = len(b)
		}
		// Lines end in \n, \r\n or, in specimens, \r.
		if j := bytes.IndexByte(b[:i], '\r'); j >= 0 {
			t.endLine(b[:j])
			if b = b[j+1:]; len(b) == 0 {
				t.cr = true
			} else if b[0] == '\n' {
				b = b[1:]
			}
			continue
		}
		if i == len(b) {
			t.begun = true
			t.keep(b)
			return
		}
		t.endLine(b[:i])
		b = b[i+1:]
	}
}

// keep adds to the line that has not ended.
func (t *eventTap) keep(b []byte) {
	if !t.over && len(t.line)+len(t.data)+len(b) <= maxMeteredEvent {
		t.line = append(t.line, b...)
		return
	}
	t.over, t.line, t.data = true, nil, nil
}

// endLine is given the rest of a line, without its end.
func (t *eventTap) endLine(rest []byte) {
	line := rest
	if t.begun {
		t.keep(rest)
		line = t.line
	}
	if !t.begun && len(rest) == 0 {
		t.endEvent()
	} else if !t.over {
		t.field(line)
	}
	t.line, t.begun = t.line[:0], false
}

func (t *eventTap) field(line []byte) {
	data, ok := bytes.CutPrefix(line, []byte("data"))
	if !ok || len(data) > 0 && data[0] != ':' {
		return // a comment, or another field
	}
	data = bytes.TrimPrefix(bytes.TrimPrefix(data, []byte(":")), []byte(" "))
	if len(t.data)+len(data) >= maxMeteredEvent {
		t.over, t.data = true, nil
		return
	}
	if t.has {
		t.data = append(t.data, '\n')
	}
	t.data = append(t.data, data...)
	t.has = true
}

func (t *eventTap) endEvent() {
	for _, k := range t.keys {
		if !t.over && bytes.Contains(t.data, k) {
			t.meter.Feed(t.data)
			break
		}
	}
	if t.data = t.data[:0]; cap(t.data) > bigBuffer {
		t.data = nil // one large event does not stay for the length of the stream
	}
	t.has, t.over = false, false
}

// end takes a last event that no blank line ends. A client would drop it; it
// was paid for all the same.
func (t *eventTap) end() {
	if t.begun {
		t.endLine(nil)
	}
	t.endEvent()
}
