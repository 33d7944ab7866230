package mailroute

// lister reads the value of a To or Cc field: RFC 5322, 3.4, with the obsolete
// forms of 4.4, and what is out there besides. It never fails. What it cannot
// make sense of between two separators is passed over, and the next begins
// afresh. Each pair of a local part and a domain that stands where an address
// may stand is reported, as sure or as doubtful.
//
// A quote or a comment that does not close hides what follows. A value with one
// is read a second time, in which each must close before the next separator, and
// where it does not, all up to there is in doubt. What either reading shows
// counts.
type lister struct {
	v     []byte
	i     int
	again bool // the second reading
	open  bool // a quote or a comment did not close
	t     *tally

	state  state
	angle  bool // between < and >
	route  bool // in the route of an obsolete <@a,@b:x@y>
	joined bool // the last token was a dot or an @: the next word belongs to it
	phrase bool // there were words that are no part of the address
	odd    bool // there was something that an address cannot have
	taint  bool // and what comes up to the next separator is in doubt for it
	claim  bool // a word that is no part of the address claims to be of a wallet
	local  buffer
	domain buffer
}

type state uint8

const (
	empty state = iota
	inLocal
	inDomain
)

// list reads the value of a field.
func (t *tally) list(v []byte) {
	l := lister{v: v, t: t}
	l.run()
	if l.open {
		l = lister{v: v, t: t, again: true}
		t.murky = true
		l.run()
		t.murky = false
	}
}

func (l *lister) run() {
	for l.i < len(l.v) {
		c := l.v[l.i]
		switch {
		case l.space(c):
			l.i++
		case l.again && (c == '"' || c == '(' || c == ')') && l.stray():
			l.taint = true
			l.i++
		case c == '(':
			l.comment()
		case c == ')':
			l.taint = true
			l.i++
		case c == '"':
			l.quoted()
		case c == '<':
			l.display()
			l.angle = true
			l.i++
		case c == '>':
			if l.angle {
				l.end(true)
			} else {
				l.odd = true
			}
			l.i++
		case c == ',' && l.route:
			// Only its colon ends it.
			l.reset()
			l.route = true
			l.i++
		case c == ',' || c == ';':
			// A semicolon ends a group; some write it between addresses, too.
			l.end(false)
			l.i++
		case c == ':':
			l.colon()
			l.i++
		case c == '@':
			l.at()
			l.i++
		default:
			l.atom()
		}
	}
	l.end(false)
}

func (l *lister) at() {
	switch {
	case l.angle && l.state == empty:
		l.route = true
	case l.state == inDomain:
		// a@b@c: neither is an address, but each is looked at.
		l.odd = true
		l.pair(false)
		l.local, l.domain.n = l.domain, 0
	case l.state == empty:
		l.odd = true
	}
	l.state, l.joined = inDomain, true
}

// colon ends the name of a group, or a route. Either is no address.
func (l *lister) colon() {
	if l.angle && !l.route {
		l.pair(false)
		l.odd = true
		l.state = empty
		return
	}
	taint := l.taint
	if !l.route && (l.state == inDomain || l.odd) {
		// No name has an @: a line end or a separator is missing, it seems.
		l.pair(false)
		taint = true
	}
	l.reset()
	l.taint = taint
}

// display ends what stands before an address in angle brackets.
func (l *lister) display() {
	l.pair(false)
	taint := l.taint || l.angle // the one before has not closed
	l.angle = false
	l.reset()
	l.taint = taint
}

// end ends an address; closed says that it was with the > it needs if it began
// with <.
func (l *lister) end(closed bool) {
	switch {
	case l.state == inDomain:
		l.pair(!l.phrase && !l.odd && !l.taint && !l.route && closed == l.angle)
	case l.state == inLocal && tagLike(l.local.bytes()):
		l.claim = true
	}
	if l.claim {
		l.t.malformed()
	}
	l.angle = false
	l.reset()
}

// pair reports the local part and domain that were read.
func (l *lister) pair(sure bool) {
	if l.state == inDomain {
		l.t.pair(&l.local, &l.domain, sure)
	}
}

func (l *lister) reset() {
	l.state, l.route, l.joined, l.phrase, l.odd, l.taint, l.claim = empty, false, false, false, false, false, false
	l.local.n, l.domain.n = 0, 0
}
