// Package verifymail owns the question which link or code a verification mail
// holds, and refuses a mail whose answer is not beyond doubt. It is pure: it
// reads bytes, asks nobody and knows no clock. It depends on mailhead,
// mailroute and secret.
//
// Laws:
//   - What is true of a mail stands in the block that our receiver put on top of
//     it. Everything below was written by the sender.
//   - A mail counts for one address only, the one made for this run.
//   - A DKIM pass says who signed. It counts if that is the domain in From, and
//     if every signature of that organisation covers From, To, the whole body,
//     and what says how the body is to be read.
//   - A header that two programs could read in two ways is refused: the one that
//     checked the signatures was another than this.
//   - A link leads to a host of the rules, by https, to the very name. The link
//     returned is the one that stands in the mail, or the target that a redirect
//     named by the rules carries; nothing is fetched.
//   - Two answers are none: where candidates or the alternatives of a mail
//     differ, it is refused.
//   - Text of a mail is data. None of it is in an error, and a code or link is a
//     secret.Value.
//   - A hostile mail of MaxMessage costs linear time and bounded memory.
//
// One thing is assumed of SES: that it writes X-SES-RECEIPT and
// X-SES-DKIM-SIGNATURE on every mail, and Received-SPF and
// Authentication-Results between its Received and these. Then a sender who
// brings a block of his own has them twice, and is refused; a mail that SES
// stored without them, as it did in 2016, is not believed either. Nothing here
// checks its signature, which would need a key out of DNS.
package verifymail

import (
	"time"

	"github.com/litentry/agentkeys/internal/mailhead"
	"github.com/litentry/agentkeys/internal/mailroute"
	"github.com/litentry/agentkeys/internal/secret"
)

// MaxMessage is the largest message that is looked at, in bytes. A verification
// mail has a tenth of it; what is larger is refused and never cut, because a
// cut one may end in half a code.
const MaxMessage = 1 << 20

// Kind is what a mail is to give.
type Kind string

// The kinds there are. The zero Kind takes either, a link before a code.
const (
	Link Kind = "link"
	Code Kind = "code"
)

// Rules is what is known of a service's verification mail. The zero Rules
// refuses every mail.
type Rules struct {
	// Senders holds the domains that From may have: these, or below.
	Senders []string
	// LinkHosts holds the hosts that a link may lead to, exactly. Empty: the
	// mail has no link.
	LinkHosts []string
	// LinkPaths holds the paths that a link may have: these, or below. Empty:
	// any path that looks as if it carried a token.
	LinkPaths []string
	// Redirects holds hosts that only lead on to another URL.
	Redirects []Redirect
	// Code says what a code looks like. Nil: the mail has no code.
	Code *CodeRule
	// Receiver is whose block stands on top.
	Receiver mailhead.Receiver
}

// Redirect is a host whose links carry their target in a query parameter, as a
// URL or as one in base64.
type Redirect struct{ Host, Parameter string }

// CodeRule describes a code of digits.
type CodeRule struct {
	Digits int // 4 to 10
	// Labels holds phrases that stand beside a code, in any letter case. Empty:
	// a list of English ones.
	Labels []string
}

// Query says which mail is wanted.
type Query struct {
	// To is the address made for this run, and Domain what stands behind its @.
	To     mailroute.Address
	Domain string
	// NotBefore is the earliest time at which our receiver may have taken the
	// mail; zero: any. The sender's Date says nothing.
	NotBefore time.Time
	Want      Kind
}

// Result is what a mail gave.
type Result struct {
	Kind     Kind
	Link     secret.Value // of Kind Link: an https URL
	Host     string       // of Link: one of Rules.LinkHosts
	Code     secret.Value // of Kind Code: its digits alone
	Verdicts Verdicts
}

// Extract returns what msg, a whole stored message, gives to q. The error is a
// *Refusal.
func Extract(msg []byte, q Query, r Rules) (Result, error) {
	rules, refusal := r.compile(q)
	if refusal != nil {
		return Result{}, refusal
	}
	m, refusal := open(msg, r.Receiver)
	if refusal != nil {
		return Result{}, refusal
	}
	if refusal := m.accept(q, rules); refusal != nil {
		return Result{}, refusal
	}
	texts, refusal := m.texts()
	if refusal != nil {
		return Result{}, refusal
	}
	res, refusal := rules.answer(texts, q.Want)
	if refusal != nil {
		return Result{}, refusal
	}
	res.Verdicts = m.verdicts
	return res, nil
}

// answer finds the link or the code that the texts of a mail agree on.
func (r *rules) answer(texts []flow, want Kind) (Result, *Refusal) {
	var none *Refusal
	if want != Code && len(r.linkHosts) > 0 {
		l, refusal := r.link(texts)
		if refusal == nil {
			return Result{Kind: Link, Link: secret.FromString(l.url), Host: l.host}, nil
		}
		if want == Link || r.digits == 0 || !refusal.Absent() {
			return Result{}, refusal
		}
		none = refusal
	}
	c, refusal := r.code(texts)
	if refusal == nil {
		return Result{Kind: Code, Code: secret.FromString(c)}, nil
	}
	if none != nil && refusal.Reason == NoCode {
		return Result{}, none
	}
	return Result{}, refusal
}
