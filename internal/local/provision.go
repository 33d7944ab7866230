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
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/vault"
)

// ReadEntry returns the catalogue's entry of a service as the owner's files have
// it, whether or not a process serves them.
func ReadEntry(p Paths, id agentkeys.Service) (*catalog.Entry, error) {
	s, err := readServices(p)
	if err != nil {
		return nil, err
	}
	return s.entry(id)
}

// KeyCheck is what the service says of the key that is stored.
type KeyCheck struct {
	Stored     bool            `json:"stored"`
	Unreadable string          `json:"unreadable,omitempty"` // why what is stored cannot be opened
	Route      string          `json:"route,omitempty"`
	Verdict    catalog.Verdict `json:"verified,omitempty"`
	Detail     string          `json:"detail,omitempty"`
	VerifiedAt time.Time       `json:"verified_at,omitzero"` // at the store
}

// CheckKey asks the service about the key that is stored. That there is none,
// that it cannot be opened, and that the service refuses it, are answers.
func (h *Host) CheckKey(ctx context.Context, svc agentkeys.Service) (KeyCheck, error) {
	if err := h.manage(); err != nil {
		return KeyCheck{}, err
	}
	e, err := h.cat.entry(svc)
	if err != nil {
		return KeyCheck{}, err
	}
	rec, _, err := h.read(ctx, grant.ActVerify, "credential.verify", svc)
	switch {
	case errors.Is(err, vault.ErrNotFound):
		return KeyCheck{}, nil
	case unreadable(err):
		return KeyCheck{Stored: true, Unreadable: err.Error()}, nil
	case err != nil:
		return KeyCheck{}, err
	}
	defer rec.Secret.Clear()
	c := KeyCheck{Stored: true, Route: rec.Route, VerifiedAt: rec.VerifiedAt}
	c.Verdict, c.Detail, err = h.verify(ctx, e, rec.Secret)
	if errors.Is(err, ErrKeyRejected) {
		c.Detail, err = err.Error(), nil
	}
	return c, err
}

// ProvisionEvent is what a run that gets a credential has to say for the log.
type ProvisionEvent struct {
	Service agentkeys.Service `json:"service"`
	// Op is provision.start, provision.step or provision.end.
	Op       string `json:"op"`
	Run      string `json:"run"`  // joins the entries of one run
	Door     string `json:"door"` // of the catalogue
	Subject  string `json:"subject,omitempty"`
	Decision string `json:"decision"`
	Reason   string `json:"reason,omitempty"`
}

// ErrEvent says that an event is none that is recorded.
var ErrEvent = errors.New("malformed event")

// provisionOps are those that may be recorded from outside this process.
var provisionOps = []string{"provision.start", "provision.step", "provision.end"}

// RecordProvision records an event of a run, durably. It takes words of our
// own only: what a page or a mail says has no way into the log.
func (h *Host) RecordProvision(ctx context.Context, e ProvisionEvent) error {
	if err := h.manage(); err != nil {
		return err
	}
	door := slices.Contains(catalog.Doors(), catalog.Door(e.Door))
	decision := slices.Contains([]string{grant.Allowed, grant.Denied, grant.Done, grant.Failed}, e.Decision)
	if !slices.Contains(provisionOps, e.Op) || !door || !decision || e.Service.IsZero() ||
		!words(e.Run, 64) || e.Run == "" || !words(e.Subject, 128) || !words(e.Reason, 128) {
		return ErrEvent
	}
	subject := "door " + e.Door
	if e.Subject != "" {
		subject += ", " + e.Subject
	}
	err := h.audit.Record(ctx, grant.Event{
		Time: h.now().UTC(), Op: e.Op, Actor: h.wallet, Svc: e.Service, Subject: subject, Request: e.Run,
		Decision: e.Decision, Reason: e.Reason,
	})
	if err != nil {
		return fmt.Errorf("recording %s: %w", e.Op, err)
	}
	return nil
}

// words reports whether s is short, and nothing but small letters, digits,
// spaces and a little punctuation: no key, address or link is.
func words(s string, longest int) bool {
	return len(s) <= longest && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789 ,.:-") == ""
}
