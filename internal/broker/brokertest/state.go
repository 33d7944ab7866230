package brokertest

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/broker"
	"github.com/litentry/agentkeys/internal/sqlitestate"
)

// SQLite opens a state of one node in a directory of the test's.
func SQLite(t testing.TB, w *World) broker.State {
	t.Helper()
	return OpenSQLite(t, w, filepath.Join(t.TempDir(), "state", "state.db"))
}

// OpenSQLite opens the state of a file.
func OpenSQLite(t testing.TB, w *World, path string) broker.State {
	t.Helper()
	s, err := sqlitestate.Open(path, w.Clock.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// Flaky is a state that fails on demand.
type Flaky struct {
	broker.State
	Reads, Writes, Feed Fault
	// After fails a change that was made: its outcome is not known to the
	// caller.
	After Fault
	// Alike, if set, answers Shared.
	Alike bool
}

// Get implements broker.State.
func (f *Flaky) Get(ctx context.Context, k broker.Key) (broker.Item, error) {
	if err := f.Reads.Err(); err != nil {
		return broker.Item{}, err
	}
	return f.State.Get(ctx, k)
}

// List implements broker.State.
func (f *Flaky) List(ctx context.Context, kind, prefix, after string, limit int) ([]broker.Item, error) {
	if err := f.Reads.Err(); err != nil {
		return nil, err
	}
	return f.State.List(ctx, kind, prefix, after, limit)
}

// Apply implements broker.State.
func (f *Flaky) Apply(ctx context.Context, c broker.Change) ([]int64, error) {
	if err := f.Writes.Err(); err != nil {
		return nil, err
	}
	v, err := f.State.Apply(ctx, c)
	if after := f.After.Err(); err == nil && after != nil {
		return nil, after
	}
	return v, err
}

// Events implements broker.State.
func (f *Flaky) Events(ctx context.Context, after int64, limit int) ([]broker.Event, error) {
	if err := f.Feed.Err(); err != nil {
		return nil, err
	}
	return f.State.Events(ctx, after, limit)
}

// Ping implements broker.State.
func (f *Flaky) Ping(ctx context.Context) error {
	if err := f.Writes.Err(); err != nil {
		return err
	}
	return f.State.Ping(ctx)
}

// Shared implements broker.State.
func (f *Flaky) Shared() bool { return f.Alike || f.State.Shared() }

// Wait implements broker.State.
func (f *Flaky) Wait(ctx context.Context, after int64) error {
	ctx, stop := context.WithTimeout(ctx, 50*time.Millisecond)
	defer stop()
	return f.State.Wait(ctx, after)
}
