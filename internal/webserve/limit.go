package webserve

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Limiter allows each key so many events in so much time. Its memory is
// bounded: of more keys than it can hold, those that would be allowed a whole
// burst again are forgotten, and if there are none, strangers share one limit.
type Limiter struct {
	every time.Duration
	burst int
	max   int
	now   func() time.Time

	mu     sync.Mutex
	keys   map[string]*rate.Limiter
	others *rate.Limiter
	swept  time.Time
}

// NewLimiter allows burst events at once and one more after each every. It
// holds up to most keys.
func NewLimiter(every time.Duration, burst, most int, now func() time.Time) *Limiter {
	return &Limiter{
		every: every, burst: burst, max: most, now: now,
		keys: map[string]*rate.Limiter{}, others: rate.NewLimiter(rate.Every(every), burst),
	}
}

// Allow counts an event of key, and if it is one too many returns how long to
// wait.
func (l *Limiter) Allow(key string) (wait time.Duration, ok bool) {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.keys[key]
	if k == nil {
		k = l.others
		if len(l.keys) >= l.max {
			l.sweep(now)
		}
		if len(l.keys) < l.max {
			k = rate.NewLimiter(rate.Every(l.every), l.burst)
			l.keys[key] = k
		}
	}
	if k.AllowN(now, 1) {
		return 0, true
	}
	missing := 1 - k.TokensAt(now)
	return time.Duration(missing * float64(l.every)), false
}

// sweep forgets who has not come for so long that forgetting changes nothing.
func (l *Limiter) sweep(now time.Time) {
	if now.Sub(l.swept) < l.every {
		return // it costs as much as there are keys
	}
	l.swept = now
	for key, k := range l.keys {
		if k.TokensAt(now) >= float64(l.burst) {
			delete(l.keys, key)
		}
	}
}
