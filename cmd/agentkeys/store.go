package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/control"
	"github.com/litentry/agentkeys/internal/daemon"
	"github.com/litentry/agentkeys/internal/local"
	"github.com/litentry/agentkeys/internal/secret"
)

func (a *app) storeCmd() *cobra.Command {
	var stdin, management, force bool
	var fromEnv string
	var o local.StoreOptions
	c := &cobra.Command{
		Use:   "store SERVICE",
		Short: "Store a key you have",
		Long: `Store a key for a service, encrypted. The key is pasted at a prompt without
echo, read from standard input, or taken from an environment variable; never
from an argument, which other programs could read. The service is asked whether
the key is good before it is stored. Storing again replaces the key, also for
the agents it is lent to.

A management key makes keys: with --management it is kept beside, and lent to
nobody. From then on each new grant of the service gets a key of its own, which
is deleted at the service when the grant ends.`,
		Example: `  agentkeys store openrouter
  pass show openrouter | agentkeys store openrouter --stdin
  agentkeys store openai --from-env OPENAI_API_KEY
  agentkeys store openrouter --management`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return failWith(exitUsage, "usage", errors.New("a key is never an argument: other programs can read those, and your shell keeps them"),
					"paste it at the prompt, or use --stdin or --from-env NAME; and take the line out of your shell's history")
			}
			return cobra.ExactArgs(1)(cmd, args)
		},
		ValidArgsFunction: a.completeServices,
		RunE: func(cmd *cobra.Command, args []string) error {
			if stdin && fromEnv != "" {
				return usage(cmd, errors.New("the key comes by --stdin or by --from-env, not by both"))
			}
			if management && (o.AnyForm || o.NoVerify) {
				return usage(cmd, errors.New("a management key is always asked about, and has no known form"))
			}
			if force && !management {
				return usage(cmd, errors.New("--force is for --management"))
			}
			svc, err := agentkeys.ParseService(args[0])
			if err != nil {
				return failWith(exitUsage, "usage", fmt.Errorf("the service: %w", err),
					"give the service's name; the key itself is asked for, never an argument")
			}
			p, err := a.paths()
			if err != nil {
				return err
			}
			// Before anything is pasted: is there such a service, and somebody
			// to take the key?
			if _, err := local.ReadService(p, svc); err != nil {
				return classifyService(err)
			}
			client := control.NewClient(p.Control())
			if _, err := client.Status(cmd.Context()); err != nil {
				return err
			}
			v, err := a.readKey(cmd.Context(), svc, stdin, fromEnv)
			if err != nil {
				return err
			}
			defer v.Clear()
			if management {
				return a.storeManagement(cmd.Context(), client, svc, v, force)
			}
			res, err := client.Store(cmd.Context(), svc, v, o)
			if err != nil {
				return err
			}
			return a.print(res, func() {
				switch res.Verdict {
				case catalog.Good:
					fmt.Fprintf(a.stdout, "%s: stored, and the service says the key is good (revision %d)\n", svc, res.Revision)
				case catalog.Limited:
					fmt.Fprintf(a.stdout, "%s: stored; the key is good, but: %s (revision %d)\n", svc, res.Detail, res.Revision)
				default:
					fmt.Fprintf(a.stdout, "%s: stored, NOT verified: %s (revision %d)\n", svc, res.Detail, res.Revision)
				}
				if len(res.Agents) > 0 {
					fmt.Fprintf(a.stdout, "  renewed for: %s\n", join(res.Agents, ", "))
				}
				if fromEnv != "" {
					fmt.Fprintf(a.stdout, "  %s still holds the key in this shell: unset it, and remove it from your shell's start files\n", fromEnv)
				}
			})
		},
	}
	f := c.Flags()
	f.BoolVar(&stdin, "stdin", false, "read the key from standard input")
	f.StringVar(&fromEnv, "from-env", "", "take the key from the environment variable `NAME`")
	f.BoolVar(&o.AnyForm, "any-form", false, "accept a key that does not look like one of this service")
	f.BoolVar(&o.NoVerify, "no-verify", false, "do not ask the service whether the key is good")
	f.BoolVar(&management, "management", false, "it is a key that makes keys")
	f.BoolVar(&force, "force", false, "with --management, even if it cannot delete the keys made before")
	return c
}

func (a *app) readKey(ctx context.Context, svc agentkeys.Service, stdin bool, fromEnv string) (secret.Value, error) {
	daemon.Harden() // the key is about to be in this memory
	switch {
	case fromEnv != "":
		v := a.getenv(fromEnv)
		if v == "" {
			return secret.Value{}, failWith(exitUsage, "usage", fmt.Errorf("the environment variable %s is not set, or empty", fromEnv), "export it first, or give the name of the variable that has the key")
		}
		return secret.FromString(v), nil
	case stdin:
		v, err := secret.Read(a.stdin, local.MaxSecret)
		if errors.Is(err, secret.ErrTooLarge) {
			err = failWith(exitRefused, control.CodeBadKey, errors.New("this is too long for a key"), "pipe the key alone into the command")
		}
		if err != nil {
			return v, err
		}
		if v = trimNewline(v); v.IsZero() {
			return v, failWith(exitUsage, "usage", errors.New("standard input was empty"), "pipe the key into the command")
		}
		return v, nil
	case !a.onTerminal():
		return secret.Value{}, failWith(exitUsage, "usage", errors.New("there is no terminal to paste the key at"), "use --stdin or --from-env NAME")
	}
	v, err := a.hidden(ctx, fmt.Sprintf("Paste the key for %s (it is not shown): ", svc))
	if err == nil && v.IsZero() {
		err = failWith(exitUsage, "usage", errors.New("nothing was pasted, nothing is stored"), "run it again and paste the key")
	}
	return v, err
}

func (a *app) listCmd() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the stored keys", Args: cobra.NoArgs, Aliases: []string{"ls"},
		Example: "  agentkeys list\n  agentkeys list --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			creds, err := client.Credentials(cmd.Context())
			if err != nil {
				return err
			}
			return a.print(creds, func() {
				if len(creds) == 0 {
					fmt.Fprintln(a.stdout, "No keys yet: agentkeys store SERVICE")
					return
				}
				var rows [][]string
				for _, c := range creds {
					name, revision := c.Name, fmt.Sprint(c.Revision)
					switch {
					case c.Revision == 0:
						name, revision = name+" (a management key)", "-"
					case c.Management:
						name += " (and a management key)"
					}
					rows = append(rows, []string{c.Service.String(), name, revision, join(c.Agents, ", ")})
				}
				a.table("SERVICE NAME REVISION LENT-TO", rows)
			})
		},
	}
}

func (a *app) showCmd() *cobra.Command {
	return &cobra.Command{
		Use: "show SERVICE", Short: "Show everything about a stored key but the key", Args: cobra.ExactArgs(1),
		Example:           "  agentkeys show openrouter",
		ValidArgsFunction: a.completeStored,
		RunE: func(cmd *cobra.Command, args []string) error {
			svc, err := agentkeys.ParseService(args[0])
			if err != nil {
				return err
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			d, err := client.Credential(cmd.Context(), svc)
			if err != nil {
				return err
			}
			return a.print(d, func() {
				fmt.Fprintf(a.stdout, "%s (%s)\n", svc, d.Name)
				fmt.Fprintf(a.stdout, "  kind      %s, %d characters, not shown\n", d.Kind, d.Length)
				fmt.Fprintf(a.stdout, "  came by   %s\n", d.Route)
				fmt.Fprintf(a.stdout, "  verified  %s\n", ago(d.VerifiedAt, time.Now()))
				if !d.ExpiresAt.IsZero() {
					fmt.Fprintf(a.stdout, "  expires   %s\n", ago(d.ExpiresAt, time.Now()))
				}
				fmt.Fprintf(a.stdout, "  revision  %d, sealed under epoch %d\n", d.Revision, d.Epoch)
				if d.KeyID != "" {
					fmt.Fprintf(a.stdout, "  key id    %s\n", printable(d.KeyID))
				}
				if d.Management {
					fmt.Fprintln(a.stdout, "  minting   there is a management key: each new grant gets a key of its own")
				}
				for _, g := range d.Grants {
					fmt.Fprintf(a.stdout, "  lent to   %s: %s\n", g.Agent, terms(g))
				}
			})
		},
	}
}

func (a *app) revealCmd() *cobra.Command {
	var account bool
	c := &cobra.Command{
		Use: "reveal SERVICE", Short: "Show a stored key on the terminal, after a confirmation", Args: cobra.ExactArgs(1),
		Long: `Show a stored key. This works on a terminal only, after you typed the service's
name once more, and is recorded in the audit log. With --account it is the mail
address and the password of the account that a sign-up made for you.`,
		Example:           "  agentkeys reveal openrouter\n  agentkeys reveal openrouter --account",
		ValidArgsFunction: a.completeStored,
		RunE: func(cmd *cobra.Command, args []string) error {
			svc, err := agentkeys.ParseService(args[0])
			if err != nil {
				return err
			}
			out, isFile := a.stdout.(*os.File)
			if !a.onTerminal() || !isFile || !isTerminal(out) {
				return failWith(exitRefused, "no-terminal", errors.New("a key is revealed on a terminal only"), "run this in a terminal, without a pipe")
			}
			if a.json {
				return failWith(exitUsage, "usage", errors.New("reveal has no --json: it is for a person's eyes"), "")
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			if _, err := client.Status(cmd.Context()); err != nil {
				return err
			}
			typed, err := a.line(cmd.Context(), fmt.Sprintf("This shows the key and is recorded. Type %s to go on: ", svc))
			if err != nil {
				return err
			}
			if typed != svc.String() {
				return failWith(exitRefused, "not-confirmed", errors.New("not confirmed, nothing is shown"), "")
			}
			daemon.Harden()
			if account {
				return a.revealAccount(cmd.Context(), client, svc)
			}
			v, err := client.Reveal(cmd.Context(), svc)
			if err != nil {
				return err
			}
			defer v.Clear()
			_, err = out.Write(append(v.Expose(), '\n'))
			return err
		},
	}
	c.Flags().BoolVar(&account, "account", false, "show what a sign-up logs in with at the service's pages")
	return c
}

func (a *app) rmCmd() *cobra.Command {
	var force, management, account bool
	c := &cobra.Command{
		Use: "rm SERVICE", Short: "Remove a stored key", Args: cobra.ExactArgs(1),
		Long: `Remove a stored key. A key that is lent is removed only with --force, which
revokes its grants first. A key that you stored stays valid at the service:
revoke it there if it should not. One that a management key made is deleted
there. A management key itself goes with --management, and only with --force
while keys that it made are alive. What a sign-up logs in with goes with
--account: the account itself stays, and you cannot get at it any more unless
you know its password.`,
		Example:           "  agentkeys rm openrouter\n  agentkeys rm openrouter --force\n  agentkeys rm openrouter --management",
		ValidArgsFunction: a.completeStored,
		RunE: func(cmd *cobra.Command, args []string) error {
			svc, err := agentkeys.ParseService(args[0])
			if err != nil {
				return err
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			switch {
			case management && account:
				return usage(cmd, errors.New("--management and --account are two things: one at a time"))
			case management:
				err = client.RemoveManagement(cmd.Context(), svc, force)
			case account:
				err = a.forgetAccount(cmd.Context(), client, svc)
			default:
				err = client.Remove(cmd.Context(), svc, force)
			}
			if err != nil {
				return err
			}
			return a.print(map[string]any{"service": svc, "removed": true}, func() { fmt.Fprintf(a.stdout, "%s: removed\n", svc) })
		},
	}
	c.Flags().BoolVar(&force, "force", false, "revoke the grants for it first")
	c.Flags().BoolVar(&management, "management", false, "remove the management key, not the key itself")
	c.Flags().BoolVar(&account, "account", false, "forget what a sign-up logs in with")
	return c
}
