package local

import (
	"errors"
	"fmt"

	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/mailhead"
	"github.com/litentry/agentkeys/internal/verifymail"
)

// ErrMailFacts: too little is known of a service's mail to tell it from any
// other.
var ErrMailFacts = errors.New("not enough is known of the mail of this service")

// MailHints stand, for one call, in place of what the catalogue knows of a
// service's mail.
type MailHints struct {
	Senders   []string `json:"senders,omitempty"`    // domains
	LinkHosts []string `json:"link_hosts,omitempty"` // exact
}

// MailRules are what a mail of the service must fulfil. ErrMailFacts.
func MailRules(e *catalog.Entry, rc mailhead.Receiver, hints MailHints) (verifymail.Rules, error) {
	known, _ := e.MailRules()
	r := verifymail.Rules{Senders: known.Senders, LinkHosts: known.LinkHosts, LinkPaths: known.LinkPaths, Receiver: rc}
	if len(hints.Senders) > 0 {
		r.Senders = hints.Senders
	}
	if len(hints.LinkHosts) > 0 {
		// What is known of other hosts' paths says nothing of these.
		r.LinkHosts, r.LinkPaths = hints.LinkHosts, nil
	}
	for _, d := range known.Redirects {
		r.Redirects = append(r.Redirects, verifymail.Redirect(d))
	}
	if known.Digits > 0 {
		r.Code = &verifymail.CodeRule{Digits: known.Digits, Labels: known.Labels}
	}
	nothing := len(r.LinkHosts) == 0 && r.Code == nil
	switch {
	case len(r.Senders) == 0 && nothing:
		return verifymail.Rules{}, fmt.Errorf("%w: neither who sends the mail of %s nor what is in it is known", ErrMailFacts, e.ID)
	case len(r.Senders) == 0:
		return verifymail.Rules{}, fmt.Errorf("%w: who sends the mail of %s is unknown", ErrMailFacts, e.ID)
	case nothing:
		return verifymail.Rules{}, fmt.Errorf("%w: neither a link nor a code of %s is known", ErrMailFacts, e.ID)
	}
	return r, nil
}
