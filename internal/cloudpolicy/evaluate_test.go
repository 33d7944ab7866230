package cloudpolicy

import (
	"testing"
)

// What AWS documents and the oracle does not decide, or decides otherwise; the
// source is the IAM user guide, "Policy evaluation logic", "Condition operators"
// and "Variables and tags".
func TestEvaluate(t *testing.T) {
	const (
		account = "123456789012"
		data    = "arn:aws:sts::123456789012:assumed-role/data/s"
		foreign = "arn:aws:sts::999999999999:assumed-role/data/s"
	)
	allow := func(rest string) string {
		return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject",` + rest + `}]}`
	}
	everything := allow(`"Resource":"*"`)
	if_ := func(condition string) string { return allow(`"Resource":"*","Condition":{` + condition + `}`) }
	denyIf := func(condition string) string {
		return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"*","Resource":"*","Condition":{` + condition + `}}]}`
	}
	bucket := func(principal string) string {
		return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":` + principal + `,"Action":"s3:GetObject","Resource":"*"}]}`
	}
	for name, c := range map[string]struct {
		arn, service, key  string
		identity, resource string
		ctx                map[string][]string
		want               Verdict
	}{
		"variables are text before 2012": {arn: data, key: "bots/a/x", ctx: map[string][]string{"aws:PrincipalTag/w": {"a"}}, want: ImplicitDenied,
			identity: `{"Version":"2008-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/bots/${aws:PrincipalTag/w}/*"}]}`},
		"variables since":                      {arn: data, key: "bots/a/x", ctx: map[string][]string{"aws:PrincipalTag/w": {"a"}}, identity: allow(`"Resource":"arn:aws:s3:::b/bots/${aws:PrincipalTag/w}/*"`), want: Allowed},
		"the name of a tag has no case":        {arn: data, key: "bots/a/x", ctx: map[string][]string{"aws:principaltag/W": {"a"}}, identity: allow(`"Resource":"arn:aws:s3:::b/bots/${aws:PrincipalTag/w}/*"`), want: Allowed},
		"its value has":                        {arn: data, key: "bots/a/x", ctx: map[string][]string{"aws:PrincipalTag/w": {"A"}}, identity: allow(`"Resource":"arn:aws:s3:::b/bots/${aws:PrincipalTag/w}/*"`), want: ImplicitDenied},
		"a star in a tag is a star":            {arn: data, key: "bots/a/x", ctx: map[string][]string{"aws:PrincipalTag/w": {"*"}}, identity: allow(`"Resource":"arn:aws:s3:::b/bots/${aws:PrincipalTag/w}/*"`), want: ImplicitDenied},
		"a tag is expanded once":               {arn: data, key: "bots/a/x", ctx: map[string][]string{"aws:PrincipalTag/w": {"${aws:username}"}, "aws:username": {"a"}}, identity: allow(`"Resource":"arn:aws:s3:::b/bots/${aws:PrincipalTag/w}/*"`), want: ImplicitDenied},
		"a colon in a tag":                     {arn: data, key: "bots/a:b/x", ctx: map[string][]string{"aws:PrincipalTag/w": {"a:b"}}, identity: allow(`"Resource":"arn:aws:s3:::b/bots/${aws:PrincipalTag/w}/*"`), want: Allowed},
		"a default":                            {arn: data, key: "bots/d/x", identity: allow(`"Resource":"arn:aws:s3:::b/bots/${aws:PrincipalTag/w, 'd'}/*"`), want: Allowed},
		"no default for several values":        {arn: data, key: "bots/d/x", ctx: map[string][]string{"aws:PrincipalTag/w": {"a", "b"}}, identity: allow(`"Resource":"arn:aws:s3:::b/bots/${aws:PrincipalTag/w, 'd'}/*"`), want: ImplicitDenied},
		"a default in double quotes":           {arn: data, key: "bots/d/x", identity: allow(`"Resource":"arn:aws:s3:::b/bots/${aws:PrincipalTag/w, \"d\"}/*"`), want: ImplicitDenied},
		"${*} is a star":                       {arn: data, key: "a*", identity: allow(`"Resource":"arn:aws:s3:::b/a${*}"`), want: Allowed},
		"${*} is no wildcard":                  {arn: data, key: "ab", identity: allow(`"Resource":"arn:aws:s3:::b/a${*}"`), want: ImplicitDenied},
		"? is one character":                   {arn: data, key: "aé", identity: allow(`"Resource":"arn:aws:s3:::b/a?"`), want: Allowed},
		"? is not none":                        {arn: data, key: "a", identity: allow(`"Resource":"arn:aws:s3:::b/a?"`), want: ImplicitDenied},
		"a wildcard reaches over no colon":     {arn: data, key: "x", identity: allow(`"Resource":"arn:aws:s3:*/x"`), want: ImplicitDenied},
		"a resource has case":                  {arn: data, key: "X", identity: allow(`"Resource":"arn:aws:s3:::b/x"`), want: ImplicitDenied},
		"an action has none":                   {arn: data, key: "x", identity: `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"S3:getobject","Resource":"*"}}`, want: Allowed},
		"an unknown operator allows nothing":   {arn: data, key: "x", identity: if_(`"StringSounds":{"aws:username":"x"}`), want: ImplicitDenied},
		"an unknown operator denies":           {arn: data, key: "x", identity: denyIf(`"StringSounds":{"aws:username":"x"}`), want: ExplicitDenied},
		"ForAllValues:Null is unknown":         {arn: data, key: "x", identity: if_(`"ForAllValues:Null":{"aws:username":"true"}`), want: ImplicitDenied},
		"negated and missing":                  {arn: data, key: "x", identity: if_(`"StringNotEquals":{"aws:username":"x"}`), want: Allowed},
		"negated, several values":              {arn: data, key: "x", ctx: map[string][]string{"aws:TagKeys": {"y", "z"}}, identity: if_(`"StringNotEquals":{"aws:TagKeys":"x"}`), want: ImplicitDenied},
		"IfExists and missing":                 {arn: data, key: "x", identity: if_(`"StringEqualsIfExists":{"aws:username":"x"}`), want: Allowed},
		"ForAllValues of none":                 {arn: data, key: "x", identity: if_(`"ForAllValues:StringEquals":{"aws:TagKeys":"x"}`), want: Allowed},
		"ForAnyValue of none":                  {arn: data, key: "x", identity: if_(`"ForAnyValue:StringEquals":{"aws:TagKeys":"x"}`), want: ImplicitDenied},
		"ForAnyValueIfExists of none":          {arn: data, key: "x", identity: if_(`"ForAnyValue:StringEqualsIfExists":{"aws:TagKeys":"x"}`), want: Allowed},
		"empty is not missing":                 {arn: data, key: "x", ctx: map[string][]string{"aws:username": {""}}, identity: if_(`"Null":{"aws:username":"true"}`), want: ImplicitDenied},
		"a date":                               {arn: data, key: "x", ctx: map[string][]string{"aws:CurrentTime": {"2026-11-21T12:00:00Z"}}, identity: if_(`"DateLessThan":{"aws:CurrentTime":"2026-12-01"}`), want: Allowed},
		"a date in seconds":                    {arn: data, key: "x", ctx: map[string][]string{"aws:EpochTime": {"1000"}}, identity: if_(`"DateGreaterThan":{"aws:EpochTime":"1970-01-01T00:20:00Z"}`), want: ImplicitDenied},
		"no date":                              {arn: data, key: "x", ctx: map[string][]string{"aws:CurrentTime": {"now"}}, identity: if_(`"DateNotEquals":{"aws:CurrentTime":"2026-12-01"}`), want: ImplicitDenied},
		"IPv6":                                 {arn: data, key: "x", ctx: map[string][]string{"aws:SourceIp": {"2001:db8::1"}}, identity: if_(`"IpAddress":{"aws:SourceIp":"2001:db8::/32"}`), want: Allowed},
		"one account: either allows":           {arn: data, key: "x", resource: bucket(`{"AWS":"arn:aws:iam::123456789012:role/data"}`), want: Allowed},
		"one account: the root alone does not": {arn: data, key: "x", resource: bucket(`{"AWS":"123456789012"}`), want: ImplicitDenied},
		"two accounts: the bucket alone":       {arn: foreign, key: "x", resource: bucket(`{"AWS":"arn:aws:iam::999999999999:role/data"}`), want: ImplicitDenied},
		"two accounts: the caller alone":       {arn: foreign, key: "x", identity: everything, want: ImplicitDenied},
		"two accounts: both":                   {arn: foreign, key: "x", identity: everything, resource: bucket(`{"AWS":"999999999999"}`), want: Allowed},
		"another account's root":               {arn: foreign, key: "x", identity: everything, resource: bucket(`{"AWS":"arn:aws:iam::123456789012:root"}`), want: ImplicitDenied},
		"a role with a path":                   {arn: data, key: "x", resource: bucket(`{"AWS":"arn:aws:iam::123456789012:role/some/path/data"}`), want: Allowed},
		"a role of a longer name":              {arn: data, key: "x", resource: bucket(`{"AWS":"arn:aws:iam::123456789012:role/data2"}`), want: ImplicitDenied},
		"no wildcards in principals":           {arn: data, key: "x", resource: bucket(`{"AWS":"arn:aws:iam::123456789012:role/*"}`), want: ImplicitDenied},
		"a service is no account":              {service: "ses.amazonaws.com", key: "x", identity: everything, resource: bucket(`{"AWS":"123456789012"}`), want: ImplicitDenied},
		"a service by name":                    {service: "ses.amazonaws.com", key: "x", resource: bucket(`{"Service":"ses.amazonaws.com"}`), want: Allowed},
		"anybody":                              {key: "x", identity: everything, resource: bucket(`"*"`), want: Allowed},
		"anybody has no policies":              {key: "x", identity: everything, want: ImplicitDenied},
		"nobody says anything":                 {arn: data, key: "x", want: ImplicitDenied},
	} {
		var p Policies
		if c.identity != "" {
			p.Identity = []Document{parsed(t, Identity, c.identity).Document}
		}
		if c.resource != "" {
			d := parsed(t, Bucket, c.resource).Document
			p.Resource = &d
		}
		r := Request{Caller{c.arn, c.service}, "s3:GetObject", "arn:aws:s3:::b/" + c.key, account, c.ctx}
		if got := Evaluate(r, p); got.Verdict != c.want {
			t.Errorf("%s: %s by %v, not %s", name, got.Verdict, got.By, c.want)
		}
	}
}

func TestDecisionNamesItsStatements(t *testing.T) {
	d := parsed(t, Identity, `{"Version":"2012-10-17","Statement":[{"Sid":"Read","Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"s3:*","Resource":"*"}]}`).Document
	got := Evaluate(Request{Caller{ARN: "arn:aws:iam::1:user/u"}, "s3:GetObject", "arn:aws:s3:::b/x", "1", nil}, Policies{Identity: []Document{d}})
	if len(got.By) != 2 || got.By[0] != "Read" || got.By[1] != "/Statement/1" {
		t.Errorf("%v", got.By)
	}
}

func TestSplitARN(t *testing.T) {
	for s, want := range map[string][5]string{
		"arn:aws:s3:::b/x:y:z":         {"aws", "s3", "", "", "b/x:y:z"},
		"arn:aws:iam::123:role/r":      {"aws", "iam", "", "123", "role/r"},
		"arn:aws:sqs:eu-west-1:123:":   {"aws", "sqs", "eu-west-1", "123", ""},
		"arn:aws:s3::b":                {},
		"arn:":                         {},
		"arn":                          {},
		"":                             {},
		"urn:aws:s3:::b":               {},
		"ARN:aws:s3:::b":               {},
		"*":                            {},
		"arn:aws:execute-api:::a/b?c*": {"aws", "execute-api", "", "", "a/b?c*"},
	} {
		if got, ok := splitARN(s); got != want || ok != (want[0] != "") {
			t.Errorf("%q: %q, %t", s, got, ok)
		}
	}
}
