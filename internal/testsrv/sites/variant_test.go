package sites

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// fresh takes out of an answer what differs each time.
func fresh(text string) string {
	for _, m := range csrfField.FindAllStringSubmatch(text, -1) {
		text = strings.ReplaceAll(text, m[1], "CSRF")
	}
	if m := csrfScript.FindStringSubmatch(text); m != nil {
		text = strings.ReplaceAll(text, m[1], "CSRF")
	}
	return text
}

// first pages of the services, which need no session.
var firstPages = map[string]string{
	"openrouter": "https://openrouter.ai/sign-up", "anthropic": "https://platform.claude.com/login", "groq": "https://console.groq.com/authenticate",
	"brave-search": braveAt + "/register", "jina": "https://jina.ai/api-dashboard", "gemini": studioAt + "/",
}

func TestChangesAreDescribed(t *testing.T) {
	kinds := []string{
		"missing", "ambiguous", "unusable", "off-host", "no-load", "bot-check", "need-human", "no-mail", "no-key",
		"account-exists", "no-account", "rate-limited", "closed", "wrong-input", "browser", Refused,
	}
	seen, pages, mails, pairs := map[Variant]bool{}, 0, 0, 0
	for _, c := range Changes() {
		if seen[c.Name] || c.Name == "" || c.What == "" {
			t.Errorf("%q has no name of its own, or no description", c.Name)
		}
		seen[c.Name] = true
		if c.InPages() == c.InMail() {
			t.Errorf("%s changes both pages and mails, or neither", c.Name)
		}
		if c.InPages() {
			pages++
		} else {
			mails++
		}
		for id := range plans {
			if !c.Fits(id) {
				continue
			}
			pairs++
			w := c.Of(id)
			if !w.Key && len(w.Stops) == 0 {
				t.Errorf("%s says nothing of how a run at %s ends", c.Name, id)
			}
			for _, k := range w.Stops {
				if !slices.Contains(kinds, k) {
					t.Errorf("%s: %s is no kind of failure", c.Name, k)
				}
			}
		}
		for _, id := range c.Only {
			if plans[id] == nil {
				t.Errorf("%s is for %s, which is not played", c.Name, id)
			}
		}
	}
	if pages < 40 || mails < 15 || pairs < 200 {
		t.Errorf("%d changes of pages, %d of mails, %d together with a service", pages, mails, pairs)
	}
	t.Logf("%d changes of pages, %d of mails, %d together with a service", pages, mails, pairs)
}

// reaches is where a change is seen that the first page does not show: the
// answer to a form, or a page that has a key. It goes no further than to where
// it differs from like, unless that is nil.
func reaches(t *testing.T, s *Site, service string, like []string) (log []string) {
	v := visit(t, s)
	v.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	v.http.Timeout = 3 * time.Second
	note := func() {
		h := v.page.header.Clone()
		for _, k := range []string{"Date", "Set-Cookie", "Content-Length"} {
			h.Del(k)
		}
		log = append(log, fmt.Sprintln(v.page.status, h, len(v.page.header.Values("Set-Cookie")), fresh(v.page.text)))
	}
	lost := false
	try := func(method, at, form string, header ...string) {
		if lost || like != nil && !slices.Equal(log, like[:min(len(log), len(like))]) {
			return // one that is slow, or never answers, takes its time each time
		}
		req, err := http.NewRequest(method, at, strings.NewReader(form))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i+1 < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		begin := time.Now()
		res, err := v.http.Do(req)
		if err != nil {
			lost = true
			log = append(log, "no answer")
			return
		}
		text, err := readAll(res)
		v.page = got{res.StatusCode, res.Request.URL, text, res.Header}
		note()
		log = append(log, fmt.Sprint(err != nil, time.Since(begin) > 900*time.Millisecond))
		lost = err != nil
	}
	const page = "text/html,application/xhtml+xml"
	at := firstPages[service]
	for range 4 {
		try("GET", at, "", "Accept", page)
	}
	try("GET", at, "", "Accept", "*/*")
	try("POST", at, "email=a", "Accept", page, "Content-Type", "application/x-www-form-urlencoded")
	try("POST", at, "email=a", "Accept", "application/json", "Content-Type", "application/x-www-form-urlencoded")
	try("GET", at, "", "Accept", page)
	return log
}

func TestChangesChangeWhatIsServed(t *testing.T) {
	for _, id := range []string{"groq", "brave-search"} {
		plain, _, _ := start(t, Options{Service: id})
		before := reaches(t, plain, id, nil)
		// That the plain site answers alike twice is what the test stands on.
		again, _, _ := start(t, Options{Service: id})
		if !slices.Equal(before, reaches(t, again, id, nil)) {
			t.Fatalf("two plain sites of %s differ", id)
		}
		t.Run(id, func(t *testing.T) {
			for _, c := range Changes() {
				if !c.InPages() || !c.Fits(id) || keyed(c.Name) {
					continue
				}
				t.Run(string(c.Name), func(t *testing.T) {
					t.Parallel()
					s, _, _ := start(t, Options{Service: id, Variant: c.Name})
					if slices.Equal(before, reaches(t, s, id, before)) {
						t.Error("nothing is changed")
					}
				})
			}
		})
	}
}

// keyed are the changes of a page that shows a key.
func keyed(name Variant) bool {
	return strings.HasPrefix(string(name), "key-")
}

func TestChangesOfShownKeys(t *testing.T) {
	for _, c := range Changes() {
		if !keyed(c.Name) || !c.Fits("brave-search") {
			continue
		}
		t.Run(string(c.Name), func(t *testing.T) {
			s, b, _ := start(t, Options{Service: "brave-search", Variant: c.Name})
			v := visit(t, s)
			braveIn(t, v, b, "someone@example.com")
			s.Act(DeedCard)
			v.get(braveAt + "/app/keys")
			v.send(braveAt+"/app/keys", "name", "mine")
			whole := regexpReadonly.FindAllStringSubmatch(v.page.text, -1)
			if len(whole) == 0 {
				t.Fatal("the key's place is gone")
			}
			if len(whole) == 1 && s.KeyLabel(whole[0][1]) != "" && !strings.Contains(v.page.text, "<head><script>") {
				t.Error("nothing is changed")
			}
		})
	}
}

func TestChangesOfLetters(t *testing.T) {
	l := Letter{
		From: "OpenRouter <noreply@openrouter.ai>", To: "someone@example.com", Subject: "123456 is your verification code",
		Text: "Enter the code:\n\n123456\n\nor https://clerk.openrouter.ai/v1/verify?token=abcdefgh\n",
		HTML: "<html><body><h1>Hi</h1><a href=\"https://clerk.openrouter.ai/v1/verify?token=abcdefgh\">Verify</a> 123456</body></html>",
	}
	for _, c := range Changes() {
		if !c.InMail() {
			continue
		}
		t.Run(string(c.Name), func(t *testing.T) {
			s, b, _ := start(t, Options{Service: "openrouter", Variant: c.Name})
			sent := s.variant.post(s, l)
			if c.Name == "mail-late" {
				if len(sent) != 0 || b.count() != 0 {
					t.Error("the letter is not late")
				}
				return
			}
			if len(sent) == 1 && sent[0] == l {
				t.Error("nothing is changed")
			}
			for _, m := range sent {
				if d := domainOf(m); d != "openrouter.ai" && !slices.Contains(c.Senders, d) {
					t.Errorf("a letter comes from %s, which Senders does not name", d)
				}
			}
		})
	}
}

func TestDecoysLookLikeKeysAndAreNone(t *testing.T) {
	for id := range plans {
		s, _, _ := start(t, Options{Service: id})
		d := decoy(id)
		if !keyShape.MatchString(d) || s.KeyLabel(d) != "" {
			t.Errorf("the decoy of %s does not look like a key, or is one", id)
		}
	}
}

func TestChangesLeaveTheAPIAlone(t *testing.T) {
	for _, name := range []Variant{"error-always", "hangs", "lead-302", "key-swapped", "limited", "bomb"} {
		s, _, _ := start(t, Options{Service: "gemini", Variant: name})
		v := visit(t, s)
		v.do("GET", "https://"+geminiAPI+"/v1/models", "", "Accept", "text/html")
		v.want(http.StatusBadRequest, "API_KEY_INVALID")
		var body map[string]any
		if json.Unmarshal([]byte(v.page.text), &body) != nil {
			t.Errorf("%s: the API's answer is spoiled", name)
		}
	}
}

var regexpReadonly = regexp.MustCompile(`readonly value="([^"]*)"`)

// readAll reads an answer, at most a megabyte of it, and says what ended it.
func readAll(res *http.Response) (string, error) {
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	return string(text), err
}
