package sites

import (
	"net/http"
	"strings"
)

const jinaAPI = "api.jina.ai"

// jina plays jina.ai's dashboard, which shows a key to anybody, without an
// account; and two of its APIs.
func jina() *plan {
	return &plan{
		hosts: []string{"jina.ai", "r.jina.ai"}, cookie: "jina_session", signIn: "/",
		looks:   looks{Name: "Jina AI", Accent: "#009191", Ink: "#fff", Dark: true},
		newKey:  func() string { return "jina_" + random(60, alnum) },
		api:     jinaAPI,
		apiBase: "/v1",
		routes: []route{
			{on: "GET /{$}", do: func(*call) answer {
				return answer{page: &page{title: "Your search foundation", wide: true, body: jinaHomeBody}}
			}},
			{on: "GET /api-dashboard", do: func(*call) answer {
				return answer{page: &page{title: "API dashboard", wide: true, body: jinaBody}}
			}},
			{on: "POST /api-dashboard/key", do: jinaKey},
			{host: jinaAPI, on: "POST /v1/embeddings", open: true, do: jinaEmbed},
			{host: "r.jina.ai", on: "GET /{url...}", open: true, do: jinaRead},
		},
	}
}

var jinaHomeBody = body(`<h1>Your search foundation</h1><p><a class="button" href="/api-dashboard">API</a></p>`)

// The key comes when its tab is opened, as a key without an account would.
var jinaBody = body(`<div class="bar"><h1>Search foundation API</h1></div>
<div role="tablist"><button role="tab" aria-selected="true" id="tab-try">Embeddings</button> <button role="tab" aria-selected="false" id="tab-key">API KEY &amp; BILLING</button></div>
<section role="tabpanel" id="try"><p>Turn text into vectors.</p><pre><code>curl https://api.jina.ai/v1/embeddings -H "Authorization: Bearer &lt;your key&gt;"</code></pre></section>
<section role="tabpanel" id="billing" hidden><p role="alert" id="problem"></p><label for="key">This is your unique key. Store it securely!</label>
<input id="key" readonly><p>10,000,000 tokens left.</p>{{.Check}}</section>
<script>
const at = id => document.getElementById(id);
const show = key => { at("try").hidden = key; at("billing").hidden = !key;
  at("tab-try").setAttribute("aria-selected", !key); at("tab-key").setAttribute("aria-selected", key); };
at("tab-try").onclick = () => show(false);
let asking = false;
const ask = async () => {
  const check = document.querySelector("input[name='cf-turnstile-response']");
  if (check && !check.value) { setTimeout(ask, 150); return; }
  const a = await fetch("/api-dashboard/key", {method: "POST", headers: {"Content-Type": "application/json", "Accept": "application/json", "X-Csrf-Token": {{.CSRF}}},
    body: JSON.stringify({"cf-turnstile-response": check ? check.value : ""})});
  const body = await a.json();
  if (body.key) at("key").value = body.key; else at("problem").textContent = body.errors ? body.errors[0].message : "Something went wrong.";
};
at("tab-key").onclick = () => { show(true); if (!asking) { asking = true; ask(); } };
</script>`)

// jinaKey makes one key for a session, which sees it again.
func jinaKey(c *call) answer {
	if !c.human() {
		return answer{status: http.StatusForbidden, json: map[string]any{"errors": []map[string]any{{"message": "Please complete the bot check."}}}}
	}
	c.s.mu.Lock()
	secret := c.session.data["key"]
	c.s.mu.Unlock()
	if secret == "" {
		secret, _ = c.s.make("", "unnamed")
		c.s.mu.Lock()
		c.session.data["key"] = secret
		c.s.mu.Unlock()
	}
	return answer{json: map[string]any{"key": secret}}
}

func (c *call) bearer() string {
	token, ok := strings.CutPrefix(c.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return ""
	}
	return token
}

func jinaEmbed(c *call) answer {
	if c.s.KeyLabel(c.bearer()) == "" {
		return answer{status: http.StatusUnauthorized, json: map[string]any{"detail": "Unauthorized"}}
	}
	model, _ := c.json["model"].(string)
	return answer{json: map[string]any{
		"model": model, "object": "list", "usage": map[string]any{"total_tokens": 4},
		"data": []map[string]any{{"object": "embedding", "index": 0, "embedding": []float64{0.25, -0.5, 0.125}}},
	}}
}

// jinaRead plays the reader: it needs no key, and refuses a wrong one. It
// fetches nothing.
func jinaRead(c *call) answer {
	if t := c.bearer(); t != "" && c.s.KeyLabel(t) == "" {
		return answer{status: http.StatusUnauthorized, json: map[string]any{"code": http.StatusUnauthorized, "message": "Invalid API key"}}
	}
	return answer{json: map[string]any{"code": http.StatusOK, "data": map[string]any{"title": "A page", "url": c.PathValue("url"), "content": "Nothing was fetched."}}}
}
