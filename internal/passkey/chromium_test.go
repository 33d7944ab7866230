package passkey

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"

	"github.com/litentry/agentkeys/internal/broker"
	"github.com/litentry/agentkeys/internal/testsrv/browser"
)

// site is an empty page on a port of localhost.
func site(t *testing.T) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte("<!doctype html><title>site</title>"))
	}))
	t.Cleanup(srv.Close)
	return strings.Replace(srv.URL, "127.0.0.1", "localhost", 1)
}

// ceremony has a page's script create or get a credential.
func ceremony(tab context.Context, method string, options []byte) (answer []byte, err error) {
	parse := map[string]string{"create": "parseCreationOptionsFromJSON", "get": "parseRequestOptionsFromJSON"}[method]
	s, err := chromedp.Run(tab, chromedp.Evaluate[string](
		`navigator.credentials.`+method+`({publicKey: PublicKeyCredential.`+parse+`((`+string(options)+`).publicKey)}).then(c => JSON.stringify(c.toJSON()))`,
		chromedp.EvalAwaitPromise))
	return []byte(s), err
}

// TestChromium makes passkeys and logs in with them in a real browser, whose
// authenticator is virtual.
func TestChromium(t *testing.T) {
	here, elsewhere := site(t), site(t)
	l, err := New(here, "")
	if err != nil {
		t.Fatal(err)
	}
	tab := browser.Start(t)
	device := browser.Authenticator(t, tab, true)
	open := func(url string) {
		t.Helper()
		if err := chromedp.Do(tab, chromedp.Navigate(url)); err != nil {
			t.Fatal(err)
		}
	}
	open(here)
	s := shelf{}
	options, session, err := l.BeginRegister("AgentKeys", noon)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := ceremony(tab, "create", options)
	if err != nil {
		t.Fatal(err)
	}
	made, err := l.FinishRegister(session, answer, noon)
	if err != nil {
		t.Fatalf("%v\n%s", err, answer)
	}
	s.put(made)

	ask := func() (options, session []byte) {
		t.Helper()
		options, session, err := l.BeginLogin(noon)
		if err != nil {
			t.Fatal(err)
		}
		return options, session
	}
	for range 3 {
		options, session := ask()
		answer, err := ceremony(tab, "get", options)
		if err != nil {
			t.Fatal(err)
		}
		p, err := l.FinishLogin(session, answer, s.find, noon)
		if err != nil {
			t.Fatalf("%v\n%s", err, answer)
		}
		if p, err := l.FinishLogin(session, answer, func([]byte) (broker.Passkey, error) { return p, nil }, noon); !errors.Is(err, ErrRefused) {
			t.Errorf("the same answer again: %v, %v", p, err)
		}
		s.put(p)
	}

	// The same host on another port may use the passkey, by the rules of RP
	// ids: only the origin tells it apart.
	open(elsewhere)
	options, session = ask()
	if answer, err = ceremony(tab, "get", options); err != nil {
		t.Fatal(err)
	}
	if _, err := l.FinishLogin(session, answer, s.find, noon); !errors.Is(err, ErrRefused) {
		t.Errorf("from another origin: %v", err)
	}
	// Another name of this machine may not: the browser itself refuses.
	open(strings.Replace(here, "localhost", "127.0.0.1", 1))
	if answer, err := ceremony(tab, "get", options); err == nil {
		t.Errorf("from an address: %s", answer)
	}

	// Nobody is verified: a browser that would send the answer all the same is
	// played by asking it for less than the options do.
	open(here)
	if _, err := chromedp.Call(tab, webauthn.SetUserVerified, webauthn.SetUserVerifiedParams{AuthenticatorID: device, IsUserVerified: false}); err != nil {
		t.Fatal(err)
	}
	options, _ = ask()
	if answer, err := ceremony(tab, "get", options); err == nil {
		t.Errorf("without verification: %s", answer)
	}
	options, session = ask()
	less := []byte(strings.Replace(string(options), `"required"`, `"discouraged"`, 1))
	if answer, err = ceremony(tab, "get", less); err != nil {
		t.Fatal(err)
	}
	if _, err := l.FinishLogin(session, answer, s.find, noon); !errors.Is(err, ErrRefused) {
		t.Errorf("without verification: %v", err)
	}
}
