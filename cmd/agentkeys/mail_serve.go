package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"log/slog"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/spf13/cobra"

	"github.com/litentry/agentkeys/internal/mailconf"
	"github.com/litentry/agentkeys/internal/mailsrv"
	"github.com/litentry/agentkeys/internal/s3mail"
)

func (a *app) mailServeCmd() *cobra.Command {
	var file string
	var check bool
	c := &cobra.Command{
		Use:   "serve",
		Short: "Receive sign-up mail by SMTP, where there is no SES",
		Long: `Serve the mail server that mail.yaml describes: it receives mail for domains of
yours by SMTP, checks SPF, DKIM and DMARC, writes what it found on top, and
sorts each message into the inbox of the wallet that its address names. It
passes no mail on, sends none, and scans for neither spam nor viruses. It
refuses to start on any setting that is missing, unknown or could mean two
things, and names the setting, its value and the cure.

What was accepted is on disk, or in the bucket, before its sender is told so;
what a crash or an outage left unsorted is sorted after it. SIGTERM ends it
after the messages under way. A renewed certificate is taken without a restart.
It logs to standard error, as JSON with --json; neither text nor senders or
recipients of mail are in it.`,
		Example: `  agentkeys mail serve --config /etc/agentkeys/mail.yaml --check
  agentkeys mail serve --config /etc/agentkeys/mail.yaml --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return usage(cmd, errors.New("--config FILE says what to serve"))
			}
			return a.mailServe(cmd.Context(), file, check)
		},
	}
	c.Flags().StringVar(&file, "config", "", "the `FILE` that describes the mail server")
	c.Flags().BoolVar(&check, "check", false, "say what is wrong with the configuration, and serve nothing")
	_ = c.MarkFlagFilename("config", "yaml", "yml")
	return c
}

func (a *app) mailServe(ctx context.Context, file string, check bool) error {
	config, err := mailconf.Load(file)
	if err != nil {
		return configError(err)
	}
	tags := config.Tags
	if len(tags) == 0 {
		services, err := mailServices()
		if err != nil {
			return err
		}
		tags = slices.Sorted(maps.Keys(services))
	}
	if check {
		kept := config.Store.Directory
		if s := config.Store.S3; s != nil {
			kept = "the bucket " + s.Bucket
		}
		out := map[string]any{"hostname": config.Hostname, "domains": config.Domains, "listen": config.Listen, "tags": tags, "store": kept}
		return a.print(out, func() {
			fmt.Fprintf(a.stdout, "%s: the configuration can be used; mail for %s is kept in %s\n", config.Hostname, strings.Join(config.Domains, ", "), kept)
		})
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	var h slog.Handler = slog.NewTextHandler(a.stderr, nil)
	if a.json {
		h = slog.NewJSONHandler(a.stderr, nil)
	}
	log := slog.New(h)
	// Libraries without a logger of their own say what they were sent.
	stdlog.SetOutput(io.Discard)
	srv, err := mailsrv.Open(ctx, config, mailsrv.Options{Log: log, Now: time.Now, Version: version, Tags: tags, Bucket: openMailBucket})
	if err != nil {
		return explainServer(err)
	}
	log.Info("serving", "hostname", config.Hostname, "address", srv.Addr().String(), "version", version, "pid", os.Getpid())
	err = srv.Serve(ctx)
	log.Info("stopped")
	return explainOrNil(err)
}

// openMailBucket opens a bucket with the credentials of the file, or, as the
// AWS tools do, with those of the environment or of the machine's role.
func openMailBucket(ctx context.Context, c *mailconf.S3) (mailsrv.Store, error) {
	keys, err := mailBucketKeys(ctx, c)
	if err != nil {
		return nil, err
	}
	return s3mail.Open(s3mail.Config{
		Region: c.Region, Bucket: c.Bucket, Endpoint: c.Endpoint, PathStyle: c.PathStyle, StreamCopies: c.Compatible == mailconf.VersityGW,
		// By the tag the bucket's lifecycle, which 'agentkeys cloud' sets at AWS,
		// ends sorted mail.
		TagCopies: c.Endpoint == "",
	}, s3mail.Credentials{Router: keys})
}

func mailBucketKeys(ctx context.Context, c *mailconf.S3) (aws.CredentialsProvider, error) {
	if c.CredentialsFile == "" {
		conf, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithRegion(c.Region))
		return conf.Credentials, err
	}
	profile, err := awsconfig.LoadSharedConfigProfile(ctx, "default", func(o *awsconfig.LoadSharedConfigOptions) {
		o.CredentialsFiles, o.ConfigFiles = []string{c.CredentialsFile}, []string{}
	})
	if err != nil || !profile.Credentials.HasKeys() {
		// The complaint of a parser may quote what it could not parse.
		return nil, fmt.Errorf("store.s3.credentials_file: %s has no keys under [default]", c.CredentialsFile)
	}
	return credentials.StaticCredentialsProvider{Value: profile.Credentials}, nil
}
