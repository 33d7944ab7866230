package cloud

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/cloudpolicy"
)

func awsProbe() Probe {
	return Probe{
		Wallets: [2]agentkeys.Wallet{walletA, walletB},
		Token: func(_ context.Context, w agentkeys.Wallet) (string, error) {
			return fakeToken{"agentkeys:wallet:" + w.String(), w.String()}.String(), nil
		},
		Untagged: func(context.Context) (string, error) {
			return fakeToken{"agentkeys:wallet:" + walletA.String(), ""}.String(), nil
		},
	}
}

func TestAWSForm(t *testing.T) {
	ctx := t.Context()
	f, c := startFakeAWS(t)
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
	f.early["PutRolePolicy"], f.early["PUT policy"] = 2, 3
	plan := apply()
	for _, ch := range plan.Changes {
		if ch.Action == Left || ch.Action == Unchanged && !strings.Contains(ch.Part, "other policies") {
			t.Errorf("%s is %s", ch.Part, ch.Action)
		}
	}
	mustBeEmpty(t, c)
	if f.early["PUT policy"] != 0 {
		t.Error("nothing was too early")
	}
	for _, want := range []string{"<BlockPublicPolicy>true<", "<RestrictPublicBuckets>true<", "BucketOwnerEnforced", "AES256", "<Prefix>inbound/</Prefix>", "<NoncurrentDays>30<", "Enabled", Mark} {
		all := ""
		for _, s := range f.settings {
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
	if len(f.objects) != 0 {
		t.Errorf("left behind: %v", f.objects)
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
		if err == nil || len(f.objects) != 0 {
			t.Errorf("interrupted at %d: %v, left behind: %v", 3*stop+1, err, f.objects)
		}
	}

	// Holes, each named by what it lets through or by what is wrong with the text.
	name, n := c.Names.DataRole, c.Names
	for hole, h := range map[string]struct {
		make  func()
		says  string // a surprise
		finds string // a finding
	}{
		"a policy of AWS's is attached": {func() { f.roles[name].attached = []string{"arn:aws:iam::aws:policy/AmazonS3FullAccess"} }, "other policies is as planned", ""},
		"the trust demands no tag": {func() {
			d := cloudpolicy.DataTrust(n, cloudpolicy.Variables())
			d.Statements[0].Condition = d.Statements[0].Condition[:2]
			f.roles[name].trust = string(d.Compact())
		}, "a token without the tag: take the data role", "trust-no-tag"},
		"the bucket lets the broker in": {func() {
			f.settings["policy"] = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + n.RoleARN(n.BrokerRole) + `"},"Action":"s3:GetObject","Resource":"arn:aws:s3:::agentkeys-example/inbound/*"}]}`
			f.roles[n.BrokerRole].inline[ourPolicy] = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:GetObject","s3:ListBucket"],"Resource":["arn:aws:s3:::agentkeys-example","arn:aws:s3:::agentkeys-example/*"]}]}`
		}, "broker: get bots/*/inbound/*", "no-broker-deny"},
		"the bucket is public": {func() {
			f.settings["policy"] = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::agentkeys-example/*"}]}`
		}, "anybody: get wallet B's credential", "wildcard-principal"},
		"access may be public": {func() {
			f.settings["publicAccessBlock"] = strings.ReplaceAll(f.settings["publicAccessBlock"], "true", "false")
		}, "public access is as planned", ""},
		"nothing is versioned":   {func() { delete(f.settings, "versioning") }, "versioning is as planned", ""},
		"sessions last too long": {func() { f.roles[name].seconds = "43200" }, "role agentkeys-data is as planned", ""},
		"nothing is encrypted":   {func() { delete(f.settings, "encryption") }, "encryption is as planned", ""},
		"mail stays for ever": {func() {
			f.settings["lifecycle"] = strings.ReplaceAll(f.settings["lifecycle"], "agentkeys-mail", "other")
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
		if len(f.objects) != 0 {
			t.Errorf("%s: left behind: %v", hole, f.objects)
		}
		apply()
		mustBeEmpty(t, c)
	}
	if !strings.Contains(f.settings["lifecycle"], "<ID>other</ID>") {
		t.Error("a lifecycle rule that is not ours is gone")
	}

	// Nothing allowed at all proves nothing.
	f.roles[name].inline[ourPolicy] = `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}`
	if report, err := c.Verify(ctx, awsProbe(), silent); err != nil || report.Good() || !strings.Contains(strings.Join(surprises(report), ";"), "wallet A: put own credential") {
		t.Errorf("%v: %v", err, surprises(report))
	}
	apply()

	// Only what is ours goes.
	f.roles[n.RouterRole].tags = ""
	if _, err := c.Plan(ctx, silent); !errors.Is(err, ErrNotOurs) {
		t.Errorf("%v", err)
	}
	f.roles[n.BrokerRole].attached = []string{"arn:aws:iam::aws:policy/X"}
	f.objects["inbound/x"] = true
	r, err := c.PlanRemoval(ctx, silent)
	if err != nil || len(r.Remove) != 4 || len(r.Keep) != 1 || !r.Objects {
		t.Fatalf("%+v, %v", r, err)
	}
	if err := c.Destroy(ctx, r, false, silent); !errors.Is(err, ErrNotEmpty) || len(f.roles) != 3 {
		t.Errorf("%v", err)
	}
	if err := c.Destroy(ctx, r, true, silent); err != nil {
		t.Fatal(err)
	}
	if len(f.roles) != 1 || f.provider != nil || f.settings != nil || len(f.objects) != 0 {
		t.Errorf("roles %d, provider %v, bucket %v", len(f.roles), f.provider, f.settings)
	}
}
