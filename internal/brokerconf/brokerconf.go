// Package brokerconf owns broker.yaml: what it may say, and everything that can
// be found wrong with it before the broker starts. It opens no connection and
// starts nothing.
//
// Law: nothing is guessed. Of two settings that exclude each other neither
// wins, and a part that is on is configured whole.
package brokerconf

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/conf"
	"github.com/litentry/agentkeys/internal/secret"
)

// Config is broker.yaml. Paths are absolute once it has been loaded.
type Config struct {
	// Origin is what clients and the cloud call the broker: https://HOST[:PORT].
	// It is the issuer of every token and the base of every link.
	Origin string `yaml:"origin"`
	// Listen is IP:PORT.
	Listen string `yaml:"listen"`
	// MetricsListen is IP:PORT for /metrics, /healthz and /readyz, for the
	// operator's network alone. Empty: health on Listen only, no metrics.
	MetricsListen string `yaml:"metrics_listen"`
	// TLS, or a proxy that ends it.
	TLS         *TLS         `yaml:"tls"`
	BehindProxy *BehindProxy `yaml:"behind_proxy"`
	// Keys is the directory of the token keys; or they are in a KMS.
	Keys    string   `yaml:"keys"`
	KMSKeys *KMSKeys `yaml:"kms_keys"`
	State   State    `yaml:"state"`
	// Audit is the directory of this replica's own log.
	Audit  string  `yaml:"audit"`
	Signer *Signer `yaml:"signer"`
	Cloud  *Cloud  `yaml:"cloud"`
	// Audiences are federation targets that tokens may be had for, besides the
	// cloud's and the signer's.
	Audiences []Audience `yaml:"audiences"`
	Logins    Logins     `yaml:"logins"`
	Limits    Limits     `yaml:"limits"`
}

// TLS names a certificate chain and its key, PEM. They are read anew when they
// change.
type TLS struct {
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

// BehindProxy says that a proxy ends TLS, and who it is.
type BehindProxy struct {
	// Trusted are the networks whose X-Forwarded-For counts.
	Trusted []string `yaml:"trusted"`

	Prefixes []netip.Prefix `yaml:"-"`
}

// KMSKeys are token keys that never leave a cloud KMS: ES256 alone. A new one
// is added with the time from which it signs, and the old one stays until no
// token of it can be alive.
type KMSKeys struct {
	Region   string   `yaml:"region"`
	Endpoint string   `yaml:"endpoint"` // empty: AWS's own
	Keys     []KMSKey `yaml:"keys"`
}

// KMSKey is an ECC_NIST_P256 key.
type KMSKey struct {
	ARN       string    `yaml:"arn"`
	SignsFrom time.Time `yaml:"signs_from"`
}

// State is where replicas keep what they share: one of the two.
type State struct {
	SQLite   string    `yaml:"sqlite"` // a file, of one replica
	Postgres *Postgres `yaml:"postgres"`
}

// Postgres names the file with the connection string.
type Postgres struct {
	DSNFile string `yaml:"dsn_file"`

	DSN secret.Value `yaml:"-"`
}

// Signer is the service that holds the roots.
type Signer struct {
	URL      string `yaml:"url"`
	Audience string `yaml:"audience"` // empty: URL
	CAFile   string `yaml:"ca_file"`  // PEM; empty: the system's roots
	KeyFile  string `yaml:"key_file"` // the broker's own key, which the signer lists

	CA string `yaml:"-"` // what CAFile holds
}

// Cloud is where credentials are kept: what clients are told.
type Cloud struct {
	Region string `yaml:"region"`
	Bucket string `yaml:"bucket"`
	// RoleARN is the data role. It may end in {wallet}, for servers that know
	// no tags of sessions and so want a role for each wallet.
	RoleARN     string `yaml:"role_arn"`
	Audience    string `yaml:"audience"` // empty: sts.amazonaws.com
	S3Endpoint  string `yaml:"s3_endpoint"`
	STSEndpoint string `yaml:"sts_endpoint"`
	PathStyle   bool   `yaml:"path_style"`
	Mail        *Mail  `yaml:"mail"`
}

// Mail is how mail for wallets comes into the bucket.
type Mail struct {
	Domain   string `yaml:"domain"`
	Receiver string `yaml:"receiver"` // empty: SES
}

// Audience is a federation target.
type Audience struct {
	Name string `yaml:"name"`
	Alg  string `yaml:"alg"` // ES256 or RS256; empty: ES256
}

// Logins are the methods that are on: at least one.
type Logins struct {
	Email   *Email   `yaml:"email"`
	Wallet  *Wallet  `yaml:"wallet"`
	Google  *Google  `yaml:"google"`
	Passkey *Passkey `yaml:"passkey"`
}

// Email is login by a mailed link.
type Email struct {
	From         string `yaml:"from"`     // user@domain
	SMTP         string `yaml:"smtp"`     // HOST:PORT of submission
	Security     string `yaml:"security"` // starttls, tls, or plain to loopback; empty: starttls
	CAFile       string `yaml:"ca_file"`  // PEM; empty: the system's roots
	User         string `yaml:"user"`
	PasswordFile string `yaml:"password_file"`

	Password secret.Value `yaml:"-"`
	CA       string       `yaml:"-"` // what CAFile holds
}

// Wallet is Sign-In with Ethereum.
type Wallet struct {
	// Chains are those on which wallets that are contracts can sign in; one that
	// is a key signs in on chain 1, and is the same on all.
	Chains []Chain `yaml:"chains"`
}

// Chain is one with a node to ask.
type Chain struct {
	ID uint64 `yaml:"id"`
	// RPCFile holds the URL of a node, which may hold a key. The node asks
	// contracts whether a signature is theirs (ERC-1271).
	RPCFile string `yaml:"rpc_file"`

	RPC secret.Value `yaml:"-"`
}

// Google is login by an OpenID provider.
type Google struct {
	Issuer           string `yaml:"issuer"` // empty: https://accounts.google.com
	ClientID         string `yaml:"client_id"`
	ClientSecretFile string `yaml:"client_secret_file"`
	HostedDomain     string `yaml:"hosted_domain"` // empty: any

	ClientSecret secret.Value `yaml:"-"`
}

// Passkey is WebAuthn.
type Passkey struct {
	RPID string `yaml:"rp_id"` // empty: the host of Origin
}

// Limits bound what one peer may do.
type Limits struct {
	RequestsPerSecond int `yaml:"requests_per_second"` // of one address; 0: 20
	Burst             int `yaml:"burst"`               // 0: 100
	LoginsPerHour     int `yaml:"logins_per_hour"`     // begun by one address; 0: 30
}

// AudienceSTS is what AWS wants a web-identity token to be for.
const AudienceSTS = "sts.amazonaws.com"

// GoogleIssuer is Google's.
const GoogleIssuer = "https://accounts.google.com"

// Load reads and checks broker.yaml. What is wrong is a conf.Faults, all of it.
func Load(path string) (*Config, error) {
	var c Config
	f, err := conf.Read(path, &c)
	if err != nil {
		return nil, err
	}
	if f.Need("origin", c.Origin, "write the https address that clients use") {
		f.Origin("origin", c.Origin)
	}
	if strings.HasPrefix(c.Origin, "https://") && strings.HasSuffix(c.Origin, ":443") {
		f.Fault("origin", c.Origin, "browsers call it otherwise, and passkeys and wallets would refuse it", "leave the port out")
	}
	c.network(f)
	c.storage(f)
	c.signer(f)
	c.cloud(f)
	c.audiences(f)
	c.logins(f)
	c.limits(f)
	return &c, f.Err()
}

// Host is the host of Origin, without its port.
func (c *Config) Host() string {
	u, err := url.Parse(c.Origin)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// Methods are the logins that are on.
func (c *Config) Methods() []string {
	methods := []string{}
	for _, m := range []struct {
		name string
		on   bool
	}{
		{brokerapi.LoginEmail, c.Logins.Email != nil}, {brokerapi.LoginWallet, c.Logins.Wallet != nil},
		{brokerapi.LoginGoogle, c.Logins.Google != nil}, {brokerapi.LoginPasskey, c.Logins.Passkey != nil},
	} {
		if m.on {
			methods = append(methods, m.name)
		}
	}
	return methods
}

// RequestEvery is the pace of one peer's requests.
func (l Limits) RequestEvery() time.Duration { return time.Second / time.Duration(l.RequestsPerSecond) }

// Algs are the audiences' algorithms, the cloud's among them.
func (c *Config) Algs() map[string]string {
	algs := map[string]string{}
	if c.Cloud != nil {
		algs[c.Cloud.Audience] = "ES256"
	}
	for _, a := range c.Audiences {
		algs[a.Name] = a.Alg
	}
	return algs
}

// NeedsRS256 reports whether an RSA key must be there.
func (c *Config) NeedsRS256() bool {
	return slices.ContainsFunc(c.Audiences, func(a Audience) bool { return a.Alg == "RS256" })
}

// API is what clients are told.
func (c *Config) API(version string) brokerapi.Config {
	out := brokerapi.Config{Issuer: c.Origin, Version: version, Logins: c.Methods()}
	if s := c.Signer; s != nil {
		out.Signer = &brokerapi.Signer{URL: s.URL, Audience: s.Audience, CA: s.CA}
	}
	if w := c.Cloud; w != nil {
		out.Cloud = &brokerapi.Cloud{
			Region: w.Region, Bucket: w.Bucket, RoleARN: w.RoleARN, Audience: w.Audience,
			S3Endpoint: w.S3Endpoint, STSEndpoint: w.STSEndpoint, PathStyle: w.PathStyle,
		}
		if w.Mail != nil {
			out.Cloud.Mail = (*brokerapi.Mail)(w.Mail)
		}
	}
	return out
}
