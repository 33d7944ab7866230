package local

import (
	"context"
	"fmt"
	"net/url"
	"slices"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/vault"
)

// keepsDoors refuses, unless force, a service file that would send what is kept
// for a service to hosts that the file before it did not name: its key to be
// checked, its account's password to the pages of a sign-up, this wallet's
// tokens to be exchanged. Where its requests go is consent's affair, and where
// its management key goes is keepsManagement's.
func (h *Host) keepsDoors(ctx context.Context, old, next *catalog.Entry, force bool) error {
	if force {
		return nil
	}
	infos, err := h.vault.Infos(ctx, h.wallet)
	if err != nil {
		return err
	}
	kept := func(name agentkeys.Service) bool {
		return slices.ContainsFunc(infos, func(i vault.Info) bool { return i.Service == name })
	}
	drawer := func(d Drawer) bool {
		name, err := drawerName(next.ID, d)
		return err == nil && kept(name)
	}
	if old == nil {
		if drawer(DrawerManagement) || drawer(DrawerAccount) || drawer(DrawerPending) {
			return fmt.Errorf("%w: something is kept of an earlier service of this name, and would go where this file says", ErrServiceMoves)
		}
		return nil
	}
	if u := next.Verify.URL; u != nil && !sameHost(u, old.Verify.URL) && !sameHost(u, old.Base) && (kept(old.ID) || drawer(DrawerPending)) {
		return fmt.Errorf("%w: it would be checked at %s from now on", ErrServiceMoves, u.Host)
	}
	if next.Recipe != nil && drawer(DrawerAccount) {
		for _, name := range next.Recipe.Hosts {
			if old.Recipe == nil || !slices.Contains(old.Recipe.Hosts, name) {
				return fmt.Errorf("%w: its account's password might go to %s from now on", ErrServiceMoves, name)
			}
		}
	}
	if was, now := old.FederationURL(), next.FederationURL(); old.Owner.Federation != nil && now != nil && !sameHost(now, was) {
		return fmt.Errorf("%w: tokens would be exchanged at %s from now on", ErrServiceMoves, now.Host)
	}
	return nil
}

func sameHost(a, b *url.URL) bool {
	return a != nil && b != nil && a.Scheme == b.Scheme && a.Host == b.Host
}
