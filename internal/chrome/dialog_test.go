package chrome

import (
	"context"
	"testing"
	"time"

	"github.com/chromedp/cdproto/input"

	"github.com/litentry/agentkeys/internal/provision/recipe"
)

// TestPasskeysTakeNoKeys: a page that asks for a passkey has no window of the
// browser's opened, which would have the keyboard.
func TestPasskeysTakeNoKeys(t *testing.T) {
	s := newSite(t)
	s.page(shop+"/", `<input id=f><script>navigator.credentials.get({publicKey: {challenge: new Uint8Array(32), rpId: location.hostname}}).catch(() => {})</script>`)
	r := launch(t, s)
	r.open(shop + "/")
	r.click("#f")
	// The window comes when it comes; keys are pressed for as long as it may take.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range 20 {
		if err := r.tab.main.Call(ctx, input.DispatchKeyEvent.Method, input.DispatchKeyEventParams{Type: input.DispatchKeyEventTypeChar, Text: "x"}, nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	r.until("all keys", func(recipe.View) bool { return r.read("#f") == "xxxxxxxxxxxxxxxxxxxx" })
}

// TestDialogs: whenever a page opens a dialog of the browser, and however many,
// the answer is no, and the page can be used.
func TestDialogs(t *testing.T) {
	s := newSite(t)
	s.page(shop+"/next", `<p id=next>next`)
	r := launch(t, s)
	const form = `<input id=f><button id=b onclick="document.getElementById('o').textContent = document.getElementById('f').value">Go</button><p id=o>-</p>`
	for name, script := range map[string]string{
		"before the document is ready": `alert('a')`,
		"many":                         `for (let i = 0; i < 60; i++) alert(i)`,
		"of each kind":                 `window.said = [alert(1), confirm(2), prompt('key?', 'x')]; if (said[1] !== false || said[2] !== null) location.href = 'https://evil.example/said'`,
		"when it is loaded":            `addEventListener('load', () => { confirm(1); prompt(2) })`,
		"again and again":              `setInterval(() => confirm('again'), 100)`,
		"while something is typed":     `addEventListener('keydown', () => alert(1), {once: true})`,
		"when something is clicked":    `addEventListener('click', () => { alert(1); prompt(2) }, true)`,
		"in a frame":                   `addEventListener('DOMContentLoaded', () => { const f = document.createElement('iframe'); f.srcdoc = '<scr' + 'ipt>alert(1); confirm(2); prompt(3)</scr' + 'ipt>'; document.body.append(f) })`,
		"passkey":                      `navigator.credentials.get({publicKey: {challenge: new Uint8Array(32), rpId: location.hostname}}).catch(() => {})`,
		"new passkey":                  `navigator.credentials.create({publicKey: {challenge: new Uint8Array(32), rp: {name: 'x'}, user: {id: new Uint8Array(8), name: 'x', displayName: 'x'}, pubKeyCredParams: [{type: 'public-key', alg: -7}]}}).catch(() => {})`,
		"kept password":                `navigator.credentials.get({password: true, mediation: 'required'}).catch(() => {}); navigator.credentials.store(new PasswordCredential({id: 'x', password: 'y'})).catch(() => {})`,
		"federated":                    `navigator.credentials.get({identity: {providers: [{configURL: 'https://evil.example/fedcm.json', clientId: 'x'}]}}).catch(() => {})`,
		"print":                        `print()`,
	} {
		t.Run(name, func(t *testing.T) {
			r.t = t
			s.page(shop+"/", `<script>`+script+`</script>`+form)
			r.open(shop + "/")
			r.do("#f", text("words"))
			r.click("#b")
			if got := r.read("#o"); got != "words" {
				t.Errorf("the page shows %q", got)
			}
			r.open(shop + "/next")
			r.see("#next")
			if v := s.visited(evil); len(v) > 0 {
				t.Errorf("it said yes: %q", v)
			}
		})
	}
}
