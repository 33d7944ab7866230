package token

import (
	"crypto/sha256"
	"sync"
	"time"
)

// Cache remembers which session tokens hold, so that a signature is verified
// once. It keeps digests of tokens, not tokens, and refusals not at all. It is
// safe for concurrent use.
type Cache struct {
	size int
	mu   sync.Mutex
	// Two generations: when new is full it becomes old, and old is forgotten.
	// What is asked for moves to new, so that what is in use stays.
	new, old map[[sha256.Size]byte]cached
}

type cached struct {
	session          Session
	kid              string
	issuer, audience string
}

// NewCache makes a Cache of up to size sessions, at least 2.
func NewCache(size int) *Cache {
	return &Cache{size: max(size, 2), new: map[[sha256.Size]byte]cached{}}
}

// Session is v.Session, remembered. Each call asks again what may change:
// issuer, audience, time, and whether the key is still one of v's, of which it
// assumes that a kid names one key for ever, as thumbprints do.
func (c *Cache) Session(v Verifier, raw string, now time.Time) (Session, error) {
	if len(raw) > maxToken { // before anything is hashed
		return v.Session(raw, now)
	}
	digest := sha256.Sum256([]byte(raw))
	c.mu.Lock()
	e, ok := c.new[digest]
	if !ok {
		if e, ok = c.old[digest]; ok {
			c.put(digest, e)
		}
	}
	c.mu.Unlock()
	if ok && e.issuer == v.Issuer && e.audience == v.Audience &&
		now.Before(e.session.Expires) && !now.Before(e.session.Issued) {
		if _, _, known := v.key(e.kid, now); known {
			return e.session, nil
		}
	}
	s, kid, err := v.session(raw, now) // leeway and refusals are its business
	if err != nil {
		return Session{}, err
	}
	c.mu.Lock()
	c.put(digest, cached{s, kid, v.Issuer, v.Audience})
	c.mu.Unlock()
	return s, nil
}

// Len returns how many sessions are remembered.
func (c *Cache) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.new)
	for d := range c.old {
		if _, ok := c.new[d]; !ok {
			n++
		}
	}
	return n
}

func (c *Cache) put(d [sha256.Size]byte, e cached) {
	if _, ok := c.new[d]; !ok && len(c.new) >= c.size/2 {
		c.old, c.new = c.new, map[[sha256.Size]byte]cached{}
	}
	c.new[d] = e
}
