package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/litentry/agentkeys/internal/local"
	"github.com/litentry/agentkeys/internal/mailroute"
)

// mailPlace are the flags that say which messages are meant.
type mailPlace struct {
	agent            string
	refused, inbound bool
}

func (a *app) mailPlaceFlags(c *cobra.Command, p *mailPlace) {
	a.mailAgentFlag(c, &p.agent)
	c.Flags().BoolVar(&p.refused, "refused", false, "mail that belongs to no wallet beyond doubt")
	c.Flags().BoolVar(&p.inbound, "inbound", false, "mail that is not a wallet's, or is still to be sorted")
}

func (p mailPlace) query() (q local.MailQuery, err error) {
	q.Place = local.PlaceInbox
	switch {
	case p.refused && p.inbound:
		return q, failWith(exitUsage, "usage", errors.New("--refused and --inbound are two places"), "look at one, and then at the other")
	case p.refused:
		q.Place = local.PlaceRefused
	case p.inbound:
		q.Place = local.PlaceInbound
	}
	q.Agent, err = optionalAgent(p.agent)
	return q, err
}

func (a *app) mailLsCmd() *cobra.Command {
	var place mailPlace
	var n int
	c := &cobra.Command{
		Use: "ls", Short: "List the mail that came, where it went and why", Args: cobra.NoArgs, Aliases: []string{"list"},
		Long: `List the newest mail of your wallet's inbox: for which service it came, from
which domain, what proves that, and whether a sign-up would take a link or a
code out of it. Neither subjects nor codes are shown.

On a machine that receives mail itself, --refused lists what could be given to
no wallet, with the reason, and --inbound what is none of a wallet's.`,
		Example: "  agentkeys mail ls\n  agentkeys mail ls --agent coder --json\n  agentkeys mail ls --refused",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if n < 1 || n > local.MaxMails {
				return usage(cmd, fmt.Errorf("--lines is from 1 to %d", local.MaxMails))
			}
			q, err := place.query()
			if err != nil {
				return err
			}
			q.Limit = n
			client, err := a.client()
			if err != nil {
				return err
			}
			list, err := client.Mails(cmd.Context(), q)
			if err != nil {
				return err
			}
			return a.print(list, func() {
				if len(list) == 0 {
					fmt.Fprintln(a.stdout, "no mail")
					return
				}
				var rows [][]string
				for _, m := range list {
					rows = append(rows, []string{m.ID.String(), ago(m.At, time.Now()), m.Service.String(), m.Verdicts.From, mailProof(m), mailOutcome(m)})
				}
				a.table("MESSAGE CAME FOR FROM PROOF RESULT", rows)
			})
		},
	}
	a.mailPlaceFlags(c, &place)
	c.Flags().IntVarP(&n, "lines", "n", 50, "list the newest `N`")
	return c
}

// mailProof says in a word what proves who sent a message.
func mailProof(m local.MailInfo) string {
	switch v := m.Verdicts; {
	case m.Error != "" || !v.Received:
		return "none"
	case v.Aligned:
		return "dkim"
	case len(v.DKIM) > 0:
		return "dkim of another"
	}
	return "none"
}

// mailOutcome says what became of a message, and why.
func mailOutcome(m local.MailInfo) string {
	switch {
	case m.Error != "":
		return "unreadable"
	case m.Has != "":
		return "a " + string(m.Has)
	case m.Decision == mailroute.Refuse || m.Decision == mailroute.Ignore:
		return string(m.Decision) + ": " + m.Reason
	}
	return cmp.Or(string(m.Why), m.Reason)
}

func (a *app) mailShowCmd() *cobra.Command {
	var place mailPlace
	var reveal, raw bool
	c := &cobra.Command{
		Use: "show MESSAGE", Short: "Show a message: what it is, and with --reveal what it says", Args: cobra.ExactArgs(1),
		Long: `Show what is known of a message: for which address it came and why it is here,
what the receiver found out about its sender, and whether a sign-up would take a
link or a code out of it, or why not.

Its text, the link and the code open an account to whoever has them, so they are
shown with --reveal only, which is written to the audit log first.`,
		Example:           "  agentkeys mail show MESSAGE\n  agentkeys mail show MESSAGE --reveal\n  agentkeys mail show MESSAGE --raw --reveal >message.eml",
		ValidArgsFunction: a.completeMail,
		RunE: func(cmd *cobra.Command, args []string) error {
			if raw && (!reveal || a.json) {
				return usage(cmd, errors.New("--raw goes with --reveal, and without --json"))
			}
			q, id, err := mailArgument(place, args[0])
			if err != nil {
				return err
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			if f, ok := a.stdout.(*os.File); raw && ok && isTerminal(f) {
				// Whoever wrote it would have the terminal do what they like.
				return failWith(exitUsage, "usage", errors.New("--raw is not for a terminal"), "write it to a file: agentkeys mail show MESSAGE --raw --reveal >message.eml")
			}
			if !reveal {
				m, err := client.Mail(cmd.Context(), q, id)
				if err != nil {
					return err
				}
				return a.print(m, func() { a.printMail(m) })
			}
			t, err := client.RevealMail(cmd.Context(), q, id)
			if err != nil {
				return err
			}
			if raw {
				_, err := a.stdout.Write(t.Raw)
				return err
			}
			return a.print(t, func() { a.printMailText(t) })
		},
	}
	a.mailPlaceFlags(c, &place)
	c.Flags().BoolVar(&reveal, "reveal", false, "show the text, the link and the code")
	c.Flags().BoolVar(&raw, "raw", false, "print the message as it came")
	return c
}
