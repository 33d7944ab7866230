package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	stdlog "log"
	"log/slog"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/litentry/agentkeys/internal/brokerclient"
	"github.com/litentry/agentkeys/internal/brokerconf"
	"github.com/litentry/agentkeys/internal/brokersrv"
	"github.com/litentry/agentkeys/internal/conf"
	"github.com/litentry/agentkeys/internal/durable"
	"github.com/litentry/agentkeys/internal/kmssigner"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/token"
	"github.com/litentry/agentkeys/internal/tokenkeys"
)

func (a *app) brokerCmd() *cobra.Command {
	var file string
	var check bool
	c := &cobra.Command{
		Use:   "broker",
		Short: "Serve logins, grants and tokens to many machines",
		Long: `Serve the broker that broker.yaml describes: it says who is who, and gives the
cloud and the signer tokens that say so. No key of yours passes through it; but
who has its token keys can say to be anybody, so guard them. It refuses to start
on any setting that is missing, unknown or could mean two things, and names the
setting, its value and the cure.

SIGTERM ends it after the requests under way. A renewed certificate, and new
token keys, are taken without a restart.`,
		Example: `  agentkeys broker init /etc/agentkeys --origin https://broker.example.com
  agentkeys broker --config /etc/agentkeys/broker.yaml --check
  agentkeys broker --config /etc/agentkeys/broker.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return usage(cmd, errors.New("--config FILE says what to serve"))
			}
			return a.broker(cmd.Context(), file, check)
		},
	}
	c.Flags().StringVar(&file, "config", "", "the `FILE` that describes the broker")
	c.Flags().BoolVar(&check, "check", false, "say what is wrong with the configuration, and serve nothing")
	_ = c.MarkFlagFilename("config", "yaml", "yml")
	c.AddCommand(a.brokerInitCmd(), a.brokerKeysCmd())
	return c
}

func (a *app) broker(ctx context.Context, file string, check bool) error {
	config, err := brokerconf.Load(file)
	if err != nil {
		return configError(err)
	}
	if check {
		return a.print(map[string]any{"origin": config.Origin, "logins": config.Methods()}, func() {
			fmt.Fprintf(a.stdout, "%s: the configuration can be used; logins: %s\n", config.Origin, strings.Join(config.Methods(), ", "))
		})
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewJSONHandler(a.stderr, nil))
	// Libraries without a logger of their own say what they were sent.
	stdlog.SetOutput(io.Discard)
	srv, err := brokersrv.Open(ctx, config, brokersrv.Options{Log: log, Now: time.Now, Version: version, KMSKey: kmsKey})
	if err != nil {
		return explainServer(err)
	}
	log.Info("serving", "origin", config.Origin, "address", srv.Addr().String(), "version", version, "pid", os.Getpid())
	err = srv.Serve(ctx)
	log.Info("stopped")
	return explainOrNil(err)
}

func kmsKey(ctx context.Context, region, endpoint, arn string) (crypto.Signer, error) {
	client, err := kmssigner.NewClient(ctx, region, endpoint)
	if err != nil {
		return nil, err
	}
	return kmssigner.OpenTokenKey(ctx, client, arn)
}

// configError is a configuration that cannot be used: a mistake of usage.
func configError(err error) error {
	var faults conf.Faults
	switch {
	case errors.As(err, &faults) && len(faults) > 0 && faults[0].Cure != "":
		return failWith(exitUsage, "config", err, faults[0].Cure)
	case errors.Is(err, fs.ErrNotExist):
		return failWith(exitUsage, "config", err, "name a file that is there with --config")
	case errors.Is(err, conf.ErrConfig):
		return failWith(exitUsage, "config", err, "mend the file it names")
	}
	return explain(err)
}

func explainServer(err error) error {
	switch {
	case errors.Is(err, durable.ErrLocked):
		return failWith(exitConflict, "conflict", err, "another process serves the same directory: give each its own")
	case errors.Is(err, tokenkeys.ErrEmpty), errors.Is(err, token.ErrKeySet):
		return failWith(exitUsage, "config", err, "make keys with 'agentkeys broker keys rotate'")
	case errors.Is(err, syscall.EADDRINUSE):
		return failWith(exitConflict, "port", err, "end the program that listens there, or choose another address")
	}
	return explain(err)
}

const brokerYAML = `# The broker at %[1]s. 'agentkeys broker --config FILE --check' says what is missing.
origin: %[1]s

# Who ends TLS: this process, or a proxy in front of it.
listen: 0.0.0.0:%[3]s
tls:
  cert: /etc/ssl/broker.pem
  key: /etc/ssl/broker.key
# behind_proxy: {trusted: [10.0.0.0/8]}
metrics_listen: 127.0.0.1:9464

keys: keys
audit: audit
state:
  sqlite: state.db                  # one replica
  # postgres: {dsn_file: dsn}       # several

signer:
  url: https://signer.example.com:8443
  # ca_file: signer-ca.pem          # where the signer's certificate is not a public one
  key_file: signer-client.key       # its thumbprint, for signer.yaml: %[2]s

# What 'agentkeys cloud apply' prints.
# cloud:
#   region: eu-central-1
#   bucket: agentkeys-123456789012
#   role_arn: arn:aws:iam::123456789012:role/agentkeys-data

# At least one.
logins:
  # email: {from: login@mail.example.com, smtp: "smtp.example.com:587", user: broker, password_file: smtp-password}
  # google: {client_id: ID, client_secret_file: google-secret}
  # passkey: {}
  wallet: {}
`

func (a *app) brokerInitCmd() *cobra.Command {
	var origin string
	c := &cobra.Command{
		Use: "init DIR", Short: "Make the keys of a broker and a configuration to edit",
		Long: `Make DIR with token keys (ES256 and RS256), the key that the broker shows the
signer, and a broker.yaml to edit. What is there already stays as it is.`,
		Example: "  agentkeys broker init /etc/agentkeys --origin https://broker.example.com",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if origin == "" {
				return usage(cmd, errors.New("--origin says what clients call the broker, as https://broker.example.com"))
			}
			if at, err := brokerclient.ParseOrigin(origin); err != nil || at != origin {
				return usage(cmd, fmt.Errorf("--origin %s is not what clients can call a broker: write https://HOST[:PORT], in lower case, without a slash at its end", origin))
			}
			return a.brokerInit(args[0], origin)
		},
		ValidArgsFunction: cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs),
	}
	c.Flags().StringVar(&origin, "origin", "", "what clients call the broker: `https://HOST[:PORT]`")
	return c
}

func (a *app) brokerInit(dir, origin string) error {
	if err := durable.MkdirAll(dir); err != nil {
		return explain(err)
	}
	// It may have been there before, and be more than the broker's: its rights
	// are its owner's affair.
	if fi, err := os.Stat(dir); err != nil {
		return explain(err)
	} else if fi.Mode().Perm()&0o022 != 0 {
		return failWith(exitLocked, "exposed", fmt.Errorf("others may write to %s, and so replace what the broker is", dir), "chmod go-w "+dir+", or name another directory")
	}
	keys := filepath.Join(dir, "keys")
	have, err := tokenkeys.Load(keys)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return explain(err)
	}
	for _, alg := range []token.Alg{token.ES256, token.RS256} {
		if !hasAlg(have, alg) {
			if _, err := tokenkeys.Rotate(keys, alg, time.Now(), tokenKeyLead); err != nil {
				return explain(err)
			}
		}
	}
	thumb, err := clientKey(filepath.Join(dir, "signer-client.key"))
	if err != nil {
		return explain(err)
	}
	port := "443"
	if u, err := url.Parse(origin); err == nil && u.Port() != "" {
		port = u.Port()
	}
	file := filepath.Join(dir, "broker.yaml")
	if !exists(file) {
		if err := durable.CreateFile(file, fmt.Appendf(nil, brokerYAML, origin, thumb, port)); err != nil {
			return explain(err)
		}
	}
	out := map[string]string{"config": file, "keys": keys, "signer_client": thumb.String()}
	return a.print(out, func() {
		fmt.Fprintf(a.stdout, "%s: edit it, then check it with 'agentkeys broker --config %s --check'\n", file, file)
		fmt.Fprintf(a.stdout, "the signer must list this broker: %s\n", thumb)
	})
}

func hasAlg(keys []token.Key, alg token.Alg) bool {
	for _, k := range keys {
		if k.Alg() == alg {
			return true
		}
	}
	return false
}

// clientKey makes the key that the broker shows the signer, if there is none,
// and returns its thumbprint.
func clientKey(path string) (token.Thumbprint, error) {
	if exists(path) {
		key, err := brokersrv.ReadKey(path)
		if err != nil {
			return token.Thumbprint{}, err
		}
		return token.ThumbprintOf(key.Public())
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return token.Thumbprint{}, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return token.Thumbprint{}, err
	}
	text := secret.New(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	defer text.Clear()
	clear(der)
	if err := durable.CreateFile(path, text.Expose()); err != nil {
		return token.Thumbprint{}, err
	}
	return token.ThumbprintOf(key.Public())
}

// tokenKeyLead is how long a new key is published before it signs: longer than
// anybody keeps the key set.
const tokenKeyLead = time.Hour

func (a *app) brokerKeysCmd() *cobra.Command {
	var file, alg string
	var lead time.Duration
	c := &cobra.Command{
		Use: "keys", Short: "Show or rotate the keys that sign tokens", Args: cobra.NoArgs,
		Long: `Show the keys that sign tokens and those that are still published. A key that is
rotated in is published for an hour before it signs; one that is rotated out
stays published until no token that it signed can be alive. A running broker
takes changes by itself, and several of them share one directory.`,
		Example: `  agentkeys broker keys --config /etc/agentkeys/broker.yaml
  agentkeys broker keys rotate --alg ES256 --config /etc/agentkeys/broker.yaml
  agentkeys broker keys prune --config /etc/agentkeys/broker.yaml`,
		RunE: func(*cobra.Command, []string) error {
			return a.withKeys(file, func(dir string) error { return a.showKeys(dir) })
		},
	}
	c.PersistentFlags().StringVar(&file, "config", "", "the broker's `FILE`, or the directory of its keys")
	rotate := &cobra.Command{
		Use: "rotate", Short: "Make a new key, which signs after an hour", Args: cobra.NoArgs,
		Example: "  agentkeys broker keys rotate --alg RS256 --config /etc/agentkeys/broker.yaml",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if alg != string(token.ES256) && alg != string(token.RS256) {
				return usage(cmd, errors.New("--alg is ES256 or RS256"))
			}
			if lead < 0 {
				return usage(cmd, errors.New("--lead is how long the key is published before it signs, as 1h"))
			}
			return a.withKeys(file, func(dir string) error {
				k, err := tokenkeys.Rotate(dir, token.Alg(alg), time.Now(), lead)
				if err != nil {
					return explain(err)
				}
				out := map[string]any{"kid": k.KID(), "alg": k.Alg(), "signs_from": k.SignsFrom()}
				return a.print(out, func() {
					fmt.Fprintf(a.stdout, "%s key %s signs from %s\n", k.Alg(), k.KID(), k.SignsFrom().UTC().Format(time.RFC3339))
				})
			})
		},
	}
	rotate.Flags().StringVar(&alg, "alg", string(token.ES256), "an `ALGORITHM`: ES256, or RS256 for audiences that need it")
	rotate.Flags().DurationVar(&lead, "lead", tokenKeyLead, "publish the key for a `SPAN` before it signs")
	_ = rotate.RegisterFlagCompletionFunc("alg", cobra.FixedCompletions([]string{"ES256", "RS256"}, cobra.ShellCompDirectiveNoFileComp))
	prune := &cobra.Command{
		Use: "prune", Short: "Remove keys that are published no more", Args: cobra.NoArgs,
		Example: "  agentkeys broker keys prune --config /etc/agentkeys/broker.yaml",
		RunE: func(*cobra.Command, []string) error {
			return a.withKeys(file, func(dir string) error {
				gone, err := tokenkeys.Prune(dir, time.Now(), brokersrv.Longest)
				if err != nil {
					return explain(err)
				}
				return a.print(map[string]any{"removed": gone}, func() { fmt.Fprintf(a.stdout, "%d keys removed\n", len(gone)) })
			})
		},
	}
	c.AddCommand(rotate, prune)
	return c
}

// withKeys finds the directory of keys by a broker.yaml or by itself.
func (a *app) withKeys(file string, do func(dir string) error) error {
	if file == "" {
		return failWith(exitUsage, "usage", errors.New("--config FILE says whose keys"), "see 'agentkeys broker keys --help'")
	}
	if fi, err := os.Stat(file); err == nil && fi.IsDir() {
		return do(file)
	}
	config, err := brokerconf.Load(file)
	if err != nil {
		return configError(err)
	}
	if config.Keys == "" {
		return failWith(exitConflict, "conflict", errors.New("this broker's token keys are in a KMS"), "add a key to kms_keys in "+file+", and start the broker again")
	}
	return do(config.Keys)
}

func (a *app) showKeys(dir string) error {
	keys, err := tokenkeys.Load(dir)
	if err != nil {
		return explain(err)
	}
	ring, err := token.NewRing(keys, brokersrv.Longest)
	if err != nil {
		return explain(err)
	}
	now := time.Now()
	type line struct {
		KID       string    `json:"kid"`
		Alg       token.Alg `json:"alg"`
		SignsFrom time.Time `json:"signs_from"`
		State     string    `json:"state"` // next, signing, published, retired
	}
	published := map[string]bool{}
	for _, kid := range ring.Published(now) {
		published[kid] = true
	}
	lines := []line{}
	for _, k := range keys {
		l := line{k.KID(), k.Alg(), k.SignsFrom(), "retired"}
		signing, _ := ring.Signing(k.Alg(), now)
		switch {
		case signing == k.KID():
			l.State = "signing"
		case k.SignsFrom().After(now):
			l.State = "next"
		case published[k.KID()]:
			l.State = "published"
		}
		lines = append(lines, l)
	}
	return a.print(lines, func() {
		rows := [][]string{}
		for _, l := range lines {
			rows = append(rows, []string{l.KID, string(l.Alg), l.State, l.SignsFrom.UTC().Format(time.RFC3339)})
		}
		a.table("KEY ALG STATE SIGNS-FROM", rows)
	})
}
