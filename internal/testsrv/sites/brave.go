package sites

import (
	"net/http"
)

// Brave's mails come from a domain that nobody has written down: this one is
// made up, and so is the path of the link.
const braveSender = "mail.search.brave.test"

const (
	braveHost = "api-dashboard.search.brave.com"
	braveAPI  = "api.search.brave.com"
)

// brave plays the dashboard of Brave's Search API: an address and a password,
// a link by mail, a plan with a card, which a person gives, then keys.
func brave() *plan {
	return &plan{
		hosts: []string{braveHost}, cookie: "brave_session", signIn: "/login",
		senders: senderDomains(braveSender),
		looks: looks{Name: "Brave Search API", Accent: "#fb542b", Ink: "#fff",
			Nav: []link{{"Plans", "/app/plans"}, {"API Keys", "/app/keys"}, {"Usage", "/app/usage"}}},
		newKey:  func() string { return "BSA" + random(28, alnum) },
		api:     braveAPI,
		apiBase: "/res/v1",
		routes: []route{
			{on: "GET /{$}", do: func(*call) answer { return answer{to: "/login"} }},
			{on: "GET /register", do: func(*call) answer { return braveForm("register", "") }},
			{on: "POST /register", do: braveRegister},
			{on: "GET /verify", do: braveVerify},
			{on: "GET /login", do: func(c *call) answer {
				if c.account() != nil {
					return answer{to: "/app/plans"}
				}
				return braveForm("login", "")
			}},
			{on: "POST /login", do: braveLogin},
			{on: "POST /logout", do: func(c *call) answer { c.leave(); return answer{to: "/login"} }},
			{on: "GET /app/plans", signedIn: true, do: bravePlans},
			{on: "GET /app/plans/{plan}", signedIn: true, do: braveCard},
			{on: "POST /app/plans/{plan}", signedIn: true, do: braveCharge},
			{on: "GET /app/plans/state", signedIn: true, do: func(c *call) answer {
				return answer{json: map[string]any{"done": c.did(DeedCard)}}
			}},
			{on: "GET /app/usage", signedIn: true, do: func(*call) answer { return notice(0, "Usage", "No searches yet.") }},
			{on: "GET /app/keys", signedIn: true, do: func(c *call) answer { return braveKeys(c, "") }},
			{on: "POST /app/keys", signedIn: true, do: braveAdd},
			{on: "POST /app/keys/{id}/delete", signedIn: true, do: func(c *call) answer {
				c.s.remove(c.account().Address, c.PathValue("id"))
				return answer{to: "/app/keys"}
			}},
			{host: braveAPI, on: "GET /res/v1/web/search", open: true, do: braveSearch},
			{host: braveAPI, on: "GET /res/v1/suggest/search", open: true, do: braveSearch},
		},
	}
}

var braveFormBody = body(`<form class="card" method="post" action="/{{.At}}"><h1>{{if eq .At "login"}}Log in{{else}}Create your account{{end}}</h1>
<p class="sub">Brave Search API dashboard</p>
<label for="email">Email</label><input id="email" name="email" type="email" autocomplete="username" required>
<label for="password">Password</label><input id="password" name="password" type="password" autocomplete="{{if eq .At "login"}}current-password{{else}}new-password{{end}}" required>
{{if eq .At "register"}}<label class="box"><input type="checkbox" name="terms"> I agree to the Terms of Service</label>{{end}}
{{with .Error}}<p role="alert">{{.}}</p>{{end}}{{.Check}}<input type="hidden" name="csrf" value="{{.CSRF}}">
<button class="main">{{if eq .At "login"}}Log in{{else}}Register{{end}}</button>
<p class="foot">{{if eq .At "login"}}No account yet? <a href="/register">Sign up</a>{{else}}Already have an account? <a href="/login">Log in</a>{{end}}</p></form>`)

func braveForm(at, problem string) answer {
	status := 0
	if problem != "" {
		status = http.StatusUnprocessableEntity
	}
	return answer{status: status, page: &page{title: "Account", body: braveFormBody, data: map[string]any{"At": at, "Error": problem}}}
}

// minPassword is the shortest password that the played sign-up takes.
const minPassword = 8

func braveRegister(c *call) answer {
	address, password := c.field("email"), c.PostFormValue("password")
	switch {
	case !c.human():
		return braveForm("register", "Please complete the bot check.")
	case !plausible(address):
		return braveForm("register", "Enter a valid email address.")
	case len(password) < minPassword:
		return braveForm("register", "The password is too short.")
	case !c.ticked("terms"):
		return braveForm("register", "You have to agree to the terms.")
	}
	if a := c.s.find(address); a != nil && a.Confirmed {
		return braveForm("register", "An account with this email already exists.")
	}
	c.s.join(address, password)
	token, _ := c.issue(address)
	to := c.s.url("/verify?token=" + token)
	if err := c.s.post(Letter{
		From: "Brave Search API <no-reply@" + braveSender + ">", To: address, Subject: "Confirm your email address",
		Text: "Welcome to the Brave Search API.\n\nConfirm your email address:\n\n" + to + "\n\nIf you did not ask for this, ignore this mail.\n",
		HTML: `<p>Welcome to the Brave Search API.</p><p><a href="` + to + `">Confirm your email address</a></p><p>If you did not ask for this, ignore this mail.</p>`,
	}); err != nil {
		return notice(http.StatusServiceUnavailable, "Mail", "The mail could not be sent. Please try again later.")
	}
	return notice(0, "Check your inbox", "We have sent a link to your address. Open it to confirm your account.")
}

// braveVerify signs in only the browser that asked for the mail.
func braveVerify(c *call) answer {
	address, v := c.s.byLink(c.URL.Query().Get("token"))
	if v != good {
		return notice(http.StatusGone, "Link expired", v.words())
	}
	a := c.s.find(address)
	c.s.mu.Lock()
	a.Confirmed = true
	same := c.session.pending == address
	c.s.mu.Unlock()
	if !same {
		return answer{to: "/login"}
	}
	c.enterAs(a)
	return answer{to: "/app/plans"}
}

func braveLogin(c *call) answer {
	a := c.s.find(c.field("email"))
	switch {
	case !c.human():
		return braveForm("login", "Please complete the bot check.")
	case a == nil || !a.knows(c.PostFormValue("password")):
		return braveForm("login", "Invalid email or password.")
	case !a.Confirmed:
		return braveForm("login", "Confirm your email address first.")
	}
	c.enterAs(a)
	return answer{to: "/app/plans"}
}

// braveSearch answers one result. What a wrong token gets is assumed.
func braveSearch(c *call) answer {
	if c.s.KeyLabel(c.Header.Get("X-Subscription-Token")) == "" {
		return answer{status: http.StatusUnprocessableEntity, json: map[string]any{
			"type":  "ErrorResponse",
			"error": map[string]any{"status": http.StatusUnprocessableEntity, "code": "SUBSCRIPTION_TOKEN_INVALID", "detail": "The provided subscription token is invalid."},
		}}
	}
	h := c.w.Header()
	h.Set("X-Ratelimit-Limit", "1, 2000")
	h.Set("X-Ratelimit-Remaining", "1, 1999")
	q := c.URL.Query().Get("q")
	return answer{json: map[string]any{
		"type": "search", "query": map[string]any{"original": q},
		"web": map[string]any{"type": "search", "results": []map[string]any{{"title": "A result", "url": "https://example.com/", "description": "About " + q}}},
	}}
}
