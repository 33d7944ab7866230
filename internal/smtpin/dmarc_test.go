package smtpin

import (
	"strings"
	"testing"

	"github.com/litentry/agentkeys/internal/testsrv/dns"
)

// TestAlignment: every way in which SPF and DKIM can speak, or not, for the
// domain in From, one below it, its sibling and a stranger, relaxed and strict.
func TestAlignment(t *testing.T) {
	w := newWorld(t, Limits{})
	// Who: of the From domain f, which is news.<org>.
	who := map[string]func(org string) string{
		"same":     func(org string) string { return "news." + org },
		"org":      func(org string) string { return org },
		"below":    func(org string) string { return "a.news." + org },
		"sibling":  func(org string) string { return "bounce." + org },
		"stranger": func(org string) string { return "x" + org },
	}
	names := []string{"same", "org", "below", "sibling", "stranger"}
	cells := 0
	for _, mode := range []string{"", " adkim=r; aspf=r;", " adkim=s; aspf=s;", " adkim=s;", " aspf=s;"} {
		for _, spfWho := range names {
			for _, spfIs := range []string{"pass", "fail", "temperror"} {
				for _, dkimWho := range names {
					for _, dkimIs := range []string{"pass", "none", "temperror"} {
						// A sample, the same each time, in which every pair of things is.
						if cells++; cells%7 != 0 {
							continue
						}
						org := w.domain()
						from := "news." + org
						w.dns.TXT("_dmarc."+org, "v=DMARC1; p=none;"+mode)
						sd, dd := who[spfWho](org), who[dkimWho](org)
						switch spfIs {
						case "pass":
							w.dns.TXT(sd, "v=spf1 ip4:127.0.0.1 -all")
						case "fail":
							w.dns.TXT(sd, "v=spf1 -all")
						case "temperror":
							w.dns.Fail(sd, dns.ServFail)
						}
						msg := "From: <a@" + from + ">\r\nSubject: x\r\n\r\nbody\r\n"
						switch dkimIs {
						case "pass":
							w.dns.TXT("s._domainkey."+dd, edRecord())
							msg = edSign(dd, msg)
						case "temperror":
							w.dns.Fail("s._domainkey."+dd, dns.ServFail)
							msg = edSign(dd, msg)
						}
						counts := func(who string, strict bool) bool { return who == "same" || !strict && who != "stranger" }
						spfCounts := counts(spfWho, strings.Contains(mode, "aspf=s"))
						dkimCounts := counts(dkimWho, strings.Contains(mode, "adkim=s"))
						want := "fail"
						switch {
						case spfCounts && spfIs == "pass" || dkimCounts && dkimIs == "pass":
							want = "pass"
						case spfCounts && spfIs == "temperror" || dkimCounts && dkimIs == "temperror":
							want = "temperror"
						}
						top := w.send(t, "c.example", "a@"+sd, msg)
						spf, dmarc, dkim := results(top.Auth)
						if spf != spfIs || len(dkim) != 1 || dkim[0] != dkimIs || dmarc != want || !strings.HasSuffix(top.Auth, " header.from="+from+" policy.dmarc=none") {
							t.Errorf("%q: spf %s %s, dkim %s %s: got %q, want dmarc=%s", mode, spfWho, spfIs, dkimWho, dkimIs, top.Auth, want)
						}
					}
				}
			}
		}
	}
	t.Logf("%d cells", cells/7)
}

// TestDMARC: where the record is, what it is worth, and what From is.
func TestDMARC(t *testing.T) {
	w := newWorld(t, Limits{})
	for _, c := range []struct {
		name string
		set  func(org string)
		from string // the From field, with D for the organisation's domain
		want string
	}{
		{"none", func(string) {}, "a@D", "dmarc=none header.from=D"},
		{"other texts", func(o string) { w.dns.TXT("_dmarc."+o, "v=DMARC2; p=none", "v=spf1 -all", "x") }, "a@D", "dmarc=none header.from=D"},
		{"record", func(o string) { w.dns.TXT("_dmarc."+o, "v=DMARC1; p=reject") }, "a@D", "dmarc=fail header.from=D policy.dmarc=reject"},
		{"a part of mail", func(o string) { w.dns.TXT("_dmarc."+o, "v=DMARC1; p=reject; pct=0") }, "a@D", "dmarc=fail header.from=D policy.dmarc=reject"},
		{"above", func(o string) { w.dns.TXT("_dmarc."+o, "v=DMARC1; p=reject") }, "a@x.y.D", "dmarc=fail header.from=x.y.D policy.dmarc=reject"},
		{"above, for those below", func(o string) { w.dns.TXT("_dmarc."+o, "v=DMARC1; p=reject; sp=quarantine") }, "a@x.y.D", "dmarc=fail header.from=x.y.D policy.dmarc=quarantine"},
		{"sp is not for itself", func(o string) { w.dns.TXT("_dmarc."+o, "v=DMARC1; p=reject; sp=none") }, "a@D", "dmarc=fail header.from=D policy.dmarc=reject"},
		{"in between is not asked", func(o string) { w.dns.TXT("_dmarc.y."+o, "v=DMARC1; p=reject") }, "a@x.y.D", "dmarc=none header.from=x.y.D"},
		{"the nearer one", func(o string) {
			w.dns.TXT("_dmarc."+o, "v=DMARC1; p=reject")
			w.dns.TXT("_dmarc.x."+o, "v=DMARC1; p=none")
		}, "a@x.D", "dmarc=fail header.from=x.D policy.dmarc=none"},
		{"two records", func(o string) { w.dns.TXT("_dmarc."+o, "v=DMARC1; p=reject", "v=DMARC1; p=none") }, "a@D", "dmarc=none header.from=D"},
		{"no policy", func(o string) { w.dns.TXT("_dmarc."+o, "v=DMARC1") }, "a@D", "dmarc=permerror header.from=D"},
		{"bad policy", func(o string) { w.dns.TXT("_dmarc."+o, "v=DMARC1; p=maybe") }, "a@D", "dmarc=permerror header.from=D"},
		{"DNS fails", func(o string) { w.dns.Fail("_dmarc."+o, dns.ServFail) }, "a@D", "dmarc=temperror header.from=D"},
		{"DNS fails above", func(o string) { w.dns.Fail("_dmarc."+o, dns.ServFail) }, "a@x.D", "dmarc=temperror header.from=x.D"},
		{"no From", func(string) {}, "", "dmarc=permerror"},
		{"two addresses", func(string) {}, "a@D, b@other.example", "dmarc=permerror"},
		{"two fields", func(string) {}, "a@D\r\nfrom: b@other.example", "dmarc=permerror"},
		{"a group", func(string) {}, "g: a@D;", "dmarc=none header.from=D"},
		{"nonsense", func(string) {}, "a at D", "dmarc=permerror"},
		{"two at", func(string) {}, "\"a@other.example\"@D", "dmarc=none header.from=D"},
		{"an address in a name", func(string) {}, "\"b@other.example\" <a@D>", "dmarc=none header.from=D"},
		{"an address in a comment", func(string) {}, "a@D (b@other.example)", "dmarc=none header.from=D"},
		{"a comment first", func(string) {}, "(b@other.example) a@D", "dmarc=permerror"},
		{"folded", func(string) {}, "\r\n A\r\n\t<a@D>", "dmarc=none header.from=D"},
		{"a charset of nobody's", func(string) {}, "=?x-odd?Q?=41?= <a@D>", "dmarc=none header.from=D"},
		{"an IP address", func(string) {}, "a@[127.0.0.1]", "dmarc=permerror"},
		{"letters", func(string) {}, "a@M\u00dcLLER.D", "dmarc=none header.from=xn--mller-kva.D"},
		{"capitals", func(string) {}, "a@NEWS.D", "dmarc=none header.from=news.D"},
		{"long", func(string) {}, strings.Repeat("x", 9000) + " <a@D>", "dmarc=permerror"},
	} {
		t.Run(c.name, func(t *testing.T) {
			org := w.domain()
			c.set(org)
			from := ""
			if c.from != "" {
				from = "From: " + strings.ReplaceAll(c.from, "D", org) + "\r\n"
			}
			from = strings.ReplaceAll(from, "\u00dcLLER.D", "\u00dcLLER."+org)
			top := w.send(t, "c.example", "a@nowhere.example", from+"X: y\r\n\r\n")
			if want := "; " + strings.ReplaceAll(c.want, "D", org); !strings.HasSuffix(top.Auth, want) {
				t.Errorf("got %q, want %q", top.Auth, want)
			}
		})
	}
}

// TestSuffix: those who only share a public suffix are strangers.
func TestSuffix(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"a.example", "b.example", false}, {"a.co.uk", "b.co.uk", false}, {"x.a.co.uk", "a.co.uk", true},
		{"a.github.io", "b.github.io", false}, {"co.uk", "a.co.uk", false}, {"a.localhost", "b.localhost", false},
		{"mx.agentkeys.localhost", "agentkeys.localhost", true}, {"com", "com", true}, {"aexample.com", "example.com", false},
	} {
		if got := aligned(c.a, c.b, "r"); got != c.same {
			t.Errorf("%s and %s: %v", c.a, c.b, got)
		}
		if got := aligned(c.a, c.b, "s"); got != (c.a == c.b) {
			t.Errorf("strict: %s and %s: %v", c.a, c.b, got)
		}
	}
	if aligned("", "", "r") {
		t.Error("nothing is aligned with nothing")
	}
}
