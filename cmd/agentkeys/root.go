package main

import (
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/litentry/agentkeys/internal/control"
	"github.com/litentry/agentkeys/internal/local"
)

// version is set by the linker for a release.
var version = "dev"

// command is one of the commands, and how it is made.
type command struct {
	name, group string
	make        func(*app) *cobra.Command
}

var commands = []command{
	{"up", "process", (*app).upCmd}, {"down", "process", (*app).downCmd}, {"status", "process", (*app).statusCmd},
	{"logs", "process", (*app).logsCmd}, {"doctor", "process", (*app).doctorCmd}, {"demo", "process", (*app).demoCmd},

	{"provision", "keys", (*app).provisionCmd},
	{"store", "keys", (*app).storeCmd}, {"list", "keys", (*app).listCmd}, {"show", "keys", (*app).showCmd},
	{"reveal", "keys", (*app).revealCmd}, {"rm", "keys", (*app).rmCmd}, {"services", "keys", (*app).servicesCmd},
	{"rotate", "keys", (*app).rotateCmd}, {"passphrase", "keys", (*app).passphraseCmd}, {"mail", "keys", (*app).mailCmd},
	{"terms", "keys", (*app).termsCmd}, {"federate", "keys", (*app).federateCmd}, {"import", "keys", (*app).importCmd}, {"scan", "keys", (*app).scanCmd},

	{"agent", "agents", (*app).agentCmd}, {"grant", "agents", (*app).grantCmd}, {"grants", "agents", (*app).grantsCmd},
	{"revoke", "agents", (*app).revokeCmd}, {"run", "agents", (*app).runCmd}, {"env", "agents", (*app).envCmd},
	{"whoami", "agents", (*app).whoamiCmd},

	{"login", "account", (*app).loginCmd}, {"logout", "account", (*app).logoutCmd}, {"devices", "account", (*app).devicesCmd},

	{"broker", "servers", (*app).brokerCmd}, {"signer", "servers", (*app).signerCmd}, {"cloud", "servers", (*app).cloudCmd},
	{"daemon", "servers", (*app).daemonCmd},

	{"audit", "proof", (*app).auditCmd}, {"version", "", (*app).versionCmd},
}

// root makes the command tree, as far as args need it.
func (a *app) root(args []string) *cobra.Command {
	root := &cobra.Command{
		Use:   "agentkeys",
		Short: "Give AI agents access to services without giving them the keys",
		Long: `agentkeys keeps your API keys encrypted and lends agents access under grants:
which service, which paths, how much, until when. The agent's process holds a
placeholder; a proxy on loopback puts the key into its requests.`,
		Example: `  agentkeys up
  agentkeys store openrouter
  agentkeys agent create coder
  agentkeys grant coder openrouter --path 'POST /chat/completions' --budget 5usd/day
  agentkeys run --as coder -- python agent.py`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          a.welcome,
		Version:       version,
	}
	root.PersistentFlags().BoolVar(&a.json, "json", false, "print the answer, and any error, as JSON")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return usage(c, err) })
	root.SetVersionTemplate("agentkeys {{.Version}}\n")
	root.AddGroup(
		&cobra.Group{ID: "process", Title: "The background process:"},
		&cobra.Group{ID: "keys", Title: "Keys and services:"},
		&cobra.Group{ID: "agents", Title: "Agents and grants:"},
		&cobra.Group{ID: "proof", Title: "Proof:"},
		&cobra.Group{ID: "account", Title: "An account at a broker:"},
		&cobra.Group{ID: "servers", Title: "For sandboxes and operators:"},
	)
	for _, c := range commands {
		// A command that is named stands alone: to make the others, and all
		// their flags, would take a tenth of the time it takes to start.
		if len(args) > 0 && args[0] != c.name && slices.ContainsFunc(commands, func(o command) bool { return o.name == args[0] }) {
			continue
		}
		cmd := c.make(a)
		cmd.GroupID = c.group
		root.AddCommand(cmd)
	}
	root.SetHelpCommand(helpCmd())
	wrapArgs(root)
	return root
}

// helpCmd is cobra's, but for a topic that there is not: that is a mistake.
func helpCmd() *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]", Short: "Help about any command",
		Example: "  agentkeys help grant",
		ValidArgsFunction: func(c *cobra.Command, args []string, _ string) (names []string, _ cobra.ShellCompDirective) {
			if at, _, err := c.Root().Find(args); err == nil {
				for _, sub := range at.Commands() {
					names = append(names, sub.Name())
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			at, rest, err := c.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return usage(c, fmt.Errorf("no help on %q: there is no such command", strings.Join(args, " ")))
			}
			at.InitDefaultHelpFlag()
			return at.Help()
		},
	}
}

// wrapArgs makes every complaint about arguments a usage error.
func wrapArgs(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			err := check(c, args)
			_, told := errors.AsType[*problem](err)
			switch {
			case err == nil || told:
				return err
			case c.HasSubCommands() && len(args) > 0:
				err = fmt.Errorf("%s has no command %q", c.CommandPath(), args[0])
				c.SuggestionsMinimumDistance = 2
				if near := c.SuggestionsFor(args[0]); len(near) > 0 {
					err = fmt.Errorf("%w; did you mean %s?", err, strings.Join(near, " or "))
				}
				return usage(c, err)
			}
			return usage(c, fmt.Errorf("write it as: %s", c.UseLine()))
		}
	}
	for _, sub := range c.Commands() {
		wrapArgs(sub)
	}
}

// welcome is `agentkeys` alone: with no state yet it says how to begin.
func (a *app) welcome(cmd *cobra.Command, args []string) error {
	p, err := a.paths()
	if err != nil {
		return err
	}
	if exists(p.Roots()) || p.Device != "" {
		return cmd.Help()
	}
	fmt.Fprint(a.stdout, `Nothing is set up yet. To lend an agent a key that it never sees:
  agentkeys up, then agentkeys store openrouter               paste the key once
  agentkeys agent create coder, then agentkeys grant coder openrouter
  agentkeys run --as coder -- python agent.py                 it holds a placeholder
Or watch all of it on local servers first: agentkeys demo
`)
	return nil
}

func (a *app) paths() (local.Paths, error) {
	p, err := local.PathsFrom(a.getenv)
	if err != nil {
		return p, failWith(exitUsage, "usage", err, "set AGENTKEYS_HOME to an absolute path")
	}
	l, err := readProfile(p)
	if l != nil {
		p.Device = l.Device
	}
	return p, err
}

func (a *app) client() (*control.Client, error) {
	p, err := a.paths()
	if err != nil {
		return nil, err
	}
	return control.NewClient(p.Control()), nil
}

func (a *app) versionCmd() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		Example: "  agentkeys version --json",
		RunE: func(*cobra.Command, []string) error {
			v := struct {
				Version string `json:"version"`
				Go      string `json:"go"`
				Commit  string `json:"commit,omitempty"`
			}{Version: version}
			if info, ok := debug.ReadBuildInfo(); ok {
				v.Go = info.GoVersion
				for _, s := range info.Settings {
					if s.Key == "vcs.revision" {
						v.Commit = s.Value
					}
				}
			}
			return a.print(v, func() { fmt.Fprintf(a.stdout, "agentkeys %s (%s)\n", v.Version, v.Go) })
		},
	}
}
