package provision

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/durable"
	"github.com/litentry/agentkeys/internal/secret"
)

func (r *Run) path() string { return filepath.Join(r.Dir, r.Service.String()+".json") }

func (r *Run) tell(name, note string) {
	if r.Tell != nil {
		r.Tell(Phase{Name: name, Note: note})
	}
}

// Do gets the credential. ErrBusy, ErrClosed as *Closed, ErrNothing; errors of
// the door.
func (r *Run) Do(ctx context.Context) (Result, error) {
	res := Result{Service: r.Service}
	if err := durable.MkdirAll(r.Dir); err != nil {
		return res, err
	}
	free, err := durable.Lock(filepath.Join(r.Dir, r.Service.String()+".lock"))
	if errors.Is(err, durable.ErrLocked) {
		return res, fmt.Errorf("%w: %s", ErrBusy, r.Service)
	}
	if err != nil {
		return res, err
	}
	defer free()
	old, err := readState(r.path())
	if err != nil {
		return res, err
	}
	if r.Resume && !old.open() {
		return res, ErrNothing
	}
	j := &Journal{path: r.path(), state: State{V: 1, Service: r.Service}, log: r.Log, now: r.Now}
	if old != nil {
		j.state = *old
	} else if err := r.remember(ctx, j); err != nil {
		return res, err
	}
	done, err := r.pick(ctx, j, &res)
	if done || err != nil {
		return res, err
	}
	// A run that may have made a key goes on, to take it away if nothing else.
	if !r.Force && j.state.Key == None {
		r.tell("look", "is there a key already?")
		c, err := r.Vault.Check(ctx, r.Service)
		if err != nil {
			return res, err
		}
		if good(c) {
			res.Existing, res.Verdict, res.Detail = true, c.Verdict, c.Detail
			if j.state.open() {
				err = j.finish(ctx) // its owner has brought one meanwhile
			}
			return res, err
		}
	}
	door, _, err := r.choose(ctx, &j.state, false)
	if err != nil {
		return res, err
	}
	if s := j.state; s.open() && s.Door != door.Name() && s.Key == Maybe && !r.Force {
		// Only that run knows what its key is called, and takes it away.
		return res, fmt.Errorf("%w: by %s, and a key named %s may be left at the service", ErrUnfinished, s.Door, s.KeyName)
	}
	return res, r.enter(ctx, j, door, &res)
}

// ForgetAccount has the next run for a service make an account anew, and reports
// whether one was remembered. ErrBusy.
func ForgetAccount(dir string, svc agentkeys.Service) (had bool, err error) {
	r := &Run{Dir: dir, Service: svc}
	free, err := durable.Lock(filepath.Join(dir, svc.String()+".lock"))
	if errors.Is(err, durable.ErrLocked) {
		return false, fmt.Errorf("%w: %s", ErrBusy, svc)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // there never was a run
	}
	if err != nil {
		return false, err
	}
	defer free()
	s, err := readState(r.path())
	if err != nil || s == nil {
		return false, err
	}
	j := &Journal{path: r.path(), state: *s}
	return s.Account != None, j.NoAccount()
}

// remember takes a login in the vault for a sign that there may be an account:
// the journal that knew was lost.
func (r *Run) remember(ctx context.Context, j *Journal) error {
	v, err := r.Vault.Get(ctx, r.Service, Account)
	if errors.Is(err, ErrEmpty) {
		return nil
	}
	if err == nil {
		j.state.Account = Maybe
	}
	v.Clear()
	return err
}

// pick ends a run that had read a key when it was killed: the key is in the
// vault, and has only to be verified, or even that is done.
func (r *Run) pick(ctx context.Context, j *Journal, res *Result) (done bool, err error) {
	if j.state.open() && j.state.Key == Kept {
		c, err := r.Vault.Check(ctx, r.Service)
		if err != nil {
			return false, err
		}
		res.Resumed, res.Door, res.Verdict, res.Detail = true, j.state.Door, c.Verdict, c.Detail
		return true, r.end(ctx, j)
	}
	v, err := r.Vault.Get(ctx, r.Service, Pending)
	if errors.Is(err, ErrEmpty) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer v.Clear()
	res.Resumed = true
	if !j.state.open() {
		// The journal was lost, and the key was not.
		if _, err := j.start(ctx, catalog.Signup); err != nil {
			return false, err
		}
	}
	err = r.keep(ctx, j, v, res)
	if errors.Is(err, ErrRefused) {
		// It was no key, or is none any more: the run goes on for another.
		res.Resumed = false
		return false, nil
	}
	return err == nil, err
}

func (r *Run) enter(ctx context.Context, j *Journal, door Door, res *Result) error {
	resumed, err := j.start(ctx, door.Name())
	if err != nil {
		return err
	}
	res.Door, res.Resumed = door.Name(), resumed
	r.tell("door", string(door.Name()))
	found, err := door.Enter(ctx, j, r.Tell)
	if err != nil {
		// Also where the context has ended: why it stopped is to be known.
		return errors.Join(err, j.stop(context.WithoutCancel(ctx), err))
	}
	defer found.Secret.Clear()
	if found.Without != "" {
		res.Without, res.Detail = found.Without, found.Detail
		return j.finish(ctx)
	}
	r.tell("keep", "the key goes into the vault before anything else")
	if err := r.Vault.Put(ctx, r.Service, Pending, found.Secret); err != nil {
		return errors.Join(err, j.stop(context.WithoutCancel(ctx), err))
	}
	if err := j.HasKey(); err != nil {
		return err
	}
	return r.keep(ctx, j, found.Secret, res)
}

// keep verifies a key that is in the drawer, stores it, and ends the run.
func (r *Run) keep(ctx context.Context, j *Journal, v secret.Value, res *Result) error {
	res.Door = j.state.Door
	r.tell("verify", "the service is asked about the key")
	c, err := r.store(ctx, v, j.state.Door)
	if errors.Is(err, ErrRefused) {
		// What the service does not answer for is kept nowhere.
		err = errors.Join(err, r.Vault.Drop(ctx, r.Service, Pending))
		if serr := j.stop(context.WithoutCancel(ctx), err); serr != nil {
			err = errors.Join(err, serr)
		}
		return err
	}
	if err != nil {
		return errors.Join(err, j.stop(context.WithoutCancel(ctx), err))
	}
	res.Verdict, res.Detail, res.Revision, res.Agents = c.Verdict, c.Detail, c.Revision, c.Agents
	if err := j.kept(); err != nil {
		return err
	}
	return r.end(ctx, j)
}

// store asks again for a while where the service refuses the key: one that was
// just made is not known everywhere at once.
func (r *Run) store(ctx context.Context, v secret.Value, by catalog.Door) (Checked, error) {
	waits := r.Waits
	if waits == nil {
		waits = []time.Duration{time.Second, 2 * time.Second, 4 * time.Second}
	}
	for {
		c, err := r.Vault.Store(ctx, r.Service, v, by)
		if !errors.Is(err, ErrRefused) || len(waits) == 0 {
			return c, err
		}
		select {
		case <-ctx.Done():
			return c, ctx.Err()
		case <-time.After(waits[0]):
		}
		waits = waits[1:]
	}
}

// end empties the drawer and closes the journal.
func (r *Run) end(ctx context.Context, j *Journal) error {
	if err := r.Vault.Drop(ctx, r.Service, Pending); err != nil && !errors.Is(err, ErrEmpty) {
		return err
	}
	return j.finish(ctx)
}
