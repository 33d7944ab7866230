// Package grant owns the decision whether an agent may use a credential for
// one request. It is pure: no I/O, no clock, no network; time is an argument
// and the record goes to a Recorder that the caller brings.
//
// Laws:
//   - To decide is to record: a Permit exists only after its Recorder said that
//     the entry is durable, and a failed record is a refusal.
//   - A Permit cannot be made outside this package, and its zero value permits
//     nothing.
//   - Whatever is unknown, zero or malformed denies.
package grant

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/litentry/agentkeys"
)

// Grant lends one service of a master to one agent. Nobody changes a Grant
// that others may hold: new terms are a new Grant.
type Grant struct {
	// ID names the grant in the audit log; random, never reused.
	ID string `json:"id"`
	// Master is the wallet that lends, Wallet the agent's own, whose prefix
	// holds the copy that is used.
	Master agentkeys.Wallet  `json:"master"`
	Wallet agentkeys.Wallet  `json:"wallet"`
	Agent  agentkeys.Agent   `json:"agent"`
	Svc    agentkeys.Service `json:"service"`
	// Rules narrow the service's own allow list. Empty narrows nothing.
	Rules []Rule `json:"rules,omitempty"`
	// Unsafe opens paths that the catalogue shuts or does not list, and no
	// others. Never set but by name.
	Unsafe []Rule `json:"unsafe_rules,omitempty"`

	Requests *Requests `json:"requests,omitempty"`
	Budget   *Budget   `json:"budget,omitempty"`
	Rate     *Rate     `json:"rate,omitempty"`

	Created time.Time `json:"created"`
	// Expires is the first moment at which the grant is dead; zero is refused.
	Expires time.Time `json:"expires"`
}

// Validate reports what makes g unusable.
func (g *Grant) Validate() error {
	switch {
	case g == nil:
		return errors.New("no grant")
	case g.ID == "":
		return errors.New("grant without an id")
	case g.Master.IsZero() || g.Wallet.IsZero() || g.Agent.IsZero() || g.Svc.IsZero():
		return fmt.Errorf("grant %s does not name its parties", g.ID)
	case g.Expires.IsZero() || g.Created.IsZero():
		return fmt.Errorf("grant %s has no term", g.ID)
	}
	if g.Requests != nil && (g.Requests.Limit <= 0 || !g.Requests.Per.valid()) {
		return fmt.Errorf("grant %s has a malformed request budget", g.ID)
	}
	if g.Budget != nil && (g.Budget.Limit <= 0 || !g.Budget.Per.valid() || g.Budget.Unknown < 0) {
		return fmt.Errorf("grant %s has a malformed money budget", g.ID)
	}
	if g.Rate != nil && !g.Rate.valid() {
		return fmt.Errorf("grant %s has a malformed rate", g.ID)
	}
	// The zero Rule has no text form: a grant stored with one could not be
	// read again.
	if slices.ContainsFunc(g.Rules, Rule.isZero) || slices.ContainsFunc(g.Unsafe, Rule.isZero) {
		return fmt.Errorf("grant %s has an empty rule", g.ID)
	}
	return nil
}

// Policy is what a service allows anybody, from its catalogue entry. The zero
// Policy allows nothing, and no grant, however unsafe, opens it.
type Policy struct {
	// Allow is the list of requests that may be lent at all.
	Allow []Rule
	// Shut wins over Allow: key management, and answers that echo the key.
	Shut []Rule
}

// Request is one request of an agent, its path canonical (see ParsePath) and
// relative to the service's base URL.
type Request struct {
	ID     string // joins the decision to its settlement in the log; never reused, not by a later process either
	Method string
	Path   string
	Time   time.Time
}

// Describe puts the terms of g into one line, for the audit log.
func (g *Grant) Describe() string {
	parts := []string{"expires " + g.Expires.Format(time.RFC3339)}
	for _, r := range g.Rules {
		parts = append(parts, r.String())
	}
	for _, r := range g.Unsafe {
		parts = append(parts, "unsafe "+r.String())
	}
	if g.Budget != nil {
		parts = append(parts, g.Budget.String())
	}
	if g.Requests != nil {
		parts = append(parts, g.Requests.String())
	}
	if g.Rate != nil {
		parts = append(parts, g.Rate.String())
	}
	return strings.Join(parts, "; ")
}
