package brokerhttp_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/litentry/agentkeys/internal/broker/brokerhttp"
	"github.com/litentry/agentkeys/internal/broker/brokertest"
	"github.com/litentry/agentkeys/internal/brokerapi"
)

// TestRoutesAreTheDocument: the routes and the document list the same
// operations, and agree on what each takes. Only the pages are no operations.
func TestRoutesAreTheDocument(t *testing.T) {
	doc, err := openapi3.NewLoader().LoadFromData(brokerapi.OpenAPI())
	if err != nil {
		t.Fatal(err)
	}
	var served, described []string
	for _, r := range brokerhttp.Routes() {
		if r.Path == "/login/" {
			continue
		}
		takes := map[brokerhttp.Standing]string{
			brokerhttp.Anybody: "", brokerhttp.Key: "proof", brokerhttp.Session: "session+proof", brokerhttp.Master: "session+proof",
		}[r.Who]
		kind := ""
		if r.Who == brokerhttp.Master {
			kind = " master"
		}
		served = append(served, r.Method+" "+r.Path+" "+takes+kind)
	}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			security := doc.Security
			if op.Security != nil {
				security = *op.Security
			}
			takes := ""
			for _, all := range security {
				var names []string
				for name := range all {
					names = append(names, name)
				}
				slices.Sort(names)
				slices.Reverse(names)
				takes = strings.Join(names, "+")
			}
			kind := ""
			if slices.Contains(op.Tags, "master") {
				kind = " master"
			}
			described = append(described, method+" "+path+" "+takes+kind)
		}
	}
	slices.Sort(served)
	slices.Sort(described)
	if !slices.Equal(served, described) {
		t.Errorf("served:\n%s\ndescribed:\n%s", strings.Join(served, "\n"), strings.Join(described, "\n"))
	}
}

// cell is what one caller gets of one route.
type cell struct {
	route  string
	call   func(d *device) call
	expect map[string]int // by caller
}

// TestRoleMatrix: every route, by whoever may come. The table is complete: a
// route without a row is an error.
func TestRoleMatrix(t *testing.T) {
	same := func(none, agent, master, other int) map[string]int {
		return map[string]int{"none": none, "agent": agent, "master": master, "other": other}
	}
	plain := func(method, path string, body any) func(*device) call {
		return func(d *device) call { return d.as(method, path, body) }
	}
	keyed := func(path string, body any) func(*device) call { // with the key alone
		return func(d *device) call { return call{method: "POST", path: path, key: d.key, body: body} }
	}
	open := func(method, path string, body any) func(*device) call {
		return func(*device) call { return call{method: method, path: path, body: body} }
	}
	terms := map[string]any{"expires": time.Now().Add(time.Hour).UTC().Format(time.RFC3339)}
	var master *device
	rows := []cell{
		{"GET " + brokerapi.PathDiscovery, open("GET", brokerapi.PathDiscovery, nil), same(200, 200, 200, 200)},
		{"GET " + brokerapi.PathKeys, open("GET", brokerapi.PathKeys, nil), same(200, 200, 200, 200)},
		{"GET " + brokerapi.PathOpenAPI, open("GET", brokerapi.PathOpenAPI, nil), same(200, 200, 200, 200)},
		{"GET " + brokerapi.PathConfig, open("GET", brokerapi.PathConfig, nil), same(200, 200, 200, 200)},
		{"GET " + brokerapi.PathHealth, open("GET", brokerapi.PathHealth, nil), same(200, 200, 200, 200)},
		{"GET " + brokerapi.PathReady, open("GET", brokerapi.PathReady, nil), same(200, 200, 200, 200)},
		{"GET " + brokerapi.PathMetrics, open("GET", brokerapi.PathMetrics, nil), same(200, 200, 200, 200)},
		{"GET /login/", func(*device) call { return call{method: "GET", path: "/login/mail", odd: true} }, same(200, 200, 200, 200)},

		{"POST " + brokerapi.PathLogins, keyed(brokerapi.PathLogins, brokerapi.LoginRequest{Method: brokerapi.LoginPasskey}), same(401, 200, 200, 200)},
		{"POST " + brokerapi.PathLoginMail, open("POST", "/v1/logins/x/mail", brokerapi.MailProof{Token: "x"}), same(403, 403, 403, 403)},
		{"POST " + brokerapi.PathLoginWallet, open("POST", "/v1/logins/x/wallet", brokerapi.WalletProof{Message: "x", Signature: "0x"}), same(403, 403, 403, 403)},
		{"POST " + brokerapi.PathPasskeyBegin, open("POST", "/v1/logins/x/passkey", brokerapi.PasskeyBegin{}), same(403, 403, 403, 403)},
		{"POST " + brokerapi.PathPasskeyEnd, open("POST", "/v1/logins/x/passkey/answer", map[string]any{}), same(403, 403, 403, 403)},
		{"GET " + brokerapi.PathGoogleReturn, open("GET", brokerapi.PathGoogleReturn, nil), same(403, 403, 403, 403)},
		{"POST " + brokerapi.PathLoginSession, keyed("/v1/logins/x/session", brokerapi.HandoffProof{Code: "x"}), same(401, 403, 403, 403)},
		{"POST " + brokerapi.PathEnrol, keyed(brokerapi.PathEnrol, brokerapi.EnrolRequest{Code: "x"}), same(401, 403, 403, 403)},

		{"POST " + brokerapi.PathSession, keyed(brokerapi.PathSession, nil), same(401, 200, 200, 200)},
		{"POST " + brokerapi.PathToken, func(d *device) call { return d.mintCall(brokertest.STS) }, same(401, 200, 200, 200)},
		{"POST " + brokerapi.PathToken, func(d *device) call { return d.mintCall(brokertest.SignerAudience) }, same(401, 200, 200, 200)},
		{"POST " + brokerapi.PathToken, func(d *device) call { // as the agent
			return d.mintCall(brokertest.STS, "wallet", agentWallet(master))
		}, same(401, 200, 200, 403)},
		{"POST " + brokerapi.PathToken, func(d *device) call { // as the master
			return d.mintCall(brokertest.STS, "wallet", master.s.Wallet.String())
		}, same(401, 403, 200, 403)},
		{"POST " + brokerapi.PathToken, func(d *device) call { // as the agent, at the signer
			return d.mintCall(brokertest.SignerAudience, "wallet", agentWallet(master))
		}, same(401, 200, 200, 403)},
		{"GET " + brokerapi.PathEvents, plain("GET", brokerapi.PathEvents, nil), same(401, 200, 200, 200)},

		{"GET " + brokerapi.PathDevices, plain("GET", brokerapi.PathDevices, nil), same(401, 403, 200, 200)},
		{"GET " + brokerapi.PathAgents, plain("GET", brokerapi.PathAgents, nil), same(401, 403, 200, 200)},
		{"GET " + brokerapi.PathGrants, plain("GET", brokerapi.PathGrants, nil), same(401, 403, 200, 200)},
		// The other master comes first: what it may not touch must be there
		// for the master after.
		{"POST " + brokerapi.PathEnrolment, plain("POST", "/v1/agents/ci/enrolment", nil), same(401, 403, 200, 404)},
		{"PUT " + brokerapi.PathGrant, plain("PUT", "/v1/agents/ci/grants/openrouter", terms), same(401, 403, 200, 404)},
		{"DELETE " + brokerapi.PathGrant, plain("DELETE", "/v1/agents/ci/grants/openrouter", nil), same(401, 403, 204, 404)},
		{"POST " + brokerapi.PathAgents, plain("POST", brokerapi.PathAgents, map[string]string{"label": "new"}), same(401, 403, 200, 200)},
		{"DELETE " + brokerapi.PathDevice, func(d *device) call {
			return d.as("DELETE", "/v1/devices/"+spare(master).s.Device, nil)
		}, same(401, 403, 204, 404)},
		{"DELETE " + brokerapi.PathAgent, plain("DELETE", "/v1/agents/old", nil), same(401, 403, 204, 404)},
		{"DELETE " + brokerapi.PathSession, plain("DELETE", brokerapi.PathSession, nil), same(401, 204, 204, 204)},
	}
	have := map[string]bool{}
	for _, row := range rows {
		have[row.route] = true
	}
	for _, r := range brokerhttp.Routes() {
		if !have[r.Method+" "+r.Path] {
			t.Errorf("no row for %s %s", r.Method, r.Path)
		}
	}

	n := one(t)
	master = n.login("ada@example.org")
	master.do("POST", brokerapi.PathAgents, map[string]string{"label": "old"}).want(200)
	agent, other := master.agent("ci"), n.login("eve@example.org")
	// An agent's session stays an agent's at every route of a master's,
	// whatever it adds.
	for _, r := range brokerhttp.Routes() {
		if r.Who == brokerhttp.Master {
			path := strings.NewReplacer("{agent}", "ci", "{service}", "openrouter", "{device}", agent.s.Device).Replace(r.Path)
			c := agent.as(r.Method, path, nil)
			c.odd, c.header = true, map[string][]string{"X-Role": {"master"}, "X-Account": {master.s.Account}}
			n.send(c).problem(403, brokerapi.CodeForbidden)
		}
	}
	for _, row := range rows {
		for _, who := range []string{"none", "agent", "other", "master"} {
			d := map[string]*device{"none": {n: n}, "agent": agent, "master": master, "other": other}[who]
			c := row.call(d)
			got := status(n, c)
			if got != row.expect[who] {
				t.Errorf("%s by %s: %d, want %d", c.method+" "+c.path, who, got, row.expect[who])
			}
			if who == "none" && got == 401 {
				challenged(t, n, c)
			}
		}
	}
}

// challenged: a refusal says what is wanted, as RFC 9449 has it.
func challenged(t *testing.T, n *node, c call) {
	t.Helper()
	r := n.send(c)
	if !strings.HasPrefix(r.header.Get("WWW-Authenticate"), "DPoP ") || r.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s %s: %v", c.method, c.path, r.header)
	}
}

// status is that of an answer; a stream's is cut off.
func status(n *node, c call) int {
	if c.path != brokerapi.PathEvents || c.token == "" {
		return n.send(c).status
	}
	ctx, stop := context.WithCancel(n.t.Context())
	defer stop()
	req, _, err := n.request(ctx, c)
	if err != nil {
		n.t.Fatal(err)
	}
	res, err := n.srv.Client().Do(req)
	if err != nil {
		n.t.Fatal(err)
	}
	stop()
	_ = res.Body.Close()
	return res.StatusCode
}

func agentWallet(master *device) string {
	for _, a := range into[[]brokerapi.Agent](master.do("GET", brokerapi.PathAgents, nil)) {
		if a.Label.String() == "ci" {
			return a.Wallet.String()
		}
	}
	return ""
}

// spare is another device of the master's.
func spare(master *device) *device {
	for _, d := range into[[]brokerapi.Device](master.do("GET", brokerapi.PathDevices, nil)) {
		if d.Name == "spare" {
			return &device{master.n, nil, brokerapi.Session{Device: d.ID}}
		}
	}
	key := brokertest.NewKey(master.n.t)
	l := master.n.begin(key, brokerapi.LoginRequest{Method: brokerapi.LoginEmail, Email: "ada@example.org"})
	_, h := master.n.mailed()
	into[brokerapi.Session](master.n.send(call{method: "POST", path: "/v1/logins/" + l.ID + "/session", key: key, body: brokerapi.HandoffProof{Code: h.Code, Device: "spare"}}))
	return spare(master)
}
