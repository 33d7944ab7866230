package cloudpolicy

import (
	"fmt"
	"testing"
)

// TestOnlyMailIsTagged: what the lifecycle knows mail by can be put on mail
// alone. The bucket denies it of a sealed key to everybody, and the router has
// no other place to tag, also if their own policies allow everything. The
// independent implementation is asked the same.
func TestOnlyMailIsTagged(t *testing.T) {
	t.Parallel()
	n := mailNames
	everything := Document{Version: Version, Statements: []Statement{{Effect: Allow, Action: []string{"*"}, Resource: []string{"*"}}}}
	mail := []string{"bots/" + a + "/inbound/m1", "bots/" + b + "/inbound/m1", "refused/several-wallets/m1"}
	keys := []string{
		"bots/" + a + "/credentials/openrouter.enc", "bots/" + b + "/credentials/openrouter.enc", "bots/" + a + "/credentials/inbound/x.enc",
		"bots/" + a + "/credentials/x/inbound/m1", "bots/" + a + "/credentials/refused/m1",
	}
	other := []string{"inbound/m1", "bots/" + a + "/other", "x"}
	var questions []question
	var want []Verdict
	var names []string
	for form, f := range map[string]Form{"variables": Variables(), "unrolled": Unrolled(walletA, walletB)} {
		bucket, identity := BucketPolicy(n, f), identityOf(n, f)
		for _, c := range callers(n) {
			for _, action := range []string{"s3:PutObjectTagging", "s3:PutObjectVersionTagging"} {
				ask := func(key string, own []Document, expected func(Verdict) bool, says Verdict) {
					ctx := map[string][]string{"aws:SecureTransport": {"true"}}
					for k, v := range c.ctx {
						ctx[k] = v
					}
					if c.name == "data" {
						ctx[principalTag] = []string{a}
					}
					r, p := Request{c.caller, action, n.objects(key), n.Account, ctx}, Policies{Identity: own, Resource: &bucket}
					name := fmt.Sprintf("%s, %s: %s %s with %d of its own", form, c.name, action, key, len(own))
					got := Evaluate(r, p)
					if !expected(got.Verdict) {
						t.Errorf("%s: %s by %v", name, got.Verdict, got.By)
					}
					if says == "" {
						says = got.Verdict
					}
					questions, want, names = append(questions, questionOf(r, p)), append(want, says), append(names, name)
				}
				denied := func(v Verdict) bool { return v == ExplicitDenied }
				for _, key := range keys {
					ask(key, identity[c.role], denied, ExplicitDenied)
					ask(key, []Document{everything}, denied, ExplicitDenied)
				}
				for _, key := range mail {
					may := c.name == "router" && action == "s3:PutObjectTagging"
					ask(key, identity[c.role], func(v Verdict) bool { return (v == Allowed) == may }, "")
				}
				if c.name == "router" || c.name == "data" || c.name == "broker" {
					for _, key := range other {
						ask(key, []Document{everything}, denied, ExplicitDenied)
					}
				}
			}
		}
	}
	allowed := 0
	for i, v := range askOracle(t, questions) {
		if v != want[i] {
			t.Errorf("%s: the oracle says %s, not %s", names[i], v, want[i])
		}
		if v == Allowed {
			allowed++
		}
	}
	t.Logf("%d cells asked, %d allowed", len(questions), allowed)
	if allowed != 2*len(mail) {
		t.Errorf("%d cells are allowed", allowed)
	}
}
