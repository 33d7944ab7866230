package verifymail

import (
	"strings"

	"golang.org/x/net/publicsuffix"

	"github.com/litentry/agentkeys/internal/mailhead"
	"github.com/litentry/agentkeys/internal/mailroute"
)

const (
	maxRules  = 64  // of each list
	maxLabel  = 64  // bytes
	maxPath   = 256 // bytes
	minDigits = 4
	maxDigits = 10
)

// rules is Rules that have been checked, with hosts as A-labels in small
// letters.
type rules struct {
	senders, linkHosts []string
	paths              []string
	redirects          map[string][]string // parameters by host
	digits             int
	labels             []string // in small letters, words apart by one space
	generic            bool     // labels are ours
	domain             string   // of the run's address
}

// CheckNames says what is wrong with a person's names of senders and of hosts of
// links, before any mail is waited for; "" if nothing.
func CheckNames(senders, linkHosts []string) (fault string) {
	if len(senders) > maxRules || len(linkHosts) > maxRules {
		return "a list is too long"
	}
	_, _, fault = names(senders, linkHosts)
	return fault
}

func names(senders, linkHosts []string) (s, h []string, fault string) {
	s, ok := asciiHosts(senders)
	if !ok {
		return nil, nil, "a sender is no domain"
	}
	for _, d := range s {
		if _, err := publicsuffix.EffectiveTLDPlusOne(d); err != nil {
			return nil, nil, "a sender is a domain below which anybody has one"
		}
	}
	if h, ok = asciiHosts(linkHosts); !ok {
		return nil, nil, "a link host is no host"
	}
	return s, h, ""
}

// compile checks r and q. Whatever is odd denies.
func (r Rules) compile(q Query) (*rules, *Refusal) {
	bad := func(detail string) (*rules, *Refusal) { return nil, refuse(BadRules, detail) }
	c := &rules{redirects: map[string][]string{}, paths: r.LinkPaths}
	var ok bool
	if r.Receiver == (mailhead.Receiver{}) {
		return bad("no receiver")
	}
	if q.To == (mailroute.Address{}) {
		return bad("no address of a run")
	}
	if c.domain, ok = asciiHost(q.Domain); !ok {
		return bad("no domain of the run's address")
	}
	if len(r.Senders) == 0 {
		return bad("no senders")
	}
	if len(r.LinkHosts) == 0 && r.Code == nil {
		return bad("neither hosts of links nor a code")
	}
	if len(r.Senders) > maxRules || len(r.LinkHosts) > maxRules || len(r.LinkPaths) > maxRules || len(r.Redirects) > maxRules {
		return bad("a list is too long")
	}
	var fault string
	if c.senders, c.linkHosts, fault = names(r.Senders, r.LinkHosts); fault != "" {
		return bad(fault)
	}
	for _, p := range r.LinkPaths {
		if !strings.HasPrefix(p, "/") || len(p) > maxPath || !plainPath(p) {
			return bad("a link path is no path")
		}
	}
	for _, d := range r.Redirects {
		h, ok := asciiHost(d.Host)
		if !ok || d.Parameter == "" || len(d.Parameter) > maxLabel {
			return bad("a redirect is no host with a parameter")
		}
		c.redirects[h] = append(c.redirects[h], d.Parameter)
	}
	switch q.Want {
	case "":
	case Link:
		if len(r.LinkHosts) == 0 {
			return bad("a link is wanted and no host of links is known")
		}
	case Code:
		if r.Code == nil {
			return bad("a code is wanted and none is known")
		}
	default:
		return bad("neither a link nor a code is wanted")
	}
	return c, c.compileCode(r.Code)
}

func (r *rules) compileCode(c *CodeRule) *Refusal {
	if c == nil {
		return nil
	}
	if c.Digits < minDigits || c.Digits > maxDigits {
		return refuse(BadRules, "a code has 4 to 10 digits")
	}
	if len(c.Labels) > maxRules {
		return refuse(BadRules, "a list is too long")
	}
	r.digits = c.Digits
	r.labels, r.generic = genericLabels, true
	if len(c.Labels) > 0 {
		r.labels, r.generic = nil, false
		for _, l := range c.Labels {
			l = asciiLower(strings.Join(strings.Fields(clean(l)), " "))
			if l == "" || len(l) > maxLabel || strings.ContainsAny(l, "0123456789") {
				return refuse(BadRules, "a label is no phrase")
			}
			r.labels = append(r.labels, l)
		}
	}
	return nil
}

func asciiHosts(list []string) ([]string, bool) {
	out := make([]string, 0, len(list))
	for _, s := range list {
		h, ok := asciiHost(s)
		if !ok {
			return nil, false
		}
		out = append(out, h)
	}
	return out, true
}
