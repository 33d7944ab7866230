package testsrv

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"strings"
	"testing"
)

// echoes is every trick over HTTP/2 and 1.1 that gives the credential back,
// and how to find it.
var echoes = []struct {
	path string
	find func(t *testing.T, resp *http.Response) string
}{
	{"echo/headers", func(_ *testing.T, r *http.Response) string {
		return r.Header.Get("Authorization") + r.Header.Get("X-Echo-Authorization")
	}},
	{"echo/cookie", func(_ *testing.T, r *http.Response) string { return r.Header.Get("Set-Cookie") }},
	{"echo/body?pad=70000", read},
	{"echo/body?header=X-Other", func(t *testing.T, r *http.Response) string {
		return strings.ReplaceAll(read(t, r), "other", key)
	}},
	{"echo/error", func(t *testing.T, r *http.Response) string {
		if r.StatusCode != 500 {
			t.Errorf("status %d", r.StatusCode)
		}
		return read(t, r)
	}},
	{"echo/chunked?every=3", read},
	{"echo/range", read},
	{"echo/sse?events=2&every=5", func(t *testing.T, r *http.Response) string {
		_, data := events(t, r)
		return data[1]
	}},
	{"echo/encoded/gzip", func(t *testing.T, r *http.Response) string { return unzip(t, r.Body) }},
	{"echo/mislabelled", func(t *testing.T, r *http.Response) string { return unzip(t, r.Body) }},
	{"echo/encoded/stacked", func(t *testing.T, r *http.Response) string {
		return unzip(t, strings.NewReader(unzip(t, r.Body)))
	}},
	{"echo/encoded/deflate", func(t *testing.T, r *http.Response) string {
		z, err := zlib.NewReader(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(z)
		return string(b)
	}},
	{"echo/encoded/raw-deflate", func(t *testing.T, r *http.Response) string {
		b, _ := io.ReadAll(flate.NewReader(r.Body))
		return string(b)
	}},
	{"echo/encoded/rot13", func(t *testing.T, r *http.Response) string { return rot13(read(t, r)) }},
	{"echo/trailer", func(t *testing.T, r *http.Response) string {
		read(t, r)
		return r.Trailer.Get("X-Echo")
	}},
	{"echo/redirect/same", location("%s")},
	{"echo/redirect/host", location("https://evil.invalid")},
	{"echo/redirect/port", location("https://127.0.0.1:1/")},
	{"echo/redirect/scheme?status=307", location("http://127.0.0.1:")},
	{"echo/redirect/at?at=https://example.test:4", location("https://example.test:4/")},
}

func location(prefix string) func(*testing.T, *http.Response) string {
	return func(t *testing.T, r *http.Response) string {
		l := r.Header.Get("Location")
		if r.StatusCode/100 != 3 || (prefix != "%s" && !strings.HasPrefix(l, prefix)) {
			t.Errorf("%d to %s", r.StatusCode, l)
		}
		return l
	}
}

func unzip(t *testing.T, r io.Reader) string {
	t.Helper()
	z, err := gzip.NewReader(r)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func rot13(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return 'a' + (r-'a'+13)%26
		case r >= 'A' && r <= 'Z':
			return 'A' + (r-'A'+13)%26
		}
		return r
	}, s)
}

func hostileServer(t *testing.T, opts Options) *Server {
	opts.Encoders = map[string]func([]byte) ([]byte, error){"rot13": func(b []byte) ([]byte, error) { return []byte(rot13(string(b))), nil }}
	return start(t, opts)
}

func TestEchoes(t *testing.T) {
	for _, shape := range []Shape{OpenRouter, OpenAI, Anthropic} {
		s := hostileServer(t, Options{Shape: shape})
		for _, http1 := range []bool{true, false} {
			c := clientOf(t, s, http1)
			for _, e := range echoes {
				for _, base := range []string{s.URL(), s.BaseURL()} {
					resp := do(t, c, "GET", base+"/hostile/"+e.path, "", "Authorization", "Bearer "+key, "X-Other", "other")
					if got := e.find(t, resp); !strings.Contains(got, key) {
						t.Errorf("%s %s: %q", shape, e.path, got)
					}
				}
			}
			for form := range forms {
				resp := do(t, c, "GET", s.URL()+"/hostile/echo/as/"+form+"?pad=9", "", "X-Api-Key", key)
				if got := read(t, resp); !strings.Contains(got, "."+Form(form, key)+".") {
					t.Errorf("%s: %q", form, got)
				}
			}
		}
	}
	if u, _ := url.PathUnescape(Form("url-mixed", key)); u != key || Form("no such", key) != "" {
		t.Error("Form")
	}
}

func TestInformational(t *testing.T) {
	s := start(t, Options{Shape: OpenAI})
	for _, http1 := range []bool{true, false} {
		n, link := 0, ""
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			n++
			link = h.Get("Link")
			return nil
		}})
		get := func(path string) {
			req, _ := http.NewRequestWithContext(ctx, "GET", s.URL()+"/hostile/"+path, nil)
			req.Header.Set("Authorization", "Bearer "+key)
			resp, err := clientOf(t, s, http1).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			if got := read(t, resp); got != "landed\n" || resp.Header.Get("Link") != "" {
				t.Errorf("%s: %q %v", path, got, resp.Header)
			}
		}
		get("echo/informational")
		if n != 1 || !strings.Contains(link, key) {
			t.Errorf("%d, %s", n, link)
		}
		if get("informational?count=100"); n != 101 {
			t.Errorf("%d informational answers", n)
		}
	}
}

func TestFloods(t *testing.T) {
	s := start(t, Options{Shape: OpenAI})
	for _, http1 := range []bool{true, false} {
		c := clientOf(t, s, http1)
		get := func(path string) *http.Response { return do(t, c, "GET", s.URL()+"/hostile/"+path, "") }
		for path, want := range map[string]int{"huge?bytes=300000": 300000, "huge?bytes=300000&chunked=1": 300000, "drip?bytes=20&gap=1": 20} {
			resp := get(path)
			if n := len(read(t, resp)); n != want || (resp.ContentLength == int64(want)) != (path == "huge?bytes=300000") {
				t.Errorf("%s: %d of %d", path, n, resp.ContentLength)
			}
		}
		packed := read(t, get("gzip-bomb?bytes=20000000"))
		if n := len(unzip(t, strings.NewReader(packed))); n != 20000000 || len(packed) > 100000 {
			t.Errorf("bomb: %d from %d", n, len(packed))
		}
		if b, err := io.ReadAll(get("cut?after=5000").Body); err == nil || len(b) != 5000 {
			t.Errorf("cut: %d %v", len(b), err)
		}
		resp := get("sse")
		b := make([]byte, 1000)
		if _, err := io.ReadFull(resp.Body, b); err != nil || !bytes.HasPrefix(b, []byte("data: {\"k\":0}\n\ndata: {\"k\":1}")) {
			t.Errorf("sse: %q %v", b, err)
		}
		_ = resp.Body.Close()
		if got := get("large-headers?bytes=200000").Header.Get("X-Large"); len(got) != 200000 {
			t.Errorf("large header of %d", len(got))
		}
		if got := get("status/401"); got.StatusCode != 401 || got.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("%d %v", got.StatusCode, got.Header)
		}
		if got := get("set-cookie").Header.Values("Set-Cookie"); len(got) != 2 {
			t.Errorf("%v", got)
		}
		if got := get("alt-svc").Header.Get("Alt-Svc"); got == "" {
			t.Error("no Alt-Svc")
		}
		if !http1 {
			if got := get("headers"); got.StatusCode != http.StatusHTTPVersionNotSupported {
				t.Errorf("headers: %d", got.StatusCode)
			}
		}
	}
}

// TestRaw reads the raw answers as bytes: each is on the wire as in the table,
// over a server that offers nothing but HTTP/1.1.
func TestRaw(t *testing.T) {
	s := start(t, Options{Shape: OpenAI, HTTP1: true})
	for _, a := range rawAnswers {
		conn := dialRaw(t, s)
		_, _ = io.WriteString(conn, "GET /hostile/"+a.path+" HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+key+"\r\n\r\n")
		want := strings.ReplaceAll(a.text, "¤", key)
		got := make([]byte, len(want))
		if _, err := io.ReadFull(conn, got); err != nil || string(got) != want {
			t.Errorf("%s: %q %v", a.path, got, err)
		}
		if !a.open {
			if rest, _ := io.ReadAll(conn); len(rest) != 0 {
				t.Errorf("%s: then %q", a.path, rest)
			}
		}
		_ = conn.Close()
	}
	conn := dialRaw(t, s)
	_, _ = io.WriteString(conn, "GET /hostile/headers?bytes=100000 HTTP/1.1\r\nHost: x\r\n\r\n")
	if b, err := io.ReadAll(conn); err != nil || len(b) < 100000 || !bytes.HasSuffix(b, []byte("\r\n\r\nok")) {
		t.Errorf("headers: %d bytes, %v", len(b), err)
	}
}

func TestHostileListed(t *testing.T) {
	seen := map[string]bool{}
	for _, tr := range Hostile() {
		if tr.Path == "" || tr.Does == "" || seen[tr.Path] {
			t.Errorf("%+v", tr)
		}
		seen[tr.Path] = true
	}
}
