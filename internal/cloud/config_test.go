package cloud

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/litentry/agentkeys/internal/conf"
)

const goodFile = `account: "123456789012"
region: eu-central-1
bucket: agentkeys-example
issuer: https://broker.example.com
broker:
  principal: arn:aws:iam::123456789012:role/broker-host
ses:
  region: eu-west-1
  identity: example.com
`

func load(t *testing.T, text string) (Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cloud.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(path)
}

func TestLoad(t *testing.T) {
	c, err := load(t, goodFile)
	if err != nil {
		t.Fatal(err)
	}
	n := c.Names
	if n.Partition != "aws" || n.DataRole != "agentkeys-data" || n.SES.Account != n.Account || n.SES.Region != "eu-west-1" || n.SES.Rule != "inbound" || c.MailDays != 30 || n.Plaintext {
		t.Errorf("%+v", c)
	}
	if c, err := load(t, strings.ReplaceAll(strings.ReplaceAll(goodFile, "eu-central-1", "cn-north-1"), "arn:aws:", "arn:aws-cn:")); err != nil || c.Names.Partition != "aws-cn" {
		t.Errorf("%+v, %v", c.Names, err)
	}
}

func TestFaultsNameSettingValueAndCure(t *testing.T) {
	change := func(old, new string) string {
		if !strings.Contains(goodFile, old) {
			t.Fatalf("%q is not there", old)
		}
		return strings.Replace(goodFile, old, new, 1)
	}
	compatible := goodFile + "compatible: versitygw\n"
	for name, c := range map[string]struct{ text, setting, cure string }{
		"no account":             {change("account: \"123456789012\"\n", ""), "account", "twelve digits"},
		"account without quotes": {change(`"123456789012"`, "12345678901"), "account", "in quotes"},
		"region":                 {change("eu-central-1", "europe"), "region", "eu-central-1"},
		"bucket with dots":       {change("agentkeys-example", "a.b.c"), "bucket", "a dot breaks TLS"},
		"bucket in upper case":   {change("agentkeys-example", "Agentkeys"), "bucket", "a-z"},
		"issuer with a path":     {change("https://broker.example.com", "https://broker.example.com/x"), "issuer", "without a slash"},
		"issuer over http":       {change("https://broker.example.com", "http://broker.example.com"), "issuer", "write https"},
		"issuer on loopback":     {change("https://broker.example.com", "http://127.0.0.1:80"), "issuer", "write https"},
		"principal root":         {change("role/broker-host", "root"), "broker.principal", "ARN of the role"},
		"principal star":         {change("arn:aws:iam::123456789012:role/broker-host", `"*"`), "broker.principal", "ARN of the role"},
		"principal wildcard":     {change("broker-host", "broker-*"), "broker.principal", "ARN of the role"},
		"principal elsewhere":    {change("123456789012:role", "999999999999:role"), "broker.principal", "correct account"},
		"principal itself":       {change("broker-host", "agentkeys-broker"), "broker.principal", "which is another"},
		"principal service":      {change("arn:aws:iam::123456789012:role/broker-host", "s3.amazonaws.com"), "broker.principal", "ecs-tasks"},
		"one name twice":         {goodFile + "roles: {data: x, broker: x}\n", "roles", "its own name"},
		"role with a path":       {goodFile + "roles: {data: a/b}\n", "roles.data", "without a path"},
		"rule star":              {change("  identity: example.com", `  rule: "*"`), "ses.rule", "receipt rule"},
		"identity":               {change("identity: example.com", "identity: example"), "ses.identity", "verified identity"},
		"mail prefix":            {goodFile + "mail_prefix: mail/\n", "mail_prefix", "inbound/"},
		"no days":                {goodFile + "keep: {mail_days: 0}\n", "keep.mail_days", "number of days"},
		"thumbprint":             {goodFile + "thumbprint: abc\n", "thumbprint", "40 lowercase"},
		"endpoints alone":        {goodFile + "endpoints: {s3: https://s3.example.com}\n", "endpoints", "compatible: versitygw"},
		"wallets on AWS":         {goodFile + "wallets: [\"0x" + strings.Repeat("a1", 20) + "\"]\n", "wallets", "leave wallets out"},
		"profile":                {goodFile + "compatible: minio\n", "compatible", "versitygw"},
		"profile alone":          {compatible, "endpoints", "three origins"},
		"profile, no wallets":    {compatible, "wallets", "list the wallets"},
		"profile, a role":        {compatible, "broker.principal", "user's ARN"},
		"wallet in upper case":   {compatible + "wallets: [\"0x" + strings.Repeat("A1", 20) + "\"]\n", "wallets", "lowercase"},
		"unknown":                {goodFile + "bukket: x\n", "bukket", "reference"},
		"twice":                  {goodFile + "bucket: x\n", "", "keep one"},
	} {
		_, err := load(t, c.text)
		faults, ok := err.(conf.Faults)
		found := false
		for _, f := range faults {
			found = found || f.Setting == c.setting && strings.Contains(f.Cure, c.cure)
		}
		if !ok || !found {
			t.Errorf("%s: %v", name, err)
		}
	}
}
