package broker

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/token"
)

// Stream tells one session of what changes. It is for one goroutine.
type Stream struct {
	b     *Broker
	c     Caller
	sub   *subscription
	first *brokerapi.Snapshot
	more  []brokerapi.Revoked // of the last notice
	ended bool
}

// StreamEvent is one event, Name and Data as brokerapi has them.
type StreamEvent struct {
	Name string
	Data any
}

// streamWait is when to ask again where there are too many streams.
const streamWait = 5 * time.Second

// Subscribe begins a stream. It needs a broker that runs. *LimitError.
func (b *Broker) Subscribe(ctx context.Context, c Caller) (*Stream, error) {
	if !c.ok {
		return nil, ErrForbidden
	}
	if !b.feed.fresh() {
		return nil, ErrUnavailable
	}
	s := &Stream{b: b, c: c, sub: &subscription{
		topic: c.s.Account, agent: c.s.Agent, device: c.s.Device, queue: make(chan told, queueLen),
	}}
	last, err := b.o.State.Last(ctx)
	if err != nil {
		return nil, stateError(err)
	}
	s.sub.from = last
	// From here on nothing is missed; what was before is in the snapshot, and
	// in the look at the device, which asks the state itself.
	if !b.feed.add(s.sub) {
		return nil, &LimitError{Wait: streamWait}
	}
	err = b.still(ctx, c)
	if err == nil {
		s.first, err = b.snapshot(ctx, c)
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// still is check without what is remembered.
func (b *Broker) still(ctx context.Context, c Caller) error {
	_, heard, _ := b.devices.recall(c.s.Device)
	rec, version, err := get[deviceRecord](ctx, b.o.State, deviceKey(c.s.Device))
	switch {
	case errors.Is(err, ErrAbsent):
		return ErrDevice
	case err != nil:
		return err
	case rec.Account != c.s.Account || rec.Agent != c.s.Agent || !b.devices.learn(c.s.Device, rec, version, heard):
		return ErrDevice
	}
	return nil
}

// Next returns the next event, the snapshot first. It is io.EOF at the end: of
// the session, after EventEnded, or where the stream fell behind.
func (s *Stream) Next(ctx context.Context) (StreamEvent, error) {
	if first := s.first; first != nil {
		s.first = nil
		return StreamEvent{brokerapi.EventSnapshot, *first}, nil
	}
	if len(s.more) > 0 {
		r := s.more[0]
		s.more = s.more[1:]
		return StreamEvent{brokerapi.EventRevoked, r}, nil
	}
	if s.ended {
		return StreamEvent{}, io.EOF
	}
	end := time.NewTimer(s.c.s.Expires.Sub(s.b.o.Now()))
	defer end.Stop()
	for {
		var t told
		var open bool
		select {
		case <-ctx.Done():
			return StreamEvent{}, ctx.Err()
		case <-end.C:
			return StreamEvent{}, io.EOF
		case t, open = <-s.sub.queue:
		}
		if !open {
			return StreamEvent{}, io.EOF
		}
		if t.notice == nil {
			if since(s.b.o.Now(), t.beat) > freshFor {
				continue // it has waited here: what it says is not true any more
			}
			return StreamEvent{brokerapi.EventBeat, brokerapi.Beat{At: t.beat.UTC()}}, nil
		}
		switch n := t.notice; {
		case n.Kind == brokerapi.EventEnded:
			s.ended = true
			return StreamEvent{n.Kind, struct{}{}}, nil
		case n.Kind == brokerapi.EventAgents:
			agents, err := s.b.agents(ctx, s.c.s.Account)
			return StreamEvent{n.Kind, agents}, err
		case n.Kind == brokerapi.EventGrant && n.Grant != nil:
			return StreamEvent{n.Kind, *n.Grant}, nil
		case n.Kind == brokerapi.EventRevoked && len(n.Revoked) > 0:
			s.more = n.Revoked[1:]
			return StreamEvent{n.Kind, n.Revoked[0]}, nil
		default:
			return StreamEvent{}, io.EOF // a later version's: the next snapshot has it
		}
	}
}

// Close ends the stream.
func (s *Stream) Close() { s.b.feed.remove(s.sub) }

// hear keeps what is remembered in step with the events.
func (b *Broker) hear(_ string, n *notice) {
	switch {
	case n == nil:
		b.devices.forgetAll()
	case n.Device != token.Thumbprint{}:
		b.devices.forget(n.Device)
	}
}

// snapshot is all that is in force for a session's wallet.
func (b *Broker) snapshot(ctx context.Context, c Caller) (*brokerapi.Snapshot, error) {
	out := &brokerapi.Snapshot{At: b.o.Now().UTC(), Agents: []brokerapi.Agent{}} // At: before anything is read
	var err error
	if c.s.Agent.IsZero() {
		if out.Agents, err = b.agents(ctx, c.s.Account); err != nil {
			return nil, err
		}
	}
	out.Grants, err = b.grants(ctx, c.s.Account, c.s.Agent)
	return out, err
}

// agents lists an account's.
func (b *Broker) agents(ctx context.Context, account string) ([]brokerapi.Agent, error) {
	recs, _, err := list[agentRecord](ctx, b.o.State, kindAgent, account+"/")
	if err != nil {
		return nil, err
	}
	out := make([]brokerapi.Agent, 0, len(recs))
	for _, a := range recs {
		out = append(out, a.api())
	}
	return out, nil
}

// grants lists those in force of an account, or of one agent of it.
func (b *Broker) grants(ctx context.Context, account string, only agentkeys.Agent) ([]grant.Grant, error) {
	agents, _, err := list[agentRecord](ctx, b.o.State, kindAgent, account+"/"+only.String())
	if err != nil {
		return nil, err
	}
	live, prefix := map[string]bool{}, account+"/"
	for _, a := range agents {
		if only.IsZero() || a.Label == only { // another's label may begin like it
			live[a.ID] = true
		}
		if a.Label == only {
			prefix += a.ID + "/"
		}
	}
	out, now := []grant.Grant{}, b.o.Now()
	if len(live) == 0 {
		return out, nil
	}
	recs, items, err := list[grant.Grant](ctx, b.o.State, kindGrant, prefix)
	if err != nil {
		return nil, err
	}
	for i, g := range recs {
		id, _, _ := strings.Cut(strings.TrimPrefix(items[i].Key.Name, account+"/"), "/")
		if live[id] && now.Before(g.Expires) && !b.buried.has(g.ID) {
			out = append(out, g)
		}
	}
	slices.SortFunc(out, func(x, y grant.Grant) int {
		return cmp.Or(strings.Compare(x.Agent.String(), y.Agent.String()), strings.Compare(x.Svc.String(), y.Svc.String()))
	})
	return out, nil
}
