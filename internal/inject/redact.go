package inject

import (
	"bytes"
	"encoding/binary"
	"strings"
)

// A redactor overwrites every form of one secret in a text that comes in
// pieces. Where the pieces are cut makes no difference to the result: the text
// is searched from left to right, and at each place the shortest form that
// stands there is overwritten with as many fill bytes, so that lengths that
// were announced stay true.
//
// The search is Wu and Manber's (1994) for several patterns: a window as long
// as the shortest form is moved over the text; the last four bytes in it say
// how far it can be moved without passing over any form. Keys are long, so
// most of a text is never looked at.
type redactor struct {
	raw    []byte
	forms  [][]byte // shortest first; none begins with another
	block  []uint32 // of each form, the last four bytes in its window
	window int
	fill   byte
	class  [256]uint8
	shift  [1 << shiftBits]uint8
}

const (
	shiftBits = 13
	blockLen  = 4
	// The shifts fit a byte, and more would be won by nothing.
	maxWindow = 128

	inForm  = 1 // the byte is in some form
	isFirst = 2 // some form begins with the byte
)

// longestForm is what a byte becomes at most: &#x2f; and \u002f.
const longestForm = 6 * maxSecret

func hashBlock(v uint32) uint32 { return v * 0x9e3779b1 >> (32 - shiftBits) }

// newRedactor compiles a secret that checkSecret accepts.
func newRedactor(s []byte) *redactor {
	x := &redactor{raw: bytes.Clone(s), forms: forms(s)}
	x.window = min(len(x.forms[0]), maxWindow)
	for i := range x.shift {
		x.shift[i] = uint8(x.window - blockLen + 1)
	}
	for _, f := range x.forms {
		for i := 0; i+blockLen <= x.window; i++ {
			h := hashBlock(binary.LittleEndian.Uint32(f[i:]))
			x.shift[h] = min(x.shift[h], uint8(x.window-blockLen-i))
		}
		x.block = append(x.block, binary.LittleEndian.Uint32(f[x.window-blockLen:]))
		x.class[f[0]] |= isFirst
		for _, c := range f {
			x.class[c] |= inForm
		}
	}
	// A fill byte that is in no form cannot help to make one up, and the first
	// of these need no escape in JSON, headers or HTML.
	x.fill = '*'
	for _, c := range []byte("*~!^|@:,()[]{}?$. ") {
		if x.class[c]&inForm == 0 {
			x.fill = c
			break
		}
	}
	return x
}

// redact overwrites every form in b. b[:ready] is done with and can be sent.
// b[ready:] may be the beginning of a form: it is to be given again, with what
// follows it. With last, nothing follows and all of b is ready.
func (x *redactor) redact(b []byte, last bool) (ready, found int) {
	for from := 0; ; {
		start, n := x.next(b, from)
		switch {
		case n > 0:
			for i := range b[start : start+n] {
				b[start+i] = x.fill
			}
			from = start + n
			found++
		case last && start < len(b):
			from = start + 1
		default:
			return start, found
		}
	}
}

// next returns the first place, at or after from, where a form stands and its
// length; or, with length 0, where one may have begun; or len(b).
func (x *redactor) next(b []byte, from int) (start, n int) {
	end := from + x.window // of the window
	for end <= len(b) {
		v := binary.LittleEndian.Uint32(b[end-blockLen : end])
		if s := x.shift[hashBlock(v)]; s != 0 {
			end += int(s)
			continue
		}
		if n, maybe := x.at(b[end-x.window:], v); n > 0 || maybe {
			return end - x.window, n
		}
		end++
	}
	// No form can begin before the window's own beginning, nor before a byte
	// that is in no form: text such as an event that ends in a line break is
	// not held back at all.
	first := min(end-x.window, len(b))
	for i := len(b) - 1; i >= first; i-- {
		if x.class[b[i]]&inForm == 0 {
			first = i + 1
			break
		}
	}
	for ; first < len(b); first++ {
		if x.class[b[first]]&isFirst != 0 && x.begins(b[first:]) {
			return first, 0
		}
	}
	return len(b), 0
}

// at returns the length of the shortest form that b begins with, whose window
// ends in block v; or whether b is the beginning of one.
func (x *redactor) at(b []byte, v uint32) (n int, maybe bool) {
	for i, f := range x.forms {
		switch {
		case x.block[i] != v:
		case len(f) > len(b):
			maybe = maybe || bytes.HasPrefix(f, b)
		case bytes.HasPrefix(b, f):
			return len(f), false
		}
	}
	return 0, maybe
}

func (x *redactor) begins(b []byte) bool {
	for _, f := range x.forms {
		if len(f) > len(b) && bytes.HasPrefix(f, b) {
			return true
		}
	}
	return false
}

// text redacts a header value. Most are shorter than any form.
func (x *redactor) text(s string) (string, int) {
	if len(s) < x.window {
		return s, 0
	}
	var room [512]byte
	b := append(room[:0], s...)
	_, found := x.redact(b, true)
	if found == 0 {
		return s, 0
	}
	return string(b), found
}

// name reports whether a header name holds the secret, which a parser may have
// changed the case of.
func (x *redactor) name(s string) bool {
	return len(s) >= x.window && strings.Contains(strings.ToLower(s), strings.ToLower(string(x.raw)))
}

// clear forgets the secret.
func (x *redactor) clear() {
	clear(x.raw)
	for _, f := range x.forms {
		clear(f)
	}
	clear(x.block)
	clear(x.shift[:])
	clear(x.class[:])
}
