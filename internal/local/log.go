package local

import (
	"context"
	"encoding/json"

	"github.com/litentry/agentkeys/internal/audit"
)

// TailAudit calls f with the last n entries and, with follow, with those that
// come until ctx ends.
func (h *Host) TailAudit(ctx context.Context, n int, follow bool, f func(index int64, raw json.RawMessage) error) error {
	// What is queued counts: a person who looks expects what just happened.
	if _, err := h.audit.Checkpoint(ctx); err != nil {
		return err
	}
	entries, err := h.audit.Tail(n)
	if err != nil {
		return err
	}
	next := h.audit.Size()
	for i, e := range entries {
		if err := f(e.Index, e.Raw); err != nil {
			return err
		}
		if i == len(entries)-1 {
			next = e.Index + 1
		}
	}
	if !follow {
		return nil
	}
	return h.audit.Follow(ctx, next, func(e audit.Entry) error { return f(e.Index, e.Raw) })
}

// Checkpoint signs the log as it is and returns the signed note and the
// verifier key of whoever wants to check it.
func (h *Host) Checkpoint(ctx context.Context) (note, key string, err error) {
	c, err := h.audit.Checkpoint(ctx)
	return string(c.Signed), h.logKey.VerifierKey(), err
}
