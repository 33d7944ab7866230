package pgstate

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// channel is where the server tells of events. Nothing is said in it.
	channel = "agentkeys_events"
	// Should the server not tell, or a connection be lost, events are found by
	// asking, within the 200 ms that broker.State promises.
	pollEvery = 150 * time.Millisecond
	// A server that is silent for longer is taken for gone.
	patience = 5 * time.Second
)

// Wait implements broker.State.
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

// watch looks for new events until ctx is done, on a connection of its own, so
// that it never waits for others. An error passes, or shows in the other calls.
func (s *State) watch(ctx context.Context) {
	for ctx.Err() == nil {
		_ = s.listen(ctx)
		select {
		case <-time.After(pollEvery):
		case <-ctx.Done():
		}
	}
}

func (s *State) listen(ctx context.Context) error {
	conn, err := pgx.ConnectConfig(ctx, s.pool.Config().ConnConfig)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, "LISTEN "+channel); err != nil {
		return err
	}
	for !conn.IsClosed() {
		if err := s.look(ctx, conn); err != nil {
			return err
		}
		told, cancel := context.WithTimeout(ctx, pollEvery)
		_, err := conn.WaitForNotification(told)
		late := told.Err() != nil
		cancel()
		if err != nil && !late {
			return err
		}
	}
	return nil
}

// look wakes those who wait if there are new events, or fewer than there were:
// the database is another one then.
func (s *State) look(ctx context.Context, conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var seq int64
	if err := conn.QueryRow(ctx, sqlLast).Scan(&seq); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if seq != s.last {
		s.last = seq
		close(s.grown)
		s.grown = make(chan struct{})
	}
	return nil
}
