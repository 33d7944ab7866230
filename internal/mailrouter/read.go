package mailrouter

import (
	"context"
	"fmt"

	"github.com/litentry/agentkeys/internal/mailhead"
	"github.com/litentry/agentkeys/internal/mailroute"
	"github.com/litentry/agentkeys/internal/mailstore"
)

// How far a message is read before it is decided upon, in bytes. The first
// holds the receiving host's own lines, of about 1.7 KB with SES; the next the
// whole header block of nearly all mail.
const (
	firstRead  = 2 << 10
	secondRead = 16 << 10
	// MaxHeader is the most that is read; from secondRead on it doubles.
	MaxHeader = mailhead.MaxBlock
)

// decide reads until the rules need no more. What it returns was decided on
// bytes of v, and no cut header field had a say in it: that is Decide's law.
func (r *Router) decide(ctx context.Context, ev Event, e *Entry) (d mailroute.Decision, v mailstore.Version, head []byte, err error) {
	none := mailroute.Decision{}
	for upTo := int64(firstRead); ; upTo = max(secondRead, 2*upTo) {
		have := int64(len(head))
		p, err := r.o.Store.Read(ctx, ev.ID, have, upTo-have, v)
		if err != nil {
			return none, "", nil, fmt.Errorf("reading mail: %w", err)
		}
		e.Reads++
		e.Fetched += int64(len(p.Data))
		if p.Version == "" || v != "" && p.Version != v || p.Size < 0 || int64(len(p.Data)) != min(upTo, p.Size)-have {
			return none, "", nil, fmt.Errorf("%w: a part that is not what was asked for", ErrStore)
		}
		if have == 0 {
			head = p.Data
		} else {
			head = append(head, p.Data...)
		}
		v, e.Size = p.Version, p.Size
		d = r.o.Rules.Decide(head, int64(len(head)) == p.Size, ev.Recipients)
		switch {
		case d.Outcome != mailroute.More:
			return d, v, head, nil
		case int64(len(head)) == p.Size:
			return none, "", nil, fmt.Errorf("%w: of a whole message there is no more", ErrStore)
		case upTo >= MaxHeader:
			return mailroute.Decision{Outcome: mailroute.Refuse, Reason: mailroute.ReasonHeaderTooLong}, v, head, nil
		}
	}
}
