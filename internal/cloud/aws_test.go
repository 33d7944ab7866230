package cloud

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/cloudpolicy"
	"github.com/litentry/agentkeys/internal/testsrv/aws"
)

func awsProbe() Probe {
	return Probe{
		Wallets: [2]agentkeys.Wallet{walletA, walletB},
		Token: func(_ context.Context, w agentkeys.Wallet) (string, error) {
			return aws.Token("https://broker.example.com", "agentkeys:wallet:"+w.String(), w.String()), nil
		},
		Untagged: func(context.Context) (string, error) {
			return aws.Token("https://broker.example.com", "agentkeys:wallet:"+walletA.String(), ""), nil
		},
	}
}

func TestAWSForm(t *testing.T) {
	ctx := t.Context()
	f, c := startAWS(t, false)
	if _, err := c.CheckAccount(ctx); err != nil {
		t.Fatal(err)
	}
	wrong := *c
	wrong.Names.Account = "999999999999"
	if _, err := wrong.CheckAccount(ctx); !errors.Is(err, ErrAccount) {
		t.Errorf("%v", err)
	}
	apply := func() Plan {
		t.Helper()
		plan, err := c.Plan(ctx, silent)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Apply(ctx, plan, silent); err != nil {
			t.Fatal(err)
		}
		return plan
	}

	// What was just made is not everywhere at once.
	f.Early["PutRolePolicy"], f.Early["PUT policy"] = 2, 3
	plan := apply()
	for _, ch := range plan.Changes {
		if ch.Action == Left || ch.Action == Unchanged && !strings.Contains(ch.Part, "other policies") {
			t.Errorf("%s is %s", ch.Part, ch.Action)
		}
	}
	mustBeEmpty(t, c)
	if f.Early["PUT policy"] != 0 {
		t.Error("nothing was too early")
	}
	for _, want := range []string{"<BlockPublicPolicy>true<", "<RestrictPublicBuckets>true<", "BucketOwnerEnforced", "AES256", "<Prefix>inbound/</Prefix>", "<NoncurrentDays>30<", "Enabled", Mark} {
		all := ""
		for _, s := range f.Settings {
			all += s
		}
		if !strings.Contains(all, want) {
			t.Errorf("the bucket was not told %s", want)
		}
	}

	report, err := c.Verify(ctx, awsProbe(), silent)
	if err != nil || !report.Good() || len(report.NotTried()) != 0 || len(report.Rows) < 40 {
		t.Errorf("%v: %d rows, %v, not tried %v, %v", err, len(report.Rows), surprises(report), report.NotTried(), report.Findings)
	}
	if len(f.Objects) != 0 {
		t.Errorf("left behind: %v", f.Objects)
	}

	// An interrupted run removes what it wrote.
	for stop := range 12 {
		cut, cancel := context.WithCancel(ctx)
		told := 0
		_, err := c.Verify(cut, awsProbe(), func(string) {
			if told++; told == 3*stop+1 {
				cancel()
			}
		})
		cancel()
		if err == nil || len(f.Objects) != 0 {
			t.Errorf("interrupted at %d: %v, left behind: %v", 3*stop+1, err, f.Objects)
		}
	}

	// Holes, each named by what it lets through or by what is wrong with the text.
	name, n := c.Names.DataRole, c.Names
	for hole, h := range map[string]struct {
		make  func()
		says  string // a surprise
		finds string // a finding
	}{
		"a policy of AWS's is attached": {func() { f.Roles[name].Attached = []string{"arn:aws:iam::aws:policy/AmazonS3FullAccess"} }, "other policies is as planned", ""},
		"the trust demands no tag": {func() {
			d := cloudpolicy.DataTrust(n, cloudpolicy.Variables())
			d.Statements[0].Condition = d.Statements[0].Condition[:2]
			f.Roles[name].Trust = string(d.Compact())
		}, "a token without the tag: take the data role", "trust-no-tag"},
		"the bucket lets the broker in": {func() {
			f.Settings["policy"] = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + n.RoleARN(n.BrokerRole) + `"},"Action":"s3:GetObject","Resource":"arn:aws:s3:::agentkeys-example/inbound/*"}]}`
			f.Roles[n.BrokerRole].Inline[ourPolicy] = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:GetObject","s3:ListBucket"],"Resource":["arn:aws:s3:::agentkeys-example","arn:aws:s3:::agentkeys-example/*"]}]}`
		}, "broker: get bots/*/inbound/*", "no-broker-deny"},
		"wallets may tag": {func() {
			f.Settings["policy"] = `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:DeleteBucket","Resource":"arn:aws:s3:::agentkeys-example"}]}`
			f.Roles[name].Inline[ourPolicy] = strings.ReplaceAll(f.Roles[name].Inline[ourPolicy], `"s3:PutObject"`, `"s3:PutObject","s3:PutObjectTagging"`)
		}, "wallet A: put own credential with the tag of mail; wallet B: tag its own credential as mail", "tags-credentials"},
		"the bucket is public": {func() {
			f.Settings["policy"] = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::agentkeys-example/*"}]}`
		}, "anybody: get wallet B's credential", "wildcard-principal"},
		"access may be public": {func() {
			f.Settings["publicAccessBlock"] = strings.ReplaceAll(f.Settings["publicAccessBlock"], "true", "false")
		}, "public access is as planned", ""},
		"nothing is versioned":   {func() { delete(f.Settings, "versioning") }, "versioning is as planned", ""},
		"sessions last too long": {func() { f.Roles[name].Seconds = "43200" }, "role agentkeys-data is as planned", ""},
		"nothing is encrypted":   {func() { delete(f.Settings, "encryption") }, "encryption is as planned", ""},
		"mail stays for ever": {func() {
			f.Settings["lifecycle"] = strings.ReplaceAll(f.Settings["lifecycle"], "agentkeys-mail", "other")
		}, "lifecycle is as planned", ""},
	} {
		h.make()
		report, err := c.Verify(ctx, awsProbe(), silent)
		if err != nil {
			t.Fatalf("%s: %v", hole, err)
		}
		found := h.finds == ""
		for _, x := range report.Findings {
			found = found || x.ID == h.finds
		}
		if got := strings.Join(surprises(report), "; "); report.Good() || !found || !strings.Contains(got, h.says) {
			t.Errorf("%s: surprises: %s; findings %v", hole, got, report.Findings)
		}
		if len(f.Objects) != 0 {
			t.Errorf("%s: left behind: %v", hole, f.Objects)
		}
		apply()
		mustBeEmpty(t, c)
	}
	if !strings.Contains(f.Settings["lifecycle"], "<ID>other</ID>") {
		t.Error("a lifecycle rule that is not ours is gone")
	}

	// Nothing allowed at all proves nothing.
	f.Roles[name].Inline[ourPolicy] = `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}`
	if report, err := c.Verify(ctx, awsProbe(), silent); err != nil || report.Good() || !strings.Contains(strings.Join(surprises(report), ";"), "wallet A: put own credential") {
		t.Errorf("%v: %v", err, surprises(report))
	}
	apply()

	// Only what is ours goes.
	f.Roles[n.RouterRole].Tags = nil
	if _, err := c.Plan(ctx, silent); !errors.Is(err, ErrNotOurs) {
		t.Errorf("%v", err)
	}
	f.Roles[n.BrokerRole].Attached = []string{"arn:aws:iam::aws:policy/X"}
	f.Objects["inbound/x"] = []byte("x")
	r, err := c.PlanRemoval(ctx, silent)
	if err != nil || len(r.Remove) != 4 || len(r.Keep) != 1 || !r.Objects {
		t.Fatalf("%+v, %v", r, err)
	}
	if err := c.Destroy(ctx, r, false, silent); !errors.Is(err, ErrNotEmpty) || len(f.Roles) != 3 {
		t.Errorf("%v", err)
	}
	if err := c.Destroy(ctx, r, true, silent); err != nil {
		t.Fatal(err)
	}
	if len(f.Roles) != 1 || f.Provider != nil || f.Settings != nil || len(f.Objects) != 0 {
		t.Errorf("roles %d, provider %v, bucket %v", len(f.Roles), f.Provider, f.Settings)
	}
}
