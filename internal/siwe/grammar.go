package siwe

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Character classes of RFC 3986, section 2 and appendix A.
const (
	digits     = "0123456789"
	hexDigits  = digits + "abcdefABCDEF"
	alpha      = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	unreserved = alpha + digits + "-._~"
	genDelims  = ":/?#[]@"
	subDelims  = "!$&'()*+,;="
	pchar      = unreserved + subDelims + ":@" // and percent-encoded octets
)

// only reports whether s has nothing but bytes of set.
func only(s, set string) bool {
	for i := range len(s) {
		if strings.IndexByte(set, s[i]) < 0 {
			return false
		}
	}
	return true
}

// encoded reports whether s has nothing but bytes of set and percent-encoded
// octets.
func encoded(s, set string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] == '%' {
			if i+2 >= len(s) || !only(s[i+1:i+3], hexDigits) {
				return false
			}
			i += 2
		} else if strings.IndexByte(set, s[i]) < 0 {
			return false
		}
	}
	return true
}

// isScheme is scheme of RFC 3986.
func isScheme(s string) bool {
	return s != "" && only(s[:1], alpha) && only(s, alpha+digits+"+-.")
}

// isAuthority is authority of RFC 3986.
func isAuthority(s string) bool {
	if user, host, ok := strings.Cut(s, "@"); ok {
		if !encoded(user, unreserved+subDelims+":") {
			return false
		}
		s = host
	}
	if literal, ok := strings.CutPrefix(s, "["); ok {
		literal, port, ok := strings.Cut(literal, "]")
		return ok && isLiteral(literal) && isPort(port)
	}
	host, port, ok := strings.Cut(s, ":")
	return encoded(host, unreserved+subDelims) && (!ok || only(port, digits))
}

func isPort(s string) bool { return s == "" || s[0] == ':' && only(s[1:], digits) }

// isLiteral is what stands in the brackets of an IP-literal.
func isLiteral(s string) bool {
	if rest, ok := strings.CutPrefix(strings.ToLower(s), "v"); ok { // IPvFuture
		version, addr, ok := strings.Cut(rest, ".")
		return ok && version != "" && only(version, hexDigits) && addr != "" && only(addr, unreserved+subDelims+":")
	}
	a, err := netip.ParseAddr(s)
	return err == nil && a.Is6() && a.Zone() == ""
}

// isURI is URI of RFC 3986: with a scheme, and perhaps a fragment.
func isURI(s string) bool {
	scheme, rest, ok := strings.Cut(s, ":")
	if !ok || !isScheme(scheme) {
		return false
	}
	rest, fragment, _ := strings.Cut(rest, "#")
	rest, query, _ := strings.Cut(rest, "?")
	if !encoded(fragment, pchar+"/?") || !encoded(query, pchar+"/?") {
		return false
	}
	if authority, ok := strings.CutPrefix(rest, "//"); ok {
		path := ""
		if i := strings.IndexByte(authority, '/'); i >= 0 {
			authority, path = authority[:i], authority[i:]
		}
		return isAuthority(authority) && encoded(path, pchar+"/")
	}
	return encoded(rest, pchar+"/")
}

// Time is a date-time of RFC 3339 as it was written, since what was signed is
// its text. The zero Time is none.
type Time struct {
	text string
	at   time.Time
}

// TimeOf writes t in UTC and whole seconds.
func TimeOf(t time.Time) Time {
	t = t.UTC().Truncate(time.Second)
	return Time{t.Format(time.RFC3339), t}
}

// ParseTime parses a date-time. It refuses a leap second, which no clock here
// can be compared with, and t and z in lower case, a second spelling.
func ParseTime(s string) (Time, error) {
	// time.Parse alone takes a comma before the fraction, and hours of one digit.
	if form := timeForm(s); form != "dddd-dd-ddTdd:dd:ddZ" && form != "dddd-dd-ddTdd:dd:dd.dZ" &&
		form != "dddd-dd-ddTdd:dd:dd+dd:dd" && form != "dddd-dd-ddTdd:dd:dd.d+dd:dd" {
		return Time{}, fmt.Errorf("%w: a time is not as RFC 3339 writes it", ErrMessage)
	}
	at, err := time.Parse(time.RFC3339Nano, s)
	// It takes a zone of 24 hours too.
	if zone := s[len(s)-5:]; err != nil || s[len(s)-1] != 'Z' && zone[:2] > "23" {
		return Time{}, fmt.Errorf("%w: a time is not one of the calendar", ErrMessage)
	}
	return Time{s, at}, nil
}

// timeForm writes d for each digit, one for a whole fraction, and + for a sign.
func timeForm(s string) string {
	if len(s) > 40 {
		return ""
	}
	var form []byte
	fraction := false
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= '0' && c <= '9' && fraction && form[len(form)-1] == 'd':
			continue
		case c >= '0' && c <= '9':
			c = 'd'
		case c == '.':
			fraction = true
		case c == '+' || c == '-' && i > 10:
			c, fraction = '+', false
		default:
			fraction = false
		}
		form = append(form, c)
	}
	return string(form)
}

// String returns the text.
func (t Time) String() string { return t.text }

// At is the moment.
func (t Time) At() time.Time { return t.at }

// IsZero reports whether there is none.
func (t Time) IsZero() bool { return t.text == "" }
