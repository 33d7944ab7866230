package sites

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"html"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// box is who gets a site's letters.
type box struct {
	mu      sync.Mutex
	letters []Letter
}

func (b *box) post(_ context.Context, l Letter) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.letters = append(b.letters, l)
	return nil
}

var (
	letterLink = regexp.MustCompile(`https://\S+`)
	letterCode = regexp.MustCompile(`\b\d{6}\b`)
)

// last returns link and code of the last letter.
func (b *box) last(t *testing.T) (link, code string) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.letters) == 0 {
		t.Fatal("no letter came")
	}
	l := b.letters[len(b.letters)-1]
	link = letterLink.FindString(l.Text)
	code = letterCode.FindString(letterLink.ReplaceAllString(l.Text, ""))
	if link == "" || code == "" || !strings.Contains(l.HTML, html.EscapeString(link)) || !strings.Contains(l.HTML, code) {
		t.Fatalf("the letter %q has no link or code in both of its parts", l.Subject)
	}
	return link, code
}

func (b *box) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.letters)
}

// clock is a clock that tests move.
type clock struct {
	mu    sync.Mutex
	later time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.later)
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.later += d
}

// start starts a site with a box and a clock.
func start(t *testing.T, opts Options) (*Site, *box, *clock) {
	t.Helper()
	b, c := &box{}, &clock{}
	opts.Post, opts.Now = b.post, c.now
	s, err := Start(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, b, c
}

// visitor is a browser without scripts: it finds every host at the site.
type visitor struct {
	t    *testing.T
	s    *Site
	http *http.Client
	page got
}

type got struct {
	status int
	url    *url.URL
	text   string
	header http.Header
}

func visit(t *testing.T, s *Site) *visitor {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(s.CAPEM()) {
		t.Fatal("CAPEM holds no certificate")
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, s.Addr().String())
		},
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &visitor{t: t, s: s, http: &http.Client{Transport: tr, Jar: jar, Timeout: 20 * time.Second}}
}

func (v *visitor) do(method, at, form string, header ...string) got {
	v.t.Helper()
	req, err := http.NewRequest(method, at, strings.NewReader(form))
	if err != nil {
		v.t.Fatal(err)
	}
	if form != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := v.http.Do(req)
	if err != nil {
		v.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	v.page = got{res.StatusCode, res.Request.URL, string(text), res.Header}
	return v.page
}

func (v *visitor) get(at string) got { v.t.Helper(); return v.do("GET", at, "") }

var csrfField = regexp.MustCompile(`name="csrf" value="([^"]+)"`)

// send sends the form of the page that is shown, to at.
func (v *visitor) send(at string, fields ...string) got {
	v.t.Helper()
	form := url.Values{}
	if m := csrfField.FindStringSubmatch(v.page.text); m != nil {
		form.Set("csrf", html.UnescapeString(m[1]))
	}
	for i := 0; i+1 < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	return v.do("POST", at, form.Encode())
}

// ask sends what the script of Clerk's forms sends.
func (v *visitor) ask(path string, fields ...string) got {
	v.t.Helper()
	state := v.do("GET", "https://"+clerkHost+"/v1/client", "", "Origin", "https://openrouter.ai")
	var client struct{ CSRF string }
	if err := json.Unmarshal([]byte(state.text), &client); err != nil {
		v.t.Fatal(err)
	}
	form := url.Values{"csrf": {client.CSRF}}
	for i := 0; i+1 < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	return v.do("POST", "https://"+clerkHost+path, form.Encode(), "Accept", "application/json", "Origin", "https://openrouter.ai")
}

// want demands a status, and text in the page.
func (v *visitor) want(status int, text string) {
	v.t.Helper()
	if v.page.status != status || !strings.Contains(v.page.text, text) {
		v.t.Fatalf("%s answered %d without %q, want %d with it:\n%.2000s", v.page.url, v.page.status, text, status, v.page.text)
	}
}

// console is how tests go through a site's own way in.
type console struct {
	service, keys string
	// apply asks for the mail, byLink and byCode come in with it.
	apply          func(v *visitor, address string) got
	byLink, byCode func(v *visitor, token string) got
	start          string // the first page
}

const secretWord = "a pass phrase of the tests"

var consoles = []console{
	{
		service: "openrouter", keys: "https://openrouter.ai/settings/keys", start: "https://openrouter.ai/sign-up",
		apply: func(v *visitor, address string) got {
			return v.ask("/v1/client/sign_ups", "emailAddress", address, "password", secretWord, "legalAccepted", "true")
		},
		byLink: func(v *visitor, link string) got { return v.get(link) },
		byCode: func(v *visitor, code string) got {
			return v.ask("/v1/client/sign_ups/attempt_verification", "code", code)
		},
	},
	{
		service: "anthropic", keys: "https://platform.claude.com/settings/keys", start: "https://platform.claude.com/login",
		apply: func(v *visitor, address string) got {
			v.get("https://platform.claude.com/login")
			return v.send("https://platform.claude.com/login", "email", address)
		},
		byLink: func(v *visitor, link string) got {
			at, token, _ := strings.Cut(link, "#")
			token, _, _ = strings.Cut(token, ":")
			v.get(at)
			return v.send(at, "token", token)
		},
		byCode: func(v *visitor, code string) got {
			v.get("https://platform.claude.com/login/check")
			return v.send("https://platform.claude.com/login/check", "code", code)
		},
	},
	{
		service: "groq", keys: "https://console.groq.com/keys", start: "https://console.groq.com/authenticate",
		apply: func(v *visitor, address string) got {
			v.get("https://console.groq.com/authenticate")
			return v.send("https://console.groq.com/authenticate", "email", address)
		},
		byLink: func(v *visitor, link string) got { return v.get(link) },
		byCode: func(v *visitor, code string) got {
			v.get("https://console.groq.com/authenticate/check")
			return v.send("https://console.groq.com/authenticate/check", "code", code)
		},
	},
}
