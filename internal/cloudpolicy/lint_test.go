package cloudpolicy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/litentry/agentkeys"
)

var (
	testNames = Names{
		Partition: "aws", Account: "123456789012", Region: "eu-central-1", Bucket: "agentkeys-mail",
		Issuer: "https://broker.example.com", DataRole: "agentkeys-data", BrokerRole: "agentkeys-broker", RouterRole: "agentkeys-router",
		Broker: "arn:aws:iam::123456789012:role/broker-host",
		SES:    SES{Region: "eu-west-1", Account: "123456789012", RuleSet: "agentkeys", Rule: "inbound", Identity: "example.com"},
	}
	// mailNames are those of a cloud with a router of its own.
	mailNames = func() Names {
		n := testNames
		n.Mail = Mail{Queue: "agentkeys-mail", DeadLetters: "agentkeys-mail-dead", RemoveSource: true}
		return n
	}()
	walletA = agentkeys.Must(agentkeys.ParseWallet("0x" + strings.Repeat("a1", 20)))
	walletB = agentkeys.Must(agentkeys.ParseWallet("0x" + strings.Repeat("b2", 20)))
)

func TestCorrectDocumentsHaveNoFindings(t *testing.T) {
	ecs := testNames
	ecs.Broker = "ecs-tasks.amazonaws.com"
	ec2 := testNames
	ec2.Broker = "ec2.amazonaws.com"
	for name, n := range map[string]Names{"role": testNames, "mail": mailNames, "ecs": ecs, "ec2": ec2} {
		for form, f := range map[string]Form{"variables": Variables(), "unrolled": Unrolled(walletA, walletB), "bare": Bare(walletA)} {
			found := LintFor(n, All(n, f)...)
			if form == "bare" {
				// Its bucket's policy names roles, for want of aws:PrincipalArn, and
				// lets only the roles of its wallets be held down.
				found = Lint(All(n, f)[:6]...)
			}
			for _, l := range found {
				t.Errorf("%s, %s: %s%s: %s: %s", name, form, l.Document, l.Where, l.ID, l.Why)
			}
			for _, d := range All(n, f) {
				if got := KindOf(d.Document); got != d.Kind {
					t.Errorf("%s is taken for %s", d.Name, got)
				}
			}
		}
	}
}

func TestRenderedDocumentsFit(t *testing.T) {
	for _, d := range All(mailNames, Variables()) {
		if d.Kind == Queue {
			continue
		}
		if n := len(d.Compact()); n > sizes[d.Kind]*9/10 {
			t.Errorf("%s has %d bytes of %d", d.Name, n, sizes[d.Kind])
		}
	}
}

// planted is a document with exactly one mistake.
type planted struct {
	docs  []Named
	names *Names
	where string // of the finding
}

func parsed(t *testing.T, kind Kind, text string) Named {
	t.Helper()
	d, err := Parse([]byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return Named{"planted", kind, d}
}

func TestEveryMistakeIsFound(t *testing.T) {
	const (
		obj  = `"Action":"s3:GetObject","Resource":"arn:aws:s3:::b/x/*"`
		put  = `"Action":"s3:PutObject","Resource":"arn:aws:s3:::b/x/*"`
		role = `"Principal":{"AWS":"arn:aws:iam::123456789012:role/r"}`
		own  = "bots/${aws:PrincipalTag/agentkeys_user_wallet}"
		tag  = `"Null":{"aws:PrincipalTag/agentkeys_user_wallet":"false"}`
		tls  = `{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":["arn:aws:s3:::b","arn:aws:s3:::b/*"],"Condition":{"Bool":{"aws:SecureTransport":"false"}}}`
	)
	policy := func(statements ...string) string {
		return `{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`
	}
	identity := func(where string, statements ...string) planted {
		return planted{docs: []Named{parsed(t, Identity, policy(statements...))}, where: where}
	}
	allow := func(where, rest string) planted { return identity(where, `{"Effect":"Allow",`+rest+`}`) }
	bucket := func(where string, statements ...string) planted {
		return planted{docs: []Named{parsed(t, Bucket, policy(append(statements, tls)...))}, where: where}
	}
	// ours is one of our own documents, changed.
	ours := func(kind Kind, d Document, where string, change func(d *Document)) planted {
		change(&d)
		return planted{docs: []Named{{"planted", kind, d}}, names: &testNames, where: where}
	}
	trust := func(where string, change func(s *Statement)) planted {
		return ours(Trust, DataTrust(testNames, Variables()), where, func(d *Document) { change(&d.Statements[0]) })
	}
	dropping := func(sids ...string) planted {
		return ours(Bucket, BucketPolicy(testNames, Variables()), "", func(d *Document) {
			before := len(d.Statements)
			d.Statements = slices.DeleteFunc(d.Statements, func(s Statement) bool { return slices.Contains(sids, s.SID) })
			if len(d.Statements) != before-len(sids) {
				t.Fatalf("not all of %v are there", sids)
			}
		})
	}
	ses := func(change func(s *Statement)) planted {
		at := len(BucketPolicy(testNames, Variables()).Statements) - 1
		return ours(Bucket, BucketPolicy(testNames, Variables()), fmt.Sprintf("/Statement/%d", at), func(d *Document) { change(&d.Statements[at]) })
	}
	queue := func(where string, change func(d *Document)) planted {
		return ours(Queue, QueuePolicy(mailNames), where, change)
	}
	drop := func(s *Statement, key string) {
		s.Condition = slices.DeleteFunc(s.Condition, func(c Condition) bool { return c.Key == key })
	}
	set := func(s *Statement, key string, values ...string) {
		for i, c := range s.Condition {
			if c.Key == key && c.Operator != "Null" {
				s.Condition[i].Values = values
				return
			}
		}
		t.Fatalf("no condition on %s", key)
	}

	tests := map[string][]planted{
		"old-version":      {{docs: []Named{parsed(t, Identity, `{"Version":"2008-10-17","Statement":[{"Effect":"Allow",`+obj+`}]}`)}}, {docs: []Named{parsed(t, Identity, `{"Statement":{"Effect":"Allow",`+obj+`}}`)}}},
		"too-large":        {allow("", `"Sid":"`+strings.Repeat("x", 10240)+`",`+obj)},
		"duplicate-sid":    {identity("/Statement/1/Sid", `{"Sid":"a","Effect":"Allow",`+obj+`}`, `{"Sid":"a","Effect":"Allow",`+obj+`}`)},
		"unknown-operator": {allow("/Statement/0/Condition/StringLikes", obj+`,"Condition":{"StringLikes":{"aws:username":"x"}}`)},
		"bad-boolean":      {allow("/Statement/0/Condition/Bool/aws:SecureTransport", obj+`,"Condition":{"Bool":{"aws:SecureTransport":"yes"}}`)},
		"literal-wildcard": {allow("/Statement/0/Condition/StringEquals/aws:username/1", obj+`,"Condition":{"StringEquals":{"aws:username":["x","y*"]}}`)},
		"unknown-variable": {
			allow("/Statement/0/Resource", `"Action":"s3:GetObject","Resource":"arn:aws:s3:::b/x/${aws:PrincipalTags/agentkeys_user_wallet}/*"`),
			allow("/Statement/0/Resource", `"Action":"s3:GetObject","Resource":"arn:aws:s3:::b/x/${agentkeys_user_wallet}/*"`)},
		"variable-default":   {allow("/Statement/0/Resource", `"Action":"s3:GetObject","Resource":"arn:aws:s3:::b/bots/${aws:PrincipalTag/agentkeys_user_wallet, 'x'}/credentials/*","Condition":{`+tag+`}`)},
		"other-tag":          {allow("/Statement/0/Resource", `"Action":"s3:GetObject","Resource":"arn:aws:s3:::b/bots/${aws:PrincipalTag/wallet}/credentials/*"`)},
		"misplaced-variable": {allow("/Statement/0/Action", `"Action":"s3:${aws:username}","Resource":"arn:aws:s3:::b/x/*"`)},
		"no-resource":        {allow("/Statement/0", `"Action":"s3:GetObject"`)},
		"not-an-arn":         {allow("/Statement/0/Resource/1", `"Action":"s3:GetObject","Resource":["arn:aws:s3:::b/x/*","b/bots"]`)},
		"leading-slash": {allow("/Statement/0/Resource", `"Action":"s3:GetObject","Resource":"arn:aws:s3:::b//x/*"`),
			allow("/Statement/0/Condition/StringLike/s3:prefix", `"Action":"s3:ListBucket","Resource":"arn:aws:s3:::b","Condition":{"StringLike":{"s3:prefix":"/x/*"}}`)},
		"dot-segment": {allow("/Statement/0/Resource", `"Action":"s3:GetObject","Resource":"arn:aws:s3:::b/x/../y/*"`)},
		"open-prefix": {
			allow("/Statement/0/Resource", `"Action":"s3:GetObject","Resource":"arn:aws:s3:::b/`+own+`*","Condition":{`+tag+`}`),
			allow("/Statement/0/Condition/StringLike/s3:prefix", `"Action":"s3:ListBucket","Resource":"arn:aws:s3:::b","Condition":{"StringLike":{"s3:prefix":"`+own+`*"},`+tag+`}`)},
		"malformed-wallet": {
			allow("/Statement/0/Resource", `"Action":"s3:GetObject","Resource":"arn:aws:s3:::b/bots/0x`+strings.Repeat("A1", 20)+`/credentials/*"`),
			allow("/Statement/0/Resource", `"Action":"s3:GetObject","Resource":"arn:aws:s3:::b/bots/0xa1/credentials/*"`)},
		"list-on-objects":   {allow("/Statement/0/Resource", `"Action":"s3:ListBucket","Resource":"arn:aws:s3:::b/x/*","Condition":{"StringLike":{"s3:prefix":"x/*"}}`)},
		"objects-on-bucket": {allow("/Statement/0/Resource", `"Action":"s3:GetObject","Resource":"arn:aws:s3:::b"`)},

		"allow-not-action":   {allow("/Statement/0/NotAction", `"NotAction":"s3:PutObject","Resource":"arn:aws:s3:::b/x/*"`)},
		"allow-not-resource": {allow("/Statement/0/NotResource", `"Action":"s3:GetObject","NotResource":"arn:aws:s3:::b/inbound/*"`)},
		"wildcard-action": {allow("/Statement/0/Action", `"Action":"s3:*","Resource":"arn:aws:s3:::b/x/*"`),
			allow("/Statement/0/Action/1", `"Action":["s3:GetObject","s3:Put*"],"Resource":"arn:aws:s3:::b/x/*"`)},
		"wildcard-resource": {allow("/Statement/0/Resource", `"Action":"s3:GetObject","Resource":"*"`),
			allow("/Statement/0/Resource", `"Action":"s3:GetObject","Resource":"arn:aws:s3:::b*/x/y"`)},
		"whole-bucket": {allow("/Statement/0/Resource", `"Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"`),
			allow("/Statement/0/Resource", `"Action":"s3:GetObject","Resource":"arn:aws:s3:::b/bots/*"`)},
		"every-wallet": {allow("/Statement/0/Resource", `"Action":["s3:PutObject","s3:PutObjectTagging","s3:GetObject"],"Resource":"arn:aws:s3:::b/bots/*/inbound/*"`), allow("/Statement/0/Resource", `"Action":"s3:GetObject","Resource":"arn:aws:s3:::b/bots/*/credentials/*"`),
			allow("/Statement/0/Resource", `"Action":"s3:PutObject","Resource":"arn:aws:s3:::b/bots/*/credentials/*"`),
			allow("/Statement/0/Resource", `"Action":["s3:PutObject","s3:GetObject"],"Resource":"arn:aws:s3:::b/bots/0x*/inbound/*"`)},
		"reads-arriving-mail": {identity("/Statement/1/Resource", `{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/`+own+`/inbound/*","Condition":{`+tag+`}}`,
			`{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/inbound/*"}`)},
		"writes-own-mail": {allow("/Statement/0/Resource", `"Action":["s3:GetObject","s3:PutObject"],"Resource":"arn:aws:s3:::b/`+own+`/inbound/*","Condition":{`+tag+`}`)},
		"tags-credentials": {allow("/Statement/0/Resource", `"Action":"s3:PutObjectTagging","Resource":"arn:aws:s3:::b/`+own+`/credentials/*","Condition":{`+tag+`}`),
			allow("/Statement/0/Resource", `"Action":"s3:PutObjectVersionTagging","Resource":"arn:aws:s3:::b/`+own+`/*","Condition":{`+tag+`}`),
			allow("/Statement/0/Resource", `"Action":["s3:PutObject","s3:PutObjectTagging"],"Resource":"arn:aws:s3:::b/bots/`+a+`/credentials/*"`)},
		"version-actions": {allow("/Statement/0/Action/1", `"Action":["s3:GetObject","s3:DeleteObjectVersion"],"Resource":"arn:aws:s3:::b/x/*"`)},
		"admin-action":    {allow("/Statement/0/Action", `"Action":"s3:PutBucketPolicy","Resource":"arn:aws:s3:::b"`)},
		"escalation": {allow("/Statement/0/Action", `"Action":"iam:PassRole","Resource":"arn:aws:iam::123456789012:role/x"`),
			allow("/Statement/0/Action", `"Action":"sts:AssumeRole","Resource":"arn:aws:iam::123456789012:role/x"`)},
		"list-without-prefix": {allow("/Statement/0/Action", `"Action":"s3:ListBucket","Resource":"arn:aws:s3:::b"`),
			allow("/Statement/0/Action/0", `"Action":["s3:ListBucket","s3:GetBucketLocation"],"Resource":"arn:aws:s3:::b","Condition":{"StringLike":{"s3:prefix":["x/*","*"]}}`)},
		"prefix-on-object": {
			allow("/Statement/0/Condition/StringLike/s3:prefix", `"Action":["s3:ListBucket","s3:GetObject"],"Resource":["arn:aws:s3:::b","arn:aws:s3:::b/x/*"],"Condition":{"StringLike":{"s3:prefix":"x/*"}}`),
			bucket("/Statement/0/Condition/StringNotLike/s3:prefix", `{"Effect":"Deny","Principal":"*",`+obj+`,"Condition":{"StringNotLike":{"s3:prefix":"x/*"}}}`)},
		"widens-bucket": {{docs: []Named{
			parsed(t, Identity, policy(`{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/x/*"}`)),
			parsed(t, Bucket, policy(`{"Effect":"Allow",`+role+`,"Action":"s3:GetObject","Resource":"arn:aws:s3:::b/x/own/*"}`, tls))}, where: "/Statement/0/Resource"}},

		"no-tag-condition": {allow("/Statement/0/Condition", `"Action":"s3:GetObject","Resource":"arn:aws:s3:::b/`+own+`/inbound/*"`)},
		"null-reversed":    {allow("/Statement/0/Condition/Null/aws:PrincipalTag~1x", obj+`,"Condition":{"Null":{"aws:PrincipalTag/x":"true"}}`)},
		"negated-on-missing": {allow("/Statement/0/Condition/StringNotEquals/aws:PrincipalTag~1x", obj+`,"Condition":{"StringNotEquals":{"aws:PrincipalTag/x":"y"}}`),
			allow("/Statement/0/Condition/StringNotLike/aws:PrincipalTag~1x", obj+`,"Condition":{"StringNotLike":{"aws:PrincipalTag/x":"y*"}}`)},
		"if-exists":        {allow("/Statement/0/Condition/StringEqualsIfExists/aws:PrincipalTag~1x", obj+`,"Condition":{"StringEqualsIfExists":{"aws:PrincipalTag/x":"y"}}`)},
		"for-all-values":   {allow("/Statement/0/Condition/ForAllValues:StringEquals/aws:TagKeys", obj+`,"Condition":{"ForAllValues:StringEquals":{"aws:TagKeys":"y"}}`)},
		"deny-escaped":     {identity("/Statement/0/Condition/StringEquals/aws:PrincipalTag~1x", `{"Effect":"Deny",`+obj+`,"Condition":{"StringEquals":{"aws:PrincipalTag/x":"y"}}}`)},
		"deny-any-negated": {identity("/Statement/0/Condition/ForAnyValue:StringNotEquals/aws:TagKeys", `{"Effect":"Deny",`+obj+`,"Condition":{"ForAnyValue:StringNotEquals":{"aws:TagKeys":"y"}}}`)},
		"client-says-so":   {allow("/Statement/0/Condition/StringLike/aws:Referer", obj+`,"Condition":{"StringLike":{"aws:Referer":"https://x/*"}}`)},

		"allow-not-principal": {bucket("/Statement/0/NotPrincipal", `{"Effect":"Allow","NotPrincipal":{"AWS":"arn:aws:iam::123456789012:role/r"},`+obj+`}`)},
		"deny-not-principal":  {bucket("/Statement/0/NotPrincipal", `{"Effect":"Deny","NotPrincipal":{"AWS":"arn:aws:iam::123456789012:role/r"},`+obj+`}`)},
		"wildcard-principal": {bucket("/Statement/0/Principal", `{"Effect":"Allow","Principal":"*",`+obj+`}`), bucket("/Statement/0/Principal", `{"Effect":"Allow","Principal":{"AWS":"*"},`+obj+`}`),
			bucket("/Statement/0/Principal", `{"Effect":"Allow","Principal":"*",`+obj+`,"Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}}`),
			bucket("/Statement/0/Principal", `{"Effect":"Allow","Principal":"*",`+obj+`,"Condition":{"ArnLike":{"aws:PrincipalArn":"*"}}}`)},
		"account-principal": {bucket("/Statement/0/Principal/AWS", `{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},`+obj+`}`),
			bucket("/Statement/0/Principal/AWS/1", `{"Effect":"Allow","Principal":{"AWS":["arn:aws:iam::123456789012:role/r","123456789012"]},`+obj+`}`)},
		"foreign-principal": {ours(Trust, BrokerTrust(testNames), "/Statement/0/Principal/AWS", func(d *Document) { d.Statements[0].Principal.AWS = []string{"arn:aws:iam::999999999999:role/x"} })},
		"dead-principal":    {bucket("/Statement/0/Principal/AWS", `{"Effect":"Allow","Principal":{"AWS":"AROAEXAMPLEEXAMPLE12"},`+obj+`}`)},
		"deny-names-role":   {bucket("/Statement/0/Principal/AWS", `{"Effect":"Deny",`+role+`,`+obj+`}`)},
		"mixed-buckets":     {bucket("/Statement/0/Resource/1", `{"Effect":"Allow",`+role+`,"Action":"s3:GetObject","Resource":["arn:aws:s3:::b/x/*","arn:aws:s3:::c/x/*"]}`)},
		"queue-no-account": {queue("/Statement/1", func(d *Document) { drop(&d.Statements[1], "aws:SourceAccount") }),
			queue("/Statement/1", func(d *Document) {
				d.Statements[1].Condition[0] = Condition{"StringLike", "aws:SourceAccount", []string{"*"}}
			})},
		"queue-no-arn": {queue("/Statement/1", func(d *Document) { drop(&d.Statements[1], "aws:SourceArn") }),
			queue("/Statement/1", func(d *Document) { set(&d.Statements[1], "aws:SourceArn", "arn:aws:s3:::*") })},
		"queue-actions":        {queue("/Statement/1", func(d *Document) { d.Statements[1].Action = []string{"sqs:SendMessage", "sqs:PurgeQueue"} })},
		"queue-no-tls-deny":    {queue("", func(d *Document) { d.Statements = d.Statements[1:] }), queue("", func(d *Document) { d.Statements[0].Action = []string{"sqs:SendMessage"} })},
		"queue-elsewhere":      {queue("/Statement/1/Resource", func(d *Document) { d.Statements[1].Resource = []string{"arn:aws:sqs:eu-central-1:123456789012:other"} })},
		"takes-from-any-queue": {allow("/Statement/0/Resource", `"Action":"sqs:ReceiveMessage","Resource":"arn:aws:sqs:eu-central-1:123456789012:*"`)},
		"service-unbound":      {bucket("/Statement/0", `{"Effect":"Allow","Principal":{"Service":"logging.s3.amazonaws.com"},`+put+`}`)},
		"no-tls-deny":          {{docs: []Named{parsed(t, Bucket, policy(`{"Effect":"Allow",`+role+`,`+obj+`}`))}}},
		"half-tls-deny": {
			{docs: []Named{parsed(t, Bucket, policy(strings.Replace(tls, `["arn:aws:s3:::b","arn:aws:s3:::b/*"]`, `"arn:aws:s3:::b/*"`, 1)))}, where: "/Statement/0"},
			{docs: []Named{parsed(t, Bucket, policy(strings.Replace(tls, `["arn:aws:s3:::b","arn:aws:s3:::b/*"]`, `"arn:aws:s3:::b"`, 1)))}, where: "/Statement/0"},
			{docs: []Named{parsed(t, Bucket, policy(strings.Replace(tls, `s3:*`, `s3:GetObject`, 1)))}, where: "/Statement/0"}},
		"tls-reversed": {{docs: []Named{parsed(t, Bucket, policy(strings.Replace(tls, `"false"`, `"true"`, 1)))}, where: "/Statement/0"}},

		"ses-no-account": {ses(func(s *Statement) { drop(s, "aws:SourceAccount") })},
		"ses-no-arn":     {ses(func(s *Statement) { drop(s, "aws:SourceArn") }), ses(func(s *Statement) { s.Condition[1] = Condition{"StringLike", "aws:SourceArn", []string{"*"}} })},
		"ses-elsewhere": {ses(func(s *Statement) {
			s.Resource = []string{testNames.objects("bots/" + walletA.String() + "/inbound/*")}
		})},
		"ses-actions": {ses(func(s *Statement) { s.Action = []string{"s3:PutObject", "s3:GetObject"} })},
		"no-untagged-deny": {ours(Bucket, BucketPolicy(testNames, Variables()), "", func(d *Document) {
			// One of several ways to have no such Deny and still keep wallets apart.
			d.Statements = slices.DeleteFunc(d.Statements, func(s Statement) bool {
				return slices.Contains([]string{"DenyWithoutWallet", "DenyMalformedWallet", "DenyMalformedDigits"}, s.SID)
			})
			for i := range d.Statements {
				if d.Statements[i].SID == "DenyOutsideOwn" {
					d.Statements[i].Condition = append(d.Statements[i].Condition, Condition{"Null", principalTag, []string{"false"}})
				}
			}
		})},
		"no-foreign-deny": {dropping("DenyOutsideOwn")},
		"no-broker-deny": {dropping("DenyBrokerServiceMailAndCredentials", "DenyBrokerOtherActions", "DenyBrokerOutsideInbound"),
			ours(Bucket, BucketPolicy(testNames, Variables()), "", func(d *Document) { // reading alone
				d.Statements = slices.DeleteFunc(d.Statements, func(s Statement) bool {
					return s.SID == "DenyBrokerOtherActions" || s.SID == "DenyBrokerOutsideInbound"
				})
				for i, s := range d.Statements {
					if s.SID == "DenyBrokerServiceMailAndCredentials" {
						d.Statements[i].Action = []string{"s3:GetObject"}
					}
				}
			})},

		"trust-no-audience": {trust("/Statement/0/Condition", func(s *Statement) { drop(s, "broker.example.com:aud") })},
		"trust-loose-audience": {trust("/Statement/0/Condition/StringEquals/broker.example.com:aud", func(s *Statement) { set(s, "broker.example.com:aud", "sts.amazonaws.com", "other") }),
			trust("/Statement/0/Condition/StringLike/broker.example.com:aud", func(s *Statement) { s.Condition[0] = Condition{"StringLike", "broker.example.com:aud", []string{"*"}} })},
		"trust-no-subject":    {trust("/Statement/0/Condition", func(s *Statement) { drop(s, "broker.example.com:sub") })},
		"trust-loose-subject": {trust("/Statement/0/Condition/StringLike/broker.example.com:sub", func(s *Statement) { set(s, "broker.example.com:sub", "agentkeys:wallet:*") })},
		"trust-other-issuer":  {trust("/Statement/0/Condition/StringEquals/other.example.com:aud", func(s *Statement) { s.Condition[0].Key = "other.example.com:aud" })},
		"trust-any-provider": {trust("/Statement/0/Principal/Federated", func(s *Statement) {
			s.Principal.Federated = []string{"arn:aws:iam::*:oidc-provider/broker.example.com"}
		})},
		"trust-no-tag":         {trust("/Statement/0/Condition", func(s *Statement) { drop(s, requestTag) })},
		"trust-loose-tag":      {trust("/Statement/0/Condition", func(s *Statement) { set(s, requestTag, "0x*") }), trust("/Statement/0/Condition", func(s *Statement) { s.Condition = slices.Delete(s.Condition, 3, 4) })},
		"trust-no-tag-session": {trust("/Statement/0/Action", func(s *Statement) { s.Action = []string{"sts:AssumeRoleWithWebIdentity"} })},
		"trust-extra-tags":     {trust("/Statement/0/Condition", func(s *Statement) { drop(s, "aws:TagKeys") })},
		"trust-service-unbound": {ours(Trust, BrokerTrust(testNames), "/Statement/0/Principal/Service", func(d *Document) {
			d.Statements[0].Principal = &Principals{Service: []string{"ecs-tasks.amazonaws.com"}}
		})},
	}

	if n := len(Mistakes()); n < 30 {
		t.Errorf("only %d mistakes are known", n)
	}
	for _, m := range Mistakes() {
		cases := tests[m.ID]
		if len(cases) == 0 {
			t.Errorf("%s: no document with exactly that mistake", m.ID)
		}
		delete(tests, m.ID)
		if m.Why == "" || m.Fix == "" || m.Severity != Error && m.Severity != Warning {
			t.Errorf("%s does not say enough", m.ID)
		}
		for i, c := range cases {
			found := Lint(c.docs...)
			if c.names != nil {
				found = LintFor(*c.names, c.docs...)
			}
			if len(found) != 1 || found[0].ID != m.ID || found[0].Where != c.where {
				for _, f := range found {
					t.Errorf("%s (%d): found %s at %q, not at %q", m.ID, i, f.ID, f.Where, c.where)
				}
				if len(found) == 0 {
					t.Errorf("%s (%d): not found in\n%s", m.ID, i, c.docs[0].Indented())
				}
			}
			for _, f := range found {
				if !resolves(t, c.docs[0].Document, f.Where) && !strings.HasSuffix(f.Where, "/Condition") {
					t.Errorf("%s (%d): %s leads nowhere", m.ID, i, f.Where)
				}
			}
		}
	}
	for id := range tests {
		t.Errorf("no such mistake: %s", id)
	}
}

// resolves follows a JSON pointer.
func resolves(t *testing.T, d Document, pointer string) bool {
	var at any
	if err := json.Unmarshal(d.Compact(), &at); err != nil {
		t.Fatal(err)
	}
	for _, part := range strings.Split(pointer, "/")[1:] {
		part = strings.NewReplacer("~1", "/", "~0", "~").Replace(part)
		switch v := at.(type) {
		case map[string]any:
			at = v[part]
		case []any:
			var i int
			if _, err := fmt.Sscan(part, &i); err != nil || i >= len(v) {
				return false
			}
			at = v[i]
		default:
			return false
		}
		if at == nil {
			return false
		}
	}
	return true
}

func TestPointersOfABareStatement(t *testing.T) {
	d := parsed(t, Identity, `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::b/x/*"}}`)
	if found := Lint(d); len(found) != 1 || found[0].Where != "/Statement/Action" {
		t.Errorf("%v", found)
	}
}
