// Package mailroute finds the wallet that mail is for: from what the receiving
// host says of its envelope, or, where that says nothing, from the addresses in
// its To and Cc. It is pure: bytes in, a decision out. It depends on mailhead
// and the vocabulary, and neither on a clock, nor on a network, nor on
// net/mail, which takes a header block cut in the middle for a whole one.
//
// Laws:
//   - The envelope decides alone, one way or the other. To never overrides it.
//   - Without an envelope there must be exactly one wallet. Several, or one that
//     is there in one reading and not in another beside it, are refused.
//   - An address is of a wallet if its whole local part is (see Address), its
//     tag is known, and its domain is exactly one of ours.
//   - A decision on a beginning of a message is More, or is the decision on
//     every longer beginning and on all of it. Nothing is read out of a field
//     whose end was not seen.
//   - Time is linear in the length of the header block, of which at most
//     mailhead.MaxBlock bytes are looked at, and memory does not depend on it.
//
// Without an envelope the sender has the choice of the wallet, by what he
// writes in To. It is the choice he has anyway, by whom he writes to. Where his
// HELO spoils the receiver's line, To must agree with the wallet that the line
// still names, or mail accepted for one wallet would go to another.
package mailroute

import (
	"errors"
	"fmt"
	"slices"

	"github.com/litentry/agentkeys/internal/mailhead"
)

// Outcome is what to do with a message. The zero value is none of them.
type Outcome string

const (
	// Route: bring it to the wallet of Address.
	Route Outcome = "route"
	// Ignore: it is none of a wallet's; leave it where it is.
	Ignore Outcome = "ignore"
	// Refuse: it cannot be sorted, and somebody should look at it.
	Refuse Outcome = "refuse"
	// More: read on, and decide again.
	More Outcome = "more"
)

// Why a message is refused, or ignored. Each is a mailstore reason.
const (
	// ReasonSeveralWallets: it is for more than one, or may be.
	ReasonSeveralWallets = "several-wallets"
	// ReasonMalformed: an address looks like a wallet's and is none.
	ReasonMalformed = "malformed-address"
	// ReasonUnclearEnvelope: the receiver's line cannot be read, and what can be
	// made out in it is not the wallet of To alone.
	ReasonUnclearEnvelope = "unclear-envelope"
	// ReasonUnknownTag: an address of a wallet has a tag of no service.
	ReasonUnknownTag = "unknown-tag"
	// ReasonHeaderTooLong: the header block does not end within mailhead.MaxBlock.
	ReasonHeaderTooLong = "header-too-long"

	// ReasonOtherAddress: it is for another address of our domains, as our own
	// sign-in mail is.
	ReasonOtherAddress = "other-address"
	// ReasonOtherDomain: it is for addresses of other domains only.
	ReasonOtherDomain = "other-domain"
	// ReasonNoAddress: it names nobody.
	ReasonNoAddress = "no-address"
)

// What a decision rests on.
const (
	ByNotification = "notification" // the recipients of the event
	ByReceived     = "received"     // the receiver's Received line
	ByTo           = "to"           // To and Cc
)

// Decision is what to do with a message, and why.
type Decision struct {
	Outcome Outcome
	// Address is whose it is; of Route only.
	Address Address
	// Reason is why not; of Ignore and Refuse only.
	Reason string
	// By is what it rests on; not of More.
	By string
	// Sender is the domain of the envelope's sender in lower case, "" of none:
	// to limit floods by, and nothing to be logged. Not of More.
	Sender string
}

// Rules are what a router is made of.
type Rules struct {
	// Domains are the mail domains that are ours, in ASCII or U-labels.
	Domains []string
	// Tags are those of the catalogue.
	Tags []string
	// Receivers are the hosts whose topmost Received is believed. With none,
	// only notifications and To count.
	Receivers []mailhead.Receiver
}

// Router decides by fixed rules. It may be used by several at once.
type Router struct {
	domains   []string // lower-case A-labels
	tags      []string
	receivers []mailhead.Receiver
}

// New checks rules and makes a router.
func New(rules Rules) (*Router, error) {
	if len(rules.Domains) == 0 {
		return nil, errors.New("no mail domain is given")
	}
	if len(rules.Tags) == 0 {
		return nil, errors.New("no tag is given")
	}
	r := &Router{}
	for _, d := range rules.Domains {
		a, err := parseDomain(d)
		if err != nil {
			return nil, fmt.Errorf("mail domain %q: %w", d, err)
		}
		if !slices.Contains(r.domains, a) {
			r.domains = append(r.domains, a)
		}
	}
	for _, t := range rules.Tags {
		if !validTag(t) {
			return nil, fmt.Errorf("tag %q: a tag is 2 to 4 of a-z", t)
		}
		r.tags = append(r.tags, t)
	}
	for _, rc := range rules.Receivers {
		if rc == (mailhead.Receiver{}) {
			return nil, errors.New("a receiver is the zero value")
		}
		r.receivers = append(r.receivers, rc)
	}
	return r, nil
}

// Domains returns the domains in lower-case A-labels.
func (r *Router) Domains() []string { return slices.Clone(r.domains) }

func (r *Router) knows(a Address) bool {
	for _, t := range r.tags {
		if string(a.tag[:a.nTag]) == t {
			return true
		}
	}
	return false
}
