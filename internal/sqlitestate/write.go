package sqlitestate

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/litentry/agentkeys/internal/broker"
)

// Bounds of a transaction, which one fsync makes durable.
const (
	maxBatch      = 256
	maxBatchBytes = 4 << 20
	sweepStep     = 500            // rows, so that changes get their turn
	eventLife     = 24 * time.Hour // as broker.State says
)

// job is a piece of work for the writer.
type job struct {
	ctx  context.Context
	size int
	do   func(*writer) error // broker.ErrConflict: nothing was written
	done chan error
}

// Apply implements broker.State. Changes that come while another is being made
// durable are then made in one transaction.
func (s *State) Apply(ctx context.Context, c broker.Change) ([]int64, error) {
	if err := c.Valid(); err != nil {
		return nil, err
	}
	var versions []int64
	err := s.hand(ctx, size(c), func(w *writer) (err error) {
		versions, err = w.apply(c)
		return err
	})
	if err != nil {
		return nil, err
	}
	return versions, nil
}

// Ping implements broker.State.
func (s *State) Ping(ctx context.Context) error {
	return s.hand(ctx, 0, func(*writer) error { return nil })
}

// Sweep implements broker.State.
func (s *State) Sweep(ctx context.Context) error {
	for _, stmt := range []int{sweepItems, sweepEvents} {
		for more := true; more; {
			err := s.hand(ctx, 0, func(w *writer) error {
				before := w.now()
				if stmt == sweepEvents {
					before = before.Add(-eventLife)
				}
				r, err := w.stmts[stmt].Exec(before.UnixMilli(), sweepStep)
				if err != nil {
					return err
				}
				n, err := r.RowsAffected()
				more = n == sweepStep
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// hand gives the writer something to do. Once the writer has it, its result is
// waited for whatever ctx says: that is as long as the disk takes.
func (s *State) hand(ctx context.Context, size int, do func(*writer) error) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.calls.Done()
	j := &job{ctx: ctx, size: size, do: do, done: make(chan error, 1)}
	select {
	case s.jobs <- j:
		return <-j.done
	case <-s.closing:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Statements of the writer.
const (
	find = iota
	put
	remove
	appendEvent
	keepLast
	sweepItems
	sweepEvents
	statements
)

var texts = [statements]string{
	find: `SELECT version, expires FROM items WHERE kind = ?1 AND name = ?2`,
	put: `INSERT INTO items (kind, name, version, expires, value) VALUES (?1, ?2, ?3, ?4, ?5)
		ON CONFLICT (kind, name) DO UPDATE SET version = ?3, expires = ?4, value = ?5`,
	remove:      `DELETE FROM items WHERE kind = ?1 AND name = ?2`,
	appendEvent: `INSERT INTO events (seq, topic, value, at) VALUES (?1, ?2, ?3, ?4)`,
	keepLast:    `UPDATE last SET version = ?1, seq = ?2`,
	sweepItems:  `DELETE FROM items WHERE rowid IN (SELECT rowid FROM items WHERE expires <= ?1 LIMIT ?2)`,
	sweepEvents: `DELETE FROM events WHERE seq IN (SELECT seq FROM events WHERE at <= ?1 LIMIT ?2)`,
}

// writer is the one that writes. All but open runs in its goroutine.
type writer struct {
	now       func() time.Time
	jobs      <-chan *job
	quit      <-chan struct{}
	committed func(seq int64)

	conn         *sql.Conn
	stmts        [statements]*sql.Stmt
	version, seq int64 // the last ones given out
	stopped      error
}

func (w *writer) open(ctx context.Context, db *sql.DB) (err error) {
	if w.conn, err = db.Conn(ctx); err != nil {
		return err
	}
	for i, text := range texts {
		if w.stmts[i], err = w.conn.PrepareContext(ctx, text); err != nil {
			return err
		}
	}
	return w.conn.QueryRowContext(ctx, `SELECT version, seq FROM last`).Scan(&w.version, &w.seq)
}

func (w *writer) close() {
	for _, s := range w.stmts {
		if s != nil {
			_ = s.Close()
		}
	}
	if w.conn != nil {
		_ = w.conn.Close()
	}
}

func (w *writer) run() {
	for {
		select {
		case j := <-w.jobs:
			w.batch(w.gather(j))
		case <-w.quit:
			return
		}
	}
}

// gather takes what waits already.
func (w *writer) gather(first *job) []*job {
	runtime.Gosched() // those whose change was just made may have the next
	batch, size := []*job{first}, first.size
	for len(batch) < maxBatch && size < maxBatchBytes {
		select {
		case j := <-w.jobs:
			batch, size = append(batch, j), size+j.size
		default:
			return batch
		}
	}
	return batch
}

// batch does the jobs in one transaction, and answers after its commit: also a
// conflict may rest on a change before it. A job that fails otherwise than by a
// conflict fails all.
func (w *writer) batch(jobs []*job) {
	if w.stopped != nil {
		answer(jobs, nil, w.stopped)
		return
	}
	version, seq := w.version, w.seq
	results := make([]error, len(jobs))
	err := w.exec("BEGIN IMMEDIATE")
	for i := 0; i < len(jobs) && err == nil; i++ {
		if results[i] = jobs[i].ctx.Err(); results[i] != nil {
			continue
		}
		results[i] = jobs[i].do(w)
		if !errors.Is(results[i], broker.ErrConflict) {
			err = results[i]
		}
	}
	if err == nil && (w.version != version || w.seq != seq) {
		_, err = w.stmts[keepLast].Exec(w.version, w.seq)
	}
	if err == nil {
		err = w.exec("COMMIT")
	}
	if err != nil {
		w.fail(err, version, seq)
		answer(jobs, nil, err)
		return
	}
	if w.seq != seq {
		w.committed(w.seq)
	}
	answer(jobs, results, nil)
}

func answer(jobs []*job, results []error, err error) {
	for i, j := range jobs {
		if err != nil {
			j.done <- err
		} else {
			j.done <- results[i]
		}
	}
}

// fail undoes what is not committed. After an error of the disk a commit may
// yet come back when the file is recovered, so nothing is written beside it. A
// full disk and a file that somebody else holds (a tool of the operator's) are
// told before anything is synced, and pass.
func (w *writer) fail(err error, version, seq int64) {
	w.version, w.seq = version, seq
	_ = w.exec("ROLLBACK") // SQLite may have done so itself; else the next BEGIN fails
	var serr *sqlite.Error
	passes := errors.As(err, &serr) && slices.Contains([]int{sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY}, serr.Code()&0xff)
	if !passes {
		w.stopped = fmt.Errorf("%w: %w", ErrStopped, err)
	}
}

func (w *writer) exec(text string) error {
	_, err := w.conn.ExecContext(context.Background(), text)
	return err
}

// apply checks all that the change rests on before it writes anything.
func (w *writer) apply(c broker.Change) ([]int64, error) {
	now := w.now().UnixMilli()
	for _, wr := range c.Writes {
		var have int64
		var expires sql.NullInt64
		err := w.stmts[find].QueryRow(wr.Key.Kind, wr.Key.Name).Scan(&have, &expires)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return nil, err
		}
		if expires.Valid && expires.Int64 <= now {
			have = 0
		}
		if have != wr.Expect {
			return nil, fmt.Errorf("%w: of kind %s", broker.ErrConflict, wr.Key.Kind)
		}
	}
	versions := make([]int64, len(c.Writes))
	for i, wr := range c.Writes {
		var err error
		switch {
		case wr.Check || wr.Value == nil && wr.Expect == 0:
		case wr.Value == nil:
			_, err = w.stmts[remove].Exec(wr.Key.Kind, wr.Key.Name)
		default:
			w.version++
			versions[i] = w.version
			_, err = w.stmts[put].Exec(wr.Key.Kind, wr.Key.Name, w.version, expiry(wr.Expires), wr.Value)
		}
		if err != nil {
			return nil, err
		}
	}
	for _, e := range c.Events {
		w.seq++
		if _, err := w.stmts[appendEvent].Exec(w.seq, e.Topic, append([]byte{}, e.Value...), now); err != nil {
			return nil, err
		}
	}
	return versions, nil
}

func expiry(t time.Time) sql.NullInt64 {
	return sql.NullInt64{Int64: t.UnixMilli(), Valid: !t.IsZero()}
}
