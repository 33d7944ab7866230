package netguard

import (
	"errors"
	"net/netip"
	"testing"
)

// forbidden has, for every block of the IANA special-purpose registries and
// for what this package adds to them, its first and last address and one from
// the middle.
var forbidden = []string{
	"0.0.0.0", "0.0.0.1", "0.255.255.255",
	"10.0.0.0", "10.1.2.3", "10.255.255.255",
	"100.64.0.0", "100.100.100.200", "100.127.255.255",
	"127.0.0.0", "127.0.0.1", "127.1.1.1", "127.255.255.255",
	"168.63.129.16",
	"169.254.0.0", "169.254.169.254", "169.254.170.2", "169.254.255.255",
	"172.16.0.0", "172.20.1.1", "172.31.255.255",
	"192.0.0.0", "192.0.0.8", "192.0.0.170", "192.0.0.192", "192.0.0.255",
	"192.0.2.0", "192.0.2.255",
	"192.31.196.1", "192.52.193.1", "192.88.99.1", "192.175.48.1",
	"192.168.0.0", "192.168.1.1", "192.168.255.255",
	"198.18.0.0", "198.19.255.255",
	"198.51.100.0", "198.51.100.255",
	"203.0.113.0", "203.0.113.255",
	"224.0.0.1", "239.255.255.255", "240.0.0.0", "255.255.255.254", "255.255.255.255",

	"::", "::1", "::2", "::127.0.0.1", "::8.8.8.8", "::ffff:ffff",
	"::ffff:0.0.0.0", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:ffff:ffff",
	"::ffff:0:127.0.0.1", "::ffff:0:8.8.8.8",
	"64:ff9b::", "64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b::8.8.8.8",
	"64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff",
	"100::", "100::1", "100:0:0:1::1",
	"1::1", "1fff::1", "4000::1", "5f00::1", "8000::1", "c000::1", "e000::1", "f000::1", "f800::1",
	"2001::", "2001:0:1:2:3:4:5:6", "2001::7f00:1",
	"2001:1::1", "2001:1::2", "2001:1::3", "2001:2::1", "2001:3::1", "2001:4:112::1",
	"2001:10::1", "2001:20::1", "2001:2f:ffff::1", "2001:30::1", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff",
	"2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
	"2002::", "2002:7f00:1::1", "2002:808:808::1", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
	"2620:4f:8000::1", "3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff",
	"2606:4700::5efe:127.0.0.1", "2606:4700::200:5efe:808:808",
	"fc00::", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "fdff:ffff::1",
	"fe80::", "fe80::1", "febf::1", "fec0::", "feff::1",
	"ff00::", "ff02::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
	"fe80::1%eth0", "2606:4700::1%eth0", "::1%1", "::ffff:8.8.8.8%1",
}

// ordinary has addresses of real services and the neighbours of every
// forbidden block, so that no block is drawn too wide.
var ordinary = []string{
	"1.0.0.0", "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0",
	"126.255.255.255", "128.0.0.0", "168.63.129.15", "168.63.129.17", "169.253.255.255", "169.255.0.0",
	"172.15.255.255", "172.32.0.0", "191.255.255.255", "192.0.1.0", "192.0.3.0", "192.31.195.255",
	"192.31.197.0", "192.52.192.255", "192.52.194.0", "192.88.98.255", "192.88.100.0", "192.167.255.255",
	"192.169.0.0", "192.175.47.255", "192.175.49.0", "198.17.255.255", "198.20.0.0", "198.51.99.255",
	"198.51.101.0", "203.0.112.255", "203.0.114.0", "223.255.255.255",
	"2000::1", "2001:200::1", "2001:db7:ffff::1", "2001:db9::", "2001:4860:4860::8888", "2003::1",
	"2606:4700:4700::1111", "2620:4f:7fff::1", "2620:4f:8001::1", "2a00:1450::1", "3ffe:ffff::1",
	"3fff:1000::", "2606:4700::1:5efe:1.1.1.1",
}

func TestSpecialAddresses(t *testing.T) {
	g := New()
	for _, s := range forbidden {
		ap := netip.AddrPortFrom(netip.MustParseAddr(s), 443)
		if err := g.Check(ap); !errors.Is(err, ErrForbiddenAddress) {
			t.Errorf("Check(%s) = %v, want ErrForbiddenAddress", s, err)
		}
		if err := New(netip.AddrPortFrom(ap.Addr(), 444)).Check(ap); !errors.Is(err, ErrForbiddenAddress) {
			t.Errorf("Check(%s) = %v with another port listed, want ErrForbiddenAddress", s, err)
		}
	}
	for _, s := range ordinary {
		ap := netip.AddrPortFrom(netip.MustParseAddr(s), 443)
		if err := g.Check(ap); err != nil {
			t.Errorf("Check(%s) = %v, want nil", s, err)
		}
		if err := g.Check(netip.AddrPortFrom(ap.Addr(), 0)); !errors.Is(err, ErrForbiddenAddress) {
			t.Errorf("Check(%s) at port 0 = %v, want ErrForbiddenAddress", s, err)
		}
	}
	if err := g.Check(netip.AddrPort{}); !errors.Is(err, ErrForbiddenAddress) {
		t.Errorf("Check(zero) = %v, want ErrForbiddenAddress", err)
	}
	if err := New(netip.AddrPort{}).Check(netip.AddrPort{}); !errors.Is(err, ErrForbiddenAddress) {
		t.Errorf("Check(zero), zero listed = %v, want ErrForbiddenAddress", err)
	}
	var zero Guard
	if err := zero.Check(netip.MustParseAddrPort("127.0.0.1:1")); !errors.Is(err, ErrForbiddenAddress) {
		t.Errorf("zero Guard: Check(loopback) = %v, want ErrForbiddenAddress", err)
	}
}

func TestListedIsExact(t *testing.T) {
	g := New(netip.MustParseAddrPort("[::ffff:127.0.0.1]:8080"), netip.MustParseAddrPort("[fd00::1]:443"))
	for addr, ok := range map[string]bool{
		"127.0.0.1:8080": true, "127.0.0.1:8081": false, "127.0.0.2:8080": false, "[::ffff:127.0.0.1]:8080": false,
		"[::1]:8080": false, "[fd00::1]:443": true, "[fd00::1]:80": false, "[fd00::2]:443": false, "[fd00::1%lo]:443": false,
	} {
		if err := g.Check(netip.MustParseAddrPort(addr)); (err == nil) != ok {
			t.Errorf("Check(%s) = %v, want allowed %v", addr, err, ok)
		}
	}
}

// FuzzCheck holds the table against the classifications that net/netip makes
// itself, and every embedding of IPv4 against refusal.
func FuzzCheck(f *testing.F) {
	for _, s := range append(forbidden, ordinary...) {
		b := netip.MustParseAddr(s).As16()
		f.Add(b[:])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a, ok := netip.AddrFromSlice(b)
		if !ok {
			return
		}
		err := New().Check(netip.AddrPortFrom(a, 443))
		if err != nil && !errors.Is(err, ErrForbiddenAddress) {
			t.Fatalf("Check(%s) = %v: untyped", a, err)
		}
		u := a.Unmap()
		local := !u.IsGlobalUnicast() || u.IsPrivate() || u.IsLoopback() || u.IsLinkLocalUnicast() || u.IsMulticast() || u.IsUnspecified()
		if (local || a.Is4In6()) && err == nil {
			t.Fatalf("Check(%s) passed", a)
		}
		if a.Is4() {
			for _, prefix := range []string{"::", "::ffff:0:0", "::ffff:0:0:0", "64:ff9b::", "64:ff9b:1::"} {
				e, b4 := netip.MustParseAddr(prefix).As16(), a.As4()
				copy(e[12:], b4[:])
				if err := New().Check(netip.AddrPortFrom(netip.AddrFrom16(e), 443)); err == nil {
					t.Fatalf("Check(%s) passed", netip.AddrFrom16(e))
				}
			}
		}
	})
}
