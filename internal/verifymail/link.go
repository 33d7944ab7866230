package verifymail

import (
	"net/url"
	"strings"
)

// target is a link that passed, in the form in which it is returned.
type target struct{ url, host string }

// link returns the one link that the texts of a mail agree on.
func (r *rules) link(texts []flow) (target, *Refusal) {
	var found [2]target // of plain texts, of HTML
	worst := refuse(NoLink, "")
	for _, f := range texts {
		side := &found[0]
		if f.html {
			side = &found[1]
		}
		for _, a := range f.links {
			t, refusal := r.follow(a)
			switch {
			case refusal != nil:
				if rank(refusal) > rank(worst) {
					worst = refusal
				}
			case side.url == "":
				*side = t
			case side.url != t.url:
				return target{}, refuse(SeveralLinks, "")
			}
		}
	}
	plain, html := found[0], found[1]
	// Some plain texts are made of the HTML and keep its entities.
	plain.url = strings.ReplaceAll(plain.url, "&amp;", "&")
	switch {
	case plain.url == "" && html.url == "":
		return target{}, worst
	case html.url == "":
		return found[0], nil
	case plain.url != "" && plain.url != html.url:
		return target{}, refuse(Disagreement, "text and HTML have different links")
	}
	return html, nil
}

// rank orders what is wrong with links: the more of a link was right, the more
// its fault tells of why there is none.
func rank(r *Refusal) int {
	for i, reason := range []Reason{NoLink, LinkHost, LinkShape, LinkPath, LinkText} {
		if r.Reason == reason {
			return i
		}
	}
	return -1
}

// maxHops is how many redirects may stand in each other.
const maxHops = 2

// follow returns where a link leads, if it may lead there.
func (r *rules) follow(a anchor) (target, *Refusal) {
	href := strings.Trim(a.href, " \t\r\n\f")
	shown := shownHost(a.shown)
	fits := shown == ""
	for hop := 0; ; hop++ {
		u, t, refusal := parseLink(href)
		if refusal != nil {
			return target{}, refusal
		}
		// The text may show the redirect or what it leads to.
		fits = fits || shown == t.host || aligned(shown, t.host)
		if next, ok := r.redirect(u, t.host); ok && hop < maxHops {
			href = next
			continue
		}
		switch {
		case !contains(r.linkHosts, t.host):
			return target{}, refuse(LinkHost, "")
		case !r.path(u):
			return target{}, refuse(LinkPath, "")
		case !fits:
			return target{}, refuse(LinkText, "")
		}
		return t, nil
	}
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

// parseLink parses an absolute https URL that every reader of URLs understands
// in the same way. Browsers mend what others refuse: they take \ for /, drop
// line ends and tabs, read over missing or further slashes. Nothing that needs
// mending is a link here.
func parseLink(s string) (*url.URL, target, *Refusal) {
	const scheme = "https://"
	if len(s) > maxURL {
		return nil, target{}, refuse(LinkShape, "it is too long")
	}
	if len(s) <= len(scheme) || !strings.EqualFold(s[:len(scheme)], scheme) {
		return nil, target{}, refuse(LinkHost, "it is not https")
	}
	rest := s[len(scheme):]
	authority, tail := rest, ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority, tail = rest[:i], rest[i:]
	}
	for _, c := range []byte(tail) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte("\\\"<>^`{|}", c) >= 0 {
			return nil, target{}, refuse(LinkShape, "a character that no URL has")
		}
	}
	host, ok := asciiHost(strings.TrimSuffix(authority, ":443"))
	if !ok {
		return nil, target{}, refuse(LinkHost, "no plain host")
	}
	u, err := url.Parse(scheme + host + tail)
	if err != nil || u.Host != host || u.User != nil || u.Opaque != "" || u.Scheme != "https" {
		return nil, target{}, refuse(LinkShape, "")
	}
	return u, target{url: scheme + host + tail, host: host}, nil
}

// shownHost returns the host of the URL, or the host, that a link's text shows;
// "" if it shows none.
func shownHost(text string) string {
	text = strings.TrimSpace(text)
	if i := indexURL(text); i >= 0 {
		u := text[i:]
		u = u[:urlLength(u)]
		_, rest, _ := strings.Cut(u, "://")
		if i := strings.IndexAny(rest, "/?#\\"); i >= 0 {
			rest = rest[:i]
		}
		return orOdd(strings.TrimRight(rest, ".,;:!?)]…"))
	}
	// Without a scheme, only a text that is nothing but a host and a path.
	if strings.ContainsAny(text, " \t\n") {
		return ""
	}
	rest := text
	if i := strings.IndexAny(rest, "/?#\\"); i >= 0 {
		rest = rest[:i]
	}
	rest = strings.TrimRight(rest, ".,;:!?)]…")
	if i := strings.LastIndexByte(rest, '.'); i < 1 || len(rest)-i < 3 || strings.Contains(rest, "..") {
		return ""
	}
	return orOdd(rest)
}

// orOdd returns a host, or for what is none a word that no host equals.
func orOdd(s string) string {
	if h, ok := asciiHost(strings.TrimSuffix(s, ":443")); ok {
		return h
	}
	return "?"
}
