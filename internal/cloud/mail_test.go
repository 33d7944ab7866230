package cloud

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/aws/smithy-go/encoding/cbor"

	"github.com/litentry/agentkeys/internal/cloudpolicy"
	"github.com/litentry/agentkeys/internal/testsrv/aws"
)

func mustApply(t *testing.T, c *Cloud) Plan {
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

// verified is what becomes of the domains once their records are published.
func verified(f *aws.Server) {
	for _, id := range f.Identities {
		id.Verification, id.DKIMState, id.MailFromState = "Success", "Success", "Success"
	}
}

func notesOf(t *testing.T, c *Cloud) string {
	t.Helper()
	plan, err := c.Plan(t.Context(), silent)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(plan.Notes, "\n")
}

func TestMailFromNothing(t *testing.T) {
	ctx := t.Context()
	f, c := startAWS(t, true)
	// What was made a moment ago is not everywhere at once.
	maps.Copy(f.Early, map[string]int{"PUT notification": 2, "CreateQueue": 2, "PUT functions/configuration": 1, "PutRolePolicy": 1})
	plan := mustApply(t, c)
	for _, ch := range plan.Changes {
		if ch.Action == Left || ch.Action == Unchanged && !strings.Contains(ch.Part, "other policies") && !strings.Contains(ch.Part, "reserved concurrency") {
			t.Errorf("%s is %s", ch.Part, ch.Action)
		}
	}
	mustBeEmpty(t, c)

	if f.Active != "agentkeys" || len(f.RuleSets["agentkeys"]) != 1 || f.Objects["inbound/"+aws.SetupObject] == nil {
		t.Errorf("active %q, rules %v, objects %v", f.Active, f.RuleSets, slices.Collect(maps.Keys(f.Objects)))
	}
	// Mail comes in last, when all that sorts it is there.
	last := 0
	for _, call := range []string{"sqs CreateQueue", "s3 PUT policy", "lambda POST functions", "lambda POST event-source-mappings", "s3 PUT notification", "cloudwatch PutMetricAlarm", "ses CreateReceiptRule", "ses SetActiveReceiptRuleSet"} {
		at := slices.Index(f.Calls, call)
		if at < last {
			t.Errorf("%s comes too early, or not at all", call)
		}
		last = at
	}
	rule := f.RuleSets["agentkeys"][0]
	if !rule.Enabled || !rule.Scanned || rule.TLS != "Require" || !slices.Equal(rule.Recipients, []string{"in.example.org", "mail.example.com"}) || rule.Prefix != "inbound/" {
		t.Errorf("%+v", rule)
	}
	q := f.Queues["agentkeys-mail"]
	if q.Attributes["VisibilityTimeout"] != "180" || q.Attributes["MessageRetentionPeriod"] != "1209600" || q.Attributes["SqsManagedSseEnabled"] != "true" ||
		!strings.Contains(q.Attributes["RedrivePolicy"], `"maxReceiveCount":120`) || len(q.Messages) != 1 {
		t.Errorf("%+v", q)
	}
	fn := f.Functions["agentkeys-router"]
	if want := map[string]string{"AGENTKEYS_BUCKET": "agentkeys-example", "AGENTKEYS_MAIL_DOMAINS": "mail.example.com,in.example.org", "AGENTKEYS_MAIL_TAGS": "or,hf", "AGENTKEYS_REMOVE_SOURCE": "false",
		"AGENTKEYS_WALLET_MESSAGES_PER_HOUR": "120", "AGENTKEYS_SENDER_MESSAGES_PER_HOUR": "10000"}; !maps.Equal(fn.Environment, want) {
		t.Errorf("%v", fn.Environment)
	}
	if fn.Architecture != "arm64" || fn.Memory != 128 || fn.Timeout != 30 || fn.Reserved != nil {
		t.Errorf("%+v", fn)
	}
	for _, m := range f.Mappings {
		if !m.Enabled || m.Batch != 10 || m.Concurrency != 10 || !slices.Equal(m.Reports, []string{"ReportBatchItemFailures"}) {
			t.Errorf("%+v", m)
		}
	}
	if len(f.Mappings) != 1 || len(f.Alarms) != 5 || f.Logs["/aws/lambda/agentkeys-router"].Days != 30 || !strings.Contains(f.Settings["lifecycle"], "<Tag><Key>agentkeys</Key><Value>mail</Value></Tag>") {
		t.Errorf("%d mappings, %d alarms, %v", len(f.Mappings), len(f.Alarms), f.Logs)
	}

	// Until DNS is there, the plan says so and nothing fails; verify does say no.
	if notes := notesOf(t, c); strings.Count(notes, "is not verified (pending)") != 2 {
		t.Errorf("notes: %s", notes)
	}
	report, err := c.Verify(ctx, awsProbe(), silent)
	if got := strings.Join(surprises(report), "; "); err != nil || report.Good() || got != "mail: domain mail.example.com is verified; mail: domain mail.example.com signs by DKIM; mail: domain in.example.org is verified; mail: domain in.example.org signs by DKIM" {
		t.Errorf("%v: %s", err, got)
	}
	verified(f)
	if notes := notesOf(t, c); notes != "" {
		t.Errorf("notes: %s", notes)
	}
	report, err = c.Verify(ctx, awsProbe(), silent)
	if err != nil || !report.Good() || len(report.Rows) < 65 {
		t.Errorf("%v: %d rows, %v, %v", err, len(report.Rows), surprises(report), report.Findings)
	}
	if len(f.Objects) != 1 {
		t.Errorf("left behind: %v", slices.Collect(maps.Keys(f.Objects)))
	}
}

// TestMailDrift changes one thing at a time by hand: the plan names it, verify
// does not call it good, and the next apply puts it right.
func TestMailDrift(t *testing.T) {
	f, c := startAWS(t, true)
	mustApply(t, c)
	verified(f)
	zero := 0
	queue, dead, fn := f.Queues["agentkeys-mail"], f.Queues["agentkeys-mail-dead"], f.Functions["agentkeys-router"]
	alarm := func(key string, v cbor.Value) func() {
		return func() { f.Alarms["agentkeys-router-dead-letters"].Fields[key] = v }
	}
	type drift struct {
		change func()
		part   string
		looked bool // verify has a row about it
	}
	lifecycle := func(old, new string) drift {
		return drift{func() {
			if !strings.Contains(f.Settings["lifecycle"], old) {
				t.Errorf("%s is not in %s", old, f.Settings["lifecycle"])
			}
			f.Settings["lifecycle"] = strings.ReplaceAll(f.Settings["lifecycle"], old, new)
		}, "bucket agentkeys-example: lifecycle", false}
	}
	for name, d := range map[string]drift{
		"no scanning":            {func() { f.RuleSets["agentkeys"][0].Scanned = false }, "receipt rule inbound", true},
		"the rule is off":        {func() { f.RuleSets["agentkeys"][0].Enabled = false }, "receipt rule inbound", true},
		"the rule is gone":       {func() { f.RuleSets["agentkeys"] = nil }, "receipt rule inbound", false},
		"another bucket's":       {func() { f.RuleSets["agentkeys"][0].Prefix = "other/" }, "receipt rule inbound", false},
		"TLS optional":           {func() { f.RuleSets["agentkeys"][0].TLS = "Optional" }, "receipt rule inbound", false},
		"everybody's mail":       {func() { f.RuleSets["agentkeys"][0].Recipients = nil }, "receipt rule inbound", false},
		"not active":             {func() { f.Active = "" }, "receipt rule set agentkeys: active", true},
		"no DKIM":                {func() { f.Identities["mail.example.com"].DKIM = nil }, "mail identity mail.example.com", false},
		"Amazon's sender":        {func() { f.Identities["mail.example.com"].MailFrom = "" }, "mail identity mail.example.com: envelope sender", false},
		"short visibility":       {func() { queue.Attributes["VisibilityTimeout"] = "30" }, "queue agentkeys-mail", false},
		"no redrive":             {func() { delete(queue.Attributes, "RedrivePolicy") }, "queue agentkeys-mail", false},
		"not encrypted":          {func() { queue.Attributes["SqsManagedSseEnabled"] = "false" }, "queue agentkeys-mail", false},
		"dead letters go early":  {func() { dead.Attributes["MessageRetentionPeriod"] = "60" }, "queue agentkeys-mail-dead", false},
		"anybody's dead letters": {func() { delete(dead.Attributes, "RedriveAllowPolicy") }, "queue agentkeys-mail-dead", false},
		"an open queue": {func() {
			queue.Attributes["Policy"] = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"s3.amazonaws.com"},"Action":"sqs:SendMessage","Resource":"arn:aws:sqs:eu-central-1:012345678901:agentkeys-mail"}]}`
		}, "queue agentkeys-mail: policy", false},
		"other code":      {func() { fn.CodeSha256 = "x" }, "function agentkeys-router: code", false},
		"other settings":  {func() { fn.Environment["AGENTKEYS_MAIL_DOMAINS"] = "example.net" }, "function agentkeys-router", false},
		"stopped":         {func() { fn.Reserved = &zero }, "function agentkeys-router: reserved concurrency", false},
		"another machine": {func() { fn.Architecture = "x86_64" }, "function agentkeys-router", false},
		"no source":       {func() { clear(f.Mappings) }, "function agentkeys-router: source", true},
		"a source that is off": {func() {
			for _, m := range f.Mappings {
				m.Enabled = false
			}
		}, "function agentkeys-router: source", true},
		"whole batches fail": {func() {
			for _, m := range f.Mappings {
				m.Reports = nil
			}
		}, "function agentkeys-router: source", false},
		"logs for ever":       {func() { f.Logs["/aws/lambda/agentkeys-router"].Days = 0 }, "log /aws/lambda/agentkeys-router", false},
		"nobody is told":      {alarm("AlarmActions", cbor.List{}), "alarm agentkeys-router-dead-letters", false},
		"alarms are off":      {alarm("ActionsEnabled", cbor.Bool(false)), "alarm agentkeys-router-dead-letters", false},
		"alarmed too late":    {alarm("Threshold", cbor.Float64(1000)), "alarm agentkeys-router-dead-letters", false},
		"no alarm":            {func() { delete(f.Alarms, "agentkeys-router-late") }, "alarm agentkeys-router-late", false},
		"nothing is notified": {func() { delete(f.Settings, "notification") }, "bucket agentkeys-example: notification", true},
		"a limit is lifted":   {func() { fn.Environment["AGENTKEYS_WALLET_MESSAGES_PER_HOUR"] = "0" }, "function agentkeys-router", false},
		"few tries": {func() {
			queue.Attributes["RedrivePolicy"] = strings.ReplaceAll(queue.Attributes["RedrivePolicy"], "120", "5")
		}, "queue agentkeys-mail", false},
		"sorted mail stays":    lifecycle("<Value>mail</Value>", "<Value>other</Value>"),
		"all of it expires":    lifecycle("<Tag><Key>agentkeys</Key><Value>mail</Value></Tag>", "<Prefix></Prefix>"),
		"of one prefix only":   lifecycle("<Tag><Key>agentkeys</Key><Value>mail</Value></Tag>", "<And><Prefix>bots/</Prefix><Tag><Key>agentkeys</Key><Value>mail</Value></Tag></And>"),
		"of large mail only":   lifecycle("<Tag><Key>agentkeys</Key><Value>mail</Value></Tag>", "<And><ObjectSizeGreaterThan>9</ObjectSizeGreaterThan><Tag><Key>agentkeys</Key><Value>mail</Value></Tag></And>"),
		"old versions stay":    lifecycle("<Filter><Prefix></Prefix></Filter>", "<Filter><And><Prefix></Prefix><Tag><Key>agentkeys</Key><Value>mail</Value></Tag></And></Filter>"),
		"the rule is disabled": lifecycle("<ID>agentkeys-sorted</ID><Status>Enabled", "<ID>agentkeys-sorted</ID><Status>Disabled"),
		"the router may not tag": {func() {
			f.Roles["agentkeys-router"].Inline[ourPolicy] = strings.ReplaceAll(f.Roles["agentkeys-router"].Inline[ourPolicy], "s3:PutObjectTagging", "s3:GetObjectTagging")
		}, "role agentkeys-router: policy", false},
	} {
		d.change()
		plan, err := c.Plan(t.Context(), silent)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		found := ""
		for _, ch := range plan.Changes {
			if ch.Action == Create || ch.Action == Update {
				found += ch.Part + "\n"
			}
		}
		if found != d.part+"\n" {
			t.Errorf("%s: the plan changes\n%s", name, found)
		}
		if name == "an open queue" && (len(plan.Findings) != 3 || plan.Findings[0].Document != d.part) {
			t.Errorf("findings %v", plan.Findings)
		}
		if d.looked {
			report, err := c.Verify(t.Context(), awsProbe(), silent)
			if err != nil || !slices.ContainsFunc(report.Surprises(), func(r Row) bool { return r.Who == "mail" }) {
				t.Errorf("%s: verify: %v, %v", name, err, surprises(report))
			}
		}
		if err := c.Apply(t.Context(), plan, silent); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		verified(f)
	}
	mustBeEmpty(t, c)
	dead.Messages = []string{"{}"}
	if report, err := c.Verify(t.Context(), awsProbe(), silent); err != nil || strings.Join(surprises(report), "; ") != "mail: no dead letters" {
		t.Errorf("%v, %v", err, surprises(report))
	}
	dead.Messages = nil
	// A role that may more, which nobody can take to try.
	f.Roles["agentkeys-router"].Inline["wider"] = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}`
	f.Settings["policy"] = `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:DeleteBucket","Resource":"arn:aws:s3:::agentkeys-example"}]}`
	f.Roles["agentkeys-router"].Inline[ourPolicy] = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:GetObject","s3:PutObject"],"Resource":"arn:aws:s3:::agentkeys-example/*"}]}`
	report, err := c.Verify(t.Context(), awsProbe(), silent)
	if got := strings.Join(surprises(report), "; "); err != nil || !strings.Contains(got, "router, evaluated: get bots/*/credentials/*") || !strings.Contains(got, "router, evaluated: put inbound/") {
		t.Errorf("%v, %s", err, got)
	}
}

// TestMailInterrupted stops apply and destroy after every single change, and
// goes on.
func TestMailInterrupted(t *testing.T) {
	f, c := startAWS(t, true)
	steps := 0
	for ; steps < 100; steps++ {
		plan, err := c.Plan(t.Context(), silent)
		if err != nil {
			t.Fatal(err)
		}
		if plan.Empty() {
			break
		}
		ctx, cancel := context.WithCancel(t.Context())
		told := 0
		err = c.Apply(ctx, plan, func(string) {
			if told++; told == 2 {
				cancel()
			}
		})
		cancel()
		if err == nil && plan.Pending() > 1 {
			t.Fatal("the interrupted apply says that it is done")
		}
	}
	if steps < 25 {
		t.Errorf("done after %d steps", steps)
	}
	mustBeEmpty(t, c)

	removed := 0
	for ; removed < 100; removed++ {
		r, err := c.PlanRemoval(t.Context(), silent)
		if err != nil {
			t.Fatal(err)
		}
		if r.Empty() {
			break
		}
		if len(r.Keep) != 0 {
			t.Errorf("kept: %v", r.Keep)
		}
		ctx, cancel := context.WithCancel(t.Context())
		told := 0
		err = c.Destroy(ctx, r, true, func(string) {
			if told++; told == 2 && len(r.Remove) > 1 { // of the bucket alone it tells twice
				cancel()
			}
		})
		cancel()
		if err == nil && len(r.Remove) > 1 {
			t.Fatal("the interrupted destroy says that it is done")
		}
	}
	if removed < 15 || len(f.Queues)+len(f.Functions)+len(f.Mappings)+len(f.Alarms)+len(f.Logs)+len(f.Identities)+len(f.RuleSets)+len(f.Roles)+len(f.Objects) != 0 || f.Active != "" || f.Bucket != "" || f.Provider != nil {
		t.Errorf("after %d steps: %v", removed, f)
	}
}

func TestOtherPeoplesMail(t *testing.T) {
	ctx := t.Context()
	t.Run("notifications", func(t *testing.T) {
		f, c := startAWS(t, true)
		mustApply(t, c)
		const theirs = `<QueueConfiguration><Id>theirs</Id><Queue>arn:aws:sqs:eu-central-1:012345678901:theirs</Queue><Event>s3:ObjectCreated:*</Event><Filter><S3Key><FilterRule><Name>prefix</Name><Value>%</Value></FilterRule></S3Key></Filter></QueueConfiguration>` +
			`<TopicConfiguration><Id>topic</Id><Topic>arn:aws:sns:eu-central-1:012345678901:x</Topic><Event>s3:ObjectRemoved:*</Event><Filter><S3Key><FilterRule><Name>prefix</Name><Value>bots/</Value></FilterRule></S3Key></Filter></TopicConfiguration><EventBridgeConfiguration/>`
		f.Queues["theirs"] = &aws.Queue{Attributes: map[string]string{"Policy": `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"s3.amazonaws.com"},"Action":"sqs:SendMessage","Resource":"*"}]}`}}
		put := func(prefix string) {
			f.Settings["notification"] = "<NotificationConfiguration>" + strings.Replace(theirs, "%", prefix, 1) + "</NotificationConfiguration>"
		}
		put("exports/")
		mustApply(t, c)
		mustBeEmpty(t, c)
		for _, want := range []string{"theirs", "topic", "EventBridgeConfiguration", notificationID} {
			if !strings.Contains(f.Settings["notification"], want) {
				t.Errorf("%s is gone: %s", want, f.Settings["notification"])
			}
		}
		r, err := c.PlanRemoval(ctx, silent)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(r.mail, func(p piece) bool { return strings.HasSuffix(p.name, ": notification") })
		if err := r.mail[i].do(ctx); err != nil || strings.Contains(f.Settings["notification"], notificationID) || !strings.Contains(f.Settings["notification"], "theirs") {
			t.Errorf("%v: %s", err, f.Settings["notification"])
		}
		for _, prefix := range []string{"", "in", "inbound/", "inbound/x"} {
			put(prefix)
			plan, err := c.Plan(ctx, silent)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Apply(ctx, plan, silent); !errors.Is(err, ErrNotifies) || !strings.Contains(err.Error(), "theirs") {
				t.Errorf("%q: %v", prefix, err)
			}
		}
	})
	t.Run("an active rule set", func(t *testing.T) {
		f, c := startAWS(t, true)
		f.RuleSets["theirs"], f.Active = []*aws.Rule{{Name: "other", Enabled: true}}, "theirs"
		mustApply(t, c)
		mustBeEmpty(t, c)
		verified(f)
		if notes := notesOf(t, c); f.Active != "theirs" || !strings.Contains(notes, "ses.rule_set says theirs") {
			t.Errorf("active %s: %s", f.Active, notes)
		}
		report, err := c.Verify(ctx, awsProbe(), silent)
		if err != nil || strings.Join(surprises(report), "; ") != "mail: the receipt rule set is active" {
			t.Errorf("%v, %v", err, surprises(report))
		}
		// The rule joins theirs, and leaves it as it was.
		conf := c.Config
		conf.Names.SES.RuleSet = "theirs"
		c = reopen(t, conf)
		mustApply(t, c)
		if len(f.RuleSets["theirs"]) != 2 {
			t.Errorf("%v", f.RuleSets["theirs"])
		}
		r, err := c.PlanRemoval(ctx, silent)
		if err != nil || !slices.Contains(r.Keep, "receipt rule set theirs, which was there before") {
			t.Fatalf("%v, %v", err, r.Keep)
		}
		if err := c.Destroy(ctx, r, true, silent); err != nil {
			t.Fatal(err)
		}
		if len(f.RuleSets["theirs"]) != 1 || f.Active != "theirs" {
			t.Errorf("%v, active %q", f.RuleSets["theirs"], f.Active)
		}
	})
	t.Run("a rule in our set", func(t *testing.T) {
		f, c := startAWS(t, true)
		mustApply(t, c)
		f.RuleSets["agentkeys"] = append(f.RuleSets["agentkeys"], &aws.Rule{Name: "theirs"})
		r, err := c.PlanRemoval(ctx, silent)
		if err != nil || !slices.Contains(r.Keep, "receipt rule set agentkeys, which has rules of others") || slices.Contains(r.Remove, "receipt rule set agentkeys") {
			t.Errorf("%v: %v", err, r.Keep)
		}
	})
	t.Run("an identity", func(t *testing.T) {
		f, c := startAWS(t, true)
		f.Identities["mail.example.com"] = &aws.Identity{Token: "t", Verification: "Success", DKIMState: "NotStarted"}
		mustApply(t, c)
		mustBeEmpty(t, c)
		if len(f.Identities["mail.example.com"].DKIM) != 3 {
			t.Error("it has no keys")
		}
		r, err := c.PlanRemoval(ctx, silent)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Destroy(ctx, r, true, silent); err != nil || len(f.Identities) != 1 || f.Identities["mail.example.com"] == nil {
			t.Errorf("%v: %v", err, f.Identities)
		}
	})
	for name, make := range map[string]func(*aws.Server){
		"queue": func(f *aws.Server) { f.Queues["agentkeys-mail"] = &aws.Queue{Attributes: map[string]string{}} },
		"dead": func(f *aws.Server) {
			f.Queues["agentkeys-mail-dead"] = &aws.Queue{Attributes: map[string]string{}, Tags: map[string]string{Mark: "another-bucket"}}
		},
		"function": func(f *aws.Server) { f.Functions["agentkeys-router"] = &aws.Function{} },
		"log":      func(f *aws.Server) { f.Logs["/aws/lambda/agentkeys-router"] = &aws.Log{} },
		"alarm":    func(f *aws.Server) { f.Alarms["agentkeys-router-late"] = &aws.Alarm{Fields: cbor.Map{}} },
		"rule": func(f *aws.Server) {
			f.RuleSets["agentkeys"] = []*aws.Rule{{Name: "inbound", Recipients: []string{"theirs.example"}}}
		},
	} {
		t.Run("a "+name, func(t *testing.T) {
			f, c := startAWS(t, true)
			make(f)
			if _, err := c.Plan(ctx, silent); !errors.Is(err, ErrNotOurs) {
				t.Errorf("%v", err)
			}
			r, err := c.PlanRemoval(ctx, silent)
			if err != nil || len(r.Remove) != 0 || len(r.Keep) == 0 {
				t.Errorf("%v: %+v", err, r)
			}
		})
	}
}

func TestDNS(t *testing.T) {
	f, c := startAWS(t, true)
	before, err := c.DNS(t.Context())
	if err != nil || len(before) != 2 || before[0].State != "absent" || len(before[0].Records) != 9 || before[0].Records[0].Value != "" {
		t.Fatalf("%v: %+v", err, before)
	}
	mustApply(t, c)
	f.Identities["mail.example.com"].Verification = "Success"
	after, err := c.DNS(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d := after[0]
	id := f.Identities["mail.example.com"]
	want := []Record{
		{Name: "_amazonses.mail.example.com", Type: "TXT", Value: id.Token, State: "success"},
		{Name: id.DKIM[0] + "._domainkey.mail.example.com", Type: "CNAME", Value: id.DKIM[0] + ".dkim.amazonses.com", State: "pending"},
		{Name: id.DKIM[1] + "._domainkey.mail.example.com", Type: "CNAME", Value: id.DKIM[1] + ".dkim.amazonses.com", State: "pending"},
		{Name: id.DKIM[2] + "._domainkey.mail.example.com", Type: "CNAME", Value: id.DKIM[2] + ".dkim.amazonses.com", State: "pending"},
		{Name: "mail.example.com", Type: "MX", Value: "10 inbound-smtp.eu-west-1.amazonaws.com"},
		{Name: "mail.example.com", Type: "TXT", Value: "v=spf1 include:amazonses.com -all"},
		{Name: "_dmarc.mail.example.com", Type: "TXT", Value: "v=DMARC1; p=quarantine; rua=mailto:dmarc@example.net"},
		{Name: "bounce.mail.example.com", Type: "MX", Value: "10 feedback-smtp.eu-west-1.amazonses.com", State: "pending"},
		{Name: "bounce.mail.example.com", Type: "TXT", Value: "v=spf1 include:amazonses.com -all", State: "pending"},
	}
	for i := range d.Records {
		d.Records[i].For = ""
	}
	if d.State != "success" || !slices.Equal(d.Records, want) {
		t.Errorf("%s: %+v", d.State, d.Records)
	}
	conf := c.Config
	conf.Names.SES.Region = "eu-south-7"
	if notes := notesOf(t, reopen(t, conf)); !strings.Contains(notes, "look whether SES receives mail in eu-south-7") {
		t.Errorf("notes: %s", notes)
	}
}

// TestMailLeftOut: a server without mail says of each part that it goes without.
func TestMailLeftOut(t *testing.T) {
	_, c := startAWS(t, true)
	before, after := c.mailParts2(t)
	c.Compatible = VersityGW
	b, a := c.mailParts()
	var names []string
	for _, p := range append(b, a...) {
		if p.left != noMail || p.read != nil {
			t.Errorf("%s is not left out", p.name)
		}
		names = append(names, p.name)
	}
	if !slices.Equal(names, append(before, after...)) || len(names) < 20 {
		t.Errorf("%v", names)
	}
	c.Mail = nil
	if b, a := c.mailParts(); b != nil || a != nil {
		t.Error("without mail there are parts of it")
	}
}

func (c *Cloud) mailParts2(t *testing.T) (before, after []string) {
	t.Helper()
	if err := c.loadPackage(); err != nil {
		t.Fatal(err)
	}
	b, a := c.mailParts()
	for _, p := range b {
		before = append(before, p.name)
	}
	for _, p := range a {
		after = append(after, p.name)
	}
	return before, after
}

func TestPackage(t *testing.T) {
	_, c := startAWS(t, true)
	for name, p := range map[string]struct{ path, architecture, says string }{
		"nothing":          {"/nonexistent/mailrouter.zip", "arm64", "no such file"},
		"another machine":  {writePackage(t, 0x3e), "arm64", "mail.function.architecture says arm64"},
		"another name":     {writeZip(t, "main", 0o755, elfHeader(0xb7)), "arm64", "no bootstrap"},
		"not executable":   {writeZip(t, program, 0o644, elfHeader(0xb7)), "arm64", "may not be executed"},
		"a script":         {writeZip(t, program, 0o755, []byte("#!/bin/sh\n")), "arm64", "no program for Linux"},
		"for amd64, right": {writePackage(t, 0x3e), "amd64", ""},
	} {
		conf := c.Config
		m := *conf.Mail
		m.Package, m.Architecture = p.path, p.architecture
		conf.Mail = &m
		_, err := reopen(t, conf).Plan(t.Context(), silent)
		if (err == nil) != (p.says == "") || err != nil && (!errors.Is(err, ErrPackage) || !strings.Contains(err.Error(), p.says)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// New code is a change, and of the code alone.
	mustApply(t, c)
	conf := c.Config
	m := *conf.Mail
	m.Package, conf.Mail = writePackage(t, 0xb7, 'n', 'e', 'w'), &m
	c = reopen(t, conf)
	if plan := mustApply(t, c); plan.Pending() != 1 {
		t.Errorf("%d changes", plan.Pending())
	}
	mustBeEmpty(t, c)
	// Removal needs no package.
	m.Package = "/nonexistent"
	if _, err := reopen(t, conf).PlanRemoval(t.Context(), silent); err != nil {
		t.Error(err)
	}
}

// TestMailSettings changes what the configuration says: the cloud follows.
func TestMailSettings(t *testing.T) {
	f, c := startAWS(t, true)
	mustApply(t, c)
	conf := c.Config
	m := *conf.Mail
	m.Reserved, m.Seconds, m.MemoryMB, m.Batch, m.Concurrency, m.PlainSMTP, m.Tags = 5, 60, 256, 1, 2, true, []string{"or"}
	m.WalletPerHour, m.SenderPerHour = 7, 0
	m.Architecture, m.Package = "amd64", writePackage(t, 0x3e)
	conf.Mail, conf.Names.Mail.RemoveSource, conf.MailDays = &m, true, 7
	c = reopen(t, conf)
	mustApply(t, c)
	mustBeEmpty(t, c)
	fn := f.Functions["agentkeys-router"]
	if *fn.Reserved != 5 || fn.Timeout != 60 || fn.Memory != 256 || fn.Architecture != "x86_64" || fn.Environment["AGENTKEYS_REMOVE_SOURCE"] != "true" ||
		fn.Environment["AGENTKEYS_WALLET_MESSAGES_PER_HOUR"] != "7" || fn.Environment["AGENTKEYS_SENDER_MESSAGES_PER_HOUR"] != "0" || !strings.Contains(f.Queues["agentkeys-mail"].Attributes["RedrivePolicy"], ":60}") || f.Queues["agentkeys-mail"].Attributes["VisibilityTimeout"] != "360" {
		t.Errorf("%+v", fn)
	}
	if !strings.Contains(f.Roles["agentkeys-router"].Inline[ourPolicy], "s3:DeleteObject") || f.RuleSets["agentkeys"][0].TLS != "Optional" {
		t.Error("the role may not remove what it sorted, or TLS is still required")
	}
	if got := f.Settings["lifecycle"]; strings.Count(got, "<Expiration><Days>7</Days></Expiration>") != 2 {
		t.Errorf("not all mail goes after 7 days: %s", got)
	}
	verified(f)
	if report, err := c.Verify(t.Context(), awsProbe(), silent); err != nil || !report.Good() {
		t.Errorf("%v, %v, %v", err, surprises(report), report.Findings)
	}
	if got := cloudpolicy.LintFor(conf.Names, conf.Documents()...); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

// TestOrder asks the stand-in for each thing before what it needs: it refuses,
// so that an apply that gets through has the order right.
func TestOrder(t *testing.T) {
	f, c := startAWS(t, true)
	c.Tries = 1
	write := func(name string) error {
		t.Helper()
		for _, p := range c.parts() {
			if p.name == name {
				return p.write(t.Context())
			}
		}
		t.Fatalf("there is no part %s", name)
		return nil
	}
	if err := c.loadPackage(); err != nil {
		t.Fatal(err)
	}
	const bucket, queue, function = "bucket agentkeys-example", "queue agentkeys-mail", "function agentkeys-router"
	for _, step := range []struct{ first, needs, says string }{
		{"", queue, "Dead letter target"},
		{queue + "-dead", queue, ""},
		{"", function, "cannot be assumed"},
		{"role agentkeys-router", function, ""},
		{"", function + ": source", "does not have permissions"},
		{"role agentkeys-router: policy", function + ": source", ""},
		{bucket, bucket + ": notification", "destination"},
		{queue + ": policy", bucket + ": notification", ""},
		{"receipt rule set agentkeys", "receipt rule inbound", "Could not write"},
		{bucket + ": policy", "receipt rule inbound", ""},
		{"", "receipt rule set agentkeys: active", ""},
	} {
		if step.first != "" {
			if err := write(step.first); err != nil {
				t.Fatalf("%s: %v", step.first, err)
			}
		}
		if err := write(step.needs); (err == nil) != (step.says == "") || err != nil && !strings.Contains(err.Error(), step.says) {
			t.Errorf("%s after %s: %v", step.needs, step.first, err)
		}
	}
	if f.Active == "" {
		t.Error("nothing is active")
	}
	// SES for another rule is not let in.
	conf := c.Config
	conf.Names.SES.Rule = "other"
	if err := reopen(t, conf).rulePart().write(t.Context()); err == nil {
		t.Error("another rule may write too")
	}
}
