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
	"github.com/litentry/agentkeys/internal/daemon"
	"github.com/litentry/agentkeys/internal/federate"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/inject"
	"github.com/litentry/agentkeys/internal/vault"
)

// ErrNoFederation says that a service is not known to exchange tokens, or is
// not set up to.
var ErrNoFederation = errors.New("no tokens are exchanged for this service")

// FederationState is how a service exchanges tokens, and what its owner has to
// enter there once.
type FederationState struct {
	Service agentkeys.Service `json:"service"`
	Name    string            `json:"name"`
	Set     bool              `json:"set"`

	Issuer   string `json:"issuer,omitempty"` // "": this machine has no broker
	Keys     string `json:"jwks_uri,omitempty"`
	Subject  string `json:"subject"`
	Audience string `json:"audience,omitempty"` // "": nobody has said
	URL      string `json:"url"`

	Parameters []FederationParameter `json:"parameters"`
	Setup      []string              `json:"setup"`
	Note       string                `json:"note,omitempty"`
	Grade      catalog.Grade         `json:"grade"`

	// StoredKey says that a key is stored too, which is not used meanwhile.
	StoredKey bool              `json:"stored_key"`
	Last      *FederationResult `json:"last,omitempty"` // since this process began
	// Exchange is what is set, for who changes a part of it.
	Exchange *catalog.Exchange `json:"exchange,omitempty"`
}

// FederationParameter is an id that the service gives.
type FederationParameter struct {
	Name     string `json:"name"`
	Prefix   string `json:"prefix,omitempty"`
	Required bool   `json:"required"`
	What     string `json:"what"`
	Value    string `json:"value,omitempty"`
}

// FederationResult is what came of an exchange.
type FederationResult struct {
	At      time.Time       `json:"at"`
	Expires time.Time       `json:"expires,omitzero"` // of the token
	Error   string          `json:"error,omitempty"`
	Verdict catalog.Verdict `json:"verified,omitempty"` // of the service's check, if it was asked
	Detail  string          `json:"detail,omitempty"`
}

// pathKeys is where an issuer's keys are.
const pathKeys = "/.well-known/jwks.json"

// Federation says how svc exchanges tokens. ErrNoFederation if it does not.
func (h *Host) Federation(ctx context.Context, svc agentkeys.Service) (FederationState, error) {
	e, err := h.cat.entry(svc)
	if err != nil {
		return FederationState{}, err
	}
	f := e.Federation
	if f == nil {
		return FederationState{}, fmt.Errorf("%w: %s is not known to take tokens of another issuer", ErrNoFederation, e.Name)
	}
	s := FederationState{
		Service: svc, Name: e.Name, Set: e.Owner.Federation != nil, Subject: "agentkeys:wallet:" + h.wallet.String(),
		Parameters: []FederationParameter{}, Setup: slices.Clone(f.Setup), Note: f.Note, Grade: f.Grade, Exchange: e.Owner.Federation,
	}
	s.Audience, _ = e.FederationAudience()
	if u := e.FederationURL(); u != nil {
		s.URL = u.String()
	}
	if r := h.opts.Remote; r != nil {
		s.Issuer, s.Keys = r.Issuer, r.Issuer+pathKeys
	}
	for _, p := range f.Parameters {
		fp := FederationParameter{Name: p.Name, Prefix: p.Prefix, Required: p.Required, What: p.What}
		if x := e.Owner.Federation; x != nil {
			fp.Value = x.Parameters[p.Name]
		}
		s.Parameters = append(s.Parameters, fp)
	}
	if a, ok := h.fed.of(e); ok && s.Set {
		s.Last = &FederationResult{At: a.at.UTC().Round(0), Expires: a.until}
		if a.err != nil {
			s.Last.Error = a.err.Error()
		}
	}
	s.StoredKey, err = h.hasCopy(ctx, h.wallet, svc)
	if s.Set && err != nil {
		// It is no part of how tokens are exchanged: that goes on without it.
		err = nil
	}
	return s, err
}

// CheckFederation has a token exchanged now and asks the service whether it
// takes it, with the request that checks a key. The token is not kept.
func (h *Host) CheckFederation(ctx context.Context, svc agentkeys.Service) (FederationResult, error) {
	e, err := h.cat.entry(svc)
	if err != nil {
		return FederationResult{}, err
	}
	if e.Owner.Federation == nil {
		return FederationResult{}, fmt.Errorf("%w: %s is not set up for it", ErrNoFederation, e.Name)
	}
	return h.tryFederation(ctx, e)
}

func (h *Host) tryFederation(ctx context.Context, e *catalog.Entry) (FederationResult, error) {
	res := FederationResult{At: h.now().UTC().Round(0)}
	t, err := h.exchange(ctx, e, grant.Event{Reason: "check"})
	if err != nil {
		return res, err
	}
	defer t.Secret.Clear()
	res.Expires = t.Expires
	res.Verdict, res.Detail, err = verifyAs(ctx, e, t.Secret)
	if errors.Is(err, ErrKeyRejected) {
		err = fmt.Errorf("%w: a token was exchanged, and then: %w", federate.ErrRefused, err)
	}
	return res, err
}

// SetFederation has tokens exchanged for svc from now on, on this machine, as x
// says, or with nil no more. With verify one is exchanged and tried first, and
// nothing changes if that fails.
//
// A key that is stored stays where it is, and is neither used nor lent while
// tokens are exchanged: agents' copies of it are deleted, and sealed again
// from it when that ends; keys that were made for grants are deleted at the
// service, and made anew then. An agent's own machine has settings of its own.
func (h *Host) SetFederation(ctx context.Context, svc agentkeys.Service, x *catalog.Exchange, verify bool) (FederationState, error) {
	st, err := h.setFederation(ctx, svc, x, verify)
	if err != nil || x != nil {
		return st, err
	}
	return st, h.makeAnew(ctx, svc)
}

func (h *Host) setFederation(ctx context.Context, svc agentkeys.Service, x *catalog.Exchange, verify bool) (FederationState, error) {
	set := func(s *catalog.Settings) { s.Federation = x }
	next, err := h.cat.with(svc, set)
	if errors.Is(err, catalog.ErrSettings) {
		err = fmt.Errorf("%w: %s", federate.ErrSetup, strings.TrimPrefix(err.Error(), catalog.ErrSettings.Error()+": "))
	}
	if err != nil {
		return FederationState{}, err
	}
	var tried FederationResult
	if x != nil {
		if _, err := h.exchangeable(next); err != nil {
			return FederationState{}, err
		}
		if verify {
			if tried, err = h.tryFederation(ctx, next); err != nil {
				return FederationState{}, err
			}
		}
	} else if !h.federated(svc) {
		return FederationState{}, fmt.Errorf("%w: %s is not set up for it", ErrNoFederation, next.Name)
	}
	h.change.Lock()
	defer h.change.Unlock()
	op, subject := "service.federate", ""
	if x == nil {
		op = "service.unfederate"
	} else {
		subject = next.FederationURL().String()
	}
	if err := h.audit.Record(ctx, grant.Event{Time: h.now().UTC(), Op: op, Actor: h.wallet, Svc: svc, Subject: subject, Decision: grant.Allowed}); err != nil {
		return FederationState{}, err
	}
	e, err := h.cat.set(svc, set, h.consent(ctx, false))
	if err != nil {
		return FederationState{}, err
	}
	h.forgetService(svc)
	if verify && x != nil {
		h.fed.note(attempt{at: tried.At, until: tried.Expires, e: e})
	}
	if err := errors.Join(h.followFederation(ctx, svc, x != nil), h.recordService(ctx, op, svc, subject)); err != nil {
		return FederationState{}, err
	}
	st, err := h.Federation(ctx, svc)
	if st.Last != nil && verify {
		st.Last.Verdict, st.Last.Detail = tried.Verdict, tried.Detail
	}
	return st, err
}

// followFederation brings agents' copies into the state that a service is in.
// h.change is held.
func (h *Host) followFederation(ctx context.Context, svc agentkeys.Service, on bool) error {
	if h.manage() != nil {
		return nil
	}
	if on {
		h.minted.poke()
		if err := h.deleteCopies(ctx, svc); err != nil {
			return fmt.Errorf("it is set, but some agent still has a copy of a key: %w", err)
		}
		return nil
	}
	if e, err := h.cat.entry(svc); err == nil {
		if m, err := h.mints(ctx, e); err != nil || m != nil {
			return err // keys are made anew, by makeAnew
		}
	}
	var errs []error
	for _, g := range h.grantsFor(svc) {
		a, ok := h.dir.Agent(g.Agent)
		if !ok || !h.inForce(g) {
			continue
		}
		// Without a key there is nothing to lend: the grant waits for one.
		if err := h.sealCopy(ctx, a, svc); err != nil && !errors.Is(err, vault.ErrNotFound) {
			errs = append(errs, fmt.Errorf("it is off, but agent %s has no copy of the key: %w", g.Agent, err))
		}
	}
	return errors.Join(errs...)
}

// endFederation does what is left if a change of a service's settings took its
// federation away. h.change is held.
func (h *Host) endFederation(ctx context.Context, svc agentkeys.Service, was bool) error {
	if !was || h.federated(svc) {
		return nil
	}
	return h.followFederation(ctx, svc, false)
}

// afterFederation is endFederation's second half, for which h.change is not
// held. err is that of the change.
func (h *Host) afterFederation(ctx context.Context, svc agentkeys.Service, was bool, err error) error {
	if err != nil || !was || h.federated(svc) {
		return err
	}
	return h.makeAnew(ctx, svc)
}

// forgetService drops what was made of a service's former settings.
func (h *Host) forgetService(svc agentkeys.Service) {
	h.routes.Forget(svc)
	for _, a := range h.dir.Agents() {
		h.daemon.Forget(a.Wallet, svc)
	}
}

// with returns a service as it would be with changed settings.
func (s *services) with(id agentkeys.Service, change func(*catalog.Settings)) (*catalog.Entry, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	e, err := s.base(id)
	if err != nil {
		return nil, err
	}
	set := s.settings[id]
	change(&set)
	return e.With(set)
}

// onRoute calls f with a route for e, which need not be the entry in force.
func onRoute(e *catalog.Entry, f func(*inject.Route) error) error {
	routes := daemon.NewRoutes(func(agentkeys.Service) (*catalog.Entry, error) { return e, nil })
	defer routes.Close()
	r, err := routes.Route(e.ID)
	if err != nil {
		return err
	}
	return f(r)
}

// exchanged is for how many services tokens are exchanged.
func (s *services) exchanged() (n int) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, set := range s.settings {
		if set.Federation != nil {
			n++
		}
	}
	return n
}
