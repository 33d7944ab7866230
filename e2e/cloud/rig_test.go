package cloud

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/testsrv/postgres"
	"github.com/litentry/agentkeys/internal/testsrv/versity"
	"github.com/litentry/agentkeys/internal/testsrv/versity/cloudtest"
)

// patience is how long anything may take that is not measured.
const patience = 60 * time.Second

// world is an operator's whole installation.
type world struct {
	t        *testing.T
	dir      string
	ca       string // file of the authority that signed the broker's certificate
	roots    *x509.CertPool
	post     *postbox
	cloud    *versity.Server
	dsn      secret.Value
	replicas map[string]*process // by address
}

// newWorld starts everything but users: PostgreSQL, S3 and STS, the signer and
// two replicas of the broker.
func newWorld(t *testing.T) *world {
	t.Helper()
	dir, err := os.MkdirTemp("", "akw-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	w := &world{t: t, dir: dir, post: startPostbox(t), replicas: map[string]*process{}}
	w.certificate()
	w.dsn, _ = postgres.Start(t)
	w.cloud = versity.Start(t, versity.Options{Issuer: w.proxy(), Log: func(s string) { t.Log(s) }})
	ctx := t.Context()
	if err := w.cloud.PutProvider(ctx, cloudtest.Audience); err != nil {
		t.Fatal(err)
	}
	if err := w.cloud.PutBucket(ctx, cloudtest.Bucket, false); err != nil {
		t.Fatal(err)
	}
	w.installSigner()
	w.installBroker()
	w.serveSigner()
	for _, address := range []string{addressA, addressB} {
		w.serveBroker(address)
	}
	return w
}

func (w *world) path(parts ...string) string {
	return filepath.Join(append([]string{w.dir}, parts...)...)
}

func (w *world) write(name string, data []byte) string {
	w.t.Helper()
	path := w.path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		w.t.Fatal(err)
	}
	return path
}

// certificate makes an authority and the broker's certificate.
func (w *world) certificate() {
	w.t.Helper()
	key := func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			w.t.Fatal(err)
		}
		return k
	}
	now := time.Now()
	caKey, leafKey := key(), key()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: brokerHost}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		DNSNames: []string{brokerHost}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		w.t.Fatal(err)
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, leafKey.Public(), caKey)
	if err != nil {
		w.t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(leafKey)
	if err != nil {
		w.t.Fatal(err)
	}
	w.ca = w.write("ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER}))
	w.write("broker/tls.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leafDER}))
	w.write("broker/tls.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
	w.roots = x509.NewCertPool()
	if parsed, err := x509.ParseCertificate(caDER); err != nil {
		w.t.Fatal(err)
	} else {
		w.roots.AddCert(parsed)
	}
}

// client is an HTTP client that trusts the broker's authority, as a browser of
// the user's would.
func (w *world) client() *http.Client {
	return &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: w.roots}, DisableKeepAlives: true}}
}

// proxy is how the cloud reaches the broker: whichever replica answers.
func (w *world) proxy() http.Handler {
	u, err := url.Parse(origin)
	if err != nil {
		w.t.Fatal(err)
	}
	p := httputil.NewSingleHostReverseProxy(u)
	p.Transport = w.client().Transport
	return p
}

const passphrase = "an obviously fake passphrase"

func (w *world) installSigner() {
	w.t.Helper()
	file := w.write("passphrase", []byte(passphrase+"\n"))
	w.must(w.run(nil, "signer", "init", w.path("signer"), "--host", "signer.agentkeys.test:9443", "--broker", origin, "--passphrase-file", file))
}

func (w *world) installBroker() {
	w.t.Helper()
	out := w.must(w.run(nil, "broker", "init", w.path("broker"), "--origin", origin, "--json"))
	var made struct {
		Thumb string `json:"signer_client"`
	}
	if err := json.Unmarshal([]byte(out), &made); err != nil {
		w.t.Fatal(err)
	}
	yaml, err := os.ReadFile(w.path("signer/signer.yaml"))
	if err != nil {
		w.t.Fatal(err)
	}
	text := strings.NewReplacer(
		"0.0.0.0:8443", "127.0.0.1:9443", "brokers: []", "brokers: ["+made.Thumb+"]", "# ca_file: broker-ca.pem", "ca_file: "+w.ca+" #",
	).Replace(string(yaml))
	w.write("signer/signer.yaml", []byte(text))
	w.write("broker/dsn", append(bytes.Clone(w.dsn.Expose()), '\n'))
	for i, address := range []string{addressA, addressB} {
		w.write("broker/"+address+".yaml", fmt.Appendf(nil, `
origin: %s
listen: %s:443
metrics_listen: %s:9464
tls: {cert: tls.pem, key: tls.key}
keys: keys
audit: audit-%d
state: {postgres: {dsn_file: dsn}}
signer: {url: "https://signer.agentkeys.test:9443", ca_file: %s, key_file: signer-client.key}
cloud:
  region: %s
  bucket: %s
  role_arn: %q
  s3_endpoint: %s
  sts_endpoint: %s
  path_style: true
logins:
  email: {from: login@agentkeys.test, smtp: %q, security: plain}
  wallet: {}
`, origin, address, address, i, w.path("signer/server.crt"), versity.Region, cloudtest.Bucket, cloudtest.Roles, w.cloud.Endpoint, w.cloud.STS, w.post.addr))
	}
}

func (w *world) serveSigner() {
	w.t.Helper()
	w.start("signer", nil, "signer", "--config", w.path("signer/signer.yaml"))
	w.await("the signer", func() bool {
		c, err := net.Dial("tcp", "127.0.0.1:9443")
		if err != nil {
			return false
		}
		return c.Close() == nil
	})
}

func (w *world) serveBroker(address string) {
	w.t.Helper()
	w.replicas[address] = w.start("broker-"+address, nil, "broker", "--config", w.path("broker", address+".yaml"))
	w.await("the broker at "+address, func() bool {
		res, err := http.Get("http://" + address + ":9464/readyz")
		if err != nil {
			return false
		}
		defer res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
}

// role lets a wallet's sessions into the store: what one role of AWS's does for
// all, by their tag.
func (w *world) role(wallet agentkeys.Wallet) {
	w.t.Helper()
	if _, err := w.cloud.PutRole(context.Background(), cloudtest.Role(cloudtest.Bucket, wallet)); err != nil {
		w.t.Fatal(err)
	}
}

// process is a program that runs until the test ends.
type process struct {
	name string
	cmd  *exec.Cmd
	log  lines
	done chan struct{}
}

// lines is what a program prints.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// start starts the program. What it prints is shown if the test fails.
func (w *world) start(name string, home *home, args ...string) *process {
	w.t.Helper()
	p := &process{name: name, cmd: exec.Command(program, args...), done: make(chan struct{})}
	p.cmd.Env = w.env(home)
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	w.t.Cleanup(func() {
		p.stop(syscall.SIGTERM)
		if w.t.Failed() {
			w.t.Logf("%s printed:\n%s", name, p.log.String())
		}
	})
	return p
}

// stop signals the process and waits for its end.
func (p *process) stop(sig syscall.Signal) {
	_ = p.cmd.Process.Signal(sig)
	select {
	case <-p.done:
	case <-time.After(20 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// home is one user's machine.
type home struct {
	w    *world
	path string
}

func (w *world) home(name string) *home {
	h := &home{w, w.path(name)}
	if err := os.MkdirAll(h.path, 0o700); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _, _ = w.run(h, "down") })
	return h
}

func (w *world) env(h *home) []string {
	dir := w.dir
	if h != nil {
		dir = h.path
	}
	return []string{"HOME=" + dir, "AGENTKEYS_HOME=" + filepath.Join(dir, "ak"), "PATH=" + os.Getenv("PATH"), "SSL_CERT_FILE=" + w.ca, "LANG=C.UTF-8", "TMPDIR=" + w.dir}
}

// run runs a command to its end and returns what it printed.
func (w *world) run(h *home, args ...string) (string, error) {
	w.t.Helper()
	return w.runWith(h, nil, args...)
}

func (w *world) runWith(h *home, stdin io.Reader, args ...string) (string, error) {
	w.t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env, cmd.Stdin = w.env(h), stdin
	// Their own files: a background process must not keep a pipe of ours open.
	var out lines
	r, pw, err := os.Pipe()
	if err != nil {
		w.t.Fatal(err)
	}
	defer r.Close()
	cmd.Stdout, cmd.Stderr = pw, pw
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		_, _ = io.Copy(&out, r)
	}()
	err = cmd.Run()
	_ = pw.Close()
	select {
	case <-copied:
	case <-time.After(time.Second): // a child of it has the pipe still
	}
	if err != nil {
		err = fmt.Errorf("agentkeys %s: %w\n%s", strings.Join(args, " "), err, &out)
	}
	return out.String(), err
}

// must fails the test if a command did.
func (w *world) must(out string, err error) string {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// await waits until ok.
func (w *world) await(what string, ok func() bool) {
	w.t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// ok runs a command of the home's user that must succeed.
func (h *home) ok(args ...string) string {
	h.w.t.Helper()
	return h.w.must(h.w.run(h, args...))
}

// refused runs one that must not, and returns what it printed.
func (h *home) refused(args ...string) string {
	h.w.t.Helper()
	out, err := h.w.run(h, args...)
	if err == nil {
		h.w.t.Fatalf("agentkeys %s succeeded:\n%s", strings.Join(args, " "), out)
	}
	return out
}

// login logs the home's user in by mail, as a person with a browser does, and
// returns the wallet.
func (h *home) login(email string) agentkeys.Wallet {
	w := h.w
	w.t.Helper()
	done := make(chan error, 1)
	go func() {
		_, err := w.run(h, "login", "--broker", origin, "--email", email, "--device-key", "file:"+filepath.Join(h.path, "device.key"), "--name", "laptop of "+email)
		done <- err
	}()
	login, token := w.post.link(w.t)
	var hand struct {
		Code string `json:"code"`
		Port int    `json:"loopback_port"`
	}
	w.call(http.MethodPost, "/v1/logins/"+login+"/mail", map[string]string{"token": token}, &hand)
	w.await("the command that asked", func() bool { // a person is slower than the mail
		res, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/login?login=%s&code=%s", hand.Port, login, hand.Code))
		if err != nil {
			return false
		}
		return res.Body.Close() == nil && res.StatusCode == http.StatusOK
	})
	if err := <-done; err != nil {
		w.t.Fatal(err)
	}
	var profile struct {
		Wallet agentkeys.Wallet `json:"wallet"`
	}
	data, err := os.ReadFile(filepath.Join(h.path, "ak", "config", "broker.json"))
	if err == nil {
		err = json.Unmarshal(data, &profile)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return profile.Wallet
}

// json reads what a command answers.
func (h *home) json(into any, args ...string) {
	h.w.t.Helper()
	out := h.ok(append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), into); err != nil {
		h.w.t.Fatalf("agentkeys %s: %v in\n%s", strings.Join(args, " "), err, out)
	}
}

// call calls the broker as a browser does.
func (w *world) call(method, path string, body, into any) {
	w.t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		w.t.Fatal(err)
	}
	r, err := http.NewRequest(method, origin+path, bytes.NewReader(data))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	res, err := w.client().Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		w.t.Fatalf("%s %s: %s %v\n%s", method, path, res.Status, err, text)
	}
	if err := json.Unmarshal(text, into); err != nil {
		w.t.Fatal(err)
	}
}
