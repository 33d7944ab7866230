package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/brokerclient"
	"github.com/litentry/agentkeys/internal/durable"
)

func (a *app) cloudTokenCmd() *cobra.Command {
	var label string
	c := &cobra.Command{
		Use: "token FILE", Short: "Write a token for 'cloud verify' to a file", Args: cobra.ExactArgs(1),
		Long: `Write a web-identity token of this machine's wallet to FILE, for a few minutes,
as 'agentkeys cloud verify' wants two of them; with --agent one of an agent of
yours. Whoever has the file has that wallet's part of the bucket as long.`,
		Example: "  agentkeys cloud token a.jwt\n  agentkeys cloud token b.jwt --agent ci",
		RunE: func(cmd *cobra.Command, args []string) error {
			return explainBroker(a.cloudToken(cmd.Context(), label, args[0]))
		},
	}
	c.Flags().StringVar(&label, "agent", "", "a token of the agent `LABEL` instead")
	return c
}

func (a *app) cloudToken(ctx context.Context, label, file string) error {
	l, client, done, err := a.ownBroker(ctx)
	if err != nil {
		return err
	}
	defer done()
	wallet := l.Wallet
	if label != "" {
		if wallet, err = agentWallet(ctx, client, label); err != nil {
			return err
		}
	}
	mint, err := minter(ctx, l, client)
	if err != nil {
		return err
	}
	m, err := mint(ctx, wallet)
	if err != nil {
		return err
	}
	if err := durable.WriteFile(file, []byte(m.Token+"\n")); err != nil {
		return err
	}
	return a.print(map[string]any{"file": file, "wallet": wallet, "expires": m.Expires}, func() {
		fmt.Fprintf(a.stdout, "%s: a token of wallet %s, good until %s\n", file, wallet, m.Expires.UTC().Format("15:04:05 MST"))
	})
}

// ownBroker is the broker that this machine is logged in at. done forgets the
// device's key.
func (a *app) ownBroker(ctx context.Context) (l *profile, client *brokerclient.Client, done func(), err error) {
	p, err := a.paths()
	if err != nil {
		return nil, nil, nil, err
	}
	if l, err = readProfile(p); err != nil {
		return nil, nil, nil, err
	}
	if l == nil {
		return nil, nil, nil, failWith(exitRefused, "logged-out", errors.New("this machine is not logged in at a broker"), "run 'agentkeys login --broker URL'")
	}
	key, err := l.openDevice(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	if client, err = brokerOptions(l.Issuer, key, slog.New(slog.DiscardHandler)).Client(); err != nil {
		key.Clear()
		return nil, nil, nil, err
	}
	return l, client, func() {
		client.Close()
		key.Clear()
	}, nil
}

// minter has the broker make tokens for the cloud, about wallets of l's.
func minter(ctx context.Context, l *profile, client *brokerclient.Client) (func(context.Context, agentkeys.Wallet) (brokerclient.Minted, error), error) {
	cfg, err := client.Config(ctx)
	if err != nil {
		return nil, err
	}
	if cfg.Cloud == nil {
		return nil, failWith(exitConflict, "conflict", errors.New("the broker has no cloud"), "set cloud in broker.yaml and start it again")
	}
	return func(ctx context.Context, w agentkeys.Wallet) (brokerclient.Minted, error) {
		if w == l.Wallet {
			w = agentkeys.Wallet{} // the session's own
		}
		return client.Mint(ctx, cfg.Cloud.Audience, w, 0)
	}, nil
}

func agentWallet(ctx context.Context, client *brokerclient.Client, label string) (agentkeys.Wallet, error) {
	name, err := agentkeys.ParseAgent(label)
	if err != nil {
		return agentkeys.Wallet{}, err
	}
	agents, err := client.Agents(ctx)
	if err != nil {
		return agentkeys.Wallet{}, err
	}
	for _, g := range agents {
		if g.Label == name {
			return g.Wallet, nil
		}
	}
	return agentkeys.Wallet{}, failWith(exitNotFound, "not-found", fmt.Errorf("there is no agent %s", name), "see 'agentkeys agent list'")
}
