package mailhead

import (
	"bytes"
	"strings"
)

// Scanner goes through the fields of a block one by one. It does not allocate.
type Scanner struct {
	b     []byte
	whole bool
	pos   int // where the next field begins
	odd   bool
	done  bool // no more fields
	end   bool // and there cannot be any

	start       int // of the field that Next found
	name, value []byte
}

// Scan is Parse without the list.
func Scan(b []byte, whole bool) Scanner {
	if len(b) >= MaxBlock {
		// Whether it is whole or not must not matter here, or the answer for a
		// message of just this length would depend on how it was read.
		b, whole = b[:MaxBlock], false
	}
	return Scanner{b: b, whole: whole}
}

// Complete reports whether the fields that were found are all of the block.
func (s *Scanner) Complete() bool { return s.end }

// Size is Block.Size, of the fields that were found.
func (s *Scanner) Size() int { return s.pos }

// Is is Field.Is of the field that was found.
func (s *Scanner) Is(name string) bool {
	return len(s.name) == len(name) && strings.EqualFold(string(s.name), name)
}

// Value is Field.Value of the field that was found.
func (s *Scanner) Value() []byte { return s.value }

// Field returns the field that was found.
func (s *Scanner) Field() Field {
	return Field{Name: string(s.name), Value: s.value, Offset: s.start, End: s.pos}
}

// Next finds the next field; false if there is none, or none whose end is seen.
func (s *Scanner) Next() bool {
	if s.done {
		return false
	}
	start := s.pos
	first, ok := s.line(start)
	switch {
	case !ok, start == len(s.b) && !s.whole:
		s.done = true
		return false
	case start == len(s.b):
		s.done, s.end = true, true
		return false
	case blank(s.b[start:first]):
		s.done, s.end, s.pos = true, true, first
		return false
	}
	end := first
	for {
		if end == len(s.b) {
			if s.whole {
				break
			}
			s.done = true
			return false
		}
		if s.b[end] != ' ' && s.b[end] != '\t' {
			break
		}
		if end, ok = s.line(end); !ok {
			s.done = true
			return false
		}
	}
	text := withoutLineEnd(s.b[start:end])
	n, colon := FieldName(text)
	switch {
	case colon > 0:
		s.name, s.value = text[:n], text[colon+1:]
	case s.odd:
		s.done, s.end = true, true
		return false
	default:
		s.odd = true
		s.name, s.value = nil, text
	}
	s.start, s.pos = start, end
	return true
}

// line returns where the line after the one at i begins.
func (s *Scanner) line(i int) (int, bool) {
	if n := bytes.IndexByte(s.b[i:], '\n'); n >= 0 {
		return i + n + 1, true
	}
	return len(s.b), s.whole
}

// blank reports whether a line is empty; at the end of a message its LF may be
// missing.
func blank(l []byte) bool {
	return len(l) == 1 && (l[0] == '\n' || l[0] == '\r') || len(l) == 2 && l[0] == '\r' && l[1] == '\n'
}

func withoutLineEnd(b []byte) []byte {
	b = bytes.TrimSuffix(b, []byte("\n"))
	return bytes.TrimSuffix(b, []byte("\r"))
}

// FieldName returns how long the name is of the field that begins a line, and
// where its colon stands; colon is 0 if it is no field. RFC 5322, 3.6.8, with
// the spaces before the colon of 4.5.
func FieldName(b []byte) (n, colon int) {
	for n < len(b) && b[n] > ' ' && b[n] < 0x7f && b[n] != ':' {
		n++
	}
	colon = n
	for colon < len(b) && (b[colon] == ' ' || b[colon] == '\t') {
		colon++
	}
	if n == 0 || colon == len(b) || b[colon] != ':' {
		return 0, 0
	}
	return n, colon
}
