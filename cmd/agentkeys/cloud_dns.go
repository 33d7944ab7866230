package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/litentry/agentkeys/internal/cloud"
)

// loadCloud reads cloud.yaml, and takes the tags of mail addresses from the
// catalogue if it names none.
func loadCloud(path string) (cloud.Config, error) {
	config, err := cloud.Load(path)
	if err != nil {
		return config, configError(err)
	}
	if config.Mail != nil && len(config.Mail.Tags) == 0 {
		services, err := mailServices()
		if err != nil {
			return config, err
		}
		config.Mail.Tags = slices.Sorted(maps.Keys(services))
	}
	return config, nil
}

func (a *app) cloudDNSCmd() *cobra.Command {
	var f cloudFlags
	c := &cobra.Command{
		Use: "dns", Short: "Print the DNS records of the mail domains", Args: cobra.NoArgs,
		Long: `Print the DNS records that the mail domains of cloud.yaml need, and what SES
has found of them: publish them where the domains are kept. Some are known only
once 'cloud apply' has run. TXT values are printed without the quotes that a
zone file has around them.`,
		Example: "  agentkeys cloud dns\n  agentkeys cloud dns --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.openCloud(cmd.Context(), f)
			if err != nil {
				return err
			}
			if c.Mail == nil || c.Compatible != "" {
				return failWith(exitNotFound, "not-found", errors.New("cloud.yaml has no part about mail that SES would receive"), "see mail in the reference of cloud.yaml")
			}
			domains, err := c.DNS(cmd.Context())
			if err != nil {
				return explainCloud(err)
			}
			return a.print(domains, func() { a.showDNS(domains) })
		},
	}
	f.add(c, true)
	return c
}

func (a *app) showDNS(domains []cloud.DomainRecords) {
	for _, d := range domains {
		fmt.Fprintf(a.stdout, "# %s: %s\n", d.Domain, d.State)
		var rows [][]string
		for _, r := range d.Records {
			name, value := r.Name, r.Value
			if name == "" {
				name = "(known after apply)"
			}
			if value == "" {
				value = "(known after apply)"
			}
			rows = append(rows, []string{name, r.Type, value, r.State, r.For})
		}
		a.table("NAME TYPE VALUE STATE FOR", rows)
	}
}
