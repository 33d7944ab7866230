package remote

import (
	"context"
	"errors"
	"fmt"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/book"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/brokerclient"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/local"
)

// directory is what the stream says, in the words of a Host.
type directory struct {
	*brokerclient.Stream
	self *book.Agent // on an agent's machine: the only one there is
}

func agentOf(a brokerapi.Agent) book.Agent {
	return book.Agent{Label: a.Label, Wallet: a.Wallet, Created: a.Created}
}

func (d directory) Agent(label agentkeys.Agent) (book.Agent, bool) {
	if d.self != nil {
		if label != d.self.Label {
			return book.Agent{}, false
		}
		return *d.self, true
	}
	a, ok := d.Stream.Agent(label)
	return agentOf(a), ok
}

func (d directory) Agents() []book.Agent {
	if d.self != nil {
		return []book.Agent{*d.self}
	}
	out := []book.Agent{}
	for _, a := range d.Stream.Agents() {
		out = append(out, agentOf(a))
	}
	return out
}

// stream is the same as a Host watches it.
type stream struct{ *brokerclient.Stream }

func (s stream) Watch(f func(local.Change)) {
	s.Stream.Watch(func(c brokerclient.Change) { f(local.Change(c)) })
}

func (s stream) Fresh(ctx context.Context) error { return explain(s.Stream.Fresh(ctx)) }

func (s stream) Status() local.StreamStatus {
	at, live, err := s.Heard()
	st := local.StreamStatus{State: local.StreamSilent, Heard: at.UTC().Round(0)}
	switch {
	case errors.Is(err, brokerclient.ErrEnded):
		st.State = local.StreamEnded
	case live:
		st.State = local.StreamLive
	}
	if err != nil && !live {
		st.Error = err.Error()
	}
	if at.IsZero() {
		st.Heard = at
	}
	return st
}

// lent is a service that an agent is lent.
type lent struct {
	agent agentkeys.Agent
	svc   agentkeys.Service
}

// CreateAgent implements local.Changes.
func (b *Broker) CreateAgent(ctx context.Context, label agentkeys.Agent) (book.Agent, error) {
	a, err := b.client.CreateAgent(ctx, label)
	if err != nil {
		return book.Agent{}, fmt.Errorf("agent %s: %w", label, as(err, brokerapi.CodeExists, book.ErrAgentExists))
	}
	err = b.stream.Await(ctx, func() bool { _, ok := b.stream.Agent(label); return ok })
	return agentOf(a), unheard("the agent is made", err)
}

// RemoveAgent implements local.Changes.
func (b *Broker) RemoveAgent(ctx context.Context, label agentkeys.Agent) error {
	if err := b.client.RemoveAgent(ctx, label); err != nil {
		return fmt.Errorf("agent %s: %w", label, as(err, brokerapi.CodeNotFound, book.ErrUnknownAgent))
	}
	return unheard("the agent is removed", b.stream.Await(ctx, func() bool { _, ok := b.stream.Agent(label); return !ok }))
}

// PutGrant implements local.Changes. The stream alone says what is in force: an
// answer that comes late would bring back what was revoked meanwhile.
func (b *Broker) PutGrant(ctx context.Context, label agentkeys.Agent, svc agentkeys.Service, t book.Terms) (*grant.Grant, error) {
	g, err := b.client.PutGrant(ctx, label, svc, brokerapi.Terms(t))
	if err != nil {
		return nil, as(err, brokerapi.CodeNotFound, book.ErrUnknownAgent)
	}
	b.forgetTaken(lent{label, svc})
	err = b.stream.Await(ctx, func() bool {
		now := b.stream.Grant(label, svc)
		return now != nil && now.ID == g.ID
	})
	return g, unheard("the grant is made", err)
}

// RemoveGrant implements local.Changes: the grant is dead here first.
func (b *Broker) RemoveGrant(ctx context.Context, label agentkeys.Agent, svc agentkeys.Service) (*grant.Grant, error) {
	k := lent{label, svc}
	g := b.take(k)
	err := as(b.client.RemoveGrant(ctx, label, svc), brokerapi.CodeNotFound, book.ErrUnknownGrant)
	switch {
	case err == nil && g == nil:
		// Nothing was known of it here; whose it was is known all the same.
		g = &grant.Grant{Agent: label, Svc: svc}
		if a, ok := b.stream.Agent(label); ok {
			g.Wallet = a.Wallet
		}
	case g != nil && errors.Is(err, book.ErrUnknownGrant):
		err = nil // another device was faster
	case err != nil && !errors.Is(err, book.ErrUnknownGrant):
		return g, fmt.Errorf("it is not lent here any more, but may be elsewhere; try again: %w", err)
	}
	if err == nil {
		b.forgetTaken(k)
	}
	return g, err
}

// take ends a grant here, and remembers it until the broker has acknowledged
// that: whoever tries again is told of the same grant.
func (b *Broker) take(k lent) *grant.Grant {
	g := b.stream.Take(k.agent, k.svc)
	b.mu.Lock()
	defer b.mu.Unlock()
	if g == nil {
		return b.taken[k]
	}
	b.taken[k] = g
	return g
}

func (b *Broker) forgetTaken(k lent) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.taken, k)
}

// unheard says that something is done, and that the stream does not say so.
func unheard(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s, but the broker's stream does not say so: %w", what, explain(err))
}

// as gives a problem of the broker's the name that a Host has for it.
func as(err error, code string, is error) error {
	if p, ok := errors.AsType[*brokerapi.Problem](err); ok && p.Code == code {
		return is
	}
	return explain(err)
}
