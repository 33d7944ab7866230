package daemon

import (
	"context"
	"sync"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/inject"
)

// underway is the requests that were permitted and are not settled yet, so that
// a revocation can end them: without it an agent could have a request decided
// on, and send the rest of it at leisure.
type underway struct {
	mu   sync.Mutex
	uses map[grant.Permit]context.CancelCauseFunc
}

// begin notes a use and returns the context that ends it.
func (u *underway) begin(ctx context.Context, p grant.Permit) context.Context {
	ctx, cancel := context.WithCancelCause(ctx)
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.uses == nil {
		u.uses = map[grant.Permit]context.CancelCauseFunc{}
	}
	u.uses[p] = cancel
	return ctx
}

// end forgets a use that has been settled.
func (u *underway) end(p grant.Permit) {
	u.mu.Lock()
	cancel := u.uses[p]
	delete(u.uses, p)
	u.mu.Unlock()
	if cancel != nil {
		cancel(nil)
	}
}

// cut ends the uses of one credential.
func (u *underway) cut(w agentkeys.Wallet, s agentkeys.Service) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for p, cancel := range u.uses {
		if p.Wallet() == w && p.Service() == s {
			cancel(inject.ErrRevoked)
		}
	}
}
