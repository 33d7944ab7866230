package har

import (
	"crypto/rand"
	"net/url"
	"reflect"
	"slices"
	"strings"
)

// scrubber replaces what is hidden.
type scrubber struct {
	key   func([]byte) bool
	fakes map[string]string // by what they stand for
	local map[string]string // fakes of what is replaced where its name stands only
	made  map[string]bool   // the fakes themselves
	order []string          // keys of fakes, longest first
	swap  *strings.Replacer
}

func newScrubber(key func([]byte) bool) *scrubber {
	return &scrubber{key: key, fakes: map[string]string{}, local: map[string]string{}, made: map[string]bool{}}
}

// hide makes a fake of a value, which is replaced by it in every spelling from
// the next ready on.
func (s *scrubber) hide(value string) {
	if len(value) >= minHidden && s.fakes[value] == "" {
		s.known(value)
	}
}

// fakeOf returns the fake of a value that is not looked for elsewhere, too.
func (s *scrubber) fakeOf(value string) string {
	if value == "" {
		return ""
	}
	if f := s.fakes[value]; f != "" {
		return f
	}
	if s.local[value] == "" {
		s.local[value] = s.fake(value)
	}
	return s.local[value]
}

// ready makes the scrubber know all that hide was called with.
func (s *scrubber) ready() {
	s.order = s.order[:0]
	for value := range s.fakes {
		s.order = append(s.order, value)
	}
	slices.SortFunc(s.order, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	var pairs []string
	seen := map[string]bool{}
	for _, value := range s.order {
		to := spellings(s.fakes[value])
		for i, from := range spellings(value) {
			if len(from) >= minHidden && !seen[from] {
				seen[from] = true
				pairs = append(pairs, from, to[i])
			}
		}
	}
	s.swap = strings.NewReplacer(pairs...)
}

// text replaces what is hidden in a text, and what looks like a key.
func (s *scrubber) text(t string) string {
	return s.keys(s.swap.Replace(t))
}

// deep replaces what is hidden in a text that may be escaped as in a URL, and
// that more than once.
func (s *scrubber) deep(t string, levels int) string {
	t = s.text(t)
	if levels == 0 || strings.IndexByte(t, '%') < 0 {
		return t
	}
	plain, err := url.QueryUnescape(t)
	if err != nil || plain == t {
		return t
	}
	if clean := s.deep(plain, levels-1); clean != plain {
		return url.QueryEscape(clean)
	}
	return t
}

// finds reports whether a value, which is an archive or a part of one, holds
// what was to be hidden. Numbers and times are not texts.
func (s *scrubber) finds(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.String:
		return s.swap.Replace(v.String()) != v.String()
	case reflect.Pointer:
		return !v.IsNil() && s.finds(v.Elem())
	case reflect.Slice:
		for i := range v.Len() {
			if s.finds(v.Index(i)) {
				return true
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() && s.finds(v.Field(i)) {
				return true
			}
		}
	}
	return false
}

// keys replaces the words of a text that look like keys.
func (s *scrubber) keys(t string) string {
	return words(t, "._-~+/=", func(w string) string {
		if s.isKey(w) {
			return s.known(w)
		}
		return words(w, "_-", func(w string) string {
			if s.isKey(w) {
				return s.known(w)
			}
			return w
		})
	})
}

// isKey tells a key, and no fake that was put in its place.
func (s *scrubber) isKey(w string) bool {
	if len(w) < minWord || !s.key([]byte(w)) {
		return false
	}
	return !s.made[w]
}

func (s *scrubber) known(w string) string {
	if s.fakes[w] == "" {
		s.fakes[w] = s.fake(w)
		s.made[s.fakes[w]] = true
	}
	return s.fakes[w]
}

// words calls f for the words of a text, which are of letters, digits and
// others.
func words(t, others string, f func(string) string) string {
	in := func(c byte) bool {
		return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || strings.IndexByte(others, c) >= 0
	}
	var b strings.Builder
	for i := 0; i < len(t); {
		j := i
		for j < len(t) && in(t[j]) {
			j++
		}
		if j > i {
			b.WriteString(f(t[i:j]))
		} else {
			j++
			b.WriteByte(t[i])
		}
		i = j
	}
	return b.String()
}

// maxPrefix is how much of a key a fake may share with it: what its kind
// begins with.
const maxPrefix = 20

// fake makes a value of the same shape: letters for letters, digits for digits,
// and those of hexadecimal numbers for such. One of a key fits its pattern too.
func (s *scrubber) fake(value string) string {
	key := s.key([]byte(value))
	for prefix := 0; prefix <= min(maxPrefix, len(value)/2); prefix++ {
		for range 8 {
			f := value[:prefix] + shuffled(value[prefix:])
			if f != value && (!key || s.key([]byte(f))) {
				return f
			}
			if !key {
				break
			}
		}
	}
	return strings.Repeat("x", len(value))
}

func shuffled(s string) string {
	b := []byte(s)
	random := make([]byte, len(b))
	_, _ = rand.Read(random) // it never fails
	for i, c := range b {
		switch r := random[i]; {
		case c >= '0' && c <= '9':
			b[i] = '0' + r%10
		case c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F':
			b[i] = c&0x20 | 'A' + r%6
		case c >= 'g' && c <= 'z' || c >= 'G' && c <= 'Z':
			b[i] = c&0x20 | 'G' + r%20
		}
	}
	return string(b)
}
