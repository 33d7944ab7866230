package mailroute_test

import (
	"strings"
	"testing"

	"github.com/litentry/agentkeys/internal/mailhead"
	"github.com/litentry/agentkeys/internal/mailroute"
	"github.com/litentry/agentkeys/internal/mailstore"
)

const (
	w1  = "0x1111111111111111111111111111111111111abc"
	w2  = "0x2222222222222222222222222222222222222abc"
	dom = "bots.example"
	l1  = "or-" + w1 + "-170000000012345678"
	l2  = "or-" + w2 + "-170000000012345678"
	a1  = l1 + "@" + dom
	a1b = "br-" + w1 + "-170000000087654321@" + dom
	a2  = l2 + "@" + dom
	zz2 = "zz-" + w2 + "-170000000012345678@" + dom // a tag nobody has
	zz1 = "zz-" + w1 + "-170000000012345678@" + dom
)

func router(t testing.TB) *mailroute.Router {
	t.Helper()
	r, err := mailroute.New(mailroute.Rules{
		Domains:   []string{dom, "Bücher.example", "kiosk.example"},
		Tags:      []string{"or", "br", "abcd"},
		Receivers: []mailhead.Receiver{mailhead.SES(), mailhead.Host("mx.bots.example")},
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const (
	several   = mailroute.ReasonSeveralWallets
	malformed = mailroute.ReasonMalformed
	unknown   = mailroute.ReasonUnknownTag
	tooLong   = mailroute.ReasonHeaderTooLong
	unclear   = mailroute.ReasonUnclearEnvelope
	other     = mailroute.ReasonOtherAddress
	foreign   = mailroute.ReasonOtherDomain
	nobody    = mailroute.ReasonNoAddress
)

// verdict is a decision in one word: the first digit of the wallet, or the
// reason.
func verdict(t testing.TB, d mailroute.Decision) string {
	t.Helper()
	switch d.Outcome {
	case mailroute.Route:
		if d.Reason != "" || d.Address.IsZero() || d.By == "" {
			t.Fatalf("%+v", d)
		}
		return d.Address.Wallet().String()[2:3]
	case mailroute.Ignore, mailroute.Refuse:
		if !mailstore.ValidReason(d.Reason) || !d.Address.IsZero() || d.By == "" {
			t.Fatalf("%+v", d)
		}
		if (d.Outcome == mailroute.Ignore) != (d.Reason == other || d.Reason == foreign || d.Reason == nobody) {
			t.Fatalf("%+v", d)
		}
		return d.Reason
	case mailroute.More:
		if d != (mailroute.Decision{Outcome: mailroute.More}) {
			t.Fatalf("%+v", d)
		}
		return "more"
	}
	t.Fatalf("%+v", d)
	return ""
}

// decide decides on a message, and holds the law of beginnings for it.
func decide(t testing.TB, r *mailroute.Router, msg string, recipients ...string) mailroute.Decision {
	t.Helper()
	want := r.Decide([]byte(msg), true, recipients)
	if want.Outcome == mailroute.More {
		t.Fatalf("more than all of %q", msg)
	}
	decided := false
	for n := range len(msg) + 1 {
		got := r.Decide([]byte(msg)[:n:n], false, recipients)
		if decided = decided || got.Outcome != mailroute.More; decided && got != want {
			t.Fatalf("on the first %d bytes: %+v\non all: %+v\n%q", n, got, want, msg)
		}
	}
	return want
}

func TestTo(t *testing.T) {
	r := router(t)
	for _, c := range []struct{ to, want string }{
		// Where an address may stand, however it is written.
		{a1, "1"},
		{"<" + a1 + ">", "1"},
		{"Bob <" + a1 + ">", "1"},
		{`"Bob, the (first) <x@y>" <` + a1 + ">", "1"},
		{"=?utf-8?q?B=C3=B6b?= <" + a1 + ">", "1"},
		{"=?utf-8?b?QsO2Yg==?=\r\n\t<" + a1 + ">", "1"},
		{"Büb \xff <" + a1 + ">", "1"},
		{"J. R. Bob <" + a1 + ">", "1"},
		{"Bob (comment (nested \\) one) <" + a2 + ">) <" + a1 + "> (after, " + a2 + ")", "1"},
		{"(before) " + a1 + " (after)", "1"},
		{"or-" + w1 + "-1(here) @(and) (here)" + dom + "(too)", "1"},
		{"\r\n " + a1 + "\r\n ", "1"},
		{"\r\n\t" + l1 + "\r\n @" + dom, "1"},
		{l1 + "@\n " + dom, "1"},
		{l1 + "@bots\r\n .example", "1"},
		{l1 + "@bots. (c) example", "1"},
		{"x@y.example, " + a1 + ", z@y.example", "1"},
		{"x@y.example;" + a1 + ";", "1"},
		{", ,," + a1 + ",,", "1"},
		{"friends: x@y.example, " + a1 + ";", "1"},
		{"friends:" + a1 + ";, none:;", "1"},
		{"none:;, friends of\r\n mine: Bob <" + a1 + ">;", "1"},
		{`"` + l1 + `"@` + dom, "1"},
		{`"\o\r\-` + l1[3:] + `"@` + dom, "1"},
		{`Bob <"` + l1 + `"@` + dom + ">", "1"},
		{"<@a.example,@b.example:" + a1 + ">", "1"},
		{"<@a.example, @b.example : " + a1 + ">", "1"},
		{"or-0X1111111111111111111111111111111111111ABC-1@" + dom, malformed},
		{"or-0x1111111111111111111111111111111111111AbC-1@" + dom, "1"},
		{l1 + "@BOTS.Example", "1"},
		{l1 + "@bücher.example", "1"},
		{l1 + "@BÜCHER.example", "1"},
		{l1 + "@xn--bcher-kva.EXAMPLE", "1"},
		{a1 + ", " + a1b + ", <" + a1 + ">", "1"},
		{"abcd-" + w1 + "-1234567890123456@" + dom, "1"},
		{"or-" + w1 + "-1@" + dom, "1"},
		{a1 + ", auth@" + dom, "1"},
		{a1 + ", " + zz1, "1"},
		{"<" + a1 + "> trailing", "1"},
		{l1 + " <" + a1 + ">", "1"},
		{a1 + " <" + a1 + ">", "1"},
		{"mailto:" + a1, "1"},

		// A neighbour that is wrong neither hides nor changes it.
		{"x@, " + a1, "1"},
		{"@y, " + a1, "1"},
		{"x y z, " + a1, "1"},
		{"x..y@z, " + a1, "1"},
		{"<x@y, " + a1, "1"},
		{"<x@y, <" + a1 + ">", "1"},
		{"x@y>, <" + a1 + ">", "1"},
		{`"Bob <x@y.example>, ` + a1, "1"},
		{`"Bob <x@y.example>, <` + a1 + ">", "1"},
		{a1 + `, "Bob <x@y.example>`, "1"},
		{`O"Brien <x@y.example>, Bob <` + a1 + ">", "1"},
		{"Bob :( <x@y.example>, Bob <" + a1 + ">", "1"},
		{"Bob :) <x@y.example>, Bob <" + a1 + ">", "1"},
		{`"Bob\" <x@y.example>, Bob <` + a1 + ">", "1"},
		{"x@[192.0.2.1, " + a1, "1"},
		{"x@[192.0.2.1], " + a1, "1"},
		{"x@[IPv6:2001:db8::1], " + a1, "1"},
		{"x@y\x00, " + a1, "1"},
		{"x@y\r, " + a1, "1"},
		{"\xff\xfe, " + a1, "1"},
		{"undisclosed recipients, " + a1, "1"},
		{"or-0x12-1@" + dom + ", " + a1, "1"},
		{"or-" + w2 + "-1x@" + dom + ", " + a1, "1"},
		{strings.Repeat("x", 70000) + "@y, " + a1, "1"},
		{"x@" + strings.Repeat("y.", 35000) + "z, " + a1, "1"},
		{strings.Repeat("(", 500) + strings.Repeat(")", 500) + a1, "1"},

		// Two wallets, in one reading or another.
		{a1 + ", " + a2, several},
		{"a: " + a1 + "; b: " + a2 + ";", several},
		{"<" + a1 + "> <" + a2 + ">", several},
		{a2 + " <" + a1 + ">", several},
		{a1 + ", " + zz2, several},
		{zz2 + ", " + a1, several},
		{a1 + ", x@y <" + a2, several},
		{`"` + a2 + `, <` + a1 + ">", several},
		{`"a <` + a2 + `>, "b" <` + a1 + ">", several},
		{`"a <x@y.example>, "b" <` + a1 + ">", "1"},
		{`"a <x@y.example>; "b" <` + a1 + ">", "1"},
		{`"a <x@y.example>, "b" (c) <` + a1 + ">, (d", "1"},
		{`"a <x@y.example>, "b, c" <` + a1 + ">", malformed},
		{`"` + a1, malformed},
		{`"` + a1 + "\n" + `"`, malformed},
		{"(" + a1, malformed},
		{"(" + a1 + "\n) <x@y.example>", malformed},
		{a1 + ")", malformed},
		{"(" + a2 + ", " + a1, several},
		{a2 + ")(" + a1, several},
		{a2 + " " + a1, several},
		{zz1 + ", " + zz2, several},

		// In dispute, and of nobody else.
		{a1 + " <x@y.example>", malformed},
		{"text " + a1, malformed},
		{"text " + l1, malformed},
		{"<x@y.example <" + a1 + ">", malformed},
		{a1 + " text", malformed},
		{"<" + a1, malformed},
		{a1 + ">", malformed},
		{"x@" + a1, malformed},
		{a1 + "@y.example", malformed},
		{"<x@y.example " + a1 + ">", malformed},
		{"<@a.example," + a1 + ">", malformed},
		{"<@a.example " + a1 + ">", malformed},
		{"<mailto:" + a1 + ">", malformed},
		{`"or-0x12-1@` + dom + `, ` + a1, malformed},
		{"x@y.exampleSubject: " + a1, malformed},
		{a1 + "Subject: " + a1, malformed},

		// Near misses.
		{"or-" + w1[:41] + "-1@" + dom, malformed},
		{"or-" + w1 + "a-1@" + dom, malformed},
		{"or-" + w1[:41] + "g-1@" + dom, malformed},
		{"or-0x0000000000000000000000000000000000000000-1@" + dom, malformed},
		{"or-" + w1 + "@" + dom, malformed},
		{"or-" + w1 + "-@" + dom, malformed},
		{"or-" + w1 + "-1/../../x@" + dom, malformed},
		{"or-" + w1 + "-1.@" + dom, malformed},
		{"or-" + w1 + ".-1@" + dom, malformed},
		{"or-" + w1 + "-1x@" + dom, malformed},
		{"or-" + w1 + "-+1@" + dom, malformed},
		{"or-" + w1 + "-1+tag@" + dom, malformed},
		{"or-" + w1 + "-１@" + dom, malformed},
		{"or-" + w1 + "-1\uff10@" + dom, malformed},
		{"or-0x１" + w1[3:] + "-1@" + dom, malformed},
		{"or-" + w1 + "-1\x00@" + dom, malformed},
		{"or-" + w1 + "-1\r@" + dom, malformed},
		{"or-" + w1 + "-1 2@" + dom, malformed},
		{"or-" + w1 + "-1\r\n 2@" + dom, malformed},
		{"or-" + w1 + "-1(c)2@" + dom, malformed},
		{"or-" + w1 + "-1\u200b@" + dom, malformed},
		{`"or-` + w1 + `-1 "@` + dom, malformed},
		{`or-` + w1 + `-"1"@` + dom, malformed},
		{`"or"-` + w1 + `-1@` + dom, other},
		{`" or-` + w1 + `-1"@` + dom, other},
		{"or\\-" + w1 + "-1@" + dom, other},
		{"OR-" + w1 + "-1@" + dom, malformed},
		{"o-" + w1 + "-1@" + dom, malformed},
		{"orxyz-" + w1 + "-1@" + dom, malformed},
		{"xx-" + w1 + "-1@" + dom, unknown},
		{"or-" + w1 + "-" + strings.Repeat("1", 19) + "@" + dom, malformed},
		{"or-" + w1 + "-" + strings.Repeat("1", 300) + "@" + dom, malformed},
		{"оr-" + w1 + "-1@" + dom, other}, // a Cyrillic o
		{"or" + w1 + "-1@" + dom, other},
		{"or_" + w1 + "-1@" + dom, other},
		{"x-or-" + w1 + "-1@" + dom, other},
		{"=?utf-8?q?" + l1 + "?=@" + dom, other},
		{"=?utf-8?q?" + strings.ReplaceAll(l1, "@", "=40") + "?=", nobody},
		{l1, malformed},
		{"auth@" + dom, other},
		{"auth@" + dom + ", x@y.example", other},
		{l1 + "@" + dom + ".", malformed},
		{l1 + "@." + dom, malformed},
		{l1 + "@bots..example", malformed},
		{l1 + "@bots.example\x00", malformed},
		{l1 + "@bots.example\r", malformed},
		{l1 + "@bots.example\rx", malformed},
		{l1 + "@bots\r.example", malformed},
		{l1 + `@"bots.example"`, malformed},
		{l1 + "@[bots.example]", malformed},
		{l1 + "@bots。example", foreign},
		{l1 + "@bots\uff0eexample", foreign},
		{l1 + "@\uff42ots.example", foreign},
		{l1 + "@", malformed},
		{l1 + "@sub.bots.example", foreign},
		{l1 + "@bots.example.evil.example", foreign},
		{l1 + "@evilbots.example", foreign},
		{l1 + "@bots.example-evil.example", foreign},
		{l1 + "@ots.example", foreign},
		{l1 + "@bots", foreign},
		{l1 + "@bücher.example.evil", foreign},
		{l1 + "@bu\u0308cher.example", foreign}, // not composed
		{l1 + "@xn--bcher-kvb.example", foreign},
		{l1 + "@kiosK.example", "1"},
		{l1 + "@\u212aiosk.example", foreign},

		// Text is not an address.
		{`"` + a1 + `" <x@y.example>`, foreign},
		{`"` + a1 + `"`, malformed},
		{"(" + a1 + ")", nobody},
		{"(" + a1 + ") x@y.example", foreign},
		{"=?utf-8?q?" + a1 + "?= <x@y.example>", foreign},
		{l1 + ": x@y.example;", foreign},
		{"x@y.example", foreign},
		{"undisclosed-recipients:;", nobody},
		{"", nobody},
		{" ", nobody},
		{",;<>@:\"\"()[]", foreign},
	} {
		for _, field := range []string{"To: ", "to:", "TO :", "Cc: ", "From: " + a2 + "\r\nReply-To: " + a2 + "\r\nSubject: " + a2 + "\r\nTo:"} {
			if len(c.to) > 5000 {
				if got := verdict(t, r.Decide([]byte(field+c.to+"\r\n\r\n"), false, nil)); got != c.want {
					t.Errorf("%s%.100q…: got %s, want %s", field, c.to, got, c.want)
				}
				continue
			}
			if got := verdict(t, decide(t, r, field+c.to+"\r\n\r\nTo: "+a2+"\r\n\r\n")); got != c.want {
				t.Errorf("%s%q: got %s, want %s", field, c.to, got, c.want)
			}
		}
	}
}

func TestToFields(t *testing.T) {
	r := router(t)
	for _, c := range []struct{ name, head, want string }{
		{"Cc only", "To: x@y.example\r\nCc: " + a1, "1"},
		{"twice", "To: x@y.example\r\nTo: " + a1, "1"},
		{"twice the same", "To: " + a1 + "\r\nTo: " + a1b, "1"},
		{"twice another", "To: " + a1 + "\r\nTo: " + a2, several},
		{"Cc another", "Cc: " + a1 + "\r\nSubject: x\r\nTo: " + a2, several},
		{"Cc is wrong", "To: " + a1 + "\r\nCc: or-0x12-1@" + dom, "1"},
		{"Cc is wrong in dispute", "To: " + a1 + "\r\nCc: \"or-0x12-1@" + dom, malformed},
		{"in no such field", "From: " + a1 + "\r\nBcc: " + a1 + "\r\nResent-To: " + a1 + "\r\nX-To: " + a1 + "\r\nTo-: " + a1 + "\r\nDelivered-To: " + a1 + "\r\nEnvelope-To: " + a1, nobody},
		{"in the body", "Subject: x\r\n\r\nTo: " + a1, nobody},
		{"below what is no header", "Subject: x\r\nodd\r\nodd\r\nTo: " + a1, nobody},
		{"below one odd line", "From x Mon\r\nTo: " + a1, "1"},
		{"behind a CR", "Subject: x\rTo: " + a1, nobody},
		{"in a fold", "Subject: x\r\n To: " + a1, nobody},
		{"behind a fold of spaces", "Subject: x\r\n \r\nTo: " + a1, "1"},
		{"LF", "Subject: x\nTo: " + a1, "1"},
		{"nothing", "", nobody},
	} {
		for _, end := range []string{"\r\n\r\n", "\n\n", "\r\n\n", "\r\n", ""} {
			if got := verdict(t, decide(t, r, c.head+end)); got != c.want {
				t.Errorf("%s, ending in %q: got %s, want %s", c.name, end, got, c.want)
			}
		}
	}
}

func TestHeaderTooLong(t *testing.T) {
	r := router(t)
	pad := strings.Repeat("X: "+strings.Repeat("x", 120)+"\r\n", mailhead.MaxBlock/125+1)
	to := "To: " + a1 + "\r\n"
	for _, c := range []struct{ name, msg, want string }{
		{"just fits", to + pad[len(pad)-(mailhead.MaxBlock-len(to)-2):] + "\r\n", "1"},
		{"a byte too long", to + pad[len(pad)-(mailhead.MaxBlock-len(to)-1):] + "\r\n", tooLong},
		{"one line", "To: " + strings.Repeat("x", 1<<20), tooLong},
		{"several wallets first", "To: " + a1 + "," + a2 + "\r\n" + pad, several},
		{"several wallets too late", to + pad + "To: " + a2 + "\r\n\r\n", tooLong},
	} {
		want := r.Decide([]byte(c.msg), true, nil)
		if got := verdict(t, want); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
		decided := false
		for n := 0; n < len(c.msg)+1; n++ {
			if n == 1000 {
				n = mailhead.MaxBlock - 150
			}
			if n > mailhead.MaxBlock+150 {
				break
			}
			got := r.Decide([]byte(c.msg)[:n], false, nil)
			if decided = decided || got.Outcome != mailroute.More; decided && got != want {
				t.Fatalf("%s: on the first %d bytes %+v, on all %+v", c.name, n, got, want)
			}
		}
		if !decided {
			t.Errorf("%s: still more after %d bytes", c.name, mailhead.MaxBlock)
		}
		// The envelope does not wait for it.
		if got := verdict(t, r.Decide([]byte(c.msg), false, []string{a2})); got != "2" {
			t.Errorf("%s: to a recipient: %s", c.name, got)
		}
	}
}
