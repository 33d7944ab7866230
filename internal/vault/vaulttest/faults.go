package vaulttest

import (
	"context"
	"errors"
	"sync"

	"github.com/litentry/agentkeys/internal/vault"
)

// ErrInjected is the error of a step that was made to fail, and of every step
// of a process that was killed.
var ErrInjected = errors.New("injected fault")

// Fault is what happens at a step.
type Fault int

// The faults there are.
const (
	None       Fault = iota
	Fail             // not done, and an error
	FailDone         // done, and an error all the same
	Kill             // the process ends before it is done
	KillDone         // the process ends when it is done
	faultCount       // for tables
)

// EveryFault lists the faults, without None.
func EveryFault() []Fault {
	var all []Fault
	for f := None + 1; f < faultCount; f++ {
		all = append(all, f)
	}
	return all
}

func (f Fault) String() string {
	return [...]string{"none", "fail", "fail but done", "kill", "kill when done", ""}[f]
}

// Faults is one process that meets one Fault. Every call of the Blobs and
// Marks that pass through it, reads too, is a step, counted from 0. To go on
// after a kill, leave it and use what it wraps.
type Faults struct {
	mu     sync.Mutex
	fault  Fault
	at     int
	step   int
	dead   bool
	before func(step int)
}

// NewFaults makes one that meets f at step at. before, which may be nil, is
// called ahead of every step.
func NewFaults(f Fault, at int, before func(step int)) *Faults {
	return &Faults{fault: f, at: at, before: before}
}

// Met reports whether the fault has happened.
func (f *Faults) Met() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fault != None && f.step > f.at
}

// Steps is how many steps there were.
func (f *Faults) Steps() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.step
}

// do runs one step.
func (f *Faults) do(step func() error) error {
	f.mu.Lock()
	if f.dead {
		f.mu.Unlock()
		return ErrInjected
	}
	fault, n := None, f.step
	if f.step == f.at {
		fault = f.fault
	}
	f.step++
	f.dead = fault == Kill || fault == KillDone
	f.mu.Unlock()
	if f.before != nil {
		f.before(n)
	}
	if fault == Fail || fault == Kill {
		return ErrInjected
	}
	err := step()
	if fault != None {
		return ErrInjected
	}
	return err
}

// Blobs passes b through f.
func (f *Faults) Blobs(b vault.Blobs) vault.Blobs { return faultyBlobs{f, b} }

// Marks passes m through f.
func (f *Faults) Marks(m vault.Marks) vault.Marks { return faultyMarks{f, m} }

type faultyBlobs struct {
	f *Faults
	b vault.Blobs
}

func (x faultyBlobs) Get(ctx context.Context, k vault.Key) (data []byte, v vault.Version, err error) {
	err = x.f.do(func() (err error) { data, v, err = x.b.Get(ctx, k); return err })
	return data, v, err
}

func (x faultyBlobs) Put(ctx context.Context, k vault.Key, data []byte, c vault.Condition) (v vault.Version, err error) {
	err = x.f.do(func() (err error) { v, err = x.b.Put(ctx, k, data, c); return err })
	return v, err
}

func (x faultyBlobs) Delete(ctx context.Context, k vault.Key, v vault.Version) error {
	return x.f.do(func() error { return x.b.Delete(ctx, k, v) })
}

func (x faultyBlobs) List(ctx context.Context, p vault.Prefix, after vault.Key, limit int) (page vault.Page, err error) {
	err = x.f.do(func() (err error) { page, err = x.b.List(ctx, p, after, limit); return err })
	return page, err
}

type faultyMarks struct {
	f *Faults
	m vault.Marks
}

func (x faultyMarks) Get(ctx context.Context, k vault.Key) (m vault.Mark, err error) {
	err = x.f.do(func() (err error) { m, err = x.m.Get(ctx, k); return err })
	return m, err
}

func (x faultyMarks) Raise(ctx context.Context, k vault.Key, r vault.Mark) (m vault.Mark, err error) {
	err = x.f.do(func() (err error) { m, err = x.m.Raise(ctx, k, r); return err })
	return m, err
}
