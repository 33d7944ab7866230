package mailhead

import "strings"

// Receiver is a host whose word the top of a message is. The zero value is no
// host: nothing is its word.
type Receiver struct {
	host string // "" of SES
	ses  bool
}

// SES returns the inbound servers of Amazon SES, of whatever region.
func SES() Receiver { return Receiver{ses: true} }

// Host returns a receiver of our own, which names itself so in what it writes.
func Host(name string) Receiver { return Receiver{host: strings.ToLower(name)} }

// String names the receiver for a person.
func (r Receiver) String() string {
	if r.ses {
		return "ses"
	}
	return r.host
}

// AuthServID returns the name it gives itself in Authentication-Results.
func (r Receiver) AuthServID() string {
	if r.ses {
		return "amazonses.com"
	}
	return r.host
}

// Scans reports whether it looks for spam and viruses, and says so.
func (r Receiver) Scans() bool { return r.ses }

// WroteReceived reports whether an unfolded Received value is of a form this
// receiver writes. A sender can write the same: it says something of the
// topmost only.
func (r Receiver) WroteReceived(unfolded string) bool {
	rc, ok := parseReceived(unfolded)
	return ok && r.is(rc.by)
}

// Recipient returns the one recipient that the value of a Received field names,
// "" of none; false if it is not of a form that r writes.
func (r Receiver) Recipient(value []byte) (string, bool) {
	rc, ok := parseReceived(Unfold(value))
	if !ok || !r.is(rc.by) {
		return "", false
	}
	return rc.rcpt, true
}

// Named reports whether the host's name is anywhere in the value of a Received
// field. If r wrote it, it is, whatever the sender slipped in.
func (r Receiver) Named(value []byte) bool {
	v := strings.ToLower(Unfold(value))
	if r.ses {
		return strings.Contains(v, sesBefore) && strings.Contains(v, sesAfter)
	}
	return r.host != "" && strings.Contains(v, r.host)
}

const sesBefore, sesAfter = "inbound-smtp.", ".amazonaws.com"

func (r Receiver) is(by string) bool {
	if !r.ses {
		return r.host != "" && strings.EqualFold(by, r.host)
	}
	n := len(by) - len(sesBefore) - len(sesAfter)
	if n < 1 || n > 32 || !strings.EqualFold(by[:len(sesBefore)], sesBefore) || !strings.EqualFold(by[len(by)-len(sesAfter):], sesAfter) {
		return false
	}
	for _, c := range []byte(by[len(sesBefore) : len(sesBefore)+n]) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// fields returns what the receiver writes, in its order.
func (r Receiver) fields() []string {
	if r.ses {
		return sesFields
	}
	return hostFields
}

var (
	sesFields = []string{
		"Return-Path", "Received", "X-SES-Spam-Verdict", "X-SES-Virus-Verdict",
		"Received-SPF", "Authentication-Results", "X-SES-RECEIPT", "X-SES-DKIM-SIGNATURE",
	}
	hostFields = []string{"Return-Path", "Received", "Received-SPF", "Authentication-Results", "X-AgentKeys-Receipt"}
)

// Top is what the receiver wrote on top of a message, each value unfolded; ""
// of what is not there.
type Top struct {
	ReturnPath  string
	Received    string
	For         string // the one recipient that Received names
	ID          string // of the message, by Received
	Spam, Virus string // verdicts, as PASS
	SPF         string // Received-SPF
	Auth        string // Authentication-Results
	// Whole says that every field of the block was there, the last one too; the
	// verdicts on spam and viruses may be missing, since not all who receive
	// scan. Without it, the block may be followed by fields of the sender's that
	// look like the rest of it, so only Received and what comes before it are
	// beyond doubt.
	Whole bool
}

// Top returns what r wrote on top; false if the topmost Received, with at most
// a Return-Path above it, is not by r. The first field out of order ends what r
// wrote.
func (b Block) Top(r Receiver) (Top, bool) {
	var t Top
	var receipt string
	order, next, all := r.fields(), 0, true
	for _, f := range b.Fields {
		n := next
		for n < len(order) && !f.Is(order[n]) {
			n++
		}
		if n == len(order) {
			break
		}
		for _, missing := range order[next:n] {
			all = all && (missing == "X-SES-Spam-Verdict" || missing == "X-SES-Virus-Verdict")
		}
		v := Unfold(f.Value)
		switch order[n] {
		case "Return-Path":
			t.ReturnPath = v
		case "Received":
			rc, ok := parseReceived(v)
			if !ok || !r.is(rc.by) {
				return Top{}, false
			}
			t.Received, t.For, t.ID = v, rc.rcpt, rc.id
		case "X-SES-Spam-Verdict":
			t.Spam = v
		case "X-SES-Virus-Verdict":
			t.Virus = v
		case "Received-SPF":
			t.SPF = v
		case "Authentication-Results":
			t.Auth = v
		case "X-AgentKeys-Receipt":
			receipt = v
		}
		next = n + 1
	}
	if t.Received == "" {
		return Top{}, false
	}
	// Our own receipt repeats the id of Received: a sender does not know it.
	t.Whole = all && next == len(order) && (r.ses || t.ID != "" && receipt == t.ID)
	return t, true
}
