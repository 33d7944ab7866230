// Package mailer plays a mail provider: it signs messages by DKIM with a key
// that it publishes in a played DNS, and sends them over real SMTP. It serves
// tests and the demo command; nothing else in production may import it.
package mailer

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/smtp"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"github.com/litentry/agentkeys/internal/testsrv/dns"
)

// Selector is where the key is: Selector._domainkey.<domain>.
const Selector = "mail"

// signed are the fields that a signature covers; those that are missing, so that
// nobody adds them. From twice: nobody adds a second one
// either.
var signed = []string{"From", "From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type", "Content-Transfer-Encoding"}

// Mailer sends for one domain. It is safe for concurrent use.
type Mailer struct {
	domain string
	key    crypto.Signer
	// TLS is for STARTTLS, which a server must offer then. Without it mail goes
	// out in the clear. It is set before the first Send.
	TLS *tls.Config
	// Unsigned leaves DKIM out. It is set before the first Send.
	Unsigned bool
}

// New makes a Mailer and publishes in d what its domain says of its mail: that
// it comes from loopback (SPF), the key (DKIM), and that anything else is to be
// rejected (DMARC).
func New(d *dns.Server, domain string) (*Mailer, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, fmt.Errorf("mailer: %w", err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("mailer: %w", err)
	}
	d.TXT(domain, "v=spf1 ip4:127.0.0.0/8 ip6:::1 -all")
	d.TXT(Selector+"._domainkey."+domain, "v=DKIM1; k=rsa; p="+base64.StdEncoding.EncodeToString(der))
	d.TXT("_dmarc."+domain, "v=DMARC1; p=reject")
	d.Address(domain, netip.MustParseAddr("127.0.0.1"))
	d.MX(domain, 10, domain)
	return &Mailer{domain: domain, key: key}, nil
}

// Sign returns msg, whose lines end in CRLF, with a signature on top.
func (m *Mailer) Sign(msg []byte) ([]byte, error) {
	var b bytes.Buffer
	err := dkim.Sign(&b, bytes.NewReader(msg), &dkim.SignOptions{
		Domain: m.domain, Selector: Selector, Signer: m.key, Hash: crypto.SHA256, HeaderKeys: signed,
		HeaderCanonicalization: dkim.CanonicalizationRelaxed, BodyCanonicalization: dkim.CanonicalizationRelaxed,
	})
	if err != nil {
		return nil, fmt.Errorf("mailer: %w", err)
	}
	return b.Bytes(), nil
}

// Send signs msg, whose lines end in CRLF, and gives it to the server at addr,
// host:port. from may be empty.
func (m *Mailer) Send(ctx context.Context, addr, from, to string, msg []byte) error {
	if !m.Unsigned {
		var err error
		if msg, err = m.Sign(msg); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("mailer: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if err := m.converse(conn, from, to, msg); err != nil {
		return fmt.Errorf("mailer: %w", err)
	}
	return nil
}

func (m *Mailer) converse(conn net.Conn, from, to string, msg []byte) error {
	c, err := smtp.NewClient(conn, m.domain)
	if err != nil {
		return err
	}
	if err := c.Hello(m.domain); err != nil {
		return err
	}
	if m.TLS != nil {
		if ok, _ := c.Extension("STARTTLS"); !ok {
			return errors.New("the server does not offer STARTTLS")
		}
		if err := c.StartTLS(m.TLS); err != nil {
			return err
		}
	}
	if err := c.Mail(from); err != nil {
		return err
	}
	if err := c.Rcpt(to); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(msg); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return c.Quit()
}
