package mailhead_test

import (
	"strings"
	"testing"

	"github.com/litentry/agentkeys/internal/mailhead"
)

func TestSingle(t *testing.T) {
	for _, name := range []string{"Date", "From", "Sender", "Reply-To", "To", "Cc", "Bcc", "Message-ID", "In-Reply-To", "References", "Subject",
		"MIME-Version", "Content-Type", "Content-Transfer-Encoding", "Content-Disposition"} {
		if !mailhead.Single(name) || !mailhead.Single(strings.ToLower(name)) || mailhead.Single("X-"+name) || mailhead.Single("Resent-"+name) {
			t.Error(name)
		}
	}
	for _, name := range []string{"", "Received", "DKIM-Signature", "Authentication-Results", "Comments", "Keywords", "To "} {
		if mailhead.Single(name) {
			t.Errorf("%q", name)
		}
	}
}

func TestFieldName(t *testing.T) {
	for _, c := range []struct {
		line        string
		name, colon int
	}{
		{"A: b", 1, 1}, {"To \t: b", 2, 4}, {"X-!#$%&'*+^`{|}~:", 16, 16}, {"A:b:c", 1, 1},
		{"", 0, 0}, {":", 0, 0}, {" A: b", 0, 0}, {"A", 0, 0}, {"A b: c", 0, 0}, {"To\v: b", 0, 0}, {"Ü: b", 0, 0}, {"A\x7f: b", 0, 0}, {"A\x00: b", 0, 0}, {"A\r\n : b", 0, 0},
	} {
		if name, colon := mailhead.FieldName([]byte(c.line)); name != c.name || colon != c.colon {
			t.Errorf("%q: %d %d", c.line, name, colon)
		}
	}
}

// A block that lacks a field, whichever, is not whole: what follows it could be
// the rest of it. Only verdicts of scans may be missing.
func TestTopLacks(t *testing.T) {
	host := "Return-Path: <>\r\nReceived: from h by mx.example with ESMTP id 1 for a@b.example; Mon, 06 May 2024 16:07:08 +0000\r\nReceived-SPF: none\r\nAuthentication-Results: mx.example; spf=none\r\nX-AgentKeys-Receipt: 1\r\n"
	for block, r := range map[string]mailhead.Receiver{strings.ReplaceAll(sesBlock(), "\r\n ", " "): mailhead.SES(), host: mailhead.Host("mx.example")} {
		lines := strings.SplitAfter(block, "\r\n")
		lines = lines[:len(lines)-1]
		for i, line := range lines {
			left := strings.Join(lines[:i], "") + strings.Join(lines[i+1:], "")
			got, ok := top(left+"From: x\r\n\r\n", r)
			if want := strings.Contains(line, "-Verdict:"); got.Whole != want || ok != (i != 1) {
				t.Errorf("without %.20q: %v %v", line, ok, got.Whole)
			}
		}
		if got, ok := top(block+"From: x\r\n\r\n", r); !ok || !got.Whole {
			t.Errorf("all of it: %v %v", ok, got.Whole)
		}
	}
}
