// Package book owns who is who on a laptop: agents, their grants
// and their placeholder tokens, kept durably and answered from memory. It must
// not depend on envelope or vault: it cannot decrypt anything.
//
// Laws:
//   - Every change, but for a token's renewal, is recorded twice in the audit
//     log: as allowed before it is made, and as done or failed after.
//   - A change is durable before it is acknowledged. One that failed is taken
//     back: it is not in force, not after a restart either. Only a failure of
//     the second entry comes too late for that, and its error says so.
//   - To revoke cannot fail open. Whatever goes wrong, with the log or the disk,
//     the grant or token is dead for as long as this process lives; the error
//     says that it may not be for longer, and to repeat it makes it so.
package book

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/grant"
)

// The outcomes a caller branches on.
var (
	ErrAgentExists  = errors.New("agent exists already")
	ErrUnknownAgent = errors.New("no such agent")
	ErrUnknownGrant = errors.New("no such grant")
	ErrUnknownToken = errors.New("no such token")
	ErrCorrupt      = errors.New("corrupt state")
)

// Agent is one agent of the master.
type Agent struct {
	Label   agentkeys.Agent  `json:"label"`
	Wallet  agentkeys.Wallet `json:"wallet"`
	Created time.Time        `json:"created"`
}

// Book is safe for concurrent use. Reads never wait for the disk.
type Book struct {
	files  files
	master agentkeys.Wallet
	rec    grant.Recorder

	write sync.Mutex // serialises changes, so that the files and the maps agree

	mu     sync.RWMutex
	agents map[agentkeys.Agent]Agent
	grants map[grantKey]*grant.Grant
	tokens map[digest]*Token

	// What is revoked, though its file may be there yet because removing it
	// failed. A revocation that is repeated finds it here, unless a new grant
	// has taken its file over. Guarded by write.
	deadGrants map[grantKey]*grant.Grant
	deadTokens map[digest]*Token
}

type grantKey struct {
	agent agentkeys.Agent
	svc   agentkeys.Service
}

// Open reads the state under dir, which it makes if need be. A file that does
// not parse, or does not belong where it is, is ErrCorrupt, which names it and
// changes nothing. One process at a time may have dir open.
func Open(dir string, master agentkeys.Wallet, rec grant.Recorder) (*Book, error) {
	b := &Book{
		files: files{dir}, master: master, rec: rec,
		agents:     map[agentkeys.Agent]Agent{},
		grants:     map[grantKey]*grant.Grant{},
		tokens:     map[digest]*Token{},
		deadGrants: map[grantKey]*grant.Grant{},
		deadTokens: map[digest]*Token{},
	}
	if master.IsZero() {
		return nil, errors.New("a broker has a master")
	}
	if err := b.files.prepare(); err != nil {
		return nil, err
	}
	// Agents come first: what belongs to none of them must not come to life
	// when one of that label is made.
	if err := load(b.files, kindAgent, b.addAgent); err != nil {
		return nil, err
	}
	if err := load(b.files, kindGrant, b.addGrant); err != nil {
		return nil, err
	}
	if err := load(b.files, kindToken, b.addToken); err != nil {
		return nil, err
	}
	return b, b.files.sweep()
}

func (b *Book) addAgent(name string, a *Agent) error {
	if a.Label.String() != name || a.Wallet.IsZero() {
		return errors.New("it does not name the agent of its file")
	}
	b.agents[a.Label] = *a
	return nil
}

func (b *Book) addGrant(name string, g *grant.Grant) error {
	if err := g.Validate(); err != nil {
		return err
	}
	if grantName(g.Agent, g.Svc) != name {
		return errors.New("it does not name the grant of its file")
	}
	if g.Master != b.master || b.agents[g.Agent].Wallet != g.Wallet {
		return errors.New("it is not from this master to one of its agents")
	}
	b.grants[grantKey{g.Agent, g.Svc}] = g
	return nil
}

func (b *Book) addToken(name string, t *Token) error {
	d, err := parseDigest(t.Digest)
	if err != nil || t.Digest[:tokenNameLen] != name {
		return errors.New("it does not name the token of its file")
	}
	if _, ok := b.agents[t.Agent]; !ok {
		return errors.New("it is for no agent of this master")
	}
	b.tokens[d] = t
	return nil
}

// Master is the wallet whose agents these are.
func (b *Book) Master() agentkeys.Wallet { return b.master }

// record writes the entry before a change, and change makes it; the entry
// after says how that went, also when the caller is no longer there to hear it.
func (b *Book) record(ctx context.Context, e grant.Event, change func() error) error {
	e.Time, e.Actor, e.Decision = e.Time.UTC(), b.master, grant.Allowed
	if err := b.rec.Record(ctx, e); err != nil {
		return fmt.Errorf("recording %s: %w", e.Op, err)
	}
	err := change()
	e.Decision = grant.Done
	if err != nil {
		e.Decision, e.Reason = grant.Failed, "not durable"
	}
	if rerr := b.rec.Record(context.WithoutCancel(ctx), e); err == nil && rerr != nil {
		err = fmt.Errorf("it is done, but recording that failed: %s: %w", e.Op, rerr)
	}
	return err
}

// CreateAgent adds an agent, or fails with ErrAgentExists.
func (b *Book) CreateAgent(ctx context.Context, label agentkeys.Agent, wallet agentkeys.Wallet, now time.Time) (Agent, error) {
	b.write.Lock()
	defer b.write.Unlock()
	if label.IsZero() || wallet.IsZero() {
		return Agent{}, errors.New("an agent has a label and a wallet")
	}
	if a, ok := b.Agent(label); ok {
		return a, fmt.Errorf("%w: %s", ErrAgentExists, label)
	}
	a := Agent{label, wallet, now.UTC()}
	e := grant.Event{Time: now, Op: "agent.create", Agent: label, Subject: wallet.String()}
	return a, b.record(ctx, e, func() error {
		if err := b.files.put(kindAgent, label.String(), a, nil); err != nil {
			return err
		}
		b.mu.Lock()
		b.agents[label] = a
		b.mu.Unlock()
		return nil
	})
}

// RemoveAgent removes an agent with its grants and tokens, and returns the
// grants it had. From then on none of them is in force, whatever the error;
// it can be repeated until there is none, and returns the same grants.
func (b *Book) RemoveAgent(ctx context.Context, label agentkeys.Agent, now time.Time) ([]*grant.Grant, error) {
	b.write.Lock()
	defer b.write.Unlock()
	if _, ok := b.Agent(label); !ok {
		return nil, fmt.Errorf("%w: %s", ErrUnknownAgent, label)
	}
	for _, g := range b.GrantsOf(label) {
		b.killGrant(g)
	}
	b.killTokens(func(t *Token) bool { return t.Agent == label })
	var gone []*grant.Grant
	for _, g := range b.deadGrants {
		if g.Agent == label {
			gone = append(gone, g)
		}
	}
	sortGrants(gone)
	e := grant.Event{Time: now, Op: "agent.remove", Agent: label}
	return gone, b.record(ctx, e, func() error {
		// The agent last: what a crash leaves of it can be removed as an agent.
		for _, g := range gone {
			if err := b.files.remove(kindGrant, grantName(g.Agent, g.Svc)); err != nil {
				return err
			}
		}
		if err := b.buryTokens(func(t *Token) bool { return t.Agent == label }); err != nil {
			return err
		}
		if err := b.files.remove(kindAgent, label.String()); err != nil {
			return err
		}
		for _, g := range gone {
			delete(b.deadGrants, grantKey{g.Agent, g.Svc})
		}
		b.mu.Lock()
		delete(b.agents, label)
		b.mu.Unlock()
		return nil
	})
}

// Agent returns one agent.
func (b *Book) Agent(label agentkeys.Agent) (Agent, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	a, ok := b.agents[label]
	return a, ok
}

// Agents returns every agent, by label.
func (b *Book) Agents() []Agent {
	b.mu.RLock()
	defer b.mu.RUnlock()
	out := make([]Agent, 0, len(b.agents))
	for _, a := range b.agents {
		out = append(out, a)
	}
	slices.SortFunc(out, func(x, y Agent) int { return strings.Compare(x.Label.String(), y.Label.String()) })
	return out
}

// newID returns a random name with a prefix that says of what.
func newID(prefix string) string {
	var b [10]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand aborts the process instead
	return prefix + hex.EncodeToString(b[:])
}
