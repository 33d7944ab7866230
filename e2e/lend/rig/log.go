package rig

import (
	"encoding/json"

	"github.com/litentry/agentkeys/internal/control"
	"github.com/litentry/agentkeys/internal/grant"
)

// Entry is an entry of the audit log.
type Entry struct {
	Index int64
	Raw   string
	grant.Event
}

// Log returns the last n entries of the audit log.
func (h *Home) Log(n int) []Entry {
	h.t.Helper()
	var entries []Entry
	err := h.Client().TailAudit(h.t.Context(), n, false, func(l control.LogLine) error {
		e := Entry{Index: l.Index, Raw: string(l.Entry)}
		if err := json.Unmarshal(l.Entry, &e.Event); err != nil {
			return err
		}
		entries = append(entries, e)
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return entries
}
