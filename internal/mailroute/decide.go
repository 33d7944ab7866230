package mailroute

import (
	"bytes"
	"encoding/hex"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/mailhead"
)

// Decide decides on the beginning of a message; whole says that it is all of
// it. recipients are those of the envelope, if the event that told of the
// message carries them.
func (r *Router) Decide(head []byte, whole bool, recipients []string) Decision {
	t := tally{r: r}
	s := mailhead.Scan(head, whole)
	sender, envelope := "", true
	var unclear []byte
	n := 0
	for s.Next() {
		if n++; n == 1 {
			first := s.Is("Return-Path")
			if first {
				sender = senderDomain(s.Value())
			}
			if len(recipients) > 0 {
				return r.addressed(recipients, ByNotification, sender)
			}
			if first {
				continue
			}
		}
		// The receiver's own Received is on top, with its Return-Path above it
		// and nothing else. Any further down may be the sender's.
		if envelope && s.Is("Received") {
			rcpt, ok := r.received(s.Value())
			if ok && rcpt != "" {
				return r.addressed([]string{rcpt}, ByReceived, sender)
			}
			if !ok && r.named(s.Value()) {
				unclear = s.Value()
			}
		}
		envelope = false
		if s.Is("To") || s.Is("Cc") {
			if t.list(s.Value()); t.several {
				break // whatever else there is
			}
		}
	}
	var d Decision
	switch complete := s.Complete(); {
	case !complete && !t.several && len(head) < mailhead.MaxBlock:
		return Decision{Outcome: More}
	case len(recipients) > 0:
		return r.addressed(recipients, ByNotification, sender)
	case !complete && !t.several:
		d = Decision{Outcome: Refuse, Reason: ReasonHeaderTooLong}
	default:
		d = t.decide()
	}
	if d.Outcome == Route && unclear != nil && !namesOnly(unclear, d.Address.Wallet()) {
		d = Decision{Outcome: Refuse, Reason: ReasonUnclearEnvelope}
	}
	d.By, d.Sender = ByTo, sender
	return d
}

// received returns the recipient that a receiver of ours names.
func (r *Router) received(value []byte) (string, bool) {
	for _, rc := range r.receivers {
		if rcpt, ok := rc.Recipient(value); ok {
			return rcpt, true
		}
	}
	return "", false
}

// named reports whether the line is of a receiver of ours all the same.
func (r *Router) named(value []byte) bool {
	for _, rc := range r.receivers {
		if rc.Named(value) {
			return true
		}
	}
	return false
}

// namesOnly reports whether w, and no other, stands in a Received line that
// cannot be read. The sender can add wallets to it, but take none away.
func namesOnly(value []byte, w agentkeys.Wallet) bool {
	var raw [agentkeys.WalletSize]byte
	found := false
	for s := mailhead.Unfold(value); len(s) >= 2+walletDigits; s = s[1:] {
		if s[0] != '0' || s[1]|0x20 != 'x' {
			continue
		}
		if _, err := hex.Decode(raw[:], []byte(s[2:2+walletDigits])); err != nil {
			continue
		}
		if raw != w.Bytes() {
			return false
		}
		found = true
	}
	return found
}

// addressed decides by the envelope.
func (r *Router) addressed(recipients []string, by, sender string) Decision {
	t := tally{r: r}
	for _, s := range recipients {
		t.mailbox([]byte(s))
	}
	d := t.decide()
	d.By, d.Sender = by, sender
	return d
}

// mailbox counts a recipient of the envelope, local@domain and nothing around
// it. Its local part may be quoted.
func (t *tally) mailbox(v []byte) {
	at := bytes.LastIndexByte(v, '@')
	if at < 0 {
		if tagLike(v) {
			t.malformed()
		}
		return
	}
	var local, domain buffer
	domain.add(v[at+1:])
	if v = v[:at]; len(v) >= 2 && v[0] == '"' && v[len(v)-1] == '"' {
		v = v[1 : len(v)-1]
	}
	local.add(v)
	t.pair(&local, &domain, true)
}

// senderDomain returns the domain of a Return-Path, "" if there is none.
func senderDomain(v []byte) string {
	v = bytes.TrimRight(v, "> \t\r\n")
	d := v[bytes.LastIndexByte(v, '@')+1:]
	if len(d) == len(v) || !validDomain(d) {
		return ""
	}
	return lower(string(d))
}
