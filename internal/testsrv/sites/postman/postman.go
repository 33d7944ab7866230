// Package postman takes the letters of played sites to a mail server, as the
// providers of the live ones do: in two forms, signed, over real SMTP. It serves
// tests and the demo command; nothing else in production may import it.
package postman

import (
	"bytes"
	"context"
	"crypto/rand"
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

// New returns what takes letters to the server at addr, host:port. mailers has
// one for each domain that letters come from, see Mailers.
func New(addr string, mailers map[string]*mailer.Mailer) func(context.Context, sites.Letter) error {
	return func(ctx context.Context, l sites.Letter) error {
		from, err := mail.ParseAddress(l.From)
		if err != nil {
			return fmt.Errorf("postman: %w", err)
		}
		_, domain, _ := strings.Cut(from.Address, "@")
		m := mailers[domain]
		if m == nil {
			return fmt.Errorf("postman: nobody sends for %s", domain)
		}
		msg, err := Message(l)
		if err != nil {
			return err
		}
		return m.Send(ctx, addr, "bounces@"+domain, l.To, msg)
	}
}

// Mailers makes a mailer for each domain, and publishes in d what is to be known
// of its mail.
func Mailers(d *dns.Server, domains ...string) (map[string]*mailer.Mailer, error) {
	all := map[string]*mailer.Mailer{}
	for _, domain := range domains {
		m, err := mailer.New(d, domain)
		if err != nil {
			return nil, err
		}
		all[domain] = m
	}
	return all, nil
}

// Message renders a letter as a message of two alternatives, whose lines end in
// CRLF.
func Message(l sites.Letter) ([]byte, error) {
	from, err := mail.ParseAddress(l.From)
	if err != nil {
		return nil, fmt.Errorf("postman: %w", err)
	}
	_, domain, _ := strings.Cut(from.Address, "@")
	var b bytes.Buffer
	parts := multipart.NewWriter(&b)
	for _, h := range [][2]string{
		{"From", from.String()}, {"To", (&mail.Address{Address: l.To}).String()},
		{"Subject", mime.QEncoding.Encode("utf-8", l.Subject)}, {"Date", time.Now().Format(time.RFC1123Z)},
		{"Message-ID", "<" + rand.Text() + "@" + domain + ">"}, {"MIME-Version", "1.0"},
		{"Content-Type", `multipart/alternative; boundary="` + parts.Boundary() + `"`},
	} {
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
	}
	b.WriteString("\r\n")
	for _, p := range [][2]string{{"text/plain", l.Text}, {"text/html", l.HTML}} {
		if p[1] == "" {
			continue
		}
		w, err := parts.CreatePart(textproto.MIMEHeader{
			"Content-Type": {p[0] + "; charset=utf-8"}, "Content-Transfer-Encoding": {"quoted-printable"},
		})
		if err != nil {
			return nil, fmt.Errorf("postman: %w", err)
		}
		q := quotedprintable.NewWriter(w)
		if _, err := q.Write([]byte(p[1])); err != nil {
			return nil, fmt.Errorf("postman: %w", err)
		}
		if err := q.Close(); err != nil {
			return nil, fmt.Errorf("postman: %w", err)
		}
	}
	if err := parts.Close(); err != nil {
		return nil, fmt.Errorf("postman: %w", err)
	}
	return b.Bytes(), nil
}
