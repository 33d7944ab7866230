package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/control"
	"github.com/litentry/agentkeys/internal/local"
	"github.com/litentry/agentkeys/internal/verifymail"
)

func (a *app) mailWaitCmd() *cobra.Command {
	var agent, since, want string
	q := local.MailWait{}
	timeout := 5 * time.Minute
	c := &cobra.Command{
		Use: "wait SERVICE", Short: "Wait for the message of a sign-up", Args: cobra.ExactArgs(1),
		Long: `Wait for the message of a sign-up that was begun with an address of 'mail
address'. It counts if it came for this very address, its sender proved to be
the service, and it has one link to a host of the service, or one code. The link
or code is shown with --reveal only, which is written to the audit log first.

If it does not come, the error says what came instead, and why that does not
count.`,
		Example: `  agentkeys mail wait openrouter --to ADDRESS --reveal
  agentkeys mail wait openrouter --to ADDRESS --want code --timeout 10m --json`,
		ValidArgsFunction: a.completeServices,
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if q.Service, err = agentkeys.ParseService(args[0]); err != nil {
				return err
			}
			if q.Agent, err = optionalAgent(agent); err != nil {
				return err
			}
			if q.Address == "" {
				return usage(cmd, errors.New("--to says which address the message is for"))
			}
			if timeout < time.Second || timeout > local.MaxMailWait {
				return usage(cmd, fmt.Errorf("--timeout is from 1s to %s", local.MaxMailWait))
			}
			q.Timeout = int64(timeout / time.Second)
			if since != "" {
				if q.Since, err = time.Parse(time.RFC3339, since); err != nil {
					return usage(cmd, errors.New("--not-before is a time such as 2026-01-02T15:04:05Z"))
				}
			}
			q.Want = verifymail.Kind(want)
			client, err := a.client()
			if err != nil {
				return err
			}
			tell := a.mailProgress("", "")
			found, err := client.WaitMail(cmd.Context(), q, tell)
			if err != nil {
				return err
			}
			return a.print(found, func() { a.printFound(found, q.Reveal) })
		},
	}
	f := c.Flags()
	f.StringVar(&q.Address, "to", "", "the `ADDRESS` that the service was given")
	f.DurationVar(&timeout, "timeout", timeout, "wait for so long a `SPAN`")
	f.StringVar(&since, "not-before", "", "the earliest `TIME` at which it may have come (default: when the address was made)")
	f.BoolVar(&q.Reveal, "reveal", false, "show the link or the code")
	f.StringVar(&want, "want", "", "`KIND`: link or code (default: whichever there is)")
	f.StringArrayVar(&q.Senders, "sender", nil, "the service sends from this `DOMAIN`, or below it; repeat for more")
	f.StringArrayVar(&q.LinkHosts, "link-host", nil, "its link leads to this `HOST`; repeat for more")
	_ = c.RegisterFlagCompletionFunc("want", cobra.FixedCompletions([]string{"link", "code"}, cobra.ShellCompDirectiveNoFileComp))
	a.mailAgentFlag(c, &agent)
	return c
}

// waiting is told of a wait for mail before anything has come.
const waiting = "waiting …"

// mailProgress tells a person what has come so far, where that is not what was
// told last. Lines begin with margin.
func (a *app) mailProgress(margin, last string) func(control.MailSeen) {
	return func(s control.MailSeen) {
		text := waiting
		switch n := s.Came(); {
		case s.Error != "":
			text = "the inbox cannot be read right now: " + printable(s.Error)
		case n == 1:
			text = "a message came that does not count; waiting …"
		case n > 1:
			text = fmt.Sprintf("%d messages came that do not count; waiting …", n)
		}
		if text != last {
			a.hint(margin + text)
		}
		last = text
	}
}

func (a *app) printFound(f local.MailFound, reveal bool) {
	what := "a code"
	if f.Kind == verifymail.Link {
		what = "a link to " + printable(f.Host)
	}
	if !reveal {
		fmt.Fprintf(a.stdout, "%s came (message %s)\n", what, f.ID)
		a.hint("see it with: agentkeys mail show " + f.ID.String() + " --reveal")
		return
	}
	fmt.Fprintln(a.stdout, printable(f.Link+f.Code))
}
