// Package postman takes the letters of played sites to a mail server: each as
// a message of two parts, signed by DKIM for the domain it comes from, over
// real SMTP. It serves tests and the demo command; nothing else in production
// may import it.
package postman

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"net/textproto"
	"strings"
	"time"

	"github.com/litentry/agentkeys/internal/testsrv/dns"
	"github.com/litentry/agentkeys/internal/testsrv/mailer"
	"github.com/litentry/agentkeys/internal/testsrv/sites"
)

// Postman takes letters of some domains to one server. It is safe for
// concurrent use.
type Postman struct {
	mailers map[string]*mailer.Mailer
	// to says where the server is, host:port, when a letter is to go out.
	to func() string
}

// New makes a Postman for domains, which it publishes in d.
func New(d *dns.Server, to func() string, domains ...string) (*Postman, error) {
	p := &Postman{mailers: map[string]*mailer.Mailer{}, to: to}
	for _, domain := range domains {
		m, err := mailer.New(d, domain)
		if err != nil {
			return nil, err
		}
		p.mailers[domain] = m
	}
	return p, nil
}

// Post sends a letter. It fits sites.Options.Post.
func (p *Postman) Post(ctx context.Context, l sites.Letter) error {
	from, err := mail.ParseAddress(l.From)
	if err != nil {
		return fmt.Errorf("postman: %w", err)
	}
	_, domain, _ := strings.Cut(from.Address, "@")
	m := p.mailers[domain]
	if m == nil {
		return errors.New("postman: no mailer for " + domain)
	}
	msg, err := message(l, domain)
	if err != nil {
		return fmt.Errorf("postman: %w", err)
	}
	return m.Send(ctx, p.to(), from.Address, l.To, msg)
}

// message renders a letter with lines that end in CRLF.
func message(l sites.Letter, domain string) ([]byte, error) {
	var id [12]byte
	if _, err := rand.Read(id[:]); err != nil {
		return nil, err
	}
	var body bytes.Buffer
	parts := multipart.NewWriter(&body)
	for _, part := range []struct{ kind, text string }{{"text/plain", l.Text}, {"text/html", l.HTML}} {
		if part.text == "" {
			continue
		}
		w, err := parts.CreatePart(textproto.MIMEHeader{
			"Content-Type": {part.kind + "; charset=utf-8"}, "Content-Transfer-Encoding": {"quoted-printable"},
		})
		if err != nil {
			return nil, err
		}
		q := quotedprintable.NewWriter(w)
		if _, err := q.Write([]byte(part.text)); err != nil {
			return nil, err
		}
		if err := q.Close(); err != nil {
			return nil, err
		}
	}
	if err := parts.Close(); err != nil {
		return nil, err
	}
	var msg bytes.Buffer
	for _, h := range [][2]string{
		{"From", l.From}, {"To", l.To}, {"Subject", mime.QEncoding.Encode("utf-8", l.Subject)},
		{"Date", time.Now().Format(time.RFC1123Z)}, {"Message-ID", "<" + hex.EncodeToString(id[:]) + "@" + domain + ">"},
		{"MIME-Version", "1.0"}, {"Content-Type", `multipart/alternative; boundary="` + parts.Boundary() + `"`},
	} {
		fmt.Fprintf(&msg, "%s: %s\r\n", h[0], h[1])
	}
	msg.WriteString("\r\n")
	msg.Write(body.Bytes())
	return msg.Bytes(), nil
}
