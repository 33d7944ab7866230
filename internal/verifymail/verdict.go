package verifymail

import (
	"net/mail"
	"strings"
	"time"

	"github.com/litentry/agentkeys/internal/mailhead"
)

// Verdicts is what our receiver found of a message, by the block on its top,
// in small letters. "" is what was not looked for, or cannot be read.
type Verdicts struct {
	// Received says that the receiver's whole block is there. Without it,
	// nothing else is known.
	Received bool      `json:"received"`
	At       time.Time `json:"at,omitzero"` // when it was received
	Spam     string    `json:"spam,omitempty"`
	Virus    string    `json:"virus,omitempty"`
	SPF      string    `json:"spf,omitempty"`
	// DKIM holds the domains with a signature that passed, as far as the
	// receiver names them.
	DKIM  []string `json:"dkim,omitempty"`
	DMARC string   `json:"dmarc,omitempty"`
	// From is the domain of From, if that is one plain address.
	From string `json:"from,omitempty"`
	// Aligned says that one of DKIM belongs to the organisation of From.
	Aligned bool `json:"aligned"`

	scans bool // spam and viruses are looked for
}

// Verdict returns what rc found of a message. Of one whose header can be read in
// two ways, or is not all there, no signature is said to pass.
func Verdict(msg []byte, rc mailhead.Receiver) Verdicts {
	head := mailhead.Parse(msg, true)
	top, ok := head.Top(rc)
	if !ok || !top.Whole || rc == mailhead.SES() && !sesWhole(head) {
		return Verdicts{}
	}
	v, _ := verdictsOf(head, top, rc)
	if oddHeader(msg, head) != "" {
		// What is shown of such a mail may be other text than was signed.
		v.DKIM, v.Aligned = nil, false
	}
	return v
}

// verdictsOf reads the block; false if something in it can be read in two ways.
func verdictsOf(head mailhead.Block, top mailhead.Top, rc mailhead.Receiver) (Verdicts, bool) {
	v := Verdicts{
		Received: true, scans: rc.Scans(),
		Spam: verdictWord(top.Spam), Virus: verdictWord(top.Virus),
		SPF: verdictWord(firstWord(top.SPF)),
	}
	if i := strings.LastIndexByte(top.Received, ';'); i >= 0 && len(top.Received)-i < 128 {
		if at, err := mail.ParseDate(strings.TrimSpace(top.Received[i+1:])); err == nil {
			v.At = at.UTC()
		}
	}
	v.From, _ = fromDomain(head)
	if !plainReturnPath(top.ReturnPath) || !plainSigners(head) {
		// A local part may be a quoted string with anything in it, and so may be
		// the name of a signer, and the receiver repeats them in
		// Authentication-Results.
		return v, false
	}
	if top.Auth == "" {
		return v, true
	}
	a, ok := parseAuth(top.Auth, rc.AuthServID())
	// Some say the organisation's domain there, and some that of From.
	if !ok || a.from != "" && v.From != "" && !aligned(a.from, v.From) {
		return v, false
	}
	v.DKIM, v.DMARC = a.dkim, a.dmarc
	if v.SPF == "" {
		v.SPF = a.spf
	}
	for _, d := range v.DKIM {
		v.Aligned = v.Aligned || aligned(d, v.From)
	}
	return v, true
}

func firstWord(s string) string {
	if f := strings.Fields(s); len(f) > 0 {
		return f[0]
	}
	return ""
}

// verdictWord lets only words pass that cannot carry anything else.
func verdictWord(s string) string {
	if len(s) > 24 {
		return "unknown"
	}
	for _, c := range []byte(s) {
		if (c|0x20 < 'a' || c|0x20 > 'z') && c != '_' {
			return "unknown"
		}
	}
	return strings.ToLower(s)
}

// plainReturnPath reports whether s is empty, <> or an address without quotes.
func plainReturnPath(s string) bool {
	if n := len(s); n >= 2 && s[0] == '<' && s[n-1] == '>' {
		s = s[1 : n-1]
	}
	return len(s) <= 512 && strings.Trim(s, atext+".@") == ""
}

const atext = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-/=?^_`{|}~"
