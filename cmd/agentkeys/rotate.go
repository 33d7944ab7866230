package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/litentry/agentkeys/internal/control"
	"github.com/litentry/agentkeys/internal/durable"
	"github.com/litentry/agentkeys/internal/signer"
)

func (a *app) rotateCmd() *cobra.Command {
	var passphraseFile string
	c := &cobra.Command{
		Use: "rotate [SERVICE]", Short: "Seal every stored key anew, or have a service make new ones", Args: cobra.MaximumNArgs(1),
		Long: `Make a new sealing root, seal every stored key and every agent's copy anew under
it, and destroy the old root. Keys and agents keep working meanwhile. It may be
interrupted at any point: run it again and it goes on where it stopped.

On a machine that is logged in at a broker the roots are the signer's, and its
operator makes and destroys them: there, everything is sealed anew under the
root that is the newest.

With a SERVICE whose management key is stored, the service makes new keys: one
for each grant and, if you have stored one, your own. The old ones that it had
made are deleted there once requests under way are over.`,
		ValidArgsFunction: a.completeStored,
		Example:           "  agentkeys rotate\n  agentkeys rotate openrouter\n  agentkeys rotate --passphrase-file ~/.agentkeys-passphrase",
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			if len(args) == 1 {
				return a.rotateKey(ctx, args[0])
			}
			p, err := a.paths()
			if err != nil {
				return err
			}
			client := control.NewClient(p.Control())
			if p.Device != "" {
				return a.reseal(ctx, client)
			}
			// An owner's door: whoever may not use it has changed nothing yet.
			if _, err := client.Agents(ctx); err != nil {
				return err
			}
			if !exists(p.Roots()) {
				return rootsMissing(p)
			}
			// One rotation at a time: two would each add a root of their own.
			free, err := durable.Lock(p.Roots() + ".lock")
			if errors.Is(err, durable.ErrLocked) {
				return failWith(exitConflict, "conflict", errors.New("a rotation is under way"), "wait for it to end")
			}
			if err != nil {
				return err
			}
			defer free()
			key, err := a.fileKey(ctx, p, passphraseFile)
			if err != nil {
				return err
			}
			defer key.Clear()
			roots, err := signer.OpenFile(p.Roots(), key)
			if err != nil {
				return explain(err)
			}
			defer roots.Clear()
			next := roots
			resumed := roots.Epochs() > 1
			if !resumed {
				if next, err = roots.AddEpoch(); err != nil {
					return err
				}
				// On disk before anything is sealed under it.
				if err := signer.SaveFile(p.Roots(), next, key); err != nil {
					return explain(err)
				}
			}
			text, err := signer.EncodeRoots(next)
			if err != nil {
				return err
			}
			defer text.Clear()
			sealed := 0
			err = client.Rotate(ctx, text, a.sealing(&sealed))
			if err != nil {
				return err
			}
			last, err := next.RetireBefore(next.Epoch())
			if err != nil {
				return err
			}
			// The process forgets the old root only when the file has.
			if err := signer.SaveFile(p.Roots(), last, key); err != nil {
				return explain(err)
			}
			lastText, err := signer.EncodeRoots(last)
			if err != nil {
				return err
			}
			defer lastText.Clear()
			if err := client.Retire(ctx, lastText); err != nil {
				return err
			}
			answer := map[string]any{"epoch": last.Epoch(), "sealed": sealed, "resumed": resumed}
			return a.print(answer, func() {
				fmt.Fprintf(a.stdout, "%d sealed anew under epoch %d; the old root is destroyed\n", sealed, last.Epoch())
			})
		},
	}
	c.Flags().StringVar(&passphraseFile, "passphrase-file", "", "read the passphrase from a `FILE` only you can read (or AGENTKEYS_PASSPHRASE_FILE)")
	return c
}

// sealing shows what takes more than a second, and counts.
func (a *app) sealing(sealed *int) func(control.Progress) {
	began := time.Now()
	return func(pr control.Progress) {
		*sealed = pr.Done
		if time.Since(began) > time.Second && !a.json {
			fmt.Fprintf(a.stderr, "\rsealed %d of %d ", pr.Done, pr.Total)
		}
	}
}

// reseal seals everything anew under the newest root of the broker's signer.
func (a *app) reseal(ctx context.Context, client *control.Client) error {
	sealed := 0
	epoch, err := client.Reseal(ctx, a.sealing(&sealed))
	if err != nil {
		return err
	}
	return a.print(map[string]any{"epoch": epoch, "sealed": sealed}, func() {
		fmt.Fprintf(a.stdout, "%d sealed anew under epoch %d of the signer\n", sealed, epoch)
	})
}
