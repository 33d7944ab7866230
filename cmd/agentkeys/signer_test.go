package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/signer"
	"github.com/litentry/agentkeys/internal/signerclient"
	"github.com/litentry/agentkeys/internal/signerconf"
	"github.com/litentry/agentkeys/internal/testsrv/kms"
	"github.com/litentry/agentkeys/internal/token"
)

// runSigner runs `agentkeys signer` with args in this process.
func runSigner(ctx context.Context, stderr *lockedBuffer, args ...string) (stdout string, err error) {
	var out bytes.Buffer
	a := &app{stdin: os.Stdin, stdout: &out, stderr: stderr, getenv: func(string) string { return "" }}
	c := a.signerCmd()
	c.SilenceErrors, c.SilenceUsage = true, true
	c.SetArgs(args)
	err = c.ExecuteContext(ctx)
	return out.String(), err
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// waits until the log has a line with msg and returns the named member of it.
func (l *lockedBuffer) wait(t *testing.T, msg, member string) string {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		for line := range strings.Lines(l.String()) {
			var m map[string]any
			if json.Unmarshal([]byte(line), &m) == nil && m["msg"] == msg {
				return fmt.Sprint(m[member])
			}
		}
	}
	t.Fatalf("the log never said %q:\n%s", msg, l)
	return ""
}

func editSigner(t *testing.T, file string, changes ...string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := string(b)
	for i := 0; i < len(changes); i += 2 {
		if !strings.Contains(s, changes[i]) {
			t.Fatalf("%s has no %q:\n%s", file, changes[i], s)
		}
		s = strings.Replace(s, changes[i], changes[i+1], 1)
	}
	if err := os.WriteFile(file, []byte(s), 0o600); err != nil {
		t.Fatal(err)
	}
}

func putFile(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func brokerKey(t *testing.T) (*ecdsa.PrivateKey, string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p, err := token.ThumbprintOf(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	return k, p.String()
}

// serving runs a signer until the test ends, and asks it for a wallet.
func serving(t *testing.T, file, dir string, key *ecdsa.PrivateKey) (log *lockedBuffer, wallet agentkeys.Wallet, stop func()) {
	t.Helper()
	log = &lockedBuffer{}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := runSigner(ctx, log, "--config", file)
		done <- err
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the signer: %v\n%s", err, log)
		}
	})
	t.Cleanup(stop)
	addr := log.wait(t, "serving", "address")
	ca, err := os.ReadFile(filepath.Join(dir, "server.crt"))
	if err != nil {
		t.Fatal(err)
	}
	w, err := signerclient.NewWallets("https://"+addr, ca, key, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	wallet, err = w.Master(t.Context(), agentkeys.Must(signer.ParseAccountID("a11ce")))
	if err != nil {
		t.Fatalf("%v\n%s", err, log)
	}
	return log, wallet, stop
}

// From nothing to a served wallet, through a rotation and a restart.
func TestSignerCommand(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "signer")
	pass := putFile(t, filepath.Join(t.TempDir(), "p"), "correct horse battery staple canary\n")
	log := &lockedBuffer{}
	initArgs := []string{"init", dir, "--host", "127.0.0.1:8443", "--broker", "https://broker.example.com", "--passphrase-file", pass}
	out, err := runSigner(t.Context(), log, initArgs...)
	if err != nil || !strings.Contains(out, "server.crt") {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, name := range []string{"roots.age", "server.key", "signer.yaml"} {
		if fi, err := os.Stat(filepath.Join(dir, name)); err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", name, fi, err)
		}
	}
	roots, err := os.ReadFile(filepath.Join(dir, "roots.age"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := runSigner(t.Context(), log, initArgs...); err != nil {
		t.Errorf("a second init: %v", err)
	}
	if again, err := os.ReadFile(filepath.Join(dir, "roots.age")); err != nil || !bytes.Equal(roots, again) {
		t.Error("a second init made other roots")
	}
	file := filepath.Join(dir, "signer.yaml")
	key, thumb := brokerKey(t)
	editSigner(t, file, "brokers: []", "brokers: ["+thumb+"]", "0.0.0.0:8443", "127.0.0.1:0", "127.0.0.1:9465", "127.0.0.1:0")
	if out, err := runSigner(t.Context(), log, "--config", file, "--check"); err != nil || !strings.Contains(out, "1 brokers") {
		t.Errorf("%v\n%s", err, out)
	}
	if exists(filepath.Join(dir, "audit")) {
		t.Error("--check made a log")
	}

	served, wallet, stop := serving(t, file, dir, key)
	out, err = runSigner(t.Context(), log, "rotate", "--config", file)
	if err != nil || !strings.Contains(out, "epoch is 2") {
		t.Errorf("%v\n%s", err, out)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if e := served.wait(t, "the roots were read anew", "epoch"); e != "2" {
		t.Errorf("epoch %s", e)
	}
	_, err = runSigner(t.Context(), &lockedBuffer{}, "--config", file)
	if p := classify(err); err == nil || p.exit != exitConflict {
		t.Errorf("a second signer: %v", err)
	}
	stop()
	if strings.Contains(served.String()+out+log.String(), "canary") {
		t.Error("the passphrase was logged")
	}
	_, again, stop2 := serving(t, file, dir, key)
	if again != wallet {
		t.Error("a restart changed the wallet")
	}
	stop2()
	if out, err := runSigner(t.Context(), log, "rotate", "--config", file, "--destroy-before", "2"); err != nil || !strings.Contains(out, "1 sealing roots") {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := runSigner(t.Context(), log, "rotate", "--config", file, "--destroy-before", "3"); err == nil || classify(err).exit != exitUsage {
		t.Errorf("the current root was destroyed: %v", err)
	}
}

// Each refusal has an exit code and a cure, and leaves nothing behind.
func TestSignerRefusals(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "signer")
	pass := putFile(t, filepath.Join(t.TempDir(), "p"), "correct horse battery staple\n")
	good := []string{"--host", "127.0.0.1:8443", "--broker", "https://broker.example.com", "--passphrase-file", pass}
	with := func(more ...string) []string { return append(append([]string{"init", dir}, good...), more...) }
	for _, c := range []struct {
		name string
		args []string
		exit int
	}{
		{"no configuration", nil, exitUsage},
		{"no such file", []string{"--config", filepath.Join(dir, "none")}, exitUsage},
		{"rotate what", []string{"rotate"}, exitUsage},
		{"no host", []string{"init", dir, "--broker", "https://b.test"}, exitUsage},
		{"a host with a newline", []string{"init", dir, "--host", "a\nb", "--broker", "https://b.test"}, exitUsage},
		{"a plain broker", []string{"init", dir, "--host", "a", "--broker", "http://b.test"}, exitUsage},
		{"half a KMS", with("--kms-key", "arn"), exitUsage},
		{"a passphrase for a KMS", with("--kms-key", "arn", "--kms-epoch", "arn", "--region", "r"), exitUsage},
		{"a weak passphrase", []string{"init", dir, "--host", "a", "--broker", "https://b.test", "--passphrase-file", putFile(t, filepath.Join(t.TempDir(), "w"), "short")}, exitLocked},
	} {
		_, err := runSigner(t.Context(), &lockedBuffer{}, c.args...)
		if err == nil {
			t.Errorf("%s: accepted", c.name)
			continue
		}
		if p := classify(err); p.exit != c.exit || p.fix == "" {
			t.Errorf("%s: exit %d, fix %q: %v; want %d", c.name, p.exit, p.fix, err, c.exit)
		}
		if exists(filepath.Join(dir, "signer.yaml")) {
			t.Fatalf("%s: left a configuration", c.name)
		}
	}
	if _, err := runSigner(t.Context(), &lockedBuffer{}, with()...); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "signer.yaml")
	saved, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		spoil func()
		want  error
		exit  int
	}{
		{"a key that others may read", func() { _ = os.Chmod(filepath.Join(dir, "server.key"), 0o644) }, nil, exitUsage},
		{"an unknown setting", func() { editSigner(t, file, "audit: audit", "audit: audit\nlog: x") }, nil, exitUsage},
		{"a passphrase file that others may read", func() { _ = os.Chmod(pass, 0o644) }, nil, exitLocked},
		{"another passphrase", func() { putFile(t, pass, "another long passphrase\n") }, signer.ErrPassphrase, exitLocked},
		{"no credential", func() { editSigner(t, file, "passphrase_file: \""+pass+"\"", "passphrase_credential: x") }, nil, exitLocked},
		{"a certificate that is none", func() { putFile(t, filepath.Join(dir, "server.crt"), "x") }, nil, exitUsage},
	} {
		keep := map[string][]byte{}
		for _, f := range []string{pass, filepath.Join(dir, "server.crt")} {
			if keep[f], err = os.ReadFile(f); err != nil {
				t.Fatal(err)
			}
		}
		c.spoil()
		_, err := runSigner(t.Context(), &lockedBuffer{}, "--config", file)
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		} else if p := classify(err); p.exit != c.exit || p.fix == "" {
			t.Errorf("%s: exit %d, fix %q: %v", c.name, p.exit, p.fix, err)
		}
		putFile(t, file, string(saved))
		for f, b := range keep {
			putFile(t, f, string(b))
		}
		_ = os.Chmod(pass, 0o600)
		_ = os.Chmod(filepath.Join(dir, "server.key"), 0o600)
	}
}

// The same over KMS keys: nothing secret is on the disk.
func TestSignerOverKMS(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "AKID")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	t.Setenv("AWS_CONFIG_FILE", os.DevNull)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	srv, err := kms.Start(kms.Options{Region: "eu-central-1", AccessKey: "AKID", Secret: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	dir := filepath.Join(t.TempDir(), "signer")
	epoch := srv.CreateHMAC(nil)
	if _, err := runSigner(t.Context(), &lockedBuffer{}, "init", dir, "--host", "127.0.0.1:8443", "--broker", "https://broker.example.com",
		"--kms-key", srv.CreateSymmetric(), "--kms-epoch", epoch, "--region", "eu-central-1", "--kms-endpoint", srv.URL()); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "signer.yaml")
	key, thumb := brokerKey(t)
	editSigner(t, file, "brokers: []", "brokers: ["+thumb+"]", "0.0.0.0:8443", "127.0.0.1:0", "127.0.0.1:9465", "127.0.0.1:0")
	_, wallet, stop := serving(t, file, dir, key)
	stop()
	_, again, stop := serving(t, file, dir, key)
	stop()
	if wallet != again {
		t.Error("a restart changed the wallet")
	}
	if _, err := runSigner(t.Context(), &lockedBuffer{}, "rotate", "--config", file); err == nil || classify(err).exit != exitUsage {
		t.Errorf("rotate: %v", err)
	}
	srv.SetState(epoch, kms.Disabled)
	if _, err := runSigner(t.Context(), &lockedBuffer{}, "--config", file); err == nil || classify(err).exit != exitRefused {
		t.Errorf("a disabled key: %v", err)
	}
}

// A passphrase comes from a file, from a descriptor or from systemd, and opens
// the roots from each.
func TestRootsKey(t *testing.T) {
	const pass = "correct horse battery staple"
	dir := t.TempDir()
	key, err := signer.Passphrase(secret.FromString(pass))
	if err != nil {
		t.Fatal(err)
	}
	if err := signer.CreateFile(filepath.Join(dir, "roots.age"), signer.NewRoots(), key); err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := w.WriteString(pass + "\n"); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	fd, err := syscall.Dup(int(r.Fd())) // which rootsKey closes
	if err != nil {
		t.Fatal(err)
	}
	putFile(t, filepath.Join(dir, "cred"), pass)
	a := &app{getenv: func(name string) string { return map[string]string{"CREDENTIALS_DIRECTORY": dir}[name] }}
	for name, roots := range map[string]signerconf.Roots{
		"file": {PassphraseFile: filepath.Join(dir, "cred")}, "descriptor": {PassphraseFD: &fd}, "credential": {PassphraseCredential: "cred"},
	} {
		key, err := a.rootsKey(signerconf.Config{Roots: roots})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, err := signer.OpenFile(filepath.Join(dir, "roots.age"), key); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	putFile(t, filepath.Join(dir, "cred"), "\n")
	if _, err := a.rootsKey(signerconf.Config{Roots: signerconf.Roots{PassphraseCredential: "cred"}}); err == nil || classify(err).exit != exitLocked {
		t.Errorf("an empty credential: %v", err)
	}
}
