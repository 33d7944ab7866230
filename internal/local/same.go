package local

import (
	"context"
	"errors"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/vault"
)

// Same says whether a key of the service is stored, and whether v is that key.
// It takes v over. Who may store may ask this: it tells nothing of a key to
// anybody who does not have it.
func (h *Host) Same(ctx context.Context, svc agentkeys.Service, v secret.Value) (stored, same bool, err error) {
	defer v.Clear()
	if err := h.manage(); err != nil {
		return false, false, err
	}
	if _, err := h.cat.entry(svc); err != nil {
		return false, false, err
	}
	rec, _, err := h.read(ctx, grant.ActVerify, "credential.compare", svc)
	if errors.Is(err, vault.ErrNotFound) {
		return false, false, nil
	}
	if err != nil {
		return false, false, err
	}
	defer rec.Secret.Clear()
	return true, rec.Secret.Equal(v), nil
}

// ReadEntries returns the entries of all services as their files say, whether
// or not a process serves them.
func ReadEntries(p Paths) ([]*catalog.Entry, error) {
	s, err := readServices(p)
	if err != nil {
		return nil, err
	}
	var all []*catalog.Entry
	for _, id := range s.ids() {
		e, err := s.entry(id)
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, nil
}
