package verifymail

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/litentry/agentkeys/internal/mailhead"
)

// FuzzExtract changes whatever a sender can change.
func FuzzExtract(f *testing.F) {
	for _, e := range []func(*letter){
		plain(good), plain(clerk), page1(a(clerk, "Verify")), both(good, "<p>"+good+"</p>"), both(clerk, a(clerk, "Verify")),
		parts("mixed", "Content-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\n"+inBase64(good), "\r\nx"),
		func(l *letter) {
			l.ctype, l.cte, l.body = "text/html; charset=iso-2022-jp", "quoted-printable", quotedPrintable(good)
		},
	} {
		l := newLetter()
		e(&l)
		f.Add(l.from+l.to+l.more, l.ctype, l.cte, l.body)
	}
	f.Fuzz(func(t *testing.T, header, ctype, cte, body string) {
		if strings.ContainsAny(ctype+cte, "\r\n") {
			t.Skip()
		}
		l := newLetter()
		l.from, l.to, l.more = "", "", header
		l.ctype, l.cte, l.body = ctype, cte, body
		for _, r := range []Rules{openrouter(), onlyCode(6)} {
			res, err := Extract(l.bytes(), query(t), r)
			var refusal *Refusal
			if err != nil {
				if !errors.As(err, &refusal) || refusal.Reason == "" || refusal.Reason == BadRules || res.Kind != "" {
					t.Fatalf("%v %v", res, err)
				}
				continue
			}
			switch res.Kind {
			case Code:
				if c := string(res.Code.Expose()); len(c) != 6 || strings.Trim(c, "0123456789") != "" {
					t.Fatal("no code of six digits")
				}
			case Link:
				u, err := url.Parse(string(res.Link.Expose()))
				if err != nil || u.Scheme != "https" || u.Host != "clerk.openrouter.ai" || res.Host != u.Host || u.User != nil ||
					!strings.HasPrefix(u.EscapedPath(), "/v1/verify") || strings.Contains(u.EscapedPath(), "..") {
					t.Fatal("a link that leads elsewhere")
				}
			default:
				t.Fatal("neither a link nor a code")
			}
			// Who sent it, and to whom, must be beyond doubt.
			if h := mailhead.Parse(l.bytes(), true); len(h.Get("From")) != 1 || len(h.Get("To")) != 1 {
				t.Fatal("more than one From or To")
			}
			if !within(res.Verdicts.From, "openrouter.ai") || !res.Verdicts.Aligned {
				t.Fatal("of another sender")
			}
		}
	})
}

// FuzzParseAuth: what is read must be there outside comments and quoted
// strings, and reads the same when written plainly.
func FuzzParseAuth(f *testing.F) {
	f.Add(mailhead.Unfold([]byte(newLetter().auth)))
	f.Add(`amazonses.com 1; spf=pass (a (b) \) c) smtp.mailfrom="x;y\"z"; dkim=pass header.d=a.example header.i=@b.a.example; dmarc=none header.from=a.example`)
	f.Fuzz(func(t *testing.T, v string) {
		a, ok := parseAuth(v, "amazonses.com")
		if !ok {
			return
		}
		plain := "amazonses.com"
		for _, d := range a.dkim {
			if h, ok := asciiHost(d); !ok || h != d {
				t.Fatalf("%q is no host", d)
			}
			plain += "; dkim=pass header.d=" + d
		}
		if a.dmarc != "" {
			plain += "; dmarc=" + a.dmarc
		}
		if a.from != "" {
			plain += " header.from=" + a.from
		}
		b, ok := parseAuth(plain, "amazonses.com")
		if !ok || strings.Join(a.dkim, " ") != strings.Join(b.dkim, " ") || a.dmarc != b.dmarc || a.from != b.from {
			t.Fatalf("%+v, written plainly %+v", a, b)
		}
	})
}

// FuzzLink: a link that passes is what every reader of URLs takes it for, and
// passes again.
func FuzzLink(f *testing.F) {
	for _, s := range []string{clerk, magic, "https://a.example:443/x?y#z", `https://a.example\@b.example/`, "https://bücher.example/%2e%2e/", "HTTPS://A.example"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, l, refusal := parseLink(s)
		if refusal != nil {
			return
		}
		if u.Host != l.host || u.String() == "" || u.Scheme != "https" || u.User != nil || !strings.HasPrefix(l.url, "https://"+l.host) {
			t.Fatalf("%q", l.url)
		}
		if rest := l.url[len("https://"+l.host):]; rest != "" && rest[0] != '/' && rest[0] != '?' && rest[0] != '#' {
			t.Fatalf("%q", l.url)
		}
		if _, again, refusal := parseLink(l.url); refusal != nil || again != l {
			t.Fatalf("%q is not read as %q", l.url, s)
		}
		targetOf(s)
		plainPath(s)
	})
}

// FuzzHTML: whatever the markup, text comes out clean, and links in order.
func FuzzHTML(f *testing.F) {
	f.Add("<p>Your code is 271828</p>" + a(clerk, "Verify"))
	f.Add(`<table><tr><td style="font-size:0">1<td>2</table><svg><g/></svg><a href=x>y<a href=z>`)
	f.Fuzz(func(t *testing.T, s string) {
		fl, refusal := htmlFlow(s)
		if refusal != nil {
			return
		}
		if !utf8.ValidString(fl.text) || strings.Contains(fl.text, "://") && strings.Contains(strings.ToLower(fl.text), "https://") {
			t.Fatalf("%q", fl.text)
		}
		if c := clean(fl.text); c != fl.text {
			t.Fatalf("%q is cleaned to %q", fl.text, c)
		}
		for _, n := range numbers(fl.text, 6) {
			if len(n.code) != 6 || n.from >= n.to || n.to > len(fl.text) {
				t.Fatalf("%+v", n)
			}
		}
	})
}
