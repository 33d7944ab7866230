package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/local"
)

func (a *app) servicesCmd() *cobra.Command {
	c := &cobra.Command{
		Use: "services", Short: "The catalogue: list, show, add and set services", Args: cobra.NoArgs,
		Long: `List the services that can be lent. Those you added or changed are marked. The
catalogue says for each where the key goes, which paths are lent and which are
shut, and what is known about getting a key.`,
		Example: "  agentkeys services\n  agentkeys services show openrouter\n  agentkeys services add my-model-server.yaml\n  agentkeys services set openai --base-url https://models.example/v1",
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := a.serviceList(cmd)
			if err != nil {
				return err
			}
			return a.print(list, func() {
				var rows [][]string
				for _, s := range list {
					rows = append(rows, []string{s.ID.String(), s.Name, s.BaseURL, s.VerifyState, s.Spend, s.Origin})
				}
				a.table("SERVICE NAME BASE-URL CHECKS-KEY SPEND ORIGIN", rows)
			})
		},
	}
	c.AddCommand(a.servicesShowCmd(), a.servicesAddCmd(), a.servicesSetCmd(), a.servicesRmCmd())
	return c
}

// serviceList asks the process, or reads the same files itself if there is
// none: the catalogue is no secret.
func (a *app) serviceList(cmd *cobra.Command) ([]local.ServiceInfo, error) {
	p, err := a.paths()
	if err != nil {
		return nil, err
	}
	list, err := local.ReadServices(p)
	if err != nil {
		return nil, explain(err)
	}
	return list, nil
}

func (a *app) servicesShowCmd() *cobra.Command {
	return &cobra.Command{
		Use: "show SERVICE", Short: "Show all that is known about a service", Args: cobra.ExactArgs(1),
		Example:           "  agentkeys services show openrouter",
		ValidArgsFunction: a.completeServices,
		RunE: func(cmd *cobra.Command, args []string) error {
			svc, err := agentkeys.ParseService(args[0])
			if err != nil {
				return err
			}
			p, err := a.paths()
			if err != nil {
				return err
			}
			s, err := local.ReadService(p, svc)
			if err != nil {
				return classifyService(err)
			}
			return a.print(s, func() { a.printService(s) })
		},
	}
}

func (a *app) printService(s local.ServiceDetail) {
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(a.stdout, "  %-14s %s\n", name, value)
		}
	}
	list := func(name string, items []string) {
		for i, it := range items {
			if i > 0 {
				name = ""
			}
			fmt.Fprintf(a.stdout, "  %-14s %s\n", name, it)
		}
	}
	fmt.Fprintf(a.stdout, "%s (%s): %s\n", s.ID, s.Name, s.Summary)
	line("base URL", s.BaseURL)
	line("key goes into", strings.Join(s.Inject, ", "))
	line("key variables", strings.Join(s.KeyVariables, ", "))
	line("URL variables", strings.Join(s.URLVariables, ", "))
	line("key looks like", s.KeyPattern)
	line("checks a key", s.VerifyState)
	line("spend", s.Spend)
	list("lends", s.Allow)
	list("never lends", s.Shut)
	list("doors", s.Doors)
	list("to mint keys", s.Minting)
	list("recipe", s.Recipe)
	line("terms", s.Terms)
	line("docs", s.Docs)
	line("origin", s.Origin)
	list("set by you", s.Settings)
	line("run live", s.LiveTested)
}

const forceHelp = "even if a key that is stored goes to another host then"

func (a *app) servicesAddCmd() *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use: "add FILE", Short: "Add a service of your own", Args: cobra.ExactArgs(1),
		Long:    "Add a service from a file in the format of docs/reference/catalogue.md, or\nreplace the one of the same id.",
		Example: "  agentkeys services add my-model-server.yaml",
		RunE: func(cmd *cobra.Command, args []string) error {
			data, err := os.ReadFile(args[0])
			if isMissing(err) {
				return failWith(exitNotFound, "not-found", fmt.Errorf("no file %s", args[0]), "check its name; the format is in docs/reference/catalogue.md")
			}
			if err != nil {
				return err
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			s, err := client.AddService(cmd.Context(), filepath.Base(args[0]), data, force)
			if err != nil {
				return err
			}
			return a.print(s, func() { fmt.Fprintf(a.stdout, "%s: added; store a key with 'agentkeys store %s'\n", s.ID, s.ID) })
		},
	}
	c.Flags().BoolVar(&force, "force", false, forceHelp)
	return c
}

func (a *app) servicesSetCmd() *cobra.Command {
	var baseURL, caFile, site string
	var mintURL string
	var allow, prices, mintParams []string
	var reset, force bool
	c := &cobra.Command{
		Use: "set SERVICE", Short: "Change where a service is reached and what it costs", Args: cobra.ExactArgs(1),
		Long: `Change where a service is reached: a self-hosted server that speaks the same
API, or a stand-in on this machine. An address on loopback or in a private
network is dialled only if that very address and port is allowed. Prices, in
dollars for a million tokens, make budgets in money possible for services that
do not say what a request cost.`,
		Example: `  agentkeys services set openai --base-url https://models.example/v1
  agentkeys services set openrouter --base-url https://127.0.0.1:8443/api/v1 --ca ca.pem --allow-address 127.0.0.1:8443
  agentkeys services set anthropic --price 'some-model=3/15'
  agentkeys services set openai --reset`,
		ValidArgsFunction: a.completeServices,
		RunE: func(cmd *cobra.Command, args []string) error {
			svc, err := agentkeys.ParseService(args[0])
			if err != nil {
				return err
			}
			ch := local.ServiceChange{Reset: reset, Force: force}
			if cmd.Flags().Changed("base-url") {
				if baseURL == "" {
					return usage(cmd, errors.New("--base-url is empty; --reset takes it back"))
				}
				ch.BaseURL = &baseURL
			}
			if cmd.Flags().Changed("ca") {
				pem, err := os.ReadFile(caFile)
				if err != nil {
					return usage(cmd, fmt.Errorf("--ca: %w", err))
				}
				text := string(pem)
				ch.CAPEM = &text
			}
			if site != "" {
				addr, err := netip.ParseAddrPort(site)
				if err != nil {
					return usage(cmd, fmt.Errorf("--site-address %q: write an IP address and a port, such as 127.0.0.1:8443", site))
				}
				ch.SiteAddress = &addr
			}
			for _, s := range allow {
				addr, err := netip.ParseAddrPort(s)
				if err != nil {
					return usage(cmd, fmt.Errorf("--allow-address %q: write an IP address and a port, such as 127.0.0.1:8443", s))
				}
				ch.AllowAddresses = append(ch.AllowAddresses, addr)
			}
			for _, s := range prices {
				model, text, ok := strings.Cut(s, "=")
				if !ok || model == "" {
					return usage(cmd, fmt.Errorf("--price %q: write MODEL=IN/OUT, such as some-model=3/15", s))
				}
				if ch.Prices == nil {
					ch.Prices = map[string]string{}
				}
				ch.Prices[model] = text
			}
			if cmd.Flags().Changed("mint-url") {
				ch.MintURL = &mintURL
			}
			for _, s := range mintParams {
				name, value, ok := strings.Cut(s, "=")
				if !ok || name == "" {
					return usage(cmd, fmt.Errorf("--mint-param %q: write NAME=VALUE, such as project=proj_example", s))
				}
				if ch.MintParameters == nil {
					ch.MintParameters = map[string]string{}
				}
				ch.MintParameters[name] = value
			}
			minting := ch.MintURL != nil || ch.MintParameters != nil
			if !reset && ch.BaseURL == nil && ch.CAPEM == nil && ch.AllowAddresses == nil && ch.Prices == nil && ch.SiteAddress == nil && !minting {
				return usage(cmd, fmt.Errorf("nothing to set"))
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			s, err := client.SetService(cmd.Context(), svc, ch)
			if err != nil {
				return err
			}
			return a.print(s, func() { fmt.Fprintf(a.stdout, "%s: reached at %s\n", s.ID, s.BaseURL) })
		},
	}
	f := c.Flags()
	f.StringVar(&baseURL, "base-url", "", "reach the service at this `URL`")
	f.StringVar(&caFile, "ca", "", "trust the certificates in this PEM `FILE`, and no others, for it")
	f.StringArrayVar(&allow, "allow-address", nil, "allow this `IP:PORT` though it is loopback or private; may be repeated")
	f.StringArrayVar(&prices, "price", nil, "`MODEL=IN/OUT` in dollars for a million tokens; may be repeated")
	f.StringVar(&site, "site-address", "", "a stand-in on this `IP:PORT` plays the service's pages, with --ca")
	f.StringVar(&mintURL, "mint-url", "", "a management key makes keys at this `URL`")
	f.StringArrayVar(&mintParams, "mint-param", nil, "`NAME=VALUE` for making keys, such as project=ID; may be repeated")
	f.BoolVar(&reset, "reset", false, "take back what was set before")
	f.BoolVar(&force, "force", false, forceHelp)
	return c
}

func (a *app) servicesRmCmd() *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use: "rm SERVICE", Short: "Remove a service you added, or what you set for one", Args: cobra.ExactArgs(1),
		Example:           "  agentkeys services rm my-model-server",
		ValidArgsFunction: a.completeServices,
		RunE: func(cmd *cobra.Command, args []string) error {
			svc, err := agentkeys.ParseService(args[0])
			if err != nil {
				return err
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			if err := client.RemoveService(cmd.Context(), svc, force); err != nil {
				return err
			}
			return a.print(map[string]any{"service": svc, "removed": true}, func() {
				fmt.Fprintf(a.stdout, "%s: what you added or set is taken back\n", svc)
			})
		},
	}
	c.Flags().BoolVar(&force, "force", false, forceHelp)
	return c
}
