package sites

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
)

const someone = "or-7f3k@agentkeys.localhost.test"

func each(t *testing.T, test func(t *testing.T, c console)) {
	for _, c := range consoles {
		t.Run(c.service, func(t *testing.T) { t.Parallel(); test(t, c) })
	}
}

// signUp makes an account by the link of its mail, and opens the page of keys.
func (c console) signUp(t *testing.T, v *visitor, b *box, address string) {
	t.Helper()
	c.apply(v, address)
	link, _ := b.last(t)
	c.byLink(v, link)
	if p := v.get(c.keys); p.status != 200 || p.url.String() != c.keys {
		t.Fatalf("after signing up the keys are at %s (%d)", p.url, p.status)
	}
}

var secretShown = regexp.MustCompile(`data-key>([^<]+)<`)

// makeKey makes a key and returns it.
func (c console) makeKey(t *testing.T, v *visitor, name string) string {
	t.Helper()
	v.get(c.keys)
	v.send(c.keys, "name", name)
	m := secretShown.FindStringSubmatch(v.page.text)
	if m == nil {
		t.Fatalf("no key is shown: %d %.2000s", v.page.status, v.page.text)
	}
	return html.UnescapeString(m[1])
}

func TestLife(t *testing.T) {
	each(t, func(t *testing.T, c console) {
		s, b, _ := start(t, Options{Service: c.service})
		v := visit(t, s)
		v.get(c.keys)
		if v.page.url.String() == c.keys {
			t.Fatal("the page of keys is shown to anybody")
		}
		c.signUp(t, v, b, someone)

		name := "agentkeys-test"
		secret := c.makeKey(t, v, name)
		e, err := catalog.Lookup(agentkeys.Must(agentkeys.ParseService(c.service)))
		if err != nil {
			t.Fatal(err)
		}
		if err := e.CheckKey([]byte(secret)); err != nil {
			t.Errorf("the key is not in the form of the catalogue: %v", err)
		}
		if s.KeyLabel(secret) != "key-1" || s.KeyLabel(secret+"x") != "" || s.KeyLabel("") != "" {
			t.Error("KeyLabel knows other keys than the one that was made")
		}
		if p := v.get(c.keys); strings.Contains(p.text, secret) || !strings.Contains(p.text, name) || !strings.Contains(p.text, s.Keys()[0].Masked) {
			t.Error("the list shows a whole key, or not the masked one")
		}

		other := visit(t, s)
		c.signUp(t, other, b, "other@agentkeys.localhost.test")
		if p := other.get(c.keys); strings.Contains(p.text, name) {
			t.Error("somebody else sees the key")
		}
		if other.send(c.keys+"/delete", "id", "key-1"); other.page.status != 404 || s.KeyLabel(secret) == "" {
			t.Errorf("somebody else's deletion is answered with %d", other.page.status)
		}

		v.get(c.keys)
		v.send(c.keys+"/delete", "id", "key-1")
		v.want(200, "no keys yet")
		if s.KeyLabel(secret) != "" || s.Keys()[0].Live {
			t.Error("a deleted key is live")
		}
		if n := len(s.Accounts()); n != 2 || !s.Accounts()[0].Confirmed || s.Accounts()[0].Logins != 1 {
			t.Errorf("accounts: %+v", s.Accounts())
		}
	})
}

func TestCodes(t *testing.T) {
	each(t, func(t *testing.T, c console) {
		s, b, now := start(t, Options{Service: c.service})
		v := visit(t, s)
		c.apply(v, someone)
		link, code := b.last(t)
		bad := "000000"
		if code == bad {
			bad = "000001"
		}
		if p := c.byCode(v, bad); !strings.Contains(p.text, "Incorrect code") {
			t.Fatalf("a wrong code is answered with %d %.300s", p.status, p.text)
		}
		// A code is bound to the browser that asked for it.
		thief := visit(t, s)
		c.apply(thief, "thief@agentkeys.localhost.test")
		c.byCode(thief, code)
		if p := thief.get(c.keys); p.url.String() == c.keys {
			t.Fatal("a code of somebody else's signs in")
		}
		c.byCode(v, code)
		if p := v.get(c.keys); p.url.String() != c.keys {
			t.Fatalf("the right code does not sign in: at %s", p.url)
		}
		// Once: the link of the same mail is spent too.
		late := visit(t, s)
		c.byLink(late, link)
		if p := late.get(c.keys); p.url.String() == c.keys {
			t.Error("a mail signs in twice")
		}

		// Expired.
		old := visit(t, s)
		c.apply(old, "old@agentkeys.localhost.test")
		link, code = b.last(t)
		now.move(11 * time.Minute)
		c.byLink(old, link)
		c.byCode(old, code)
		if p := old.get(c.keys); p.url.String() == c.keys {
			t.Error("an old mail signs in")
		}

		// Replaced by a newer one.
		twice := visit(t, s)
		c.apply(twice, "twice@agentkeys.localhost.test")
		link, _ = b.last(t)
		c.apply(twice, "twice@agentkeys.localhost.test")
		c.byLink(twice, link)
		if p := twice.get(c.keys); p.url.String() == c.keys {
			t.Error("a mail counts after the next one")
		}

		// Guessed.
		guess := visit(t, s)
		c.apply(guess, "guess@agentkeys.localhost.test")
		_, code = b.last(t)
		if bad = "111111"; code == bad {
			bad = "111112"
		}
		for range maxTries {
			c.byCode(guess, bad)
		}
		if p := c.byCode(guess, code); !strings.Contains(p.text, "Too many failed attempts") {
			t.Errorf("after %d wrong codes the right one is answered with %d %.300s", maxTries, p.status, p.text)
		}
	})
}

func TestComesInAgain(t *testing.T) {
	t.Parallel()
	s, b, _ := start(t, Options{Service: "openrouter"})
	c := consoles[0]
	v := visit(t, s)
	v.ask("/v1/client/sign_ins", "identifier", someone)
	v.want(422, "Couldn't find your account.")
	c.apply(v, someone)
	// Without the mail there is no account, and signing up again is no fault.
	v.ask("/v1/client/sign_ins", "identifier", someone)
	v.want(422, "Couldn't find your account.")
	c.signUp(t, v, b, someone)
	if a := s.Accounts(); len(a) != 1 || a[0].Asked != 2 {
		t.Fatalf("accounts: %+v", a)
	}
	again := visit(t, s)
	c.apply(again, someone)
	again.want(422, "is taken")
	again.ask("/v1/client/sign_ins", "identifier", someone)
	again.want(200, "needs_first_factor")
	again.ask("/v1/client/sign_ins/attempt_first_factor", "identifier", someone, "password", secretWord+"x")
	again.want(422, "Password is incorrect")
	again.ask("/v1/client/sign_ins/attempt_first_factor", "identifier", someone, "password", secretWord)
	again.want(200, "complete")
	if p := again.get(c.keys); p.url.String() != c.keys {
		t.Errorf("the password does not sign in: at %s", p.url)
	}
	if a := s.Accounts()[0]; a.Logins != 2 {
		t.Errorf("%d logins, want 2", a.Logins)
	}
}

func TestFormToken(t *testing.T) {
	each(t, func(t *testing.T, c console) {
		s, b, _ := start(t, Options{Service: c.service})
		v := visit(t, s)
		c.signUp(t, v, b, someone)
		p := v.do("POST", c.keys, url.Values{"name": {"forged"}}.Encode())
		if p.status != http.StatusForbidden || len(s.Keys()) != 0 {
			t.Errorf("a form without its token is answered with %d; %d keys", p.status, len(s.Keys()))
		}
		other := visit(t, s)
		other.get(c.start)
		v.page = other.page
		if v.send(c.keys, "name", "forged", "csrf", "x"); v.page.status != http.StatusForbidden {
			t.Errorf("a form with another session's token is answered with %d", v.page.status)
		}
	})
}

func TestRate(t *testing.T) {
	each(t, func(t *testing.T, c console) {
		s, b, now := start(t, Options{Service: c.service, Rate: 3})
		v := visit(t, s)
		for range 3 {
			c.apply(v, someone)
		}
		c.apply(v, someone)
		v.want(http.StatusTooManyRequests, "Too many requests")
		if b.count() != 3 {
			t.Errorf("%d letters, want 3", b.count())
		}
		now.move(time.Minute)
		if c.apply(v, someone); v.page.status != 200 {
			t.Errorf("a minute later it is still %d", v.page.status)
		}
	})
}

var frameShown = regexp.MustCompile(`https://` + regexp.QuoteMeta(checkHost) + `(/[\w./-]+)`)

func TestBotCheck(t *testing.T) {
	each(t, func(t *testing.T, c console) {
		s, b, _ := start(t, Options{Service: c.service, Bot: true})
		v := visit(t, s)
		if p := c.apply(v, someone); p.status < 400 || b.count() != 0 {
			t.Fatalf("without the bot check: %d, %d letters", p.status, b.count())
		}
		if c.service == "openrouter" {
			v.do("GET", "https://"+clerkHost+"/v1/client", "")
		} else {
			v.get(c.start)
		}
		frame := frameShown.FindString(v.page.text)
		if frame == "" {
			t.Fatalf("no bot check is shown: %.1500s", v.page.text)
		}
		if s.Solve() != 0 {
			t.Fatal("a check is solved that nobody has seen")
		}
		page := v.page
		v.get(frame)
		v.want(200, "Verify you are human")
		v.do("POST", strings.Replace(frame, "/f/", "/c/", 1), "")
		state := strings.Replace(frame, "/f/", "/s/", 1)
		if v.get(state); !strings.Contains(v.page.text, `"token":""`) || s.Robots() != 1 {
			t.Fatalf("a click by a program solves the check: %s", v.page.text)
		}
		if s.Solve() != 1 {
			t.Fatal("the check that is shown cannot be solved")
		}
		token := regexp.MustCompile(`"token":"([\w-]+)"`).FindStringSubmatch(v.get(state).text)[1]
		send := func() {
			if c.service == "openrouter" {
				v.ask("/v1/client/sign_ups", "emailAddress", someone, "password", secretWord, "legalAccepted", "true", checkField, token)
				return
			}
			v.page = page
			v.send(c.start, "email", someone, checkField, token)
		}
		if send(); v.page.status != 200 || b.count() != 1 {
			t.Errorf("with the check solved: %d, %d letters", v.page.status, b.count())
		}
		if send(); v.page.status == 200 || b.count() != 1 {
			t.Errorf("a solved check counts twice: %d, %d letters", v.page.status, b.count())
		}
	})
}

func TestPhone(t *testing.T) {
	t.Parallel()
	s, b, _ := start(t, Options{Service: "anthropic", Phone: true})
	c, v := consoles[1], visit(t, s)
	c.apply(v, someone)
	link, _ := b.last(t)
	c.byLink(v, link)
	v.want(200, "Verify your phone number")
	v.send("https://platform.claude.com/onboarding/phone", "phone", "+12015550123")
	v.want(200, "could not send")
	if v.get(c.keys); v.page.url.String() == c.keys {
		t.Fatal("there are keys without a phone number")
	}
	if s.AnswerPhone() != 1 {
		t.Fatal("nobody waits for a phone number")
	}
	if v.get(c.keys); v.page.url.String() != c.keys {
		t.Fatalf("with a phone number the keys are at %s", v.page.url)
	}
}

func TestCookies(t *testing.T) {
	each(t, func(t *testing.T, c console) {
		s, b, _ := start(t, Options{Service: c.service})
		v := visit(t, s)
		if c.service == "openrouter" {
			v.do("GET", "https://"+clerkHost+"/v1/client", "")
		} else {
			v.get(c.start)
		}
		set := v.page.header.Get("Set-Cookie")
		for _, want := range []string{"Secure", "HttpOnly", "SameSite=Lax"} {
			if !strings.Contains(set, want) {
				t.Errorf("the cookie is not %s: %s", want, strings.SplitN(set, ";", 2)[1])
			}
		}
		// Who planted a cookie is not signed in by its victim.
		at, _ := url.Parse(c.start)
		planted := v.http.Jar.Cookies(at)
		c.signUp(t, v, b, someone)
		if after := v.http.Jar.Cookies(at); after[0].Value == planted[0].Value {
			t.Error("signing in leaves the cookie as it was")
		}
		thief := visit(t, s)
		thief.http.Jar.SetCookies(at, planted)
		if p := thief.get(c.keys); p.url.String() == c.keys {
			t.Error("a cookie from before signs in")
		}
	})
}

func TestHold(t *testing.T) {
	each(t, func(t *testing.T, c console) {
		s, b, _ := start(t, Options{Service: c.service})
		v := visit(t, s)
		c.signUp(t, v, b, someone)
		at, _ := url.Parse(c.keys)
		for n, done := range []bool{false, true} {
			h := s.Hold("POST "+at.Path, done)
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				c.makeKey(t, v, "held")
			}()
			<-h.Arrived()
			want := n
			if done {
				want++
			}
			if len(s.Keys()) != want {
				t.Errorf("done %v: %d keys while it is held, want %d", done, len(s.Keys()), want)
			}
			select {
			case <-ended:
				t.Error("a held request was answered")
			default:
			}
			h.Release()
			<-ended
		}
	})
}

func TestSites(t *testing.T) {
	t.Parallel()
	for _, bad := range []Options{{}, {Service: "nobody"}, {Service: "groq", Variant: "nothing-like-it"}} {
		if s, err := Start(bad); err == nil {
			_ = s.Close()
			t.Errorf("%+v starts", bad)
		}
	}
	s, _, _ := start(t, Options{Service: "openrouter"})
	if got := s.Hosts(); !slices.Equal(got, []string{checkHost, clerkHost, "openrouter.ai"}) {
		t.Errorf("hosts: %q", got)
	}
	v := visit(t, s)
	v.get("https://openrouter.ai/nothing?secret=1")
	v.want(404, "Page not found")
	if at := s.Visits(); len(at) != 1 || at[0] != (Visit{"openrouter.ai", "GET", "/nothing"}) {
		t.Errorf("visits: %+v", at)
	}
	// Only its own script may ask the other host.
	if p := v.do("GET", "https://"+clerkHost+"/v1/client", "", "Origin", "https://evil.test"); p.header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("any page may ask who is signed in")
	}
}

func TestGroqAPI(t *testing.T) {
	t.Parallel()
	s, b, _ := start(t, Options{Service: "groq"})
	c, v := consoles[2], visit(t, s)
	c.signUp(t, v, b, someone)
	secret := c.makeKey(t, v, "api")
	for _, base := range []string{"https://api.groq.com", s.BaseURL()} {
		v.do("GET", base+"/openai/v1/models", "", "Authorization", "Bearer "+secret)
		v.want(200, "llama")
		v.do("GET", base+"/openai/v1/models", "", "Authorization", "Bearer gsk_wrong")
		v.want(401, "invalid_api_key")
		v.do("POST", base+"/openai/v1/chat/completions", `{"model":"m","messages":[{"role":"user","content":"hi"}]}`,
			"Authorization", "Bearer "+secret, "Content-Type", "application/json")
		v.want(200, "chat.completion")
	}
	s.Kill("key-1")
	v.get("https://api.groq.com/openai/v1/models")
	v.want(401, "invalid_api_key")
	v.do("GET", "https://api.groq.com/openai/v1/models", "", "Authorization", "Bearer "+secret)
	v.want(401, "invalid_api_key")
}
