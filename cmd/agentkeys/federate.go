package main

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/control"
	"github.com/litentry/agentkeys/internal/local"
)

func (a *app) federateCmd() *cobra.Command {
	var set []string
	var audience, at string
	var check, off bool
	c := &cobra.Command{
		Use: "federate SERVICE", Short: "Use a service without any key, by exchanging tokens", Args: cobra.ExactArgs(1),
		Long: `Show how a service is used without a key, and what to set up there once. Some
services take a token of your broker and give a short-lived one of their own
for it. Then there is no key: nothing is stored, and nothing has to be rotated.

The service fetches the broker's keys to verify its tokens, so it must be able
to reach the broker, and the broker's configuration must list the audience
under 'audiences'. Set up at the service what this command shows, then give the
ids that the service shows in return with --set; they are no secrets.

While tokens are exchanged, a key that is stored for the service is not used,
and agents have no copies of it. Each machine has settings of its own.`,
		Example: `  agentkeys federate anthropic
  agentkeys federate anthropic --audience AUDIENCE --check \
      --set federation_rule_id=fdrl_1 --set organization_id=ID \
      --set service_account_id=svac_1
  agentkeys federate anthropic --check
  agentkeys federate anthropic --off`,
		ValidArgsFunction: a.completeFederated,
		RunE: func(cmd *cobra.Command, args []string) error {
			svc, err := agentkeys.ParseService(args[0])
			if err != nil {
				return err
			}
			f := cmd.Flags()
			change := f.Changed("set") || f.Changed("audience") || f.Changed("url")
			if off && (change || check) {
				return usage(cmd, errors.New("--off goes with nothing else"))
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			switch {
			case off:
				st, err := client.EndFederation(cmd.Context(), svc)
				if err != nil {
					return err
				}
				return a.print(st, func() { a.printFederationOff(st) })
			case change:
				st, err := client.Federation(cmd.Context(), svc)
				if err != nil {
					return err
				}
				q := control.FederationRequest{Exchange: copyExchange(st.Exchange), Verify: check}
				for _, s := range set {
					name, value, ok := strings.Cut(s, "=")
					if !ok || name == "" {
						return usage(cmd, errors.New("write --set NAME=VALUE; an empty value takes it back"))
					}
					if q.Exchange.Parameters[name] = value; value == "" {
						delete(q.Exchange.Parameters, name)
					}
				}
				if f.Changed("audience") {
					q.Exchange.Audience = audience
				}
				if f.Changed("url") {
					q.Exchange.URL = at
				}
				if st, err = client.SetFederation(cmd.Context(), svc, q); err != nil {
					return err
				}
				return a.print(st, func() { a.printFederation(st) })
			case check:
				res, err := client.CheckFederation(cmd.Context(), svc)
				if err != nil {
					return err
				}
				return a.print(res, func() { fmt.Fprintf(a.stdout, "%s: %s\n", svc, federationResult(res)) })
			}
			st, err := client.Federation(cmd.Context(), svc)
			if err != nil {
				return err
			}
			return a.print(st, func() { a.printFederation(st) })
		},
	}
	f := c.Flags()
	f.StringArrayVar(&set, "set", nil, "`NAME=VALUE` of an id that it gave; may be repeated")
	f.StringVar(&audience, "audience", "", "make tokens for `AUDIENCE`, as set up there")
	f.StringVar(&at, "url", "", "exchange tokens at this `URL`, a stand-in's")
	f.BoolVar(&check, "check", false, "exchange a token and try it now; with --set, first")
	f.BoolVar(&off, "off", false, "exchange no more, and go back to a stored key")
	_ = c.RegisterFlagCompletionFunc("set", a.completeFederationIDs)
	return c
}

func copyExchange(x *catalog.Exchange) catalog.Exchange {
	out := catalog.Exchange{Parameters: map[string]string{}}
	if x != nil {
		out.URL, out.Audience = x.URL, x.Audience
		maps.Copy(out.Parameters, x.Parameters)
	}
	return out
}

// completeFederated offers the services that are known to exchange tokens.
func (a *app) completeFederated(_ *cobra.Command, args []string, _ string) (out []string, _ cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	for _, id := range catalog.IDs() {
		if e, err := catalog.Lookup(id); err == nil && e.Federation != nil {
			out = append(out, id.String())
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

func (a *app) completeFederationIDs(_ *cobra.Command, args []string, _ string) (out []string, _ cobra.ShellCompDirective) {
	const d = cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	if len(args) == 0 {
		return nil, d
	}
	svc, err := agentkeys.ParseService(args[0])
	if err != nil {
		return nil, d
	}
	if e, err := catalog.Lookup(svc); err == nil && e.Federation != nil {
		for _, p := range e.Federation.Parameters {
			out = append(out, p.Name+"="+p.Prefix)
		}
	}
	return out, d
}

func (a *app) printFederation(st local.FederationState) {
	line := func(name, value string) { fmt.Fprintf(a.stdout, "  %-10s %s\n", name, printable(value)) }
	if st.Set {
		fmt.Fprintf(a.stdout, "%s (%s): tokens are exchanged, no key is used\n", st.Service, printable(st.Name))
	} else {
		fmt.Fprintf(a.stdout, "%s (%s): not set up\n", st.Service, printable(st.Name))
	}
	if st.Issuer == "" {
		line("issuer", "none: this takes a broker that the service can reach; see 'agentkeys login'")
	} else {
		line("issuer", st.Issuer)
		line("its keys", st.Keys)
	}
	line("subject", st.Subject)
	if st.Audience == "" {
		line("audience", "not known: choose one at the service and give it with --audience")
	} else {
		line("audience", st.Audience)
	}
	line("exchange", st.URL)
	fmt.Fprintln(a.stdout, "ids that the service gives:")
	for _, p := range st.Parameters {
		value := p.Value
		if value == "" {
			value = "not set"
			if !p.Required {
				value += ", not always needed"
			}
		}
		fmt.Fprintf(a.stdout, "  %s: %s\n    %s\n", p.Name, printable(value), printable(p.What))
	}
	if !st.Set {
		fmt.Fprintln(a.stdout, "to be set up once:")
		for i, s := range append(st.Setup, "In the broker's configuration, list the audience under audiences.") {
			fmt.Fprintf(a.stdout, "  %d. %s\n", i+1, printable(s))
		}
		if st.Note != "" {
			fmt.Fprintf(a.stdout, "  %s\n", printable(st.Note))
		}
		fmt.Fprintf(a.stdout, "then: %s\n", federateCall(st))
		return
	}
	if st.StoredKey {
		fmt.Fprintf(a.stdout, "a key is stored too, and not used; 'agentkeys rm %s' removes it\n", st.Service)
	}
	if st.Last != nil {
		fmt.Fprintf(a.stdout, "last exchange: %s\n", federationResult(*st.Last))
	}
}

// federateCall is the command that sets a service up, less the values.
func federateCall(st local.FederationState) string {
	call := "agentkeys federate " + st.Service.String()
	if st.Audience == "" {
		call += " --audience AUDIENCE"
	}
	for _, p := range st.Parameters {
		if p.Required {
			call += " --set " + p.Name + "=" + p.Prefix + "…"
		}
	}
	return call + " --check"
}

func federationResult(r local.FederationResult) string {
	if r.Error != "" {
		return ago(r.At, time.Now()) + ": failed: " + printable(r.Error)
	}
	text := fmt.Sprintf("%s, for a token that ends %s", ago(r.At, time.Now()), ago(r.Expires, time.Now()))
	if r.Verdict != "" {
		text += "; the service was asked: " + string(r.Verdict)
	}
	if r.Detail != "" {
		text += " (" + printable(r.Detail) + ")"
	}
	return text
}

func (a *app) printFederationOff(st local.FederationState) {
	if st.StoredKey {
		fmt.Fprintf(a.stdout, "%s: tokens are exchanged no more; the stored key is used again\n", st.Service)
		return
	}
	fmt.Fprintf(a.stdout, "%s: tokens are exchanged no more, and no key is stored: 'agentkeys store %s'\n", st.Service, st.Service)
}
