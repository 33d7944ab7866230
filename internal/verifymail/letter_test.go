package verifymail

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"mime/quotedprintable"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/mailhead"
	"github.com/litentry/agentkeys/internal/mailroute"
)

const (
	domain  = "mail.example.com"
	wallet  = "0x00112233445566778899aabbccddeeff00112233"
	mailbox = "or-" + wallet + "-179531280012345678@" + domain
	token   = "eyJ-fake-token-of-a-test_0123456789"
	clerk   = "https://clerk.openrouter.ai/v1/verify?token=" + token
	magic   = "https://platform.claude.com/magic-link#fake0123456789abcdef:ZmFrZQ"
)

var at = time.Date(2026, 11, 22, 1, 0, 7, 0, time.UTC)

func address(t testing.TB) mailroute.Address {
	t.Helper()
	a, _, err := mailroute.ParseAddress(mailbox)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func query(t testing.TB) Query { return Query{To: address(t), Domain: domain} }

func openrouter() Rules {
	return Rules{
		Senders: []string{"openrouter.ai"}, LinkHosts: []string{"clerk.openrouter.ai"}, LinkPaths: []string{"/v1/verify"},
		Code: &CodeRule{Digits: 6, Labels: []string{"verification code"}}, Receiver: mailhead.SES(),
	}
}

func anthropic() Rules {
	return Rules{
		Senders: []string{"mail.anthropic.com", "claude.com"}, LinkHosts: []string{"platform.claude.com"},
		LinkPaths: []string{"/magic-link"}, Code: &CodeRule{Digits: 6}, Receiver: mailhead.SES(),
	}
}

func onlyCode(digits int, labels ...string) Rules {
	r := openrouter()
	r.LinkHosts, r.LinkPaths, r.Code = nil, nil, &CodeRule{Digits: digits, Labels: labels}
	return r
}

func onlyLink() Rules {
	r := openrouter()
	r.Code = nil
	return r
}

// letter is a mail as SES stores it, made for each test.
type letter struct {
	returnPath, received, spam, virus, spf, auth, tail string // the receiver's
	from, to, more                                     string // the sender's, whole lines
	ctype, cte                                         string
	body                                               string
	host                                               string // another receiver than SES
	eol                                                string
}

func newLetter() letter {
	return letter{
		returnPath: "<bounces+7@em.openrouter.ai>",
		received: "from out.openrouter.ai (out.openrouter.ai [192.0.2.7])\r\n by inbound-smtp.us-east-1.amazonaws.com with SMTP id 7qfake0123456789\r\n for " +
			mailbox + ";\r\n Sun, 22 Nov 2026 01:00:07 +0000 (UTC)",
		spam: "PASS", virus: "PASS",
		spf: "pass (spfCheck: domain of em.openrouter.ai designates 192.0.2.7 as permitted sender) client-ip=192.0.2.7; envelope-from=bounces+7@em.openrouter.ai; helo=out.openrouter.ai;",
		auth: "amazonses.com;\r\n spf=pass (spfCheck: domain of em.openrouter.ai designates 192.0.2.7 as permitted sender) client-ip=192.0.2.7; envelope-from=bounces+7@em.openrouter.ai; helo=out.openrouter.ai;\r\n" +
			" dkim=pass header.i=@openrouter.ai;\r\n dmarc=pass header.from=openrouter.ai;",
		tail:  "X-SES-RECEIPT: ZmFrZQ==\r\nX-SES-DKIM-SIGNATURE: a=rsa-sha256; q=dns/txt; b=ZmFrZQ==; c=relaxed/simple; s=fake; d=amazonses.com; t=1; v=1; bh=ZmFrZQ==; h=From:To;\r\n",
		from:  "From: OpenRouter <noreply@openrouter.ai>\r\n",
		to:    "To: " + mailbox + "\r\n",
		more:  "Subject: 424242 is your OpenRouter verification code\r\nDate: Thu, 1 Jan 1970 00:00:00 +0000\r\nMIME-Version: 1.0\r\nDKIM-Signature: v=1; a=rsa-sha256; d=openrouter.ai; s=fake; h=from:to:subject:mime-version:content-type:content-transfer-encoding; bh=ZmFrZQ==; b=ZmFrZQ==\r\n",
		ctype: "text/plain; charset=utf-8",
		body:  "",
	}
}

func (l letter) bytes() []byte {
	var b strings.Builder
	field := func(name, v string) {
		if v != "" {
			b.WriteString(name + ": " + v + "\r\n")
		}
	}
	field("Return-Path", l.returnPath)
	field("Received", l.received)
	if l.host == "" {
		field("X-SES-Spam-Verdict", l.spam)
		field("X-SES-Virus-Verdict", l.virus)
	}
	field("Received-SPF", l.spf)
	field("Authentication-Results", l.auth)
	b.WriteString(l.tail + l.from + l.to + l.more)
	field("Content-Type", l.ctype)
	field("Content-Transfer-Encoding", l.cte)
	b.WriteString("\r\n")
	b.WriteString(l.body)
	s := b.String()
	if l.eol == "\n" {
		s = strings.ReplaceAll(s, "\r\n", "\n")
	}
	return []byte(s)
}

// plain, page, both and parts make bodies.
func plain(text string) func(*letter) { return func(l *letter) { l.body = text } }

func page1(body string) func(*letter) {
	return func(l *letter) { l.ctype, l.body = "text/html; charset=utf-8", body }
}

func both(text, html string) func(*letter) {
	return func(l *letter) {
		parts("alternative", "Content-Type: text/plain; charset=utf-8\r\n\r\n"+text,
			"Content-Type: text/html; charset=utf-8\r\n\r\n"+html)(l)
	}
}

func parts(kind string, ps ...string) func(*letter) {
	return func(l *letter) {
		l.ctype = "multipart/" + kind + "; boundary=\"=_b1\""
		l.body = multipart("=_b1", ps...)
	}
}

func multipart(boundary string, ps ...string) string {
	var b strings.Builder
	for _, p := range ps {
		fmt.Fprintf(&b, "--%s\r\n%s\r\n", boundary, p)
	}
	fmt.Fprintf(&b, "--%s--\r\n", boundary)
	return b.String()
}

func quotedPrintable(s string) string {
	var b bytes.Buffer
	w := quotedprintable.NewWriter(&b)
	if _, err := w.Write([]byte(s)); err != nil {
		panic(err)
	}
	w.Close()
	return b.String()
}

func inBase64(s string) string {
	e := base64.StdEncoding.EncodeToString([]byte(s))
	var b strings.Builder
	for len(e) > 76 {
		b.WriteString(e[:76] + "\r\n")
		e = e[76:]
	}
	return b.String() + e + "\r\n"
}

// with joins edits.
func with(edits ...func(*letter)) func(*letter) {
	return func(l *letter) {
		for _, e := range edits {
			e(l)
		}
	}
}

// show tells a result as a word: the link, the code, or the reason.
func show(res Result, err error) string {
	var refusal *Refusal
	switch {
	case errors.As(err, &refusal):
		if res.Kind != "" || !res.Link.IsZero() || !res.Code.IsZero() {
			return "a refusal with a result"
		}
		return string(refusal.Reason)
	case err != nil:
		return "an error that is no refusal"
	case res.Kind == Link && res.Code.IsZero() && res.Host != "":
		return string(res.Link.Expose())
	case res.Kind == Code && res.Link.IsZero() && res.Host == "":
		return string(res.Code.Expose())
	}
	return "an odd result"
}

type example struct {
	name  string
	edit  func(*letter)
	rules Rules
	want  string
}

func run(t *testing.T, examples []example, change ...func(*Query)) {
	t.Helper()
	for _, e := range examples {
		t.Run(e.name, func(t *testing.T) {
			l := newLetter()
			e.edit(&l)
			q := query(t)
			for _, c := range change {
				c(&q)
			}
			if got := show(Extract(l.bytes(), q, e.rules)); got != e.want {
				t.Errorf("got %s, want %s", got, e.want)
			}
		})
	}
}
