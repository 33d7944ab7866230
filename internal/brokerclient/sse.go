package brokerclient

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// maxEvent bounds one event of a stream, in bytes: a snapshot is the longest.
const maxEvent = 16 << 20

// event is one event of a stream of server-sent events (WHATWG HTML, 9.2).
type event struct {
	name string
	data []byte
}

// events reads a stream. Only what brokers send is understood: lines end in LF
// or CRLF, ids and retry are of no use here.
type events struct{ r *bufio.Reader }

func newEvents(r io.Reader) *events { return &events{bufio.NewReaderSize(r, 4<<10)} }

// next returns the next event. A comment is none: it says nothing of grants.
func (e *events) next() (event, error) {
	var ev event
	var size int
	var some bool
	for {
		line, err := e.line(maxEvent - size)
		if err != nil {
			return event{}, err
		}
		size += len(line)
		if len(line) == 0 {
			if some {
				return ev, nil
			}
			ev, size = event{}, 0 // an event without data is dropped
			continue
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "event":
			ev.name = string(value)
		case "data":
			if some {
				ev.data = append(ev.data, '\n')
			}
			ev.data = append(ev.data, value...)
			some = true
		}
	}
}

func (e *events) line(limit int) ([]byte, error) {
	var line []byte
	for {
		part, err := e.r.ReadSlice('\n')
		if len(line)+len(part) > limit {
			return nil, fmt.Errorf("%w: an event is longer than %d bytes", ErrAnswer, maxEvent)
		}
		line = append(line, part...)
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r")), nil
	}
}
