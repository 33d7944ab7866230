package sites

import (
	"net/url"
	"strings"
)

// Deed is what a site wants of a person.
type Deed string

// The deeds there are.
const (
	DeedCard   Deed = "card"   // give a card
	DeedGoogle Deed = "google" // sign in at Google
	DeedTerms  Deed = "terms"  // accept terms
)

// Act does what pages that are shown by now ask of a person, as a person would,
// and returns on how many it did.
func (s *Site) Act(d Deed) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ses := range s.sessions {
		if ses != nil && ses.data[string(d)] == "asked" {
			ses.data[string(d)] = "done"
			n++
		}
	}
	return n
}

// asks notes that a page asks for a deed.
func (c *call) asks(d Deed) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if c.session.data[string(d)] != "done" {
		c.session.data[string(d)] = "asked"
	}
}

// did reports whether the deed was done, in this session or in another of the
// same account.
func (c *call) did(d Deed) bool {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if c.session.data[string(d)] == "done" {
		return true
	}
	for _, ses := range c.s.sessions {
		if c.session.account != nil && ses != nil && ses.account == c.session.account && ses.data[string(d)] == "done" {
			return true
		}
	}
	return false
}

// does notes that the deed was done by a form.
func (c *call) does(d Deed) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.session.data[string(d)] = "done"
}

// robot counts a program that did what is a person's.
func (s *Site) robot() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.robots++
}

// googleHost is where one signs in with an account at Google.
const googleHost = "accounts.google.com"

// GoogleUser is who the played Google knows: whoever signs in by its form does
// so with this address, and any password.
const GoogleUser = "person@gmail.test"

// googleRoutes plays the sign-in for a host that takes who comes back.
func googleRoutes(back string) []route {
	return []route{
		{host: googleHost, on: "GET /v3/signin/identifier", do: func(c *call) answer {
			to, ok := googleContinue(c.URL.Query().Get("continue"), back)
			if !ok {
				return notice(400, "Bad request", "The continue parameter is not allowed.")
			}
			c.asks(DeedGoogle)
			return answer{page: &page{title: "Sign in", body: googleBody, data: map[string]any{"Continue": to, "Back": back}}}
		}},
		{host: googleHost, on: "GET /signin/state", do: func(c *call) answer { return googleState(c) }},
		// A password for Google is no program's to type: the form counts who does.
		{host: googleHost, on: "POST /v3/signin/challenge", do: func(c *call) answer {
			to, ok := googleContinue(c.field("continue"), back)
			if !ok || !strings.EqualFold(c.field("identifier"), GoogleUser) || c.PostFormValue("Passwd") == "" {
				return notice(400, "Couldn't sign you in", "Couldn't find your Google Account.")
			}
			c.does(DeedGoogle)
			return answer{to: googleHandOver(c, to)}
		}},
		{host: googleHost, on: "GET /signin/continue", do: func(c *call) answer {
			to, ok := googleContinue(c.URL.Query().Get("continue"), back)
			if !ok || !c.did(DeedGoogle) {
				return notice(400, "Couldn't sign you in", "Sign in first.")
			}
			return answer{to: googleHandOver(c, to)}
		}},
	}
}

func googleState(c *call) answer { return answer{json: map[string]any{"done": c.did(DeedGoogle)}} }

// googleContinue refuses to lead anywhere but to the host that it signs in for.
func googleContinue(to, back string) (string, bool) {
	u, err := url.Parse(to)
	if err != nil || u.Scheme != "https" || u.Host != back {
		return "", false
	}
	return to, true
}

// googleHandOver leads back with a token that says who signed in, once.
func googleHandOver(c *call, to string) string {
	u, _ := url.Parse(to)
	token, _ := c.issue(GoogleUser)
	back := url.URL{Scheme: "https", Host: u.Host, Path: "/signed-in", RawQuery: url.Values{"token": {token}, "to": {u.Path}}.Encode()}
	return back.String()
}

var googleBody = body(`<form class="card" method="post" action="/v3/signin/challenge"><h1>Sign in</h1><p class="sub">to continue to {{.Back}}</p>
<label for="identifier">Email or phone</label><input id="identifier" name="identifier" type="email" autocomplete="username">
<label for="passwd">Enter your password</label><input id="passwd" name="Passwd" type="password" autocomplete="current-password">
<input type="hidden" name="continue" value="{{.Continue}}"><input type="hidden" name="csrf" value="{{.CSRF}}"><button class="main">Next</button></form>
<script>const ask = async () => {
  const a = await (await fetch("/signin/state")).json();
  if (a.done) { location.href = "/signin/continue?continue=" + encodeURIComponent({{.Continue}}); return; }
  setTimeout(ask, 150);
};
ask();</script>`)
