package pgstate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// plain makes an error fit to be shown. Those of a connection that failed have
// the whole address with them, password and all.
func plain(err error) error {
	var cerr *pgconn.ConnectError
	if err == nil || !errors.As(err, &cerr) {
		return err
	}
	if errors.Is(err, pgconn.ErrStandbyConnection) {
		return ErrStandby
	}
	for _, known := range []error{ErrUnsafe, ErrStandby, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, known) {
			return known
		}
	}
	cause := "no answer"
	var perr *pgconn.PgError
	var nerr *net.OpError
	switch {
	case errors.As(err, &perr):
		cause = fmt.Sprintf("it refuses the connection (SQLSTATE %s)", perr.Code)
	case errors.As(err, &nerr):
		cause = fmt.Sprintf("%s: %v", nerr.Op, nerr.Err)
	}
	return fmt.Errorf("%w: %s: check that it runs, and its address and password", ErrUnreachable, cause)
}

// lost reports whether an error is one of the connection, not of what was
// asked: by another connection it may work.
func lost(err error) bool {
	var perr *pgconn.PgError
	if errors.As(err, &perr) {
		return perr.SeverityUnlocalized != "ERROR"
	}
	return !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
}

// again reports whether the server undid a transaction only for the sake of
// another one: SQLSTATE class 40, serialization failures and deadlocks.
func again(err error) bool {
	var perr *pgconn.PgError
	return errors.As(err, &perr) && perr.SeverityUnlocalized == "ERROR" && strings.HasPrefix(perr.Code, "40")
}

// unreachable reports whether no connection was made at all.
func unreachable(err error) bool {
	var cerr *pgconn.ConnectError
	return errors.As(err, &cerr)
}
