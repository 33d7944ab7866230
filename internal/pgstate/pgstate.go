// Package pgstate owns the state that the replicas of a broker share: a
// broker.State in a PostgreSQL database. It must know nothing of what the items
// mean.
//
// Laws: a change locks all of its keys, in one order for all replicas, before
// it reads any, and holds them to its commit, so that changes are serializable
// and none waits for one that waits for it; who appends events holds the row of
// the last one to its commit, so that no event becomes visible behind one that
// was read; every commit is flushed before it is acknowledged or seen.
//
// The locks are advisory ones of the database, of 64 bits of a hash: other
// programs should not use the same database. The address of the database holds
// a password, and never appears in an error.
package pgstate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/litentry/agentkeys/internal/secret"
)

var (
	// ErrAddress: the address of the database cannot be understood, or would
	// have the password and all else cross a network in the clear by accident.
	ErrAddress = errors.New("the address of the PostgreSQL database is not good")
	// ErrUnreachable: no connection to the database could be made.
	ErrUnreachable = errors.New("PostgreSQL cannot be reached")
	// ErrNewer: the tables were made by a newer version of the program.
	ErrNewer = errors.New("the broker's state is of a newer program")
	// ErrUnsafe: the database would lose acknowledged changes in a crash.
	ErrUnsafe = errors.New("the PostgreSQL server does not keep what it acknowledges")
	// ErrClosed: the state was closed.
	ErrClosed = errors.New("the broker's state is closed")
)

const (
	// connections of a replica, unless its address says otherwise.
	connections = 16
	// A replica that stops in the middle of a change loses its locks.
	idleInChange = "10s"
)

// State is a broker.State in a database.
type State struct {
	now  func() time.Time
	pool *pgxpool.Pool

	stop  context.CancelFunc // ends the goroutine that watches
	ended sync.WaitGroup     // until it has

	mu      sync.Mutex
	last    int64         // the newest seq that was seen
	grown   chan struct{} // closed when last changes
	closed  bool
	closing chan struct{}
	calls   sync.WaitGroup
}

// Open connects to a database, as `postgres://user:password@host/database` or
// `host=… user=… password=… dbname=…` name it, and brings its tables up to
// date, one replica at a time. now is the clock by which items expire.
// ErrAddress, ErrUnreachable, ErrNewer, ErrUnsafe.
func Open(ctx context.Context, dsn secret.Value, now func() time.Time) (_ *State, err error) {
	address := string(dsn.Expose())
	c, err := pgxpool.ParseConfig(address)
	if err != nil {
		// The reason quotes the address.
		return nil, fmt.Errorf("%w: write it as postgres://user:password@host/database?sslmode=verify-full", ErrAddress)
	}
	if remote(c.ConnConfig.Host) && !strings.Contains(address, "sslmode") {
		// The habit of the protocol is to go on without TLS where the server, or
		// who stands before it, says that it has none.
		return nil, fmt.Errorf("%w: the server is another machine, and it says nothing of TLS: add sslmode=verify-full", ErrAddress)
	}
	if !strings.Contains(address, "pool_max_conns") {
		c.MaxConns = connections
	}
	c.MaxConns = max(c.MaxConns, 2) // Open holds one while it makes tables by another
	c.ConnConfig.RuntimeParams["application_name"] = "agentkeys"
	c.ConnConfig.RuntimeParams["idle_in_transaction_session_timeout"] = idleInChange
	if c.ConnConfig.ConnectTimeout == 0 {
		c.ConnConfig.ConnectTimeout = 10 * time.Second
	}
	c.AfterConnect = flushed
	pool, err := pgxpool.NewWithConfig(ctx, c)
	if err != nil {
		return nil, plain(err)
	}
	s := &State{
		now: now, pool: pool, grown: make(chan struct{}), closing: make(chan struct{}),
	}
	defer func() {
		if err != nil {
			pool.Close()
		}
	}()
	if err := migrate(ctx, pool); err != nil {
		return nil, plain(err)
	}
	if s.last, err = s.newest(ctx); err != nil {
		return nil, plain(err)
	}
	background, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.ended.Go(func() { s.watch(background) })
	return s, nil
}

// remote reports whether a host is another machine.
func remote(host string) bool {
	local := strings.HasPrefix(host, "/") || host == "localhost" || net.ParseIP(host).IsLoopback()
	return !local
}

// flushed makes sure that the commits of a connection are durable: a server
// may be set to acknowledge them earlier.
func flushed(ctx context.Context, c *pgx.Conn) error {
	var fsync string
	err := c.QueryRow(ctx, `SELECT current_setting('fsync')
		FROM set_config('synchronous_commit', coalesce(nullif(current_setting('synchronous_commit'), 'off'), 'on'), false)`).Scan(&fsync)
	if err == nil && fsync != "on" {
		err = fmt.Errorf("%w: its setting fsync is %s: set it to on", ErrUnsafe, fsync)
	}
	return err
}

// Shared implements broker.State.
func (s *State) Shared() bool { return true }

// Close implements broker.State.
func (s *State) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	close(s.closing)
	s.calls.Wait()
	s.stop()
	s.ended.Wait()
	s.pool.Close()
	return nil
}

// begin starts a call; the caller ends it by s.calls.Done.
func (s *State) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	s.calls.Add(1)
	return nil
}
