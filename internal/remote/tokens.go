package remote

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/brokerclient"
)

// spare is how long a token must last yet to be used.
const spare = 30 * time.Second

// tokens keeps a token for each wallet until shortly before its end.
type tokens struct {
	mint func(context.Context, agentkeys.Wallet) (brokerclient.Minted, error)
	now  func() time.Time

	flight singleflight.Group
	mu     sync.Mutex
	all    map[agentkeys.Wallet]brokerclient.Minted
	over   bool // none is kept any more
}

func (t *tokens) get(ctx context.Context, w agentkeys.Wallet) (string, error) {
	if m, ok := t.good(w); ok {
		return m.Token, nil
	}
	// Whoever asked first may give up; the others wait for it all the same.
	made := t.flight.DoChan(w.String(), func() (any, error) {
		if m, ok := t.good(w); ok {
			return m.Token, nil
		}
		m, err := t.mint(context.WithoutCancel(ctx), w)
		if err != nil {
			return "", err
		}
		t.keep(w, m)
		return m.Token, nil
	})
	select {
	case r := <-made:
		return r.Val.(string), r.Err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func (t *tokens) good(w agentkeys.Wallet) (brokerclient.Minted, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := t.all[w]
	return m, t.lasts(m)
}

// lasts strips the monotonic reading, which stands still while a laptop sleeps.
func (t *tokens) lasts(m brokerclient.Minted) bool {
	return t.now().Round(0).Before(m.Expires.Round(0).Add(-spare))
}

// forget drops all, for good.
func (t *tokens) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all, t.over = nil, true
}

func (t *tokens) keep(w agentkeys.Wallet, m brokerclient.Minted) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return
	}
	next := map[agentkeys.Wallet]brokerclient.Minted{w: m}
	for w, m := range t.all { // what ended goes, so that there are not more and more
		if _, anew := next[w]; !anew && t.lasts(m) {
			next[w] = m
		}
	}
	t.all = next
}
