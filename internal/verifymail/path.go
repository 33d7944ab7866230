package verifymail

import (
	"encoding/base64"
	"net/url"
	"strings"
)

// path reports whether the rules allow the path of a link.
func (r *rules) path(u *url.URL) bool {
	p := u.EscapedPath()
	if !plainPath(p) {
		return false
	}
	if len(r.paths) == 0 {
		return carriesToken(u, p)
	}
	for _, prefix := range r.paths {
		if p == prefix || strings.HasPrefix(p, strings.TrimSuffix(prefix, "/")+"/") {
			return true
		}
	}
	return false
}

// plainPath reports whether a path means what it says: a segment . or .., in
// whatever encoding, would lead elsewhere than its beginning. Some servers decode
// more than once, and some take what follows a semicolon in a segment away before
// they look.
func plainPath(p string) bool {
	for _, c := range []byte(p) {
		if c <= ' ' || c >= 0x7f || c == '?' || c == '#' {
			return false
		}
	}
	for range maxDecoded {
		if !plainSegments(p) {
			return false
		}
		next, err := url.PathUnescape(p)
		if err != nil || next == p {
			return true
		}
		p = next
	}
	return false
}

// maxDecoded is how often a path is decoded. What goes on beyond it is made to
// deceive.
const maxDecoded = 5

func plainSegments(p string) bool {
	l := strings.NewReplacer("%2e", ".", "%3b", ";").Replace(strings.ToLower(p))
	if strings.Contains(l, "%2f") || strings.Contains(l, "%5c") || strings.Contains(l, "\\") {
		return false
	}
	for seg := range strings.SplitSeq(l, "/") {
		if seg, _, _ = strings.Cut(seg, ";"); seg == "." || seg == ".." {
			return false
		}
	}
	return true
}

const (
	// minToken is how long the shortest token in a link is, in bytes: what can
	// be guessed verifies nothing.
	minToken = 16
)

// carriesToken tells links that verify from those that stand at the foot of
// every mail, where the rules name no path.
func carriesToken(u *url.URL, p string) bool {
	for seg := range strings.SplitSeq(strings.ToLower(p), "/") {
		if footers[seg] {
			return false
		}
	}
	if i := strings.LastIndexByte(p, '.'); i >= 0 {
		switch strings.ToLower(p[i+1:]) {
		case "png", "gif", "jpg", "jpeg", "svg", "webp", "ico", "css", "js", "pdf":
			return false
		}
	}
	run := 0
	for _, c := range []byte(p[strings.LastIndexByte(p, '/')+1:] + "\n" + u.RawQuery + "\n" + u.EscapedFragment()) {
		switch {
		case c >= '0' && c <= '9', c|0x20 >= 'a' && c|0x20 <= 'z', c == '-', c == '_', c == '.', c == '~', c == '%', c == '+':
			if run++; run >= minToken {
				return true
			}
		default:
			run = 0
		}
	}
	return false
}

var footers = set("unsubscribe optout opt-out preferences email-preferences notifications privacy privacy-policy terms terms-of-service tos legal about contact support help faq docs blog pricing careers images img logo static assets social settings open pixel track")

// redirect returns where a link of a redirect leads.
func (r *rules) redirect(u *url.URL, host string) (string, bool) {
	params := r.redirects[host]
	if len(params) == 0 {
		return "", false
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return "", false
	}
	found := ""
	for _, p := range params {
		for _, v := range q[p] {
			if found != "" {
				return "", false // which of them counts is the host's to choose
			}
			found = v
		}
	}
	return targetOf(found)
}

// targetOf reads a URL, one that was encoded once more, or one in base64.
func targetOf(v string) (string, bool) {
	const scheme = "https://"
	isURL := func(s string) bool { return len(s) > len(scheme) && strings.EqualFold(s[:len(scheme)], scheme) }
	if isURL(v) {
		return v, true
	}
	if len(v) > 8 && strings.EqualFold(v[:8], "https%3a") {
		if s, err := url.QueryUnescape(v); err == nil && isURL(s) {
			return s, true
		}
		return "", false
	}
	v = strings.TrimRight(v, "=")
	for _, e := range []*base64.Encoding{base64.RawURLEncoding, base64.RawStdEncoding} {
		// A + of the plain alphabet was read as a space.
		if b, err := e.DecodeString(strings.ReplaceAll(v, " ", "+")); err == nil && isURL(string(b)) {
			return string(b), true
		}
	}
	return "", false
}
