package netguard

import (
	"encoding/binary"
	"net/netip"
)

type block struct {
	prefix netip.Prefix
	why    string
}

func blocks(list ...[2]string) []block {
	out := make([]block, len(list))
	for i, b := range list {
		out[i] = block{netip.MustParsePrefix(b[0]), b[1]}
	}
	return out
}

// The IANA IPv4 special-purpose address registry (RFC 6890 and its updates,
// those marked globally reachable included, since none is anybody's API), the
// multicast and class E space, and what clouds put on public addresses.
var special4 = blocks(
	[2]string{"0.0.0.0/32", "unspecified"},
	[2]string{"0.0.0.0/8", "this network (RFC 791)"},
	[2]string{"10.0.0.0/8", "private (RFC 1918)"},
	[2]string{"100.64.0.0/10", "shared address space (RFC 6598)"},
	[2]string{"127.0.0.0/8", "loopback"},
	[2]string{"169.254.169.254/32", "a cloud metadata service"},
	[2]string{"169.254.0.0/16", "link-local (RFC 3927)"},
	[2]string{"172.16.0.0/12", "private (RFC 1918)"},
	[2]string{"192.0.0.0/24", "IETF protocol assignments (RFC 6890)"},
	[2]string{"192.0.2.0/24", "documentation (TEST-NET-1)"},
	[2]string{"192.31.196.0/24", "AS112 (RFC 7535)"},
	[2]string{"192.52.193.0/24", "AMT (RFC 7450)"},
	[2]string{"192.88.99.0/24", "6to4 relay anycast (RFC 7526)"},
	[2]string{"192.168.0.0/16", "private (RFC 1918)"},
	[2]string{"192.175.48.0/24", "AS112 (RFC 7534)"},
	[2]string{"198.18.0.0/15", "benchmarking (RFC 2544)"},
	[2]string{"198.51.100.0/24", "documentation (TEST-NET-2)"},
	[2]string{"203.0.113.0/24", "documentation (TEST-NET-3)"},
	[2]string{"224.0.0.0/4", "multicast"},
	[2]string{"255.255.255.255/32", "limited broadcast"},
	[2]string{"240.0.0.0/4", "reserved (RFC 1112)"},
	// Azure's WireServer hands machine secrets out on a public address.
	[2]string{"168.63.129.16/32", "a cloud metadata service"},
)

// global6 is the only part of IPv6 that IANA has given out as global unicast.
var global6 = netip.MustParsePrefix("2000::/3")

// What lies outside global6, for a better reason than that; the last entry
// that holds an address need not be the longest, so longer ones come first.
var outside6 = blocks(
	[2]string{"::/128", "unspecified"},
	[2]string{"::1/128", "loopback"},
	[2]string{"::ffff:0:0/96", "an IPv4-mapped address"},
	[2]string{"::/96", "an IPv4-compatible address (RFC 4291)"},
	[2]string{"::ffff:0:0:0/96", "an IPv4-translated address (RFC 2765)"},
	[2]string{"64:ff9b::/96", "NAT64 (RFC 6052)"},
	[2]string{"64:ff9b:1::/48", "NAT64 (RFC 8215)"},
	[2]string{"100::/64", "discard-only (RFC 6666)"},
	[2]string{"100:0:0:1::/64", "dummy prefix (RFC 9780)"},
	[2]string{"5f00::/16", "segment routing (RFC 9602)"},
	[2]string{"fd00:ec2::254/128", "a cloud metadata service"},
	[2]string{"fd20:ce::254/128", "a cloud metadata service"},
	[2]string{"fc00::/7", "unique local (RFC 4193)"},
	[2]string{"fe80::/10", "link-local (RFC 4291)"},
	[2]string{"fec0::/10", "site-local (RFC 3879)"},
	[2]string{"ff00::/8", "multicast"},
)

// The special parts of global6.
var special6 = blocks(
	[2]string{"2001::/32", "Teredo (RFC 4380)"},
	[2]string{"2001:2::/48", "benchmarking (RFC 5180)"},
	[2]string{"2001:10::/28", "ORCHID (RFC 4843)"},
	[2]string{"2001:20::/28", "ORCHIDv2 (RFC 7343)"},
	[2]string{"2001::/23", "IETF protocol assignments (RFC 2928)"},
	[2]string{"2001:db8::/32", "documentation (RFC 3849)"},
	[2]string{"2002::/16", "6to4 (RFC 3056)"},
	[2]string{"2620:4f:8000::/48", "AS112 (RFC 7534)"},
	[2]string{"3fff::/20", "documentation (RFC 9637)"},
)

func find(list []block, a netip.Addr) string {
	for i := range list {
		if list[i].prefix.Contains(a) {
			return list[i].why
		}
	}
	return ""
}

// special says what a is if it is not an ordinary public address.
func special(a netip.Addr) string {
	switch {
	case !a.IsValid():
		return "not an address"
	case a.Zone() != "":
		return "an address with a zone"
	case a.Is4():
		return find(special4, a)
	case !global6.Contains(a):
		if why := find(outside6, a); why != "" {
			return why
		}
		return "outside the global unicast space"
	}
	if why := find(special6, a); why != "" {
		return why
	}
	// ISATAP (RFC 5214) embeds an IPv4 address in any prefix: the interface
	// identifier is 0000:5efe or 0200:5efe and the address.
	b := a.As16()
	if id := binary.BigEndian.Uint32(b[8:]); id&^0x0200_0000 == 0x5efe {
		return "an ISATAP address (RFC 5214)"
	}
	return ""
}
