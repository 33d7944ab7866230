package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/litentry/agentkeys/internal/control"
	"github.com/litentry/agentkeys/internal/device"
	"github.com/litentry/agentkeys/internal/durable"
	"github.com/litentry/agentkeys/internal/local"
)

func (a *app) logoutCmd() *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use: "logout", Short: "Log this machine out at its broker", Args: cobra.NoArgs,
		Long: `Stop the background process, have the broker forget this machine, and destroy
its key. Your keys and grants at the broker stay, and so does the audit log on
this machine. Logging out what is not logged in is not an error.`,
		Example: "  agentkeys logout\n  agentkeys logout --force",
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := a.paths()
			if err != nil {
				return err
			}
			l, err := readProfile(p)
			if err != nil {
				return err
			}
			if l == nil {
				return a.print(map[string]bool{"was_logged_in": false}, func() { fmt.Fprintln(a.stdout, "this machine was not logged in") })
			}
			// With the login goes the record of them: nobody would delete them.
			if left := madeKeys(p); left > 0 && !force {
				return failWith(exitConflict, control.CodeConflict,
					fmt.Errorf("there are %d keys at services that were made from this machine, and only it can delete them", left),
					"revoke their grants and wait until 'agentkeys doctor' shows none; or add --force, and delete them at the services yourself")
			}
			if err := a.stopFor(cmd.Context(), p); err != nil {
				return err
			}
			told := a.tellBroker(cmd.Context(), l)
			if told != nil && !force {
				return told
			}
			if err := forgetLogin(cmd.Context(), p, l); err != nil && !force {
				return err
			}
			return a.print(map[string]bool{"was_logged_in": true, "broker_told": told == nil}, func() {
				fmt.Fprintf(a.stdout, "logged out of %s\n", l.Issuer)
				if told != nil {
					fmt.Fprintf(a.stdout, "The broker was not told: %v\nFrom another machine: agentkeys devices revoke %s\n", told, l.Device)
				}
			})
		},
	}
	c.Flags().BoolVar(&force, "force", false, "log out here even if the broker cannot be told, or keys stay alive")
	return c
}

// madeKeys counts what is remembered of keys that services made for the grants
// of a login, or of this laptop.
func madeKeys(p local.Paths) int {
	files, _ := filepath.Glob(filepath.Join(p.Minted(), "*.json"))
	return len(files)
}

// stopFor stops the background process, if it runs.
func (a *app) stopFor(ctx context.Context, p local.Paths) error {
	if err := control.NewClient(p.Control()).Stop(ctx); err != nil && !errors.Is(err, control.ErrDown) {
		return err
	}
	return a.waitUnlocked(ctx, filepath.Clean(p.Lock()))
}

func (a *app) tellBroker(ctx context.Context, l *profile) error {
	key, err := l.openDevice(ctx)
	if err != nil {
		return err
	}
	defer key.Clear()
	client, err := brokerOptions(l.Issuer, key, slog.New(slog.DiscardHandler)).Client()
	if err != nil {
		return explainBroker(err)
	}
	defer client.Close()
	if err := client.Logout(ctx); err != nil {
		p := classify(explainBroker(err))
		return failWith(p.exit, p.code, fmt.Errorf("the broker was not told: %w", p.err), "try again, or log out here alone with --force")
	}
	return nil
}

// forgetLogin destroys the key first: a login without it is found out, a key
// without a login by nobody.
func forgetLogin(ctx context.Context, p local.Paths, l *profile) error {
	err := device.Forget(ctx, l.Place, l.KeyID)
	if rerr := durable.Remove(p.Login()); rerr != nil && !isMissing(rerr) {
		err = errors.Join(err, rerr)
	}
	return explainBroker(err)
}
