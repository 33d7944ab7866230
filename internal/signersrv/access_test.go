package signersrv_test

import (
	"crypto/ecdsa"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/signer"
	"github.com/litentry/agentkeys/internal/signer/signertest"
	"github.com/litentry/agentkeys/internal/signerapi"
	"github.com/litentry/agentkeys/internal/signerclient"
	"github.com/litentry/agentkeys/internal/token"
)

// TestRoles is one story with every principal: whose keys come out, and whose
// do not.
func TestRoles(t *testing.T) {
	w := newWorld(t)
	laptop, sandbox, thief := newDevice(t), newDevice(t), newDevice(t)
	aliceW, coderW, testerW, bobW := w.wallet(alice), w.wallet(alice, coder), w.wallet(alice, tester), w.wallet(bob)
	bobCoderW := w.wallet(bob, coder)
	master := w.sign(w.access(laptop, token.Master, alice))
	masterForCoder := w.sign(w.access(laptop, token.Master, alice, coder))
	agent := w.sign(w.access(sandbox, token.Agent, alice, coder))

	// forged signs claims that the issuer would refuse to sign, with its key.
	forged := func(change func(*token.Access)) string {
		a := w.access(laptop, token.Master, alice)
		change(&a)
		return forge(t, w, a, nil)
	}
	cases := []struct {
		name   string
		device *ecdsa.PrivateKey
		token  string
		wallet agentkeys.Wallet
		status int
		code   string
	}{
		{"the master for its own wallet", laptop, master, aliceW, 200, ""},
		{"the master for its agent's, with a token for that", laptop, masterForCoder, coderW, 200, ""},
		{"the agent for its own", sandbox, agent, coderW, 200, ""},

		{"the master for its agent's with a token for its own", laptop, master, coderW, 403, brokerapi.CodeForbidden},
		{"the master for its own with a token for its agent's", laptop, masterForCoder, aliceW, 403, brokerapi.CodeForbidden},
		{"the master for another agent's", laptop, masterForCoder, testerW, 403, brokerapi.CodeForbidden},
		{"the master for a foreign master", laptop, master, bobW, 403, brokerapi.CodeForbidden},
		{"the master for a foreign agent", laptop, masterForCoder, bobCoderW, 403, brokerapi.CodeForbidden},
		{"the agent for its master", sandbox, agent, aliceW, 403, brokerapi.CodeForbidden},
		{"the agent for a sibling", sandbox, agent, testerW, 403, brokerapi.CodeForbidden},
		{"the agent for the foreign agent of its name", sandbox, agent, bobCoderW, 403, brokerapi.CodeForbidden},

		{"a stolen token with another device", thief, master, aliceW, 401, brokerapi.CodeToken},
		{"an agent's token with the master's device", laptop, agent, coderW, 401, brokerapi.CodeToken},
		{"no token", laptop, "", aliceW, 401, brokerapi.CodeToken},
		{"a token of nonsense", laptop, "a.b.c", aliceW, 401, brokerapi.CodeToken},
		{"a token cut short", laptop, master[:len(master)-4], aliceW, 401, brokerapi.CodeToken},
		{"a broker's certificate with a token bound to it", w.broker, w.sign(w.access(w.broker, token.Master, alice)), aliceW, 403, brokerapi.CodeForbidden},
		{"a broker's certificate without a token", w.broker, "", aliceW, 403, brokerapi.CodeForbidden},

		{"expired", laptop, forged(func(a *token.Access) { a.Expires = w.now().Add(-time.Minute) }), aliceW, 401, brokerapi.CodeToken},
		{"another audience", laptop, w.sign(with(w.access(laptop, token.Master, alice), func(a *token.Access) { a.Audience = "https://other.test" })), aliceW, 401, brokerapi.CodeToken},
		{"no device in the token", laptop, forged(func(a *token.Access) { a.Device = token.Thumbprint{} }), aliceW, 401, brokerapi.CodeToken},

		// The wallets of a token are derived again.
		{"forged: a master with another's wallet", laptop, forged(func(a *token.Access) { a.Wallet = bobW }), bobW, 403, brokerapi.CodeForbidden},
		{"forged: a master with its agent's wallet and no agent", laptop, forged(func(a *token.Access) { a.Wallet = coderW }), coderW, 403, brokerapi.CodeForbidden},
		{"forged: the account of another", laptop, forged(func(a *token.Access) { a.Account = bob.String() }), aliceW, 403, brokerapi.CodeForbidden},
		{"forged: an agent with its master's wallet", laptop, forged(func(a *token.Access) { a.Role, a.Agent, a.Parent = token.Agent, coder, aliceW }), aliceW, 401, brokerapi.CodeToken},
		{"forged: an agent with a sibling's wallet", laptop, forged(func(a *token.Access) { a.Role, a.Agent, a.Parent, a.Wallet = token.Agent, coder, aliceW, testerW }), testerW, 403, brokerapi.CodeForbidden},
		{"forged: an agent with another parent", laptop, forged(func(a *token.Access) { a.Role, a.Agent, a.Parent, a.Wallet = token.Agent, coder, bobW, coderW }), coderW, 403, brokerapi.CodeForbidden},
		{"forged: a master for a foreign agent", laptop, forged(func(a *token.Access) { a.Agent, a.Parent, a.Wallet = coder, aliceW, bobCoderW }), bobCoderW, 403, brokerapi.CodeForbidden},
		{"forged: a master for a foreign agent, with its parent", laptop, forged(func(a *token.Access) { a.Agent, a.Parent, a.Wallet = coder, bobW, bobCoderW }), bobCoderW, 403, brokerapi.CodeForbidden},
		{"forged: an account that is none", laptop, forged(func(a *token.Access) { a.Account = "Not An Account" }), aliceW, 401, brokerapi.CodeToken},
	}
	var given int
	for _, c := range cases {
		status, p, text, h := w.call(c.device, "POST", signerapi.PathKEK, c.token, kekBody(c.wallet, router, 1))
		if status != c.status || p.Code != c.code {
			t.Errorf("%s: %d %s %s, want %d %s", c.name, status, p.Code, text, c.status, c.code)
		}
		if status == 200 {
			given++
		}
		if status != 200 && strings.Contains(text, "kek") && strings.Contains(text, `":"`) && strings.Contains(text, "epoch\":") {
			t.Errorf("%s: a key came with the refusal", c.name)
		}
		if h.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: Cache-Control is %q", c.name, h.Get("Cache-Control"))
		}
		if status == 401 && !strings.HasPrefix(h.Get("WWW-Authenticate"), "Bearer") {
			t.Errorf("%s: WWW-Authenticate is %q", c.name, h.Get("WWW-Authenticate"))
		}
		// Who gets no key gets no epoch, unless only the wallet was wrong.
		if es, _, _, _ := w.call(c.device, "GET", signerapi.PathEpoch, c.token, ""); (es == 200) != (status == 200 || p.Detail == "the token is for the keys of another wallet") {
			t.Errorf("%s: the epoch answered %d", c.name, es)
		}
	}
	if given != 3 {
		t.Errorf("%d keys were given", given)
	}

	// The record names who did what to whose, and has no key.
	var allowed, denied []grant.Event
	for _, e := range w.events() {
		if e.Op != "key.derive" || e.Svc != router || e.Epoch != 1 || e.Request == "" {
			t.Errorf("%+v", e)
		}
		if e.Decision == grant.Allowed {
			allowed = append(allowed, e)
		} else {
			denied = append(denied, e)
		}
	}
	if len(allowed) != 3 || len(denied) != 8 {
		t.Fatalf("%d allowed, %d denied", len(allowed), len(denied))
	}
	for i, want := range []grant.Event{
		{Actor: aliceW, Subject: aliceW.String()},
		{Actor: aliceW, Agent: coder, Subject: coderW.String()},
		{Actor: coderW, Parent: aliceW, Agent: coder, Subject: coderW.String()},
	} {
		if g := allowed[i]; g.Actor != want.Actor || g.Parent != want.Parent || g.Agent != want.Agent || g.Subject != want.Subject {
			t.Errorf("%+v, want %+v", g, want)
		}
	}
}

func with(a token.Access, change func(*token.Access)) token.Access {
	change(&a)
	return a
}

// forge signs claims of any kind with the issuer's own key, as a broker that
// has gone wrong would.
func forge(t testing.TB, w *world, a token.Access, key any) string {
	t.Helper()
	kid := w.issuer.key.KID()
	if key == nil {
		key = w.issuer.private
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: kid}},
		(&jose.SignerOptions{}).WithType("signer+jwt"))
	if err != nil {
		t.Fatal(err)
	}
	own := map[string]any{"wallet_address": a.Wallet, "role": a.Role}
	if !a.Parent.IsZero() {
		own["parent_wallet"] = a.Parent
	}
	if !a.Agent.IsZero() {
		own["agent"] = a.Agent
	}
	claims := mustJSON(map[string]any{
		"iss": w.issuer.srv.URL, "sub": a.Account, "aud": a.Audience, "jti": a.ID,
		"iat": a.Expires.Add(-5 * time.Minute).Unix(), "nbf": a.Expires.Add(-5 * time.Minute).Unix(), "exp": a.Expires.Unix(),
		"client_id": "agentkeys", "agentkeys": own, "cnf": map[string]any{"jkt": a.Device.String()},
	})
	j, err := s.Sign(claims)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := j.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// The forgeries would be believed if they were consistent, or they show
// nothing.
func TestForgeryWorks(t *testing.T) {
	w := newWorld(t)
	d := newDevice(t)
	a := w.access(d, token.Master, alice)
	if status, _, text, _ := w.call(d, "POST", signerapi.PathKEK, forge(t, w, a, nil), kekBody(a.Wallet, router, 1)); status != 200 {
		t.Errorf("%d %s\n%s", status, text, w.log.bytes())
	}
	if status, p, _, _ := w.call(d, "POST", signerapi.PathKEK, forge(t, w, a, newDevice(t)), kekBody(a.Wallet, router, 1)); status != 401 || p.Code != brokerapi.CodeToken {
		t.Errorf("signed by a stranger: %d", status)
	}
	// A session is not a signer token.
	i := token.Issuer{Issuer: w.issuer.srv.URL, Ring: w.issuer.ring.Load}
	raw, err := i.Session(token.Session{ID: token.NewID(), Account: alice.String(), Wallet: a.Wallet, Role: token.Master, Device: a.Device, Expires: a.Expires}, w.now())
	if err != nil {
		t.Fatal(err)
	}
	if status, _, _, _ := w.call(d, "POST", signerapi.PathKEK, raw, kekBody(a.Wallet, router, 1)); status != 401 {
		t.Errorf("a session token: %d", status)
	}
}

// The same key comes out locally and over the wire, by the client the vault
// uses.
func TestKeysAgree(t *testing.T) {
	w := newWorld(t)
	d := newDevice(t)
	own, agents := w.wallet(alice), w.wallet(alice, coder)
	c := w.client(d, own, func(q agentkeys.Wallet) string {
		if q == agents {
			return w.sign(w.access(d, token.Master, alice, coder))
		}
		return w.sign(w.access(d, token.Master, alice))
	})
	if e := c.Epoch(); e != 1 {
		t.Errorf("epoch %d", e)
	}
	for _, q := range []agentkeys.Wallet{own, agents} {
		remote, err := c.KEK(t.Context(), q, router, 1)
		if err != nil {
			t.Fatal(err)
		}
		local, err := w.core.KEK(t.Context(), q, router, 1)
		if err != nil {
			t.Fatal(err)
		}
		signertest.Same(t, remote, local, q, router)
	}
	if _, err := c.KEK(t.Context(), w.wallet(bob), router, 1); !errors.Is(err, signerclient.ErrRefused) {
		t.Errorf("another's wallet: %v", err)
	}
	if _, err := c.KEK(t.Context(), own, router, 2); !errors.Is(err, signer.ErrUnknownEpoch) || errors.Is(err, signerclient.ErrRefused) {
		t.Errorf("epoch 2: %v", err)
	}
}

func TestWallets(t *testing.T) {
	w := newWorld(t)
	b, err := signerclient.NewWallets(w.url, w.ca, w.broker, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := b.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	if got, err := b.Master(t.Context(), alice); err != nil || got != w.wallet(alice) {
		t.Errorf("%v %v", got, err)
	}
	if got, err := b.Agent(t.Context(), alice, coder); err != nil || got != w.wallet(alice, coder) {
		t.Errorf("%v %v", got, err)
	}
	if _, err := b.Agent(t.Context(), alice, agentkeys.Agent{}); !errors.Is(err, agentkeys.ErrName) {
		t.Errorf("a zero agent: %v", err)
	}
	stranger, err := signerclient.NewWallets(w.url, w.ca, newDevice(t), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	if _, err := stranger.Master(t.Context(), alice); !errors.Is(err, signerclient.ErrRefused) {
		t.Errorf("a stranger: %v", err)
	}
	d := newDevice(t)
	if status, p, _, _ := w.call(d, "POST", signerapi.PathWallet, w.sign(w.access(d, token.Master, alice)), `{"account":"a11ce"}`); status != 403 || p.Code != brokerapi.CodeForbidden {
		t.Errorf("a device with a token: %d %s", status, p.Code)
	}
	for _, body := range []string{
		``, `{}`, `null`, `{"account":""}`, `{"account":null}`, `{"account":"A"}`, `{"account":"a11ce","agent":null}`, `{"account":"a11ce","agent":""}`,
		`{"account":"a11ce","agent":1}`, `{"account":"a11ce","agent":{}}`, `{"account":"a11ce","Agent":"coder"}`, `{"account":"a11ce","account":"b0b"}`,
		`{"account":"a11ce"} {}`, `{"account":"a11ce","path":""}`, `["a11ce"]`,
	} {
		if status, p, text, _ := w.call(w.broker, "POST", signerapi.PathWallet, "", body); status != 400 && status != 415 || p.Code != brokerapi.CodeRequest {
			t.Errorf("%s: %d %s", body, status, text)
		}
	}
}

func TestMalformed(t *testing.T) {
	w := newWorld(t)
	d := newDevice(t)
	raw := w.sign(w.access(d, token.Master, alice))
	own := w.wallet(alice).String()
	for _, body := range []string{
		`{}`, `null`, fmt.Sprintf(`{"wallet":%q,"service":"openrouter"}`, own), fmt.Sprintf(`{"wallet":%q,"service":"openrouter","epoch":0}`, own),
		fmt.Sprintf(`{"wallet":%q,"service":"openrouter","epoch":-1}`, own), fmt.Sprintf(`{"wallet":%q,"service":"openrouter","epoch":4294967296}`, own),
		fmt.Sprintf(`{"wallet":%q,"service":"","epoch":1}`, own), fmt.Sprintf(`{"wallet":%q,"service":null,"epoch":1}`, own),
		`{"wallet":null,"service":"openrouter","epoch":1}`, fmt.Sprintf(`{"wallet":%q,"service":"openrouter","epoch":1,"epoch":1}`, own),
		fmt.Sprintf(`{"wallet":%q,"service":"openrouter","epoch":1,"x":1}`, own), fmt.Sprintf(`{"wallet":%q,"service":"openrouter","epoch":1}x`, own),
		fmt.Sprintf(`{"wallet":%q,"service":"openrouter","epoch":1}`, strings.ToUpper(own)), strings.Repeat(" ", 70<<10),
	} {
		if status, p, text, _ := w.call(d, "POST", signerapi.PathKEK, raw, body); status != 400 && status != 413 || p.Code != brokerapi.CodeRequest {
			t.Errorf("%.80s: %d %s", body, status, text)
		}
	}
	if status, p, _, _ := w.call(d, "POST", signerapi.PathKEK, raw, kekBody(w.wallet(alice), router, 9)); status != 404 || p.Code != signerapi.CodeEpoch {
		t.Errorf("an unknown epoch: %d %s", status, p.Code)
	}
	for path, want := range map[string]int{"GET /v1/kek": 405, "POST /v1/epoch": 405, "GET /v1/roots": 404, "GET /metrics": 404, "GET /healthz": 404} {
		m, p, _ := strings.Cut(path, " ")
		if status, _, _, _ := w.call(d, m, p, raw, ""); status != want {
			t.Errorf("%s: %d, want %d", path, status, want)
		}
	}
	if len(w.events()) != 0 {
		t.Error("what was refused is recorded as given")
	}
}

func TestConcurrent(t *testing.T) {
	w := newWorld(t)
	var wg sync.WaitGroup
	for n := range 6 {
		wg.Go(func() {
			a := agentkeys.Must(signer.ParseAccountID(fmt.Sprintf("user-%d", n)))
			d := newDevice(t)
			own := w.wallet(a)
			c := w.client(d, own, func(agentkeys.Wallet) string { return w.sign(w.access(d, token.Master, a)) })
			for range 15 {
				got, err := c.KEK(t.Context(), own, router, 1)
				if err != nil {
					t.Error(err)
					return
				}
				want, err := w.core.KEK(t.Context(), own, router, 1)
				if err != nil {
					t.Error(err)
					return
				}
				signertest.Same(t, got, want, own, router)
			}
		})
	}
	wg.Wait()
	if n := len(w.events()); n != 90 {
		t.Errorf("%d entries for 90 keys", n)
	}
}
