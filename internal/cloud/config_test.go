package cloud

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/litentry/agentkeys/internal/cloudpolicy"
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

func TestLoadMail(t *testing.T) {
	if c, err := load(t, goodFile); err != nil || c.Mail != nil || c.Names.Mail != (cloudpolicy.Mail{}) {
		t.Errorf("%+v, %v", c, err)
	}
	c, err := load(t, goodFile+"mail:\n  domains: [mail.example.com]\n  function: {package: router.zip}\n  remove_source: true\n")
	if err != nil {
		t.Fatal(err)
	}
	if want := (cloudpolicy.Mail{Queue: "agentkeys-mail", DeadLetters: "agentkeys-mail-dead", Function: "agentkeys-router", RemoveSource: true}); c.Names.Mail != want {
		t.Errorf("%+v", c.Names.Mail)
	}
	m := *c.Mail
	if m.Architecture != "arm64" || m.MemoryMB != 128 || m.Seconds != 30 || m.Reserved != 0 || m.Batch != 10 || m.Concurrency != 10 || m.LogDays != 30 || m.WalletPerHour != 120 || m.SenderPerHour != 10_000 || m.PlainSMTP || m.Tags != nil || !filepath.IsAbs(m.Package) {
		t.Errorf("%+v", m)
	}
	if files, err := Render(c); err != nil || len(files) != 12 {
		t.Errorf("%d files, %v", len(files), err)
	}
}

func TestFaultsNameSettingValueAndCure(t *testing.T) {
	change := func(old, new string) string {
		if !strings.Contains(goodFile, old) {
			t.Fatalf("%q is not there", old)
		}
		return strings.Replace(goodFile, old, new, 1)
	}
	mail := func(rest string) string {
		return goodFile + "mail:\n  domains: [mail.example.com]\n  function: {package: router.zip}\n" + rest
	}
	function := func(rest string) string {
		return goodFile + "mail:\n  domains: [mail.example.com]\n  function: {package: router.zip, " + rest + "}\n"
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
		"no domains":             {goodFile + "mail: {function: {package: x}}\n", "mail.domains", "list the domains"},
		"no package":             {goodFile + "mail: {domains: [mail.example.com]}\n", "mail.function.package", "make mailrouter"},
		"domain in upper case":   {strings.Replace(mail(""), "mail.ex", "Mail.ex", 1), "mail.domains", "lowercase"},
		"domain with a wildcard": {strings.Replace(mail(""), "[mail.example.com]", "['*.example.com']", 1), "mail.domains", "lowercase"},
		"one label":              {strings.Replace(mail(""), "[mail.example.com]", "[localhost]", 1), "mail.domains", "mail.example.com"},
		"domain twice":           {strings.Replace(mail(""), "[mail", "[mail.example.com, mail", 1), "mail.domains", "once"},
		"a tag of five":          {mail("  tags: [abcde]\n"), "mail.tags", "lowercase letters"},
		"a tag twice":            {mail("  tags: [or, or]\n"), "mail.tags", "once"},
		"architecture":           {function("architecture: riscv64"), "mail.function.architecture", "arm64 or amd64"},
		"little memory":          {function("memory_mb: 64"), "mail.function.memory_mb", "128"},
		"no time":                {function("timeout_seconds: 1"), "mail.function.timeout_seconds", "30"},
		"odd days":               {function("log_days: 31"), "mail.function.log_days", "one of 1, 3"},
		"function's name":        {function("name: a.b"), "mail.function.name", "roles.router"},
		"large batch":            {mail("  queue: {batch_size: 11}\n"), "mail.queue.batch_size", "10"},
		"one at once":            {mail("  queue: {max_concurrency: 1}\n"), "mail.queue.max_concurrency", "10"},
		"thrown back":            {function("reserved_concurrency: 5"), "mail.queue.max_concurrency", "no more than"},
		"fewer than none":        {mail("  limits: {wallet_messages_per_hour: -1}\n"), "mail.limits.wallet_messages_per_hour", "no limit"},
		"more than many":         {mail("  limits: {sender_messages_per_hour: 1000000001}\n"), "mail.limits.sender_messages_per_hour", "no limit"},
		"queue's name":           {mail("  queue: {name: a.fifo}\n"), "mail.queue.name", "75"},
		"its own dead letters":   {mail("  queue: {name: x, dead_letters: x}\n"), "mail.queue.dead_letters", "its own name"},
		"topic":                  {mail("  alarm_topic: alarms\n"), "mail.alarm_topic", "arn:aws:sns"},
		"topic elsewhere":        {mail("  alarm_topic: arn:aws:sns:us-east-1:123456789012:x\n"), "mail.alarm_topic", "eu-central-1"},
		"mail from":              {mail("  mail_from: bounce.mail.example.com\n"), "mail.mail_from", "one label"},
		"reports to the router":  {mail("  dmarc_reports: x@mail.example.com\n"), "mail.dmarc_reports", "another domain"},
		"reports":                {mail("  dmarc_reports: x\n"), "mail.dmarc_reports", "somebody reads"},
		"SES of another account": {strings.Replace(mail(""), "ses:\n", "ses:\n  account: \"999999999999\"\n", 1), "ses.account", "leave mail out"},
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
