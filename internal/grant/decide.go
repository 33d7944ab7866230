package grant

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/litentry/agentkeys"
)

// Code says why a request was denied. Codes are stable: they are in the audit
// log, in answers to agents and in scripts.
type Code string

// The codes there are.
const (
	CodeNoGrant       Code = "no-grant"
	CodeExpired       Code = "grant-expired"
	CodePathShut      Code = "path-shut"
	CodePathDenied    Code = "path-not-allowed"
	CodeRequestsSpent Code = "requests-spent"
	CodeBudgetSpent   Code = "budget-spent"
	CodeRateLimited   Code = "rate-limited"
)

// Denial is a refusal: the answer is no, as opposed to an error, where there
// is no answer.
type Denial struct {
	Code       Code
	Detail     string
	RetryAfter time.Duration // 0: asking again later does not help, or it is not known when it does
}

func (d *Denial) Error() string { return string(d.Code) + ": " + d.Detail }

func deny(c Code, after time.Duration, format string, args ...any) *Denial {
	return &Denial{c, fmt.Sprintf(format, args...), after}
}

// Action is what a Permit lets its holder do with one stored credential.
type Action string

// The actions there are.
const (
	ActUse    Action = "use"    // read it to inject it into one request
	ActReveal Action = "reveal" // read it to show it to its owner
	ActLend   Action = "lend"   // read it to seal a copy for an agent
	ActVerify Action = "verify" // read it to ask the service whether it is good
	ActStore  Action = "store"
	ActDelete Action = "delete"
	ActReseal Action = "reseal" // rotate its sealing key, without seeing it
)

// owners reports whether a is an action that an owner may be permitted.
func (a Action) owners() bool {
	switch a {
	case ActReveal, ActLend, ActVerify, ActStore, ActDelete, ActReseal:
		return true
	}
	return false
}

// Permit is the proof of a recorded decision about one credential. The zero
// Permit allows nothing.
type Permit struct{ p *permit }

type permit struct {
	action  Action
	wallet  agentkeys.Wallet
	svc     agentkeys.Service
	event   Event
	unknown Money // what an answer that does not say its cost is charged at least
	settled atomic.Bool
}

// Allows reports whether the permit is for this action on this credential.
func (p Permit) Allows(a Action, w agentkeys.Wallet, s agentkeys.Service) bool {
	return p.p != nil && p.p.action == a && !w.IsZero() && p.p.wallet == w && p.p.svc == s
}

// Wallet is whose prefix holds the credential.
func (p Permit) Wallet() agentkeys.Wallet {
	if p.p == nil {
		return agentkeys.Wallet{}
	}
	return p.p.wallet
}

// Service is what the credential is for.
func (p Permit) Service() agentkeys.Service {
	if p.p == nil {
		return agentkeys.Service{}
	}
	return p.p.svc
}

// Action is what the permit is for, "" for the zero Permit.
func (p Permit) Action() Action {
	if p.p == nil {
		return ""
	}
	return p.p.action
}

// Decider decides and records.
type Decider struct {
	ledger   *Ledger
	recorder Recorder

	mu     sync.Mutex
	denied map[denialKey]*denialRun
}

// NewDecider makes a Decider over a ledger and a recorder.
func NewDecider(l *Ledger, r Recorder) *Decider {
	return &Decider{ledger: l, recorder: r, denied: map[denialKey]*denialRun{}}
}

// Use decides whether agent may send request r to service under g, which is
// nil where the agent has no grant. It returns a Permit for ActUse, a *Denial,
// or an error if the request has no id of its own or the decision could not be
// recorded.
func (d *Decider) Use(ctx context.Context, agent agentkeys.Agent, wallet agentkeys.Wallet, svc agentkeys.Service, g *Grant, pol Policy, r Request) (Permit, error) {
	if r.ID == "" {
		return Permit{}, errors.New("a request without an id")
	}
	// A caller that did not cut the query off is denied below, and what the
	// query says stays out of the log all the same.
	path, _, _ := strings.Cut(r.Path, "?")
	e := Event{
		Time: r.Time.UTC(), Op: OpUse, Actor: wallet, Agent: agent, Svc: svc,
		Request: r.ID, Method: clip(r.Method), Path: clip(path),
	}
	rule, den := check(agent, wallet, svc, g, pol, r)
	if g != nil {
		e.Grant, e.Parent = g.ID, g.Master
	}
	var res reservation
	if den == nil {
		var err error
		if res, den, err = d.ledger.reserve(g, r.ID, r.Time); err != nil {
			return Permit{}, err
		}
	}
	if den != nil {
		e.Decision, e.Reason = Denied, string(den.Code)
		if d.worthRecording(&e) {
			if err := d.recorder.Note(e); err != nil {
				return Permit{}, fmt.Errorf("recording a denial: %w", err)
			}
		}
		return Permit{}, den
	}
	e.Decision, e.Path, e.Hold = Allowed, rule.String(), res.hold
	if err := d.recorder.Record(ctx, e); err != nil {
		d.ledger.undo(g.ID, r.ID, res)
		return Permit{}, fmt.Errorf("recording a use: %w", err)
	}
	return Permit{&permit{action: ActUse, wallet: wallet, svc: svc, event: e, unknown: g.Budget.unknown()}}, nil
}

// check is the decision without its budgets: the first rule that allows r.
func check(agent agentkeys.Agent, wallet agentkeys.Wallet, svc agentkeys.Service, g *Grant, pol Policy, r Request) (Rule, *Denial) {
	if g == nil {
		return Rule{}, deny(CodeNoGrant, 0, "agent %s has no grant for %s", agent, svc)
	}
	if err := g.Validate(); err != nil {
		return Rule{}, deny(CodeNoGrant, 0, "%v", err)
	}
	if g.Agent != agent || g.Wallet != wallet || g.Svc != svc {
		return Rule{}, deny(CodeNoGrant, 0, "the grant is not for agent %s and %s", agent, svc)
	}
	// Round strips the monotonic reading, which stands still while a laptop
	// sleeps.
	if r.Time.IsZero() || !r.Time.Round(0).Before(g.Expires) {
		return Rule{}, deny(CodeExpired, 0, "the grant expired at %s", g.Expires.UTC().Format(time.RFC3339))
	}
	if !isMethod(r.Method) {
		return Rule{}, deny(CodePathDenied, 0, "a method is an upper-case word")
	}
	if _, err := ParsePath(r.Path); err != nil {
		return Rule{}, deny(CodePathDenied, 0, "%v", err)
	}
	if len(pol.Allow)+len(pol.Shut) == 0 {
		return Rule{}, deny(CodePathDenied, 0, "%s lends nothing", svc)
	}
	if rule, ok := firstMatch(g.Unsafe, r); ok {
		return rule, nil
	}
	for _, rule := range pol.Shut {
		if rule.shuts(r.Method, r.Path) {
			return Rule{}, deny(CodePathShut, 0, "%s %s is shut: it manages or echoes keys", r.Method, clip(r.Path))
		}
	}
	rule, ok := firstMatch(pol.Allow, r)
	if !ok {
		return Rule{}, deny(CodePathDenied, 0, "%s does not lend %s %s", svc, r.Method, clip(r.Path))
	}
	if len(g.Rules) > 0 {
		if rule, ok = firstMatch(g.Rules, r); !ok {
			return Rule{}, deny(CodePathDenied, 0, "the grant does not cover %s %s", r.Method, clip(r.Path))
		}
	}
	return rule, nil
}

func firstMatch(rules []Rule, r Request) (Rule, bool) {
	for _, rule := range rules {
		if rule.Match(r.Method, r.Path) {
			return rule, true
		}
	}
	return Rule{}, false
}

// Outcome is how a permitted request ended.
type Outcome struct {
	Status int // of the upstream's answer, 0 if there was none
	// Cost is what the answer said it cost, if Known.
	Cost  Money
	Known bool
	// Reason says why there was no whole answer, "" if there was.
	Reason string
	// Unsent says that the upstream never got the request, so that it cannot
	// have charged for it.
	Unsent bool
}

// Settle charges what a permitted use cost and notes it. Only the first call
// for a permit counts. A use that does not say what it cost, says something
// below zero, or is broken off before it is whole, is charged its hold, and no
// less than Budget.Unknown; one that the upstream refused or failed, or never
// got, is free, and so is one that only read and says nothing.
func (d *Decider) Settle(p Permit, now time.Time, o Outcome) error {
	if p.p == nil || p.p.action != ActUse || p.p.settled.Swap(true) {
		return nil
	}
	e := p.p.event
	// A whole listing that says nothing of a cost has none. What costs something
	// is posted, or says so: a service of which neither is known has no prices,
	// and so no budget in money.
	read := (e.Method == "GET" || e.Method == "HEAD") && o.Reason == "" && !o.Known
	e.Op, e.Time, e.Decision, e.Path, e.Method = OpSettle, now.UTC(), Done, "", ""
	e.Status, e.Reason = o.Status, o.Reason
	if o.Reason != "" {
		e.Decision = Failed
	}
	free := o.Unsent || o.Status >= 400 || read
	// What an answer said before it was broken off is not what it cost.
	known := o.Known && o.Cost >= 0 && (o.Reason == "" || free)
	switch {
	case known:
		e.Cost = o.Cost
	case !free:
		e.Cost = max(e.Hold, p.p.unknown)
		if o.Known {
			e.Cost = max(e.Cost, o.Cost)
		}
		e.Estimate = e.Cost > 0
	}
	e.Hold = 0
	d.ledger.settle(e.Grant, e.Request, e.Cost, known)
	return d.recorder.Note(e)
}

// Own permits the owner of a wallet an action on one of its own credentials
// and records it as op. That the caller is the owner is for the caller to
// know. e carries what else the entry shall say; its Decision is set here.
func (d *Decider) Own(ctx context.Context, a Action, w agentkeys.Wallet, s agentkeys.Service, e Event) (Permit, error) {
	if w.IsZero() || s.IsZero() || e.Op == "" || !a.owners() {
		return Permit{}, deny(CodeNoGrant, 0, "an owner's permit names a wallet, a service, an operation and an owner's action")
	}
	e.Svc, e.Decision, e.Time = s, Allowed, e.Time.UTC()
	if err := d.recorder.Record(ctx, e); err != nil {
		return Permit{}, fmt.Errorf("recording %s: %w", e.Op, err)
	}
	return Permit{&permit{action: a, wallet: w, svc: s, event: e}}, nil
}

type denialKey struct {
	agent agentkeys.Agent
	svc   agentkeys.Service
	code  string
}

type denialRun struct {
	last    time.Time
	skipped int64
}

// worthRecording thins out repeated denials to one a second for each agent,
// service and reason, with a count of those left out since the one before: an
// agent that hammers a shut door must not fill its owner's disk. What was left
// out last is counted only when the agent comes again.
func (d *Decider) worthRecording(e *Event) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	k := denialKey{e.Agent, e.Svc, e.Reason}
	run := d.denied[k]
	if run == nil {
		if len(d.denied) >= 4096 {
			clear(d.denied)
		}
		d.denied[k] = &denialRun{last: e.Time}
		return true
	}
	if since := e.Time.Sub(run.last); since >= 0 && since < time.Second {
		run.skipped++
		return false
	}
	e.Repeated = run.skipped
	run.last, run.skipped = e.Time, 0
	return true
}

func clip(s string) string {
	if len(s) > 128 {
		return s[:128]
	}
	return s
}
