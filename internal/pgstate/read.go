package pgstate

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/litentry/agentkeys/internal/broker"
)

const (
	sqlGet = `SELECT version, expires, value FROM state_items
		WHERE kind = $1 AND name = $2 AND (expires IS NULL OR expires > $3)`
	sqlList = `SELECT name, version, expires, value FROM state_items
		WHERE kind = $1 AND name >= $2 AND name < $3 AND name > $4 AND (expires IS NULL OR expires > $5)
		ORDER BY name LIMIT $6`
	sqlEvents = `SELECT seq, topic, value, at FROM state_events WHERE seq > $1 ORDER BY seq LIMIT $2`
	sqlLast   = `SELECT seq FROM state_last`
	// A standby answers, and takes no changes.
	sqlPing = `SELECT current_setting('transaction_read_only')::boolean FROM state_last`
)

// attempts is how often a call is made in all whose connection was lost, or
// whose transaction lost against another, before anything was done.
const attempts = 8

// read makes a call that only reads, again if its connection is lost.
func (s *State) read(ctx context.Context, call func() error) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.calls.Done()
	err := call()
	for n := 1; n < attempts && err != nil && lost(err) && !unreachable(err); n++ {
		s.pool.Reset() // the other connections are likely lost too
		err = call()
	}
	return plain(err)
}

// Get implements broker.State.
func (s *State) Get(ctx context.Context, k broker.Key) (broker.Item, error) {
	if err := k.Valid(); err != nil {
		return broker.Item{}, err
	}
	i := broker.Item{Key: k}
	var expires *int64
	var found bool
	err := s.read(ctx, func() error {
		err := s.pool.QueryRow(ctx, sqlGet, k.Kind, k.Name, s.now().UnixMilli()).Scan(&i.Version, &expires, &i.Value)
		found = err == nil
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		return err
	})
	switch {
	case err != nil:
		return broker.Item{}, err
	case !found:
		return broker.Item{}, broker.ErrAbsent
	}
	i.Expires = moment(expires)
	return i, nil
}

// List implements broker.State.
func (s *State) List(ctx context.Context, kind, prefix, after string, limit int) (items []broker.Item, err error) {
	if err := broker.ValidList(kind, prefix, after, limit); err != nil {
		return nil, err
	}
	err = s.read(ctx, func() error {
		rows, err := s.pool.Query(ctx, sqlList, kind, prefix, prefix+"\x7f", after, s.now().UnixMilli(), limit)
		if err != nil {
			return err
		}
		items, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (broker.Item, error) {
			i := broker.Item{Key: broker.Key{Kind: kind}}
			var expires *int64
			err := row.Scan(&i.Key.Name, &i.Version, &expires, &i.Value)
			i.Expires = moment(expires)
			return i, err
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	return items, nil
}

// Events implements broker.State.
func (s *State) Events(ctx context.Context, after int64, limit int) (events []broker.Event, err error) {
	if err := broker.ValidLimit(limit); err != nil {
		return nil, err
	}
	err = s.read(ctx, func() error {
		rows, err := s.pool.Query(ctx, sqlEvents, after, limit)
		if err != nil {
			return err
		}
		events, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (e broker.Event, err error) {
			var at int64
			err = row.Scan(&e.Seq, &e.Topic, &e.Value, &at)
			e.At = time.UnixMilli(at).UTC()
			return e, err
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	return events, nil
}

// Last implements broker.State.
func (s *State) Last(ctx context.Context) (seq int64, err error) {
	err = s.read(ctx, func() error {
		seq, err = s.newest(ctx)
		return err
	})
	if err != nil {
		return 0, err
	}
	return seq, nil
}

// Ping implements broker.State.
func (s *State) Ping(ctx context.Context) error {
	var readOnly bool
	err := s.read(ctx, func() error { return s.pool.QueryRow(ctx, sqlPing).Scan(&readOnly) })
	if err == nil && readOnly {
		err = errors.New("the PostgreSQL database is read-only: connect to the primary server, or set default_transaction_read_only to off")
	}
	return err
}

func (s *State) newest(ctx context.Context) (seq int64, err error) {
	err = s.pool.QueryRow(ctx, sqlLast).Scan(&seq)
	return seq, err
}

func moment(ms *int64) time.Time {
	if ms == nil {
		return time.Time{}
	}
	return time.UnixMilli(*ms).UTC()
}
