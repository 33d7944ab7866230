package sites

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// tab is a tab of a real browser.
type tab struct {
	t   *testing.T
	ctx context.Context
}

// browse starts a browser that finds every host at a site, which those of
// package browser do not.
func browse(t *testing.T, s *Site) tab {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		t.Fatal("there is no Chromium; `make setup` installs it")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("host-resolver-rules", "MAP * "+s.Addr().String()), chromedp.Flag("ignore-certificate-errors", true), chromedp.WindowSize(1100, 820))
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox) // there is none for root, and the pages are ours
	}
	within, cancelLife := context.WithTimeout(context.Background(), 2*time.Minute)
	allocator, cancelAllocator := chromedp.NewExecAllocator(within, options...)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx)
		cancel()
		cancelAllocator()
		cancelLife()
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("starting %s: %v", path, err)
	}
	return tab{t, ctx}
}

func (b tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 20*time.Second)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		text, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string]("location.href + ' ' + document.body.innerText"))
		b.t.Fatalf("%v, the page is %.600s", err, text)
	}
}

func (b tab) open(at string)   { b.t.Helper(); b.do(chromedp.Navigate(at)) }
func (b tab) see(css string)   { b.t.Helper(); b.do(chromedp.WaitVisible(chromedp.CSS(css))) }
func (b tab) click(css string) { b.t.Helper(); b.see(css); b.do(chromedp.Click(chromedp.CSS(css))) }
func (b tab) fill(css, text string) {
	b.t.Helper()
	b.see(css)
	b.do(chromedp.SendKeys(chromedp.CSS(css), text))
}

// shot writes a picture of the page, if AGENTKEYS_SHOTS names a directory: for
// whoever changes how the pages look.
func (b tab) shot(name string) {
	b.t.Helper()
	dir := os.Getenv("AGENTKEYS_SHOTS")
	if dir == "" {
		return
	}
	png, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// key makes a key in the dialog, and deletes it again.
func (b tab) key(s *Site, c console, name string) {
	b.t.Helper()
	b.open(c.keys)
	b.click("[data-open=create]")
	b.fill("#key-name", name)
	b.shot(c.service + "-create")
	b.click("#create button.main")
	b.see("dialog[open] code")
	b.shot(c.service + "-key")
	secret, err := chromedp.Run(b.ctx, chromedp.Text(chromedp.CSS("dialog[open] code")))
	if err != nil || s.KeyLabel(secret) != "key-1" {
		b.t.Fatalf("the dialog shows no live key: %v", err)
	}
	b.click("#made button.main")
	b.do(chromedp.WaitNotPresent(chromedp.CSS("#made")))
	b.shot(c.service + "-list")
	b.click(`[aria-label="Delete ` + name + `"]`)
	b.click("#delete button.main")
	b.do(chromedp.WaitNotPresent(chromedp.CSS(`[aria-label="Delete ` + name + `"]`)))
	if s.KeyLabel(secret) != "" {
		b.t.Error("the key is live after it was deleted")
	}
}

func TestBrowserOpenRouter(t *testing.T) {
	s, mail, _ := start(t, Options{Service: "openrouter", Bot: true})
	b := browse(t, s)
	b.open("https://openrouter.ai/sign-up")
	b.fill("#emailAddress-field", someone)
	b.fill("#password-field", secretWord)
	b.shot("openrouter-sign-up")
	b.click("#legalAccepted-field")
	b.click(".cl-formButtonPrimary")
	b.see("#clerk-captcha iframe")
	if mail.count() != 0 {
		t.Fatal("a mail goes out before the bot check is answered")
	}
	waitFor(t, "the bot check", func() bool {
		return slices.ContainsFunc(s.Visits(), func(v Visit) bool { return v.Host == checkHost && strings.Contains(v.Path, "/s/") })
	})
	b.shot("openrouter-bot-check")
	if s.Solve() != 1 {
		t.Fatal("there is no bot check to answer")
	}
	b.see("#code-field")
	_, code := mail.last(t)
	b.shot("openrouter-code")
	b.fill("#code-field", code)
	b.see("header .who")
	b.key(s, consoles[0], "agentkeys-browser")
	if s.Robots() != 0 {
		t.Error("the bot check was clicked")
	}
}

// A second tab without the cookies signs in by password; a first one that waits
// for the code goes on when the link is opened.
func TestBrowserOpenRouterAgain(t *testing.T) {
	s, mail, _ := start(t, Options{Service: "openrouter"})
	b := browse(t, s)
	b.open("https://openrouter.ai/sign-up")
	b.fill("#emailAddress-field", someone)
	b.fill("#password-field", secretWord)
	b.click("#legalAccepted-field")
	b.click(".cl-formButtonPrimary")
	b.see("#code-field")
	link, _ := mail.last(t)
	b.open(link)
	b.see("header .who")
	again := tab{t, newContext(t, b.ctx)}
	again.open("https://openrouter.ai/settings/keys")
	again.fill("#identifier-field", someone)
	again.click(".cl-formButtonPrimary")
	again.see("#password-field")
	again.shot("openrouter-sign-in")
	again.fill("#password-field", secretWord+"x")
	again.click(".cl-formButtonPrimary")
	again.do(chromedp.Poll[chromedp.Void](`document.querySelector("[role=alert]")?.textContent.includes("incorrect")`))
	again.do(chromedp.WaitEnabled(chromedp.CSS(".cl-formButtonPrimary")), chromedp.Evaluate[chromedp.Void](`document.querySelector("#password-field").value = ""; undefined`))
	again.fill("#password-field", secretWord)
	again.click(".cl-formButtonPrimary")
	again.see("[data-open=create]")
}

func TestBrowserAnthropic(t *testing.T) {
	s, mail, _ := start(t, Options{Service: "anthropic", Bot: true, Phone: true})
	b := browse(t, s)
	b.open("https://platform.claude.com/")
	b.fill("#email", someone)
	b.see(".check iframe")
	b.shot("anthropic-login")
	waitFor(t, "the bot check", func() bool { return s.Solve() == 1 })
	b.do(chromedp.WaitNotPresent(chromedp.CSS(".check iframe")))
	b.click("button.main")
	b.see("#code")
	b.shot("anthropic-mail")
	link, _ := mail.last(t)
	b.open(link)
	b.see("#phone")
	b.shot("anthropic-phone")
	s.AnswerPhone()
	b.see("main a.button")
	b.shot("anthropic-dashboard")
	b.key(s, consoles[1], "agentkeys-browser")
}

func TestBrowserGroq(t *testing.T) {
	s, mail, _ := start(t, Options{Service: "groq"})
	b := browse(t, s)
	b.open("https://console.groq.com/keys")
	b.fill("#email", someone)
	b.shot("groq-login")
	b.click("button.main")
	b.see("[name=digit]")
	_, code := mail.last(t)
	for i, d := range code {
		b.fill("[aria-label='Digit "+string(rune('1'+i))+"']", string(d))
	}
	b.shot("groq-code")
	b.click("button.main")
	b.see("[data-open=create]")
	b.key(s, consoles[2], "agentkeys-browser")
}

// newContext is a tab that shares no cookies with the first.
func newContext(t *testing.T, of context.Context) context.Context {
	t.Helper()
	ctx, cancel := chromedp.NewContext(of, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	return ctx
}

func waitFor(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !so(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("there is still no sign of %s", what)
		}
	}
}
