package dirmail

import (
	"context"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/mailstore"
)

// FetchRefused is Fetch for mail that was refused.
func (d *Dir) FetchRefused(ctx context.Context, reason string, id agentkeys.MessageID, limit int64) ([]byte, error) {
	if !mailstore.ValidReason(reason) || id.IsZero() {
		return nil, mailstore.ErrInvalid
	}
	return d.fetch(ctx, refusedName+"/"+reason, id, limit)
}
