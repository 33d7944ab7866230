package local

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/mint"
	"github.com/litentry/agentkeys/internal/vault"
)

// setMinting changes how keys are minted, if that is asked for.
func (c *ServiceChange) setMinting(s *catalog.Settings) {
	if c.MintURL == nil && c.MintParameters == nil {
		return
	}
	next := catalog.Exchange{Parameters: map[string]string{}}
	if s.Minting != nil {
		next.URL, next.Audience = s.Minting.URL, s.Minting.Audience
		maps.Copy(next.Parameters, s.Minting.Parameters)
	}
	if c.MintURL != nil {
		next.URL = *c.MintURL
	}
	maps.Copy(next.Parameters, c.MintParameters)
	maps.DeleteFunc(next.Parameters, func(_, v string) bool { return v == "" })
	s.Minting = &next
}

// keepsManagement refuses, unless force, what would send a stored management key
// to another host than the one it was stored for, or leave nobody to delete the
// keys it made.
func (h *Host) keepsManagement(ctx context.Context, old, next *catalog.Entry, force bool) error {
	if old == nil || force {
		return nil
	}
	was, err := mint.Address(old)
	if err != nil {
		return nil // it went nowhere
	}
	var now *url.URL
	if next != nil {
		now, _ = mint.Address(next)
	}
	if now != nil && now.Scheme == was.Scheme && now.Host == was.Host {
		return h.keepsPlace(old, next)
	}
	has, err := h.hasManagement(ctx, old.ID)
	if err != nil || !has {
		return err
	}
	if now == nil {
		return fmt.Errorf("%w: its management key would be good for nothing", ErrServiceMoves)
	}
	return fmt.Errorf("%w: its management key would go to %s from now on, and not to %s", ErrServiceMoves, now.Host, was.Host)
}

// keepsPlace refuses what would leave keys at a place that is not asked any
// more to delete them.
func (h *Host) keepsPlace(old, next *catalog.Entry) error {
	was, err := mint.New(old, nil)
	if err != nil {
		return nil // it has made none
	}
	if now, err := mint.New(next, nil); err == nil && now.Place() == was.Place() {
		return nil
	}
	left := h.minted.where(func(k MintedKey) bool { return k.Service == old.ID && k.At == was.Place() })
	if len(left) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %d of %s were made at %s", ErrKeysAlive, len(left), old.ID, was.Place())
}

func mintingSettings(x *catalog.Exchange) []string {
	var out []string
	if x.URL != "" {
		out = append(out, "keys are made at "+x.URL)
	}
	for _, name := range slices.Sorted(maps.Keys(x.Parameters)) {
		out = append(out, "for making keys, "+name+" is "+x.Parameters[name])
	}
	return out
}

// managedOnly are the services of which there is a management key and no other.
func (h *Host) managedOnly(infos []vault.Info) []CredentialInfo {
	var out []CredentialInfo
	for _, i := range infos {
		svc, d, ok := isDrawer(i.Service)
		if !ok || d != DrawerManagement || slices.ContainsFunc(infos, func(o vault.Info) bool { return o.Service == svc }) {
			continue
		}
		c := CredentialInfo{Service: svc, Epoch: i.Epoch, Agents: []agentkeys.Agent{}, Management: true}
		if e, err := h.cat.entry(svc); err == nil {
			c.Name = e.Name
		}
		for _, g := range h.grantsFor(svc) {
			c.Agents = append(c.Agents, g.Agent)
		}
		out = append(out, c)
	}
	return out
}
