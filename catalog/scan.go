package catalog

import (
	"bytes"
	"encoding/json"
	"strings"
)

// trie is a set of paths into a JSON document. Each path that ends here has a
// slot, where the scanner leaves what it finds.
type trie struct {
	kids []branch
	slot int // -1: none
}

type branch struct {
	key string
	to  *trie
}

const (
	maxSlots = 40
	maxKids  = 32 // of one node: a set of the keys seen is one word
	maxDepth = 8  // of a path, so of the scanner's recursion
)

// add makes a path, such as usage.cost, end in a slot.
func (t *trie) add(path string, slot int) {
	for key := range strings.SplitSeq(path, ".") {
		var next *trie
		for _, k := range t.kids {
			if k.key == key {
				next = k.to
			}
		}
		if next == nil {
			next = &trie{slot: -1}
			t.kids = append(t.kids, branch{key, next})
		}
		t = next
	}
	t.slot = slot
}

// scanner walks over JSON and keeps the scalars at the paths of a trie. It
// recurses only along the trie, so the depth of a hostile document costs
// nothing, and it allocates nothing.
//
// What it does not keep it skips by its quotes and brackets: a mistake in
// there goes unnoticed. Nothing is lost by that, since who can send a broken
// document can as well send a false one.
type scanner struct {
	b     []byte
	i     int
	slots [maxSlots]scalar
}

// scalar is a scalar as it stands in the document; a string with its quotes.
type scalar []byte

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\n', '\r', '\t':
			s.i++
		default:
			return
		}
	}
}

func (s *scanner) eat(c byte) bool {
	s.space()
	if s.i < len(s.b) && s.b[s.i] == c {
		s.i++
		return true
	}
	return false
}

// object reads an object whose { is behind it. A key of the trie that stands
// twice fails: readers differ on which of the two counts.
func (s *scanner) object(t *trie) bool {
	if s.eat('}') {
		return true
	}
	var seen uint32
	for {
		s.space()
		start := s.i
		if !s.str() {
			return false
		}
		kid := t.find(s.b[start:s.i])
		if !s.eat(':') {
			return false
		}
		s.space()
		if kid < 0 {
			if !s.skip() {
				return false
			}
		} else {
			if seen&(1<<kid) != 0 {
				return false
			}
			seen |= 1 << kid
			if !s.value(t.kids[kid].to) {
				return false
			}
		}
		if s.eat('}') {
			return true
		}
		if !s.eat(',') {
			return false
		}
	}
}

// find returns the index of a key, which has its quotes, or -1.
func (t *trie) find(quoted []byte) int {
	if bytes.IndexByte(quoted, '\\') < 0 {
		for i, k := range t.kids {
			if string(quoted[1:len(quoted)-1]) == k.key {
				return i
			}
		}
		return -1
	}
	var key string
	if json.Unmarshal(quoted, &key) != nil {
		return -1
	}
	for i, k := range t.kids {
		if key == k.key {
			return i
		}
	}
	return -1
}

func (s *scanner) value(t *trie) bool {
	if s.i < len(s.b) && s.b[s.i] == '{' && len(t.kids) > 0 {
		s.i++
		return s.object(t)
	}
	start := s.i
	if !s.skip() {
		return false
	}
	if c := s.b[start]; t.slot >= 0 && c != '{' && c != '[' {
		s.slots[t.slot] = s.b[start:s.i]
	}
	return true
}

// str steps over a string, whose opening quote is next.
func (s *scanner) str() bool {
	if s.i >= len(s.b) || s.b[s.i] != '"' {
		return false
	}
	for start := s.i + 1; ; {
		n := bytes.IndexByte(s.b[start:], '"')
		if n < 0 {
			return false
		}
		end := start + n
		escapes := 0
		for end-1-escapes > s.i && s.b[end-1-escapes] == '\\' {
			escapes++
		}
		if escapes%2 == 0 {
			s.i = end + 1
			return true
		}
		start = end + 1
	}
}

// skip steps over a value.
func (s *scanner) skip() bool {
	if s.i >= len(s.b) {
		return false
	}
	switch s.b[s.i] {
	case '"':
		return s.str()
	case '{', '[':
		return s.brackets()
	}
	start := s.i
	for s.i < len(s.b) {
		c := s.b[s.i]
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') && c != '.' && c != '-' && c != '+' {
			break
		}
		s.i++
	}
	return s.i > start
}

func (s *scanner) brackets() bool {
	for depth := 0; s.i < len(s.b); {
		switch s.b[s.i] {
		case '"':
			if !s.str() {
				return false
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		s.i++
		if depth == 0 {
			return true
		}
	}
	return false
}

// text returns a string's content or a literal as it stands, and "" for null.
func (v scalar) text() string {
	switch {
	case len(v) == 0 || string(v) == "null":
		return ""
	case v[0] != '"':
		return string(v)
	case bytes.IndexByte(v, '\\') < 0:
		return string(v[1 : len(v)-1])
	}
	var s string
	if json.Unmarshal(v, &s) != nil {
		return ""
	}
	return s
}

// jsonField returns the scalar at a path of a JSON object, as text. The
// document may be cut off behind it.
func jsonField(doc []byte, path string) string {
	t := &trie{slot: -1}
	t.add(path, 0)
	s := scanner{b: doc}
	if !s.eat('{') {
		return ""
	}
	s.object(t)
	return s.slots[0].text()
}
