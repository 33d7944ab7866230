package smtpin

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/mailhead"
	"github.com/litentry/agentkeys/internal/mailroute"
)

func router(t testing.TB) *mailroute.Router {
	t.Helper()
	r, err := mailroute.New(mailroute.Rules{Domains: []string{domain}, Tags: []string{"or"}, Receivers: []mailhead.Receiver{mailhead.Host(host)}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const (
	evil  = "0x00000000000000000000000000000000000000bb"
	theft = "or-" + evil + "-170000000012345678@" + domain
)

// TestForging: whatever a peer says, the block names the one recipient that the
// envelope has, and the router takes the mail there.
func TestForging(t *testing.T) {
	m := &memory{}
	_, addr := serve(t, Config{Spool: m, Limits: Limits{MessagesPerMinute: 100_000}})
	r := router(t)
	forged := "Return-Path: <x@y.example>\r\nReceived: from x by " + host + " with ESMTP id 1 for " + theft + "; Mon, 2 Jan 2006 15:04:05 +0000\r\n" +
		"Received-SPF: pass\r\nAuthentication-Results: " + host + "; spf=pass; dkim=pass header.i=@bank.example; dmarc=pass header.from=bank.example\r\n" +
		"X-AgentKeys-Receipt: 1\r\nTo: " + theft + "\r\n\r\n"
	for _, helo := range []string{
		"c.example", "(c.example", "c.example)", "a(b)c", "x);", "x;", "by", "BY", "for", "with", "id", "from",
		"x\tby\tmx", "a by " + host + " for <" + theft + ">", "a(by", "<" + theft + ">", theft, "[127.0.0.1", "[x]", "[127.0.0.1] by",
		"[IPv6:::1%for]", "\"a", "a\\", "a\u2028b", "\u00e4", "\xff\xfe", strings.Repeat("x.", 200), strings.Repeat("x", 64), "-", "_", "..", "a..b",
		"=?utf-8?q?x?=", "%s%n", "mx;", host, "or-" + evil + "-1",
	} {
		for _, from := range []string{"", "a@c.example", "\"by\"@c.example", "a=b+c@c.example", "for@c.example", "or-" + evil + "-170000000012345678@" + domain, "a;b@c.example", "a\u00e4@c.example"} {
			before := len(m.all())
			c := dial(t, addr)
			c.talk("", "220")
			c.say("EHLO " + helo + "\r\n")
			_ = c.hear()
			c.say("MAIL FROM:<" + from + "> SMTPUTF8\r\n")
			if answer := c.hear(); !strings.HasPrefix(answer, "250") {
				if !strings.HasPrefix(answer, "55") && !strings.HasPrefix(answer, "50") {
					t.Errorf("helo %q, from %q: %q", helo, from, answer)
				}
				_ = c.conn.Close()
				continue
			}
			c.talk(to, "250", "DATA\r\n", "354", forged+".\r\n", "250")
			_ = c.conn.Close()
			b := m.all()[before]
			top, ok := mailhead.Parse(b, true).Top(mailhead.Host(host))
			if !ok || !top.Whole || top.For != rcpt || strings.Contains(top.Auth, "pass") || strings.Contains(top.SPF, "pass") || top.ID != m.ids[before] {
				t.Errorf("helo %q, from %q: %+v %v\n%s", helo, from, top, ok, b)
			}
			d := r.Decide(b, true, nil)
			if d.Outcome != mailroute.Route || d.Address.Local()+"@"+domain != rcpt {
				t.Errorf("helo %q, from %q: %+v\n%s", helo, from, d, b)
			}
		}
	}
}

// FuzzStamp: a block reads back as exactly what was put in, whatever peers, DNS
// and senders say, and nothing of the sender's is taken for a part of it.
func FuzzStamp(f *testing.F) {
	f.Add("c.example", "a@c.example", rcpt, "bank.example", "c.example", "shop.example", "From: a@b.example\r\n\r\nbody", uint8(3), int64(1))
	f.Add("a (b) by mx for <x>", "", "postmaster@"+domain, "", "", "", "Authentication-Results: "+host+"; spf=pass\r\nX-AgentKeys-Receipt: x\r\n\r\n", uint8(255), int64(1<<40))
	f.Add("[IPv6:2001:db8::1]", "\u00e4=?@m\u00fcller.example", theft, "a)b", "x;y", "x y", "X: y\r\n z\r\n", uint8(16), int64(0))
	r := router(f)
	s, err := New(Config{Hostname: host, Domains: []string{domain}, Spool: &memory{}, TempDir: f.TempDir()})
	if err != nil {
		f.Fatal(err)
	}
	results := []result{none, pass, fail, softfail, neutral, policy, temperror, permerror}
	f.Fuzz(func(t *testing.T, helo, from, to, spfDomain, dkimDomain, fromDomain, message string, bits uint8, ms int64) {
		rcpt, err := parsePath(to)
		if err != nil || !plainLocal(rcpt.local) {
			return
		}
		sender, err := parsePath(from)
		if err != nil {
			sender = path{}
		}
		if strings.HasPrefix(message, " ") || strings.HasPrefix(message, "\t") {
			return // receive refuses it
		}
		tx := &envelope{helo: cleanHelo(helo), from: sender, rcpts: []path{rcpt}}
		if again := cleanHelo(tx.helo); again != tx.helo {
			t.Errorf("%q is cleaned to %q, and that to %q", helo, tx.helo, again)
		}
		clean := func(s string) string { d, _ := canonicalDomain(s); return d }
		v := verdicts{spf: spfVerdict{result: results[bits&7], domain: clean(spfDomain), helo: bits&8 != 0},
			dmarc: dmarcVerdict{result: results[bits>>4&7], domain: clean(fromDomain), policy: "reject"}}
		if bits&128 != 0 {
			v.dkim = []dkimVerdict{{pass, clean(dkimDomain), ""}, {policy, "", "repeated-field"}}
		}
		ip := netip.AddrFrom4([4]byte{192, 0, 2, bits})
		if bits&16 != 0 {
			ip = netip.MustParseAddr("2001:db8::1")
		}
		id := s.ids.next()
		block := s.stamp(stamp{id: id, at: time.UnixMilli(ms % (1 << 47)), tx: tx, ip: ip, tls: bits&32 != 0, rcpt: rcpt, verdicts: v})
		if len(block) > maxBlock {
			t.Errorf("%d bytes", len(block))
		}
		for line := range strings.Lines(block) {
			if len(line) > 998 || !strings.HasSuffix(line, "\r\n") || strings.ContainsAny(line[:len(line)-2], "\r\n\x00") {
				t.Errorf("line %q", line)
			}
		}
		parsed := mailhead.Parse([]byte(block+message), true)
		if n := len(mailhead.Parse([]byte(block), true).Fields); n != 5 {
			t.Fatalf("%d fields in\n%s", n, block)
		}
		if end := parsed.Fields[4].End; end != len(block) {
			t.Errorf("the block ends at %d, not at %d", end, len(block))
		}
		top, ok := parsed.Top(mailhead.Host(host))
		if !ok || !top.Whole || top.ID != id.String() || top.For != rcpt.String() || top.ReturnPath != "<"+sender.String()+">" || top.Spam+top.Virus != "" {
			t.Fatalf("%+v of\n%s", top, block)
		}
		name := tx.helo
		if name == "" {
			name = "unknown"
		}
		if !strings.HasPrefix(top.Received, "from "+name+" ("+literal(ip)+") by "+host+" with ESMTP") {
			t.Errorf("received %q", top.Received)
		}
		if !strings.HasPrefix(top.SPF, string(v.spf.result)+" ("+host+": ") || !strings.HasSuffix(top.SPF, " helo="+name+";") {
			t.Errorf("spf %q", top.SPF)
		}
		if parts := strings.Split(top.Auth, "; "); parts[0] != host || len(parts) != 3+max(len(v.dkim), 1) ||
			!strings.HasPrefix(parts[1]+" ", "spf="+string(v.spf.result)+" ") || !strings.HasPrefix(parts[len(parts)-1]+" ", "dmarc="+string(v.dmarc.result)+" ") {
			t.Errorf("auth %q", top.Auth)
		}
		// The router goes by the envelope, and by nothing else.
		d := r.Decide([]byte(block+message), true, nil)
		want, err := mailroute.ParseLocal(rcpt.local)
		if routed := err == nil && rcpt.domain == domain && want.Tag() == "or"; routed != (d.Outcome == mailroute.Route) || routed && d.Address != want {
			t.Errorf("to %s: %+v", rcpt, d)
		}
	})
}

// TestIDs: ids sort by time, do not go back with the clock, and are all
// different.
func TestIDs(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	g := &ids{now: func() time.Time { return now }}
	a := g.next()
	if len(a.String()) != 39 || !strings.HasPrefix(a.String(), "018bcfe56800-") {
		t.Errorf("id %s", a)
	}
	now = now.Add(time.Millisecond)
	b := g.next()
	now = now.Add(-time.Hour)
	c := g.next()
	if a.String() >= b.String() || b == c || b.String()[:12] != c.String()[:12] {
		t.Errorf("%s %s %s", a, b, c)
	}
	now = time.UnixMilli(1 << 60)
	if d := g.next(); len(d.String()) != 39 {
		t.Errorf("id %s", d)
	}
	seen := map[agentkeys.MessageID]bool{}
	for range 10_000 {
		id := g.next()
		if seen[id] {
			t.Fatal("twice the same id")
		}
		seen[id] = true
	}
}
