package cloudpolicy

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The table principal × action × object × tag, with the verdicts by a rule that
// is written here from the table of principals and knows nothing of policy documents.

const (
	a = "0xa1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1"
	b = "0xb2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2"
)

type who struct {
	name   string
	caller Caller
	role   string              // whose identity policy applies
	ctx    map[string][]string // what the caller brings
}

func callers(n Names) []who {
	session := func(account, role string) Caller {
		return Caller{ARN: "arn:aws:sts::" + account + ":assumed-role/" + role + "/session"}
	}
	arn := func(account, role string) map[string][]string {
		return map[string][]string{"aws:PrincipalArn": {"arn:aws:iam::" + account + ":role/" + role}, "aws:PrincipalAccount": {account}}
	}
	ses := func(account, source string) map[string][]string {
		return map[string][]string{"aws:SourceAccount": {account}, "aws:SourceArn": {source}, "aws:PrincipalServiceName": {"ses.amazonaws.com"}}
	}
	return []who{
		{"data", session(n.Account, n.DataRole), "data", arn(n.Account, n.DataRole)},
		{"broker", session(n.Account, n.BrokerRole), "broker", arn(n.Account, n.BrokerRole)},
		{"router", session(n.Account, n.RouterRole), "router", arn(n.Account, n.RouterRole)},
		{"ses", Caller{Service: "ses.amazonaws.com"}, "", ses(n.SES.Account, n.mailRule())},
		{"ses of another account", Caller{Service: "ses.amazonaws.com"}, "", ses(otherAccount, strings.ReplaceAll(n.mailRule(), n.SES.Account, otherAccount))},
		{"ses, another rule", Caller{Service: "ses.amazonaws.com"}, "", ses(n.SES.Account, strings.ReplaceAll(n.mailRule(), "rule/inbound", "rule/x"))},
		{"ses, no source", Caller{Service: "ses.amazonaws.com"}, "", nil},
		{"lambda itself", Caller{Service: "lambda.amazonaws.com"}, "", ses(n.SES.Account, n.mailRule())},
		{"anybody", Caller{}, "", nil},
		{"another account's role", session(otherAccount, n.DataRole), "data", arn(otherAccount, n.DataRole)},
		{"another role", session(n.Account, "stranger"), "", arn(n.Account, "stranger")},
	}
}

var tags = map[string][]string{
	"A": {a}, "B": {b}, "absent": nil, "empty": {""}, "upper case": {strings.ToUpper(a[2:])}, "0x and upper case": {"0x" + strings.ToUpper(a[2:])},
	"with a slash": {"0x/../" + b[6:]}, "A's with a slash": {a + "/credentials"}, "two": {a, b}, "star": {"*"}, "longer": {a + "1"}, "shorter": {a[:41]}, "no digits": {"0x" + strings.Repeat("g", 40)}, "0x twice": {"0x0x" + strings.Repeat("a", 38)},
}

// objects are keys; each also serves as the prefix of a listing.
var objects = []string{
	"bots/" + a + "/inbound/m1", "bots/" + a + "/credentials/openrouter.enc", "bots/" + b + "/inbound/m1", "bots/" + b + "/credentials/openrouter.enc",
	"bots/" + a + "/inbound/", "bots/" + a + "/credentials/", "bots/" + a + "/", "bots/" + a, "bots/" + a + "/other/x", "bots/" + a + "/credentialsx", "bots/" + a + "/inbound",
	"bots/" + a[:41] + "/credentials/x", "bots/" + a[:41], "bots/" + a + "1/credentials/x", "bots/" + a + "-x/inbound/m1",
	"bots/0x" + strings.ToUpper(a[2:]) + "/credentials/x", "bots/" + strings.ToUpper(a[2:]) + "/credentials/x", "Bots/" + a + "/credentials/x", "bots/" + a + "/Credentials/x",
	"bots/" + a + "/credentials/../../" + b + "/credentials/x", "bots/./" + a + "/credentials/x", "bots/../inbound/m1", "bots/" + a + "/../" + b + "/inbound/m1",
	"bots//credentials/x", "bots//inbound/m1", "/bots/" + a + "/credentials/x", "bots/*/credentials/x", "bots/" + a + "%2Fcredentials/x", "bots/" + ownVariable + "/credentials/x",
	"refused/several-wallets/m1", "refused/", "refused", "refusedx/m1", "Refused/x/m1", "bots/" + a + "/refused/m1",
	"bots/", "bots", "inbound/m1", "inbound/", "inbound", "inbound/AMAZON_SES_SETUP_NOTIFICATION", "Inbound/m1", "inboundx/m1", "inbound/../bots/" + a + "/inbound/m1", "x", "credentials/x", a,
}

var objectOps = []string{
	"s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:GetObjectVersion", "s3:DeleteObjectVersion", "s3:PutObjectAcl", "s3:GetObjectAcl", "s3:PutObjectTagging",
	"s3:PutObjectVersionTagging", "s3:DeleteObjectTagging",
	"s3:BypassGovernanceRetention", "s3:RestoreObject",
}

var bucketOps = []string{
	"s3:PutBucketPolicy", "s3:GetBucketPolicy", "s3:DeleteBucketPolicy", "s3:DeleteBucket", "s3:PutBucketAcl", "s3:PutBucketPublicAccessBlock", "s3:ListBucketVersions",
	"s3:PutLifecycleConfiguration", "s3:PutBucketVersioning", "s3:ListBucketMultipartUploads",
}

var (
	canonicalWallet = regexp.MustCompile(`^0x[0-9a-f]{40}$`)
	anyInbox        = regexp.MustCompile(`^bots/.*/inbound/`)
	walletsInbox    = regexp.MustCompile(`^bots/0x.{40}/inbound/`) // a pattern says no more
)

// may is the rule. A listing's key is its prefix; hasPrefix tells
// an empty one from none.
func may(n Names, caller, action, key string, hasPrefix bool, tag []string) bool {
	in := func(dirs ...string) bool {
		return slices.ContainsFunc(dirs, func(d string) bool { return strings.HasPrefix(key, d) })
	}
	switch caller {
	case "data":
		if len(tag) != 1 || !canonicalWallet.MatchString(tag[0]) {
			return false
		}
		own := "bots/" + tag[0] + "/"
		switch action {
		case "s3:ListBucket":
			return hasPrefix && in(own)
		case "s3:GetObject":
			return in(own+"inbound/", own+"credentials/")
		case "s3:PutObject", "s3:DeleteObject":
			return in(own + "credentials/")
		}
	case "broker":
		return action == "s3:GetObject" && in("inbound/") || action == "s3:ListBucket" && hasPrefix && in("inbound/")
	case "router":
		return action == "s3:GetObject" && in("inbound/") || action == "s3:ListBucket" && hasPrefix && in("inbound/") ||
			action == "s3:PutObject" && (anyInbox.MatchString(key) || in("refused/")) ||
			action == "s3:PutObjectTagging" && (walletsInbox.MatchString(key) || in("refused/")) ||
			action == "s3:DeleteObject" && in("inbound/") && n.Mail.RemoveSource
	case "ses":
		return action == "s3:PutObject" && in("inbound/")
	}
	return false
}

type cell struct {
	name    string
	request Request
	role    string
	want    bool
	tag     string
}

// cells are the whole table.
func cells(n Names) []cell {
	var list []cell
	for _, c := range callers(n) {
		for _, tagName := range slices.Sorted(maps.Keys(tags)) {
			tag := tags[tagName]
			if c.caller.account() == "" && tagName != "absent" {
				continue // who is no principal of an account has no tags
			}
			if c.name != "data" && !slices.Contains([]string{"absent", "A", "B"}, tagName) {
				continue // no policy looks at anybody else's tags
			}
			add := func(action, arn, key string, hasPrefix bool, more map[string][]string) {
				ctx := map[string][]string{"aws:SecureTransport": {"true"}}
				maps.Copy(ctx, c.ctx)
				maps.Copy(ctx, more)
				if tag != nil && c.caller.account() != "" {
					ctx[principalTag] = tag
				}
				list = append(list, cell{
					name:    fmt.Sprintf("%s (tag %s): %s %q", c.name, tagName, action, key),
					request: Request{c.caller, action, arn, n.Account, ctx}, role: c.role, tag: tagName,
					want: may(n, c.name, action, key, hasPrefix, tag),
				})
			}
			for _, op := range objectOps {
				for _, key := range objects {
					add(op, n.objects(key), key, false, nil)
				}
			}
			for _, op := range bucketOps {
				add(op, n.bucket(), "", false, nil)
			}
			add("s3:ListBucket", n.bucket(), "", false, nil)
			for _, prefix := range append(objects, "") {
				add("s3:ListBucket", n.bucket(), prefix, true, map[string][]string{"s3:prefix": {prefix}})
			}
		}
	}
	return list
}

func identityOf(n Names, f Form) map[string][]Document {
	return map[string][]Document{"data": {DataPermissions(n, f)}, "broker": {BrokerPermissions(n)}, "router": {RouterPermissions(n)}}
}

func policiesFor(c cell, identity map[string][]Document, bucket Document) Policies {
	return Policies{Identity: identity[c.role], Resource: &bucket}
}

// walk evaluates every cell and asserts the allowed ones first.
func walk(t *testing.T, list []cell, policies func(cell) Policies) {
	t.Helper()
	slices.SortStableFunc(list, func(x, y cell) int {
		switch {
		case x.want == y.want:
			return 0
		case x.want:
			return -1
		}
		return 1
	})
	allowed, wrong := 0, 0
	for _, c := range list {
		d := Evaluate(c.request, policies(c))
		if (d.Verdict == Allowed) != c.want {
			if wrong++; wrong <= 20 {
				t.Errorf("%s: %s by %v", c.name, d.Verdict, d.By)
			}
		}
		if c.want {
			allowed++
		}
	}
	t.Logf("%d cells, %d allowed, %d wrong", len(list), allowed, wrong)
	if allowed < 40 {
		t.Errorf("only %d cells are allowed: a table that allows nothing proves nothing", allowed)
	}
}

func TestTruthTable(t *testing.T) {
	t.Parallel()
	for name, k := range map[string]struct {
		n Names
		f Form
	}{"variables": {testNames, Variables()}, "variables, with a queue": {mailNames, Variables()}, "unrolled, with a queue": {mailNames, Unrolled(walletA, walletB)}} {
		t.Run(name, func(t *testing.T) {
			identity, bucket := identityOf(k.n, k.f), BucketPolicy(k.n, k.f)
			walk(t, cells(k.n), func(c cell) Policies { return policiesFor(c, identity, bucket) })
		})
	}
}

// TestEitherHalfHolds shows that everybody is held down twice: the table stays
// as it is if every role is allowed everything, and also if the bucket denies
// nothing.
func TestEitherHalfHolds(t *testing.T) {
	t.Parallel()
	n := mailNames
	everything := Document{Version: Version, Statements: []Statement{{Effect: Allow, Action: []string{"*"}, Resource: []string{"*"}}}}
	for name, f := range map[string]Form{"variables": Variables(), "unrolled": Unrolled(walletA, walletB)} {
		bucket := BucketPolicy(n, f)
		t.Run(name+", roles allowed everything", func(t *testing.T) {
			wide := map[string][]Document{"data": {everything}, "broker": {everything}, "router": {everything}}
			list := slices.DeleteFunc(cells(n), func(c cell) bool {
				// AWS has one value to a tag. Where there could be two, wallets are written
				// out, and each value's Deny applies.
				return f.wallets == nil && c.tag == "two"
			})
			walk(t, list, func(c cell) Policies { return policiesFor(c, wide, bucket) })
		})
		t.Run(name+", bucket denies nothing", func(t *testing.T) {
			// A malformed tag is for the trust policy and the bucket to stop: the
			// role's own policy takes a tag as it comes.
			list := slices.DeleteFunc(cells(n), func(c cell) bool {
				return !slices.Contains([]string{"A", "B", "absent", "two"}, c.tag)
			})
			lax := bucket
			lax.Statements = lax.Statements[len(lax.Statements)-1:]
			walk(t, list, func(c cell) Policies { return policiesFor(c, identityOf(n, f), lax) })
		})
	}
}

func TestBareForm(t *testing.T) {
	t.Parallel()
	n := testNames
	n.Broker = "arn:aws:iam::123456789012:user/broker"
	bucket := BucketPolicy(n, Bare(walletA, walletB))
	for _, half := range []string{"both", "identity alone"} {
		var list []cell
		policies := map[string]Policies{}
		for name, w := range map[string]string{"A": a, "B": b} {
			for _, c := range cells(n) {
				if c.role != "data" && c.role != "broker" || c.tag != name || strings.HasPrefix(c.name, "another") {
					continue
				}
				wallet := walletA
				if name == "B" {
					wallet = walletB
				}
				p := Policies{Identity: []Document{DataPermissions(n, Bare(wallet))}, Resource: &bucket}
				c.request.Caller.ARN = "arn:aws:sts::123456789012:assumed-role/" + n.WalletRole(wallet) + "/s"
				if c.role == "broker" {
					c.request.Caller.ARN = n.Broker
					p.Identity = []Document{BrokerPermissions(n)}
				}
				if half == "identity alone" {
					p.Resource = nil
				}
				c.request.Context = maps.Clone(c.request.Context)
				delete(c.request.Context, principalTag) // no session has tags there
				delete(c.request.Context, "aws:PrincipalArn")
				c.name = half + ": " + w + " " + c.name
				policies[c.name] = p
				list = append(list, c)
			}
		}
		walk(t, list, func(c cell) Policies { return policies[c.name] })
	}
}

// TestExplicitDenies looks for what must be said in so many words,
// also where other statements say as much.
func TestExplicitDenies(t *testing.T) {
	n := testNames
	service := []string{n.objects("bots/*/inbound/*"), n.objects("bots/*/credentials/*")}
	said := func(d Document, ok func(Statement) bool) bool {
		return slices.ContainsFunc(d.Statements, func(s Statement) bool { return s.Effect == Deny && s.about("s3:*") && ok(s) })
	}
	if !said(BrokerPermissions(n), func(s Statement) bool { return slices.Equal(s.Resource, service) && s.Condition == nil }) {
		t.Error("the broker's own policy does not deny it service mail and credentials")
	}
	is := func(s Statement, role string) bool {
		values, ok := s.bound("aws:PrincipalArn")
		return ok && slices.Equal(values, []string{n.RoleARN(role)})
	}
	bucket := BucketPolicy(n, Variables())
	if !said(bucket, func(s Statement) bool {
		return slices.Equal(s.Resource, service) && is(s, n.BrokerRole) && len(s.Condition) == 1
	}) {
		t.Error("the bucket does not deny the broker service mail and credentials")
	}
	if !said(bucket, func(s Statement) bool {
		return is(s, n.DataRole) && len(s.Condition) == 2 && slices.ContainsFunc(s.Condition, func(c Condition) bool {
			return c.Operator == "Null" && c.Key == principalTag && slices.Equal(c.Values, []string{"true"})
		})
	}) {
		t.Error("the bucket does not deny sessions without a wallet")
	}
	for _, s := range DataPermissions(n, Variables()).Statements {
		if !slices.ContainsFunc(s.Condition, func(c Condition) bool { return c.Operator == "Null" && c.Key == principalTag }) {
			t.Errorf("%s has no Null condition", s.SID)
		}
	}
}

func TestNothingWithoutTLS(t *testing.T) {
	t.Parallel()
	identity, bucket := identityOf(testNames, Variables()), BucketPolicy(testNames, Variables())
	for i, c := range cells(testNames) {
		if i%3 > 0 && !c.want {
			continue
		}
		c.request.Context["aws:SecureTransport"] = []string{"false"}
		if d := Evaluate(c.request, policiesFor(c, identity, bucket)); d.Verdict != ExplicitDenied {
			t.Errorf("%s: %s", c.name, d.Verdict)
		}
	}
}

// oracleSample is one in how many of the denied cells the oracle is asked: it
// takes a millisecond each. AGENTKEYS_ORACLE=whole asks it all.
func oracleSample() int {
	if os.Getenv("AGENTKEYS_ORACLE") == "whole" {
		return 1
	}
	return 29
}

// TestTruthTableAgainstOracle asks the independent implementation for the
// verdict of every allowed cell, and of some or all of those denied.
func TestTruthTableAgainstOracle(t *testing.T) {
	t.Parallel()
	n := mailNames
	list, sample := cells(n), oracleSample()
	for at, name := range []string{"variables", "unrolled"} { // of each form other cells
		f := []Form{Variables(), Unrolled(walletA, walletB)}[at]
		identity, bucket := identityOf(n, f), BucketPolicy(n, f)
		var questions []question
		var asked []cell
		for i, c := range list {
			if i%sample != at%sample && !c.want {
				continue
			}
			if strings.ContainsAny(c.request.Resource[13:], "*$") {
				continue // to the oracle a resource with a star is a question about many
			}
			if c.role != "data" && c.tag != "A" && c.tag != "absent" {
				continue // no policy looks at their tags, and the oracle takes its time
			}
			asked = append(asked, c)
			questions = append(questions, questionOf(c.request, policiesFor(c, identity, bucket)))
		}
		wrong := 0
		for i, v := range askOracle(t, questions) {
			c := asked[i]
			if got := Evaluate(c.request, policiesFor(c, identity, bucket)).Verdict; (v == Allowed) != c.want || v != got {
				if wrong++; wrong <= 10 {
					t.Errorf("%s, %s: the oracle says %s, we say %s", name, c.name, v, got)
				}
			}
		}
		t.Logf("%s: %d cells asked, %d wrong", name, len(asked), wrong)
	}
}

func TestTrustTable(t *testing.T) {
	t.Parallel()
	n := testNames
	providers := map[string]string{"right": n.ProviderARN(), "another": "arn:aws:iam::123456789012:oidc-provider/other.example.com"}
	auds := map[string][]string{"right": {Audience}, "another": {"broker"}, "absent": nil, "longer": {Audience + ".evil"}, "two": {Audience, "x"}}
	subs := map[string][]string{
		"wallet": {SubjectPrefix + a}, "no wallet": {SubjectPrefix + "x"}, "star": {SubjectPrefix + "*"}, "prefix": {"x" + SubjectPrefix + a}, "suffix": {SubjectPrefix + a + "1"},
		"absent": nil, "empty": {""}, "mail": {"a@example.com"},
	}
	keys := map[string][]string{"only it": {Tag}, "another too": {Tag, "admin"}, "another": {"admin"}, "none": nil}
	var questions []question
	var want []bool
	var names []string
	for _, form := range []struct {
		name string
		f    Form
	}{{"variables", Variables()}, {"bare", Bare(walletA)}} {
		doc := DataTrust(n, form.f)
		for provider, arn := range providers {
			for aud, audience := range auds {
				for sub, subject := range subs {
					for tagName, tag := range tags {
						for keyName, key := range keys {
							for _, action := range []string{"sts:AssumeRoleWithWebIdentity", "sts:TagSession", "sts:AssumeRole", "sts:AssumeRoleWithSAML"} {
								ctx := map[string][]string{}
								for k, v := range map[string][]string{"broker.example.com:aud": audience, "broker.example.com:sub": subject, requestTag: tag, "aws:TagKeys": key} {
									if v != nil {
										ctx[k] = v
									}
								}
								r := Request{Caller{ARN: arn}, action, n.RoleARN(n.DataRole), n.Account, ctx}
								ok := provider == "right" && aud == "right" && sub == "wallet" && (action == "sts:AssumeRoleWithWebIdentity" || action == "sts:TagSession")
								if form.name == "variables" {
									ok = ok && keyName == "only it" && len(tag) == 1 && canonicalWallet.MatchString(tag[0])
								}
								name := strings.Join([]string{form.name, provider, aud, sub, tagName, keyName, action}, ", ")
								if got := Evaluate(r, Policies{Resource: &doc}).Verdict; (got == Allowed) != ok {
									t.Errorf("%s: %s", name, got)
								}
								if aud == "right" || sub == "wallet" { // a third of them are questions enough
									questions, want, names = append(questions, questionOf(r, Policies{Resource: &doc})), append(want, ok), append(names, name)
								}
							}
						}
					}
				}
			}
		}
	}
	allowed := 0
	for i, v := range askOracle(t, questions) {
		if (v == Allowed) != want[i] {
			t.Errorf("%s: the oracle says %s", names[i], v)
		}
		if want[i] {
			allowed++
		}
	}
	t.Logf("%d cells asked, %d allowed", len(questions), allowed)
	if allowed == 0 {
		t.Error("nothing is allowed")
	}
}

func TestOtherTrusts(t *testing.T) {
	n := testNames
	ecs := n
	ecs.Broker = "ecs-tasks.amazonaws.com"
	for _, c := range []struct {
		name   string
		doc    Document
		caller Caller
		ctx    map[string][]string
		want   bool
	}{
		{"the broker's host", BrokerTrust(n), Caller{ARN: "arn:aws:sts::123456789012:assumed-role/broker-host/i-1"}, nil, true},
		{"another role", BrokerTrust(n), Caller{ARN: "arn:aws:sts::123456789012:assumed-role/agentkeys-data/s"}, nil, false},
		{"another account's host", BrokerTrust(n), Caller{ARN: "arn:aws:sts::999999999999:assumed-role/broker-host/i-1"}, nil, false},
		{"ECS for us", BrokerTrust(ecs), Caller{Service: "ecs-tasks.amazonaws.com"}, map[string][]string{"aws:SourceAccount": {n.Account}}, true},
		{"ECS for another", BrokerTrust(ecs), Caller{Service: "ecs-tasks.amazonaws.com"}, map[string][]string{"aws:SourceAccount": {otherAccount}}, false},
		{"ECS for nobody", BrokerTrust(ecs), Caller{Service: "ecs-tasks.amazonaws.com"}, nil, false},
		{"Lambda", RouterTrust(n), Caller{Service: "lambda.amazonaws.com"}, nil, true},
		{"EC2", RouterTrust(n), Caller{Service: "ec2.amazonaws.com"}, nil, false},
		{"anybody", RouterTrust(n), Caller{}, nil, false},
	} {
		everything := Document{Version: Version, Statements: []Statement{{Effect: Allow, Action: []string{"*"}, Resource: []string{"*"}}}}
		d := Evaluate(Request{c.caller, "sts:AssumeRole", n.RoleARN("r"), n.Account, c.ctx}, Policies{Identity: []Document{everything}, Resource: &c.doc})
		if (d.Verdict == Allowed) != c.want {
			t.Errorf("%s: %s", c.name, d.Verdict)
		}
	}
}

func TestRenderingIsDeterministicAndCanonical(t *testing.T) {
	for _, f := range []Form{Variables(), Unrolled(walletA, walletB), Bare(walletA)} {
		for i, d := range All(testNames, f) {
			again := All(testNames, f)[i]
			if string(d.Indented()) != string(again.Indented()) {
				t.Errorf("%s differs from itself", d.Name)
			}
			read, err := Parse(d.Indented())
			if err != nil || string(read.Compact()) != string(d.Compact()) {
				t.Errorf("%s does not survive Parse: %v", d.Name, err)
			}
			if !json.Valid(d.Compact()) {
				t.Errorf("%s is not JSON", d.Name)
			}
			for _, s := range d.Statements {
				if !regexp.MustCompile(`^[A-Za-z0-9]+$`).MatchString(s.SID) {
					t.Errorf("%s: Sid %q: IAM takes letters and digits only", d.Name, s.SID)
				}
			}
		}
	}
}
