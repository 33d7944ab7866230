package broker_test

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/broker"
	"github.com/litentry/agentkeys/internal/broker/brokertest"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/token"
)

var ci = agentkeys.Must(agentkeys.ParseAgent("ci"))

// request is one as a device makes it.
func request(t *testing.T, w *brokertest.World, key *device, method, path string) broker.Request {
	t.Helper()
	p, err := token.NewProof(key.key, method, brokertest.Origin+path, key.session.Token, w.Clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	return broker.Request{Method: method, Path: path, Proof: p, Token: key.session.Token}
}

// enter logs a new device in by mail.
func enter(t *testing.T, w *brokertest.World, b *broker.Broker, email string) *device {
	t.Helper()
	d := &device{key: brokertest.NewKey(t)}
	key, err := b.ProveKey(t.Context(), request(t, w, d, "POST", brokerapi.PathLogins))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.BeginLogin(t.Context(), key, "peer", brokerapi.LoginRequest{Method: brokerapi.LoginEmail, Email: email}); err != nil {
		t.Fatal(err)
	}
	id, secret := w.Mail.Link(t)
	h, err := b.ProveMail(t.Context(), id, secret)
	if err != nil {
		t.Fatal(err)
	}
	if d.session, err = b.EndLogin(t.Context(), key, id, h.Code, ""); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *device) call(t *testing.T, w *brokertest.World, b *broker.Broker) (broker.Caller, error) {
	t.Helper()
	return b.Authenticate(t.Context(), request(t, w, d, "GET", "/"))
}

func (d *device) master(t *testing.T, w *brokertest.World, b *broker.Broker) broker.Master {
	t.Helper()
	c, err := d.call(t, w, b)
	if err != nil {
		t.Fatal(err)
	}
	m, err := c.Master()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestNew: a broker that could mix up its tokens, or lacks a part, is none.
func TestNew(t *testing.T) {
	w := brokertest.NewWorld(t)
	good := func() broker.Options {
		return w.Options(brokertest.SQLite(t, w))
	}
	if b, err := broker.New(good()); err != nil || len(b.Methods()) != 4 {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*broker.Options){
		"no origin":             func(o *broker.Options) { o.Origin = "" },
		"a slash":               func(o *broker.Options) { o.Origin += "/" },
		"a path":                func(o *broker.Options) { o.Origin += "/x" },
		"a query":               func(o *broker.Options) { o.Origin += "?x" },
		"a user":                func(o *broker.Options) { o.Origin = "https://u@broker.test" },
		"another scheme":        func(o *broker.Options) { o.Origin = "ftp://broker.test" },
		"another issuer":        func(o *broker.Options) { o.Origin = "https://else.test" },
		"no state":              func(o *broker.Options) { o.State = nil },
		"no recorder":           func(o *broker.Options) { o.Recorder = nil },
		"no issuer":             func(o *broker.Options) { o.Issuer = nil },
		"no wallets":            func(o *broker.Options) { o.Wallets = nil },
		"no clock":              func(o *broker.Options) { o.Now = nil },
		"tokens for itself":     func(o *broker.Options) { o.Audiences = map[string]token.Alg{o.Origin: token.ES256} },
		"tokens for the signer": func(o *broker.Options) { o.Audiences = map[string]token.Alg{o.SignerAudience: token.ES256} },
		"tokens for nobody":     func(o *broker.Options) { o.Audiences = map[string]token.Alg{"": token.ES256} },
		"itself as the signer":  func(o *broker.Options) { o.SignerAudience = o.Origin },
	} {
		o := good()
		change(&o)
		if _, err := broker.New(o); err == nil {
			t.Errorf("%s: it is made", name)
		}
	}
	o := good()
	o.Mailer, o.Provider = nil, nil
	b, err := broker.New(o)
	if err != nil || strings.Join(b.Methods(), " ") != "passkey wallet" {
		t.Errorf("%v %v", b.Methods(), err)
	}
	d := &device{key: brokertest.NewKey(t)}
	key, err := b.ProveKey(t.Context(), request(t, w, d, "POST", "/"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.BeginLogin(t.Context(), key, "", brokerapi.LoginRequest{Method: brokerapi.LoginGoogle}); !errors.Is(err, broker.ErrRequest) {
		t.Errorf("a method that is off: %v", err)
	}
}

// TestZeroValues: whoever was not made by a check may do nothing.
func TestZeroValues(t *testing.T) {
	w := brokertest.NewWorld(t)
	b, _ := w.Replica(t, brokertest.SQLite(t, w))
	ctx := t.Context()
	var c broker.Caller
	for name, err := range map[string]error{
		"master":    second(c.Master()),
		"mint":      second(b.Mint(ctx, c, broker.MintRequest{Audience: brokertest.STS})),
		"subscribe": second(b.Subscribe(ctx, c)),
		"logout":    b.Logout(ctx, c),
	} {
		if !errors.Is(err, broker.ErrForbidden) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, err := range map[string]error{
		"begin": second(b.BeginLogin(ctx, broker.DeviceKey{}, "", brokerapi.LoginRequest{Method: brokerapi.LoginPasskey})),
		"end":   second(b.EndLogin(ctx, broker.DeviceKey{}, "x", "", "")),
		"enrol": second(b.Enrol(ctx, broker.DeviceKey{}, "x", "")),
		"renew": second(b.Renew(ctx, broker.DeviceKey{})),
	} {
		if !errors.Is(err, broker.ErrProof) && !errors.Is(err, broker.ErrLogin) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, f := range map[string]func(){
		"agents":  func() { _, _ = b.Agents(ctx, broker.Master{}) },
		"grants":  func() { _, _ = b.Grants(ctx, broker.Master{}) },
		"devices": func() { _, _ = b.Devices(ctx, broker.Master{}) },
		"revoke":  func() { _ = b.RevokeDevice(ctx, broker.Master{}, strings.Repeat("A", 43)) },
		"create":  func() { _, _ = b.CreateAgent(ctx, broker.Master{}, ci) },
		"remove":  func() { _ = b.RemoveAgent(ctx, broker.Master{}, ci) },
		"enrol":   func() { _, _ = b.Enrolment(ctx, broker.Master{}, ci) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s by nobody", name)
				}
			}()
			f()
		}()
	}
}

func second[T any](_ T, err error) error { return err }

// TestStrangeEvents: an event that this version cannot read outlives nothing
// that is remembered, and ends the streams it concerns.
func TestStrangeEvents(t *testing.T) {
	w := brokertest.NewWorld(t)
	s := brokertest.SQLite(t, w)
	b, _ := w.Replica(t, s)
	d, other := enter(t, w, b, "ada@example.org"), enter(t, w, b, "eve@example.org")
	streams := map[string]*broker.Stream{}
	for name, d := range map[string]*device{"d": d, "other": other} {
		c, err := d.call(t, w, b)
		if err != nil {
			t.Fatal(err)
		}
		if streams[name], err = b.Subscribe(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		defer streams[name].Close()
	}
	if _, err := s.Apply(t.Context(), broker.Change{Events: []broker.NewEvent{{Topic: d.session.Account, Value: []byte("what")}}}); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := streams["d"].Next(t.Context()); err != nil {
			if !errors.Is(err, io.EOF) {
				t.Error(err)
			}
			break
		}
	}
	for range 4 {
		if _, err := streams["other"].Next(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// TestStreamsOfOneDevice: the newest win.
func TestStreamsOfOneDevice(t *testing.T) {
	w := brokertest.NewWorld(t)
	b, stop := w.Replica(t, brokertest.SQLite(t, w))
	d := enter(t, w, b, "ada@example.org")
	var all []*broker.Stream
	for range 10 {
		c, err := d.call(t, w, b)
		if err != nil {
			t.Fatal(err)
		}
		s, err := b.Subscribe(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		all = append(all, s)
	}
	ended := func(s *broker.Stream) bool {
		for range 5 {
			if _, err := s.Next(t.Context()); errors.Is(err, io.EOF) {
				return true
			}
		}
		return false
	}
	for i, s := range all {
		if got := ended(s); got != (i < 2) {
			t.Errorf("stream %d ended: %t", i, got)
		}
	}
	// With the session all of them end; and with the replica.
	stop()
	for range 300 {
		if _, err := all[9].Next(t.Context()); err != nil {
			return
		}
	}
	t.Error("it goes on without its replica")
}

// TestSessionEndsStream: a stream does not outlive its session.
func TestSessionEndsStream(t *testing.T) {
	w := brokertest.NewWorld(t)
	b, _ := w.Replica(t, brokertest.SQLite(t, w))
	d := enter(t, w, b, "ada@example.org")
	c, err := d.call(t, w, b)
	if err != nil {
		t.Fatal(err)
	}
	w.Clock.Move(token.MasterLife - 500*time.Millisecond)
	var s *broker.Stream
	for end := time.Now().Add(20 * time.Second); s == nil && time.Now().Before(end); {
		s, _ = b.Subscribe(t.Context(), c) // the feed sees the leap first
	}
	if s == nil {
		return // the session ended while the feed caught up
	}
	defer s.Close()
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	for {
		if _, err := s.Next(ctx); err != nil {
			if !errors.Is(err, io.EOF) {
				t.Error(err)
			}
			return
		}
	}
}

// TestCorruptItems: an item that is not ours is an error for whoever needs it,
// and not the same as none.
func TestCorruptItems(t *testing.T) {
	w := brokertest.NewWorld(t)
	s := brokertest.SQLite(t, w)
	b := w.Still(t, s)
	d := enter(t, w, b, "ada@example.org")
	m := d.master(t, w, b)
	if _, err := b.CreateAgent(t.Context(), m, ci); err != nil {
		t.Fatal(err)
	}
	k := broker.Key{Kind: "agent", Name: d.session.Account + "/ci"}
	item, err := s.Get(t.Context(), k)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"null", `{"label":"ci"} x`, "x", "{", `{"label":"CI"}`, `{"unknown":1}`} {
		v, err := s.Apply(t.Context(), broker.Change{Writes: []broker.Write{{Key: k, Expect: item.Version, Value: []byte(text)}}})
		if err != nil {
			t.Fatal(err)
		}
		item.Version = v[0]
		if _, err := b.Enrolment(t.Context(), m, ci); err == nil || errors.Is(err, broker.ErrUnknownAgent) {
			t.Errorf("%q: %v", text, err)
		}
		if _, err := b.Agents(t.Context(), m); err == nil {
			t.Errorf("%q is listed", text)
		}
	}
}

// TestUnknownOutcome: where a login's last change may be made or not, nobody
// gets a session by it twice, and the device that it made can go on.
func TestUnknownOutcome(t *testing.T) {
	w := brokertest.NewWorld(t)
	s := &brokertest.Flaky{State: brokertest.SQLite(t, w)}
	b := w.Still(t, s)
	d := &device{key: brokertest.NewKey(t)}
	key, err := b.ProveKey(t.Context(), request(t, w, d, "POST", "/"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.BeginLogin(t.Context(), key, "peer", brokerapi.LoginRequest{Method: brokerapi.LoginEmail, Email: "ada@example.org"}); err != nil {
		t.Fatal(err)
	}
	id, secret := w.Mail.Link(t)
	h, err := b.ProveMail(t.Context(), id, secret)
	if err != nil {
		t.Fatal(err)
	}
	s.After.Set(errors.New("the connection is lost"))
	if _, err := b.EndLogin(t.Context(), key, id, h.Code, ""); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	s.After.Set(nil)
	if _, err := b.EndLogin(t.Context(), key, id, h.Code, ""); !errors.Is(err, broker.ErrLogin) {
		t.Errorf("again: %v", err)
	}
	if _, err := b.Renew(t.Context(), key); err != nil {
		t.Errorf("the device: %v", err)
	}
	if w.Tape.Count("session.login", "allow") != 1 || w.Tape.Count("session.login", "failed") != 1 {
		t.Errorf("recorded: %+v", w.Tape.Events())
	}
}

// TestDeviceLimit: a person has so many devices and no more; with one too many
// the oldest is out, at once and with a word in the log, and no agent's.
func TestDeviceLimit(t *testing.T) {
	w := brokertest.NewWorld(t)
	b, _ := w.Replica(t, brokertest.SQLite(t, w))
	owner := agentkeys.Must(agentkeys.ParseWallet("0x" + strings.Repeat("ab", 20)))
	var all []*device
	more := func() {
		t.Helper()
		d := &device{key: brokertest.NewKey(t)}
		key, err := b.ProveKey(t.Context(), request(t, w, d, "POST", "/"))
		if err != nil {
			t.Fatal(err)
		}
		l, err := b.BeginLogin(t.Context(), key, "", brokerapi.LoginRequest{Method: brokerapi.LoginWallet, Address: owner.String()})
		if err != nil {
			t.Fatal(err)
		}
		h, err := b.ProveWallet(t.Context(), l.ID, brokerapi.WalletProof{Message: l.Message, Signature: brokertest.SignWallet(owner, l.Message)})
		if err != nil {
			t.Fatal(err)
		}
		if d.session, err = b.EndLogin(t.Context(), key, l.ID, h.Code, ""); err != nil {
			t.Fatalf("device %d: %v", len(all), err)
		}
		all = append(all, d)
	}
	more()
	m := all[0].master(t, w, b)
	if _, err := b.CreateAgent(t.Context(), m, ci); err != nil {
		t.Fatal(err)
	}
	code, err := b.Enrolment(t.Context(), m, ci)
	if err != nil {
		t.Fatal(err)
	}
	agent := &device{key: brokertest.NewKey(t)}
	key, err := b.ProveKey(t.Context(), request(t, w, agent, "POST", "/"))
	if err != nil {
		t.Fatal(err)
	}
	if agent.session, err = b.Enrol(t.Context(), key, code.Code, ""); err != nil {
		t.Fatal(err)
	}
	for len(all) < broker.MaxDevices {
		more()
	}
	c, err := all[0].call(t, w, b)
	if err != nil {
		t.Fatal(err)
	}
	heard, err := b.Subscribe(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer heard.Close()
	more()
	for e, err := heard.Next(t.Context()); e.Name != brokerapi.EventEnded; e, err = heard.Next(t.Context()) {
		if err != nil {
			t.Fatalf("the oldest is not told: %v", err)
		}
	}
	more()
	for i, d := range append(all, agent) {
		if _, err := d.call(t, w, b); errors.Is(err, broker.ErrDevice) != (i < 2) {
			t.Errorf("device %d: %v", i, err)
		}
	}
	if devices, err := b.Devices(t.Context(), all[2].master(t, w, b)); err != nil || len(devices) != broker.MaxDevices+1 {
		t.Errorf("%d devices, %v", len(devices), err)
	}
	for _, decision := range []string{"allow", "done"} {
		if n := w.Tape.Count("device.revoke", decision); n != 2 {
			t.Errorf("recorded %d times: %s", n, decision)
		}
	}
	last := w.Tape.Events()[len(w.Tape.Events())-4:]
	for _, e := range last {
		if e.Op == "device.revoke" && e.Subject != "device "+all[1].session.Device {
			t.Errorf("recorded: %+v", e)
		}
	}
}

type device struct {
	key     *ecdsa.PrivateKey
	session brokerapi.Session
}

// lateLists is a state whose lists take an hour.
type lateLists struct {
	broker.State
	clock *brokertest.Clock
}

func (l lateLists) List(ctx context.Context, kind, prefix, after string, limit int) ([]broker.Item, error) {
	items, err := l.State.List(ctx, kind, prefix, after, limit)
	l.clock.Move(time.Hour)
	return items, err
}

// TestSnapshotTime: a snapshot is as old as the beginning of its reading.
func TestSnapshotTime(t *testing.T) {
	w := brokertest.NewWorld(t)
	s := brokertest.SQLite(t, w)
	b, _ := w.Replica(t, lateLists{s, w.Clock})
	d := enter(t, w, w.Still(t, s), "ada@example.org")
	c, err := d.call(t, w, b)
	if err != nil {
		t.Fatal(err)
	}
	var stream *broker.Stream
	var before, after time.Time
	for tries := 0; stream == nil && tries < 100; tries++ { // it is not fresh at once
		before = w.Clock.Now()
		if stream, err = b.Subscribe(t.Context(), c); errors.Is(err, broker.ErrUnavailable) {
			time.Sleep(10 * time.Millisecond)
		}
		after = before.Add(time.Minute)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	e, err := stream.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	snap, ok := e.Data.(brokerapi.Snapshot)
	if !ok || snap.At.Before(before) || snap.At.After(after) || snap.At.Location() != time.UTC {
		t.Errorf("%+v, read between %s and %s", e.Data, before, after)
	}
}
