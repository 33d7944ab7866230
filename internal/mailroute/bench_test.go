package mailroute_test

import (
	"strings"
	"testing"

	"github.com/litentry/agentkeys/internal/mailhead"
	"github.com/litentry/agentkeys/internal/mailroute"
)

// The first read of nearly all mail: the block of SES decides.
func BenchmarkDecideReceived(b *testing.B) {
	r := router(b)
	head := []byte(sesHead("a1-2.example.net", "a1-2.example.net", a1))
	head = append(head, strings.Repeat("DKIM-Signature: v=1; a=rsa-sha256;\r\n", 20)...)[:2048]
	b.ReportAllocs()
	for b.Loop() {
		if d := r.Decide(head, false, nil); d.Outcome != mailroute.Route {
			b.Fatal(d.Reason)
		}
	}
}

// A header block of 10 KB without an envelope, as of forwarded mail.
func BenchmarkDecideTo(b *testing.B) {
	r := router(b)
	var s strings.Builder
	s.WriteString(sesHead("a1-2.example.net", "a1-2.example.net", ""))
	for s.Len() < 9<<10 {
		s.WriteString("DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=service.example;\r\n s=s1; h=content-type:mime-version:subject:reply-to:list-unsubscribe;\r\n bh=" + strings.Repeat("QUVG", 11) + "; b=" + strings.Repeat("QUVG", 80) + "\r\n")
	}
	s.WriteString("To: \"Bob\" <" + a1 + ">\r\nFrom: Service <x@service.example>\r\n")
	for s.Len() < 10<<10 {
		s.WriteString("X-Entity-Ref: abc\r\n")
	}
	s.WriteString("\r\n")
	head := []byte(s.String())
	b.SetBytes(int64(len(head)))
	b.ReportAllocs()
	for b.Loop() {
		if d := r.Decide(head, false, nil); d.Outcome != mailroute.Route {
			b.Fatal(d.Reason)
		}
	}
}

// What costs most is 256 KiB of what has no sense, and it costs no memory.
func TestHostileIsCheap(t *testing.T) {
	r := router(t)
	fill := func(s string) string { return strings.Repeat(s, mailhead.MaxBlock/len(s)-10) }
	for name, head := range map[string]string{
		"fields":            fill("a:\n"),
		"long names":        fill("abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz:\n"),
		"To fields":         fill("To:x\n"),
		"comments":          "To:" + fill("("),
		"comments, again":   "To:" + fill("(,"),
		"comments, closed":  "To:" + fill("()") + ")",
		"quotes":            "To:" + fill("\"") + "\"",
		"quotes, escaped":   "To:" + fill("\"\\") + "\"",
		"quotes, again":     "To:" + fill("\",") + "\"",
		"literals":          "To:" + fill("["),
		"literals, at":      "To:" + fill("x@[a"),
		"angles":            "To:" + fill("<"),
		"ats":               "To:" + fill("@"),
		"ats, long":         "To:" + fill(strings.Repeat("x", 250)+"@"),
		"dots":              "To:" + fill("."),
		"words":             "To:" + fill("x "),
		"one word":          "To:" + fill("x"),
		"addresses":         "To:" + fill(a1+","),
		"others":            "To:" + fill("x@"+dom+","),
		"strangers":         "To:" + fill("x@y.example,"),
		"malformed":         "To:" + fill(l1+"x@"+dom+","),
		"groups":            "To:" + fill("a:b;"),
		"folds":             "To:" + fill("\r\n "),
		"Received":          "Received:" + fill("from h "),
		"Received, (":       "Received: from h by inbound-smtp.us-east-1.amazonaws.com " + fill("(")[1000:],
		"Received, 0x":      "Received: from h by inbound-smtp.us-east-1.amazonaws.com " + fill("0x")[1000:] + "\nTo: " + a1,
		"Return-Path":       "Return-Path:" + fill("@"),
		"nothing but lines": fill("\rx"),
	} {
		head := []byte(head + "\n\n")
		if n := testing.AllocsPerRun(1, func() { r.Decide(head, true, nil) }); n > 12 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	// International domains alone cost some, for each.
	head := []byte("To:" + fill("x@bücher.example,") + "\n\n")
	d := r.Decide(head, true, nil)
	if verdict(t, d) != other {
		t.Errorf("%+v", d)
	}
}
