package brokerhttp_test

import (
	"bufio"
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/broker"
	"github.com/litentry/agentkeys/internal/broker/brokertest"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/token"
	"github.com/litentry/agentkeys/internal/webserve"
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// stream is what a device hears.
type stream struct {
	t      *testing.T
	events chan event // closed at the end
	stop   context.CancelFunc
}

type event struct {
	name string
	data string
	at   time.Time // when it came
}

func (d *device) listen() *stream {
	d.n.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	d.n.t.Cleanup(stop)
	req, _, err := d.n.request(ctx, d.as("GET", brokerapi.PathEvents, nil))
	if err != nil {
		d.n.t.Fatal(err)
	}
	res, err := d.n.srv.Client().Do(req)
	if err != nil {
		d.n.t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "text/event-stream" || res.Header.Get("Cache-Control") != "no-store" {
		d.n.t.Fatalf("%d %v", res.StatusCode, res.Header)
	}
	s := &stream{d.n.t, make(chan event, 10000), stop}
	go func() {
		defer close(s.events)
		defer res.Body.Close()
		lines := bufio.NewScanner(res.Body)
		lines.Buffer(nil, 1<<20)
		var e event
		for lines.Scan() {
			switch name, value, _ := strings.Cut(lines.Text(), ": "); name {
			case "event":
				e.name = value
			case "data":
				e.data = value
			case "":
				e.at = time.Now()
				s.events <- e
				e = event{}
			}
		}
	}()
	return s
}

// next is the next event that is no beat; the zero one at the end.
func (s *stream) next() event {
	s.t.Helper()
	for {
		e := s.any()
		if e.name != brokerapi.EventBeat {
			return e
		}
	}
}

// any is the next event.
func (s *stream) any() event {
	s.t.Helper()
	select {
	case e := <-s.events:
		return e
	case <-time.After(patience):
		s.t.Fatal("nothing comes")
		return event{}
	}
}

func (s *stream) want(name string, into any) {
	s.t.Helper()
	e := s.next()
	if e.name != name {
		s.t.Fatalf("heard %q %s, want %q", e.name, e.data, name)
	}
	if into != nil {
		if err := json.Unmarshal([]byte(e.data), into); err != nil {
			s.t.Fatalf("%v: %s", err, e.data)
		}
	}
}

// quiet: only beats come, at least n of them.
func (s *stream) quiet(n int) {
	s.t.Helper()
	for range n {
		if e := s.any(); e.name != brokerapi.EventBeat {
			s.t.Fatalf("heard %q %s", e.name, e.data)
		}
	}
}

// TestStream: the snapshot, then each change to whom it concerns, and to no
// other.
func TestStream(t *testing.T) {
	n := one(t)
	master, other := n.login("ada@example.org"), n.login("eve@example.org")
	ci := master.agent("ci")
	cd := master.agent("cd")
	g := into[grant.Grant](master.grant("ci", "openrouter"))

	all, theirs, ours, alien := master.listen(), ci.listen(), cd.listen(), other.listen()
	var snap brokerapi.Snapshot
	all.want(brokerapi.EventSnapshot, &snap)
	if len(snap.Agents) != 2 || len(snap.Grants) != 1 || snap.Grants[0].ID != g.ID || !snap.Agents[0].Enrolled {
		t.Errorf("the master has %+v", snap)
	}
	theirs.want(brokerapi.EventSnapshot, &snap)
	if len(snap.Agents) != 0 || len(snap.Grants) != 1 || snap.Grants[0].ID != g.ID || snap.Grants[0].Wallet != ci.s.Wallet {
		t.Errorf("the agent has %+v", snap)
	}
	for _, s := range []*stream{ours, alien} {
		s.want(brokerapi.EventSnapshot, &snap)
		if len(snap.Agents) != 0 || len(snap.Grants) != 0 {
			t.Errorf("others have %+v", snap)
		}
	}

	h := into[grant.Grant](master.grant("ci", "openrouter"))
	for _, s := range []*stream{all, theirs} {
		var got grant.Grant
		if s.want(brokerapi.EventGrant, &got); got.ID != h.ID || got.Validate() != nil {
			t.Errorf("heard of %+v", got)
		}
	}
	master.do("DELETE", "/v1/agents/ci/grants/openrouter", nil).want(204)
	for _, s := range []*stream{all, theirs} {
		var got brokerapi.Revoked
		if s.want(brokerapi.EventRevoked, &got); got.Grant != h.ID || got.Agent != ci.s.Agent || got.Service != h.Svc {
			t.Errorf("heard of %+v", got)
		}
	}
	master.do("POST", brokerapi.PathAgents, map[string]string{"label": "new"}).want(200)
	var agents []brokerapi.Agent
	if all.want(brokerapi.EventAgents, &agents); len(agents) != 3 {
		t.Errorf("heard of %+v", agents)
	}
	master.grant("ci", "openrouter")
	all.want(brokerapi.EventGrant, nil)
	theirs.want(brokerapi.EventGrant, nil)
	master.do("DELETE", "/v1/agents/ci", nil).want(204)
	all.want(brokerapi.EventAgents, nil)
	all.want(brokerapi.EventRevoked, nil)
	theirs.want(brokerapi.EventEnded, nil)
	if e := theirs.next(); e.name != "" {
		t.Errorf("heard %q after the end", e.name)
	}
	ours.quiet(3)
	alien.quiet(3)

	// A new enrolment ends the earlier device's stream, a logout one's own.
	again := master.enrol("cd")
	ours.want(brokerapi.EventEnded, nil)
	if r := cd.mint(brokertest.STS); r.status != 401 {
		t.Errorf("the earlier device mints: %d", r.status)
	}
	late := again.listen()
	late.want(brokerapi.EventSnapshot, nil)
	again.do("DELETE", brokerapi.PathSession, nil).want(204)
	late.want(brokerapi.EventEnded, nil)
}

// TestBeats: each says that all before it was told, and comes only while that
// is known.
func TestBeats(t *testing.T) {
	w := brokertest.NewWorld(t)
	s := &brokertest.Flaky{State: brokertest.SQLite(t, w)}
	n := serve(t, w, s)
	d := n.login("ada@example.org")
	heard := d.listen()
	heard.want(brokerapi.EventSnapshot, nil)
	var last time.Time
	for range 5 {
		var b brokerapi.Beat
		e := heard.any()
		if err := json.Unmarshal([]byte(e.data), &b); err != nil || e.name != brokerapi.EventBeat || !b.At.After(last) {
			t.Fatalf("beat %q %s after %s", e.name, e.data, last)
		}
		last = b.At
	}
	cut := time.Now()
	s.Feed.Set(errAway)
	for silent := false; !silent; {
		select {
		case e := <-heard.events:
			var b brokerapi.Beat
			if err := json.Unmarshal([]byte(e.data), &b); err != nil || b.At.After(time.Now()) {
				t.Fatalf("beat %s", e.data)
			}
			last = b.At
		case <-time.After(time.Second):
			silent = true
		}
	}
	if last.After(cut.Add(500 * time.Millisecond)) {
		t.Error("it beats though it hears nothing")
	}
	until(t, func() bool { return n.send(call{method: "GET", path: brokerapi.PathReady}).status == 503 })
	req := d.as("GET", brokerapi.PathEvents, nil)
	n.send(req).problem(503, brokerapi.CodeUnavailable)
	s.Feed.Set(nil)
	if e := heard.any(); e.name != brokerapi.EventBeat {
		t.Errorf("heard %q", e.name)
	}
}

// TestThreat13RevokedDevice: with the feed of events alive or dead, a device
// that is revoked mints nothing from then on; where the state cannot be asked
// either, nobody does.
func TestThreat13RevokedDevice(t *testing.T) {
	w := brokertest.NewWorld(t)
	shared := brokertest.SQLite(t, w)
	here := serve(t, w, shared)
	s := &brokertest.Flaky{State: shared}
	there := serve(t, w, s)
	master := here.login("ada@example.org")
	for _, feed := range []error{nil, errAway} {
		victim := here.login("ada@example.org").at(there)
		victim.mint(brokertest.STS).want(200)
		heard := victim.listen()
		heard.want(brokerapi.EventSnapshot, nil)
		s.Feed.Set(feed)
		if feed != nil { // until what it knows is too old to count
			until(t, func() bool { return there.b.Ready(t.Context()) != nil })
		}
		master.do("DELETE", "/v1/devices/"+victim.s.Device, nil).want(204)
		if feed == nil {
			heard.want(brokerapi.EventEnded, nil)
		}
		victim.mint(brokertest.STS).problem(401, brokerapi.CodeDevice)
		victim.do("GET", brokerapi.PathGrants, nil).problem(401, brokerapi.CodeDevice)
		there.send(call{method: "POST", path: brokerapi.PathSession, key: victim.key}).problem(401, brokerapi.CodeDevice)
	}
	s.Reads.Set(errAway)
	master.at(there).mint(brokertest.STS).problem(503, brokerapi.CodeUnavailable)
	if r := there.send(call{method: "GET", path: brokerapi.PathReady}).want(503); !strings.Contains(string(r.body), `"state"`) {
		t.Errorf("readiness: %s", r.body)
	}
	s.Reads.Set(nil)
	s.Feed.Set(nil)
	until(t, func() bool { return there.b.Ready(t.Context()) == nil })
	master.at(there).mint(brokertest.STS).want(200)
}

func until(t *testing.T, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not come")
		}
	}
}

// TestThreat13FailedRevocation: one that the state did not take, or of which
// it does not say so, is in force here all the same, and can be repeated; so is
// one that could not be recorded.
func TestThreat13FailedRevocation(t *testing.T) {
	for name, fault := range map[string]func(s *brokertest.Flaky, w *brokertest.World) *brokertest.Fault{
		"not made":     func(s *brokertest.Flaky, _ *brokertest.World) *brokertest.Fault { return &s.Writes },
		"made, unsaid": func(s *brokertest.Flaky, _ *brokertest.World) *brokertest.Fault { return &s.After },
		"unrecorded":   func(_ *brokertest.Flaky, w *brokertest.World) *brokertest.Fault { return &w.Tape.Fault },
	} {
		t.Run(name, func(t *testing.T) {
			w := brokertest.NewWorld(t)
			s := &brokertest.Flaky{State: brokertest.SQLite(t, w)}
			n := serve(t, w, s)
			master := n.login("ada@example.org")
			agent, victim := master.agent("ci"), n.login("ada@example.org")
			master.grant("ci", "openrouter").want(200)
			agent.mint(brokertest.STS).want(200)
			victim.mint(brokertest.STS).want(200)
			theirs := agent.listen()
			theirs.want(brokerapi.EventSnapshot, nil)

			f := fault(s, w)
			f.Set(errAway)
			master.do("DELETE", "/v1/devices/"+victim.s.Device, nil).problem(503, brokerapi.CodeUnavailable)
			master.do("DELETE", "/v1/agents/ci/grants/openrouter", nil).problem(503, brokerapi.CodeUnavailable)
			f.Set(nil)
			theirs.want(brokerapi.EventRevoked, nil)
			victim.mint(brokertest.STS).problem(401, brokerapi.CodeDevice)
			n.send(call{method: "POST", path: brokerapi.PathSession, key: victim.key}).problem(401, brokerapi.CodeDevice)
			if left := into[[]grant.Grant](master.do("GET", brokerapi.PathGrants, nil)); len(left) != 0 {
				t.Errorf("left: %+v", left)
			}
			for _, path := range []string{"/v1/devices/" + victim.s.Device, "/v1/agents/ci/grants/openrouter"} {
				if r := master.do("DELETE", path, nil); r.status != 204 && r.status != 404 {
					t.Errorf("%s again: %d", path, r.status)
				}
			}
			// For good, and for the other replicas.
			fresh := serve(t, w, s)
			victim.at(fresh).mint(brokertest.STS).problem(401, brokerapi.CodeDevice)
			if left := into[[]grant.Grant](master.at(fresh).do("GET", brokerapi.PathGrants, nil)); len(left) != 0 {
				t.Errorf("left: %+v", left)
			}
			// The agent as a whole.
			f.Set(errAway)
			master.do("DELETE", "/v1/agents/ci", nil).problem(503, brokerapi.CodeUnavailable)
			f.Set(nil)
			// A revocation may be told twice: here, and by the state.
			for e := theirs.next(); e.name != brokerapi.EventEnded; e = theirs.next() {
				if e.name != brokerapi.EventRevoked {
					t.Fatalf("heard %q", e.name)
				}
			}
			agent.mint(brokertest.STS).problem(401, brokerapi.CodeDevice)
			if r := master.do("DELETE", "/v1/agents/ci", nil); r.status != 204 && r.status != 404 {
				t.Errorf("again: %d", r.status)
			}
			// Whoever comes back with the same key comes back.
			if name == "not made" {
				n.begin(victim.key, brokerapi.LoginRequest{Method: brokerapi.LoginEmail, Email: "ada@example.org"})
				id, h := n.mailed()
				victim.s = into[brokerapi.Session](n.end(victim.key, id, h.Code))
				victim.mint(brokertest.STS).want(200)
			}
		})
	}
}

// TestUnrecorded: what cannot be recorded is not made or released.
func TestUnrecorded(t *testing.T) {
	n := one(t)
	d := n.login("ada@example.org")
	d.do("POST", brokerapi.PathAgents, map[string]string{"label": "ci"}).want(200)
	n.w.Tape.Set(errAway)
	for _, c := range []call{
		d.mintCall(brokertest.STS), d.mintCall(brokertest.SignerAudience),
		{method: "POST", path: brokerapi.PathSession, key: d.key},
		d.as("POST", brokerapi.PathAgents, map[string]string{"label": "new"}),
		d.as("POST", "/v1/agents/ci/enrolment", nil),
		d.as("PUT", "/v1/agents/ci/grants/openrouter", map[string]any{"expires": time.Now().Add(time.Hour).UTC().Format(time.RFC3339)}),
	} {
		r := n.send(c).problem(503, brokerapi.CodeUnavailable)
		if strings.Contains(string(r.body), ".eyJ") {
			t.Errorf("%s %s: a token is out", c.method, c.path)
		}
	}
	n.w.Tape.Set(nil)
	if all := into[[]brokerapi.Agent](d.do("GET", brokerapi.PathAgents, nil)); len(all) != 1 {
		t.Errorf("made: %+v", all)
	}
	if all := into[[]grant.Grant](d.do("GET", brokerapi.PathGrants, nil)); len(all) != 0 {
		t.Errorf("made: %+v", all)
	}
}

// TestSharedProofs: where replicas share a state, a proof that one has taken is
// refused by the other; where nobody can say, nobody takes any.
func TestSharedProofs(t *testing.T) {
	w := brokertest.NewWorld(t)
	inner := brokertest.SQLite(t, w)
	states := []*brokertest.Flaky{{State: inner, Alike: true}, {State: inner, Alike: true}}
	here, there := serve(t, w, states[0]), serve(t, w, states[1])
	d := here.login("ada@example.org")
	p, err := token.NewProof(d.key, "GET", brokertest.Origin+brokerapi.PathDevices, d.s.Token, w.Clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	c := d.as("GET", brokerapi.PathDevices, nil)
	c.proof = p
	here.send(c).want(200)
	there.send(c).problem(401, brokerapi.CodeProof)
	states[1].Writes.Set(errAway)
	d.at(there).do("GET", brokerapi.PathDevices, nil).problem(503, brokerapi.CodeUnavailable)
}

// TestSlowReaders: one that does not read is let go, and others hear on.
func TestSlowReaders(t *testing.T) {
	w := brokertest.NewWorld(t)
	s := brokertest.SQLite(t, w)
	n := serve(t, w, s)
	d := n.login("ada@example.org")
	d.do("POST", brokerapi.PathAgents, map[string]string{"label": "ci"}).want(200)
	caller, err := n.b.Authenticate(t.Context(), authenticate(t, d))
	if err != nil {
		t.Fatal(err)
	}
	slow, err := n.b.Subscribe(t.Context(), caller)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	heard := d.listen()
	heard.want(brokerapi.EventSnapshot, nil)
	for range 270 {
		d.grant("ci", "openrouter").want(200)
	}
	got := 0
	for {
		_, err := slow.Next(t.Context())
		if err != nil {
			break
		}
		got++
	}
	if got > 258 {
		t.Errorf("%d events waited", got)
	}
	for range 270 {
		heard.want(brokerapi.EventGrant, nil)
	}
}

func authenticate(t *testing.T, d *device) broker.Request {
	t.Helper()
	p, err := token.NewProof(d.key, "GET", brokertest.Origin+brokerapi.PathEvents, d.s.Token, d.n.w.Clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	return broker.Request{Method: "GET", Path: brokerapi.PathEvents, Proof: p, Token: d.s.Token}
}

// TestServedStream: as the program serves it, a stream outlives the time that a
// request may take to come in, and ends when the server is told to stop.
func TestServedStream(t *testing.T) {
	n := one(t)
	d := n.login("ada@example.org")
	short := httptest.NewUnstartedServer(n.srv.Config.Handler)
	short.Config.ReadTimeout = 300 * time.Millisecond
	short.Start()
	defer short.Close()
	heard := d.at(&node{t: t, w: n.w, b: n.b, url: short.URL, srv: short}).listen()
	heard.want(brokerapi.EventSnapshot, nil)
	heard.quiet(10)
	heard.stop()

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	srv := &webserve.Server{Listener: l, Handler: n.srv.Config.Handler, Log: slog.New(slog.DiscardHandler), Grace: time.Minute}
	go func() { done <- srv.Serve(ctx) }()
	heard = d.at(&node{t: t, w: n.w, b: n.b, url: "http://" + l.Addr().String(), srv: n.srv}).listen()
	heard.want(brokerapi.EventSnapshot, nil)
	stop()
	if e := heard.next(); e.name != "" {
		t.Errorf("heard %q", e.name)
	}
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Error("it waits for the stream")
	}
}
