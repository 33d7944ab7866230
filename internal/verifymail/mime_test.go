package verifymail

import (
	"encoding/base64"
	"strings"
	"testing"

	"golang.org/x/net/html/charset"
)

func encode(t testing.TB, s, name string) string {
	t.Helper()
	e, _ := charset.Lookup(name)
	b, err := e.NewEncoder().String(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestMIME(t *testing.T) {
	const text = "Your verification code is 271828"
	r := openrouter()
	typed := func(ctype, cte, body string) func(*letter) {
		return func(l *letter) { l.ctype, l.cte, l.body = ctype, cte, body }
	}
	part := func(head, body string) string { return head + "\r\n\r\n" + body }
	plainPart := part("Content-Type: text/plain; charset=utf-8", text)
	htmlPart := part("Content-Type: text/html; charset=utf-8", "<p>"+text+"</p>")
	outer := func(inner string) string {
		return part("Content-Type: multipart/alternative; boundary=b2", inner)
	}
	deep := plainPart
	for i := range 12 {
		b := "n" + string(rune('a'+i))
		deep = part("Content-Type: multipart/mixed; boundary="+b, multipart(b, deep))
	}
	run(t, []example{
		{"no Content-Type", typed("", "", text), r, "271828"},
		{"quoted-printable", typed("text/plain; charset=utf-8", "quoted-printable", "Your verification code is 2=\r\n7182=38 =C2=A0"), r, "271828"},
		{"quoted-printable with long lines", typed("text/html", "quoted-printable", strings.Repeat("<i></i>", 2000)+text), r, "271828"},
		{"quoted-printable, a whole link", typed("text/html; charset=utf-8", "Quoted-Printable", quotedPrintable(a(clerk+"&amp;x=1&amp;y=0123456789012345678901234567890123456789", "Verify"))), r, clerk + "&x=1&y=0123456789012345678901234567890123456789"},
		{"base64", typed("text/plain; charset=utf-8", "BASE64", inBase64(text+strings.Repeat(" ", 200))), r, "271828"},
		{"base64 that is broken", typed("text/plain; charset=utf-8", "base64", "!!!"+inBase64(text)), r, "bad-mime"},
		{"base64 that is cut", typed("text/plain; charset=utf-8", "base64", strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(text)), "=")), r, "bad-mime"},
		{"an unknown encoding", typed("text/plain", "x-uuencode", text), r, "bad-mime"},
		{"windows-1252", typed("text/plain; charset=windows-1252", "8bit", encode(t, "“"+text+"” — dévérouillé", "windows-1252")), r, "271828"},
		{"ISO-2022-JP", typed("text/plain; charset=ISO-2022-JP", "7bit", encode(t, "認証 verification code: 271828 です", "iso-2022-jp")), r, "271828"},
		{"GB18030", typed("text/plain; charset=gb18030", "base64", inBase64(encode(t, "验证 verification code：271828。", "gb18030"))), r, "271828"},
		{"KOI8-R", typed("text/plain; charset=koi8-r", "8bit", encode(t, "Код, verification code: 271828", "koi8-r")), r, "271828"},
		{"UTF-16", typed("text/plain; charset=utf-16le", "base64", inBase64(encode(t, text, "utf-16le"))), r, "271828"},
		{"broken UTF-8", typed("text/plain; charset=utf-8", "8bit", "\xff\xfe "+text+" \xc3"), r, "271828"},
		{"broken UTF-8 in a code", typed("text/plain; charset=utf-8", "8bit", "Your verification code is 271\xff828"), r, "no-link"},
		{"UTF-7", typed("text/html; charset=utf-7", "7bit", "+ADw-p+AD4-"+text), r, "unknown-charset"},
		{"a charset nobody has", typed("text/plain; charset=x-odd", "7bit", text), r, "unknown-charset"},
		{"a charset that is replaced", typed("text/plain; charset=iso-2022-kr", "7bit", text), r, "unknown-charset"},

		{"alternative", parts("alternative", plainPart, htmlPart), r, "271828"},
		{"mixed, related, alternative", parts("mixed", part("Content-Type: multipart/related; boundary=b3", multipart("b3", outer(multipart("b2", plainPart, htmlPart)),
			part("Content-Type: image/png\r\nContent-Transfer-Encoding: base64", "AAAA")))), r, "271828"},
		{"signed", parts("signed", plainPart, part("Content-Type: application/pgp-signature", "x")), r, "271828"},
		{"LF throughout", with(parts("alternative", plainPart, htmlPart), func(l *letter) { l.eol = "\n" }), r, "271828"},
		{"text around the parts", func(l *letter) {
			parts("alternative", plainPart)(l)
			l.body = "Your verification code is 999999\r\n" + l.body + "Your verification code is 999999\r\n"
		}, r, "271828"},
		{"an attachment", parts("mixed", plainPart, part("Content-Type: text/plain\r\nContent-Disposition: attachment", "Your verification code is 999999")), r, "271828"},
		{"an attachment by its name", parts("mixed", plainPart, part("Content-Type: text/plain; name=\"a.txt\"", "Your verification code is 999999")), r, "271828"},
		{"an attachment with an odd name", parts("mixed", plainPart, part("Content-Type: application/pdf; name=a b.pdf", "Your verification code is 999999")), r, "271828"},
		{"an attachment with an odd disposition", parts("mixed", plainPart, part("Content-Type: text/plain\r\nContent-Disposition: ;;", "Your verification code is 999999")), r, "271828"},
		{"a mail in the mail", parts("mixed", plainPart, part("Content-Type: message/rfc822", "From: x@evil.example\r\n\r\nYour verification code is 999999")), r, "271828"},
		{"a boundary on an attachment", parts("mixed", plainPart, part("Content-Type: application/x-odd; boundary=b9", multipart("b9", "\r\nYour verification code is 999999"))), r, "271828"},
		{"a calendar", parts("mixed", plainPart, part("Content-Type: text/calendar", "Your verification code is 999999")), r, "271828"},
		{"a part without a type", parts("mixed", "\r\n"+text), r, "271828"},
		{"a part whose encoding is its own", parts("alternative", part("Content-Type: text/plain\r\nContent-Transfer-Encoding: base64", inBase64(text))), r, "271828"},
		{"no text", parts("mixed", part("Content-Type: image/png", "x")), r, "no-text"},
		{"the whole mail an attachment", func(l *letter) { l.body, l.more = text, l.more+"Content-Disposition: attachment\r\n" }, r, "no-text"},
		{"a picture", typed("image/png", "base64", "AAAA"), r, "no-text"},
		{"no boundary", typed("multipart/alternative", "", text), r, "bad-mime"},
		{"a long boundary", typed("multipart/alternative; boundary="+strings.Repeat("b", 71), "", text), r, "bad-mime"},
		{"a boundary on a text", typed("text/plain; boundary=b", "", "--b\r\n\r\n"+text), r, "271828"},
		{"a media type that is none", typed("text/plain;;; charset", "", text), r, "bad-mime"},
		{"a type in a part twice", parts("mixed", part("Content-Type: text/plain\r\nContent-Type: text/html", text)), r, "bad-mime"},
		{"a part that does not end", typed("multipart/mixed; boundary=b", "", "--b\r\n\r\n"+text), r, "271828"},
		{"a type of control characters", typed("text/plain; charset=\x01", "", text), r, "bad-header"},
		{"deeply nested", func(l *letter) {
			l.ctype = "multipart/mixed; boundary=top"
			l.body = multipart("top", deep)
		}, r, "too-complex"},
		{"70 parts", parts("mixed", strings.Split(strings.Repeat(plainPart+"|", 70), "|")...), r, "too-complex"},
	})
}

func TestRules(t *testing.T) {
	l := newLetter()
	l.body = good
	for name, change := range map[string]func(*Rules, *Query){
		"nothing":         func(r *Rules, q *Query) { *r, *q = Rules{}, Query{} },
		"no rules":        func(r *Rules, _ *Query) { *r = Rules{} },
		"no senders":      func(r *Rules, _ *Query) { r.Senders = nil },
		"an empty sender": func(r *Rules, _ *Query) { r.Senders = []string{""} },
		"a top domain":    func(r *Rules, _ *Query) { r.Senders = []string{"ai"} },
		"a registry's":    func(r *Rules, _ *Query) { r.Senders = []string{"openrouter.ai", "co.uk"} },
		"a host's":        func(r *Rules, _ *Query) { r.Senders = []string{"GitHub.io"} },
		"a path with ..;": func(r *Rules, _ *Query) { r.LinkPaths = []string{"/a/..;/b"} },
		"a wildcard":      func(r *Rules, _ *Query) { r.Senders = []string{"*.ai"} },
		"no receiver":     func(r *Rules, _ *Query) { r.Receiver = Rules{}.Receiver },
		"no address":      func(_ *Rules, q *Query) { *q = Query{Domain: domain} },
		"no domain":       func(_ *Rules, q *Query) { q.Domain = "" },
		"no link or code": func(r *Rules, _ *Query) { r.LinkHosts, r.Code = nil, nil },
		"a URL as a host": func(r *Rules, _ *Query) { r.LinkHosts = []string{"https://openrouter.ai"} },
		"half an address": func(r *Rules, _ *Query) { r.LinkHosts = []string{"127.1"} },
		"no letters":      func(r *Rules, _ *Query) { r.LinkHosts = []string{"\x9a.ai"} },
		"an address":      func(r *Rules, _ *Query) { r.LinkHosts = []string{"192.0.2.7"} },
		"a path with ..":  func(r *Rules, _ *Query) { r.LinkPaths = []string{"/a/.."} },
		"a path with ?":   func(r *Rules, _ *Query) { r.LinkPaths = []string{"/a?"} },
		"a relative path": func(r *Rules, _ *Query) { r.LinkPaths = []string{"a"} },
		"three digits":    func(r *Rules, _ *Query) { r.Code = &CodeRule{Digits: 3} },
		"eleven digits":   func(r *Rules, _ *Query) { r.Code = &CodeRule{Digits: 11} },
		"an empty label":  func(r *Rules, _ *Query) { r.Code = &CodeRule{Digits: 6, Labels: []string{" \u200b"}} },
		"a label of digits": func(r *Rules, _ *Query) {
			r.Code = &CodeRule{Digits: 6, Labels: []string{"code 1"}}
		},
		"a redirect to nowhere": func(r *Rules, _ *Query) { r.Redirects = []Redirect{{"go.example.com", ""}} },
		"too many":              func(r *Rules, _ *Query) { r.Senders = make([]string, 65) },
	} {
		r, q := openrouter(), query(t)
		change(&r, &q)
		if got := show(Extract(l.bytes(), q, r)); got != "bad-rules" {
			t.Errorf("%s: %s", name, got)
		}
	}
}
