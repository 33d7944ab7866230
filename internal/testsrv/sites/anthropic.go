package sites

import (
	"fmt"
	"net/http"
	"net/url"
)

// anthropic plays platform.claude.com: an address, then a mail whose link has
// its token behind the #, or a code, and on request a phone number. Names of
// buttons and the key page's steps are from the vendor's help, ids are made up.
func anthropic() *plan {
	keys := keyPage{
		at: "/settings/keys", title: "API keys", sub: "Use keys to authenticate requests. They are owned by workspaces.",
		create: "Create key", name: "Name", holder: "my-secret-key", submit: "Add",
		more: `<label for="workspace">Workspace</label><select id="workspace" name="workspace"><option>Default</option></select>
<label for="expiry">Expires</label><select id="expiry" name="expiry"><option>Never</option><option>30 days</option><option>90 days</option></select>`,
		once: "Keep a record of the key below. You will not be able to view it again.", closes: "Close",
		gone: "Delete", sureOf: "Delete key", bar: phoneBar,
	}
	routes := append([]route{
		{on: "GET /{$}", signedIn: true, do: func(c *call) answer { return answer{to: c.s.url("/dashboard")} }},
		{on: "GET /login", do: func(c *call) answer {
			if c.account() != nil {
				return answer{to: c.s.url("/dashboard")}
			}
			return claudeAgain(0, "")
		}},
		{on: "POST /login", do: claudeMail},
		{on: "GET /login/check", do: func(c *call) answer { return claudeCheck(c, "") }},
		{on: "POST /login/check", do: claudeCode},
		{on: "GET /magic-link", do: func(*call) answer { return answer{page: &page{title: "Signing in", body: claudeLinkPage}} }},
		{on: "POST /magic-link", do: claudeLink},
		{on: "GET /dashboard", signedIn: true, do: claudeDashboard},
		{on: "GET /onboarding/phone", signedIn: true, do: func(c *call) answer { return phonePage(c, "") }},
		{on: "POST /onboarding/phone", signedIn: true, do: func(c *call) answer {
			return phonePage(c, "We could not send a code to this number. Use a mobile number that receives text messages.")
		}},
		{on: "GET /onboarding/state", signedIn: true, do: func(c *call) answer {
			_, waits := phoneBar(c)
			return answer{json: map[string]any{"done": !waits}}
		}},
	}, keys.routes()...)
	return &plan{
		hosts: []string{"platform.claude.com"}, cookie: "sessionKey", signIn: "/login",
		senders: senderDomains("mail.anthropic.com"),
		looks:   looks{Name: "Claude Platform", Accent: "#d97757", Ink: "#fff", Serif: true, Nav: []link{{"Dashboard", "/dashboard"}, {"API keys", "/settings/keys"}}},
		newKey:  func() string { return "sk-ant-api03-" + random(93, urlSafe) + "AA" },
		routes:  routes,
	}
}

var claudeForm = body(`<form class="card" method="post" action="/login"><h1>Build on the Claude Platform</h1><p class="sub">Sign in or create a developer account</p>
<input type="hidden" name="csrf" value="{{.CSRF}}"><button class="full" type="button">Continue with Google</button><div class="or">or</div>
<label for="email">Email</label><input id="email" name="email" type="email" autocomplete="email" placeholder="Enter your email" required>
{{with .Error}}<p role="alert">{{.}}</p>{{end}}{{.Check}}
<button class="main" type="submit">Continue with email</button>
<p class="foot">By continuing, you agree to our Commercial Terms and Usage Policy.</p></form>`)

var claudeCheckForm = body(`<form class="card" method="post" action="/login/check"><h1>Check your email</h1>
<p class="sub">To continue, click the link sent to <b>{{.Address}}</b></p>
<input type="hidden" name="csrf" value="{{.CSRF}}">
<label for="code">Verification code</label><input id="code" name="code" inputmode="numeric" autocomplete="one-time-code" maxlength="6" placeholder="Enter verification code" required>
{{with .Error}}<p role="alert">{{.}}</p>{{end}}<button class="main" type="submit">Verify email address</button>
<p class="foot">Not seeing the email? <a href="/login">Try again</a></p></form>`)

// claudeLinkPage takes the token from behind the #, which no server sees, and
// sends it as a form.
var claudeLinkPage = body(`<form class="card" method="post" action="/magic-link"><h1>Signing you in</h1><p class="sub">One moment.</p>
<input type="hidden" name="csrf" value="{{.CSRF}}"><input type="hidden" name="token"></form>
<script>
const form = document.querySelector("form"), token = location.hash.slice(1).split(":")[0];
history.replaceState({}, "", location.pathname);
form.token.value = token;
form.submit();
</script>`)

func claudeAgain(status int, problem string) answer {
	return answer{status: status, page: &page{title: "Sign in", body: claudeForm, data: map[string]any{"Error": problem}}}
}

func claudeMail(c *call) answer {
	address := c.field("email")
	switch {
	case !plausible(address):
		return claudeAgain(http.StatusUnprocessableEntity, "Enter a valid email address.")
	case !c.human():
		return claudeAgain(http.StatusForbidden, "Please complete the bot check.")
	}
	c.s.join(address, "")
	token, code := c.issue(address)
	to := c.s.url("/magic-link") + "#" + token + ":" + url.QueryEscape(address)
	err := c.s.post(Letter{
		From: "Anthropic <no-reply@mail.anthropic.com>", To: address, Subject: "Sign in to Claude Platform",
		Text: fmt.Sprintf("Sign in to Claude Platform\n\nOpen this link to sign in:\n\n%s\n\nOr enter this verification code: %s\n\nThe link and the code expire in 10 minutes.\n", to, code),
		HTML: letterHTML("Let's get you signed in", "Sign in with the secure link below.", "Sign in to Claude Platform", to, "Or enter this verification code: "+code),
	})
	if err != nil {
		return claudeAgain(http.StatusBadGateway, "There was an error sending you a login link. Please try again.")
	}
	return answer{to: c.s.url("/login/check")}
}

func claudeCheck(c *call, problem string) answer {
	if c.session.pending == "" {
		return answer{to: c.s.url("/login")}
	}
	return answer{page: &page{title: "Check your email", body: claudeCheckForm, data: map[string]any{"Address": c.session.pending, "Error": problem}}}
}

func claudeCode(c *call) answer {
	address, v := c.byCode(c.field("code"))
	if v != good {
		return claudeCheck(c, v.words())
	}
	c.enterAs(c.s.join(address, ""))
	return answer{to: c.s.url("/dashboard")}
}

func claudeLink(c *call) answer {
	address, v := c.s.byLink(c.field("token"))
	if v != good {
		return claudeAgain(http.StatusBadRequest, v.words())
	}
	c.enterAs(c.s.join(address, ""))
	return answer{to: c.s.url("/dashboard")}
}

var claudeHome = body(`<h1>Welcome to the Claude Platform</h1><p class="sub">Make your first request in minutes.</p><a class="button" href="/settings/keys">Get API key</a>`)

func claudeDashboard(c *call) answer {
	if a, ok := phoneBar(c); ok {
		return a
	}
	return answer{page: &page{title: "Dashboard", body: claudeHome, wide: true}}
}

// phoneBar leads an account without a phone number to where it is asked for.
func phoneBar(c *call) (answer, bool) {
	a := c.account()
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	return answer{to: c.s.url("/onboarding/phone")}, c.s.opts.Phone && a != nil && !a.Phone
}

var phoneForm = body(`<form class="card" method="post" action="/onboarding/phone"><h1>Verify your phone number</h1>
<p class="sub">To protect our platform, a number that receives text messages is needed.</p><input type="hidden" name="csrf" value="{{.CSRF}}">
<label for="phone">Phone number</label><input id="phone" name="phone" type="tel" autocomplete="tel" placeholder="+1 201 555 0123" required>
{{with .Error}}<p role="alert">{{.}}</p>{{end}}<button class="main" type="submit">Send verification code</button></form><script>
const wait = async () => { (await (await fetch("/onboarding/state")).json()).done ? location.assign("/dashboard") : setTimeout(wait, 200); };
wait();
</script>`)

func phonePage(_ *call, problem string) answer {
	return answer{page: &page{title: "Verify your phone number", body: phoneForm, data: map[string]any{"Error": problem}}}
}

// AnswerPhone confirms a number for everybody who is asked for one, as a person
// with a phone would, and returns for how many. Nothing on the page does.
func (s *Site) AnswerPhone() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.accounts {
		if a.Confirmed && !a.Phone {
			a.Phone, n = true, n+1
		}
	}
	return n
}
