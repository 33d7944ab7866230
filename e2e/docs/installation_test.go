package docs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"
	"golang.org/x/crypto/sha3"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/e2e/cloud/rig"
	"github.com/litentry/agentkeys/internal/signer"
	"github.com/litentry/agentkeys/internal/testsrv/kms"
	"github.com/litentry/agentkeys/internal/testsrv/versity"
)

// What documents about a broker name, besides broker.example.com, and the test
// has its own for. Region, account and who the broker is come from VersityGW.
const (
	exampleAccount   = "123456789012"
	exampleRegion    = "eu-central-1"
	examplePrincipal = "ec2.amazonaws.com"
	exampleWallet    = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
	exampleIdentity  = "arn:aws:kms:eu-central-1:123456789012:key/1d2cd4bb-6ad5-4e9c-93b1-2b6c2ad81e3c"
	exampleEpoch     = "arn:aws:kms:eu-central-1:123456789012:key/9a1c8f6e-0f51-4ce4-9c4e-5a3e1c0fd1b2"
)

// theDocument names the one document that a process in namespaces follows.
const theDocument = "AGENTKEYS_DOCS_DOCUMENT"

func (d *document) needsInstallation() bool {
	for _, b := range d.blocks {
		for _, dir := range b.directives {
			if dir.text == "installation" || dir.text == "broker" {
				return true
			}
		}
	}
	return false
}

// followApart follows a document in namespaces of its own, where the broker of
// each document has the same name.
func followApart(t *testing.T, name string) {
	cmd, err := rig.Again(context.Background(), filepath.Join(program, "agentkeys"), "-test.run=^TestSessions$", "-test.timeout=5m")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(cmd.Env, theDocument+"="+name)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", rig.Explain(err), out)
	}
}

// systemctl plays systemd, as far as documents ask: it starts, stops, restarts
// and reloads what the units of the document start.
const systemctl = `#!/bin/bash
units=%s
verb=$1; shift
case $1 in --now) verb=start; shift;; esac
for u in "$@"; do
	[ -f "$units/$u.start" ] || { echo "Unit $u.service not found." >&2; exit 5; }
	pid=$(cat "$units/$u.pid" 2>/dev/null)
	case $verb in stop | restart)
		[ -z "$pid" ] || { kill "$pid" && tail --pid="$pid" -f /dev/null; rm "$units/$u.pid"; }
	esac
	case $verb in start | restart)
		setsid bash "$units/$u.start" </dev/null >>"$units/$u.log" 2>&1 &
		echo $! >"$units/$u.pid"
	esac
	case $verb in reload) kill -HUP "$pid"; esac
done
`

// install gives the session what an operator brings along: the account of an
// administrator at a cloud (VersityGW, whose endpoints are in $S3 and $STS),
// names and certificates (/etc/ssl/broker.pem), a mail server
// (smtp.example.com), PostgreSQL (its DSN is in $DSN), a KMS, systemd, and
// directories of the system. With serve a broker and its signer are up; the
// processes of the broker are $BROKERS.
func (s *session) install(serve bool) error {
	if s.world != nil {
		return errors.New("there is one installation to a document")
	}
	w := rig.Start(s.t, filepath.Join(program, "agentkeys"))
	s.world = w
	units := filepath.Join(s.home, "units")
	for _, d := range []string{units, "etc/agentkeys", "etc/ssl", "var/lib/agentkeys"} {
		if err := os.MkdirAll(filepath.Join(s.home, strings.TrimPrefix(d, s.home)), 0o700); err != nil {
			return err
		}
	}
	for _, d := range []string{"/etc/agentkeys", "/etc/ssl/broker", "/var/lib/agentkeys"} {
		s.stands[d] = filepath.Join(s.home, d)
	}
	s.stands["/usr/local/bin/agentkeys"] = filepath.Join(program, "agentkeys")
	s.stands["broker.example.com"] = rig.BrokerHost
	s.stands[exampleAccount], s.stands[exampleRegion] = versity.Account, versity.Region
	s.stands[examplePrincipal] = "arn:aws:iam::" + versity.Account + ":user/broker"
	s.stands[exampleWallet] = signer.ChecksumAddress(walletOf(personal))
	cert, key := w.TLS(rig.BrokerHost)
	err := errors.Join(
		os.WriteFile(filepath.Join(s.home, "etc/ssl/broker.pem"), cert, 0o644), os.WriteFile(filepath.Join(s.home, "etc/ssl/broker.key"), key, 0o600),
		os.WriteFile(filepath.Join(s.home, "systemctl"), fmt.Appendf(nil, systemctl, units), 0o755),
	)
	if err != nil {
		return err
	}
	if _, err := w.Cloud.IAM().CreateUser(context.Background(), &iam.CreateUserInput{UserName: aws.String("broker")}); err != nil {
		return err
	}
	root, err := w.Cloud.Root().Retrieve(context.Background())
	if err != nil {
		return err
	}
	k, err := kms.Start(kms.Options{Region: versity.Region, AccessKey: root.AccessKeyID, Secret: root.SecretAccessKey})
	if err != nil {
		return err
	}
	s.t.Cleanup(k.Close)
	s.stands[exampleIdentity], s.stands[exampleEpoch] = k.CreateSymmetric(), k.CreateHMAC(nil)
	s.t.Cleanup(func() { s.endUnits(units) })
	brokers := ""
	if serve {
		w.Install()
		for _, p := range w.Replicas {
			brokers += fmt.Sprint(p.PID(), " ")
		}
	}
	dsn := bytes.ReplaceAll(w.DSN.Expose(), []byte("'"), []byte(`'\''`))
	for _, c := range []string{
		"export SSL_CERT_FILE=" + w.CA + " PATH=" + s.home + ":$PATH",
		"export AWS_ACCESS_KEY_ID=" + root.AccessKeyID + " AWS_SECRET_ACCESS_KEY=" + root.SecretAccessKey + " AWS_EC2_METADATA_DISABLED=true AWS_ENDPOINT_URL_KMS=" + k.URL(),
		"S3=" + w.Cloud.Endpoint + " STS=" + w.Cloud.STS + " THUMBPRINT=" + w.Cloud.Thumbprint() + " DSN='" + string(dsn) + "' BROKERS='" + brokers + "'",
	} {
		if out, code, err := s.run(c); err != nil || code != 0 {
			return errors.Join(err, errors.New(out))
		}
	}
	return nil
}

// endUnits ends what systemctl and the shell have started.
func (s *session) endUnits(units string) {
	list, _ := filepath.Glob(filepath.Join(units, "*.pid"))
	for _, pid := range list {
		name := strings.TrimSuffix(filepath.Base(pid), ".pid")
		_ = exec.Command(filepath.Join(s.home, "systemctl"), "stop", name).Run()
		if log, err := os.ReadFile(filepath.Join(units, name+".log")); err == nil && s.t.Failed() {
			s.t.Logf("%s printed:\n%s", name, log)
		}
	}
	_, _, _ = s.run(`kill $(jobs -p) 2>/dev/null; wait`)
}

var execStart = regexp.MustCompile(`^ExecStart=(.+)$`)

// unit takes a unit over into the session's systemd.
func (s *session) unit(name string, b *block) error {
	for _, l := range b.lines {
		if m := execStart.FindStringSubmatch(l); m != nil {
			return os.WriteFile(filepath.Join(s.home, "units", name+".start"), []byte("exec "+s.asReal(m[1])+"\n"), 0o600)
		}
	}
	return errors.New("no ExecStart")
}

// file writes the block to a file, with what stands for something replaced.
func (s *session) file(name string, b *block) error {
	path := s.asReal(name)
	if !filepath.IsAbs(path) {
		path = filepath.Join(s.dir, path)
	}
	return os.WriteFile(path, []byte(s.asReal(strings.Join(b.lines, "\n")+"\n")), 0o600)
}

var wallet = regexp.MustCompile(`wallet\s+(0x[0-9a-fA-F]{40})\b`)

// wallets does for each wallet that the session has shown what one role of
// AWS's does for all, if there is a broker, and puts them into $WALLETS.
func (s *session) wallets() error {
	var all []string
	for _, m := range wallet.FindAllStringSubmatch(s.shown.String(), -1) {
		if a := strings.ToLower(m[1]); !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	if len(s.world.Replicas) > 0 {
		for _, a := range all {
			w, err := agentkeys.ParseWallet(a)
			if err != nil {
				return err
			}
			s.world.Role(w)
		}
	}
	_, _, err := s.run(`WALLETS='"` + strings.Join(all, `", "`) + `"'`)
	return err
}

// openLink is a person who opens the link of the mail elsewhere, and reads the
// code off the page.
func (s *session) openLink() (string, error) {
	h, err := s.world.OpenLink()
	return h.Code, err
}

// personal is the key of the wallet that the session's user had before.
var personal = secp256k1.PrivKeyFromBytes(bytes.Repeat([]byte{0x17}, 32))

func walletOf(k *secp256k1.PrivateKey) agentkeys.Wallet {
	return agentkeys.WalletFrom([agentkeys.WalletSize]byte(keccak(k.PubKey().SerializeUncompressed()[1:])[12:]))
}

func keccak(b []byte) []byte {
	h := sha3.NewLegacyKeccak256()
	h.Write(b)
	return h.Sum(nil)
}

// sign signs a file as wallets do: personal_sign, EIP-191.
func (s *session) sign(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	sum := keccak(fmt.Appendf(nil, "\x19Ethereum Signed Message:\n%d%s", len(text), text))
	sig := ecdsa.SignCompact(personal, sum, false)
	return fmt.Sprintf("0x%x", append(sig[1:], sig[0])), nil
}
