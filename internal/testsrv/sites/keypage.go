package sites

import (
	"html/template"
	"net/http"
)

// keyPage is a page of keys as consoles have it: a table with masked keys and
// a button that deletes each, and a dialog that asks for a name. The key is in
// the one answer to the form that makes it. Where words differ, so do fields.
type keyPage struct {
	at     string // path of the page; keys are made by POST there
	title  string // of the page
	sub    string
	create string        // text of the button that opens the dialog
	name   string        // label of the field in it
	holder string        // what stands in the field while it is empty
	submit string        // text of the button that makes the key
	once   string        // what is said beside the key
	closes string        // text of the button that puts the key away
	gone   string        // name of the button that deletes a key, before the key's name
	sureOf string        // text of the button that says so again
	more   template.HTML // further fields of the dialog
	// bar, if it is set, may answer in the place of the page.
	bar func(*call) (answer, bool)
}

// routes are those of the page.
func (k keyPage) routes() []route {
	return []route{
		{on: "GET " + k.at, signedIn: true, do: k.behind(func(c *call) answer { return k.list(c, nil) })},
		{on: "POST " + k.at, signedIn: true, do: k.behind(k.newKey)},
		{on: "POST " + k.at + "/delete", signedIn: true, do: func(c *call) answer {
			if !c.s.remove(c.account().Address, c.field("id")) {
				return notice(http.StatusNotFound, "Not found", "There is no such key.")
			}
			return answer{to: c.s.url(k.at)}
		}},
	}
}

func (k keyPage) behind(do func(*call) answer) func(*call) answer {
	return func(c *call) answer {
		if k.bar != nil {
			if a, ok := k.bar(c); ok {
				return a
			}
		}
		return do(c)
	}
}

func (k keyPage) newKey(c *call) answer {
	name := c.field("name")
	if name == "" || len(name) > 64 {
		return k.list(c, map[string]any{"Error": "Enter a name of at most 64 characters."})
	}
	secret, made := c.s.make(c.account().Address, name)
	return k.list(c, map[string]any{"Secret": secret, "Made": made.Name})
}

func (k keyPage) list(c *call, more map[string]any) answer {
	data := map[string]any{
		"At": k.at, "Title": k.title, "Sub": k.sub, "Create": k.create, "Name": k.name, "Holder": k.holder, "Submit": k.submit,
		"Once": k.once, "Closes": k.closes, "Gone": k.gone, "Sure": k.sureOf, "More": k.more, "Keys": c.s.keysOf(c.account().Address),
	}
	for name, v := range more {
		data[name] = v
	}
	return answer{page: &page{title: k.title, body: keyBody, data: data, wide: true}}
}

var keyBody = body(`<div class="bar"><div><h1>{{.Title}}</h1><p class="sub">{{.Sub}}</p></div>
<button class="main" type="button" data-open="create">{{.Create}}</button></div>
{{with .Error}}<p role="alert">{{.}}</p>{{end}}
<table><thead><tr><th>Name</th><th>Key</th><th></th></tr></thead><tbody>
{{range .Keys}}<tr><td>{{.Name}}</td><td><code>{{.Masked}}</code></td><td><button class="plain" type="button" data-open="delete" data-id="{{.ID}}" aria-label="{{$.Gone}} {{.Name}}"><svg width="16" height="16" viewBox="0 0 16 16" fill="none" stroke="currentColor" stroke-width="1.3" aria-hidden="true"><path d="M2.5 4h11M6 4V2.5h4V4m-6 0 .6 9.5h6.8L12 4M6.6 6.5v5m2.8-5v5"/></svg></button></td></tr>
{{else}}<tr><td class="none" colspan="3">You have no keys yet.</td></tr>{{end}}</tbody></table>
<dialog id="create" aria-labelledby="create-title"><form method="post" action="{{.At}}"><h2 id="create-title">{{.Create}}</h2>
<input type="hidden" name="csrf" value="{{.CSRF}}"><label for="key-name">{{.Name}}</label>
<input id="key-name" name="name" maxlength="64" placeholder="{{.Holder}}" autocomplete="off" required>{{.More}}
<div class="row"><button type="button" data-close>Cancel</button><button class="main" type="submit">{{.Submit}}</button></div></form></dialog>
<dialog id="delete" aria-labelledby="delete-title"><form method="post" action="{{.At}}/delete"><h2 id="delete-title">Are you sure?</h2>
<input type="hidden" name="csrf" value="{{.CSRF}}"><input type="hidden" name="id"><p>Whatever uses this key stops working.</p>
<div class="row"><button type="button" data-close>Cancel</button><button class="main" type="submit">{{.Sure}}</button></div></form></dialog>
{{with .Secret}}<dialog id="made" aria-labelledby="made-title"><h2 id="made-title">Your new key</h2><p>{{$.Once}}</p>
<code class="secret" data-key>{{.}}</code><div class="row"><button type="button" data-copy>Copy</button><button class="main" type="button" data-close>{{$.Closes}}</button></div></dialog>{{end}}
<script>
for (const b of document.querySelectorAll("[data-open]")) b.onclick = () => {
  const d = document.getElementById(b.dataset.open);
  if (b.dataset.id) d.querySelector("[name=id]").value = b.dataset.id;
  d.showModal();
};
for (const b of document.querySelectorAll("[data-close]")) b.onclick = () => b.closest("dialog").close();
const made = document.getElementById("made");
if (made) {
  made.showModal();
  made.querySelector("[data-copy]").onclick = () => navigator.clipboard.writeText(made.querySelector("[data-key]").textContent);
  made.addEventListener("close", () => made.remove());
}
</script>`)
