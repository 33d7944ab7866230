package main

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/control"
)

func shortContext() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), 2*time.Second)
}

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

func (a *app) completeServices(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	for _, id := range catalog.IDs() {
		out = append(out, id.String())
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

func (a *app) completeStored(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.ask(func(ctx context.Context, c *control.Client) (out []string, err error) {
		creds, err := c.Credentials(ctx)
		for _, cr := range creds {
			out = append(out, cr.Service.String())
		}
		return out, err
	})
}

func (a *app) completeAgents(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.ask(func(ctx context.Context, c *control.Client) (out []string, err error) {
		agents, err := c.Agents(ctx)
		for _, ag := range agents {
			out = append(out, ag.Label.String())
		}
		return out, err
	})
}

func (a *app) completeAgentService(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	switch len(args) {
	case 0:
		return a.completeAgents(cmd, args, word)
	case 1:
		return a.completeServices(cmd, nil, word)
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// ask completes from the running process; without one there is nothing to
// offer, which is not an error.
func (a *app) ask(f func(context.Context, *control.Client) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	client, err := a.client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := shortContext()
	defer cancel()
	out, _ := f(ctx, client)
	return out, cobra.ShellCompDirectiveNoFileComp
}

// classifyService gives an unknown service the cure that the process gives.
func classifyService(err error) error {
	if errors.Is(err, catalog.ErrUnknown) {
		return failWith(exitNotFound, control.CodeUnknown, err, "list the services with 'agentkeys services', or add your own with 'agentkeys services add FILE'")
	}
	return explain(err)
}
