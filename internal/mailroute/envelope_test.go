package mailroute_test

import (
	"strings"
	"testing"

	"github.com/litentry/agentkeys/internal/mailhead"
	"github.com/litentry/agentkeys/internal/mailroute"
)

// sesHead is what SES writes on top, for a recipient; none for "".
func sesHead(helo, rdns, rcpt string) string {
	if rcpt != "" {
		rcpt = "\r\n for " + rcpt
	}
	return "Return-Path: <0100018f-bounce@bounces.Service.example>\r\n" +
		"Received: from " + helo + " (" + rdns + " [192.0.2.7])\r\n by inbound-smtp.us-east-1.amazonaws.com with SMTP id o3vrnil0e2ic28trm7dfhrc2v0clambda4nbp0g1" + rcpt + ";\r\n Mon, 06 May 2024 16:07:08 +0000 (UTC)\r\n" +
		"X-SES-Spam-Verdict: PASS\r\nX-SES-Virus-Verdict: PASS\r\n" +
		"Received-SPF: pass (spfCheck: domain of bounces.service.example designates 192.0.2.7 as permitted sender) client-ip=192.0.2.7; envelope-from=0100018f-bounce@bounces.service.example; helo=a1-2.example.net;\r\n" +
		"Authentication-Results: amazonses.com;\r\n spf=pass (spfCheck: domain of bounces.service.example designates 192.0.2.7 as permitted sender) client-ip=192.0.2.7; envelope-from=0100018f-bounce@bounces.service.example; helo=a1-2.example.net;\r\n dkim=pass header.i=@service.example;\r\n dmarc=pass header.from=service.example;\r\n" +
		"X-SES-RECEIPT: " + strings.Repeat("QUVGQlFVRkJRVUZCUVVFPQ", 16) + "\r\n" +
		"X-SES-DKIM-SIGNATURE: a=rsa-sha256; q=dns/txt; b=" + strings.Repeat("QUVGQlFVRkJRVUZCUVVFPQ", 8) + "; c=relaxed/simple; s=224i4yxa5dv7c2xz3womw6peuasteono; d=amazonses.com; t=1715011628; v=1; bh=abc; h=From:To:Cc:Bcc:Subject;\r\n"
}

func TestRecipients(t *testing.T) {
	r := router(t)
	msg := sesHead("h", "r", a2) + "To: " + a2 + "\r\n\r\n"
	for _, c := range []struct {
		rcpts []string
		want  string
	}{
		{[]string{a1}, "1"},
		{[]string{strings.Replace(a1, "abc@", "ABC@", 1)}, "1"},
		{[]string{strings.ToUpper(l1[5:]) + "@" + dom}, other},
		{[]string{`"` + l1 + `"@` + dom}, "1"},
		{[]string{l1 + "@BOTS.EXAMPLE"}, "1"},
		{[]string{l1 + "@bücher.example"}, "1"},
		{[]string{a1, a1}, "1"},
		{[]string{a1, a1b}, "1"},
		{[]string{a1, "auth@" + dom}, "1"},
		{[]string{"x@y.example", a1, "or-0x@" + dom}, "1"},
		{[]string{a1, a2}, several},
		{[]string{a2, "x@y.example", a1}, several},
		{[]string{a1, zz2}, several},
		{[]string{a1, zz1}, "1"},
		{[]string{zz1}, unknown},
		{[]string{"auth@" + dom}, other},
		{[]string{"x@y.example"}, foreign},
		{[]string{""}, nobody},
		{[]string{"x"}, nobody},
		{[]string{l1}, malformed},
		{[]string{"@" + dom}, other},
		{[]string{"<" + a1 + ">"}, foreign},
		{[]string{"<" + l1 + "@" + dom}, other},
		{[]string{"Bob <" + a1 + ">"}, foreign},
		{[]string{a1 + ", " + a2}, malformed},
		{[]string{a1 + "," + a2}, malformed},
		{[]string{a1 + " "}, malformed},
		{[]string{" " + a1}, other},
		{[]string{l1 + " @" + dom}, malformed},
		{[]string{l1 + "@ " + dom}, malformed},
		{[]string{l1 + ".@" + dom}, malformed},
		{[]string{l1 + "\x00@" + dom}, malformed},
		{[]string{l1 + "/../../x@" + dom}, malformed},
		{[]string{l1 + "(c)@" + dom}, malformed},
		{[]string{l1 + "@" + dom + "@" + dom}, malformed},
		{[]string{l1 + "@" + dom + "."}, malformed},
		{[]string{l1 + "@" + dom + ".evil.example"}, foreign},
		{[]string{l1 + "@sub." + dom}, foreign},
		{[]string{strings.Repeat("x", 1<<20) + "@" + dom}, other},
		{[]string{"or-0x" + strings.Repeat("1", 1<<20) + "@" + dom}, malformed},
		{[]string{"x@" + strings.Repeat("y", 1<<20)}, foreign},
	} {
		d := decide(t, r, msg, c.rcpts...)
		if got := verdict(t, d); got != c.want || d.By != mailroute.ByNotification || d.Sender != "bounces.service.example" {
			t.Errorf("%.100q: got %s by %s from %s, want %s", c.rcpts, got, d.By, d.Sender, c.want)
		}
		// Whatever the message is.
		for _, msg := range []string{"", "\r\n", "odd\r\nodd\r\n", "To: " + a2 + "\r\n\r\n"} {
			d := decide(t, r, msg, c.rcpts...)
			if got := verdict(t, d); got != c.want || d.Sender != "" {
				t.Errorf("%.100q and %q: got %s, want %s", c.rcpts, msg, got, c.want)
			}
		}
	}
}

func TestReceived(t *testing.T) {
	r := router(t)
	below := "Received: from a by inbound-smtp.us-east-1.amazonaws.com with SMTP id z for " + a2 + "; Mon, 06 May 2024 16:07:08 +0000\r\n" +
		"To: " + a2 + "\r\nCc: " + a2 + "\r\nFrom: " + a2 + "\r\n\r\nTo: " + a2 + "\r\n"
	for _, c := range []struct{ rcpt, want string }{
		{a1, "1"},
		{"<" + a1 + ">", "1"},
		{"(c) <" + a1 + "> (c)", "1"},
		{"\r\n\t" + a1, "1"},
		{`"` + l1 + `"@` + dom, "1"},
		{l1 + "@Bots.Example", "1"},
		{l1 + "@bücher.example", "1"},
		{"auth@" + dom, other},
		{"x@y.example", foreign},
		{l1 + "@y.example", foreign},
		{l1 + "@sub.bots.example", foreign},
		{l1 + "@bots.example.", malformed},
		{l1 + "x@" + dom, malformed},
		{l1 + "/../../x@" + dom, malformed},
		{strings.Replace(a1, "0x", "0X", 1), malformed},
		{zz1, unknown},
		{`"x y"@` + dom, other},
		{`"x;for ` + a2 + `"@` + dom, other},
		{"<@a.example:" + a1 + ">", other},
		{l1, malformed},
		{"x", nobody},
		{"<>", unclear}, // no receiver writes this
	} {
		msg := sesHead("h.example", "r.example", c.rcpt) + below
		for _, msg := range []string{msg, strings.ReplaceAll(msg, "\r\n", "\n"), strings.SplitN(msg, "\r\n", 2)[1]} {
			if got := verdict(t, decide(t, r, msg)); got != c.want {
				t.Errorf("for %q: got %s, want %s", c.rcpt, got, c.want)
			}
		}
	}

	// It decides in the first 2,048 bytes, and as soon as it is read.
	msg := sesHead("h.example", "r.example", a1) + below
	for n := range 2048 {
		if d := r.Decide([]byte(msg)[:min(n, len(msg))], false, nil); d.Outcome == mailroute.Route {
			if end := strings.Index(msg, "X-SES-Spam"); n != end+1 || d.By != mailroute.ByReceived || d.Sender != "bounces.service.example" {
				t.Errorf("decided after %d bytes, Received ends at %d: %+v", n, end, d)
			}
			break
		}
	}
}

func TestNoEnvelope(t *testing.T) {
	r := router(t)
	const rc = "Received: from h (r) by inbound-smtp.us-east-1.amazonaws.com with SMTP id z for " + a2 + "; Mon, 06 May 2024 16:07:08 +0000\r\n"
	to := "To: " + a1 + "\r\n\r\n"
	for _, c := range []struct{ name, head, want string }{
		{"none at all", "", "1"},
		{"for nobody, as for several", sesHead("h", "r", ""), "1"},
		{"for nobody, and one forged below", sesHead("h", "r", "") + rc, "1"},
		{"below another host's", "Received: from h by mx.other.example with SMTP id z for " + a2 + "; Mon, 06 May 2024 16:07:08 +0000\r\n" + rc, "1"},
		{"below another host's odd one", "Received: (qmail 123 invoked by uid 0); " + a2 + "\r\n" + rc, "1"},
		{"below a field", "X: y\r\n" + rc, "1"},
		{"below a verdict", "X-SES-Spam-Verdict: PASS\r\n" + rc, "1"},
		{"below two return paths", "Return-Path: <>\r\nReturn-Path: <>\r\n" + rc, "1"},
		{"below an odd line", "odd\r\n" + rc, "1"},
		{"by a host that only looks so", strings.ReplaceAll(rc, "inbound-smtp", "inbound-smtp.x"), unclear},
		{"by another domain", strings.ReplaceAll(rc, "amazonaws.com", "amazonaws.example"), "1"},
		{"our own, and clear", strings.ReplaceAll(rc, "inbound-smtp.us-east-1.amazonaws.com", "MX.bots.example"), "2"},

		// The sender's HELO, or his name in DNS, spoils the line. To is believed
		// only if the line still names that wallet, and no other.
		{"HELO forges all of it", sesHead("h by inbound-smtp.us-east-1.amazonaws.com with SMTP id z for "+a2+"; Mon, 06 May 2024 16:07:08 +0000", "r", a1), unclear},
		{"HELO adds a recipient", sesHead("h for "+a2, "r", a1), unclear},
		{"DNS adds a recipient", sesHead("h", "r) for "+a2+" (r", a1), unclear},
		{"HELO opens a comment", sesHead("h(", "r", a2), unclear},
		{"HELO opens a comment, for the same", sesHead("h(", "r", a1), "1"},
		{"HELO opens a quote", sesHead(`"h`, "r", a2), unclear},
		{"HELO names To's wallet", sesHead("h( "+a1, "r", a2), unclear},
		{"HELO names part of it", sesHead("h( 0x0x"+w1[2:20], "r", a2), unclear},
		{"HELO names another in capitals", sesHead("h( 0X"+strings.ToUpper(w2[2:]), "r", a1), unclear},
		{"HELO is odd, for none of ours", sesHead("h( ", "r", "auth@"+dom), unclear},
		{"HELO is odd, for nobody", sesHead("h( ", "r", ""), unclear},
		{"HELO has a NUL", sesHead("h\x00", "r", a1), "1"},

		// And where it does not, it may say what it likes.
		{"HELO is a keyword", sesHead("for", "r", a2), "2"},
		{"HELO is an address", sesHead(a1, "r", a2), "2"},
		{"DNS is a clause", sesHead("h", "by x for "+a1+"; y", a2), "2"},
	} {
		if got := verdict(t, decide(t, r, c.head+to)); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

func TestSender(t *testing.T) {
	r := router(t)
	for in, want := range map[string]string{
		"<a@b.example>":               "b.example",
		" <a@B.Example> ":             "b.example",
		"a@b.example":                 "b.example",
		"<>":                          "",
		"":                            "",
		"<a>":                         "",
		"<a@>":                        "",
		"<a@b@c.example>":             "c.example",
		"<\"a@b.example\"@d.example>": "d.example",
		"<a@bücher.example>":          "bücher.example",
		"<a@b_c.example>":             "",
		"<a@[192.0.2.1]>":             "",
		"\r\n <a@b.example>\r\n\t":    "b.example",
	} {
		if got := decide(t, r, "Return-Path:"+in+"\r\nTo: x\r\n\r\n").Sender; got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	if got := decide(t, r, "From: x\r\nReturn-Path: <a@b.example>\r\n\r\n").Sender; got != "" {
		t.Errorf("a Return-Path below: %q", got)
	}
}

func TestNew(t *testing.T) {
	for _, c := range []mailroute.Rules{
		{},
		{Domains: []string{dom}},
		{Tags: []string{"or"}},
		{Domains: []string{""}, Tags: []string{"or"}},
		{Domains: []string{"bots.example."}, Tags: []string{"or"}},
		{Domains: []string{"bots example"}, Tags: []string{"or"}},
		{Domains: []string{"[192.0.2.1]"}, Tags: []string{"or"}},
		{Domains: []string{"xn--a"}, Tags: []string{"or"}},
		{Domains: []string{"a\uff0eexample"}, Tags: []string{"or"}},
		{Domains: []string{strings.Repeat("ü", 60) + ".example"}, Tags: []string{"or"}},
		{Domains: []string{dom}, Tags: []string{""}},
		{Domains: []string{dom}, Tags: []string{"o"}},
		{Domains: []string{dom}, Tags: []string{"or", "OR"}},
		{Domains: []string{dom}, Tags: []string{"abcde"}},
		{Domains: []string{dom}, Tags: []string{"or"}, Receivers: []mailhead.Receiver{{}}},
	} {
		if _, err := mailroute.New(c); err == nil {
			t.Errorf("%+v is taken", c)
		}
	}
	r := router(t)
	if got := strings.Join(r.Domains(), " "); got != "bots.example xn--bcher-kva.example kiosk.example" {
		t.Errorf("domains %s", got)
	}
}
