package sites

import (
	"net/http"
	"slices"
)

// Change is one hostile way of a site: what it changes in the pages, in the
// mails or in both, and what a correct run does then.
type Change struct {
	Name Variant
	What string // one line: what is changed
	Want Want
	// Except says for a service what a correct run does there instead.
	Except map[string]Want
	// Only are the services that have what is changed; nil: all.
	Only []string
	// Senders are domains that letters come from besides the site's own: whoever
	// posts them must be able to.
	Senders []string

	// hosts are more names that the certificate is good for.
	hosts []string
	// pages wraps whatever answers for the site's pages, nil if they stay as they
	// are. It is called once for a Site, so that it can keep state.
	pages func(service string, plain http.Handler) http.Handler
	// post returns what is sent in the place of a letter, nil if it is sent as it
	// is.
	post func(*Site, Letter) []Letter
}

// Want is what a correct run does on a changed site. It may end in any of the
// ways that are allowed, and in no other. Whatever it does, no host but the
// recipe's hears of it, and no key but the site's own is stored.
type Want struct {
	// Key: it may end with the right key.
	Key bool
	// Stops are the kinds of failure that it may end with, as package recipe
	// names them, or Refused.
	Stops []string
	// Never are hosts that the change leads to and that must hear nothing.
	Never []string
}

// Refused is the stop of a run that read a key which the service's API refuses.
const Refused = "refused"

// passes is for a change that a run may get past; it may also stop as said.
func passes(or ...string) Want { return Want{Key: true, Stops: or} }

// stops is for a change that no run gets past.
func stops(kinds ...string) Want { return Want{Stops: kinds} }

func (w Want) never(hosts ...string) Want {
	w.Never = append(slices.Clone(w.Never), hosts...)
	return w
}

// Of returns what a correct run does on the pages of a service. Where a run may
// find nothing, it may as well wait in vain: for a mail that a form should have
// sent, or for a person whose page does not go on.
func (c Change) Of(service string) Want {
	w := c.Want
	if other, ok := c.Except[service]; ok {
		w = other
	}
	if slices.Contains(w.Stops, "missing") || slices.Contains(w.Stops, "unusable") {
		w.Stops = slices.Clone(w.Stops)
		if slices.Contains(mailed, service) {
			w.Stops = append(w.Stops, "no-mail")
		}
		if service == "brave-search" || service == "gemini" {
			w.Stops = append(w.Stops, "need-human")
		}
	}
	return w
}

// Fits reports whether a service has what c changes.
func (c Change) Fits(service string) bool { return c.Only == nil || slices.Contains(c.Only, service) }

// InPages reports whether c changes pages, and InMail whether it changes mails.
func (c Change) InPages() bool { return c.pages != nil }
func (c Change) InMail() bool  { return c.post != nil }

// Changes returns all there are: pages first, then mails.
func Changes() []Change {
	return slices.Concat(
		markupVariants(), doubleVariants(), coverVariants(), fieldVariants(), loadVariants(), leadVariants(),
		talkVariants(), keyVariants(), courseVariants(), botVariants(), browserVariants(), mailVariants(),
	)
}

// hostile returns the variants that Changes describes, by name.
func hostile() map[Variant]variant {
	all := map[Variant]variant{}
	for _, c := range Changes() {
		v := variant{hosts: c.hosts, post: c.post}
		if c.pages != nil {
			v.serve = func(s *Site, next http.Handler) http.Handler { return apart(s, c.pages(s.opts.Service, next), next) }
		}
		all[c.Name] = v
	}
	return all
}

// apart leaves the API as it is: a change is one of the pages.
func apart(s *Site, changed, plain http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if host := s.hostOf(r); host == s.plan.api || host == checkHost {
			plain.ServeHTTP(w, r)
			return
		}
		changed.ServeHTTP(w, r)
	})
}
