package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/litentry/agentkeys/internal/daemon"
	"github.com/litentry/agentkeys/internal/durable"
	"github.com/litentry/agentkeys/internal/kmssigner"
	"github.com/litentry/agentkeys/internal/signer"
	"github.com/litentry/agentkeys/internal/signerconf"
	"github.com/litentry/agentkeys/internal/signersrv"
)

const signerYAML = `# The signer at %[1]s. 'agentkeys signer --config FILE --check' says what is missing.
listen: 0.0.0.0:%[4]s
metrics_listen: 127.0.0.1:9465
tls:
  cert: server.crt
  key: server.key

issuer:
  url: %[2]s
  audience: https://%[1]s
  # ca_file: broker-ca.pem          # where the broker's certificate is not a public one
  # jwks_file: jwks.json            # the broker's keys, instead of fetching them

# The thumbprints that 'agentkeys broker init' prints.
brokers: []

audit: audit

roots:
%[3]s`

type signerInit struct {
	host, broker, passphraseFile string
	kmsKey, kmsEpoch, region     string
	endpoint                     string
}

func (a *app) signerInitCmd() *cobra.Command {
	var o signerInit
	c := &cobra.Command{
		Use: "init DIR", Short: "Make roots, a server certificate and a configuration",
		Long: `Make DIR with the roots, encrypted by a passphrase, a self-signed certificate of
the server, and a signer.yaml to edit. What is there already stays as it is.

With --kms-key the identity root is made and wrapped by that key of AWS KMS
(SYMMETRIC_DEFAULT), and --kms-epoch names the HMAC_256 key that is the sealing
root of epoch 1; no root is ever on this machine's disk in the clear.

Keep a backup of the roots, or of the wrapped one: nothing brings them back.`,
		Example: `  agentkeys signer init /etc/agentkeys --host signer.example.com --broker https://broker.example.com --passphrase-file p.txt
  agentkeys signer init /etc/agentkeys --host signer.example.com --broker https://broker.example.com --kms-key ARN --kms-epoch ARN --region eu-central-1`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			host, _, err := net.SplitHostPort(o.host)
			if err != nil {
				host = o.host
			}
			u, uerr := url.Parse(o.broker)
			kms := o.kmsKey != "" || o.kmsEpoch != "" || o.region != "" || o.endpoint != ""
			switch {
			case host == "" || strings.ContainsAny(host, "/ \t\n'\"#{}"):
				return usage(cmd, errors.New("--host says what clients call the signer, as signer.example.com"))
			case uerr != nil || u.Scheme != "https" || u.Host == "" || o.broker != "https://"+u.Host:
				return usage(cmd, errors.New("--broker is the broker's origin, as https://broker.example.com"))
			case kms && (o.kmsKey == "" || o.kmsEpoch == "" || o.region == ""):
				return usage(cmd, errors.New("--kms-key, --kms-epoch and --region belong together"))
			case kms && o.passphraseFile != "":
				return usage(cmd, errors.New("a KMS needs no passphrase"))
			}
			return explainSigner(a.signerInit(cmd.Context(), args[0], host, o))
		},
		ValidArgsFunction: cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs),
	}
	f := c.Flags()
	f.StringVar(&o.host, "host", "", "what clients call the signer: `HOST[:PORT]`")
	f.StringVar(&o.broker, "broker", "", "the broker's origin: `https://HOST[:PORT]`")
	f.StringVar(&o.passphraseFile, "passphrase-file", "", "read the passphrase from a `FILE` only you can read (or AGENTKEYS_PASSPHRASE_FILE)")
	f.StringVar(&o.kmsKey, "kms-key", "", "the `ARN` of the KMS key that wraps the identity root")
	f.StringVar(&o.kmsEpoch, "kms-epoch", "", "the `ARN` of the HMAC_256 key of epoch 1")
	f.StringVar(&o.region, "region", "", "the `REGION` of the KMS keys")
	f.StringVar(&o.endpoint, "kms-endpoint", "", "another KMS than AWS's own: its `URL`")
	return c
}

func (a *app) signerInit(ctx context.Context, dir, host string, o signerInit) error {
	daemon.Harden()
	if err := durable.MkdirAll(dir); err != nil {
		return err
	}
	roots, err := a.makeRoots(ctx, dir, o)
	if err != nil {
		return err
	}
	cert, key := filepath.Join(dir, "server.crt"), filepath.Join(dir, "server.key")
	if !exists(cert) && !exists(key) {
		certPEM, keyPEM, err := signersrv.NewCertificate([]string{host}, time.Now())
		if err != nil {
			return err
		}
		defer clear(keyPEM)
		if err := durable.CreateFile(key, keyPEM); err != nil {
			return err
		}
		if err := durable.CreateFile(cert, certPEM); err != nil {
			return err
		}
	}
	name, port := host, "443"
	if _, p, err := net.SplitHostPort(o.host); err == nil {
		name, port = net.JoinHostPort(host, p), p
	}
	file := filepath.Join(dir, "signer.yaml")
	if !exists(file) {
		if err := durable.CreateFile(file, fmt.Appendf(nil, signerYAML, name, o.broker, roots, port)); err != nil {
			return err
		}
	}
	out := map[string]string{"config": file, "ca": cert, "url": "https://" + name, "audience": "https://" + name}
	return a.print(out, func() {
		fmt.Fprintf(a.stdout, "%s: list the brokers in it, then check it with 'agentkeys signer --config %s --check'\n", file, file)
		fmt.Fprintf(a.stdout, "for broker.yaml: signer.url https://%s, signer.ca_file a copy of %s\n", name, cert)
	})
}

// makeRoots makes the roots if there are none, and returns their part of
// signer.yaml.
func (a *app) makeRoots(ctx context.Context, dir string, o signerInit) (string, error) {
	if o.kmsKey != "" {
		text := fmt.Sprintf("  kms:\n    region: %s\n    identity_key: %s\n    identity_blob: identity.kms\n    epochs:\n      1: %s\n", o.region, o.kmsKey, o.kmsEpoch)
		if o.endpoint != "" {
			text += "    endpoint: " + o.endpoint + "\n"
		}
		path := filepath.Join(dir, "identity.kms")
		if exists(path) {
			return text, nil
		}
		client, err := kmssigner.NewClient(ctx, o.region, o.endpoint)
		if err != nil {
			return "", err
		}
		blob, err := kmssigner.NewIdentity(ctx, client, o.kmsKey)
		if err != nil {
			return "", err
		}
		return text, durable.CreateFile(path, blob)
	}
	path := filepath.Join(dir, "roots.age")
	file := a.passphraseFile(o.passphraseFile)
	text := "  file: roots.age\n  passphrase_credential: roots-passphrase   # LoadCredential= of the systemd unit, or passphrase_file, or passphrase_fd\n"
	if file != "" {
		abs, err := filepath.Abs(file)
		if err != nil {
			return "", err
		}
		quoted, err := json.Marshal(abs) // a JSON string is a YAML one
		if err != nil {
			return "", err
		}
		text = fmt.Sprintf("  file: roots.age\n  passphrase_file: %s   # or passphrase_fd, or passphrase_credential (systemd)\n", quoted)
	}
	if exists(path) {
		return text, nil
	}
	key, err := a.passphraseKey(ctx, o.passphraseFile, true)
	if err != nil {
		return "", err
	}
	defer key.Clear()
	roots := signer.NewRoots()
	defer roots.Clear()
	return text, signer.CreateFile(path, roots, key)
}

func (a *app) signerRotateCmd() *cobra.Command {
	var file string
	var destroy uint32
	c := &cobra.Command{
		Use: "rotate", Short: "Add a sealing root, or destroy old ones", Args: cobra.NoArgs,
		Long: `Add a random sealing root as the current epoch to the roots file. What is sealed
from then on is sealed under it, once the running signer has read the file anew
(SIGHUP); everything else stays readable, because older roots are kept.

With --destroy-before EPOCH no root is added, and those of older epochs are
destroyed: whatever is still sealed under them is lost for good.

Roots in a KMS are rotated by adding a key to roots.kms.epochs.`,
		Example: `  agentkeys signer rotate --config /etc/agentkeys/signer.yaml
  agentkeys signer rotate --config /etc/agentkeys/signer.yaml --destroy-before 3`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return usage(cmd, errors.New("--config FILE says whose roots"))
			}
			config, err := signerconf.Load(file)
			if err != nil {
				return explainSigner(err)
			}
			if config.Roots.KMS != nil {
				return failWith(exitUsage, "kms", errors.New("the roots are in a KMS"), "make an HMAC_256 key, add its ARN to roots.kms.epochs under the next number, and restart the signer")
			}
			return explainSigner(a.signerRotate(config, destroy))
		},
	}
	c.Flags().StringVar(&file, "config", "", "the `FILE` that describes the signer")
	c.Flags().Uint32Var(&destroy, "destroy-before", 0, "destroy the roots of epochs below `EPOCH`, and add none")
	_ = c.MarkFlagFilename("config", "yaml", "yml")
	return c
}

func (a *app) signerRotate(config signerconf.Config, destroy uint32) error {
	daemon.Harden()
	// One at a time: of two, each would add a root, and one be lost.
	free, err := durable.Lock(config.Roots.File + ".lock")
	if err != nil {
		return err
	}
	defer free()
	key, err := a.rootsKey(config)
	if err != nil {
		return err
	}
	defer key.Clear()
	roots, err := signer.OpenFile(config.Roots.File, key)
	if err != nil {
		return err
	}
	defer roots.Clear()
	var next signer.Roots
	if destroy > 0 {
		if next, err = roots.RetireBefore(destroy); err != nil {
			return failWith(exitUsage, "usage", err, "the current epoch and later ones stay")
		}
	} else if next, err = roots.AddEpoch(); err != nil {
		return err
	}
	defer next.Clear()
	if err := signer.SaveFile(config.Roots.File, next, key); err != nil {
		return err
	}
	return a.print(map[string]any{"epoch": next.Epoch(), "roots": next.Epochs()}, func() {
		fmt.Fprintf(a.stdout, "the current epoch is %d, and %d sealing roots are kept; send the running signer SIGHUP\n", next.Epoch(), next.Epochs())
	})
}
