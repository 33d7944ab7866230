package mailconf

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"

	"golang.org/x/net/idna"

	"github.com/litentry/agentkeys/internal/conf"
)

// most is how many domains or tags there may be: each message is held to all.
const most = 100

func (c *Config) names(f *conf.File) {
	if f.Need("hostname", c.Hostname, "write the name that MX records have for this server, as mx.example.com") {
		if name, ok := domain(c.Hostname); !ok || name != c.Hostname {
			f.Fault("hostname", c.Hostname, "it is not the name of a host", "write it in lower case, with a dot in it and none at its end, as mx.example.com; one with other letters than a to z in its xn-- form")
		}
	}
	if len(c.Domains) == 0 {
		f.Fault("domains", "", "there is none", "list the domains whose mail comes here, as [bots.example.com]")
	}
	if len(c.Domains) > most {
		f.Fault("domains", "", fmt.Sprintf("there are %d, and more than %d", len(c.Domains), most), "run another server for the others")
	}
	seen := map[string]bool{}
	for i, d := range c.Domains {
		at := fmt.Sprintf("domains[%d]", i)
		switch name, ok := domain(d); {
		case !ok:
			f.Fault(at, d, "it is not the name of a domain", "write it as bots.example.com: no wildcard, no address, no dot at its end")
		case seen[name]:
			f.Fault(at, d, "it stands twice", "keep one")
		default:
			seen[name] = true
			c.Domains[i] = name
		}
	}
}

// domain returns the A-label form of a name of at least two labels.
func domain(s string) (string, bool) {
	name, err := idna.Lookup.ToASCII(s)
	if err != nil || len(name) > 253 || strings.HasSuffix(name, ".") || !strings.Contains(name, ".") {
		return "", false
	}
	for label := range strings.SplitSeq(name, ".") {
		if !labelForm().MatchString(label) {
			return "", false
		}
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return "", false
	}
	return name, true
}

var (
	labelForm  = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`) })
	tagForm    = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z]{2,4}$`) })
	bucketForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`) })
	regionForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9-]{2,32}$`) })
)

func (c *Config) network(f *conf.File) {
	if c.Listen == "" && !f.Has("listen") {
		c.Listen = "127.0.0.1:2525"
	}
	f.Listen("listen", c.Listen)
	if c.MetricsListen != "" {
		f.Listen("metrics_listen", c.MetricsListen)
		if c.MetricsListen == c.Listen && !strings.HasSuffix(c.Listen, ":0") {
			f.Fault("metrics_listen", c.MetricsListen, "it is the same as listen", "take another port, which only the operator's network reaches")
		}
	}
	host, _, _ := net.SplitHostPort(c.Listen)
	switch {
	case c.TLS != nil:
		f.Certificate("tls", &c.TLS.Cert, &c.TLS.Key)
	case !conf.Loopback(host):
		f.Fault("tls", "", "listen is open to a network, and links and codes would cross it for everybody to read", "set tls.cert and tls.key, which may be self-signed: mail servers do not check; or listen on 127.0.0.1")
	}
	if c.Resolver != "" {
		if a, err := netip.ParseAddrPort(c.Resolver); err != nil || a.Port() == 0 {
			f.Fault("resolver", c.Resolver, "it is not the address of a DNS server", "write IP:PORT, as 127.0.0.1:53, or leave it out for the system's")
		}
	}
}

func (c *Config) storage(f *conf.File) {
	s := &c.Store
	switch {
	case s.Directory != "" && s.S3 != nil:
		f.Fault("store.s3", "", "both this and store.directory say where mail is kept", "keep s3 if each wallet reads its own, directory for this machine alone")
	case s.Directory != "":
		s.Directory = f.Path(s.Directory)
	case s.S3 != nil:
		s.S3.check(f)
	default:
		f.Fault("store", "", "it does not say where mail is kept", "set store.directory or store.s3")
	}
	if f.Need("audit", c.Audit, "name the directory of this server's own log") {
		c.Audit = f.Path(c.Audit)
	}
	c.Spool = f.Path(c.Spool)
	switch {
	case s.S3 != nil && f.Has("keep.mail_days"):
		f.Fault("keep.mail_days", fmt.Sprint(c.Keep.MailDays), "in a bucket it is the bucket's lifecycle that ends mail", "leave it out; 'agentkeys cloud' sets the bucket's")
	case c.Keep.MailDays == 0 && !f.Has("keep.mail_days"):
		c.Keep.MailDays = 30
	case c.Keep.MailDays < 1 || c.Keep.MailDays > 3650:
		f.Fault("keep.mail_days", fmt.Sprint(c.Keep.MailDays), "it is not between 1 and 3650 days", "write a number of days, as 30")
	}
}

func (s *S3) check(f *conf.File) {
	if f.Need("store.s3.region", s.Region, "as eu-central-1") && !regionForm().MatchString(s.Region) {
		f.Fault("store.s3.region", s.Region, "it is not the name of a region", "write it as eu-central-1")
	}
	if f.Need("store.s3.bucket", s.Bucket, "name the bucket that wallets read") && (!bucketForm().MatchString(s.Bucket) || strings.Contains(s.Bucket, "..")) {
		f.Fault("store.s3.bucket", s.Bucket, "it is not the name of a bucket", "write 3 to 63 lower-case letters, digits, dots and hyphens")
	} else if strings.Contains(s.Bucket, ".") && !s.PathStyle {
		f.Fault("store.s3.bucket", s.Bucket, "no certificate is for a host name with a dot in the bucket's part", "set store.s3.path_style, or take a bucket without dots")
	}
	if s.Endpoint != "" {
		f.Origin("store.s3.endpoint", s.Endpoint)
	}
	switch s.Compatible {
	case "":
	case VersityGW:
		if s.Endpoint == "" {
			f.Fault("store.s3.endpoint", "", "it is missing, and store.s3.compatible says that it is not AWS's", "write the origin of the server")
		}
	default:
		f.Fault("store.s3.compatible", s.Compatible, "there is no such profile", "write versitygw, or leave it out for AWS and for servers that check the conditions of copies")
	}
	if s.CredentialsFile == "" {
		if f.Has("store.s3.credentials_file") {
			f.Fault("store.s3.credentials_file", "", "it is empty", "name the file, or leave it out for the environment's")
		}
		return
	}
	s.CredentialsFile = f.Path(s.CredentialsFile)
	fi, err := os.Stat(s.CredentialsFile)
	switch {
	case err != nil:
		f.Fault("store.s3.credentials_file", s.CredentialsFile, "it cannot be read: "+err.Error(), "write the credentials into it as the AWS tools have them, with mode 0600")
	case !fi.Mode().IsRegular():
		f.Fault("store.s3.credentials_file", s.CredentialsFile, "it is not a plain file", "name the file that holds the credentials")
	case fi.Mode().Perm()&0o077 != 0:
		f.Fault("store.s3.credentials_file", s.CredentialsFile, fmt.Sprintf("others may read it: its mode is %04o", fi.Mode().Perm()), "chmod 600 "+s.CredentialsFile)
	default:
		f.Readable("store.s3.credentials_file", s.CredentialsFile)
	}
}

func (c *Config) recipients(f *conf.File) {
	switch c.Recipients {
	case "":
		c.Recipients = All
	case All, Wallets:
	default:
		f.Fault("recipients", c.Recipients, "there is no such kind", "write all, for every address of the domains, or wallets, for those that name a wallet")
	}
	if len(c.Tags) == 0 && f.Has("tags") {
		f.Fault("tags", "", "it is empty, and no address would belong to a wallet", "leave it out for the tags of the catalogue")
	}
	if len(c.Tags) > most {
		f.Fault("tags", "", fmt.Sprintf("there are %d, and more than %d", len(c.Tags), most), "keep those that services use")
	}
	for i, t := range c.Tags {
		at := fmt.Sprintf("tags[%d]", i)
		switch {
		case !tagForm().MatchString(t):
			f.Fault(at, t, "it is not a tag", "write two to four lower-case letters, as or")
		case slices.Contains(c.Tags[:i], t):
			f.Fault(at, t, "it stands twice", "keep one")
		}
	}
}

// mostBytes is a pebibyte.
const mostBytes = 1 << 50

func (c *Config) limits(f *conf.File) {
	l := &c.Limits
	const least = 10 << 10
	switch n := l.MessageBytes; {
	case n == 0 && !f.Has("limits.message_bytes"):
	case n < least || n > MaxMessage:
		f.Fault("limits.message_bytes", fmt.Sprint(n), fmt.Sprintf("it is not between %d and %d", least, int64(MaxMessage)), fmt.Sprintf("leave it out for %d", int64(MaxMessage)))
	}
	for _, n := range []struct {
		name  string
		n     int64
		least int64
		hint  string
	}{
		{"limits.peer_bytes_per_hour", l.PeerBytesPerHour, 1 << 20, "leave it out for 1073741824, which is 1 GiB"},
		{"limits.free_bytes", l.FreeBytes, 1, "leave it out for 1 GiB, or for a twentieth of a disk that is smaller than 20"},
	} {
		if (n.n != 0 || f.Has(n.name)) && (n.n < n.least || n.n > mostBytes) {
			f.Fault(n.name, fmt.Sprint(n.n), fmt.Sprintf("it is not between %d and %d", n.least, int64(mostBytes)), n.hint)
		}
	}
	for _, n := range l.standard() {
		switch {
		case *n.n == 0 && !f.Has(n.name):
		case *n.n < 1 || *n.n > 1e6:
			f.Fault(n.name, fmt.Sprint(*n.n), "it is not between 1 and 1000000", fmt.Sprintf("leave it out for %d", n.standard))
		}
	}
	*l = l.Filled()
}
