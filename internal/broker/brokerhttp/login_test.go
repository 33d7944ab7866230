package brokerhttp_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/broker"
	"github.com/litentry/agentkeys/internal/broker/brokertest"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/token"
)

// TestMailLogin walks a login by mail to a token, and in again.
func TestMailLogin(t *testing.T) {
	n := one(t)
	key := brokertest.NewKey(t)
	began := n.begin(key, brokerapi.LoginRequest{Method: brokerapi.LoginEmail, Email: "Ada@Example.org", LoopbackPort: 4321})
	if began.URL != "" || began.Message != "" {
		t.Errorf("the answer says more: %+v", began)
	}
	sent := n.w.Mail.Sent()
	if len(sent) != 1 || sent[0].To != "ada@example.org" || strings.Contains(sent[0].Subject, "\n") {
		t.Fatalf("sent %+v", sent)
	}
	id, h := n.mailed()
	if id != began.ID || h.LoopbackPort != 4321 {
		t.Errorf("handed off %+v of %s", h, id)
	}
	// People type what they like.
	s := into[brokerapi.Session](n.end(key, id, strings.ToLower(strings.ReplaceAll(h.Code, "-", " "))))
	thumb, err := token.ThumbprintOf(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	if s.Role != "master" || s.Device != thumb.String() || s.Wallet.IsZero() || s.Type != "DPoP" || !s.Parent.IsZero() || !s.Agent.IsZero() {
		t.Errorf("session %+v", s)
	}
	n.end(key, id, h.Code).problem(403, brokerapi.CodeLogin)

	again := n.login("ada@example.org")
	if again.s.Account != s.Account || again.s.Wallet != s.Wallet || again.s.Device == s.Device {
		t.Errorf("logged in again as %+v", again.s)
	}
	other := n.login("bob@example.org")
	if other.s.Account == s.Account || other.s.Wallet == s.Wallet {
		t.Errorf("another person is %+v", other.s)
	}
	for _, op := range []string{"session.login", "session.start"} {
		if got := n.w.Tape.Count(op, "allow"); got != 3 {
			t.Errorf("%s is recorded %d times", op, got)
		}
	}
	if got := n.w.Tape.Count("session.login", "done"); got != 3 {
		t.Errorf("%d logins are recorded as done", got)
	}
}

// TestRenew: a device gets sessions by its key alone, until it logs out.
func TestRenew(t *testing.T) {
	n := one(t)
	d := n.login("ada@example.org")
	n.w.Clock.Move(token.MasterLife + time.Minute)
	d.do("GET", brokerapi.PathDevices, nil).problem(401, brokerapi.CodeToken)
	renew := call{method: "POST", path: brokerapi.PathSession, key: d.key}
	d.s = into[brokerapi.Session](n.send(renew))
	d.do("GET", brokerapi.PathDevices, nil).want(200)
	n.send(call{method: "POST", path: brokerapi.PathSession, key: brokertest.NewKey(t)}).problem(401, brokerapi.CodeDevice)
	n.send(call{method: "POST", path: brokerapi.PathSession}).problem(401, brokerapi.CodeProof)
	d.do("DELETE", brokerapi.PathSession, nil).want(204)
	n.send(renew).problem(401, brokerapi.CodeDevice)
	d.do("GET", brokerapi.PathDevices, nil).problem(401, brokerapi.CodeDevice)
	d.mint(brokertest.STS).problem(401, brokerapi.CodeDevice)
}

// TestLogoutAtOnce: who has logged out is out where that was answered, before
// the events have told of it.
func TestLogoutAtOnce(t *testing.T) {
	w := brokertest.NewWorld(t)
	s := &brokertest.Flaky{State: brokertest.SQLite(t, w)}
	n := serve(t, w, s)
	d := n.login("ada@example.org")
	renew := call{method: "POST", path: brokerapi.PathSession, key: d.key}
	s.Feed.Set(errAway) // and what was heard is fresh: the clock stands still
	d.s = into[brokerapi.Session](n.send(renew))
	d.do("DELETE", brokerapi.PathSession, nil).want(204)
	n.send(renew).problem(401, brokerapi.CodeDevice)
	d.do("GET", brokerapi.PathDevices, nil).problem(401, brokerapi.CodeDevice)
}

// TestRenewStrangers: of the proofs of those who have no device nothing is kept.
func TestRenewStrangers(t *testing.T) {
	w := brokertest.NewWorld(t)
	s := &brokertest.Flaky{State: brokertest.SQLite(t, w), Alike: true}
	n := serve(t, w, s)
	d := n.login("ada@example.org")
	kept := func() int {
		items, err := s.List(t.Context(), "proof", "", "", broker.MaxList)
		if err != nil {
			t.Fatal(err)
		}
		return len(items)
	}
	before := kept()
	for range 3 {
		n.send(call{method: "POST", path: brokerapi.PathSession, key: brokertest.NewKey(t)}).problem(401, brokerapi.CodeDevice)
	}
	if got := kept(); got != before {
		t.Errorf("%d proofs are kept, %d before", got, before)
	}
	proof, err := token.NewProof(d.key, "POST", brokertest.Origin+brokerapi.PathSession, "", w.Clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	again := call{method: "POST", path: brokerapi.PathSession, proof: proof}
	n.send(again).want(200)
	n.send(again).problem(401, brokerapi.CodeProof)
}

// TestWalletLogin: by a key, and by a contract, which is somebody else on each
// chain.
func TestWalletLogin(t *testing.T) {
	n := one(t)
	owner := agentkeys.Must(agentkeys.ParseWallet("0x" + strings.Repeat("ab", 20)))
	accounts := map[string]string{}
	for _, c := range []struct {
		name   string
		chain  uint64
		suffix string
	}{{"key", 0, ""}, {"key elsewhere", 10, ""}, {"contract", 1, "c0"}, {"contract elsewhere", 10, "c0"}} {
		key := brokertest.NewKey(t)
		l := n.begin(key, brokerapi.LoginRequest{Method: brokerapi.LoginWallet, Address: owner.String(), ChainID: c.chain})
		path := "/v1/logins/" + l.ID + "/wallet"
		proof := brokerapi.WalletProof{Message: l.Message, Signature: brokertest.SignWallet(owner, l.Message) + c.suffix}
		for name, bad := range map[string]brokerapi.WalletProof{
			"another message":   {Message: l.Message + " ", Signature: brokertest.SignWallet(owner, l.Message+" ")},
			"another signature": {Message: l.Message, Signature: brokertest.SignWallet(owner, "x")},
		} {
			if r := n.send(call{method: "POST", path: path, body: bad}); r.status != 403 {
				t.Errorf("%s: %d", name, r.status)
			}
		}
		h := into[brokerapi.Handoff](n.send(call{method: "POST", path: path, body: proof}))
		n.send(call{method: "POST", path: path, body: proof}).problem(403, brokerapi.CodeLogin)
		accounts[c.name] = into[brokerapi.Session](n.end(key, l.ID, h.Code)).Account
	}
	if accounts["key"] != accounts["key elsewhere"] {
		t.Error("one key is two people")
	}
	if accounts["contract"] == accounts["contract elsewhere"] || accounts["contract"] == accounts["key"] {
		t.Error("contracts of two chains are one person")
	}
	n.send(call{method: "POST", path: brokerapi.PathLogins, key: brokertest.NewKey(t), body: brokerapi.LoginRequest{
		Method: brokerapi.LoginWallet, Address: owner.String(), ChainID: 999,
	}}).problem(400, brokerapi.CodeRequest)
}

// TestPasskeyLogin: a passkey makes an account, and finds it again; a challenge
// is for one answer, and a counter grows.
func TestPasskeyLogin(t *testing.T) {
	n := one(t)
	enter := func(register bool, id string, counter int) (reply, func() brokerapi.Session) {
		key := brokertest.NewKey(t)
		l := n.begin(key, brokerapi.LoginRequest{Method: brokerapi.LoginPasskey})
		if l.URL != brokertest.Origin+"/login/passkey#"+l.ID {
			t.Errorf("the page is %s", l.URL)
		}
		path := "/v1/logins/" + l.ID + "/passkey"
		options := n.send(call{method: "POST", path: path, body: brokerapi.PasskeyBegin{Register: register}}).want(200).body
		answer := call{method: "POST", path: path + "/answer", raw: string(brokertest.Answer(t, options, id, counter))}
		r := n.send(answer)
		if again := n.send(answer); again.status != 403 {
			t.Errorf("the challenge was good twice: %d", again.status)
		}
		return r, func() brokerapi.Session {
			return into[brokerapi.Session](n.end(key, l.ID, into[brokerapi.Handoff](r).Code))
		}
	}
	_, session := enter(true, "credential", 1)
	first := session()
	_, session = enter(false, "credential", 2)
	if second := session(); second.Account != first.Account {
		t.Error("the passkey finds another account")
	}
	for name, bad := range map[string]func() (reply, func() brokerapi.Session){
		"a copy":          func() (reply, func() brokerapi.Session) { return enter(false, "credential", 2) },
		"an unknown one":  func() (reply, func() brokerapi.Session) { return enter(false, "other", 1) },
		"a second making": func() (reply, func() brokerapi.Session) { return enter(true, "credential", 9) },
	} {
		if r, _ := bad(); r.status != 403 {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
	}
	// A wrong answer uses the challenge up.
	key := brokertest.NewKey(t)
	l := n.begin(key, brokerapi.LoginRequest{Method: brokerapi.LoginPasskey})
	path := "/v1/logins/" + l.ID + "/passkey"
	n.send(call{method: "POST", path: path + "/answer", raw: `{"id":"credential"}`}).problem(403, brokerapi.CodeLogin)
	options := n.send(call{method: "POST", path: path, body: brokerapi.PasskeyBegin{}}).want(200).body
	n.send(call{method: "POST", path: path + "/answer", raw: string(brokertest.Answer(t, options, "credential", 1))}).want(403)
	n.send(call{method: "POST", path: path + "/answer", raw: string(brokertest.Answer(t, options, "credential", 3))}).want(403)
	n.send(call{method: "POST", path: path + "/answer", raw: `{"id":"a","ID":"b"}`}).problem(400, brokerapi.CodeRequest)
}

// googled goes through the provider and comes back.
func googled(n *node, l brokerapi.Login, subject string, change func(url.Values)) reply {
	state, code := brokertest.SignIn(n.t, l.URL, subject)
	q := url.Values{"state": {state}, "code": {code}, "iss": {brokertest.Issuer}}
	if change != nil {
		change(q)
	}
	return n.send(call{method: "GET", path: brokerapi.PathGoogleReturn + "?" + q.Encode(), odd: len(q["code"]) > 1})
}

// TestGoogleLogin: with the code on a page, and with it to loopback.
func TestGoogleLogin(t *testing.T) {
	n := one(t)
	key := brokertest.NewKey(t)
	l := n.begin(key, brokerapi.LoginRequest{Method: brokerapi.LoginGoogle})
	r := googled(n, l, "ada", nil).want(200)
	code, ok := strings.CutPrefix(string(r.body), "code ")
	if !ok || r.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%s %v", r.body, r.header)
	}
	first := into[brokerapi.Session](n.end(key, l.ID, code))

	l = n.begin(key, brokerapi.LoginRequest{Method: brokerapi.LoginGoogle, LoopbackPort: 9999})
	u, err := url.Parse(googled(n, l, "ada", nil).want(303).header.Get("Location"))
	if err != nil || u.Host != "127.0.0.1:9999" || u.Path != "/login" || u.Query().Get("login") != l.ID {
		t.Fatalf("%v %v", u, err)
	}
	if s := into[brokerapi.Session](n.end(key, l.ID, u.Query().Get("code"))); s.Account != first.Account {
		t.Error("it is another account")
	}
}

// TestCodes: five wrong codes end a login, though the right one comes then; a
// foreign device's do not count.
func TestCodes(t *testing.T) {
	n := one(t)
	for wrong, want := range map[int]int{4: 200, 5: 403} {
		key := brokertest.NewKey(t)
		n.begin(key, brokerapi.LoginRequest{Method: brokerapi.LoginEmail, Email: "ada@example.org"})
		id, h := n.mailed()
		bad := "0000-0000"
		if h.Code == bad {
			bad = "0000-0001"
		}
		for range 7 {
			n.end(brokertest.NewKey(t), id, h.Code).problem(403, brokerapi.CodeLogin)
		}
		for i := range wrong {
			text := bad
			if i == 0 {
				text = "" // none at all counts as well
			}
			n.end(key, id, text).problem(403, brokerapi.CodeLogin)
		}
		n.end(key, id, h.Code).want(want)
	}
}

// TestExpiry: nothing is good for longer than it says.
func TestExpiry(t *testing.T) {
	n := one(t)
	key := brokertest.NewKey(t)
	l := n.begin(key, brokerapi.LoginRequest{Method: brokerapi.LoginEmail, Email: "ada@example.org"})
	id, secret := n.w.Mail.Link(t)
	n.w.Clock.Move(l.Expires.Sub(n.w.Clock.Now()) + time.Second)
	n.send(call{method: "POST", path: "/v1/logins/" + id + "/mail", body: brokerapi.MailProof{Token: secret}}).problem(403, brokerapi.CodeLogin)

	n.begin(key, brokerapi.LoginRequest{Method: brokerapi.LoginEmail, Email: "ada@example.org"})
	id, h := n.mailed()
	n.w.Clock.Move(16 * time.Minute)
	n.end(key, id, h.Code).problem(403, brokerapi.CodeLogin)

	d := n.login("ada@example.org")
	d.do("POST", brokerapi.PathAgents, map[string]string{"label": "ci"}).want(200)
	e := into[brokerapi.Enrolment](d.do("POST", "/v1/agents/ci/enrolment", nil))
	n.w.Clock.Move(e.Expires.Sub(n.w.Clock.Now()) + time.Second)
	n.redeem(brokertest.NewKey(t), e.Code).problem(403, brokerapi.CodeLogin)
}

// TestLoginRequests: what makes no sense is refused with a reason.
func TestLoginRequests(t *testing.T) {
	n := one(t)
	for name, q := range map[string]brokerapi.LoginRequest{
		"no method":           {},
		"an unknown method":   {Method: "carrier pigeon"},
		"no address":          {Method: brokerapi.LoginEmail},
		"a name":              {Method: brokerapi.LoginEmail, Email: "Ada <ada@example.org>"},
		"two addresses":       {Method: brokerapi.LoginEmail, Email: "ada@example.org,eve@example.org"},
		"a header":            {Method: brokerapi.LoginEmail, Email: "ada@example.org\r\nBcc: eve@example.org"},
		"a quoted part":       {Method: brokerapi.LoginEmail, Email: `"ada b"@example.org`},
		"an odd letter":       {Method: brokerapi.LoginEmail, Email: "adа@example.org"},
		"no domain":           {Method: brokerapi.LoginEmail, Email: "ada@localhost"},
		"a long address":      {Method: brokerapi.LoginEmail, Email: strings.Repeat("a", 300) + "@example.org"},
		"a port":              {Method: brokerapi.LoginEmail, Email: "ada@example.org", LoopbackPort: 65536},
		"a service's port":    {Method: brokerapi.LoginEmail, Email: "ada@example.org", LoopbackPort: 80},
		"a negative port":     {Method: brokerapi.LoginEmail, Email: "ada@example.org", LoopbackPort: -1},
		"mail and wallet":     {Method: brokerapi.LoginEmail, Email: "ada@example.org", ChainID: 1},
		"wallet without":      {Method: brokerapi.LoginWallet},
		"wallet of the wrong": {Method: brokerapi.LoginWallet, Address: "0x12"},
		"google and mail":     {Method: brokerapi.LoginGoogle, Email: "ada@example.org"},
	} {
		r := n.send(call{method: "POST", path: brokerapi.PathLogins, key: brokertest.NewKey(t), body: q, odd: true})
		if r.status != 400 {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
	}
	if sent := n.w.Mail.Sent(); len(sent) != 0 {
		t.Errorf("mails went out: %+v", sent)
	}
}
