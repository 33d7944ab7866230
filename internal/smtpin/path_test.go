package smtpin

import "testing"

func TestCleanHelo(t *testing.T) {
	for in, want := range map[string]string{
		"Mail.Example.": "mail.example", "localhost": "localhost", "a_b.example": "a_b.example", "m\u00fcller.example": "xn--mller-kva.example",
		"[192.0.2.1]": "[192.0.2.1]", "[::ffff:192.0.2.1]": "[192.0.2.1]", "[ipv6:2001:DB8::1]": "[IPv6:2001:db8::1]", "[IPv6:fe80::1%eth0]": "[IPv6:fe80::1]",
		"": "", ".": "", "[]": "", "[192.0.2.1": "", "[192.0.2.1] x": "", "a b": "", "a(b": "", "a;b": "", "a..b": "", "<a@b>": "", "a@b": "",
		"by": "", "BY": "", "for": "", "from": "", "with": "", "id": "", "via": "", "by.example": "by.example",
	} {
		if got := cleanHelo(in); got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}

func TestParsePath(t *testing.T) {
	for in, want := range map[string]string{
		"a@b.example": "a@b.example", "A.b+c=d@B.Example.": "A.b+c=d@b.example", "\u00e4@m\u00fcller.example": "\u00e4@xn--mller-kva.example",
		"a..b@c": "a..b@c", "": "", "a": "", "@b": "", "a@": "", "a@b@c": "", "a b@c": "", "a\"@c": "", "a>@c": "", "a;@c": "", "a\\@c": "",
		"a\r@c": "", "a\x7f@c": "", "a\xff@c": "", "a\u200b@c": "", "a\u00a0@c": "", "a@[192.0.2.1]": "", "a@b c": "", "a@b;c": "", "a@b(c)": "",
	} {
		p, err := parsePath(in)
		if (err == nil) != (want != "") || p.String() != want {
			t.Errorf("%q is %q %v, want %q", in, p, err, want)
		}
	}
}

// TestEveryMailbox: without Accept every local part is taken that can be written
// without quotes, in ASCII.
func TestEveryMailbox(t *testing.T) {
	_, addr := serve(t, Config{Spool: &memory{}})
	dial(t, addr).talk(started("RCPT TO:<any.body+x@"+domain+">\r\n", "250", "RCPT TO:<.a@"+domain+">\r\n", "550 5.1.1",
		"RCPT TO:<a..b@"+domain+">\r\n", "550 5.1.1", "RCPT TO:<\u00e4@"+domain+">\r\n", "550 5.1.1", "RCPT TO:<a@elsewhere.example>\r\n", "550 5.7.1")...)
}
