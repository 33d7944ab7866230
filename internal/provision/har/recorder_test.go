package har

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/secret"
)

var keyPattern = regexp.MustCompile(`^sk-fake-v1-[0-9a-f]{64}$`)

func clock() func() time.Time {
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	return func() time.Time { at = at.Add(7 * time.Millisecond); return at }
}

func recorder() *Recorder {
	return NewRecorder(Options{Creator: Creator{Name: "agentkeys", Version: "test"}, Key: keyPattern.Match, Now: clock()})
}

// exchange records one request and its answer.
func exchange(r *Recorder, id string, q Request, p Response, body string) {
	r.Begin(id, q)
	r.Response(id, p)
	r.Body(id, []byte(body))
}

func written(t *testing.T, r *Recorder) (string, *Archive) {
	t.Helper()
	var b bytes.Buffer
	if _, err := r.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	a, err := Parse(b.Bytes())
	if err != nil {
		t.Fatalf("what was written is %v: %s", err, &b)
	}
	return b.String(), a
}

var htmlPage = Response{Status: 200, StatusText: "OK", HTTPVersion: "HTTP/2", Headers: []Pair{{Name: "Content-Type", Value: "text/html; charset=utf-8"}}}

// references writes each byte as a reference of HTML.
func references(s, format string) (out string) {
	for i := range len(s) {
		out += fmt.Sprintf(format, s[i])
	}
	return out
}

// TestCanary has hidden values stand wherever a page, a request or an answer
// can hold them, in each spelling, recorded before it is known and after.
func TestCanary(t *testing.T) {
	values := []string{
		`Pw+c4nary/"<&>'\ ä~end`, "739154", "tok_c4nary-5e884898da28047151d0e56f8dc62927",
		"sk-fake-v1-" + strings.Repeat("5e884898da280471", 4),
	}
	spell := func(v string) map[string]string {
		quoted, _ := json.Marshal(v)
		twice, _ := json.Marshal(string(quoted))
		in := strings.Trim(string(quoted), `"`)
		list := map[string]string{
			"raw": v, "query": url.QueryEscape(v), "path": url.PathEscape(v), "query, small": strings.ToLower(url.QueryEscape(v)), "query, twice": url.QueryEscape(url.QueryEscape(v)),
			"html": html.EscapeString(v), "json": in, "json, slashes": strings.ReplaceAll(in, "/", `\/`), "json in json": string(twice),
			"hex": hex.EncodeToString([]byte(v)), "HEX": strings.ToUpper(hex.EncodeToString([]byte(v))),
			"references": references(v, "&#%d;"), "references, hex": references(v, "&#x%x;"), "references, HEX": references(v, "&#x%X;"),
		}
		for i := range 3 {
			around := strings.Repeat("#", i) + v + "!!"
			list[fmt.Sprint("base64, ", i)] = base64.StdEncoding.EncodeToString([]byte(around))
			list[fmt.Sprint("base64 of URLs, ", i)] = base64.RawURLEncoding.EncodeToString([]byte(around))
		}
		return list
	}
	for _, v := range values {
		for how, text := range spell(v) {
			if how == "query, small" && strings.ContainsAny(v, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") {
				continue // that is another value
			}
			t.Run(v[:6]+" "+how, func(t *testing.T) {
				r := recorder()
				r.Page("A page with " + text)
				put := func(id string) {
					u := "https://svc.example/a?x=" + url.QueryEscape(text) + "&y=1#" + url.QueryEscape(text)
					exchange(r, id, Request{Method: "POST", URL: u, Headers: []Pair{{Name: "X-Any", Value: text}, {Name: "Referer", Value: u}, {Name: "Content-Type", Value: "text/plain"}}, Body: []byte("say " + text)},
						Response{Status: 200, StatusText: "OK", Headers: []Pair{{Name: "Content-Type", Value: "text/html"}, {Name: "Location", Value: u}, {Name: "X-Other", Value: text}}}, "<p>"+text+"</p>")
				}
				put("before")
				r.Hide(secret.FromString(v))
				put("after")
				out, a := written(t, r)
				for how, form := range spell(v) {
					if strings.HasPrefix(how, "base64") {
						continue // the ends of these are of what stands around
					}
					if strings.Contains(out, form) {
						t.Errorf("the %s form is in what was written", how)
					}
				}
				for _, e := range a.Log.Entries {
					body := string(e.Body())
					all := body + e.Request.URL + e.Request.Post.Text
					for _, h := range append(e.Request.Headers, e.Response.Headers...) {
						all += " " + h.Value
					}
					if strings.Contains(all, text) || strings.Contains(all, v) {
						t.Errorf("left in the entry: %s", all)
					}
					if how == "raw" && keyPattern.MatchString(v) && !keyPattern.MatchString(strings.TrimSuffix(strings.TrimPrefix(body, "<p>"), "</p>")) {
						t.Errorf("the key became %s, which is no key", body)
					}
				}
				if len(a.Log.Entries) != 2 {
					t.Errorf("%d entries", len(a.Log.Entries))
				}
			})
		}
	}
}

func TestNamesSayWhatIsSecret(t *testing.T) {
	secrets := map[string]string{
		"cookie": "c-1d8f4c8bb2", "set": "s-8f14e45fce", "bearer": "b-45c48cce2e", "apikey": "k-d3d9446802", "csrf": "f-6512bd43d9", "password": "hunter2hunter2",
		"code": "482913", "json": "j-c20ad4d76f", "refresh": "r-c51ce410c1", "session": "z-aab3238922", "query": "q-9bf31c7ff0", "multi": "m-c74d97b01e", "nested": "n-70efdf2ec9", "pin": "7", "short": "ab",
	}
	s := func(name string) string { return secrets[name] }
	r := recorder()
	exchange(r, "1", Request{Method: "GET", URL: "https://svc.example/sign-up"}, htmlPage, `<input type=hidden name=csrf value="`+s("csrf")+`">`)
	exchange(r, "2", Request{
		Method: "POST", URL: "https://svc.example/sign-up?step=1&state_token=" + s("query"),
		Headers: []Pair{{Name: "Cookie", Value: "sid=" + s("cookie") + "; theme=dark"}, {Name: "Authorization", Value: "Bearer " + s("bearer")}, {Name: "X-Subscription-Token", Value: s("apikey")},
			{Name: "Content-Type", Value: "application/x-www-form-urlencoded"}, {Name: "User-Agent", Value: "Any"}},
		Body: []byte(url.Values{"csrf_token": {s("csrf")}, "newPassword": {s("password")}, "code1": {s("pin")}, "email": {"a@agents.example"}}.Encode()),
	}, Response{Status: 303, StatusText: "See Other", Headers: []Pair{{Name: "Set-Cookie", Value: "session=" + s("set") + "; Path=/; HttpOnly; SameSite=Lax; X=" + s("set")}, {Name: "Location", Value: "/next?ticket=" + s("query") + "&a=b"}}}, "")
	exchange(r, "3", Request{
		Method: "POST", URL: "https://svc.example/v1/verify", Headers: []Pair{{Name: "Content-Type", Value: "application/json"}},
		Body: []byte(`{"code":` + s("code") + `,"otp":"` + s("short") + `","deep":[{"api_key":"` + s("nested") + `"}],"name":"agent"}`),
	}, Response{Status: 200, StatusText: "OK", Headers: []Pair{{Name: "Content-Type", Value: "application/vnd.api+json"}}},
		`{"accessToken":"`+s("json")+`","refresh-token":"`+s("refresh")+`","session":{"id":"`+s("session")+`","session_id":"`+s("session")+`"},"errors":{"password":"must be longer","code":"taken"},"note":"`+s("code")+`"}`)
	exchange(r, "4", Request{
		Method: "POST", URL: "https://svc.example/form", Headers: []Pair{{Name: "Content-Type", Value: "multipart/form-data; boundary=xx"}},
		Body: []byte("--xx\r\nContent-Disposition: form-data; name=\"secret\"\r\n\r\n" + s("multi") + "\r\n--xx\r\nContent-Disposition: form-data; name=\"plain\"\r\n\r\nword\r\n--xx--\r\n"),
	}, htmlPage, "ok")
	out, a := written(t, r)
	for name, v := range secrets {
		if len(v) > 2 && strings.Contains(out, v) {
			t.Errorf("%s is in what was written", name)
		}
	}
	form := map[string]string{}
	for _, p := range a.Log.Entries[1].Request.Post.Params {
		form[p.Name] = p.Value
	}
	if form["email"] != "a@agents.example" || form["code1"] == "7" || form["newPassword"] == "" || !strings.Contains(out, "must be longer") || !strings.Contains(out, "taken") || !strings.Contains(out, `plain`) || !strings.Contains(out, "SameSite=Lax") {
		t.Errorf("form: %q", form)
	}
	if got := a.Log.Entries[2].Request.Post.Text; strings.Contains(got, `"ab"`) || !strings.Contains(got, `"agent"`) {
		t.Errorf("JSON: %s", got)
	}
	// What stands for a form's token is the same wherever it stands.
	if page := string(a.Log.Entries[0].Body()); !strings.Contains(page, `value="`+form["csrf_token"]+`"`) {
		t.Errorf("the page has %s, the form %q", page, form["csrf_token"])
	}
}

func TestLinksOfMails(t *testing.T) {
	r := recorder()
	exchange(r, "1", Request{Method: "GET", URL: "https://svc.example/magic/0123456789abcdef0123?any=letmein&b=1"}, htmlPage, "letmein and wordsonly and 0123456789abcdef0123")
	r.Hide(secret.FromString("https://svc.example/magic/0123456789abcdef0123?any=letmein&b=1#wordsonly"))
	out, _ := written(t, r)
	for _, v := range []string{"letmein", "wordsonly", "0123456789abcdef0123"} {
		if strings.Contains(out, v) {
			t.Errorf("%s is in what was written", v)
		}
	}
}

func TestKeysBecomeFakes(t *testing.T) {
	key := "sk-fake-v1-" + strings.Repeat("0123456789abcdef", 4)
	r := recorder()
	exchange(r, "1", Request{Method: "GET", URL: "https://svc.example/keys"}, htmlPage, `<code>`+key+`</code><input value="`+key+`"> key=`+key+`. <i>sk-fake-v1-…</i> 0123456789abcdef0123456789abcdef`)
	out, a := written(t, r)
	body := string(a.Log.Entries[0].Body())
	found := regexp.MustCompile(`sk-fake-v1-[0-9a-f]{64}`).FindAllString(body, -1)
	if strings.Contains(out, key) || len(found) != 3 || found[0] != found[1] || found[0] != found[2] || !strings.HasSuffix(body, "<i>sk-fake-v1-…</i> 0123456789abcdef0123456789abcdef") {
		t.Errorf("%s", body)
	}
}

// TestEveryPlaceIsScrubbed puts what nothing else learns into each place.
func TestEveryPlaceIsScrubbed(t *testing.T) {
	key := func(c string) string { return "sk-fake-v1-" + strings.Repeat(c, 64) }
	r := recorder()
	r.Page("title " + key("1"))
	r.Hide(secret.FromString("c4n/ry word"))
	deep := "c4n/ry word"
	for range 4 {
		deep = url.QueryEscape(deep)
	}
	exchange(r, "1", Request{
		Method: "GET", URL: "https://svc.example/" + key("2") + "?a=" + key("3") + "&next=" + deep + "#section-unheard",
		Headers: []Pair{{Name: "X-Any", Value: key("4")}, {Name: "X-Auth-Token", Value: "tiny"}, {Name: "Authorization", Value: "Basic wordy"}, {Name: "Cookie", Value: "a=flat"}},
	}, Response{Status: 200, MimeType: "text/html", Headers: []Pair{{Name: "X-Other", Value: key("5")}, {Name: "Access-Control-Allow-Credentials", Value: "true"}, {Name: "Set-Cookie", Value: "b=plain; Path=/"}}}, "")
	out, a := written(t, r)
	for _, v := range []string{key("1"), key("2"), key("3"), key("4"), key("5"), deep, "unheard", "tiny", "wordy", "flat", "plain"} {
		if strings.Contains(out, v) {
			t.Errorf("%s is in what was written", v)
		}
	}
	if h := header(a.Log.Entries[0].Response.Headers, "Access-Control-Allow-Credentials"); h != "true" {
		t.Errorf("a page cannot work with %q", h)
	}
	if h := header(a.Log.Entries[0].Request.Headers, "Authorization"); !strings.HasPrefix(h, "Basic ") {
		t.Errorf("%s", h)
	}
}

func TestWhatIsLeftOut(t *testing.T) {
	r := recorder()
	exchange(r, "png", Request{Method: "GET", URL: "https://svc.example/a.png"}, Response{Status: 200, MimeType: "image/png"}, "\x89PNG")
	exchange(r, "gz", Request{Method: "GET", URL: "https://svc.example/b"}, Response{Status: 200, MimeType: "text/html", Headers: []Pair{{Name: "Content-Encoding", Value: "gzip"}}}, "\x1f\x8b\xff\xfe")
	exchange(r, "wide", Request{Method: "POST", URL: "https://svc.example/w", Headers: []Pair{{Name: "Content-Type", Value: "text/plain"}}, Body: []byte("s\x00e\x00c\x00")}, Response{Status: 200, MimeType: "application/json; charset=utf-16le"}, "{\x00}\x00")
	exchange(r, "big", Request{Method: "GET", URL: "https://svc.example/c"}, Response{Status: 200, MimeType: "text/html"}, strings.Repeat("x", maxBody+1))
	exchange(r, "data", Request{Method: "GET", URL: "data:text/html,x"}, htmlPage, "x")
	r.Begin("failed", Request{Method: "GET", URL: "https://svc.example/d"})
	r.Failed("failed", "net::ERR_FAILED")
	r.Body("failed", []byte("late"))
	r.Response("never begun", htmlPage)
	_, a := written(t, r)
	if len(a.Log.Entries) != 5 {
		t.Fatalf("%d entries", len(a.Log.Entries))
	}
	if p := a.Log.Entries[2].Request.Post; p == nil || p.Text != "" || !strings.HasPrefix(p.Comment, "left out") {
		t.Errorf("%+v", p)
	}
	for i, e := range a.Log.Entries {
		if len(e.Body()) > 0 || i < 4 && !strings.HasPrefix(e.Response.Content.Comment, "left out") {
			t.Errorf("entry %d: %+v", i, e.Response.Content)
		}
	}
	if a.Log.Entries[4].Comment != "failed: net::ERR_FAILED" {
		t.Errorf("%+v", a.Log.Entries[4])
	}
}

// TestItIsLookedThroughOnceMore has the replacing fail.
func TestItIsLookedThroughOnceMore(t *testing.T) {
	r := recorder()
	r.o.Creator.Name = "canary-5e884898" // which nothing scrubs
	r.Hide(secret.FromString("canary-5e884898"))
	var b bytes.Buffer
	if _, err := r.WriteTo(&b); !errors.Is(err, ErrLeak) || b.Len() > 0 {
		t.Errorf("%v, %d bytes", err, b.Len())
	}
}

func TestRedirectsAndReplay(t *testing.T) {
	r := recorder()
	r.Page("One")
	r.Begin("1", Request{Method: "GET", URL: "https://svc.example/"})
	r.Response("1", Response{Status: 302, Headers: []Pair{{Name: "Location", Value: "/b?state=1"}}})
	r.Begin("1", Request{Method: "GET", URL: "https://svc.example/b?state=1&token=" + strings.Repeat("5e88", 8)})
	r.Response("1", Response{Status: 200, MimeType: "text/html", Headers: []Pair{{Name: "Content-Encoding", Value: "br"}, {Name: "X-A", Value: "1"}}})
	r.Body("1", []byte("first"))
	exchange(r, "2", Request{Method: "GET", URL: "https://svc.example/b?state=1&token=" + strings.Repeat("5e88", 8)}, htmlPage, "second")
	exchange(r, "3", Request{Method: "POST", URL: "https://svc.example/b"}, htmlPage, "posted")
	_, a := written(t, r)
	for _, c := range []struct{ method, url, want string }{
		{"GET", "https://svc.example/b?token=other&state=9", "first"}, {"GET", "https://svc.example/b?token=x&state=8", "second"}, {"GET", "https://svc.example/b?token=x&state=8", "second"},
		{"POST", "https://svc.example/b", "posted"}, {"POST", "https://svc.example/b?z=1", "posted"}, {"GET", "https://svc.example", ""},
		{"PUT", "https://svc.example/b", "none"}, {"GET", "https://evil.example/b", "none"}, {"GET", "http://svc.example/b", "none"}, {"GET", "https://svc.example/B", "none"}, {"GET", "://", "none"},
	} {
		e, ok := a.Match(c.method, c.url)
		if ok == (c.want == "none") || ok && string(e.Body()) != c.want {
			t.Errorf("%s %s: %t, %q, want %q", c.method, c.url, ok, e.Body(), c.want)
		}
	}
	if h := a.Log.Entries[1].Headers(); len(h) != 1 || h[0].Name != "X-A" {
		t.Errorf("%v", h)
	}
	if a.Log.Entries[0].PageRef != "page_1" || a.Log.Entries[0].Response.RedirectURL != "/b?state=1" {
		t.Errorf("%+v", a.Log.Entries[0])
	}
}
