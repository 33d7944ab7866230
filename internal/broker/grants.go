package broker

import (
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
func (b *Broker) PutGrant(ctx context.Context, label agentkeys.Agent, svc agentkeys.Service, t Terms, now time.Time) (*grant.Grant, error) {
	b.write.Lock()
	defer b.write.Unlock()
	a, ok := b.Agent(label)
	if !ok {
		return nil, fmt.Errorf("%w: %s", ErrUnknownAgent, label)
	}
	g := &grant.Grant{
		ID: newID("g_"), Master: b.master, Wallet: a.Wallet, Agent: label, Svc: svc,
		Rules: t.Rules, Unsafe: t.Unsafe, Requests: t.Requests, Budget: t.Budget, Rate: t.Rate,
		Created: now.UTC(), Expires: t.Expires.UTC(),
	}
	if err := g.Validate(); err != nil {
		return nil, err
	}
	e := grant.Event{Time: now, Op: "grant.create", Agent: label, Svc: svc, Grant: g.ID, Subject: describe(g)}
	return g, b.record(ctx, e, func() error {
		if err := b.files.put(kindGrant, grantName(label, svc), g); err != nil {
			return err
		}
		b.mu.Lock()
		b.grants[grantKey{label, svc}] = g
		b.mu.Unlock()
		return nil
	})
}

// RemoveGrant revokes the grant of svc to an agent: when it returns nil, no
// decision made from then on can find the grant.
func (b *Broker) RemoveGrant(ctx context.Context, label agentkeys.Agent, svc agentkeys.Service, now time.Time) (*grant.Grant, error) {
	b.write.Lock()
	defer b.write.Unlock()
	g := b.Grant(label, svc)
	if g == nil {
		return nil, fmt.Errorf("%w: agent %s, service %s", ErrUnknownGrant, label, svc)
	}
	e := grant.Event{Time: now, Op: "grant.revoke", Agent: label, Svc: svc, Grant: g.ID}
	return g, b.record(ctx, e, func() error { return b.dropGrant(g) })
}

// dropGrant stops the grant in memory first: should the disk fail, the grant
// is dead for as long as this process lives, and the caller is told.
func (b *Broker) dropGrant(g *grant.Grant) error {
	b.mu.Lock()
	delete(b.grants, grantKey{g.Agent, g.Svc})
	b.mu.Unlock()
	return b.files.remove(kindGrant, grantName(g.Agent, g.Svc))
}

// Grant returns the grant of svc to an agent, or nil.
func (b *Broker) Grant(label agentkeys.Agent, svc agentkeys.Service) *grant.Grant {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.grants[grantKey{label, svc}]
}

// Grants returns every grant, by agent and service, the expired ones too.
func (b *Broker) Grants() []*grant.Grant {
	return b.grantsWhere(func(*grant.Grant) bool { return true })
}

// GrantsOf returns the grants of one agent, by service.
func (b *Broker) GrantsOf(label agentkeys.Agent) []*grant.Grant {
	return b.grantsWhere(func(g *grant.Grant) bool { return g.Agent == label })
}

// GrantsFor returns the grants of one service, by agent.
func (b *Broker) GrantsFor(svc agentkeys.Service) []*grant.Grant {
	return b.grantsWhere(func(g *grant.Grant) bool { return g.Svc == svc })
}

func (b *Broker) grantsWhere(want func(*grant.Grant) bool) []*grant.Grant {
	b.mu.RLock()
	defer b.mu.RUnlock()
	var out []*grant.Grant
	for _, g := range b.grants {
		if want(g) {
			out = append(out, g)
		}
	}
	slices.SortFunc(out, func(x, y *grant.Grant) int {
		return strings.Compare(grantName(x.Agent, x.Svc), grantName(y.Agent, y.Svc))
	})
	return out
}

// describe puts the terms of a grant into one line for the audit log.
func describe(g *grant.Grant) string {
	parts := []string{"expires " + g.Expires.Format(time.RFC3339)}
	for _, r := range g.Rules {
		parts = append(parts, r.String())
	}
	for _, r := range g.Unsafe {
		parts = append(parts, "unsafe "+r.String())
	}
	if g.Budget != nil {
		parts = append(parts, g.Budget.String())
	}
	if g.Requests != nil {
		parts = append(parts, g.Requests.String())
	}
	if g.Rate != nil {
		parts = append(parts, g.Rate.String())
	}
	return strings.Join(parts, "; ")
}
