package sites

import (
	"fmt"
	"net/http"
	"net/url"
)

const clerkHost = "clerk.openrouter.ai"

// openRouter plays openrouter.ai with the sign-up of Clerk: forms that a script
// makes, ids and classes as Clerk's own code gives them, and a second host that
// the script asks. What that host's answers look like is made up. As with
// Clerk, nobody has an account before the address is confirmed: until then
// signing in says that there is none, and signing up may be done again.
func openRouter() *plan {
	keys := keyPage{
		at: "/settings/keys", title: "API Keys", sub: "Create an API key to use OpenRouter from anywhere.",
		create: "Create API Key", name: "Name", holder: "e.g. \"Chatbot Key\"", submit: "Create",
		more: `<label for="limit">Credit limit (optional)</label><input id="limit" name="limit" inputmode="decimal" placeholder="Leave blank for unlimited" autocomplete="off">`,
		once: "Please copy it now and write it down somewhere safe. You will not be able to see it again.", closes: "Done",
		gone: "Delete", sureOf: "Delete key",
	}
	clerk := func(on string, do func(*call) answer) route { return route{host: clerkHost, on: on, do: do} }
	routes := append([]route{
		{on: "GET /{$}", do: openRouterHome},
		{on: "GET /sign-up", do: clerkPage}, {on: "GET /sign-up/{rest...}", do: clerkPage},
		{on: "GET /sign-in", do: clerkPage}, {on: "GET /sign-in/{rest...}", do: clerkPage},
		clerk("GET /v1/client", clerkClient),
		clerk("POST /v1/client/sign_ups", clerkSignUp),
		clerk("POST /v1/client/sign_ups/attempt_verification", clerkCode),
		clerk("POST /v1/client/sign_ins", clerkSignIn),
		clerk("POST /v1/client/sign_ins/attempt_first_factor", clerkPassword),
		clerk("GET /v1/verify", clerkLink),
	}, keys.routes()...)
	routes = append(routes, consentRoutes()...)
	return &plan{
		hosts: []string{"openrouter.ai", clerkHost}, cookie: "__client", domain: "openrouter.ai", scripted: clerkHost, signIn: "/sign-in",
		senders: senderDomains("openrouter.ai"),
		looks:   looks{Name: "OpenRouter", Accent: "#6467f2", Ink: "#fff", Nav: []link{{"Models", "/"}, {"Chat", "/"}, {"Keys", "/settings/keys"}}},
		newKey:  func() string { return "sk-or-v1-" + random(64, lowerHex) },
		routes:  routes,
	}
}

var openRouterBody = body(`<h1>The Unified Interface For LLMs</h1><p class="sub">Better prices, better uptime, no subscriptions.</p>
{{if .In}}<a class="button" href="/settings/keys">API Keys</a>{{else}}<a class="button" href="/sign-up">Sign up</a> <a class="button" href="/sign-in">Sign in</a>{{end}}`)

func openRouterHome(c *call) answer {
	return answer{page: &page{title: "Home", body: openRouterBody, data: map[string]any{"In": c.account() != nil}, wide: true}}
}

// clerkFault is an error in the shape that the script shows.
func clerkFault(status int, code, param, message string) answer {
	return answer{status: status, json: map[string]any{"errors": []map[string]any{{"code": code, "message": message, "meta": map[string]any{"param_name": param}}}}}
}

// clerkClient is what the script asks first, and again while it waits for
// somebody to open a link.
func clerkClient(c *call) answer {
	state := map[string]any{"csrf": c.session.csrf, "signed_in": c.account() != nil, "pending": c.session.pending, "captcha": ""}
	if c.s.opts.Bot {
		state["captcha"] = c.s.frame()
	}
	return answer{json: state}
}

func clerkSignUp(c *call) answer {
	address, password := c.field("emailAddress"), c.PostFormValue("password")
	known := c.s.find(address)
	switch {
	case !plausible(address):
		return clerkFault(http.StatusUnprocessableEntity, "form_param_format_invalid", "emailAddress", "Enter a valid email address.")
	case known != nil && known.Confirmed:
		return clerkFault(http.StatusUnprocessableEntity, "form_identifier_exists", "emailAddress", "That email address is taken. Please try another.")
	case len(password) < 8:
		return clerkFault(http.StatusUnprocessableEntity, "form_password_length_too_short", "password", "Your password must contain 8 or more characters.")
	case !c.ticked("legalAccepted"):
		return clerkFault(http.StatusUnprocessableEntity, "form_param_missing", "legalAccepted", "You must accept the Terms of Service to continue.")
	case !c.human():
		return clerkFault(http.StatusBadRequest, "captcha_missing_token", "", "The CAPTCHA failed to load. Please complete the challenge to continue.")
	}
	c.s.join(address, password)
	token, code := c.issue(address)
	to := "https://" + clerkHost + "/v1/verify?token=" + url.QueryEscape(token)
	err := c.s.post(Letter{
		From: "OpenRouter <noreply@openrouter.ai>", To: address, Subject: code + " is your verification code",
		Text: fmt.Sprintf("Verification code\n\nEnter the following verification code when prompted:\n\n%s\n\nOr open this link to verify your address:\n\n%s\n\nTo protect your account, do not share this code. It expires in 10 minutes.\n", code, to),
		HTML: letterHTML("Verification code", "Enter the following verification code when prompted, or verify your address with the button.", "Verify email address", to, code+" is your verification code. It expires in 10 minutes."),
	})
	if err != nil {
		return clerkFault(http.StatusBadGateway, "internal", "", "We could not send the mail. Please try again.")
	}
	return answer{json: map[string]any{"status": "missing_requirements"}}
}

func clerkCode(c *call) answer {
	address, v := c.byCode(c.field("code"))
	if v != good {
		return clerkFault(http.StatusUnprocessableEntity, "form_code_incorrect", "code", v.words())
	}
	c.enterAs(c.s.find(address))
	return answer{json: map[string]any{"status": "complete"}}
}

func clerkLink(c *call) answer {
	address, v := c.s.byLink(c.URL.Query().Get("token"))
	if v != good {
		return notice(http.StatusBadRequest, "Verification failed", "This verification link is not valid, or has expired.")
	}
	c.enterAs(c.s.find(address))
	return answer{to: c.s.url("/")}
}

func clerkSignIn(c *call) answer {
	a := c.s.find(c.field("identifier"))
	switch {
	case a == nil || !a.Confirmed:
		return clerkFault(http.StatusUnprocessableEntity, "form_identifier_not_found", "identifier", "Couldn't find your account.")
	case !c.human():
		return clerkFault(http.StatusBadRequest, "captcha_missing_token", "", "The CAPTCHA failed to load. Please complete the challenge to continue.")
	}
	return answer{json: map[string]any{"status": "needs_first_factor"}}
}

func clerkPassword(c *call) answer {
	a := c.s.find(c.field("identifier"))
	if a == nil || !a.Confirmed || !a.knows(c.PostFormValue("password")) {
		return clerkFault(http.StatusUnprocessableEntity, "form_password_incorrect", "password", "Password is incorrect. Try again, or use another method.")
	}
	c.enterAs(a)
	return answer{json: map[string]any{"status": "complete"}}
}

// clerkPage is empty until its script has asked what to show.
func clerkPage(c *call) answer {
	if c.account() != nil {
		return answer{to: c.s.url("/settings/keys")}
	}
	return answer{page: &page{title: "Sign up", body: clerkBody, data: map[string]any{"Host": clerkHost, "CheckHost": checkHost, "CheckField": checkField}}}
}
