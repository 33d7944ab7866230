package brokerclient

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/grant"
)

// ErrStale: it is not known whether what was lent is still in force.
var ErrStale = errors.New("the broker is not heard")

// ErrEnded: this device is out, and stays out until it logs in anew.
var ErrEnded = errors.New("the broker has ended the login of this device")

const (
	// freshFor is how old what was told may be for anything to be lent: a little
	// less than the second in which a revocation takes effect everywhere.
	freshFor = 900 * time.Millisecond
	// freshWait is how long Fresh waits for a beat.
	freshWait = 5 * time.Second
	// maxDead bounds how many grants are remembered as dead.
	maxDead = 1000
)

// Change is what has become of a Directory.
type Change struct {
	Gone   []*grant.Grant // no longer in force, or replaced by another
	Agents bool           // there are others than before
}

// Directory is what the broker says is in force for a session's wallet, as of
// the last beat. Reads never wait. A grant that is listed anew under its id is
// the same *grant.Grant; nobody changes one.
type Directory struct {
	now  func() time.Time
	kick func() // the stream is to try again now

	tell sync.Mutex // one Change at a time
	f    func(Change)

	mu     sync.RWMutex
	agents map[agentkeys.Agent]brokerapi.Agent
	grants map[grantKey]*grant.Grant
	dead   map[string]bool // ids of grants that were taken back here
	order  []string        // of dead, oldest first
	beat   time.Time       // all that was revoked before is told; zero: nothing is
	ended  bool
	out    chan struct{} // closed with the end
	err    error         // why nothing is heard
	heard  chan struct{} // closed at the next word
}

type grantKey struct {
	agent agentkeys.Agent
	svc   agentkeys.Service
}

func newDirectory(now func() time.Time, kick func()) *Directory {
	return &Directory{
		now: now, kick: kick, heard: make(chan struct{}), out: make(chan struct{}), dead: map[string]bool{},
		agents: map[agentkeys.Agent]brokerapi.Agent{}, grants: map[grantKey]*grant.Grant{},
	}
}

// Watch has f called with every change, after it was made: one call at a time.
// f must not wait, and not change the Directory.
func (d *Directory) Watch(f func(Change)) {
	d.tell.Lock()
	defer d.tell.Unlock()
	d.f = f
}

// change makes a change and tells of it.
func (d *Directory) change(make func() Change) {
	d.tell.Lock()
	defer d.tell.Unlock()
	d.mu.Lock()
	c := make()
	d.wake()
	d.mu.Unlock()
	if d.f != nil && (len(c.Gone) > 0 || c.Agents) {
		d.f(c)
	}
}

// wake wakes whoever waits; mu is held.
func (d *Directory) wake() {
	close(d.heard)
	d.heard = make(chan struct{})
}

// snapshot is all there is, as of the moment of asking.
func (d *Directory) snapshot(s brokerapi.Snapshot, asOf time.Time) {
	d.change(func() (c Change) {
		old := d.grants
		d.grants = map[grantKey]*grant.Grant{}
		for i := range s.Grants {
			g := &s.Grants[i]
			k := grantKey{g.Agent, g.Svc}
			if d.dead[g.ID] {
				continue
			}
			if was := old[k]; was != nil && was.ID == g.ID {
				g = was
			}
			d.grants[k] = g
		}
		for k, g := range old {
			if d.grants[k] != g {
				c.Gone = append(c.Gone, g)
			}
		}
		c.Agents = d.setAgents(s.Agents)
		d.beat, d.err = asOf, nil
		return c
	})
}

func (d *Directory) setAgents(all []brokerapi.Agent) (changed bool) {
	next := map[agentkeys.Agent]brokerapi.Agent{}
	for _, a := range all {
		next[a.Label] = a
		was := d.agents[a.Label]
		// One that was made anew under its label has its wallet.
		changed = changed || was.Wallet != a.Wallet || !was.Created.Equal(a.Created)
	}
	changed = changed || len(next) != len(d.agents)
	d.agents = next
	return changed
}

func (d *Directory) put(g *grant.Grant) {
	d.change(func() (c Change) {
		k := grantKey{g.Agent, g.Svc}
		was := d.grants[k]
		if d.dead[g.ID] || was != nil && was.ID == g.ID {
			return c
		}
		d.grants[k] = g
		if was != nil {
			c.Gone = []*grant.Grant{was}
		}
		return c
	})
}

// revoked ends the grant of that id; another in its place stays.
func (d *Directory) revoked(r brokerapi.Revoked) {
	d.change(func() (c Change) {
		d.kill(r.Grant)
		k := grantKey{r.Agent, r.Service}
		if g := d.grants[k]; g != nil && (r.Grant == "" || g.ID == r.Grant) {
			delete(d.grants, k)
			c.Gone = []*grant.Grant{g}
		}
		return c
	})
}

// Take ends a grant here, whatever the broker says of it from now on, and
// returns it; nil if there is none.
func (d *Directory) Take(a agentkeys.Agent, s agentkeys.Service) (g *grant.Grant) {
	d.change(func() (c Change) {
		k := grantKey{a, s}
		if g = d.grants[k]; g == nil {
			return c
		}
		d.kill(g.ID)
		delete(d.grants, k)
		return Change{Gone: []*grant.Grant{g}}
	})
	return g
}

// kill keeps a grant from coming back; mu is held.
func (d *Directory) kill(id string) {
	if id == "" || d.dead[id] {
		return
	}
	if d.order = append(d.order, id); len(d.order) > maxDead {
		delete(d.dead, d.order[0])
		d.order = d.order[1:]
	}
	d.dead[id] = true
}

// end drops everything, for good.
func (d *Directory) end(err error) {
	d.change(func() Change {
		c := Change{Agents: len(d.agents) > 0}
		for _, g := range d.grants {
			c.Gone = append(c.Gone, g)
		}
		d.agents, d.grants = map[agentkeys.Agent]brokerapi.Agent{}, map[grantKey]*grant.Grant{}
		if !d.ended {
			close(d.out)
		}
		d.ended, d.err = true, err
		return c
	})
}

// beaten says that all that was revoked before asOf is told.
func (d *Directory) beaten(asOf time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.beat, d.err = asOf, nil
	d.wake()
}

// lost notes why nothing is heard.
func (d *Directory) lost(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
}

// since is how long ago t was, by the clock that ran longer: the monotonic one
// stands still while a laptop sleeps, and the other can be set.
func since(t, now time.Time) time.Duration {
	return max(now.Sub(t), now.Round(0).Sub(t.Round(0)).Abs())
}

// Fresh returns nil if a beat was heard a moment ago: all that was revoked more
// than a second ago is out of the Directory. It waits up to five seconds for
// one. ErrStale, ErrEnded.
func (d *Directory) Fresh(ctx context.Context) error {
	return d.Await(ctx, func() bool {
		_, live, _ := d.Heard()
		return live
	})
}

// Await waits as long as Fresh until the Directory has what is wanted, which it
// asks after every change. ErrStale, ErrEnded.
func (d *Directory) Await(ctx context.Context, wanted func() bool) error {
	var timer *time.Timer
	for {
		// In this order: a change after it wakes.
		d.mu.RLock()
		ended, heard, beat, err := d.ended, d.heard, d.beat, d.err
		d.mu.RUnlock()
		switch {
		case ended:
			return endedFor(err)
		case wanted():
			return nil
		}
		if timer == nil {
			timer = time.NewTimer(freshWait)
			defer timer.Stop()
			d.kick()
		}
		select {
		case <-heard:
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			return stale(beat, err)
		}
	}
}

func endedFor(err error) error {
	if err == nil || errors.Is(err, ErrEnded) {
		return ErrEnded
	}
	return fmt.Errorf("%w: %w", ErrEnded, err)
}

func stale(beat time.Time, err error) error {
	text := "never yet"
	if !beat.IsZero() {
		text = "broker unreachable since " + beat.UTC().Format(time.RFC3339)
	}
	if err == nil {
		return fmt.Errorf("%w: %s", ErrStale, text)
	}
	return fmt.Errorf("%w: %s: %w", ErrStale, text, err)
}

// Heard says when the last beat came, and what is wrong since.
func (d *Directory) Heard() (at time.Time, live bool, err error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	live = !d.ended && !d.beat.IsZero() && since(d.beat, d.now()) <= freshFor
	if d.ended {
		return d.beat, false, endedFor(d.err)
	}
	return d.beat, live, d.err
}

// Out is closed as soon as this device is out: Fresh says ErrEnded from then on.
func (d *Directory) Out() <-chan struct{} { return d.out }

// Agent returns one agent.
func (d *Directory) Agent(label agentkeys.Agent) (brokerapi.Agent, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	a, ok := d.agents[label]
	return a, ok
}

// Agents returns every agent, by label.
func (d *Directory) Agents() []brokerapi.Agent {
	d.mu.RLock()
	defer d.mu.RUnlock()
	out := make([]brokerapi.Agent, 0, len(d.agents))
	for _, a := range d.agents {
		out = append(out, a)
	}
	slices.SortFunc(out, func(x, y brokerapi.Agent) int { return strings.Compare(x.Label.String(), y.Label.String()) })
	return out
}

// Grant returns the grant of svc to an agent, or nil.
func (d *Directory) Grant(label agentkeys.Agent, svc agentkeys.Service) *grant.Grant {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.grants[grantKey{label, svc}]
}

// Grants returns every grant, by agent and service.
func (d *Directory) Grants() []*grant.Grant {
	d.mu.RLock()
	defer d.mu.RUnlock()
	out := make([]*grant.Grant, 0, len(d.grants))
	for _, g := range d.grants {
		out = append(out, g)
	}
	slices.SortFunc(out, func(x, y *grant.Grant) int {
		return cmp.Or(strings.Compare(x.Agent.String(), y.Agent.String()), strings.Compare(x.Svc.String(), y.Svc.String()))
	})
	return out
}
