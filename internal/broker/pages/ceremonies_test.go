package pages

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"
	"golang.org/x/crypto/sha3"

	"github.com/litentry/agentkeys/internal/broker"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/passkey"
	"github.com/litentry/agentkeys/internal/siwe"
	"github.com/litentry/agentkeys/internal/testsrv/browser"
)

// testPasskey has the real page meet the real verification.
func testPasskey(t *testing.T, s *site, b *tab) {
	l, err := passkey.New(s.origin, "")
	if err != nil {
		t.Fatal(err)
	}
	shelf := map[string]broker.Passkey{}
	var session []byte
	var registering bool
	api := func(path string, body []byte) (int, any) {
		refused := brokerapi.Problem{Status: 403, Code: brokerapi.CodeLogin}
		var options []byte
		var err error
		switch path {
		case "/v1/logins/" + login + "/passkey":
			var q brokerapi.PasskeyBegin
			if err := json.Unmarshal(body, &q); err != nil {
				return 400, refused
			}
			if registering = q.Register; registering {
				options, session, err = l.BeginRegister("AgentKeys", time.Now())
			} else {
				options, session, err = l.BeginLogin(time.Now())
			}
			if err != nil {
				return 500, refused
			}
			return 200, json.RawMessage(options)
		case "/v1/logins/" + login + "/passkey/answer":
			var p broker.Passkey
			if registering {
				p, err = l.FinishRegister(session, body, time.Now())
			} else {
				p, err = l.FinishLogin(session, body, func(id []byte) (broker.Passkey, error) {
					if p, ok := shelf[string(id)]; ok {
						return p, nil
					}
					return broker.Passkey{}, errors.New("unknown")
				}, time.Now())
			}
			if session = nil; err != nil {
				return 403, refused
			}
			shelf[string(p.ID)] = p
			return 200, brokerapi.Handoff{Code: "K7QM-2X9P"}
		}
		return 404, refused
	}
	s.play(api)
	open := func() {
		t.Helper()
		b.open(s.origin + PathPasskey + "#" + login)
		b.see("go")
	}
	open()
	b.named("passkey")
	b.shoot("passkey")
	if n := len(s.said(t)); n != 0 {
		t.Errorf("before anybody pressed a button, it sent %d requests", n)
	}
	browser.Authenticator(t, b.ctx, true)
	b.click("make")
	b.see("done")
	if b.text("code") != "K7QM-2X9P" || len(shelf) != 1 {
		t.Fatalf("making a passkey shows\n%s", b.text("done"))
	}
	for range 2 {
		open()
		b.click("go")
		b.see("done")
		if b.text("code") != "K7QM-2X9P" || len(shelf) != 1 {
			t.Errorf("using a passkey shows\n%s", b.text("done"))
		}
	}
	// The broker has forgotten it.
	clear(shelf)
	open()
	b.click("go")
	b.see("error")
	if b.text("error-title") != "The passkey was refused, or the login has ended" || b.sections() != "error" {
		t.Errorf("%s:\n%s", b.sections(), b.text("error"))
	}
	// The person is not verified: the browser itself gives up, and one may try again.
	other := newTab(t, browser.Page(t, b.ctx))
	other.open(s.origin + PathPasskey + "#" + login)
	browser.Authenticator(t, other.ctx, false)
	other.click("make")
	other.see("error")
	if other.text("error-title") != "No passkey was used" || other.sections() != "ask error" || len(shelf) != 0 {
		t.Errorf("%s:\n%s", other.sections(), other.text("error"))
	}
	other.shoot("passkey-again")
	if eval[bool](other, "document.getElementById('go').disabled") {
		t.Error("one cannot try again")
	}
}

// testWallet has a wallet in the page sign, with a key that the test has.
func testWallet(t *testing.T, s *site, b *tab) {
	key := secp256k1.PrivKeyFromBytes(bytes.Repeat([]byte{7}, 32))
	keccak := func(b []byte) []byte {
		h := sha3.NewLegacyKeccak256()
		h.Write(b)
		return h.Sum(nil)
	}
	address := siwe.Address(keccak(key.PubKey().SerializeUncompressed()[1:])[12:])
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	want := siwe.Ask{Origin: s.origin, Address: address, ChainID: 1, Nonce: "k3q9v7xw2m5t8z4b", Login: login, Device: "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", Issued: now, Expires: now.Add(time.Minute)}
	m, err := want.Message()
	if err != nil {
		t.Fatal(err)
	}
	text := m.String()
	s.play(handoff(0))

	// No wallet: the message is there to be signed elsewhere.
	b.open(WalletURL(s.origin, text))
	b.see("error")
	if b.text("error-title") != "There is no wallet in this browser" || b.sections() != "ask error" || b.text("message") != text || !eval[bool](b, "document.getElementById('go').disabled") {
		t.Errorf("%s:\n%s\n%s", b.sections(), b.text("error"), b.text("message"))
	}
	b.shoot("wallet-none")

	type call struct {
		Method string
		Params []string
	}
	account := address.String()
	sign := func(_ context.Context, c call) (any, error) {
		switch c.Method {
		case "eth_requestAccounts":
			return []string{strings.ToLower(account)}, nil
		case "personal_sign":
			data, err := hex.DecodeString(strings.TrimPrefix(c.Params[0], "0x"))
			if err != nil || c.Params[1] != address.String() {
				return nil, errors.New("asked wrongly")
			}
			sig := ecdsa.SignCompact(key, keccak(append([]byte("\x19Ethereum Signed Message:\n"+strconv.Itoa(len(data))), data...)), false)
			return "0x" + hex.EncodeToString(append(sig[1:], sig[0])), nil
		}
		return nil, errors.New("unknown method")
	}
	b.do(chromedp.ExposeFunc("walletOfTheTest", sign))
	if _, err := chromedp.Call(b.ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: `
		window.ethereum = { request: async (q) => {
			if (window.refuses && q.method === "personal_sign") throw { code: 4001, message: "no" };
			if (window.locked) throw { code: -32002, message: "locked" };
			return window.walletOfTheTest({ Method: q.method, Params: q.params || [] });
		} };`}); err != nil {
		t.Fatal(err)
	}
	open := func() { t.Helper(); b.open(WalletURL(s.origin, text)); b.see("go") }
	open()
	if at := eval[string](b, "location.href"); at != s.origin+PathWallet {
		t.Errorf("the address bar has %s", at)
	}
	b.named("wallet")
	b.shoot("wallet")
	b.click("go")
	b.see("signed")
	if b.sections() != "signed" {
		t.Errorf("it shows %s", b.sections())
	}
	if contract, err := siwe.Verify(t.Context(), text, b.text("signature"), want, now); err != nil || contract {
		t.Errorf("the page's signature: %v", err)
	}
	b.named("signed")
	b.shoot("signed")

	for _, c := range []struct{ set, title string }{
		{"refuses", "You did not sign"}, {"locked", "The wallet could not sign"},
	} {
		open()
		b.do(chromedp.Evaluate[chromedp.Void]("window." + c.set + " = true"))
		b.click("go")
		b.see("error")
		if b.text("error-title") != c.title || b.sections() != "ask error" {
			t.Errorf("%s: %s:\n%s", c.set, b.sections(), b.text("error"))
		}
	}
	account = "0x000000000000000000000000000000000000dEaD"
	open()
	b.click("go")
	b.see("error")
	if b.text("error-title") != "Your wallet uses another account" || !strings.Contains(b.text("error-text"), address.String()) {
		t.Errorf("%s", b.text("error"))
	}

	// The page lends its name to no message but this broker's own.
	for name, other := range map[string]string{
		"another domain":   strings.Replace(text, s.host+" wants", "evil.example wants", 1),
		"another URI":      strings.Replace(text, "URI: "+s.origin, "URI: https://evil.example", 1),
		"no message":       "Send all my tokens to Eve",
		"a domain in it":   "evil.example and " + text,
		"no address":       strings.Replace(text, address.String(), "0x12", 1),
		"another protocol": "https://" + text,
	} {
		b.open(WalletURL(s.origin, other))
		b.see("error")
		if b.text("error-title") != "This is no message of this broker" || b.sections() != "error" {
			t.Errorf("%s: %s:\n%s", name, b.sections(), b.text("error"))
		}
	}
	if n := len(s.said(t)); n != 0 {
		t.Errorf("the page sent %d requests", n)
	}
}
