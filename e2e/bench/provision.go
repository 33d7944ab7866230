package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/chrome"
	"github.com/litentry/agentkeys/internal/control"
	"github.com/litentry/agentkeys/internal/local"
	"github.com/litentry/agentkeys/internal/mailbox"
	"github.com/litentry/agentkeys/internal/provision"
	"github.com/litentry/agentkeys/internal/testsrv"
	"github.com/litentry/agentkeys/internal/testsrv/dns"
	"github.com/litentry/agentkeys/internal/testsrv/postman"
	"github.com/litentry/agentkeys/internal/testsrv/sites"
)

// provision compares a sign-up with a bare script of the same clicks, says
// where its time goes, and what a look and the way through the proxy cost.
func (b *bench) provision() error {
	dir, err := os.MkdirTemp("", "agentkeys-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o711); err != nil { // the browser runs as somebody else where we are root
		return err
	}
	if err := b.signups(dir); err != nil {
		return err
	}
	return b.pages(dir)
}

// signups measures sign-ups at the played OpenRouter.
func (b *bench) signups(dir string) error {
	w, err := b.world(dir)
	if err != nil {
		return err
	}
	defer w.stop()
	var ours, theirs []sample
	for round := range b.rounds + 1 {
		both := []func() error{
			func() error { s, err := w.ours(b.ctx, dir); ours = append(ours, s); return err },
			func() error { s, err := w.script(b.ctx, dir); theirs = append(theirs, s); return err },
		}
		if round%2 == 1 {
			both[0], both[1] = both[1], both[0]
		}
		for _, run := range both {
			if err := run(); err != nil {
				return fmt.Errorf("round %d: %w", round, err)
			}
		}
	}
	ours, theirs = ours[1:], theirs[1:] // the first warmed the disk
	pick := func(list []sample, f func(sample) float64) (out []float64) {
		for _, s := range list {
			out = append(out, f(s))
		}
		return out
	}
	against := func(name, unit, goal string, f func(sample) float64) {
		b.add("sign-up: "+name, unit, "bare script", goal, pick(ours, f), pick(theirs, f))
	}
	against("without the browser's start", "ms", "≤ 1.10", func(s sample) float64 { return s.wall() - s.start })
	against("whole", "ms", "≤ 1.10", sample.wall)
	against("the browser's start", "ms", "–", func(s sample) float64 { return s.start })
	against("processor time, all processes", "ms", "–", func(s sample) float64 { return s.cpu })
	whole := pick(ours, sample.wall)
	for _, p := range []struct {
		name, goal string
		of         kind
	}{{"browser", "–", inBrowser}, {"site", "–", inSite}, {"mail", "–", inMail}, {"between looks", "–", betweenLooks}, {"ours", "< 0.10", rest}} {
		b.add("sign-up: of its time, "+p.name, "ms", "the whole", p.goal, pick(ours, func(s sample) float64 { return s.split[p.of] }), whole)
	}
	poll := float64(mailbox.FirstPoll.Milliseconds())
	b.add("sign-up: mail, from the site to the run", "ms", "one poll", "≤ 1", pick(ours, func(s sample) float64 { return s.mail }), pick(ours, func(sample) float64 { return poll }))
	return nil
}

// sample is one sign-up, in ms.
type sample struct {
	split [kinds]float64
	start float64 // of the browser
	mail  float64 // from the moment at which the site sends it
	cpu   float64
}

func (s sample) wall() (sum float64) {
	for _, v := range s.split {
		sum += v
	}
	return sum
}

// world is what sign-ups take: a played service with its API, a background
// process that takes mail, and the way of the mail to it.
type world struct {
	site   *sites.Site
	daemon *served
	client *control.Client
	entry  *catalog.Entry
	paths  local.Paths
	watch  *watch
	mails  chan sites.Letter // to the bare script
	names  int
	closes []func()
}

func (w *world) stop() {
	for i := len(w.closes) - 1; i >= 0; i-- {
		w.closes[i]()
	}
}

const benchHost = "@bare.example" // where the bare script gets its mail

func (b *bench) world(dir string) (w *world, err error) {
	w = &world{mails: make(chan sites.Letter, 8), watch: newWatch()}
	defer func() {
		if err != nil {
			w.stop()
		}
	}()
	names, err := dns.Start()
	if err != nil {
		return w, err
	}
	w.closes = append(w.closes, func() { _ = names.Close() })
	var post *postman.Postman
	w.site, err = sites.Start(sites.Options{Service: "openrouter", Rate: 1 << 20, Post: func(ctx context.Context, l sites.Letter) error {
		if strings.HasSuffix(l.To, benchHost) {
			w.mails <- l
			return nil
		}
		w.watch.posted()
		defer w.watch.begin(inMail)()
		return post.Post(ctx, l)
	}})
	if err != nil {
		return w, err
	}
	w.closes = append(w.closes, func() { _ = w.site.Close() })
	api, err := testsrv.Start(testsrv.Options{Shape: testsrv.OpenRouter, Keyring: w.site.KeyLabel})
	if err != nil {
		return w, err
	}
	w.closes = append(w.closes, func() { _ = api.Close() })
	exe, err := b.build(dir, "agentkeys", "./cmd/agentkeys")
	if err != nil {
		return w, err
	}
	port, err := freePort()
	if err != nil {
		return w, err
	}
	if w.daemon, err = startServed(exe, dir, "--mail-resolver", names.Addr(), "--port", port); err != nil {
		return w, err
	}
	w.closes = append(w.closes, w.daemon.stop)
	if post, err = postman.New(names, func() string { return w.daemon.smtp }, w.site.Senders()...); err != nil {
		return w, err
	}
	ca := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(ca, append(w.site.CAPEM(), api.CAPEM()...), 0o600); err != nil {
		return w, err
	}
	host := strings.SplitN(strings.TrimPrefix(api.BaseURL(), "https://"), "/", 2)[0]
	if _, err := w.daemon.run("", "services", "set", "openrouter", "--base-url", api.BaseURL(), "--ca", ca, "--allow-address", host, "--site-address", w.site.Addr().String()); err != nil {
		return w, err
	}
	w.paths, err = local.PathsFrom(func(name string) string {
		if name == "AGENTKEYS_HOME" {
			return w.daemon.home
		}
		return ""
	})
	if err != nil {
		return w, err
	}
	w.client = control.NewClient(w.paths.Control())
	w.entry, err = local.ReadEntry(w.paths, agentkeys.Must(agentkeys.ParseService("openrouter")))
	return w, err
}

// freePort is one that nobody listens on now.
func freePort() (string, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return fmt.Sprint(netip.MustParseAddrPort(l.Addr().String()).Port()), nil
}

// ours is a run as the command does it: vault, mail and audit log in the
// background process, the engine and the browser here.
func (w *world) ours(ctx context.Context, dir string) (sample, error) {
	var s sample
	svc := w.entry.ID
	journal, err := os.MkdirTemp(dir, "run-")
	if err != nil {
		return s, err
	}
	// Nothing is left of the run before: this one registers anew.
	_ = w.client.RemoveDrawer(ctx, svc, local.Drawer(provision.Account))
	_ = w.client.Remove(ctx, svc, true)
	before := used() + cpu(w.daemon.pid)/1e3
	watch := w.watch
	watch.reset()
	k := kept{w.client, watch}
	var took time.Duration
	var browser float64
	run := &provision.Run{
		Service: svc, Entry: w.entry, Vault: k, Log: k, Dir: journal, Now: time.Now,
		Doors: []provision.Door{&provision.Signup{
			Entry: w.entry, Vault: k, Post: k,
			Terms: func(ctx context.Context) (provision.Opening, error) {
				t, err := w.client.Terms(ctx, svc)
				return provision.Opening{Open: t.Open, Why: t.Why}, err
			},
			Ready:  func() error { _, err := chrome.Find(); return err },
			Timing: watch.stepped,
			Launch: func(ctx context.Context, r *catalog.Recipe) (provision.Browser, error) {
				began := time.Now()
				defer watch.begin(inBrowser)()
				b, err := chrome.Launch(ctx, chrome.Options{
					Hosts: r.Hosts, Site: w.entry.Owner.SiteAddress, CAPEM: []byte(w.entry.Owner.CAPEM), Dir: w.paths.Browser(),
				})
				took = time.Since(began)
				return watched{b, watch, &browser}, err
			},
		}},
	}
	began := time.Now()
	res, err := run.Do(ctx)
	ended := time.Now()
	if err == nil && res.Verdict != catalog.Good {
		err = errors.New("the key is not good")
	}
	if err != nil {
		return s, fmt.Errorf("our sign-up: %w", err)
	}
	s.split = watch.split(w.site.Busy(), began, ended)
	s.start, s.mail = float64(took.Microseconds())/1e3, watch.mail()
	s.cpu = used() + cpu(w.daemon.pid)/1e3 + browser - before
	return s, nil
}
