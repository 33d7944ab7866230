package mailhead

import "strings"

// received is a Received line, taken apart.
type received struct{ by, id, rcpt string }

// parseReceived reads the unfolded value of a Received field as a receiver of
// ours writes it, and nothing else:
//
//	from H (…) by B [with P] [id I] [for R]; date
//
// H and what is in the first parentheses are the sender's to choose, more or
// less: the name in his HELO, and the name of his address in DNS. So each
// clause is there once, in this order, with one word; comments close; what
// follows the semicolon is a date. Text that was slipped in stands before the
// receiver's own, which then is what there is too much of: the line is not read
// at all.
func parseReceived(s string) (received, bool) {
	var r received
	t := words{s: s}
	if w, ok := t.next(); !ok || !strings.EqualFold(w, "from") {
		return received{}, false
	}
	if w, ok := t.next(); !ok || strings.Contains(w, `"`) {
		return received{}, false
	}
	clause := 0
	for {
		key, ok := t.next()
		if !ok {
			break
		}
		val, ok := t.next()
		if !ok {
			return received{}, false
		}
		n := 0
		switch {
		case strings.EqualFold(key, "by"):
			n, r.by = 1, val
		case strings.EqualFold(key, "with"):
			n = 2
		case strings.EqualFold(key, "id"):
			n, r.id = 3, val
		case strings.EqualFold(key, "for"):
			n, r.rcpt = 4, val
		}
		if n <= clause || n != 4 && strings.Contains(val, `"`) {
			return received{}, false
		}
		clause = n
	}
	if r.by == "" || !t.date() {
		return received{}, false
	}
	if n := len(r.rcpt); n >= 2 && r.rcpt[0] == '<' && r.rcpt[n-1] == '>' {
		if r.rcpt = r.rcpt[1 : n-1]; r.rcpt == "" {
			return received{}, false
		}
	}
	return r, true
}

// words splits at spaces, outside comments and quoted strings, up to the
// semicolon.
type words struct {
	s   string
	bad bool
}

// next returns the next word; false at the semicolon, at the end, and from
// where on the line makes no sense.
func (t *words) next() (string, bool) {
	for !t.bad && t.s != "" {
		switch t.s[0] {
		case ' ', '\t':
			t.s = t.s[1:]
		case '(':
			t.comment()
		case ';':
			t.s = t.s[1:]
			return "", false
		default:
			return t.word()
		}
	}
	return "", false
}

func (t *words) word() (string, bool) {
	quoted := false
	for i := 0; i < len(t.s); i++ {
		switch c := t.s[i]; {
		case c < ' ' && c != '\t' || c == 0x7f:
			return t.fail()
		case quoted && c == '\\':
			if i++; i == len(t.s) || t.s[i] < ' ' {
				return t.fail()
			}
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == ')':
			return t.fail()
		case c == ' ', c == '\t', c == '(', c == ';':
			w := t.s[:i]
			t.s = t.s[i:]
			return w, true
		}
	}
	// A line that ends in a word has no date.
	return t.fail()
}

func (t *words) comment() {
	depth := 0
	for i := 0; i < len(t.s); i++ {
		switch c := t.s[i]; {
		case c < ' ' && c != '\t' || c == 0x7f:
			t.fail()
			return
		case c == '\\':
			i++
		case c == '(':
			depth++
		case c == ')':
			if depth--; depth == 0 {
				t.s = t.s[i+1:]
				return
			}
		}
	}
	t.fail()
}

func (t *words) fail() (string, bool) {
	t.s, t.bad = "", true
	return "", false
}

// date reports whether nothing but a date is left: "Mon, 2 Jan 2006 15:04:05
// -0700 (MST)", the day and the comment left out or not.
func (t *words) date() bool {
	if t.bad {
		return false
	}
	n, colons := 0, 0
	for t.s += " "; ; n++ {
		w, ok := t.next()
		if !ok {
			break
		}
		for _, c := range []byte(w) {
			switch {
			case c == ':':
				colons++
			case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == ',', c == '+', c == '-':
			default:
				return false
			}
		}
	}
	// A further semicolon would leave the space of above.
	return !t.bad && t.s == "" && n >= 5 && n <= 6 && (colons == 1 || colons == 2)
}
