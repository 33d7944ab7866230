package cloudpolicy

import (
	"fmt"
	"maps"
	"testing"
)

// TestQueueTable asks who may do what with the queues, and asks the independent
// implementation the same.
func TestQueueTable(t *testing.T) {
	t.Parallel()
	n := mailNames
	work, dead := n.QueueARN(n.Mail.Queue), n.QueueARN(n.Mail.DeadLetters)
	docs := map[string]Document{work: QueuePolicy(n), dead: DeadLetterPolicy(n), n.QueueARN("other"): {Version: Version, Statements: DeadLetterPolicy(n).Statements}}
	s3From := func(account, bucket string) map[string][]string {
		ctx := map[string][]string{"aws:PrincipalServiceName": {"s3.amazonaws.com"}}
		if account != "" {
			ctx["aws:SourceAccount"] = []string{account}
		}
		if bucket != "" {
			ctx["aws:SourceArn"] = []string{"arn:aws:s3:::" + bucket}
		}
		return ctx
	}
	service := func(name string) Caller { return Caller{Service: name + ".amazonaws.com"} }
	identity := identityOf(n, Variables())
	allowed := 0
	var questions []question
	var wants []bool
	var names []string
	for _, c := range []struct {
		name   string
		caller Caller
		role   string
		ctx    map[string][]string
		may    func(action, queue string) bool
	}{
		{"S3 for our bucket", service("s3"), "", s3From(n.Account, n.Bucket), func(action, queue string) bool { return action == "sqs:SendMessage" && queue == work }},
		{"S3 for another bucket", service("s3"), "", s3From(n.Account, "other"), nil},
		{"S3 for a longer name", service("s3"), "", s3From(n.Account, n.Bucket+"x"), nil},
		{"S3 for our bucket's name in another account", service("s3"), "", s3From(otherAccount, n.Bucket), nil},
		{"S3 for nobody", service("s3"), "", s3From("", ""), nil},
		{"S3 for an account", service("s3"), "", s3From(n.Account, ""), nil},
		{"S3 for a bucket", service("s3"), "", s3From("", n.Bucket), nil},
		{"SNS", service("sns"), "", s3From(n.Account, n.Bucket), nil},
		{"SES", service("ses"), "", s3From(n.Account, n.Bucket), nil},
		{"the router", sessionOf(n, n.RouterRole), "router", nil, func(action, queue string) bool {
			return queue == work && (action == "sqs:ReceiveMessage" || action == "sqs:DeleteMessage" || action == "sqs:GetQueueAttributes")
		}},
		{"the broker", sessionOf(n, n.BrokerRole), "broker", nil, nil},
		{"a wallet", sessionOf(n, n.DataRole), "data", map[string][]string{principalTag: {a}}, nil},
		{"anybody", Caller{}, "", nil, nil},
	} {
		for _, action := range []string{"sqs:SendMessage", "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:PurgeQueue", "sqs:SetQueueAttributes", "sqs:AddPermission", "sqs:DeleteQueue"} {
			for queue, doc := range docs {
				for _, tls := range []string{"true", "false"} {
					ctx := map[string][]string{"aws:SecureTransport": {tls}}
					maps.Copy(ctx, c.ctx)
					r := Request{c.caller, action, queue, n.Account, ctx}
					want := tls == "true" && c.may != nil && c.may(action, queue)
					p := Policies{Identity: identity[c.role], Resource: &doc}
					name := fmt.Sprintf("%s: %s at %s, TLS %s", c.name, action, queue, tls)
					if d := Evaluate(r, p); (d.Verdict == Allowed) != want {
						t.Errorf("%s: %s by %v", name, d.Verdict, d.By)
					}
					if want {
						allowed++
					}
					questions, wants, names = append(questions, questionOf(r, p)), append(wants, want), append(names, name)
				}
			}
		}
	}
	for i, v := range askOracle(t, questions) {
		if (v == Allowed) != wants[i] {
			t.Errorf("%s: the oracle says %s", names[i], v)
		}
	}
	t.Logf("%d cells asked, %d allowed", len(questions), allowed)
	if allowed != 4 {
		t.Errorf("%d cells are allowed", allowed)
	}
}

// TestRouterRemovesOnlyIfTold: without RemoveSource the bucket denies it to the
// router whatever its own policy says.
func TestRouterRemovesOnlyIfTold(t *testing.T) {
	everything := Document{Version: Version, Statements: []Statement{{Effect: Allow, Action: []string{"*"}, Resource: []string{"*"}}}}
	for _, c := range []struct {
		n    Names
		want Verdict
	}{{testNames, ExplicitDenied}, {mailNames, Allowed}} {
		bucket := BucketPolicy(c.n, Variables())
		ctx := map[string][]string{"aws:SecureTransport": {"true"}, "aws:PrincipalArn": {c.n.RoleARN(c.n.RouterRole)}}
		d := Evaluate(Request{sessionOf(c.n, c.n.RouterRole), "s3:DeleteObject", c.n.objects("inbound/m1"), c.n.Account, ctx}, Policies{Identity: []Document{everything}, Resource: &bucket})
		if d.Verdict != c.want {
			t.Errorf("remove %v: %s by %v", c.n.Mail.RemoveSource, d.Verdict, d.By)
		}
	}
}
