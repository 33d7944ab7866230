// Package rig is an operator's whole installation for tests: real processes of
// the one binary, PostgreSQL, an S3 and STS that nobody here wrote, mail over
// SMTP, TLS everywhere. It runs in network and mount namespaces of its own, in
// which the broker has its public name: nothing outside can be reached, and
// nothing outside is changed.
package rig

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/testsrv/postgres"
	"github.com/litentry/agentkeys/internal/testsrv/versity"
	"github.com/litentry/agentkeys/internal/testsrv/versity/cloudtest"
)

// The names that the namespaces know, and the addresses of two replicas.
const (
	BrokerHost    = versity.IssuerHost
	Origin        = versity.IssuerURL
	AddressA      = "127.77.0.1"
	AddressB      = "127.77.0.2"
	SignerHost    = "signer.agentkeys.test"
	SignerExample = "signer.example.com"
	MailHost      = "smtp.example.com"
)

// The domain of wallets' addresses, and the host that takes mail for it.
const (
	MailDomain   = "bots.example.com"
	MailReceiver = "mx.example.com"
)

// Patience is how long anything may take that is not measured.
const Patience = 60 * time.Second

// World is everything that an installation stands on, and once Install has
// run, the installation.
type World struct {
	Program  string
	Dir      string // a directory of its own
	CA       string // file of the authority that signed the certificates
	Post     *Postbox
	Cloud    *versity.Server
	DSN      secret.Value
	Replicas map[string]*Process // by address
	Signer   *Process

	t         testing.TB
	roots     *x509.CertPool
	authority authority
}

// Start makes a World for program: an authority, a mail server, PostgreSQL, and
// an S3 and STS that ask for the issuer's keys at Origin.
func Start(t testing.TB, program string) *World {
	t.Helper()
	dir, err := os.MkdirTemp("", "akw-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	w := &World{Program: program, Dir: dir, t: t, Replicas: map[string]*Process{}}
	w.authority = newAuthority(t)
	w.CA = w.Write("ca.pem", w.authority.pem())
	w.roots = x509.NewCertPool()
	w.roots.AddCert(w.authority.cert)
	w.Post = startPostbox(t, w.certificate(MailHost))
	w.DSN, _ = postgres.Start(t)
	w.Cloud = versity.Start(t, versity.Options{Issuer: w.proxy(), Log: func(s string) { t.Log(s) }})
	return w
}

// Install starts everything but users: the issuer at the cloud, a bucket, the
// signer and two replicas of the broker.
func (w *World) Install() {
	w.t.Helper()
	ctx := context.Background()
	if err := w.Cloud.PutProvider(ctx, cloudtest.Audience); err != nil {
		w.t.Fatal(err)
	}
	if err := w.Cloud.PutBucket(ctx, cloudtest.Bucket, false); err != nil {
		w.t.Fatal(err)
	}
	cert, key := w.TLS(BrokerHost)
	w.Write("broker/tls.pem", cert)
	w.Write("broker/tls.key", key)
	w.installSigner()
	w.installBroker()
	w.serveSigner()
	for _, address := range []string{AddressA, AddressB} {
		w.serveBroker(address)
	}
}

// Path is a path in w.Dir.
func (w *World) Path(parts ...string) string {
	return filepath.Join(append([]string{w.Dir}, parts...)...)
}

// Write writes a file in w.Dir, and returns its path.
func (w *World) Write(name string, data []byte) string {
	w.t.Helper()
	path := w.Path(name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, data, 0o600)); err != nil {
		w.t.Fatal(err)
	}
	return path
}

// client is an HTTP client that trusts the broker's authority, as a browser of
// the user's would.
func (w *World) client() *http.Client {
	return &http.Client{Timeout: Patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: w.roots}, DisableKeepAlives: true}}
}

// proxy is how the cloud reaches the broker: whichever replica answers.
func (w *World) proxy() http.Handler {
	u, err := url.Parse(Origin)
	if err != nil {
		w.t.Fatal(err)
	}
	p := httputil.NewSingleHostReverseProxy(u)
	p.Transport = w.client().Transport
	return p
}

const passphrase = "an obviously fake passphrase"

func (w *World) installSigner() {
	w.t.Helper()
	file := w.Write("passphrase", []byte(passphrase+"\n"))
	w.Must(w.Run(nil, "signer", "init", w.Path("signer"), "--host", SignerHost+":9443", "--broker", Origin, "--passphrase-file", file))
}

func (w *World) installBroker() {
	w.t.Helper()
	out := w.Must(w.Run(nil, "broker", "init", w.Path("broker"), "--origin", Origin, "--json"))
	var made struct {
		Thumb string `json:"signer_client"`
	}
	if err := json.Unmarshal([]byte(out), &made); err != nil {
		w.t.Fatal(err)
	}
	yaml, err := os.ReadFile(w.Path("signer/signer.yaml"))
	if err != nil {
		w.t.Fatal(err)
	}
	text := strings.NewReplacer(
		"0.0.0.0:9443", "127.0.0.1:9443", "0.0.0.0:8443", "127.0.0.1:9443",
		"brokers: []", "brokers: ["+made.Thumb+"]", "# ca_file: broker-ca.pem", "ca_file: "+w.CA+" #",
	).Replace(string(yaml))
	w.Write("signer/signer.yaml", []byte(text))
	w.Write("broker/dsn", append(bytes.Clone(w.DSN.Expose()), '\n'))
	for i, address := range []string{AddressA, AddressB} {
		w.Write("broker/"+address+".yaml", fmt.Appendf(nil, `
origin: %s
listen: %s:443
metrics_listen: %s:9464
tls: {cert: tls.pem, key: tls.key}
keys: keys
audit: audit-%d
state: {postgres: {dsn_file: dsn}}
signer: {url: "https://%s:9443", ca_file: %s, key_file: signer-client.key}
cloud:
  region: %s
  bucket: %s
  role_arn: %q
  s3_endpoint: %s
  sts_endpoint: %s
  path_style: true
  mail: {domain: %s, receiver: %s}
logins:
  email: {from: login@agentkeys.test, smtp: %q, security: plain}
  wallet: {}
`, Origin, address, address, i, SignerHost, w.Path("signer/server.crt"), versity.Region, cloudtest.Bucket, cloudtest.Roles, w.Cloud.Endpoint, w.Cloud.STS, MailDomain, MailReceiver, w.Post.Addr))
	}
}

func (w *World) serveSigner() {
	w.t.Helper()
	w.Signer = w.Start("signer", nil, "signer", "--config", w.Path("signer/signer.yaml"))
	w.Await("the signer", func() bool {
		c, err := net.Dial("tcp", "127.0.0.1:9443")
		if err != nil {
			return false
		}
		return c.Close() == nil
	})
}

func (w *World) serveBroker(address string) {
	w.t.Helper()
	w.Replicas[address] = w.Start("broker-"+address, nil, "broker", "--config", w.Path("broker", address+".yaml"))
	w.Await("the broker at "+address, func() bool {
		res, err := http.Get("http://" + address + ":9464/readyz")
		if err != nil {
			return false
		}
		defer res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
}

// Role lets a wallet's sessions into the store: what one role of AWS's does for
// all, by their tag.
func (w *World) Role(wallet agentkeys.Wallet) {
	w.t.Helper()
	if _, err := w.Cloud.PutRole(context.Background(), cloudtest.Role(cloudtest.Bucket, wallet)); err != nil {
		w.t.Fatal(err)
	}
}

// Handoff is how a login by mail ends in a browser.
type Handoff struct {
	Login string `json:"-"`
	Code  string `json:"code"`
	Port  int    `json:"loopback_port"` // where the command that asked listens
}

// OpenLink opens the link of the next mail in a browser, and confirms.
func (w *World) OpenLink() (h Handoff, err error) {
	login, token, err := w.Post.link()
	if err != nil {
		return h, err
	}
	h.Login = login
	data, err := json.Marshal(map[string]string{"token": token})
	if err != nil {
		return h, err
	}
	r, err := http.NewRequest(http.MethodPost, Origin+"/v1/logins/"+login+"/mail", bytes.NewReader(data))
	if err != nil {
		return h, err
	}
	r.Header.Set("Content-Type", "application/json")
	res, err := w.client().Do(r)
	if err != nil {
		return h, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		return h, fmt.Errorf("opening the link: %s %w\n%s", res.Status, err, text)
	}
	return h, json.Unmarshal(text, &h)
}

// Must fails the test if a command did.
func (w *World) Must(out string, err error) string {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// Await waits until ok.
func (w *World) Await(what string, ok func() bool) {
	w.t.Helper()
	for end := time.Now().Add(Patience); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("%s: not within %v", what, Patience)
		}
	}
}
