package cloud

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/cloudpolicy"
	"github.com/litentry/agentkeys/internal/testsrv/versity"
	"github.com/litentry/agentkeys/internal/testsrv/versity/cloudtest"
)

var (
	walletA = agentkeys.Must(agentkeys.ParseWallet("0x" + strings.Repeat("a1", 20)))
	walletB = agentkeys.Must(agentkeys.ParseWallet("0x" + strings.Repeat("b2", 20)))
)

// server is a VersityGW with nothing in it but the user that the broker is.
type server struct {
	*cloudtest.Cloud
	broker aws.CredentialsProvider
}

func startServer(t *testing.T) *server {
	t.Helper()
	s := &server{Cloud: cloudtest.Start(t)}
	ctx := t.Context()
	if _, err := s.IAM().DeleteOpenIDConnectProvider(ctx, &iam.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: aws.String(versity.ProviderARN)}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.IAM().CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String("broker")}); err != nil {
		t.Fatal(err)
	}
	key, err := s.IAM().CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: aws.String("broker")})
	if err != nil {
		t.Fatal(err)
	}
	s.broker = credentials.NewStaticCredentialsProvider(aws.ToString(key.AccessKey.AccessKeyId), aws.ToString(key.AccessKey.SecretAccessKey), "")
	return s
}

func (s *server) config(bucket string) Config {
	return Config{
		Names: cloudpolicy.Names{
			Partition: "aws", Account: versity.Account, Region: versity.Region, Bucket: bucket, Issuer: versity.IssuerURL,
			DataRole: "data-" + bucket[len(bucket)-1:], BrokerRole: "broker", RouterRole: "router", Broker: "arn:aws:iam::" + versity.Account + ":user/broker",
			SES: cloudpolicy.SES{Region: versity.Region, Account: versity.Account, RuleSet: "agentkeys", Rule: "inbound"}, Plaintext: true,
		},
		MailDays: 30, VersionDays: 30, Compatible: VersityGW, Wallets: []agentkeys.Wallet{walletA, walletB},
		Thumbprint: s.Thumbprint(), Endpoints: Endpoints{S3: s.Endpoint, IAM: s.STS, STS: s.STS},
	}
}

func (s *server) open(t *testing.T, c Config) *Cloud {
	t.Helper()
	cl, err := Open(t.Context(), c, s.Root(), "")
	if err != nil {
		t.Fatal(err)
	}
	cl.Pause, cl.Tries = 10*time.Millisecond, 4
	return cl
}

func (s *server) probe() Probe {
	return Probe{Wallets: [2]agentkeys.Wallet{walletA, walletB}, Token: s.Token, Broker: s.broker}
}

func silent(string) {}

func (s *server) apply(t *testing.T, c *Cloud) Plan {
	t.Helper()
	plan, err := c.Plan(t.Context(), silent)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Apply(t.Context(), plan, silent); err != nil {
		t.Fatal(err)
	}
	return plan
}

func mustBeEmpty(t *testing.T, c *Cloud) {
	t.Helper()
	plan, err := c.Plan(t.Context(), silent)
	if err != nil {
		t.Fatal(err)
	}
	for _, ch := range plan.Changes {
		if ch.Action == Create || ch.Action == Update {
			t.Errorf("a second plan would %s %s:\n%s", ch.Action, ch.Part, Diff(ch.Have, ch.Want))
		}
	}
}

func surprises(r Report) (list []string) {
	for _, row := range r.Surprises() {
		list = append(list, row.Who+": "+row.Does)
	}
	return list
}

func TestAgainstVersityGW(t *testing.T) {
	s := startServer(t)
	ctx := t.Context()
	c := s.open(t, s.config("agentkeys-one"))
	if arn, err := c.CheckAccount(ctx); err != nil || !strings.Contains(arn, versity.Account) {
		t.Fatalf("%q, %v", arn, err)
	}

	t.Run("apply, and again nothing", func(t *testing.T) {
		plan, err := c.Plan(ctx, silent)
		if err != nil {
			t.Fatal(err)
		}
		left := map[string]bool{}
		for _, ch := range plan.Changes {
			if ch.Action == Left {
				left[ch.Part] = ch.Why != ""
			}
		}
		want := []string{"role broker", "role router", "bucket agentkeys-one: public access", "bucket agentkeys-one: encryption", "bucket agentkeys-one: lifecycle"}
		for _, part := range want {
			if !left[part] {
				t.Errorf("%s is not left out with a reason", part)
			}
		}
		if len(left) != len(want) || plan.Empty() || plan.Imported {
			t.Errorf("left out: %v; imported: %v; %d to do", left, plan.Imported, plan.Pending())
		}
		if err := c.Apply(ctx, plan, silent); err != nil {
			t.Fatal(err)
		}
		mustBeEmpty(t, c)
	})

	t.Run("verify", func(t *testing.T) {
		r, err := c.Verify(ctx, s.probe(), silent)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range r.Rows {
			if row.Surprise() {
				t.Errorf("%s: %s: %s, not %s (%s)", row.Who, row.Does, row.Got, row.Want, row.Detail)
			}
		}
		for _, f := range r.Findings {
			t.Errorf("%s%s: %s", f.Document, f.Where, f.ID)
		}
		if got := r.NotTried(); len(got) != 1 || got[0].Who != "a token without the tag" {
			t.Errorf("not tried: %v", got)
		}
		if !r.Good() || len(r.Rows) < 35 {
			t.Errorf("%d rows, left behind %v", len(r.Rows), r.Left)
		}
		mustHold(t, s, "agentkeys-one", 0)
	})

	t.Run("a planted widening is named", func(t *testing.T) {
		for _, w := range []struct{ name, role, policy, says string }{
			{"other wallet", c.Names.WalletRole(walletA), `{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::agentkeys-one/bots/*/credentials/*"}`, "wallet A: get wallet B's credential"},
			{"arriving mail", c.Names.WalletRole(walletA), `{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::agentkeys-one/inbound/*"}`, "wallet A: get inbound/"},
			{"listing", c.Names.WalletRole(walletA), `{"Effect":"Allow","Action":"s3:ListBucketVersions","Resource":"arn:aws:s3:::agentkeys-one"},{"Effect":"Allow","Action":"s3:PutObject","Resource":"arn:aws:s3:::agentkeys-one/inbound/*"}`, "wallet A: put inbound/"},
		} {
			put := func(policy string) {
				_, err := s.IAM().PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: &w.role, PolicyName: aws.String("wider"), PolicyDocument: &policy})
				if err != nil {
					t.Fatal(err)
				}
			}
			put(`{"Version":"2012-10-17","Statement":[` + w.policy + `]}`)
			r, err := c.Verify(ctx, s.probe(), silent)
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(surprises(r), "; ")
			if r.Good() || !strings.Contains(got, w.says) || !strings.Contains(got, "other policies is as planned") {
				t.Errorf("%s: %s", w.name, got)
			}
			mustHold(t, s, "agentkeys-one", 0)
			// The next apply takes it away.
			s.apply(t, c)
			mustBeEmpty(t, c)
		}
	})

	t.Run("the broker's widening is held by the bucket", func(t *testing.T) {
		_, err := s.IAM().PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: aws.String("broker"), PolicyName: aws.String("wider"),
			PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}`)})
		if err != nil {
			t.Fatal(err)
		}
		r, err := c.Verify(ctx, s.probe(), silent)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range r.Surprises() {
			if strings.Contains(row.Does, "bots/*") || strings.Contains(row.Does, "list") {
				t.Errorf("the broker may %s", row.Does)
			}
		}
		if _, err := s.IAM().DeleteUserPolicy(ctx, &iam.DeleteUserPolicyInput{UserName: aws.String("broker"), PolicyName: aws.String("wider")}); err != nil {
			t.Fatal(err)
		}
	})

	t.Run("an interrupted apply goes on", func(t *testing.T) {
		c := s.open(t, s.config("agentkeys-two"))
		for step := 1; ; step++ {
			plan, err := c.Plan(ctx, silent)
			if err != nil {
				t.Fatal(err)
			}
			if plan.Empty() {
				if step < 5 {
					t.Errorf("done after %d steps", step)
				}
				break
			}
			cut, cancel := context.WithCancel(ctx)
			made := 0
			err = c.Apply(cut, plan, func(string) {
				if made++; made == 2 {
					cancel() // between two changes
				}
			})
			cancel()
			if err == nil && plan.Pending() > 1 {
				t.Fatal("the interrupted apply says that it is done")
			}
		}
	})

	t.Run("a plan grows old", func(t *testing.T) {
		text := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::agentkeys-two/inbound/*"}]}`
		put := func(policy string) {
			if _, err := s.S3(s.Root()).PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: aws.String("agentkeys-two"), Policy: &policy}); err != nil {
				t.Fatal(err)
			}
		}
		c := s.open(t, s.config("agentkeys-two"))
		put(text)
		plan, err := c.Plan(ctx, silent)
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, f := range plan.Findings {
			found = found || f.ID == "wildcard-principal"
		}
		if !found || plan.Pending() != 1 {
			t.Errorf("findings %v, %d to do", plan.Findings, plan.Pending())
		}
		put(strings.Replace(text, "inbound/*", "*", 1))
		if err := c.Apply(ctx, plan, silent); !errors.Is(err, ErrChanged) {
			t.Errorf("%v", err)
		}
		s.apply(t, c)
		mustBeEmpty(t, c)
	})

	t.Run("a bucket that was there", func(t *testing.T) {
		admin := s.S3(s.Root())
		for _, do := range []func() error{
			func() error { return s.PutBucket(ctx, "former-mail-3", false) },
			func() error {
				_, err := admin.PutBucketTagging(ctx, &s3.PutBucketTaggingInput{Bucket: aws.String("former-mail-3"), Tagging: &types.Tagging{TagSet: []types.Tag{{Key: aws.String("team"), Value: aws.String("mail")}}}})
				return err
			},
			func() error {
				_, err := admin.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("former-mail-3"), Key: aws.String("inbound/old"), Body: strings.NewReader("mail")})
				return err
			},
			func() error {
				_, err := admin.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: aws.String("former-mail-3"), Policy: aws.String(
					`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::000000000000:user/broker"},"Action":"s3:GetObject","Resource":"arn:aws:s3:::former-mail-3/*"}]}`)})
				return err
			},
		} {
			if err := do(); err != nil {
				t.Fatal(err)
			}
		}
		c := s.open(t, s.config("former-mail-3"))
		plan := s.apply(t, c)
		ids := map[string]bool{}
		for _, f := range plan.Findings {
			ids[f.ID] = true
		}
		if !plan.Imported || !ids["whole-bucket"] {
			t.Errorf("imported %v, findings %v", plan.Imported, ids)
		}
		mustBeEmpty(t, c)
		if _, err := s.S3(s.broker).GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("former-mail-3"), Key: aws.String("bots/x/inbound/y")}); !isDenied(err) {
			t.Errorf("the broker still reads: %v", err)
		}
		r, err := c.PlanRemoval(ctx, silent)
		if err != nil || r.bucket || len(r.Keep) == 0 {
			t.Errorf("%+v, %v", r, err)
		}
		if err := c.Destroy(ctx, r, true, silent); err != nil {
			t.Fatal(err)
		}
		if _, err := admin.HeadObject(ctx, &s3.HeadObjectInput{Bucket: aws.String("former-mail-3"), Key: aws.String("inbound/old")}); err != nil {
			t.Errorf("what was there before is gone: %v", err)
		}
	})

	t.Run("a role that is not ours", func(t *testing.T) {
		conf := s.config("agentkeys-four")
		if _, err := s.PutRole(ctx, versity.Role{Name: conf.Names.WalletRole(walletB), Trust: string(cloudpolicy.DataTrust(conf.Names, cloudpolicy.Bare(walletB)).Compact()), Policy: string(cloudpolicy.DataPermissions(conf.Names, cloudpolicy.Bare(walletB)).Compact())}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.open(t, conf).Plan(ctx, silent); !errors.Is(err, ErrNotOurs) {
			t.Errorf("%v", err)
		}
	})

	t.Run("destroy", func(t *testing.T) {
		admin := s.S3(s.Root())
		for range 3 { // versions, and a deletion
			if _, err := admin.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("agentkeys-one"), Key: aws.String("bots/x/credentials/y"), Body: strings.NewReader("x")}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := admin.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String("agentkeys-one"), Key: aws.String("bots/x/credentials/y")}); err != nil {
			t.Fatal(err)
		}
		s.apply(t, c) // another test took the provider and the user's policy away
		r, err := c.PlanRemoval(ctx, silent)
		if err != nil || !r.Objects || len(r.Remove) != 5 {
			t.Fatalf("%+v, %v", r, err)
		}
		if err := c.Destroy(ctx, r, false, silent); !errors.Is(err, ErrNotEmpty) {
			t.Fatalf("%v", err)
		}
		mustBeEmpty(t, c) // nothing was removed
		if err := c.Destroy(ctx, r, true, silent); err != nil {
			t.Fatal(err)
		}
		if r, err := c.PlanRemoval(ctx, silent); err != nil || !r.Empty() {
			t.Errorf("%+v, %v", r, err)
		}
		if s, err := c.bucketState(ctx); s != absent || err != nil {
			t.Errorf("the bucket is still there: %v, %v", s, err)
		}
	})
}

// mustHold asserts how many versions a bucket holds.
func mustHold(t *testing.T, s *server, bucket string, n int) {
	t.Helper()
	out, err := s.S3(s.Root()).ListObjectVersions(t.Context(), &s3.ListObjectVersionsInput{Bucket: &bucket})
	if err != nil {
		t.Fatal(err)
	}
	if got := len(out.Versions) + len(out.DeleteMarkers); got != n {
		for _, v := range out.Versions {
			t.Log(aws.ToString(v.Key))
		}
		t.Errorf("%s holds %d versions, not %d", bucket, got, n)
	}
}
