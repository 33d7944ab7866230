package brokerhttp_test

import (
	"errors"
	"net/http"
	"net/url"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/broker"
	"github.com/litentry/agentkeys/internal/broker/brokerhttp"
	"github.com/litentry/agentkeys/internal/broker/brokertest"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/token"
	"github.com/litentry/agentkeys/internal/webserve"
)

// TestThreat2OversizedTokens: they are refused, without memory that stays.
func TestThreat2OversizedTokens(t *testing.T) {
	n := one(t)
	d := n.login("ada@example.org")
	d.do("GET", brokerapi.PathDevices, nil).want(200)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range 50 {
		for _, text := range []string{
			strings.Repeat("a", 20<<10), strings.Repeat(".", 20<<10), strings.Repeat("a.", 10<<10), d.s.Token + strings.Repeat(".a", 5000),
		} {
			c := d.as("GET", brokerapi.PathDevices, nil)
			c.token, c.odd = text, true
			n.send(c).problem(401, brokerapi.CodeToken)
			c = d.as("GET", brokerapi.PathDevices, nil)
			c.proof, c.odd = text, true
			n.send(c).problem(401, brokerapi.CodeProof)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 8<<20 {
		t.Errorf("%d bytes stay", grown)
	}
	c := d.as("GET", brokerapi.PathDevices, nil)
	c.token, c.odd = strings.Repeat("a", 2<<20), true
	req, _, err := n.request(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	// net/http's own refusal, or a closed connection where it stops reading.
	if res, err := n.srv.Client().Do(req); err == nil {
		if _ = res.Body.Close(); res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("2 MiB of token: %d", res.StatusCode)
		}
	}
}

// TestThreat3ForeignTokens: a token or proof for another purpose, key, route or
// time is refused, and a proof is good once.
func TestThreat3ForeignTokens(t *testing.T) {
	n := one(t)
	d, other := n.login("ada@example.org"), n.login("eve@example.org")
	now := n.w.Clock.Now()
	get := func(change func(c *call)) reply {
		c := d.as("GET", brokerapi.PathDevices, nil)
		change(&c)
		return n.send(c)
	}
	proof := func(method, path, tok string, at time.Time) string {
		p, err := token.NewProof(d.key, method, path, tok, at)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	const path = brokerapi.PathDevices
	get(func(*call) {}).want(200)
	minted := into[brokerapi.TokenAnswer](d.mint(brokertest.STS)).Token
	access := into[brokerapi.TokenAnswer](d.mint(brokertest.SignerAudience)).Token
	for name, change := range map[string]func(*call){
		"a web-identity token":       func(c *call) { c.token = minted },
		"a signer token":             func(c *call) { c.token = access },
		"a token cut":                func(c *call) { c.token = c.token[:len(c.token)-4] },
		"no token, a bearer":         func(c *call) { c.header = http.Header{"Authorization": {"Bearer " + c.token}}; c.token = "" },
		"two tokens":                 func(c *call) { c.header = http.Header{"Authorization": {"DPoP " + c.token, "DPoP " + c.token}} },
		"a proof as the token":       func(c *call) { c.token = proof("GET", brokertest.Origin+path, "", now) },
		"an issuer of the same name": func(c *call) { c.token = forged(t, n, d) },
	} {
		if r := get(change); r.status != 401 {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
	}
	for name, change := range map[string]func(*call){
		"no proof":                func(c *call) { c.key = nil },
		"another's key":           func(c *call) { c.key = other.key },
		"another's token":         func(c *call) { c.token = other.s.Token },
		"another route":           func(c *call) { c.proof = proof("GET", brokertest.Origin+brokerapi.PathAgents, c.token, now) },
		"another method":          func(c *call) { c.proof = proof("DELETE", brokertest.Origin+path, c.token, now) },
		"the address that it has": func(c *call) { c.proof = proof("GET", n.url+path, c.token, now) },
		"another origin by Host": func(c *call) {
			c.proof = proof("GET", "https://evil.test"+path, c.token, now)
			c.header = hosts("evil.test")
		},
		"no hash of the token":      func(c *call) { c.proof = proof("GET", brokertest.Origin+path, "", now) },
		"the hash of another token": func(c *call) { c.proof = proof("GET", brokertest.Origin+path, other.s.Token, now) },
		"two minutes ago":           func(c *call) { c.proof = proof("GET", brokertest.Origin+path, c.token, now.Add(-2*time.Minute)) },
		"in two minutes":            func(c *call) { c.proof = proof("GET", brokertest.Origin+path, c.token, now.Add(2*time.Minute)) },
		"two proofs": func(c *call) {
			c.header = http.Header{"Dpop": {proof("GET", brokertest.Origin+path, c.token, now), "x"}}
		},
		"a session as the proof":      func(c *call) { c.proof = c.token },
		"a proof in place of a key's": func(c *call) { c.proof = "e30.e30.e30" },
	} {
		get(change).problem(401, brokerapi.CodeProof)
		_ = name
	}
	once := proof("GET", brokertest.Origin+path, d.s.Token, now)
	get(func(c *call) { c.proof = once }).want(200)
	replayed := get(func(c *call) { c.proof = once }).problem(401, brokerapi.CodeProof)
	if !strings.Contains(replayed.header.Get("WWW-Authenticate"), `error="invalid_dpop_proof"`) {
		t.Errorf("%v", replayed.header)
	}
	// Also where no session is: the proof of a beginning is not good for
	// another.
	begin := call{
		method: "POST", path: brokerapi.PathLogins, body: brokerapi.LoginRequest{Method: brokerapi.LoginPasskey},
		proof: proof("POST", brokertest.Origin+brokerapi.PathLogins, "", now),
	}
	n.send(begin).want(200)
	n.send(begin).problem(401, brokerapi.CodeProof)
	// A token where only a key belongs is one too many.
	c := d.as("POST", brokerapi.PathSession, nil)
	n.send(c).problem(401, brokerapi.CodeToken)
	// The exchange is of the session that authorises it, by its name.
	for name, change := range map[string]func(url.Values){
		"another's session": func(f url.Values) { f.Set("subject_token", other.s.Token) },
		"no session":        func(f url.Values) { f.Del("subject_token") },
		"another type":      func(f url.Values) { f.Set("subject_token_type", brokerapi.TypeJWT) },
		"another grant":     func(f url.Values) { f.Set("grant_type", "client_credentials") },
		"an actor":          func(f url.Values) { f.Set("actor_token", "x") },
		"two audiences":     func(f url.Values) { f.Add("audience", brokertest.Federation) },
		"a long life":       func(f url.Values) { f.Set("lifetime", "901") },
		"a short life":      func(f url.Values) { f.Set("lifetime", "59") },
		"a negative life":   func(f url.Values) { f.Set("lifetime", "-60") },
		"an upper wallet":   func(f url.Values) { f.Set("wallet", strings.ToUpper(d.s.Wallet.String())) },
		"an empty wallet":   func(f url.Values) { f.Set("wallet", "") },
	} {
		c := d.mintCall(brokertest.STS)
		c.odd = true
		change(c.form)
		if r := n.send(c); r.status != 400 {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
	}
	for _, aud := range []string{"", "https://else.test", brokertest.Origin, "sts.amazonaws.com "} {
		if r := d.mint(aud); r.status != 400 {
			t.Errorf("audience %q: %d", aud, r.status)
		}
	}
}

func hosts(h string) http.Header {
	return http.Header{"X-Forwarded-Host": {h}, "X-Forwarded-Proto": {"https"}, "Forwarded": {"host=" + h}}
}

// forged is a session of an issuer with the same name and other keys.
func forged(t *testing.T, n *node, d *device) string {
	t.Helper()
	w := brokertest.NewWorld(t)
	thumb, err := token.ParseThumbprint(d.s.Device)
	if err != nil {
		t.Fatal(err)
	}
	now := n.w.Clock.Now()
	raw, err := w.Issuer.Session(token.Session{
		ID: token.NewID(), Account: d.s.Account, Wallet: d.s.Wallet, Role: token.Master, Device: thumb, Expires: now.Add(time.Hour),
	}, now)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestThreat7MailLinks: fetching consumes nothing, a POST does once, the code
// is for the device that asked, and a link works after a restart.
func TestThreat7MailLinks(t *testing.T) {
	w := brokertest.NewWorld(t)
	path := filepath.Join(t.TempDir(), "state", "state.db")
	s := brokertest.OpenSQLite(t, w, path)
	n := serve(t, w, s)
	key := brokertest.NewKey(t)
	n.begin(key, brokerapi.LoginRequest{Method: brokerapi.LoginEmail, Email: "ada@example.org"})
	id, secret := w.Mail.Link(t)
	api := "/v1/logins/" + id + "/mail"
	for _, method := range []string{"GET", "HEAD", "OPTIONS", "PUT", "PROPFIND"} {
		for _, p := range []string{"/login/mail", "/login/mail?" + id + "." + secret, api, api + "?token=" + secret} {
			n.send(call{method: method, path: p, odd: true})
		}
	}
	// A page of another site posts in vain.
	foreign := call{method: "POST", path: api, body: brokerapi.MailProof{Token: secret}, header: http.Header{"Sec-Fetch-Site": {"cross-site"}, "Origin": {"https://evil.test"}}}
	n.send(foreign).problem(403, brokerapi.CodeForbidden)
	// A restart in between.
	n.stop()
	n.srv.CloseClientConnections()
	n.srv.Close()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	n = serve(t, w, brokertest.OpenSQLite(t, w, path))

	n.send(call{method: "POST", path: api, body: brokerapi.MailProof{Token: secret[1:] + "A"}}).problem(403, brokerapi.CodeLogin)
	n.send(call{method: "POST", path: "/v1/logins/" + strings.Repeat("0", 32) + "/mail", body: brokerapi.MailProof{Token: secret}}).problem(403, brokerapi.CodeLogin)
	codes := make(chan string, 100)
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if r := n.send(call{method: "POST", path: api, body: brokerapi.MailProof{Token: secret}}); r.status == 200 {
				codes <- into[brokerapi.Handoff](r).Code
			} else {
				r.problem(403, brokerapi.CodeLogin)
			}
		})
	}
	wg.Wait()
	close(codes)
	if len(codes) != 1 {
		t.Fatalf("%d winners", len(codes))
	}
	code := <-codes
	n.end(brokertest.NewKey(t), id, code).problem(403, brokerapi.CodeLogin)
	n.end(key, id, code).want(200)
	for _, secret := range []string{secret, code, strings.ReplaceAll(code, "-", "")} {
		if strings.Contains(w.Log.String(), secret) {
			t.Error("a secret is in the log")
		}
	}
}

// TestThreat8SameAnswers: an address with an account and one without have the
// same answer; what limits count by is the peer, not what the request says;
// links have the configured origin.
func TestThreat8SameAnswers(t *testing.T) {
	n := one(t)
	n.login("ada@example.org")
	shape := func(email string, h http.Header) string {
		r := n.send(call{
			method: "POST", path: brokerapi.PathLogins, key: brokertest.NewKey(t), header: h,
			body: brokerapi.LoginRequest{Method: brokerapi.LoginEmail, Email: email},
		})
		text := string(r.body)
		if r.status == 200 {
			l := into[brokerapi.Login](r)
			text = strings.NewReplacer(l.ID, "", l.Expires.Format(time.RFC3339), "").Replace(text)
		}
		return http.StatusText(r.status) + text + r.header.Get("Content-Length")
	}
	if known, unknown := shape("ada@example.org", nil), shape("new@example.org", nil); known != unknown {
		t.Errorf("known: %s\nunknown: %s", known, unknown)
	}
	shape("host@example.org", http.Header{"X-Forwarded-Host": {"evil.test"}, "Host": {"evil.test"}})
	for _, l := range n.w.Mail.Sent() {
		if !strings.Contains(l.Text, brokertest.Origin+"/login/mail#") || strings.Contains(l.Text, "evil") {
			t.Errorf("the link: %s", l.Text)
		}
	}
	// One address gets five mails, known or not.
	for _, email := range []string{"ada@example.org", "new@example.org"} {
		got := 0
		for range 8 {
			if strings.HasPrefix(shape(email, nil), "OK") {
				got++
			}
		}
		if got < 3 || got > 4 { // one or two went before
			t.Errorf("%s: %d more", email, got)
		}
	}
	// One peer causes twenty, whatever it says of itself, and then everybody is
	// spared until the window ends.
	sent := len(n.w.Mail.Sent())
	for i := range 20 {
		shape(strings.Repeat("x", i+1)+"@example.org", http.Header{"X-Forwarded-For": {"192.0.2." + string(rune('1'+i%9))}, "X-Real-Ip": {"192.0.2.9"}})
	}
	if got := len(n.w.Mail.Sent()); got != 20 {
		t.Errorf("%d mails for one peer, %d of them before", got, sent)
	}
	r := n.send(call{method: "POST", path: brokerapi.PathLogins, key: brokertest.NewKey(t), body: brokerapi.LoginRequest{Method: brokerapi.LoginEmail, Email: "z@example.org"}})
	if r.problem(429, brokerapi.CodeRate); r.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	n.w.Clock.Move(16 * time.Minute)
	n.login("ada@example.org")
}

// TestThreat8Attempts: guesses are counted by peer.
func TestThreat8Attempts(t *testing.T) {
	w := brokertest.NewWorld(t)
	n := serve(t, w, brokertest.SQLite(t, w), func(o *brokerhttp.Options) {
		o.Attempts = webserve.NewLimiter(time.Hour, 5, 100, w.Clock.Now)
	})
	for i := range 8 {
		r := n.send(call{method: "POST", path: brokerapi.PathEnrol, key: brokertest.NewKey(t), body: brokerapi.EnrolRequest{Code: "x"}, header: http.Header{"X-Forwarded-For": {"192.0.2.1"}}})
		if want := map[bool]int{true: 403, false: 429}[i < 5]; r.status != want {
			t.Errorf("try %d: %d", i, r.status)
		}
	}
}

// TestThreat8Visitor: a page of another site cannot use up what its visitor's
// logins are counted by.
func TestThreat8Visitor(t *testing.T) {
	w := brokertest.NewWorld(t)
	n := serve(t, w, brokertest.SQLite(t, w), func(o *brokerhttp.Options) {
		o.Attempts = webserve.NewLimiter(time.Hour, 5, 100, w.Clock.Now)
	})
	l := n.begin(brokertest.NewKey(t), brokerapi.LoginRequest{Method: brokerapi.LoginGoogle})
	foreign := http.Header{"Sec-Fetch-Site": {"cross-site"}, "Origin": {"https://evil.test"}}
	for range 10 {
		n.send(call{method: "POST", path: "/v1/logins/" + l.ID + "/mail", body: brokerapi.MailProof{Token: "x"}, header: foreign}).problem(403, brokerapi.CodeForbidden)
		for _, state := range []string{"", "x", l.ID, l.ID + ".x"} {
			n.send(call{method: "GET", path: brokerapi.PathGoogleReturn + "?code=x&state=" + state, odd: true}).want(403)
		}
	}
	googled(n, l, "ada", nil).want(200)
	for i := range 5 { // the beginning, the return, and three more
		r := n.send(call{method: "POST", path: brokerapi.PathEnrol, key: brokertest.NewKey(t), body: brokerapi.EnrolRequest{Code: "x"}})
		if want := map[bool]int{true: 403, false: 429}[i < 3]; r.status != want {
			t.Errorf("try %d: %d", i, r.status)
		}
	}
}

// TestThreat10Provider: state, verifier, nonce and issuer bind the way through
// a provider, and no e-mail address links anything.
func TestThreat10Provider(t *testing.T) {
	n := one(t)
	begin := func() (brokerapi.Login, func(string) reply) {
		key := brokertest.NewKey(t)
		l := n.begin(key, brokerapi.LoginRequest{Method: brokerapi.LoginGoogle})
		return l, func(code string) reply { return n.end(key, l.ID, code) }
	}
	victim, _ := begin()
	vstate, _ := brokertest.SignIn(t, victim.URL, "victim")
	for name, change := range map[string]func(url.Values){
		"no state":            func(q url.Values) { q.Del("state") },
		"a state cut":         func(q url.Values) { q.Set("state", q.Get("state")[:40]) },
		"another's state":     func(q url.Values) { q.Set("state", vstate) }, // its nonce and verifier do not fit
		"another login":       func(q url.Values) { q.Set("state", victim.ID+"."+strings.SplitN(q.Get("state"), ".", 2)[1]) },
		"no code":             func(q url.Values) { q.Del("code") },
		"another code":        func(q url.Values) { q.Set("code", "eve|x|y") },
		"another issuer":      func(q url.Values) { q.Set("iss", "https://evil.test") },
		"the provider's no":   func(q url.Values) { q.Set("error", "access_denied") },
		"two codes, two ways": func(q url.Values) { q.Add("code", "eve") },
	} {
		l, _ := begin()
		if r := googled(n, l, "eve", change); r.status != 403 && r.status != 400 || string(r.body) != "refused" {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
	}
	// A state is good once, and the provider's refusal uses it up.
	l, _ := begin()
	googled(n, l, "eve", func(q url.Values) { q.Set("error", "access_denied") }).want(403)
	googled(n, l, "eve", nil).want(403)
	l, end := begin()
	if r := n.send(call{method: "HEAD", path: brokerapi.PathGoogleReturn + "?" + mustQuery(t, l, "ada"), odd: true}); r.status != 204 {
		t.Errorf("HEAD: %d", r.status)
	}
	r := googled(n, l, "ada@example.org", nil).want(200)
	googled(n, l, "ada@example.org", nil).want(403)
	google := into[brokerapi.Session](end(strings.TrimPrefix(string(r.body), "code ")))
	if mail := n.login("ada@example.org"); mail.s.Account == google.Account {
		t.Error("a subject that looks like an address is that address's account")
	}
	// The provider away is not a refusal: the person may come again.
	l, _ = begin()
	n.w.Provider.Set(errUnavailable)
	googled(n, l, "ada", nil).want(503)
	n.w.Provider.Set(nil)
	googled(n, l, "ada", nil).want(200)
}

func mustQuery(t *testing.T, l brokerapi.Login, subject string) string {
	t.Helper()
	state, code := brokertest.SignIn(t, l.URL, subject)
	return url.Values{"state": {state}, "code": {code}}.Encode()
}

// TestThreat14StrictBodies: duplicate or case-variant names, unknown ones, and
// anything behind the value, are refused wherever JSON is read.
func TestThreat14StrictBodies(t *testing.T) {
	n := one(t)
	d := n.login("ada@example.org")
	d.do("POST", brokerapi.PathAgents, map[string]string{"label": "ci"}).want(200)
	routes := []struct {
		method, path, good, field string
		session                   bool
	}{
		{"POST", brokerapi.PathLogins, `{"method":"passkey"}`, `"method":"passkey"`, false},
		{"POST", "/v1/logins/x/mail", `{"token":"x"}`, `"token":"x"`, false},
		{"POST", "/v1/logins/x/wallet", `{"message":"x","signature":"0x"}`, `"message":"x"`, false},
		{"POST", "/v1/logins/x/passkey", `{"register":true}`, `"register":true`, false},
		{"POST", "/v1/logins/x/session", `{"code":"x","device":"y"}`, `"code":"x"`, false},
		{"POST", brokerapi.PathEnrol, `{"code":"x","device":"y"}`, `"code":"x"`, false},
		{"POST", brokerapi.PathAgents, `{"label":"new"}`, `"label":"new"`, true},
		{"PUT", "/v1/agents/ci/grants/openrouter", `{"rules":["POST /chat"],"expires":"2099-01-01T00:00:00Z"}`, `"expires":"2099-01-01T00:00:00Z"`, true},
	}
	for _, r := range routes {
		upper := strings.ToUpper(r.field[:3]) + r.field[3:]
		for name, body := range map[string]string{
			"twice":       strings.Replace(r.good, "{", "{"+r.field+",", 1),
			"both cases":  strings.Replace(r.good, "{", "{"+upper+",", 1),
			"upper case":  strings.Replace(r.good, r.field, upper, 1),
			"unknown":     strings.Replace(r.good, "{", `{"x":1,`, 1),
			"a tail":      r.good + "{}",
			"cut":         r.good[:len(r.good)-1],
			"an array":    "[" + r.good + "]",
			"empty":       " ",
			"too large":   strings.Replace(r.good, "{", "{"+strings.Repeat(" ", 70<<10), 1),
			"deep":        strings.Repeat("[", 1000) + strings.Repeat("]", 1000),
			"other bytes": "\xff\xfe" + r.good,
		} {
			c := call{method: r.method, path: r.path, key: d.key, raw: body, odd: true}
			if r.session {
				c.token = d.s.Token
			}
			got := n.send(c)
			if got.status != 400 && got.status != 413 {
				t.Errorf("%s %s, %s: %d %s", r.method, r.path, name, got.status, got.body)
			}
		}
		c := call{method: r.method, path: r.path, key: d.key, raw: r.good, odd: true, header: http.Header{"Content-Type": {"text/plain"}}}
		if r.session {
			c.token = d.s.Token
		}
		if got := n.send(c); got.status != 415 {
			t.Errorf("%s %s as text: %d", r.method, r.path, got.status)
		}
	}
	if got := n.w.Tape.Count("grant.create", "allow"); got != 0 {
		t.Errorf("%d grants were made", got)
	}
}

var errAway = errors.New("away")

// errUnavailable is what a part says that does not answer.
var errUnavailable = errors.Join(broker.ErrUnavailable, errAway)
