package dirmail

import (
	"context"
	"errors"
	"io/fs"
	"iter"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/mailstore"
)

// Walk implements mailstore.Walker.
func (d *Dir) Walk(ctx context.Context, w agentkeys.Wallet) iter.Seq2[mailstore.Item, error] {
	if w.IsZero() {
		return func(yield func(mailstore.Item, error) bool) { yield(mailstore.Item{}, mailstore.ErrInvalid) }
	}
	return d.walk(ctx, inboxOf(w), "")
}

// WalkWaiting is Walk for what has arrived. Pages of a directory cost as much
// as all of it, each: whoever wants all takes this.
func (d *Dir) WalkWaiting(ctx context.Context) iter.Seq2[mailstore.Item, error] {
	return d.walk(ctx, inboundName, "")
}

// WalkRefused is Walk for mail that was refused.
func (d *Dir) WalkRefused(ctx context.Context) iter.Seq2[mailstore.Item, error] {
	return func(yield func(mailstore.Item, error) bool) {
		reasons, err := d.reasons()
		if err != nil {
			yield(mailstore.Item{}, err)
			return
		}
		for _, r := range reasons {
			for item, err := range d.walk(ctx, refusedName+"/"+r, r) {
				if !yield(item, err) || err != nil {
					return
				}
			}
		}
	}
}

func (d *Dir) walk(ctx context.Context, dir, reason string) iter.Seq2[mailstore.Item, error] {
	return func(yield func(mailstore.Item, error) bool) {
		fail := func(err error) { yield(mailstore.Item{}, err) }
		if err := ctx.Err(); err != nil {
			fail(err)
			return
		}
		for e, err := range d.entries(dir) {
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				fail(err)
				return
			}
			if !message(e) {
				continue
			}
			fi, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue // removed meanwhile
			}
			if err != nil {
				fail(err)
				return
			}
			item, err := itemOf(fi)
			if err != nil {
				fail(err)
				return
			}
			item.Reason = reason
			if !yield(item, nil) {
				return
			}
		}
	}
}

func itemOf(fi fs.FileInfo) (mailstore.Item, error) {
	id, err := agentkeys.ParseMessageID(fi.Name())
	return mailstore.Item{ID: id, Size: fi.Size(), At: fi.ModTime()}, err
}

// Stat implements mailstore.Stater.
func (d *Dir) Stat(ctx context.Context, w agentkeys.Wallet, id agentkeys.MessageID) (mailstore.Item, error) {
	if w.IsZero() {
		return mailstore.Item{}, mailstore.ErrInvalid
	}
	return d.stat(ctx, inboxOf(w), id)
}

// StatWaiting is Stat for what has arrived.
func (d *Dir) StatWaiting(ctx context.Context, id agentkeys.MessageID) (mailstore.Item, error) {
	return d.stat(ctx, inboundName, id)
}

// StatRefused is Stat for mail that was refused: of several reasons, for the
// first.
func (d *Dir) StatRefused(ctx context.Context, id agentkeys.MessageID) (mailstore.Item, error) {
	reasons, err := d.reasons()
	if err != nil {
		return mailstore.Item{}, err
	}
	for _, r := range reasons {
		item, err := d.stat(ctx, refusedName+"/"+r, id)
		if errors.Is(err, mailstore.ErrGone) {
			continue
		}
		item.Reason = r
		return item, err
	}
	return mailstore.Item{}, mailstore.ErrGone
}

func (d *Dir) stat(ctx context.Context, dir string, id agentkeys.MessageID) (mailstore.Item, error) {
	if id.IsZero() {
		return mailstore.Item{}, mailstore.ErrInvalid
	}
	if err := ctx.Err(); err != nil {
		return mailstore.Item{}, err
	}
	f, fi, err := d.open(dir, id.String())
	if err != nil {
		return mailstore.Item{}, err
	}
	_ = f.Close()
	return itemOf(fi)
}
