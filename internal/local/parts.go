package local

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/book"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/signer"
	"github.com/litentry/agentkeys/internal/vault"
)

// ErrAgentHost says that a host serves one agent and manages nothing.
var ErrAgentHost = errors.New("this machine is an agent's")

// ErrRemote says that something is the broker's affair, and not this machine's.
var ErrRemote = errors.New("the broker's operator does that")

// ErrAway says that the broker, the store or the signer cannot be reached.
var ErrAway = errors.New("not reachable now")

// ErrRefusedAway says that the store or the signer said no.
var ErrRefusedAway = errors.New("refused")

// ErrLoggedOut says that the broker does not know this device any more.
var ErrLoggedOut = errors.New("this device is logged out")

// ErrNoBroker says that something takes a broker, and this host has none.
var ErrNoBroker = errors.New("there is no broker")

// Directory is who is who at this moment: the agents, and what each is lent.
// Reads never wait.
type Directory interface {
	Agent(agentkeys.Agent) (book.Agent, bool)
	Agents() []book.Agent // by label
	// Grant returns the grant in force, or nil: the same one as long as it is.
	Grant(agentkeys.Agent, agentkeys.Service) *grant.Grant
	Grants() []*grant.Grant // by agent and service
}

// Changes are how a broker is told to change its Directory. What was
// acknowledged is in the Directory from then on.
type Changes interface {
	CreateAgent(context.Context, agentkeys.Agent) (book.Agent, error)
	RemoveAgent(context.Context, agentkeys.Agent) error
	PutGrant(context.Context, agentkeys.Agent, agentkeys.Service, book.Terms) (*grant.Grant, error)
	// RemoveGrant ends a grant. Whatever the error, it is in this Directory no
	// more; with book.ErrUnknownGrant the broker has none.
	RemoveGrant(context.Context, agentkeys.Agent, agentkeys.Service) (*grant.Grant, error)
}

// Stream is how a broker keeps its Directory true.
type Stream interface {
	// Fresh returns nil if whatever was revoked more than a second ago is out
	// of the Directory. It may wait a few seconds for that, and no longer.
	Fresh(context.Context) error
	// Watch has f called with every change, after it was made: one call at a
	// time, and f must not wait.
	Watch(f func(Change))
	// Status says how the stream does.
	Status() StreamStatus
}

// Change is what has become of a Directory.
type Change struct {
	Gone   []*grant.Grant // no longer in force, or replaced by another
	Agents bool           // there are others than before
}

// StreamStatus is what may be shown of a Stream.
type StreamStatus struct {
	State string    `json:"state"` // live, silent or ended
	Heard time.Time `json:"heard,omitzero"`
	Error string    `json:"error,omitempty"` // why it is not live
}

// The states of a stream.
const (
	StreamLive   = "live"
	StreamSilent = "silent"
	StreamEnded  = "ended" // the device is out, for good
)

// Account is what a master does at its broker besides.
type Account interface {
	Enrolment(context.Context, agentkeys.Agent) (brokerapi.Enrolment, error)
	Devices(context.Context) ([]brokerapi.Device, error)
	RevokeDevice(ctx context.Context, id string) error
}

// Remote are the parts of a Host that stand elsewhere, in place of roots, store
// and book on this machine. Placeholders, the audit log, the ledger and the
// marks stay here.
type Remote struct {
	Issuer  string
	Wallet  agentkeys.Wallet // whose credentials these are
	Agent   agentkeys.Agent  // not zero: Wallet is this agent's, and nothing is managed here
	LogSeed secret.Value     // of the key that signs the audit log; the Host owns it
	Keys    vault.KeySource
	Blobs   vault.Blobs
	Dir     Directory
	Changes Changes
	Stream  Stream
	Account Account
	Mail    *Mail // nil: no mail comes in
	// Identity makes a token about Wallet that services elsewhere can verify.
	// ErrAudience if none is issued for them.
	Identity func(ctx context.Context, audience string) (token string, expires time.Time, err error)
}

// directory is a Directory that can be changed, with the time of it.
type directory interface {
	Directory
	CreateAgent(context.Context, agentkeys.Agent, time.Time) (book.Agent, error)
	RemoveAgent(context.Context, agentkeys.Agent, time.Time) ([]*grant.Grant, error)
	PutGrant(context.Context, agentkeys.Agent, agentkeys.Service, book.Terms, time.Time) (*grant.Grant, error)
	RemoveGrant(context.Context, agentkeys.Agent, agentkeys.Service, time.Time) (*grant.Grant, error)
}

// laptop is the directory on this machine: wallets are derived here as well.
type laptop struct {
	*book.Book
	signer *signer.Signer
}

func (l laptop) CreateAgent(ctx context.Context, label agentkeys.Agent, now time.Time) (book.Agent, error) {
	wallet, err := l.signer.Wallet(l.signer.Account(), signer.AgentPath(label))
	if err != nil {
		return book.Agent{}, err
	}
	return l.Book.CreateAgent(ctx, label, wallet, now)
}

// recorded is a broker's directory. Its changes are recorded as those of a book
// are: as allowed before they are made, and as done or failed after.
type recorded struct {
	Directory
	changes Changes
	rec     grant.Recorder
	wallet  agentkeys.Wallet
	mirror  func() error // makes the book know the agents
}

func (r recorded) record(ctx context.Context, e grant.Event, change func() error) error {
	e.Time, e.Actor, e.Decision = e.Time.UTC(), r.wallet, grant.Allowed
	if err := r.rec.Record(ctx, e); err != nil {
		return fmt.Errorf("recording %s: %w", e.Op, err)
	}
	err := change()
	e.Decision = grant.Done
	if err != nil {
		e.Decision, e.Reason = grant.Failed, "not acknowledged by the broker"
	}
	if rerr := r.rec.Record(context.WithoutCancel(ctx), e); err == nil && rerr != nil {
		err = fmt.Errorf("it is done, but recording that failed: %s: %w", e.Op, rerr)
	}
	return err
}

// revoke is record, but makes the change also if it cannot be recorded: to
// revoke cannot fail open.
func (r recorded) revoke(ctx context.Context, e grant.Event, change func() error) error {
	asked := false
	err := r.record(ctx, e, func() error { asked = true; return change() })
	if !asked {
		err = errors.Join(err, change())
	}
	return err
}

func (r recorded) CreateAgent(ctx context.Context, label agentkeys.Agent, now time.Time) (a book.Agent, err error) {
	e := grant.Event{Time: now, Op: "agent.create", Agent: label}
	return a, errors.Join(r.record(ctx, e, func() error {
		a, err = r.changes.CreateAgent(ctx, label)
		return err
	}), r.mirror())
}

func (r recorded) RemoveAgent(ctx context.Context, label agentkeys.Agent, now time.Time) ([]*grant.Grant, error) {
	gone := ofAgent(r.Grants(), label)
	e := grant.Event{Time: now, Op: "agent.remove", Agent: label}
	err := r.revoke(ctx, e, func() error { return r.changes.RemoveAgent(ctx, label) })
	return gone, errors.Join(err, r.mirror())
}

func (r recorded) PutGrant(ctx context.Context, label agentkeys.Agent, svc agentkeys.Service, t book.Terms, now time.Time) (g *grant.Grant, err error) {
	e := grant.Event{Time: now, Op: "grant.create", Agent: label, Svc: svc, Subject: "expires " + t.Expires.UTC().Format(time.RFC3339)}
	err = r.record(ctx, e, func() error {
		g, err = r.changes.PutGrant(ctx, label, svc, t)
		return err
	})
	return g, err
}

// RemoveGrant goes to the broker also if nothing is known of the grant here.
func (r recorded) RemoveGrant(ctx context.Context, label agentkeys.Agent, svc agentkeys.Service, now time.Time) (g *grant.Grant, err error) {
	e := grant.Event{Time: now, Op: "grant.revoke", Agent: label, Svc: svc}
	if known := r.Grant(label, svc); known != nil {
		e.Grant = known.ID
	}
	err = r.revoke(ctx, e, func() error {
		var err error
		g, err = r.changes.RemoveGrant(ctx, label, svc)
		return err
	})
	return g, err
}

func ofAgent(all []*grant.Grant, label agentkeys.Agent) []*grant.Grant {
	return slices.DeleteFunc(slices.Clone(all), func(g *grant.Grant) bool { return g.Agent != label })
}

func (h *Host) grantsOf(label agentkeys.Agent) []*grant.Grant { return ofAgent(h.dir.Grants(), label) }

func (h *Host) grantsFor(svc agentkeys.Service) []*grant.Grant {
	return slices.DeleteFunc(slices.Clone(h.dir.Grants()), func(g *grant.Grant) bool { return g.Svc != svc })
}

// manage refuses what only a master may do.
func (h *Host) manage() error {
	if r := h.opts.Remote; r != nil && !r.Agent.IsZero() {
		return fmt.Errorf("%w: it serves agent %s and manages nothing", ErrAgentHost, r.Agent)
	}
	return nil
}

// account is the broker's side of a master's affairs.
func (h *Host) account() (Account, error) {
	if h.opts.Remote == nil {
		return nil, ErrNoBroker
	}
	return h.opts.Remote.Account, h.manage()
}

// Enrolment makes a one-time code by which a machine becomes an agent's.
func (h *Host) Enrolment(ctx context.Context, label agentkeys.Agent) (brokerapi.Enrolment, error) {
	acc, err := h.account()
	if err != nil {
		return brokerapi.Enrolment{}, err
	}
	e := grant.Event{Time: h.now().UTC(), Op: "agent.enrol", Actor: h.wallet, Agent: label, Decision: grant.Allowed}
	if err := h.audit.Record(ctx, e); err != nil {
		return brokerapi.Enrolment{}, err
	}
	return acc.Enrolment(ctx, label)
}

// Devices lists the devices of the account and of its agents.
func (h *Host) Devices(ctx context.Context) ([]brokerapi.Device, error) {
	acc, err := h.account()
	if err != nil {
		return nil, err
	}
	return acc.Devices(ctx)
}

// RevokeDevice ends a device's sessions for good, also if that cannot be
// recorded here: to revoke cannot fail open.
func (h *Host) RevokeDevice(ctx context.Context, id string) error {
	acc, err := h.account()
	if err != nil {
		return err
	}
	e := grant.Event{Time: h.now().UTC(), Op: "device.revoke", Actor: h.wallet, Subject: id, Decision: grant.Allowed}
	err = h.audit.Record(ctx, e)
	if err != nil {
		err = fmt.Errorf("recording %s: %w", e.Op, err)
	}
	return errors.Join(err, acc.RevokeDevice(ctx, id))
}
