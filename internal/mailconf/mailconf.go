// Package mailconf owns mail.yaml: what it may say, and everything that can be
// found wrong with it before the mail server starts. It opens no connection and
// starts nothing.
//
// Law: nothing is guessed. Of two settings that exclude each other neither
// wins, and a part that is on is configured whole.
package mailconf

import (
	"github.com/litentry/agentkeys/internal/conf"
	"github.com/litentry/agentkeys/internal/mailstore"
)

// Config is mail.yaml. Paths are absolute once it has been loaded.
type Config struct {
	// Hostname is what MX records call this server, and what it calls itself in
	// the header block that it stamps: readers trust the block by this name.
	Hostname string `yaml:"hostname"`
	// Domains are those whose mail it takes, as A-labels once it has been loaded.
	Domains []string `yaml:"domains"`
	// Listen is IP:PORT of SMTP.
	Listen string `yaml:"listen"`
	// MetricsListen is IP:PORT for /metrics, /healthz and /readyz, for the
	// operator's network alone. Empty: none of the three.
	MetricsListen string `yaml:"metrics_listen"`
	// TLS is offered by STARTTLS. Without it the server is for loopback alone.
	TLS   *TLS  `yaml:"tls"`
	Store Store `yaml:"store"`
	// Spool is the directory of what is being received, and so not yet stored;
	// empty: the system's for temporary files.
	Spool string `yaml:"spool"`
	// Recipients are all or wallets: every local part of the domains, as SES
	// takes them, or those that name a wallet.
	Recipients string `yaml:"recipients"`
	// Tags are those of the addresses that belong to wallets; empty: the
	// catalogue's.
	Tags []string `yaml:"tags"`
	// Resolver is IP:PORT of the DNS server that SPF, DKIM and DMARC ask; empty:
	// the system's.
	Resolver string `yaml:"resolver"`
	Limits   Limits `yaml:"limits"`
	Keep     Keep   `yaml:"keep"`
	// Audit is the directory of this server's own log.
	Audit string `yaml:"audit"`
}

// TLS names a certificate chain and its key, PEM. They are read anew when they
// change.
type TLS struct {
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

// Store is where mail is kept: one of the two.
type Store struct {
	// Directory is read by who can read this machine's files as its owner.
	Directory string `yaml:"directory"`
	// S3 is a bucket, in which each wallet's own session reads its inbox.
	S3 *S3 `yaml:"s3"`
}

// S3 is a bucket at AWS or at a server that speaks its protocol.
type S3 struct {
	Region    string `yaml:"region"`
	Bucket    string `yaml:"bucket"`
	Endpoint  string `yaml:"endpoint"` // empty: AWS's own
	PathStyle bool   `yaml:"path_style"`
	// Compatible names a server that is not AWS and needs to be treated
	// otherwise: versitygw. Empty: none.
	Compatible string `yaml:"compatible"`
	// CredentialsFile is in the form of the AWS tools' own, of which the profile
	// default counts. Empty: the environment's, or those of the machine's role.
	CredentialsFile string `yaml:"credentials_file"`
}

// Limits bound what one peer, sender or wallet can make of this server.
type Limits struct {
	MessageBytes          int64 `yaml:"message_bytes"`            // the largest message; 0: MaxMessage
	Connections           int   `yaml:"connections"`              // at once, in all; 0: 256
	PeerConnections       int   `yaml:"peer_connections"`         // at once, of one peer; 0: 20
	PeerMessagesPerMinute int   `yaml:"peer_messages_per_minute"` // of one peer, for each recipient; 0: 120
	PeerBytesPerHour      int64 `yaml:"peer_bytes_per_hour"`      // of one peer, for each recipient; 0: 1 GiB
	WalletMessagesPerHour int   `yaml:"wallet_messages_per_hour"` // to one wallet; 0: 120
	SenderMessagesPerHour int   `yaml:"sender_messages_per_hour"` // of one sender's domain; 0: 10000
	// FreeBytes are what mail leaves free of a file system; 0: the less of
	// FreeMost and a twentieth of it.
	FreeBytes int64 `yaml:"free_bytes"`
}

// FreeMost is the most that is left free unless it is said, in bytes.
const FreeMost = 1 << 30

// standard are the settings that are left out, by their names.
func (l *Limits) standard() []limit {
	return []limit{
		{"limits.connections", &l.Connections, 256}, {"limits.peer_connections", &l.PeerConnections, 20},
		{"limits.peer_messages_per_minute", &l.PeerMessagesPerMinute, 120},
		{"limits.wallet_messages_per_hour", &l.WalletMessagesPerHour, 120},
		{"limits.sender_messages_per_hour", &l.SenderMessagesPerHour, 10000},
	}
}

type limit struct {
	name     string
	n        *int
	standard int
}

// Filled returns l with what is zero in it as a configuration would have it
// that leaves it out.
func (l Limits) Filled() Limits {
	if l.MessageBytes == 0 {
		l.MessageBytes = MaxMessage
	}
	if l.PeerBytesPerHour == 0 {
		l.PeerBytesPerHour = 1 << 30
	}
	for _, n := range l.standard() {
		if *n.n == 0 {
			*n.n = n.standard
		}
	}
	return l
}

// MaxMessage is the largest message in bytes that a sender can hand in: with
// the header block that is stamped on it, it is as large as a store takes.
const MaxMessage = mailstore.MaxMessage - 16<<10

// Keep says how long mail stays.
type Keep struct {
	MailDays int `yaml:"mail_days"` // in a directory; 0: 30
}

// The two kinds of Recipients.
const (
	All     = "all"
	Wallets = "wallets"
)

// VersityGW is a server that copies over what is there, whatever the condition.
const VersityGW = "versitygw"

// Load reads and checks mail.yaml. What is wrong is a conf.Faults, all of it.
func Load(path string) (*Config, error) {
	var c Config
	f, err := conf.Read(path, &c)
	if err != nil {
		return nil, err
	}
	c.names(f)
	c.network(f)
	c.storage(f)
	c.recipients(f)
	c.limits(f)
	return &c, f.Err()
}
