package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/token"
)

func (a agentRecord) api() brokerapi.Agent {
	return brokerapi.Agent{Label: a.Label, Wallet: a.Wallet, Created: a.Created, Enrolled: a.Device != ""}
}

// CreateAgent makes an agent. ErrAgentExists, ErrFull.
func (b *Broker) CreateAgent(ctx context.Context, m Master, label agentkeys.Agent) (brokerapi.Agent, error) {
	if label.IsZero() {
		return brokerapi.Agent{}, requestError("an agent has a label")
	}
	account := m.account()
	var rec agentRecord
	// A lane of its own: the signer may take its time, and no revocation waits
	// for that.
	err := b.change(ctx, "create/"+account, func(try *tries) error {
		all, err := b.agents(ctx, account)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(all, func(a brokerapi.Agent) bool { return a.Label == label }) {
			return ErrAgentExists
		}
		if len(all) >= MaxAgents {
			return ErrFull
		}
		w, err := b.o.Wallets.Agent(ctx, account, label)
		if err != nil {
			return fmt.Errorf("%w: the signer: %w", ErrUnavailable, err)
		}
		rec = agentRecord{ID: randomHex(10), Label: label, Wallet: w, Created: b.o.Now().UTC()}
		e := grant.Event{Op: "agent.create", Actor: m.s.Wallet, Agent: label, Subject: w.String()}
		err = try.record(ctx, e, func() error {
			return b.apply(ctx, Change{
				Writes: []Write{
					put(agentKey(account, label), 0, rec, never),
					put(walletKey(w), 0, walletRecord{account, label}, never),
				},
				Events: []NewEvent{notice{Kind: brokerapi.EventAgents}.event(account)},
			})
		})
		if errors.Is(err, ErrConflict) {
			return ErrAgentExists
		}
		return err
	})
	if err != nil {
		return brokerapi.Agent{}, err
	}
	return rec.api(), nil
}

// Agents lists the account's.
func (b *Broker) Agents(ctx context.Context, m Master) ([]brokerapi.Agent, error) {
	return b.agents(ctx, m.account())
}

// agent reads one. ErrUnknownAgent.
func (b *Broker) agent(ctx context.Context, account string, label agentkeys.Agent) (agentRecord, int64, error) {
	if label.IsZero() {
		return agentRecord{}, 0, ErrUnknownAgent
	}
	rec, version, err := get[agentRecord](ctx, b.o.State, agentKey(account, label))
	if errors.Is(err, ErrAbsent) {
		err = ErrUnknownAgent
	}
	return rec, version, err
}

// RemoveAgent removes an agent: its device, code and grants are out with it.
// ErrUnknownAgent.
func (b *Broker) RemoveAgent(ctx context.Context, m Master, label agentkeys.Agent) error {
	account := m.account()
	return b.change(ctx, account, func(try *tries) error {
		a, version, err := b.agent(ctx, account, label)
		if err != nil {
			return err
		}
		grants, items, err := list[grant.Grant](ctx, b.o.State, kindGrant, account+"/"+a.ID+"/")
		if err != nil {
			return err
		}
		// The code and the grants live by the agent's id: they are dead with
		// this one change, and swept after.
		writes := []Write{{Key: agentKey(account, label), Expect: version}}
		w, wv, err := get[walletRecord](ctx, b.o.State, walletKey(a.Wallet))
		switch {
		case err == nil && w.Account == account && w.Agent == label:
			writes = append(writes, Write{Key: walletKey(a.Wallet), Expect: wv})
		case err != nil && !errors.Is(err, ErrAbsent):
			return err
		}
		events := []NewEvent{notice{Kind: brokerapi.EventAgents}.event(account)}
		t, err := token.ParseThumbprint(a.Device)
		var device int64
		if err == nil {
			_, v, ws, ended, err := b.dropDevice(ctx, account, t)
			if err != nil && !errors.Is(err, ErrAbsent) {
				return err
			}
			if err == nil {
				device, writes, events = v, append(writes, ws...), append(events, ended)
			}
		}
		if len(grants) > 0 {
			events = append(events, revoked(grants...).event(account))
		}
		e := grant.Event{Op: "agent.remove", Actor: m.s.Wallet, Agent: label, Subject: a.Wallet.String()}
		err = try.revoke(ctx, e, func() error {
			err := b.apply(ctx, Change{Writes: writes, Events: events})
			if err != nil && !errors.Is(err, ErrConflict) {
				if device != 0 {
					b.devices.bury(t, device)
				}
				for _, g := range grants {
					b.buried.add(g.ID)
				}
				for _, e := range events {
					b.feed.tell(e)
				}
			}
			return err
		})
		if err == nil {
			b.clean(ctx, items)
		}
		return err
	})
}

// clean deletes items that nothing refers to any more. What it leaves is in
// nobody's way.
func (b *Broker) clean(ctx context.Context, items []Item) {
	for chunk := range slices.Chunk(items, MaxChanges) {
		var writes []Write
		for _, item := range chunk {
			writes = append(writes, Write{Key: item.Key, Expect: item.Version})
		}
		if err := b.apply(ctx, Change{Writes: writes}); err != nil {
			b.o.Log.Warn("grants of a removed agent are left in the state", "err", err)
		}
	}
}

// Enrolment makes a code for one device of an agent. Earlier codes of the
// agent are dead from then on. ErrUnknownAgent.
func (b *Broker) Enrolment(ctx context.Context, m Master, label agentkeys.Agent) (out brokerapi.Enrolment, err error) {
	account := m.account()
	err = b.change(ctx, account, func(try *tries) error {
		a, version, err := b.agent(ctx, account, label)
		if err != nil {
			return err
		}
		code, shown := newCode(enrolmentLen, 5)
		ends := b.o.Now().Add(EnrolmentLife).UTC()
		a.Code = digest("enrolment", code)
		out = brokerapi.Enrolment{Code: shown, Expires: ends}
		e := grant.Event{Op: "agent.enrolment", Actor: m.s.Wallet, Agent: label}
		return try.record(ctx, e, func() error {
			return b.apply(ctx, Change{Writes: []Write{
				put(agentKey(account, label), version, a, never),
				put(Key{kindEnrolment, a.Code}, 0, enrolmentRecord{account, label}, ends),
			}})
		})
	})
	if err != nil {
		return brokerapi.Enrolment{}, err
	}
	return out, nil
}

// Enrol redeems a code: the key becomes the agent's device, in place of an
// earlier one. ErrLogin, ErrTaken.
func (b *Broker) Enrol(ctx context.Context, key DeviceKey, code, name string) (brokerapi.Session, error) {
	if key.isZero() {
		return brokerapi.Session{}, ErrProof
	}
	name, err := deviceName(name)
	if err != nil {
		return brokerapi.Session{}, err
	}
	d := digest("enrolment", parseCode(code, enrolmentLen))
	var device deviceRecord
	var out token.Thumbprint // the device whose place it takes, and its version
	var outAt int64
	err = b.change(ctx, "enrolment/"+d, func(try *tries) error {
		outAt = 0
		rec, version, err := get[enrolmentRecord](ctx, b.o.State, Key{kindEnrolment, d})
		if errors.Is(err, ErrAbsent) {
			return ErrLogin
		}
		if err != nil {
			return err
		}
		a, av, err := b.agent(ctx, rec.Account, rec.Agent)
		switch {
		case errors.Is(err, ErrUnknownAgent) || err == nil && !same(a.Code, d):
			return ErrLogin
		case err != nil:
			return err
		}
		master, _, err := get[accountRecord](ctx, b.o.State, accountKey(rec.Account))
		if err != nil {
			return err
		}
		device = deviceRecord{
			Account: rec.Account, Wallet: a.Wallet, Parent: master.Wallet, Agent: a.Label, Name: name, Created: b.o.Now().UTC(),
		}
		writes, events, err := b.placeDevice(ctx, key.t, device)
		if err != nil {
			return err
		}
		if old, err := token.ParseThumbprint(a.Device); err == nil && old != key.t {
			_, version, ws, ended, err := b.dropDevice(ctx, rec.Account, old)
			if err != nil && !errors.Is(err, ErrAbsent) {
				return err
			}
			if err == nil {
				writes, events = append(writes, ws...), append(events, ended)
				out, outAt = old, version
			}
		}
		a.Code, a.Device = "", key.String()
		writes = append(writes, put(agentKey(rec.Account, a.Label), av, a, never), Write{Key: Key{kindEnrolment, d}, Expect: version})
		events = append(events, notice{Kind: brokerapi.EventAgents}.event(rec.Account))
		e := grant.Event{Op: "agent.enrol", Actor: a.Wallet, Parent: master.Wallet, Agent: a.Label, Subject: "device " + key.String()}
		return try.record(ctx, e, func() error { return b.apply(ctx, Change{Writes: writes, Events: events}) })
	})
	if err != nil {
		return brokerapi.Session{}, err
	}
	if outAt > 0 {
		b.devices.bury(out, outAt) // here at once; elsewhere when it is heard
	}
	return b.issue(ctx, key.t, device)
}

// ids is a set that only grows.
type ids struct {
	mu  sync.Mutex
	all map[string]bool
}

func (s *ids) add(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[string]bool{}
	}
	s.all[id] = true
}

func (s *ids) has(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all[id]
}
