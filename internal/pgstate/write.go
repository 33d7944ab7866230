package pgstate

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/litentry/agentkeys/internal/broker"
)

const (
	// Read committed, whatever the server's habit: each statement must see
	// what was committed before it began, not before the locks were had.
	sqlBegin = `BEGIN ISOLATION LEVEL READ COMMITTED`
	// The locks are taken in the order of the array.
	sqlLock = `SELECT count(CASE WHEN alone THEN pg_advisory_xact_lock(id)::text ELSE pg_advisory_xact_lock_shared(id)::text END)
		FROM unnest($1::bigint[], $2::boolean[]) AS l (id, alone)`
	sqlFind = `SELECT i.kind, i.name, i.version, i.expires FROM state_items i
		JOIN unnest($1::text[], $2::text[]) AS k (kind, name) ON i.kind = k.kind AND i.name = k.name`
	sqlPut = `INSERT INTO state_items (kind, name, version, expires, value)
		SELECT kind, name, nextval('state_versions'), expires, value
		FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bytea[]) AS p (kind, name, expires, value)
		ON CONFLICT (kind, name) DO UPDATE SET version = excluded.version, expires = excluded.expires, value = excluded.value
		RETURNING kind, name, version`
	sqlRemove = `DELETE FROM state_items i USING unnest($1::text[], $2::text[]) AS k (kind, name)
		WHERE i.kind = k.kind AND i.name = k.name`
	// The row of the last event is held from here to the commit. No lock is
	// taken after it.
	sqlAppend = `WITH l AS (UPDATE state_last SET seq = seq + $1 RETURNING seq - $1 AS before)
		INSERT INTO state_events (seq, topic, value, at)
		SELECT l.before + e.n, e.topic, e.value, $2
		FROM l, unnest($3::text[], $4::bytea[]) WITH ORDINALITY AS e (topic, value, n)`
	sqlNotify = `SELECT pg_notify('` + channel + `', '')`

	sqlSweepItems = `DELETE FROM state_items WHERE (kind, name) IN (
		SELECT kind, name FROM state_items WHERE expires <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)`
	sqlSweepEvents = `DELETE FROM state_events WHERE seq IN (
		SELECT seq FROM state_events WHERE at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)`
)

const (
	sweepStep = 1000
	eventLife = 24 * time.Hour // as broker.State says
)

// Apply implements broker.State. It takes two round trips: one locks and reads,
// one writes and commits.
func (s *State) Apply(ctx context.Context, c broker.Change) ([]int64, error) {
	if err := c.Valid(); err != nil {
		return nil, err
	}
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.calls.Done()
	if len(c.Writes) == 0 && len(c.Events) == 0 {
		return nil, nil
	}
	for n := 1; ; n++ {
		versions, err := s.apply(ctx, c)
		var f *failure
		switch {
		case err == nil:
			return versions, nil
		case errors.As(err, &f) && f.again && n < attempts && ctx.Err() == nil:
			continue
		case f != nil:
			err = f.err
		}
		return nil, plain(err)
	}
}

// failure is why an attempt failed, and whether another may be made: nothing
// was changed, and the cause may have passed.
type failure struct {
	err   error
	again bool
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func (s *State) apply(ctx context.Context, c broker.Change) ([]int64, error) {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Release() // one that is still in a transaction is closed
	now := s.now().UnixMilli()

	have, err := lockAndFind(ctx, conn.Conn(), c)
	if err != nil {
		if lost(err) {
			s.pool.Reset() // the others are likely lost too
		}
		return nil, &failure{err, lost(err) || again(err)}
	}
	for _, w := range c.Writes {
		i := have[w.Key]
		if i.expires != nil && *i.expires <= now {
			i.version = 0
		}
		if i.version != w.Expect {
			_, _ = conn.Exec(ctx, "ROLLBACK")
			return nil, fmt.Errorf("%w: of kind %s", broker.ErrConflict, w.Key.Kind)
		}
	}
	versions, err := writeAndCommit(ctx, conn.Conn(), c, now)
	if err != nil {
		// Without the server's word the commit may have been made.
		return nil, &failure{err, again(err)}
	}
	return versions, nil
}

type found struct {
	version int64
	expires *int64
}

func lockAndFind(ctx context.Context, conn *pgx.Conn, c broker.Change) (map[broker.Key]found, error) {
	ids, alone := locks(c)
	kinds, names := make([]string, len(c.Writes)), make([]string, len(c.Writes))
	for i, w := range c.Writes {
		kinds[i], names[i] = w.Key.Kind, w.Key.Name
	}
	have := make(map[broker.Key]found, len(c.Writes))
	var b pgx.Batch
	b.Queue(sqlBegin)
	if len(ids) > 0 {
		b.Queue(sqlLock, ids, alone)
		b.Queue(sqlFind, kinds, names).Query(func(rows pgx.Rows) error {
			var k broker.Key
			var f found
			_, err := pgx.ForEachRow(rows, []any{&k.Kind, &k.Name, &f.version, &f.expires}, func() error {
				have[k] = f
				f.expires = nil
				return nil
			})
			return err
		})
	}
	return have, conn.SendBatch(ctx, &b).Close()
}

func writeAndCommit(ctx context.Context, conn *pgx.Conn, c broker.Change, now int64) ([]int64, error) {
	var put, gone struct {
		kinds, names []string
		expires      []*int64
		values       [][]byte
	}
	place := map[broker.Key]int{}
	for i, w := range c.Writes {
		switch {
		case w.Check || w.Value == nil && w.Expect == 0:
		case w.Value == nil:
			gone.kinds, gone.names = append(gone.kinds, w.Key.Kind), append(gone.names, w.Key.Name)
		default:
			place[w.Key] = i
			put.kinds, put.names = append(put.kinds, w.Key.Kind), append(put.names, w.Key.Name)
			put.values = append(put.values, w.Value)
			put.expires = append(put.expires, expiry(w.Expires))
		}
	}
	versions := make([]int64, len(c.Writes))
	var b pgx.Batch
	if len(put.kinds) > 0 {
		b.Queue(sqlPut, put.kinds, put.names, put.expires, put.values).Query(func(rows pgx.Rows) error {
			var k broker.Key
			var v int64
			_, err := pgx.ForEachRow(rows, []any{&k.Kind, &k.Name, &v}, func() error {
				versions[place[k]] = v
				return nil
			})
			return err
		})
	}
	if len(gone.kinds) > 0 {
		b.Queue(sqlRemove, gone.kinds, gone.names)
	}
	if n := len(c.Events); n > 0 {
		topics, values := make([]string, n), make([][]byte, n)
		for i, e := range c.Events {
			topics[i], values[i] = e.Topic, append([]byte{}, e.Value...)
		}
		b.Queue(sqlAppend, int64(n), now, topics, values)
		b.Queue(sqlNotify)
	}
	b.Queue("COMMIT")
	return versions, conn.SendBatch(ctx, &b).Close()
}

// locks returns the locks of a change in the order in which all replicas take
// them: alone for what is written, shared for what is only checked.
func locks(c broker.Change) (ids []int64, alone []bool) {
	of := make(map[int64]bool, len(c.Writes))
	for _, w := range c.Writes {
		id := lockID(w.Key)
		reads := w.Check || w.Value == nil && w.Expect == 0
		of[id] = of[id] || !reads
	}
	for id := range of {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, cmp.Compare)
	for _, id := range ids {
		alone = append(alone, of[id])
	}
	return ids, alone
}

// lockID is of the key as it is written, which has no spaces.
func lockID(k broker.Key) int64 {
	sum := sha256.Sum256([]byte("agentkeys state " + k.Kind + " " + k.Name))
	return int64(binary.BigEndian.Uint64(sum[:]))
}

func expiry(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	ms := t.UnixMilli()
	return &ms
}

// Sweep implements broker.State. What it removes is absent already, so that it
// needs no locks: a change that puts an item again meets its row or none.
func (s *State) Sweep(ctx context.Context) error {
	for _, step := range []struct {
		text string
		age  time.Duration
	}{{sqlSweepItems, 0}, {sqlSweepEvents, eventLife}} {
		for more := true; more; {
			err := s.read(ctx, func() error {
				r, err := s.pool.Exec(ctx, step.text, s.now().Add(-step.age).UnixMilli(), sweepStep)
				more = r.RowsAffected() == sweepStep
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}
