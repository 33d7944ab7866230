package verifymail

import (
	"encoding/base64"
	"net/url"
	"strings"
	"testing"
)

func a(href, text string) string { return `<p><a href="` + href + `">` + text + `</a></p>` }

func TestLinks(t *testing.T) {
	second := strings.Replace(clerk, token, "another-fake-token-0123", 1)
	tracked := "https://go.openrouter.ai/c?u=" + url.QueryEscape(clerk) + "&id=7"
	coded := "https://go.openrouter.ai/c?u=" + base64.RawURLEncoding.EncodeToString([]byte(clerk))
	padded := "https://go.openrouter.ai/c?u=" + url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(clerk)))
	twice := "https://go.openrouter.ai/c?u=" + url.QueryEscape("https://track.example.net/r?to="+url.QueryEscape(clerk))
	thrice := "https://go.openrouter.ai/c?u=" + url.QueryEscape(twice)
	astray := "https://go.openrouter.ai/c?u=" + url.QueryEscape(strings.Replace(clerk, "clerk.openrouter.ai", "clerk.evil.example", 1))
	through := onlyLink()
	through.Redirects = []Redirect{{"go.openrouter.ai", "u"}, {"track.example.net", "to"}}
	anyPath := onlyLink()
	anyPath.LinkPaths = nil
	run(t, []example{
		{"plain", plain("Click:\r\n" + clerk + "\r\n"), onlyLink(), clerk},
		{"in angles", plain("<" + clerk + ">"), onlyLink(), clerk},
		{"in brackets", plain("(see " + clerk + ")."), onlyLink(), clerk},
		{"in Markdown", plain("[Verify](" + clerk + ")"), onlyLink(), clerk},
		{"at the end of a sentence", plain("Open " + clerk + ". Thanks!"), onlyLink(), clerk},
		{"a scheme in capitals", plain("HTTPS" + clerk[5:]), onlyLink(), clerk},
		{"a host in capitals", plain(strings.Replace(clerk, "clerk.open", "Clerk.Open", 1)), onlyLink(), clerk},
		{"port 443", plain(strings.Replace(clerk, ".ai/", ".ai:443/", 1)), onlyLink(), clerk},
		{"twice the same", plain(clerk + "\r\nor\r\n" + clerk), onlyLink(), clerk},
		{"a button", page1(a(clerk, "Verify")), onlyLink(), clerk},
		{"entities", page1(a(strings.ReplaceAll(clerk+"&x=1", "&", "&amp;"), "Verify")), onlyLink(), clerk + "&x=1"},
		{"odd entities", page1(a(strings.ReplaceAll(clerk, "/", "&#47;"), "Verify")), onlyLink(), clerk},
		{"spaces around", page1(a("\n  "+clerk+" \n", "Verify")), onlyLink(), clerk},
		{"an image for a button", page1(a(clerk, `<img src="https://cdn.example.net/b.png" alt="Verify">`)), onlyLink(), clerk},
		{"shown as a bare URL", page1("<p>Paste this: " + strings.ReplaceAll(clerk, "&", "&amp;") + "</p>"), onlyLink(), clerk},
		{"shown cut short", page1(a(clerk, "https://clerk.openrouter.ai/v1/ver…")), onlyLink(), clerk},
		{"shown as the organisation", page1(a(clerk, "openrouter.ai")), onlyLink(), clerk},
		{"a button and a footer", page1(a(clerk, "Verify") + a("https://openrouter.ai/privacy", "Privacy") + a("https://x.com/OpenRouterAI", "X") + a("mailto:support@openrouter.ai", "Mail")), onlyLink(), clerk},
		{"both alternatives", both("Open "+clerk, a(clerk, "Verify")), onlyLink(), clerk},
		{"a text with entities", both("Open "+strings.ReplaceAll(clerk+"&x=1", "&", "&amp;"), a(clerk+"&amp;x=1", "Verify")), onlyLink(), clerk + "&x=1"},
		{"only the HTML has it", both("See the HTML.", a(clerk, "Verify")), onlyLink(), clerk},
		{"only the text has it", both("Open "+clerk, "<p>See the text.</p>"), onlyLink(), clerk},
		{"an unclosed link", page1(`<a href="` + clerk + `">Verify`), onlyLink(), clerk},
		{"a link in a link", page1(`<a href="https://openrouter.ai/">x<a href="` + clerk + `">Verify</a></a>`), onlyLink(), clerk},
		{"an area", page1(`<map><area href="` + clerk + `"></map>`), onlyLink(), clerk},
		{"quotes left out", page1(`<a href=` + clerk + `>Verify</a>`), onlyLink(), clerk},
		{"below the path", plain(strings.Replace(clerk, "/verify?", "/verify/now?", 1)), onlyLink(), strings.Replace(clerk, "/verify?", "/verify/now?", 1)},
		{"Anthropic's fragment", with(claude, page1(a(magic, "Sign in"))), anthropic(), magic},
		{"Anthropic's, plain", with(claude, plain("Sign in: "+magic)), anthropic(), magic},
		{"a link before a code", both("Your verification code is 271828, or open "+clerk, "<p>Your verification code is 271828</p>"+a(clerk, "Verify")), openrouter(), clerk},

		{"none", plain("Welcome!"), onlyLink(), "no-link"},
		{"in a word", plain("x" + clerk), onlyLink(), "no-link"},
		{"http", plain("http" + clerk[5:]), onlyLink(), "link-host-not-allowed"},
		{"another host", plain("https://evil.example/v1/verify?token=" + token), onlyLink(), "link-host-not-allowed"},
		{"a subdomain", plain(strings.Replace(clerk, "clerk.", "x.clerk.", 1)), onlyLink(), "link-host-not-allowed"},
		{"the parent domain", plain(strings.Replace(clerk, "clerk.", "", 1)), onlyLink(), "link-host-not-allowed"},
		{"the host as a subdomain", plain(strings.Replace(clerk, ".ai/", ".ai.evil.example/", 1)), onlyLink(), "link-host-not-allowed"},
		{"the host as a user", plain(strings.Replace(clerk, ".ai/", ".ai@evil.example/", 1)), onlyLink(), "link-host-not-allowed"},
		{"a user", plain(strings.Replace(clerk, "//", "//x@", 1)), onlyLink(), "link-host-not-allowed"},
		{"a user and a password", plain(strings.Replace(clerk, "//", "//x:y@", 1)), onlyLink(), "link-host-not-allowed"},
		{"another port", plain(strings.Replace(clerk, ".ai/", ".ai:8443/", 1)), onlyLink(), "link-host-not-allowed"},
		{"a final full stop", plain(strings.Replace(clerk, ".ai/", ".ai./", 1)), onlyLink(), "link-host-not-allowed"},
		{"a homoglyph", plain(strings.Replace(clerk, "openrouter", "оpenrouter", 1)), onlyLink(), "link-host-not-allowed"},
		{"punycode of a homoglyph", plain(strings.Replace(clerk, "openrouter", "xn--penrouter-3bh", 1)), onlyLink(), "link-host-not-allowed"},
		{"an encoded host", plain(strings.Replace(clerk, "clerk.", "clerk%2e", 1)), onlyLink(), "link-host-not-allowed"},
		{"a backslash", page1(a(strings.Replace(clerk, ".ai/", `.ai\`, 1), "Verify")), onlyLink(), "link-host-not-allowed"},
		{"backslashes for slashes", page1(a(strings.Replace(clerk, "://", `:\\`, 1), "Verify")), onlyLink(), "link-host-not-allowed"},
		{"a backslash before a host", page1(a(`https://evil.example\@clerk.openrouter.ai/v1/verify?token=`+token, "Verify")), onlyLink(), "link-host-not-allowed"},
		{"no scheme", page1(a(strings.TrimPrefix(clerk, "https:"), "Verify")), onlyLink(), "link-host-not-allowed"},
		{"three slashes", page1(a(strings.Replace(clerk, "//", "///", 1), "Verify")), onlyLink(), "link-host-not-allowed"},
		{"one slash", page1(a(strings.Replace(clerk, "//", "/", 1), "Verify")), onlyLink(), "link-host-not-allowed"},
		{"a tab in the scheme", page1(a(strings.Replace(clerk, "https", "ht\ttps", 1), "Verify")), onlyLink(), "link-host-not-allowed"},
		{"a line end in the path", page1(a(strings.Replace(clerk, "/v1", "/\nv1", 1), "Verify")), onlyLink(), "link-malformed"},
		{"a space in the query", page1(a(clerk+"&a= b", "Verify")), onlyLink(), "link-malformed"},
		{"a letter beyond ASCII in the path", page1(a(clerk+"é", "Verify")), onlyLink(), "link-malformed"},
		{"a backslash in the path", page1(a(strings.Replace(clerk, "/v1/", `/v1\`, 1), "Verify")), onlyLink(), "link-malformed"},
		{"braces", page1(a(clerk+"{x}", "Verify")), onlyLink(), "link-malformed"},
		{"a broken escape", plain(strings.Replace(clerk, "/v1", "/%zz", 1)), onlyLink(), "link-malformed"},
		{"script", page1(a("javascript:location='"+clerk+"'", "Verify")), onlyLink(), "link-host-not-allowed"},
		{"data", page1(a("data:text/html,"+clerk, "Verify")), onlyLink(), "link-host-not-allowed"},
		{"in a query of another", plain("https://evil.example/?u=" + clerk), onlyLink(), "link-host-not-allowed"},
		{"too long", plain(clerk + strings.Repeat("x", 5000)), onlyLink(), "no-link"},
		{"another path", plain(strings.Replace(clerk, "/v1/verify", "/v1/delete", 1)), onlyLink(), "link-path-not-allowed"},
		{"a path that begins so", plain(strings.Replace(clerk, "/v1/verify", "/v1/verifyall", 1)), onlyLink(), "link-path-not-allowed"},
		{"a path that leads back", plain(strings.Replace(clerk, "/v1/verify", "/v1/verify/../delete", 1)), onlyLink(), "link-path-not-allowed"},
		{"an encoded path that leads back", plain(strings.Replace(clerk, "/v1/verify", "/v1/verify/%2e%2E/delete", 1)), onlyLink(), "link-path-not-allowed"},
		{"an encoded slash", plain(strings.Replace(clerk, "/v1/verify", "/v1/verify/..%2fdelete", 1)), onlyLink(), "link-path-not-allowed"},
		{"a path in another case", plain(strings.Replace(clerk, "/v1/verify", "/V1/Verify", 1)), onlyLink(), "link-path-not-allowed"},
		{"the text shows another host", page1(a(clerk, "https://evil.example/v1/verify")), onlyLink(), "link-text-differs"},
		{"the text shows another host without a scheme", page1(a(clerk, "evil.example/login")), onlyLink(), "link-text-differs"},
		{"the text shows a host in pieces", page1(a(clerk, "https://ev<b>il.exam</b>&#8203;ple/")), onlyLink(), "link-text-differs"},
		{"a link that lies and one that does not", page1(a(second, "https://evil.example/") + a(clerk, "Verify")), onlyLink(), clerk},
		{"two links", plain(clerk + "\r\n" + second), onlyLink(), "several-links"},
		{"two buttons", page1(a(clerk, "Yes") + a(second, "No")), onlyLink(), "several-links"},
		{"two fragments", with(claude, page1(a(magic, "Yes")+a(magic+"x", "No"))), anthropic(), "several-links"},
		{"alternatives that differ", both(second, a(clerk, "Verify")), onlyLink(), "alternatives-differ"},
		{"two parts of text", parts("mixed", "\r\n"+clerk, "\r\n"+second), onlyLink(), "several-links"},
		{"10,000 others", page1(strings.Repeat(a("https://openrouter.ai/privacy?x=0123456789abcdef", "x"), 10000) + a(clerk, "Verify")), onlyLink(), clerk},
		{"10,000 of the same", page1(strings.Repeat(a(clerk, "x"), 10000/3)), onlyLink(), clerk},

		{"hidden", page1(`<div style="display: none">` + a(clerk, "Verify") + `</div>`), onlyLink(), "no-link"},
		{"hidden by a comment in the style", page1(`<div style="display:/* */none !important">` + a(clerk, "Verify") + `</div>`), onlyLink(), "no-link"},
		{"in a comment", page1("<!-- " + a(clerk, "Verify") + " -->"), onlyLink(), "no-link"},
		{"for Outlook alone", page1("<!--[if mso]>" + a(second, "Verify") + "<![endif]--><![if !mso]>" + a(clerk, "Verify") + "<![endif]>"), onlyLink(), clerk},
		{"in a script", page1("<script>" + a(clerk, "Verify") + "</script>"), onlyLink(), "no-link"},
		{"in a style sheet", page1("<style>a{background:url(" + clerk + ")}</style>"), onlyLink(), "no-link"},
		{"in the title", page1("<title>" + clerk + "</title>"), onlyLink(), "no-link"},
		{"in a template", page1("<template>" + a(clerk, "Verify") + "</template>"), onlyLink(), "no-link"},
		{"in an attribute that is no link", page1(`<p title="` + clerk + `"><img src="` + clerk + `">Hi</p><form action="` + clerk + `"></form>`), onlyLink(), "no-link"},
		{"a second href", page1(`<a href="https://evil.example/" href="` + clerk + `">Verify</a>`), onlyLink(), "link-host-not-allowed"},
		{"in a quotation", plain("Hi\r\n> " + clerk), onlyLink(), "no-link"},
		{"in a mail that was answered", plain("Thanks.\r\n\r\nOn Sat, 21 Nov 2026 at 10:00, OpenRouter <noreply@openrouter.ai> wrote:\r\n" + clerk), onlyLink(), "no-link"},
		{"in a mail that was answered, over two lines", plain("Thanks.\r\n\r\nOn Sat, 21 Nov 2026 at 10:00, OpenRouter\r\n<noreply@openrouter.ai> wrote:\r\n" + clerk), onlyLink(), "no-link"},
		{"in a mail that was passed on", plain("FYI\r\n\r\n---------- Forwarded message ---------\r\n" + clerk), onlyLink(), "no-link"},
		{"in what Outlook quotes", plain("FYI\r\n\r\nFrom: OpenRouter\r\nSent: Saturday\r\nTo: you\r\nSubject: Verify\r\n\r\n" + clerk), onlyLink(), "no-link"},
		{"in a blockquote", page1("<p>Hi</p><blockquote>" + a(clerk, "Verify") + "</blockquote>"), onlyLink(), "no-link"},
		{"in what Gmail quotes", page1(`<p>Hi</p><div class="x gmail_quote">` + a(clerk, "Verify") + `</div>`), onlyLink(), "no-link"},
		{"below what Outlook writes", page1(`<p>Hi</p><div id="divRplyFwdMsg">x</div>` + a(clerk, "Verify")), onlyLink(), "no-link"},
		{"an answer in HTML", page1("<p>Hi</p><p>On Saturday OpenRouter wrote:</p>" + a(clerk, "Verify")), onlyLink(), "no-link"},
		{"a new one above an old one", page1(a(clerk, "Verify") + `<blockquote>` + a(second, "Verify") + `</blockquote>`), onlyLink(), clerk},

		{"a redirect nobody named", page1(a(tracked, "Verify")), onlyLink(), "link-host-not-allowed"},
		{"a redirect", page1(a(tracked, "Verify")), through, clerk},
		{"a redirect in base64", page1(a(coded, "Verify")), through, clerk},
		{"a redirect in padded base64", page1(a(padded, "Verify")), through, clerk},
		{"a redirect encoded twice", page1(a("https://go.openrouter.ai/c?u="+url.QueryEscape(url.QueryEscape(clerk)), "Verify")), through, clerk},
		{"a redirect in a redirect", page1(a(twice, "Verify")), through, clerk},
		{"three redirects", page1(a(thrice, "Verify")), through, "link-host-not-allowed"},
		{"a redirect that leads astray", page1(a(astray, "Verify")), through, "link-host-not-allowed"},
		{"a redirect with two targets", page1(a(tracked+"&u=https%3A%2F%2Fevil.example", "Verify")), through, "link-host-not-allowed"},
		{"a redirect with two targets, the good one last", page1(a("https://go.openrouter.ai/c?u=https%3A%2F%2Fevil.example&u="+url.QueryEscape(clerk), "Verify")), through, "link-host-not-allowed"},
		{"a redirect without a target", page1(a("https://go.openrouter.ai/c?v=1", "Verify")), through, "link-host-not-allowed"},
		{"a redirect to http", page1(a("https://go.openrouter.ai/c?u="+url.QueryEscape("http"+clerk[5:]), "Verify")), through, "link-host-not-allowed"},
		{"a redirect to a path", page1(a("https://go.openrouter.ai/c?u=%2Fv1%2Fverify", "Verify")), through, "link-host-not-allowed"},
		{"a redirect that shows its target", page1(a(tracked, "clerk.openrouter.ai/v1/verify")), through, clerk},
		{"a redirect that shows another", page1(a(tracked, "evil.example/v1/verify")), through, "link-text-differs"},
		{"text and a redirect to the same", both(clerk, a(tracked, "Verify")), through, clerk},

		{"any path: a token", plain("https://clerk.openrouter.ai/x/" + token + "\r\nhttps://clerk.openrouter.ai/\r\nhttps://clerk.openrouter.ai/privacy\r\nhttps://clerk.openrouter.ai/unsubscribe?u=" + token + "\r\nhttps://clerk.openrouter.ai/img/logo-0123456789abcdef.png"), anyPath, "https://clerk.openrouter.ai/x/" + token},
		{"any path: no token", plain("https://clerk.openrouter.ai/v1/verify"), anyPath, "link-path-not-allowed"},
		{"any path: a number that can be guessed", plain("https://clerk.openrouter.ai/v1/verify?u=1234567"), anyPath, "link-path-not-allowed"},
	})
}

// claude makes a letter of Anthropic's.
func claude(l *letter) {
	for _, s := range []*string{&l.auth, &l.from, &l.spf, &l.more} {
		*s = strings.ReplaceAll(strings.ReplaceAll(*s, "openrouter.ai", "mail.anthropic.com"), "OpenRouter", "Anthropic")
	}
}

func TestIDNA(t *testing.T) {
	r := onlyLink()
	r.LinkHosts = []string{"bücher.example"}
	const u = "https://bücher.example/v1/verify?token=" + token
	const ascii = "https://xn--bcher-kva.example/v1/verify?token=" + token
	run(t, []example{
		{"letters", plain(u), r, ascii},
		{"punycode", plain(ascii), r, ascii},
		{"capitals", plain(strings.Replace(u, "bü", "BÜ", 1)), r, ascii},
		{"without the dots", plain(strings.Replace(u, "ü", "u", 1)), r, "link-host-not-allowed"},
	})
}

func TestWant(t *testing.T) {
	want := func(k Kind) func(*Query) { return func(q *Query) { q.Want = k } }
	two := both("Your verification code is 271828, or open "+clerk, "<p>Your verification code is 271828</p>"+a(clerk, "Verify"))
	run(t, []example{{"a link", two, openrouter(), clerk}, {"no link", plain(good), openrouter(), "no-link"}, {"no hosts", two, onlyCode(6), "bad-rules"}}, want(Link))
	run(t, []example{{"a code", two, openrouter(), "271828"}, {"no code", plain(clerk), openrouter(), "no-code"}, {"no digits", two, onlyLink(), "bad-rules"}}, want(Code))
	run(t, []example{{"neither", two, openrouter(), "bad-rules"}}, want("key"))
	run(t, []example{
		{"a code, as there is no link", plain(good), openrouter(), "271828"},
		{"a code beside a link elsewhere", plain(good + "https://openrouter.ai/privacy"), openrouter(), "271828"},
		{"not a code beside two links", plain(good + clerk + "\n" + clerk + "x"), openrouter(), "several-links"},
		{"nothing", plain("Welcome"), openrouter(), "no-link"},
		{"two codes, and no link", plain(good + "Your verification code is 999999"), openrouter(), "several-codes"},
	})
}
