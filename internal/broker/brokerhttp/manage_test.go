package brokerhttp_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/broker/brokertest"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/token"
)

// TestMint: each token says whose it is, for whom and for how long, verifies
// by the published keys, and is recorded first.
func TestMint(t *testing.T) {
	n := one(t)
	master := n.login("ada@example.org")
	agent := master.agent("ci")
	keys, err := token.ParseJWKS(n.send(call{method: "GET", path: brokerapi.PathKeys}).want(200).body)
	if err != nil {
		t.Fatal(err)
	}
	algs := map[string]string{brokertest.STS: "ES256", brokertest.Federation: "RS256"}
	for _, c := range []struct {
		name     string
		d        *device
		audience string
		more     []string
		wallet   string
		life     time.Duration
	}{
		{"the master's", master, brokertest.STS, nil, master.s.Wallet.String(), 5 * time.Minute},
		{"by name", master, brokertest.STS, []string{"wallet", master.s.Wallet.String()}, master.s.Wallet.String(), 5 * time.Minute},
		{"federated", master, brokertest.Federation, []string{"lifetime", "900"}, master.s.Wallet.String(), 15 * time.Minute},
		{"the agent's", agent, brokertest.STS, []string{"lifetime", "60"}, agent.s.Wallet.String(), time.Minute},
		{"the agent's by its master", master, brokertest.STS, []string{"wallet", agent.s.Wallet.String()}, agent.s.Wallet.String(), 5 * time.Minute},
	} {
		a := into[brokerapi.TokenAnswer](c.d.mint(c.audience, c.more...))
		id, err := token.Verifier{Issuer: brokertest.Origin, Audience: c.audience, Keys: keys}.Identity(a.Token, n.w.Clock.Now())
		if err != nil || id.Wallet.String() != c.wallet || id.Expires.Sub(id.Issued) != c.life || a.ExpiresIn != int(c.life.Seconds()) {
			t.Errorf("%s: %+v %v", c.name, id, err)
		}
		if alg := header(t, a.Token); !strings.Contains(alg, `"`+algs[c.audience]+`"`) {
			t.Errorf("%s: %s", c.name, alg)
		}
		last := n.w.Tape.Events()[len(n.w.Tape.Events())-1]
		if last.Op != "token.mint" || last.Actor != c.d.s.Wallet || last.Request != id.ID || !strings.Contains(last.Subject, c.wallet) {
			t.Errorf("%s: recorded %+v", c.name, last)
		}
	}
	at := token.Verifier{Issuer: brokertest.Origin, Audience: brokertest.SignerAudience, Keys: keys}
	for _, c := range []struct {
		d    *device
		more []string
		want token.Access
	}{
		{master, []string{"lifetime", "900"}, token.Access{Wallet: master.s.Wallet, Role: token.Master}},
		{agent, nil, token.Access{Wallet: agent.s.Wallet, Role: token.Agent, Parent: master.s.Wallet, Agent: agent.s.Agent}},
		{master, []string{"wallet", agent.s.Wallet.String()}, token.Access{Wallet: agent.s.Wallet, Role: token.Master, Parent: master.s.Wallet, Agent: agent.s.Agent}},
	} {
		a := into[brokerapi.TokenAnswer](c.d.mint(brokertest.SignerAudience, c.more...))
		got, err := at.Access(a.Token, n.w.Clock.Now())
		if err != nil || got.Wallet != c.want.Wallet || got.Role != c.want.Role || got.Parent != c.want.Parent || got.Agent != c.want.Agent ||
			got.Account != master.s.Account || got.Device.String() != c.d.s.Device || got.Expires.Sub(got.Issued) > 5*time.Minute {
			t.Errorf("%+v %v", got, err)
		}
	}
	// Without the agent there is no wallet to act for.
	master.do("DELETE", "/v1/agents/ci", nil).want(204)
	master.mint(brokertest.STS, "wallet", agent.s.Wallet.String()).problem(403, brokerapi.CodeForbidden)
	agent.mint(brokertest.STS).problem(401, brokerapi.CodeDevice)
}

// TestAgents: one of each label; what belonged to one that is gone does not
// come to life with the next.
func TestAgents(t *testing.T) {
	n := one(t)
	master := n.login("ada@example.org")
	ci := master.agent("ci")
	master.do("POST", brokerapi.PathAgents, map[string]string{"label": "ci"}).problem(409, brokerapi.CodeExists)
	c := master.as("POST", brokerapi.PathAgents, map[string]string{"label": "No"})
	c.odd = true
	n.send(c).problem(400, brokerapi.CodeRequest)
	for i := range 70 { // more than one change can take
		master.grant("ci", fmt.Sprintf("service%d", i)).want(200)
	}
	old := into[brokerapi.Enrolment](master.do("POST", "/v1/agents/ci/enrolment", nil))
	master.do("DELETE", "/v1/agents/ci", nil).want(204)
	master.do("DELETE", "/v1/agents/ci", nil).problem(404, brokerapi.CodeNotFound)
	master.do("POST", "/v1/agents/ci/enrolment", nil).problem(404, brokerapi.CodeNotFound)
	if got := master.grant("ci", "openrouter"); got.status != 404 {
		t.Errorf("granted to nobody: %d", got.status)
	}
	ci.do("GET", brokerapi.PathEvents, nil).problem(401, brokerapi.CodeDevice)

	a := into[brokerapi.Agent](master.do("POST", brokerapi.PathAgents, map[string]string{"label": "ci"}))
	if a.Wallet != ci.s.Wallet || a.Enrolled {
		t.Errorf("made again: %+v", a)
	}
	if all := into[[]grant.Grant](master.do("GET", brokerapi.PathGrants, nil)); len(all) != 0 {
		t.Errorf("%d grants came to life", len(all))
	}
	n.redeem(brokertest.NewKey(t), old.Code).problem(403, brokerapi.CodeLogin)
	n.send(call{method: "POST", path: brokerapi.PathSession, key: ci.key}).problem(401, brokerapi.CodeDevice)
	for op, want := range map[string]int{"agent.create": 2, "agent.remove": 1, "grant.create": 70} {
		if allowed, done := n.w.Tape.Count(op, "allow"), n.w.Tape.Count(op, "done"); allowed != want || done != want {
			t.Errorf("%s is recorded %d and %d times", op, allowed, done)
		}
	}
}

// TestEnrolment: a newer code replaces the older, one device replaces the
// other, and a key is one party's.
func TestEnrolment(t *testing.T) {
	n := one(t)
	master := n.login("ada@example.org")
	first := master.agent("ci")
	older := into[brokerapi.Enrolment](master.do("POST", "/v1/agents/ci/enrolment", nil))
	newer := into[brokerapi.Enrolment](master.do("POST", "/v1/agents/ci/enrolment", nil))
	n.redeem(brokertest.NewKey(t), older.Code).problem(403, brokerapi.CodeLogin)
	first.mint(brokertest.STS).want(200)
	// The master's own device cannot become an agent's, and the code lives.
	n.redeem(master.key, newer.Code).problem(409, brokerapi.CodeConflict)
	key := brokertest.NewKey(t)
	s := into[brokerapi.Session](n.redeem(key, strings.ToLower(newer.Code)))
	if s.Role != "agent" || s.Parent != master.s.Wallet || s.Agent.String() != "ci" || s.Wallet != first.s.Wallet || s.Account != master.s.Account {
		t.Errorf("session %+v", s)
	}
	first.mint(brokertest.STS).problem(401, brokerapi.CodeDevice)
	n.redeem(key, newer.Code).problem(403, brokerapi.CodeLogin)
	// An agent's device cannot log in as a person.
	n.begin(key, brokerapi.LoginRequest{Method: brokerapi.LoginEmail, Email: "ada@example.org"})
	id, h := n.mailed()
	n.end(key, id, h.Code).problem(409, brokerapi.CodeConflict)
	// The same device again is the same device.
	again := into[brokerapi.Enrolment](master.do("POST", "/v1/agents/ci/enrolment", nil))
	into[brokerapi.Session](n.redeem(key, again.Code))
	var labels []string
	for _, d := range into[[]brokerapi.Device](master.do("GET", brokerapi.PathDevices, nil)) {
		labels = append(labels, fmt.Sprint(d.Agent, d.Current, d.Name))
	}
	if len(labels) != 2 {
		t.Errorf("devices %q", labels)
	}
	// Revoked as a device, the agent is not enrolled.
	master.do("DELETE", "/v1/devices/"+s.Device, nil).want(204)
	if a := into[[]brokerapi.Agent](master.do("GET", brokerapi.PathAgents, nil)); a[0].Enrolled {
		t.Error("it is enrolled without a device")
	}
	master.do("DELETE", "/v1/devices/"+s.Device, nil).problem(404, brokerapi.CodeNotFound)
	master.do("DELETE", "/v1/devices/nonsense", nil).problem(404, brokerapi.CodeNotFound)
}

// TestDeviceChangesHands: a key that logs in as somebody else is out for the
// first.
func TestDeviceChangesHands(t *testing.T) {
	n := one(t)
	ada := n.login("ada@example.org")
	heard := ada.listen()
	heard.want(brokerapi.EventSnapshot, nil)
	n.begin(ada.key, brokerapi.LoginRequest{Method: brokerapi.LoginEmail, Email: "eve@example.org"})
	id, h := n.mailed()
	eve := &device{n, ada.key, into[brokerapi.Session](n.end(ada.key, id, h.Code))}
	heard.want(brokerapi.EventEnded, nil)
	ada.mint(brokertest.STS).problem(401, brokerapi.CodeDevice)
	eve.mint(brokertest.STS).want(200)
	if all := into[[]brokerapi.Device](eve.do("GET", brokerapi.PathDevices, nil)); len(all) != 1 || !all[0].Current {
		t.Errorf("devices %+v", all)
	}
	back := n.login("ada@example.org")
	if all := into[[]brokerapi.Device](back.do("GET", brokerapi.PathDevices, nil)); len(all) != 1 {
		t.Errorf("devices %+v", all)
	}
}

// TestGrants: terms are checked and kept, and a grant is gone when it ends.
func TestGrants(t *testing.T) {
	n := one(t)
	master := n.login("ada@example.org")
	agent := master.agent("ci")
	end := n.w.Clock.Now().Add(time.Hour).UTC().Truncate(time.Second)
	terms := map[string]any{
		"rules": []string{"POST /chat/**"}, "unsafe_rules": []string{"GET /keys"}, "requests": map[string]any{"limit": 5, "per": "day"},
		"budget": map[string]any{"limit_nusd": 5000000000, "per": "month", "unknown_nusd": 10}, "rate": map[string]any{"limit": 60, "per_ns": int64(time.Minute)},
		"expires": end.Format(time.RFC3339),
	}
	g := into[grant.Grant](master.do("PUT", "/v1/agents/ci/grants/openrouter", terms))
	if g.Validate() != nil || g.Master != master.s.Wallet || g.Wallet != agent.s.Wallet || len(g.Rules) != 1 || len(g.Unsafe) != 1 ||
		g.Budget.Unknown != 10 || g.Rate.Limit != 60 || g.Requests.Limit != 5 || !g.Expires.Equal(end) {
		t.Errorf("%+v", g)
	}
	all := into[[]grant.Grant](master.do("GET", brokerapi.PathGrants, nil))
	if len(all) != 1 || all[0].ID != g.ID {
		t.Errorf("%+v", all)
	}
	for name, change := range map[string]func(map[string]any){
		"ended":      func(m map[string]any) { m["expires"] = "2001-01-01T00:00:00Z" },
		"endless":    func(m map[string]any) { delete(m, "expires") },
		"zero":       func(m map[string]any) { m["requests"] = map[string]any{"limit": 0, "per": "day"} },
		"bad rule":   func(m map[string]any) { m["rules"] = []string{"POST chat"} },
		"empty rule": func(m map[string]any) { m["rules"] = []any{nil} },
		"bad window": func(m map[string]any) { m["requests"] = map[string]any{"limit": 1, "per": "eon"} },
		"huge":       func(m map[string]any) { m["rules"] = many("GET /"+strings.Repeat("a", 900), 60) },
	} {
		bad := map[string]any{}
		for k, v := range terms {
			bad[k] = v
		}
		change(bad)
		c := master.as("PUT", "/v1/agents/ci/grants/openrouter", bad)
		c.odd = true
		if r := n.send(c); r.status != 400 {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
	}
	c := master.as("PUT", "/v1/agents/ci/grants/Open", terms)
	c.odd = true
	n.send(c).problem(400, brokerapi.CodeRequest)
	again := into[grant.Grant](master.do("PUT", "/v1/agents/ci/grants/openrouter", terms))
	if again.ID == g.ID {
		t.Error("new terms have the old id")
	}
	master.do("DELETE", "/v1/agents/ci/grants/brave-search", nil).problem(404, brokerapi.CodeNotFound)
	n.w.Clock.Move(time.Hour + time.Second)
	if all := into[[]grant.Grant](master.do("GET", brokerapi.PathGrants, nil)); len(all) != 0 {
		t.Errorf("in force: %+v", all)
	}
	master.do("DELETE", "/v1/agents/ci/grants/openrouter", nil).problem(404, brokerapi.CodeNotFound)
}

func many(s string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = s
	}
	return out
}

// TestPublic: what anybody may read, and for how long it is kept.
func TestPublic(t *testing.T) {
	n := one(t)
	for path, cache := range map[string]string{
		brokerapi.PathDiscovery: "public, max-age=300", brokerapi.PathKeys: "public, max-age=300",
		brokerapi.PathOpenAPI: "public, max-age=300", brokerapi.PathConfig: "public, max-age=60",
		brokerapi.PathHealth: "no-store", brokerapi.PathReady: "no-store",
	} {
		r := n.send(call{method: "GET", path: path}).want(200)
		if r.header.Get("Cache-Control") != cache || r.header.Get("Content-Type") != "application/json" || r.header.Get("X-Request-Id") == "" {
			t.Errorf("%s: %v", path, r.header)
		}
		if strings.Contains(string(r.body), `"d":`) {
			t.Errorf("%s: %s", path, r.body)
		}
	}
	d := n.send(call{method: "GET", path: brokerapi.PathDiscovery, header: hosts("evil.test")})
	if !strings.Contains(string(d.body), `"issuer":"`+brokertest.Origin+`"`) || strings.Contains(string(d.body), "evil") {
		t.Errorf("%s", d.body)
	}
	if c := into[brokerapi.Config](n.send(call{method: "GET", path: brokerapi.PathConfig})); c.Issuer != brokertest.Origin || len(c.Logins) != 4 {
		t.Errorf("%+v", c)
	}
	n.send(call{method: "GET", path: "/v1/nothing", odd: true}).problem(404, brokerapi.CodeNotFound)
	n.send(call{method: "PATCH", path: brokerapi.PathAgents, odd: true}).problem(405, brokerapi.CodeRequest)
	m := string(n.send(call{method: "GET", path: brokerapi.PathMetrics}).want(200).body)
	if !strings.Contains(m, "agentkeys_http_requests_total") || strings.Contains(m, "nothing") {
		t.Errorf("metrics: %.200s", m)
	}
	if r := n.send(call{method: "GET", path: "/login/mail", odd: true}); r.status != http.StatusOK || string(r.body) != "page /login/mail" {
		t.Errorf("%d %s", r.status, r.body)
	}
}

// TestPartsAway: where the signer or the mail server does not answer, nothing
// is made, and what was good is good again after.
func TestPartsAway(t *testing.T) {
	n := one(t)
	key := brokertest.NewKey(t)
	begin := call{method: "POST", path: brokerapi.PathLogins, key: key, body: brokerapi.LoginRequest{Method: brokerapi.LoginEmail, Email: "ada@example.org"}}
	n.w.Mail.Set(fmt.Errorf("550 ada@example.org is unknown"))
	r := n.send(begin).problem(503, brokerapi.CodeUnavailable)
	if strings.Contains(string(r.body)+n.w.Log.String(), "ada@") {
		t.Error("the address is told")
	}
	n.w.Mail.Set(nil)
	n.send(begin).want(200)
	id, h := n.mailed()
	n.w.Wallets.Set(errAway)
	n.end(key, id, h.Code).problem(503, brokerapi.CodeUnavailable)
	n.w.Wallets.Set(nil)
	d := &device{n, key, into[brokerapi.Session](n.end(key, id, h.Code))}
	n.w.Wallets.Set(errAway)
	d.do("POST", brokerapi.PathAgents, map[string]string{"label": "ci"}).problem(503, brokerapi.CodeUnavailable)
	n.w.Wallets.Set(nil)
	d.do("POST", brokerapi.PathAgents, map[string]string{"label": "ci"}).want(200)
}

// header is the decoded header of a token.
func header(t *testing.T, raw string) string {
	t.Helper()
	part, _, _ := strings.Cut(raw, ".")
	text, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
