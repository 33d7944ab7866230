package verifymail

import (
	"slices"
	"strings"
	"testing"
)

func TestRead(t *testing.T) {
	got := Read([]byte(strings.ReplaceAll(`Received: from x by y; Sun, 22 Nov 2026 10:00:00 +0000
Subject: =?utf-8?q?Caf=C3=A9?=
 and more
Content-Type: multipart/alternative; boundary=b

--b
Content-Type: text/plain

Hello, open https://example.com/verify?t=obviously-fake to go on.
> an older one
--b
Content-Type: text/html

<p>Hello, <a href="https://example.com/verify?t=obviously-fake">open</a> <a href="https://example.com/other">or not</a></p>
--b--
`, "\n", "\r\n")))
	if got.Subject != "Café and more" || !strings.HasPrefix(got.Text, "Hello, open") || strings.Contains(got.Text, "older") {
		t.Errorf("%+v", got)
	}
	if want := []string{"https://example.com/verify?t=obviously-fake", "https://example.com/other"}; !slices.Equal(got.Links, want) {
		t.Errorf("links %q", got.Links)
	}
	many := "Content-Type: text/plain\r\n\r\n"
	for i := range 1000 {
		many += "https://example.com/" + strings.Repeat("x", i%1000) + "\r\n"
	}
	if r := Read([]byte(many)); len(r.Links) != maxListed {
		t.Errorf("%d links", len(r.Links))
	}
	for _, odd := range []string{"", "\r\n", "Subject: a\r\nSubject: b\r\n\r\nx", "Content-Type: multipart/mixed; boundary=x\r\n\r\n--x", strings.Repeat("x", MaxMessage+1)} {
		if r := Read([]byte(odd)); r.Subject != "" || r.Links != nil {
			t.Errorf("%.40q: %+v", odd, r)
		}
	}
	if r := Read([]byte("Subject: a\x1b[31mb\r\n\r\n\x1b]0;x\atext")); strings.ContainsAny(r.Subject+r.Text, "\x1b\a") {
		t.Errorf("it can steer a terminal: %q", r)
	}
}
