package pages

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/testsrv/browser"
)

// site is a broker as a browser sees it: the real pages before an API that a
// test plays.
type site struct {
	origin, host string

	mu     sync.Mutex
	api    func(path string, body []byte) (int, any)
	posts  []string // path and body
	others []string // requests to the API that are no POST, or come with what they must not
}

func startSite(t *testing.T) *site {
	t.Helper()
	s := &site{}
	var p *Pages
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/login/") {
			p.ServeHTTP(w, r)
			return
		}
		if r.URL.Path == "/favicon.ico" {
			http.NotFound(w, r)
			return
		}
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		defer s.mu.Unlock()
		if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Referer") != "" || r.Header.Get("Cookie") != "" || r.Header.Get("Origin") != s.origin {
			s.others = append(s.others, fmt.Sprint(r.Method, " ", r.URL, " ", r.Header))
		}
		s.posts = append(s.posts, r.URL.String()+" "+string(body))
		status, answer := s.api(r.URL.Path, body)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(answer)
	}))
	srv.Start()
	t.Cleanup(srv.Close)
	s.origin = strings.Replace(srv.URL, "127.0.0.1", "localhost", 1) // passkeys know no addresses
	s.host = strings.TrimPrefix(s.origin, "http://")
	p = newPages(t, s.origin)
	return s
}

// play sets what the API answers, and forgets what it was asked.
func (s *site) play(api func(path string, body []byte) (int, any)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.api, s.posts = api, nil
}

func (s *site) said(t *testing.T) []string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.others {
		t.Errorf("the page sent %s", o)
	}
	return append([]string(nil), s.posts...)
}

// tab is one page of a browser under test.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	offences []string // scripts that failed, and policies that stopped something
}

func newTab(t *testing.T, ctx context.Context) *tab {
	t.Helper()
	b := &tab{t: t, ctx: ctx}
	console := chromedp.Console(ctx)
	go func() {
		for m, err := range console {
			if err != nil {
				return
			}
			if m.Type == chromedp.ConsoleException || strings.Contains(m.Text, "Content Security Policy") || strings.Contains(m.Text, "Refused to") {
				b.mu.Lock()
				b.offences = append(b.offences, m.Text)
				b.mu.Unlock()
			}
		}
	}()
	t.Cleanup(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, o := range b.offences {
			t.Errorf("the browser complains: %s", o)
		}
	})
	return b
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 20*time.Second)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		html, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string]("document.body.innerText"))
		b.t.Fatalf("%v, at:\n%s", err, html)
	}
}

// open loads a URL also where only its fragment is new.
func (b *tab) open(url string) {
	b.t.Helper()
	b.do(chromedp.Navigate("about:blank"), chromedp.Navigate(url))
}

// wait waits until an expression is true, of whatever page is there by then.
func (b *tab) wait(expression string) {
	b.t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if ok, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](expression)); err == nil && ok {
			return
		}
	}
	b.t.Fatalf("it does not become true that %s", expression)
}

func (b *tab) click(id string) { b.t.Helper(); b.do(chromedp.Click(chromedp.CSS("#" + id))) }
func (b *tab) see(id string)   { b.t.Helper(); b.do(chromedp.WaitVisible(chromedp.CSS("#" + id))) }

func eval[V any](b *tab, expression string) V {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[V](expression))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

func (b *tab) text(id string) string {
	b.t.Helper()
	return eval[string](b, `document.getElementById("`+id+`").innerText.trim()`)
}

// sections are those that a person sees.
func (b *tab) sections() string {
	b.t.Helper()
	return eval[string](b, `[...document.querySelectorAll("section")].filter(s => s.checkVisibility()).map(s => s.id).join(" ")`)
}

// shoot keeps a picture, wide and narrow, light and dark, for people to look at:
// where AGENTKEYS_SCREENSHOTS says. It also checks that nothing is cut off.
func (b *tab) shoot(name string) {
	b.t.Helper()
	for _, size := range []struct {
		name          string
		width, height int64
	}{{"wide", 1280, 800}, {"narrow", 320, 640}} {
		for _, scheme := range []string{"light", "dark"} {
			if _, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}); err != nil {
				b.t.Fatal(err)
			}
			b.do(chromedp.EmulateViewport(size.width, size.height))
			if over := eval[int](b, "document.documentElement.scrollWidth - innerWidth"); over > 0 {
				b.t.Errorf("%s, %s: %d pixels stick out", name, size.name, over)
			}
			dir := os.Getenv("AGENTKEYS_SCREENSHOTS")
			if dir == "" {
				continue
			}
			png, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
			if err != nil {
				b.t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s-%s-%s.png", name, size.name, scheme)), png, 0o600); err != nil {
				b.t.Fatal(err)
			}
		}
	}
	b.do(chromedp.EmulateViewport(1280, 800))
}

// named checks that whatever a person can use has a name for those who hear
// the page, and that it has one main heading.
func (b *tab) named(name string) {
	b.t.Helper()
	if bad := eval[string](b, `[...document.querySelectorAll("button,output,pre,section")].filter(e => e.checkVisibility() && e.id !== "error" && e.closest("noscript") === null
		&& !(e.innerText.trim() && e.tagName === "BUTTON") && !e.getAttribute("aria-label") && !document.getElementById(e.getAttribute("aria-labelledby"))).map(e => e.outerHTML).join("\n")`); bad != "" {
		b.t.Errorf("%s: without a name: %s", name, bad)
	}
	if n := eval[int](b, `[...document.querySelectorAll("h1,[aria-level='1']")].filter(e => e.checkVisibility()).length`); n != 1 {
		b.t.Errorf("%s: %d main headings", name, n)
	}
	if eval[string](b, "document.documentElement.lang") != "en" || eval[string](b, "document.title") == "" {
		b.t.Errorf("%s: no language, or no title", name)
	}
}

const (
	login = "lg_7f3k2m9q"
	token = "canary-token-3f9a27c1"
)

func handoff(port int) func(string, []byte) (int, any) {
	return func(string, []byte) (int, any) { return 200, brokerapi.Handoff{Code: "K7QM-2X9P", LoopbackPort: port} }
}

func problem(status int, code string) func(string, []byte) (int, any) {
	return func(string, []byte) (int, any) {
		return status, brokerapi.Problem{Status: status, Code: code, Title: "<b>bold</b>", Detail: "detail"}
	}
}

// TestChromium walks all pages in one browser.
func TestChromium(t *testing.T) {
	s := startSite(t)
	main := browser.Start(t)
	for name, test := range map[string]func(*testing.T, *site, *tab){
		"mail": testMail, "loopback": testLoopback, "refusals": testRefusals, "links": testLinks, "passkey": testPasskey, "wallet": testWallet, "result": testResult,
	} {
		t.Run(name, func(t *testing.T) { test(t, s, newTab(t, browser.Page(t, main))) })
	}
}

func testMail(t *testing.T, s *site, b *tab) {
	s.play(handoff(0))
	b.do(chromedp.Navigate("about:blank"))
	before := eval[int](b, "history.length")
	b.do(chromedp.Navigate(s.origin + PathMail + "#" + login + "." + token))
	b.see("go")
	if at := eval[string](b, "location.href"); at != s.origin+PathMail {
		t.Errorf("the address bar has %s", at)
	}
	if eval[bool](b, "document.documentElement.outerHTML.includes('canary')") {
		t.Error("the token is in the page")
	}
	if n := eval[int](b, "history.length"); n != before+1 {
		t.Errorf("the history grew by %d", n-before)
	}
	entries, err := chromedp.Call(b.ctx, page.GetNavigationHistory, cdp.Empty{})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries.Entries {
		if strings.Contains(e.URL, "canary") || strings.Contains(e.UserTypedURL, "canary") && !strings.HasPrefix(e.UserTypedURL, s.origin) {
			t.Errorf("the history has %+v", e)
		}
	}
	if !strings.Contains(b.text("ask"), s.host) || b.sections() != "ask" {
		t.Errorf("the page shows %s:\n%s", b.sections(), b.text("ask"))
	}
	b.named("mail")
	b.shoot("mail")
	if posts := s.said(t); len(posts) != 0 {
		t.Errorf("before anybody pressed the button, it sent %q", posts)
	}
	if c := eval[string](b, `document.cookie = "of=another-program-on-this-host; path=/"; document.cookie`); c == "" {
		t.Error("the browser took no cookie, so that none can be missed")
	}
	b.click("go")
	b.see("done")
	if posts := s.said(t); len(posts) != 1 || posts[0] != "/v1/logins/"+login+`/mail {"token":"`+token+`"}` {
		t.Errorf("it sent %q", posts)
	}
	if b.text("code") != "K7QM-2X9P" || b.sections() != "done" || eval[bool](b, "document.getElementById('returning').checkVisibility()") {
		t.Errorf("it shows %s:\n%s", b.sections(), b.text("done"))
	}
	if on := eval[string](b, "document.activeElement.id"); on != "done-title" {
		t.Errorf("the focus is on %q", on)
	}
	b.named("code")
	b.shoot("code")
	// The code alone would be 8 letters without a hyphen.
	b.click("copy")
	b.wait(`/^Copied|^Selected/.test(document.getElementById("copy").textContent)`)
	b.do(chromedp.Reload())
	b.see("done")
	if b.text("code") != "K7QM-2X9P" || len(s.said(t)) != 1 {
		t.Error("the code is gone when the page is loaded again, or was asked for again")
	}
}

func testLoopback(t *testing.T, s *site, b *tab) {
	got := make(chan string, 4)
	device := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/login" {
			got <- r.Method + " " + r.Host + r.URL.RequestURI() + " " + r.Header.Get("Referer")
		}
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte("<!doctype html><title>device</title><p id=there>You are in.</p>"))
	}))
	defer device.Close()
	var port int
	if _, err := fmt.Sscanf(device.URL, "http://127.0.0.1:%d", &port); err != nil {
		t.Fatal(err)
	}
	s.play(handoff(port))
	b.open(s.origin + PathMail + "#" + login + "." + token)
	b.click("go")
	b.see("there")
	if said := <-got; said != fmt.Sprintf("GET 127.0.0.1:%d/login?login=%s&code=K7QM-2X9P ", port, login) {
		t.Errorf("the device got %s", said)
	}
	device.Close()

	// Nobody listens: the person comes back, and finds the code.
	b.open(s.origin + PathMail + "#" + login + "." + token)
	b.click("go")
	b.wait(`!location.href.includes("` + PathMail + `")`)
	b.do(chromedp.Evaluate[chromedp.Void]("setTimeout(() => history.back())"))
	b.wait(`location.href.includes("` + PathMail + `") && document.getElementById("done").checkVisibility()`)
	if b.text("code") != "K7QM-2X9P" || !eval[bool](b, "document.getElementById('returning').checkVisibility()") {
		t.Errorf("back from nowhere it shows:\n%s", b.text("done"))
	}
	if at := eval[string](b, "location.href"); at != s.origin+PathMail {
		t.Errorf("and is at %s", at)
	}
	b.shoot("loopback")
	if n := len(s.said(t)); n != 2 {
		t.Errorf("it posted %d times", n)
	}

	// The broker is not asked where to: a port, and nothing else.
	for _, port := range []any{-1, 0, 65536, 80.5, "80@evil.example", map[string]any{}} {
		s.play(func(string, []byte) (int, any) {
			return 200, map[string]any{"code": "K7QM-2X9P", "loopback_port": port}
		})
		b.open(s.origin + PathMail + "#" + login + "." + token)
		b.click("go")
		b.see("done")
		if at := eval[string](b, "location.href"); at != s.origin+PathMail || eval[bool](b, "document.getElementById('returning').checkVisibility()") {
			t.Errorf("port %v led to %s", port, at)
		}
	}
}

func testRefusals(t *testing.T, s *site, b *tab) {
	for _, c := range []struct {
		name   string
		api    func(string, []byte) (int, any)
		title  string
		again  bool
		second func(string, []byte) (int, any)
	}{
		{"refused", problem(403, brokerapi.CodeLogin), "The login was refused, or has ended", false, nil},
		{"malformed", problem(400, brokerapi.CodeRequest), "The login was refused, or has ended", false, nil},
		{"too-many", problem(429, brokerapi.CodeRate), "Too many tries", true, handoff(0)},
		{"unavailable", problem(503, brokerapi.CodeUnavailable), "The broker could not sign you in just now", true, handoff(0)},
		{"html", func(string, []byte) (int, any) { return 502, "<html>" }, "The broker could not sign you in just now", true, handoff(0)},
	} {
		s.play(c.api)
		b.open(s.origin + PathMail + "#" + login + "." + token)
		b.click("go")
		b.see("error")
		if b.text("error-title") != c.title || b.text("error-text") == "" || strings.Contains(b.text("error"), "bold") {
			t.Errorf("%s: it says\n%s", c.name, b.text("error"))
		}
		if want := map[bool]string{true: "ask error", false: "error"}[c.again]; b.sections() != want {
			t.Errorf("%s: it shows %s", c.name, b.sections())
		}
		if role := eval[string](b, "document.getElementById('error').getAttribute('role')"); role != "alert" {
			t.Errorf("%s: the error has the role %q", c.name, role)
		}
		b.named(c.name)
		if c.name == "refused" || c.name == "unavailable" {
			b.shoot(c.name)
		}
		if c.second != nil {
			s.play(c.second)
			b.click("go")
			b.see("done")
			if b.sections() != "done" {
				t.Errorf("%s, then good: it shows %s", c.name, b.sections())
			}
		}
	}
	// The connection breaks before an answer.
	s.play(func(string, []byte) (int, any) { panic(http.ErrAbortHandler) })
	b.open(s.origin + PathMail + "#" + login + "." + token)
	b.click("go")
	b.see("error")
	if b.text("error-title") != "The broker cannot be reached" || b.sections() != "ask error" {
		t.Errorf("a broken connection: %s:\n%s", b.sections(), b.text("error"))
	}
}

func testLinks(t *testing.T, s *site, b *tab) {
	s.play(handoff(0))
	for _, link := range []string{
		PathMail, PathMail + "#", PathMail + "#" + login, PathMail + "#" + login + ".", PathMail + "#." + token, PathMail + "#" + login + "." + token + "/../..",
		PathMail + "#" + login + "." + token + "%20", PathMail + "#../../x." + token, PathPasskey, PathPasskey + "#a/b", PathPasskey + "#a.b", PathWallet, PathWallet + "#%3Cscript%3E", PathWallet + "#AAA!",
		PathMail + "#" + strings.Repeat("a", 200) + "." + token,
	} {
		b.open(s.origin + link)
		b.see("error")
		if b.sections() != "error" || !strings.HasPrefix(b.text("error-title"), "The link is not whole") || strings.Contains(eval[string](b, "location.href"), "#") {
			t.Errorf("%s: %s at %s:\n%s", link, b.sections(), eval[string](b, "location.href"), b.text("error"))
		}
	}
	b.shoot("link")
	// A second link in the same tab, of which only the fragment is another.
	b.open(s.origin + PathMail + "#one.first")
	b.see("go")
	b.do(chromedp.Evaluate[chromedp.Void]("setTimeout(() => { location.href += '#two.second'; })"))
	b.wait(`!location.href.includes("#") && taken.fragment === "two.second" && document.getElementById("go").checkVisibility()`)
	b.click("go")
	b.see("done")
	if posts := s.said(t); len(posts) != 1 || posts[0] != `/v1/logins/two/mail {"token":"second"}` {
		t.Errorf("it sent %q", posts)
	}
}

func testResult(t *testing.T, s *site, b *tab) {
	p := newPages(t, "https://broker.example")
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/login/google/return":
			p.Code(w, r, "K7QM-2X9P")
		case "/refused":
			p.Refused(w, r, http.StatusForbidden)
		default:
			p.ServeHTTP(w, r)
		}
	}))
	defer srv.Close()
	b.open(srv.URL + "/login/google/return?code=canary&state=canary")
	b.see("code")
	if b.text("code") != "K7QM-2X9P" || b.sections() != "done" {
		t.Errorf("it shows %s:\n%s", b.sections(), b.text("done"))
	}
	b.wait(`location.href === "` + srv.URL + `/login/google/return"`)
	b.named("result")
	b.open(srv.URL + "/refused")
	b.named("refused")
	b.open(srv.URL + "/login/nothing")
	b.named("nothing")
}
