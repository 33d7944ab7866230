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
	for s.Next() {
		blk.Fields = append(blk.Fields, s.Field())
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
