// Package smtpin receives mail by SMTP for people without SES: it takes what is
// for its own domains, checks SPF, DKIM and DMARC, stamps a header block of the
// shape of SES's on top, and puts each copy into a mailstore.Spool. It knows no
// wallets, and reads nothing of a message but its header.
//
// Laws:
//   - 250 is said only when every copy is durable; no mail is passed on to
//     anybody else's domain, ever, and none is bounced
//   - lines end in CRLF and in nothing else. A message ends at CRLF.CRLF; what
//     has a lone CR or LF is refused whole, and its connection with it: no two
//     readers can ever disagree about where a message ends (SMTP smuggling)
//   - nothing of the peer's words stands in the stamped block unless it is an
//     address, a domain or an IP address; and none of it can end a line, a
//     comment or a clause
//   - a verdict is pass only when it was proven: whatever fails in DNS is
//     temperror. Mail is kept whatever the verdicts, as SES does: a provider's
//     mail that is wrongly signed should be seen, refused and explained, by
//     verifymail, and not vanish
//   - a sender's header is never changed; only the top block is our word
//   - memory does not grow with a message; everything is bounded in number, size
//     and time
//   - no address and no text of a mail is logged, nor is the peer's address
//
// Known divergences from RFC 5321, of the library's: RCPT TO:<postmaster> needs a
// domain; a reply repeats the address that it is about.
package smtpin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-smtp"
	"golang.org/x/net/idna"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/mailstore"
)

// ErrConfig is wrapped by New.
var ErrConfig = errors.New("unusable mail receiver")

// maxBlock bounds the stamped block, in bytes.
const maxBlock = 16 << 10

// MaxMessage is the most that Config.MaxMessage can be: with the stamped block it
// is what a store takes.
const MaxMessage = mailstore.MaxMessage - maxBlock

// Resolver is the part of *net.Resolver that is needed. Names are passed with
// their final dot.
type Resolver interface {
	LookupTXT(ctx context.Context, name string) ([]string, error)
	LookupMX(ctx context.Context, name string) ([]*net.MX, error)
	LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error)
	LookupAddr(ctx context.Context, addr string) ([]string, error)
}

// Config says what a Server is. Hostname, Domains and Spool are needed.
type Config struct {
	// Hostname is the server's name: in its greeting, in the Received field and
	// as the authserv-id.
	Hostname string
	// Domains are those whose mail is taken, as A-labels or U-labels; not the
	// ones below them.
	Domains []string
	// Accept reports whether there is a mailbox; nil takes every local part. It
	// is not asked about postmaster. domain is one of Domains as A-labels, in
	// lower case.
	Accept func(local, domain string) bool
	// Busy, if set, is asked for each recipient that is accepted, once for each
	// message; with true the sender is told to come back later. It must not
	// count: to name a recipient is no mail yet. peer is an address or a network.
	Busy func(peer netip.Prefix, local, domain string) bool
	// Take, if set, counts a copy that is about to be kept, and says whether it
	// may be; if not, the sender is told to come back with the message later.
	// back, if it was taken, undoes that, if the copy is not kept after all.
	Take func(peer netip.Prefix, local, domain string) (back func(), ok bool)
	// Room, if set, reports whether there is room for so many bytes more.
	Room func(bytes int64) bool
	// TLS is for STARTTLS, which is not offered without it. TLS 1.2 is the least
	// whatever it says.
	TLS *tls.Config
	// Resolver is for SPF, DKIM and DMARC; nil is the system's.
	Resolver Resolver
	// Spool takes the messages.
	Spool mailstore.Spool
	// TempDir is where a message is while it comes in, os.TempDir() if empty.
	TempDir string
	// Deliver, if set, is called once for each copy that is in the spool, after
	// the sender has been answered or about then, by a few goroutines at once.
	// Its error is only counted: what is in the spool is the owner's, who finds
	// it by Waiting. Its ctx ends after Limits.Deliver, or with the Server.
	Deliver func(ctx context.Context, id agentkeys.MessageID, rcpt string) error
	// MaxMessage is in bytes; zero is MaxMessage.
	MaxMessage int64
	Limits     Limits
	Log        *slog.Logger     // nil: nothing is logged
	Now        func() time.Time // nil: time.Now; for dates and ids, not for time limits
}

// Server receives mail. It is safe for concurrent use.
type Server struct {
	c       Config
	host    string
	domains map[string]bool
	tls     *tls.Config
	dns     Resolver
	gate    *gate
	ids     *ids
	deliver *deliverer

	plain, safe *smtp.Server // before and after STARTTLS
	upgraded    *handover    // what safe accepts
	safeOnce    sync.Once
	safeDone    chan struct{}

	ctx    context.Context // ends with the Server: nothing of it goes on after that
	cancel context.CancelFunc

	mu        sync.Mutex
	closing   bool
	listeners []net.Listener
	wires     map[*wire]struct{}
}

// New makes a Server. It does not listen.
func New(c Config) (*Server, error) {
	bad := func(why string) (*Server, error) { return nil, fmt.Errorf("%w: %s", ErrConfig, why) }
	host, ok := canonicalDomain(c.Hostname)
	if !ok {
		return bad("the host name is not a domain")
	}
	if len(c.Domains) == 0 {
		return bad("there are no domains to take mail for")
	}
	if c.Spool == nil {
		return bad("there is no spool")
	}
	if c.MaxMessage == 0 {
		c.MaxMessage = MaxMessage
	}
	if c.MaxMessage < 1<<10 || c.MaxMessage > MaxMessage {
		return bad(fmt.Sprintf("the largest message is not from 1 KiB to %d bytes", int64(MaxMessage)))
	}
	if err := c.Limits.fill(); err != nil {
		return nil, err
	}
	if c.TempDir == "" {
		c.TempDir = os.TempDir()
	}
	if c.Resolver == nil {
		// Go's own: it tells a name that is not there from a failure, and stops
		// with its context.
		c.Resolver = &net.Resolver{PreferGo: true}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	s := &Server{c: c, host: host, domains: map[string]bool{}, dns: c.Resolver,
		gate: newGate(c.Limits), ids: &ids{now: c.Now}, upgraded: newHandover(),
		safeDone: make(chan struct{}), wires: map[*wire]struct{}{}}
	for _, d := range c.Domains {
		a, ok := canonicalDomain(d)
		if !ok {
			return bad("a domain is none")
		}
		s.domains[a] = true
	}
	if c.TLS != nil {
		s.tls = c.TLS.Clone()
		s.tls.MinVersion = max(s.tls.MinVersion, tls.VersionTLS12)
		s.tls.NextProtos = nil
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.deliver = newDeliverer(s.ctx, c)
	s.plain, s.safe = s.library(), s.library()
	if s.tls != nil {
		// The library only announces STARTTLS: see wire. Without a certificate
		// it could do no more.
		s.plain.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return s, nil
}

// library makes the one that parses commands and keeps their order.
func (s *Server) library() *smtp.Server {
	l := smtp.NewServer(smtp.BackendFunc(s.session))
	l.Domain = s.host
	l.MaxRecipients = s.c.Limits.Recipients
	l.MaxMessageBytes = s.c.MaxMessage
	l.MaxLineLength = 1 << 30 // wire bounds lines
	l.EnableSMTPUTF8 = true
	// Else AUTH would answer that TLS is needed, as if it were of any use then.
	l.AllowInsecureAuth = true
	l.ErrorLog = panics{s.c.Log}
	return l
}

// panics is told by the library what went wrong, with addresses and stacks.
type panics struct{ log *slog.Logger }

func (p panics) Printf(format string, _ ...any) {
	if strings.HasPrefix(format, "panic") {
		p.log.Error("mail: panic in a connection")
	}
}
func (panics) Println(...any) {}

// Serve takes connections until Shutdown, and then returns nil. It may be called
// for several listeners, each of which it closes.
func (s *Server) Serve(l net.Listener) error {
	s.safeOnce.Do(func() {
		go func() {
			defer close(s.safeDone)
			_ = s.safe.Serve(s.upgraded)
		}()
	})
	s.mu.Lock()
	closing := s.closing
	s.listeners = append(s.listeners, l)
	s.mu.Unlock()
	if closing {
		_ = l.Close()
		return nil
	}
	err := s.plain.Serve(&listener{l, s})
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return nil // and the listener was closed for that
	}
	return err
}

// Shutdown ends Serve: connections end once the message that is coming in is
// answered, idle ones at once. When ctx ends first, what is left is cut off, and
// ctx's error is returned; what was answered with 250 is in the spool even so.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closing = true
	for _, l := range s.listeners {
		_ = l.Close() // the library does not know one yet whose Serve has just begun
	}
	wires := make([]*wire, 0, len(s.wires))
	for w := range s.wires {
		wires = append(wires, w)
	}
	s.mu.Unlock()
	for _, w := range wires {
		w.shut()
	}
	// Their errors are those of closing a listener twice.
	_ = s.plain.Shutdown(ctx)
	_ = s.safe.Shutdown(ctx)
	var err error
	_ = s.upgraded.Close()
	if ctx.Err() != nil {
		err = ctx.Err()
		s.cancel()
		s.mu.Lock()
		for w := range s.wires {
			_ = w.conn.Close()
		}
		s.mu.Unlock()
	}
	if derr := s.deliver.stop(ctx); err == nil {
		err = derr
	}
	s.cancel()
	return err
}

// canonicalDomain returns a domain as A-labels in lower case, without a final
// dot. Underscores are let through: senders have them, and DNS does not mind.
func canonicalDomain(s string) (string, bool) {
	s = strings.TrimSuffix(s, ".")
	for i := range len(s) {
		if s[i] >= 0x80 {
			a, err := idna.Lookup.ToASCII(s)
			if err != nil {
				return "", false
			}
			s = a
			break
		}
	}
	if len(s) == 0 || len(s) > 253 {
		return "", false
	}
	s = strings.ToLower(s)
	for label := range strings.SplitSeq(s, ".") {
		if len(label) == 0 || len(label) > 63 {
			return "", false
		}
		for _, c := range []byte(label) {
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return "", false
			}
		}
	}
	return s, true
}
