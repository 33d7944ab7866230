package local

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/envelope"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/vault"
)

// ErrGranted says that a credential is lent and so is not removed by accident.
var ErrGranted = errors.New("the credential is lent to agents")

// ErrTooShort says that a secret is too short to be one: an answer could not
// be searched for it without finding it everywhere.
var ErrTooShort = errors.New("the secret is too short")

// MinSecret is the length of the shortest secret that is kept, in bytes.
const MinSecret = 8

// MaxSecret is the length of the longest, in bytes.
const MaxSecret = 4 << 10 // as long as one that can be injected

// StoreOptions loosen what Store checks.
type StoreOptions struct {
	AnyForm  bool `json:"any_form"`  // accept a key that does not look like one of the service
	NoVerify bool `json:"no_verify"` // do not ask the service about it
	// Route is the door that the key came by, "" for import. A key of another
	// door is read back before Store returns.
	Route catalog.Door `json:"route,omitempty"`
}

// StoreResult is what became of a store.
type StoreResult struct {
	Service  agentkeys.Service `json:"service"`
	Revision uint64            `json:"revision"`
	Verdict  catalog.Verdict   `json:"verified"`
	Detail   string            `json:"detail,omitempty"` // why Verdict is not plain
	Agents   []agentkeys.Agent `json:"agents,omitempty"` // whose copies were renewed
}

// Store keeps a credential the user brings, for the master and, where it is
// lent, for each agent. The service is asked first: a key that it refuses is
// not stored and what was stored before stays. Store takes v over.
func (h *Host) Store(ctx context.Context, svc agentkeys.Service, v secret.Value, o StoreOptions) (StoreResult, error) {
	defer v.Clear()
	res := StoreResult{Service: svc}
	if err := h.manage(); err != nil {
		return res, err
	}
	e, err := h.cat.entry(svc)
	if err != nil {
		return res, err
	}
	if v.Len() < MinSecret {
		return res, ErrTooShort
	}
	for _, c := range v.Expose() {
		if c <= ' ' || c >= 0x7f {
			return res, fmt.Errorf("%w: it has a space, a line break or another byte that cannot stand in a header", ErrKeyForm)
		}
	}
	if !o.AnyForm {
		if err := e.CheckKey(v.Expose()); err != nil {
			return res, err
		}
	}
	if o.Route == "" {
		o.Route = catalog.Import
	}
	if !slices.Contains(catalog.Doors(), o.Route) {
		return res, ErrEvent
	}
	rec := envelope.Record{Secret: v, Kind: "api-key", Route: string(o.Route)}
	if o.NoVerify {
		res.Verdict, res.Detail = catalog.Unclear, "not asked"
	} else if res.Verdict, res.Detail, err = h.verify(ctx, e, v); err != nil {
		return res, err
	}
	if _, _, _, known := e.VerifyRequest(); known && o.Route != catalog.Import && res.Verdict == catalog.Unclear {
		return res, fmt.Errorf("%w: %s", ErrUnasked, res.Detail)
	}
	if res.Verdict == catalog.Good || res.Verdict == catalog.Limited {
		rec.VerifiedAt = h.now()
	}

	h.change.Lock()
	defer h.change.Unlock()
	ev := grant.Event{Time: h.now(), Op: opStore, Actor: h.wallet, Subject: "verified: " + string(res.Verdict)}
	p, err := h.decider.Own(ctx, grant.ActStore, h.wallet, svc, ev)
	if err != nil {
		return res, err
	}
	stranger := h.stranger(ctx, agentkeys.Agent{}, h.wallet, svc)
	if res.Revision, err = h.vault.Store(ctx, p, rec); err != nil {
		return res, err
	}
	h.noteStranger(stranger, h.now().Add(h.grace()))
	if o.Route != catalog.Import {
		if err := h.readBack(ctx, svc, v); err != nil {
			return res, err
		}
	}
	for _, g := range h.grantsFor(svc) {
		a, ok := h.dir.Agent(g.Agent)
		if !ok || !h.inForce(g) || h.isMinted(ctx, g) {
			continue
		}
		if err := h.sealCopy(ctx, a, svc); err != nil {
			return res, fmt.Errorf("stored, but the copy of agent %s is still the old one: %w", g.Agent, err)
		}
		res.Agents = append(res.Agents, g.Agent)
	}
	h.supersede(agentkeys.Agent{}, svc, "") // a key of the master's own that was made
	// Only now: a store that the log does not show as done is one that mend
	// ends.
	ev.Svc, ev.Decision, ev.Revision, ev.Time = svc, grant.Done, res.Revision, h.now().UTC()
	return res, h.audit.Record(ctx, ev)
}

const opStore = "credential.store"

// readBack opens what has just been stored and compares.
func (h *Host) readBack(ctx context.Context, svc agentkeys.Service, v secret.Value) error {
	rec, _, err := h.read(ctx, grant.ActVerify, "credential.check", svc)
	if err != nil {
		return fmt.Errorf("reading back what was stored: %w", err)
	}
	defer rec.Secret.Clear()
	if !rec.Secret.Equal(v) {
		return fmt.Errorf("%w: what was stored is not what was read back", vault.ErrConflict)
	}
	return nil
}

// CredentialInfo is what may be shown of a stored credential.
type CredentialInfo struct {
	Service  agentkeys.Service `json:"service"`
	Name     string            `json:"name"`
	Revision uint64            `json:"revision"` // 0: there is a management key alone
	Epoch    uint32            `json:"epoch"`
	Agents   []agentkeys.Agent `json:"agents"`
	// Management says that there is a management key too.
	Management bool `json:"management,omitempty"`
}

// Credentials lists what is stored, by service.
func (h *Host) Credentials(ctx context.Context) ([]CredentialInfo, error) {
	infos, err := h.vault.Infos(ctx, h.wallet)
	if err != nil {
		return nil, err
	}
	out := make([]CredentialInfo, 0, len(infos))
	for _, i := range infos {
		if _, _, drawer := isDrawer(i.Service); drawer {
			continue
		}
		c := CredentialInfo{Service: i.Service, Revision: i.Revision, Epoch: i.Epoch, Agents: []agentkeys.Agent{}, Management: managed(infos, i.Service)}
		if e, err := h.cat.entry(i.Service); err == nil {
			c.Name = e.Name
		}
		for _, g := range h.grantsFor(i.Service) {
			c.Agents = append(c.Agents, g.Agent)
		}
		out = append(out, c)
	}
	out = append(out, h.managedOnly(infos)...)
	slices.SortFunc(out, func(a, b CredentialInfo) int { return strings.Compare(a.Service.String(), b.Service.String()) })
	return out, nil
}

// CredentialDetail is what the owner sees of one credential, less the secret.
type CredentialDetail struct {
	CredentialInfo
	Kind       string      `json:"kind"`
	KeyID      string      `json:"key_id,omitempty"`
	Route      string      `json:"route"`
	Length     int         `json:"length"` // of the secret, in bytes
	VerifiedAt time.Time   `json:"verified_at,omitzero"`
	ExpiresAt  time.Time   `json:"expires_at,omitzero"`
	Grants     []GrantInfo `json:"grants"`
}

// Credential opens one credential to show what goes with the secret.
func (h *Host) Credential(ctx context.Context, svc agentkeys.Service) (CredentialDetail, error) {
	var d CredentialDetail
	if err := noDrawer(svc); err != nil {
		return d, err
	}
	rec, hdr, err := h.read(ctx, grant.ActVerify, "credential.show", svc)
	if err != nil {
		return d, err
	}
	defer rec.Secret.Clear()
	d = CredentialDetail{
		CredentialInfo: CredentialInfo{Service: svc, Revision: hdr.Revision, Epoch: hdr.Epoch, Agents: []agentkeys.Agent{}},
		Kind:           rec.Kind, KeyID: rec.KeyID, Route: rec.Route, Length: rec.Secret.Len(),
		VerifiedAt: rec.VerifiedAt, ExpiresAt: rec.ExpiresAt, Grants: []GrantInfo{},
	}
	if e, err := h.cat.entry(svc); err == nil {
		d.Name = e.Name
	}
	if d.Management, err = h.hasManagement(ctx, svc); err != nil {
		return CredentialDetail{}, err
	}
	for _, g := range h.grantsFor(svc) {
		d.Agents = append(d.Agents, g.Agent)
		d.Grants = append(d.Grants, h.grantInfo(g))
	}
	return d, nil
}

// Reveal returns the secret itself. That a person confirmed it on a terminal
// is the caller's business; that it happened is in the log before it does.
func (h *Host) Reveal(ctx context.Context, svc agentkeys.Service) (secret.Value, error) {
	if err := errors.Join(h.manage(), noDrawer(svc)); err != nil {
		return secret.Value{}, err
	}
	rec, _, err := h.read(ctx, grant.ActReveal, "credential.reveal", svc)
	return rec.Secret, err
}

func (h *Host) read(ctx context.Context, a grant.Action, op string, svc agentkeys.Service) (envelope.Record, envelope.Header, error) {
	p, err := h.decider.Own(ctx, a, h.wallet, svc, grant.Event{Time: h.now(), Op: op, Actor: h.wallet})
	if err != nil {
		return envelope.Record{}, envelope.Header{}, err
	}
	return h.vault.Load(ctx, p)
}

// Remove deletes a credential with every copy of it, also those whose grant is
// over. One that is lent is ErrGranted unless force, which revokes its grants
// first.
func (h *Host) Remove(ctx context.Context, svc agentkeys.Service, force bool) error {
	if err := errors.Join(h.manage(), noDrawer(svc)); err != nil {
		return err
	}
	grants := h.grantsFor(svc)
	if len(grants) > 0 && !force {
		return fmt.Errorf("%w: %s", ErrGranted, lentTo(grants))
	}
	for _, g := range grants {
		if err := h.Revoke(ctx, g.Agent, svc); err != nil {
			return err
		}
	}
	if err := h.remove(ctx, svc); err != nil {
		return err // and what is stored still is not deleted at the service
	}
	h.endMinted(ctx, agentkeys.Agent{}, svc)
	return nil
}

func (h *Host) remove(ctx context.Context, svc agentkeys.Service) error {
	h.change.Lock()
	defer h.change.Unlock()
	if err := h.deleteCopies(ctx, svc); err != nil {
		return err
	}
	stranger := h.stranger(ctx, agentkeys.Agent{}, h.wallet, svc)
	e := grant.Event{Time: h.now(), Op: "credential.delete", Actor: h.wallet}
	p, err := h.decider.Own(ctx, grant.ActDelete, h.wallet, svc, e)
	if err != nil {
		return err
	}
	if err := h.vault.Delete(ctx, p); err != nil {
		if errors.Is(err, vault.ErrNotFound) {
			return fmt.Errorf("%w: %s", vault.ErrNotFound, svc)
		}
		return err
	}
	h.noteStranger(stranger, h.now())
	e.Svc, e.Decision, e.Time = svc, grant.Done, h.now().UTC()
	return h.audit.Record(ctx, e)
}

// deleteCopies deletes every agent's copy of a service's key. h.change is held.
func (h *Host) deleteCopies(ctx context.Context, svc agentkeys.Service) error {
	var errs []error
	for _, a := range h.dir.Agents() {
		has, err := h.hasCopy(ctx, a.Wallet, svc)
		if err == nil && has {
			err = h.deleteCopy(ctx, grant.Event{Agent: a.Label, Subject: a.Wallet.String()}, a.Wallet, svc)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("the copy of agent %s: %w", a.Label, err))
		}
	}
	return errors.Join(errs...)
}
