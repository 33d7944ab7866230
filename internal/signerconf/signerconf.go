// Package signerconf owns signer.yaml: what `agentkeys signer` is told. It
// refuses what is unknown, stands twice, is missing or could mean two things,
// and says which setting, its value, and the cure. It opens no file but the
// one it parses, and holds no secret: passphrases are named by where they are.
package signerconf

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/litentry/agentkeys/internal/token"
)

// Config is a signer.yaml that makes sense. Its paths are absolute, or
// relative to the directory of the process if that of the file was.
type Config struct {
	Listen  string // host:port of the service
	Metrics string // host:port of health, readiness and metrics, plain; "": none
	TLS     struct{ Cert, Key string }
	Issuer  Issuer
	Brokers []token.Thumbprint // of the keys of the brokers' certificates
	Roots   Roots
	Audit   string // directory of the audit log
}

// Issuer is whose tokens count.
type Issuer struct {
	URL      string // the broker's origin, iss of its tokens
	Audience string // aud of signer tokens: this signer
	CA       string // file of those who sign the issuer's certificate; "": the system's
	JWKS     string // file of its keys instead of fetching them; "": fetch
}

// Roots are in a file or in a KMS, never both.
type Roots struct {
	File string
	// Where the file's passphrase is, exactly one of: a file, an open file
	// descriptor, the name of a systemd credential.
	PassphraseFile       string
	PassphraseFD         int // 0: none
	PassphraseCredential string
	KMS                  *KMS
}

// KMS is where the roots are in AWS KMS.
type KMS struct {
	Region   string
	Endpoint string            // "": AWS's own
	Identity string            // file of the encrypted identity root
	Epochs   map[uint32]string // ARN of the HMAC key of each epoch
}

// Error is one setting that the service cannot start with.
type Error struct {
	File    string
	Line    int    // 0: of the whole file
	Setting string // as roots.kms.region
	Value   string // as it stands there; "": none
	Problem string
	Cure    string
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
	}
	b.WriteString(": ")
	if e.Setting != "" {
		b.WriteString(e.Setting)
		if e.Value != "" {
			fmt.Fprintf(&b, " (%q)", e.Value)
		}
		b.WriteString(": ")
	}
	b.WriteString(e.Problem)
	return b.String()
}

// Example is a signer.yaml that says what each setting is.
const Example = `listen: 0.0.0.0:8443            # the service, over mutual TLS
metrics: 127.0.0.1:9443         # health, readiness and metrics, plain; optional
tls:
  cert: server.crt
  key: server.key               # mode 0600
issuer:
  url: https://broker.example.com
  audience: https://signer.example.com
  # ca: broker-ca.pem           # if the system does not know who signs the broker's certificate
  # jwks_file: jwks.json        # instead of fetching the broker's keys
brokers: []                     # thumbprints of the brokers' client keys
roots:
  file: roots.age
  passphrase_file: passphrase   # or passphrase_fd: 3, or passphrase_credential: NAME (systemd)
  # kms:                        # instead of file
  #   region: eu-central-1
  #   identity_blob: identity.kms
  #   epochs:
  #     1: arn:aws:kms:eu-central-1:111122223333:key/...
audit: audit
`

// Parse reads a signer.yaml. file names it in errors, which are *Error, and
// relative paths in it are relative to its directory.
func Parse(file string, data []byte) (Config, error) {
	d := &document{file: file}
	top := d.mapping(d.root(data), "")
	var c Config
	dir := filepath.Dir(file)
	at := func(s string) string {
		if s == "" || filepath.IsAbs(s) {
			return s
		}
		return filepath.Join(dir, s)
	}

	c.Listen = top.address("listen", true)
	c.Metrics = top.address("metrics", false)
	if c.Metrics != "" && c.Metrics == c.Listen && !strings.HasSuffix(c.Listen, ":0") {
		top.refuse("metrics", "it is the service's own address", "give it another port: what it serves is plain, and not for the public")
	}

	t := top.section("tls", true)
	c.TLS.Cert, c.TLS.Key = at(t.text("cert", true)), at(t.text("key", true))
	t.done()

	is := top.section("issuer", true)
	c.Issuer.URL = is.origin("url")
	c.Issuer.Audience = is.text("audience", true)
	c.Issuer.CA, c.Issuer.JWKS = at(is.text("ca", false)), at(is.text("jwks_file", false))
	if c.Issuer.CA != "" && c.Issuer.JWKS != "" {
		is.refuse("ca", "it is for fetching the keys, and jwks_file says not to", "remove one of the two")
	}
	is.done()

	seen := map[token.Thumbprint]bool{}
	for _, s := range top.texts("brokers") {
		p, err := token.ParseThumbprint(s)
		switch {
		case err != nil:
			top.refuseValue("brokers", s, "it is not the RFC 7638 thumbprint of a key", "write the 43 characters that the broker prints at its start")
		case seen[p]:
			top.refuseValue("brokers", s, "it stands here twice", "remove one")
		}
		seen[p] = true
		c.Brokers = append(c.Brokers, p)
	}

	r := top.section("roots", true)
	c.Roots = roots(r, at)
	r.done()

	c.Audit = at(top.text("audit", true))
	top.done()
	if d.err != nil {
		return Config{}, d.err
	}
	return c, nil
}

func roots(r mapping, at func(string) string) Roots {
	var c Roots
	c.File = at(r.text("file", false))
	k := r.section("kms", false)
	switch {
	case c.File != "" && k.n != nil:
		r.refuse("kms", "the roots are in a file, or in a KMS, and both are given", "remove one of the two")
	case c.File == "" && k.n == nil:
		r.refuse("file", "there are no roots", "give roots.file, which 'agentkeys signer init' makes, or roots.kms")
	case k.n != nil:
		kms := &KMS{Region: k.text("region", true), Endpoint: k.url("endpoint"), Identity: at(k.text("identity_blob", true)), Epochs: map[uint32]string{}}
		arns := map[string]bool{}
		for _, e := range k.pairs("epochs") {
			n, err := strconv.ParseUint(e.key, 10, 32)
			switch {
			case err != nil || n == 0 || strconv.FormatUint(n, 10) != e.key:
				k.refuseValue("epochs", e.key, "an epoch is a number from 1", "write it without zeros in front")
			case !strings.HasPrefix(e.value, "arn:") || !strings.Contains(e.value, ":key/"):
				// An alias can be made to name another key, and all would be lost.
				k.refuseValue("epochs", e.value, "it is not the ARN of a key", "write arn:aws:kms:REGION:ACCOUNT:key/ID, not an alias")
			case arns[e.value]:
				k.refuseValue("epochs", e.value, "one key stands for two epochs", "make a key for each epoch")
			}
			arns[e.value] = true
			kms.Epochs[uint32(n)] = e.value
		}
		k.done()
		c.KMS = kms
	}
	var given []string
	if c.PassphraseFile = at(r.text("passphrase_file", false)); c.PassphraseFile != "" {
		given = append(given, "passphrase_file")
	}
	if c.PassphraseFD = r.number("passphrase_fd"); c.PassphraseFD != 0 {
		given = append(given, "passphrase_fd")
		if c.PassphraseFD < 3 || c.PassphraseFD > 1023 {
			r.refuse("passphrase_fd", "0, 1 and 2 are the terminal's", "give 3 or more")
		}
	}
	if c.PassphraseCredential = r.text("passphrase_credential", false); c.PassphraseCredential != "" {
		given = append(given, "passphrase_credential")
		if filepath.Base(c.PassphraseCredential) != c.PassphraseCredential || strings.HasPrefix(c.PassphraseCredential, ".") {
			r.refuse("passphrase_credential", "it is a name, not a path", "write the name that LoadCredential= in the unit has")
		}
	}
	switch {
	case c.KMS != nil && len(given) > 0:
		r.refuse(given[0], "a KMS needs no passphrase", "remove it")
	case c.File != "" && len(given) == 0:
		r.refuse("passphrase_file", "the roots file needs a passphrase", "give passphrase_file, passphrase_fd or passphrase_credential")
	case len(given) > 1:
		r.refuse(given[1], "the passphrase is in "+given[0]+" too", "remove one of the two")
	}
	return c
}

// address reads host:port with a host, so that nothing is opened to the world
// by leaving it out.
func (m mapping) address(key string, need bool) string {
	s := m.text(key, need)
	if s == "" {
		return ""
	}
	host, port, err := net.SplitHostPort(s)
	if n, perr := strconv.ParseUint(port, 10, 16); err != nil || perr != nil || host == "" || strconv.FormatUint(n, 10) != port {
		m.refuse(key, "it is not an address to listen at", "write it as 127.0.0.1:8443, or 0.0.0.0:8443 for every interface")
	}
	return s
}

// origin reads an https origin without a slash at its end.
func (m mapping) origin(key string) string {
	s := m.text(key, true)
	u, err := url.Parse(s)
	if s != "" && (err != nil || u.Scheme != "https" || u.Host == "" || s != "https://"+u.Host || strings.ToLower(u.Host) != u.Host) {
		m.refuse(key, "it is not an https origin", "write it as https://broker.example.com, in small letters and without anything behind the host")
	}
	return s
}

// url reads an address that may be missing.
func (m mapping) url(key string) string {
	s := m.text(key, false)
	u, err := url.Parse(s)
	if s != "" && (err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || u.User != nil || u.RawQuery != "" || strings.Contains(s, "#")) {
		m.refuse(key, "it is not an address", "write it as https://kms.example.com")
	}
	return s
}
