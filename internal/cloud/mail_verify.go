package cloud

import (
	"context"
	"fmt"
	"strconv"

	"github.com/litentry/agentkeys/internal/cloudpolicy"
)

// mail looks at what can be looked at of the mail part. Nothing is sent and
// nothing put where SES alone may put: that would take a policy that lets
// somebody else do so.
func (v *verifier) mail(ctx context.Context) error {
	if v.Mail == nil || v.Compatible != "" {
		return nil
	}
	v.tell("looking at the mail part")
	row := func(does string, ok bool, detail string) {
		r := Row{"mail", does, Allowed, Allowed, ""}
		if !ok {
			r.Got, r.Detail = Failed, detail
		}
		v.report.Rows = append(v.report.Rows, r)
	}
	active, err := v.activeSet(ctx)
	if err != nil {
		return err
	}
	row("the receipt rule set is active", active == v.Names.SES.RuleSet, "active is "+strconv.Quote(active)+": see the notes of cloud plan")
	rule, err := v.rule(ctx)
	if err != nil {
		return err
	}
	row("the receipt rule is on, and scans", rule != nil && rule.Enabled && rule.ScanEnabled, "mail is lost, or comes without verdicts and is refused by who reads it")
	notification := v.notificationPart()
	have, err := notification.read(ctx)
	if err != nil {
		return err
	}
	row("the bucket tells the queue", notification.satisfied(have), "what arrives is not sorted")
	mapping := v.mappingPart()
	if have, err = mapping.read(ctx); err != nil {
		return err
	}
	row("the queue feeds the function", mapping.satisfied(have), "what arrives is not sorted")
	_, attributes, err := v.queue(ctx, v.Names.Mail.DeadLetters)
	if err != nil {
		return err
	}
	n := attributes["ApproximateNumberOfMessages"]
	row("no dead letters", n == "0", fmt.Sprintf("%q messages could not be sorted: see the function's log, and then let SQS redrive them", n))
	domains, err := v.DNS(ctx)
	if err != nil {
		return err
	}
	for _, d := range domains {
		row("domain "+d.Domain+" is verified", d.State == "success", d.State+": publish the records of 'agentkeys cloud dns'")
		for _, r := range d.Records {
			if r.Type == "CNAME" {
				row("domain "+d.Domain+" signs by DKIM", r.State == "success", r.State+": publish the records of 'agentkeys cloud dns'")
				break
			}
		}
	}
	return nil
}

// router asks the policies that are in force what the router may do: nobody but
// Lambda can take its role to try.
func (v *verifier) router(have map[string]string) {
	if v.Compatible != "" {
		return
	}
	role := "role " + v.Names.RouterRole + ": policy"
	bucket, errBucket := cloudpolicy.Parse([]byte(have["bucket "+v.Names.Bucket+": policy"]))
	identity, errRole := cloudpolicy.Parse([]byte(have[role]))
	const who = "router, evaluated"
	if errBucket != nil || errRole != nil {
		v.report.Rows = append(v.report.Rows, Row{who, "read its policies", Allowed, Failed, "they are not there, or are no policies"})
		return
	}
	wallet := "bots/" + v.probe.Wallets[0].String() + "/"
	remove := Denied
	if v.Names.Mail.RemoveSource {
		remove = Allowed
	}
	for _, t := range []struct {
		does, action, key string
		prefix            *string
		want              Verdict
	}{
		{"get inbound/", "s3:GetObject", "inbound/x", nil, Allowed},
		{"put bots/*/inbound/*", "s3:PutObject", wallet + "inbound/x", nil, Allowed},
		{"put refused/", "s3:PutObject", "refused/x/y", nil, Allowed},
		{"tag bots/*/inbound/*", "s3:PutObjectTagging", wallet + "inbound/x", nil, Allowed},
		{"tag refused/", "s3:PutObjectTagging", "refused/x/y", nil, Allowed},
		{"tag bots/*/credentials/*", "s3:PutObjectTagging", wallet + "credentials/x.enc", nil, Denied},
		{"tag inbound/", "s3:PutObjectTagging", "inbound/x", nil, Denied},
		{"list inbound/", "s3:ListBucket", "", ptr("inbound/x"), Allowed},
		{"delete inbound/", "s3:DeleteObject", "inbound/x", nil, remove},
		{"get bots/*/credentials/*", "s3:GetObject", wallet + "credentials/x.enc", nil, Denied},
		{"put bots/*/credentials/*", "s3:PutObject", wallet + "credentials/x.enc", nil, Denied},
		{"delete bots/*/credentials/*", "s3:DeleteObject", wallet + "credentials/x.enc", nil, Denied},
		{"get bots/*/inbound/*", "s3:GetObject", wallet + "inbound/x", nil, Denied},
		{"delete bots/*/inbound/*", "s3:DeleteObject", wallet + "inbound/x", nil, Denied},
		{"get refused/", "s3:GetObject", "refused/x/y", nil, Denied},
		{"put inbound/", "s3:PutObject", "inbound/x", nil, Denied},
		{"list bots/", "s3:ListBucket", "", ptr("bots/"), Denied},
		{"list without a prefix", "s3:ListBucket", "", nil, Denied},
		{"write the bucket's policy", "s3:PutBucketPolicy", "", nil, Denied},
	} {
		resource := v.Names.BucketARN()
		if t.key != "" {
			resource += "/" + t.key
		}
		keys := map[string][]string{"aws:SecureTransport": {"true"}, "aws:PrincipalArn": {v.Names.RoleARN(v.Names.RouterRole)}}
		if t.prefix != nil {
			keys["s3:prefix"] = []string{*t.prefix}
		}
		d := cloudpolicy.Evaluate(cloudpolicy.Request{
			Caller: cloudpolicy.Caller{ARN: "arn:" + v.Names.Partition + ":sts::" + v.Names.Account + ":assumed-role/" + v.Names.RouterRole + "/verify"},
			Action: t.action, Resource: resource, Owner: v.Names.Account, Context: keys,
		}, cloudpolicy.Policies{Identity: []cloudpolicy.Document{identity}, Resource: &bucket})
		got := Denied
		if d.Verdict == cloudpolicy.Allowed {
			got = Allowed
		}
		v.report.Rows = append(v.report.Rows, Row{who, t.does, t.want, got, "evaluated"})
	}
}

func ptr(s string) *string { return &s }
