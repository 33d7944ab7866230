package local

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/envelope"
	"github.com/litentry/agentkeys/internal/federate"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/inject"
	"github.com/litentry/agentkeys/internal/netguard"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/vault"
)

// ErrAudience says that the broker makes no tokens for an audience, or that
// none should be made.
var ErrAudience = errors.New("no token is made for that audience")

// errUnrecorded: nobody was asked for a token.
var errUnrecorded = errors.New("the exchange of a token could not be recorded")

// opExchange is recorded before a token is asked for, and after.
const opExchange = "token.exchange"

// federation is what is remembered of exchanges: never a token.
type federation struct {
	mu   sync.Mutex
	last map[agentkeys.Service]attempt
}

type attempt struct {
	at    time.Time
	again time.Time // before that no agent's request causes another
	until time.Time // of the token; zero if there is none
	err   error
	e     *catalog.Entry // as it was set
}

// pause is at least how long after an exchange that failed no agent's request causes
// another: a client that tries again at once would have the service count
// failures.
const pause = time.Second

// federated is the vault as the daemon knows it. For a service that exchanges
// tokens nothing is stored: what it loads is a token made just then, with its
// end, of no revision.
type federated struct{ h *Host }

// Load implements daemon.Vault.
func (f federated) Load(ctx context.Context, p grant.Permit) (envelope.Record, envelope.Header, error) {
	h := f.h
	if !h.federated(p.Service()) {
		return h.vault.Load(ctx, p)
	}
	if !p.Allows(grant.ActUse, p.Wallet(), p.Service()) {
		return envelope.Record{}, envelope.Header{}, vault.ErrPermit
	}
	e, err := h.cat.entry(p.Service())
	if err != nil {
		return envelope.Record{}, envelope.Header{}, err
	}
	if a, ok := h.fed.of(e); ok && a.err != nil {
		if left := a.again.Sub(h.now()); left > 0 {
			return envelope.Record{}, envelope.Header{}, noToken(a.err, left)
		}
	}
	ev := grant.Event{}
	for _, a := range h.dir.Agents() {
		if a.Wallet == p.Wallet() {
			ev.Agent = a.Label
		}
	}
	t, err := h.exchange(ctx, e, ev)
	if err != nil {
		h.log.Warn("no token was exchanged", "service", e.ID.String(), "err", err)
		return envelope.Record{}, envelope.Header{}, noToken(err, wait(err))
	}
	return envelope.Record{Secret: t.Secret, Kind: "token", Route: string(catalog.Federate), ExpiresAt: t.Expires}, envelope.Header{}, nil
}

// noToken is why an agent is given no token, in words that say nothing of what
// the service answered.
func noToken(err error, after time.Duration) error {
	if errors.Is(err, errUnrecorded) {
		return err
	}
	n := &inject.NoToken{Err: err, After: after, Detail: "no token could be had"}
	for _, r := range []struct {
		is    error
		final bool
		text  string
	}{
		{netguard.ErrForbiddenAddress, true, "the address of the service's token endpoint may not be connected to"},
		{federate.ErrRefused, true, "the service refuses to exchange this machine's identity for a token"},
		{federate.ErrAnswer, true, "the service's token endpoint answers with something that is no token"},
		{federate.ErrTemporary, false, "the service's token endpoint does not answer now"},
		{federate.ErrSetup, true, "the exchange of tokens is not set up completely"},
		{ErrNoBroker, true, "tokens are to be exchanged, and this machine has no broker to vouch for it"},
		{ErrAudience, true, "the broker makes no token for the audience that is set"},
		{ErrLoggedOut, true, "this machine is logged out at its broker"},
		{ErrRefusedAway, true, "the broker refuses this machine"},
		{ErrAway, false, "the broker, which vouches for this machine, does not answer now"},
	} {
		if errors.Is(err, r.is) {
			n.Final, n.Detail = r.final, r.text
			break
		}
	}
	if n.Final {
		n.After = 0
	}
	return n
}

// wait is how long nobody is asked again after err.
func wait(err error) time.Duration {
	if e, ok := errors.AsType[*federate.Error](err); ok {
		return max(pause, e.RetryAfter)
	}
	return pause
}

// federated reports whether tokens are exchanged for a service.
func (h *Host) federated(svc agentkeys.Service) bool {
	e, err := h.cat.entry(svc)
	return err == nil && e.Owner.Federation != nil
}

// exchange asks a service for a token, once that is on record. Its errors wrap
// federate's, ErrNoBroker, ErrAudience or what a broker's parts say.
func (h *Host) exchange(ctx context.Context, e *catalog.Entry, ev grant.Event) (federate.Token, error) {
	aud, err := h.exchangeable(e)
	if err != nil {
		return federate.Token{}, err
	}
	ev.Time, ev.Op, ev.Actor, ev.Svc = h.now().UTC(), opExchange, h.wallet, e.ID
	ev.Subject, ev.Decision = aud+" at "+e.FederationURL().Host, grant.Allowed
	if err := h.audit.Record(ctx, ev); err != nil {
		return federate.Token{}, fmt.Errorf("%w: %w", errUnrecorded, err)
	}
	t, err := h.ask(ctx, e, aud)
	ev.Time, ev.Decision = h.now().UTC(), grant.Done
	if err != nil {
		ev.Decision, ev.Reason = grant.Failed, reason(err)
	}
	if nerr := h.audit.Note(ev); nerr != nil {
		h.log.Error("what came of an exchange was not recorded", "err", nerr)
	}
	// Who gave up waiting has learnt nothing that would be true for others.
	if err == nil || ctx.Err() == nil {
		now := h.now()
		h.fed.note(attempt{at: now, again: now.Add(wait(err)), until: t.Expires, err: err, e: e})
	}
	return t, err
}

func (h *Host) ask(ctx context.Context, e *catalog.Entry, audience string) (federate.Token, error) {
	text, _, err := h.opts.Remote.Identity(ctx, audience)
	if err != nil {
		return federate.Token{}, err
	}
	assertion := secret.FromString(text)
	defer assertion.Clear()
	var t federate.Token
	err = onRoute(e, func(r *inject.Route) error {
		var err error
		t, err = federate.Exchange(ctx, r.Transport, e, assertion)
		if errors.Is(err, netguard.ErrForbiddenAddress) {
			err = fmt.Errorf("%w: its address is not public and not among those that are allowed", err)
		}
		return err
	})
	return t, err
}

// exchangeable returns what our token has to be for, or why there can be none.
func (h *Host) exchangeable(e *catalog.Entry) (string, error) {
	if h.opts.Remote == nil || h.opts.Remote.Identity == nil {
		return "", fmt.Errorf("%w: to exchange tokens, %s has to reach their issuer over the internet, which this machine is not", ErrNoBroker, e.Name)
	}
	if err := federate.Check(e); err != nil {
		return "", err
	}
	aud, ok := e.FederationAudience()
	if !ok {
		return "", fmt.Errorf("%w: the audience that was set up at %s is not known", federate.ErrSetup, e.Name)
	}
	return aud, nil
}

// reason is an error in a few words, for the log.
func reason(err error) string {
	for _, r := range []struct {
		is   error
		text string
	}{
		{federate.ErrRefused, "refused by the service"}, {federate.ErrTemporary, "the service did not answer"},
		{federate.ErrAnswer, "the answer was no token"}, {ErrAudience, "no token for that audience"},
		{ErrAway, "the broker did not answer"}, {ErrLoggedOut, "this device is logged out"},
	} {
		if errors.Is(err, r.is) {
			if e, ok := errors.AsType[*federate.Error](err); ok && e.Code != "" {
				return r.text + ": " + e.Code
			}
			return r.text
		}
	}
	return "not done"
}

func (f *federation) note(a attempt) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.last == nil {
		f.last = map[agentkeys.Service]attempt{}
	}
	f.last[a.e.ID] = a
}

// of returns the last attempt for a service as it is set.
func (f *federation) of(e *catalog.Entry) (attempt, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a, ok := f.last[e.ID]
	return a, ok && a.e == e
}
