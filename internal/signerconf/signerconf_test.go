package signerconf_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/litentry/agentkeys/internal/conf"
	"github.com/litentry/agentkeys/internal/signerconf"
)

const thumb = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"

const base = `listen: 127.0.0.1:8443
metrics_listen: 127.0.0.1:9443
tls: {cert: c, key: /k}
issuer:
  url: https://b.example.com
  audience: https://s.example.com
brokers: [` + thumb + `]
roots:
  file: roots.age
  passphrase_file: p
audit: a
`

func load(t *testing.T, text string) (signerconf.Config, string, error) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "signer.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := signerconf.Load(path)
	return c, dir, err
}

func with(t *testing.T, old, text string) string {
	t.Helper()
	if !strings.Contains(base, old) {
		t.Fatalf("%q is not in the base", old)
	}
	return strings.Replace(base, old, text, 1)
}

const wrapping = "arn:aws:kms:r:1:key/w"

func kms(t *testing.T, more string) string {
	return with(t, "  file: roots.age\n  passphrase_file: p", "  kms:\n    region: r\n    identity_key: "+wrapping+"\n    identity_blob: i\n"+more)
}

func TestLoad(t *testing.T) {
	c, dir, err := load(t, base)
	if err != nil {
		t.Fatal(err)
	}
	if c.TLS.Cert != filepath.Join(dir, "c") || c.TLS.Key != "/k" || c.Roots.PassphraseFile != filepath.Join(dir, "p") || c.Audit != filepath.Join(dir, "a") ||
		c.Issuer.CA != "" || len(c.Thumbprints) != 1 || c.Thumbprints[0].String() != thumb {
		t.Errorf("%+v", c)
	}
	c, dir, err = load(t, kms(t, "    epochs:\n      1: arn:aws:kms:r:1:key/a\n      12: arn:aws:kms:r:1:key/b\n"))
	if err != nil {
		t.Fatal(err)
	}
	if k := c.Roots.KMS; k.IdentityBlob != filepath.Join(dir, "i") || len(k.Keys) != 2 || k.Keys[12] != "arn:aws:kms:r:1:key/b" {
		t.Errorf("%+v", k)
	}
	if _, _, err := load(t, with(t, "["+thumb+"]", "[]")); err != nil {
		t.Errorf("no brokers: %v", err)
	}
	if _, err := signerconf.Load(filepath.Join(dir, "none")); !errors.Is(err, conf.ErrConfig) {
		t.Errorf("no file: %v", err)
	}
}

// Every refusal names the setting, its value where that is no secret, and a
// cure.
func TestRefusals(t *testing.T) {
	for _, c := range []struct{ text, setting, value, cause string }{
		{with(t, "listen: 127.0.0.1:8443\n", ""), "listen", "", "missing"},
		{with(t, "127.0.0.1:8443", "8443"), "listen", "8443", "address"},
		{with(t, "127.0.0.1:9443", "127.0.0.1:8443"), "metrics_listen", "127.0.0.1:8443", "own address"},
		{with(t, "audit: a\n", ""), "audit", "", "missing"},
		{with(t, "audit: a", "audit: a\nlog: b"), "log", "", "no such setting"},
		{with(t, "{cert: c, key: /k}", "{cert: c}"), "tls.key", "", "missing"},
		{with(t, "{cert: c, key: /k}", "{key: /k}"), "tls.cert", "", "missing"},
		{with(t, "https://b.example.com", "http://b.example.com"), "issuer.url", "http://b.example.com", "https"},
		{with(t, "https://b.example.com", "http://127.0.0.1"), "issuer.url", "http://127.0.0.1", "without TLS"},
		{with(t, "https://b.example.com", "https://b.example.com/"), "issuer.url", "https://b.example.com/", "origin"},
		{with(t, "  audience: https://s.example.com\n", ""), "issuer.audience", "", "missing"},
		{with(t, "  audience", "  ca_file: x\n  jwks_file: y\n  audience"), "issuer.ca_file", "x", "jwks_file"},
		{with(t, thumb, thumb+", "+thumb), "brokers", thumb, "twice"},
		{with(t, thumb, "abc"), "brokers", "abc", "thumbprint"},
		{with(t, "brokers: ["+thumb+"]\n", ""), "brokers", "", "missing"},
		{with(t, "  file: roots.age\n  passphrase_file: p", "  passphrase_file: p"), "roots", "", "no roots"},
		{with(t, "  passphrase_file: p\n", ""), "roots.passphrase_file", "", "missing"},
		{with(t, "  passphrase_file: p", "  passphrase_file: p\n  passphrase_fd: 3"), "roots.passphrase_fd", "", "passphrase_file too"},
		{with(t, "  passphrase_file: p", "  passphrase_fd: 0"), "roots.passphrase_fd", "0", "terminal"},
		{with(t, "  passphrase_file: p", "  passphrase_credential: ../x"), "roots.passphrase_credential", "../x", "not a path"},
		{with(t, "  passphrase_file: p", "  passphrase_file: p\n  passphrase: hunter2"), "passphrase", "", "no such setting"},
		{with(t, "  passphrase_file: p", "  passphrase_file: p\n  kms: {region: r}"), "roots.kms", "", "a file too"},
		{kms(t, "    epochs: {}\n"), "roots.kms.epochs", "", "none"},
		{kms(t, "    epochs: {0: arn:aws:kms:r:1:key/a}\n"), "roots.kms.epochs", "0", "number from 1"},
		{kms(t, "    epochs: {1: arn:aws:kms:r:1:key/a, 01: arn:aws:kms:r:1:key/b}\n"), "roots.kms.epochs", "01", "number from 1"},
		{kms(t, "    epochs: {1: arn:aws:kms:r:1:alias/a}\n"), "roots.kms.epochs.1", "arn:aws:kms:r:1:alias/a", "ARN of a key"},
		{kms(t, "    epochs: {1: "+wrapping+"}\n"), "roots.kms.epochs.1", wrapping, "twice"},
		{kms(t, "    epochs: {1: arn:aws:kms:r:1:key/a}\n  passphrase_fd: 3\n"), "roots.passphrase_fd", "", "no passphrase"},
		{kms(t, "    endpoint: http://10.0.0.1\n    epochs: {1: arn:aws:kms:r:1:key/a}\n"), "roots.kms.endpoint", "http://10.0.0.1", "https"},
		{strings.Replace(kms(t, "    epochs: {1: arn:aws:kms:r:1:key/a}\n"), wrapping, "alias/w", 1), "roots.kms.identity_key", "alias/w", "ARN of a key"},
	} {
		_, _, err := load(t, c.text)
		var faults conf.Faults
		if !errors.As(err, &faults) || !errors.Is(err, conf.ErrConfig) {
			t.Errorf("%s\nwas accepted: %v", c.text, err)
			continue
		}
		if !slices.ContainsFunc(faults, func(f conf.Fault) bool {
			return f.Setting == c.setting && f.Value == c.value && strings.Contains(f.Cause, c.cause) && f.Cure != ""
		}) {
			t.Errorf("%s\n%v\nwant %s %q %s", c.text, err, c.setting, c.value, c.cause)
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("a passphrase was quoted: %v", err)
		}
	}
	for _, text := range []string{"", "- a", "a: [", base + "---\n", with(t, "audit: a", "audit: a\naudit: b"), with(t, "audit: a", "audit: &x a")} {
		if _, _, err := load(t, text); !errors.Is(err, conf.ErrConfig) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
