package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/litentry/agentkeys/internal/control"
	"github.com/litentry/agentkeys/internal/signer"
)

func (a *app) passphraseCmd() *cobra.Command {
	var oldFile, newFile string
	c := &cobra.Command{
		Use: "passphrase", Short: "Change the passphrase that seals your keys", Args: cobra.NoArgs,
		Long: `Change the passphrase that opens the signer's roots. Stored keys, agents and the
background process are not touched. Copies of the old file, such as backups,
still open with the old passphrase: if others know it, run 'agentkeys rotate' as
well.`,
		Example: "  agentkeys passphrase\n  agentkeys passphrase --passphrase-file old.txt --new-passphrase-file new.txt",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			p, err := a.paths()
			if err != nil {
				return err
			}
			if !exists(p.Roots()) {
				return failWith(exitNotFound, "not-found", errors.New("nothing is set up yet"), "start with 'agentkeys up'")
			}
			// An agent's process is turned away at an owner's door.
			if _, err := control.NewClient(p.Control()).Agents(ctx); err != nil && !errors.Is(err, control.ErrDown) {
				return err
			}
			keeper, err := readCustody(p.Custody())
			if err != nil {
				return err
			}
			if keeper.Keeper == keeperKeychain {
				return failWith(exitConflict, "conflict", errors.New("your keys are sealed by a secret in the OS keychain: there is no passphrase"), "")
			}
			free, err := lockRoots(ctx, p)
			if err != nil {
				return err
			}
			defer free()
			key, err := a.fileKey(ctx, p, oldFile)
			if err != nil {
				return err
			}
			defer key.Clear()
			roots, err := signer.OpenFile(p.Roots(), key)
			if err != nil {
				return explain(err)
			}
			defer roots.Clear()
			v, err := a.passphrase(ctx, newFile, true)
			if err != nil {
				return err
			}
			next, err := signer.Passphrase(v)
			if err != nil {
				return err
			}
			defer next.Clear()
			if err := signer.SaveFile(p.Roots(), roots, next); err != nil {
				return explain(err)
			}
			return a.print(map[string]bool{"changed": true}, func() { fmt.Fprintln(a.stdout, "the passphrase is changed") })
		},
	}
	c.Flags().StringVar(&oldFile, "passphrase-file", "", "read the present passphrase from a `FILE` only you can read (or AGENTKEYS_PASSPHRASE_FILE)")
	c.Flags().StringVar(&newFile, "new-passphrase-file", "", "read the new passphrase from a `FILE` only you can read")
	return c
}
