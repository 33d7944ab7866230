package inject

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/litentry/agentkeys/internal/secret"
)

const stolen = "stolen-or-smuggled"

// Whatever an agent says about credentials, routing or framing is dropped, and
// what is injected wins, however it was spelled and wherever it stood.
func TestAgentHeadersAreStripped(t *testing.T) {
	names := []string{"X-Custom-Key", "x_custom_key", "Authorization", "AUTHORIZATION", "X-Forwarded-For", "X-Forwarded-Anything", "x_forwarded_host", "Te", "Keep-Alive"}
	for name := range requestHeaders {
		switch name {
		case "Host", "Content-Length", "Transfer-Encoding", "Trailer", "Expect", "Upgrade", "Http2-Settings", "Origin", "Referer", "Sec-Fetch-Site", "Connection":
		default:
			names = append(names, name, strings.ToLower(name), strings.ReplaceAll(name, "-", "_"))
		}
	}
	// The promise, apart from the table that keeps it.
	names = append(names, strings.Fields(`Authorization Proxy-Authorization Cookie X-Api-Key Api-Key X-Goog-Api-Key xi-api-key
		X-Subscription-Token X-Auth-Token Forwarded X-Forwarded-For X-Forwarded-Host X-Forwarded-Proto X-Forwarded-Port
		X-Forwarded-Prefix Via X-Real-IP X-HTTP-Method-Override X-HTTP-Method X-Method-Override X-Original-URL X-Rewrite-URL
		Proxy-Connection Keep-Alive TE Range If-Range Accept-Encoding`)...)
	for _, h2 := range []bool{false, true} {
		u := new(recorder)
		route := upstream(t, h2, u.ServeHTTP)
		route.StripHeaders = []string{"X-Custom-Key"}
		b := newBackend(route)
		addr := serve(t, b, Options{})
		for _, name := range names {
			request := "GET /openrouter/a HTTP/1.1\r\nHost: " + addr + "\r\nX-Api-Key: " + placeholder + "\r\nX-Kept: kept\r\n" + name + ": " + stolen + "\r\n" + name + ": " + stolen + "\r\nConnection: close\r\n\r\n"
			answer := raw(t, addr, request)
			seen := strings.Join(u.take(), "")
			if statusOf(answer) != 200 || strings.Contains(seen, stolen) {
				t.Errorf("%s: %d, upstream saw %q", name, statusOf(answer), seen)
			}
			if !strings.Contains(seen, "Authorization: Bearer "+canary+"\r\n") || strings.Count(seen, "Authorization") != 1 || !strings.Contains(seen, "X-Kept: kept") {
				t.Errorf("%s: upstream saw %q", name, seen)
			}
			if strings.Contains(seen, placeholder) {
				t.Errorf("%s: the placeholder was sent: %q", name, seen)
			}
		}
	}
}

// A Connection header cannot take out what is put in.
func TestConnectionNamesHeaders(t *testing.T) {
	u := new(recorder)
	route := upstream(t, false, u.ServeHTTP)
	route.Constant = http.Header{"X-Version": {"2"}}
	b := newBackend(route)
	addr := serve(t, b, Options{})
	for _, connection := range []string{"close, Authorization, X-Version, X-Hop, Content-Type", "close,authorization , x-hop,X-VERSION,content-type", "close\r\nConnection: X-Hop, Authorization, X-Version, Content-Type"} {
		raw(t, addr, "GET /openrouter/a HTTP/1.1\r\nHost: "+addr+"\r\nX-Api-Key: "+placeholder+"\r\nX-Hop: 1\r\nContent-Type: a/b\r\nX-Version: 1\r\nConnection: "+connection+"\r\n\r\n")
		seen := strings.Join(u.take(), "")
		if !strings.Contains(seen, "Authorization: Bearer "+canary) || !strings.Contains(seen, "X-Version: 2\r\n") || strings.Contains(seen, "X-Hop") || strings.Contains(seen, "Content-Type") {
			t.Errorf("Connection: %s: upstream saw %q", connection, seen)
		}
	}
}

func TestPlacements(t *testing.T) {
	odd := "a+b/c=d&e f"
	for _, c := range []struct {
		name   string
		place  []Placement
		target string
		want   func(r *http.Request) bool
	}{
		{"bearer", []Placement{{Header: "Authorization", Prefix: "Bearer "}}, "/openrouter/a", func(r *http.Request) bool {
			return r.Header.Get("Authorization") == "Bearer "+odd && r.RequestURI == "/api/v1/a"
		}},
		{"bare header in odd case", []Placement{{Header: "xi-api-KEY"}}, "/openrouter/a", func(r *http.Request) bool {
			return slices.Equal(r.Header["Xi-Api-Key"], []string{odd}) && r.Header["Authorization"] == nil
		}},
		{"query alone", []Placement{{Query: "key"}}, "/openrouter/a", func(r *http.Request) bool { return r.URL.RawQuery == "key="+url.QueryEscape(odd) }},
		{"query beside others", []Placement{{Query: "key"}}, "/openrouter/a?x=%20y&key=" + stolen + "&KEY=" + stolen + "&k%65y=" + stolen + "&z", func(r *http.Request) bool { return r.URL.RawQuery == "x=%20y&z&key="+url.QueryEscape(odd) }},
		{"query of an odd name", []Placement{{Query: "a b"}}, "/openrouter/a?a+b=" + stolen, func(r *http.Request) bool { return r.URL.RawQuery == "a+b="+url.QueryEscape(odd) }},
		{"several", []Placement{{Header: "X-One", Prefix: "Key "}, {Header: "X-Two"}, {Query: "three"}, {Query: "four"}}, "/openrouter/a?five=5", func(r *http.Request) bool {
			return r.Header.Get("X-One") == "Key "+odd && r.Header.Get("X-Two") == odd && r.URL.RawQuery == "five=5&three="+url.QueryEscape(odd)+"&four="+url.QueryEscape(odd)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := make(chan *http.Request, 1)
			route := upstream(t, false, func(_ http.ResponseWriter, r *http.Request) { got <- r })
			route.Place = c.place
			b := newBackend(route)
			b.secret = secret.FromString(odd)
			addr := serve(t, b, Options{})
			r := newRequest(t, "GET", "http://"+addr+c.target, nil)
			r.Header.Set("X-One", stolen)
			if res, body := do(t, r); res.StatusCode != 200 {
				t.Fatalf("%d %s", res.StatusCode, body)
			}
			seen := <-got
			if !c.want(seen) || strings.Contains(seen.RequestURI+fmt.Sprint(seen.Header), stolen) && c.place[0].Header == "X-One" {
				t.Errorf("upstream saw %s %v", seen.RequestURI, seen.Header)
			}
		})
	}
}

func TestConstantHeaders(t *testing.T) {
	u := new(recorder)
	route := upstream(t, false, u.ServeHTTP)
	route.Constant = http.Header{"anthropic-version": {"2023-06-01"}, "User-Agent": {"constant"}}
	addr := serve(t, newBackend(route), Options{})
	r := newRequest(t, "GET", "http://"+addr+"/openrouter/a", nil)
	do(t, r)
	r.Header.Set("anthropic-version", "2024")
	do(t, r)
	seen := u.take()
	if !strings.Contains(seen[0], "Anthropic-Version: 2023-06-01\r\n") || !strings.Contains(seen[1], "Anthropic-Version: 2024\r\n") {
		t.Errorf("upstream saw %q", seen)
	}
}

// A header that is a list keeps what the agent sent, in its order, and has ours
// once, whatever the agent does to keep it out.
func TestMergedHeaders(t *testing.T) {
	u := new(recorder)
	route := upstream(t, false, u.ServeHTTP)
	route.Merged = http.Header{"anthropic-beta": {"oauth-1", "second-1, third-1"}}
	addr := serve(t, newBackend(route), Options{})
	for name, c := range map[string]struct{ lines, want string }{
		"none":          {"", "oauth-1,second-1,third-1"},
		"one":           {"anthropic-beta: tools-1", "tools-1,oauth-1,second-1,third-1"},
		"two lines":     {"Anthropic-Beta: b-1, a-1\r\nanthropic-beta: c-1", "b-1,a-1,c-1,oauth-1,second-1,third-1"},
		"has one":       {"anthropic-beta: a-1 ,second-1\t, b-1", "a-1,second-1,b-1,oauth-1,third-1"},
		"has all":       {"anthropic-beta: third-1,oauth-1\r\nanthropic-beta: second-1", "third-1,oauth-1,second-1"},
		"part of one":   {"anthropic-beta: oauth-10, xoauth-1", "oauth-10,xoauth-1,oauth-1,second-1,third-1"},
		"its own twice": {"anthropic-beta: a-1, a-1", "a-1,a-1,oauth-1,second-1,third-1"},
		"empty":         {"anthropic-beta:\r\nanthropic-beta: ,, ,a-1,", "a-1,oauth-1,second-1,third-1"},
		"underscore":    {"anthropic_beta: a-1", "oauth-1,second-1,third-1"},
		"hop":           {"anthropic-beta: a-1\r\nConnection: anthropic-beta", "oauth-1,second-1,third-1"},
		"quoted":        {`anthropic-beta: a="x,y"`, `a="x,y",oauth-1,second-1,third-1`},
	} {
		if c.lines != "" {
			c.lines += "\r\n"
		}
		for range 2 { // nothing is kept from one request to the next
			answer := raw(t, addr, "GET /openrouter/a HTTP/1.1\r\nHost: "+addr+"\r\nX-Api-Key: "+placeholder+"\r\n"+c.lines+"Connection: close\r\n\r\n")
			seen := strings.Join(u.take(), "")
			if statusOf(answer) != 200 || !strings.Contains(seen, "Anthropic-Beta: "+c.want+"\r\n") || strings.Count(strings.ToLower(strings.ReplaceAll(seen, "_", "-")), "anthropic-beta") != 1 {
				t.Errorf("%s: %d, upstream saw %q", name, statusOf(answer), seen)
			}
		}
	}
}

func TestNoUserAgentIsMadeUp(t *testing.T) {
	u := new(recorder)
	addr := serve(t, newBackend(upstream(t, false, u.ServeHTTP)), Options{})
	raw(t, addr, "GET /openrouter/a HTTP/1.1\r\nHost: "+addr+"\r\nX-Api-Key: "+placeholder+"\r\nConnection: close\r\n\r\n")
	if seen := u.take(); len(seen) != 1 || strings.Contains(seen[0], "User-Agent") {
		t.Errorf("upstream saw %q", seen)
	}
}

func TestPresented(t *testing.T) {
	basic := func(s string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(s)) }
	for _, c := range []struct {
		name, target string
		headers      []string
		want         []string
	}{
		{"nothing", "/openrouter/a", nil, nil},
		{"bearer", "/openrouter/a", []string{"Authorization: Bearer one"}, []string{"one"}},
		{"lower-case scheme", "/openrouter/a", []string{"authorization: bearer   one"}, []string{"one"}},
		{"other scheme", "/openrouter/a", []string{"Authorization: Token one"}, []string{"one"}},
		{"no scheme", "/openrouter/a", []string{"Authorization: one"}, []string{"one"}},
		{"basic", "/openrouter/a", []string{"Authorization: " + basic("user:pass:word")}, []string{"pass:word", "user"}},
		{"basic without password", "/openrouter/a", []string{"Authorization: " + basic("one:")}, []string{"one"}},
		{"broken basic", "/openrouter/a", []string{"Authorization: Basic !!"}, nil},
		{"key headers", "/openrouter/a", []string{"X-Api-Key: one", "xi-api-key: two", "X-Subscription-Token: three", "x-goog-api-key: four"}, []string{"four", "one", "three", "two"}},
		{"the route's own", "/openrouter/a", []string{"X-Mine: one"}, []string{"one"}},
		{"query", "/openrouter/a?key=one&x=no&api_key=t%77o&mine=three&k=no&_method=no", nil, []string{"one", "three", "two"}},
		{"not cookies", "/openrouter/a", []string{"Cookie: one=two", "X-Other: three"}, nil},
		{"bounded", "/openrouter/a?key=" + strings.Repeat("1&key=", 50) + "1", nil, slices.Repeat([]string{"1"}, maxPresented)},
	} {
		t.Run(c.name, func(t *testing.T) {
			route := upstream(t, false, func(http.ResponseWriter, *http.Request) {})
			route.Place = []Placement{{Header: "X-Mine"}, {Query: "mine"}}
			b := newBackend(route)
			addr := serve(t, b, Options{})
			answer := raw(t, addr, "GET "+c.target+" HTTP/1.1\r\nHost: "+addr+"\r\n"+strings.Join(append(c.headers, ""), "\r\n")+"\r\n")
			slices.Sort(b.presented)
			if !slices.Equal(b.presented, c.want) {
				t.Errorf("presented %q, want %q", b.presented, c.want)
			}
			if statusOf(answer) != 401 || codeOf(answer) != "unknown-caller" {
				t.Errorf("answer %s", answer)
			}
		})
	}
}

func TestSiftQuery(t *testing.T) {
	c := &compiled{stripQuery: map[string]struct{}{foldKey("x.mine"): {}}}
	for in, want := range map[string]string{
		"": "", "a=b": "a=b", "key=1": "", "a=1&key=2": "a=1", "key=1&a=2": "a=2", "a=1&key=2&b=3": "a=1&b=3", "a&key&b": "a&b", "&&": "&&", "key=1&&a": "a",
		"KEY=1&Api_Key=2&api-KEY=3&apikey=4&access_token=5": "", "%6b%65%79=1": "", "k%65y=1&a=%6b": "a=%6b", "key[]=1&key[0]=2&key%5B%5D=3": "", "+key=1": "", "%20key=1": "",
		"api.key=1&api+key=2&api%20key=3": "", "x.mine=1&x_mine=2&X.MINE=3&xmine=4": "xmine=4", "monkey=1&keys=2&ke=3&key2=4": "monkey=1&keys=2&ke=3&key2=4", "_method=DELETE&a": "a",
		"a=key=1": "a=key=1", "=key": "=key", "key%00x=1": "", "a=b&c=d&key=": "a=b&c=d", "a=%26key=1": "a=%26key=1",
	} {
		if got, _ := c.siftQuery(in, nil); got != want {
			t.Errorf("siftQuery(%q) = %q, want %q", in, got, want)
		}
	}
}

// What is left has no credential under any reading, and everything else.
func FuzzQuery(f *testing.F) {
	for _, s := range []string{"a=b&key=c", "k%65y=1", "api.key=1&x", "&&=&", "key[]=1"} {
		f.Add(s)
	}
	c := &compiled{}
	f.Fuzz(func(t *testing.T, raw string) {
		if checkQuery(raw) != "" {
			return
		}
		in, err := url.ParseQuery(raw)
		if err != nil {
			t.Fatalf("%q passed: %v", raw, err)
		}
		kept, presented := c.siftQuery(raw, nil)
		out, err := url.ParseQuery(kept)
		if err != nil {
			t.Fatalf("%q became %q: %v", raw, kept, err)
		}
		for key, values := range in {
			if queryCredentials[strings.ToLower(key)] != keep {
				if out.Has(key) {
					t.Fatalf("%q: %q is left in %q", raw, key, kept)
				}
				if _, ok := queryCredentials[key]; ok && key != "_method" && len(presented) < maxPresented {
					for _, v := range values {
						if v != "" && !strings.Contains(v, " ") && !slices.Contains(presented, v) {
							t.Fatalf("%q: %q was not presented", raw, v)
						}
					}
				}
			} else if foldKey(key) == key && !slices.Equal(out[key], values) {
				t.Fatalf("%q: %q became %q in %q", raw, values, out[key], kept)
			}
		}
		if again, _ := c.siftQuery(kept, nil); again != kept {
			t.Fatalf("%q became %q and then %q", raw, kept, again)
		}
	})
}

func TestHeaderTablesAreCanonical(t *testing.T) {
	for name := range requestHeaders {
		if textproto.CanonicalMIMEHeaderKey(name) != name {
			t.Errorf("%s can never match", name)
		}
	}
	for name := range responseHeaders {
		if textproto.CanonicalMIMEHeaderKey(name) != name {
			t.Errorf("%s can never match", name)
		}
	}
	for key := range queryCredentials {
		if foldKey(key) != key {
			t.Errorf("%s can never match", key)
		}
	}
}

func TestUnusableSecrets(t *testing.T) {
	u := new(recorder)
	b := newBackend(upstream(t, false, u.ServeHTTP))
	addr := serve(t, b, Options{})
	for _, s := range []string{"", "short", "0123456789\r\nX-Evil: 1", "0123456789\n", "0123456789\x00", "0123456789é", " 0123456789", strings.Repeat("a", maxSecret+1)} {
		b.secret = secret.FromString(s)
		res, body := get(t, addr, "/openrouter/a")
		if res.StatusCode != 503 || codeOf(body) != "credential-unusable" || res.Header.Get("X-Should-Retry") != "false" {
			t.Errorf("%q: %d %s", s, res.StatusCode, body)
		}
		if o := b.outcome(t); o.Reason != "credential-unusable" || !o.Unsent {
			t.Errorf("%q: outcome %+v", s, o)
		}
	}
	if seen := u.take(); len(seen) > 0 {
		t.Errorf("upstream saw %q", seen)
	}
}

func TestRouteValidate(t *testing.T) {
	ok := func() *Route {
		return &Route{Service: theService, Base: parseURL("https://openrouter.ai/api/v1"), Transport: http.DefaultTransport, Place: []Placement{{Header: "Authorization", Prefix: "Bearer "}}}
	}
	for _, base := range []string{"https://openrouter.ai", "https://openrouter.ai/", "https://openrouter.ai/api/v1/", "https://openrouter.ai:8443/x", "http://127.0.0.1:8080/x", "http://[::1]/x", "https://[2606:4700:4700::1111]/x"} {
		r := ok()
		if r.Base = parseURL(base); r.Validate() != nil {
			t.Errorf("%s: %v", base, r.Validate())
		}
	}
	for _, base := range []string{"http://openrouter.ai", "http://localhost/x", "http://10.0.0.1/x", "ftp://openrouter.ai", "https://", "https:///x", "https://user@openrouter.ai", "https://openrouter.ai?x", "https://openrouter.ai?", "https://openrouter.ai#x", "https://openrouter.ai/a%2fb", "https://openrouter.ai/../x", "https://openrouter.ai//", "https://127.1/x", "https://openrouter.ai./x", "https:openrouter.ai", "/x", "https://openrouter.ai:0/", "https://openrouter.ai:99999/"} {
		r := ok()
		if r.Base = parseURL(base); r.Validate() == nil {
			t.Errorf("%s passed", base)
		}
	}
	for name, change := range map[string]func(*Route){
		"no service": func(r *Route) { r.Service = (&Route{}).Service }, "no base": func(r *Route) { r.Base = nil }, "no transport": func(r *Route) { r.Transport = nil },
		"no place": func(r *Route) { r.Place = nil }, "empty place": func(r *Route) { r.Place = []Placement{{}} }, "two in one": func(r *Route) { r.Place = []Placement{{Header: "A", Query: "b"}} },
		"Host": func(r *Route) { r.Place = []Placement{{Header: "host"}} }, "length": func(r *Route) { r.Place = []Placement{{Header: "Content-Length"}} }, "coding": func(r *Route) { r.Place = []Placement{{Header: "transfer_encoding"}} },
		"header name": func(r *Route) { r.Place = []Placement{{Header: "A B"}} }, "line break in the prefix": func(r *Route) { r.Place = []Placement{{Header: "A", Prefix: "x\r\nB: "}} }, "leading space": func(r *Route) { r.Place = []Placement{{Header: "A", Prefix: " x"}} },
		"constant Host": func(r *Route) { r.Constant = http.Header{"Host": {"x"}} }, "constant value": func(r *Route) { r.Constant = http.Header{"A": {"x\ny"}} }, "strip": func(r *Route) { r.StripHeaders = []string{"a:b"} },
		"list of the framing": func(r *Route) { r.Merged = http.Header{"Connection": {"x"}} }, "list of a credential": func(r *Route) { r.Merged = http.Header{"Authorization": {"x"}} },
		"list value": func(r *Route) { r.Merged = http.Header{"A": {"x\ny"}} }, "list name": func(r *Route) { r.Merged = http.Header{"a_b": {"x"}} },
		"list and constant": func(r *Route) { r.Merged, r.Constant = http.Header{"A": {"x"}}, http.Header{"a": {"x"}} },
		"list and place":    func(r *Route) { r.Merged, r.Place = http.Header{"X-Odd": {"x"}}, []Placement{{Header: "x-odd"}} },
	} {
		r := ok()
		if change(r); r.Validate() == nil {
			t.Errorf("%s passed", name)
		}
	}
	b := newBackend()
	b.routes[theService] = &Route{Service: theService}
	addr := serve(t, b, Options{})
	if res, body := get(t, addr, "/openrouter/a"); res.StatusCode != 503 || codeOf(body) != "route-unusable" {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	b.routeErr = io.ErrUnexpectedEOF
	if res, body := get(t, addr, "/openrouter/a"); res.StatusCode != 503 || codeOf(body) != "route-unusable" {
		t.Errorf("%d %s", res.StatusCode, body)
	}
}
