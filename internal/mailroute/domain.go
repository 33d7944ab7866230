package mailroute

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// profile converts U-labels, and is strict: it maps nothing. Mapping would make
// digits and dots of other scripts into ASCII ones, and a domain ours that no
// mail server takes for it.
var profile = idna.New(
	idna.ValidateForRegistration(),
	idna.VerifyDNSLength(true),
	idna.BidiRule(),
	idna.CheckJoiners(true),
	idna.StrictDomainName(true),
)

// maxDomain is the length of the longest domain in bytes.
const maxDomain = 253

// parseDomain returns a domain in lower-case A-labels.
func parseDomain(s string) (string, error) {
	if !validDomain([]byte(s)) {
		return "", errors.New("no mail domain")
	}
	a, err := profile.ToASCII(lower(s))
	if err != nil {
		return "", fmt.Errorf("no mail domain: %w", err)
	}
	if !validDomain([]byte(a)) {
		return "", errors.New("no mail domain")
	}
	return a, nil
}

// lower folds case, within ASCII and outside it but never into it: the Kelvin
// sign is no k.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if l := unicode.ToLower(r); r < utf8.RuneSelf || l >= utf8.RuneSelf {
			return l
		}
		return r
	}, s)
}

// validDomain reports whether b has the shape of a domain name, in A-labels or
// U-labels: labels of letters, digits, hyphens and UTF-8, none empty, so that
// it has no dot at its end either.
func validDomain(b []byte) bool {
	if len(b) == 0 || len(b) > maxDomain || !utf8.Valid(b) {
		return false
	}
	start := 0
	for i := 0; i <= len(b); i++ {
		if i < len(b) && b[i] != '.' {
			c := b[i]
			if c < utf8.RuneSelf && (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '-' {
				return false
			}
			continue
		}
		if i == start || i-start > 63 || b[start] == '-' || b[i-1] == '-' {
			return false
		}
		start = i + 1
	}
	return true
}

// ours reports whether a domain is one of the router's.
func (r *Router) ours(domain []byte) bool {
	for _, d := range r.domains {
		if equalFold(domain, d) {
			return true
		}
	}
	for _, c := range domain {
		if c >= utf8.RuneSelf {
			// Rare, and no longer than a domain.
			a, err := parseDomain(string(domain))
			return err == nil && r.ours([]byte(a))
		}
	}
	return false
}

// equalFold compares with what is in lower case, folding ASCII only.
func equalFold(b []byte, low string) bool {
	if len(b) != len(low) {
		return false
	}
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != low[i] {
			return false
		}
	}
	return true
}
