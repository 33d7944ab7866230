package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestHandoff: any page of the browser can reach the loopback page. It takes a
// code of this login once, from a browser that was sent there, and says nothing
// to anybody else.
func TestHandoff(t *testing.T) {
	h, err := listenHandoff()
	if err != nil {
		t.Fatal(err)
	}
	defer h.close()
	own := fmt.Sprintf("127.0.0.1:%d", h.port)
	ask := func(method, path, host string, header ...string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+own+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		for i := 0; i+1 < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{
			"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff",
			"Cross-Origin-Resource-Policy": "same-origin",
		} {
			if resp.Header.Get(name) != want {
				t.Errorf("%s: %s is %q", path, name, resp.Header.Get(name))
			}
		}
		if csp := resp.Header.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'") || resp.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: policy %q", path, csp)
		}
		return resp.StatusCode, string(body)
	}
	const good = "/login?login=l-1&code=ABCD-EFGH"
	if status, _ := ask("GET", good, own); status != 403 {
		t.Errorf("before there is a login: %d", status)
	}
	h.expect("l-1")
	for what, c := range map[string]struct {
		method, path, host string
		header             []string
		status             int
	}{
		"another host":    {"GET", good, "evil.example", nil, 403},
		"another port":    {"GET", good, "127.0.0.1:80", nil, 403},
		"a name":          {"GET", good, strings.Replace(own, "127.0.0.1", "localhost", 1), nil, 403},
		"a script":        {"GET", good, own, []string{"Origin", "https://evil.example"}, 403},
		"a null origin":   {"GET", good, own, []string{"Origin", "null"}, 403},
		"an image":        {"GET", good, own, []string{"Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"}, 403},
		"a frame":         {"GET", good, own, []string{"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"}, 403},
		"a post":          {"POST", good, own, nil, 405},
		"a head":          {"HEAD", good, own, nil, 405},
		"another path":    {"GET", "/", own, nil, 404},
		"another login":   {"GET", "/login?login=l-2&code=ABCD-EFGH", own, nil, 403},
		"no login":        {"GET", "/login?code=ABCD-EFGH", own, nil, 400},
		"no code":         {"GET", "/login?login=l-1", own, nil, 400},
		"not a code":      {"GET", "/login?login=l-1&code=<script>", own, nil, 400},
		"two logins":      {"GET", "/login?login=l-1&login=l-2&code=ABCD-EFGH", own, nil, 400},
		"two codes":       {"GET", good + "&code=AAAA-AAAA", own, nil, 400},
		"something more":  {"GET", good + "&x=1", own, nil, 400},
		"malformed query": {"GET", good + ";&%zz", own, nil, 400},
	} {
		status, body := ask(c.method, c.path, c.host, c.header...)
		if status != c.status || strings.Contains(body, "close this page") || strings.Contains(body, "ABCD") {
			t.Errorf("%s: %d %s", what, status, body)
		}
	}
	if len(h.codes) != 0 {
		t.Fatal("a code was taken")
	}
	for range 2 { // a page that is loaded again says the same
		if status, body := ask("GET", good, own, "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"); status != 200 || !strings.Contains(body, "close this page") {
			t.Errorf("%d %s", status, body)
		}
	}
	if code := <-h.codes; code != "ABCD-EFGH" || len(h.codes) != 0 {
		t.Errorf("code %q, and %d more", code, len(h.codes))
	}
}

// TestCheckPage: what a broker sends as a page is shown and given to a program.
func TestCheckPage(t *testing.T) {
	for _, s := range []string{"https://accounts.example/x?y=z#w", "http://127.0.0.1:5/x"} {
		if err := checkPage(s); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
	for _, s := range []string{
		"", "-x", "file:///etc/passwd", "javascript:alert(1)", "http://accounts.example/", "https://a b/", "https://x/\x1b[2J", "https://u:p@x/",
		"--help", "https:///x", "//x/y",
	} {
		if err := checkPage(s); err == nil {
			t.Errorf("%q is taken", s)
		}
	}
}
