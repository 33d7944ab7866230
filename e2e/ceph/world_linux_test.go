package ceph_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/awssts"
	"github.com/litentry/agentkeys/internal/cloudpolicy"
	"github.com/litentry/agentkeys/internal/s3blob"
	"github.com/litentry/agentkeys/internal/vault"
)

const (
	bucket = "agentkeys-data"
	canary = "CANARY-" // begins every object that is somebody's
)

// world is a cloud with two wallets that have something to lose.
type world struct {
	*issuer
	*cluster
	names   cloudpolicy.Names
	admin   aws.Credentials
	a, b    agentkeys.Wallet
	wallets []agentkeys.Wallet
	probes  []probe
}

// probe is one thing that was tried.
type probe struct {
	group, what, want, got string
	ok                     bool
}

func (w *world) note(t *testing.T, group, what, want, got string, ok bool) {
	t.Helper()
	w.probes = append(w.probes, probe{group, what, want, got, ok})
	if !ok {
		t.Errorf("%s: %s: %s, not %s", group, what, got, want)
	}
}

func (w *world) iam() *iam.Client {
	return iam.New(iam.Options{Region: region, BaseEndpoint: aws.String(endpoint), Credentials: w.administrator()})
}

func (w *world) s3() *s3.Client {
	return s3.New(s3.Options{Region: region, BaseEndpoint: aws.String(endpoint), Credentials: w.administrator(), UsePathStyle: true,
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired})
}

func (w *world) administrator() aws.CredentialsProvider {
	return aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return w.admin, nil })
}

func (w *world) provision(t *testing.T) {
	t.Helper()
	w.admin = aws.Credentials{AccessKeyID: accessKey, SecretAccessKey: secretKey}
	w.names = cloudpolicy.Names{
		Partition: "aws", Account: account, Region: region, Bucket: bucket, Issuer: issuerURL,
		DataRole: "agentkeys", BrokerRole: "agentkeys-broker", RouterRole: "agentkeys-router", Broker: "ecs-tasks.amazonaws.com", Plaintext: true,
		SES: cloudpolicy.SES{Region: region, Account: account, RuleSet: "set", Rule: "rule"},
	}
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v\n%s", what, err, w.log("radosgw"))
		}
	}
	ctx, c := t.Context(), w.iam()
	_, err := c.CreateOpenIDConnectProvider(ctx, &iam.CreateOpenIDConnectProviderInput{
		Url: aws.String(issuerURL), ClientIDList: []string{cloudpolicy.Audience}, ThumbprintList: w.thumbprints,
	})
	must("register the issuer", err)
	unrolled := cloudpolicy.Unrolled(w.wallets...)
	_, err = c.CreateRole(ctx, &iam.CreateRoleInput{
		RoleName: aws.String(w.names.DataRole), AssumeRolePolicyDocument: aws.String(string(trust(w.names, unrolled).Compact())),
	})
	must("make the role", err)
	_, err = c.PutRolePolicy(ctx, &iam.PutRolePolicyInput{
		RoleName: aws.String(w.names.DataRole), PolicyName: aws.String("agentkeys"),
		PolicyDocument: aws.String(string(cloudpolicy.DataPermissions(w.names, unrolled).Compact())),
	})
	must("give the role its policy", err)
	_, err = w.s3().CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(bucket)})
	must("make the bucket", err)
	w.restore(t)
}

// trust is the data role's, with what Ceph wants more: it reads every member of
// the tags claim as a tag, so that transitive_tag_keys has to be among the keys
// that a token may bring.
func trust(n cloudpolicy.Names, f cloudpolicy.Form) cloudpolicy.Document {
	d := cloudpolicy.DataTrust(n, f)
	c := d.Statements[0].Condition
	for i := range c {
		if c[i].Operator == "ForAllValues:StringEquals" && c[i].Key == "aws:TagKeys" {
			c[i].Values = []string{cloudpolicy.Tag, "transitive_tag_keys"}
		}
	}
	return d
}

// putBucketPolicy is the other half of the double hold.
func (w *world) putBucketPolicy(t *testing.T, d cloudpolicy.Document) {
	t.Helper()
	_, err := w.s3().PutBucketPolicy(t.Context(), &s3.PutBucketPolicyInput{Bucket: aws.String(bucket), Policy: aws.String(string(d.Compact()))})
	if err != nil {
		t.Fatalf("bucket policy: %v\n%s", err, w.log("radosgw"))
	}
}

func prefix(w agentkeys.Wallet) string { return "bots/" + w.String() + "/" }

func keysOf(w agentkeys.Wallet) []string {
	return []string{prefix(w) + "credentials/openrouter.enc", prefix(w) + "inbound/message-1"}
}

const arrived = "inbound/message-2"

func (w *world) everything() []string {
	return append(append(keysOf(w.a), keysOf(w.b)...), arrived)
}

// restore puts everybody's objects back.
func (w *world) restore(t *testing.T) {
	t.Helper()
	for _, k := range w.everything() {
		if a := send(t, w.admin, bucket, request{method: "PUT", key: k, body: canary + k}); !a.ok() {
			t.Fatalf("put %s as the administrator: %d %s", k, a.status, a.body)
		}
	}
}

// harmed are the objects that are not what restore wrote.
func (w *world) harmed(t *testing.T) []string {
	t.Helper()
	var bad []string
	for _, k := range w.everything() {
		if a := send(t, w.admin, bucket, request{method: "GET", key: k}); a.body != canary+k {
			bad = append(bad, k)
		}
	}
	return bad
}

func (w *world) sessions(t *testing.T, source awssts.Source) *awssts.Sessions {
	t.Helper()
	s, err := awssts.New(awssts.Config{Region: region, Endpoint: endpoint, RoleARN: w.names.RoleARN(w.names.DataRole)}, source)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func open(t *testing.T, creds func(agentkeys.Wallet) aws.CredentialsProvider) *s3blob.Bucket {
	t.Helper()
	b, err := s3blob.Open(s3blob.Config{Region: region, Bucket: bucket, Endpoint: endpoint, PathStyle: true}, creds)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func key(t *testing.T, w agentkeys.Wallet, service string) vault.Key {
	t.Helper()
	s, err := agentkeys.ParseService(service)
	if err != nil {
		t.Fatal(err)
	}
	return vault.CredentialKey(w, s)
}

func said(err error) string {
	if err == nil {
		return "allowed"
	}
	return err.Error()
}

// table prints what was tried.
func (w *world) table(t *testing.T) {
	var b strings.Builder
	type count struct{ all, allowed, denied, harmless, known, surprises int }
	counts := map[string]*count{}
	var groups []string
	fmt.Fprintf(&b, "%s\n", w.version)
	for _, p := range w.probes {
		mark := "as wanted"
		c := counts[p.group]
		if c == nil {
			c = &count{}
			counts[p.group], groups = c, append(groups, p.group)
		}
		c.all++
		switch {
		case !p.ok:
			mark = "SURPRISE"
			c.surprises++
		case p.want == "allowed":
			c.allowed++
		case strings.HasSuffix(p.want, "(known)"):
			c.known++
		case p.want == "no harm":
			c.harmless++
		default:
			c.denied++
		}
		fmt.Fprintf(&b, "%-9s | %-30s | %-15s | %s → %.60s\n", mark, p.group, p.want, p.what, p.got)
	}
	total := count{}
	fmt.Fprintf(&b, "\n%-30s %7s %7s %7s %7s %7s %9s\n", "", "probes", "allowed", "denied", "no harm", "known", "surprises")
	line := func(name string, c count) {
		fmt.Fprintf(&b, "%-30s %7d %7d %7d %7d %7d %9d\n", name, c.all, c.allowed, c.denied, c.harmless, c.known, c.surprises)
	}
	for _, g := range groups {
		c := *counts[g]
		line(g, c)
		total.all, total.allowed, total.denied = total.all+c.all, total.allowed+c.allowed, total.denied+c.denied
		total.harmless, total.known, total.surprises = total.harmless+c.harmless, total.known+c.known, total.surprises+c.surprises
	}
	line("all", total)
	fmt.Print(b.String())
}
