package main

import "github.com/spf13/cobra"

func (a *app) mailCmd() *cobra.Command {
	c := &cobra.Command{
		Use: "mail", Short: "Sign-up mail: where it goes, and what is in it", Args: cobra.NoArgs,
		Long: `A service that signs up by mail gets an address that names the wallet. What
comes to it is routed to that wallet's inbox and to no other, and the link or
code in it counts only if its sender proved to be the service.`,
		Example: `  agentkeys mail address openrouter
  agentkeys mail ls
  agentkeys mail route message.eml --domain agents.example`,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.mailAddressCmd(), a.mailWaitCmd(), a.mailLsCmd(), a.mailShowCmd(), a.mailRouteCmd(), a.mailExtractCmd(), a.mailServeCmd())
	return c
}
