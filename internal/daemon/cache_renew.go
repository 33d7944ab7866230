package daemon

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/inject"
)

// errEnded says that a credential was over before it could be used. Its end is
// counted from before it was asked for, so that this is no matter of two clocks,
// but of one that was set, or of an answer that came late.
var errEnded error = &inject.NoToken{
	Detail: "the token had ended when it came", Err: errors.New("the token had ended when it came"),
}

// life is from when to when a credential that is not stored may be used. The
// zero life is that of a stored one: its end is its service's affair.
type life struct {
	began, end time.Time
	span       time.Duration
}

const (
	// window is how long before its end a credential is renewed, or a fifth of
	// its life if that is longer, and half of it at most.
	window = time.Minute
	// margin is how long before its end it is no more used, or a tenth of its
	// life: a request has to arrive.
	margin = 10 * time.Second
	// again bounds how long after a failed renewal the next is tried.
	firstAgain, lastAgain = time.Second, 30 * time.Second
)

func lifeFrom(began, end time.Time) life {
	// The wall clock goes on while a laptop sleeps, and the other one cannot be
	// set back: a credential is over as soon as either says so.
	end = end.Round(0)
	return life{began, end, end.Sub(began)}
}

func (l life) over(now time.Time) bool {
	if l == (life{}) {
		return false
	}
	left := min(margin, l.span/10)
	return !now.Before(l.end.Add(-left)) || now.Sub(l.began) >= l.span-left
}

func (l life) window() time.Duration { return max(min(window, l.span/2), l.span/5) }

func (l life) due(now time.Time) bool {
	return l != life{} && (l.end.Sub(now) < l.window() || l.span-now.Sub(l.began) < l.window())
}

// trust is how long after it came a token is kept though the service refuses
// it: whom it refuses for another reason would otherwise cause an exchange with
// every request.
const trust = 30 * time.Second

// refused throws away the token that p was lent, since the service did not take
// it before its end. Other requests under way keep it; what comes next waits for
// another. A stored credential stays: what refuses it is for its owner to know.
func (c *cache) refused(p grant.Permit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.lent[p]
	if e == nil || e.life == (life{}) || e.gone || c.now().Sub(e.life.began) < trust {
		return
	}
	next := e.next
	c.drop(e)
	if next != nil {
		c.entries[e.key] = next
	}
}

// current returns what there is for k, nil if it has to be loaded. What ends
// soon is renewed in the background, with the permit of whoever uses it just
// now: what nobody uses is not renewed. c.mu is held.
func (c *cache) current(ctx context.Context, k cacheKey, p grant.Permit) *entry {
	e, now := c.entries[k], c.now()
	if e == nil {
		return nil
	}
	if e.life.over(now) {
		next := e.next
		c.drop(e)
		if next != nil {
			c.entries[k] = next
		}
		return next
	}
	if e.life.due(now) && e.next == nil && !now.Before(e.again) {
		e.next = &entry{key: k, ready: make(chan struct{}), made: now, of: e}
		go c.load(context.WithoutCancel(ctx), e.next, p)
	}
	return e
}

// settle puts e, which has just been loaded or not, in its place. c.mu is held.
func (c *cache) settle(e *entry) {
	old := e.of
	e.of = nil // which would keep it, and all before it, in memory
	switch now := c.entries[e.key]; {
	case now == e && e.err != nil:
		c.drop(e)
	case now == e:
	case old == nil || now != old || old.next != e:
		e.gone = true // forgotten meanwhile, and so is what came of it
	case e.err != nil:
		old.next, e.gone = nil, true
		wait := min(firstAgain, old.life.window()/16) << min(old.failed, 16)
		old.failed++
		wait = min(wait, lastAgain)
		old.again = c.now().Add(wait/2 + rand.N(wait/2+1))
	default:
		c.drop(old)
		e.used = old.used
		c.entries[e.key] = e
	}
}
