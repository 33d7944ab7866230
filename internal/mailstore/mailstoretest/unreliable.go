package mailstoretest

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/mailstore"
)

// ErrInjected is the error of a call that was made to fail.
var ErrInjected = errors.New("injected fault")

// Unreliable is a mailstore.Arrived of whose calls some fail: half of those
// after they were done, a quarter without, and a quarter is done later, when
// the caller has long been told that it failed.
type Unreliable struct {
	store mailstore.Arrived
	rate  float64 // of calls that fail

	mu     sync.Mutex
	rand   *rand.Rand
	calls  int
	failed int
	late   sync.WaitGroup
}

// NewUnreliable makes rate, 0 to 1, of the calls of s fail.
func NewUnreliable(s mailstore.Arrived, rate float64, seed uint64) *Unreliable {
	return &Unreliable{store: s, rate: rate, rand: rand.New(rand.NewPCG(seed, 1))}
}

// Wait waits for what is done later, and returns how many calls there were, and
// how many failed.
func (u *Unreliable) Wait() (calls, failed int) {
	u.late.Wait()
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.calls, u.failed
}

func (u *Unreliable) do(ctx context.Context, call func(context.Context) error) error {
	u.mu.Lock()
	u.calls++
	fails, how := u.rand.Float64() < u.rate, u.rand.IntN(4)
	wait := time.Duration(u.rand.IntN(3000)) * time.Microsecond
	if fails {
		u.failed++
	}
	u.mu.Unlock()
	switch {
	case !fails:
		return call(ctx)
	case how < 2:
		_ = call(ctx)
	case how == 2:
		u.late.Go(func() {
			time.Sleep(wait)
			_ = call(context.WithoutCancel(ctx))
		})
	}
	return ErrInjected
}

// Read implements mailstore.Arrived. When it fails it may return a part all the
// same, as nobody looks at it.
func (u *Unreliable) Read(ctx context.Context, id agentkeys.MessageID, off, n int64, v mailstore.Version) (mailstore.Part, error) {
	var mu sync.Mutex
	var p mailstore.Part
	err := u.do(ctx, func(ctx context.Context) error {
		got, err := u.store.Read(ctx, id, off, n, v)
		mu.Lock()
		defer mu.Unlock()
		p = got
		return err
	})
	mu.Lock()
	defer mu.Unlock()
	return p, err
}

// Place implements mailstore.Arrived.
func (u *Unreliable) Place(ctx context.Context, id agentkeys.MessageID, v mailstore.Version, w agentkeys.Wallet) (bool, error) {
	return u.copy(ctx, func(ctx context.Context) (bool, error) { return u.store.Place(ctx, id, v, w) })
}

// Refuse implements mailstore.Arrived.
func (u *Unreliable) Refuse(ctx context.Context, id agentkeys.MessageID, v mailstore.Version, reason string) (bool, error) {
	return u.copy(ctx, func(ctx context.Context) (bool, error) { return u.store.Refuse(ctx, id, v, reason) })
}

func (u *Unreliable) copy(ctx context.Context, call func(context.Context) (bool, error)) (bool, error) {
	done := make(chan bool, 1)
	err := u.do(ctx, func(ctx context.Context) error {
		created, err := call(ctx)
		done <- created
		return err
	})
	if err != nil {
		return false, err
	}
	return <-done, nil
}

// Remove implements mailstore.Arrived.
func (u *Unreliable) Remove(ctx context.Context, id agentkeys.MessageID) error {
	return u.do(ctx, func(ctx context.Context) error { return u.store.Remove(ctx, id) })
}

// Fault is what happens at a call.
type Fault int

// The faults there are.
const (
	None       Fault = iota
	Fail             // not done, and an error
	FailDone         // done, and an error all the same
	Kill             // not done, nor is anything after it
	KillDone         // done, and nothing after it
	faultCount       // for tables
)

// EveryFault lists the faults, without None.
func EveryFault() (all []Fault) {
	for f := None + 1; f < faultCount; f++ {
		all = append(all, f)
	}
	return all
}

func (f Fault) String() string {
	return [...]string{"none", "fail", "fail but done", "kill", "kill when done", ""}[f]
}

// Mortal is a mailstore.Arrived that meets one Fault, at its call number At,
// from 0. It is for one goroutine.
type Mortal struct {
	mailstore.Arrived
	Fault Fault
	At    int
	Calls int // so far
}

// Met reports whether the fault has happened.
func (m *Mortal) Met() bool { return m.Calls > m.At }

func (m *Mortal) do(call func() error) error {
	n := m.Calls
	m.Calls++
	switch {
	case n < m.At, m.Fault == None:
		return call()
	case n > m.At && (m.Fault == Fail || m.Fault == FailDone):
		return call()
	case n == m.At && (m.Fault == FailDone || m.Fault == KillDone):
		_ = call()
	}
	return ErrInjected
}

// Read implements mailstore.Arrived.
func (m *Mortal) Read(ctx context.Context, id agentkeys.MessageID, off, n int64, v mailstore.Version) (p mailstore.Part, err error) {
	err = m.do(func() (err error) { p, err = m.Arrived.Read(ctx, id, off, n, v); return err })
	return p, err
}

// Place implements mailstore.Arrived.
func (m *Mortal) Place(ctx context.Context, id agentkeys.MessageID, v mailstore.Version, w agentkeys.Wallet) (created bool, err error) {
	err = m.do(func() (err error) { created, err = m.Arrived.Place(ctx, id, v, w); return err })
	return created, err
}

// Refuse implements mailstore.Arrived.
func (m *Mortal) Refuse(ctx context.Context, id agentkeys.MessageID, v mailstore.Version, reason string) (created bool, err error) {
	err = m.do(func() (err error) { created, err = m.Arrived.Refuse(ctx, id, v, reason); return err })
	return created, err
}

// Remove implements mailstore.Arrived.
func (m *Mortal) Remove(ctx context.Context, id agentkeys.MessageID) error {
	return m.do(func() error { return m.Arrived.Remove(ctx, id) })
}
