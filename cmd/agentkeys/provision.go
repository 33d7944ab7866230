package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/chrome"
	"github.com/litentry/agentkeys/internal/control"
	"github.com/litentry/agentkeys/internal/daemon"
	"github.com/litentry/agentkeys/internal/local"
	"github.com/litentry/agentkeys/internal/provision"
	"github.com/litentry/agentkeys/internal/provision/har"
	"github.com/litentry/agentkeys/internal/provision/recipe"
	"github.com/litentry/agentkeys/internal/verifymail"
)

// provisioning is one call of `agentkeys provision`.
type provisioning struct {
	a      *app
	paths  local.Paths
	client *control.Client

	door, browser, attach, har, shots, replay string
	headed, plan, force, resume               bool
	shot                                      bool // a picture was told of, or why there is none
	hints                                     local.MailHints
}

func (a *app) provisionCmd() *cobra.Command {
	p := &provisioning{a: a}
	c := &cobra.Command{
		Use: "provision SERVICE", Short: "Get a key by the best way the service has", Args: cobra.MaximumNArgs(1),
		Long: `Get a credential for a service by the best of its doors that is open here:

  federate  a token of your broker is exchanged: there is no key at all
  mint      a management key of yours makes a key for each grant
  consent   you agree once on the service's page
  signup    a browser follows the recipe of the service's own pages
  import    you have a key, and paste it

A key counts when the service itself answers for it, and is in the vault before
you hear of it. A run that is interrupted, or that needs you, goes on where it
was: run it again. What only a person may do, such as a bot check, a phone or a
card, is never done for you: --headed shows the window for it.`,
		Example: `  agentkeys provision openrouter
  agentkeys provision openrouter --plan
  agentkeys provision openrouter --door signup --headed
  agentkeys provision --resume`,
		ValidArgsFunction: a.completeServices,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := p.check(cmd, args); err != nil {
				return err
			}
			var err error
			if p.paths, err = a.paths(); err != nil {
				return err
			}
			p.client = control.NewClient(p.paths.Control())
			if len(args) == 0 {
				return p.all(cmd.Context())
			}
			svc, err := agentkeys.ParseService(args[0])
			if err != nil {
				return err
			}
			return p.one(cmd.Context(), svc)
		},
	}
	f := c.Flags()
	f.StringVar(&p.door, "door", "", "take this `DOOR`: federate, mint, consent, signup or import")
	f.BoolVar(&p.plan, "plan", false, "say what would happen, and do nothing")
	f.BoolVar(&p.force, "force", false, "get another key; the one there stays valid at the service")
	f.BoolVar(&p.resume, "resume", false, "go on with a run that did not end; without SERVICE, with all")
	f.BoolVar(&p.headed, "headed", false, "show the browser's window, for what a person has to do")
	f.StringVar(&p.attach, "attach", "", "use a tab of your own browser, at its DevTools `URL` on this machine")
	f.StringVar(&p.browser, "browser", "", "run this `PROGRAM` as the browser")
	f.StringVar(&p.har, "har", "", "write what the browser did to a `FILE`, without what is secret")
	f.StringVar(&p.shots, "shots", "", "keep a picture of each page that stopped the run in a `DIR`")
	f.StringVar(&p.replay, "replay", "", "try the recipe on the pages in a HAR `FILE`; nothing is contacted or kept")
	f.StringArrayVar(&p.hints.Senders, "sender", nil, "the service's mail comes from this `DOMAIN`, or below it")
	f.StringArrayVar(&p.hints.LinkHosts, "link-host", nil, "the link in its mail leads to this `HOST`")
	_ = c.RegisterFlagCompletionFunc("door", cobra.FixedCompletions(doorNames(), cobra.ShellCompDirectiveNoFileComp))
	return c
}

func doorNames() []string {
	var names []string
	for _, d := range catalog.Doors() {
		names = append(names, string(d))
	}
	return names
}

func (p *provisioning) check(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0 && !p.resume:
		return usage(cmd, errors.New("which service? 'agentkeys services' lists them"))
	case p.door != "" && !slices.Contains(doorNames(), p.door):
		return usage(cmd, fmt.Errorf("--door is one of %s", strings.Join(doorNames(), ", ")))
	case p.headed && p.attach != "":
		return usage(cmd, errors.New("--headed opens a window of its own, --attach uses yours: choose one"))
	case p.plan && (p.resume || p.force):
		return usage(cmd, errors.New("--plan does nothing, so there is nothing to resume or force"))
	case p.replay != "" && (p.plan || p.resume || p.force || p.attach != "" || p.har != ""):
		return usage(cmd, errors.New("--replay keeps nothing: it stands alone, or with --headed"))
	}
	// Found later it would be too late: the account is made by then.
	if fault := verifymail.CheckNames(p.hints.Senders, p.hints.LinkHosts); fault != "" {
		return failWith(exitUsage, "usage", fmt.Errorf("%s in --sender or --link-host", fault), "they are names such as mail.example.com, without https:// and paths")
	}
	if p.browser != "" {
		if _, err := exec.LookPath(p.browser); err != nil {
			return failWith(exitUsage, "usage", fmt.Errorf("--browser: no program %s that can be run", p.browser), "name Chromium or Chrome, as its path or as the command that starts it")
		}
	}
	return nil
}

// all goes on with every run that did not end. One that cannot be read keeps no
// other from it.
func (p *provisioning) all(ctx context.Context) error {
	open, damaged, err := provision.States(p.paths.Provision())
	if err != nil {
		return explainProvision(agentkeys.Service{}, err)
	}
	total := len(open) + len(damaged)
	if total == 0 {
		return explainProvision(agentkeys.Service{}, provision.ErrNothing)
	}
	var errs []error
	failed := func(err error) {
		errs = append(errs, err)
		if total > 1 {
			p.a.fail(err)
		}
	}
	for _, err := range damaged {
		failed(explainProvision(agentkeys.Service{}, err))
	}
	for _, s := range open {
		if err := p.one(ctx, s.Service); err != nil {
			failed(err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	switch {
	case ctx.Err() != nil:
		return errInterrupted
	case len(errs) == 0:
		return nil
	case total == 1:
		return errs[0]
	}
	return failWith(classify(errs[0]).exit, "failed", fmt.Errorf("%d of %d runs did not end", len(errs), total), "")
}

func (p *provisioning) one(ctx context.Context, svc agentkeys.Service) error {
	e, err := local.ReadEntry(p.paths, svc)
	if err != nil {
		return classifyService(err)
	}
	if p.replay != "" {
		return explainProvision(svc, p.replayed(ctx, e))
	}
	if _, err := p.client.Status(ctx); err != nil {
		return err
	}
	if err := p.places(); err != nil {
		return err
	}
	daemon.Harden() // a key is about to be in this memory
	k := keep{p.client, e, p.hints, p.a.mailProgress(fmt.Sprintf(phase, "mail", ""), waiting)}
	run := &provision.Run{
		Service: svc, Entry: e, Vault: k, Log: k, Dir: p.paths.Provision(),
		Only: catalog.Door(p.door), Force: p.force, Resume: p.resume, Tell: p.teller(), Now: time.Now,
	}
	done, err := p.doors(run, k)
	if err != nil {
		return err
	}
	if p.plan {
		plan, err := run.Plan(ctx)
		if err != nil {
			return explainProvision(svc, err)
		}
		return p.a.print(plan, func() { p.a.printPlan(e, plan) })
	}
	res, err := run.Do(ctx)
	kept := done()
	if err != nil {
		p.shotless()
		return explainProvision(svc, errors.Join(err, kept))
	}
	if err := p.a.print(res, func() { p.a.printProvisioned(res) }); err != nil {
		return err
	}
	return kept
}

// phase is a line of a run's progress: what goes on, and what there is to say.
const phase = "  %-15s %s"

// teller shows the phases of a run as they come.
func (p *provisioning) teller() provision.Tell {
	if p.a.json {
		return nil
	}
	return func(ph provision.Phase) {
		name := ph.Name
		if ph.Of > 0 {
			name = fmt.Sprintf("%s %d/%d", ph.Name, ph.Step, ph.Of)
		}
		switch {
		case ph.Ended && ph.Took > time.Second:
			fmt.Fprintf(p.a.stderr, phase+"\n", name, "took "+ph.Took.Round(100*time.Millisecond).String())
		case !ph.Ended:
			fmt.Fprintf(p.a.stderr, phase+"\n", name, ph.Note)
		}
	}
}

// launch starts the browser of a sign-up.
func (p *provisioning) launch(e *catalog.Entry, rec *har.Recorder) func(context.Context, *catalog.Recipe) (provision.Browser, error) {
	return func(ctx context.Context, r *catalog.Recipe) (provision.Browser, error) {
		o := chrome.Options{
			Path: p.browser, Headed: p.headed, Attach: p.attach, Hosts: r.Hosts, Dir: p.paths.Browser(),
			Site: e.Owner.SiteAddress, CAPEM: []byte(e.Owner.CAPEM), Record: rec,
		}
		b, err := launched(chrome.Launch(ctx, o))
		if err != nil || p.shots == "" {
			return b, err
		}
		return camera{b, p.noShot}, nil
	}
}

// launched keeps a nil *chrome.Browser from being a Browser.
func launched(b *chrome.Browser, err error) (provision.Browser, error) {
	if err != nil {
		return nil, err
	}
	return b, nil
}

// person shows a person what is wanted in the window, and waits for it.
func (p *provisioning) person(ctx context.Context, need recipe.Need, look func(context.Context) (bool, error)) error {
	what := map[string]string{
		"captcha": "answer the bot check", "card": "enter the card", "phone": "enter the phone number",
		"google-account": "sign in at Google", "support": "write to the service's support", "terms": "read the terms, and decide",
	}[need.What]
	if need.Note != "" {
		what += " (" + need.Note + ")"
	}
	fmt.Fprintf(p.a.stderr, "\n  Your turn: %s in the browser's window, on %s. This goes on by itself then.\n\n", what, need.Host)
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		done, err := look(ctx)
		if done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func (a *app) printProvisioned(r provision.Result) {
	switch {
	case r.Without != "":
		fmt.Fprintf(a.stdout, "%s: %s\n", r.Service, r.Without)
	case r.Existing && r.Verdict == catalog.Good:
		fmt.Fprintf(a.stdout, "%s: there is a key already, and the service says it is good\n", r.Service)
	case r.Existing:
		fmt.Fprintf(a.stdout, "%s: there is a key already (%s); --force gets another\n", r.Service, r.Detail)
	case r.Verdict == catalog.Good:
		fmt.Fprintf(a.stdout, "%s: a key came by %s; the service says it is good, and it is stored (revision %d)\n", r.Service, r.Door, r.Revision)
	case r.Verdict == catalog.Limited:
		fmt.Fprintf(a.stdout, "%s: a key came by %s and is stored; it is good, but: %s (revision %d)\n", r.Service, r.Door, r.Detail, r.Revision)
	default:
		fmt.Fprintf(a.stdout, "%s: a key came by %s and is stored, NOT verified: %s (revision %d)\n", r.Service, r.Door, r.Detail, r.Revision)
	}
	if r.Detail != "" && r.Without != "" {
		fmt.Fprintf(a.stdout, "  %s\n", r.Detail)
	}
	if len(r.Agents) > 0 {
		fmt.Fprintf(a.stdout, "  renewed for: %s\n", strings.Join(r.Agents, ", "))
	}
	if r.Without == "" {
		a.hint("next: agentkeys grant AGENT " + r.Service.String())
	}
}

func (a *app) printPlan(e *catalog.Entry, p provision.Plan) {
	w := a.stdout
	fmt.Fprintf(w, "%s (%s)\n", p.Service, e.Name)
	switch {
	case !p.Stored.Stored:
		fmt.Fprintln(w, "  no key is stored")
	case p.Stored.Detail != "":
		fmt.Fprintf(w, "  a key is stored: %s, %s\n", p.Stored.Verdict, p.Stored.Detail)
	default:
		fmt.Fprintf(w, "  a key is stored: %s\n", p.Stored.Verdict)
	}
	if s := p.Unfinished; s != nil {
		fmt.Fprintf(w, "  a run by %s did not end", s.Door)
		if s.Failure != nil {
			fmt.Fprintf(w, ": %s", stopped(s.Failure))
		}
		fmt.Fprintln(w)
	}
	for _, o := range p.Doors {
		mark := "shut"
		switch {
		case o.Door == p.Take:
			mark = "TAKEN"
		case o.Open:
			mark = "open"
		}
		fmt.Fprintf(w, "\n  %-9s %s", o.Door, mark)
		if o.Why != "" {
			fmt.Fprintf(w, ": %s", o.Why)
		}
		fmt.Fprintln(w)
		if o.Open {
			for _, d := range o.Does {
				fmt.Fprintf(w, "            %s\n", d)
			}
		}
		if len(o.Needs) > 0 && (o.Open || o.Fix != "") {
			fmt.Fprintf(w, "            a person brings: %s\n", strings.Join(o.Needs, ", "))
		}
		if o.Fix != "" && !o.Open {
			fmt.Fprintf(w, "            to open it: %s\n", o.Fix)
		}
	}
	if p.Take == "" {
		fmt.Fprintln(w, "\nNothing would be done.")
	}
}

// stopped says why a run stopped, and where.
func stopped(f *provision.Stopping) string {
	if f.Stage == "" {
		return printable(f.Kind)
	}
	return printable(strings.TrimSpace(fmt.Sprintf("%s at %s %s", f.Kind, f.Stage, f.Step)))
}
