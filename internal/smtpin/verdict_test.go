package smtpin

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"math/big"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"github.com/litentry/agentkeys/internal/mailhead"
	"github.com/litentry/agentkeys/internal/testsrv/dns"
)

// world is a receiver that asks a DNS of its own.
type world struct {
	t     *testing.T
	dns   *dns.Server
	spool *memory
	addr  string
	n     int
}

func newWorld(t *testing.T, l Limits) *world {
	t.Helper()
	d, err := dns.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	m := &memory{}
	l.MessagesPerMinute = 100_000
	_, addr := serve(t, Config{Spool: m, Resolver: d.Resolver(), Limits: l})
	return &world{t: t, dns: d, spool: m, addr: addr}
}

// domain returns a new one.
func (w *world) domain() string {
	w.n++
	return fmt.Sprintf("d%d.example", w.n)
}

// send returns what the receiver found out.
func (w *world) send(t *testing.T, helo, from, msg string) mailhead.Top {
	t.Helper()
	r := dial(t, w.addr)
	before := len(w.spool.all())
	dotted := strings.ReplaceAll("\r\n"+msg, "\r\n.", "\r\n..")[2:]
	r.talk("", "220", "EHLO "+helo+"\r\n", "250", "MAIL FROM:<"+from+"> SMTPUTF8\r\n", "250", to, "250", "DATA\r\n", "354", dotted+".\r\n", "250", "QUIT\r\n", "221")
	all := w.spool.all()
	if len(all) != before+1 {
		t.Fatal("nothing is stored")
	}
	top, ok := mailhead.Parse(all[before], true).Top(mailhead.Host(host))
	if !ok || !top.Whole {
		t.Fatalf("no block of ours on\n%.2000s", all[before])
	}
	return top
}

// results takes Authentication-Results apart.
func results(auth string) (spf, dmarc string, dkim []string) {
	for _, part := range strings.Split(auth, "; ")[1:] {
		switch word, _, _ := strings.Cut(part, " "); {
		case strings.HasPrefix(word, "spf="):
			spf = word[4:]
		case strings.HasPrefix(word, "dmarc="):
			dmarc = word[6:]
		case strings.HasPrefix(word, "dkim="):
			dkim = append(dkim, word[5:])
		}
	}
	return spf, dmarc, dkim
}

var loopback = netip.MustParseAddr("127.0.0.1")

func TestSPF(t *testing.T) {
	type set = func(d *dns.Server, name string)
	txt := func(s string) set {
		return func(d *dns.Server, name string) { d.TXT(name, strings.ReplaceAll(s, "D", name)) }
	}
	with := func(s string, more set) set {
		return func(d *dns.Server, name string) { txt(s)(d, name); more(d, name) }
	}
	fault := func(f dns.Fault) set { return func(d *dns.Server, name string) { d.Fail(name, f) } }
	below := func(label string, do set) set {
		return func(d *dns.Server, name string) { do(d, label+"."+name) }
	}
	slow := map[string]bool{"silent": true, "garbage": true, "include silent": true}
	for _, c := range []struct {
		name string
		set  set
		want string
	}{
		{"pass", txt("v=spf1 ip4:127.0.0.0/8 -all"), "pass"},
		{"fail", txt("v=spf1 ip4:192.0.2.1 -all"), "fail"},
		{"softfail", txt("v=spf1 ~all"), "softfail"},
		{"neutral", txt("v=spf1 ?all"), "neutral"},
		{"nothing matches", txt("v=spf1 ip6:::1"), "neutral"},
		{"no such domain", func(*dns.Server, string) {}, "none"},
		{"other texts", txt("v=spf10 +all"), "none"},
		{"two records", with("v=spf1 +all", txt("v=spf1 -all")), "permerror"},
		{"unknown mechanism", txt("v=spf1 ipv4:127.0.0.1 -all"), "permerror"},
		{"bad address", txt("v=spf1 ip4:127.0.0 -all"), "permerror"},
		{"servfail", fault(dns.ServFail), "temperror"},
		{"refused", fault(dns.Refused), "temperror"},
		{"silent", fault(dns.Silent), "temperror"},
		{"garbage", fault(dns.Garbage), "temperror"},
		{"truncated", with("v=spf1 ip4:127.0.0.1 -all", fault(dns.Truncated)), "pass"},
		{"cut", with("v=spf1 ip4:127.0.0.1 -all", fault(dns.Cut)), "temperror"},
		{"include", with("v=spf1 include:in.D -all", below("in", txt("v=spf1 ip4:127.0.0.1"))), "pass"},
		{"include of nothing", txt("v=spf1 include:in.D +all"), "permerror"},
		{"include fails in DNS", with("v=spf1 include:in.D +all", below("in", fault(dns.ServFail))), "temperror"},
		{"include silent", with("v=spf1 include:in.D +all", below("in", fault(dns.Silent))), "temperror"},
		{"include of itself", txt("v=spf1 include:D +all"), "permerror"},
		{"redirect", with("v=spf1 redirect=in.D", below("in", txt("v=spf1 ip4:127.0.0.1 -all"))), "pass"},
		{"redirect to nothing", txt("v=spf1 redirect=in.D"), "permerror"},
		{"a", with("v=spf1 a -all", func(d *dns.Server, n string) { d.Address(n, loopback) }), "pass"},
		{"a of another", with("v=spf1 a:in.D -all", below("in", func(d *dns.Server, n string) { d.Address(n, netip.MustParseAddr("192.0.2.1")) })), "fail"},
		{"a fails in DNS", with("v=spf1 a:in.D +all", below("in", fault(dns.ServFail))), "temperror"},
		{"mx", with("v=spf1 mx -all", func(d *dns.Server, n string) { d.MX(n, 1, "in."+n); d.Address("in."+n, loopback) }), "pass"},
		{"mx fails in DNS", with("v=spf1 mx +all", func(d *dns.Server, n string) { d.MX(n, 1, "in."+n); d.Fail("in."+n, dns.ServFail) }), "temperror"},
		{"exists", with("v=spf1 exists:%{i}.in.D -all", below("127.0.0.1.in", func(d *dns.Server, n string) { d.Address(n, loopback) })), "pass"},
		{"too many mx", with("v=spf1 mx -all", func(d *dns.Server, n string) {
			for i := range 11 {
				d.MX(n, 1, fmt.Sprintf("m%d.%s", i, n))
			}
		}), "permerror"},
		{"too many lookups", with("v=spf1 a:x1.D a:x2.D a:x3.D a:x4.D a:x5.D a:x6.D a:x7.D a:x8.D a:x9.D a:x10.D a:x11.D +all", func(d *dns.Server, n string) {
			for i := range 12 {
				d.Address(fmt.Sprintf("x%d.%s", i, n), netip.MustParseAddr("192.0.2.1"))
			}
		}), "permerror"},
		{"too many void lookups", txt("v=spf1 a:x1.D a:x2.D a:x3.D +all"), "permerror"},
		{"ptr that fails", txt("v=spf1 ptr -all"), "fail"},
		{"an alias", func(d *dns.Server, n string) { d.CNAME(n, "in."+n); d.TXT("in."+n, "v=spf1 ip4:127.0.0.1 -all") }, "pass"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := Limits{}
			if slow[c.name] {
				l.Verdict = 300 * time.Millisecond
			}
			w := newWorld(t, l)
			name := w.domain()
			c.set(w.dns, name)
			top := w.send(t, "c.example", "a@"+name, "From: a@"+name+"\r\n\r\n")
			spf, _, _ := results(top.Auth)
			if spf != c.want || !strings.HasPrefix(top.SPF, c.want+" ") || !strings.Contains(top.Auth, " smtp.mailfrom="+name+";") {
				t.Errorf("got %q, %q, want %s", top.Auth, top.SPF, c.want)
			}
			// The same of the name the peer gives itself.
			top = w.send(t, name, "", "From: a@"+name+"\r\n\r\n")
			if spf, _, _ = results(top.Auth); spf != c.want || !strings.Contains(top.Auth, " smtp.helo="+name+";") || top.ReturnPath != "<>" {
				t.Errorf("helo: got %q, want %s", top.Auth, c.want)
			}
		})
	}
	w := newWorld(t, Limits{})
	for _, helo := range []string{"localhost", "[127.0.0.1]", "[IPv6:::1]", "a(b)", "by"} {
		top := w.send(t, helo, "", "From: a@b.example\r\n\r\n")
		if spf, _, _ := results(top.Auth); spf != "none" {
			t.Errorf("helo %s: %q", helo, top.Auth)
		}
	}
	w.dns.TXT("xn--mller-kva.example", "v=spf1 ip4:127.0.0.1 -all")
	if top := w.send(t, "c.example", "a@m\u00fcller.example", "From: a@b.example\r\n\r\n"); !strings.Contains(top.Auth, "spf=pass smtp.mailfrom=xn--mller-kva.example") || top.ReturnPath != "<a@xn--mller-kva.example>" {
		t.Errorf("%+v", top)
	}
}

var (
	rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		return key
	})
	edKey = sync.OnceValue(func() ed25519.PrivateKey {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			panic(err)
		}
		return key
	})
)

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func rsaRecord(key *rsa.PublicKey) string {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		panic(err)
	}
	return "v=DKIM1; k=rsa; p=" + b64(der)
}

func edRecord() string { return "v=DKIM1; k=ed25519; p=" + b64(edKey().Public().(ed25519.PublicKey)) }

// edSign signs with the library, as d's.
func edSign(d, msg string) string {
	var b bytes.Buffer
	if err := dkim.Sign(&b, strings.NewReader(msg), &dkim.SignOptions{Domain: d, Selector: "s", Signer: edKey(), Hash: crypto.SHA256}); err != nil {
		panic(err)
	}
	return b.String()
}

// signature makes one by hand, simple/simple, with any tags; what is signed
// holds. bh is of body.
func signature(msg, body, tags string, fields ...string) string {
	hash, algorithm := crypto.SHA256, "rsa-sha256"
	sum := func(s string) []byte { h := sha256.Sum256([]byte(s)); return h[:] }
	if strings.Contains(tags, "sha1") {
		hash, algorithm = crypto.SHA1, "rsa-sha1"
		sum = func(s string) []byte { h := sha1.Sum([]byte(s)); return h[:] }
	}
	field := "DKIM-Signature: v=1; a=" + algorithm + "; c=simple/simple; s=s; bh=" + b64(sum(body)) + "; " + strings.ReplaceAll(tags, "sha1", "") + " b="
	var signed string
	for _, f := range fields {
		signed += f + "\r\n"
	}
	sig, err := rsa.SignPKCS1v15(nil, rsaKey(), hash, sum(signed+field))
	if err != nil {
		panic(err)
	}
	return field + b64(sig) + "\r\n" + msg
}

func TestDKIM(t *testing.T) {
	w := newWorld(t, Limits{})
	silent := newWorld(t, Limits{Verdict: 300 * time.Millisecond})
	good := rsaRecord(&rsaKey().PublicKey)
	short := rsaRecord(&rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 700, 1), E: 65537})
	msg := func(d string) string { return "From: a@" + d + "\r\nSubject: x\r\n\r\nbody\r\n" }
	// by signs msg by hand.
	by := func(tags string) func(string) string {
		return func(d string) string {
			return signature(msg(d), "body\r\n", strings.ReplaceAll(tags, "D", d), "From: a@"+d)
		}
	}
	ok := by("d=D; h=From;")
	for _, c := range []struct {
		name   string
		record string // of the key; "" for none
		fault  dns.Fault
		msg    func(d string) string
		want   string // of each signature; -d ones have no domain
	}{
		{"rsa", good, 0, ok, "pass"},
		{"ed25519", edRecord(), 0, func(d string) string { return edSign(d, msg(d)) }, "pass"},
		{"no signature", good, 0, msg, "none"},
		{"header and no body", edRecord(), 0, func(d string) string {
			s := edSign(d, "From: a@"+d+"\r\n\r\n")
			return strings.TrimSuffix(s, "\r\n")
		}, "pass"},
		{"body changed", good, 0, func(d string) string { return ok(d) + "more\r\n" }, "fail"},
		{"header changed", good, 0, func(d string) string { return strings.Replace(ok(d), "From: a@", "From: b@", 1) }, "fail"},
		{"From above", good, 0, func(d string) string { return "From: b@" + d + "\r\n" + ok(d) }, "policy"},
		{"From below", good, 0, func(d string) string {
			return strings.Replace(ok(d), "\r\n\r\n", "\r\nFrom: b@"+d+"\r\n\r\n", 1)
		}, "policy"},
		{"Subject twice", good, 0, func(d string) string { return "Subject : y\r\n" + ok(d) }, "policy"},
		{"Content-Type twice", good, 0, func(d string) string { return "content-type: a/b\r\nContent-Type: a/b\r\n" + ok(d) }, "policy"},
		{"a line that is no field", good, 0, func(d string) string {
			return "Subject: a\r\nthis is a body\r\n" + strings.Replace(ok(d), "Subject", "X", 1)
		}, "policy"},
		{"blank lines", good, 0, func(d string) string { return ok(d) + strings.Repeat("\r\n", 40<<10) }, "policy"},
		{"blank lines with spaces", good, 0, func(d string) string { return ok(d) + strings.Repeat(" \t\r\n", 20<<10) }, "policy"},
		{"some blank lines", good, 0, func(d string) string { return ok(d) + strings.Repeat("\r\n", 7<<10) }, "pass"},
		{"large signature", good, 0, by("d=D; h=From; z=" + strings.Repeat("x", 9<<10) + ";"), "policy"},
		{"signature of many names", good, 0, by("d=D; h=From" + strings.Repeat(":x", 300) + ";"), "policy"},
		{"no key", "", 0, ok, "permerror"},
		{"key fails in DNS", good, dns.ServFail, ok, "temperror"},
		{"key is refused", good, dns.Refused, ok, "temperror"},
		{"key is silent", good, dns.Silent, ok, "temperror"},
		{"key is cut", good, dns.Cut, ok, "temperror"},
		{"key over TCP", good, dns.Truncated, ok, "pass"},
		{"key revoked", "v=DKIM1; p=", 0, ok, "permerror"},
		{"key of nonsense", "v=DKIM1; p=AAAA", 0, ok, "permerror"},
		{"key too short", short, 0, ok, "permerror"},
		{"key too long", "v=DKIM1; p=" + strings.Repeat("A", 5000), 0, ok, "temperror"},
		{"key of another kind", edRecord(), 0, ok, "permerror"},
		{"key of another version", strings.Replace(good, "DKIM1", "DKIM2", 1), 0, ok, "permerror"},
		{"key not for mail", "s=other; " + good[9:], 0, ok, "permerror"},
		{"key for another hash", "h=sha1; " + good[9:], 0, ok, "permerror"},
		{"key on trial", "t=y; " + good[9:], 0, ok, "pass"},
		{"another's key", rsaRecord(&rsa.PublicKey{N: new(big.Int).Add(rsaKey().N, big.NewInt(2)), E: 65537}), 0, ok, "fail"},
		{"part of the body", good, 0, func(d string) string {
			return signature(msg(d)+"more\r\n", "body\r\n", "d="+d+"; h=From; l=6;", "From: a@"+d)
		}, "fail"},
		{"all of the body, by length", good, 0, by("d=D; h=From; l=6;"), "fail"},
		{"over", good, 0, by("d=D; h=From; x=1700000000;"), "permerror"},
		{"not over yet", good, 0, by("d=D; h=From; t=1700000000; x=99999999999;"), "pass"},
		{"over at no time", good, 0, by("d=D; h=From; x=soon;"), "permerror"},
		{"From not signed", good, 0, func(d string) string { return signature(msg(d), "body\r\n", "d="+d+"; h=Subject;", "Subject: x") }, "permerror"},
		{"sha1", good, 0, by("d=D; h=From;sha1"), "permerror"},
		{"identity below", good, 0, by("d=D; h=From; i=a@sub.D;"), "pass"},
		{"identity elsewhere", good, 0, by("d=D; h=From; i=a@other.example;"), "permerror"},
		{"no domain", good, 0, by("h=From;"), "permerror"},
		{"a domain that is none", good, 0, by("d=D(x)spf=pass; h=From;"), "permerror"},
		{"a domain of letters that are none", good, 0, by("d=D\x01\xff; h=From;"), "permerror"},
		{"a tag twice", good, 0, by("d=D; h=From; h=From;"), "permerror"},
		{"other ways to a key", good, 0, by("d=D; h=From; q=http;"), "permerror"},
		{"junk", good, 0, func(d string) string { return "DKIM-Signature: junk\r\n" + msg(d) }, "permerror"},
		{"good and bad", good, 0, func(d string) string { return "DKIM-Signature: junk\r\n" + ok(d) }, "permerror pass"},
		{"five bad and a good one", good, 0, func(d string) string { return strings.Repeat("DKIM-Signature: junk\r\n", 5) + ok(d) },
			"permerror permerror permerror permerror permerror policy"},
		{"four bad and a good one", good, 0, func(d string) string { return strings.Repeat("DKIM-Signature: junk\r\n", 4) + ok(d) },
			"permerror permerror permerror permerror pass"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := w
			if c.fault == dns.Silent {
				w = silent
			}
			d := w.domain()
			if c.record != "" {
				w.dns.TXT("s._domainkey."+d, c.record)
			}
			w.dns.Fail("s._domainkey."+d, c.fault)
			top := w.send(t, "c.example", "a@nowhere.example", c.msg(d))
			_, _, got := results(top.Auth)
			if g := strings.Join(got, " "); g != c.want {
				t.Errorf("got %q, want %s", top.Auth, c.want)
			}
			if c.want == "pass" && !strings.Contains(top.Auth, "; dkim=pass header.i=@"+d+";") {
				t.Errorf("got %q", top.Auth)
			}
			if strings.Contains(top.Auth, "spf=pass") {
				t.Errorf("forged: %q", top.Auth)
			}
		})
	}
}
