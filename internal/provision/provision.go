// Package provision owns the run that ends with a working credential: the
// doors of a service, the order in which they are tried, and the journal that
// makes a run safe to kill at any moment. It knows the vault, the mail and a
// person by contracts, and a page by package recipe. It must not depend on a
// browser, on local or on control.
//
// Laws:
//   - A key counts when the service itself answers for it, and is announced when
//     it has been stored and read back.
//   - What may make an account or a key is in the journal before it is done.
//   - One run for a service at a time, whatever process it is in.
//   - A closed door says why, and how it opens. What needs a person stops the
//     run, which goes on later from where it was.
package provision

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/secret"
)

var (
	// ErrBusy: another run for this service is under way.
	ErrBusy = errors.New("a run for this service is under way already")
	// ErrClosed: no door that was asked for is open.
	ErrClosed = errors.New("no door is open")
	// ErrJournal: the journal of earlier runs cannot be read.
	ErrJournal = errors.New("the journal of a run cannot be read")
	// ErrNothing: there is no run to go on with.
	ErrNothing = errors.New("there is no run to go on with")
	// ErrUnfinished: a run by another door may have left a key at the service.
	ErrUnfinished = errors.New("an earlier run did not end")
	// ErrLogin: there is an account, and what one logs in with is gone, or damaged.
	ErrLogin = errors.New("the login of the account is lost")
	// ErrPerson: a person is wanted, and none is there.
	ErrPerson = errors.New("a person is wanted")
)

// Vault is where credentials are kept, and who asks the service about them.
type Vault interface {
	// Check asks the service about the key that is stored.
	Check(ctx context.Context, s agentkeys.Service) (Checked, error)
	// Store has the service asked, keeps the key and reads it back. ErrRefused
	// wrapped if the service says no: nothing is stored then. v stays the
	// caller's.
	Store(ctx context.Context, s agentkeys.Service, v secret.Value, by catalog.Door) (Checked, error)
	// The drawers of a service hold what is the master's alone. ErrEmpty.
	Put(ctx context.Context, s agentkeys.Service, d Drawer, v secret.Value) error
	Get(ctx context.Context, s agentkeys.Service, d Drawer) (secret.Value, error)
	Drop(ctx context.Context, s agentkeys.Service, d Drawer) error
}

// Drawer names a place for a secret beside the key of a service.
type Drawer string

// The drawers that runs use.
const (
	Account Drawer = "account" // Login, as JSON
	Pending Drawer = "pending" // a key that was read and not yet verified
)

var (
	// ErrEmpty: a drawer is empty.
	ErrEmpty = errors.New("the drawer is empty")
	// ErrRefused: the service refuses a key.
	ErrRefused = errors.New("the service refuses the key")
)

// Checked is what is known of a stored key.
type Checked struct {
	Stored   bool            `json:"stored"`
	Verdict  catalog.Verdict `json:"verified,omitempty"`
	Detail   string          `json:"detail,omitempty"`
	Revision uint64          `json:"revision,omitempty"` // of a store
	Agents   []string        `json:"agents,omitempty"`   // whose copies were renewed
}

// Log is where the steps of a run are recorded for good. It takes words of our
// own alone: kinds, names of steps and doors.
type Log interface {
	Record(ctx context.Context, e Entry) error
}

// Entry is one thing that a run did.
type Entry struct {
	Service agentkeys.Service
	Op      string // provision.start, provision.step or provision.end
	Run     string
	Door    catalog.Door
	Subject string
	// Decision is allow, deny, done or failed.
	Decision, Reason string
}

// Door is one way to a credential of one service. Look may be called at any
// time and changes nothing.
type Door interface {
	Name() catalog.Door
	Look(ctx context.Context) (Opening, error)
	// Enter goes through the door. It may be called again after any end of it,
	// with the journal as it was left.
	Enter(ctx context.Context, j *Journal, tell Tell) (Found, error)
}

// Opening says whether a door is open here.
type Opening struct {
	Door catalog.Door `json:"door"`
	Open bool         `json:"open"`
	// Asked says that the door is taken only if it is asked for by name.
	Asked bool     `json:"only_by_name,omitempty"`
	Why   string   `json:"why,omitempty"` // it is not open, or is the one to take
	Fix   string   `json:"fix,omitempty"` // what would open it
	Does  []string `json:"does,omitempty"`
	Needs []string `json:"needs,omitempty"` // what a person has to bring
}

// Found is what is behind a door: a key, or a way to do without.
type Found struct {
	Secret secret.Value
	// Without says what stands in place of a key that is stored, "" if there is
	// a Secret.
	Without string
	Detail  string
}

// Tell hears what a run is about to do.
type Tell func(Phase)

// Phase is a part of a run, for a person to follow.
type Phase struct {
	Name  string        `json:"phase"`
	Note  string        `json:"note,omitempty"`
	Step  int           `json:"step,omitempty"` // from 1; 0: no steps
	Of    int           `json:"of,omitempty"`
	Took  time.Duration `json:"-"`
	Ended bool          `json:"-"`
}

// Run gets a credential for one service.
type Run struct {
	Service agentkeys.Service
	Entry   *catalog.Entry
	Doors   []Door // in order of preference
	Vault   Vault
	Log     Log
	Dir     string // of the journals; private
	Only    catalog.Door
	Force   bool // also if there is a good key
	Resume  bool // only if an earlier run did not end
	Tell    Tell
	Now     func() time.Time
	// Waits are between the times that a service is asked about a key that it
	// refuses; nil: some seconds.
	Waits []time.Duration
}

// Result is how a run ended well.
type Result struct {
	Service agentkeys.Service `json:"service"`
	Door    catalog.Door      `json:"door,omitempty"`
	// Existing says that the key was there before.
	Existing bool            `json:"existing,omitempty"`
	Resumed  bool            `json:"resumed,omitempty"`
	Without  string          `json:"without_key,omitempty"`
	Verdict  catalog.Verdict `json:"verified,omitempty"`
	Detail   string          `json:"detail,omitempty"`
	Revision uint64          `json:"revision,omitempty"`
	Agents   []string        `json:"agents,omitempty"`
}

// Plan is what a run would do.
type Plan struct {
	Service agentkeys.Service `json:"service"`
	Stored  Checked           `json:"stored"`
	// Unfinished is what an earlier run left, nil if nothing.
	Unfinished *State       `json:"unfinished,omitempty"`
	Take       catalog.Door `json:"take,omitempty"` // "": none is open, or none is needed
	Doors      []Opening    `json:"doors"`
}

// Plan says what Do would do, and changes nothing.
func (r *Run) Plan(ctx context.Context) (Plan, error) {
	p := Plan{Service: r.Service, Doors: []Opening{}}
	state, err := readState(r.path())
	if err != nil {
		return p, err
	}
	if state.open() {
		p.Unfinished = state
	}
	if p.Stored, err = r.Vault.Check(ctx, r.Service); err != nil {
		return p, err
	}
	door, all, err := r.choose(ctx, state, true)
	p.Doors = all
	switch {
	case errors.Is(err, ErrClosed):
		err = nil
	case err == nil && (r.Force || !good(p.Stored) || p.Unfinished != nil):
		p.Take = door.Name()
	}
	return p, err
}

// good reports whether a stored key is to be left alone. One that the service
// says nothing of is: to make another would not be known to be better.
func good(c Checked) bool {
	return c.Stored && c.Verdict != catalog.Bad && c.Verdict != catalog.Refused
}

// choose returns the first door that is open, or the one that was asked for or
// begun. Behind that one it looks at no other, unless every is to be known: a
// look may ask a service.
func (r *Run) choose(ctx context.Context, s *State, every bool) (Door, []Opening, error) {
	only := r.Only
	if only == "" && s.open() {
		only = s.Door
	}
	var take Door
	var all []Opening
	var shut Opening
	for _, d := range r.Doors {
		if !every && (take != nil || only != "" && only != d.Name()) {
			continue
		}
		o, err := d.Look(ctx)
		if err != nil {
			return nil, all, fmt.Errorf("door %s: %w", d.Name(), err)
		}
		o.Door = d.Name()
		all = append(all, o)
		switch {
		case only != "" && only != d.Name():
		case o.Open && take == nil && (only != "" || !o.Asked):
			take = d
		case only != "" && !o.Open:
			shut = o
		}
	}
	switch {
	case take != nil:
		return take, all, nil
	case only != "" && shut.Door != "":
		return nil, all, &Closed{Openings: []Opening{shut}, Only: only}
	}
	return nil, all, &Closed{Openings: all, Only: only}
}

// Closed says which doors were tried. It is an ErrClosed.
type Closed struct {
	Openings []Opening
	Only     catalog.Door
}

// Error names one door with its reason, or how many there are.
func (c *Closed) Error() string {
	if len(c.Openings) == 1 {
		return fmt.Sprintf("the door %s is shut: %s", c.Openings[0].Door, c.Openings[0].Why)
	}
	return fmt.Sprintf("%v: %d were looked at", ErrClosed, len(c.Openings))
}

// Unwrap returns ErrClosed.
func (c *Closed) Unwrap() error { return ErrClosed }

// Fix says what would open the one door that was asked for, or where to see
// what would open each.
func (c *Closed) Fix() string {
	if len(c.Openings) == 1 {
		return c.Openings[0].Fix
	}
	return "--plan says what would open each of them"
}
