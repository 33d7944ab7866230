package smtpin

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/litentry/agentkeys/internal/durable"
	"github.com/litentry/agentkeys/internal/testsrv/dns"
)

// TestExactly: what is as large as may be is taken, and a byte more is not.
func TestExactly(t *testing.T) {
	const header, fields = 1000, 20
	m := &memory{}
	_, addr := serve(t, Config{Spool: m, Limits: Limits{Header: header, Fields: fields, Line: 2000, MessagesPerMinute: 1000, Messages: 1000}})
	r := dial(t, addr)
	r.talk("", "220", ehlo, "250")
	send := func(what, text, want string) {
		t.Helper()
		before := len(m.all())
		r.talk(from+to+"DATA\r\n", "250", "", "250", "", "354", text+".\r\n", want)
		if got := len(m.all()) - before; (got == 1) != (want == "250") {
			t.Errorf("%s: %d stored", what, got)
		}
	}
	of := func(n int) string { // a header of n bytes, with its empty line
		return "X: " + strings.Repeat("x", n-len("X: \r\n\r\n")) + "\r\n\r\n"
	}
	send("a header of the limit", of(header), "250")
	send("and a body", of(header)+strings.Repeat("body\r\n", 1000), "250")
	send("a byte more", of(header+1), "552 5.3.4")
	send("a byte more, and a body", of(header+1)+strings.Repeat("body\r\n", 1000), "552 5.3.4")
	send("a header without an end", strings.TrimSuffix(of(header+2), "\r\n"), "250")
	send("a byte more without an end", strings.TrimSuffix(of(header+3), "\r\n"), "552 5.3.4")
	send("as many fields as may be", strings.Repeat("X:\r\n", fields)+"\r\n", "250")
	send("one more", strings.Repeat("X:\r\n", fields+1)+"\r\n", "554 5.6.0")
	send("continuations are no fields", strings.Repeat("X:\r\n y\r\n", fields)+"\r\n", "250")

	line := func(n int) string { return "NOOP " + strings.Repeat("x", n-len("NOOP \r\n")) + "\r\n" }
	r.talk(line(maxCommand), "250", line(maxCommand-1), "250", line(maxCommand+1), "500 5.5.2", "", "EOF")
}

// TestPostmasterIsBusyToo: postmaster is always there, but not without limit.
func TestPostmasterIsBusyToo(t *testing.T) {
	_, addr := serve(t, Config{Spool: &memory{}, Accept: func(string, string) bool { return false }, Busy: func(netip.Prefix, string, string) bool { return true }})
	dial(t, addr).talk(started("RCPT TO:<postmaster@"+domain+">\r\n", "451 4.7.1", to, "550 5.1.1")...)
}

// TestTLSIsNoNewStart: what a connection has used up before TLS is used up.
func TestTLSIsNoNewStart(t *testing.T) {
	s, addr := serve(t, Config{Spool: &memory{}, TLS: serverTLS(), Limits: Limits{Messages: 2, Commands: 12}})
	total := func() (at time.Time) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for w := range s.wires {
			if at.IsZero() || w.tls {
				at = w.total
			}
		}
		return at
	}
	r := dial(t, addr)
	r.talk(hello(from, "250", "RSET\r\n", "250")...)
	before := total()
	r.talk("STARTTLS\r\n", "220")
	r, err := r.secure(clientTLS())
	if err != nil {
		t.Fatal(err)
	}
	r.talk(ehlo, "250", from, "250", "RSET\r\n", "250")
	if after := total(); before.IsZero() || !after.Equal(before) {
		t.Errorf("it may last until %v, and until %v with TLS", before, after)
	}
	r.talk(from, "421 4.7.0")

	r = dial(t, addr)
	r.talk(hello("NOOP\r\n", "250", "NOOP\r\n", "250", "NOOP\r\n", "250", "NOOP\r\n", "250", "STARTTLS\r\n", "220")...)
	if r, err = r.secure(clientTLS()); err != nil {
		t.Fatal(err)
	}
	r.talk(ehlo, "250", "NOOP\r\n", "250", "NOOP\r\n", "250", "NOOP\r\n", "250", "NOOP\r\n", "250", "", "421 4.7.0", "", "EOF")
}

// TestRepeated: none of the fields that a message has once counts for a
// signature if it is there twice, whoever of the readers takes which.
func TestRepeated(t *testing.T) {
	w := newWorld(t, Limits{})
	for _, name := range []string{"From", "Sender", "Reply-To", "To", "Cc", "Subject", "Date", "Message-ID",
		"MIME-Version", "Content-Type", "Content-Transfer-Encoding"} {
		d := w.domain()
		w.dns.TXT("s._domainkey."+d, edRecord())
		once := "From: a@" + d + "\r\n"
		if name != "From" {
			once += name + ": x\r\n"
		}
		signed := edSign(d, once+"\r\nbody\r\n")
		for msg, want := range map[string]string{signed: "pass", strings.ToLower(name) + " : y\r\n" + signed: "policy"} {
			top := w.send(t, "c.example", "a@nowhere.example", msg)
			if _, _, got := results(top.Auth); len(got) != 1 || got[0] != want {
				t.Errorf("%s: got %q, want %s", name, top.Auth, want)
			}
		}
	}
}

// TestNeverPassWithoutDNS: whatever of DNS fails, and however, nothing passes
// that needed it.
func TestNeverPassWithoutDNS(t *testing.T) {
	w := newWorld(t, Limits{})
	for _, fault := range []dns.Fault{dns.ServFail, dns.Refused, dns.Cut} {
		for _, place := range []string{"", "s._domainkey.", "_dmarc."} {
			d := w.domain()
			w.dns.TXT(d, "v=spf1 ip4:127.0.0.1 -all")
			w.dns.TXT("s._domainkey."+d, edRecord())
			w.dns.TXT("_dmarc."+d, "v=DMARC1; p=reject")
			w.dns.Fail(place+d, fault)
			// SPF or DKIM is of a stranger, where the other is the one that fails.
			sender, msg := "a@"+d, edSign(d, "From: a@"+d+"\r\n\r\nbody\r\n")
			switch place {
			case "":
				msg = "From: a@" + d + "\r\n\r\nbody\r\n"
			case "s._domainkey.":
				sender = "a@nowhere.example"
			}
			top := w.send(t, "c.example", sender, msg)
			if spf, dmarc, dkim := results(top.Auth); dmarc != "temperror" || place == "" && spf != "temperror" || place == "s._domainkey." && dkim[0] != "temperror" {
				t.Errorf("%q fails by %v: %q", place, fault, top.Auth)
			}
		}
	}
}

// TestTempNames: what a kill leaves of a message that comes in has a name that
// is swept.
func TestTempNames(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("a file that is gone at once is not told of here")
	}
	dir := t.TempDir()
	w, err := fsnotify.NewWatcher()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := w.Add(dir); err != nil {
		t.Fatal(err)
	}
	_, addr := serve(t, Config{Spool: &memory{}, TempDir: dir})
	dial(t, addr).talk(data(plainMail2+".\r\n", "250")...)
	var name string
	select {
	case e := <-w.Events:
		name = e.Name
	case <-time.After(20 * time.Second):
		t.Fatal("there was no file")
	}
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := durable.Sweep(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s: %v", name, err)
	}
}
