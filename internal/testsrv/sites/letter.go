package sites

import "strings"

var letterPage = body(`<!doctype html><html><head><meta charset="utf-8"><title>{{.Title}}</title></head>
<body style="margin:0;padding:32px;background:#f4f4f5;font-family:Helvetica,Arial,sans-serif;color:#18181b">
<table role="presentation" width="100%"><tr><td align="center"><table role="presentation" width="480" style="background:#ffffff;border-radius:10px;padding:32px"><tr><td>
<h1 style="font-size:20px;margin:0 0 12px">{{.Title}}</h1><p style="font-size:15px;line-height:22px">{{.Text}}</p>
{{with .Link}}<p style="margin:24px 0"><a href="{{.}}" style="background:#18181b;color:#ffffff;padding:12px 20px;border-radius:8px;text-decoration:none">{{$.Button}}</a></p>{{end}}
{{with .Code}}<p style="font-size:15px;line-height:22px">{{.}}</p>{{end}}
<p style="font-size:12px;color:#71717a">If you did not ask for this, you can ignore this mail.</p></td></tr></table></td></tr></table></body></html>
`)

// letterHTML is the HTML part of a letter: a title, a line, a button that leads
// to a link, and a line about a code. link and code may be empty.
func letterHTML(title, text, button, link, code string) string {
	var b strings.Builder
	if err := letterPage.Execute(&b, map[string]any{"Title": title, "Text": text, "Button": button, "Link": link, "Code": code}); err != nil {
		panic(err)
	}
	return b.String()
}
