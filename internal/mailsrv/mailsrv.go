// Package mailsrv joins the parts of a mail server as its configuration names
// them: the SMTP receiver, the store, the router, the audit log, metrics. It
// parses nothing itself, and decides nothing but when a message is tried again.
// Like all that handles arrived mail it cannot decrypt, and it reads no inbox.
//
// Laws:
//   - What was accepted is in the store, durable, before its sender is told;
//     the rest is memory, which may be lost at any moment: a start sweeps.
//   - Nothing of a mail is logged but its id, and what was decided about it.
package mailsrv

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/dirmail"
	"github.com/litentry/agentkeys/internal/durable"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/mailconf"
	"github.com/litentry/agentkeys/internal/mailhead"
	"github.com/litentry/agentkeys/internal/mailroute"
	"github.com/litentry/agentkeys/internal/mailrouter"
	"github.com/litentry/agentkeys/internal/mailstore"
	"github.com/litentry/agentkeys/internal/servicelog"
	"github.com/litentry/agentkeys/internal/smtpin"
	"github.com/litentry/agentkeys/internal/webserve"
)

// Store is where mail is received into and sorted.
type Store interface {
	mailstore.Arrived
	mailstore.Spool
}

// Options are what the configuration does not say.
type Options struct {
	Log     *slog.Logger
	Now     func() time.Time
	Version string
	// Tags are those of the catalogue, for a configuration that names none.
	Tags []string
	// Bucket opens a store that is a bucket; nil: there are none.
	Bucket func(ctx context.Context, c *mailconf.S3) (Store, error)
	// Recorder, if it is not nil, keeps the entries in the place of a log of
	// this server's own: the configuration then needs no directory for it.
	Recorder Recorder
	// HangUp is how long senders have to end what they are at when the server
	// stops; zero is 20 s. They keep what was not acknowledged. Who sends nothing
	// is not waited for.
	HangUp time.Duration
}

// Recorder keeps entries for good, as a grant.Recorder does.
type Recorder interface {
	Record(ctx context.Context, e grant.Event) error
}

const (
	// patience bounds one try of a message. It copies as much as MaxMessage.
	patience = 2 * time.Minute
	// hangUp is Options.HangUp unless it says otherwise, and grace how long what
	// was sent has to be sorted after that.
	hangUp, grace = 20 * time.Second, 10 * time.Second
)

// Server is a mail server that has its parts and listens.
type Server struct {
	smtp    *smtpin.Server
	ln      net.Listener
	web     *webserve.Server // nil: none
	office  *office
	sweeper *sweeper
	room    *room
	keeper  *keeper    // nil: somebody else ends mail
	broken  chan error // why nothing can be stored until the next start
	log     *slog.Logger
	hangUp  time.Duration
	closers []func() error
	// walk goes through what waits in a directory; nil: it is a bucket.
	walk func(context.Context) iter.Seq2[mailstore.Item, error]
}

// Open opens every part that c names and listens. On an error all that was
// opened is closed again.
func Open(ctx context.Context, c *mailconf.Config, o Options) (_ *Server, err error) {
	s := &Server{log: o.Log, hangUp: cmp.Or(o.HangUp, hangUp), broken: make(chan error, 1)}
	limits := c.Limits.Filled()
	defer func() {
		if err != nil {
			_ = s.close()
		}
	}()
	rules := mailroute.Rules{Domains: c.Domains, Tags: c.Tags, Receivers: []mailhead.Receiver{mailhead.Host(c.Hostname)}}
	if len(rules.Tags) == 0 {
		rules.Tags = o.Tags
	}
	routes, err := mailroute.New(rules)
	if err != nil {
		return nil, err
	}
	m := newMetrics(o.Version)
	store, err := s.openStore(ctx, c, o, m)
	if err != nil {
		return nil, err
	}
	store = watched{store, s.broken}
	if c.Spool != "" {
		if err := errors.Join(durable.MkdirAll(c.Spool), sweepSpool(c.Spool, o.Now())); err != nil {
			return nil, fmt.Errorf("spool: %w", err)
		}
	}
	s.room = roomOf(c, limits)
	checks := []webserve.Check{{Name: "room", Try: s.room.check}}
	recorder := o.Recorder
	if recorder == nil {
		log, err := servicelog.Open(c.Audit, "agentkeys/mail/"+c.Hostname, o.Now)
		if err != nil {
			return nil, err
		}
		s.onClose(log.Close)
		recorder = log
		m.entries(log.Size)
		checks = append(checks, webserve.Check{Name: "audit", Try: func(context.Context) error { return log.Err() }})
	}
	router, err := mailrouter.New(mailrouter.Options{
		Store: store, Rules: routes, Record: record(recorder, m), RemoveSource: true, Now: o.Now, Limits: routerLimits(limits),
	})
	if err != nil {
		return nil, err
	}
	s.office = newOffice(sorter{router, o.Log}.handle, o.Now, o.Log)
	m.office(s.office)
	s.sweeper = &sweeper{
		waiting: store.Waiting, walk: s.walk, office: s.office, every: sweepEvery, missed: missedAfter,
		done: func(found int) {
			m.swept.Add(float64(found))
			if found > 0 {
				o.Log.Info("swept", "found", found)
			}
		},
		failed: func(err error) { o.Log.Warn("the store cannot be listed", "err", err) },
	}
	config, err := s.receiver(c, o, limits, store, rules.Tags, m)
	if err != nil {
		return nil, err
	}
	if s.smtp, err = smtpin.New(config); err != nil {
		return nil, err
	}
	checks = append(checks, webserve.Check{Name: "store", Try: func(ctx context.Context) error {
		_, err := store.Waiting(ctx, agentkeys.MessageID{}, 1)
		return err
	}})
	return s, s.listen(c, o, m, checks)
}

func (s *Server) openStore(ctx context.Context, c *mailconf.Config, o Options, m *metrics) (Store, error) {
	if c.Store.S3 != nil {
		if o.Bucket == nil {
			return nil, errors.New("store.s3: buckets cannot be opened here")
		}
		return o.Bucket(ctx, c.Store.S3)
	}
	dir, err := dirmail.Open(c.Store.Directory)
	if err != nil {
		return nil, fmt.Errorf("store.directory: %w", err)
	}
	s.onClose(dir.Close)
	s.walk = dir.WalkWaiting
	s.keeper = &keeper{dir: dir, days: c.Keep.MailDays, now: o.Now, log: o.Log, pruned: func(n int) { m.pruned.Add(float64(n)) }}
	return dir, nil
}

func (s *Server) receiver(c *mailconf.Config, o Options, limits mailconf.Limits, store mailstore.Spool, tags []string, m *metrics) (smtpin.Config, error) {
	door := newDoor(limits, tags, o.Now, m.held)
	config := smtpin.Config{
		Hostname: c.Hostname, Domains: c.Domains, Busy: door.busy, Take: door.take, Room: s.room.left, Spool: store, TempDir: c.Spool,
		MaxMessage: limits.MessageBytes, Limits: receiverLimits(limits), Log: o.Log, Now: o.Now,
		Deliver: func(_ context.Context, id agentkeys.MessageID, recipient string) error {
			m.received.Inc()
			s.office.take(id, []string{recipient})
			return nil
		},
	}
	if c.Recipients == mailconf.Wallets {
		config.Accept = door.accept
	}
	if c.Resolver != "" {
		config.Resolver = resolver(c.Resolver)
	}
	if c.TLS != nil {
		cert, err := webserve.LoadCertificate(c.TLS.Cert, c.TLS.Key)
		if err != nil {
			return config, fmt.Errorf("tls: %w", err)
		}
		config.TLS = cert.Config()
	}
	return config, nil
}

// resolver asks one server, whatever the system is set to.
func resolver(address string) *net.Resolver {
	return &net.Resolver{PreferGo: true, StrictErrors: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, address)
	}}
}

func (s *Server) onClose(f func() error) { s.closers = append(s.closers, f) }

func (s *Server) listen(c *mailconf.Config, o Options, m *metrics, checks []webserve.Check) error {
	ln, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("listen = %q: %w", c.Listen, err)
	}
	s.onClose(ln.Close)
	s.ln = ln
	if c.MetricsListen == "" {
		return nil
	}
	web, err := net.Listen("tcp", c.MetricsListen)
	if err != nil {
		return fmt.Errorf("metrics_listen = %q: %w", c.MetricsListen, err)
	}
	s.onClose(web.Close)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", m.web.Handler())
	mux.HandleFunc("GET /healthz", webserve.Health)
	mux.HandleFunc("GET /readyz", webserve.Ready(webserve.Options{Log: o.Log}, checks...))
	s.web = &webserve.Server{Listener: web, Handler: mux, Log: o.Log}
	return nil
}

// Addr is where mail is received.
func (s *Server) Addr() net.Addr { return s.ln.Addr() }

// MetricsAddr is where metrics are served; nil: nowhere.
func (s *Server) MetricsAddr() net.Addr {
	if s.web == nil {
		return nil
	}
	return s.web.Listener.Addr()
}

// Serve serves until ctx ends; then what senders are at ends first, what they
// sent is sorted as far as there is time, and the parts are closed.
func (s *Server) Serve(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	// Mail is sorted for as long as it is received, and a little longer.
	background, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	until, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	var wg sync.WaitGroup
	wg.Go(func() { s.office.run(background, until) })
	wg.Go(func() { s.sweeper.run(ctx) })
	if s.keeper != nil {
		wg.Go(func() { s.keeper.run(ctx) })
	}
	served := make(chan error, 1)
	go func() {
		served <- s.smtp.Serve(s.ln)
		stop() // if one fails, all end
	}()
	watched := make(chan error, 1)
	if s.web == nil {
		watched <- nil
	} else {
		go func() {
			watched <- s.web.Serve(ctx)
			stop()
		}()
	}
	var broken error
	select {
	case <-ctx.Done():
	case broken = <-s.broken:
		stop()
	}
	polite, hurry := context.WithTimeout(context.WithoutCancel(ctx), s.hangUp)
	defer hurry()
	err := s.smtp.Shutdown(polite)
	if errors.Is(err, context.DeadlineExceeded) {
		err = nil // senders who would not end: they keep what was not acknowledged
	}
	last := time.AfterFunc(grace, cut)
	defer last.Stop()
	end()
	wg.Wait()
	return errors.Join(broken, err, <-served, <-watched, s.close())
}

func (s *Server) close() error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		if err := s.closers[i](); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	s.closers = nil
	return errors.Join(errs...)
}
