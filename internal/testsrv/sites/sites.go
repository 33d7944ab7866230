// Package sites plays the pages of services over real sockets: sign-up with a
// mail, sign-in, and a page of keys, in the shape that is documented or was
// seen, with sessions, form tokens, rate limits and, on request, a bot check.
// It serves tests and the demo command; nothing else in production may import
// it. It depends on the standard library and package testsrv only, and not on
// testing.
//
// A site is a plan: hosts, looks and routes. The table plans has one line a
// service, the table variants one for each thing that a hostile or broken site
// does otherwise.
//
// Known divergences from the live services: what is not documented (most markup
// and every path behind a page) is made up here, and says nothing about them.
package sites

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/litentry/agentkeys/internal/testsrv"
)

// plans holds what is played, by id of the catalogue.
var plans = map[string]func() *plan{
	"openrouter": openRouter,
	"anthropic":  anthropic,
	"groq":       groq,

	"brave-search": brave,
	"jina":         jina,
	"gemini":       gemini,
}

// variants returns what a site does otherwise, by name.
var variants = sync.OnceValue(hostile)

// Variant names what a site does otherwise; "" is the good one.
type Variant string

// variant is a hostile or broken way of a site. Nil fields change nothing.
type variant struct {
	hosts []string // more names for the certificate
	// plan changes hosts, routes and looks before the site starts.
	plan func(*plan)
	// serve stands around every request; next is the good site.
	serve func(s *Site, next http.Handler) http.Handler
	// post turns one letter into those that are sent, in order.
	post func(s *Site, l Letter) []Letter
}

// Options say what a Site is. Only Service is needed.
type Options struct {
	Service string // id of the catalogue
	Addr    string // where to listen, 127.0.0.1:0 if empty
	// Post takes the letters of the site. Without it a sign-up fails.
	Post    func(context.Context, Letter) error
	Variant Variant
	Bot     bool // forms that sign up or in want a bot check answered, see Solve
	Phone   bool // a new account is asked for a phone number, see AnswerPhone
	// Rate is how many forms one peer, or one session, may send in a minute; 0
	// stands for 200.
	Rate int
	// Life is how long a link or code counts; 0 stands for ten minutes.
	Life time.Duration
	// Now is the clock; nil: time.Now.
	Now func() time.Time
	// ErrorLog gets what net/http complains about; discarded if nil.
	ErrorLog *log.Logger
}

// Letter is a mail that a site sends.
type Letter struct {
	From, To, Subject, Text, HTML string
}

// Site is a service whose pages can be visited.
type Site struct {
	opts    Options
	plan    *plan
	variant variant
	hosts   []string
	caPEM   []byte
	addr    netip.AddrPort
	http    *http.Server
	mux     map[string]*http.ServeMux // by host

	ctx    context.Context // ends with the Site
	cancel context.CancelFunc
	served sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	accounts []*account
	sessions map[digest]*session
	spent    map[digest]bool // sessions that somebody signed in from
	tickets  []*ticket
	keys     []*key
	checks   map[string]*check
	robots   int
	visits   []Visit
	work     []Work
	rates    map[string]*rate
	consents map[digest]consent
	holds    []*Held
}

// Start makes a Site that listens by the time it returns.
func Start(opts Options) (*Site, error) {
	made, ok := plans[opts.Service]
	if !ok {
		return nil, fmt.Errorf("sites: %q is not played", opts.Service)
	}
	var v variant
	if opts.Variant != "" {
		if v, ok = variants()[opts.Variant]; !ok {
			return nil, fmt.Errorf("sites: there is no variant %q", opts.Variant)
		}
	}
	if opts.Addr == "" {
		opts.Addr = "127.0.0.1:0"
	}
	if opts.Rate <= 0 {
		opts.Rate = 200
	}
	if opts.Life <= 0 {
		opts.Life = 10 * time.Minute
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.ErrorLog == nil {
		opts.ErrorLog = log.New(io.Discard, "", 0)
	}
	if opts.Post == nil {
		opts.Post = func(context.Context, Letter) error { return errors.New("sites: nobody takes the mail") }
	}
	p := made()
	if v.plan != nil {
		v.plan(p)
	}
	s := &Site{
		opts: opts, plan: p, variant: v, mux: map[string]*http.ServeMux{},
		sessions: map[digest]*session{}, spent: map[digest]bool{}, checks: map[string]*check{}, rates: map[string]*rate{}, consents: map[digest]consent{},
	}
	s.hosts = slices.Compact(slices.Sorted(slices.Values(slices.Concat(p.hosts, v.hosts, []string{checkHost}))))
	if p.api != "" && !slices.Contains(s.hosts, p.api) {
		s.hosts = append(s.hosts, p.api)
	}
	for _, rt := range slices.Concat(p.routes, checkRoutes()) {
		s.handle(rt)
	}
	return s, s.listen()
}

func (s *Site) listen() error {
	cert, caPEM, err := testsrv.NewCertificate(s.hosts, testsrv.CertGood)
	if err != nil {
		return fmt.Errorf("sites: %w", err)
	}
	ln, err := net.Listen("tcp", s.opts.Addr)
	if err != nil {
		return fmt.Errorf("sites: %w", err)
	}
	s.caPEM, s.addr = caPEM, netip.MustParseAddrPort(ln.Addr().String())
	s.ctx, s.cancel = context.WithCancel(context.Background())
	var handler http.Handler = http.HandlerFunc(s.route)
	if s.variant.serve != nil {
		handler = s.variant.serve(s, handler)
	}
	s.http = &http.Server{
		Handler:           s.seen(handler),
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12},
		ErrorLog:          s.opts.ErrorLog,
		ReadHeaderTimeout: 30 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return s.ctx },
	}
	s.served.Go(func() { _ = s.http.ServeTLS(ln, "", "") })
	return nil
}

// Addr is where the Site listens: every one of its hosts is found there.
func (s *Site) Addr() netip.AddrPort { return s.addr }

// CAPEM is the certificate of the authority that signed the Site's. Its key is
// gone: it can sign nothing else.
func (s *Site) CAPEM() []byte { return slices.Clone(s.caPEM) }

// Hosts are the names that the certificate is good for, sorted.
func (s *Site) Hosts() []string { return slices.Sorted(slices.Values(s.hosts)) }

// Senders are the domains that the Site's letters come from.
func (s *Site) Senders() []string { return slices.Sorted(maps.Keys(s.plan.senders)) }

// BaseURL is where the API that the Site plays itself answers, "" if its keys
// are for testsrv. See KeyLabel.
func (s *Site) BaseURL() string {
	if s.plan.api == "" {
		return ""
	}
	return "https://" + s.addr.String() + s.plan.apiBase
}

// Close stops listening, cuts every connection and waits for the handlers.
func (s *Site) Close() error {
	s.cancel()
	s.mu.Lock()
	s.closed = true
	for _, h := range s.holds {
		h.Release()
	}
	s.mu.Unlock()
	err := s.http.Close()
	s.served.Wait()
	return err
}
