package sites

import (
	"net/http"
	"net/url"
	"strings"
)

const (
	studioHost = "aistudio.google.com"
	geminiAPI  = "generativelanguage.googleapis.com"
)

// gemini plays Google AI Studio: a sign-in at Google, terms that a person
// accepts, then keys; and the Gemini API.
func gemini() *plan {
	return &plan{
		hosts: []string{studioHost, googleHost}, cookie: "SID", signIn: "/signin",
		looks: looks{Name: "Google AI Studio", Accent: "#1a73e8", Ink: "#fff",
			Nav: []link{{"API keys", "/apikey"}}},
		newKey: func() string { return "AQ." + random(40, urlSafe) },
		api:    geminiAPI,
		routes: append([]route{
			{on: "GET /{$}", do: studioHome},
			{on: "GET /signin", do: func(c *call) answer {
				return answer{to: "https://" + googleHost + "/v3/signin/identifier?" + url.Values{"continue": {c.s.url("/apikey")}}.Encode()}
			}},
			{on: "GET /signed-in", do: studioEnter},
			{on: "GET /apikey", signedIn: true, do: func(c *call) answer { return studioKeys(c, "") }},
			{on: "GET /terms/state", signedIn: true, do: func(c *call) answer {
				return answer{json: map[string]any{"done": c.did(DeedTerms)}}
			}},
			{on: "POST /terms", signedIn: true, do: func(c *call) answer {
				if c.ticked("agree") {
					c.does(DeedTerms)
				}
				return answer{to: "/apikey"}
			}},
			{on: "POST /apikey", signedIn: true, do: studioCreate},
			{on: "POST /apikey/{id}/delete", signedIn: true, do: func(c *call) answer {
				c.s.remove(c.account().Address, c.PathValue("id"))
				return answer{to: "/apikey"}
			}},
			{host: geminiAPI, on: "GET /v1/models", open: true, do: geminiModels},
			{host: geminiAPI, on: "GET /v1beta/models", open: true, do: geminiModels},
			{host: geminiAPI, on: "POST /v1beta/models/{call}", open: true, do: geminiGenerate},
			{host: geminiAPI, on: "POST /v1/models/{call}", open: true, do: geminiGenerate},
		}, googleRoutes(studioHost)...),
	}
}

var studioHomeBody = body(`<h1>Google AI Studio</h1><p class="sub">The fastest way to start building with Gemini.</p><p><a class="button" href="/signin">Sign in</a></p>`)

func studioHome(c *call) answer {
	if c.account() != nil {
		return answer{to: "/apikey"}
	}
	return answer{page: &page{title: "Welcome", wide: true, body: studioHomeBody}}
}

// studioEnter takes the token of a sign-in at Google.
func studioEnter(c *call) answer {
	address, v := c.s.byLink(c.URL.Query().Get("token"))
	if v != good {
		return notice(http.StatusGone, "Sign in again", v.words())
	}
	c.enterAs(c.s.join(address, ""))
	to := c.URL.Query().Get("to")
	if !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") {
		to = "/apikey"
	}
	return answer{to: to}
}

// Until the terms are accepted there is nothing but them.
var studioTermsBody = body(`<h1>API keys</h1><dialog id="terms" aria-labelledby="terms-title"><form method="post" action="/terms"><h2 id="terms-title">Terms of service</h2>
<p>By using Google AI Studio and the Gemini API you agree to the terms of service. They are for adults in listed regions.</p>
<label class="box"><input type="checkbox" name="agree"> I agree to the terms of service</label>
<input type="hidden" name="csrf" value="{{.CSRF}}"><div class="row"><button class="main">Continue</button></div></form></dialog>
<script>document.getElementById("terms").showModal();
const ask = async () => {
  const a = await (await fetch("/terms/state")).json();
  if (a.done) { location.href = "/apikey"; return; }
  setTimeout(ask, 150);
};
ask();</script>`)

var studioKeysBody = body(`<div class="bar"><h1>API keys</h1><button class="main" id="create" type="button">Create API key</button></div>
<table><tr><th>Name</th><th>Key</th><th></th></tr>{{range .Keys}}<tr><td>{{.Name}}</td><td><code>{{.Masked}}</code></td><td>
<form method="post" action="/apikey/{{.ID}}/delete"><input type="hidden" name="csrf" value="{{$.CSRF}}"><button class="plain" aria-label="Delete {{.Name}}">Delete</button></form></td></tr>
{{else}}<tr><td colspan="3">No API keys yet.</td></tr>{{end}}</table>
<dialog id="new" aria-label="Create a new key"><form method="post" action="/apikey"><h2>Create a new key</h2><label for="name">Name your key</label><input id="name" name="name" required maxlength="80">
<label for="project">Choose a project</label><select id="project" name="project"><option selected>Default Gemini Project</option></select>
<input type="hidden" name="csrf" value="{{.CSRF}}"><div class="row"><button type="button" id="cancel">Cancel</button><button class="main">Create key</button></div></form></dialog>
{{with .Secret}}<dialog id="made" aria-label="API key details"><h2>API key details</h2><label for="key">API key</label><input id="key" readonly value="{{.}}">
<div class="row"><button type="button" id="done">Close</button></div></dialog>{{end}}
<script>
const at = id => document.getElementById(id);
at("create").onclick = () => at("new").showModal();
at("cancel").onclick = () => at("new").close();
if (at("made")) { at("made").showModal(); at("done").onclick = () => { at("made").remove(); }; }
</script>`)

func studioKeys(c *call, secret string) answer {
	p := &page{title: "API keys", wide: true, body: studioTermsBody, data: map[string]any{}}
	if c.did(DeedTerms) {
		p.body = studioKeysBody
		p.data["Keys"], p.data["Secret"] = c.s.keysOf(c.account().Address), secret
	} else {
		c.asks(DeedTerms)
	}
	return answer{page: p}
}

func studioCreate(c *call) answer {
	if !c.did(DeedTerms) || c.field("name") == "" {
		return answer{to: "/apikey"}
	}
	secret, _ := c.s.make(c.account().Address, c.field("name"))
	return studioKeys(c, secret)
}

// geminiRefused answers a wrong key as the API does: with 400.
func geminiRefused(c *call) (answer, bool) {
	key := c.Header.Get("X-Goog-Api-Key")
	if key == "" {
		key = c.URL.Query().Get("key")
	}
	if c.s.KeyLabel(key) != "" {
		return answer{}, false
	}
	return answer{status: http.StatusBadRequest, json: map[string]any{"error": map[string]any{
		"code": http.StatusBadRequest, "message": "API key not valid. Please pass a valid API key.", "status": "INVALID_ARGUMENT",
		"details": []map[string]any{{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}},
	}}}, true
}

func geminiModels(c *call) answer {
	if no, ok := geminiRefused(c); ok {
		return no
	}
	return answer{json: map[string]any{"models": []map[string]any{{"name": "models/gemini-2.5-flash", "displayName": "Gemini 2.5 Flash"}}}}
}

func geminiGenerate(c *call) answer {
	if no, ok := geminiRefused(c); ok {
		return no
	}
	model, action, _ := strings.Cut(c.PathValue("call"), ":")
	if action != "generateContent" {
		return answer{status: http.StatusNotFound, json: map[string]any{"error": map[string]any{"code": http.StatusNotFound, "message": "Not found", "status": "NOT_FOUND"}}}
	}
	return answer{json: map[string]any{
		"modelVersion":  model,
		"candidates":    []map[string]any{{"content": map[string]any{"role": "model", "parts": []map[string]any{{"text": "Hello."}}}, "finishReason": "STOP"}},
		"usageMetadata": map[string]any{"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5},
	}}
}
