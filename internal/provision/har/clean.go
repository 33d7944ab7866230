package har

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/url"
	"strings"
)

func pageID(n int) string { return fmt.Sprintf("page_%d", n+1) }

// secretWords are the words of names whose values are secret, be they names of
// headers, fields, parameters or keys of JSON.
var secretWords = map[string]bool{
	"password": true, "passwd": true, "passphrase": true, "pass": true, "pwd": true, "secret": true, "secrets": true,
	"code": true, "otp": true, "pin": true, "totp": true, "token": true, "tokens": true, "jwt": true, "bearer": true, "ticket": true,
	"key": true, "apikey": true, "csrf": true, "xsrf": true, "csrfmiddlewaretoken": true, "authenticity": true, "nonce": true,
	"auth": true, "authorization": true, "cookie": true, "session": true, "sessionid": true, "sid": true, "credential": true, "credentials": true,
	"signature": true, "sig": true, "verifier": true,
}

// isSecret reports whether what has this name is secret: a word of it says so.
func isSecret(name string) bool {
	if strings.HasSuffix(name, "-response") { // of a bot check: cf-turnstile-response, g-recaptcha-response
		return true
	}
	var words strings.Builder
	for i := range len(name) {
		c := name[i]
		switch {
		case c >= 'A' && c <= 'Z':
			if i > 0 && name[i-1] >= 'a' && name[i-1] <= 'z' {
				words.WriteByte(' ')
			}
			words.WriteByte(c | 0x20)
		case c >= 'a' && c <= 'z':
			words.WriteByte(c)
		default: // digits too: code1
			words.WriteByte(' ')
		}
	}
	for word := range strings.FieldsSeq(words.String()) {
		if secretWords[word] {
			return true
		}
	}
	return false
}

// telling reports whether a value that a name says to be secret is so much its
// own that it is looked for everywhere: a word like "continue" is not.
func telling(value string) bool {
	if strings.ContainsAny(value, " \t\r\n") {
		return false
	}
	return len(value) >= minWord || len(value) >= 6 && strings.ContainsAny(value, "0123456789")
}

// scrubbed makes the archive, and the scrubber that has gone over it.
func (r *Recorder) scrubbed() (*Archive, *scrubber) {
	s := newScrubber(r.o.Key)
	for _, v := range r.hidden {
		s.hide(string(v.Expose()))
	}
	a := &Archive{Log: Log{Version: "1.2", Creator: r.o.Creator, Browser: r.o.Browser, Pages: []Page{}, Entries: []Entry{}}}
	// What names say to be secret is learned first, from all entries: a token of
	// a form stands in the page before it is sent.
	for _, e := range r.entries {
		s.learn(e)
	}
	s.ready()
	for _, p := range r.pages {
		p.Title = s.text(p.Title)
		a.Log.Pages = append(a.Log.Pages, p)
	}
	for _, e := range r.entries {
		a.Log.Entries = append(a.Log.Entries, s.entry(*e))
	}
	return a, s
}

// learn hides the values that an entry's names say to be secret.
func (s *scrubber) learn(e *Entry) {
	note := func(name, value string) {
		if isSecret(name) && telling(value) {
			s.hide(value)
		}
	}
	for _, list := range [][]Pair{e.Request.Headers, e.Response.Headers} {
		for _, h := range list {
			switch strings.ToLower(h.Name) {
			case "cookie", "set-cookie":
				for _, c := range cookies(h) {
					if telling(c.Value) {
						s.hide(c.Value)
					}
				}
			case "authorization", "proxy-authorization":
				if _, value, ok := strings.Cut(h.Value, " "); ok {
					note(h.Name, value)
				}
			default:
				note(h.Name, h.Value)
			}
		}
	}
	for _, address := range []string{e.Request.URL, e.Response.RedirectURL} {
		if u, err := url.Parse(address); err == nil {
			for name, values := range u.Query() {
				for _, v := range values {
					note(name, v)
				}
			}
			if telling(u.Fragment) && strings.Contains(u.Fragment, "=") {
				s.hide(u.Fragment)
			}
		}
	}
	if p := e.Request.Post; p != nil {
		fields, body := form(p.MimeType, p.Text)
		for _, f := range fields {
			note(f.Name, f.Value)
		}
		visit(body, note)
		s.keys(p.Text)
	}
	if strings.Contains(e.Response.Content.MimeType, "json") {
		visit(e.Response.Content.Text, note)
	}
	s.keys(e.Response.Content.Text)
}

// entry returns an entry without what is secret.
func (s *scrubber) entry(e Entry) Entry {
	q, p := &e.Request, &e.Response
	for _, list := range []*[]Cookie{&q.Cookies, &p.Cookies} {
		*list = []Cookie{}
	}
	q.Headers, q.Cookies = s.headers(q.Headers)
	p.Headers, p.Cookies = s.headers(p.Headers)
	q.URL = s.address(q.URL)
	p.RedirectURL = s.address(p.RedirectURL)
	q.Query = []Pair{}
	if u, err := url.Parse(q.URL); err == nil {
		for part := range strings.SplitSeq(u.RawQuery, "&") {
			name, value, _ := strings.Cut(part, "=")
			if name, err := url.QueryUnescape(name); err == nil && part != "" {
				value, _ := url.QueryUnescape(value)
				q.Query = append(q.Query, Pair{Name: s.text(name), Value: s.text(value)})
			}
		}
	}
	if q.Post != nil {
		post := *q.Post
		q.Post = &post
		fields, body := form(post.MimeType, post.Text)
		post.Params, post.Text = []Param{}, s.json(body, func(string) bool { return true })
		for _, f := range fields {
			if isSecret(f.Name) {
				f.Value = s.fakeOf(f.Value)
			}
			f.Name, f.Value, f.FileName = s.text(f.Name), s.deep(f.Value, levels), s.text(f.FileName)
			post.Params = append(post.Params, f)
		}
	}
	if strings.Contains(p.Content.MimeType, "json") {
		// An answer's code may be an error's, which its page goes by.
		p.Content.Text = s.json(p.Content.Text, func(v string) bool { return telling(v) || strings.Trim(v, "0123456789") == "" })
	} else {
		p.Content.Text = s.text(p.Content.Text)
	}
	return e
}

// headers returns headers, and the cookies in them.
func (s *scrubber) headers(list []Pair) (out []Pair, all []Cookie) {
	out, all = []Pair{}, []Cookie{}
	for _, h := range list {
		switch name := strings.ToLower(h.Name); {
		case name == "cookie" || name == "set-cookie":
			value, rest := "", ""
			if name == "set-cookie" {
				h.Value, rest, _ = strings.Cut(h.Value, ";")
				rest = attributes(rest)
			}
			for _, c := range cookies(h) {
				c.Name, c.Value = s.text(c.Name), s.fakeOf(c.Value)
				if value != "" {
					value += "; "
				}
				value += c.Name + "=" + c.Value
				all = append(all, c)
			}
			h.Value = value + rest
		case name == "referer" || name == "location" || name == "content-location" || name == "origin":
			h.Value = s.address(h.Value)
		case isSecret(name) && !harmless[name] && !strings.HasPrefix(name, "access-control-"):
			scheme, value, ok := strings.Cut(h.Value, " ")
			if !ok {
				scheme, value = "", h.Value
			} else {
				scheme += " "
			}
			h.Value = scheme + s.fakeOf(value)
		default:
			h.Value = s.text(h.Value)
		}
		out = append(out, h)
	}
	return out, all
}

// harmless are headers whose names only sound secret, as those of CORS do too:
// a page does not work without them.
var harmless = map[string]bool{"www-authenticate": true, "origin-agent-cluster": true, "sec-websocket-key": true}

// attributes keeps those of a cookie that say how it is sent.
func attributes(s string) (kept string) {
	for part := range strings.SplitSeq(s, ";") {
		name, _, _ := strings.Cut(strings.ToLower(strings.TrimSpace(part)), "=")
		switch name {
		case "path", "domain", "secure", "httponly", "samesite", "max-age", "expires", "partitioned":
			kept += "; " + strings.TrimSpace(part)
		}
	}
	return kept
}

// cookies reads a header of cookies.
func cookies(h Pair) (list []Cookie) {
	text := h.Value
	if strings.EqualFold(h.Name, "set-cookie") {
		text, _, _ = strings.Cut(text, ";")
	}
	for part := range strings.SplitSeq(text, ";") {
		if name, value, ok := strings.Cut(strings.TrimSpace(part), "="); ok {
			list = append(list, Cookie{Name: name, Value: value})
		}
	}
	return list
}

// levels is how often what is hidden may be escaped in an address.
const levels = 4

// address scrubs an address: its fragment goes, and the values in its query
// that their names say to be secret.
func (s *scrubber) address(text string) string {
	text, _, _ = strings.Cut(text, "#")
	head, query, ok := strings.Cut(text, "?")
	if !ok {
		return s.text(text)
	}
	pairs := strings.Split(query, "&")
	for i, pair := range pairs {
		name, value, _ := strings.Cut(pair, "=")
		plain, err := url.QueryUnescape(name)
		if err == nil && isSecret(plain) {
			if v, err := url.QueryUnescape(value); err == nil {
				pairs[i] = name + "=" + url.QueryEscape(s.fakeOf(v))
			} else {
				pairs[i] = name + "="
			}
		} else {
			pairs[i] = s.deep(name, levels) + "=" + s.deep(value, levels)
		}
	}
	return s.text(head + "?" + strings.Join(pairs, "&"))
}

// form reads what a request carried: the fields of a form, or another text.
func form(mimeType, text string) (fields []Param, body string) {
	kind, params, err := mime.ParseMediaType(mimeType)
	switch {
	case err != nil:
		return nil, text
	case kind == "application/x-www-form-urlencoded":
		for pair := range strings.SplitSeq(text, "&") {
			name, value, _ := strings.Cut(pair, "=")
			n, err1 := url.QueryUnescape(name)
			v, err2 := url.QueryUnescape(value)
			if pair != "" && err1 == nil && err2 == nil {
				fields = append(fields, Param{Name: n, Value: v})
			}
		}
		return fields, ""
	case kind == "multipart/form-data":
		for r := multipart.NewReader(strings.NewReader(text), params["boundary"]); ; {
			part, err := r.NextPart()
			if err != nil {
				return fields, ""
			}
			value, err := io.ReadAll(part)
			if err != nil {
				return fields, ""
			}
			fields = append(fields, Param{Name: part.FormName(), Value: string(value), FileName: part.FileName(), ContentType: part.Header.Get("Content-Type")})
		}
	}
	return nil, text
}

// visit calls note for each string and number of a JSON text, with the name
// that it stands under.
func visit(text string, note func(name, value string)) {
	v, ok := decode(text)
	if !ok {
		return
	}
	walk(v, "", func(name, value string) string { note(name, value); return value })
}

// json scrubs a text that may be JSON; what has a secret's name, if it may be
// one.
func (s *scrubber) json(text string, may func(string) bool) string {
	v, ok := decode(text)
	if !ok {
		return s.text(text)
	}
	changed := false
	v = walk(v, "", func(name, value string) string {
		if isSecret(name) && value != "" && may(value) && !strings.ContainsAny(value, " \n") {
			changed = true
			return s.fakeOf(value)
		}
		return value
	})
	if changed {
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		if enc.Encode(v) == nil {
			text = strings.TrimSuffix(b.String(), "\n")
		}
	}
	return s.text(text)
}

func decode(text string) (v any, ok bool) {
	if text == "" || strings.IndexByte("{[", strings.TrimLeft(text, " \t\r\n")[:1][0]) < 0 {
		return nil, false
	}
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	if dec.Decode(&v) != nil {
		return nil, false
	}
	_, err := dec.Token()
	return v, err == io.EOF
}

// walk replaces the strings and numbers of v by what f makes of them.
func walk(v any, name string, f func(name, value string) string) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			v[k] = walk(e, k, f)
		}
	case []any:
		for i, e := range v {
			v[i] = walk(e, name, f)
		}
	case string:
		return f(name, v)
	case json.Number:
		if out := f(name, v.String()); out != v.String() {
			return out
		}
	}
	return v
}
