package sqlitestate

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/litentry/agentkeys/internal/broker"
)

const (
	sqlGet = `SELECT version, expires, value FROM items
		WHERE kind = ?1 AND name = ?2 AND (expires IS NULL OR expires > ?3)`
	sqlList = `SELECT name, version, expires, value FROM items
		WHERE kind = ?1 AND name >= ?2 AND name < ?3 AND name > ?4 AND (expires IS NULL OR expires > ?5)
		ORDER BY name LIMIT ?6`
	sqlEvents = `SELECT seq, topic, value, at FROM events WHERE seq > ?1 ORDER BY seq LIMIT ?2`
)

// Get implements broker.State.
func (s *State) Get(ctx context.Context, k broker.Key) (broker.Item, error) {
	if err := k.Valid(); err != nil {
		return broker.Item{}, err
	}
	if err := s.begin(ctx); err != nil {
		return broker.Item{}, err
	}
	defer s.calls.Done()
	i := broker.Item{Key: k}
	var expires sql.NullInt64
	err := s.get.QueryRowContext(ctx, k.Kind, k.Name, s.now().UnixMilli()).Scan(&i.Version, &expires, &i.Value)
	if errors.Is(err, sql.ErrNoRows) {
		return broker.Item{}, broker.ErrAbsent
	}
	if err != nil {
		return broker.Item{}, err
	}
	i.Expires = moment(expires)
	return i, nil
}

// List implements broker.State.
func (s *State) List(ctx context.Context, kind, prefix, after string, limit int) ([]broker.Item, error) {
	if err := broker.ValidList(kind, prefix, after, limit); err != nil {
		return nil, err
	}
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.calls.Done()
	rows, err := s.list.QueryContext(ctx, kind, prefix, prefix+"\x7f", after, s.now().UnixMilli(), limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var items []broker.Item
	for rows.Next() {
		i := broker.Item{Key: broker.Key{Kind: kind}}
		var expires sql.NullInt64
		if err := rows.Scan(&i.Key.Name, &i.Version, &expires, &i.Value); err != nil {
			return nil, err
		}
		i.Expires = moment(expires)
		items = append(items, i)
	}
	return items, rows.Err()
}

// Events implements broker.State.
func (s *State) Events(ctx context.Context, after int64, limit int) ([]broker.Event, error) {
	if err := broker.ValidLimit(limit); err != nil {
		return nil, err
	}
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.calls.Done()
	rows, err := s.events.QueryContext(ctx, after, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var events []broker.Event
	for rows.Next() {
		var e broker.Event
		var at int64
		if err := rows.Scan(&e.Seq, &e.Topic, &e.Value, &at); err != nil {
			return nil, err
		}
		e.At = time.UnixMilli(at).UTC()
		events = append(events, e)
	}
	return events, rows.Err()
}

// Last implements broker.State.
func (s *State) Last(ctx context.Context) (int64, error) {
	if err := s.begin(ctx); err != nil {
		return 0, err
	}
	defer s.calls.Done()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last, nil
}

// Wait implements broker.State. It is told of events by the writer.
func (s *State) Wait(ctx context.Context, after int64) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.calls.Done()
	for {
		s.mu.Lock()
		last, grown := s.last, s.grown
		s.mu.Unlock()
		if last > after {
			return nil
		}
		select {
		case <-grown:
		case <-s.closing:
			return ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// committed tells that seq is the newest event.
func (s *State) committed(seq int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if seq > s.last {
		s.last = seq
		close(s.grown)
		s.grown = make(chan struct{})
	}
}

func moment(ms sql.NullInt64) time.Time {
	if !ms.Valid {
		return time.Time{}
	}
	return time.UnixMilli(ms.Int64).UTC()
}
