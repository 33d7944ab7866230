package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/grant"
)

// maxGrant bounds a grant's JSON, in bytes: so all of an account fit into one
// snapshot, and one into an event.
const maxGrant = 4 << 10

// revoked is the notice that grants of one agent are.
func revoked(grants ...grant.Grant) notice {
	n := notice{Kind: brokerapi.EventRevoked}
	for _, g := range grants {
		n.Agent = g.Agent
		n.Revoked = append(n.Revoked, brokerapi.Revoked{Agent: g.Agent, Service: g.Svc, Grant: g.ID})
	}
	return n
}

// Grants lists those of the account that are in force.
func (b *Broker) Grants(ctx context.Context, m Master) ([]grant.Grant, error) {
	return b.grants(ctx, m.account(), agentkeys.Agent{})
}

// PutGrant lends svc to an agent, in place of an earlier grant if there is one.
// The new grant has a new id, and so counts its budgets from zero.
// ErrUnknownAgent, ErrRequest, ErrFull.
func (b *Broker) PutGrant(ctx context.Context, m Master, label agentkeys.Agent, svc agentkeys.Service, t brokerapi.Terms) (grant.Grant, error) {
	account := m.account()
	if svc.IsZero() {
		return grant.Grant{}, requestError("a grant has a service")
	}
	var g grant.Grant
	id := "g_" + randomHex(10)
	err := b.change(ctx, account, func(try *tries) error {
		a, av, err := b.agent(ctx, account, label)
		if err != nil {
			return err
		}
		now := b.o.Now().UTC()
		g = grant.Grant{
			ID: id, Master: m.s.Wallet, Wallet: a.Wallet, Agent: label, Svc: svc,
			Rules: t.Rules, Unsafe: t.Unsafe, Requests: t.Requests, Budget: t.Budget, Rate: t.Rate,
			Created: now, Expires: t.Expires.UTC(),
		}
		if err := g.Validate(); err != nil {
			return requestError("%v", err)
		}
		if !g.Expires.After(now) {
			return requestError("the grant would have expired already")
		}
		if text, err := json.Marshal(g); err != nil || len(text) > maxGrant {
			return requestError("the grant has more than %d bytes", maxGrant)
		}
		k := grantKey(account, a.ID, svc)
		_, version, err := get[grant.Grant](ctx, b.o.State, k)
		if err != nil && !errors.Is(err, ErrAbsent) {
			return err
		}
		writes := []Write{
			put(k, version, g, g.Expires),
			// Written as it is: whoever removes the agent meanwhile must look
			// again, and tell of this grant too.
			put(agentKey(account, label), av, a, never),
		}
		if version == 0 {
			all, err := b.grants(ctx, account, label)
			if err != nil {
				return err
			}
			if len(all) >= MaxGrants {
				return fmt.Errorf("%w: an agent has at most %d grants", ErrFull, MaxGrants)
			}
			counted, err := b.countGrant(ctx, account)
			if err != nil {
				return err
			}
			writes = append(writes, counted)
		}
		e := grant.Event{Op: "grant.create", Actor: m.s.Wallet, Agent: label, Svc: svc, Grant: g.ID, Subject: g.Describe()}
		return try.record(ctx, e, func() error {
			return b.apply(ctx, Change{
				Writes: writes,
				Events: []NewEvent{notice{Kind: brokerapi.EventGrant, Agent: label, Grant: &g}.event(account)},
			})
		})
	})
	if err != nil {
		return grant.Grant{}, err
	}
	return g, nil
}

// countGrant returns the write that counts one more grant of an account. The
// count is never too low; what has ended or was revoked counts until there seem
// to be too many, and all are counted again. ErrFull.
func (b *Broker) countGrant(ctx context.Context, account string) (Write, error) {
	k := Key{kindGrants, account}
	rec, version, err := get[countRecord](ctx, b.o.State, k)
	if err != nil && !errors.Is(err, ErrAbsent) {
		return Write{}, err
	}
	if version == 0 || rec.Count >= MaxAllGrants {
		if rec.Count, err = count(ctx, b.o.State, kindGrant, account+"/"); err != nil {
			return Write{}, err
		}
	}
	if rec.Count >= MaxAllGrants {
		return Write{}, fmt.Errorf("%w: an account has at most %d grants", ErrFull, MaxAllGrants)
	}
	rec.Count++
	return put(k, version, rec, never), nil
}

// DeleteGrant revokes the grant of svc to an agent. ErrUnknownAgent,
// ErrUnknownGrant.
func (b *Broker) DeleteGrant(ctx context.Context, m Master, label agentkeys.Agent, svc agentkeys.Service) error {
	account := m.account()
	return b.change(ctx, account, func(try *tries) error {
		a, _, err := b.agent(ctx, account, label)
		if err != nil {
			return err
		}
		if svc.IsZero() {
			return ErrUnknownGrant
		}
		k := grantKey(account, a.ID, svc)
		g, version, err := get[grant.Grant](ctx, b.o.State, k)
		if errors.Is(err, ErrAbsent) {
			return ErrUnknownGrant
		}
		if err != nil {
			return err
		}
		event := revoked(g).event(account)
		e := grant.Event{Op: "grant.revoke", Actor: m.s.Wallet, Agent: label, Svc: svc, Grant: g.ID}
		return try.revoke(ctx, e, func() error {
			err := b.apply(ctx, Change{Writes: []Write{{Key: k, Expect: version}}, Events: []NewEvent{event}})
			if err != nil && !errors.Is(err, ErrConflict) {
				b.buried.add(g.ID)
				b.feed.tell(event)
			}
			return err
		})
	})
}
