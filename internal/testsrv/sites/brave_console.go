package sites

import "net/http"

var bravePlansBody = body(`<h1>Plans</h1>{{if .Active}}<p class="sub">Current plan: Search</p><p>Your plan is active. <a href="/app/keys">Make a key</a></p>
{{else}}<p class="sub">Choose a plan to get API keys. All plans need a card.</p>
<table><tr><th>Plan</th><th>Price</th><th></th></tr>
<tr><td>Search</td><td>$5 per 1,000 requests</td><td><a class="button" href="/app/plans/search">Subscribe to Search</a></td></tr>
<tr><td>Answers</td><td>$4 per 1,000 requests</td><td><a class="button" href="/app/plans/answers">Subscribe to Answers</a></td></tr></table>
<script>const ask = async () => {
  const a = await (await fetch("/app/plans/state")).json();
  if (a.done) { location.reload(); return; }
  setTimeout(ask, 150);
};
ask();</script>{{end}}`)

func bravePlans(c *call) answer {
	// A person may go straight to it: what is asked of them is shown from here on.
	if !c.did(DeedCard) {
		c.asks(DeedCard)
	}
	return answer{page: &page{title: "Plans", wide: true, body: bravePlansBody, data: map[string]any{"Active": c.did(DeedCard)}}}
}

var braveCardBody = body(`<form class="card" method="post" action="/app/plans/{{.Plan}}"><h1>Payment method</h1><p class="sub">Your card is needed to activate the plan.</p>
<label for="number">Card number</label><input id="number" name="cardnumber" autocomplete="cc-number" inputmode="numeric">
<label for="expiry">Expiry</label><input id="expiry" name="cc-exp" autocomplete="cc-exp" placeholder="MM / YY">
<label for="cvc">CVC</label><input id="cvc" name="cvc" autocomplete="cc-csc">
{{with .Error}}<p role="alert">{{.}}</p>{{end}}<input type="hidden" name="csrf" value="{{.CSRF}}"><button class="main">Activate plan</button></form>
<script>const ask = async () => {
  const a = await (await fetch("/app/plans/state")).json();
  if (a.done) { location.href = "/app/plans"; return; }
  setTimeout(ask, 150);
};
ask();</script>`)

func braveCard(c *call) answer {
	c.asks(DeedCard)
	return answer{page: &page{title: "Payment", body: braveCardBody, data: map[string]any{"Plan": c.PathValue("plan")}}}
}

// braveCharge takes no card that comes in a form: no program has one to give.
// A person's is Site.Act.
func braveCharge(c *call) answer {
	if c.did(DeedCard) {
		return answer{to: "/app/plans"}
	}
	c.s.robot()
	return answer{status: http.StatusPaymentRequired, page: &page{title: "Payment", body: braveCardBody,
		data: map[string]any{"Plan": c.PathValue("plan"), "Error": "Your card was declined."}}}
}

var braveKeysBody = body(`<div class="bar"><h1>API Keys</h1>{{if .Active}}<button class="main" id="add" type="button">Add API Key</button>{{end}}</div>
{{if not .Active}}<p>You need an active plan to make keys. <a href="/app/plans">Choose a plan</a></p>{{end}}
{{with .Error}}<p role="alert">{{.}}</p>{{end}}
<table><tr><th>Name</th><th>Key</th><th></th></tr>{{range .Keys}}<tr><td>{{.Name}}</td><td><code>{{.Masked}}</code></td><td>
<form method="post" action="/app/keys/{{.ID}}/delete"><input type="hidden" name="csrf" value="{{$.CSRF}}"><button class="plain" aria-label="Delete {{.Name}}">Delete</button></form></td></tr>
{{else}}<tr><td colspan="3">No keys yet.</td></tr>{{end}}</table>
<dialog id="new"><form method="post" action="/app/keys"><h2>New API key</h2><label for="name">Key name</label><input id="name" name="name" required maxlength="80">
<input type="hidden" name="csrf" value="{{.CSRF}}"><div class="row"><button type="button" id="cancel">Cancel</button><button class="main">Add</button></div></form></dialog>
{{with .Secret}}<dialog id="made"><h2>API key added</h2><p>Copy it now.</p><label for="key">API key</label><input id="key" readonly value="{{.}}">
<div class="row"><button type="button" id="done">Done</button></div></dialog>{{end}}
<script>
const at = id => document.getElementById(id);
if (at("add")) at("add").onclick = () => at("new").showModal();
at("cancel").onclick = () => at("new").close();
if (at("made")) { at("made").showModal(); at("done").onclick = () => { at("made").remove(); }; }
</script>`)

func braveKeys(c *call, secret string) answer {
	return answer{page: &page{title: "API Keys", wide: true, body: braveKeysBody, data: map[string]any{
		"Keys": c.s.keysOf(c.account().Address), "Secret": secret, "Active": c.did(DeedCard),
	}}}
}

func braveAdd(c *call) answer {
	name := c.field("name")
	switch {
	case !c.did(DeedCard):
		return notice(http.StatusPaymentRequired, "No plan", "You need an active plan to make keys.")
	case name == "":
		return answer{to: "/app/keys"}
	}
	secret, _ := c.s.make(c.account().Address, name)
	return braveKeys(c, secret)
}
