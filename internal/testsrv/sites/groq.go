package sites

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// groq plays console.groq.com and the API that its keys are for. That one signs
// in at /authenticate by mail through Stytch was seen in test code; pages, mail
// and the names of fields are assumed throughout.
func groq() *plan {
	keys := keyPage{
		at: "/keys", title: "API Keys", sub: "Manage your project API keys. Keys are shown once, when they are made.",
		create: "Create API Key", name: "Display Name", holder: "Enter a display name", submit: "Submit",
		once:   "Your new API key has been created. Copy it now, as we will not display it again.",
		closes: "Done", gone: "Delete", sureOf: "Delete Key",
	}
	routes := append([]route{
		{on: "GET /{$}", signedIn: true, do: func(c *call) answer { return answer{to: c.s.url("/keys")} }},
		{on: "GET /authenticate", do: groqEnter},
		{on: "POST /authenticate", do: groqMail},
		{on: "GET /authenticate/check", do: func(c *call) answer { return groqCheck(c, "") }},
		{on: "POST /authenticate/check", do: groqCode},
		{host: "api.groq.com", on: "GET /openai/v1/models", open: true, do: groqAPI(func(*call) answer {
			return answer{json: map[string]any{"object": "list", "data": []any{
				map[string]any{"id": "llama-3.1-8b-instant", "object": "model", "owned_by": "Meta", "active": true},
			}}}
		})},
		{host: "api.groq.com", on: "POST /openai/v1/chat/completions", open: true, do: groqAPI(groqChat)},
	}, keys.routes()...)
	return &plan{
		hosts: []string{"console.groq.com"}, cookie: "stytch_session", signIn: "/authenticate",
		senders: senderDomains("stytch.com"),
		looks:   looks{Name: "GroqCloud", Accent: "#f43e01", Ink: "#fff", Nav: []link{{"Playground", "/keys"}, {"API Keys", "/keys"}, {"Docs", "/keys"}}},
		newKey:  func() string { return "gsk_" + random(52, alnum) },
		routes:  routes, api: "api.groq.com",
	}
}

var groqForm = body(`<form class="card" method="post" action="/authenticate"><h1>Create account or login</h1><p class="sub">Build with the Groq API</p>
<input type="hidden" name="csrf" value="{{.CSRF}}"><label for="email">Email</label>
<input id="email" name="email" type="email" autocomplete="email" placeholder="example@email.com" required>
{{with .Error}}<p role="alert">{{.}}</p>{{end}}{{.Check}}
<button class="main" type="submit">Continue with email</button>
<div class="or">or</div><button class="full" type="button">Continue with Google</button>
<p class="foot">By continuing you agree to the Services Agreement.</p></form>`)

var groqCodeForm = body(`<form class="card" method="post" action="/authenticate/check"><h1>Check your email</h1>
<p class="sub">A login email was sent to <b>{{.Address}}</b>. Click the link in it, or enter the code.</p>
<input type="hidden" name="csrf" value="{{.CSRF}}"><input type="hidden" name="code">
<div class="digits" role="group" aria-label="One-time code">{{range .Digits}}<input inputmode="numeric" maxlength="1" autocomplete="one-time-code" aria-label="Digit {{.}}" name="digit">{{end}}</div>
{{with .Error}}<p role="alert">{{.}}</p>{{end}}<button class="main" type="submit" disabled>Verify</button>
<p class="foot"><a href="/authenticate">Use another address</a></p></form><script>
const fields = [...document.querySelectorAll("[name=digit]")], form = document.querySelector("form.card");
const join = () => { const all = fields.map(f => f.value).join(""); form.code.value = all; form.querySelector("button.main").disabled = all.length < fields.length; };
fields.forEach((f, i) => f.addEventListener("input", () => { if (f.value && fields[i + 1]) fields[i + 1].focus(); join(); }));
form.addEventListener("paste", e => {
  const text = e.clipboardData.getData("text").replace(/\D/g, "").slice(0, fields.length);
  e.preventDefault(); [...text].forEach((d, i) => fields[i].value = d); join();
});
</script>`)

// groqEnter is the form, and where the link of the mail leads.
func groqEnter(c *call) answer {
	if token := c.URL.Query().Get("token"); token != "" {
		address, v := c.s.byLink(token)
		if v != good {
			return groqAgain(http.StatusBadRequest, v.words())
		}
		return groqIn(c, address)
	}
	if c.account() != nil {
		return answer{to: c.s.url("/keys")}
	}
	return groqAgain(0, "")
}

func groqAgain(status int, problem string) answer {
	return answer{status: status, page: &page{title: "Login", body: groqForm, data: map[string]any{"Error": problem}}}
}

func groqMail(c *call) answer {
	address := c.field("email")
	switch {
	case !plausible(address):
		return groqAgain(http.StatusUnprocessableEntity, "Enter a valid email address.")
	case !c.human():
		return groqAgain(http.StatusForbidden, "Please complete the bot check.")
	}
	c.s.join(address, "")
	token, code := c.issue(address)
	to := c.s.url("/authenticate?stytch_token_type=magic_links&token=" + url.QueryEscape(token))
	err := c.s.post(Letter{
		From: "Groq <login@stytch.com>", To: address, Subject: "Your login request to Groq",
		Text: fmt.Sprintf("Your login request to Groq\n\nYou asked to log in to Groq. Open this link to continue:\n\n%s\n\n%s is your one-time code. Link and code expire in 10 minutes.\n\nIf you did not ask for this, ignore this mail.\n", to, code),
		HTML: letterHTML("Your login request to Groq", "You asked to log in to Groq.", "Log in to Groq", to, code+" is your one-time code."),
	})
	if err != nil {
		return groqAgain(http.StatusBadGateway, "We could not send the mail. Please try again.")
	}
	return answer{to: c.s.url("/authenticate/check")}
}

func groqCheck(c *call, problem string) answer {
	if c.session.pending == "" {
		return answer{to: c.s.url("/authenticate")}
	}
	return answer{page: &page{title: "Check your email", body: groqCodeForm, data: map[string]any{
		"Address": c.session.pending, "Digits": []int{1, 2, 3, 4, 5, 6}, "Error": problem,
	}}}
}

func groqCode(c *call) answer {
	address, v := c.byCode(c.field("code"))
	if v != good {
		return groqCheck(c, v.words())
	}
	return groqIn(c, address)
}

func groqIn(c *call, address string) answer {
	c.enterAs(c.s.join(address, ""))
	return answer{to: c.s.url("/keys")}
}

// groqAPI demands a live key, as a bearer.
func groqAPI(do func(*call) answer) func(*call) answer {
	return func(c *call) answer {
		scheme, key, _ := strings.Cut(c.Header.Get("Authorization"), " ")
		if !strings.EqualFold(scheme, "Bearer") || c.s.KeyLabel(key) == "" {
			return answer{status: http.StatusUnauthorized, json: map[string]any{"error": map[string]any{
				"message": "Invalid API Key", "type": "invalid_request_error", "code": "invalid_api_key",
			}}}
		}
		return do(c)
	}
}

func groqChat(c *call) answer {
	text, _ := json.Marshal(c.json["messages"])
	in, reply := len(text)/4, fmt.Sprintf("I have read %d bytes.", len(text))
	return answer{json: map[string]any{
		"id": "chatcmpl-" + random(20, alnum), "object": "chat.completion", "created": time.Now().Unix(), "model": c.json["model"],
		"choices": []any{map[string]any{"index": 0, "finish_reason": "stop", "message": map[string]any{"role": "assistant", "content": reply}}},
		"usage":   map[string]any{"prompt_tokens": in, "completion_tokens": len(reply) / 4, "total_tokens": in + len(reply)/4},
	}}
}
