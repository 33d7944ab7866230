package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/smithy-go"
	"github.com/spf13/cobra"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/cloud"
	"github.com/litentry/agentkeys/internal/cloudpolicy"
	"github.com/litentry/agentkeys/internal/conf"
)

// cloudFlags are those of every command that reads cloud.yaml.
type cloudFlags struct{ config, profile string }

func (f *cloudFlags) add(c *cobra.Command, connects bool) {
	c.Flags().StringVar(&f.config, "config", "cloud.yaml", "read the configuration from `FILE`")
	if connects {
		c.Flags().StringVar(&f.profile, "profile", "", "use the AWS credentials of profile `NAME`")
	}
}

// open reads the configuration and asks whose account this is.
func (a *app) openCloud(ctx context.Context, f cloudFlags) (*cloud.Cloud, error) {
	config, err := loadCloud(f.config)
	if err != nil {
		return nil, err
	}
	c, err := cloud.Open(ctx, config, nil, f.profile)
	if err != nil {
		return nil, explainCloud(err)
	}
	if _, err := c.CheckAccount(ctx); err != nil {
		return nil, explainCloud(err)
	}
	return c, nil
}

func (a *app) cloudCmd() *cobra.Command {
	c := &cobra.Command{
		Use: "cloud", Short: "Set up, prove and remove the bucket and roles in AWS", Args: cobra.NoArgs,
		Long: `Set up the cloud so that it keeps wallets apart itself: a bucket, the broker as
identity provider, and roles whose policies name the wallet's session tag; and,
if cloud.yaml has a part about mail, what receives mail and sorts it. Nothing is
changed that was not shown first.`,
		Example: `  agentkeys cloud plan --config cloud.yaml
  agentkeys cloud apply --config cloud.yaml
  agentkeys cloud verify --token-file a.jwt --token-file b.jwt`,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.cloudPlanCmd(), a.cloudApplyCmd(), a.cloudVerifyCmd(), a.cloudDestroyCmd(), a.cloudTokenCmd(), a.cloudDNSCmd(), a.cloudRenderCmd(), a.cloudLintCmd())
	return c
}

func (a *app) cloudPlanCmd() *cobra.Command {
	var f cloudFlags
	c := &cobra.Command{
		Use: "plan", Short: "Show what apply would change", Args: cobra.NoArgs,
		Long: `Compare the cloud with cloud.yaml and show each difference, and what is wrong
with the policies that are in force. Of a bucket that was there before it shows
what of its policy is too wide. Nothing is changed.`,
		Example: "  agentkeys cloud plan\n  agentkeys cloud plan --config cloud.yaml --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.openCloud(cmd.Context(), f)
			if err != nil {
				return err
			}
			tell, done := a.progress()
			plan, err := c.Plan(cmd.Context(), tell)
			done()
			if err != nil {
				return explainCloud(err)
			}
			return a.print(plan, func() { a.showPlan(a.stdout, plan) })
		},
	}
	f.add(c, true)
	return c
}

func (a *app) showPlan(w io.Writer, p cloud.Plan) {
	for _, ch := range p.Changes {
		switch ch.Action {
		case cloud.Unchanged:
		case cloud.Left:
			fmt.Fprintf(w, "%s %s: %s\n", ch.Action, ch.Part, ch.Why)
		default:
			fmt.Fprintf(w, "%s %s\n%s\n\n", ch.Action, ch.Part, cloud.Diff(ch.Have, ch.Want))
		}
	}
	if p.Imported {
		fmt.Fprintln(w, "the bucket was there before: it is tightened, and 'cloud destroy' will leave it")
	}
	if len(p.Findings) > 0 {
		fmt.Fprintln(w, "wrong with the policies as they are now:")
		showFindings(w, p.Findings)
	}
	for _, n := range p.Notes {
		fmt.Fprintf(w, "note: %s\n", n)
	}
	if p.Empty() {
		fmt.Fprintln(w, "nothing to change")
		return
	}
	fmt.Fprintf(w, "%d to change\n", p.Pending())
}

func showFindings(w io.Writer, list []cloudpolicy.Finding) {
	for _, f := range list {
		at := ""
		if f.Where != "" {
			at = " at " + f.Where
		}
		fmt.Fprintf(w, "%s: %s%s: %s\n  %s\n  fix: %s\n", f.Severity, f.Document, at, f.ID, f.Why, f.Fix)
	}
}

func (a *app) cloudApplyCmd() *cobra.Command {
	var f cloudFlags
	var yes bool
	c := &cobra.Command{
		Use: "apply", Short: "Show the plan, ask, and change the cloud", Args: cobra.NoArgs,
		Long: `Show what 'cloud plan' shows, ask, and make the changes in order. It may be
interrupted and run again: it changes what still differs and nothing else. If
somebody else changes the cloud after the plan was shown, it stops.`,
		Example: "  agentkeys cloud apply\n  agentkeys cloud apply --yes --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			c, err := a.openCloud(ctx, f)
			if err != nil {
				return err
			}
			tell, done := a.progress()
			defer done()
			plan, err := c.Plan(ctx, tell)
			done()
			if err != nil {
				return explainCloud(err)
			}
			if !a.json {
				a.showPlan(a.stdout, plan)
			}
			if plan.Empty() {
				return a.print(map[string]int{"changed": 0}, func() {})
			}
			if !yes {
				if !a.onTerminal() {
					return failWith(exitRefused, "not-confirmed", errors.New("nobody confirmed the plan, nothing is changed"), "read it, then repeat with --yes")
				}
				answer, err := a.line(ctx, "Change this? Type yes: ")
				if err != nil {
					return err
				}
				if answer != "yes" {
					return failWith(exitRefused, "not-confirmed", errors.New("not confirmed, nothing is changed"), "")
				}
			}
			if err := c.Apply(ctx, plan, tell); err != nil {
				return explainCloud(err)
			}
			domains, err := c.DNS(ctx)
			if err != nil {
				return explainCloud(err)
			}
			done()
			return a.print(map[string]int{"changed": plan.Pending()}, func() {
				fmt.Fprintf(a.stdout, "%d changed; now prove it with 'agentkeys cloud verify'\n", plan.Pending())
				role := c.Names.RoleARN(c.Names.DataRole)
				if c.Compatible != "" {
					role += "-{wallet}"
				}
				fmt.Fprintf(a.stdout, "for broker.yaml: cloud.region %s, cloud.bucket %s, cloud.role_arn %s\n", c.Names.Region, c.Names.Bucket, role)
				if len(domains) > 0 {
					fmt.Fprintln(a.stdout, "for the mail domains' DNS:")
					a.showDNS(domains)
				}
			})
		},
	}
	f.add(c, true)
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}

func (a *app) cloudDestroyCmd() *cobra.Command {
	var f cloudFlags
	var confirm string
	var deleteData bool
	c := &cobra.Command{
		Use: "destroy", Short: "Remove what is marked as ours from the cloud", Args: cobra.NoArgs,
		Long: `Remove the mail part, the roles, the identity provider and the bucket, each
only if it carries the mark that apply gave it. What cloud.yaml no longer names
is not looked for: remove a mail part before you take it out of the file. A
bucket with objects is refused without --delete-data, which deletes every
version of every credential and mail.`,
		Example: "  agentkeys cloud destroy\n  agentkeys cloud destroy --confirm my-bucket --delete-data",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			c, err := a.openCloud(ctx, f)
			if err != nil {
				return err
			}
			tell, done := a.progress()
			defer done()
			r, err := c.PlanRemoval(ctx, tell)
			done()
			if err != nil {
				return explainCloud(err)
			}
			if !a.json {
				for _, s := range r.Remove {
					fmt.Fprintln(a.stdout, "remove "+s)
				}
				for _, s := range r.Keep {
					fmt.Fprintln(a.stdout, "keep   "+s)
				}
			}
			if r.Empty() {
				return a.print(r, func() { fmt.Fprintln(a.stdout, "nothing to remove") })
			}
			if r.Objects && !deleteData {
				return explainCloud(fmt.Errorf("bucket %s: %w", c.Names.Bucket, cloud.ErrNotEmpty))
			}
			if confirm == "" && a.onTerminal() {
				question := "This cannot be undone. Type the name of the bucket: "
				if r.Objects {
					question = "This deletes everybody's credentials for good. Type the name of the bucket: "
				}
				if confirm, err = a.line(ctx, question); err != nil {
					return err
				}
			}
			if confirm != c.Names.Bucket {
				return failWith(exitRefused, "not-confirmed", errors.New("the bucket's name was not given, nothing is removed"), "repeat with --confirm "+c.Names.Bucket)
			}
			if err := c.Destroy(ctx, r, deleteData, tell); err != nil {
				return explainCloud(err)
			}
			done()
			return a.print(r, func() { fmt.Fprintf(a.stdout, "%d removed\n", len(r.Remove)) })
		},
	}
	f.add(c, true)
	c.Flags().StringVar(&confirm, "confirm", "", "the name of the `BUCKET`, instead of being asked for it")
	c.Flags().BoolVar(&deleteData, "delete-data", false, "delete every version of every object in the bucket")
	return c
}

func (a *app) cloudRenderCmd() *cobra.Command {
	var f cloudFlags
	var out string
	var wallets []string
	c := &cobra.Command{
		Use: "render [NAME]", Short: "Print the policies and the CloudFormation template", Args: cobra.MaximumNArgs(1),
		Long: `Print every policy, and all of it as CloudFormation, to review or to apply by
other means; with NAME one of them alone. Nothing is asked of the cloud. With
--wallet the policies are unrolled, each wallet written out, for servers that
know session tags and substitute no variables.`,
		Example: "  agentkeys cloud render --out policies\n  agentkeys cloud render cloudformation.yaml",
		RunE: func(cmd *cobra.Command, args []string) error {
			config, err := loadCloud(f.config)
			if err != nil {
				return err
			}
			var unrolled []agentkeys.Wallet
			for _, s := range wallets {
				w, err := agentkeys.ParseWallet(s)
				if err != nil {
					return failWith(exitUsage, "usage", err, "write it as 'agentkeys whoami' has it")
				}
				unrolled = append(unrolled, w)
			}
			files, err := cloud.Render(config, unrolled...)
			if err != nil {
				return err
			}
			if len(args) == 1 {
				var names []string
				for _, file := range files {
					if file.Name == args[0] || file.Name == args[0]+".json" {
						files, names = []cloud.File{file}, nil
						break
					}
					names = append(names, file.Name)
				}
				if names != nil {
					return failWith(exitNotFound, "not-found", fmt.Errorf("there is no document %q", args[0]), "the names are "+strings.Join(names, ", "))
				}
			}
			if out != "" {
				return a.writeFiles(out, files)
			}
			return a.print(files, func() {
				for _, file := range files {
					if len(files) > 1 {
						fmt.Fprintf(a.stdout, "# %s\n", file.Name)
					}
					fmt.Fprint(a.stdout, file.Text)
				}
			})
		},
	}
	f.add(c, false)
	c.Flags().StringVar(&out, "out", "", "write each to a file in `DIR`")
	c.Flags().StringArrayVar(&wallets, "wallet", nil, "unroll the policies for this `WALLET`; repeat for more")
	return c
}

func (a *app) writeFiles(dir string, files []cloud.File) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var names []string
	for _, file := range files {
		path := filepath.Join(dir, file.Name)
		if err := os.WriteFile(path, []byte(file.Text), 0o644); err != nil {
			return err
		}
		names = append(names, path)
	}
	return a.print(names, func() { fmt.Fprintln(a.stdout, strings.Join(names, "\n")) })
}

func (a *app) cloudLintCmd() *cobra.Command {
	var config string
	c := &cobra.Command{
		Use: "lint FILE…", Short: "Look for known mistakes in AWS policy documents", Args: cobra.MinimumNArgs(1),
		Long: `Read AWS policy documents and name what is known to be wrong with them: where,
why, and what to write instead. Files given together are read as belonging
together. With --config it also looks for what a bucket's policy leaves out.`,
		Example: "  agentkeys cloud lint bucket.json\n  agentkeys cloud lint --config cloud.yaml policies/*-{trust,permissions}.json policies/bucket.json",
		RunE: func(cmd *cobra.Command, args []string) error {
			var docs []cloudpolicy.Named
			for _, path := range args {
				data, err := os.ReadFile(path)
				if err != nil {
					return failWith(exitNotFound, "not-found", err, "name a file with a policy in JSON")
				}
				doc, err := cloudpolicy.Parse(data)
				if err != nil {
					return failWith(exitUsage, "policy", fmt.Errorf("%s: %w", path, err), "AWS would refuse it too, or read it otherwise than it looks")
				}
				docs = append(docs, cloudpolicy.Named{Name: path, Kind: cloudpolicy.KindOf(doc), Document: doc})
			}
			found := cloudpolicy.Lint(docs...)
			if config != "" {
				c, err := loadCloud(config)
				if err != nil {
					return err
				}
				found = cloudpolicy.LintFor(c.Names, docs...)
			}
			errs := 0
			for _, f := range found {
				if f.Severity == cloudpolicy.Error {
					errs++
				}
			}
			if found == nil {
				found = []cloudpolicy.Finding{}
			}
			if err := a.print(found, func() {
				showFindings(a.stdout, found)
				if len(found) == 0 {
					fmt.Fprintf(a.stdout, "no known mistake in %d documents\n", len(docs))
				}
			}); err != nil {
				return err
			}
			if errs > 0 {
				return failWith(exitFailure, "findings", fmt.Errorf("%d mistakes that open or break something", errs), "correct what is named above")
			}
			return nil
		},
	}
	c.Flags().StringVar(&config, "config", "", "take the names of the roles from `FILE`, as cloud.yaml")
	return c
}

// progress tells a person, after a second, what is being done; done ends the
// line and may be called again.
func (a *app) progress() (tell func(string), done func()) {
	began, shown := time.Now(), false
	tell = func(text string) {
		if time.Since(began) > time.Second && a.onTerminal() && !a.json {
			fmt.Fprintf(a.stderr, "\r\x1b[K%s … ", text)
			shown = true
		}
	}
	return tell, func() {
		if shown {
			fmt.Fprint(a.stderr, "\r\x1b[K")
			shown = false
		}
	}
}

// explainCloud gives the failures of the cloud a fix and an exit code.
func explainCloud(err error) error {
	var told *problem
	var api smithy.APIError
	switch {
	case errors.As(err, &told) || errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, conf.ErrConfig):
		return configError(err)
	case errors.Is(err, cloud.ErrNotOurs):
		return failWith(exitConflict, "conflict", err, "choose another name in cloud.yaml, or mark it as ours")
	case errors.Is(err, cloud.ErrChanged):
		return failWith(exitConflict, "conflict", err, "look at 'agentkeys cloud plan' again")
	case errors.Is(err, cloud.ErrNotEmpty):
		return failWith(exitConflict, "conflict", err, "save what you need of it, then repeat with --delete-data")
	case errors.Is(err, cloud.ErrNotifies):
		return failWith(exitConflict, "conflict", err, "have it sent through EventBridge, which this leaves alone, or remove it; then repeat")
	case errors.Is(err, cloud.ErrPackage):
		return failWith(exitUsage, "config", err, "make it with 'make mailrouter', and name it in cloud.yaml under mail.function.package")
	case errors.Is(err, cloud.ErrAccount):
		return failWith(exitUsage, "config", err, "choose the credentials with --profile, or correct account in cloud.yaml")
	case errors.Is(err, cloud.ErrToken):
		return failWith(exitUsage, "usage", err, "give a file with a web-identity token that the broker made for STS")
	case errors.As(err, &api) && (api.ErrorCode() == "AccessDenied" || api.ErrorCode() == "Forbidden" || api.ErrorCode() == "InvalidClientTokenId" || api.ErrorCode() == "InvalidAccessKeyId"):
		return failWith(exitRefused, "forbidden", err, "use credentials that may administer S3 and IAM, see --profile")
	case strings.Contains(err.Error(), "failed to retrieve credentials"), strings.Contains(err.Error(), "get identity: get credentials"):
		return failWith(exitRefused, "forbidden", err, "log in to AWS, or choose credentials with --profile")
	}
	return explain(err)
}
