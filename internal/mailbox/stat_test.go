package mailbox

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/mailstore"
	"github.com/litentry/agentkeys/internal/mailstore/mailstoretest"
)

// pages is an inbox that has pages, and nothing else.
type pages struct {
	mailstore.Inbox
	ids   []string // sorted
	calls int
}

func (p *pages) List(_ context.Context, _ agentkeys.Wallet, after agentkeys.MessageID, limit int) (page mailstore.Page, err error) {
	p.calls++
	for i, id := range p.ids {
		if id > after.String() {
			if len(page.Items) == limit {
				page.More = true
				break
			}
			page.Items = append(page.Items, mailstore.Item{ID: mailstoretest.ID(id), Size: int64(i)})
		}
	}
	return page, nil
}

func TestStat(t *testing.T) {
	long := strings.Repeat("m", agentkeys.MaxMessageID)
	p := &pages{ids: []string{"-", "--", "-z", "0", "A", "Az", "B", "B-", "B-.", "B--", "B.", "B0", "Bz", "_", "a", "b.-z", long[1:], long, long[1:] + "n", "zz"}}
	slices.Sort(p.ids)
	w := mailstoretest.Wallet(1)
	for i, id := range p.ids {
		p.calls = 0
		item, err := Stat(t.Context(), p, w, mailstoretest.ID(id))
		if err != nil || item.ID.String() != id || item.Size != int64(i) || p.calls != 1 {
			t.Errorf("%q: %+v, %v, %d calls", id, item, err, p.calls)
		}
	}
	for _, id := range []string{"---", "1", "Ay", "B1", "b.-", long[2:], "z", "zzz"} {
		if item, err := Stat(t.Context(), p, w, mailstoretest.ID(id)); !errors.Is(err, mailstore.ErrGone) {
			t.Errorf("%q: %+v, %v", id, item, err)
		}
	}
	if _, err := Stat(t.Context(), p, w, agentkeys.MessageID{}); !errors.Is(err, mailstore.ErrInvalid) {
		t.Error(err)
	}
}

// FuzzBefore: nothing fits between an id and the one before it.
func FuzzBefore(f *testing.F) {
	f.Add("B-", "B")
	f.Add("B0", "B.zzz")
	f.Add("0", "-z")
	f.Fuzz(func(t *testing.T, a, b string) {
		x, err := agentkeys.ParseMessageID(a)
		y, yerr := agentkeys.ParseMessageID(b)
		if err != nil || yerr != nil {
			return
		}
		switch p := before(x).String(); {
		case p >= a:
			t.Errorf("%q is not before %q", p, a)
		case y.String() < a && y.String() > p:
			t.Errorf("%q is between %q and %q", b, p, a)
		}
	})
}

// walked is an inbox that is walked through at once.
type walked struct{ pages }

func (w *walked) Walk(context.Context, agentkeys.Wallet) iter.Seq2[mailstore.Item, error] {
	return func(yield func(mailstore.Item, error) bool) {
		for _, id := range slices.Backward(w.ids) {
			if !yield(mailstore.Item{ID: mailstoretest.ID(id)}, nil) {
				return
			}
		}
	}
}

// TestListWalks: page by page a large directory would be read again and again.
func TestListWalks(t *testing.T) {
	w := &walked{pages{ids: []string{"a", "b", "c"}}}
	n := 0
	for _, err := range List(t.Context(), w, mailstoretest.Wallet(1)) {
		if n++; err != nil {
			t.Error(err)
		}
	}
	if n != 3 || w.calls != 0 {
		t.Errorf("%d messages, in %d pages", n, w.calls)
	}
}
