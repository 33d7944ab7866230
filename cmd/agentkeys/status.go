package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/litentry/agentkeys/internal/local"
	"github.com/litentry/agentkeys/internal/signer"
)

func (a *app) statusCmd() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Say whether the background process runs, and what it holds", Args: cobra.NoArgs,
		Example: "  agentkeys status\n  agentkeys status --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			st, err := client.Status(cmd.Context())
			if err != nil {
				return err
			}
			return a.print(st, func() {
				fmt.Fprintf(a.stdout, "agentkeys is up for %s (pid %d, version %s)\n", span(time.Since(st.Started)), st.PID, st.Version)
				fmt.Fprintf(a.stdout, "  agents reach it at  http://%s\n", st.Address)
				fmt.Fprintf(a.stdout, "  your wallet         %s\n", signer.ChecksumAddress(st.Wallet))
				a.printBroker(st.Broker)
				a.printMailStatus(st.Mail)
				fmt.Fprintf(a.stdout, "  keys                %d stored under epoch %d, %d open in memory%s\n", st.Credentials, st.Epoch, st.Cached, besides(st))
				fmt.Fprintf(a.stdout, "  agents              %d, with %d grants in force\n", st.Agents, st.Grants)
				fmt.Fprintf(a.stdout, "  audit log           %d entries\n", st.LogSize)
				if st.LogError != "" {
					fmt.Fprintf(a.stdout, "  AUDIT LOG STOPPED   %s\n", st.LogError)
				}
			})
		},
	}
}

// printMailStatus says whether mail comes in.
func (a *app) printMailStatus(m *local.MailStatus) {
	switch {
	case m == nil:
	case m.Error != "":
		fmt.Fprintf(a.stdout, "  NO MAIL             %s\n", m.Error)
	case m.SMTP != "":
		fmt.Fprintf(a.stdout, "  mail                for %s at smtp://%s\n", m.Domain, m.SMTP)
	default:
		fmt.Fprintf(a.stdout, "  mail                for %s\n", m.Domain)
	}
}

// printBroker says which broker there is, and whether it is heard.
func (a *app) printBroker(b *local.BrokerStatus) {
	if b == nil {
		return
	}
	whose := "you are its master"
	if !b.Agent.IsZero() {
		whose = "this machine is agent " + b.Agent.String() + "'s"
	}
	fmt.Fprintf(a.stdout, "  broker              %s; %s\n", b.Issuer, whose)
	switch b.Stream.State {
	case local.StreamLive:
		fmt.Fprintln(a.stdout, "  revocations         heard live")
	case local.StreamEnded:
		fmt.Fprintln(a.stdout, "  LOGGED OUT          by the broker: nothing is lent; run 'agentkeys logout' and log in anew")
	default:
		fmt.Fprintf(a.stdout, "  BROKER SILENT       since %s: nothing is lent until it is heard (%s)\n", ago(b.Stream.Heard, time.Now()), b.Stream.Error)
	}
}

// besides is what there is in the place of stored keys.
func besides(st local.Status) string {
	text := ""
	if st.Managed > 0 {
		text += ", " + count(st.Managed, "management key")
	}
	if st.Exchanged > 0 {
		text += ", tokens exchanged for " + count(st.Exchanged, "service")
	}
	return text
}
