package mailroute_test

import (
	"math/rand/v2"
	"net/mail"
	"slices"
	"strings"
	"testing"

	"github.com/litentry/agentkeys/internal/mailroute"
)

// wallets returns whose addresses are in a list, by another parser, and whether
// with a tag that is known; false if it takes it for none.
func wallets(list string) (map[string]bool, bool) {
	addrs, err := mail.ParseAddressList(strings.NewReplacer("\r\n", "", "\n", "").Replace(list))
	if err != nil {
		return nil, false
	}
	found := map[string]bool{}
	for _, a := range addrs {
		at := strings.LastIndexByte(a.Address, '@')
		local, domain := a.Address[:at], a.Address[at+1:]
		if !slices.ContainsFunc([]string{dom, "bücher.example", "kiosk.example"}, func(s string) bool { return strings.EqualFold(domain, s) }) {
			continue
		}
		if m := grammar.FindString(local); m != "" && len(local) <= 64 && !strings.Contains(m, "0x"+strings.Repeat("0", 40)) {
			tag, w := local[:strings.IndexByte(local, '-')], strings.ToLower(local[strings.Index(local, "0x"):][:42])
			found[w] = found[w] || slices.Contains([]string{"or", "br", "abcd"}, tag)
		}
	}
	return found, true
}

// against compares a decision with what the other parser sees.
func against(t testing.TB, r *mailroute.Router, list string) bool {
	t.Helper()
	found, ok := wallets(list)
	if !ok {
		return false
	}
	d := r.Decide([]byte("To: "+list+"\r\n\r\n"), true, nil)
	verdict(t, d)
	switch {
	case len(found) > 1:
		if d.Reason != several {
			t.Errorf("%q: %+v, and net/mail sees %v", list, d, found)
		}
	case d.Outcome == mailroute.Route:
		if !found[d.Address.Wallet().String()] {
			t.Errorf("%q: %+v, and net/mail sees %v", list, d, found)
		}
	default:
		for w, known := range found {
			if known {
				t.Errorf("%q: %+v, and net/mail sees %s", list, d, w)
			}
		}
	}
	return true
}

// Whenever net/mail parses a list, the same addresses of ours are seen in it.
func TestAgainstNetMail(t *testing.T) {
	r := router(t)
	total := 200_000
	if raceDetector {
		total = 20_000
	}
	some := func(rnd *rand.Rand, of ...string) string { return of[rnd.IntN(len(of))] }
	name := func(rnd *rand.Rand) string {
		return some(rnd, "", "", "Bob ", "J. R. Bob ", "Bob ", "Bob B ", `"Bob" `, `"Bob, B. <x@y.example>" `, `"`+a2+`" `, `"a\"b(c" `, "=?utf-8?q?B=C3=B6b,_<x>?= ", "=?utf-8?b?QsO2Yg==?=\t", "Büb ", "(c) ", "Bob (c, "+a2+") ", `"" `, "=?x-odd?q?a?= ", `a"b"c `)
	}
	address := func(rnd *rand.Rand) string {
		local := some(rnd, l1, l1, l1, "br-"+w1+"-1", l2, "x", "x", "y", l1, l2, `"`+l1+`"`, `"or\-`+w1+`-1"`, `"x y"`, "auth", l1+".x", "or-"+w1[:41]+"-1", "x.y", `""`, "or-0X"+w1[2:]+"-1", strings.ToUpper(l1))
		domain := some(rnd, dom, dom, dom, dom, dom, dom, "BOTS.example", "bücher.example", "y.example", "evil."+dom, dom+".evil", "[192.0.2.1]", "[bots.example]", "(c)"+dom)
		return local + some(rnd, "", "", "", "", "", "", "", "", "", "(c)", " ") + "@" + some(rnd, "", "", "", "", "", "", "", "", " ") + domain
	}
	mailbox := func(rnd *rand.Rand) string {
		switch rnd.IntN(3) {
		case 0:
			return some(rnd, "", "", " ", "(c) ") + address(rnd) + some(rnd, "", "", " ", " (Bob)")
		default:
			return name(rnd) + "<" + some(rnd, "", "", "", " ") + address(rnd) + some(rnd, "", "", "", " ") + ">" + some(rnd, "", "", " ", "(c)")
		}
	}
	rnd := rand.New(rand.NewPCG(2, 3))
	parsed := 0
	for range total {
		var s strings.Builder
		for i := range 1 + rnd.IntN(3) {
			if i > 0 {
				s.WriteString(some(rnd, ",", ", ", ",\r\n ", ", ,"))
			}
			if rnd.IntN(6) == 0 {
				s.WriteString(some(rnd, "g:", "friends of mine: ", `"g, h":`, "none:;,g:") + mailbox(rnd) + some(rnd, "", ", "+mailbox(rnd)) + some(rnd, ";", " ;"))
				continue
			}
			s.WriteString(mailbox(rnd))
		}
		list := s.String()
		if rnd.IntN(4) == 0 {
			i := rnd.IntN(len(list) + 1)
			list = list[:i] + some(rnd, marks...) + list[i:]
			if strings.Contains(strings.ReplaceAll(strings.ReplaceAll(list, "\r\n ", " "), "\n\t", " "), "\n") {
				continue // no value of a field
			}
		}
		if against(t, r, list) {
			parsed++
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("net/mail parsed %d of %d", parsed, total)
	if parsed < total/8 {
		t.Errorf("net/mail parsed only %d of %d", parsed, total)
	}
}

func FuzzList(f *testing.F) {
	for _, s := range []string{a1, "Bob <" + a1 + ">, " + a2, `"x, y" <` + a1 + ">", "g: " + a1 + ";", "<@a:" + a1 + ">", "(c(d)) " + a1, `"` + a1, "=?utf-8?q?x?= <" + a1 + ">", `"` + l1 + `"@` + dom} {
		f.Add(s)
	}
	r := router(f)
	f.Fuzz(func(t *testing.T, list string) {
		if len(list) > 2<<10 || strings.ContainsAny(list, "\r\n") {
			return
		}
		against(t, r, list)
		// A list is in doubt, or else whoever is routed to is named in full.
		if d := r.Decide([]byte("To:"+list+"\n\n"), true, nil); d.Outcome == mailroute.Route && !strings.Contains(list, `\`) {
			if !strings.Contains(strings.ToLower(list), d.Address.Local()) {
				t.Errorf("%q goes to %s", list, d.Address)
			}
		}
		// Another address beside it, well written, makes it two, or stays hidden
		// in the visible way.
		for _, s := range []string{a1 + "," + list, a1 + ";" + list} {
			d := r.Decide([]byte("To:"+s+"\n\n"), true, nil)
			if d.Outcome == mailroute.Ignore || d.Outcome == mailroute.Route && d.Address.Wallet() != wallet(w1) {
				t.Errorf("%q: %+v", s, d)
			}
		}
	})
}
