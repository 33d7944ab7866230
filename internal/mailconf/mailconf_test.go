package mailconf_test

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/litentry/agentkeys/internal/conf"
	"github.com/litentry/agentkeys/internal/mailconf"
	"github.com/litentry/agentkeys/internal/mailstore"
)

const good = `
hostname: mx.example.com
domains: [bots.example.com, bücher.example]
listen: 0.0.0.0:25
metrics_listen: 127.0.0.1:9466
tls: {cert: mx.pem, key: mx.key}
store: {directory: mail}
recipients: wallets
tags: [or, jina]
resolver: 127.0.0.1:53
limits: {message_bytes: 1048576, connections: 10, peer_connections: 2, peer_messages_per_minute: 3, wallet_messages_per_hour: 4, sender_messages_per_hour: 5, peer_bytes_per_hour: 2000000, free_bytes: 6}
keep: {mail_days: 7}
audit: audit
`

const (
	directory = "store: {directory: mail}"
	bucket    = `store: {s3: {region: eu-central-1, bucket: agentkeys-prod, endpoint: "https://s3.example.com", path_style: true, compatible: versitygw, credentials_file: secret}}`
	keep      = "keep: {mail_days: 7}"
	pair      = "tls: {cert: mx.pem, key: mx.key}"
)

// world writes mail.yaml beside what it names, with old replaced by new.
func world(t *testing.T, change ...string) string {
	t.Helper()
	dir := t.TempDir()
	text := strings.NewReplacer(change...).Replace(good)
	if len(change) > 0 && text == good {
		t.Fatalf("%q changes nothing", change)
	}
	for name, data := range map[string]string{
		"mail.yaml": text, "mx.pem": "certificate", "mx.key": "key", "secret": "obviously-fake\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "open"), []byte("obviously-fake"), 0o644), os.Chmod(filepath.Join(dir, "open"), 0o644)); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "mail.yaml")
}

func TestLoad(t *testing.T) {
	path := world(t)
	c, err := mailconf.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(path)
	want := &mailconf.Config{
		Hostname: "mx.example.com", Domains: []string{"bots.example.com", "xn--bcher-kva.example"},
		Listen: "0.0.0.0:25", MetricsListen: "127.0.0.1:9466",
		TLS:        &mailconf.TLS{Cert: filepath.Join(dir, "mx.pem"), Key: filepath.Join(dir, "mx.key")},
		Store:      mailconf.Store{Directory: filepath.Join(dir, "mail")},
		Recipients: mailconf.Wallets, Tags: []string{"or", "jina"}, Resolver: "127.0.0.1:53",
		Limits: mailconf.Limits{MessageBytes: 1 << 20, Connections: 10, PeerConnections: 2, PeerMessagesPerMinute: 3, WalletMessagesPerHour: 4, SenderMessagesPerHour: 5, PeerBytesPerHour: 2000000, FreeBytes: 6},
		Keep:   mailconf.Keep{MailDays: 7}, Audit: filepath.Join(dir, "audit"),
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
}

// TestDefaults: the shortest file there can be.
func TestDefaults(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mail.yaml")
	if err := os.WriteFile(path, []byte("hostname: mx.agentkeys.localhost\ndomains: [agentkeys.localhost]\nstore: {directory: /m}\naudit: /a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := mailconf.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen != "127.0.0.1:2525" || c.MetricsListen != "" || c.TLS != nil || c.Recipients != mailconf.All || c.Tags != nil || c.Resolver != "" || c.Spool != "" ||
		c.Keep.MailDays != 30 || c.Store.Directory != "/m" || c.Audit != "/a" {
		t.Errorf("%+v", c)
	}
	if want := (mailconf.Limits{mailstore.MaxMessage - 16<<10, 256, 20, 120, 1 << 30, 120, 10000, 0}); c.Limits != want {
		t.Errorf("limits %+v, want %+v", c.Limits, want)
	}
}

func TestBucket(t *testing.T) {
	path := world(t, directory, bucket, keep, "spool: spool")
	c, err := mailconf.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(path)
	want := &mailconf.S3{Region: "eu-central-1", Bucket: "agentkeys-prod", Endpoint: "https://s3.example.com", PathStyle: true, Compatible: mailconf.VersityGW, CredentialsFile: filepath.Join(dir, "secret")}
	if !reflect.DeepEqual(c.Store.S3, want) || c.Store.Directory != "" || c.Spool != filepath.Join(dir, "spool") {
		t.Errorf("%+v", c.Store.S3)
	}
}

func TestFaults(t *testing.T) {
	for _, c := range []struct{ old, new, want string }{
		{"hostname: mx.example.com", "", "hostname: it is missing"},
		{"mx.example.com", "MX.example.com", "it is not the name of a host"},
		{"mx.example.com", "mx.example.com.", "it is not the name of a host"},
		{"mx.example.com", "localhost", "it is not the name of a host"},
		{"mx.example.com", "192.0.2.1", "it is not the name of a host"},
		{"mx.example.com", "bücher.example", "xn-- form"},
		{"domains: [bots.example.com, bücher.example]", "", "domains: there is none"},
		{"domains: [bots.example.com, bücher.example]", "domains: []", "domains: there is none"},
		{"bücher.example", "BOTS.example.com", "it stands twice"},
		{"bücher.example", "xn--bcher-kva.example, bücher.example", "it stands twice"},
		{"bücher.example", "\"*.example.com\"", "it is not the name of a domain"},
		{"bücher.example", "a@example.com", "it is not the name of a domain"},
		{"bücher.example", "example..com", "it is not the name of a domain"},
		{"bücher.example", "a_b.example.com", "it is not the name of a domain"},
		{"bücher.example", "example.com.", "it is not the name of a domain"},
		{"bücher.example", strings.Repeat("a.", 126) + "example", "it is not the name of a domain"},
		{"bücher.example", "192.0.2.1", "it is not the name of a domain"},
		{"listen: 0.0.0.0:25", "listen: mx.example.com:25", "listen = \"mx.example.com:25\": it is not an address"},
		{"listen: 0.0.0.0:25", "listen: ", "it is not an address"},
		{"metrics_listen: 127.0.0.1:9466", "metrics_listen: 0.0.0.0:25", "it is the same as listen"},
		{"metrics_listen: 127.0.0.1:9466", "metrics_listen: 9466", "metrics_listen = \"9466\""},
		{pair, "", "tls: listen is open to a network"},
		{pair, "tls: {cert: mx.pem}", "tls.key: it is missing"},
		{pair, "tls: {key: mx.key}", "tls.cert: it is missing"},
		{pair, "tls: {cert: none.pem, key: mx.key}", "tls.cert"},
		{pair, "tls: {cert: mx.pem, key: open}", "others may read it: its mode is 0644"},
		{directory, "", "store: it does not say where mail is kept"},
		{directory, "store: {}", "store: it does not say where mail is kept"},
		{directory, "store: {directory: mail, s3: {region: eu-central-1, bucket: agentkeys-prod}}", "both this and store.directory"},
		{directory, bucket, "it is the bucket's lifecycle"},
		{directory, "store: {s3: {region: EU, bucket: agentkeys-prod}}", "store.s3.region"},
		{directory, "store: {s3: {bucket: agentkeys-prod}}", "store.s3.region: it is missing"},
		{directory, "store: {s3: {region: eu-central-1}}", "store.s3.bucket: it is missing"},
		{directory, "store: {s3: {region: eu-central-1, bucket: A}}", "it is not the name of a bucket"},
		{directory, "store: {s3: {region: eu-central-1, bucket: a..b, path_style: true}}", "it is not the name of a bucket"},
		{directory, "store: {s3: {region: eu-central-1, bucket: agentkeys.prod}}", "path_style"},
		{directory, "store: {s3: {region: eu-central-1, bucket: agentkeys-prod, endpoint: \"http://s3.example.com\"}}", "it is not https"},
		{directory, "store: {s3: {region: eu-central-1, bucket: agentkeys-prod, credentials_file: none}}", "it cannot be read"},
		{directory, "store: {s3: {region: eu-central-1, bucket: agentkeys-prod, credentials_file: open}}", "chmod 600"},
		{directory, "store: {s3: {region: eu-central-1, bucket: agentkeys-prod, credentials_file: .}}", "it is not a plain file"},
		{directory, "store: {s3: {region: eu-central-1, bucket: agentkeys-prod, credentials_file: \"\"}}", "it is empty"},
		{directory, "store: {s3: {region: eu-central-1, bucket: agentkeys-prod, compatible: versitygw}}", "store.s3.endpoint"},
		{directory, "store: {s3: {region: eu-central-1, bucket: agentkeys-prod, compatible: minio}}", "there is no such profile"},
		{"audit: audit", "", "audit: it is missing"},
		{"recipients: wallets", "recipients: some", "there is no such kind"},
		{"tags: [or, jina]", "tags: []", "no address would belong to a wallet"},
		{"tags: [or, jina]", "tags: [or, or]", "it stands twice"},
		{"tags: [or, jina]", "tags: [OR]", "it is not a tag"},
		{"tags: [or, jina]", "tags: [abcde]", "it is not a tag"},
		{"resolver: 127.0.0.1:53", "resolver: dns.example.com:53", "it is not the address of a DNS server"},
		{"resolver: 127.0.0.1:53", "resolver: 127.0.0.1:0", "it is not the address of a DNS server"},
		{"message_bytes: 1048576", "message_bytes: 0", "limits.message_bytes"},
		{"message_bytes: 1048576", "message_bytes: 41926657", "limits.message_bytes"},
		{"connections: 10", "connections: 0", "limits.connections"},
		{"peer_connections: 2", "peer_connections: -1", "limits.peer_connections"},
		{"peer_messages_per_minute: 3", "peer_messages_per_minute: 0", "limits.peer_messages_per_minute"},
		{"wallet_messages_per_hour: 4", "wallet_messages_per_hour: 0", "limits.wallet_messages_per_hour"},
		{"sender_messages_per_hour: 5", "sender_messages_per_hour: 1000001", "limits.sender_messages_per_hour"},
		{"peer_bytes_per_hour: 2000000", "peer_bytes_per_hour: 1048575", "limits.peer_bytes_per_hour"},
		{"peer_bytes_per_hour: 2000000", "peer_bytes_per_hour: 0", "limits.peer_bytes_per_hour"},
		{"peer_bytes_per_hour: 2000000", "peer_bytes_per_hour: 1125899906842625", "limits.peer_bytes_per_hour"},
		{"free_bytes: 6", "free_bytes: 0", "limits.free_bytes"},
		{"free_bytes: 6", "free_bytes: -1", "limits.free_bytes"},
		{"wallet_messages_per_hour: 4", "wallet_messages: 4", "no such setting"},
		{keep, "keep: {mail_days: 0}", "keep.mail_days"},
		{keep, "keep: {mail_days: 3651}", "keep.mail_days"},
	} {
		_, err := mailconf.Load(world(t, c.old, c.new))
		if !errors.Is(err, conf.ErrConfig) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q → %q: got %v, want %q", c.old, c.new, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "obviously-fake") {
			t.Errorf("%q: a secret is in the complaint: %v", c.new, err)
		}
	}
}

// TestMost: each message is held to all names, so there cannot be any number.
func TestMost(t *testing.T) {
	domains, tags := "bots.example.com", "or"
	for i := range 100 {
		domains += ", d" + strings.Repeat("x", i%50) + string(rune('a'+i/50)) + ".example.com"
		tags += ", " + string(rune('a'+i/26)) + string(rune('a'+i%26))
	}
	for _, c := range [][2]string{{"bots.example.com, bücher.example", domains}, {"or, jina", tags}} {
		if _, err := mailconf.Load(world(t, c[0], c[1])); err == nil || !strings.Contains(err.Error(), "more than 100") {
			t.Error(err)
		}
	}
}
