package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/book"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/control"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/local"
	"github.com/litentry/agentkeys/internal/signer"
)

func (a *app) agentCmd() *cobra.Command {
	c := &cobra.Command{
		Use: "agent", Short: "Create, enrol, list and remove agents",
		Example: "  agentkeys agent create coder\n  agentkeys agent list",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(
		a.agentCreateCmd(),
		a.agentEnrolCmd(),
		&cobra.Command{
			Use: "list", Short: "List the agents", Args: cobra.NoArgs, Aliases: []string{"ls"},
			Example: "  agentkeys agent list --json",
			RunE: func(cmd *cobra.Command, _ []string) error {
				client, err := a.client()
				if err != nil {
					return err
				}
				agents, err := client.Agents(cmd.Context())
				if err != nil {
					return err
				}
				return a.print(agents, func() {
					if len(agents) == 0 {
						fmt.Fprintln(a.stdout, "No agents yet: agentkeys agent create LABEL")
						return
					}
					var rows [][]string
					for _, ag := range agents {
						rows = append(rows, []string{ag.Label.String(), signer.ChecksumAddress(ag.Wallet), ago(ag.Created, time.Now())})
					}
					a.table("AGENT WALLET CREATED", rows)
				})
			},
		},
		&cobra.Command{
			Use: "rm LABEL", Short: "Remove an agent with its grants, sessions and copies", Args: cobra.ExactArgs(1),
			Example:           "  agentkeys agent rm coder",
			ValidArgsFunction: a.completeAgents,
			RunE: func(cmd *cobra.Command, args []string) error {
				label, err := agentkeys.ParseAgent(args[0])
				if err != nil {
					return err
				}
				client, err := a.client()
				if err != nil {
					return err
				}
				if err := client.RemoveAgent(cmd.Context(), label); err != nil {
					return err
				}
				return a.print(map[string]any{"agent": label, "removed": true}, func() { fmt.Fprintf(a.stdout, "agent %s: removed\n", label) })
			},
		},
	)
	return c
}

func (a *app) agentCreateCmd() *cobra.Command {
	var enrol bool
	c := &cobra.Command{
		Use: "create LABEL", Short: "Create an agent", Args: cobra.ExactArgs(1),
		Long:    "Create an agent with a wallet of its own. It can do nothing until it is granted\nsomething. With --enrol-code it may have a machine of its own: 'agent enrol'.",
		Example: "  agentkeys agent create coder\n  agentkeys agent create ci --enrol-code",
		RunE: func(cmd *cobra.Command, args []string) error {
			label, err := agentkeys.ParseAgent(args[0])
			if err != nil {
				return err
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			var st local.Status
			if enrol { // before there is an agent that cannot be enrolled
				if st, err = client.Status(cmd.Context()); err != nil {
					return err
				}
				if err := mayEnrol(st); err != nil {
					return err
				}
			}
			ag, err := client.CreateAgent(cmd.Context(), label)
			if err != nil {
				return err
			}
			out := struct {
				book.Agent
				Enrolment *brokerapi.Enrolment `json:"enrolment,omitempty"`
			}{Agent: ag}
			if enrol {
				e, err := client.Enrolment(cmd.Context(), label)
				if err != nil {
					return err
				}
				out.Enrolment = &e
			}
			return a.print(out, func() {
				fmt.Fprintf(a.stdout, "agent %s created, wallet %s\n", ag.Label, signer.ChecksumAddress(ag.Wallet))
				if enrol {
					a.printEnrolment(*out.Enrolment, st)
				}
			})
		},
	}
	c.Flags().BoolVar(&enrol, "enrol-code", false, "make a code for a machine of its own")
	return c
}

func (a *app) agentEnrolCmd() *cobra.Command {
	return &cobra.Command{
		Use: "enrol LABEL", Short: "Make a code by which a machine becomes the agent's", Args: cobra.ExactArgs(1),
		Long: `Make a code by which one machine becomes the agent's own: 'agentkeys daemon'
takes it there. It is good once and for ten minutes. When it is used, the
machine that the agent had before is out.`,
		Example:           "  agentkeys agent enrol ci",
		ValidArgsFunction: a.completeAgents,
		RunE: func(cmd *cobra.Command, args []string) error {
			label, err := agentkeys.ParseAgent(args[0])
			if err != nil {
				return err
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			st, err := client.Status(cmd.Context())
			if err == nil {
				err = mayEnrol(st)
			}
			if err != nil {
				return err
			}
			e, err := client.Enrolment(cmd.Context(), label)
			if err != nil {
				return err
			}
			return a.print(e, func() { a.printEnrolment(e, st) })
		},
	}
}

// mayEnrol says who can make machines an agent's.
func mayEnrol(st local.Status) error {
	switch {
	case st.Broker == nil:
		return failWith(exitConflict, "conflict", local.ErrNoBroker, "log in at one first: 'agentkeys login --broker URL'")
	case !st.Broker.Agent.IsZero():
		return failWith(exitRefused, "forbidden", local.ErrAgentHost, "do it on a machine of the master's")
	}
	return nil
}

func (a *app) printEnrolment(e brokerapi.Enrolment, st local.Status) {
	fmt.Fprintf(a.stdout, "enrolment code: %s, good once and for %s. On the agent's machine:\n", printable(e.Code), span(time.Until(e.Expires)))
	fmt.Fprintf(a.stdout, "  agentkeys daemon --broker %s --enrol -\n", st.Broker.Issuer)
	fmt.Fprintln(a.stdout, "and paste it there.")
}

func (a *app) grantCmd() *cobra.Command {
	var paths, unsafe, budgets []string
	var rate, expires string
	c := &cobra.Command{
		Use:   "grant AGENT SERVICE",
		Short: "Lend a service to an agent",
		Long: `Lend a service to an agent. Without --path everything is lent that the service's
catalogue entry allows ('agentkeys services show SERVICE'); with it, only what
matches one of the rules as well. A rule is 'METHOD /path', where * stands for a
part of one segment and a last ** for any rest. Granting again replaces the
grant, and its budgets begin anew.`,
		Example: `  agentkeys grant coder openrouter
  agentkeys grant coder openrouter --path 'POST /chat/completions' --budget 5usd/day --rate 60/min --expires 7d
  agentkeys grant coder openai --path 'GET /models' --path 'POST /responses' --budget 1000req/day`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.completeAgentService,
		RunE: func(cmd *cobra.Command, args []string) error {
			label, svc, err := parseParties(args)
			if err != nil {
				return err
			}
			req, err := parseTerms(cmd, paths, unsafe, budgets, rate, expires)
			if err != nil {
				return usage(cmd, err)
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			g, err := client.Grant(cmd.Context(), label, svc, req)
			if err != nil {
				return err
			}
			return a.print(g, func() {
				fmt.Fprintf(a.stdout, "%s may use %s: %s\n", label, svc, terms(g))
				fmt.Fprintf(a.stdout, "next: agentkeys run --as %s -- PROGRAM\n", label)
			})
		},
	}
	f := c.Flags()
	f.StringArrayVar(&paths, "path", nil, "lend only requests that match `'METHOD /path'`; may be repeated")
	f.StringArrayVar(&unsafe, "unsafe-path", nil, "open `'METHOD /path'` even though the catalogue shuts it; may be repeated")
	f.StringArrayVar(&budgets, "budget", nil, "at most `AMOUNT`, such as 5usd/day or 1000req/hour; may be repeated")
	f.StringVar(&rate, "rate", "", "at most `RATE`, such as 60/min")
	f.StringVar(&expires, "expires", "30d", "end it after `SPAN`, such as 90m, 12h or 7d, or at a moment (RFC 3339)")
	return c
}

func parseParties(args []string) (agentkeys.Agent, agentkeys.Service, error) {
	label, err := agentkeys.ParseAgent(args[0])
	if err != nil {
		return label, agentkeys.Service{}, err
	}
	svc, err := agentkeys.ParseService(args[1])
	return label, svc, err
}

func parseTerms(cmd *cobra.Command, paths, unsafe, budgets []string, rate, expires string) (control.GrantRequest, error) {
	var r control.GrantRequest
	var err error
	if r.Rules, err = grant.ParseRules(paths); err != nil {
		return r, fmt.Errorf("--path %w", err)
	}
	if r.Unsafe, err = grant.ParseRules(unsafe); err != nil {
		return r, fmt.Errorf("--unsafe-path %w", err)
	}
	for _, text := range budgets {
		money, requests, err := grant.ParseBudget(text)
		switch {
		case err != nil:
			return r, fmt.Errorf("--budget %q: %w", text, err)
		case money != nil && r.Budget != nil, requests != nil && r.Requests != nil:
			return r, fmt.Errorf("--budget %q: there can be one budget in money and one in requests", text)
		case money != nil:
			r.Budget = money
		default:
			r.Requests = requests
		}
	}
	// An empty one is a variable that was not set, not a wish for no limit.
	if cmd.Flags().Changed("rate") {
		if r.Rate, err = grant.ParseRate(rate); err != nil {
			return r, fmt.Errorf("--rate %q: %w", rate, err)
		}
	}
	if r.Expires, err = parseExpiry(expires, time.Now()); err != nil {
		return r, err
	}
	return r, nil
}

// parseExpiry parses a span with s, m, h, d or w, or a moment.
func parseExpiry(s string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		switch {
		case !t.After(now):
			return t, fmt.Errorf("--expires %s lies in the past", s)
		case t.After(now.Add(longestGrant)):
			return t, fmt.Errorf("--expires %s lies more than ten years ahead", s)
		}
		return t, nil
	}
	d, err := parseSpan(s)
	if err != nil {
		return time.Time{}, fmt.Errorf("--expires %q: %w", s, err)
	}
	return now.Add(d), nil
}

// longestGrant is ten years: far enough for "always", near enough for sums.
const longestGrant = 10 * 365 * 24 * time.Hour

func parseSpan(s string) (time.Duration, error) {
	const day = 24 * time.Hour
	unit := map[string]time.Duration{"d": day, "w": 7 * day}
	for suffix, u := range unit {
		if n, ok := strings.CutSuffix(s, suffix); ok {
			var count int
			if _, err := fmt.Sscanf(n+"\n", "%d\n", &count); err == nil && count > 0 && count <= int(longestGrant/u) {
				return time.Duration(count) * u, nil
			}
		}
	}
	if d, err := time.ParseDuration(s); err == nil && d > 0 && d <= longestGrant {
		return d, nil
	}
	return 0, fmt.Errorf("write a span such as 90m, 12h, 7d or 4w, at most ten years")
}

// terms says in one line what a grant allows.
func terms(g local.GrantInfo) string {
	var parts []string
	if len(g.Rules) > 0 {
		parts = append(parts, join(g.Rules, ", "))
	} else {
		parts = append(parts, "everything its catalogue entry allows")
	}
	if len(g.Unsafe) > 0 {
		parts = append(parts, "UNSAFE "+join(g.Unsafe, ", "))
	}
	if g.Budget != nil {
		parts = append(parts, g.Budget.String())
	}
	if g.Requests != nil {
		parts = append(parts, g.Requests.String())
	}
	if g.Rate != nil {
		parts = append(parts, g.Rate.String())
	}
	if g.Minted != nil {
		parts = append(parts, ownKey(g.Minted))
	}
	if g.Expired {
		parts = append(parts, "EXPIRED "+ago(g.Expires, time.Now()))
	} else {
		parts = append(parts, "expires "+ago(g.Expires, time.Now()))
	}
	return strings.Join(parts, ", ")
}

func (a *app) grantsCmd() *cobra.Command {
	return &cobra.Command{
		Use: "grants", Short: "List the grants and what was used of them", Args: cobra.NoArgs,
		Example: "  agentkeys grants\n  agentkeys grants --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			grants, err := client.Grants(cmd.Context())
			if err != nil {
				return err
			}
			return a.print(grants, func() {
				if len(grants) == 0 {
					fmt.Fprintln(a.stdout, "No grants yet: agentkeys grant AGENT SERVICE")
					return
				}
				var rows [][]string
				for _, g := range grants {
					used := fmt.Sprintf("%d req", g.Usage.Requests)
					if g.Requests != nil {
						used = fmt.Sprintf("%d of %s", g.Usage.Requests, g.Requests)
					}
					if g.Budget != nil {
						used += fmt.Sprintf(", %s of %s", g.Usage.Spent, g.Budget)
					} else if g.Usage.Spent > 0 {
						used += ", " + g.Usage.Spent.String()
					}
					until := ago(g.Expires, time.Now())
					if g.Expired {
						until = "EXPIRED"
					}
					if g.Minted != nil {
						used += ", " + ownKey(g.Minted)
					}
					paths := join(g.Rules, ", ")
					if len(g.Unsafe) > 0 {
						paths = strings.TrimPrefix(paths+", UNSAFE "+join(g.Unsafe, ", "), ", ")
					}
					rows = append(rows, []string{g.Agent.String(), g.Svc.String(), paths, used, until})
				}
				a.table("AGENT SERVICE PATHS USED EXPIRES", rows)
			})
		},
	}
}

func (a *app) revokeCmd() *cobra.Command {
	return &cobra.Command{
		Use: "revoke AGENT SERVICE", Short: "Take a grant back: what is under way is cut, the next request refused", Args: cobra.ExactArgs(2),
		Example:           "  agentkeys revoke coder openrouter",
		ValidArgsFunction: a.completeAgentService,
		RunE: func(cmd *cobra.Command, args []string) error {
			label, svc, err := parseParties(args)
			if err != nil {
				return err
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			if err := client.Revoke(cmd.Context(), label, svc); err != nil {
				return err
			}
			// What became of a key of its own is told, and changes nothing: the
			// grant is gone.
			left := a.leftUpstream(cmd.Context(), client, label, svc)
			return a.print(map[string]any{"agent": label, "service": svc, "revoked": true, "alive_at_the_service": left}, func() {
				fmt.Fprintf(a.stdout, "%s may no longer use %s\n", label, svc)
				if left > 0 {
					fmt.Fprintf(a.stdout, "  its key at the service is not deleted yet; that is tried until it is done ('agentkeys doctor')\n")
				}
			})
		},
	}
}

// leftUpstream counts the keys that the service made for an agent and has not
// deleted yet.
func (a *app) leftUpstream(ctx context.Context, client *control.Client, label agentkeys.Agent, svc agentkeys.Service) (n int) {
	all, err := client.Minted(ctx)
	if err != nil {
		return 0
	}
	for _, k := range all {
		if k.Agent == label && k.Service == svc {
			n++
		}
	}
	return n
}
