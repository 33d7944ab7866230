package verifymail

import (
	"mime"
	"strings"

	"github.com/litentry/agentkeys/internal/mailhead"
)

// Readable is what a person reads of a mail. Any of it may be a code or a link
// that opens an account, and all of it is the sender's.
type Readable struct {
	Subject string
	Text    string   // without quoted history, in lines; control characters taken out
	Links   []string // to where they lead, in their order, up to 200
}

// maxListed bounds Readable.Links: each is compared with all before it, and
// nobody reads more.
const maxListed = 200

// Read returns the readable part of a message, without a judgement on it: empty
// is what cannot be told.
func Read(msg []byte) Readable {
	if len(msg) > MaxMessage {
		return Readable{}
	}
	head := mailhead.Parse(msg, true)
	m := &message{head: head, body: msg[min(head.Size, len(msg)):]}
	var r Readable
	if s, ok := m.one("Subject"); ok {
		dec := mime.WordDecoder{}
		if d, err := dec.DecodeHeader(s); err == nil {
			s = d
		}
		r.Subject = strings.Join(strings.Fields(clean(s)), " ")
	}
	flows, _ := m.texts()
	for _, f := range flows {
		// The plain text is written for readers without HTML: it is enough.
		if r.Text == "" || !f.html {
			r.Text = strings.TrimSpace(strings.ReplaceAll(f.text, string(barrier), "…"))
		}
		for _, l := range f.links {
			if len(r.Links) < maxListed && len(l.href) <= maxURL && !contains(r.Links, l.href) {
				r.Links = append(r.Links, clean(l.href))
			}
		}
	}
	return r
}
