package cloud

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/cloudpolicy"
)

// Verdict is what the cloud did.
type Verdict string

const (
	Allowed  Verdict = "allowed"
	Denied   Verdict = "denied"
	Failed   Verdict = "failed"    // neither: the try itself went wrong
	NotTried Verdict = "not tried" // for want of a means; Detail says which
)

// Row is one try.
type Row struct {
	Who    string  `json:"who"`
	Does   string  `json:"does"`
	Want   Verdict `json:"want"`
	Got    Verdict `json:"got"`
	Detail string  `json:"detail,omitempty"`
}

// Surprise reports whether the cloud did otherwise than it should.
func (r Row) Surprise() bool { return r.Got != NotTried && r.Got != r.Want }

// Report is what Verify found.
type Report struct {
	Rows []Row `json:"rows"`
	// Findings are mistakes in the policies that are in force.
	Findings []cloudpolicy.Finding `json:"findings,omitempty"`
	// Left is what was written and could not be removed again.
	Left []string `json:"left,omitempty"`
}

// Surprises are the rows in which the cloud did otherwise than it should.
func (r Report) Surprises() (list []Row) {
	for _, row := range r.Rows {
		if row.Surprise() {
			list = append(list, row)
		}
	}
	return list
}

// NotTried are the rows that nobody tried.
func (r Report) NotTried() (list []Row) {
	for _, row := range r.Rows {
		if row.Got == NotTried {
			list = append(list, row)
		}
	}
	return list
}

// Good reports whether there is nothing to worry about: no surprise, no wrong
// policy, nothing left behind, and something was allowed at all.
func (r Report) Good() bool {
	allowed := false
	for _, row := range r.Rows {
		allowed = allowed || row.Got == Allowed && row.Want == Allowed
	}
	wrong := false
	for _, f := range r.Findings {
		wrong = wrong || f.Severity == cloudpolicy.Error
	}
	return allowed && !wrong && len(r.Surprises()) == 0 && len(r.Left) == 0
}

// Probe is what Verify tries with.
type Probe struct {
	// Wallets are two that the issuer knows; nothing of theirs is touched but
	// objects with names of this run.
	Wallets [2]agentkeys.Wallet
	// Token makes a web-identity token for STS.
	Token func(context.Context, agentkeys.Wallet) (string, error)
	// Untagged makes one of the first wallet without the wallet's tag; nil if
	// there is none, and then the trust policy that is in force is evaluated.
	Untagged func(context.Context) (string, error)
	// Broker are the broker's credentials; nil tries to take its role.
	Broker aws.CredentialsProvider
}

// Verify tries, in the cloud itself, what must be allowed and then what must be
// denied. What it writes it removes, also if it is interrupted.
func (c *Cloud) Verify(ctx context.Context, p Probe, tell func(string)) (Report, error) {
	v := &verifier{Cloud: c, probe: p, tell: tell, run: "agentkeys-verify-" + strings.ToLower(rand.Text()[:12]), written: map[string]bool{}}
	defer v.cleanUp()
	if err := v.seed(ctx); err != nil {
		return v.report, err
	}
	a, err := v.session(ctx, p.Wallets[0])
	if err != nil {
		return v.report, err
	}
	b, err := v.session(ctx, p.Wallets[1])
	if err != nil {
		return v.report, err
	}
	broker, why := v.broker(ctx)
	v.allowed(ctx, a, b, broker, why)
	v.denied(ctx, a, b, broker, why)
	v.untagged(ctx)
	if err := v.mail(ctx); err != nil {
		return v.report, err
	}
	if err := v.policies(ctx); err != nil {
		return v.report, err
	}
	v.cleanUp()
	return v.report, ctx.Err()
}

type verifier struct {
	*Cloud
	probe   Probe
	tell    func(string)
	run     string
	written map[string]bool // keys that may exist
	report  Report
}

func (v *verifier) own(i int) string { return "bots/" + v.probe.Wallets[i].String() + "/" }

// seed writes, as the operator, what the others are to try and read.
func (v *verifier) seed(ctx context.Context) error {
	v.tell("writing probe objects")
	for _, dir := range []string{v.own(0) + "inbound/", v.own(1) + "inbound/", v.own(1) + "credentials/", "inbound/", "refused/agentkeys-verify/"} {
		key := dir + v.run
		v.written[key] = true
		if err := v.put(ctx, v.s3, key, false); err != nil {
			return fmt.Errorf("writing %s as the operator: %w", key, err)
		}
	}
	return nil
}

// session takes the data role as a wallet.
func (v *verifier) session(ctx context.Context, w agentkeys.Wallet) (*s3.Client, error) {
	v.tell("taking the data role as " + w.String())
	token, err := v.probe.Token(ctx, w)
	if err != nil {
		return nil, fmt.Errorf("a token for %s: %w", w, err)
	}
	cred, err := v.assume(ctx, w, token)
	if err != nil {
		return nil, fmt.Errorf("taking %s as %s: %w", v.dataRole(w), w, err)
	}
	return v.s3As(cred), nil
}

func (v *verifier) assume(ctx context.Context, w agentkeys.Wallet, token string) (aws.CredentialsProvider, error) {
	out, err := v.stsAs(aws.AnonymousCredentials{}).AssumeRoleWithWebIdentity(ctx, &sts.AssumeRoleWithWebIdentityInput{
		RoleArn: aws.String(v.dataRole(w)), RoleSessionName: aws.String(w.String()), WebIdentityToken: &token, DurationSeconds: aws.Int32(900),
	})
	if err != nil {
		return nil, err
	}
	k := out.Credentials
	return credentials.NewStaticCredentialsProvider(aws.ToString(k.AccessKeyId), aws.ToString(k.SecretAccessKey), aws.ToString(k.SessionToken)), nil
}

func (v *verifier) broker(ctx context.Context) (client *s3.Client, why string) {
	if v.probe.Broker != nil {
		return v.s3As(v.probe.Broker), ""
	}
	if v.Compatible != "" {
		return nil, "no credentials of the broker were given"
	}
	v.tell("taking the broker's role")
	out, err := v.sts.AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: aws.String(v.Names.RoleARN(v.Names.BrokerRole)), RoleSessionName: aws.String("agentkeys-verify"), DurationSeconds: aws.Int32(900)})
	if err != nil {
		return nil, "these credentials may not take the broker's role, and no others were given"
	}
	k := out.Credentials
	return v.s3As(credentials.NewStaticCredentialsProvider(aws.ToString(k.AccessKeyId), aws.ToString(k.SecretAccessKey), aws.ToString(k.SessionToken))), ""
}

// try runs one row.
func (v *verifier) try(who, does string, want Verdict, do func() error) {
	v.tell(who + ": " + does)
	row := Row{Who: who, Does: does, Want: want, Got: Allowed}
	if err := do(); err != nil {
		row.Got, row.Detail = Failed, code(err)
		if isDenied(err) {
			row.Got = Denied
		} else if row.Detail == "" {
			row.Detail = err.Error()
		}
	}
	v.report.Rows = append(v.report.Rows, row)
}

func (v *verifier) skip(who, does string, want Verdict, why string) {
	v.report.Rows = append(v.report.Rows, Row{who, does, want, NotTried, why})
}

// isDenied tells a refusal from a mishap.
func isDenied(err error) bool {
	switch code(err) {
	case "AccessDenied", "Forbidden", "AccessDeniedException", "AllAccessDisabled", "NotAuthorized":
		return true
	}
	var status interface{ HTTPStatusCode() int }
	return errors.As(err, &status) && status.HTTPStatusCode() == http.StatusForbidden && code(err) != "SignatureDoesNotMatch" &&
		code(err) != "RequestTimeTooSkewed" && code(err) != "InvalidAccessKeyId" && code(err) != "ExpiredToken"
}

func (v *verifier) allowed(ctx context.Context, a, b, broker *s3.Client, why string) {
	for i, client := range []*s3.Client{a, b} {
		who := "wallet " + string("AB"[i])
		own := v.own(i) + "credentials/" + v.run + ".enc"
		v.written[own] = true
		v.try(who, "put own credential", Allowed, func() error { return v.put(ctx, client, own, true) })
		v.try(who, "get own credential", Allowed, func() error { return get(ctx, client, v.Names.Bucket, own) })
		v.try(who, "list own prefix", Allowed, func() error { return v.list(ctx, client, aws.String(v.own(i))) })
		v.try(who, "get own mail", Allowed, func() error { return get(ctx, client, v.Names.Bucket, v.own(i)+"inbound/"+v.run) })
	}
	v.try("wallet A", "delete own credential", Allowed, func() error { return v.remove(ctx, a, v.own(0)+"credentials/"+v.run+".enc") })
	if broker == nil {
		v.skip("broker", "get and list inbound/", Allowed, why)
		return
	}
	v.try("broker", "list inbound/", Allowed, func() error { return v.list(ctx, broker, aws.String("inbound/")) })
	v.try("broker", "get inbound/", Allowed, func() error { return get(ctx, broker, v.Names.Bucket, "inbound/"+v.run) })
}

func (v *verifier) denied(ctx context.Context, a, b, broker *s3.Client, why string) {
	bucket, other := v.Names.Bucket, v.own(1)
	try := func(who, does string, do func() error) { v.try(who, does, Denied, do) }
	write := func(who string, client *s3.Client, does, key string) {
		v.written[key] = true // should it succeed
		try(who, does, func() error { return v.put(ctx, client, key, false) })
	}
	const wa = "wallet A"
	try(wa, "get wallet B's credential", func() error { return get(ctx, a, bucket, other+"credentials/"+v.run) })
	try(wa, "get wallet B's mail", func() error { return get(ctx, a, bucket, other+"inbound/"+v.run) })
	write(wa, a, "put wallet B's credential", other+"credentials/"+v.run+".a")
	write(wa, a, "overwrite wallet B's credential", other+"credentials/"+v.run)
	try(wa, "delete wallet B's credential", func() error { return v.remove(ctx, a, other+"credentials/"+v.run) })
	try(wa, "list wallet B's prefix", func() error { return v.list(ctx, a, aws.String(other)) })
	copied := v.own(0) + "credentials/" + v.run + ".copy"
	v.written[copied] = true
	try(wa, "copy wallet B's credential", func() error {
		_, err := a.CopyObject(ctx, &s3.CopyObjectInput{Bucket: &bucket, Key: &copied, CopySource: aws.String(bucket + "/" + other + "credentials/" + v.run)})
		return err
	})
	try(wa, "get inbound/", func() error { return get(ctx, a, bucket, "inbound/"+v.run) })
	try(wa, "get refused/", func() error { return get(ctx, a, bucket, "refused/agentkeys-verify/"+v.run) })
	try(wa, "list refused/", func() error { return v.list(ctx, a, aws.String("refused/")) })
	try(wa, "list inbound/", func() error { return v.list(ctx, a, aws.String("inbound/")) })
	try(wa, "list without a prefix", func() error { return v.list(ctx, a, nil) })
	try(wa, "list bots/", func() error { return v.list(ctx, a, aws.String("bots/")) })
	try(wa, "list its prefix without the slash", func() error { return v.list(ctx, a, aws.String(strings.TrimSuffix(v.own(0), "/"))) })
	write(wa, a, "put inbound/", "inbound/"+v.run+".a")
	write(wa, a, "put its own mail", v.own(0)+"inbound/"+v.run+".a")
	write(wa, a, "put a neighbour's prefix", strings.TrimSuffix(v.own(0), "/")+"0/credentials/"+v.run)
	write(wa, a, "put its prefix in upper case", "bots/0x"+strings.ToUpper(v.probe.Wallets[0].String()[2:])+"/credentials/"+v.run)
	write(wa, a, "put at the root", v.run)
	if v.Compatible == "" { // elsewhere nothing expires by its tag
		tag := cloudpolicy.MailTag + "=" + cloudpolicy.MailTagValue
		tagged := v.own(0) + "credentials/" + v.run + ".tag"
		v.written[tagged] = true
		try(wa, "put own credential with the tag of mail", func() error {
			_, err := a.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &tagged, Tagging: &tag, Body: strings.NewReader("x")})
			return err
		})
		try("wallet B", "tag its own credential as mail", func() error {
			_, err := b.PutObjectTagging(ctx, &s3.PutObjectTaggingInput{Bucket: &bucket, Key: aws.String(other + "credentials/" + v.run + ".enc"), Tagging: &types.Tagging{
				TagSet: []types.Tag{{Key: aws.String(cloudpolicy.MailTag), Value: aws.String(cloudpolicy.MailTagValue)}},
			}})
			return err
		})
	}
	try(wa, "read the bucket's policy", func() error {
		_, err := a.GetBucketPolicy(ctx, &s3.GetBucketPolicyInput{Bucket: &bucket})
		return err
	})
	try("wallet B", "get wallet A's mail", func() error { return get(ctx, b, bucket, v.own(0)+"inbound/"+v.run) })
	if broker == nil {
		v.skip("broker", "bots/*/inbound/* and bots/*/credentials/*", Denied, why)
	} else {
		const who = "broker"
		try(who, "get bots/*/inbound/*", func() error { return get(ctx, broker, bucket, v.own(0)+"inbound/"+v.run) })
		try(who, "get bots/*/credentials/*", func() error { return get(ctx, broker, bucket, other+"credentials/"+v.run) })
		try(who, "get refused/", func() error { return get(ctx, broker, bucket, "refused/agentkeys-verify/"+v.run) })
		try(who, "list bots/", func() error { return v.list(ctx, broker, aws.String("bots/")) })
		try(who, "list without a prefix", func() error { return v.list(ctx, broker, nil) })
		write(who, broker, "put bots/*/inbound/*", v.own(0)+"inbound/"+v.run+".b")
		write(who, broker, "put inbound/", "inbound/"+v.run+".b")
		try(who, "delete bots/*/inbound/*", func() error { return v.remove(ctx, broker, v.own(0)+"inbound/"+v.run) })
	}
	anybody := v.s3As(aws.AnonymousCredentials{})
	try("anybody", "get wallet B's credential", func() error { return get(ctx, anybody, bucket, other+"credentials/"+v.run) })
	try("anybody", "list inbound/", func() error { return v.list(ctx, anybody, aws.String("inbound/")) })
}

// untagged tries to get a session without a wallet.
func (v *verifier) untagged(ctx context.Context) {
	const who, does = "a token without the tag", "take the data role"
	switch {
	case v.probe.Untagged != nil:
		token, err := v.probe.Untagged(ctx)
		if err != nil {
			v.skip(who, does, Denied, err.Error())
			return
		}
		v.try(who, does, Denied, func() error {
			_, err := v.assume(ctx, v.probe.Wallets[0], token)
			return err
		})
	case v.Compatible == VersityGW:
		v.skip(who, does, Denied, "VersityGW reads no tags: the subject alone decides")
	default:
		v.skip(who, does, Denied, "no such token was given; see the trust policy as it is in force, evaluated")
	}
}

// policies reads back what is in force, and looks at it as the linter and the
// evaluator do.
func (v *verifier) policies(ctx context.Context) error {
	plan, err := v.Plan(ctx, func(string) {})
	if err != nil {
		return err
	}
	v.report.Findings = plan.Findings
	have := map[string]string{}
	for _, ch := range plan.Changes {
		have[ch.Part] = ch.Have
		if ch.Action == Create || ch.Action == Update {
			v.report.Rows = append(v.report.Rows, Row{"policy in force", ch.Part + " is as planned", Allowed, Failed, "it differs: see cloud plan"})
		}
		if v.Compatible == "" && ch.Part == "role "+v.Names.DataRole+": trust" {
			v.trust(ch.Have)
		}
	}
	v.router(have)
	return nil
}

// trust evaluates the trust policy that is in force.
func (v *verifier) trust(text string) {
	doc, err := cloudpolicy.Parse([]byte(text))
	if err != nil {
		v.report.Rows = append(v.report.Rows, Row{"trust policy in force", "parse", Allowed, Failed, err.Error()})
		return
	}
	issuer, w := strings.TrimPrefix(v.Names.Issuer, "https://"), v.probe.Wallets[0].String()
	for _, t := range []struct {
		does string
		want Verdict
		tag  []string
	}{{"a token with the tag", Allowed, []string{w}}, {"a token without the tag", Denied, nil}, {"a token with an empty tag", Denied, []string{""}}, {"a token whose tag is no wallet", Denied, []string{"*"}}} {
		keys := map[string][]string{issuer + ":aud": {cloudpolicy.Audience}, issuer + ":sub": {cloudpolicy.SubjectPrefix + w}}
		if t.tag != nil {
			keys["aws:RequestTag/"+cloudpolicy.Tag], keys["aws:TagKeys"] = t.tag, []string{cloudpolicy.Tag}
		}
		d := cloudpolicy.Evaluate(cloudpolicy.Request{
			Caller: cloudpolicy.Caller{ARN: v.Names.ProviderARN()}, Action: "sts:AssumeRoleWithWebIdentity", Resource: v.dataRole(v.probe.Wallets[0]), Owner: v.Names.Account, Context: keys,
		}, cloudpolicy.Policies{Resource: &doc})
		got := Denied
		if d.Verdict == cloudpolicy.Allowed {
			got = Allowed
		}
		v.report.Rows = append(v.report.Rows, Row{"trust policy in force", t.does, t.want, got, "evaluated"})
	}
}

func (v *verifier) put(ctx context.Context, client *s3.Client, key string, create bool) error {
	in := &s3.PutObjectInput{Bucket: &v.Names.Bucket, Key: &key, Body: strings.NewReader("written by agentkeys cloud verify, to be removed by it\n")}
	if create {
		in.IfNoneMatch = aws.String("*")
	}
	_, err := client.PutObject(ctx, in)
	return err
}

func (v *verifier) remove(ctx context.Context, client *s3.Client, key string) error {
	_, err := client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &v.Names.Bucket, Key: &key})
	return err
}

func (v *verifier) list(ctx context.Context, client *s3.Client, prefix *string) error {
	_, err := client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &v.Names.Bucket, Prefix: prefix, MaxKeys: aws.Int32(2)})
	return err
}

func get(ctx context.Context, client *s3.Client, bucket, key string) error {
	out, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err == nil {
		_, err = io.Copy(io.Discard, io.LimitReader(out.Body, 1<<10))
		_ = out.Body.Close()
	}
	return err
}

// cleanUp removes, as the operator, every version of what may have been
// written. It does so even if ctx of the run has ended.
func (v *verifier) cleanUp() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if len(v.written) > 0 {
		v.tell("removing probe objects")
	}
	for key := range v.written {
		if err := v.removeVersions(ctx, key); err != nil {
			v.report.Left = append(v.report.Left, key)
		}
		delete(v.written, key)
	}
}

// removeVersions removes all there is of one key.
func (c *Cloud) removeVersions(ctx context.Context, key string) error {
	return c.eachVersion(ctx, key, func(id types.ObjectIdentifier) error {
		if aws.ToString(id.Key) != key {
			return nil // a longer one
		}
		_, err := c.s3.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &c.Names.Bucket, Key: id.Key, VersionId: id.VersionId})
		return err
	})
}

// eachVersion calls do for every version and deletion below prefix.
func (c *Cloud) eachVersion(ctx context.Context, prefix string, do func(types.ObjectIdentifier) error) error {
	in := &s3.ListObjectVersionsInput{Bucket: &c.Names.Bucket, Prefix: &prefix}
	for {
		page, err := c.s3.ListObjectVersions(ctx, in)
		if err != nil {
			return err
		}
		for _, o := range page.Versions {
			if err := do(types.ObjectIdentifier{Key: o.Key, VersionId: o.VersionId}); err != nil {
				return err
			}
		}
		for _, o := range page.DeleteMarkers {
			if err := do(types.ObjectIdentifier{Key: o.Key, VersionId: o.VersionId}); err != nil {
				return err
			}
		}
		if !aws.ToBool(page.IsTruncated) {
			return nil
		}
		in.KeyMarker, in.VersionIdMarker = page.NextKeyMarker, page.NextVersionIdMarker
	}
}
