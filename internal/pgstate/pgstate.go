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
	"github.com/jackc/pgx/v5/pgconn"
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
	// ErrStandby: the server only follows another one.
	ErrStandby = errors.New("the PostgreSQL server is a standby: connect to the primary server")
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
// ErrAddress, ErrUnreachable, ErrNewer, ErrUnsafe, ErrStandby.
func Open(ctx context.Context, dsn secret.Value, now func() time.Time) (_ *State, err error) {
	address := string(dsn.Expose())
	c, err := pgxpool.ParseConfig(address)
	if err != nil {
		// The reason quotes the address.
		return nil, fmt.Errorf("%w: write it as postgres://user:password@host/database?sslmode=verify-full", ErrAddress)
	}
	if loose(c.ConnConfig) {
		return nil, fmt.Errorf("%w: the server is another machine, and may do without TLS: add sslmode=verify-full", ErrAddress)
	}
	if c.ConnConfig.ValidateConnect == nil { // of several servers, the one that takes changes
		c.ConnConfig.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsPrimary
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

// loose reports whether another machine is gone on with without TLS where it, or
// who stands before it, says that it has none. That is the habit of the
// protocol, unless sslmode says otherwise.
func loose(c *pgx.ConnConfig) bool {
	with, without := map[string]bool{}, map[string]bool{}
	note := func(host string, tls bool) {
		if tls {
			with[host] = true
		} else if remote(host) {
			without[host] = true
		}
	}
	note(c.Host, c.TLSConfig != nil)
	for _, f := range c.Fallbacks {
		note(f.Host, f.TLSConfig != nil)
	}
	for host := range without {
		if with[host] {
			return true
		}
	}
	return false
}

// remote reports whether a host is another machine.
func remote(host string) bool {
	local := strings.HasPrefix(host, "/") || host == "localhost" || net.ParseIP(host).IsLoopback()
	return !local
}

// flushed makes sure that the commits of a connection are durable: a server
// may be set to acknowledge them earlier. What a standby says may be old.
func flushed(ctx context.Context, c *pgx.Conn) error {
	var fsync string
	var standby bool
	err := c.QueryRow(ctx, `SELECT current_setting('fsync'), pg_is_in_recovery()
		FROM set_config('synchronous_commit', coalesce(nullif(current_setting('synchronous_commit'), 'off'), 'on'), false)`).Scan(&fsync, &standby)
	if err == nil && standby {
		err = ErrStandby
	}
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
