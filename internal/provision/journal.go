package provision

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/durable"
	"github.com/litentry/agentkeys/internal/provision/recipe"
)

// Mark says how sure a run is that it made something.
type Mark string

// The marks there are: nothing was made; a step that makes it has begun; it is
// there; it is stored, and all but the end of the run is done.
const (
	None  Mark = ""
	Maybe Mark = "maybe"
	Made  Mark = "made"
	Kept  Mark = "kept"
)

// State is what a run left behind, as <service>.json below the journals'
// directory. It holds no secret, no address and nothing that a page said.
//
//	{"v":1,"service":"openrouter","run":"4f2c…","door":"signup","began":…,
//	 "account":"made","key":"maybe","key_name":"agentkeys-4f2c…","step":"create","stage":"key",
//	 "failure":{"kind":"bot-check","stage":"register","step":"continue","at":…}}
type State struct {
	V       int               `json:"v"`
	Service agentkeys.Service `json:"service"`
	// Run is random; the journal keeps it until the run has ended well.
	Run   string       `json:"run,omitempty"`
	Door  catalog.Door `json:"door,omitempty"`
	Began time.Time    `json:"began,omitzero"`
	// Account outlives runs: once there is one, nobody registers again.
	Account Mark `json:"account,omitempty"`
	Key     Mark `json:"key,omitempty"`
	// KeyName is what the run calls its key at the service, so that one that was
	// made and lost can be found there.
	KeyName string    `json:"key_name,omitempty"`
	Stage   string    `json:"stage,omitempty"`
	Step    string    `json:"step,omitempty"` // the last that was begun
	Failure *Stopping `json:"failure,omitempty"`
}

// Stopping is why a run stopped.
type Stopping struct {
	Kind  string    `json:"kind"`
	Stage string    `json:"stage,omitempty"`
	Step  string    `json:"step,omitempty"`
	Needs string    `json:"needs,omitempty"` // of a person
	At    time.Time `json:"at"`
}

// open reports whether a run did not end.
func (s *State) open() bool { return s != nil && s.Run != "" }

const maxState = 64 << 10

// readState returns nil if there is none.
func readState(path string) (*State, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrJournal, err)
	}
	s, err := parseState(path, data)
	if err == nil && filepath.Base(path) != s.Service.String()+".json" {
		return nil, fmt.Errorf("%w: %s is of another service", ErrJournal, path)
	}
	return s, err
}

func parseState(name string, data []byte) (*State, error) {
	var s State
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if len(data) > maxState || dec.Decode(&s) != nil {
		return nil, fmt.Errorf("%w: %s", ErrJournal, name)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) || s.V != 1 || s.Service.IsZero() {
		return nil, fmt.Errorf("%w: %s", ErrJournal, name)
	}
	return &s, nil
}

// States returns the runs below dir that did not end, by service, and an
// ErrJournal for each journal that cannot be read.
func States(dir string) (open []State, damaged []error, err error) {
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	for _, f := range files {
		if filepath.Ext(f.Name()) != ".json" {
			continue
		}
		s, err := readState(filepath.Join(dir, f.Name()))
		switch {
		case err != nil:
			damaged = append(damaged, err)
		case s.open():
			open = append(open, *s)
		}
	}
	return open, damaged, nil
}

// Journal is the state of a run that is under way. What one of its methods
// acknowledged is on the disk.
type Journal struct {
	path  string
	state State
	log   Log
	now   func() time.Time
}

// State returns a copy.
func (j *Journal) State() State { return j.state }

func (j *Journal) save() error {
	data, err := json.Marshal(j.state)
	if err != nil {
		return err
	}
	return durable.WriteFile(j.path, append(data, '\n'))
}

// start begins a run, or goes on with one that did not end.
func (j *Journal) start(ctx context.Context, d catalog.Door) (resumed bool, err error) {
	resumed = j.state.open() && j.state.Door == d
	if !resumed {
		var random [8]byte
		if _, err := rand.Read(random[:]); err != nil {
			return false, err
		}
		j.state.Run, j.state.Door, j.state.Began = hex.EncodeToString(random[:]), d, j.now().UTC()
		j.state.Key, j.state.KeyName = None, "agentkeys-"+j.state.Run
	}
	j.state.Failure = nil
	if err := j.save(); err != nil {
		return resumed, err
	}
	subject := ""
	if resumed {
		subject = "resumed"
	}
	return resumed, j.record(ctx, "provision.start", subject, "allow", "")
}

func (j *Journal) record(ctx context.Context, op, subject, decision, reason string) error {
	return j.log.Record(ctx, Entry{
		Service: j.state.Service, Op: op, Run: j.state.Run, Door: j.state.Door,
		Subject: subject, Decision: decision, Reason: reason,
	})
}

// Begin notes that a step of a recipe is about to be done.
func (j *Journal) Begin(ctx context.Context, e recipe.Event) error {
	j.state.Stage, j.state.Step = string(e.Stage), e.Step
	if e.Makes == "" {
		return nil // to do it again makes nothing
	}
	switch {
	case e.Makes == "account" && j.state.Account == None:
		j.state.Account = Maybe
	case e.Makes == "key":
		j.state.Key = Maybe
	}
	if err := j.save(); err != nil {
		return err
	}
	return j.record(ctx, "provision.step", string(e.Stage)+" "+e.Step, "allow", "makes "+e.Makes)
}

// End notes that a step has ended.
func (j *Journal) End(ctx context.Context, e recipe.Event) error {
	if e.Err == nil && e.Makes == "" {
		return nil
	}
	decision, reason := "done", ""
	if f, ok := errors.AsType[*recipe.Failure](e.Err); ok {
		decision, reason = "failed", string(f.Kind)
	} else if e.Err != nil {
		decision = "failed"
	}
	return j.record(ctx, "provision.step", string(e.Stage)+" "+e.Step, decision, reason)
}

// HasAccount notes that there is an account for certain.
func (j *Journal) HasAccount() error {
	if j.state.Account == Made {
		return nil
	}
	j.state.Account = Made
	return j.save()
}

// NoAccount notes that the service knows none: what a run that was cut had
// begun came to nothing.
func (j *Journal) NoAccount() error {
	j.state.Account = None
	return j.save()
}

// HasKey notes that a key was read, and is in the vault.
func (j *Journal) HasKey() error {
	j.state.Key = Made
	return j.save()
}

// kept notes that the key is stored.
func (j *Journal) kept() error {
	j.state.Key = Kept
	return j.save()
}

// stop notes why the run stopped.
func (j *Journal) stop(ctx context.Context, err error) error {
	s := &Stopping{Kind: "failed", Stage: j.state.Stage, Step: j.state.Step, At: j.now().UTC()}
	f, ok := errors.AsType[*recipe.Failure](err)
	switch {
	case ok:
		s.Kind, s.Stage, s.Step, s.Needs = string(f.Kind), string(f.Stage), f.Step, f.Need.What
	case errors.Is(err, context.Canceled):
		s.Kind = string(recipe.Stopped)
	case errors.Is(err, ErrRefused):
		s.Kind = "key-refused"
	}
	j.state.Failure = s
	return errors.Join(j.save(), j.record(ctx, "provision.end", s.Stage+" "+s.Step, "failed", s.Kind))
}

// finish ends the run. That there is an account is remembered.
func (j *Journal) finish(ctx context.Context) error {
	if err := j.record(ctx, "provision.end", "", "done", ""); err != nil {
		return err
	}
	j.state = State{V: 1, Service: j.state.Service, Account: j.state.Account}
	return j.save()
}
