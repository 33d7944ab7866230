// Package mailout hands mail to the operator's submission server (RFC 6409). A
// login's mail carries a token, so:
//
// Laws:
//   - without TLS and a certificate of the server's name nothing is sent, not
//     even the sender; loopback aside, where the operator says so
//   - an address or subject that could end a line is refused, never cleaned
//   - no error has anything of the mail, nor of what the server says, which may
//     repeat it
package mailout

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/netip"
	"net/smtp"
	"net/textproto"
	"strings"
	"time"

	"github.com/litentry/agentkeys/internal/secret"
)

// What Send may fail with.
var (
	// ErrConfig is wrapped by New.
	ErrConfig = errors.New("unusable mail server")
	// ErrMail is wrapped for a mail that cannot be sent as it is.
	ErrMail = errors.New("the mail cannot be sent")
	// ErrTemporary is wrapped where trying again later may help.
	ErrTemporary = errors.New("the mail server did not take the mail over now")
	// ErrPermanent is wrapped where the server will never take it, or must not be
	// talked to.
	ErrPermanent = errors.New("the mail server does not take the mail")
)

// timeout bounds one mail, from the name of the server to its last word.
const timeout = 30 * time.Second

// Security is how the connection to the server is made safe.
type Security int

const (
	StartTLS  Security = iota // port 587: TLS after a greeting, required
	TLS                       // port 465: TLS at once
	Plaintext                 // for loopback alone
)

// Config is one server and this sender.
type Config struct {
	Server   string // host:port
	Security Security
	Username string // empty: no authentication
	Password secret.Value
	From     string         // an address, with a name or without: AgentKeys <login@broker.example>
	Roots    *x509.CertPool // nil: the system's
}

// Mailer sends mail. It is safe for concurrent use.
type Mailer struct {
	c      Config
	host   string
	from   mail.Address
	domain string
}

// New makes a Mailer. It does not connect.
func New(c Config) (*Mailer, error) {
	bad := func(why string) (*Mailer, error) { return nil, fmt.Errorf("%w: %s", ErrConfig, why) }
	host, port, err := net.SplitHostPort(c.Server)
	if err != nil || host == "" || port == "" {
		return bad("the server is not host:port; submission is on port 587")
	}
	from, err := mail.ParseAddress(c.From)
	if err != nil || checkAddress(from.Address) != nil || strings.ContainsFunc(from.Name, control) {
		return bad("the sender is not an address, as in AgentKeys <login@broker.example>")
	}
	if c.Security < StartTLS || c.Security > Plaintext {
		return bad("the security is none of StartTLS, TLS and Plaintext")
	}
	if a, err := netip.ParseAddr(host); c.Security == Plaintext && host != "localhost" && (err != nil || !a.IsLoopback()) {
		return bad("mail would cross a network in plain text, with the links that log people in; use StartTLS or TLS")
	}
	if (c.Username == "") != c.Password.IsZero() {
		return bad("of user name and password, only one is given")
	}
	_, domain, _ := strings.Cut(from.Address, "@")
	return &Mailer{c, host, *from, domain}, nil
}

// checkAddress takes the addresses that mean the same to every server: ASCII,
// unquoted, with a domain.
func checkAddress(s string) error {
	a, err := mail.ParseAddress(s)
	local, domain, ok := strings.Cut(s, "@")
	if err != nil || a.Address != s || a.Name != "" || !ok || local == "" || domain == "" || len(local) > 64 || len(s) > 254 ||
		strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`"()<>[]:;,\`, r) }) {
		return fmt.Errorf("%w: the recipient is not a plain address", ErrMail)
	}
	return nil
}

func control(r rune) bool { return r < ' ' || r == 0x7f }

// Send implements broker.Mailer: it returns nil when the server has taken the
// mail over. Lines of text end in \n.
func (m *Mailer) Send(ctx context.Context, to, subject, text string) error {
	message, err := m.compose(to, subject, text, time.Now(), rand.Text())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := m.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	// A deadline in the past ends whatever waits, at the moment ctx ends.
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	return m.submit(conn, to, message)
}

func (m *Mailer) dial(ctx context.Context) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", m.c.Server)
	if err != nil {
		return nil, fmt.Errorf("%w: it cannot be reached at %s", ErrTemporary, m.c.Server)
	}
	if m.c.Security != TLS {
		return conn, nil
	}
	secure := tls.Client(conn, m.tls())
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, handshakeError(err)
	}
	return secure, nil
}

func (m *Mailer) tls() *tls.Config {
	return &tls.Config{ServerName: m.host, RootCAs: m.c.Roots, MinVersion: tls.VersionTLS12}
}

func handshakeError(err error) error {
	var cert *tls.CertificateVerificationError
	if errors.As(err, &cert) {
		return fmt.Errorf("%w: its certificate is not one of its name: %w", ErrPermanent, cert)
	}
	return fmt.Errorf("%w: TLS with it fails", ErrTemporary)
}

// submit walks RFC 5321 with a server.
func (m *Mailer) submit(conn net.Conn, to string, message []byte) error {
	c, err := smtp.NewClient(conn, m.host)
	if err != nil {
		return stepError("greeting", err)
	}
	defer c.Close()
	if err := c.Hello(m.domain); err != nil {
		return stepError("EHLO", err)
	}
	if m.c.Security == StartTLS {
		if ok, _ := c.Extension("STARTTLS"); !ok {
			return fmt.Errorf("%w: it offers no STARTTLS, or somebody on the way hides it", ErrPermanent)
		}
		if err := c.StartTLS(m.tls()); err != nil {
			var answer *textproto.Error
			if errors.As(err, &answer) {
				return stepError("STARTTLS", err)
			}
			return handshakeError(err)
		}
	}
	if m.c.Username != "" {
		if ok, ways := c.Extension("AUTH"); !ok || !strings.Contains(" "+ways+" ", " PLAIN ") {
			return fmt.Errorf("%w: it does not offer to authenticate with AUTH PLAIN", ErrPermanent)
		}
		if err := c.Auth(smtp.PlainAuth("", m.c.Username, string(m.c.Password.Expose()), m.host)); err != nil {
			return stepError("AUTH", err)
		}
	}
	if err := c.Mail(m.from.Address); err != nil {
		return stepError("MAIL", err)
	}
	if err := c.Rcpt(to); err != nil {
		return stepError("RCPT", err)
	}
	w, err := c.Data()
	if err != nil {
		return stepError("DATA", err)
	}
	if _, err := w.Write(message); err != nil {
		return stepError("DATA", err)
	}
	if err := w.Close(); err != nil {
		return stepError("end of DATA", err)
	}
	_ = c.Quit() // the mail is taken over, whatever comes now
	return nil
}

// stepError says how far it came, and the code: never the server's words.
func stepError(step string, err error) error {
	var answer *textproto.Error
	switch {
	case errors.As(err, &answer) && answer.Code >= 500:
		return fmt.Errorf("%w: it answers %d to %s", ErrPermanent, answer.Code, step)
	case errors.As(err, &answer):
		return fmt.Errorf("%w: it answers %d to %s", ErrTemporary, answer.Code, step)
	}
	return fmt.Errorf("%w: it breaks off at %s", ErrTemporary, step)
}
