package mailsrv

import (
	"context"
	"log/slog"
	"time"
)

// pruneEvery is how often old mail is removed.
const pruneEvery = time.Hour

// keeper removes from a directory what is older than mail is kept. In a bucket
// that is the bucket's own affair.
type keeper struct {
	dir interface {
		Prune(ctx context.Context, before time.Time) (int, error)
	}
	days   int
	now    func() time.Time
	log    *slog.Logger
	pruned func(n int)
}

// run prunes at once, and then every hour, until ctx ends.
func (k *keeper) run(ctx context.Context) {
	every := time.NewTicker(pruneEvery)
	defer every.Stop()
	for {
		n, err := k.dir.Prune(ctx, k.now().AddDate(0, 0, -k.days))
		k.pruned(n)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			k.log.Warn("old mail cannot be removed", "err", err)
		case n > 0:
			k.log.Info("old mail removed", "messages", n)
		}
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
	}
}
