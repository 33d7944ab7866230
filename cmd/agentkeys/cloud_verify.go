package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/spf13/cobra"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/cloud"
	"github.com/litentry/agentkeys/internal/secret"
)

// maxToken is more than any token has, in bytes.
const maxToken = 16 << 10

func (a *app) cloudVerifyCmd() *cobra.Command {
	var f cloudFlags
	var tokens []string
	var untagged, brokerProfile, agent string
	c := &cobra.Command{
		Use: "verify", Short: "Prove in the cloud itself that wallets are kept apart", Args: cobra.NoArgs,
		Long: `Try as two wallets, as the broker and as nobody what must be allowed and what
must be denied, and print a table. It ends with 1 if the cloud does anything
else, and if the policies in force differ from those planned. What it writes it
removes. On a machine that is logged in at the broker, --agent makes the tokens:
the two wallets are your own and that agent's. Elsewhere each token file holds
one web-identity token for sts.amazonaws.com, as the broker makes it for a
wallet. Without the other two, what they are for is said to be not tried.`,
		Example: `  agentkeys cloud verify --agent probe
  agentkeys cloud verify --token-file a.jwt --token-file b.jwt
  agentkeys cloud verify --token-file a.jwt --token-file b.jwt --broker-profile broker`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			probe, done, err := a.probe(ctx, agent, tokens, untagged)
			if err != nil {
				return explainCloud(err)
			}
			defer done()
			if brokerProfile != "" {
				conf, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithSharedConfigProfile(brokerProfile))
				if err != nil {
					return failWith(exitUsage, "usage", err, "name a profile of your AWS configuration")
				}
				probe.Broker = aws.NewCredentialsCache(conf.Credentials)
			}
			c, err := a.openCloud(ctx, f)
			if err != nil {
				return err
			}
			tell, shown := a.progress()
			report, err := c.Verify(ctx, probe, tell)
			shown()
			if err != nil {
				return explainCloud(err)
			}
			if err := a.print(report, func() { a.showReport(report) }); err != nil {
				return err
			}
			if !report.Good() {
				return failWith(exitFailure, "surprise", errors.New(firstSurprise(report)), "look at 'agentkeys cloud plan', and at who else administers the account")
			}
			return nil
		},
	}
	f.add(c, true)
	c.Flags().StringVar(&agent, "agent", "", "on a machine that is logged in, try as yourself and as the agent `LABEL`")
	c.Flags().StringArrayVar(&tokens, "token-file", nil, "read a wallet's token from a `FILE` only you can read; give two")
	c.Flags().StringVar(&untagged, "untagged-token-file", "", "read a token without the wallet's tag from a `FILE`")
	c.Flags().StringVar(&brokerProfile, "broker-profile", "", "act as the broker with the AWS credentials of profile `NAME`")
	c.MarkFlagsMutuallyExclusive("agent", "token-file")
	return c
}

// probe finds the tokens of two wallets. done forgets the key that made them.
func (a *app) probe(ctx context.Context, agent string, files []string, untagged string) (p cloud.Probe, done func(), err error) {
	done = func() {}
	if agent == "" {
		p, err = probeOf(files, untagged)
		return p, done, err
	}
	if p, done, err = a.probeOfLogin(ctx, agent); err == nil && untagged != "" {
		err = readUntagged(&p, untagged)
	}
	return p, done, err
}

// probeOfLogin has the broker make the tokens.
func (a *app) probeOfLogin(ctx context.Context, agent string) (p cloud.Probe, done func(), err error) {
	l, client, done, err := a.ownBroker(ctx)
	if err != nil {
		return p, func() {}, explainBroker(err)
	}
	other, err := agentWallet(ctx, client, agent)
	if err != nil {
		return p, done, explainBroker(err)
	}
	mint, err := minter(ctx, l, client)
	if err != nil {
		return p, done, explainBroker(err)
	}
	p.Wallets = [2]agentkeys.Wallet{l.Wallet, other}
	p.Token = func(ctx context.Context, w agentkeys.Wallet) (string, error) {
		t, err := mint(ctx, w)
		return t.Token, err
	}
	return p, done, nil
}

// probeOf reads the tokens.
func probeOf(files []string, untagged string) (p cloud.Probe, err error) {
	if len(files) != 2 {
		return p, failWith(exitUsage, "usage", fmt.Errorf("there are %d token files and not 2", len(files)), "give --agent LABEL on a machine that is logged in, or --token-file twice, with tokens of two wallets")
	}
	tokens := map[agentkeys.Wallet]secret.Value{}
	for i, path := range files {
		v, err := secretFile(path, maxToken)
		if err != nil {
			return p, err
		}
		if p.Wallets[i], err = cloud.WalletOfToken(string(v.Expose())); err != nil {
			return p, fmt.Errorf("%s: %w", path, err)
		}
		tokens[p.Wallets[i]] = v
	}
	if len(tokens) != 2 {
		return p, failWith(exitUsage, "usage", errors.New("both tokens are of one wallet"), "give tokens of two wallets")
	}
	p.Token = func(_ context.Context, w agentkeys.Wallet) (string, error) { return string(tokens[w].Expose()), nil }
	if untagged != "" {
		err = readUntagged(&p, untagged)
	}
	return p, err
}

func readUntagged(p *cloud.Probe, path string) error {
	v, err := secretFile(path, maxToken)
	p.Untagged = func(context.Context) (string, error) { return string(v.Expose()), nil }
	return err
}

func (a *app) showReport(r cloud.Report) {
	var rows [][]string
	for _, row := range r.Rows {
		mark := "ok"
		switch {
		case row.Got == cloud.NotTried:
			mark = "-"
		case row.Surprise():
			mark = "SURPRISE"
		}
		rows = append(rows, []string{mark, row.Who, row.Does, string(row.Want), string(row.Got), row.Detail})
	}
	a.table("RESULT WHO DOES WANT GOT DETAIL", rows)
	if len(r.Findings) > 0 {
		fmt.Fprintln(a.stdout, "wrong with the policies in force:")
		showFindings(a.stdout, r.Findings)
	}
	for _, key := range r.Left {
		fmt.Fprintf(a.stdout, "left behind: %s\n", key)
	}
	fmt.Fprintf(a.stdout, "%d tried, %d surprises, %d not tried\n", len(r.Rows)-len(r.NotTried()), len(r.Surprises()), len(r.NotTried()))
}

// firstSurprise says in one line what is wrong.
func firstSurprise(r cloud.Report) string {
	if s := r.Surprises(); len(s) > 0 {
		return fmt.Sprintf("%s: %s: %s, and it should be %s", s[0].Who, s[0].Does, s[0].Got, s[0].Want)
	}
	switch {
	case len(r.Left) > 0:
		return fmt.Sprintf("%d probe objects could not be removed", len(r.Left))
	case len(r.Findings) > 0:
		return fmt.Sprintf("%s is wrong: %s", r.Findings[0].Document, r.Findings[0].ID)
	}
	return "nothing at all was allowed, so that nothing is proved"
}
