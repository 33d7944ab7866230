package verifymail

import (
	"net/mail"
	"time"

	"github.com/litentry/agentkeys/internal/mailhead"
	"github.com/litentry/agentkeys/internal/mailroute"
)

// maxField bounds a header field that is parsed. Those of real mail have a
// tenth of it.
const maxField = 8 << 10

// message is a stored message whose receiver is known.
type message struct {
	head     mailhead.Block
	body     []byte
	top      mailhead.Top
	verdicts Verdicts
}

func open(msg []byte, rc mailhead.Receiver) (*message, *Refusal) {
	if len(msg) > MaxMessage {
		return nil, refuse(TooLarge, "")
	}
	head := mailhead.Parse(msg, true)
	if !head.Complete {
		return nil, refuse(BadHeader, "it has no end")
	}
	if why := oddHeader(msg, head); why != "" {
		return nil, refuse(BadHeader, why)
	}
	top, ok := head.Top(rc)
	if !ok || !top.Whole || rc == mailhead.SES() && !sesWhole(head) {
		return nil, refuse(NotReceived, "")
	}
	v, ok := verdictsOf(head, top, rc)
	if !ok {
		return nil, refuse(BadVerdicts, "")
	}
	return &message{head: head, body: msg[head.Size:], top: top, verdicts: v}, nil
}

// one returns the unfolded value of a field that stands there once.
func (m *message) one(name string) (string, bool) {
	f := m.head.Get(name)
	if len(f) != 1 || len(f[0].Value) > maxField {
		return "", false
	}
	return mailhead.Unfold(f[0].Value), true
}

// accept checks all that does not need the text.
func (m *message) accept(q Query, r *rules) *Refusal {
	if refusal := m.forRun(q.To, r.domain); refusal != nil {
		return refusal
	}
	if !q.NotBefore.IsZero() {
		// Received has no fractions of a second, and a time that cannot be read
		// is the zero one.
		if m.verdicts.At.Before(q.NotBefore.Truncate(time.Second)) {
			return refuse(TooEarly, "")
		}
	}
	return m.trust(q, r)
}

// forRun demands that the mail is for the address of this run: in the envelope,
// where that is known, and in To as well. Whoever passes on a signed mail that
// was for another address can choose the envelope, and add fields that were not
// signed since they were not there, such as Cc; To is there and signed.
func (m *message) forRun(to mailroute.Address, domain string) *Refusal {
	is := func(s string) bool {
		a, d, err := mailroute.ParseAddress(s)
		if err != nil || a != to {
			return false
		}
		d, ok := asciiHost(d)
		return ok && d == domain
	}
	if m.top.For != "" && !is(m.top.For) {
		return refuse(NotForRun, "the envelope names another address")
	}
	v, ok := m.one("To")
	if !ok {
		return refuse(NotForRun, "there is not one To")
	}
	list, err := mail.ParseAddressList(v)
	if err != nil || len(list) != 1 || !is(list[0].Address) {
		return refuse(NotForRun, "To does not name the address, alone")
	}
	return nil
}

// trust checks who sent the mail, and what the receiver thinks of it.
func (m *message) trust(q Query, r *rules) *Refusal {
	v := m.verdicts
	switch {
	case v.scans && v.Spam != "pass":
		return refuse(SpamVerdict, "")
	case v.scans && v.Virus != "pass":
		return refuse(VirusVerdict, "")
	case v.From == "":
		return refuse(BadFrom, "")
	}
	allowed := false
	for _, s := range r.senders {
		allowed = allowed || within(v.From, s)
	}
	switch {
	case !allowed:
		return refuse(SenderUnknown, "")
	case len(v.DKIM) == 0:
		return refuse(DKIMMissing, "")
	case !v.Aligned:
		return refuse(DKIMNotAligned, "")
	case v.DMARC != "" && v.DMARC != "pass" && v.DMARC != "none" && v.DMARC != "bestguesspass":
		return refuse(DMARCFailed, "")
	}
	return m.signed()
}
