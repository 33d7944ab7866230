package mailroute

// buffer holds the beginning of a word, and how long it is: whatever is longer
// than it holds is longer than may be.
type buffer struct {
	n int
	b [maxDomain + 1]byte
}

func (w *buffer) add(p []byte) {
	if w.n < len(w.b) {
		copy(w.b[w.n:], p)
	}
	w.n += len(p)
}

func (w *buffer) bytes() []byte { return w.b[:min(w.n, len(w.b))] }

// space reports whether c, at l.i, is white space. A line end is part of a fold,
// or it would have ended the field; a CR alone is no line end.
func (l *lister) space(c byte) bool {
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' && l.i+1 < len(l.v) && l.v[l.i+1] == '\n'
}

// stray reports whether the quote or parenthesis at l.i has no other before the
// next separator. Where one had none, none is looked for up to there, or time
// would not be linear.
func (l *lister) stray() bool {
	if l.taint || l.v[l.i] == ')' {
		return true
	}
	depth := 0
	for i := l.i; i < len(l.v); i++ {
		switch c := l.v[i]; {
		case c == '\\':
			i++
		case c == ',', c == ';':
			return true
		case l.v[l.i] == '"':
			if c == '"' && i > l.i {
				return false
			}
		case c == '(':
			depth++
		case c == ')':
			if depth--; depth == 0 {
				return false
			}
		}
	}
	return true
}

func (l *lister) comment() {
	depth := 0
	for ; l.i < len(l.v); l.i++ {
		switch l.v[l.i] {
		case '\\':
			l.i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				l.i++
				return
			}
		}
	}
	l.i, l.open = len(l.v), true
}

func (l *lister) quoted() {
	odd := l.state == inDomain && l.joined // only a local part can be quoted
	w := l.word()
	l.odd = l.odd || odd
	start := l.i + 1
	for l.i = start; l.i < len(l.v); l.i++ {
		switch l.v[l.i] {
		case '"':
			w.add(l.v[start:l.i])
			l.i++
			return
		case '\\':
			w.add(l.v[start:l.i])
			l.i++
			start = l.i
		}
	}
	l.i, l.open = len(l.v), true
}

// atom reads a run of bytes that have no meaning, dots included, and what they
// are, an address will show. A domain literal is one as well: it is never ours.
func (l *lister) atom() {
	start := l.i
	for l.i < len(l.v) {
		c := l.v[l.i]
		if l.i > start && (l.space(c) || c == '(' || c == ')' || c == '"' || c == '<' || c == '>' ||
			c == ',' || c == ';' || c == ':' || c == '@') {
			break
		}
		if c == '[' {
			l.i += literal(l.v[l.i:])
			continue
		}
		l.i++
	}
	p := l.v[start:l.i]
	if p[0] == '.' {
		l.joined = true
	}
	l.word().add(p)
	l.joined = p[len(p)-1] == '.'
}

// literal returns how long the domain literal is that v begins with; 1 if it
// begins with none, so that what is not closed hides nothing.
func literal(v []byte) int {
	for i, c := range v[1:] {
		switch c {
		case ']':
			return i + 2
		case ' ', '\t', '\r', '\n', '[', '\\', '<', '>', '@', '"', '(', ')':
			return 1
		}
	}
	return 1
}

// word returns where the word that begins now belongs.
func (l *lister) word() *buffer {
	switch {
	case l.state == inDomain && l.joined:
		l.joined = false
		return &l.domain
	case l.state == inDomain:
		// Text behind an address: the address is none, or this begins one.
		l.phrase = true
		l.pair(false)
	case l.state == inLocal && l.joined:
		l.joined = false
		return &l.local
	case l.state == inLocal:
		l.phrase = true
		l.claim = l.claim || tagLike(l.local.bytes())
	}
	l.state, l.joined = inLocal, false
	l.local.n, l.domain.n = 0, 0
	return &l.local
}
