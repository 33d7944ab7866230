package sqlitestate

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
)

//go:embed migrations/*.sql
var migrations embed.FS

// migrate brings the tables up to date, each step in a transaction. The caller
// has the file to itself.
func migrate(ctx context.Context, db *sql.DB) error {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, sub)
	if err != nil {
		return err
	}
	current, known, err := p.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("not a state of the broker's: %w", err)
	}
	if current > known {
		return fmt.Errorf("%w: its tables are of version %d and this program knows %d: run the newer program, or restore a copy made by this one", ErrNewer, current, known)
	}
	_, err = p.Up(ctx)
	return err
}
