package smtpin

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/litentry/agentkeys/internal/mailhead"
)

// TestHeaderLines: lines of a header are counted with their continuations, those
// of a body are not, and whoever sends too many hears so before he has sent all.
func TestHeaderLines(t *testing.T) {
	const lines = 50
	m := &memory{}
	_, addr := serve(t, Config{Spool: m, Limits: Limits{Lines: lines, MessagesPerMinute: 1000, Messages: 1000}})
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
	folds := func(n int) string { return "X: y\r\n" + strings.Repeat(" z\r\n", n-1) }
	send("as many lines as may be", folds(lines)+"\r\n", "250")
	send("one more", folds(lines+1)+"\r\n", "554 5.6.0")
	send("one more without an end", folds(lines+1), "554 5.6.0")
	send("fields", strings.Repeat("X: y\r\n", lines+1)+"\r\n", "554 5.6.0")
	send("a body", folds(lines)+"\r\n"+strings.Repeat("\r\nx\r\n", 10*lines), "250")
	send("no header", "\r\n"+strings.Repeat("x\r\n", 10*lines), "250")
	send("far more", folds(50000), "554 5.6.0")
	// In chunks: a line may end in any of them.
	text := folds(lines) + "\r\n" + strings.Repeat("x\r\n", 2*lines)
	for n := range 40 {
		head := len(folds(lines)) - 20 + n
		r.talk(from+to, "250", "", "250", fmt.Sprintf("BDAT %d\r\n%s", head, text[:head]), "250",
			fmt.Sprintf("BDAT %d LAST\r\n%s", len(text)-head, text[head:]), "250")
	}
}

// TestHeaderWork: what a header costs grows as it does, whatever it is made of.
func TestHeaderWork(t *testing.T) {
	s, err := New(Config{Hostname: host, Domains: []string{domain}, Spool: &memory{}, Resolver: newWorld(t, Limits{}).dns.Resolver(), TempDir: t.TempDir(),
		Limits: Limits{Lines: 1 << 20, Fields: 1 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	const signature = "From: a@evil.example\r\nDKIM-Signature: v=1; a=rsa-sha256; d=evil.example; s=s; h=from; bh=AAAA; b=AAAA\r\n"
	work := func(head string) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f, err := s.receive(strings.NewReader(head + "\r\nbody\r\n"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		checkDKIM(context.Background(), newLookups(s.dns), f)
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	for name, unit := range map[string]string{
		"folds of one field": " \r\n", "longer folds": " " + strings.Repeat("x", 60) + "\r\n", "fields": "X: y\r\n", "fields of folds": "X: y\r\n z\r\n z\r\n",
	} {
		of := func(size int) uint64 { return work(signature + "X: a\r\n" + strings.Repeat(unit, size/len(unit))) }
		of(1 << 10) // what is made once
		small, large := of(50<<10), of(200<<10)
		if most := 2*maxCopied + 6*small; large > most {
			t.Errorf("%s: %d KiB of memory for 50 KiB, %d for 200", name, small>>10, large>>10)
		}
	}
	// With the limits that there are.
	s.c.Limits.Lines = 2000
	if err := s.c.Limits.fill(); err != nil {
		t.Fatal(err)
	}
	if got := work(signature + "X: a\r\n" + strings.Repeat(" "+strings.Repeat("x", 110)+"\r\n", 1990)); got > 8<<20 {
		t.Errorf("%d KiB for the longest field", got>>10)
	}
}

// TestLongFields: the library is not given what takes it long.
func TestLongFields(t *testing.T) {
	w := newWorld(t, Limits{})
	for folds, want := range map[int]string{200: "pass", 1900: "policy"} {
		d := w.domain()
		w.dns.TXT("s._domainkey."+d, edRecord())
		msg := edSign(d, "From: a@"+d+"\r\n\r\nbody\r\n")
		top := w.send(t, "c.example", "a@nowhere.example", "X: y\r\n"+strings.Repeat(" "+strings.Repeat("z", 110)+"\r\n", folds)+msg)
		if _, _, got := results(top.Auth); len(got) != 1 || got[0] != want {
			t.Errorf("%d continuations: %q, want %s", folds, top.Auth, want)
		}
	}
}

// TestOneHeader: where the verifier of signatures and mailhead see another field
// or another end of the header, no signature counts.
func TestOneHeader(t *testing.T) {
	w := newWorld(t, Limits{})
	for _, c := range []struct{ line, want string }{
		{"X-A: 1", "pass"}, {"X-A : 1", "pass"}, {"X-!#$%&'*+^`{|}~: ä", "pass"},
		{"Ü: 1", "policy"}, {"To\v: x@evil.example", "policy"}, {"X Y: 1", "policy"}, {"junk", "policy"}, {": 1", "policy"}, {"A\x01: 1", "policy"}, {"A\u00a0: 1", "policy"},
	} {
		d := w.domain()
		w.dns.TXT("s._domainkey."+d, edRecord())
		msg := edSign(d, "From: a@"+d+"\r\n\r\nbody\r\n")
		for n, text := range []string{c.line + "\r\n" + msg, strings.Replace(msg, "\r\nFrom:", "\r\n"+c.line+"\r\nFrom:", 1)} {
			top := w.send(t, "c.example", "a@nowhere.example", text)
			_, _, got := results(top.Auth)
			all := w.spool.all()
			odd := false
			for _, f := range mailhead.Parse(all[len(all)-1], true).Fields {
				odd = odd || f.Name == ""
			}
			if len(got) != 1 || got[0] != c.want || odd != (c.want == "policy") {
				t.Errorf("%q in place %d: %q, want %s; odd for mailhead: %v", c.line, n, top.Auth, c.want, odd)
			}
		}
	}
}
