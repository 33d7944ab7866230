package local

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/envelope"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/secret"
)

// Drawer is a place beside a service's key for what is the master's alone: it
// is stored and sealed as a key is, and cannot be lent, because no service has
// its name.
type Drawer string

// The drawers of a service.
const (
	DrawerManagement Drawer = "management" // a key that mints keys
	DrawerAccount    Drawer = "account"    // what one logs in with at the service's pages
	DrawerPending    Drawer = "pending"    // a key that was read and not yet verified
)

// drawerMark stands between a service and a drawer in a name of the vault. No
// service of the catalogue has it.
const drawerMark = "--"

// ErrDrawer says that there is no such drawer.
var ErrDrawer = errors.New("no such drawer")

func drawerName(svc agentkeys.Service, d Drawer) (agentkeys.Service, error) {
	switch d {
	case DrawerManagement, DrawerAccount, DrawerPending:
		return agentkeys.ParseService(svc.String() + drawerMark + string(d))
	}
	return agentkeys.Service{}, ErrDrawer
}

// isDrawer reports whether a name of the vault is a drawer's, and of what.
func isDrawer(name agentkeys.Service) (svc agentkeys.Service, d Drawer, ok bool) {
	of, drawer, found := strings.Cut(name.String(), drawerMark)
	if !found {
		return agentkeys.Service{}, "", false
	}
	svc, err := agentkeys.ParseService(of)
	return svc, Drawer(drawer), err == nil
}

// noDrawer refuses a drawer where a service's key is meant: its name in the vault is
// nobody's business but a drawer's.
func noDrawer(svc agentkeys.Service) error {
	if _, _, drawer := isDrawer(svc); drawer {
		return fmt.Errorf("%w: %s is no service", catalog.ErrUnknown, svc)
	}
	return nil
}

// PutDrawer keeps v in a drawer of a service, in place of what was there, and
// takes it over. When it returns nil, v has been read back.
func (h *Host) PutDrawer(ctx context.Context, svc agentkeys.Service, d Drawer, v secret.Value) error {
	h.change.Lock()
	defer h.change.Unlock()
	return h.putDrawer(ctx, svc, d, v)
}

// putDrawer is PutDrawer for who holds h.change.
func (h *Host) putDrawer(ctx context.Context, svc agentkeys.Service, d Drawer, v secret.Value) error {
	defer v.Clear()
	if err := h.manage(); err != nil {
		return err
	}
	if _, err := h.cat.entry(svc); err != nil {
		return err
	}
	name, err := drawerName(svc, d)
	if err != nil {
		return err
	}
	if v.IsZero() || v.Len() > MaxSecret {
		return fmt.Errorf("%w: a drawer holds 1 to %d bytes", ErrKeyForm, MaxSecret)
	}
	e := grant.Event{Time: h.now(), Op: "drawer.store", Actor: h.wallet, Subject: string(d)}
	p, err := h.decider.Own(ctx, grant.ActStore, h.wallet, name, e)
	if err != nil {
		return err
	}
	if _, err := h.vault.Store(ctx, p, envelope.Record{Secret: v, Kind: string(d), Route: "provision"}); err != nil {
		return err
	}
	return h.readBack(ctx, name, v)
}

// Drawer returns what is in a drawer of a service. vault.ErrNotFound.
func (h *Host) Drawer(ctx context.Context, svc agentkeys.Service, d Drawer) (secret.Value, error) {
	if err := h.manage(); err != nil {
		return secret.Value{}, err
	}
	name, err := drawerName(svc, d)
	if err != nil {
		return secret.Value{}, err
	}
	return h.drawer(ctx, name, "drawer.open", d)
}

func (h *Host) drawer(ctx context.Context, name agentkeys.Service, op string, d Drawer) (secret.Value, error) {
	p, err := h.decider.Own(ctx, grant.ActReveal, h.wallet, name, grant.Event{Time: h.now(), Op: op, Actor: h.wallet, Subject: string(d)})
	if err != nil {
		return secret.Value{}, err
	}
	rec, _, err := h.vault.Load(ctx, p)
	return rec.Secret, err
}

// RemoveDrawer empties a drawer. vault.ErrNotFound.
func (h *Host) RemoveDrawer(ctx context.Context, svc agentkeys.Service, d Drawer) error {
	h.change.Lock()
	defer h.change.Unlock()
	return h.removeDrawer(ctx, svc, d)
}

// removeDrawer is RemoveDrawer for who holds h.change.
func (h *Host) removeDrawer(ctx context.Context, svc agentkeys.Service, d Drawer) error {
	if err := h.manage(); err != nil {
		return err
	}
	name, err := drawerName(svc, d)
	if err != nil {
		return err
	}
	p, err := h.decider.Own(ctx, grant.ActDelete, h.wallet, name, grant.Event{Time: h.now(), Op: "drawer.delete", Actor: h.wallet, Subject: string(d)})
	if err != nil {
		return err
	}
	return h.vault.Delete(ctx, p)
}
