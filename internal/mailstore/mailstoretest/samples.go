package mailstoretest

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/mailhead"
	"github.com/litentry/agentkeys/internal/mailroute"
)

// Domain is where wallets of samples get their mail, Tag their service's.
const (
	Domain = "agents.example"
	Tag    = "or"
)

// Rules are those for samples.
func Rules() *mailroute.Router {
	return agentkeys.Must(mailroute.New(mailroute.Rules{
		Domains: []string{Domain}, Tags: []string{Tag}, Receivers: []mailhead.Receiver{mailhead.SES()},
	}))
}

// Address returns an address of a wallet.
func Address(w agentkeys.Wallet) string {
	return Tag + "-" + w.String() + "-176380560012345678@" + Domain
}

// Shape is where things lie in a message as SES stores it. Offsets are in
// bytes.
type Shape struct {
	Name string
	EOL  string
	Top  int // where the block of SES ends
	ToAt int // where To begins
	Ends int // where the header block ends, its empty line included
}

// Shapes are those of real samples; where a number of theirs is not known, it
// is a likely one.
var Shapes = []Shape{
	{"provider with DKIM", "\r\n", 1721, 4431, 4568},
	{"provider with DKIM, another", "\r\n", 1721, 4448, 4585},
	{"relay product", "\r\n", 1716, 2336, 3046},
	{"sanitised", "\n", 1177, 1216, 1683},
	{"sanitised, another", "\n", 1100, 1751, 1886},
	{"public", "\n", 1700, 4538, 4700},
	{"public, another", "\n", 1700, 3991, 4200},
	{"forwarded newsletter with ARC", "\n", 1700, 9276, 9500},
}

// Mail is a message to be made. It looks like one that SES received.
type Mail struct {
	Shape
	ID       string // of SES
	Envelope string // the recipient in the topmost Received; "" for none
	To       string // the value of To, which is not longer than Ends allows
	Sender   string // the address in Return-Path, "" for the null sender
	SPF      string // the result for it; "" for pass
	Size     int    // of all, with a body that fills it up; less than Ends for no body
}

// Bytes makes the message.
func (m Mail) Bytes() []byte {
	b := &writer{eol: m.EOL}
	b.line("Return-Path: <" + m.Sender + ">")
	to := ""
	if m.Envelope != "" {
		to = " for " + m.Envelope
	}
	b.line("Received: from mail.sender.example (mail.sender.example [192.0.2.7])")
	b.line(" by inbound-smtp.eu-west-1.amazonaws.com with SMTP id " + m.ID + to + ";")
	b.line(" Sun, 22 Nov 2026 10:00:00 +0000 (UTC)")
	b.line("X-SES-Spam-Verdict: PASS")
	b.line("X-SES-Virus-Verdict: PASS")
	b.line("Received-SPF: " + cmp.Or(m.SPF, "pass") + " (spfCheck: as the domain of sender.example says of 192.0.2.7) client-ip=192.0.2.7;")
	b.line("Authentication-Results: amazonses.com; spf=pass; dkim=pass header.i=@sender.example; dmarc=pass header.from=sender.example;")
	b.fill("X-SES-RECEIPT: ", (b.Len()+m.Top)/2)
	b.fill("X-SES-DKIM-SIGNATURE: a=rsa-sha256; d=amazonses.com; b=", m.Top)
	if m.ToAt-b.Len() > 200 {
		// A forged one, which says nothing.
		b.line("Received: by x.example for <" + Address(Wallet(0xee)) + ">; now")
	}
	b.fill("X-Sender: ", m.ToAt)
	b.line("To: " + m.To)
	b.fill("Subject: ", m.Ends-len(m.EOL))
	b.WriteString(m.EOL)
	for n := 0; b.Len() < m.Size; n++ {
		b.line(fmt.Sprintf("%s, line %d: To: %s", m.ID, n, Address(Wallet(0xee))))
	}
	s := b.String()
	if m.Size > m.Ends {
		s = s[:m.Size]
	}
	return []byte(s)
}

// writer writes lines.
type writer struct {
	strings.Builder
	eol string
}

func (w *writer) line(s string) { w.WriteString(s + w.eol) }

// fill writes a field, folded, that ends at an offset; nothing if there is no
// room for one.
func (w *writer) fill(name string, end int) {
	const width = 76
	left := end - w.Len()
	if left < len(name)+len(w.eol)+1 {
		return
	}
	w.WriteString(name)
	left -= len(name)
	for left > width+2*len(w.eol)+1 { // the last line needs a byte of its own
		w.WriteString(strings.Repeat("x", width-1) + w.eol + " ")
		left -= width + len(w.eol)
	}
	w.line(strings.Repeat("x", left-len(w.eol)))
}
