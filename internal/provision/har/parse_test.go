package har

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/litentry/agentkeys/internal/secret"
)

const minimal = `{"log":{"version":"1.2","creator":{"name":"x","version":"1"},"entries":[{
 "startedDateTime":"2026-11-22T10:00:00.000+01:00","time":1.5,"cache":{},"timings":{"send":0,"wait":1,"receive":0.5},"_own":{"a":1},
 "request":{"method":"GET","url":"https://svc.example/","httpVersion":"h2","cookies":[],"headers":[{"name":"a","value":"b"}],"queryString":[],"headersSize":-1,"bodySize":0},
 "response":{"status":200,"statusText":"","httpVersion":"h2","cookies":[],"headers":[],"content":{"size":2,"mimeType":"text/plain","text":"aGk=","encoding":"base64"},"redirectURL":"","headersSize":-1,"bodySize":-1}}]}}`

func TestParse(t *testing.T) {
	a, err := Parse([]byte("\ufeff" + minimal))
	if err != nil || string(a.Log.Entries[0].Body()) != "hi" {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ old, new string }{
		"no JSON": {`{"log"`, `{log`}, "not an object": {minimal, `[]`}, "null": {minimal, `null`}, "empty": {minimal, ``}, "behind it": {minimal, minimal + "{}"},
		"version": {`"1.2"`, `"1.1"`}, "no creator": {`"creator":{"name":"x","version":"1"},`, ``}, "null creator": {`{"name":"x","version":"1"}`, `null`},
		"entries": {`"entries":[`, `"entries":[1,`}, "no list": {`"cookies":[]`, `"cookies":{}`}, "unknown": {`"time":1.5`, `"time":1.5,"more":1`}, "another case": {`"time":`, `"Time":`},
		"twice": {`"time":1.5`, `"time":1.5,"time":2`}, "kind": {`"status":200`, `"status":"200"`}, "status": {`"status":200`, `"status":99`}, "date": {"2026-11-22T", "yesterday"},
		"scheme": {"https://svc", "file://svc"}, "method": {`"GET"`, `"get it"`}, "negative": {`"wait":1`, `"wait":-1`}, "base64": {"aGk=", "a"}, "encoding": {`"base64"`, `"rot13"`},
		"page": {`"time":1.5`, `"time":1.5,"pageref":"p"`}, "no url": {`"url":"https://svc.example/",`, ``}, "not UTF-8": {`"statusText":""`, "\"statusText\":\"\xff\""},
	} {
		bad := strings.Replace(minimal, c.old, c.new, 1)
		if bad == minimal {
			t.Fatalf("%s changes nothing", name)
		}
		if _, err := Parse([]byte(bad)); !errors.Is(err, ErrHAR) {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(err.Error(), "svc.example") {
			t.Errorf("%s: the error quotes it: %v", name, err)
		}
	}
}

// TestFieldsOfTheFormat checks what is written against what HAR 1.2 wants of
// each object, apart from what Parse wants.
func TestFieldsOfTheFormat(t *testing.T) {
	r := recorder()
	r.Page("A page")
	exchange(r, "1", Request{Method: "POST", URL: "https://svc.example/?a=b", Headers: []Pair{{Name: "Cookie", Value: "a=b"}, {Name: "Content-Type", Value: "application/x-www-form-urlencoded"}}, Body: []byte("a=b")}, htmlPage, "x")
	r.Begin("2", Request{Method: "GET", URL: "https://svc.example/"})
	out, _ := written(t, r)
	var tree map[string]any
	if err := json.Unmarshal([]byte(out), &tree); err != nil {
		t.Fatal(err)
	}
	want := func(at string, v any, names string) map[string]any {
		object, ok := v.(map[string]any)
		for name := range strings.FieldsSeq(names) {
			if value, there := object[name]; !ok || !there || value == nil {
				t.Errorf("%s has no %s", at, name)
			}
		}
		return object
	}
	log := want("log", tree["log"], "version creator pages entries")
	want("creator", log["creator"], "name version")
	for _, p := range log["pages"].([]any) {
		want("page", p, "startedDateTime id title pageTimings")
	}
	for _, v := range log["entries"].([]any) {
		e := want("entry", v, "pageref startedDateTime time request response cache timings")
		want("timings", e["timings"], "send wait receive")
		q := want("request", e["request"], "method url httpVersion cookies headers queryString headersSize bodySize")
		p := want("response", e["response"], "status statusText httpVersion cookies headers content redirectURL headersSize bodySize")
		want("content", p["content"], "size mimeType")
		for _, list := range []any{q["cookies"], q["headers"], q["queryString"], p["cookies"], p["headers"]} {
			for _, pair := range list.([]any) {
				want("pair", pair, "name value")
			}
		}
		if post, ok := q["postData"]; ok {
			want("postData", post, "mimeType params text")
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(minimal))
	f.Add([]byte(`{"log":{}}`))
	f.Add([]byte(`{"log":{"version":"1.2","creator":{"name":"","version":""},"entries":[],"pages":[{"startedDateTime":"2026-11-22T10:00:00Z","id":"a","title":"","pageTimings":{}}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := Parse(data)
		if err != nil {
			if !errors.Is(err, ErrHAR) || a != nil {
				t.Fatalf("%v, %v", a, err)
			}
			return
		}
		var out bytes.Buffer
		if _, err := a.WriteTo(&out); err != nil {
			t.Fatal(err)
		}
		b, err := Parse(out.Bytes())
		if err != nil {
			t.Fatalf("what was written is %v: %s", err, &out)
		}
		var again bytes.Buffer
		if _, err := b.WriteTo(&again); err != nil || !reflect.DeepEqual(out.Bytes(), again.Bytes()) {
			t.Fatalf("%v; it is written in two ways: %s\n%s", err, &out, &again)
		}
		for _, e := range a.Log.Entries {
			a.Match(e.Request.Method, e.Request.URL)
		}
	})
}

// FuzzScrub has anything be recorded with a secret in it.
func FuzzScrub(f *testing.F) {
	f.Add("Bearer ", `{"a":"b"}`, "application/json", "c4nary-5e884898")
	f.Add("a=b", "<p>&amp;", "text/html", "739154")
	f.Add("a=%zz&b", "--x\r\n", "multipart/form-data; boundary=x", "%2F%252F+/")
	f.Fuzz(func(t *testing.T, head, body, kind, hidden string) {
		r := recorder()
		r.Hide(secret.FromString(hidden))
		exchange(r, "1", Request{Method: "POST", URL: "https://svc.example/?" + head, Headers: []Pair{{Name: "Content-Type", Value: kind}, {Name: "Cookie", Value: head}, {Name: "X-Token", Value: head}}, Body: []byte(body)},
			Response{Status: 200, Headers: []Pair{{Name: "Set-Cookie", Value: head}, {Name: "Location", Value: head}}, MimeType: kind}, body+hidden)
		var b bytes.Buffer
		if _, err := r.WriteTo(&b); err != nil {
			if !errors.Is(err, ErrLeak) || b.Len() > 0 {
				t.Fatal(err)
			}
			return
		}
		a, err := Parse(b.Bytes())
		if err != nil {
			t.Fatalf("what was written is %v", err)
		}
		for _, e := range a.Log.Entries {
			if text := e.Request.URL + "\n" + string(e.Body()); len(hidden) >= minHidden && strings.Contains(text, hidden) {
				t.Fatalf("%q is left in %q", hidden, text)
			}
		}
	})
}
