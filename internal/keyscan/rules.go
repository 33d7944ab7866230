package keyscan

import (
	"bytes"
	"regexp"
	"slices"
	"strings"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
)

// Rules find keys of the catalogue's services in text: by the form that keys
// have, and by what is assigned to the variables that hold them.
type Rules struct {
	shapes    []shape
	variables []variable
}

type shape struct {
	entry   *catalog.Entry
	re      *regexp.Regexp
	literal []byte // what every match begins with; empty: nothing
	manages bool   // a kind that is refused
}

type variable struct {
	entry *catalog.Entry
	name  []byte
}

// NewRules makes the rules of these services.
func NewRules(entries []*catalog.Entry) (*Rules, error) {
	r := &Rules{}
	for _, e := range entries {
		for i, list := range [][]catalog.Pattern{e.Key.Refuse, e.Key.Patterns.Value} {
			for _, p := range list {
				if p.Generic != "" {
					continue
				}
				// The patterns are for whole keys: what stands around one is
				// looked at apart.
				re, err := regexp.Compile(strings.TrimSuffix(strings.TrimPrefix(p.Match, "^"), "$"))
				if err != nil {
					return nil, err
				}
				re.Longest()
				literal, _ := re.LiteralPrefix()
				r.shapes = append(r.shapes, shape{e, re, []byte(literal), i == 0})
			}
		}
		for _, v := range e.Env.Key {
			r.variables = append(r.variables, variable{e, []byte(v)})
		}
	}
	return r, nil
}

// hit is where a key stands in a text.
type hit struct {
	from, to int
	entry    *catalog.Entry
	manages  bool
	by       string // rule
}

// word holds for what a key can have in it, so that a match beside it is only
// a part of something else.
func word(c byte) bool {
	return c == '_' || c == '-' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// find returns what stands in text, in order. No two overlap.
func (r *Rules) find(text []byte) (hits []hit) {
	taken := func(from, to int) bool {
		for _, h := range hits {
			if from < h.to && h.from < to {
				return true
			}
		}
		return false
	}
	for _, s := range r.shapes {
		for at := 0; at < len(text); {
			from := at
			if len(s.literal) > 0 {
				i := bytes.Index(text[at:], s.literal)
				if i < 0 {
					break
				}
				from = at + i
			}
			m := s.re.FindIndex(text[from:])
			if m == nil {
				break
			}
			m[0], m[1] = m[0]+from, m[1]+from
			at = m[1]
			if m[0] > 0 && word(text[m[0]-1]) || m[1] < len(text) && word(text[m[1]]) {
				at = m[0] + 1
				continue
			}
			if !taken(m[0], m[1]) && !placeholder(text[m[0]:m[1]], text[m[1]:]) {
				hits = append(hits, hit{m[0], m[1], s.entry, s.manages, s.entry.ID.String()})
			}
		}
	}
	for _, v := range r.variables {
		for at := 0; ; {
			i := bytes.Index(text[at:], v.name)
			if i < 0 {
				break
			}
			from := at + i
			at = from + len(v.name)
			if from > 0 && word(text[from-1]) {
				continue
			}
			a, b, ok := assigned(text, at)
			if ok && !taken(a, b) && likely(text[a:b]) && v.entry.CheckKey(text[a:b]) == nil {
				hits = append(hits, hit{a, b, v.entry, false, string(v.name)})
			}
		}
	}
	slices.SortFunc(hits, func(a, b hit) int { return a.from - b.from })
	return hits
}

// placeholder holds for one that AgentKeys made: its marker has a full stop,
// where a pattern may end.
func placeholder(match, rest []byte) bool {
	return bytes.Contains(match, []byte("agentkeys.")) || bytes.HasSuffix(match, []byte("agentkeys")) && bytes.HasPrefix(rest, []byte("."))
}

// assigned returns the value behind a name: NAME=value, NAME: "value",
// "NAME": "value", NAME := 'value'.
func assigned(text []byte, at int) (from, to int, ok bool) {
	i := at
	skip := func(set string) {
		for i < len(text) && i < at+32 && strings.IndexByte(set, text[i]) >= 0 {
			i++
		}
	}
	skip(`"'`)
	skip(" \t")
	mark := i
	skip(":=")
	if i == mark {
		return 0, 0, false
	}
	skip(" \t")
	skip("\"'`")
	from = i
	for i < len(text) && i < from+4096 && text[i] > ' ' && text[i] < 0x7f && strings.IndexByte("\"'`,;#<>(){}$\\", text[i]) < 0 {
		i++
	}
	return from, i, i-from >= 16
}

// likely keeps names, paths and examples out: a key has letters and digits.
func likely(value []byte) bool {
	digits, letters := 0, 0
	for _, c := range value {
		switch {
		case '0' <= c && c <= '9':
			digits++
		case word(c):
			letters++
		case c == '/' || c == '@':
			return false
		}
	}
	s := strings.ToLower(string(value))
	for _, w := range []string{"your", "example", "xxxx", "changeme", "...", "dummy", "placeholder"} {
		if strings.Contains(s, w) {
			return false
		}
	}
	return digits >= 3 && letters >= 3
}

// service is the hit's, for Finding.
func (h hit) service() agentkeys.Service { return h.entry.ID }
