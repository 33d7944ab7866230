package dns_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/testsrv/dns"
)

func start(t *testing.T) *dns.Server {
	t.Helper()
	s, err := dns.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// TestRecords: Go's resolver gets what was put in, long texts over TCP too.
func TestRecords(t *testing.T) {
	s := start(t)
	long := strings.Repeat("0123456789", 300)
	s.TXT("Example.test", "v=spf1 -all", "other")
	s.TXT("long.example.test", long)
	s.MX("example.test", 20, "b.example.test")
	s.MX("example.test", 10, "a.example.test.")
	s.Address("a.example.test", netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"))
	s.CNAME("alias.example.test", "a.example.test")
	s.CNAME("nowhere.example.test", "gone.example.test")
	s.CNAME("round.example.test", "round.example.test")
	r := s.Resolver()
	ctx := t.Context()

	txt, err := r.LookupTXT(ctx, "eXample.test.")
	if err != nil || !slices.Equal(txt, []string{"v=spf1 -all", "other"}) {
		t.Errorf("TXT: %q %v", txt, err)
	}
	if txt, err = r.LookupTXT(ctx, "long.example.test."); err != nil || len(txt) != 1 || txt[0] != long {
		t.Errorf("long TXT: %d %v", len(txt), err)
	}
	mx, err := r.LookupMX(ctx, "example.test.")
	if err != nil || len(mx) != 2 || mx[0].Host != "a.example.test." || mx[0].Pref != 10 {
		t.Errorf("MX: %v %v", mx, err)
	}
	for _, name := range []string{"a.example.test.", "alias.example.test."} {
		ips, err := r.LookupIPAddr(ctx, name)
		if err != nil || len(ips) != 2 {
			t.Errorf("%s: %v %v", name, ips, err)
		}
	}
	for _, name := range []string{"gone.test.", "nowhere.example.test.", "a.example.test."} {
		_, err := r.LookupTXT(ctx, name)
		if d := new(net.DNSError); !errors.As(err, &d) || !d.IsNotFound {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := r.LookupTXT(ctx, "round.example.test."); err == nil {
		t.Error("an alias of itself is answered")
	}
	s.Remove("example.test")
	if _, err := r.LookupTXT(ctx, "example.test."); err == nil {
		t.Error("what was removed is answered")
	}
	q := s.Queries()
	if !slices.Contains(q, "TXT long.example.test. udp") || !slices.Contains(q, "TXT long.example.test. tcp") {
		t.Errorf("asked was %q", q)
	}
}

// TestFaults: none of them looks like a name that is not there.
func TestFaults(t *testing.T) {
	s := start(t)
	r := s.Resolver()
	for _, f := range []dns.Fault{dns.ServFail, dns.Refused, dns.Silent, dns.Garbage, dns.Cut} {
		s.Remove("f.test")
		s.TXT("f.test", "text")
		s.Fail("f.test", f)
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		_, err := r.LookupTXT(ctx, "f.test.")
		cancel()
		if d := new(net.DNSError); !errors.As(err, &d) || d.IsNotFound {
			t.Errorf("fault %d: %v", f, err)
		}
	}
	s.Fail("f.test", dns.Truncated)
	if txt, err := r.LookupTXT(t.Context(), "f.test."); err != nil || len(txt) != 1 {
		t.Errorf("truncated: %v %v", txt, err)
	}
}

// TestJunk: what is no question does not stop the server.
func TestJunk(t *testing.T) {
	s := start(t)
	s.TXT("a.test", "x")
	for _, network := range []string{"udp", "tcp"} {
		for _, junk := range []string{"", "x", strings.Repeat("\x00", 12), strings.Repeat("\xff", 600)} {
			c, err := net.Dial(network, s.Addr())
			if err != nil {
				t.Fatal(err)
			}
			_, _ = c.Write([]byte(junk))
			_ = c.Close()
		}
	}
	if _, err := s.Resolver().LookupTXT(t.Context(), "a.test."); err != nil {
		t.Error(err)
	}
}
