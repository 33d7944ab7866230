package smtpin

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// raw is a client that says anything.
type raw struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
}

func dial(t testing.TB, addr string) *raw {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	return dialled(t, c)
}

func dialled(t testing.TB, c net.Conn) *raw { return &raw{t, c, bufio.NewReader(c)} }

func (r *raw) say(s string) {
	r.t.Helper()
	if _, err := io.WriteString(r.conn, s); err != nil {
		r.t.Logf("say: %v", err) // it may have hung up, which is seen when reading
	}
}

// hear reads a reply, whole; "EOF" if there is none to come.
func (r *raw) hear() string {
	r.t.Helper()
	var b strings.Builder
	for {
		line, err := r.r.ReadString('\n')
		if err != nil {
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				r.t.Fatalf("no reply, after %q", b.String())
			}
			return b.String() + "EOF"
		}
		b.WriteString(line)
		if len(line) < 4 || line[3] != '-' {
			return b.String()
		}
	}
}

// talk says and hears in turns: "SAY", "want", …. A want is the beginning of the
// reply; "" does not listen; "EOF" takes a last line before.
func (r *raw) talk(steps ...string) {
	r.t.Helper()
	for i := 0; i < len(steps); i += 2 {
		if steps[i] != "" {
			r.say(steps[i])
		}
		want := steps[i+1]
		if want == "" {
			continue
		}
		got := r.hear()
		if want == "EOF" {
			for n := 0; n < 3 && !strings.HasSuffix(got, "EOF"); n++ {
				got = r.hear()
			}
			if !strings.HasSuffix(got, "EOF") {
				r.t.Errorf("step %d, %.60q: it goes on: %q", i/2, steps[i], got)
			}
			return
		}
		if !strings.HasPrefix(got, want) {
			r.t.Errorf("step %d, %.60q: got %q, want %q", i/2, steps[i], got, want)
		}
	}
}

const (
	ehlo = "EHLO c.example\r\n"
	from = "MAIL FROM:<a@c.example>\r\n"
	to   = "RCPT TO:<" + rcpt + ">\r\n"
)

// data says everything up to 354.
func data(after ...string) []string {
	return append([]string{"", "220", ehlo, "250", from, "250", to, "250", "DATA\r\n", "354"}, after...)
}

// session is everything up to EHLO's reply.
func hello(after ...string) []string { return append([]string{"", "220", ehlo, "250"}, after...) }

// started is everything up to the sender.
func started(after ...string) []string { return hello(append([]string{from, "250"}, after...)...) }

type hostile struct {
	name   string
	stored int
	steps  []string
}

// smuggles are the ends of a message that some server takes for one. In each a
// second message hides; no more than the one is ever stored, and where anything
// but CRLF ends a line, nothing.
func smuggles() (all []hostile) {
	second := from + to + "DATA\r\nX: smuggled\r\n\r\nsmuggled\r\n.\r\n"
	for _, end := range []string{
		"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r.\r\n", "\r\n.\r", "\n.\r", "\r.\n",
		"\r\r\n.\r\n", "\r\n.\r\r\n", "\r\n.\r\r\n.\r\n", "\r\n..\r\r\n.\r\n", "\n\n.\r\n", "\n\r.\n\r",
		"\r\n\r.\r\n", "\r\n.\n.\r\n", "\n\r\n.\r\n", "\r\n.\rX\r\n.\r\n", "\r\n.\rX\n.\n",
	} {
		all = append(all, hostile{fmt.Sprintf("end %q", end), 0, data("Subject: a\r\n\r\nbody"+end+second+"\r\n.\r\n", "550 5.6.0", "", "EOF")})
	}
	for _, end := range []string{"\r\n .\r\n", "\r\n. \r\n", "\r\n..\r\n", "\r\n.\t\r\n", "\r\n\x00.\r\n", "\r\n.x\r\n"} {
		all = append(all, hostile{fmt.Sprintf("no end %q", end), 1, data("Subject: a\r\n\r\nbody"+end+second, "250 2.0.0", "QUIT\r\n", "221")})
	}
	return all
}

func hostiles() []hostile {
	long := strings.Repeat("x", 3000)
	return append(smuggles(), []hostile{
		{"plain", 1, data(plainMail2+".\r\n", "250 2.0.0", "QUIT\r\n", "221", "", "EOF")},
		{"empty message", 1, data(".\r\n", "250")},
		{"header only", 1, data("Subject: a\r\n.\r\n", "250")},
		{"body only", 1, data("\r\nbody\r\n.\r\n", "250")},
		{"eight bits", 1, started(to, "250", "DATA\r\n", "354", "Subject: \xc3\xa4\xff\r\n\r\n\xff\xfe\r\n.\r\n", "250")},
		{"null sender", 1, hello("MAIL FROM:<>\r\n", "250", to, "250", "DATA\r\n", "354", plainMail2+".\r\n", "250")},
		{"pipelined", 1, hello(from+to+"DATA\r\n", "250", "", "250", "", "354", plainMail2+".\r\nQUIT\r\n", "250", "", "221")},
		{"two messages", 2, data(plainMail2+".\r\n"+from+to+"DATA\r\n", "250", "", "250", "", "250", "", "354", plainMail2+".\r\n", "250")},
		{"the same recipient twice", 1, started(to, "250", to, "250", "DATA\r\n", "354", plainMail2+".\r\n", "250")},
		{"two recipients", 2, started(to, "250", "RCPT TO:<Postmaster@"+domain+">\r\n", "250", "DATA\r\n", "354", plainMail2+".\r\n", "250")},
		{"chunks", 1, started(to, "250", "BDAT 12\r\nSubject: a\r\n", "250", "BDAT 8 LAST\r\n\r\nbody\r\n", "250 2.0.0")},
		{"chunks that part a CRLF", 1, started(to, "250", "BDAT 11\r\nSubject: a\r", "250", "BDAT 6 LAST\r\n\n\r\nabc", "250 2.0.0")},
		{"chunk of commands", 1, started(to, "250", "BDAT 30 LAST\r\n\r\n.\r\nMAIL FROM:<b@c.example>\r\n", "250 2.0.0", "NOOP\r\n", "250")},
		{"chunk with a lone LF", 0, started(to, "250", "BDAT 6 LAST\r\nab\ncd\n", "550 5.6.0", "NOOP\r\n", "250")},
		{"chunk with a lone CR", 0, started(to, "250", "BDAT 6 LAST\r\nab\rc\r\n", "550 5.6.0", "NOOP\r\n", "250")},
		{"chunk that ends in CR", 0, started(to, "250", "BDAT 3 LAST\r\nab\r", "550 5.6.0", "NOOP\r\n", "250")},
		{"chunk beyond the size", 0, started(to, "250", "BDAT 70000 LAST\r\n"+strings.Repeat("x\r\n", 70000/3)+"x", "552 5.3.4", "NOOP\r\n", "250")},
		{"chunk without a recipient", 0, started("BDAT 6 LAST\r\nNOOP\r\n", "502", "NOOP\r\n", "250")},
		{"chunk of no size", 0, started(to, "250", "BDAT x\r\n", "501", "BDAT -1\r\n", "501", "BDAT\r\n", "501")},
		{"chunk, then nothing of it", 0, started(to, "250", "BDAT 12\r\nSubject: a\r\n", "250", "RSET\r\n", "250", "DATA\r\n", "502")},
		{"chunk, then DATA", 0, started(to, "250", "BDAT 12\r\nSubject: a\r\n", "250", "DATA\r\n", "502", "MAIL FROM:<x@y.example>\r\n", "502", to, "502")},
		{"binary", 0, hello("MAIL FROM:<a@c.example> BODY=BINARYMIME\r\n", "504")},
		{"no greeting", 0, []string{"", "220", from, "502", to, "502", "DATA\r\n", "502"}},
		{"no sender", 0, hello(to, "502", "DATA\r\n", "502")},
		{"no recipient", 0, started("DATA\r\n", "502")},
		{"two senders", 0, started(from, "503 5.5.1", to, "250")},
		{"sender after RSET", 1, started(to, "250", "RSET\r\n", "250", from, "250", to, "250", "DATA\r\n", "354", plainMail2+".\r\n", "250")},
		{"EHLO forgets", 0, started(to, "250", ehlo, "250", "DATA\r\n", "502")},
		{"relaying", 0, started("RCPT TO:<a@elsewhere.example>\r\n", "550 5.7.1", "DATA\r\n", "502")},
		{"relaying below", 0, started("RCPT TO:<a@sub."+domain+">\r\n", "550 5.7.1")},
		{"relaying by percent", 0, started("RCPT TO:<a%elsewhere.example@"+domain+">\r\n", "550 5.1.1")},
		{"relaying by bang", 0, started("RCPT TO:<elsewhere.example!a@"+domain+">\r\n", "550 5.1.1")},
		{"relaying by quotes", 0, started("RCPT TO:<\"a@elsewhere.example\"@"+domain+">\r\n", "553 5.1.3")},
		{"relaying by two at", 0, started("RCPT TO:<a@elsewhere.example@"+domain+">\r\n", "553 5.1.3")},
		{"relaying by route", 0, started("RCPT TO:<@"+domain+":a@elsewhere.example>\r\n", "550 5.7.1")},
		{"no such mailbox", 0, started("RCPT TO:<nobody@"+domain+">\r\n", "550 5.1.1")},
		{"recipient of space", 0, started("RCPT TO:<\"a b\"@"+domain+">\r\n", "553 5.1.3")},
		{"recipient with a bracket", 0, started("RCPT TO:<\"a> for <b\"@"+domain+">\r\n", "553 5.1.3")},
		{"recipient of dots", 0, started("RCPT TO:<.a@"+domain+">\r\n", "550 5.1.1", "RCPT TO:<a..b@"+domain+">\r\n", "550 5.1.1")},
		{"recipient of bytes", 0, started("RCPT TO:<\xff@"+domain+">\r\n", "553 5.1.3")},
		{"recipient without a domain", 0, started("RCPT TO:<postmaster>\r\n", "501")},
		{"recipient nobody", 0, started("RCPT TO:<>\r\n", "501")},
		{"postmaster", 1, started("RCPT TO:<PostMaster@"+strings.ToUpper(domain)+">\r\n", "250", "DATA\r\n", "354", plainMail2+".\r\n", "250")},
		{"sender with two at", 0, hello("MAIL FROM:<\"a@b.example\"@c.example>\r\n", "553 5.1.7")},
		{"sender with brackets", 0, hello("MAIL FROM:<\"a> for <b\"@c.example>\r\n", "553 5.1.7")},
		{"sender with a comment", 0, hello("MAIL FROM:<a@c.example(x)>\r\n", "553 5.1.7")},
		{"sender with a semicolon", 0, hello("MAIL FROM:<a@c.example;spf=pass>\r\n", "553 5.1.7")},
		{"sender that is an IP address", 0, hello("MAIL FROM:<a@[192.0.2.1]>\r\n", "553 5.1.7")},
		{"sender of bytes", 0, hello("MAIL FROM:<\xc3\xa4@c.example>\r\n", "553 5.6.7", "MAIL FROM:<\xc3\xa4@c.example> SMTPUTF8\r\n", "250")},
		{"sender of line separators", 0, hello("MAIL FROM:<a\u2028b@c.example> SMTPUTF8\r\n", "553 5.1.7")},
		{"sender too long", 0, hello("MAIL FROM:<"+strings.Repeat("a", 300)+"@c.example>\r\n", "553 5.1.7")},
		{"size said beforehand", 0, hello("MAIL FROM:<a@c.example> SIZE=100000\r\n", "552 5.3.4", "MAIL FROM:<a@c.example> SIZE=99999999999999999999\r\n", "501")},
		{"size", 0, data("\r\n"+strings.Repeat("x\r\n", 30000)+".\r\n", "552 5.3.4", "NOOP\r\n", "250")},
		{"header size", 0, data(strings.Repeat("X: y\r\n", 2000)+".\r\n", "552 5.3.4", "NOOP\r\n", "250")},
		{"header of one line", 0, data("X: "+strings.Repeat("x", 3000)+"\r\n\r\n.\r\n", "550 5.6.0", "", "EOF")},
		{"header of too many fields", 0, data(strings.Repeat("X:\r\n", 60)+"\r\nbody\r\n.\r\n", "554 5.6.0", "NOOP\r\n", "250")},
		{"header that begins with a continuation", 0, data(" folded: x\r\n\r\n.\r\n", "554 5.6.0", "NOOP\r\n", "250")},
		{"50 Received", 1, data(strings.Repeat("Received: x\r\n", 50)+"\r\n.\r\n", "250")},
		{"51 Received", 0, data(strings.Repeat("rECEIVED : x\r\n", 51)+"\r\n.\r\n", "554 5.4.6")},
		{"long line", 0, data("a: b\r\n\r\n"+long+"\r\n.\r\n", "550 5.6.0", "", "EOF")},
		{"long line in a chunk", 0, started(to, "250", "BDAT 3004 LAST\r\n\r\n"+long+"\r\n", "550 5.6.0", "NOOP\r\n", "250")},
		{"long command", 0, []string{"", "220", "NOOP " + long + "\r\n", "500 5.5.2", "", "EOF"}},
		{"long command without an end", 0, []string{"", "220", long, "500 5.5.2", "", "EOF"}},
		{"command with LF", 0, []string{"", "220", "EHLO c.example\n", "500 5.5.2", "", "EOF"}},
		{"command with CR", 0, []string{"", "220", "EHLO c.exa\rmple\r\n", "500 5.5.2", "", "EOF"}},
		{"command with NUL", 0, []string{"", "220", "EHLO c.exa\x00mple\r\n", "500 5.5.2", "", "EOF"}},
		{"commands with LF after DATA", 1, data("a: b\r\n\r\n.\r\nNOOP\n", "250", "", "500 5.5.2", "", "EOF")},
		{"HTTP", 0, []string{"", "220", "POST / HTTP/1.1\r\nHost: x\r\n\r\nEHLO x\r\n" + from + to, "421 4.7.0", "", "EOF"}},
		{"TLS without STARTTLS", 0, []string{"", "220", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("\x00", 600) + "\n", "500", "", "EOF"}},
		{"STARTTLS without a certificate", 0, hello("STARTTLS\r\n", "502")},
		{"AUTH", 0, hello("AUTH PLAIN AGEAYg==\r\n", "504", "AUTH LOGIN\r\n", "504")},
		{"AUTH of a sender", 0, hello("MAIL FROM:<a@c.example> AUTH=<>\r\n", "250")},
		{"old and odd commands", 0, hello("VRFY root\r\n", "252", "EXPN list\r\n", "502", "TURN\r\n", "502", "SEND FROM:<a@b.example>\r\n", "502", "HELP\r\n", "502", "LHLO x\r\n", "500")},
		{"unknown commands", 0, hello("FOOX\r\n", "500", "BARX\r\n", "500", "BAZX\r\n", "500", "QUXX\r\n", "500", "", "EOF")},
		{"DATA with an argument", 0, started(to, "250", "DATA now\r\n", "501")},
		{"unknown parameters", 0, hello("MAIL FROM:<a@c.example> X=Y\r\n", "500", "MAIL FROM:<a@c.example> BODY=X\r\n", "501", "MAIL FROM:<a@c.example> A=B=C\r\n", "501")},
		{"hung up in DATA", 0, data("Subject: a\r\n\r\nbody\r\n.", "")},
		{"hung up in a chunk", 0, started(to, "250", "BDAT 100 LAST\r\nSubject: a\r\n", "")},
		{"too many errors", 0, started(strings.Repeat("RCPT TO:<nobody@"+domain+">\r\n", 10), "550", "", "550", "", "550", "", "550", "", "550", "", "550", "", "550", "", "550", "", "550", "", "550", "", "421 4.7.0", "", "EOF")},
		{"too many recipients", 3, started(to, "250", "RCPT TO:<or-b@"+domain+">\r\n", "250", "RCPT TO:<or-c@"+domain+">\r\n", "250", "RCPT TO:<or-d@"+domain+">\r\n", "452 4.5.3", "DATA\r\n", "354", ".\r\n", "250")},
	}...)
}

const plainMail2 = "Subject: a\r\n\r\nbody\r\n"

// TestHostile: each of these ends as it says, in a connection of its own, and
// the server goes on.
func TestHostile(t *testing.T) {
	all := hostiles()
	if len(all) < 60 {
		t.Errorf("only %d", len(all))
	}
	m := &memory{}
	_, addr := serve(t, Config{Spool: m, MaxMessage: 64 << 10, Limits: Limits{Recipients: 3, Header: 10 << 10, Fields: 55, Line: 2500, MessagesPerMinute: 10_000},
		Accept: func(local, _ string) bool { return strings.HasPrefix(local, "or-") }})
	for _, h := range all {
		t.Run(h.name, func(t *testing.T) {
			before := len(m.all())
			r := dial(t, addr)
			r.talk(h.steps...)
			_ = r.conn.Close()
			good := dial(t, addr) // takes its turn after what is left of the first
			good.talk(hello("QUIT\r\n", "221", "", "EOF")...)
			if got := len(m.all()) - before; got != h.stored {
				t.Errorf("%d messages are stored, want %d", got, h.stored)
			}
			for _, b := range m.all()[before:] {
				if strings.Contains(string(b), "smuggled") && !strings.Contains(string(b), "Subject: a") {
					t.Errorf("smuggled:\n%s", b)
				}
			}
		})
	}
}
