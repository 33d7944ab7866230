package main

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/litentry/agentkeys/internal/testsrv/aws"
)

// TestCloudMail sets mail up as a person does: by commands, cloud.yaml and
// AWS's own environment.
func TestCloudMail(t *testing.T) {
	f, err := aws.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dir := t.TempDir()
	for k, v := range map[string]string{
		"AWS_ENDPOINT_URL": f.URL, "AWS_ACCESS_KEY_ID": aws.AdminKey, "AWS_SECRET_ACCESS_KEY": "obviously-fake", "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "",
		"AWS_CONFIG_FILE": filepath.Join(dir, "none"), "AWS_SHARED_CREDENTIALS_FILE": filepath.Join(dir, "none"),
	} {
		t.Setenv(k, v)
	}
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	h := &zip.FileHeader{Name: "bootstrap"}
	h.SetMode(0o755)
	w, err := z.CreateHeader(h)
	if err != nil {
		t.Fatal(err)
	}
	elf := make([]byte, 64)
	copy(elf, "\x7fELF\x02\x01\x01")
	elf[16], elf[18], elf[20], elf[52] = 2, 0xb7, 1, 64
	if _, err := w.Write(elf); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(cloudYAML, "123456789012", aws.Account, 1)
	plain := writeText(t, filepath.Join(dir, "plain.yaml"), text)
	config := writeText(t, filepath.Join(dir, "cloud.yaml"), text+"ses: {region: eu-west-1}\nmail:\n  domains: [mail.example.com]\n  function: {package: router.zip}\n")

	exit, stdout, stderr := runCloud(t, "plan", "--config", config)
	if exit != exitUsage || !strings.Contains(stderr, "make mailrouter") {
		t.Errorf("without the package: %d\n%s%s", exit, stdout, stderr)
	}
	if err := os.WriteFile(filepath.Join(dir, "router.zip"), out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	exit, stdout, stderr = runCloud(t, "plan", "--config", config)
	for _, want := range []string{"create queue agentkeys-mail\n", "create receipt rule inbound\n", "note: domain mail.example.com is not verified (absent)", `"AGENTKEYS_MAIL_TAGS": "an,`} {
		if exit != 0 || !strings.Contains(stdout, want) {
			t.Errorf("plan: %d, no %q\n%s%s", exit, want, stdout, stderr)
		}
	}
	if exit, stdout, stderr = runCloud(t, "dns", "--config", config); exit != 0 || !strings.Contains(stdout, "(known after apply)") {
		t.Errorf("dns: %d\n%s%s", exit, stdout, stderr)
	}
	exit, stdout, stderr = runCloud(t, "apply", "--config", config, "--yes")
	if exit != 0 || !strings.Contains(stdout, "10 inbound-smtp.eu-west-1.amazonaws.com") || !strings.Contains(stdout, ".dkim.amazonses.com") || stderr != "" {
		t.Fatalf("apply: %d\n%s%s", exit, stdout, stderr)
	}
	if exit, stdout, stderr = runCloud(t, "plan", "--config", config); exit != 0 || !strings.Contains(stdout, "nothing to change") || !strings.Contains(stdout, "(pending)") {
		t.Errorf("again: %d\n%s%s", exit, stdout, stderr)
	}
	exit, stdout, stderr = runCloud(t, "dns", "--config", config, "--json")
	var domains []struct {
		Domain, State string
		Records       []struct{ Name, Type, Value, State string }
	}
	if err := json.Unmarshal([]byte(stdout), &domains); exit != 0 || err != nil || len(domains) != 1 || domains[0].State != "pending" || len(domains[0].Records) != 7 {
		t.Errorf("dns: %d %v\n%s%s", exit, err, stdout, stderr)
	}
	if exit, _, stderr = runCloud(t, "dns", "--config", plain); exit != exitNotFound || !strings.Contains(stderr, "no part about mail") {
		t.Errorf("dns without mail: %d %s", exit, stderr)
	}
	if exit, stdout, stderr = runCloud(t, "render", "--config", config, "cloudformation.yaml"); exit != 0 || !strings.Contains(stdout, "Type: AWS::Lambda::Function") {
		t.Errorf("render: %d\n%s", exit, stderr)
	}
	if exit, stdout, stderr = runCloud(t, "destroy", "--config", config, "--confirm", "agentkeys-example"); exit != exitConflict || len(f.Functions) != 1 {
		t.Errorf("destroy: %d\n%s%s", exit, stdout, stderr) // SES has written its setup message
	}
	exit, stdout, stderr = runCloud(t, "destroy", "--config", config, "--confirm", "agentkeys-example", "--delete-data")
	if exit != 0 || len(f.Functions)+len(f.Queues)+len(f.Identities)+len(f.RuleSets)+len(f.Roles) != 0 || f.Bucket != "" {
		t.Errorf("destroy: %d\n%s%s", exit, stdout, stderr)
	}
}
