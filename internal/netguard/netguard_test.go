package netguard

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

func TestCheckHost(t *testing.T) {
	for _, host := range []string{
		"openrouter.ai", "api.search.brave.com", "a", "localhost", "xn--bcher-kva.example", "a_b.example", "1.example", "0x7f.example",
		"1.1.1.1", "127.0.0.1", "2606:4700:4700::1111", "::1", "3com.com", "0xg", "a-1",
	} {
		if err := CheckHost(host); err != nil {
			t.Errorf("CheckHost(%q) = %v, want nil", host, err)
		}
	}
	for _, host := range []string{
		"", ".", "a.", "openrouter.ai.", "127.0.0.1.", "a..b", ".a", "2130706433", "017700000001", "0x7f000001", "0X7F000001",
		"127.1", "127.0.1", "0177.0.0.1", "0x7f.0.0.1", "127.0.0.0x1", "0x7f.1", "127.0.0.01", "1.2.3.4.5", "1.2.3.256", "0x", "1.2.3.0x",
		"foo.1", "foo.0x1", "99999999999999999999", "fe80::1%eth0", "::1%25lo", "::ffff:127.0.0.1", "::FFFF:1.2.3.4", "::ffff:7f00:1",
		"2606:4700:0000::1111", "2606:4700:4700:0::1111", "2606:4700:4700::AAAA", "0:0:0:0:0:0:0:1", "[::1]", "a b", "a%2eb", "a\x00b", "a/b", "a:b", "a@b", "a#b", "a?b", "a\\b",
		"127。0。0。1", "１２７.0.0.1", "ⅼocalhost", "⑯⑨.254.169.254", "a\tb", "a\n", "a,b", "*", "*.example", strings.Repeat("a", 64), strings.Repeat("a.", 127) + "a",
	} {
		if err := CheckHost(host); !errors.Is(err, ErrForbiddenAddress) {
			t.Errorf("CheckHost(%q) = %v, want ErrForbiddenAddress", host, err)
		}
	}
}

// listener counts the connections that reach it.
func listener(t *testing.T) (netip.AddrPort, *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	var n atomic.Int64
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n.Add(1)
			_ = c.Close()
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String()), &n
}

func TestDialContext(t *testing.T) {
	to, reached := listener(t)
	port := to.String()[strings.LastIndexByte(to.String(), ':')+1:]
	dial := New().DialContext(time.Second)
	for _, address := range []string{
		to.String(), "localhost:" + port, "127.0.0.2:" + port, "0.0.0.0:" + port, ":" + port, "[::]:" + port, "[::1]:" + port,
		"[::ffff:127.0.0.1]:" + port, "127.1:" + port, "2130706433:" + port, "0x7f000001:" + port, "0177.0.0.1:" + port,
		"localhost.:" + port, "127.0.0.1.:" + port, "127.0.0.1%lo:" + port, "127.0.0.1:0" + port, "127.0.0.1:+" + port,
		"127.0.0.1:https", "127.0.0.1:0", "127.0.0.1", "",
	} {
		c, err := dial(t.Context(), "tcp", address)
		if err == nil {
			_ = c.Close()
		}
		if !errors.Is(err, ErrForbiddenAddress) {
			t.Errorf("dial %q: %v, want ErrForbiddenAddress", address, err)
		}
	}
	for _, network := range []string{"udp", "unix", "ip"} {
		if c, err := dial(t.Context(), network, to.String()); err == nil {
			_ = c.Close()
			t.Errorf("dial over %s passed", network)
		}
	}
	if n := reached.Load(); n != 0 {
		t.Fatalf("%d connections were made", n)
	}
	c, err := New(to).DialContext(time.Second)(t.Context(), "tcp", to.String())
	if err != nil {
		t.Fatalf("dial a listed address: %v", err)
	}
	_ = c.Close()
}

// resolver answers every A question with the addresses that answer gives for
// the n-th question, over a real UDP socket.
func resolver(t *testing.T, answer func(n int) []string) *net.Resolver {
	t.Helper()
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pc.Close() })
	go func() {
		buf := make([]byte, 1500)
		for asked := 0; ; {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			q := m.Questions[0]
			m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
			if q.Type == dnsmessage.TypeA {
				for _, s := range answer(asked) {
					m.Answers = append(m.Answers, dnsmessage.Resource{
						Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class},
						Body:   &dnsmessage.AResource{A: netip.MustParseAddr(s).As4()},
					})
				}
				asked++
			}
			out, err := m.Pack()
			if err == nil {
				_, _ = pc.WriteTo(out, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp4", pc.LocalAddr().String())
	}}
}

func TestEveryCandidateIsChecked(t *testing.T) {
	to, reached := listener(t)
	d := New().Dialer(time.Second)
	d.Resolver = resolver(t, func(int) []string { return []string{"10.255.255.1", "169.254.169.254", "127.0.0.1", "192.168.1.1"} })
	_, err := d.DialContext(t.Context(), "tcp", "rebind.example:"+portOf(to))
	if !errors.Is(err, ErrForbiddenAddress) {
		t.Fatalf("dial: %v, want ErrForbiddenAddress", err)
	}
	if reached.Load() != 0 {
		t.Fatal("a forbidden candidate was connected to")
	}

	// A listed candidate is found among forbidden ones, which are not tried.
	d = New(to).Dialer(time.Second)
	d.Resolver = resolver(t, func(int) []string { return []string{"10.255.255.1", "127.0.0.1"} })
	c, err := d.DialContext(t.Context(), "tcp", "mixed.example:"+portOf(to))
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	_ = c.Close()
}

// A name that first leads to an allowed place and then to a forbidden one is
// refused the second time: the check is not made on an earlier answer.
func TestRebinding(t *testing.T) {
	good, _ := listener(t)
	bad, reached := listener(t)
	answers := []string{"127.0.0.1", "127.0.0.2"}
	d := New(good).Dialer(time.Second)
	d.Resolver = resolver(t, func(n int) []string { return answers[min(n, 1):][:1] })
	c, err := d.DialContext(t.Context(), "tcp", "rebind.example:"+portOf(good))
	if err != nil {
		t.Fatalf("first dial: %v", err)
	}
	_ = c.Close()
	if _, err := d.DialContext(t.Context(), "tcp", "rebind.example:"+portOf(good)); !errors.Is(err, ErrForbiddenAddress) {
		t.Fatalf("second dial: %v, want ErrForbiddenAddress", err)
	}
	if _, err := d.DialContext(t.Context(), "tcp", "rebind.example:"+portOf(bad)); !errors.Is(err, ErrForbiddenAddress) {
		t.Fatalf("dial of another port: %v, want ErrForbiddenAddress", err)
	}
	if reached.Load() != 0 {
		t.Fatal("the other port was connected to")
	}
}

func TestControlRefusesWhatItCannotRead(t *testing.T) {
	g := New(netip.MustParseAddrPort("127.0.0.1:1"))
	for _, c := range [][2]string{{"tcp4", ":1"}, {"tcp4", ""}, {"tcp4", "localhost:1"}, {"tcp6", "[::1%lo]:1"}, {"udp4", "8.8.8.8:53"}, {"unix", "/x"}, {"tcp", "8.8.8.8:53"}} {
		if err := g.Control(c[0], c[1], nil); !errors.Is(err, ErrForbiddenAddress) {
			t.Errorf("Control(%q, %q) = %v, want ErrForbiddenAddress", c[0], c[1], err)
		}
	}
	if err := g.Control("tcp4", "127.0.0.1:1", nil); err != nil {
		t.Errorf("Control of a listed address: %v", err)
	}
}

// FuzzCheckHost: whatever passes is a name or a literal that every reader
// reads alike.
func FuzzCheckHost(f *testing.F) {
	for _, s := range []string{"openrouter.ai", "127.1", "0x7f.1", "::1", "a.", "1.1.1.1", "::ffff:1.2.3.4"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if CheckHost(s) != nil {
			return
		}
		if a, err := netip.ParseAddr(s); err == nil {
			if a.String() != s {
				t.Fatalf("%q has another spelling, %q", s, a)
			}
			return
		}
		labels := strings.Split(s, ".")
		if slices.Contains(labels, "") || strings.ContainsAny(s, ":/@%[]\\ \x00") {
			t.Fatalf("%q passed", s)
		}
		last := strings.ToLower(labels[len(labels)-1])
		if strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x") && strings.Trim(last[2:], "0123456789abcdef") == "" {
			t.Fatalf("%q ends in a number", s)
		}
	})
}

func portOf(ap netip.AddrPort) string { return ap.String()[strings.LastIndexByte(ap.String(), ':')+1:] }
