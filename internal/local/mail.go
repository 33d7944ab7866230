package local

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/audit"
	"github.com/litentry/agentkeys/internal/book"
	"github.com/litentry/agentkeys/internal/dirmail"
	"github.com/litentry/agentkeys/internal/durable"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/mailconf"
	"github.com/litentry/agentkeys/internal/mailhead"
	"github.com/litentry/agentkeys/internal/mailroute"
	"github.com/litentry/agentkeys/internal/mailsrv"
	"github.com/litentry/agentkeys/internal/mailstore"
)

var (
	// ErrNoMail: no mail comes to this wallet.
	ErrNoMail = errors.New("no mail comes in here")
	// ErrNoTag: a service that does not sign up by mail, as far as is known.
	ErrNoTag = errors.New("the service has no addresses")
	// ErrMailAddress: an address that is not one of this wallet's.
	ErrMailAddress = errors.New("not an address of this wallet")
	// ErrMailSettings: settings that no mail can be received with.
	ErrMailSettings = errors.New("impossible mail settings")
)

const (
	// DefaultMailDomain is a name that leads nowhere but to this machine
	// (RFC 6761).
	DefaultMailDomain = "agentkeys.localhost"
	// DefaultMailPort is tried first when no port is remembered yet.
	DefaultMailPort = 7425
)

// Mail is where the mail of wallets comes in.
type Mail struct {
	Inbox    mailstore.Inbox
	Domain   string            // of their addresses
	Receiver mailhead.Receiver // whose word on a message counts
}

// MailSettings are those of the receiver on loopback. Zero fields are as
// remembered, or by default.
type MailSettings struct {
	Domain string `json:"domain,omitempty"`
	Port   int    `json:"port,omitempty"`
	// Resolver is IP:PORT of the DNS server that SPF, DKIM and DMARC ask; empty:
	// the system's.
	Resolver string `json:"resolver,omitempty"`
	// Server is the mail.yaml of an 'agentkeys mail serve' on this machine, whose
	// directory is read then, and nothing is received here; OwnServer: receive
	// here again.
	Server string `json:"server,omitempty"`
	Off    bool   `json:"-"`
}

// OwnServer is MailSettings.Server of who receives mail itself.
const OwnServer = "own"

// post is what a Host has of mail: a broker's, or its own on loopback.
type post struct {
	*Mail              // nil: none
	dir   *dirmail.Dir // its own: all that has come in; nil: a broker's
	addr  string       // where it takes mail
	tags  []string     // that it sorts
	err   error        // why there is none
}

// openMail starts what receives mail on loopback. A laptop without it works:
// what is amiss is shown by Status.
func (h *Host) openMail(ctx context.Context) error {
	if r := h.opts.Remote; r != nil {
		h.mail.Mail = r.Mail
		return nil
	}
	if h.opts.Mail.Off {
		return nil
	}
	err := h.receiveMail(ctx)
	if err == nil || errors.Is(err, ErrMailSettings) {
		return err
	}
	h.mail = post{err: err}
	h.log.Error("no mail is received", "err", err)
	return nil
}

func (h *Host) receiveMail(ctx context.Context) error {
	set, remembered, err := h.mailSettings()
	if err != nil {
		return err
	}
	if set.Server != "" {
		return h.followMail(set)
	}
	spool := h.paths.MailSpool()
	if err := durable.MkdirAll(spool); err != nil {
		return err
	}
	if err := durable.Sweep(spool); err != nil {
		return err
	}
	host := "mx." + set.Domain
	open := func(port int) (*mailsrv.Server, error) {
		c := mailconf.Config{
			Hostname: host, Domains: []string{set.Domain}, Listen: fmt.Sprintf("127.0.0.1:%d", port), Resolver: set.Resolver,
			Store: mailconf.Store{Directory: h.paths.Mail()}, Spool: spool, Keep: mailconf.Keep{MailDays: mailDays},
			Limits: mailconf.Limits{FreeBytes: mailFree},
		}
		return mailsrv.Open(ctx, &c, mailsrv.Options{
			Log: h.log, Now: h.now, Version: h.opts.Version, Tags: h.mail.tags, Recorder: ownMail{h.audit, h.wallet},
			HangUp: mailHangUp,
		})
	}
	if h.mail.tags, err = h.cat.tags(); err != nil {
		return err
	}
	srv, err := open(set.Port)
	if _, taken := errors.AsType[*net.OpError](err); taken && !remembered {
		srv, err = open(0) // nobody has been told a port yet
	}
	if err != nil {
		return err
	}
	set.Port = srv.Addr().(*net.TCPAddr).Port
	if err := h.saveMailSettings(set); err != nil {
		return err
	}
	if h.mail.dir, err = dirmail.Open(h.paths.Mail()); err != nil {
		return err
	}
	h.mail.Mail = &Mail{h.mail.dir, set.Domain, mailhead.Host(host)}
	h.mail.addr = srv.Addr().String()
	h.wg.Go(func() {
		if err := srv.Serve(ctx); err != nil {
			h.log.Error("receiving mail ended", "err", err)
		}
	})
	return nil
}

const (
	// mailDays is how long mail is kept.
	mailDays = 30
	// mailFree is what mail leaves free of the disk, in bytes: enough for the log
	// and whatever else is kept here.
	mailFree = 128 << 20
	// mailHangUp is how long a sender may keep this process from its end. Others'
	// requests have ten seconds.
	mailHangUp = 5 * time.Second
)

// ownMail records what became of mail as the owner's affair.
type ownMail struct {
	log    *audit.Log
	wallet agentkeys.Wallet
}

// Record implements grant.Recorder.
func (m ownMail) Record(ctx context.Context, e grant.Event) error {
	e.Actor = m.wallet
	return m.log.Record(ctx, e)
}

// mailSettings returns those in force, and whether senders may know the port.
func (h *Host) mailSettings() (set MailSettings, remembered bool, err error) {
	data, err := os.ReadFile(h.paths.MailSettings())
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return set, false, err
	default:
		if err := json.Unmarshal(data, &set); err != nil {
			return set, false, fmt.Errorf("%w: %s: %w", ErrConfig, h.paths.MailSettings(), err)
		}
	}
	now := h.opts.Mail
	if now.Domain != "" {
		set.Domain = now.Domain
	}
	if now.Resolver != "" {
		set.Resolver = now.Resolver
	}
	if now.Port != 0 {
		set.Port = now.Port
	}
	if now.Server != "" {
		set.Server = now.Server
	}
	if set.Server == OwnServer {
		set.Server = ""
	}
	if remembered = set.Port != 0; !remembered {
		set.Port = DefaultMailPort
	}
	if set.Domain == "" {
		set.Domain = DefaultMailDomain
	}
	if err := set.Check(); err != nil {
		return set, remembered, err
	}
	// As senders and the receiver's stamp have it, however it was written.
	set.Domain, err = canonicalMailDomain(set.Domain)
	return set, remembered, err
}

// canonicalMailDomain returns a domain as A-labels in lower case.
func canonicalMailDomain(s string) (string, error) {
	r, err := mailroute.New(mailroute.Rules{Domains: []string{s}, Tags: []string{"or"}})
	if err != nil {
		return "", fmt.Errorf("%w: the mail domain is none", ErrMailSettings)
	}
	return r.Domains()[0], nil
}

// Check refuses what cannot be, of what is set.
func (m MailSettings) Check() error {
	if m.Domain != "" {
		if _, err := canonicalMailDomain(m.Domain); err != nil {
			return err
		}
	}
	if m.Port < 0 || m.Port > 65535 {
		return fmt.Errorf("%w: a mail port is a number from 1 to 65535", ErrMailSettings)
	}
	if m.Resolver != "" {
		if a, err := netip.ParseAddrPort(m.Resolver); err != nil || a.Port() == 0 {
			return fmt.Errorf("%w: a mail resolver is IP:PORT", ErrMailSettings)
		}
	}
	if m.Server != "" && m.Server != OwnServer && !filepath.IsAbs(m.Server) {
		return fmt.Errorf("%w: the configuration of a mail server is an absolute path", ErrMailSettings)
	}
	return nil
}

func (h *Host) saveMailSettings(set MailSettings) error {
	data, err := json.Marshal(set)
	if err != nil {
		return err
	}
	return durable.WriteFile(h.paths.MailSettings(), append(data, '\n'))
}

// byTag are the services whose addresses have a tag, the first of each.
func (s *services) byTag() (map[string]*catalog.Entry, error) {
	all := map[string]*catalog.Entry{}
	for _, id := range s.ids() {
		e, err := s.entry(id)
		if err != nil {
			return nil, err
		}
		if tag, ok := e.MailTag.Get(); ok && tag != "" && all[tag] == nil {
			all[tag] = e
		}
	}
	return all, nil
}

func (s *services) tags() ([]string, error) {
	all, err := s.byTag()
	return slices.Sorted(maps.Keys(all)), err
}

// MailAddress is a fresh address of a wallet's, for one sign-up.
type MailAddress struct {
	Address string            `json:"address"`
	Service agentkeys.Service `json:"service"`
	Wallet  agentkeys.Wallet  `json:"wallet"`
	Agent   agentkeys.Agent   `json:"agent,omitzero"`
	// SMTP is where mail for it is taken, if that is this process.
	SMTP string `json:"smtp,omitempty"`
}

// MailAddress makes an address that nobody else can guess. Nothing is kept of
// it: what comes for it says itself whose it is.
func (h *Host) MailAddress(svc agentkeys.Service, label agentkeys.Agent) (MailAddress, error) {
	wallet, err := h.mailWallet(label)
	if err != nil {
		return MailAddress{}, err
	}
	e, err := h.cat.entry(svc)
	if err != nil {
		return MailAddress{}, err
	}
	tag, ok := e.MailTag.Get()
	if !ok || tag == "" {
		return MailAddress{}, fmt.Errorf("%w: %s has no mail_tag in the catalogue", ErrNoTag, svc)
	}
	if h.mail.dir != nil && !slices.Contains(h.mail.tags, tag) {
		return MailAddress{}, fmt.Errorf("%w yet: mail for a service that was added counts after the next start", ErrNoTag)
	}
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return MailAddress{}, err
	}
	a, err := mailroute.NewAddress(tag, wallet, h.now(), binary.BigEndian.Uint64(random[:]))
	if err != nil {
		return MailAddress{}, err
	}
	return MailAddress{Address: a.At(h.mail.Domain), Service: svc, Wallet: wallet, Agent: label, SMTP: h.mail.addr}, nil
}

// mailWallet is the wallet of an agent, or the owner's, where mail comes to it.
func (h *Host) mailWallet(label agentkeys.Agent) (agentkeys.Wallet, error) {
	switch {
	case h.mail.err != nil:
		return agentkeys.Wallet{}, fmt.Errorf("%w: %w", ErrNoMail, h.mail.err)
	case h.mail.Mail == nil:
		return agentkeys.Wallet{}, ErrNoMail
	case label.IsZero():
		return h.wallet, nil
	}
	if err := h.manage(); err != nil {
		return agentkeys.Wallet{}, err
	}
	a, ok := h.dir.Agent(label)
	if !ok {
		return agentkeys.Wallet{}, fmt.Errorf("%w: %s", book.ErrUnknownAgent, label)
	}
	return a.Wallet, nil
}
