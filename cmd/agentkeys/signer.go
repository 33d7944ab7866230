package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/litentry/agentkeys/internal/audit"
	"github.com/litentry/agentkeys/internal/conf"
	"github.com/litentry/agentkeys/internal/daemon"
	"github.com/litentry/agentkeys/internal/durable"
	"github.com/litentry/agentkeys/internal/kmssigner"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/signer"
	"github.com/litentry/agentkeys/internal/signerconf"
	"github.com/litentry/agentkeys/internal/signersrv"
	"github.com/litentry/agentkeys/internal/webserve"
)

func (a *app) signerCmd() *cobra.Command {
	var file string
	var check bool
	c := &cobra.Command{
		Use:   "signer",
		Short: "Serve wallets and key-encryption keys from the roots",
		Long: `Serve the signer that signer.yaml describes. It holds the roots, in a file or in
a cloud KMS, and answers for a wallet only to that wallet's own session or its
master's, on the device that the session is bound to. It never sees what the
keys open. It refuses to start on any setting that is missing, unknown or could
mean two things, and names the setting, its value and the cure.

SIGHUP reads the roots file anew, after a rotation. SIGTERM ends it after the
requests under way. A renewed certificate is taken without a restart.`,
		Example: `  agentkeys signer init /etc/agentkeys --host signer.example.com --broker https://broker.example.com
  agentkeys signer --config /etc/agentkeys/signer.yaml --check
  agentkeys signer --config /etc/agentkeys/signer.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return usage(cmd, errors.New("--config FILE says what to serve"))
			}
			return a.signer(cmd.Context(), file, check)
		},
	}
	c.Flags().StringVar(&file, "config", "", "the `FILE` that describes the signer")
	c.Flags().BoolVar(&check, "check", false, "say what is wrong with the configuration, and serve nothing")
	_ = c.MarkFlagFilename("config", "yaml", "yml")
	c.AddCommand(a.signerInitCmd(), a.signerRotateCmd())
	return c
}

func (a *app) signer(ctx context.Context, file string, check bool) error {
	config, err := signerconf.Load(file)
	if err != nil {
		return explainSigner(err)
	}
	cert, ca, err := signerFiles(config)
	if err != nil {
		return explainSigner(err)
	}
	if check {
		kept := "a file"
		if config.Roots.KMS != nil {
			kept = "AWS KMS"
		}
		return a.print(map[string]any{"listen": config.Listen, "issuer": config.Issuer.URL, "brokers": len(config.Brokers), "roots": kept}, func() {
			fmt.Fprintf(a.stdout, "%s: the configuration can be used; roots in %s, %d brokers\n", config.Listen, kept, len(config.Brokers))
		})
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The passphrase, and then the roots, are about to be in this memory.
	hard := daemon.Harden()
	log := slog.New(slog.NewJSONHandler(a.stderr, nil))
	// Libraries without a logger of their own say what they were sent.
	stdlog.SetOutput(io.Discard)
	return explainSigner(a.serveSigner(ctx, config, cert, ca, hard, log))
}

// signerFiles reads what the configuration names and is no secret of ours.
func signerFiles(config signerconf.Config) (*webserve.Certificate, *x509.CertPool, error) {
	if fi, err := os.Stat(config.TLS.Key); err == nil && fi.Mode().Perm()&0o077 != 0 {
		return nil, nil, conf.Faults{{File: config.TLS.Key, Setting: "tls.key", Cause: fmt.Sprintf("others may read it: its mode is %04o", fi.Mode().Perm()), Cure: "chmod 600 it"}}
	}
	cert, err := webserve.LoadCertificate(config.TLS.Cert, config.TLS.Key)
	if err != nil {
		return nil, nil, conf.Faults{{File: config.TLS.Cert, Setting: "tls", Cause: err.Error(), Cure: "name a certificate and its own key, in PEM"}}
	}
	if config.Issuer.CA == "" {
		return cert, nil, nil
	}
	text, err := os.ReadFile(config.Issuer.CA)
	ca := x509.NewCertPool()
	if err != nil || !ca.AppendCertsFromPEM(text) {
		return nil, nil, conf.Faults{{File: config.Issuer.CA, Setting: "issuer.ca_file", Cause: "it cannot be read, or holds no certificate in PEM", Cure: "name the certificate of who signs the broker's"}}
	}
	return cert, ca, nil
}

// keeper is a core with the key of its log, and how its roots are read anew.
type keeper struct {
	signer.Core
	seed   secret.Value
	reload func() error
	close  func()
}

func (a *app) openRoots(ctx context.Context, config signerconf.Config) (keeper, error) {
	if k := config.Roots.KMS; k != nil {
		return openKMS(ctx, k)
	}
	key, err := a.rootsKey(config)
	if err != nil {
		return keeper{}, err
	}
	roots, err := signer.OpenFile(config.Roots.File, key)
	if err != nil {
		key.Clear()
		return keeper{}, err
	}
	defer roots.Clear()
	s := signer.New(roots)
	seed, err := s.LogSeed()
	if err != nil {
		key.Clear()
		return keeper{}, err
	}
	reload := func() error {
		next, err := signer.OpenFile(config.Roots.File, key)
		if err != nil {
			return err
		}
		defer next.Clear()
		return s.Install(next)
	}
	return keeper{s, seed, reload, key.Clear}, nil
}

func openKMS(ctx context.Context, k *signerconf.KMS) (keeper, error) {
	blob, err := os.ReadFile(k.IdentityBlob)
	if err != nil {
		return keeper{}, err
	}
	client, err := kmssigner.NewClient(ctx, k.Region, k.Endpoint)
	if err != nil {
		return keeper{}, err
	}
	s, err := kmssigner.Open(ctx, kmssigner.Options{Client: client, IdentityKey: k.IdentityKey, Identity: blob, Epochs: k.Keys})
	if err != nil {
		return keeper{}, err
	}
	seed, err := s.LogSeed()
	if err != nil {
		return keeper{}, err
	}
	reload := func() error { return errors.New("keys in a KMS are read at the start: restart the signer") }
	return keeper{s, seed, reload, s.Close}, nil
}

// rootsKey finds the passphrase of the roots file where the configuration says.
func (a *app) rootsKey(config signerconf.Config) (signer.FileKey, error) {
	r := config.Roots
	var v secret.Value
	var err error
	switch {
	case r.PassphraseFile != "":
		v, err = secretFile(r.PassphraseFile, maxPassphrase)
	case r.PassphraseFD != nil:
		f := os.NewFile(uintptr(*r.PassphraseFD), "passphrase")
		v, err = secret.Read(f, maxPassphrase)
		_ = f.Close()
		v = trimNewline(v)
	default:
		dir := a.getenv("CREDENTIALS_DIRECTORY")
		if dir == "" {
			return signer.FileKey{}, failWith(exitLocked, "locked", errors.New("roots.passphrase_credential is set, and systemd gave no credentials"),
				"add LoadCredential="+r.PassphraseCredential+":FILE to the unit, or give roots.passphrase_file")
		}
		v, err = secretFile(filepath.Join(dir, r.PassphraseCredential), maxPassphrase)
	}
	if err != nil {
		return signer.FileKey{}, failWith(exitLocked, "locked", fmt.Errorf("the passphrase of the roots cannot be read: %w", err), "put it where signer.yaml says, for the signer's user alone")
	}
	if v.IsZero() {
		return signer.FileKey{}, failWith(exitLocked, "locked", errors.New("the passphrase of the roots is empty"), "put it where signer.yaml says")
	}
	return signer.Passphrase(v)
}

// openSignerLog opens the signer's own log: DIR/log, and beside it DIR/log.vkey,
// which checks the signatures.
func openSignerLog(dir string, seed secret.Value) (*audit.Log, error) {
	key, err := audit.NewKey("agentkeys/signer", seed)
	if err != nil {
		return nil, err
	}
	if err := durable.MkdirAll(dir); err != nil {
		return nil, err
	}
	if err := durable.WriteFile(filepath.Join(dir, "log.vkey"), []byte(key.VerifierKey()+"\n")); err != nil {
		return nil, err
	}
	return audit.Open(filepath.Join(dir, "log"), audit.Options{Signer: key, Verifier: key.Verifier()})
}

func (a *app) serveSigner(ctx context.Context, config signerconf.Config, cert *webserve.Certificate, ca *x509.CertPool, hard daemon.Hardening, log *slog.Logger) (err error) {
	core, err := a.openRoots(ctx, config)
	if err != nil {
		return err
	}
	defer core.close()
	record, err := openSignerLog(config.Audit, core.seed)
	core.seed.Clear()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, record.Close()) }()

	keys := signersrv.FileKeys(config.Issuer.JWKS, log, time.Now)
	if config.Issuer.JWKS == "" {
		if keys, err = signersrv.FetchKeys(config.Issuer.URL, ca, log, time.Now); err != nil {
			return err
		}
	}
	metrics := webserve.NewMetrics(version)
	srv, err := signersrv.New(signersrv.Options{
		Core: core, Issuer: config.Issuer.URL, Audience: config.Issuer.Audience, Keys: keys, Ready: keys.Ready,
		Brokers: config.Thumbprints, Recorder: record, Metrics: metrics, Log: log, Now: time.Now,
	})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	servers := []*webserve.Server{}
	ln, err := net.Listen("tcp", config.Listen)
	if err != nil {
		return err
	}
	servers = append(servers, &webserve.Server{Listener: ln, Handler: srv.Handler(), TLS: signersrv.TLS(cert), Log: log})
	if config.MetricsListen != "" {
		plain, err := net.Listen("tcp", config.MetricsListen)
		if err != nil {
			_ = ln.Close()
			return err
		}
		health := srv.Operations(webserve.Check{Name: "audit-log", Try: func(context.Context) error { return record.Err() }})
		servers = append(servers, &webserve.Server{Listener: plain, Handler: health, Log: log})
	}
	go keys.Run(ctx)
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	go reloadOn(ctx, hangup, core, log)
	log.Info("serving", "address", ln.Addr().String(), "issuer", config.Issuer.URL, "epoch", core.Epoch(), "version", version, "pid", os.Getpid(),
		"not_dumpable", hard.NotDumpable, "no_core", hard.NoCore, "locked", hard.Locked)
	ended := make(chan error, len(servers))
	for _, s := range servers {
		go func() { ended <- s.Serve(ctx) }()
	}
	for range servers {
		err = errors.Join(err, <-ended)
		stop() // one without the other is no service
	}
	log.Info("stopped")
	return err
}

func reloadOn(ctx context.Context, hangup <-chan os.Signal, core keeper, log *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
			if err := core.reload(); err != nil {
				log.Error("the roots were not read anew; the earlier ones serve on", "err", err)
				continue
			}
			log.Info("the roots were read anew", "epoch", core.Epoch())
		}
	}
}

func explainSigner(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, conf.ErrConfig):
		return configError(err)
	case errors.Is(err, durable.ErrLocked):
		return failWith(exitConflict, "conflict", err, "another signer has the same audit directory, or a rotation is under way: give each its own")
	case errors.Is(err, syscall.EADDRINUSE):
		return failWith(exitConflict, "port", err, "end the program that listens there, or choose another address")
	case errors.Is(err, kmssigner.ErrIdentity):
		return failWith(exitCorrupt, "corrupt", err, "restore roots.kms.identity_blob from a backup, or name the key that wrapped it")
	case errors.Is(err, kmssigner.ErrKey):
		return failWith(exitRefused, "kms", err, "see that the key exists, is enabled, and that this process' role may use it")
	case errors.Is(err, kmssigner.ErrUnavailable):
		return failWith(exitFailure, "kms", err, "see that roots.kms.region is right and KMS can be reached, and start again")
	}
	return explain(err)
}
