package dirmail

import (
	"container/heap"
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/mailstore"
)

// Waiting implements mailstore.Spool.
func (d *Dir) Waiting(ctx context.Context, after agentkeys.MessageID, limit int) (mailstore.Page, error) {
	return d.list(ctx, inboundName, after, limit)
}

// List implements mailstore.Inbox.
func (d *Dir) List(ctx context.Context, w agentkeys.Wallet, after agentkeys.MessageID, limit int) (mailstore.Page, error) {
	if w.IsZero() {
		return mailstore.Page{}, mailstore.ErrInvalid
	}
	return d.list(ctx, inboxOf(w), after, limit)
}

// list lists a directory; one that is not there is empty.
func (d *Dir) list(ctx context.Context, dir string, after agentkeys.MessageID, limit int) (page mailstore.Page, err error) {
	if limit < 1 || limit > mailstore.MaxPage {
		return page, mailstore.ErrInvalid
	}
	if err := ctx.Err(); err != nil {
		return page, err
	}
	names, err := d.first(dir, after.String(), limit+1)
	if err != nil {
		return page, err
	}
	if len(names) > limit {
		names, page.More = names[:limit], true
	}
	for _, name := range names {
		path, _, err := d.path(dir, name)
		if err != nil {
			return mailstore.Page{}, err
		}
		fi, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return mailstore.Page{}, err
		}
		id, err := agentkeys.ParseMessageID(name)
		if err != nil {
			return mailstore.Page{}, err
		}
		page.Items = append(page.Items, mailstore.Item{ID: id, Size: fi.Size(), At: fi.ModTime()})
	}
	if page.More && len(page.Items) == 0 { // all of them were: there must be a last one to go on from
		last, err := agentkeys.ParseMessageID(names[len(names)-1])
		if err != nil {
			return page, err
		}
		return d.list(ctx, dir, last, limit)
	}
	return page, nil
}

// message reports whether an entry is a message. What is not is left out of
// listings: it is nobody's mail, and no mail may come from it.
func message(e fs.DirEntry) bool {
	_, err := agentkeys.ParseMessageID(e.Name())
	return err == nil && e.Type().IsRegular()
}

// first returns the first names of messages beyond after, sorted. It reads all
// of the directory and keeps no more than it returns.
func (d *Dir) first(dir, after string, most int) ([]string, error) {
	var least highest
	for e, err := range d.entries(dir) {
		if err != nil {
			return nil, err
		}
		name := e.Name()
		full := len(least) == most
		if name <= after || full && name >= least[0] || !message(e) {
			continue
		}
		if full {
			least[0] = name
			heap.Fix(&least, 0)
		} else {
			heap.Push(&least, name)
		}
	}
	slices.Sort(least)
	return least, nil
}

// highest is a heap with the last name on top.
type highest []string

func (h highest) Len() int           { return len(h) }
func (h highest) Less(i, j int) bool { return h[i] > h[j] }
func (h highest) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *highest) Push(x any)        { *h = append(*h, x.(string)) }
func (h *highest) Pop() any {
	old := *h
	name := old[len(old)-1]
	*h = old[:len(old)-1]
	return name
}

// names returns the names of dir that are wanted, sorted.
func (d *Dir) names(dir string, want func(fs.DirEntry) bool) (all []string, err error) {
	for e, err := range d.entries(dir) {
		if err != nil {
			return nil, err
		}
		if want(e) {
			all = append(all, e.Name())
		}
	}
	slices.Sort(all)
	return all, nil
}

// entries goes through a directory, as it lies; one that is not there is empty.
func (d *Dir) entries(dir string) iter.Seq2[fs.DirEntry, error] {
	return func(yield func(fs.DirEntry, error) bool) {
		path, absent, err := d.path(dir, "")
		if err != nil {
			yield(nil, err)
		}
		if err != nil || absent {
			return
		}
		f, err := os.Open(filepath.Clean(path))
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		if err != nil {
			yield(nil, err)
			return
		}
		defer f.Close()
		for {
			entries, err := f.ReadDir(mailstore.MaxPage)
			for _, e := range entries {
				if !yield(e, nil) {
					return
				}
			}
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(nil, err)
				return
			}
		}
	}
}

// Fetch implements mailstore.Inbox.
func (d *Dir) Fetch(ctx context.Context, w agentkeys.Wallet, id agentkeys.MessageID, limit int64) ([]byte, error) {
	if w.IsZero() || id.IsZero() {
		return nil, mailstore.ErrInvalid
	}
	return d.fetch(ctx, inboxOf(w), id, limit)
}

func (d *Dir) fetch(ctx context.Context, dir string, id agentkeys.MessageID, limit int64) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f, fi, err := d.open(dir, id.String())
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if fi.Size() > limit {
		return nil, mailstore.ErrTooLarge
	}
	data := make([]byte, fi.Size())
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, err
	}
	return data, unchanged(f, versionOf(fi))
}
