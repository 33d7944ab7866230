package local

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/book"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/dirblob"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/signer"
	"github.com/litentry/agentkeys/internal/vault"
)

// far is a broker, a signer and a store that several hosts share.
type far struct {
	t      *testing.T
	signer *signer.Signer
	store  string

	mu       sync.Mutex
	agents   map[agentkeys.Agent]book.Agent
	grants   map[string]*grant.Grant
	watch    []func(Change)
	silent   error // of Fresh
	refuse   error // of changes
	after    error // of changes, after they were made
	away     error // of listing the store
	next     int
	devices  []brokerapi.Device
	told     []string // what the broker was asked to end
	beforeIO func()   // before an object is read
}

func newFar(t *testing.T) *far {
	return &far{
		t: t, signer: signer.New(signer.NewRoots()), store: shortDir(t),
		agents: map[agentkeys.Agent]book.Agent{}, grants: map[string]*grant.Grant{}, devices: []brokerapi.Device{{ID: "d"}},
	}
}

func (f *far) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *far) wallet(path signer.Path) agentkeys.Wallet {
	w, err := f.signer.Wallet(f.signer.Account(), path)
	if err != nil {
		f.t.Fatal(err)
	}
	return w
}

// tell tells every host; mu is not held.
func (f *far) tell(c Change) {
	f.mu.Lock()
	all := slices.Clone(f.watch)
	f.mu.Unlock()
	for _, w := range all {
		w(c)
	}
}

// seen is far as one host sees it: the master's, or that of one agent.
type seen struct {
	*far
	agent agentkeys.Agent
}

func key(a agentkeys.Agent, s agentkeys.Service) string { return a.String() + "@" + s.String() }

func (s seen) sees(a agentkeys.Agent) bool { return s.agent.IsZero() || s.agent == a }

func (s seen) Agent(a agentkeys.Agent) (book.Agent, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	got, ok := s.agents[a]
	return got, ok && s.sees(a)
}

func (s seen) Agents() []book.Agent {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []book.Agent
	for label, a := range s.agents {
		if s.sees(label) {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, func(x, y book.Agent) int { return strings.Compare(x.Label.String(), y.Label.String()) })
	return out
}

func (s seen) Grant(a agentkeys.Agent, svc agentkeys.Service) *grant.Grant {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.grants[key(a, svc)]
}

func (s seen) Grants() []*grant.Grant {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*grant.Grant
	for _, g := range s.grants {
		if s.sees(g.Agent) {
			out = append(out, g)
		}
	}
	slices.SortFunc(out, func(x, y *grant.Grant) int { return strings.Compare(key(x.Agent, x.Svc), key(y.Agent, y.Svc)) })
	return out
}

func (s seen) CreateAgent(_ context.Context, a agentkeys.Agent) (book.Agent, error) {
	if s.refuse != nil {
		return book.Agent{}, s.refuse
	}
	made := book.Agent{Label: a, Wallet: s.wallet(signer.AgentPath(a)), Created: time.Now().UTC()}
	s.set(func() { s.agents[a] = made })
	s.tell(Change{Agents: true})
	return made, nil
}

func (s seen) RemoveAgent(_ context.Context, a agentkeys.Agent) error {
	s.set(func() { delete(s.agents, a); s.told = append(s.told, "agent "+a.String()) })
	s.tell(Change{Agents: true})
	return nil
}

func (s seen) PutGrant(_ context.Context, a agentkeys.Agent, svc agentkeys.Service, t book.Terms) (*grant.Grant, error) {
	if s.refuse != nil {
		return nil, s.refuse
	}
	g := &grant.Grant{
		Master: s.wallet(signer.MasterPath()), Wallet: s.wallet(signer.AgentPath(a)), Agent: a, Svc: svc,
		Rules: t.Rules, Requests: t.Requests, Budget: t.Budget, Created: time.Now().UTC(), Expires: t.Expires.UTC(),
	}
	var c Change
	s.set(func() {
		s.next++
		g.ID = fmt.Sprintf("g_%d", s.next)
		if old := s.grants[key(a, svc)]; old != nil {
			c.Gone = []*grant.Grant{old}
		}
		s.grants[key(a, svc)] = g
	})
	s.tell(c)
	return g, s.after
}

func (s seen) RemoveGrant(_ context.Context, a agentkeys.Agent, svc agentkeys.Service) (*grant.Grant, error) {
	var g *grant.Grant
	s.set(func() {
		g = s.grants[key(a, svc)]
		delete(s.grants, key(a, svc))
	})
	if s.refuse != nil {
		return g, s.refuse
	}
	if g == nil {
		return nil, book.ErrUnknownGrant
	}
	s.tell(Change{Gone: []*grant.Grant{g}})
	return g, nil
}

func (s seen) Fresh(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.silent
}

func (s seen) Watch(f func(Change)) { s.set(func() { s.watch = append(s.watch, f) }) }

func (s seen) Status() StreamStatus { return StreamStatus{State: StreamLive} }

func (s seen) Enrolment(_ context.Context, a agentkeys.Agent) (brokerapi.Enrolment, error) {
	s.set(func() { s.told = append(s.told, "codes "+a.String()) })
	return brokerapi.Enrolment{Code: "code"}, nil
}

func (s seen) Devices(context.Context) ([]brokerapi.Device, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.devices), nil
}

func (s seen) RevokeDevice(_ context.Context, id string) error {
	s.set(func() {
		s.devices = slices.DeleteFunc(s.devices, func(d brokerapi.Device) bool { return d.ID == id })
		s.told = append(s.told, "device "+id)
	})
	return nil
}

// slow is the store, at the other end of a line.
type slow struct {
	vault.Blobs
	f *far
}

func (s slow) List(ctx context.Context, p vault.Prefix, after vault.Key, limit int) (vault.Page, error) {
	s.f.mu.Lock()
	away := s.f.away
	s.f.mu.Unlock()
	if away != nil {
		return vault.Page{}, away
	}
	return s.Blobs.List(ctx, p, after, limit)
}

func (s slow) Get(ctx context.Context, k vault.Key) ([]byte, vault.Version, error) {
	s.f.mu.Lock()
	before := s.f.beforeIO
	s.f.mu.Unlock()
	if before != nil {
		before()
	}
	return s.Blobs.Get(ctx, k)
}

// remote is what a host gets of far.
func (f *far) remote(agent string) *Remote {
	blobs, err := dirblob.Open(f.store)
	if err != nil {
		f.t.Fatal(err)
	}
	s := seen{far: f}
	r := &Remote{Issuer: "https://broker.test", Wallet: f.wallet(signer.MasterPath())}
	if agent != "" {
		s.agent = agentOf(f.t, agent)
		r.Agent, r.Wallet = s.agent, f.wallet(signer.AgentPath(s.agent))
	}
	r.LogSeed = secret.New(bytes.Repeat([]byte{7}, 32))
	r.Keys, r.Blobs, r.Dir, r.Changes, r.Stream, r.Account = f.signer, slow{blobs, f}, s, s, s, s
	return r
}
