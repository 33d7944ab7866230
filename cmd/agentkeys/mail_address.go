package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/control"
)

func (a *app) mailAddressCmd() *cobra.Command {
	var agent string
	c := &cobra.Command{
		Use: "address SERVICE", Short: "Make an address to sign up at a service with", Args: cobra.ExactArgs(1),
		Long: `Make an address to sign up at a service with. It names your wallet, so that its
mail comes to you and to nobody else, and ends in digits that nobody can guess.
Make a new one for each sign-up: what comes for an older one does not count.`,
		Example:           "  agentkeys mail address openrouter\n  agentkeys mail address openrouter --agent coder --json",
		ValidArgsFunction: a.completeServices,
		RunE: func(cmd *cobra.Command, args []string) error {
			svc, err := agentkeys.ParseService(args[0])
			if err != nil {
				return err
			}
			req := control.MailAddressRequest{Service: svc}
			if req.Agent, err = optionalAgent(agent); err != nil {
				return err
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			m, err := client.MailAddress(cmd.Context(), req)
			if err != nil {
				return err
			}
			return a.print(m, func() {
				fmt.Fprintln(a.stdout, m.Address)
				a.hint("next: agentkeys mail wait " + m.Service.String() + " --to " + m.Address)
			})
		},
	}
	a.mailAgentFlag(c, &agent)
	return c
}

func (a *app) mailAgentFlag(c *cobra.Command, agent *string) {
	c.Flags().StringVar(agent, "agent", "", "the mail of an `AGENT` in place of your own")
	_ = c.RegisterFlagCompletionFunc("agent", func(cmd *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
		return a.completeAgents(cmd, nil, word)
	})
}

// optionalAgent parses the value of a flag that may be left out.
func optionalAgent(s string) (agentkeys.Agent, error) {
	if s == "" {
		return agentkeys.Agent{}, nil
	}
	return agentkeys.ParseAgent(s)
}
