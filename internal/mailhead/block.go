// Package mailhead reads the header block of stored mail from raw bytes, of a
// beginning of it too, and tells what the receiving host wrote on top from
// what the sender wrote below. It depends on the standard library only, and
// neither on a clock nor on anything outside its arguments.
//
// Laws:
//   - A field is there only if its end was seen: the next line had begun, not
//     with a space or a tab. A cut field is never returned; longer beginnings of
//     the same message yield the same fields and further ones.
//   - A line ends with LF, or CR LF. A CR elsewhere is a byte like any other.
//   - The block ends before the first empty line, at the end of the message, or
//     before the second line that is neither a field nor its continuation. One
//     such line is let pass (mail kept in files has a "From " on top): a field
//     without a name, which no name finds.
//   - Only the topmost fields, in the order in which the receiver writes them,
//     are the receiver's word. A sender can repeat all of their names below.
package mailhead

import (
	"bytes"
	"strings"
)

// MaxBlock is how many bytes of a message are looked at. A block that has not
// ended by then never does.
const MaxBlock = 256 << 10

// Field is one header field.
type Field struct {
	// Name is as written, without spaces before the colon; "" of a line that is
	// no field.
	Name string
	// Value is what follows the colon, folds and all, without the last line
	// end. It is a part of what was parsed, not a copy.
	Value []byte
	// Offset and End are where the field begins and ends, its line end included.
	Offset, End int
}

// Is reports whether f has this name; case does not matter.
func (f Field) Is(name string) bool { return strings.EqualFold(f.Name, name) }

// Block is a header block, or what is known of it.
type Block struct {
	Fields []Field
	// Complete says that these are all: the end of the block was seen.
	Complete bool
	// Size is how many bytes the block takes, its empty line included; of an
	// incomplete one, how many its fields do.
	Size int
}

// Parse reads the header block at the beginning of b. If b is not the whole
// message, what it ends in may go on.
func Parse(b []byte, whole bool) Block {
	var blk Block
	s := Scan(b, whole)
	for f, ok := s.Next(); ok; f, ok = s.Next() {
		blk.Fields = append(blk.Fields, f)
	}
	blk.Complete, blk.Size = s.Complete(), s.Size()
	return blk
}

// Get returns the fields of a name.
func (b Block) Get(name string) (fields []Field) {
	for _, f := range b.Fields {
		if f.Is(name) {
			fields = append(fields, f)
		}
	}
	return fields
}

// Scanner yields the fields of a block one by one.
type Scanner struct {
	b     []byte
	whole bool
	pos   int // where the next field begins
	odd   bool
	done  bool // no more fields
	end   bool // and there cannot be any
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

// Complete reports whether the fields that were returned are all of the block.
func (s *Scanner) Complete() bool { return s.end }

// Size is Block.Size, of the fields that were returned.
func (s *Scanner) Size() int { return s.pos }

// Next returns the next field; false if there is none, or none whose end is
// seen.
func (s *Scanner) Next() (Field, bool) {
	if s.done {
		return Field{}, false
	}
	start := s.pos
	first, ok := s.line(start)
	switch {
	case !ok, start == len(s.b) && !s.whole:
		s.done = true
		return Field{}, false
	case start == len(s.b):
		s.done, s.end = true, true
		return Field{}, false
	case s.blank(start, first):
		s.done, s.end, s.pos = true, true, first
		return Field{}, false
	}
	end := first
	for {
		if end == len(s.b) {
			if !s.whole {
				s.done = true
				return Field{}, false
			}
			break
		}
		if s.b[end] != ' ' && s.b[end] != '\t' {
			break
		}
		if end, ok = s.line(end); !ok {
			s.done = true
			return Field{}, false
		}
	}
	text := withoutLineEnd(s.b[start:end])
	f := Field{Value: text, Offset: start, End: end}
	if n, colon := nameOf(text); colon > 0 {
		f.Name, f.Value = intern(text[:n]), text[colon+1:]
	} else if s.odd {
		s.done, s.end = true, true
		return Field{}, false
	} else {
		s.odd = true
	}
	s.pos = end
	return f, true
}

// line returns where the line after the one at i begins.
func (s *Scanner) line(i int) (int, bool) {
	if n := bytes.IndexByte(s.b[i:], '\n'); n >= 0 {
		return i + n + 1, true
	}
	return len(s.b), s.whole
}

func (s *Scanner) blank(from, to int) bool {
	l := s.b[from:to]
	return len(l) == 1 && l[0] == '\n' || len(l) == 2 && l[0] == '\r' && l[1] == '\n' || len(l) == 1 && l[0] == '\r'
}

func withoutLineEnd(b []byte) []byte {
	b = bytes.TrimSuffix(b, []byte("\n"))
	return bytes.TrimSuffix(b, []byte("\r"))
}

// nameOf returns how long the name of a field is, and where its colon stands;
// no colon if this is no field. RFC 5322, 3.6.8, with the spaces before the
// colon of 4.5.
func nameOf(b []byte) (n, colon int) {
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

// Unfold returns a value on one line: without the line ends of its folds, and
// without spaces around it.
func Unfold(v []byte) string {
	if bytes.IndexByte(v, '\n') < 0 {
		return string(bytes.Trim(v, " \t"))
	}
	var s strings.Builder
	s.Grow(len(v))
	for {
		i := bytes.IndexByte(v, '\n')
		if i < 0 {
			s.Write(v)
			return strings.Trim(s.String(), " \t")
		}
		s.Write(bytes.TrimSuffix(v[:i], []byte("\r")))
		v = v[i+1:]
	}
}

// intern saves an allocation for the names that nearly all mail has.
func intern(b []byte) string {
	for _, s := range known {
		if string(b) == s {
			return s
		}
	}
	return string(b)
}

var known = [...]string{
	"Received", "DKIM-Signature", "To", "From", "Subject", "Date", "Return-Path", "Received-SPF",
	"Authentication-Results", "Message-ID", "Message-Id", "MIME-Version", "Mime-Version", "Content-Type",
	"Content-Transfer-Encoding", "Cc", "Reply-To", "Feedback-ID", "List-Unsubscribe", "List-Unsubscribe-Post",
	"X-SES-Spam-Verdict", "X-SES-Virus-Verdict", "X-SES-RECEIPT", "X-SES-DKIM-SIGNATURE", "X-AgentKeys-Receipt",
	"ARC-Seal", "ARC-Message-Signature", "ARC-Authentication-Results",
}
