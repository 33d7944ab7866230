// Package sqlitestate owns the state of a broker of one node: a broker.State
// in a SQLite file. It must know nothing of what the items mean.
//
// Laws: one process has the file, and one goroutine of it writes; a change is
// acknowledged, and seen by any read, after its fsync; an input or output error
// stops all writing until the file is opened again, since what a failed fsync
// left on the disk is unknown. The file is 0600 in a directory of 0700.
//
// The directory must be on a local file system.
package sqlitestate

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"modernc.org/sqlite"

	"github.com/litentry/agentkeys/internal/durable"
)

var (
	// ErrExposed: other users may read the file, or replace it.
	ErrExposed = errors.New("the broker's state is open to other users")
	// ErrInUse: another process has the state open.
	ErrInUse = errors.New("the broker's state is in use by another process")
	// ErrNewer: the file was written by a newer version of the program.
	ErrNewer = errors.New("the broker's state is of a newer program")
	// ErrStopped: an earlier write failed, so that neither what is on the disk
	// nor what is written next can be relied on.
	ErrStopped = errors.New("writing stopped after a failed write; check the disk and start again")
	// ErrClosed: the state was closed.
	ErrClosed = errors.New("the broker's state is closed")
)

// readers is how many reads are under way at most.
const readers = 4

// State is a broker.State in a file.
type State struct {
	now    func() time.Time
	unlock func()

	writes *sql.DB // of one connection, which w has
	reads  *sql.DB
	get    *sql.Stmt
	list   *sql.Stmt
	events *sql.Stmt
	jobs   chan *job
	ended  chan struct{} // closed when the writer has returned

	mu      sync.Mutex
	last    int64         // the seq of the newest committed event
	grown   chan struct{} // closed when last grows
	closed  bool
	closing chan struct{}
	calls   sync.WaitGroup
}

// Open opens the file, or makes it, and its directory, and brings its tables
// up to date. now is the clock by which items expire. ErrExposed, ErrInUse,
// ErrNewer.
func Open(path string, now func() time.Time) (_ *State, err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := prepareDir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	unlock, err := durable.Lock(path + ".lock")
	if errors.Is(err, durable.ErrLocked) {
		return nil, fmt.Errorf("%w: %s: end the other broker, or use PostgreSQL, which several can share", ErrInUse, path)
	}
	if err != nil {
		return nil, err
	}
	s := &State{
		now: now, unlock: unlock, jobs: make(chan *job), ended: make(chan struct{}),
		grown: make(chan struct{}), closing: make(chan struct{}),
	}
	w := &writer{now: now, jobs: s.jobs, quit: s.closing, committed: s.committed}
	defer func() {
		if err != nil {
			s.release(w)
		}
	}()
	if err := prepareFile(path); err != nil {
		return nil, err
	}
	if s.writes, err = connect(path, 1, ""); err != nil {
		return nil, err
	}
	ctx := context.Background()
	if err := migrate(ctx, s.writes); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := w.open(ctx, s.writes); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	s.last = w.seq
	if s.reads, err = connect(path, readers, "&_pragma=query_only(1)"); err != nil {
		return nil, err
	}
	for stmt, text := range map[**sql.Stmt]string{&s.get: sqlGet, &s.list: sqlList, &s.events: sqlEvents} {
		if *stmt, err = s.reads.Prepare(text); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	go func() {
		defer close(s.ended)
		w.run()
		w.close()
	}()
	return s, nil
}

// Shared implements broker.State: no other process may use the file.
func (s *State) Shared() bool { return false }

// Close implements broker.State.
func (s *State) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	close(s.closing) // ends waits; the writer ends after the calls
	s.calls.Wait()
	<-s.ended
	return s.release(nil)
}

func (s *State) release(w *writer) error {
	if w != nil {
		w.close()
	}
	var errs []error
	for _, db := range []*sql.DB{s.reads, s.writes} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	s.unlock()
	return errors.Join(errs...)
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

// prepareDir makes dir if need be, and refuses one that is open to others.
func prepareDir(dir string) error {
	if err := durable.MkdirAll(dir); err != nil {
		return err
	}
	fi, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if fi.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%w: the directory %s is %#o: chmod 700 it, or name another", ErrExposed, dir, fi.Mode().Perm())
	}
	return nil
}

// prepareFile makes the file if need be: SQLite would, with the rights that the
// umask leaves. Its other files get the rights of this one.
func prepareFile(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err == nil {
		err = errors.Join(f.Chmod(0o600), f.Sync(), f.Close())
		if err == nil {
			err = durable.SyncDir(filepath.Dir(path))
		}
		return err
	}
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	fi, err := os.Lstat(path)
	switch {
	case err != nil:
		return err
	case !fi.Mode().IsRegular():
		return fmt.Errorf("%s is not a plain file: name the file itself", path)
	case fi.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("%w: %s is %#o: chmod 600 it", ErrExposed, path, fi.Mode().Perm())
	}
	return nil
}

func connect(path string, n int, options string) (*sql.DB, error) {
	u := url.URL{Scheme: "file", Path: path, RawQuery: "_txlock=immediate&_dqs=0&_defensive=1" +
		"&_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)" + options}
	c, err := sqlite.NewConnector(u.String())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	db := sql.OpenDB(c)
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	return db, nil
}
