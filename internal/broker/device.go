package broker

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/token"
)

// devices is what a replica knows of devices while its feed of events is
// fresh: then it has heard of each that is out.
type devices struct {
	mu    sync.Mutex
	known map[token.Thumbprint]deviceRecord
	// heard counts the events that took devices out. What was read before one
	// came is not remembered after.
	heard uint64
	// out are those that were to be taken out here, though the state did not
	// say that it is done, by their version, 0 if it could not be read: they are
	// out for this replica.
	out map[token.Thumbprint]int64
}

func newDevices() *devices {
	return &devices{known: map[token.Thumbprint]deviceRecord{}, out: map[token.Thumbprint]int64{}}
}

func (d *devices) recall(t token.Thumbprint) (rec deviceRecord, heard uint64, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	rec, ok = d.known[t]
	return rec, d.heard, ok
}

// learn keeps what was read when heard events had been heard. It reports
// whether the device is one.
func (d *devices) learn(t token.Thumbprint, rec deviceRecord, version int64, heard uint64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if v, ok := d.out[t]; ok {
		if v == version || v == 0 {
			d.out[t] = version
			return false
		}
		delete(d.out, t) // it has logged in again
	}
	if d.heard == heard {
		if len(d.known) >= maxCached {
			clear(d.known)
		}
		d.known[t] = rec
	}
	return true
}

// forget is what an event of a device does.
func (d *devices) forget(t token.Thumbprint) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.heard++
	delete(d.known, t)
}

// forgetAll is what a gap in the events does.
func (d *devices) forgetAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.heard++
	clear(d.known)
}

// bury takes a device of that version out for this replica.
func (d *devices) bury(t token.Thumbprint, version int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.heard++
	delete(d.known, t)
	d.out[t] = version
}

// device returns a device that is one. It asks the state unless the feed is
// fresh. ErrDevice, ErrUnavailable.
func (b *Broker) device(ctx context.Context, t token.Thumbprint) (deviceRecord, error) {
	rec, heard, ok := b.devices.recall(t)
	if ok && b.feed.fresh() {
		return rec, nil
	}
	rec, version, err := get[deviceRecord](ctx, b.o.State, deviceKey(t))
	switch {
	case errors.Is(err, ErrAbsent):
		return rec, ErrDevice
	case err != nil:
		return rec, err
	case !b.devices.learn(t, rec, version, heard):
		return rec, ErrDevice
	}
	return rec, nil
}

// placeDevice returns the writes that make a key the device of rec, in place
// of what it was before, and the events that say so. A key that is an agent's
// stays so, and does not become one while it is a master's: ErrTaken.
func (b *Broker) placeDevice(ctx context.Context, t token.Thumbprint, rec deviceRecord) ([]Write, []NewEvent, error) {
	old, version, err := get[deviceRecord](ctx, b.o.State, deviceKey(t))
	if err != nil && !errors.Is(err, ErrAbsent) {
		return nil, nil, err
	}
	writes := []Write{put(deviceKey(t), version, rec, never)}
	var events []NewEvent
	switch {
	case version == 0:
		writes = append(writes, put(deviceOfKey(rec.Account, t), 0, deviceIndex{rec.Agent}, never))
	case old.Agent != rec.Agent || !old.Agent.IsZero() && old.Account != rec.Account:
		return nil, nil, ErrTaken
	case old.Account != rec.Account:
		index, err := b.o.State.Get(ctx, deviceOfKey(old.Account, t))
		if err != nil {
			return nil, nil, stateError(err)
		}
		writes = append(writes, Write{Key: index.Key, Expect: index.Version}, put(deviceOfKey(rec.Account, t), 0, deviceIndex{rec.Agent}, never))
		events = append(events, notice{Kind: brokerapi.EventEnded, Device: t, Agent: old.Agent}.event(old.Account))
	}
	return writes, events, nil
}

// makeRoom returns what takes out the master's device that logged in longest
// ago, where another would be one too many: whoever has lost count of devices
// can still log in. The Thumbprint is zero if no device goes.
func (b *Broker) makeRoom(ctx context.Context, account string, key token.Thumbprint) (token.Thumbprint, []Write, []NewEvent, error) {
	var none, oldest token.Thumbprint
	all, items, err := list[deviceIndex](ctx, b.o.State, kindDeviceOf, account+"/")
	if err != nil {
		return none, nil, nil, err
	}
	var masters []Item
	for i, d := range all {
		if items[i].Key == deviceOfKey(account, key) {
			return none, nil, nil, nil // it is one already
		}
		if d.Agent.IsZero() {
			masters = append(masters, items[i])
		}
	}
	if len(masters) < MaxDevices {
		return none, nil, nil, nil
	}
	var made time.Time
	for _, item := range masters {
		id := strings.TrimPrefix(item.Key.Name, account+"/")
		rec, _, err := get[deviceRecord](ctx, b.o.State, Key{kindDevice, id})
		if errors.Is(err, ErrAbsent) || err == nil && rec.Account != account {
			return none, []Write{{Key: item.Key, Expect: item.Version}}, nil, nil // it is none any more
		}
		if err != nil {
			return none, nil, nil, err
		}
		if oldest.IsZero() || rec.Created.Before(made) {
			if oldest, err = token.ParseThumbprint(id); err != nil {
				return none, nil, nil, err
			}
			made = rec.Created
		}
	}
	_, _, writes, ended, err := b.dropDevice(ctx, account, oldest)
	if errors.Is(err, ErrAbsent) {
		err = ErrConflict // taken out meanwhile
	}
	if err != nil {
		return none, nil, nil, err
	}
	return oldest, writes, []NewEvent{ended}, nil
}

// dropDevice returns the writes that take a device out, and its event.
func (b *Broker) dropDevice(ctx context.Context, account string, t token.Thumbprint) (rec deviceRecord, version int64, writes []Write, event NewEvent, err error) {
	rec, version, err = get[deviceRecord](ctx, b.o.State, deviceKey(t))
	if err == nil && rec.Account != account {
		err = ErrAbsent
	}
	if err != nil {
		return rec, 0, nil, event, err
	}
	writes = []Write{{Key: deviceKey(t), Expect: version}}
	index, err := b.o.State.Get(ctx, deviceOfKey(account, t))
	switch {
	case err == nil:
		writes = append(writes, Write{Key: index.Key, Expect: index.Version})
	case !errors.Is(err, ErrAbsent):
		return rec, 0, nil, event, stateError(err)
	}
	return rec, version, writes, notice{Kind: brokerapi.EventEnded, Device: t, Agent: rec.Agent}.event(account), nil
}

// Devices lists those of the account, its agents' too.
func (b *Broker) Devices(ctx context.Context, m Master) ([]brokerapi.Device, error) {
	_, items, err := list[deviceIndex](ctx, b.o.State, kindDeviceOf, m.account()+"/")
	if err != nil {
		return nil, err
	}
	out := []brokerapi.Device{}
	for _, item := range items {
		id := item.Key.Name[len(m.account())+1:]
		rec, _, err := get[deviceRecord](ctx, b.o.State, Key{kindDevice, id})
		if errors.Is(err, ErrAbsent) || err == nil && rec.Account != m.account() {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, brokerapi.Device{ID: id, Name: rec.Name, Agent: rec.Agent, Created: rec.Created, Current: id == m.s.Device.String()})
	}
	return out, nil
}

// RevokeDevice takes out one device of the account: it gets no session and no
// token from then on. ErrDevice.
func (b *Broker) RevokeDevice(ctx context.Context, m Master, id string) error {
	account := m.account()
	t, err := token.ParseThumbprint(id)
	if err != nil {
		return ErrDevice
	}
	return b.takeOut(ctx, account, m.s, t, "device.revoke")
}

// Logout takes out the caller's own device.
func (b *Broker) Logout(ctx context.Context, c Caller) error {
	if !c.ok {
		return ErrForbidden
	}
	return b.takeOut(ctx, c.s.Account, c.s, c.s.Device, "session.end")
}

func (b *Broker) takeOut(ctx context.Context, account string, by token.Session, t token.Thumbprint, op string) error {
	return b.change(ctx, account, func(try *tries) error {
		rec, version, writes, event, err := b.dropDevice(ctx, account, t)
		if errors.Is(err, ErrAbsent) {
			return ErrDevice
		}
		if err != nil {
			if rec, _, ok := b.devices.recall(t); ok && rec.Account == account {
				b.devices.bury(t, 0)
				b.feed.tell(notice{Kind: brokerapi.EventEnded, Device: t, Agent: rec.Agent}.event(account))
			}
			return err
		}
		if !rec.Agent.IsZero() {
			a, av, err := get[agentRecord](ctx, b.o.State, agentKey(account, rec.Agent))
			switch {
			case err == nil && a.Device == t.String():
				a.Device = ""
				writes = append(writes, put(agentKey(account, rec.Agent), av, a, never))
			case err != nil && !errors.Is(err, ErrAbsent):
				return err
			}
		}
		e := grant.Event{Op: op, Actor: by.Wallet, Parent: by.Parent, Agent: agentOr(rec.Agent, by.Agent), Subject: "device " + t.String()}
		return try.revoke(ctx, e, func() error {
			err := b.apply(ctx, Change{Writes: writes, Events: []NewEvent{event}})
			switch {
			case err == nil:
				b.devices.forget(t) // here at once; elsewhere when it is heard
			case !errors.Is(err, ErrConflict):
				b.devices.bury(t, version)
				b.feed.tell(event)
			}
			return err
		})
	})
}

func agentOr(a, b agentkeys.Agent) agentkeys.Agent {
	if a.IsZero() {
		return b
	}
	return a
}
