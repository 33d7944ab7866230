package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/control"
	"github.com/litentry/agentkeys/internal/local"
	"github.com/litentry/agentkeys/internal/mailbox"
	"github.com/litentry/agentkeys/internal/mailhead"
	"github.com/litentry/agentkeys/internal/mailroute"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/verifymail"
)

// extracted is what a message gives to a sign-up, or why it gives nothing.
type extracted struct {
	Decision string              `json:"decision"` // extract or refuse
	Kind     verifymail.Kind     `json:"kind,omitempty"`
	Link     string              `json:"link,omitempty"`
	Code     string              `json:"code,omitempty"`
	Host     string              `json:"host,omitempty"`
	Reason   verifymail.Reason   `json:"reason,omitempty"`
	Detail   string              `json:"detail,omitempty"`
	Verdicts verifymail.Verdicts `json:"verdicts"`
}

// extractFlags are what `mail extract` is asked.
type extractFlags struct {
	service, to, receiver, notBefore string
	senders, linkHosts               []string
	reveal                           bool
}

func (a *app) mailExtractCmd() *cobra.Command {
	var f extractFlags
	c := &cobra.Command{
		Use: "extract FILE", Short: "Take the link or code out of a stored message", Args: cobra.ExactArgs(1),
		Long: `Take the verification link or code out of the stored message in FILE, or on
standard input if it is -, as a sign-up would; or say why it gives none. The
message counts only if it is for the address that was made for the sign-up, if
its sender is one of the service's and proved it by DKIM, and if its link leads
to a host of the service's. What the receiver found of it is read from the
block on its top only.

Senders and hosts are those of the service file, unless they are given here.
A message that is refused ends with exit code 5. The link or code is masked
unless --reveal is given.`,
		Example: `  agentkeys mail extract message.eml --service openrouter --to or-0x0123456789abcdef0123456789abcdef01234567-179531280012345678@agents.example
  agentkeys mail extract - --service groq --sender groq.example --link-host login.groq.example --to gr-0x0123456789abcdef0123456789abcdef01234567-179531280012345678@agents.example --json`,
		RunE: func(cmd *cobra.Command, args []string) error { return a.mailExtract(cmd, f, args[0]) },
	}
	fl := c.Flags()
	fl.StringVar(&f.service, "service", "", "the `SERVICE` that is signed up for")
	fl.StringVar(&f.to, "to", "", "the `ADDRESS` that was made for the sign-up")
	fl.StringArrayVar(&f.senders, "sender", nil, "the service sends from this `DOMAIN`, or below it; repeat for more")
	fl.StringArrayVar(&f.linkHosts, "link-host", nil, "its link leads to this `HOST`; repeat for more")
	fl.StringVar(&f.receiver, "receiver", "", receiverHelp)
	fl.StringVar(&f.notBefore, "not-before", "", "refuse what was received before this `TIME`, as 2026-11-22T10:00:00Z")
	fl.BoolVar(&f.reveal, "reveal", false, "show the link or code")
	_ = c.RegisterFlagCompletionFunc("service", func(c *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
		return a.completeServices(c, nil, word)
	})
	return c
}

func (a *app) mailExtract(cmd *cobra.Command, f extractFlags, file string) error {
	if f.service == "" || f.to == "" {
		return usage(cmd, errors.New("--service and --to say which message is wanted, and one is missing"))
	}
	svc, err := agentkeys.ParseService(f.service)
	if err != nil {
		return err
	}
	var q verifymail.Query
	if q.To, q.Domain, err = mailroute.ParseAddress(f.to); err != nil {
		return usage(cmd, errors.New("--to is no address of a wallet: write it as 'agentkeys mail address' has it"))
	}
	if f.notBefore != "" {
		if q.NotBefore, err = time.Parse(time.RFC3339, f.notBefore); err != nil {
			return usage(cmd, fmt.Errorf("--not-before %q: write it as 2026-11-22T10:00:00Z", f.notBefore))
		}
	}
	var given []string
	if f.receiver != "" {
		given = []string{f.receiver}
	}
	receivers, err := parseReceivers(given)
	if err != nil {
		return usage(cmd, err)
	}
	rules, err := a.extractRules(svc, f)
	if err != nil {
		return err
	}
	msg, err := a.readMessage(file)
	if err != nil {
		return err
	}
	defer clear(msg)
	rules.Receiver = stampedBy(msg, receivers)
	res, err := verifymail.Extract(msg, q, rules)
	no, refused := errors.AsType[*verifymail.Refusal](err)
	switch {
	case refused && no.Reason == verifymail.BadRules:
		return failWith(exitUsage, "usage", fmt.Errorf("no message can be what is asked for: %s", no.Detail), "see 'agentkeys mail extract --help', and the mail part of the service file")
	case refused:
		out := extracted{Decision: "refuse", Reason: no.Reason, Detail: no.Detail, Verdicts: verifymail.Verdict(msg, rules.Receiver)}
		if err := a.print(out, func() { a.printVerdicts(out.Verdicts) }); err != nil {
			return err
		}
		return failWith(exitRefused, "mail-refused", fmt.Errorf("the message is refused (%s): %s", no.Reason, mailbox.Words(no, svc)), mailbox.Fix(no.Reason))
	case err != nil:
		return err
	}
	defer res.Link.Clear()
	defer res.Code.Clear()
	out := extracted{Decision: "extract", Kind: res.Kind, Host: res.Host, Verdicts: res.Verdicts}
	switch {
	case res.Kind == verifymail.Link && f.reveal:
		out.Link = string(res.Link.Expose())
	case res.Kind == verifymail.Link:
		out.Link = "https://" + res.Host + "/" + secret.Redaction
	case f.reveal:
		out.Code = string(res.Code.Expose())
	default:
		out.Code = secret.Redaction
	}
	return a.print(out, func() {
		fmt.Fprintf(a.stdout, "%s: %s\n", out.Kind, printable(out.Link+out.Code))
		a.printVerdicts(out.Verdicts)
		if !f.reveal {
			a.hint("  --reveal shows it")
		}
	})
}

// printVerdicts says what the receiver found, in one line.
func (a *app) printVerdicts(v verifymail.Verdicts) {
	if !v.Received {
		fmt.Fprintln(a.stdout, "  no receiver that is believed has stamped it")
		return
	}
	var parts []string
	add := func(name, verdict string) {
		if verdict != "" {
			parts = append(parts, name+" "+printable(verdict))
		}
	}
	add("from", v.From)
	add("spf", v.SPF)
	if len(v.DKIM) == 0 {
		add("dkim", "none")
	} else {
		add("dkim", strings.Join(v.DKIM, " "))
	}
	if v.Aligned {
		parts = append(parts, "aligned")
	} else {
		parts = append(parts, "not aligned")
	}
	add("dmarc", v.DMARC)
	add("spam", v.Spam)
	add("virus", v.Virus)
	fmt.Fprintf(a.stdout, "  %s\n", strings.Join(parts, ", "))
}

// extractRules are those of the service file, and of the flags instead.
func (a *app) extractRules(svc agentkeys.Service, f extractFlags) (verifymail.Rules, error) {
	e, err := a.serviceEntry(svc)
	if err != nil {
		return verifymail.Rules{}, classifyService(err)
	}
	rules, err := local.MailRules(e, mailhead.Receiver{}, local.MailHints{Senders: f.senders, LinkHosts: f.linkHosts})
	if errors.Is(err, local.ErrMailFacts) {
		return rules, failWith(exitNotFound, control.CodeUnknown, err, "name the sender's domain with --sender and the link's host with --link-host, or both in the mail part of a service file: docs/reference/catalogue.md")
	}
	return rules, err
}

// serviceEntry is what the catalogue or a service file of the user's says.
func (a *app) serviceEntry(svc agentkeys.Service) (*catalog.Entry, error) {
	p, err := a.paths()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(p.Services(), svc.String()+".yaml")
	data, err := os.ReadFile(path)
	switch {
	case isMissing(err):
		return catalog.Lookup(svc)
	case err != nil:
		return nil, err
	}
	e, err := catalog.Parse(path, data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", local.ErrConfig, err)
	}
	return e, nil
}

// readMessage reads a stored message, and one byte more than is looked at of
// one that is too large.
func (a *app) readMessage(name string) ([]byte, error) {
	r, size, done, err := a.openMessage(name, verifymail.MaxMessage+1)
	if err != nil {
		return nil, err
	}
	defer done()
	msg := make([]byte, min(size, verifymail.MaxMessage+1))
	if n, err := r.ReadAt(msg, 0); n < len(msg) {
		return nil, messageError(name, err)
	}
	return msg, nil
}

// stampedBy is the receiver whose block stands on top of a message: the first
// of several, if it is none of theirs.
func stampedBy(msg []byte, receivers []mailhead.Receiver) mailhead.Receiver {
	head := mailhead.Parse(msg, true)
	for _, rc := range receivers {
		if _, ok := head.Top(rc); ok {
			return rc
		}
	}
	return receivers[0]
}
