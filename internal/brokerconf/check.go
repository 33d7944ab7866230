package brokerconf

import (
	"encoding/pem"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"strings"

	"github.com/litentry/agentkeys/internal/conf"
)

func (c *Config) network(f *conf.File) {
	if f.Need("listen", c.Listen, "write IP:PORT, as 0.0.0.0:8443") {
		f.Listen("listen", c.Listen)
	}
	if c.MetricsListen != "" {
		f.Listen("metrics_listen", c.MetricsListen)
		if c.MetricsListen == c.Listen {
			f.Fault("metrics_listen", c.MetricsListen, "it is the same as listen", "take another port, which only the operator's network reaches")
		}
	}
	host, _, _ := net.SplitHostPort(c.Listen)
	switch {
	case c.TLS != nil && c.BehindProxy != nil:
		f.Fault("behind_proxy", "", "both this and tls say who ends TLS", "keep tls where clients reach the broker itself, behind_proxy where a proxy does it")
	case c.TLS != nil:
		f.Certificate("tls", &c.TLS.Cert, &c.TLS.Key)
		if strings.HasPrefix(c.Origin, "http://") {
			f.Fault("origin", c.Origin, "it is http, and tls is on", "write https")
		}
	case c.BehindProxy != nil:
		if len(c.BehindProxy.Trusted) == 0 {
			f.Fault("behind_proxy.trusted", "", "it is empty", "list the networks of the proxies, as 10.0.0.0/8")
		}
		for _, t := range c.BehindProxy.Trusted {
			p, err := netip.ParsePrefix(t)
			if err != nil || p != p.Masked() || p.Bits() == 0 {
				f.Fault("behind_proxy.trusted", t, "it is not the network of a proxy", "write it as 10.0.0.0/8; everybody cannot be trusted")
				continue
			}
			c.BehindProxy.Prefixes = append(c.BehindProxy.Prefixes, p)
		}
	case !conf.Loopback(host):
		f.Fault("tls", "", "nobody is said to end TLS, and listen is open to a network", "set tls.cert and tls.key, or behind_proxy.trusted, or listen on 127.0.0.1")
	case strings.HasPrefix(c.Origin, "https://"):
		// A proxy, then; untrusted, all who come through it would share its limits.
		f.Fault("tls", "", "origin is https, and nobody is said to end TLS", "set tls.cert and tls.key, or behind_proxy.trusted, as [127.0.0.0/8]")
	}
}

func (c *Config) storage(f *conf.File) {
	switch {
	case c.Keys != "" && c.KMSKeys != nil:
		f.Fault("kms_keys", "", "both this and keys say what signs tokens", "keep kms_keys if the keys are in a KMS, keys if they are files")
	case c.KMSKeys != nil:
		c.kms(f)
	case f.Need("keys", c.Keys, "name the directory of the token keys; 'agentkeys broker init' makes one"):
		c.Keys = f.Path(c.Keys)
	}
	if f.Need("audit", c.Audit, "name the directory of this replica's log") {
		c.Audit = f.Path(c.Audit)
	}
	switch {
	case c.State.SQLite != "" && c.State.Postgres != nil:
		f.Fault("state.sqlite", c.State.SQLite, "both this and state.postgres say where the state is", "keep sqlite for one replica, postgres for several")
	case c.State.SQLite != "":
		c.State.SQLite = f.Path(c.State.SQLite)
	case c.State.Postgres != nil:
		if f.Need("state.postgres.dsn_file", c.State.Postgres.DSNFile, "name the file with the connection string") {
			c.State.Postgres.DSN = f.Secret("state.postgres.dsn_file", c.State.Postgres.DSNFile)
		}
	default:
		f.Fault("state", "", "it does not say where the state is", "set state.sqlite or state.postgres.dsn_file")
	}
}

func (c *Config) kms(f *conf.File) {
	k := c.KMSKeys
	if f.Need("kms_keys.region", k.Region, "as eu-central-1") && !matches(regionName, k.Region) {
		f.Fault("kms_keys.region", k.Region, "it is not the name of a region", "write it as eu-central-1")
	}
	if k.Endpoint != "" {
		f.Origin("kms_keys.endpoint", k.Endpoint)
	}
	if len(k.Keys) == 0 {
		f.Fault("kms_keys.keys", "", "there is none", "name at least one ECC_NIST_P256 key")
	}
	seen := map[string]bool{}
	for _, key := range k.Keys {
		switch {
		case !matches(keyARN, key.ARN) || seen[key.ARN]:
			f.Fault("kms_keys.keys", key.ARN, "it is not the ARN of a key, or stands twice", "write it as arn:aws:kms:REGION:ACCOUNT:key/ID")
		case key.SignsFrom.IsZero():
			f.Fault("kms_keys.keys", key.ARN, "it does not say from when the key signs", "add signs_from, as 2026-01-02T15:04:05Z")
		}
		seen[key.ARN] = true
	}
	if c.NeedsRS256() {
		f.Fault("kms_keys", "", "an audience wants RS256, and keys in a KMS sign ES256 alone", "keep the keys in files, or change the audience's alg")
	}
}

func (c *Config) signer(f *conf.File) {
	s := c.Signer
	if s == nil {
		f.Fault("signer", "", "it is missing", "say where 'agentkeys signer' answers: signer.url and signer.key_file")
		return
	}
	if f.Need("signer.url", s.URL, "write https://HOST:PORT") {
		f.Origin("signer.url", s.URL)
		if !strings.HasPrefix(s.URL, "https://") {
			f.Fault("signer.url", s.URL, "the signer is spoken to with mutual TLS alone", "write https://HOST:PORT")
		}
	}
	if s.Audience == "" {
		s.Audience = s.URL
	}
	s.CA = certificate(f, "signer.ca_file", s.CAFile)
	if f.Need("signer.key_file", s.KeyFile, "name the broker's own key; 'agentkeys broker init' makes one") {
		s.KeyFile = f.Path(s.KeyFile)
		f.Readable("signer.key_file", s.KeyFile)
	}
}

// The forms of names in AWS.
const (
	bucketName = `^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`
	regionName = `^[a-z0-9-]{2,32}$`
	mailDomain = `^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+$`
	keyARN     = `^arn:aws[a-z-]*:kms:[a-z0-9-]{2,32}:[0-9]{12}:key/[A-Za-z0-9-]{1,64}$`
	roleARN    = `^arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]{1,128}({wallet})?$`
)

func matches(form, value string) bool { return regexp.MustCompile(form).MatchString(value) }

func (c *Config) cloud(f *conf.File) {
	w := c.Cloud
	if w == nil {
		return
	}
	if f.Need("cloud.region", w.Region, "as eu-central-1") && !matches(regionName, w.Region) {
		f.Fault("cloud.region", w.Region, "it is not the name of a region", "write it as eu-central-1")
	}
	if f.Need("cloud.bucket", w.Bucket, "name the bucket of the credentials") && !matches(bucketName, w.Bucket) {
		f.Fault("cloud.bucket", w.Bucket, "it is not the name of a bucket", "write 3 to 63 lower-case letters, digits, dots and hyphens")
	}
	if f.Need("cloud.role_arn", w.RoleARN, "'agentkeys cloud apply' prints it") && !matches(roleARN, w.RoleARN) {
		f.Fault("cloud.role_arn", w.RoleARN, "it is not the ARN of a role", "write it as arn:aws:iam::123456789012:role/agentkeys-data")
	}
	if strings.Contains(w.Bucket, ".") && !w.PathStyle {
		f.Fault("cloud.bucket", w.Bucket, "no certificate is for a host name with a dot in the bucket's part", "set cloud.path_style, or take a bucket without dots")
	}
	if w.Audience == "" {
		w.Audience = AudienceSTS
	}
	for _, e := range [][2]string{{"cloud.s3_endpoint", w.S3Endpoint}, {"cloud.sts_endpoint", w.STSEndpoint}} {
		if e[1] != "" {
			f.Origin(e[0], e[1])
		}
	}
	if m := w.Mail; m != nil {
		if f.Need("cloud.mail.domain", m.Domain, "name the domain of wallets' addresses, as mail.example.com") && !matches(mailDomain, m.Domain) {
			f.Fault("cloud.mail.domain", m.Domain, "it is not a domain in lower case", "write it as mail.example.com; what is not ASCII as xn--…")
		}
		if m.Receiver != "" && !matches(mailDomain, m.Receiver) {
			f.Fault("cloud.mail.receiver", m.Receiver, "it is not the name of a host", "write the hostname of mail.yaml, or leave it out for SES")
		}
	}
	if (w.S3Endpoint == "") != (w.STSEndpoint == "") {
		f.Fault("cloud", "", "only one of s3_endpoint and sts_endpoint is set: sessions of one cloud do not count in another", "set both, or neither for AWS")
	}
}

func (c *Config) audiences(f *conf.File) {
	taken := map[string]string{c.Origin: "the broker itself"}
	if c.Signer != nil {
		if by := taken[c.Signer.Audience]; by != "" {
			f.Fault("signer.audience", c.Signer.Audience, "it is the audience of "+by, "give each its own")
		}
		taken[c.Signer.Audience] = "the signer"
	}
	if c.Cloud != nil {
		if by := taken[c.Cloud.Audience]; by != "" {
			f.Fault("cloud.audience", c.Cloud.Audience, "it is the audience of "+by, "give each its own")
		}
		taken[c.Cloud.Audience] = "the cloud"
	}
	for i := range c.Audiences {
		a := &c.Audiences[i]
		at := fmt.Sprintf("audiences[%d]", i)
		if by := taken[a.Name]; by != "" {
			f.Fault(at, a.Name, "it is the audience of "+by, "give each its own")
		}
		if a.Name == "" || len(a.Name) > 256 || strings.ContainsFunc(a.Name, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
			f.Fault(at, a.Name, "it is not an audience", "write it exactly as the target wants it")
		}
		taken[a.Name] = "another entry"
		switch a.Alg {
		case "":
			a.Alg = "ES256"
		case "ES256", "RS256":
		default:
			f.Fault(at, a.Alg, "it is not an algorithm of ours", "write ES256 or RS256")
		}
	}
}

func (c *Config) logins(f *conf.File) {
	l := c.Logins
	if len(c.Methods()) == 0 {
		f.Fault("logins", "", "nobody could log in", "set at least one of logins.email, logins.wallet, logins.google and logins.passkey")
	}
	if m := l.Email; m != nil {
		if f.Need("logins.email.from", m.From, "name the sender, as login@mail.example.com") && (strings.Count(m.From, "@") != 1 || strings.ContainsAny(m.From, " <>\r\n\t")) {
			f.Fault("logins.email.from", m.From, "it is not a bare address", "write it as login@mail.example.com")
		}
		if f.Need("logins.email.smtp", m.SMTP, "name the submission server, as smtp.example.com:587") {
			if host, port, err := net.SplitHostPort(m.SMTP); err != nil || host == "" || port == "" {
				f.Fault("logins.email.smtp", m.SMTP, "it is not HOST:PORT", "write it as smtp.example.com:587")
			}
		}
		switch host, _, _ := net.SplitHostPort(m.SMTP); m.Security {
		case "":
			m.Security = "starttls"
		case "starttls", "tls":
		case "plain":
			if !conf.Loopback(host) {
				f.Fault("logins.email.security", m.Security, "mail would cross a network unencrypted", "write starttls or tls; plain is for a server on loopback")
			}
		default:
			f.Fault("logins.email.security", m.Security, "there is no such way", "write starttls, tls or plain")
		}
		m.CA = certificate(f, "logins.email.ca_file", m.CAFile)
		switch {
		case (m.User == "") != (m.PasswordFile == ""):
			f.Fault("logins.email.user", m.User, "only one of user and password_file is set", "set both, or neither for a server that knows this host")
		case m.PasswordFile != "":
			m.Password = f.Secret("logins.email.password_file", m.PasswordFile)
		}
	}
	if w := l.Wallet; w != nil {
		seen := map[uint64]bool{}
		for i := range w.Chains {
			ch := &w.Chains[i]
			if ch.ID == 0 || seen[ch.ID] {
				f.Fault("logins.wallet.chains", fmt.Sprint(ch.ID), "it is no chain id, or stands twice", "write each chain's id once, as 1 for Ethereum")
			}
			seen[ch.ID] = true
			if f.Need("logins.wallet.chains", ch.RPCFile, "give each chain the rpc_file of a node; wallets that are keys need no chain") {
				ch.RPC = f.Secret("logins.wallet.chains", ch.RPCFile)
				if u, err := url.Parse(string(ch.RPC.Expose())); !ch.RPC.IsZero() && (err != nil || u.Host == "" || u.Scheme != "https" && !(u.Scheme == "http" && conf.Loopback(u.Hostname()))) {
					f.Fault("logins.wallet.chains", ch.RPCFile, "it does not hold an https URL", "write the URL of the chain's RPC into it")
				}
			}
		}
	}
	if g := l.Google; g != nil {
		if g.Issuer == "" {
			g.Issuer = GoogleIssuer
		}
		f.Origin("logins.google.issuer", g.Issuer)
		f.Need("logins.google.client_id", g.ClientID, "take it from the provider's console")
		if f.Need("logins.google.client_secret_file", g.ClientSecretFile, "name the file with the client's secret") {
			g.ClientSecret = f.Secret("logins.google.client_secret_file", g.ClientSecretFile)
		}
	}
	if p := l.Passkey; p != nil {
		host := c.Host()
		if p.RPID == "" {
			p.RPID = host
		}
		if p.RPID != host && !strings.HasSuffix(host, "."+p.RPID) || net.ParseIP(p.RPID) != nil {
			f.Fault("logins.passkey.rp_id", p.RPID, "browsers accept only the host of origin or a domain above it, and no IP address", "write "+host+" or leave it out")
		}
	}
}

func (c *Config) limits(f *conf.File) {
	for _, l := range []struct {
		name     string
		n        *int
		standard int
	}{
		{"limits.requests_per_second", &c.Limits.RequestsPerSecond, 20}, {"limits.burst", &c.Limits.Burst, 100},
		{"limits.logins_per_hour", &c.Limits.LoginsPerHour, 30},
	} {
		switch {
		case *l.n == 0 && !f.Has(l.name):
			*l.n = l.standard
		case *l.n < 1 || *l.n > 1e6:
			f.Fault(l.name, fmt.Sprint(*l.n), "it is not between 1 and 1000000", fmt.Sprintf("leave it out for %d", l.standard))
		}
	}
}

// certificate reads what a server's certificate is checked against; "" is the
// system's roots.
func certificate(f *conf.File, setting, path string) string {
	if path == "" {
		return ""
	}
	path = f.Path(path)
	data, err := os.ReadFile(path)
	if err != nil {
		f.Fault(setting, path, "it cannot be read: "+err.Error(), "")
	} else if b, _ := pem.Decode(data); b == nil || b.Type != "CERTIFICATE" {
		f.Fault(setting, path, "it holds no PEM certificate", "name the certificate of the server or of its authority")
	}
	return string(data)
}
