package smtpin

import (
	"errors"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"
)

var errPath = errors.New("not an address")

// path is an address of an envelope. Its words can be written into a header as
// they are.
type path struct{ local, domain string }

func (p path) isZero() bool { return p == path{} }

func (p path) String() string {
	if p.isZero() {
		return ""
	}
	return p.local + "@" + p.domain
}

// maxLocal is in bytes. RFC 5321 has 64; senders that hide the recipient in
// theirs have more.
const maxLocal = 200

// parsePath parses what the library made of a path: it has taken quotes away,
// and takes anything for a domain. Local parts that would need quotes, and
// domains that are IP addresses, are refused: nobody has them, and no two
// programs read them alike.
func parsePath(s string) (path, error) {
	local, domain, ok := strings.Cut(s, "@")
	if !ok || local == "" || len(local) > maxLocal || !utf8.ValidString(local) {
		return path{}, errPath
	}
	for _, r := range local {
		if r <= ' ' || strings.ContainsRune("\"()<>[]:;,\\\x7f", r) || r >= 0x80 && (!unicode.IsGraphic(r) || unicode.IsSpace(r)) {
			return path{}, errPath
		}
	}
	d, ok := canonicalDomain(domain)
	if !ok {
		return path{}, errPath
	}
	return path{local, d}, nil
}

// plainLocal reports whether a recipient of ours can be called so.
func plainLocal(s string) bool {
	return len(s) <= 64 && ascii(s) && s[0] != '.' && s[len(s)-1] != '.' && !strings.Contains(s, "..")
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// cleanHelo returns what a peer calls itself, as a domain or an address in
// brackets; "" if it is neither, or a word that means something in a Received
// field.
func cleanHelo(s string) string {
	if a, ok := strings.CutPrefix(s, "["); ok {
		a, ok = strings.CutSuffix(a, "]")
		if len(a) > 5 && strings.EqualFold(a[:5], "IPv6:") {
			a = a[5:]
		}
		ip, err := netip.ParseAddr(a)
		if !ok || err != nil {
			return ""
		}
		return literal(ip)
	}
	d, ok := canonicalDomain(s)
	switch d {
	case "from", "by", "via", "with", "id", "for":
		return ""
	}
	if !ok {
		return ""
	}
	return d
}

// literal writes an address as RFC 5321 section 4.1.3 does.
func literal(ip netip.Addr) string {
	if !ip.IsValid() {
		return "[0.0.0.0]"
	}
	if ip = ip.Unmap().WithZone(""); ip.Is6() {
		return "[IPv6:" + ip.String() + "]"
	}
	return "[" + ip.String() + "]"
}
