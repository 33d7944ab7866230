// Package signerconf owns signer.yaml: what it may say, and everything that can
// be found wrong with it before the signer starts. It opens nothing but that
// file, and holds no secret: a passphrase is named by where it is.
//
// Law: nothing is guessed. Of two settings that exclude each other neither
// wins.
package signerconf

import (
	"net/url"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/litentry/agentkeys/internal/conf"
	"github.com/litentry/agentkeys/internal/token"
)

// Config is signer.yaml. Paths are absolute once it has been loaded.
type Config struct {
	// Listen is IP:PORT of the service, over mutual TLS.
	Listen string `yaml:"listen"`
	// MetricsListen is IP:PORT for /metrics, /healthz and /readyz, plain, for
	// the operator's network alone. Empty: none.
	MetricsListen string `yaml:"metrics_listen"`
	TLS           TLS    `yaml:"tls"`
	Issuer        Issuer `yaml:"issuer"`
	// Brokers are the RFC 7638 thumbprints of the keys of the brokers' client
	// certificates. It must stand there, if only as [].
	Brokers []string `yaml:"brokers"`
	Roots   Roots    `yaml:"roots"`
	// Audit is the directory of the signer's own log.
	Audit string `yaml:"audit"`

	// Thumbprints are Brokers, parsed.
	Thumbprints []token.Thumbprint `yaml:"-"`
}

// TLS names a certificate chain and its key, PEM. They are read anew when they
// change.
type TLS struct {
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

// Issuer is whose tokens count.
type Issuer struct {
	URL      string `yaml:"url"`       // the broker's origin, iss of its tokens
	Audience string `yaml:"audience"`  // aud of signer tokens: this signer
	CA       string `yaml:"ca_file"`   // who signs the issuer's certificate; empty: the system's
	JWKS     string `yaml:"jwks_file"` // its keys, instead of fetching them
}

// Roots are in a file, whose passphrase is in exactly one place, or in a KMS.
type Roots struct {
	File                 string `yaml:"file"`
	PassphraseFile       string `yaml:"passphrase_file"`
	PassphraseFD         *int   `yaml:"passphrase_fd"`         // an open file descriptor, from 3
	PassphraseCredential string `yaml:"passphrase_credential"` // the name of a systemd credential
	KMS                  *KMS   `yaml:"kms"`
}

// KMS says where in AWS KMS the roots are. Keys are named by ARN.
type KMS struct {
	Region       string            `yaml:"region"`
	Endpoint     string            `yaml:"endpoint"`      // empty: AWS's own
	IdentityKey  string            `yaml:"identity_key"`  // wraps the identity root
	IdentityBlob string            `yaml:"identity_blob"` // file of the wrapped identity root
	Epochs       map[string]string `yaml:"epochs"`        // epoch: its HMAC_256 key

	// Keys are Epochs, parsed.
	Keys map[uint32]string `yaml:"-"`
}

// Load reads a signer.yaml. What is wrong with it is an error that wraps
// conf.ErrConfig.
func Load(path string) (Config, error) {
	var c Config
	f, err := conf.Read(path, &c)
	if err != nil {
		return Config{}, err
	}
	c.check(f)
	if err := f.Err(); err != nil {
		return Config{}, err
	}
	for _, p := range []*string{&c.TLS.Cert, &c.TLS.Key, &c.Issuer.CA, &c.Issuer.JWKS, &c.Roots.File, &c.Roots.PassphraseFile, &c.Audit} {
		*p = f.Path(*p)
	}
	if c.Roots.KMS != nil {
		c.Roots.KMS.IdentityBlob = f.Path(c.Roots.KMS.IdentityBlob)
	}
	return c, nil
}

func (c *Config) check(f *conf.File) {
	if f.Need("listen", c.Listen, "write IP:PORT, as 0.0.0.0:8443") {
		f.Listen("listen", c.Listen)
	}
	if c.MetricsListen != "" {
		f.Listen("metrics_listen", c.MetricsListen)
		if c.MetricsListen == c.Listen && !strings.HasSuffix(c.Listen, ":0") {
			f.Fault("metrics_listen", c.MetricsListen, "it is the service's own address", "give it another port: what it serves is plain, and not for the public")
		}
	}
	f.Need("tls.cert", c.TLS.Cert, "name the file of the certificate, as 'agentkeys signer init' does")
	f.Need("tls.key", c.TLS.Key, "name the file of the certificate's key, as 'agentkeys signer init' does")
	f.Need("audit", c.Audit, "name the directory of the signer's own log")
	c.Issuer.check(f)

	if !f.Has("brokers") {
		f.Fault("brokers", "", "it is missing", "list the thumbprints that 'agentkeys broker init' prints, or write [] for none")
	}
	seen := map[token.Thumbprint]bool{}
	for _, s := range c.Brokers {
		p, err := token.ParseThumbprint(s)
		switch {
		case err != nil || p.IsZero():
			f.Fault("brokers", s, "it is not the thumbprint of a key", "write the 43 characters that 'agentkeys broker init' prints")
		case seen[p]:
			f.Fault("brokers", s, "it stands here twice", "keep one")
		}
		seen[p] = true
		c.Thumbprints = append(c.Thumbprints, p)
	}
	c.Roots.check(f)
}

func (i *Issuer) check(f *conf.File) {
	if f.Need("issuer.url", i.URL, "write the broker's origin, as https://broker.example.com") {
		f.Origin("issuer.url", i.URL)
		if strings.HasPrefix(i.URL, "http:") && i.JWKS == "" {
			f.Fault("issuer.url", i.URL, "keys are not fetched without TLS", "use https, or give issuer.jwks_file")
		}
	}
	f.Need("issuer.audience", i.Audience, "write what the broker puts into signer tokens, as https://signer.example.com")
	if i.CA != "" && i.JWKS != "" {
		f.Fault("issuer.ca_file", i.CA, "it is for fetching the keys, and jwks_file says not to", "remove one of the two")
	}
}

func (r *Roots) check(f *conf.File) {
	var given []string
	if r.PassphraseFile != "" {
		given = append(given, "passphrase_file")
	}
	if r.PassphraseFD != nil {
		given = append(given, "passphrase_fd")
		if fd := *r.PassphraseFD; fd < 3 || fd > 1023 {
			f.Fault("roots.passphrase_fd", strconv.Itoa(fd), "0, 1 and 2 are the terminal's", "give 3 or more")
		}
	}
	if r.PassphraseCredential != "" {
		given = append(given, "passphrase_credential")
		if s := r.PassphraseCredential; filepath.Base(s) != s || strings.HasPrefix(s, ".") {
			f.Fault("roots.passphrase_credential", s, "it is a name, not a path", "write the name that LoadCredential= in the unit has")
		}
	}
	switch {
	case r.File != "" && r.KMS != nil:
		f.Fault("roots.kms", "", "the roots are in a file too", "remove one of the two")
	case r.File == "" && r.KMS == nil:
		f.Fault("roots", "", "there are no roots", "give roots.file, which 'agentkeys signer init' makes, or roots.kms")
	case r.KMS != nil && len(given) > 0:
		f.Fault("roots."+given[0], "", "a KMS needs no passphrase", "remove it")
	case r.File != "" && len(given) == 0:
		f.Fault("roots.passphrase_file", "", "it is missing", "give passphrase_file, passphrase_fd or passphrase_credential")
	case len(given) > 1:
		f.Fault("roots."+given[1], "", "the passphrase is in "+given[0]+" too", "remove one of the two")
	}
	if r.KMS != nil {
		r.KMS.check(f)
	}
}

func (k *KMS) check(f *conf.File) {
	const cure = "write arn:aws:kms:REGION:ACCOUNT:key/ID"
	f.Need("roots.kms.region", k.Region, "write the region of the keys, as eu-central-1")
	f.Need("roots.kms.identity_blob", k.IdentityBlob, "name the file that 'agentkeys signer init --kms-key ARN' makes")
	if f.Need("roots.kms.identity_key", k.IdentityKey, cure) && !isKey(k.IdentityKey) {
		f.Fault("roots.kms.identity_key", k.IdentityKey, "it is not the ARN of a key", cure)
	}
	if k.Endpoint != "" {
		// Keys come from there.
		u, err := url.Parse(k.Endpoint)
		if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "https" && !(u.Scheme == "http" && conf.Loopback(u.Hostname())) {
			f.Fault("roots.kms.endpoint", k.Endpoint, "it is not an https address", "write it as https://kms.example.com")
		}
	}
	if len(k.Epochs) == 0 {
		f.Fault("roots.kms.epochs", "", "there is none", "give the key of epoch 1")
	}
	seen := map[string]bool{k.IdentityKey: true}
	k.Keys = map[uint32]string{}
	for text, arn := range k.Epochs {
		n, err := strconv.ParseUint(text, 10, 32)
		switch {
		case err != nil || n == 0 || strconv.FormatUint(n, 10) != text:
			f.Fault("roots.kms.epochs", text, "an epoch is a number from 1", "write it in digits, without zeros in front")
		case !isKey(arn):
			f.Fault("roots.kms.epochs."+text, arn, "it is not the ARN of a key", cure)
		case seen[arn]:
			f.Fault("roots.kms.epochs."+text, arn, "the key stands here twice", "make a key for each epoch")
		}
		seen[arn] = true
		k.Keys[uint32(n)] = arn
	}
}

// isKey tells the ARN of a key from an alias, which somebody could make name
// another key: all that was sealed would be lost.
func isKey(s string) bool { return strings.HasPrefix(s, "arn:") && strings.Contains(s, ":key/") }
