package daemon

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/inject"
)

// backend is the Daemon as the proxy sees it.
type backend Daemon

// Identify trusts the kernel on a socket and a token on loopback.
func (b *backend) Identify(r *http.Request, presented []string) (inject.Caller, error) {
	if p, ok := r.Context().Value(peerKey{}).(peer); ok {
		if p.err != nil {
			return inject.Caller{}, p.err
		}
		return p.caller, nil
	}
	now := b.opts.Now()
	for _, text := range presented {
		if c, ok := b.opts.Directory.CallerByToken(text, now); ok {
			return c, nil
		}
	}
	return inject.Caller{}, inject.ErrUnknownCaller
}

func (b *backend) Route(s agentkeys.Service) (*inject.Route, error) { return b.opts.Routes.Route(s) }

// CodeUnreachable is the denial of everything while it is not known whether
// grants are still in force.
const CodeUnreachable grant.Code = "broker-unreachable"

func (b *backend) fresh(ctx context.Context) error {
	if b.opts.Fresh == nil {
		return nil
	}
	if err := b.opts.Fresh(ctx); err != nil {
		return &grant.Denial{Code: CodeUnreachable, Detail: err.Error(), RetryAfter: time.Second}
	}
	return nil
}

// errChanged says that a credential is not what its route is for.
var errChanged = errors.New("the service was changed while it was used")

// Lend decides, which records, and only then opens the credential.
func (b *backend) Lend(ctx context.Context, c inject.Caller, route *inject.Route, r grant.Request) (inject.Loan, error) {
	if err := b.fresh(ctx); err != nil {
		return inject.Loan{}, err
	}
	b.deciding.RLock()
	g := b.opts.Directory.Grant(c.Agent, route.Service)
	p, err := b.opts.Decider.Use(ctx, c.Agent, c.Wallet, route.Service, g, route.Policy, r)
	b.deciding.RUnlock()
	if err != nil {
		return inject.Loan{}, err
	}
	v, err := b.cache.get(ctx, p, r.Time)
	if err != nil {
		_ = b.opts.Decider.Settle(p, b.opts.Now(), grant.Outcome{Reason: unlent(ctx, err), Unsent: true})
		if b.opts.Directory.Grant(c.Agent, route.Service) != g {
			// It was revoked meanwhile, and the credential went with it.
			err = &grant.Denial{Code: grant.CodeNoGrant, Detail: "the grant was revoked"}
		}
		return inject.Loan{}, err
	}
	if b.cache.exchanged(p) != route.Exchanged {
		// Its owner has set the service otherwise since the route was looked up,
		// or since the credential was opened.
		b.cache.remove(p.Wallet(), p.Service())
		b.Settle(p, grant.Outcome{Reason: "service changed", Unsent: true})
		return inject.Loan{}, errChanged
	}
	use := b.underway.begin(ctx, p)
	if b.opts.Directory.Grant(c.Agent, route.Service) == nil {
		// Revoked after the decision and before begin, so that it was not cut.
		b.Settle(p, grant.Outcome{Reason: "revoked", Unsent: true})
		return inject.Loan{}, &grant.Denial{Code: grant.CodeNoGrant, Detail: "the grant was revoked"}
	}
	// To read the credential may have taken long enough for a revocation that
	// was not heard.
	if err := b.fresh(ctx); err != nil {
		b.Settle(p, grant.Outcome{Reason: string(CodeUnreachable), Unsent: true})
		return inject.Loan{}, err
	}
	return inject.Loan{Permit: p, Secret: v, Context: use}, nil
}

// unlent says in a word, which is a problem's code, why a credential that might
// have been lent was not.
func unlent(ctx context.Context, err error) string {
	n, exchanged := errors.AsType[*inject.NoToken](err)
	switch {
	case ctx.Err() != nil:
		return "client-closed"
	case exchanged:
		return n.Code()
	}
	return "not-lent"
}

func (b *backend) Settle(p grant.Permit, o grant.Outcome) {
	now := b.opts.Now()
	b.underway.end(p)
	if o.Status == http.StatusUnauthorized {
		b.cache.refused(p)
	}
	b.cache.release(p, now)
	if err := b.opts.Decider.Settle(p, now, o); err != nil {
		b.opts.Log.Error("settlement not recorded", "err", err)
	}
}
