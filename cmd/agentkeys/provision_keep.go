package main

import (
	"context"
	"errors"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/control"
	"github.com/litentry/agentkeys/internal/local"
	"github.com/litentry/agentkeys/internal/mailhead"
	"github.com/litentry/agentkeys/internal/provision"
	"github.com/litentry/agentkeys/internal/provision/recipe"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/verifymail"
)

// keep is the background process as a run sees it.
type keep struct {
	*control.Client
	entry    *catalog.Entry
	hints    local.MailHints
	progress func(control.MailSeen)
}

// code is that of an error of the background process, "" of any other.
func code(err error) string {
	if e, ok := errors.AsType[*control.Error](err); ok {
		return e.Code
	}
	return ""
}

// Check implements provision.Vault.
func (k keep) Check(ctx context.Context, s agentkeys.Service) (provision.Checked, error) {
	c, err := k.CheckKey(ctx, s)
	out := provision.Checked{Stored: c.Stored, Verdict: c.Verdict, Detail: c.Detail}
	if c.Unreadable != "" {
		out.Verdict, out.Detail = catalog.Bad, c.Unreadable
	}
	return out, err
}

// Store implements provision.Vault.
func (k keep) Store(ctx context.Context, s agentkeys.Service, v secret.Value, by catalog.Door) (provision.Checked, error) {
	r, err := k.Client.Store(ctx, s, v, local.StoreOptions{Route: by})
	if code(err) == control.CodeBadKey {
		return provision.Checked{}, errors.Join(provision.ErrRefused, err)
	}
	out := provision.Checked{Stored: err == nil, Verdict: r.Verdict, Detail: r.Detail, Revision: r.Revision}
	for _, a := range r.Agents {
		out.Agents = append(out.Agents, a.String())
	}
	return out, err
}

// Put implements provision.Vault.
func (k keep) Put(ctx context.Context, s agentkeys.Service, d provision.Drawer, v secret.Value) error {
	return k.PutDrawer(ctx, s, local.Drawer(d), v)
}

// Get implements provision.Vault.
func (k keep) Get(ctx context.Context, s agentkeys.Service, d provision.Drawer) (secret.Value, error) {
	v, err := k.Drawer(ctx, s, local.Drawer(d))
	return v, empty(err)
}

// Drop implements provision.Vault.
func (k keep) Drop(ctx context.Context, s agentkeys.Service, d provision.Drawer) error {
	return empty(k.RemoveDrawer(ctx, s, local.Drawer(d)))
}

func empty(err error) error {
	if code(err) == control.CodeNotFound {
		return provision.ErrEmpty
	}
	return err
}

// Record implements provision.Log.
func (k keep) Record(ctx context.Context, e provision.Entry) error {
	return k.RecordProvision(ctx, local.ProvisionEvent{
		Service: e.Service, Op: e.Op, Run: e.Run, Door: string(e.Door), Subject: e.Subject, Decision: e.Decision, Reason: e.Reason,
	})
}

// Address implements provision.Post.
func (k keep) Address(ctx context.Context, s agentkeys.Service) (string, error) {
	// Before anything is made at the service: would its mail be known?
	if _, err := local.MailRules(k.entry, mailhead.Receiver{}, k.hints); err != nil {
		return "", &noMail{err}
	}
	a, err := k.MailAddress(ctx, control.MailAddressRequest{Service: s})
	switch code(err) {
	case control.CodeConflict, control.CodeUnknown:
		err = &noMail{err}
	}
	return a.Address, err
}

// noMail says why no mail can come, as the background process has it.
type noMail struct{ err error }

func (n *noMail) Error() string   { return n.err.Error() }
func (n *noMail) Unwrap() []error { return []error{provision.ErrNoMail, n.err} }

// Came implements provision.Post.
func (k keep) Came(ctx context.Context, address string) (ids []agentkeys.MessageID, err error) {
	all, err := k.Mails(ctx, local.MailQuery{Place: local.PlaceInbox, Limit: local.MaxMails})
	for _, m := range all {
		if m.Address == address {
			ids = append(ids, m.ID)
		}
	}
	return ids, err
}

// Wait implements provision.Post.
func (k keep) Wait(ctx context.Context, w provision.MailWait) (recipe.Mail, error) {
	q := local.MailWait{
		Service: w.Service, Address: w.Address, Known: w.Known, Timeout: int64(w.Timeout / time.Second), Reveal: true, MailHints: k.hints,
	}
	if len(w.Accept) == 1 {
		q.Want = verifymail.Kind(w.Accept[0])
	}
	found, err := k.WaitMail(ctx, q, k.progress)
	return recipe.Mail{ID: found.ID, Link: secret.FromString(found.Link), Code: secret.FromString(found.Code)}, err
}
