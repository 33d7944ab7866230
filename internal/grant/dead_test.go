package grant_test

import (
	"testing"

	"github.com/litentry/agentkeys/internal/grant"
)

// TestDead: a rule for one request that the service never lends is known as
// such before anybody waits for it to work.
func TestDead(t *testing.T) {
	rules := func(texts ...string) []grant.Rule {
		r, err := grant.ParseRules(texts)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	p := grant.Policy{Allow: rules("POST /chat/completions", "GET /models/**", "GET /keys"), Shut: rules("* /keys/**")}
	for text, want := range map[string]grant.Code{
		"POST /chat/completions": "", "GET /models": "", "GET /models/a/b": "", "HEAD /models": "",
		"GET|POST /chat/completions": "", "* /chat/completions": "", "* /keys": "",
		"POST /chat/completion": grant.CodePathDenied, "GET /chat/completions": grant.CodePathDenied, "PUT|PATCH /models": grant.CodePathDenied,
		"GET /keys": grant.CodePathShut, "GET /KEYS/": grant.CodePathShut,
		"GET /nothing/*": "", "GET /keys/**": "",
	} {
		if got := p.Dead(rules(text)[0]); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}
