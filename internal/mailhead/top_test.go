package mailhead_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/litentry/agentkeys/internal/mailhead"
)

const sesReceived = "from a1-2.example.net (a1-2.example.net [192.0.2.7])\r\n by inbound-smtp.us-east-1.amazonaws.com with SMTP id o3vrnil0e2ic28trm7dfhrc2v0clambda4nbp0g1\r\n for bot@mail.example;\r\n Mon, 06 May 2024 16:07:08 +0000 (UTC)"

func sesBlock() string {
	return "Return-Path: <b@bounce.example>\r\n" +
		"Received: " + sesReceived + "\r\n" +
		"X-SES-Spam-Verdict: PASS\r\n" +
		"X-SES-Virus-Verdict: PASS\r\n" +
		"Received-SPF: pass (spfCheck: domain of bounce.example designates 192.0.2.7 as permitted sender) client-ip=192.0.2.7;\r\n" +
		"Authentication-Results: amazonses.com;\r\n spf=pass;\r\n dkim=pass header.i=@a.example;\r\n" +
		"X-SES-RECEIPT: AEFBQUFBQUFBQUE=\r\n" +
		"X-SES-DKIM-SIGNATURE: a=rsa-sha256; q=dns/txt; b=abc;\r\n c=relaxed/simple; d=amazonses.com;\r\n"
}

const sender = "Received: from evil by inbound-smtp.us-east-1.amazonaws.com with SMTP id x for victim@mail.example; Mon, 06 May 2024 16:07:08 +0000\r\n" +
	"X-SES-Spam-Verdict: PASS\r\nX-SES-Virus-Verdict: PASS\r\nAuthentication-Results: amazonses.com; dkim=pass header.i=@bank.example\r\nFrom: x\r\n\r\n"

func top(s string, r mailhead.Receiver) (mailhead.Top, bool) {
	return mailhead.Parse([]byte(s), true).Top(r)
}

func TestTop(t *testing.T) {
	want := mailhead.Top{
		ReturnPath: "<b@bounce.example>",
		Received:   strings.ReplaceAll(sesReceived, "\r\n", ""),
		For:        "bot@mail.example",
		ID:         "o3vrnil0e2ic28trm7dfhrc2v0clambda4nbp0g1",
		Spam:       "PASS", Virus: "PASS",
		SPF:   "pass (spfCheck: domain of bounce.example designates 192.0.2.7 as permitted sender) client-ip=192.0.2.7;",
		Auth:  "amazonses.com; spf=pass; dkim=pass header.i=@a.example;",
		Whole: true,
	}
	for _, s := range []string{sesBlock() + sender, strings.ReplaceAll(sesBlock()+sender, "\r\n", "\n")} {
		if got, ok := top(s, mailhead.SES()); !ok || cmp.Diff(want, got) != "" {
			t.Errorf("ok %v, -want +got:\n%s", ok, cmp.Diff(want, got))
		}
	}

	// Without scanning, the sender's verdicts below are not taken for SES's.
	lines := strings.SplitAfter(sesBlock(), "\r\n")
	unscanned := strings.Join(append(append([]string{}, lines[:5]...), lines[7:]...), "")
	w := want
	w.Spam, w.Virus = "", ""
	if got, ok := top(unscanned+sender, mailhead.SES()); !ok || cmp.Diff(w, got) != "" {
		t.Errorf("unscanned: ok %v, -want +got:\n%s", ok, cmp.Diff(w, got))
	}
	// Cut anywhere, what is there is as before, and it is whole only at its end.
	for n := range len(sesBlock()) + 2 {
		got, ok := mailhead.Parse([]byte(sesBlock() + sender)[:n], false).Top(mailhead.SES())
		if got.Whole != (n > len(sesBlock())) {
			t.Fatalf("the first %d of %d bytes: whole %v", n, len(sesBlock()), got.Whole)
		}
		if ok && (got.For != want.For || got.ID != want.ID) {
			t.Fatalf("the first %d bytes: %+v", n, got)
		}
	}
}

func TestTopIsNot(t *testing.T) {
	const rp = "Return-Path: <a@b.example>\r\n"
	rc := "Received: " + sesReceived + "\r\n"
	for name, s := range map[string]string{
		"nothing":                       "",
		"the sender's own":              "From: x\r\n" + rp + rc,
		"below a verdict":               "X-SES-Spam-Verdict: PASS\r\n" + rc,
		"below two return paths":        rp + rp + rc,
		"below an odd line":             "odd\r\n" + rc,
		"below another Received":        "Received: from a by other.example with SMTP id x for y@z.example; Mon, 06 May 2024 16:07:08 +0000\r\n" + rc,
		"by an unknown host":            rp + strings.ReplaceAll(rc, "inbound-smtp", "outbound-smtp"),
		"by a host that only ends so":   rp + strings.ReplaceAll(rc, "inbound-smtp", "x.inbound-smtp"),
		"by a host that only begins so": rp + strings.ReplaceAll(rc, "amazonaws.com", "amazonaws.com.evil.example"),
		"by a host of two labels":       rp + strings.ReplaceAll(rc, "us-east-1", "evil.us-east-1"),
		"by a host of no region":        rp + strings.ReplaceAll(rc, "us-east-1.", ""),
	} {
		if got, ok := top(s+"\r\n", mailhead.SES()); ok {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if _, ok := top("Received: from a by  with SMTP id x; Mon, 06 May 2024 16:07:08 +0000\r\n", mailhead.Receiver{}); ok {
		t.Error("the zero receiver wrote something")
	}
}

func TestTopOfHost(t *testing.T) {
	const head = "Return-Path: <>\r\nReceived: from h.example (helo.example [192.0.2.1]) by MX.mail.example with ESMTPS (TLS1.3) id 01abc\r\n for <bot@mail.example>; Mon, 06 May 2024 16:07:08 +0000\r\n" +
		"Received-SPF: none\r\nAuthentication-Results: mx.mail.example; dmarc=none\r\n"
	host := mailhead.Host("mx.MAIL.example")
	got, ok := top(head+"X-AgentKeys-Receipt: 01abc\r\n\r\n", host)
	if !ok || !got.Whole || got.For != "bot@mail.example" || got.ID != "01abc" || got.Spam != "" || got.Auth != "mx.mail.example; dmarc=none" {
		t.Errorf("%v %+v", ok, got)
	}
	for _, receipt := range []string{"", "X-AgentKeys-Receipt: 01abd\r\n", "X-AgentKeys-Receipt:\r\n", "X-SES-DKIM-SIGNATURE: x\r\n", "From: x\r\nX-AgentKeys-Receipt: 01abc\r\n"} {
		if got, ok := top(head+receipt+"\r\n", host); !ok || got.Whole {
			t.Errorf("%q: %v %+v", receipt, ok, got)
		}
	}
	if got, ok := top(strings.Replace(head, " id 01abc", "", 1)+"X-AgentKeys-Receipt:\r\n\r\n", host); !ok || got.Whole {
		t.Errorf("neither has an id: %v %+v", ok, got)
	}
	if _, ok := top(head, mailhead.SES()); ok {
		t.Error("SES wrote what our own host did")
	}
	if host.String() != "mx.mail.example" || host.AuthServID() != "mx.mail.example" || host.Scans() || !mailhead.SES().Scans() || mailhead.SES().AuthServID() != "amazonses.com" || mailhead.SES().String() != "ses" {
		t.Error("names of receivers")
	}
}

// The sender chooses the name after from, and the name in the parentheses.
func TestReceived(t *testing.T) {
	const tail = " by inbound-smtp.us-east-1.amazonaws.com with SMTP id abc for real@mail.example; Mon, 06 May 2024 16:07:08 +0000 (UTC)"
	const forged = "by inbound-smtp.us-east-1.amazonaws.com with SMTP id z for victim@mail.example; Mon, 06 May 2024 16:07:08 +0000"
	for _, c := range []struct{ in, rcpt string }{
		{"from h (r [192.0.2.1])" + tail, "real@mail.example"},
		{"FROM h (r [192.0.2.1])" + strings.Replace(tail, "for", "FOR", 1), "real@mail.example"},
		{"from h" + tail, "real@mail.example"},
		{"from [192.0.2.1] (unknown)" + tail, "real@mail.example"},
		{"from for (for victim@mail.example; by x)" + tail, "real@mail.example"},
		{"from by (\\( \\) (nested \\\\))" + tail, "real@mail.example"},
		{"from h (r) (s)" + strings.Replace(tail, "real@mail.example;", "<real@mail.example> (c);", 1), "real@mail.example"},
		{"from h (r)" + strings.Replace(tail, "real@mail.example", `"a b; for x"@mail.example`, 1), `"a b; for x"@mail.example`},
		{"from h (r)" + strings.Replace(tail, " for real@mail.example", "", 1), ""},
		{"from h (r) by inbound-smtp.eu-west-1.amazonaws.com; Mon, 6 May 2024 16:07:08 GMT", ""},

		// Not read at all.
		{"from h (r)" + strings.Replace(tail, "real@mail.example", "real@mail.example, b@mail.example", 1), "-"},
		{"from h (r)" + strings.Replace(tail, "real@mail.example", "<>", 1), "-"},
		{"from h (r)" + strings.Replace(tail, "real@mail.example", "", 1), "-"},
		{"from h (r) by x" + tail, "-"},
		{"from h (r)" + strings.Replace(tail, " for real", " for a@b for real", 1), "-"},
		{"from h (r)" + strings.Replace(tail, " with SMTP id abc", " id abc with SMTP", 1), "-"},
		{"from h (r) for victim@mail.example" + tail, "-"},
		{"from for victim@mail.example" + tail, "-"},
		{"from h by inbound-smtp.us-east-1.amazonaws.com for victim@mail.example (r)" + tail, "-"},
		{"from h " + forged + " (r)" + tail, "-"},
		{"from h " + forged + " ( (r)" + tail, "-"},
		{"from h " + forged + " ( (r) [192.0.2.1])" + tail, "-"},
		{"from h " + forged + " ( (r) [192.0.2.1]))" + tail, "-"},
		{"from h " + forged + " (\\ (r)" + tail, "-"},
		{"from h " + forged + " (r\\)" + tail, "-"},
		{"from h " + forged + " \" (r)" + tail, "-"},
		{"from h (r) " + forged + " (" + strings.Replace(tail, "real@mail.example", `"a)"@mail.example`, 1), "-"},
		{"from h (r) " + forged + " (" + strings.Replace(tail, "real@mail.example", `"a) ("@mail.example`, 1), "-"},
		{"from \"h (r)" + tail, "-"},
		{"from \"h (r)" + tail + "\"", "-"},
		{"from \"h" + tail + "\"" + tail, "-"},
		{"from h (\\()" + tail, "real@mail.example"},
		{"from h (\\))" + tail, "real@mail.example"},
		{"from h (r\\" + tail, "-"},
		{"from h (r)" + strings.Replace(tail, "id abc", `id "a b"`, 1), "-"},
		{"from h (r)" + strings.Replace(tail, "inbound-smtp.us-east-1.amazonaws.com", `"inbound-smtp.us-east-1.amazonaws.com"`, 1), "-"},
		{"from h (r) with SMTP; Mon, 06 May 2024 16:07:08 +0000", "-"},
		{"from h (r); Mon, 06 May 2024 16:07:08 +0000", "-"},
		{"from h (r)" + strings.Replace(tail, "Mon,", "Mon, the", 1), "-"},
		{"from h (r)" + strings.Replace(tail, "06 May 2024 ", "", 1), "-"},
		{"from h (r)" + strings.Replace(tail, "16:07:08", "160708", 1), "-"},
		{"from h (r)" + strings.Replace(tail, "+0000", "x@y", 1), "-"},
		{"from h (r)" + strings.Replace(tail, "inbound-smtp.us-east-1", "inbound-smtp."+strings.Repeat("a", 33), 1), "-"},
		{"from h) (r)" + tail, "-"},
		{"from h( (r)" + tail, "-"},
		{"from h; (r)" + tail, "-"},
		{"from h (r)" + tail + "; for x@y", "-"},
		{"from h (r)" + tail + " for x@y", "-"},
		{"from h (r)" + strings.Replace(tail, ";", "", 1), "-"},
		{"from h (r)" + tail[:strings.Index(tail, ";")+1], "-"},
		{"from h (r)" + tail[:strings.Index(tail, ";")], "-"},
		{"from h\x00 (r)" + tail, "-"},
		{"from h\r (r)" + tail, "-"},
		{"from h (r\r)" + tail, "-"},
		{"from h (r\x7f)" + tail, "-"},
		{"(r)" + tail, "-"},
		{"by h" + tail, "-"},
		{"from", "-"},
		{"from h", "-"},
		{"", "-"},
	} {
		got, ok := top("Received: "+c.in+"\r\n\r\n", mailhead.SES())
		if !ok {
			got.For = "-"
		}
		if got.For != c.rcpt {
			t.Errorf("%s\ngot %q, want %q", c.in, got.For, c.rcpt)
		}
		if w := mailhead.SES().WroteReceived(c.in); w != ok {
			t.Errorf("%s\nWroteReceived: %v", c.in, w)
		}
		fold := []byte(strings.ReplaceAll(c.in, " by ", "\r\n\tby "))
		if rcpt, ok2 := mailhead.SES().Recipient(fold); ok2 != ok || ok && rcpt != c.rcpt {
			t.Errorf("%s\nRecipient: %q %v", c.in, rcpt, ok2)
		}
		if rcpt, ok := mailhead.Host("mx.example").Recipient(fold); ok || rcpt != "" {
			t.Errorf("%s\nis of another receiver, for %q", c.in, rcpt)
		}
	}
}

func TestNamed(t *testing.T) {
	for _, c := range []struct {
		value     string
		ses, host bool
	}{
		{"from ( by inbound-smtp.us-east-1.amazonaws.com", true, false},
		{"from ( by INBOUND-SMTP.us-east-1.AmazonAWS.com", true, false},
		{"from ( by\r\n inbound-smtp.us-east-1.amazonaws.com", true, false},
		{"from inbound-smtp.example", false, false},
		{"from x.amazonaws.com", false, false},
		{"from ( by MX.example", false, true},
		{"", false, false},
	} {
		v := []byte(c.value)
		if mailhead.SES().Named(v) != c.ses || mailhead.Host("mx.Example").Named(v) != c.host || (mailhead.Receiver{}).Named(v) {
			t.Errorf("%q", c.value)
		}
	}
}
