package mailsrv

import (
	"time"

	"golang.org/x/time/rate"
)

// purses hold what each key has left of so much an hour: all of it at once, and
// as much again over each hour. Unlike a webserve.Limiter they can be looked
// into, and what was taken can be put back. Its memory is bounded in the same
// way: full purses are forgotten, and if there are none, strangers share one.
// It is not safe for concurrent use.
type purses[K comparable] struct {
	hour, most int
	of         map[K]*rate.Limiter
	others     *rate.Limiter
	swept      time.Time
}

func newPurses[K comparable](hour, most int) *purses[K] {
	p := &purses[K]{hour: hour, most: most, of: map[K]*rate.Limiter{}}
	p.others = p.full()
	return p
}

func (p *purses[K]) full() *rate.Limiter {
	return rate.NewLimiter(rate.Limit(float64(p.hour)/time.Hour.Seconds()), p.hour)
}

// has reports whether there is something in k's. It makes no purse: keys can be
// made up.
func (p *purses[K]) has(k K, now time.Time) bool {
	l := p.of[k]
	if l == nil {
		if p.room(now) {
			return true
		}
		l = p.others
	}
	return l.TokensAt(now) >= 1
}

// take takes one of k's, which has some.
func (p *purses[K]) take(k K, now time.Time) *rate.Limiter {
	l := p.of[k]
	if l == nil {
		l = p.others
		if p.room(now) {
			l = p.full()
			p.of[k] = l
		}
	}
	l.AllowN(now, 1)
	return l
}

// putBack is for what was taken. A limiter that is given less than nothing has
// more, and no more than it holds once it is asked again.
func putBack(l *rate.Limiter, now time.Time) { l.AllowN(now, -1) }

// room reports whether one purse more may be made.
func (p *purses[K]) room(now time.Time) bool {
	if len(p.of) < p.most {
		return true
	}
	// It costs as much as there are, so that it is not done for everybody.
	if now.Sub(p.swept) >= time.Minute {
		p.swept = now
		for k, l := range p.of {
			if l.TokensAt(now) >= float64(p.hour) {
				delete(p.of, k)
			}
		}
	}
	return len(p.of) < p.most
}
