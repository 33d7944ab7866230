package webserve_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/webserve"
)

var noon = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// ask sends one request to handler over a real connection.
func ask(t *testing.T, h http.Handler, method, path, kind, body string, header ...string) (*http.Response, brokerapi.Problem) {
	t.Helper()
	srv := httptest.NewServer(h)
	defer srv.Close()
	r, err := http.NewRequest(method, srv.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", kind)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	res, err := srv.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var p brokerapi.Problem
	if strings.HasPrefix(res.Header.Get("Content-Type"), "application/problem+json") {
		if err := json.Unmarshal(data, &p); err != nil {
			t.Fatal(err)
		}
	}
	return res, p
}

func decoder() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /json", func(w http.ResponseWriter, r *http.Request) {
		var v struct {
			A string `json:"a"`
		}
		var p *brokerapi.Problem
		if err := webserve.DecodeJSON(r, &v); errors.As(err, &p) {
			webserve.WriteProblem(w, r, p)
			return
		}
		webserve.WriteJSON(w, http.StatusOK, v)
	})
	mux.HandleFunc("POST /form", func(w http.ResponseWriter, r *http.Request) {
		v, err := webserve.Form(r, "a", "b")
		var p *brokerapi.Problem
		if errors.As(err, &p) {
			webserve.WriteProblem(w, r, p)
			return
		}
		webserve.WriteJSON(w, http.StatusOK, v)
	})
	mux.HandleFunc("GET /panic/{x}", func(http.ResponseWriter, *http.Request) { panic("canary-in-a-panic") })
	return mux
}

func TestBodies(t *testing.T) {
	h := webserve.Handler(decoder(), webserve.Options{Log: quiet(), Now: time.Now})
	for _, c := range []struct {
		path, kind, body string
		status           int
	}{
		{"/json", "application/json", `{"a":"x"}`, 200},
		{"/json", "application/json; charset=utf-8", `{"a":"x"}`, 200},
		{"/json", "text/plain", `{"a":"x"}`, 415},
		{"/json", "", `{"a":"x"}`, 415},
		{"/json", "application/json", `{"a":"x","a":"y"}`, 400},
		{"/json", "application/json", `{"A":"x"}`, 400},
		{"/json", "application/json", `{"b":"x"}`, 400},
		{"/json", "application/json", `{"a":"x"}{}`, 400},
		{"/json", "application/json", ``, 400},
		{"/json", "application/json", `{"a":"` + strings.Repeat("x", webserve.MaxBody) + `"}`, 413},
		{"/form", "application/x-www-form-urlencoded", `a=1&b=2`, 200},
		{"/form?a=2", "application/x-www-form-urlencoded", `a=1`, 200},
		{"/form", "application/x-www-form-urlencoded", `a=1&a=1`, 400},
		{"/form", "application/x-www-form-urlencoded", `a=1&c=1`, 400},
		{"/form", "application/x-www-form-urlencoded", `a=%zz`, 400},
		{"/form", "application/json", `a=1`, 400},
		{"/none", "application/json", ``, 404},
	} {
		res, p := ask(t, h, "POST", c.path, c.kind, c.body)
		if res.StatusCode != c.status {
			t.Errorf("%s %s %.40q: %d, want %d", c.path, c.kind, c.body, res.StatusCode, c.status)
		}
		if c.status >= 400 && (p.Status != c.status || p.Code == "" || p.Type != webserve.ProblemType+p.Code || p.Title == "" || p.Request != res.Header.Get("X-Request-Id")) {
			t.Errorf("%s %.40q: problem %+v", c.path, c.body, p)
		}
		if c.status >= 400 && res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: a problem may be kept", c.path)
		}
	}
	if res, p := ask(t, h, "DELETE", "/json", "", ""); res.StatusCode != 405 || !strings.Contains(p.Detail, "POST") {
		t.Errorf("other method: %d %+v", res.StatusCode, p)
	}
}

// A panic is a problem to the client; what it says, which may be secret, is
// nowhere. Paths and queries are in no log and no metric.
func TestPanicAndLogs(t *testing.T) {
	var log bytes.Buffer
	m := webserve.NewMetrics("v1")
	h := webserve.Handler(decoder(), webserve.Options{Log: slog.New(slog.NewTextHandler(&log, nil)), Metrics: m, Now: time.Now})
	res, p := ask(t, h, "GET", "/panic/canary-in-the-path?q=canary-in-the-query", "", "", "X-Request-Id", "canary-of-a-client")
	if res.StatusCode != 500 || p.Code != brokerapi.CodeInternal {
		t.Errorf("%d %+v", res.StatusCode, p)
	}
	if res.Header.Get("X-Request-Id") == "canary-of-a-client" {
		t.Error("the client chose the request id")
	}
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if !strings.Contains(w.Body.String(), `agentkeys_http_requests_total{route="GET /panic/{x}",status="500"} 1`) {
		t.Errorf("metrics: %s", w.Body)
	}
	if !strings.Contains(log.String(), "panic") || !strings.Contains(log.String(), p.Request) {
		t.Errorf("log: %s", &log)
	}
	for _, text := range []string{log.String(), w.Body.String(), fmt.Sprint(p)} {
		if strings.Contains(text, "canary") {
			t.Errorf("a canary in %s", text)
		}
	}
}

func TestPeer(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}
	mux := http.NewServeMux()
	var got netip.Addr
	mux.HandleFunc("/", func(_ http.ResponseWriter, r *http.Request) { got = webserve.Peer(r) })
	h := webserve.Handler(mux, webserve.Options{Log: quiet(), Trusted: trusted, Now: time.Now})
	for _, c := range []struct {
		remote string
		via    []string
		want   string
	}{
		{"192.0.2.1:5", nil, "192.0.2.1"},
		{"192.0.2.1:5", []string{"198.51.100.1"}, "192.0.2.1"},
		{"10.1.1.1:5", []string{"198.51.100.1"}, "198.51.100.1"},
		{"10.1.1.1:5", []string{"203.0.113.9, 198.51.100.1, 10.2.2.2"}, "198.51.100.1"},
		{"10.1.1.1:5", []string{"203.0.113.9", "198.51.100.1"}, "198.51.100.1"},
		{"10.1.1.1:5", []string{"203.0.113.9, junk"}, "10.1.1.1"},
		{"10.1.1.1:5", []string{"203.0.113.9, junk, 10.2.2.2"}, "10.2.2.2"},
		{"10.1.1.1:5", []string{"203.0.113.9, 198.51.100.1:4711"}, "198.51.100.1"}, // as some proxies write it
		{"10.1.1.1:5", []string{"[2001:db8::7]:4711"}, "2001:db8::7"},
		{"10.1.1.1:5", []string{"198.51.100.1:x"}, "10.1.1.1"},
		{"10.1.1.1:5", nil, "10.1.1.1"},
		{"[::ffff:10.1.1.1]:5", []string{"::ffff:198.51.100.1"}, "198.51.100.1"},
		{"[2001:db8::1]:5", []string{"198.51.100.1"}, "198.51.100.1"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = c.remote
		for _, v := range c.via {
			r.Header.Add("X-Forwarded-For", v)
		}
		h.ServeHTTP(httptest.NewRecorder(), r)
		if got.String() != c.want {
			t.Errorf("%s via %q: %s, want %s", c.remote, c.via, got, c.want)
		}
	}
	for addr, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "2001:db8:1:2:3::4": "2001:db8:1:2::/64",
	} {
		if got := webserve.Subnet(netip.MustParseAddr(addr)); got != want {
			t.Errorf("Subnet(%s) = %s", addr, got)
		}
	}
}

func TestLimiter(t *testing.T) {
	now := noon
	l := webserve.NewLimiter(time.Second, 3, 2, func() time.Time { return now })
	for i := range 3 {
		if _, ok := l.Allow("a"); !ok {
			t.Fatalf("event %d refused", i)
		}
	}
	if wait, ok := l.Allow("a"); ok || wait <= 0 || wait > time.Second {
		t.Errorf("a fourth: %v %v", wait, ok)
	}
	if _, ok := l.Allow("b"); !ok {
		t.Error("another key pays for the first")
	}
	// Full: all further keys share one limit.
	for i := range 3 {
		if _, ok := l.Allow(fmt.Sprint("stranger", i)); !ok {
			t.Errorf("stranger %d refused", i)
		}
	}
	if _, ok := l.Allow("stranger9"); ok {
		t.Error("strangers have no limit")
	}
	now = now.Add(time.Second)
	if _, ok := l.Allow("a"); !ok {
		t.Error("refused after the wait")
	}
	now = now.Add(time.Minute)
	for i := range 2 { // a and b are forgotten: there is room again
		if _, ok := l.Allow(fmt.Sprint("late", i)); !ok {
			t.Errorf("late %d refused", i)
		}
	}
	// A burst that was used up is not had back by making strangers.
	now = now.Add(time.Minute)
	for range 3 {
		l.Allow("c")
	}
	for i := range 100 {
		l.Allow(fmt.Sprint("flood", i))
	}
	if _, ok := l.Allow("c"); ok {
		t.Error("a flood of keys bought a new burst")
	}
}

func TestLimitedRequest(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(http.ResponseWriter, *http.Request) {})
	l := webserve.NewLimiter(time.Hour, 1, 10, time.Now)
	h := webserve.Handler(mux, webserve.Options{Log: quiet(), Limiter: l, Now: time.Now})
	if res, _ := ask(t, h, "GET", "/", "", ""); res.StatusCode != 200 {
		t.Error(res.Status)
	}
	// Who claims to be another is the same.
	res, p := ask(t, h, "GET", "/", "", "", "X-Forwarded-For", "198.51.100.7")
	if res.StatusCode != 429 || p.Code != brokerapi.CodeRate || res.Header.Get("Retry-After") == "" {
		t.Errorf("%s %+v", res.Status, p)
	}
}

func TestReady(t *testing.T) {
	bad := errors.New("canary of a connection string")
	h := webserve.Ready(webserve.Options{Log: quiet()},
		webserve.Check{Name: "state", Try: func(context.Context) error { return bad }},
		webserve.Check{Name: "keys", Try: func(context.Context) error { return nil }})
	w := httptest.NewRecorder()
	h(w, httptest.NewRequest("GET", "/readyz", nil))
	if w.Code != 503 || strings.TrimSpace(w.Body.String()) != `{"missing":["state"],"status":"not ready"}` {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	bad = nil
	w = httptest.NewRecorder()
	h(w, httptest.NewRequest("GET", "/readyz", nil))
	if w.Code != 200 || strings.TrimSpace(w.Body.String()) != `{"missing":[],"status":"ready"}` {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// A server that stops lets what is under way end, and tells streams to.
func TestServe(t *testing.T) {
	mux := http.NewServeMux()
	begun, told := make(chan bool, 2), make(chan bool, 1)
	release := make(chan bool)
	mux.HandleFunc("/slow", func(w http.ResponseWriter, _ *http.Request) {
		begun <- true
		<-release
		_, _ = io.WriteString(w, "whole")
	})
	mux.HandleFunc("/stream", func(w http.ResponseWriter, r *http.Request) {
		rc := webserve.Stream(w)
		_ = rc.Flush()
		begun <- true
		<-webserve.Stopping(r.Context())
		told <- true
		close(release)
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	srv := &webserve.Server{Listener: ln, Handler: webserve.Handler(mux, webserve.Options{Log: quiet(), Now: time.Now}), Log: quiet()}
	go func() { ended <- srv.Serve(ctx) }()
	slow := make(chan string, 1)
	for _, path := range []string{"/slow", "/stream"} {
		go func() {
			res, err := http.Get("http://" + ln.Addr().String() + path)
			if err != nil {
				slow <- err.Error()
				return
			}
			defer res.Body.Close()
			data, _ := io.ReadAll(res.Body)
			if path == "/slow" {
				slow <- string(data)
			}
		}()
		<-begun
	}
	stop()
	<-told
	if got := <-slow; got != "whole" {
		t.Errorf("what was under way got %q", got)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", ln.Addr().String()); err == nil {
		t.Error("it still listens")
	}
}
