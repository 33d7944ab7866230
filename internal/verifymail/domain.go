package verifymail

import (
	"net/netip"
	"strings"

	"golang.org/x/net/idna"
	"golang.org/x/net/publicsuffix"
)

// asciiHost returns a host's name as A-labels in small letters. Addresses,
// single labels, final full stops and what no registrar would take are no hosts
// here.
func asciiHost(s string) (string, bool) {
	if s == "" || len(s) > 253 || !strings.Contains(s, ".") {
		return "", false
	}
	if plainHost(s) {
		s = strings.ToLower(s)
	}
	// Lookup also checks names that are A-labels already, and maps letters that
	// only look different to those that they stand for, as browsers do.
	a, err := idna.Lookup.ToASCII(s)
	if err != nil || !plainHost(a) {
		return "", false
	}
	// Bytes that are no letters come out as a name that cannot go in.
	if again, err := idna.Lookup.ToASCII(a); err != nil || again != a {
		return "", false
	}
	if _, err := netip.ParseAddr(a); err == nil {
		return "", false
	}
	if last := a[strings.LastIndexByte(a, '.')+1:]; last == "" || last[0] >= '0' && last[0] <= '9' {
		return "", false // 1.2.3, 0x7f.1: browsers take these for addresses
	}
	return a, true
}

func plainHost(s string) bool {
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '-' {
				return false
			}
		}
	}
	return true
}

// within reports whether host is domain or below it.
func within(host, domain string) bool {
	return host == domain || strings.HasSuffix(host, "."+domain)
}

// aligned is DMARC's relaxed alignment: both belong to one organisation.
func aligned(a, b string) bool {
	if a == "" || b == "" {
		return false
	}
	x, err := publicsuffix.EffectiveTLDPlusOne(a)
	if err != nil {
		return false
	}
	y, err := publicsuffix.EffectiveTLDPlusOne(b)
	return err == nil && x == y
}
