package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/control"
	"github.com/litentry/agentkeys/internal/local"
	"github.com/litentry/agentkeys/internal/mailbox"
	"github.com/litentry/agentkeys/internal/mailroute"
	"github.com/litentry/agentkeys/internal/verifymail"
)

func mailArgument(p mailPlace, arg string) (q local.MailQuery, id agentkeys.MessageID, err error) {
	if q, err = p.query(); err != nil {
		return q, id, err
	}
	if id, err = agentkeys.ParseMessageID(arg); err != nil {
		err = failWith(exitUsage, "usage", err, "'agentkeys mail ls' lists the messages")
	}
	return q, id, err
}

func (a *app) completeMail(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.ask(func(ctx context.Context, c *control.Client) (out []string, err error) {
		list, err := c.Mails(ctx, local.MailQuery{Limit: 20})
		for _, m := range list {
			out = append(out, m.ID.String())
		}
		return out, err
	})
}

// printMail says what is known of a message, one thing a line.
func (a *app) printMail(m local.MailInfo) {
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(a.stdout, "%-9s %s\n", name, printable(value))
		}
	}
	line("message", m.ID.String())
	line("came", fmt.Sprintf("%s, %d bytes", m.At.Local().Format(time.DateTime), m.Size))
	line("is in", string(m.Place))
	line("because", mailCause(m))
	line("for", m.Address)
	line("service", m.Service.String())
	fmt.Fprint(a.stdout, "checks  ")
	a.printVerdicts(m.Verdicts)
	switch {
	case m.Error != "":
		line("unread", m.Error)
	case m.Has != "":
		line("has", "a "+string(m.Has)+" that a sign-up would take")
	case m.Why != "":
		line("no use", mailbox.Words(&verifymail.Refusal{Reason: m.Why}, m.Service))
	}
}

// mailCause says why a message is where it is.
func mailCause(m local.MailInfo) string {
	by := map[string]string{
		mailroute.ByReceived: "the receiver says so of its envelope", mailroute.ByNotification: "its envelope says so",
		mailroute.ByTo: "its To or Cc names the address",
	}[m.By]
	switch {
	case m.Decision == mailroute.Route:
		return by
	case m.Reason != "" && by != "":
		return m.Reason + ", as " + by
	}
	return m.Reason
}

func (a *app) printMailText(t local.MailText) {
	a.printMail(t.MailInfo)
	fmt.Fprintf(a.stdout, "subject   %s\n", printable(t.Subject))
	for _, x := range [][2]string{{"link", t.Link}, {"code", t.Code}} {
		if x[1] != "" {
			fmt.Fprintf(a.stdout, "%-9s %s\n", x[0], printable(x[1]))
		}
	}
	fmt.Fprintln(a.stdout)
	for l := range strings.Lines(t.Text) {
		fmt.Fprintln(a.stdout, printable(strings.TrimRight(l, "\n")))
	}
	for _, l := range t.Links {
		fmt.Fprintln(a.stdout, "→ "+printable(l))
	}
}
