package brokerconf_test

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/brokerconf"
	"github.com/litentry/agentkeys/internal/conf"
)

const good = `
origin: https://broker.example.com
listen: 0.0.0.0:8443
metrics_listen: 127.0.0.1:9090
tls: {cert: cert.pem, key: key.pem}
keys: keys
state: {sqlite: state.db}
audit: audit
signer: {url: "https://signer.example.com:9443", ca_file: cert.pem, key_file: key.pem}
cloud: {region: eu-central-1, bucket: agentkeys-prod, role_arn: "arn:aws:iam::123456789012:role/agentkeys-data", mail: {domain: mail.example.com}}
audiences:
  - {name: "https://vendor.example", alg: RS256}
  - {name: vendor-two}
logins:
  email: {from: login@mail.example.com, smtp: "smtp.example.com:587", user: u, password_file: secret}
  wallet: {chains: [{id: 1, rpc_file: rpc}, {id: 8453, rpc_file: rpc}]}
  google: {client_id: id, client_secret_file: secret}
  passkey: {rp_id: example.com}
`

const inKMS = `kms_keys: {region: eu-central-1, keys: [{arn: "arn:aws:kms:eu-central-1:123456789012:key/a", signs_from: 2026-01-02T15:04:05Z}]}`

// world writes broker.yaml beside what it names, with old replaced by new.
func world(t *testing.T, change ...string) string {
	t.Helper()
	dir := t.TempDir()
	text := strings.NewReplacer(change...).Replace(good)
	if len(change) > 0 && text == good {
		t.Fatalf("%q changes nothing", change)
	}
	for name, data := range map[string]string{
		"broker.yaml": text, "cert.pem": "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n", "key.pem": "key",
		"secret": "obviously-fake\n", "rpc": "https://rpc.example/obviously-fake\n", "empty": "", "badrpc": "ftp://x",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "open"), []byte("obviously-fake"), 0o644); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "broker.yaml")
}

func TestLoad(t *testing.T) {
	path := world(t)
	c, err := brokerconf.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Methods(); !reflect.DeepEqual(got, []string{"email", "wallet", "google", "passkey"}) {
		t.Errorf("methods %q", got)
	}
	if c.Keys != filepath.Join(filepath.Dir(path), "keys") || c.Logins.Google.Issuer != brokerconf.GoogleIssuer ||
		c.Cloud.Audience != "sts.amazonaws.com" || c.Signer.Audience != c.Signer.URL || c.Limits.RequestsPerSecond != 20 {
		t.Errorf("defaults: %+v", c)
	}
	if got := c.Algs(); !reflect.DeepEqual(got, map[string]string{"sts.amazonaws.com": "ES256", "https://vendor.example": "RS256", "vendor-two": "ES256"}) {
		t.Errorf("algs %v", got)
	}
	if !c.NeedsRS256() {
		t.Error("an RS256 audience is not seen")
	}
	if string(c.Logins.Email.Password.Expose()) != "obviously-fake" || string(c.Logins.Wallet.Chains[0].RPC.Expose()) != "https://rpc.example/obviously-fake" {
		t.Error("secrets are not read")
	}
	if api := c.API("v1"); api.Issuer != c.Origin || api.Cloud.Bucket != "agentkeys-prod" || api.Cloud.Mail == nil || *api.Cloud.Mail != (brokerapi.Mail{Domain: "mail.example.com"}) || !strings.Contains(api.Signer.CA, "CERTIFICATE") {
		t.Errorf("api: %+v", api)
	}
}

func TestFaults(t *testing.T) {
	for _, c := range []struct{ old, new, want string }{
		{"origin: https://broker.example.com", "", "origin: it is missing"},
		{"origin: https://broker.example.com", "origin: https://broker.example.com/", "origin = \"https://broker.example.com/\": it is not an origin"},
		{"origin: https://broker.example.com", "origin: http://broker.example.com", "it is not https"},
		{"origin: https://broker.example.com", "origin: http://localhost", "it is http, and tls is on"},
		{"origin: https://broker.example.com", "origin: https://broker.example.com:443", "leave the port out"},
		{"listen: 0.0.0.0:8443", "listen: \"8443\"", "listen = \"8443\""},
		{"metrics_listen: 127.0.0.1:9090", "metrics_listen: 0.0.0.0:8443", "same as listen"},
		{"tls: {cert: cert.pem, key: key.pem}", "", "tls: nobody is said to end TLS"},
		{"listen: 0.0.0.0:8443\nmetrics_listen: 127.0.0.1:9090\ntls: {cert: cert.pem, key: key.pem}", "listen: 127.0.0.1:8443", "origin is https"},
		{"tls: {cert: cert.pem, key: key.pem}", "tls: {cert: cert.pem}", "tls.key: it is missing"},
		{"tls: {cert: cert.pem, key: key.pem}", "tls: {cert: cert.pem, key: open}", "others may read it: its mode is 0644"},
		{"tls: {cert: cert.pem, key: key.pem}", "tls: {cert: none.pem, key: key.pem}", "tls.cert"},
		{"keys: keys", "behind_proxy: {trusted: [10.0.0.0/8]}\nkeys: keys", "both this and tls"},
		{"tls: {cert: cert.pem, key: key.pem}", "behind_proxy: {trusted: []}", "behind_proxy.trusted: it is empty"},
		{"tls: {cert: cert.pem, key: key.pem}", "behind_proxy: {trusted: [0.0.0.0/0]}", "everybody cannot be trusted"},
		{"tls: {cert: cert.pem, key: key.pem}", "behind_proxy: {trusted: [10.0.0.1/8]}", "not the network"},
		{"keys: keys", "", "keys: it is missing"},
		{"keys: keys", "keys: keys\n" + inKMS, "both this and keys"},
		{"keys: keys", inKMS, "sign ES256 alone"},
		{"keys: keys", strings.Replace(inKMS, "eu-central-1,", "EU,", 1), "kms_keys.region"},
		{"keys: keys", strings.Replace(inKMS, "key/a", "alias/a", 1), "not the ARN of a key"},
		{"keys: keys", strings.Replace(inKMS, ", signs_from: 2026-01-02T15:04:05Z", "", 1), "from when the key signs"},
		{"keys: keys", "kms_keys: {region: eu-central-1}", "kms_keys.keys: there is none"},
		{"audit: audit", "", "audit: it is missing"},
		{"state: {sqlite: state.db}", "", "state: it does not say"},
		{"state: {sqlite: state.db}", "state: {sqlite: state.db, postgres: {dsn_file: secret}}", "both this and state.postgres"},
		{"state: {sqlite: state.db}", "state: {postgres: {dsn_file: open}}", "chmod 600"},
		{"state: {sqlite: state.db}", "state: {postgres: {dsn_file: none}}", "state.postgres.dsn_file"},
		{"state: {sqlite: state.db}", "state: {postgres: {dsn_file: empty}}", "one line"},
		{"https://signer.example.com:9443", "http://localhost:9443", "mutual TLS"},
		{"ca_file: cert.pem", "ca_file: secret", "no PEM certificate"},
		{", key_file: key.pem}", "}", "signer.key_file: it is missing"},
		{"region: eu-central-1", "region: EU", "cloud.region"},
		{"bucket: agentkeys-prod", "bucket: A", "cloud.bucket"},
		{"role/agentkeys-data", "user/x", "cloud.role_arn"},
		{"mail: {domain: mail.example.com}", "mail: {}", "cloud.mail.domain: it is missing"},
		{"mail: {domain: mail.example.com}", "mail: {domain: Mail.example.com}", "cloud.mail.domain"},
		{"mail: {domain: mail.example.com}", "mail: {domain: mail.example.com, receiver: \"mx .example.com\"}", "cloud.mail.receiver"},
		{"bucket: agentkeys-prod", "bucket: agentkeys-prod, s3_endpoint: \"https://s3.example\"", "only one of s3_endpoint"},
		{"vendor-two", "sts.amazonaws.com", "it is the audience of the cloud"},
		{"vendor-two", "https://vendor.example", "another entry"},
		{"vendor-two", "https://signer.example.com:9443", "the signer"},
		{"vendor-two", "https://broker.example.com", "the broker itself"},
		{"alg: RS256", "alg: HS256", "not an algorithm of ours"},
		{"vendor-two", "a b", "not an audience"},
		{"smtp: \"smtp.example.com:587\"", "smtp: smtp.example.com", "HOST:PORT"},
		{"from: login@mail.example.com", "from: \"A <login@mail.example.com>\"", "bare address"},
		{", user: u,", ", user: u, security: plain,", "logins.email.security"},
		{", user: u,", ", user: u, security: ssl,", "there is no such way"},
		{", user: u,", ", user: u, ca_file: secret,", "logins.email.ca_file"},
		{", user: u", "", "only one of user and password_file"},
		{"{id: 8453,", "{id: 1,", "stands twice"},
		{"{id: 8453, rpc_file: rpc}", "{id: 8453}", "rpc_file of a node"},
		{"bucket: agentkeys-prod", "bucket: agentkeys.prod", "path_style"},
		{"rpc_file: rpc", "rpc_file: badrpc", "https URL"},
		{"client_id: id, ", "", "logins.google.client_id: it is missing"},
		{"rp_id: example.com", "rp_id: ample.com", "logins.passkey.rp_id"},
		{"rp_id: example.com", "rp_id: broker.example.com.evil", "logins.passkey.rp_id"},
		{"audiences:", "limits: {burst: 0}\naudiences:", "limits.burst"},
		{"audiences:", "limits: {bursts: 1}\naudiences:", "no such setting"},
	} {
		_, err := brokerconf.Load(world(t, c.old, c.new))
		if !errors.Is(err, conf.ErrConfig) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q → %q: got %v, want %q", c.old, c.new, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "obviously-fake") {
			t.Errorf("%q: a secret is in the complaint: %v", c.new, err)
		}
	}
	_, err := brokerconf.Load(world(t, "  email:", "x_email:"))
	if err == nil {
		t.Error("an unknown setting is read")
	}
}

func TestKMSKeys(t *testing.T) {
	c, err := brokerconf.Load(world(t, "keys: keys", inKMS, "alg: RS256", "alg: ES256"))
	if err != nil {
		t.Fatal(err)
	}
	if c.Keys != "" || len(c.KMSKeys.Keys) != 1 || c.KMSKeys.Keys[0].SignsFrom.Year() != 2026 {
		t.Errorf("%+v", c.KMSKeys)
	}
}

func TestNoLogins(t *testing.T) {
	path := world(t)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(string(data), "logins:")
	if err := os.WriteFile(path, []byte(head), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := brokerconf.Load(path); err == nil || !strings.Contains(err.Error(), "nobody could log in") {
		t.Error(err)
	}
}
