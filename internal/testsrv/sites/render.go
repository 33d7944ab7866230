package sites

import (
	"encoding/json"
	"html/template"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
)

// page is what the layout is put around. data is the body's, which also has
// CSRF, the form token, Check, the bot check where one is wanted, and Site, the
// looks.
type page struct {
	title string
	body  *markup
	data  map[string]any
	wide  bool // a page of the console, and not a card
}

// markup is a template that is parsed when it is first shown: the program that
// holds the demo starts often, and shows none.
type markup struct{ parsed func() *template.Template }

// Execute writes the template with data put in.
func (m *markup) Execute(w io.Writer, data any) error { return m.parsed().Execute(w, data) }

// body makes the markup of a page.
func body(text string) *markup {
	return &markup{sync.OnceValue(func() *template.Template { return template.Must(template.New("body").Parse(text)) })}
}

var noticeBody = body(`<h1>{{.Title}}</h1><p role="alert">{{.Text}}</p>`)

// notice is a page that only says something.
func notice(status int, title, text string) answer {
	return answer{status: status, page: &page{title: title, body: noticeBody, data: map[string]any{"Title": title, "Text": text}}}
}

// render is the one place where an answer is written.
func (s *Site) render(c *call, a answer) {
	h := c.w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "strict-origin-when-cross-origin")
	h.Set("X-Content-Type-Options", "nosniff")
	status := a.status
	// A page that a script asked for is told in its own words.
	if a.page != nil && a.page.body == noticeBody && strings.Contains(c.Header.Get("Accept"), "application/json") {
		a.json = map[string]any{"errors": []map[string]any{{"message": a.page.data["Text"]}}}
	}
	switch {
	case a.to != "":
		h.Set("Location", a.to)
		if status == 0 {
			status = http.StatusSeeOther
		}
		c.w.WriteHeader(status)
	case a.json != nil:
		h.Set("Content-Type", "application/json")
		text, err := json.Marshal(a.json)
		if err != nil {
			panic(err) // it is made of strings
		}
		write(c.w, status, append(text, '\n'))
	case a.page != nil:
		h.Set("Content-Type", "text/html; charset=utf-8")
		write(c.w, status, []byte(s.layout(c, a.page)))
	default:
		h.Set("Content-Type", "text/html; charset=utf-8")
		write(c.w, status, []byte(a.raw))
	}
}

func write(w http.ResponseWriter, status int, text []byte) {
	if status != 0 {
		w.WriteHeader(status)
	}
	_, _ = w.Write(text)
}

func (s *Site) layout(c *call, p *page) string {
	data := map[string]any{"Site": s.plan.looks, "Check": c.widget()}
	who := ""
	if c.session != nil {
		data["CSRF"] = c.session.csrf
		if a := c.account(); a != nil {
			who = a.Address
		}
	}
	maps.Copy(data, p.data)
	var inner, all strings.Builder
	if err := p.body.Execute(&inner, data); err != nil {
		panic(err)
	}
	err := layoutPage.Execute(&all, map[string]any{
		"Site": s.plan.looks, "Title": p.title, "Body": template.HTML(inner.String()), "Wide": p.wide, "Who": who, "CSRF": data["CSRF"],
		"Initial": strings.ToUpper(s.plan.looks.Name[:1]),
	})
	if err != nil {
		panic(err)
	}
	return all.String()
}

var layoutPage = body(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{.Title}} | {{.Site.Name}}</title><link rel="icon" href="data:,"><style>
:root{--accent:{{.Site.Accent}};--ink:{{.Site.Ink}};{{if .Site.Dark}}--bg:#0d0d0d;--card:#161616;--line:#2b2b2b;--text:#f2f2f2;--dim:#9a9a9a{{else}}--bg:#f7f7f8;--card:#fff;--line:#e2e2e6;--text:#18181b;--dim:#6b6b76{{end}}}
*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--text);font:15px/1.5 {{if .Site.Serif}}Georgia,serif{{else}}system-ui,sans-serif{{end}}}
header{display:flex;align-items:center;gap:22px;padding:14px 28px;border-bottom:1px solid var(--line);background:var(--card)}
header a{color:var(--dim);text-decoration:none}header .home{display:flex;gap:10px;align-items:center;color:var(--text);font-weight:650}
.mark{width:26px;height:26px;border-radius:7px;background:var(--accent);color:var(--ink);display:grid;place-items:center;font-size:14px;font-weight:700}
header .who{margin-left:auto;color:var(--dim);font-size:13px}
main{max-width:{{if .Wide}}920px{{else}}420px{{end}};margin:{{if .Wide}}36px{{else}}64px{{end}} auto;padding:0 20px}
.card{background:var(--card);border:1px solid var(--line);border-radius:14px;padding:34px 34px 28px;box-shadow:0 6px 26px #0000000d}
h1{font-size:{{if .Wide}}24px{{else}}20px{{end}};margin:0 0 4px;{{if not .Wide}}text-align:center{{end}}}p.sub{color:var(--dim);margin:0 0 20px;{{if not .Wide}}text-align:center{{end}}}
label{display:block;font-size:13px;font-weight:550;margin:14px 0 5px}label.box{display:flex;gap:9px;align-items:flex-start;font-weight:400;color:var(--dim)}
select,input:not([type=checkbox]):not([type=hidden]){width:100%;padding:9px 11px;border:1px solid var(--line);border-radius:8px;background:var(--bg);color:var(--text);font:inherit}
button,.button{font:inherit;font-weight:600;padding:9px 15px;border-radius:8px;border:1px solid var(--line);background:var(--card);color:var(--text);cursor:pointer}
button.main{background:var(--accent);border-color:var(--accent);color:var(--ink)}form.card button.main,.full{width:100%;margin-top:18px}
button:disabled{opacity:.45;cursor:default}button.plain{border:0;background:none;color:var(--dim);font-weight:500;padding:4px 8px}
.error,[role=alert]{color:#c22b2b;font-size:14px;margin:12px 0 0}.or{display:flex;align-items:center;gap:12px;color:var(--dim);font-size:13px;margin:18px 0 4px}.or:before,.or:after{content:"";flex:1;height:1px;background:var(--line)}
.foot{color:var(--dim);font-size:14px;text-align:center;margin:18px 0 0}a{color:var(--accent)}.check{margin:16px 0 0}.check iframe{border:0}
.bar{display:flex;align-items:center;justify-content:space-between;margin-bottom:20px}table{width:100%;border-collapse:collapse;background:var(--card);border:1px solid var(--line);border-radius:12px}
th,td{padding:12px 16px;text-align:left;border-bottom:1px solid var(--line);font-size:14px}th{color:var(--dim);font-weight:500}td.none{text-align:left!important;color:var(--dim)}td:last-child{text-align:right;white-space:nowrap}code{font:13px ui-monospace,monospace}
dialog{border:1px solid var(--line);border-radius:14px;background:var(--card);color:var(--text);padding:26px;width:470px;max-width:92vw}dialog::backdrop{background:#0007}
dialog h2{margin:0 0 6px;font-size:18px}dialog .row{display:flex;gap:10px;justify-content:flex-end;margin-top:22px}.secret{display:block;word-break:break-all;background:var(--bg);border:1px solid var(--line);border-radius:8px;padding:11px;margin-top:12px}
.digits{display:flex;gap:8px;justify-content:center;margin:18px 0}.digits input{text-align:center;font-size:20px!important;padding:9px 0!important;width:46px!important}
</style></head><body><header><a class="home" href="/"><span class="mark">{{.Initial}}</span>{{.Site.Name}}</a>{{if and .Who .Wide}}{{range .Site.Nav}}<a href="{{.To}}">{{.Text}}</a>{{end}}<span class="who">{{.Who}}</span>{{end}}</header>
<main>{{.Body}}</main></body></html>`)
