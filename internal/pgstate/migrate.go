package pgstate

import (
	"context"
	"embed"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

//go:embed migrations/*.sql
var migrations embed.FS

// migrateLock is an advisory lock that nothing else in the program takes but
// by an accident of one hash in 2^64, which would cost a wait.
const migrateLock = 0x6167656e746b6579 // agentkey

// migrate brings the tables up to date, each step in a transaction, while the
// other replicas wait.
func migrate(ctx context.Context, pool *pgxpool.Pool) error {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	db := stdlib.OpenDBFromPool(pool)
	defer db.Close()
	p, err := goose.NewProvider(goose.DialectPostgres, db, sub, goose.WithTableName("state_migrations"))
	if err != nil {
		return err
	}
	tx, err := pool.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(context.WithoutCancel(ctx)) // gives the lock back
	// Idle in it is what this transaction is while the steps are made.
	if _, err := tx.Exec(ctx, `SET LOCAL idle_in_transaction_session_timeout = 0`); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, int64(migrateLock)); err != nil {
		return err
	}
	current, known, err := p.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("tables of the broker's state: %w", err)
	}
	if current > known {
		return fmt.Errorf("%w: its tables are of version %d and this program knows %d: run the newer program, or restore a copy made by this one", ErrNewer, current, known)
	}
	if _, err = p.Up(ctx); err != nil {
		return fmt.Errorf("tables of the broker's state: %w", err)
	}
	return nil
}
