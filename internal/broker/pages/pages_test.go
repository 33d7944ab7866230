package pages

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/litentry/agentkeys/internal/broker/brokerhttp"
)

var _ brokerhttp.Pages = (*Pages)(nil)

func newPages(t *testing.T, origin string) *Pages {
	t.Helper()
	p, err := New(origin)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// ask is one request to the pages themselves.
func ask(t *testing.T, h http.Handler, method, path string) (*http.Response, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	body, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Result(), string(body)
}

// everything is each answer that the pages can give.
func everything(t *testing.T) map[string]*http.Response {
	t.Helper()
	p := newPages(t, "https://broker.example")
	all := map[string]*http.Response{}
	add := func(name string, h http.HandlerFunc) {
		w := httptest.NewRecorder()
		h(w, httptest.NewRequest(http.MethodGet, "/login/google/return?code=a&state=b", nil))
		all[name] = w.Result()
	}
	for path := range p.paths {
		w := httptest.NewRecorder()
		p.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		all[path] = w.Result()
	}
	add("code", func(w http.ResponseWriter, r *http.Request) { p.Code(w, r, "K7QM2X9P") })
	add("refused", func(w http.ResponseWriter, r *http.Request) { p.Refused(w, r, http.StatusForbidden) })
	add("unavailable", func(w http.ResponseWriter, r *http.Request) { p.Refused(w, r, http.StatusServiceUnavailable) })
	add("nothing", func(w http.ResponseWriter, r *http.Request) { p.ServeHTTP(w, r) })
	return all
}

func TestHeaders(t *testing.T) {
	all := everything(t)
	if len(all) < 13 {
		t.Fatalf("only %d answers", len(all))
	}
	for name, resp := range all {
		for header, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
			"Referrer-Policy":         "no-referrer", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
			"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
		} {
			if got := resp.Header[http.CanonicalHeaderKey(header)]; len(got) != 1 || got[0] != want {
				t.Errorf("%s: %s is %q", name, header, got)
			}
		}
		if resp.Header.Get("Content-Type") == "" || resp.Header.Get("Set-Cookie") != "" {
			t.Errorf("%s: %v", name, resp.Header)
		}
	}
}

// TestNothingInline: no markup carries script or style, and nothing refers to
// anything elsewhere.
func TestNothingInline(t *testing.T) {
	inline := regexp.MustCompile(`(?i)\son[a-z]+\s*=|\sstyle\s*=|<style|<script>|<script[^>]*>[^<]|javascript:|srcdoc|<form|<iframe|<img`)
	elsewhere := regexp.MustCompile(`(?i)(src|href)\s*=\s*"([^/]|//)|@import|url\(`)
	writes := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function`)
	for name, resp := range everything(t) {
		body, err := io.ReadAll(resp.Body)
		if err != nil || len(body) == 0 {
			t.Fatalf("%s: %d bytes, %v", name, len(body), err)
		}
		for what, re := range map[string]*regexp.Regexp{"inline": inline, "elsewhere": elsewhere, "markup of text": writes} {
			if what == "inline" && strings.HasSuffix(name, ".js") {
				continue
			}
			if found := re.FindString(string(body)); found != "" {
				t.Errorf("%s: %s: %q", name, what, found)
			}
		}
		if strings.Contains(string(body), "<no value>") {
			t.Errorf("%s has a hole", name)
		}
	}
}

// TestFetching has everything that a scanner of mail might send.
func TestFetching(t *testing.T) {
	p := newPages(t, "https://broker.example")
	for path := range p.paths {
		get, body := ask(t, p, http.MethodGet, path)
		head, none := ask(t, p, http.MethodHead, path)
		if get.StatusCode != 200 || head.StatusCode != 200 || none != "" || head.Header.Get("Content-Length") != get.Header.Get("Content-Length") || body == "" {
			t.Errorf("%s: GET %d, HEAD %d with %d bytes", path, get.StatusCode, head.StatusCode, len(none))
		}
		for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "PATCH"} {
			if resp, _ := ask(t, p, method, path); resp.StatusCode != http.StatusMethodNotAllowed || resp.Header.Get("Allow") != "GET, HEAD" {
				t.Errorf("%s %s: %d", method, path, resp.StatusCode)
			}
		}
	}
	for _, path := range []string{"/login/", "/login/static/", "/login/static/../pages.go", "/login/static/nothing.js", "/login/mail/", "/login/MAIL", "/login/page.html", "/"} {
		if resp, _ := ask(t, p, http.MethodGet, path); resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d", path, resp.StatusCode)
		}
	}
}

// TestHostile shows what was not made for showing.
func TestHostile(t *testing.T) {
	const evil = `<script>alert(1)</script>"'&`
	p := newPages(t, "https://broker.example")
	w := httptest.NewRecorder()
	p.Code(w, httptest.NewRequest(http.MethodGet, "/", nil), evil)
	if bytes.Contains(w.Body.Bytes(), []byte("<script>alert")) || !bytes.Contains(w.Body.Bytes(), []byte("&lt;script&gt;")) {
		t.Errorf("%s", w.Body)
	}
	w = httptest.NewRecorder()
	p.Code(w, httptest.NewRequest(http.MethodGet, "/", nil), "K7QM2X9P")
	if !bytes.Contains(w.Body.Bytes(), []byte(">K7QM-2X9P<")) {
		t.Errorf("%s", w.Body)
	}
}

func TestNew(t *testing.T) {
	for _, origin := range []string{"", "broker.example", "https://broker.example/", "https://a@broker.example", "https://"} {
		if _, err := New(origin); err == nil {
			t.Errorf("%q is taken for an origin", origin)
		}
	}
	_, body := ask(t, newPages(t, "https://broker.example:8443"), http.MethodGet, PathMail)
	if !strings.Contains(body, ">broker.example:8443<") {
		t.Error("the page does not say which broker it is of")
	}
}
