package mailrouter

import (
	"container/list"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/mailhead"
)

// Rate is a number of messages in a time: so many at once, and as many again
// over each Per. The zero value is no limit.
type Rate struct {
	Messages int
	Per      time.Duration
}

// Limits hold back floods. They are this process's only: they cost no state
// store, and n processes let n times as much through. What is beyond them is
// not lost, see ErrFlood.
//
// A message is counted when this process has newly placed it, once. So
// duplicates, retries and refused or ignored mail cost nobody anything; what
// was placed under a lost answer is not counted.
//
// Anybody may write any sender into an envelope. So mail that the receiving host
// found to pass SPF is counted apart from mail that did not: a flood under
// somebody's name does not hold back his own mail. Mail of the null sender, as
// bounces have it, has none but its wallet's limit: whoever fills one that all
// of it shares holds back everybody's, and a flood loses nothing by it, since it
// may have a new name in each message. What a peer hands in is for the receiver
// to bound, who knows peers.
//
// Accepted risk: who has more than Remember senders and wallets at hand can
// make the table forget its oldest; each then starts anew.
type Limits struct {
	Wallet Rate // of each wallet
	Sender Rate // of each domain of envelope senders; not of the null sender
	// Remember is how many wallets and how many senders are kept in mind, and
	// how many messages that were placed; 0 is 4,096. Each takes some 300 bytes.
	Remember int
}

const rememberDefault, rememberMost = 4096, 1 << 20

// flood counts what is placed.
type flood struct {
	l  Limits
	mu sync.Mutex
	// latest is the latest time seen: a limiter that is told an earlier one
	// gives the time between out twice.
	latest time.Time
	// Wallets by their text, senders by their domain.
	wallets, senders *lru[string, *bucket]
	// placed remembers what this process has placed: the same again is a
	// duplicate, which must not wait for a limit that it is no matter of.
	placed *lru[placement, struct{}]
}

type placement struct {
	id     agentkeys.MessageID
	wallet agentkeys.Wallet
}

// bucket is one limit, and what is on the way: a message takes its token only
// when it was placed, so those being placed are taken for it until then.
type bucket struct {
	lim     *rate.Limiter
	pending int
}

func newFlood(l Limits) (*flood, error) {
	for _, r := range []Rate{l.Wallet, l.Sender} {
		if r.Messages < 0 || r.Per < 0 || (r.Messages == 0) != (r.Per == 0) {
			return nil, fmt.Errorf("%w: a limit needs a number of messages and a time", ErrOptions)
		}
	}
	if l.Remember == 0 {
		l.Remember = rememberDefault
	}
	if l.Remember < 0 || l.Remember > rememberMost {
		return nil, fmt.Errorf("%w: a table of 1 to %d", ErrOptions, rememberMost)
	}
	return &flood{
		l:       l,
		wallets: newLRU[string, *bucket](l.Remember),
		senders: newLRU[string, *bucket](l.Remember),
		placed:  newLRU[placement, struct{}](l.Remember),
	}, nil
}

// senderOf returns the sender that a message counts for; "" is the null sender,
// and whatever else has no domain.
func senderOf(head []byte, domain string) string {
	switch {
	case domain == "":
		return ""
	case len(domain) > 253: // what DNS allows
		return "."
	}
	// The topmost is the receiving host's, if it wrote one. If not, and a sender
	// wrote this one, his mail is counted with that of the domain: no harm that
	// a single count for both would not do.
	fields := mailhead.Scan(head, false)
	for fields.Next() {
		if fields.Is("Received-SPF") {
			result, _, _ := strings.Cut(strings.TrimSpace(mailhead.Unfold(fields.Value())), " ")
			if strings.EqualFold(result, "pass") {
				return domain
			}
			break
		}
	}
	return "?" + domain
}

// admit asks whether one more message may be placed, and returns why not, or
// what is to be called after the attempt.
func (f *flood) admit(now time.Time, id agentkeys.MessageID, w agentkeys.Wallet, sender string) (settle func(created bool), over string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now.After(f.latest) {
		f.latest = now
	}
	if _, ok := f.placed.get(placement{id, w}); ok {
		return func(bool) {}, ""
	}
	var in []*bucket
	for _, x := range []struct {
		table *lru[string, *bucket]
		key   string
		rate  Rate
		over  string
	}{
		{f.wallets, w.String(), f.l.Wallet, ReasonFloodWallet},
		{f.senders, sender, f.l.Sender, ReasonFloodSender},
	} {
		if x.rate.Messages == 0 || x.key == "" {
			continue
		}
		b, ok := x.table.get(x.key)
		if !ok {
			every := rate.Limit(float64(x.rate.Messages) / x.rate.Per.Seconds())
			b = &bucket{lim: rate.NewLimiter(every, x.rate.Messages)}
			x.table.put(x.key, b)
		}
		if b.lim.TokensAt(f.latest)-float64(b.pending) < 1 {
			return nil, x.over
		}
		in = append(in, b)
	}
	for _, b := range in {
		b.pending++
	}
	return func(created bool) {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, b := range in {
			b.pending--
			if created {
				b.lim.AllowN(f.latest, 1)
			}
		}
		if created {
			f.placed.put(placement{id, w}, struct{}{})
		}
	}, ""
}

// lru is a map that forgets what was not asked for the longest.
type lru[K comparable, V any] struct {
	size  int
	order *list.List // of pair, the newest first
	at    map[K]*list.Element
}

type pair[K comparable, V any] struct {
	k K
	v V
}

func newLRU[K comparable, V any](size int) *lru[K, V] {
	return &lru[K, V]{size, list.New(), map[K]*list.Element{}}
}

func (l *lru[K, V]) get(k K) (v V, ok bool) {
	e, ok := l.at[k]
	if !ok {
		return v, false
	}
	l.order.MoveToFront(e)
	return e.Value.(pair[K, V]).v, true
}

func (l *lru[K, V]) put(k K, v V) {
	if e, ok := l.at[k]; ok {
		e.Value = pair[K, V]{k, v}
		l.order.MoveToFront(e)
		return
	}
	l.at[k] = l.order.PushFront(pair[K, V]{k, v})
	if l.order.Len() > l.size {
		old := l.order.Remove(l.order.Back()).(pair[K, V])
		delete(l.at, old.k)
	}
}
