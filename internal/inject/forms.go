package inject

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
)

// The bounds of a secret that can be injected. A shorter one would be found by
// chance in harmless text; a longer one fits no header.
const (
	minSecret = 8
	maxSecret = 4096
)

var errSecret = errors.New("the stored credential cannot be injected")

// checkSecret refuses what could not be sent, or would be sent as something
// else: a line break in a secret would end the header and begin another. The
// error does not quote the secret.
func checkSecret(s []byte) error {
	if len(s) < minSecret || len(s) > maxSecret {
		return fmt.Errorf("%w: it is not %d to %d bytes long", errSecret, minSecret, maxSecret)
	}
	for _, c := range s {
		if c < ' ' || c > '~' {
			return fmt.Errorf("%w: it has a byte that is not printable ASCII", errSecret)
		}
	}
	// A header parser would drop these, and the redactor then miss the rest.
	if s[0] == ' ' || s[len(s)-1] == ' ' {
		return fmt.Errorf("%w: it begins or ends with a space", errSecret)
	}
	return nil
}

const (
	lowerHex = "0123456789abcdef"
	upperHex = "0123456789ABCDEF"
)

// escaper writes the bytes for which plain is false as they are escaped in
// some language.
type escaper struct {
	plain  func(c byte) bool
	escape func(dst []byte, c byte) []byte
}

func (e escaper) apply(s []byte) []byte {
	out := make([]byte, 0, 6*len(s))
	for _, c := range s {
		if e.plain(c) {
			out = append(out, c)
		} else {
			out = e.escape(out, c)
		}
	}
	return out
}

func alnum(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

func none(byte) bool { return false }

// or makes a predicate of letters, digits and the given bytes.
func or(more string) func(byte) bool {
	return func(c byte) bool { return alnum(c) || bytes.IndexByte([]byte(more), c) >= 0 }
}

// but makes a predicate of everything except the given bytes.
func but(less string) func(byte) bool {
	return func(c byte) bool { return bytes.IndexByte([]byte(less), c) < 0 }
}

// hexed makes an escape of a prefix, two digits and a suffix.
func hexed(before, digits, after string) func([]byte, byte) []byte {
	return func(dst []byte, c byte) []byte {
		dst = append(dst, before...)
		dst = append(dst, digits[c>>4], digits[c&15])
		return append(dst, after...)
	}
}

func decimal(dst []byte, c byte) []byte { return fmt.Appendf(dst, "&#%d;", c) }

// named is a table of escapes, falling back to another escape.
func named(table map[byte]string, rest func([]byte, byte) []byte) func([]byte, byte) []byte {
	return func(dst []byte, c byte) []byte {
		if s, ok := table[c]; ok {
			return append(dst, s...)
		}
		return rest(dst, c)
	}
}

// escapers lists the ways in which encoders in use write text: what they
// leave alone, and how they write the rest. For a secret of letters, digits
// and hyphens most of them come to the same few forms.
func escapers() []escaper {
	var list []escaper
	for _, digits := range []string{lowerHex, upperHex} {
		percent := hexed("%", digits, "")
		plus := named(map[byte]string{' ': "+"}, percent)
		list = append(list,
			escaper{none, percent},
			escaper{alnum, percent},
			escaper{or("-._~"), percent},                 // RFC 3986
			escaper{or("-._~"), plus},                    // Go's QueryEscape
			escaper{or("-._*"), plus},                    // HTML forms, Java
			escaper{or("-._"), plus},                     // PHP's urlencode
			escaper{or("-._~/"), percent},                // Python's quote
			escaper{or("-._~!*'()"), percent},            // encodeURIComponent
			escaper{or("-._~!*'();/?:@&=+$,#"), percent}, // encodeURI
			escaper{or("-._~$&+=:@"), percent},           // Go's PathEscape
			escaper{or("-._~!$&'()*+,;=:@"), percent},    // RFC 3986 segments
			escaper{or("-._~!$&'()*+,;=:@/?"), percent},
			escaper{or("-._~$&+,;="), percent}, // Go's user information
		)
		u := hexed(`\u00`, digits, "")
		x := hexed(`\x`, digits, "")
		short := map[byte]string{'"': `\"`, '\\': `\\`}
		slash := map[byte]string{'"': `\"`, '\\': `\\`, '/': `\/`}
		list = append(list,
			escaper{none, u}, escaper{alnum, u}, escaper{or("-._"), u}, escaper{none, x}, escaper{alnum, x}, escaper{or("-._"), x},
			escaper{but(`"\`), named(short, u)},         // most of JSON
			escaper{but(`"\/`), named(slash, u)},        // PHP
			escaper{but(`"\<>&`), named(short, u)},      // Go
			escaper{but(`"\<>&'`), named(short, u)},     // Rails, gson
			escaper{but(`"\<>&'=`), named(short, u)},    // gson
			escaper{but(`"\<>&'+`), named(short, u)},    // .NET, with the next
			escaper{but("\"\\<>&'+`"), u},               // .NET
			escaper{but("\"\\<>&'+`"), named(short, u)}, // .NET
			escaper{but(`"\/<>&'`), named(slash, u)},    // PHP with JSON_HEX_*
			escaper{but(`"\/<>&'`), u},
			escaper{but(`<>&`), u},
			escaper{but(`'"\`), named(map[byte]string{'\'': `\'`, '"': `\"`, '\\': `\\`}, u)}, // JavaScript, Python
			escaper{but(`'\`), named(map[byte]string{'\'': `\'`, '\\': `\\`}, u)},
		)
		entity := hexed("&#x", digits, ";")
		words := map[byte]string{'&': "&amp;", '<': "&lt;", '>': "&gt;", '"': "&quot;"}
		apos := map[byte]string{'&': "&amp;", '<': "&lt;", '>': "&gt;", '"': "&quot;", '\'': "&apos;"}
		list = append(list,
			escaper{none, entity}, escaper{alnum, entity}, escaper{or("-._"), entity},
			escaper{but(`&<>"'`), named(words, entity)},     // Python
			escaper{but(`&<>"'/`), named(words, entity)},    // OWASP
			escaper{but("&<>\"'/`="), named(words, entity)}, // mustache
			escaper{but(`&<>"'`), named(apos, entity)},      // XML
		)
	}
	words := map[byte]string{'&': "&amp;", '<': "&lt;", '>': "&gt;", '"': "&quot;"}
	return append(list,
		escaper{none, decimal}, escaper{alnum, decimal}, escaper{or("-._"), decimal},
		escaper{but(`&<>`), named(words, decimal)},
		escaper{but(`&<>"`), named(words, decimal)},
		escaper{but(`&<>"'`), named(words, decimal)},                                                    // PHP
		escaper{but(`&<>"'`), named(map[byte]string{'&': "&amp;", '<': "&lt;", '>': "&gt;"}, decimal)},  // Go
		escaper{but(`&<>"'+`), named(map[byte]string{'&': "&amp;", '<': "&lt;", '>': "&gt;"}, decimal)}, // Go templates
	)
}

// subsets lists every choice of which special bytes of s to percent-escape,
// where s has few: keys that are base64 have + / and =, and encoders disagree
// about just those.
func subsets(s []byte) []escaper {
	var special []byte
	for _, c := range s {
		if !or("-._")(c) && bytes.IndexByte(special, c) < 0 {
			special = append(special, c)
		}
	}
	if len(special) > 4 {
		return nil
	}
	var list []escaper
	for mask := range 1 << len(special) {
		plain := "-._"
		for i, c := range special {
			if mask>>i&1 == 1 {
				plain += string(rune(c))
			}
		}
		list = append(list, escaper{or(plain), hexed("%", lowerHex, "")}, escaper{or(plain), hexed("%", upperHex, "")})
	}
	return list
}

// forms returns every text that is searched for, shortest first: the secret,
// its escapes, its hexadecimal digits, and the part of its base64 that does not
// depend on what stands before and after it, at each of the three offsets. At
// most the edge bits of the first and last byte stay outside that part.
//
// Not found: two escapes of different kinds on top of each other, unless the
// secret has only bytes that they leave alone, which holds for most keys; a
// choice of what to escape that no encoder listed makes, where the secret has
// more than four special bytes; part of a secret; and whatever else can be
// computed of one.
func forms(s []byte) [][]byte {
	list := [][]byte{slices.Clone(s)}
	for _, e := range append(escapers(), subsets(s)...) {
		list = append(list, e.apply(s))
	}
	h := hex.AppendEncode(nil, s)
	list = append(list, h, bytes.ToUpper(h))
	for k := range 3 {
		padded := append(make([]byte, k, k+len(s)), s...)
		from, to := (8*k+5)/6, 8*(k+len(s))/6
		list = append(list,
			base64.RawStdEncoding.AppendEncode(nil, padded)[from:to],
			base64.RawURLEncoding.AppendEncode(nil, padded)[from:to])
		clear(padded)
	}
	slices.SortFunc(list, func(a, b []byte) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return bytes.Compare(a, b)
	})
	// A form that begins with another is never reached: the shorter one is
	// found first. What it leaves of the longer one is the end of an escape.
	var out [][]byte
	for _, f := range list {
		if !slices.ContainsFunc(out, func(o []byte) bool { return bytes.HasPrefix(f, o) }) {
			out = append(out, bytes.Clone(f)) // f has room for the longest escape
		}
		clear(f)
	}
	return out
}
