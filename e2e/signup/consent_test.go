package signup_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/litentry/agentkeys/internal/testsrv/sites"
)

// visitor is the owner's own browser: it trusts the site, and tells where it is
// led.
func (w *world) visitor() *http.Client {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(w.site.CAPEM())
	return &http.Client{
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (w *world) visit(c *http.Client, address string) (int, string) {
	w.t.Helper()
	res, err := c.Get(address)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(text)
}

var requestField = regexp.MustCompile(`name="request" value="([^"]+)"`)

// consenting begins a run by consent, has the owner answer on the service's page,
// and returns the run and where that page led them.
func (w *world) consenting(answer string) (*running, *url.URL) {
	w.t.Helper()
	r := w.begin("--door", "consent", "--json")
	page := ""
	for line := range r.lines {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "https://") {
			page = line
			break
		}
	}
	if page == "" {
		w.t.Fatalf("it shows no page: %v", r.end())
	}
	status, text := w.visit(w.visitor(), page)
	m := requestField.FindStringSubmatch(text)
	if m == nil {
		w.t.Fatalf("the page answers %d", status)
	}
	at, _ := url.Parse(page)
	at.RawQuery = ""
	res, err := w.visitor().PostForm(at.String(), url.Values{"request": {m[1]}, "answer": {answer}})
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	to, err := res.Location()
	if err != nil {
		w.t.Fatal(err)
	}
	return r, to
}

// with returns an address with another value in its query.
func with(u *url.URL, name, value string) string {
	v, q := *u, u.Query()
	q.Set(name, value)
	v.RawQuery = q.Encode()
	return v.String()
}

// TestConsent: the owner agrees on a page, and a key comes back. What others
// send to the port changes nothing.
func TestConsent(t *testing.T) {
	t.Parallel()
	w := start(t, sites.Options{Service: "openrouter"})

	r, to := w.consenting("cancel")
	if status, _ := w.visit(w.visitor(), to.String()); status != http.StatusOK {
		t.Errorf("the callback answers %d", status)
	}
	if o := r.end(); o.code != 5 || o.failure.Error.Code != "declined" {
		t.Errorf("declined: %v", o)
	}

	r, to = w.consenting("authorize")
	if status, _ := w.visit(w.visitor(), with(to, "iss", "https://evil.example")); status != http.StatusOK {
		t.Errorf("the callback answers %d", status)
	}
	if o := r.end(); o.code != 5 || o.failure.Error.Code != "consent" {
		t.Errorf("another issuer: %v", o)
	}

	r, to = w.consenting("authorize")
	elsewhere := *to
	elsewhere.Path = "/"
	for _, no := range []string{with(to, "state", "guessed"), with(to, "state", ""), elsewhere.String()} {
		if status, _ := w.visit(w.visitor(), no); status != http.StatusNotFound {
			t.Errorf("a wrong callback is answered with %d", status)
		}
	}
	status, text := w.visit(w.visitor(), to.String())
	if code := to.Query().Get("code"); status != http.StatusOK || code == "" || strings.Contains(text, code) {
		t.Errorf("the callback answers %d", status)
	}
	o := r.end()
	if o.code != 0 || o.answer.Door != "consent" || o.answer.Verdict != "good" {
		t.Fatal(o)
	}
	if strings.Contains(o.stderr+string(o.stdout), to.Query().Get("code")) {
		t.Error("it prints the code")
	}
	w.settled("a consent")
	if _, err := http.Get(to.String()); err == nil {
		t.Error("the port is still open")
	}
	w.clean(o)
}
