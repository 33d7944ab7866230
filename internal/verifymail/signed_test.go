package verifymail

import (
	"strings"
	"testing"

	"github.com/litentry/agentkeys/internal/mailhead"
)

// A pass counts for what was signed: the law of what a signature must cover.
func TestSigned(t *testing.T) {
	const all = "from:to:subject:mime-version:content-type:content-transfer-encoding"
	// sig puts signatures in the place of the one that is there.
	sig := func(tags ...string) func(*letter) {
		return func(l *letter) {
			l.more, _, _ = strings.Cut(l.more, "DKIM-Signature:")
			for _, s := range tags {
				l.more += "DKIM-Signature: " + s + "\r\n"
			}
		}
	}
	signs := func(h string) string {
		return "v=1; a=rsa-sha256; d=openrouter.ai; s=fake; h=" + h + "; bh=ZmFrZQ==; b=ZmFrZQ=="
	}
	of := func(d string) string { return strings.Replace(signs("from"), "openrouter.ai", d, 1) }
	without := func(name string) string {
		return signs(strings.Trim(strings.ReplaceAll(strings.ReplaceAll(":"+all+":", ":"+name+":", ":"), "::", ":"), ":"))
	}
	encoded := func(l *letter) { l.cte = "8bit" }
	var examples []example
	for _, e := range []struct {
		name, want string
		edit       func(*letter)
	}{
		{"all of it", "271828", with(encoded, sig(signs(all)))},
		{"capitals", "271828", sig(signs(strings.ToUpper(all)))},
		{"folded", "271828", sig(signs(strings.ReplaceAll(all, ":", "\r\n\t : ")))},
		{"signed twice", "271828", sig(signs("from:from:to:to:" + all))},
		{"with a user", "271828", sig(signs(all) + "; i=robot=40x@em.openrouter.ai")},
		{"a semicolon at the end", "271828", sig(signs(all) + ";")},
		{"a semicolon and spaces at the end", "271828", sig(signs(all) + ";\t ")},
		{"not more than there is", "271828", func(l *letter) {
			sig(signs("from:to"))(l)
			l.ctype, l.more = "", strings.Replace(l.more, "MIME-Version: 1.0\r\n", "", 1)
		}},
		{"two of the organisation's", "271828", sig(signs(all), strings.Replace(signs(all), "openrouter", "em.openrouter", 1))},
		{"beside the provider's", "271828", sig(of("amazonses.com"), signs(all))},

		{"without To", "partly-signed", sig(without("to"))},
		{"without From", "partly-signed", sig(without("from"))},
		{"without what the body is", "partly-signed", sig(without("content-type"))},
		{"without the version of MIME", "partly-signed", sig(without("mime-version"))},
		{"without the encoding", "partly-signed", with(encoded, sig(without("content-transfer-encoding")))},
		{"a name that ends so", "partly-signed", sig(strings.Replace(signs(all), ":to:", ":reply-to:", 1))},
		{"another of the organisation's without To", "partly-signed", sig(signs(all), strings.Replace(without("to"), "openrouter", "em.openrouter", 1))},
		{"the first of them without To", "partly-signed", sig(without("to"), signs(all))},
		{"none", "partly-signed", sig()},
		{"the provider's alone", "partly-signed", sig(of("amazonses.com"))},
		{"a length", "partly-signed", sig(signs(all) + "; l=120")},
		{"a length of the provider's", "partly-signed", sig(of("amazonses.com")+"; l=120", signs(all))},
		{"a length in capitals", "partly-signed", sig(signs(all) + "; L=120")},
		{"h twice", "partly-signed", sig(signs("from") + "; h=" + all)},
		{"one that cannot be read beside a good one", "partly-signed", sig(signs(all), "v=1; d=openrouter.ai; b=x; =")},
		{"one that cannot be read before a good one", "partly-signed", sig("v=1; d=openrouter.ai; x", signs(all))},
		{"no h", "partly-signed", sig("v=1; d=openrouter.ai")},
		{"an empty name in h", "partly-signed", sig(signs(all + "::subject"))},
		{"a name with a space in h", "partly-signed", sig(signs(all + ":x y"))},
		{"a tag without a value", "partly-signed", sig(signs(all) + "; x")},
		{"an empty tag", "partly-signed", sig(";" + signs(all))},
		{"bytes beyond ASCII", "partly-signed", sig(signs(all) + "; z=ä")},
		{"too long", "partly-signed", sig(signs(all) + "; z=" + strings.Repeat("x", maxField))},

		{"no d", "bad-verdicts", sig("v=1; h=" + all)},
		{"a comment in d", "bad-verdicts", sig(of("openrouter.ai(x).evil.example"), signs(all))},
		{"a quoted string in i", "bad-verdicts", sig(signs(all) + `; i="a b"@openrouter.ai`)},
		{"a comment in i", "bad-verdicts", sig(signs(all) + "; i=(x)@openrouter.ai")},
		{"i of another", "bad-verdicts", sig(signs(all) + "; i=@evil.example")},
		{"i without an at", "bad-verdicts", sig(signs(all) + "; i=openrouter.ai")},
		{"d with a full stop", "bad-verdicts", sig(of("openrouter.ai."), signs(all))},
		{"d with a space", "bad-verdicts", sig(of("openrouter.ai evil.example"), signs(all))},
	} {
		examples = append(examples, example{e.name, with(plain(good), e.edit), openrouter(), e.want})
	}
	run(t, examples)
}

// Whoever stores a mail need not be of one mind with us about where a header
// ends and what is in it: then there is no mail.
func TestHeaderReadInOneWay(t *testing.T) {
	more := func(s string) func(*letter) { return func(l *letter) { l.more += s } }
	raw := func(old, s string) func(*letter) {
		return func(l *letter) {
			for _, p := range []*string{&l.more, &l.tail, &l.from, &l.received} {
				*p = strings.Replace(*p, old, s, 1)
			}
		}
	}
	var examples []example
	for _, e := range []struct {
		name, want string
		edit       func(*letter)
	}{
		{"names and values of all kinds", "271828", more("X-!#$%&'*+^`{|}~: \tä\t\"(\r\n\tx\r\n")},
		{"an empty value", "271828", more("X-Empty:\r\n")},
		{"fields that may stand twice", "271828", more("Received: x\r\nReceived: y\r\nX-A: 1\r\nX-A: 2\r\nResent-To: a@b.example\r\n")},

		{"an odd line", "bad-header", more("junk\r\n")},
		{"two odd lines", "bad-header", more("junk\r\njunk\r\nX: y\r\n")},
		{"a name beyond ASCII", "bad-header", more("Ü: 1\r\n")},
		{"a name with a control character", "bad-header", more("To\v: x@evil.example\r\n")},
		{"a name with a space", "bad-header", more("X Y: 1\r\n")},
		{"a space before the colon", "bad-header", more("X-A : 1\r\n")},
		{"no name", "bad-header", more(": 1\r\n")},
		{"a lone LF", "bad-header", more("X-A: 1\nX-B: 2\r\n")},
		{"an empty line of LF", "bad-header", more("X-A: 1\r\n\nX-B: 2\r\n")},
		{"two LF", "bad-header", more("X-A: 1\n\nX-B: 2\r\n")},
		{"a CR LF among LF", "bad-header", with(func(l *letter) { l.eol = "\n" }, more("X-A: 1\r\r\nX-B: 2\r\n"))},
		{"a block of ours of another kind", "bad-header", raw("t=1; v=1;", "t=1;\n v=1;")},
		{"a field of ours of another kind", "bad-header", raw("\r\nX-SES-DKIM", "\nX-SES-DKIM")},
		{"a lone CR", "bad-header", more("X-A: 1\rTo: x@evil.example\r\n")},
		{"a CR at the end", "bad-header", more("X-A: 1\r\r\n")},
		{"NUL", "bad-header", more("X-A: \x00\r\n")},
		{"DEL", "bad-header", more("X-A: \x7f\r\n")},
		{"a form feed", "bad-header", more("X-A: \f\r\n")},
		{"a fold of spaces", "bad-header", more("X-A: 1\r\n \t\r\n 2\r\n")},
		{"a fold of nothing at the end", "bad-header", more("X-A: 1\r\n \r\n")},
	} {
		examples = append(examples, example{e.name, with(plain(good), e.edit), openrouter(), e.want})
	}
	for _, name := range []string{"Date", "From", "Sender", "Reply-To", "To", "Cc", "Bcc", "Message-ID", "In-Reply-To", "References", "Subject",
		"MIME-Version", "Content-Type", "Content-Transfer-Encoding", "Content-Disposition"} {
		examples = append(examples,
			example{name + " twice", with(plain(good), more(name+": x\r\nX-A: y\r\n"+strings.ToUpper(name)+": y\r\n")), openrouter(), "bad-header"})
	}
	run(t, examples)

	// Without its empty line, and cut anywhere in it.
	l := newLetter()
	msg := l.bytes()
	for _, cut := range []int{1, 2, 3, 10} {
		if got := show(Extract(msg[:len(msg)-cut], query(t), openrouter())); got != "bad-header" && (cut > 2 || got == "271828") {
			t.Errorf("without its last %d bytes: %s", cut, got)
		}
	}
}

// The rest of a block is not taken from the sender.
func TestBlockOfSES(t *testing.T) {
	forge := func(l *letter) { // he writes all that SES left out
		l.from = l.tail + l.from
	}
	var examples []example
	for _, e := range []struct {
		name, want string
		edit       func(*letter)
	}{
		{"no Return-Path", "not-received", func(l *letter) { l.returnPath = "" }},
		{"no Received-SPF", "not-received", func(l *letter) { l.spf = "" }},
		{"no results", "not-received", func(l *letter) { l.auth = "" }},
		{"no receipt", "not-received", func(l *letter) { l.tail = l.tail[strings.Index(l.tail, "X-SES-DKIM"):] }},
		{"no signature", "not-received", func(l *letter) { l.tail = l.tail[:strings.Index(l.tail, "X-SES-DKIM")] }},
		{"a signature of another", "not-received", func(l *letter) { l.tail = strings.Replace(l.tail, "amazonses.com", "evil.example", 1) }},
		{"a signature of two", "not-received", func(l *letter) {
			l.tail = strings.Replace(l.tail, "d=amazonses.com", "d=evil.example; d=amazonses.com", 1)
		}},
		{"a signature that is none", "not-received", func(l *letter) { l.tail = "X-SES-RECEIPT: x\r\nX-SES-DKIM-SIGNATURE: x\r\n" }},
		{"not scanned for spam", "spam-verdict", func(l *letter) { l.spam = "" }},
		{"not scanned for viruses", "virus-verdict", func(l *letter) { l.virus = "" }},
		{"two tails", "not-received", forge},
		{"another receipt", "not-received", func(l *letter) { l.more += "X-SES-Receipt: x\r\n" }},
		{"another signature", "not-received", func(l *letter) { l.more += "x-ses-dkim-signature: x\r\n" }},
		{"a verdict twice", "not-received", func(l *letter) { l.virus += "\r\nX-SES-Virus-Verdict: PASS" }},
		{"results twice", "not-received", func(l *letter) { l.auth += "\r\nAuthentication-Results: amazonses.com; dkim=none" }},
		{"verdicts below", "spam-verdict", func(l *letter) {
			l.spam, l.from = "FAIL", "X-SES-Spam-Verdict: PASS\r\nX-SES-Virus-Verdict: PASS\r\n"+l.from
		}},
		{"the sender's, where SES did not write its own", "not-received", func(l *letter) {
			tail := l.tail
			l.tail = "Received-SPF: pass\r\nAuthentication-Results: " + l.auth + "\r\n" + tail + tail
			l.auth, l.spf = "", ""
		}},
	} {
		examples = append(examples, example{e.name, with(plain(good), e.edit), openrouter(), e.want})
	}
	run(t, examples)
}

// What touches a comment, or is no result, could be read in two ways.
func TestResultsInOneWay(t *testing.T) {
	for v, want := range map[string]bool{
		"dkim=pass (2048-bit key) header.i=@a.example;":             true,
		"dkim=pass\t(x)\theader.i=@a.example":                       true,
		"(x) dkim=pass header.i=@a.example (y)":                     true,
		"dkim=pass header.i=@a.example ;(x); dmarc=none":            true,
		"dkim=pass reason=\"good enough\" header.i=@a.example":      true,
		"dkim=pass header.i=@a.example(x).evil.example":             false,
		"dkim=pass header.i=@a.example (x).evil.example":            false,
		"dkim=pass header.i=@a.example(x)":                          false,
		"dkim=pass(x)header.i=@a.example":                           false,
		"dkim=pass (x)(y) header.i=@a.example":                      false,
		"dkim=pass (x)\"y\" header.i=@a.example":                    false,
		"dkim=pass header.i=@a.example evil.example":                false,
		"dkim=pass header.i=@a.example (x)y=z":                      false,
		"spf=pass (x)a=b; dkim=pass header.i=@a.example":            false,
		"spf=pass a=b(x) ; dkim=pass header.i=@a.example":           false,
		"dkim=pass header.i=@evil.example dmarc":                    false,
		"dkim=pass header.i=@a.example; dmarc=pass header.from=a.b": true,
		"dkim=pass header.i=@a.example; dmarc=pass evil.example":    false,
	} {
		if a, ok := parseAuth("amazonses.com; "+v, "amazonses.com"); ok != want || ok && (len(a.dkim) != 1 || a.dkim[0] != "a.example") {
			t.Errorf("%s: %v %v", v, ok, a.dkim)
		}
	}
	// A person who looks is told no more than what is beyond doubt.
	l := newLetter()
	l.more = strings.Replace(l.more, "d=openrouter.ai", "d=openrouter.ai(x).evil.example", 1)
	if v := Verdict(l.bytes(), mailhead.SES()); v.Aligned || len(v.DKIM) != 0 {
		t.Errorf("%+v", v)
	}
	l = newLetter()
	l.more += "To\v: x@evil.example\r\n"
	if v := Verdict(l.bytes(), mailhead.SES()); v.Aligned || len(v.DKIM) != 0 || !v.Received || v.Spam != "pass" {
		t.Errorf("%+v", v)
	}
	l = newLetter()
	l.more += "X-SES-RECEIPT: x\r\n"
	if v := Verdict(l.bytes(), mailhead.SES()); v.Received {
		t.Errorf("%+v", v)
	}
}

// FuzzTags: what is read of a tag list is there, and reads the same when written
// plainly.
func FuzzTags(f *testing.F) {
	f.Add([]byte(" v=1; d=a.example;\r\n h=from : to;\r\n\tb=Zm\r\n Fr=;"))
	f.Add([]byte("v=1;;"))
	f.Fuzz(func(t *testing.T, v []byte) {
		tags, ok := parseTags(v)
		if !ok {
			return
		}
		plain := ""
		for name, value := range tags {
			if !strings.Contains(mailhead.Unfold(v), name) || !strings.Contains(mailhead.Unfold(v), value) || strings.ContainsAny(name+value, ";\r\n") {
				t.Fatalf("%q=%q of %q", name, value, v)
			}
			plain += name + "=" + value + ";"
		}
		again, ok := parseTags([]byte(plain))
		if !ok || len(again) != len(tags) {
			t.Fatalf("%q is not read as %q", plain, v)
		}
		for name, value := range tags {
			if again[name] != value {
				t.Fatalf("%q: %q, written plainly %q", name, value, again[name])
			}
		}
		parseSignature(v)
	})
}
