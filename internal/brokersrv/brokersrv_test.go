package brokersrv_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/brokerconf"
	"github.com/litentry/agentkeys/internal/brokersrv"
	"github.com/litentry/agentkeys/internal/testsrv/ports"
	"github.com/litentry/agentkeys/internal/token"
	"github.com/litentry/agentkeys/internal/tokenkeys"
)

// configure writes a broker.yaml of one node with change made to it, and what
// it names.
func configure(t *testing.T, change ...string) *brokerconf.Config {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer(change...).Replace(`
origin: http://localhost:8999
listen: 127.0.0.1:0

keys: keys
audit: audit
state: {sqlite: state/state.db}
signer: {url: "https://localhost:1", key_file: client.key}
logins:
  wallet: {}
  passkey: {}
`)
	for name, data := range map[string][]byte{
		"broker.yaml": []byte(text), "client.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "state"), 0o700); err != nil {
		t.Fatal(err)
	}
	c, err := brokerconf.Load(filepath.Join(dir, "broker.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func options() brokersrv.Options {
	return brokersrv.Options{Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Now: time.Now, Version: "v0"}
}

func get(t *testing.T, url string, into any) int {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(into); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode
}

// serve serves s until the test ends, and returns its address.
func serve(t *testing.T, s *brokersrv.Server) string {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return "http://" + s.Addr().String()
}

type keySet struct {
	Keys []struct {
		KID string `json:"kid"`
		Alg string `json:"alg"`
	} `json:"keys"`
}

func TestServe(t *testing.T) {
	t.Parallel()
	c := configure(t)
	k, err := tokenkeys.Rotate(c.Keys, token.ES256, time.Now(), 0)
	if err != nil {
		t.Fatal(err)
	}
	s, err := brokersrv.Open(t.Context(), c, options())
	if err != nil {
		t.Fatal(err)
	}
	// The same directories twice: each replica has its own.
	if _, err := brokersrv.Open(t.Context(), c, options()); err == nil {
		t.Error("two brokers over one audit log")
	}
	base := serve(t, s)
	var keys keySet
	if code := get(t, base+brokerapi.PathKeys, &keys); code != 200 || len(keys.Keys) != 1 || keys.Keys[0].KID != k.KID() {
		t.Errorf("keys: %d %+v", code, keys)
	}
	var config brokerapi.Config
	if get(t, base+brokerapi.PathConfig, &config); config.Issuer != c.Origin || fmt.Sprint(config.Logins) != "[passkey wallet]" || config.Version != "v0" {
		t.Errorf("config: %+v", config)
	}
	var ready struct {
		Missing []string `json:"missing"`
	}
	for end := time.Now().Add(10 * time.Second); get(t, base+brokerapi.PathReady, &ready) != 200; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not ready: %+v", ready)
		}
	}
	// A key directory that others may read from now on: it is not ready, and
	// serves on with what it has.
	if err := os.Chmod(c.Keys, 0o755); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(3 * tokenkeys.Interval); get(t, base+brokerapi.PathReady, &ready) == 200; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("ready with keys that anybody may read")
		}
	}
	if fmt.Sprint(ready.Missing) != "[token-keys]" {
		t.Errorf("missing: %q", ready.Missing)
	}
	if code := get(t, base+brokerapi.PathKeys, &keys); code != 200 {
		t.Errorf("keys: %d", code)
	}
}

// TestMetrics: what is recorded is counted, on the operator's listener alone.
func TestMetrics(t *testing.T) {
	t.Parallel()
	port, err := ports.Take(t.Cleanup)
	if err != nil {
		t.Fatal(err)
	}
	private := fmt.Sprint("127.0.0.1:", port)
	c := configure(t, "listen: 127.0.0.1:0", "listen: 127.0.0.1:0\nmetrics_listen: "+private)
	if _, err := tokenkeys.Rotate(c.Keys, token.ES256, time.Now(), 0); err != nil {
		t.Fatal(err)
	}
	s, err := brokersrv.Open(t.Context(), c, options())
	if err != nil {
		t.Fatal(err)
	}
	base := serve(t, s)
	var p brokerapi.Problem
	if code := get(t, base+brokerapi.PathMetrics, &p); code != 404 {
		t.Errorf("metrics for everybody: %d", code)
	}
	res, err := http.Get("http://" + private + brokerapi.PathMetrics)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"agentkeys_build_info{version=\"v0\"} 1", "agentkeys_audit_entries 0", `agentkeys_http_requests_total{route="none",status="404"} 1`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
}

func TestNoKeys(t *testing.T) {
	t.Parallel()
	c := configure(t)
	if _, err := brokersrv.Open(t.Context(), c, options()); err == nil {
		t.Error("a broker without keys")
	}
	if _, err := tokenkeys.Rotate(c.Keys, token.RS256, time.Now(), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := brokersrv.Open(t.Context(), c, options()); err == nil || !strings.Contains(err.Error(), "no ES256 key") {
		t.Errorf("with an RS256 key alone: %v", err)
	}
}

func TestKMSKeys(t *testing.T) {
	t.Parallel()
	const arn = "arn:aws:kms:eu-central-1:123456789012:key/a"
	c := configure(t, "keys: keys", "kms_keys: {region: eu-central-1, keys: [{arn: \""+arn+"\", signs_from: 2026-01-02T15:04:05Z}]}")
	if _, err := brokersrv.Open(t.Context(), c, options()); err == nil {
		t.Error("opened without a way to a KMS")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	o := options()
	o.KMSKey = func(_ context.Context, region, endpoint, name string) (crypto.Signer, error) {
		if region != "eu-central-1" || endpoint != "" || name != arn {
			t.Errorf("opened %s %s %s", region, endpoint, name)
		}
		return key, nil
	}
	s, err := brokersrv.Open(t.Context(), c, o)
	if err != nil {
		t.Fatal(err)
	}
	want, err := token.ThumbprintOf(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	var keys keySet
	if get(t, serve(t, s)+brokerapi.PathKeys, &keys); len(keys.Keys) != 1 || keys.Keys[0].KID != want.String() || keys.Keys[0].Alg != "ES256" {
		t.Errorf("keys: %+v", keys)
	}
}

func TestReadKey(t *testing.T) {
	t.Parallel()
	c := configure(t)
	if _, err := brokersrv.ReadKey(c.Signer.KeyFile); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(c.Signer.KeyFile, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := brokersrv.ReadKey(c.Signer.KeyFile); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Error(err)
	}
	if err := os.WriteFile(c.Signer.KeyFile, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	_ = os.Chmod(c.Signer.KeyFile, 0o600)
	if _, err := brokersrv.ReadKey(c.Signer.KeyFile); err == nil || strings.Contains(err.Error(), "nonsense") {
		t.Error(err)
	}
}
