package verifymail

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// flow is the visible text of a part, in lines: blocks end lines, cells end
// with a tab.
type flow struct {
	html  bool
	text  string
	links []anchor
}

// anchor is a link of a flow.
type anchor struct {
	href  string
	shown string // what a person sees in its place, "" of a bare URL
	at    int    // where in the text
}

const (
	// barrier stands for what must not be read over: what was taken out, or
	// turns the order of letters around.
	barrier = '\ufffd'
	// maxURL is the length of the longest link, in bytes.
	maxURL = 4096
)

// clean takes out what cannot be seen, and lets each space and each wide digit
// stand for the plain one.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r >= ' ' && r < 0x7f:
			return r
		case r == '\r' || r == '\v' || r == '\f' || r == '\u0085' || r == '\u2028' || r == '\u2029':
			return '\n'
		case r < ' ' || r >= 0x7f && r <= 0x9f:
			return barrier
		case r == '\u202d' || r == '\u202e' || r >= '\u2066' && r <= '\u2069' || r == '\u202a' || r == '\u202b' || r == '\u202c':
			return barrier // shown in another order than written
		case invisible(r):
			return -1
		case unicode.Is(unicode.Zs, r):
			return ' '
		case r >= '\uff01' && r <= '\uff5e':
			return r - '\uff01' + '!'
		case r == '\u2010' || r == '\u2011' || r == '\u2012' || r == '\u2013' || r == '\u2212':
			return '-'
		}
		return r
	}, s)
}

func invisible(r rune) bool {
	switch {
	case r == '\u00ad', r == '\u034f', r == '\u061c', r == '\u115f', r == '\u1160', r == '\u17b4', r == '\u17b5',
		r >= '\u180b' && r <= '\u180f', r >= '\u200b' && r <= '\u200f', r >= '\u2060' && r <= '\u2064',
		r >= '\u206a' && r <= '\u206f', r == '\u3164', r >= '\ufe00' && r <= '\ufe0f', r == '\ufeff', r == '\uffa0',
		r >= 0xe0000 && r <= 0xe0fff:
		return true
	}
	return false
}

// plainFlow returns the flow of a plain text.
func plainFlow(s string) flow {
	s = strings.ReplaceAll(s, "\r\n", "\n")
	f := flow{text: withoutQuotes(clean(s), true)}
	f.findLinks()
	return f
}

// findLinks makes a link of each bare https URL in the text, and takes it out,
// so that no code is found in one.
func (f *flow) findLinks() {
	var out strings.Builder
	out.Grow(len(f.text))
	rest := f.text
	for {
		i := indexURL(rest)
		if i < 0 {
			break
		}
		out.WriteString(rest[:i])
		end := i + urlLength(rest[i:])
		u := rest[i:end]
		if len(u) <= maxURL {
			u = trimURL(u)
			if i == 0 || !wordByte(rest[i-1]) {
				f.links = append(f.links, anchor{href: u, at: out.Len()})
			}
		}
		out.WriteRune(barrier)
		rest = rest[i+max(len(u), 1):]
	}
	out.WriteString(rest)
	f.text = out.String()
}

// indexURL returns where the next http or https URL begins, or -1.
func indexURL(s string) int {
	from := 0
	for {
		i := strings.Index(s[from:], "://")
		if i < 0 {
			return -1
		}
		i += from
		for _, scheme := range []string{"https", "http"} {
			if n := i - len(scheme); n >= from && strings.EqualFold(s[n:i], scheme) {
				return n
			}
		}
		from = i + len("://")
	}
}

// urlLength returns how far what begins like a URL may reach.
func urlLength(s string) int {
	for i, r := range s {
		if r <= ' ' || r == '<' || r == '>' || r == '"' || r == barrier {
			return i
		}
	}
	return len(s)
}

func wordByte(c byte) bool {
	return asciiWord(c) || c >= utf8.RuneSelf
}

// trimURL takes off what ends a sentence or a bracket around a URL.
func trimURL(u string) string {
	round, square := strings.Contains(u, "("), strings.Contains(u, "[")
	for u != "" {
		c := u[len(u)-1]
		if strings.IndexByte(".,;:!?'*`|}", c) < 0 && (c != ')' || round) && (c != ']' || square) {
			break
		}
		u = u[:len(u)-1]
	}
	return u
}
