package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/spf13/cobra"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/testsrv/versity"
	"github.com/litentry/agentkeys/internal/testsrv/versity/cloudtest"
)

// runCloud runs `agentkeys cloud ARGS…` as main does.
func runCloud(t *testing.T, args ...string) (exit int, stdout, stderr string) {
	t.Helper()
	stdin, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	var out, errs bytes.Buffer
	a := &app{stdin: stdin, stdout: &out, stderr: &errs, getenv: func(string) string { return "" }, args: args}
	root := &cobra.Command{Use: "agentkeys", SilenceErrors: true, SilenceUsage: true}
	root.PersistentFlags().BoolVar(&a.json, "json", false, "")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return usage(c, err) })
	root.AddCommand(a.cloudCmd())
	wrapArgs(root)
	root.SetArgs(append([]string{"cloud"}, args...))
	root.SetOut(&out)
	root.SetErr(&errs)
	if err := root.ExecuteContext(t.Context()); err != nil {
		exit = a.fail(err)
	}
	return exit, out.String(), errs.String()
}

func writeText(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const cloudYAML = `account: "123456789012"
region: eu-central-1
bucket: agentkeys-example
issuer: https://broker.example.com
broker: {principal: ecs-tasks.amazonaws.com}
`

func TestCloudRenderAndLint(t *testing.T) {
	dir := t.TempDir()
	config := writeText(t, filepath.Join(dir, "cloud.yaml"), cloudYAML)
	exit, out, errs := runCloud(t, "render", "--config", config, "--out", filepath.Join(dir, "policies"))
	if exit != 0 || strings.Count(out, "\n") != 10 || errs != "" {
		t.Fatalf("%d\n%s%s", exit, out, errs)
	}
	args := []string{"lint", "--config", config}
	for _, name := range []string{"data-trust", "data-permissions", "broker-trust", "broker-permissions", "router-trust", "router-permissions", "bucket"} {
		args = append(args, filepath.Join(dir, "policies", name+".json"))
	}
	if exit, out, errs = runCloud(t, args...); exit != 0 || !strings.Contains(out, "no known mistake in 7 documents") {
		t.Errorf("%d\n%s%s", exit, out, errs)
	}
	if exit, out, _ = runCloud(t, "render", "--config", config, "cloudformation.yaml"); exit != 0 || !strings.HasPrefix(out, "AWSTemplateFormatVersion: \"2010-09-09\"\n") {
		t.Errorf("%d\n%.200s", exit, out)
	}
	if exit, out, _ = runCloud(t, "render", "--config", config, "bucket"); exit != 0 || !json.Valid([]byte(out)) {
		t.Errorf("%d\n%.200s", exit, out)
	}
	wallet := "0x" + strings.Repeat("a1", 20)
	if exit, out, _ = runCloud(t, "render", "--config", config, "--wallet", wallet, "data-permissions"); exit != 0 || !strings.Contains(out, "bots/"+wallet+"/") || strings.Contains(out, "${") {
		t.Errorf("%d\n%.400s", exit, out)
	}
	if exit, _, errs = runCloud(t, "render", "--config", config, "nothing"); exit != exitNotFound || !strings.Contains(errs, "data-trust.json") {
		t.Errorf("%d %s", exit, errs)
	}

	wide := writeText(t, filepath.Join(dir, "wide.json"), `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}`)
	exit, out, errs = runCloud(t, "lint", wide)
	if exit != exitFailure || !strings.Contains(out, "at /Statement/0/Action: wildcard-action") || !strings.Contains(out, "fix: ") || !strings.Contains(errs, "2 mistakes") {
		t.Errorf("%d\n%s%s", exit, out, errs)
	}
	exit, out, errs = runCloud(t, "lint", "--json", wide)
	var found []map[string]string
	if err := json.Unmarshal([]byte(out), &found); err != nil || exit != exitFailure || len(found) != 2 || found[0]["id"] == "" || !json.Valid([]byte(errs)) {
		t.Errorf("%d %v\n%s%s", exit, err, out, errs)
	}
	bad := writeText(t, filepath.Join(dir, "bad.json"), `{"statement":[]}`)
	if exit, _, errs = runCloud(t, "lint", bad); exit != exitUsage || !strings.Contains(errs, `write "Statement"`) {
		t.Errorf("%d %s", exit, errs)
	}
	if exit, _, _ = runCloud(t, "lint", filepath.Join(dir, "none.json")); exit != exitNotFound {
		t.Error(exit)
	}
	ambiguous := writeText(t, filepath.Join(dir, "ambiguous.yaml"), strings.Replace(cloudYAML, "ecs-tasks.amazonaws.com", `"*"`, 1))
	for _, command := range []string{"plan", "apply", "destroy", "render"} {
		if exit, _, errs = runCloud(t, command, "--config", ambiguous); exit != exitUsage || !strings.Contains(errs, "broker.principal") {
			t.Errorf("%s: %d %s", command, exit, errs)
		}
	}
	if exit, _, errs = runCloud(t, "lint"); exit != exitUsage {
		t.Errorf("%d %s", exit, errs)
	}
}

func TestCloudVerifyRefusesTokens(t *testing.T) {
	dir := t.TempDir()
	config := writeText(t, filepath.Join(dir, "cloud.yaml"), cloudYAML)
	one := writeText(t, filepath.Join(dir, "one"), "CANARYCANARY.x.y\n")
	open := writeText(t, filepath.Join(dir, "open"), "x")
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		files []string
		exit  int
	}{"none": {nil, exitUsage}, "one": {[]string{one}, exitUsage}, "no token": {[]string{one, one}, exitUsage}, "exposed": {[]string{open, one}, exitLocked}} {
		args := []string{"verify", "--config", config}
		for _, f := range c.files {
			args = append(args, "--token-file", f)
		}
		exit, out, errs := runCloud(t, args...)
		if exit != c.exit || strings.Contains(out+errs, "CANARY") {
			t.Errorf("%s: %d\n%s%s", name, exit, out, errs)
		}
	}
}

// TestCloudStory is the life of a cloud, by the commands alone.
func TestCloudStory(t *testing.T) {
	a := agentkeys.Must(agentkeys.ParseWallet("0x" + strings.Repeat("a1", 20)))
	b := agentkeys.Must(agentkeys.ParseWallet("0x" + strings.Repeat("b2", 20)))
	srv := cloudtest.Start(t)
	root, err := srv.Root().Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for k, v := range map[string]string{"AWS_ACCESS_KEY_ID": root.AccessKeyID, "AWS_SECRET_ACCESS_KEY": root.SecretAccessKey, "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_CONFIG_FILE": filepath.Join(dir, "none"), "AWS_SHARED_CREDENTIALS_FILE": filepath.Join(dir, "credentials")} {
		t.Setenv(k, v)
	}
	if _, err := srv.IAM().CreateUser(t.Context(), &iam.CreateUserInput{UserName: aws.String("broker")}); err != nil {
		t.Fatal(err)
	}
	key, err := srv.IAM().CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: aws.String("broker")})
	if err != nil {
		t.Fatal(err)
	}
	writeText(t, filepath.Join(dir, "credentials"), fmt.Sprintf("[broker]\naws_access_key_id = %s\naws_secret_access_key = %s\n", *key.AccessKey.AccessKeyId, *key.AccessKey.SecretAccessKey))
	config := writeText(t, filepath.Join(dir, "cloud.yaml"), fmt.Sprintf(`account: "%s"
region: %s
bucket: story
issuer: %s
broker: {principal: "arn:aws:iam::%s:user/broker"}
compatible: versitygw
wallets: ["%s", "%s"]
endpoints: {s3: "%s", iam: "%s", sts: "%s"}
`, versity.Account, versity.Region, versity.IssuerURL, versity.Account, a, b, srv.Endpoint, srv.STS, srv.STS))
	var tokens []string
	for i, w := range []agentkeys.Wallet{a, b} {
		token, err := srv.Token(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		tokens = append(tokens, "--token-file", writeText(t, filepath.Join(dir, fmt.Sprint("token", i)), token+"\n"))
	}
	must := func(exit int, says string, args ...string) string {
		t.Helper()
		got, out, errs := runCloud(t, append(args, "--config", config)...)
		if got != exit || !strings.Contains(out+errs, says) {
			t.Fatalf("%v ends with %d, not %d, and does not say %q:\n%s%s", args, got, exit, says, out, errs)
		}
		return out
	}
	verify := append([]string{"verify", "--broker-profile", "broker"}, tokens...)

	must(0, "create bucket story", "plan")
	must(exitRefused, "nothing is changed", "apply")
	must(0, "create bucket story", "plan") // still
	must(0, " changed; now prove it", "apply", "--yes")
	must(0, "nothing to change", "plan")
	if out := must(0, `"changed": 0`, "apply", "--yes", "--json"); !json.Valid([]byte(out)) {
		t.Error(out)
	}
	table := must(0, "0 surprises, 1 not tried", verify...)
	if !strings.Contains(table, "RESULT") || strings.Contains(table, "SURPRISE") {
		t.Error(table)
	}

	// A hole is named, by the table and by the plan.
	role := "agentkeys-data-" + a.String()
	if _, err := srv.IAM().PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: &role, PolicyName: aws.String("wider"),
		PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::story/*"}]}`)}); err != nil {
		t.Fatal(err)
	}
	must(exitFailure, "wallet A: get wallet B's credential: allowed, and it should be denied", verify...)
	must(0, "- inline wider", "plan")
	must(0, "1 changed", "apply", "--yes")
	must(0, "0 surprises", verify...)

	if _, err := srv.S3(srv.Root()).PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("story"), Key: aws.String("inbound/m"), Body: strings.NewReader("x")}); err != nil {
		t.Fatal(err)
	}
	must(exitConflict, "--delete-data", "destroy", "--confirm", "story")
	must(exitRefused, "--confirm story", "destroy", "--delete-data", "--confirm", "other")
	must(0, "nothing to change", "plan")
	must(0, "removed", "destroy", "--delete-data", "--confirm", "story")
	must(0, "nothing to remove", "destroy", "--confirm", "story")
}
