package grant_test

import (
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/grant"
)

var catalogue = grant.Policy{
	Allow: rules("POST /chat", "GET /models/**", "* /files/*", "GET /keys"),
	Shut:  rules("* /keys/**", "DELETE /files/*"),
}

func TestCheck(t *testing.T) {
	narrow := func(texts ...string) func(*grant.Grant) {
		return func(g *grant.Grant) { g.Rules = rules(texts...) }
	}
	unsafe := func(texts ...string) func(*grant.Grant) {
		return func(g *grant.Grant) { g.Unsafe = rules(texts...) }
	}
	for _, c := range []struct {
		name    string
		grant   *grant.Grant
		request string
		pol     grant.Policy
		want    grant.Code
		rule    string // in the log
	}{
		{"allowed", lend("g"), "POST /chat", catalogue, "", "POST /chat"},
		{"allowed below", lend("g"), "HEAD /models/a/b", catalogue, "", "GET /models/**"},
		{"not listed", lend("g"), "GET /chat", catalogue, grant.CodePathDenied, ""},
		{"not listed, case", lend("g"), "POST /Chat", catalogue, grant.CodePathDenied, ""},
		{"not listed, slash", lend("g"), "POST /chat/", catalogue, grant.CodePathDenied, ""},
		{"shut wins over allow", lend("g"), "GET /keys", catalogue, grant.CodePathShut, ""},
		{"shut in capitals", lend("g"), "GET /KEYS/x", catalogue, grant.CodePathShut, ""},
		{"shut for one method", lend("g"), "DELETE /files/a", catalogue, grant.CodePathShut, ""},
		{"open for the others", lend("g"), "PUT /files/a", catalogue, "", "* /files/*"},

		{"narrowed, inside", lend("g", narrow("GET /models/*")), "GET /models/a", catalogue, "", "GET /models/*"},
		{"narrowed, outside", lend("g", narrow("GET /models/*")), "POST /chat", catalogue, grant.CodePathDenied, ""},
		{"a grant does not widen", lend("g", narrow("* /**")), "GET /other", catalogue, grant.CodePathDenied, ""},
		{"a grant does not open what is shut", lend("g", narrow("* /**")), "GET /keys", catalogue, grant.CodePathShut, ""},

		{"unsafe opens", lend("g", unsafe("GET /keys")), "GET /keys", catalogue, "", "GET /keys"},
		{"unsafe opens no other method", lend("g", unsafe("GET /keys")), "DELETE /keys", catalogue, grant.CodePathShut, ""},
		{"unsafe opens no other case", lend("g", unsafe("GET /keys")), "GET /Keys", catalogue, grant.CodePathShut, ""},
		{"unsafe opens nothing below", lend("g", unsafe("GET /keys")), "GET /keys/a", catalogue, grant.CodePathShut, ""},
		{"unsafe opens no slash", lend("g", unsafe("GET /keys")), "GET /keys/", catalogue, grant.CodePathShut, ""},
		{"unsafe opens what is not listed", lend("g", unsafe("GET /extra")), "GET /extra", catalogue, "", "GET /extra"},
		{"unsafe leaves the rest as it is", lend("g", unsafe("GET /keys")), "GET /extra", catalogue, grant.CodePathDenied, ""},
		{"unsafe does not stop at rules", lend("g", unsafe("GET /keys"), narrow("POST /chat")), "GET /keys", catalogue, "", "GET /keys"},
		{"rules hold beside unsafe", lend("g", unsafe("GET /keys"), narrow("POST /chat")), "GET /models/a", catalogue, grant.CodePathDenied, ""},

		{"zero policy", lend("g"), "POST /chat", grant.Policy{}, grant.CodePathDenied, ""},
		{"zero policy and unsafe", lend("g", unsafe("* /**")), "POST /chat", grant.Policy{}, grant.CodePathDenied, ""},
		{"policy that only shuts", lend("g"), "POST /chat", grant.Policy{Shut: catalogue.Shut}, grant.CodePathDenied, ""},
		{"policy of zero rules", lend("g"), "POST /chat", grant.Policy{Allow: make([]grant.Rule, 1), Shut: make([]grant.Rule, 1)}, grant.CodePathDenied, ""},
		{"no grant", nil, "POST /chat", catalogue, grant.CodeNoGrant, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDesk()
			r := d.request()
			r.Method, r.Path, _ = strings.Cut(c.request, " ")
			p, err := d.Use(ctx, bot, alice, or, c.grant, c.pol, r)
			if got := code(t, p, err); got != c.want {
				t.Fatalf("%q, want %q: %v", got, c.want, err)
			}
			e := d.tape.last()
			if e.Op != grant.OpUse || e.Reason != string(c.want) || e.Method != r.Method || e.Request != r.ID || e.Actor != alice || e.Agent != bot || e.Svc != or {
				t.Errorf("recorded as %+v", e)
			}
			if c.want == "" && (e.Decision != grant.Allowed || e.Path != c.rule) || c.want != "" && (e.Decision != grant.Denied || e.Path != r.Path) {
				t.Errorf("recorded as %s %q", e.Decision, e.Path)
			}
			if c.grant != nil && (e.Grant != "g" || e.Parent != master) {
				t.Errorf("recorded under grant %q of %s", e.Grant, e.Parent)
			}
		})
	}
}

// TestSomebodyElses: a grant works for the agent, wallet and service that it
// names, and for nobody with any two of them.
func TestSomebodyElses(t *testing.T) {
	d := newDesk()
	for _, agent := range []agentkeys.Agent{{}, bot, other} {
		for _, w := range []agentkeys.Wallet{{}, alice, mallet, master} {
			for _, svc := range []agentkeys.Service{{}, or, brave} {
				p, err := d.Use(ctx, agent, w, svc, lend("g"), anything, d.request())
				want := grant.CodeNoGrant
				if agent == bot && w == alice && svc == or {
					want = ""
				}
				if got := code(t, p, err); got != want {
					t.Errorf("agent %q, wallet %q, service %q: %q", agent, w, svc, got)
				}
			}
		}
	}
}

func TestMalformedGrantsDeny(t *testing.T) {
	if err := lend("g", budget("1req"), budget("1usd"), rate("1/s")).Validate(); err != nil {
		t.Fatal(err)
	}
	if err := (*grant.Grant)(nil).Validate(); err == nil {
		t.Error("no grant is valid")
	}
	d := newDesk()
	for name, spoil := range map[string]func(*grant.Grant){
		"zero":              func(g *grant.Grant) { *g = grant.Grant{} },
		"no id":             func(g *grant.Grant) { g.ID = "" },
		"no master":         func(g *grant.Grant) { g.Master = agentkeys.Wallet{} },
		"no wallet":         func(g *grant.Grant) { g.Wallet = agentkeys.Wallet{} },
		"no agent":          func(g *grant.Grant) { g.Agent = agentkeys.Agent{} },
		"no service":        func(g *grant.Grant) { g.Svc = agentkeys.Service{} },
		"no expiry":         func(g *grant.Grant) { g.Expires = time.Time{} },
		"no beginning":      func(g *grant.Grant) { g.Created = time.Time{} },
		"no requests":       func(g *grant.Grant) { g.Requests = &grant.Requests{Limit: 0, Per: grant.Day} },
		"negative requests": func(g *grant.Grant) { g.Requests = &grant.Requests{Limit: -1, Per: grant.Day} },
		"requests for ever": func(g *grant.Grant) { g.Requests = &grant.Requests{Limit: 1} },
		"odd window":        func(g *grant.Grant) { g.Requests = &grant.Requests{Limit: 1, Per: "eon"} },
		"no money":          func(g *grant.Grant) { g.Budget = &grant.Budget{Limit: 0, Per: grant.Day} },
		"debt":              func(g *grant.Grant) { g.Budget = &grant.Budget{Limit: -1, Per: grant.Day} },
		"odd money window":  func(g *grant.Grant) { g.Budget = &grant.Budget{Limit: 1, Per: "Day"} },
		"no rate":           func(g *grant.Grant) { g.Rate = &grant.Rate{Limit: 0, Per: time.Second} },
		"negative rate":     func(g *grant.Grant) { g.Rate = &grant.Rate{Limit: -1, Per: time.Second} },
		"rate per nothing":  func(g *grant.Grant) { g.Rate = &grant.Rate{Limit: 1} },
		"rate per negative": func(g *grant.Grant) { g.Rate = &grant.Rate{Limit: 1, Per: -time.Second} },
		"rate without end":  func(g *grant.Grant) { g.Rate = &grant.Rate{Limit: 1 << 62, Per: time.Second} },
		"zero rule":         func(g *grant.Grant) { g.Rules = make([]grant.Rule, 1) },
		"zero unsafe rule":  func(g *grant.Grant) { g.Unsafe = append(rules("GET /x"), grant.Rule{}) },
	} {
		g := lend("g", spoil)
		if g.Validate() == nil {
			t.Errorf("%s: valid", name)
		}
		p, err := d.use(g)
		if got := code(t, p, err); got != grant.CodeNoGrant {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestExpiry(t *testing.T) {
	end := noon.Add(time.Hour)
	g := lend("g", func(g *grant.Grant) { g.Expires = end })
	for _, c := range []struct {
		at   time.Time
		want grant.Code
	}{
		{noon.Add(-time.Hour), ""}, // the clock was set back: not the agent's doing
		{end.Add(-time.Nanosecond), ""},
		{end, grant.CodeExpired},
		{end.Add(time.Nanosecond), grant.CodeExpired},
		{end.In(time.FixedZone("", -11*3600)), grant.CodeExpired},
		{end.AddDate(100, 0, 0), grant.CodeExpired},
		{time.Time{}, grant.CodeExpired},
	} {
		d := newDesk()
		d.now = c.at
		p, err := d.use(g)
		if got := code(t, p, err); got != c.want {
			t.Errorf("at %s: %q, want %q", c.at, got, c.want)
		}
	}
}
