package book

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/grant"
)

// Terms are what a master chooses when it lends.
type Terms struct {
	Rules    []grant.Rule
	Unsafe   []grant.Rule
	Requests *grant.Requests
	Budget   *grant.Budget
	Rate     *grant.Rate
	Expires  time.Time
}

// PutGrant lends svc to an agent, in place of an earlier grant if there is
// one. The new grant has a new id, and so counts its budgets from zero.
func (b *Book) PutGrant(ctx context.Context, label agentkeys.Agent, svc agentkeys.Service, t Terms, now time.Time) (*grant.Grant, error) {
	b.write.Lock()
	defer b.write.Unlock()
	a, ok := b.Agent(label)
	if !ok {
		return nil, fmt.Errorf("%w: %s", ErrUnknownAgent, label)
	}
	// Copies: the terms are the caller's, who may change them.
	g := &grant.Grant{
		ID: newID("g_"), Master: b.master, Wallet: a.Wallet, Agent: label, Svc: svc,
		Rules: slices.Clone(t.Rules), Unsafe: slices.Clone(t.Unsafe),
		Requests: clone(t.Requests), Budget: clone(t.Budget), Rate: clone(t.Rate),
		// UTC strips the monotonic reading, which stands still while a laptop
		// sleeps.
		Created: now.UTC(), Expires: t.Expires.UTC(),
	}
	if err := g.Validate(); err != nil {
		return nil, err
	}
	e := grant.Event{Time: now, Op: "grant.create", Agent: label, Svc: svc, Grant: g.ID, Subject: g.Describe()}
	return g, b.record(ctx, e, func() error {
		var old any
		if g := b.Grant(label, svc); g != nil {
			old = g
		}
		if err := b.files.put(kindGrant, grantName(label, svc), g, old); err != nil {
			return err
		}
		b.mu.Lock()
		b.grants[grantKey{label, svc}] = g
		b.mu.Unlock()
		return nil
	})
}

func clone[T any](p *T) *T {
	if p == nil {
		return nil
	}
	c := *p
	return &c
}

// RemoveGrant revokes the grant of svc to an agent: no decision made after it
// has returned can find the grant, whatever the error. If there is one, the
// grant may be in force again after a restart, until RemoveGrant is repeated.
func (b *Book) RemoveGrant(ctx context.Context, label agentkeys.Agent, svc agentkeys.Service, now time.Time) (*grant.Grant, error) {
	b.write.Lock()
	defer b.write.Unlock()
	k := grantKey{label, svc}
	g := b.Grant(label, svc)
	if g != nil {
		b.killGrant(g)
	} else if g = b.deadGrants[k]; g == nil {
		return nil, fmt.Errorf("%w: agent %s, service %s", ErrUnknownGrant, label, svc)
	}
	e := grant.Event{Time: now, Op: "grant.revoke", Agent: label, Svc: svc, Grant: g.ID}
	return g, b.record(ctx, e, func() error {
		if err := b.files.remove(kindGrant, grantName(label, svc)); err != nil {
			return err
		}
		delete(b.deadGrants, k)
		return nil
	})
}

// killGrant ends a grant in memory.
func (b *Book) killGrant(g *grant.Grant) {
	k := grantKey{g.Agent, g.Svc}
	b.deadGrants[k] = g
	b.mu.Lock()
	delete(b.grants, k)
	b.mu.Unlock()
}

// Grant returns the grant of svc to an agent, or nil.
func (b *Book) Grant(label agentkeys.Agent, svc agentkeys.Service) *grant.Grant {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.grants[grantKey{label, svc}]
}

// Grants returns every grant, by agent and service, the expired ones too.
func (b *Book) Grants() []*grant.Grant {
	return b.grantsWhere(func(*grant.Grant) bool { return true })
}

// GrantsOf returns the grants of one agent, by service.
func (b *Book) GrantsOf(label agentkeys.Agent) []*grant.Grant {
	return b.grantsWhere(func(g *grant.Grant) bool { return g.Agent == label })
}

// GrantsFor returns the grants of one service, by agent.
func (b *Book) GrantsFor(svc agentkeys.Service) []*grant.Grant {
	return b.grantsWhere(func(g *grant.Grant) bool { return g.Svc == svc })
}

func (b *Book) grantsWhere(want func(*grant.Grant) bool) []*grant.Grant {
	b.mu.RLock()
	defer b.mu.RUnlock()
	var out []*grant.Grant
	for _, g := range b.grants {
		if want(g) {
			out = append(out, g)
		}
	}
	sortGrants(out)
	return out
}

func sortGrants(all []*grant.Grant) {
	slices.SortFunc(all, func(x, y *grant.Grant) int {
		return cmp.Or(strings.Compare(x.Agent.String(), y.Agent.String()), strings.Compare(x.Svc.String(), y.Svc.String()))
	})
}
