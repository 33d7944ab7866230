package inject

import (
	"crypto/subtle"
	"hash/maphash"
	"net/url"
	"sync"
	"time"

	"github.com/litentry/agentkeys/internal/secret"
)

// lent is what is worked out once per credential and route: the redactor, and
// what is injected. The latter are Go strings, because net/http takes nothing
// else: they can be dropped, but not cleared.
type lent struct {
	*redactor
	route   *Route
	headers [][]string // by place; nil where the place is a query
	query   string     // appended to the request's own, "" for none

	key  uint64
	refs int
	dead bool // forgotten while in use: cleared by the last release
	used time.Time
}

func newLent(route *Route, s []byte) *lent {
	l := &lent{redactor: newRedactor(s), route: route}
	for _, p := range route.Place {
		if p.Query != "" {
			if l.query != "" {
				l.query += "&"
			}
			l.query += url.QueryEscape(p.Query) + "=" + url.QueryEscape(string(s))
			l.headers = append(l.headers, nil)
			continue
		}
		l.headers = append(l.headers, []string{p.Prefix + string(s)})
	}
	return l
}

func (l *lent) is(route *Route, s []byte) bool {
	return l.route == route && subtle.ConstantTimeCompare(l.raw, s) == 1
}

func (l *lent) wipe() {
	l.redactor.clear()
	l.headers, l.query = nil, ""
}

// The bounds of what is kept for later requests.
const (
	keepLent  = 256
	idleLent  = 10 * time.Minute
	sweepLent = time.Minute
)

// lending keeps the lents of recent requests. They are found by their content,
// so that it does not matter in which copy of a secret.Value a credential comes.
type lending struct {
	mu    sync.Mutex
	seed  maphash.Seed
	lents map[uint64]*lent
	timer *time.Timer
}

func newLending() *lending {
	return &lending{seed: maphash.MakeSeed(), lents: map[uint64]*lent{}}
}

// acquire returns the lent for a credential, to be released after use.
func (k *lending) acquire(route *Route, v secret.Value, now time.Time) (*lent, error) {
	s := v.Expose()
	key := maphash.Bytes(k.seed, s)
	k.mu.Lock()
	if l := k.lents[key]; l != nil && l.is(route, s) {
		l.refs++
		l.used = now
		k.mu.Unlock()
		return l, nil
	}
	k.mu.Unlock()

	// Compiling takes a tenth of a millisecond: not under the lock. When two
	// compile the same, the later one is kept.
	if err := checkSecret(s); err != nil {
		return nil, err
	}
	l := newLent(route, s)
	l.key, l.refs, l.used = key, 1, now
	k.mu.Lock()
	defer k.mu.Unlock()
	k.drop(k.lents[key])
	if len(k.lents) >= keepLent {
		k.sweep(now.Add(-sweepLent))
	}
	if len(k.lents) >= keepLent {
		l.dead = true // in use by this request only
		return l, nil
	}
	k.lents[key] = l
	if k.timer == nil {
		k.timer = time.AfterFunc(sweepLent, k.tick)
	}
	return l, nil
}

func (k *lending) release(l *lent) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if l.refs--; l.refs == 0 && l.dead {
		l.wipe()
	}
}

// drop takes l out; k.mu is held.
func (k *lending) drop(l *lent) {
	if l == nil {
		return
	}
	delete(k.lents, l.key)
	if l.dead = true; l.refs == 0 {
		l.wipe()
	}
}

// sweep drops what is not in use and has not been since then; k.mu is held.
func (k *lending) sweep(then time.Time) {
	for _, l := range k.lents {
		if l.refs == 0 && l.used.Before(then) {
			k.drop(l)
		}
	}
}

func (k *lending) tick() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sweep(time.Now().Add(-idleLent))
	if k.timer != nil {
		if k.timer = nil; len(k.lents) > 0 {
			k.timer = time.AfterFunc(sweepLent, k.tick)
		}
	}
}

// forget drops what was worked out from v, on whatever route.
func (k *lending) forget(v secret.Value) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.drop(k.lents[maphash.Bytes(k.seed, v.Expose())])
}

func (k *lending) forgetAll() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, l := range k.lents {
		k.drop(l)
	}
	if k.timer != nil {
		k.timer.Stop()
		k.timer = nil
	}
}
