package mailsrv

import (
	"context"
	"errors"
	"io"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/dirmail"
	"github.com/litentry/agentkeys/internal/mailstore"
)

// watched tells of a store that will take nothing more until the next start: a
// directory whose disk failed. To go on would be to refuse all mail for ever;
// ended, the server can be started again, and shows that something is amiss.
type watched struct {
	Store
	broken chan<- error
}

func (w watched) look(err error) error {
	if errors.Is(err, dirmail.ErrStopped) {
		select {
		case w.broken <- err:
		default:
		}
	}
	return err
}

// Write implements mailstore.Spool.
func (w watched) Write(ctx context.Context, id agentkeys.MessageID, r io.Reader, size int64) error {
	return w.look(w.Store.Write(ctx, id, r, size))
}

// Place implements mailstore.Arrived.
func (w watched) Place(ctx context.Context, id agentkeys.MessageID, v mailstore.Version, to agentkeys.Wallet) (bool, error) {
	created, err := w.Store.Place(ctx, id, v, to)
	return created, w.look(err)
}

// Refuse implements mailstore.Arrived.
func (w watched) Refuse(ctx context.Context, id agentkeys.MessageID, v mailstore.Version, reason string) (bool, error) {
	created, err := w.Store.Refuse(ctx, id, v, reason)
	return created, w.look(err)
}

// Remove implements mailstore.Arrived.
func (w watched) Remove(ctx context.Context, id agentkeys.MessageID) error {
	return w.look(w.Store.Remove(ctx, id))
}
