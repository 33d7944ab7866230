package inject

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/litentry/agentkeys/internal/grant"
)

// recorder is an upstream that keeps what it was sent.
type recorder struct {
	mu   sync.Mutex
	seen []string // request line, headers in wire order of Header.Write, body
}

func (u *recorder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s\n", r.Method, r.RequestURI)
	_ = r.Header.Write(&b)
	fmt.Fprintf(&b, "te=%v trailer=%v\n", r.TransferEncoding, r.Trailer)
	_, _ = io.Copy(&b, io.LimitReader(r.Body, 1<<20))
	u.mu.Lock()
	u.seen = append(u.seen, b.String())
	u.mu.Unlock()
	_, _ = io.WriteString(w, "{}")
}

func (u *recorder) take() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	seen := u.seen
	u.seen = nil
	return seen
}

func TestRefusedRequests(t *testing.T) {
	u := new(recorder)
	b := newBackend(upstream(t, false, u.ServeHTTP))
	addr := serve(t, b, Options{})
	auth := "Authorization: Bearer " + placeholder + "\r\n"
	head := "Host: " + addr + "\r\n" + auth
	for _, c := range []struct {
		name, request string
		want          int
		code          string // "" where net/http answers
	}{
		{"CONNECT", "CONNECT openrouter.ai:443 HTTP/1.1\r\nHost: openrouter.ai:443\r\n\r\n", 403, "foreign-host"},
		{"CONNECT to us", "CONNECT " + addr + " HTTP/1.1\r\n" + head + "\r\n", 405, "bad-method"},
		{"absolute form", "GET http://" + addr + "/openrouter/models HTTP/1.1\r\n" + head + "\r\n", 400, "bad-target"},
		{"absolute form elsewhere", "GET http://openrouter.ai/models HTTP/1.1\r\n" + head + "\r\n", 403, "foreign-host"},
		{"authority form", "GET " + addr + " HTTP/1.1\r\n" + head + "\r\n", 400, ""},
		{"asterisk form", "OPTIONS * HTTP/1.1\r\n" + head + "\r\n", 400, "bad-target"},
		{"no slash", "GET openrouter/models HTTP/1.1\r\n" + head + "\r\n", 400, ""},
		{"TRACE", "TRACE /openrouter/models HTTP/1.1\r\n" + head + "\r\n", 405, "bad-method"},
		{"TRACK", "TRACK /openrouter/models HTTP/1.1\r\n" + head + "\r\n", 405, "bad-method"},
		{"lower-case method", "get /openrouter/models HTTP/1.1\r\n" + head + "\r\n", 405, "bad-method"},
		{"odd method", "G!T /openrouter/models HTTP/1.1\r\n" + head + "\r\n", 405, "bad-method"},
		{"long method", strings.Repeat("A", 17) + " /openrouter/models HTTP/1.1\r\n" + head + "\r\n", 405, "bad-method"},
		{"websocket", "GET /openrouter/models HTTP/1.1\r\n" + head + "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n", 400, "no-upgrade"},
		{"h2c", "GET /openrouter/models HTTP/1.1\r\n" + head + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n", 400, "no-upgrade"},
		{"HTTP2-Settings alone", "GET /openrouter/models HTTP/1.1\r\n" + head + "HTTP2-Settings: AAMAAABk\r\n\r\n", 400, "no-upgrade"},
		{"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", 403, "foreign-host"},
		{"Expect", "POST /openrouter/models HTTP/1.1\r\n" + head + "Expect: 200-maybe\r\nContent-Length: 0\r\n\r\n", 417, ""},
		{"Expect and more", "POST /openrouter/models HTTP/1.1\r\n" + head + "Expect: 100-continue, x\r\nContent-Length: 0\r\n\r\n", 417, "bad-expectation"},
		{"Expect twice", "POST /openrouter/models HTTP/1.1\r\n" + head + "Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n", 417, "bad-expectation"},

		{"two Hosts", "GET /openrouter/models HTTP/1.1\r\nHost: evil.example\r\n" + head + "\r\n", 400, ""},
		{"no Host", "GET /openrouter/models HTTP/1.1\r\n" + auth + "\r\n", 400, ""},
		{"differing lengths", "POST /openrouter/models HTTP/1.1\r\n" + head + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400, ""},
		{"signed length", "POST /openrouter/models HTTP/1.1\r\n" + head + "Content-Length: +1\r\n\r\na", 400, ""},
		{"hexadecimal length", "POST /openrouter/models HTTP/1.1\r\n" + head + "Content-Length: 0x1\r\n\r\na", 400, ""},
		{"list of lengths", "POST /openrouter/models HTTP/1.1\r\n" + head + "Content-Length: 1, 1\r\n\r\na", 400, ""},
		{"negative length", "POST /openrouter/models HTTP/1.1\r\n" + head + "Content-Length: -1\r\n\r\n", 400, ""},
		{"unknown coding", "POST /openrouter/models HTTP/1.1\r\n" + head + "Transfer-Encoding: gzip\r\n\r\n", 501, ""},
		{"stacked codings", "POST /openrouter/models HTTP/1.1\r\n" + head + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501, ""},
		{"two codings", "POST /openrouter/models HTTP/1.1\r\n" + head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", 501, ""},
		{"oddly spelled coding", "POST /openrouter/models HTTP/1.1\r\n" + head + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501, ""},
		{"tabbed coding", "POST /openrouter/models HTTP/1.1\r\n" + head + "Transfer-Encoding:\tchunked\x0b\r\n\r\n0\r\n\r\n", 400, ""},
		{"space before the colon", "POST /openrouter/models HTTP/1.1\r\n" + head + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400, ""},
		{"carriage return in a value", "GET /openrouter/models HTTP/1.1\r\n" + head + "X: a\rb\r\n\r\n", 400, ""},
		{"NUL in a value", "GET /openrouter/models HTTP/1.1\r\n" + head + "X: a\x00b\r\n\r\n", 400, ""},
		{"NUL in a name", "GET /openrouter/models HTTP/1.1\r\n" + head + "X\x00: b\r\n\r\n", 400, ""},
		{"fold in the first header", "GET /openrouter/models HTTP/1.1\r\n X: y\r\n" + head + "\r\n", 400, ""},
		{"line without a colon", "GET /openrouter/models HTTP/1.1\r\n" + head + "X\r\n\r\n", 400, ""},
		{"HTTP/0.9", "GET /openrouter/models\r\n\r\n", 400, ""},
		{"HTTP/3", "GET /openrouter/models HTTP/3.0\r\n" + head + "\r\n", 505, ""},
		{"headers without end", "GET /openrouter/models HTTP/1.1\r\n" + head + "X: " + strings.Repeat("y", 200<<10) + "\r\n\r\n", 431, ""},
		{"line break in the path", "GET /openrouter/models\r\nX: y HTTP/1.1\r\n" + head + "\r\n", 400, ""},
		{"space in the path", "GET /openrouter/mod els HTTP/1.1\r\n" + head + "\r\n", 400, ""},
		{"body beyond the bound", "POST /openrouter/models HTTP/1.1\r\n" + head + "Content-Length: 999999999999\r\n\r\n", 413, "request-too-large"},
	} {
		t.Run(c.name, func(t *testing.T) {
			answer := raw(t, addr, c.request)
			if got := statusOf(answer); got != c.want || codeOf(answer) != c.code {
				t.Errorf("status %d code %q, want %d %q: %.300s", got, codeOf(answer), c.want, c.code, answer)
			}
			if seen := u.take(); len(seen) > 0 {
				t.Errorf("the upstream saw %q", seen)
			}
			if answers(answer) > 1 {
				t.Errorf("more than one answer: %s", answer)
			}
		})
	}
	if n := b.uses(); n > 0 {
		t.Errorf("%d uses were decided on", n)
	}
}

// What net/http resolves rather than refuses reaches the upstream as one
// request with one framing.
func TestResolvedFraming(t *testing.T) {
	u := new(recorder)
	b := newBackend(upstream(t, false, u.ServeHTTP))
	addr := serve(t, b, Options{})
	head := "Host: " + addr + "\r\nAuthorization: Bearer " + placeholder + "\r\n"
	smuggled := "GET /openrouter/smuggled HTTP/1.1\r\nHost: " + addr + "\r\nX: "
	for _, c := range []struct{ name, request, want, body string }{
		{"folded header", "GET /openrouter/a HTTP/1.1\r\n" + head + "X: one\r\n two\r\n\r\n", "X: one two\r\n", ""},
		{"folded credential", "GET /openrouter/a HTTP/1.1\r\n" + head + "X-Api-Key:\r\n stolen\r\n\r\n", "", ""},
		{"both framings", "POST /openrouter/a HTTP/1.1\r\n" + head + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "te=[chunked]", "abc"},
		{"equal lengths", "POST /openrouter/a HTTP/1.1\r\n" + head + "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", "Content-Length: 3", "abc"},
		{"length hides a request", "POST /openrouter/a HTTP/1.1\r\n" + head + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(smuggled), smuggled), "", smuggled},
		{"chunk extension", "POST /openrouter/a HTTP/1.1\r\n" + head + "Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\n\r\n", "te=[chunked]", "abc"},
		{"trailers", "POST /openrouter/a HTTP/1.1\r\n" + head + "Transfer-Encoding: chunked\r\nTrailer: X-Late\r\n\r\n3\r\nabc\r\n0\r\nX-Late: x\r\n\r\n", "trailer=map[]", "abc"},
		{"bare line feeds", "GET /openrouter/a HTTP/1.1\n" + strings.ReplaceAll(head, "\r", "") + "X: y\n\n", "X: y\r\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			answer := raw(t, addr, c.request)
			if statusOf(answer) != 200 || answers(answer) != 1 {
				t.Errorf("answer %.300s", answer)
			}
			seen := u.take()
			if len(seen) != 1 || !strings.HasPrefix(seen[0], c.request[:strings.IndexByte(c.request, ' ')+1]+"/api/v1/a\n") || !strings.Contains(seen[0], c.want) || !strings.HasSuffix(seen[0], "\n"+c.body) {
				t.Errorf("the upstream saw %q", seen)
			}
			if strings.Contains(strings.Join(seen, ""), "stolen") {
				t.Errorf("a credential passed: %q", seen)
			}
		})
	}
}

// A chunked body that breaks off is no whole request to the upstream.
func TestBrokenChunks(t *testing.T) {
	whole := make(chan bool, 10)
	b := newBackend(upstream(t, false, func(w http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		whole <- err == nil
	}))
	addr := serve(t, b, Options{})
	head := "POST /openrouter/a HTTP/1.1\r\nHost: " + addr + "\r\nAuthorization: Bearer " + placeholder + "\r\nTransfer-Encoding: chunked\r\n\r\n"
	for _, body := range []string{"zz\r\nabc\r\n0\r\n\r\n", "-1\r\n\r\n", "ffffffffffffffffff\r\nabc", "3\r\nabcd\r\n0\r\n\r\n", "3 \rabc", "3\r\nab"} {
		answer := rawClosed(t, addr, head+body)
		if s := statusOf(answer); s != 400 && s != 0 {
			t.Errorf("%q: %.200s", body, answer)
		}
		if o := b.outcome(t); o.Reason == "" {
			t.Errorf("%q: outcome %+v", body, o)
		}
		select {
		case ok := <-whole:
			if ok {
				t.Errorf("%q: the upstream got a whole request", body)
			}
		default:
		}
	}
}

func TestPaths(t *testing.T) {
	u := new(recorder)
	route := upstream(t, false, u.ServeHTTP)
	rules, err := grant.ParseRules([]string{"* /keys/**"})
	if err != nil {
		t.Fatal(err)
	}
	route.Policy.Shut = rules
	b := newBackend(route)
	addr := serve(t, b, Options{})
	ask := func(target string) (string, []string) {
		answer := raw(t, addr, "GET "+target+" HTTP/1.1\r\nHost: "+addr+"\r\nAuthorization: Bearer "+placeholder+"\r\nConnection: close\r\n\r\n")
		return answer, u.take()
	}
	for target, want := range map[string]string{
		"/openrouter/models": "/api/v1/models", "/openrouter/models/": "/api/v1/models/", "/openrouter": "/api/v1/", "/openrouter/": "/api/v1/",
		"/openrouter/a.b/c-d_e~f": "/api/v1/a.b/c-d_e~f", "/openrouter/v1:generate": "/api/v1/v1:generate", "/openrouter/a@b,c'(d)!$&*+=": "/api/v1/a@b,c'(d)!$&*+=",
		"/openrouter/[x]": "/api/v1/[x]", "/openrouter/...": "/api/v1/...", "/openrouter/models?": "/api/v1/models",
		"/openrouter/models?a=%2e%2e&b=/../x": "/api/v1/models?a=%2e%2e&b=/../x", "/openrouter/models?a?b": "/api/v1/models?a?b",
	} {
		answer, seen := ask(target)
		if statusOf(answer) != 200 || len(seen) != 1 || !strings.HasPrefix(seen[0], "GET "+want+"\n") {
			t.Errorf("%s: upstream saw %.80q, want %s (%.100s)", target, seen, want, answer)
		}
	}
	for target, code := range map[string]string{
		"/openrouter/%6beys": "bad-path", "/openrouter/%2e%2e/x": "bad-path", "/openrouter/a%2fb": "bad-path", "/openrouter/a%5cb": "bad-path",
		"/openrouter/a%00": "bad-path", "/openrouter/a%0d%0aX:y": "bad-path", "/openrouter/%": "bad-path", "/openrouter/%25": "bad-path", "/%6fpenrouter/models": "bad-path",
		"/openrouter/../x": "bad-path", "/openrouter/..": "bad-path", "/openrouter/./x": "bad-path", "/openrouter/.": "bad-path", "/openrouter//x": "bad-path",
		"//openrouter/x": "bad-path", "/openrouter/x//": "bad-path", "/openrouter\\x": "bad-path", "/openrouter/a;b": "bad-path", "/openrouter/a;/../b": "bad-path",
		"/openrouter/\xc3\xa9": "bad-path", "/openrouter/a#b": "bad-path", "/openrouter/\"": "bad-path", "/openrouter/<x>": "bad-path", "/openrouter/a|b": "bad-path",
		"/../openrouter/x": "bad-path", "/./openrouter/x": "bad-path", "/openrouter/" + strings.Repeat("a", 3000): "bad-path",
		"/": "unknown-service", "/OpenRouter/x": "unknown-service", "/open_router/x": "unknown-service", "/-x/y": "unknown-service", "/unknown/x": "unknown-service", "/" + strings.Repeat("a", 64) + "/x": "unknown-service",
		"/openrouter/keys": "path-shut", "/openrouter/KEYS/x": "path-shut", "/openrouter/keys/": "path-shut",
		"/openrouter/x?a;b": "bad-query", "/openrouter/x?%": "bad-query", "/openrouter/x?a=%2": "bad-query", "/openrouter/x?a=%zz": "bad-query", "/openrouter/x?\xc3\xa9": "bad-query", "/openrouter/x?a#b": "bad-query",
	} {
		answer, seen := ask(target)
		status := map[string]int{"bad-path": 400, "bad-query": 400, "unknown-service": 404, "path-shut": 403}[code]
		if len(seen) > 0 || codeOf(answer) != code && statusOf(answer) != 400 || codeOf(answer) != "" && statusOf(answer) != status {
			t.Errorf("%q: code %q, want %q; upstream saw %q: %.200s", target, codeOf(answer), code, seen, answer)
		}
	}
}

// The path that is decided on is the path that is sent: whatever passes.
func FuzzTarget(f *testing.F) {
	for _, s := range []string{"/openrouter/models?a=b", "/openrouter/%2e%2e/x", "/openrouter//", "/openrouter/a[b]?key=x", "*", "http://x/openrouter/y"} {
		f.Add(s)
	}
	c := &compiled{scheme: "https", host: "openrouter.ai", path: "/api/v1", constant: http.Header{}}
	l := &lent{route: &Route{}}
	f.Fuzz(func(t *testing.T, uri string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET " + uri + " HTTP/1.1\r\nHost: x\r\n\r\n")))
		if err != nil {
			return
		}
		tg, pb := parseTarget(r)
		if pb != nil {
			if s := pb.sort().status; s < 400 || s >= 500 {
				t.Fatalf("%q: %d", uri, s)
			}
			return
		}
		query, _ := c.siftQuery(tg.query, nil)
		out := c.request(r.Context(), r, tg, http.Header{}, query, l, new(outgoing))
		var wire bytes.Buffer
		if err := out.Write(&wire); err != nil {
			t.Fatal(err)
		}
		got, err := http.ReadRequest(bufio.NewReader(&wire))
		if err != nil {
			t.Fatalf("%q was sent as something unreadable: %v", uri, err)
		}
		path, _, _ := strings.Cut(got.RequestURI, "?")
		if path != "/api/v1"+tg.path || got.Host != "openrouter.ai" || !strings.HasPrefix(uri, "/"+tg.service.String()) {
			t.Fatalf("%q was decided as %q and sent as %q to %q", uri, tg.path, path, got.Host)
		}
		if p, err := grant.ParsePath(tg.path); err != nil || p != tg.path {
			t.Fatalf("%q passed: %v", tg.path, err)
		}
	})
}
