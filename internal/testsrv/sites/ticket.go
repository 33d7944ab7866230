package sites

import (
	"strings"
	"time"
)

// maxTries is how many wrong codes end a ticket.
const maxTries = 5

// ticket is a mail on its way: whoever comes back with its link or its code has
// read the mail of its address. It counts once.
type ticket struct {
	address    string
	link, code digest
	session    *session // in which the code may be typed
	until      time.Time
	tries      int
	used       bool
}

// issue makes a ticket for an address, with a link token and a code. Those made
// before for the same address count no more.
func (c *call) issue(address string) (link, code string) {
	link, code = random(43, urlSafe), random(6, digitsTen)
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	for _, t := range c.s.tickets {
		if strings.EqualFold(t.address, address) {
			t.used = true
		}
	}
	c.session.pending = address
	c.s.tickets = append(c.s.tickets, &ticket{
		address: address, link: digestOf(link), code: digestOf(code), session: c.session, until: c.s.opts.Now().Add(c.s.opts.Life),
	})
	return link, code
}

// verdict says what became of a link or a code.
type verdict int

const (
	good verdict = iota
	wrong
	expired
	exhausted // too many wrong codes: a new mail is needed
)

// byLink takes the token of a link, from any browser.
func (s *Site) byLink(token string) (address string, v verdict) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tickets {
		if t.link == digestOf(token) {
			return s.punch(t)
		}
	}
	return "", wrong
}

// byCode takes a code from the session that asked for it.
func (c *call) byCode(code string) (address string, v verdict) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	for _, t := range c.s.tickets {
		if t.session != c.session || t.used {
			continue
		}
		switch {
		case t.tries >= maxTries:
			return "", exhausted
		case t.code != digestOf(code):
			t.tries++
			return "", wrong
		}
		return c.s.punch(t)
	}
	return "", expired
}

func (s *Site) punch(t *ticket) (string, verdict) {
	if t.used || !s.opts.Now().Before(t.until) {
		return "", expired
	}
	t.used = true
	return t.address, good
}

// words is what a page says of a verdict.
func (v verdict) words() string {
	switch v {
	case wrong:
		return "Incorrect code. Please try again."
	case exhausted:
		return "Too many failed attempts. Request a new code."
	}
	return "This link or code has expired. Request a new one."
}
