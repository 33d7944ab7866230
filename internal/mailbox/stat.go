package mailbox

import (
	"context"
	"strings"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/mailstore"
)

// Stat looks at one message of w's inbox. mailstore.ErrGone.
func Stat(ctx context.Context, inbox mailstore.Inbox, w agentkeys.Wallet, id agentkeys.MessageID) (mailstore.Item, error) {
	if s, ok := inbox.(mailstore.Stater); ok {
		return s.Stat(ctx, w, id)
	}
	if id.IsZero() {
		return mailstore.Item{}, mailstore.ErrInvalid
	}
	page, err := inbox.List(ctx, w, before(id), 1)
	if err != nil {
		return mailstore.Item{}, err
	}
	if len(page.Items) == 0 || page.Items[0].ID != id {
		return mailstore.Item{}, mailstore.ErrGone
	}
	return page.Items[0], nil
}

// letters are those of ids, in byte order.
const letters = "-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"

// before returns the last id there can be before id, in byte order; zero if
// there is none. A listing that begins after it begins with id.
func before(id agentkeys.MessageID) agentkeys.MessageID {
	head, last := id.String()[:len(id.String())-1], id.String()[len(id.String())-1]
	i := strings.IndexByte(letters, last)
	if head == "" && i > 0 && letters[i-1] == '.' {
		i-- // none begins with a dot
	}
	if i > 0 {
		head += letters[i-1 : i]
		head += strings.Repeat("z", agentkeys.MaxMessageID-len(head))
	}
	b, err := agentkeys.ParseMessageID(head)
	if err != nil {
		return agentkeys.MessageID{} // "", before the very first
	}
	return b
}
