package signerconf_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/litentry/agentkeys/internal/signerconf"
)

const thumb = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"

func TestExample(t *testing.T) {
	c, err := signerconf.Parse("/etc/agentkeys/signer.yaml", []byte(signerconf.Example))
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen != "0.0.0.0:8443" || c.TLS.Key != "/etc/agentkeys/server.key" || c.Roots.PassphraseFile != "/etc/agentkeys/passphrase" ||
		c.Issuer.URL != "https://broker.example.com" || c.Audit != "/etc/agentkeys/audit" || len(c.Brokers) != 0 || c.Roots.KMS != nil {
		t.Errorf("%+v", c)
	}
}

func TestKMS(t *testing.T) {
	text := with(t, "roots:\n  file: roots.age\n  passphrase_file: p", `roots:
  kms:
    region: eu-central-1
    identity_blob: id.kms
    epochs:
      1: arn:aws:kms:eu-central-1:1:key/a
      12: arn:aws:kms:eu-central-1:1:key/b`)
	c, err := signerconf.Parse(filepath.Join("d", "s.yaml"), []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if k := c.Roots.KMS; k == nil || k.Identity != "d/id.kms" || len(k.Epochs) != 2 || k.Epochs[12] != "arn:aws:kms:eu-central-1:1:key/b" {
		t.Errorf("%+v", k)
	}
}

const base = `listen: 127.0.0.1:8443
metrics: 127.0.0.1:9443
tls: {cert: c, key: k}
issuer:
  url: https://b.example.com
  audience: https://s.example.com
brokers: [` + thumb + `]
roots:
  file: roots.age
  passphrase_file: p
audit: a
`

func with(t *testing.T, old, text string) string {
	t.Helper()
	if !strings.Contains(base, old) {
		t.Fatalf("%q is not in the base", old)
	}
	return strings.Replace(base, old, text, 1)
}

// Every refusal names the setting, its value and a cure.
func TestRefusals(t *testing.T) {
	if _, err := signerconf.Parse("s.yaml", []byte(base)); err != nil {
		t.Fatal(err)
	}
	kms := func(body string) string {
		return with(t, "  file: roots.age\n  passphrase_file: p", "  kms:\n    region: r\n    identity_blob: i\n"+body)
	}
	for _, c := range []struct{ text, setting, value, problem string }{
		{"", "", "", "empty"},
		{"- a", "", "", "names"},
		{"a: [", "", "", "not YAML"},
		{base + "---\na: 1\n", "", "", "second document"},
		{with(t, "listen: 127.0.0.1:8443\n", ""), "listen", "", "missing"},
		{with(t, "127.0.0.1:8443", ":8443"), "listen", ":8443", "address"},
		{with(t, "127.0.0.1:8443", "8443"), "listen", "8443", "text"},
		{with(t, "127.0.0.1:8443", "127.0.0.1:99999"), "listen", "127.0.0.1:99999", "address"},
		{with(t, "127.0.0.1:9443", "127.0.0.1:8443"), "metrics", "127.0.0.1:8443", "own address"},
		{with(t, "audit: a", "audit: a\naudit: b"), "audit", "", "twice"},
		{with(t, "audit: a", "audit: a\nlog: b"), "log", "", "no such setting"},
		{with(t, "audit: a", "audit: &x a"), "audit", "a", "text"},
		{with(t, "audit: a", "audit: true"), "audit", "true", "text"},
		{with(t, "audit: a", "audit: !!str a"), "audit", "a", "text"},
		{with(t, "{cert: c, key: k}", "{cert: c}"), "tls.key", "", "missing"},
		{with(t, "{cert: c, key: k}", "{cert: c, key: k, ca: x}"), "tls.ca", "", "no such setting"},
		{with(t, "{cert: c, key: k}", "c"), "tls", "", "names"},
		{with(t, "https://b.example.com", "http://b.example.com"), "issuer.url", "http://b.example.com", "https origin"},
		{with(t, "https://b.example.com", "https://b.example.com/"), "issuer.url", "https://b.example.com/", "https origin"},
		{with(t, "https://b.example.com", "https://B.example.com"), "issuer.url", "https://B.example.com", "https origin"},
		{with(t, "  audience", "  ca: x\n  jwks_file: y\n  audience"), "issuer.ca", "x", "jwks_file"},
		{with(t, thumb, thumb+", "+thumb), "brokers", thumb, "twice"},
		{with(t, thumb, "abc"), "brokers", "abc", "thumbprint"},
		{with(t, "brokers: ["+thumb+"]\n", ""), "brokers", "", "missing"},
		{with(t, "["+thumb+"]", thumb), "brokers", thumb, "list"},
		{with(t, "  file: roots.age\n  passphrase_file: p", "  passphrase_file: p"), "roots.file", "", "no roots"},
		{with(t, "  passphrase_file: p\n", ""), "roots.passphrase_file", "", "needs a passphrase"},
		{with(t, "  passphrase_file: p", "  passphrase_file: p\n  passphrase_fd: 3"), "roots.passphrase_fd", "3", "passphrase_file too"},
		{with(t, "  passphrase_file: p", "  passphrase_fd: 1"), "roots.passphrase_fd", "1", "terminal"},
		{with(t, "  passphrase_file: p", "  passphrase_fd: 0x3"), "roots.passphrase_fd", "0x3", "whole number"},
		{with(t, "  passphrase_file: p", "  passphrase_credential: ../x"), "roots.passphrase_credential", "../x", "not a path"},
		{with(t, "  passphrase_file: p", "  passphrase_file: p\n  passphrase: hunter2"), "roots.passphrase", "", "no such setting"},
		{with(t, "  passphrase_file: p", "  passphrase_file: p\n  kms: {region: r}"), "roots.kms", "", "both"},
		{kms("    epochs: {}\n"), "roots.kms.epochs", "", "none"},
		{kms("    epochs: {0: arn:aws:kms:r:1:key/a}\n"), "roots.kms.epochs", "0", "number from 1"},
		{kms("    epochs: {01: arn:aws:kms:r:1:key/a}\n"), "roots.kms.epochs", "01", "number from 1"},
		{kms("    epochs: {1: arn:aws:kms:r:1:alias/a}\n"), "roots.kms.epochs", "arn:aws:kms:r:1:alias/a", "ARN of a key"},
		{kms("    epochs: {1: arn:aws:kms:r:1:key/a, 2: arn:aws:kms:r:1:key/a}\n"), "roots.kms.epochs", "arn:aws:kms:r:1:key/a", "two epochs"},
		{kms("    epochs: {1: arn:aws:kms:r:1:key/a, 1: arn:aws:kms:r:1:key/b}\n"), "roots.kms.epochs.1", "", "twice"},
		{kms("    epochs: {1: arn:aws:kms:r:1:key/a}\n  passphrase_fd: 3\n"), "roots.passphrase_fd", "3", "no passphrase"},
		{kms("    endpoint: ftp://x\n    epochs: {1: arn:aws:kms:r:1:key/a}\n"), "roots.kms.endpoint", "ftp://x", "not an address"},
		{strings.Repeat("#", 70000), "", "", "too large"},
	} {
		_, err := signerconf.Parse("s.yaml", []byte(c.text))
		var e *signerconf.Error
		if !errors.As(err, &e) {
			t.Errorf("%s\nwas accepted: %v", c.text, err)
			continue
		}
		if e.Setting != c.setting || e.Value != c.value || !strings.Contains(e.Problem, c.problem) || e.Cure == "" {
			t.Errorf("%s\n%s: %q: %s (%s); want %s %q %s", c.text, e.Setting, e.Value, e.Problem, e.Cure, c.setting, c.value, c.problem)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(base))
	f.Add([]byte(signerconf.Example))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := signerconf.Parse("s.yaml", data)
		var e *signerconf.Error
		if err != nil && !errors.As(err, &e) {
			t.Errorf("%T", err)
		}
		if err == nil && (c.Listen == "" || c.Audit == "" || (c.Roots.File == "") == (c.Roots.KMS == nil)) {
			t.Errorf("%+v", c)
		}
	})
}
