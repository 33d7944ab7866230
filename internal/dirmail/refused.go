package dirmail

import (
	"context"
	"io/fs"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/mailstore"
)

// Refused lists up to limit refused messages, in the order of their reasons and
// then of their ids, from the first beyond after on; the zero item starts from
// the beginning.
func (d *Dir) Refused(ctx context.Context, after mailstore.Item, limit int) (page mailstore.Page, err error) {
	if limit < 1 || limit > mailstore.MaxPage || after.Reason != "" && !mailstore.ValidReason(after.Reason) {
		return page, mailstore.ErrInvalid
	}
	reasons, err := d.reasons()
	if err != nil {
		return page, err
	}
	for _, reason := range reasons {
		var from agentkeys.MessageID
		if reason < after.Reason {
			continue
		} else if reason == after.Reason {
			from = after.ID
		}
		for more := true; more && len(page.Items) <= limit; {
			p, err := d.list(ctx, refusedName+"/"+reason, from, min(limit+1-len(page.Items), mailstore.MaxPage))
			if err != nil {
				return mailstore.Page{}, err
			}
			for _, i := range p.Items {
				i.Reason, from = reason, i.ID
				page.Items = append(page.Items, i)
			}
			more = p.More
		}
	}
	if len(page.Items) > limit {
		page.Items, page.More = page.Items[:limit], true
	}
	return page, nil
}

// reasons lists the directories of refused mail.
func (d *Dir) reasons() (all []string, err error) {
	return d.names(refusedName, func(e fs.DirEntry) bool { return e.IsDir() && mailstore.ValidReason(e.Name()) })
}

// FetchRefused is Fetch for mail that was refused.
func (d *Dir) FetchRefused(ctx context.Context, reason string, id agentkeys.MessageID, limit int64) ([]byte, error) {
	if !mailstore.ValidReason(reason) || id.IsZero() {
		return nil, mailstore.ErrInvalid
	}
	return d.fetch(ctx, refusedName+"/"+reason, id, limit)
}
