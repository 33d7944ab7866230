package verifymail

import (
	"slices"
	"strings"
)

// authResults is an Authentication-Results value, RFC 8601.
type authResults struct {
	spf, dmarc string
	from       string // header.from of dmarc
	dkim       []string
}

// maxResults bounds the results of one value.
const maxResults = 64

// parseAuth reads the value that the receiver with this name wrote; false if
// any of it is not as it should be.
//
// It is our own, because the library's splits at every semicolon, and does not
// know comments and quoted strings: a sender whose address or domain is repeated
// in one could write results of his own. For the same reason results must come
// in the order of the receivers there are: what repeats the envelope (spf and
// what belongs to it) before dkim, before dmarc, and what can be said once is
// said once.
func parseAuth(v, server string) (authResults, bool) {
	var a authResults
	list, ok := authWords(v)
	if !ok || len(list) > maxResults || len(list[0]) == 0 || !strings.EqualFold(list[0][0], server) {
		return authResults{}, false
	}
	if len(list[0]) > 2 || len(list[0]) == 2 && list[0][1] != "1" {
		return authResults{}, false
	}
	rank, seen := 0, map[string]bool{}
	for _, words := range list[1:] {
		if len(words) == 0 || len(words) == 1 && words[0] == "none" {
			continue
		}
		method, result, ok := strings.Cut(words[0], "=")
		if !ok {
			return authResults{}, false
		}
		method = strings.ToLower(method)
		r := 0
		switch method {
		case "spf", "client-ip", "envelope-from", "helo":
			r = 1
		case "dkim":
			r = 2
		case "dmarc":
			r = 3
		default:
			continue
		}
		if result == "" || r < rank || r != 2 && seen[method] {
			return authResults{}, false
		}
		if r >= 2 && slices.ContainsFunc(words[1:], func(w string) bool { return !strings.Contains(w, "=") }) {
			return authResults{}, false
		}
		rank, seen[method] = r, true
		switch method {
		case "spf":
			a.spf = verdictWord(result)
		case "dkim":
			d, ok := signer(words[1:])
			if !ok {
				return authResults{}, false
			}
			if strings.EqualFold(result, "pass") && d != "" && !slices.Contains(a.dkim, d) {
				a.dkim = append(a.dkim, d)
			}
		case "dmarc":
			a.dmarc = verdictWord(result)
			from, ok := property(words[1:], "header.from")
			if !ok {
				return authResults{}, false
			}
			a.from, _ = asciiHost(from)
		}
	}
	return a, true
}

// signer returns the domain that signed: header.d, or else that of header.i,
// which belongs to whoever signs for it or above it; "" if there is none. Two
// that contradict each other are an error.
func signer(words []string) (string, bool) {
	d, ok1 := property(words, "header.d")
	i, ok2 := property(words, "header.i")
	if !ok1 || !ok2 {
		return "", false
	}
	i = i[strings.LastIndexByte(i, '@')+1:]
	hd, okd := asciiHost(d)
	hi, oki := asciiHost(i)
	switch {
	case d != "" && i != "":
		return hd, okd && oki && within(hi, hd)
	case d != "":
		return hd, true
	}
	return hi, true
}

// property returns the value of the property with this name; "" without one,
// false if there are several.
func property(words []string, name string) (value string, ok bool) {
	found := false
	for _, w := range words {
		k, v, _ := strings.Cut(w, "=")
		if !strings.EqualFold(k, name) {
			continue
		}
		if found {
			return "", false
		}
		value, found = v, true
	}
	return value, true
}

// authWords splits a value at semicolons and spaces that stand in neither
// comments nor quoted strings. Comments are left out, quotes taken off.
func authWords(v string) (list [][]string, ok bool) {
	if len(v) > maxField {
		return nil, false
	}
	var word strings.Builder
	var words []string
	depth, quoted := 0, false
	flush := func() {
		if word.Len() > 0 {
			words = append(words, word.String())
			word.Reset()
		}
	}
	for i := 0; i < len(v); i++ {
		c := v[i]
		if c < ' ' && c != '\t' || c >= 0x7f {
			return nil, false
		}
		switch {
		case c == '\\' && (quoted || depth > 0):
			if i++; i == len(v) {
				return nil, false
			}
			if quoted {
				word.WriteByte(v[i])
			}
		case quoted:
			if c == '"' {
				quoted = false
			} else {
				word.WriteByte(c)
			}
		case c == '(':
			// A comment that touches a word would cut it in two, and be part of
			// it for others: header.i=@good.example(x).evil.example.
			if depth == 0 && i > 0 && !between(v[i-1]) {
				return nil, false
			}
			flush()
			if depth++; depth > 8 {
				return nil, false
			}
		case depth > 0:
			if c == ')' {
				depth--
				if depth == 0 && i+1 < len(v) && !between(v[i+1]) {
					return nil, false
				}
			}
		case c == ')', c == '\\':
			return nil, false
		case c == '"':
			quoted = true
		case c == ' ', c == '\t':
			flush()
		case c == ';':
			flush()
			list, words = append(list, words), nil
		default:
			word.WriteByte(c)
		}
	}
	flush()
	return append(list, words), depth == 0 && !quoted
}

// between reports whether c may stand on either side of a comment.
func between(c byte) bool { return c == ' ' || c == '\t' || c == ';' }
