package main

import (
	"github.com/spf13/cobra"

	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/verifymail"
)

func (a *app) mailCmd() *cobra.Command {
	c := &cobra.Command{
		Use: "mail", Short: "Sign-up mail: where it goes, and what is in it", Args: cobra.NoArgs,
		Long: `A service that signs up by mail gets an address that names the wallet. What
comes to it is routed to that wallet's inbox and to no other, and the link or
code in it counts only if its sender proved to be the service.`,
		Example: `  agentkeys mail route message.eml --domain agents.example`,
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.mailAddressCmd(), a.mailWaitCmd(), a.mailLsCmd(), a.mailShowCmd(), a.mailRouteCmd(), a.mailExtractCmd(), a.mailServeCmd())
	return c
}

// verifyRules are what the catalogue knows, for who looks into a message.
func verifyRules(m catalog.MailRules) verifymail.Rules {
	r := verifymail.Rules{Senders: m.Senders, LinkHosts: m.LinkHosts, LinkPaths: m.LinkPaths}
	for _, d := range m.Redirects {
		r.Redirects = append(r.Redirects, verifymail.Redirect{Host: d.Host, Parameter: d.Parameter})
	}
	if m.Digits > 0 {
		r.Code = &verifymail.CodeRule{Digits: m.Digits, Labels: m.Labels}
	}
	return r
}
