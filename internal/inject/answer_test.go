package inject

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

func stars(s string) string { return strings.Repeat("*", len(s)) }

// An upstream that echoes the credential everywhere, in every form.
func TestEchoIsRedacted(t *testing.T) {
	forms := encodings(canary)
	for _, h2 := range []bool{false, true} {
		for _, length := range []bool{false, true} {
			t.Run(fmt.Sprintf("h2=%v length=%v", h2, length), func(t *testing.T) {
				var body strings.Builder
				for _, form := range forms {
					body.WriteString("<" + form + ">" + form[1:] + "\n")
				}
				route := upstream(t, h2, func(w http.ResponseWriter, r *http.Request) {
					i := 0
					for _, form := range forms {
						w.Header().Add(fmt.Sprintf("X-Echo-%d", i), "a "+form+" b")
						w.Header().Add("X-Echo", form)
						i++
					}
					w.Header().Set(canary, "name")
					w.Header().Set("WWW-Authenticate", `Bearer error="`+r.Header.Get("Authorization")+`"`)
					w.Header().Set("Location", "/api/v1/x?key="+canary)
					w.Header().Set("Etag", `"`+canary+`"`)
					if length {
						w.Header().Set("Content-Length", fmt.Sprint(body.Len()))
					} else {
						w.Header().Set("Trailer", "X-Announced")
					}
					w.WriteHeader(401)
					_, _ = io.WriteString(w, body.String())
					if !length {
						w.Header().Set("X-Announced", canary)
						w.Header().Set(http.TrailerPrefix+"X-Late", "late "+canary)
						w.Header().Set(http.TrailerPrefix+"Set-Cookie", "a="+canary)
					}
				})
				b := newBackend(route)
				res, got := get(t, serve(t, b, Options{}), "/openrouter/a")
				if res.StatusCode != 401 || len(got) != body.Len() {
					t.Errorf("status %d, %d bytes of %d", res.StatusCode, len(got), body.Len())
				}
				if length && res.ContentLength != int64(body.Len()) {
					t.Errorf("length %d", res.ContentLength)
				}
				for name, form := range forms {
					if !strings.Contains(got, "<"+stars(form)+">"+form[1:]+"\n") {
						t.Errorf("%s: not redacted in place", name)
					}
				}
				for name, want := range map[string]string{
					"Www-Authenticate": `Bearer error="Bearer ` + stars(canary) + `"`, "Location": "/openrouter/x?key=" + stars(canary), "Etag": `"` + stars(canary) + `"`,
				} {
					if res.Header.Get(name) != want {
						t.Errorf("%s: %q, want %q", name, res.Header.Get(name), want)
					}
				}
				if !length && (res.Trailer.Get("X-Announced") != stars(canary) || res.Trailer.Get("X-Late") != "late "+stars(canary) || res.Trailer.Get("Set-Cookie") != "") {
					t.Errorf("trailers %v", res.Trailer)
				}
				if o := b.outcome(t); o.Status != 401 || o.Reason != "" {
					t.Errorf("outcome %+v", o)
				}
			})
		}
	}
}

// The credential is found wherever chunks are cut, by an upstream that flushes
// in the middle of it.
func TestEchoSplitOverChunks(t *testing.T) {
	text := `{"error":"bad key ` + canary + `"}`
	route := rawUpstream(t, func(r *http.Request, c net.Conn) {
		cut := len(r.URL.Query().Get("cut"))
		var b bytes.Buffer
		b.WriteString("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
		_, _ = c.Write(b.Bytes())
		for _, part := range []string{text[:cut], text[cut:]} {
			if part != "" {
				_, _ = fmt.Fprintf(c, "%x\r\n%s\r\n", len(part), part)
			}
		}
		_, _ = io.WriteString(c, "0\r\n\r\n")
	})
	addr := serve(t, newBackend(route), Options{})
	want := strings.ReplaceAll(text, canary, stars(canary))
	for cut := 0; cut <= len(text); cut += 3 {
		if _, body := get(t, addr, "/openrouter/a?cut="+strings.Repeat("x", cut)); body != want {
			t.Fatalf("cut at %d: %q", cut, body)
		}
	}
}

func TestResponseHeaders(t *testing.T) {
	const name = "X-Kept"
	route := upstream(t, false, func(w http.ResponseWriter, _ *http.Request) {
		for h := range responseHeaders {
			if h != "Trailer" && h != "Transfer-Encoding" && h != "Connection" {
				w.Header().Set(h, "x")
			}
		}
		for _, h := range []string{"Access-Control-Allow-Origin", "Access-Control-Allow-Private-Network", "Access-Control-Expose-Headers"} {
			w.Header().Set(h, "*")
		}
		w.Header().Set("Connection", "X-Hop")
		w.Header().Set("X-Hop", "x")
		w.Header()[name] = []string{"one", "two"}
		w.Header().Set("X-Ratelimit-Remaining-Requests", "7")
		w.Header()["Content-Type"] = nil
		w.Header()["Date"] = nil
		_, _ = io.WriteString(w, "<html>")
	})
	res, body := get(t, serve(t, newBackend(route), Options{}), "/openrouter/a")
	for h := range res.Header {
		if !slices.Contains([]string{name, "X-Ratelimit-Remaining-Requests", "Content-Length", "Date"}, h) {
			t.Errorf("%s: %q was passed on", h, res.Header[h])
		}
	}
	if body != "<html>" || !slices.Equal(res.Header[name], []string{"one", "two"}) || res.Header.Get("X-Ratelimit-Remaining-Requests") != "7" {
		t.Errorf("%v %q", res.Header, body)
	}
}

func TestRedirectsAreReturned(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		elsewhere := make(chan string, 10)
		other := upstream(t, h2, func(_ http.ResponseWriter, r *http.Request) { elsewhere <- r.Header.Get("Authorization") })
		var to string
		hits := 0
		route := upstream(t, h2, func(w http.ResponseWriter, r *http.Request) {
			hits++
			w.Header()["Location"] = []string{to}
			w.WriteHeader(307)
		})
		base := "https://" + route.Base.Host
		addr := serve(t, newBackend(route), Options{})
		for location, want := range map[string]string{
			"/api/v1/x":                          "/openrouter/x",
			base + "/api/v1/x?a=b#c":             "/openrouter/x?a=b#c",
			"y":                                  "/openrouter/dir/y",
			"../y":                               "/openrouter/y",
			"?a=b":                               "/openrouter/dir/a?a=b",
			"//" + route.Base.Host + "/api/v1/x": "/openrouter/x",
			"HTTPS://" + route.Base.Host + "/api/v1/": "/openrouter/",
			"/api/v1":               base + "/api/v1",
			"/other":                base + "/other",
			"../../../api/v10/x":    base + "/api/v10/x",
			"/api/v1/a%2f..%2fkeys": base + "/api/v1/a%2f..%2fkeys",
			"/api/v1/../x":          base + "/api/x",
			"http://" + route.Base.Host + "/api/v1/x":       "http://" + route.Base.Host + "/api/v1/x",
			"https://user@" + route.Base.Host + "/api/v1/x": "https://user@" + route.Base.Host + "/api/v1/x",
			other.Base.String() + "/x":                      other.Base.String() + "/x",
			"https://127.0.0.1/api/v1/x":                    "https://127.0.0.1/api/v1/x",
			"https://evil.example/?k=" + canary:             "https://evil.example/?k=" + stars(canary),
			// Written anew, the user information is escaped in another way.
			"https://a:%73" + canary[1:] + "@evil.example/": "https://a:" + stars(canary) + "@evil.example/",
			"": "/openrouter/dir/a",
		} {
			to = location
			res, _ := get(t, addr, "/openrouter/dir/a?secret=query")
			if got := res.Header.Get("Location"); res.StatusCode != 307 || got != want {
				t.Errorf("Location %q: %d %q, want %q", location, res.StatusCode, got, want)
			}
		}
		if len(elsewhere) > 0 || hits != 19 {
			t.Errorf("a redirect was followed: %d requests here, %d there", hits, len(elsewhere))
		}
	}
}

func encode(t testing.TB, coding, s string) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	switch coding {
	case "gzip", "x-gzip", "GZIP":
		w = gzip.NewWriter(&b)
	case "deflate":
		w = zlib.NewWriter(&b)
	case "raw":
		w, _ = flate.NewWriter(&b, 6)
	case "br":
		w = brotli.NewWriter(&b)
	case "zstd":
		w, _ = zstd.NewWriter(&b)
	}
	if _, err := io.WriteString(w, s); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestCompressedAnswers(t *testing.T) {
	text := strings.Repeat("lorem ipsum ", 1000) + canary + strings.Repeat(" dolor", 1000)
	want := strings.ReplaceAll(text, canary, stars(canary))
	for _, h2 := range []bool{false, true} {
		for _, coding := range []string{"gzip", "x-gzip", "GZIP", "deflate", "raw", "br", "zstd"} {
			for _, length := range []bool{false, true} {
				t.Run(fmt.Sprintf("h2=%v %s length=%v", h2, coding, length), func(t *testing.T) {
					data := encode(t, coding, text)
					route := upstream(t, h2, func(w http.ResponseWriter, r *http.Request) {
						name := coding
						if name == "raw" {
							name = "deflate"
						}
						w.Header().Set("Content-Encoding", name)
						w.Header().Set("Content-Type", "text/plain")
						w.Header().Set("Vary", "Accept-Encoding")
						if length {
							w.Header().Set("Content-Length", fmt.Sprint(len(data)))
						} else {
							w.Header().Set("Trailer", "X-Late")
						}
						if r.Method == "HEAD" {
							return
						}
						for len(data) > 0 && !length {
							n := min(len(data), 100)
							_, _ = w.Write(data[:n])
							_ = http.NewResponseController(w).Flush()
							data = data[n:]
						}
						_, _ = w.Write(data)
						if !length {
							w.Header().Set("X-Late", canary)
						}
					})
					addr := serve(t, newBackend(route), Options{})
					r := newRequest(t, "GET", "http://"+addr+"/openrouter/a", nil)
					r.Header.Set("Accept-Encoding", coding)
					res, body := do(t, r)
					if body != want || res.Header.Get("Content-Encoding") != "" || res.StatusCode != 200 {
						t.Errorf("%d %v %.50q", res.StatusCode, res.Header, body)
					}
					if !length && res.Trailer.Get("X-Late") != stars(canary) {
						t.Errorf("trailers %v", res.Trailer)
					}
					res, _ = do(t, newRequest(t, "HEAD", "http://"+addr+"/openrouter/a", nil))
					if res.Header.Get("Content-Encoding") != "" || res.ContentLength > 0 {
						t.Errorf("HEAD: %v", res.Header)
					}
				})
			}
		}
	}
}

func TestUnreadableEncodings(t *testing.T) {
	var header http.Header
	route := upstream(t, false, func(w http.ResponseWriter, _ *http.Request) {
		for k, v := range header {
			w.Header()[k] = v
		}
		_, _ = io.WriteString(w, "whatever it is")
	})
	b := newBackend(route)
	addr := serve(t, b, Options{})
	for _, values := range [][]string{{"compress"}, {"gzip, br"}, {"gzip", "gzip"}, {"gzip,gzip"}, {"dcb"}, {"identity, gzip"}, {"aes128gcm"}, {"gzip;q=1"}, {"", "gzip"}} {
		header = http.Header{"Content-Encoding": values}
		res, body := get(t, addr, "/openrouter/a")
		if res.StatusCode != 502 || codeOf(body) != "upstream-encoding" {
			t.Errorf("%q: %d %s", values, res.StatusCode, body)
		}
		if o := b.outcome(t); o.Status != 200 || o.Reason != "upstream-encoding" {
			t.Errorf("%q: outcome %+v", values, o)
		}
	}
	for _, values := range [][]string{{"identity"}, {""}, {"Identity "}} {
		header = http.Header{"Content-Encoding": values}
		if res, body := get(t, addr, "/openrouter/a"); res.StatusCode != 200 || body != "whatever it is" || res.Header.Get("Content-Encoding") != "" {
			t.Errorf("%q: %d %s", values, res.StatusCode, body)
		}
		b.outcome(t)
	}
	// A broken stream is a broken answer, not a short one.
	for _, coding := range []string{"gzip", "deflate", "br", "zstd"} {
		header = http.Header{"Content-Encoding": {coding}}
		res, err := client(t).Do(newRequest(t, "GET", "http://"+addr+"/openrouter/a", nil))
		if err == nil {
			_, err = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
		}
		if err == nil {
			t.Errorf("%s: the answer ended as if it were whole", coding)
		}
		if o := b.outcome(t); o.Reason != "upstream-cut" {
			t.Errorf("%s: outcome %+v", coding, o)
		}
	}
}

func TestBodylessAnswers(t *testing.T) {
	status := 0
	route := upstream(t, false, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Echo", canary)
		w.Header().Set("Content-Encoding", "gzip")
		if status != 204 {
			w.Header().Set("Content-Length", "1234")
		}
		w.WriteHeader(status)
	})
	b := newBackend(route)
	addr := serve(t, b, Options{})
	for _, c := range []struct {
		method string
		status int
	}{{"HEAD", 200}, {"GET", 204}, {"GET", 304}, {"HEAD", 304}} {
		status = c.status
		res, body := do(t, newRequest(t, c.method, "http://"+addr+"/openrouter/a", nil))
		if res.StatusCode != c.status || body != "" || res.Header.Get("Content-Encoding") != "" {
			t.Errorf("%s %d: %d %v %q", c.method, c.status, res.StatusCode, res.Header, body)
		}
		if o := b.outcome(t); o.Reason != "" || o.Status != c.status {
			t.Errorf("%s %d: outcome %+v", c.method, c.status, o)
		}
	}
	// An uncoded HEAD keeps its length.
	route = upstream(t, false, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "1234") })
	res, _ := do(t, newRequest(t, "HEAD", "http://"+serve(t, newBackend(route), Options{})+"/openrouter/a", nil))
	if res.ContentLength != 1234 {
		t.Errorf("HEAD: %v", res.Header)
	}
}

// Answers that no server should send.
func TestOddAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		answer, code string
		status       int
	}{
		"switched":                   {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX: " + canary + "\r\n\r\n" + canary, "upstream-switched-protocols", 502},
		"status 0":                   {"HTTP/1.1 000 Zero\r\nContent-Length: 0\r\n\r\n", "upstream-broken", 502},
		"status 99":                  {"HTTP/1.1 099 X\r\nContent-Length: 0\r\n\r\n", "upstream-broken", 502},
		"status 999":                 {"HTTP/1.1 999 " + canary + "\r\nContent-Length: 2\r\n\r\nok", "", 999},
		"not HTTP":                   {"SSH-2.0-" + canary + "\r\n", "upstream-broken", 502},
		"malformed header":           {"HTTP/1.1 200 OK\r\n" + canary + "\r\n\r\n", "upstream-broken", 502},
		"huge headers":               {"HTTP/1.1 200 OK\r\nX: " + strings.Repeat(canary, 3000) + "\r\n\r\n", "upstream-broken", 502},
		"nothing":                    {"", "upstream-broken", 502},
		"two lengths":                {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "upstream-broken", 502},
		"informational":              {"HTTP/1.1 103 Early Hints\r\nLink: <" + canary + ">\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "", 200},
		"no length":                  {"HTTP/1.1 200 OK\r\n\r\nok " + canary, "", 200},
		"reason":                     {"HTTP/1.1 200 " + canary + "\r\nContent-Length: 2\r\n\r\nok", "", 200},
		"coding unknown to net/http": {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "upstream-broken", 502},
		"more than was announced":    {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" + canary, "", 200},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBackend(rawUpstream(t, func(_ *http.Request, conn net.Conn) { _, _ = io.WriteString(conn, c.answer) }))
			res, body := get(t, serve(t, b, Options{}), "/openrouter/a")
			if res.StatusCode != c.status || codeOf(body) != c.code {
				t.Errorf("%d %s, want %d %s", res.StatusCode, body, c.status, c.code)
			}
			if c.code == "" && !strings.HasPrefix(body, "ok") {
				t.Errorf("body %q", body)
			}
			if o := b.outcome(t); o.Reason != c.code || o.Unsent {
				t.Errorf("outcome %+v", o)
			}
		})
	}
}
