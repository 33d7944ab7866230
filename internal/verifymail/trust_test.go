package verifymail

import (
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/mailhead"
)

const good = "Your verification code is: 271828\r\n"

func TestTrust(t *testing.T) {
	swap := func(from, to string) func(*letter) {
		return func(l *letter) {
			n := strings.NewReplacer(from, to)
			l.auth, l.received, l.from, l.more = n.Replace(l.auth), n.Replace(l.received), n.Replace(l.from), n.Replace(l.more)
		}
	}
	from := func(s string) func(*letter) { return func(l *letter) { l.from = "From: " + s + "\r\n" } }
	auth := func(s string) func(*letter) { return func(l *letter) { l.auth = "amazonses.com; " + s } }
	other := strings.Replace(mailbox, "179531280012345678", "179531280012345679", 1)
	ses := newLetter()
	forged := "Authentication-Results: " + ses.auth + "\r\n"
	block := "Return-Path: <x@openrouter.ai>\r\nReceived: " + ses.received + "\r\nX-SES-Spam-Verdict: PASS\r\nX-SES-Virus-Verdict: PASS\r\nReceived-SPF: pass\r\n" + forged + ses.tail
	var examples []example
	for _, e := range []struct {
		name, want string
		edit       func(*letter)
	}{
		{"as it should be", "271828", func(*letter) {}},
		{"LF", "271828", func(l *letter) { l.eol = "\n" }},
		{"a subdomain sends", "271828", swap("noreply@openrouter.ai", "noreply@mail.openrouter.ai")},
		{"a subdomain signs", "271828", swap("header.i=@openrouter.ai", "header.i=@em.openrouter.ai")},
		{"the signer has a user", "271828", swap("header.i=@openrouter.ai", "header.i=robot@openrouter.ai")},
		{"header.d", "271828", swap("header.i=@openrouter.ai", "header.d=openrouter.ai")},
		{"header.d above header.i", "271828", swap("header.i=@openrouter.ai", "header.d=openrouter.ai header.i=@em.openrouter.ai")},
		{"two signers", "271828", swap("dkim=pass header.i=@openrouter.ai;", "dkim=pass header.i=@amazonses.com; dkim=pass header.i=@openrouter.ai;")},
		{"one signature fails", "271828", swap("dkim=pass header.i=@openrouter.ai;", "dkim=fail header.i=@openrouter.ai; dkim=pass header.i=@openrouter.ai;")},
		{"no DMARC policy", "271828", swap("dmarc=pass", "dmarc=none")},
		{"DMARC not looked for", "271828", swap("\r\n dmarc=pass header.from=openrouter.ai;", "")},
		{"capitals", "271828", swap("noreply@openrouter.ai", "NoReply@OpenRouter.AI")},
		{"no name", "271828", from("noreply@openrouter.ai")},
		{"a quoted name", "271828", from(`"OpenRouter, Inc.: (support)" <noreply@openrouter.ai>`)},
		{"an encoded name", "271828", from("=?utf-8?q?Open=C3=A4Router?= <noreply@openrouter.ai>")},
		{"a folded From", "271828", from("OpenRouter\r\n <noreply@openrouter.ai>")},
		{"To with a name", "271828", func(l *letter) { l.to = "To: \"You\" <" + mailbox + ">\r\n" }},
		{"To in capitals", "271828", func(l *letter) {
			l.to = "To: " + strings.Replace(strings.Replace(mailbox, "aabbccddeeff", "AABBCCDDEEFF", 1), "example", "EXAMPLE", 1) + "\r\n"
		}},
		{"no recipient in the envelope", "271828", swap("\r\n for "+mailbox, "")},
		{"a bounce address of its own", "271828", func(l *letter) { l.returnPath = "<0100018c-fake+x=y@amazonses.com>" }},
		{"a null sender", "271828", func(l *letter) { l.returnPath = "<>" }},

		{"spam", "spam-verdict", func(l *letter) { l.spam = "FAIL" }},
		{"perhaps spam", "spam-verdict", func(l *letter) { l.spam = "GRAY" }},
		{"not scanned for spam", "spam-verdict", func(l *letter) { l.spam = "" }},
		{"the scanner failed", "spam-verdict", func(l *letter) { l.spam = "PROCESSING_FAILED" }},
		{"a virus", "virus-verdict", func(l *letter) { l.virus = "FAIL" }},
		{"not scanned for viruses", "virus-verdict", func(l *letter) { l.virus = "" }},
		{"a verdict with more", "spam-verdict", func(l *letter) { l.spam = "PASS (but FAIL)" }},

		{"DKIM fails", "dkim-not-passed", swap("dkim=pass", "dkim=fail")},
		{"no DKIM", "dkim-not-passed", swap("dkim=pass header.i=@openrouter.ai;", "dkim=none;")},
		{"no results at all", "not-received", func(l *letter) { l.auth = "" }},
		{"none", "dkim-not-passed", auth("none")},
		{"a pass without a signer", "dkim-not-passed", swap("dkim=pass header.i=@openrouter.ai;", "dkim=pass;")},
		{"signed by the sender's provider alone", "dkim-not-aligned", swap("header.i=@openrouter.ai", "header.i=@amazonses.com")},
		{"signed by one with the same end", "dkim-not-aligned", swap("header.i=@openrouter.ai", "header.i=@evilopenrouter.ai")},
		{"signed by one with the same beginning", "dkim-not-aligned", swap("header.i=@openrouter.ai", "header.i=@openrouter.ai.evil.example")},
		{"signed by the registry", "dkim-not-aligned", swap("header.i=@openrouter.ai", "header.i=@com.ai")},
		{"header.i is not below header.d", "bad-verdicts", swap("header.i=@openrouter.ai", "header.i=@openrouter.ai header.d=evil.example")},
		{"header.i twice", "bad-verdicts", swap("header.i=@openrouter.ai", "header.i=@evil.example header.i=@openrouter.ai")},
		{"DMARC fails", "dmarc-failed", swap("dmarc=pass", "dmarc=fail")},
		{"DMARC in doubt", "dmarc-failed", swap("dmarc=pass", "dmarc=temperror")},
		{"DMARC of another From", "bad-verdicts", swap("header.from=openrouter.ai", "header.from=evil.example")},
		{"DMARC without a result", "bad-verdicts", swap("dmarc=pass", "dmarc=")},
		{"DMARC twice", "bad-verdicts", swap("dmarc=pass", "dmarc=fail; dmarc=pass")},
		{"results of another host", "bad-verdicts", swap("amazonses.com;\r\n spf", "evil.example;\r\n spf")},
		{"results of a longer name", "bad-verdicts", swap("amazonses.com;\r\n spf", "amazonses.com.evil.example;\r\n spf")},
		{"a result in a comment", "dkim-not-passed", auth("spf=pass (x; dkim=pass header.i=@openrouter.ai; y) client-ip=192.0.2.7; dkim=fail header.i=@openrouter.ai; dmarc=none header.from=openrouter.ai;")},
		{"a comment in a comment", "dkim-not-passed", auth("spf=pass (a (b) ; dkim=pass header.i=@openrouter.ai; (c)); dmarc=none;")},
		{"a comment that does not end", "bad-verdicts", auth("spf=pass (; dkim=pass header.i=@openrouter.ai;")},
		{"a comment that ends twice", "bad-verdicts", auth("spf=pass ()); dkim=pass header.i=@openrouter.ai;")},
		{"a result in a quoted string", "dkim-not-passed", auth(`spf=pass smtp.mailfrom="x; dkim=pass header.i=@openrouter.ai; "@evil.example; dmarc=none;`)},
		{"a result as an envelope sender", "bad-verdicts", auth("spf=pass; envelope-from=x; dkim=pass header.i=@openrouter.ai; @evil.example; helo=evil.example; dmarc=none;")},
		{"an envelope sender with a quoted string", "bad-verdicts", func(l *letter) { l.returnPath = `<"x; dkim=pass header.i=@openrouter.ai;"@evil.example>` }},
		{"an envelope sender with a comment", "bad-verdicts", func(l *letter) { l.returnPath = "<x(y)@evil.example>" }},
		{"SPF twice", "bad-verdicts", auth("spf=pass; spf=fail; dkim=pass header.i=@openrouter.ai;")},
		{"SPF at the end", "bad-verdicts", auth("dkim=pass header.i=@openrouter.ai; dmarc=pass header.from=openrouter.ai; spf=pass")},
		{"a method without a result", "bad-verdicts", auth("dkim; dkim=pass header.i=@openrouter.ai;")},
		{"results beyond ASCII", "bad-verdicts", auth("dkim=pass header.i=@öpenrouter.ai;")},
		{"too many results", "bad-verdicts", auth(strings.Repeat("dkim=pass header.i=@openrouter.ai;", 70))},
		{"a signature with a length", "partly-signed", func(l *letter) { l.more = strings.Replace(l.more, "v=1;", "v=1; l=120;", 1) }},
		{"a signature with a folded length", "partly-signed", func(l *letter) { l.more = strings.Replace(l.more, "v=1;", "v=1;\r\n l\t=\r\n 120;", 1) }},

		{"another sender", "sender-not-allowed", with(swap("noreply@openrouter.ai", "noreply@evil.example"), swap("=@openrouter.ai", "=@evil.example"), swap("from=openrouter.ai", "from=evil.example"))},
		{"a look-alike", "sender-not-allowed", with(swap("noreply@openrouter.ai", "noreply@0penrouter.ai"), swap("=@openrouter.ai", "=@0penrouter.ai"), swap("from=openrouter.ai", "from=0penrouter.ai"))},
		{"a homoglyph", "sender-not-allowed", with(swap("noreply@openrouter.ai", "noreply@оpenrouter.ai"), swap("\r\n dmarc=pass header.from=openrouter.ai;", ""))},
		{"a domain that ends so", "sender-not-allowed", with(swap("noreply@openrouter.ai", "noreply@notopenrouter.ai"), swap("from=openrouter.ai", "from=notopenrouter.ai"))},
		{"a domain that begins so", "sender-not-allowed", with(swap("noreply@openrouter.ai", "noreply@openrouter.ai.evil.example"), swap("from=openrouter.ai", "from=openrouter.ai.evil.example"))},
		{"From a name that is an address", "bad-from", from(`"noreply@openrouter.ai" <noreply@mail.openrouter.ai>`)},
		{"From an encoded name that is an address", "bad-from", from("=?utf-8?q?noreply=40openrouter.ai?= <noreply@mail.openrouter.ai>")},
		{"From a name in two encoded words", "bad-from", from("=?utf-8?q?noreply=40?= =?utf-8?q?openrouter.ai?= <noreply@mail.openrouter.ai>")},
		{"From an unknown charset", "bad-from", from("=?x-odd?q?noreply?= <noreply@openrouter.ai>")},
		{"From two addresses", "bad-from", from("noreply@openrouter.ai, x@evil.example")},
		{"From two in angles", "bad-from", from("<noreply@openrouter.ai> <x@evil.example>")},
		{"From an address with an address", "bad-from", from("noreply@openrouter.ai <x@evil.example>")},
		{"From a group", "bad-from", from("OpenRouter: noreply@openrouter.ai;")},
		{"From an empty group", "bad-from", from("OpenRouter:;")},
		{"From a comment", "bad-from", from("noreply@openrouter.ai (x@evil.example)")},
		{"From a harmless comment", "bad-from", from("noreply@openrouter.ai (Support)")},
		{"From a broken encoded name", "bad-from", from("=?utf-8?x?abc?= <noreply@openrouter.ai>")},
		{"From a quoted user", "bad-from", from(`"x@evil.example"@openrouter.ai`)},
		{"From a route", "bad-from", from("<@openrouter.ai:x@evil.example>")},
		{"From an address literal", "bad-from", from("x@[192.0.2.7]")},
		{"From without a domain", "bad-from", from("noreply")},
		{"From without a dot", "bad-from", from("noreply@localhost")},
		{"From nothing", "bad-from", from("")},
		{"From an encoded address", "bad-from", from("=?utf-8?q?noreply=40openrouter.ai?=")},
		{"no From", "bad-from", func(l *letter) { l.from = "" }},
		{"two From", "bad-header", func(l *letter) { l.from += "From: x@evil.example\r\n" }},
		{"two From that are the same", "bad-header", func(l *letter) { l.from += l.from }},
		{"a From with a space before the colon", "bad-header", func(l *letter) { l.from += "From : x@evil.example\r\n" }},
		{"a From of control characters", "bad-header", from("Open\x00Router <noreply@openrouter.ai>")},
		{"a From that is too long", "bad-from", from(strings.Repeat("a ", 9<<10) + "<noreply@openrouter.ai>")},

		{"for another run", "not-for-run", swap(mailbox, other)},
		{"to another run", "not-for-run", func(l *letter) { l.to = "To: " + other + "\r\n" }},
		{"to nobody", "not-for-run", func(l *letter) { l.to = "To: undisclosed-recipients:;\r\n" }},
		{"to another, and in Cc", "not-for-run", func(l *letter) { l.to = "To: x@evil.example\r\nCc: " + mailbox + "\r\n" }},
		{"to two", "not-for-run", func(l *letter) { l.to = "To: x@evil.example, " + mailbox + "\r\n" }},
		{"to two, ours first", "not-for-run", func(l *letter) { l.to = "To: " + mailbox + ", x@evil.example\r\n" }},
		{"two To", "bad-header", func(l *letter) { l.to = "To: " + mailbox + "\r\nTo: x@evil.example\r\n" }},
		{"no To", "not-for-run", func(l *letter) { l.to = "" }},
		{"to another domain", "not-for-run", swap("@"+domain, "@evil.example")},
		{"to a name that is the address", "not-for-run", func(l *letter) { l.to = "To: \"" + mailbox + "\" <x@evil.example>\r\n" }},

		{"no block", "not-received", func(l *letter) { l.received, l.returnPath = "", "" }},
		{"a host of another name", "not-received", swap("inbound-smtp.us-east-1.amazonaws.com", "inbound-smtp.us-east-1.amazonaws.com.evil.example")},
		{"a block that is not whole", "not-received", func(l *letter) { l.tail = "X-SES-RECEIPT: ZmFrZQ==\r\n" }},
		{"a forged block below one of another", "not-received", func(l *letter) {
			l.returnPath, l.received, l.tail, l.spam, l.virus, l.spf, l.auth = "", "from x by mx.evil.example; Sun, 22 Nov 2026 01:00:07 +0000", "", "", "", "", ""
			l.more += block
		}},
		{"forged results below the block", "dkim-not-passed", func(l *letter) {
			l.auth = "amazonses.com; dkim=fail header.i=@openrouter.ai; dmarc=none;"
			l.from = forged + l.from
		}},
		{"a forged block below the block", "not-received", func(l *letter) { l.spam, l.from = "FAIL", block+l.from }},
		{"no end of the header", "bad-header", func(l *letter) { l.more += strings.Repeat("X-Pad: "+strings.Repeat("x", 900)+"\r\n", 300) }},
		{"too large", "too-large", func(l *letter) { l.body = strings.Repeat("x", MaxMessage) }},
		{"Content-Type twice", "bad-header", func(l *letter) { l.more += "Content-Type: text/html\r\n" }},
		{"an encoding twice", "bad-header", func(l *letter) { l.more += "content-transfer-encoding: 8bit\r\ncontent-transfer-encoding: base64\r\n" }},
	} {
		examples = append(examples, example{e.name, with(plain(good), e.edit), openrouter(), e.want})
	}
	run(t, examples)
}

func TestOwnReceiver(t *testing.T) {
	r := openrouter()
	r.Receiver = mailhead.Host("mx.agentkeys.localhost")
	own := func(l *letter) {
		l.host = "mx.agentkeys.localhost"
		l.received = "from out.openrouter.ai (out.openrouter.ai [192.0.2.7]) by mx.agentkeys.localhost with ESMTPS id 0fake1 for <" + mailbox + ">; Sun, 22 Nov 2026 01:00:07 +0000"
		l.spf = "pass client-ip=192.0.2.7"
		l.auth = "mx.agentkeys.localhost; spf=pass smtp.mailfrom=em.openrouter.ai; dkim=pass header.d=openrouter.ai header.i=@openrouter.ai; dmarc=pass header.from=openrouter.ai"
		l.tail = "X-AgentKeys-Receipt: 0fake1\r\n"
		l.body = good
	}
	run(t, []example{
		{"as it should be", own, r, "271828"},
		{"another receiver's rules", own, openrouter(), "not-received"},
		{"SES, where ours is wanted", plain(good), r, "not-received"},
		{"a receipt of another mail", with(own, func(l *letter) { l.tail = "X-AgentKeys-Receipt: 0fake2\r\n" }), r, "not-received"},
		{"not signed", with(own, func(l *letter) {
			l.auth = "mx.agentkeys.localhost; spf=pass; dkim=none; dmarc=pass header.from=openrouter.ai"
		}), r, "dkim-not-passed"},
		// It has no scanner, and what a sender claims does not count.
		{"a verdict of the sender's", with(own, func(l *letter) { l.from = "X-SES-Spam-Verdict: FAIL\r\n" + l.from }), r, "271828"},
	})
}

func TestNotBefore(t *testing.T) {
	for _, c := range []struct {
		name string
		when time.Time
		edit func(*letter)
		want string
	}{
		{"any", time.Time{}, func(*letter) {}, "271828"},
		{"before", at.Add(-time.Hour), func(*letter) {}, "271828"},
		{"in the same second", at.Add(999 * time.Millisecond), func(*letter) {}, "271828"},
		{"a second later", at.Add(time.Second), func(*letter) {}, "too-early"},
		{"another zone", at, func(l *letter) {
			l.received = strings.Replace(l.received, "01:00:07 +0000 (UTC)", "03:00:07 +0200", 1)
		}, "271828"},
		{"a day that is none", at, func(l *letter) { l.received = strings.Replace(l.received, "22 Nov", "32 Nov", 1) }, "too-early"},
		{"a Date in the future", at.Add(time.Hour), func(l *letter) { l.more = strings.Replace(l.more, "1970", "2070", 1) }, "too-early"},
	} {
		run(t, []example{{c.name, with(plain(good), c.edit), openrouter(), c.want}}, func(q *Query) { q.NotBefore = c.when })
	}
}

func TestVerdict(t *testing.T) {
	l := newLetter()
	l.body = good
	got := Verdict(l.bytes(), mailhead.SES())
	if !got.Received || !got.At.Equal(at) || got.Spam != "pass" || got.Virus != "pass" || got.SPF != "pass" ||
		len(got.DKIM) != 1 || got.DKIM[0] != "openrouter.ai" || got.DMARC != "pass" || got.From != "openrouter.ai" || !got.Aligned {
		t.Errorf("%+v", got)
	}
	l.spam, l.from = "FAIL", "From: a@evil.example\r\n"
	if got := Verdict(l.bytes(), mailhead.SES()); got.Spam != "fail" || got.From != "evil.example" || got.Aligned || got.DMARC != "" {
		t.Errorf("%+v", got)
	}
	if got := Verdict(l.bytes(), mailhead.Host("mx.example.com")); got.Received || got.From != "" {
		t.Errorf("%+v", got)
	}
	if got := Verdict(nil, mailhead.SES()); got.Received {
		t.Errorf("%+v", got)
	}
	l.spam = strings.Repeat("A", 30)
	if got := Verdict(l.bytes(), mailhead.SES()); got.Spam != "unknown" {
		t.Errorf("%+v", got)
	}
}
