package inject

import (
	"encoding/base64"
	"iter"
	"net/http"
	"net/textproto"
	"strings"
)

// kind says what becomes of a request header.
type kind uint8

const (
	keep       kind = iota
	drop            // it frames, routes or describes the agent's own connection
	credential      // dropped, after it has been searched for a placeholder
)

// requestHeaders lists what does not go to the upstream. Unlisted headers go.
var requestHeaders = map[string]kind{
	// Hop by hop, RFC 9110 section 7.6.1, and what the transport writes itself.
	"Connection": drop, "Proxy-Connection": drop, "Keep-Alive": drop, "Te": drop, "Trailer": drop, "Transfer-Encoding": drop,
	"Upgrade": drop, "Http2-Settings": drop, "Proxy-Authenticate": drop, "Content-Length": drop, "Expect": drop, "Host": drop,
	// Answers come uncompressed, see decode.go.
	"Accept-Encoding": drop,
	// Two answers that each hold a part of an echoed credential hold no whole
	// one to be found. A server may always answer without regard to Range.
	"Range": drop, "If-Range": drop,

	"Authorization": credential, "Proxy-Authorization": credential, "X-Api-Key": credential, "Api-Key": credential, "Apikey": credential,
	"X-Apikey": credential, "X-Goog-Api-Key": credential, "Xi-Api-Key": credential, "X-Subscription-Token": credential,
	"Ocp-Apim-Subscription-Key": credential, "X-Auth-Token": credential, "X-Auth-Key": credential, "X-Access-Token": credential,
	"X-Token": credential, "Private-Token": credential, "X-Authorization": credential, "X-Amz-Security-Token": credential,
	"Cookie": drop, "Cookie2": drop, "X-Csrf-Token": drop, "X-Xsrf-Token": drop,

	// What a browser says, and what proxies tell each other.
	"Origin": drop, "Referer": drop, "Access-Control-Request-Method": drop, "Access-Control-Request-Headers": drop,
	"Access-Control-Request-Private-Network": drop, "Sec-Fetch-Site": drop, "Sec-Fetch-Mode": drop, "Sec-Fetch-Dest": drop, "Sec-Fetch-User": drop,
	"Forwarded": drop, "Via": drop, "X-Real-Ip": drop, "X-Client-Ip": drop, "True-Client-Ip": drop, "Client-Ip": drop,
	"X-Cluster-Client-Ip": drop, "Cf-Connecting-Ip": drop, "Fastly-Client-Ip": drop, "X-Remote-Ip": drop, "X-Remote-Addr": drop,
	"X-Originating-Ip": drop, "X-Host": drop, "X-Original-Host": drop, "X-Forwarded": drop, "Forwarded-For": drop,

	// What makes a server act on another method or path than the one that was
	// decided on.
	"X-Http-Method-Override": drop, "X-Http-Method": drop, "X-Method-Override": drop, "X-Original-Url": drop, "X-Rewrite-Url": drop,
	"X-Original-Uri": drop, "X-Original-Method": drop, "X-Envoy-Original-Path": drop, "X-Envoy-Original-Method": drop, "X-Envoy-Decorator-Operation": drop,
	"X-Override-Url": drop, "X-Proxy-Url": drop, "X-Accel-Redirect": drop, "X-Sendfile": drop,
}

// canonical returns the name under which headers are looked up. An underscore
// counts as a hyphen, because CGI and its descendants cannot tell them apart.
func canonical(name string) string {
	if strings.IndexByte(name, '_') >= 0 {
		name = strings.ReplaceAll(name, "_", "-")
	}
	return textproto.CanonicalMIMEHeaderKey(name)
}

func (c *compiled) kindOf(name string) kind {
	as := name
	if strings.IndexByte(name, '_') >= 0 {
		name = canonical(name)
	}
	if k, ok := requestHeaders[name]; ok {
		return k
	}
	if c != nil && as != name && c.merged[name] != nil {
		return drop // a second one, to a server that folds the two names
	}
	if strings.HasPrefix(name, "X-Forwarded-") {
		return drop
	}
	if c != nil {
		if _, ok := c.strip[name]; ok {
			return credential
		}
	}
	return keep
}

// merged adds to what the agent sent of a list whichever of ours it lacks, in
// one line: some servers read no more than the first. The agent's elements stay
// as they are. theirs, which belongs to the agent's request, is not changed.
func merged(theirs, ours []string) []string {
	had := map[string]bool{}
	var list []string
	for _, line := range theirs {
		for e := range elements(line) {
			had[e] = true
			list = append(list, e)
		}
	}
	for _, e := range ours {
		if !had[e] {
			had[e] = true
			list = append(list, e)
		}
	}
	return []string{strings.Join(list, ",")}
}

// elements are those of a list (RFC 9110 section 5.6.1), which may have empty
// ones, that count for nothing. A comma within quotes parts it too: put together
// again they are what they were, but for spaces around such a comma.
func elements(line string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for e := range strings.SplitSeq(line, ",") {
			if e = textproto.TrimString(e); e != "" && !yield(e) {
				return
			}
		}
	}
}

// maxPresented bounds the candidates that Identify has to look at.
const maxPresented = 16

// sift splits in into what goes to the upstream, in a map of its own that
// shares in's values, and what may be a placeholder. c is nil where there is
// no route.
func (c *compiled) sift(in http.Header, presented []string) (http.Header, []string) {
	out := make(http.Header, len(in)) // as many are dropped as are added
	for name, values := range in {
		switch c.kindOf(name) {
		case keep:
			out[name] = values
		case credential:
			for _, v := range values {
				presented = candidates(presented, v)
			}
		}
	}
	dropNamed(out, in["Connection"])
	return out, presented
}

// dropNamed deletes what a Connection header declares to be of this hop.
func dropNamed(h http.Header, connection []string) {
	for _, v := range connection {
		for name := range strings.SplitSeq(v, ",") {
			name = textproto.TrimString(name)
			if strings.EqualFold(name, "keep-alive") || strings.EqualFold(name, "close") {
				continue
			}
			delete(h, textproto.CanonicalMIMEHeaderKey(name))
		}
	}
}

// candidates adds what may be a token in the value of a credential header:
// the value itself, what follows an authentication scheme, and for Basic the
// user and the password.
func candidates(list []string, value string) []string {
	scheme, rest, ok := strings.Cut(value, " ")
	if !ok {
		return candidate(list, value)
	}
	rest = strings.TrimLeft(rest, " ")
	if !strings.EqualFold(scheme, "basic") {
		return candidate(list, rest)
	}
	b, err := base64.StdEncoding.DecodeString(rest)
	if err != nil {
		return list
	}
	user, password, _ := strings.Cut(string(b), ":")
	return candidate(candidate(list, user), password)
}

func candidate(list []string, s string) []string {
	if s == "" || len(list) >= maxPresented {
		return list
	}
	return append(list, s)
}

// responseHeaders lists what does not go back to the agent: what is of the
// upstream's hop, and what would make a browser, or a client with a cookie jar,
// treat this listener as the upstream's site or open it to other sites.
var responseHeaders = map[string]struct{}{
	"Connection": {}, "Proxy-Connection": {}, "Keep-Alive": {}, "Te": {}, "Trailer": {}, "Transfer-Encoding": {}, "Upgrade": {},
	"Proxy-Authenticate": {}, "Proxy-Authorization": {}, "Proxy-Authentication-Info": {}, "Http2-Settings": {},
	"Set-Cookie": {}, "Set-Cookie2": {}, "Alt-Svc": {}, "Alt-Used": {}, "Strict-Transport-Security": {}, "Clear-Site-Data": {},
	"Public-Key-Pins": {}, "Expect-Ct": {}, "Nel": {}, "Report-To": {}, "Reporting-Endpoints": {}, "Service-Worker-Allowed": {},
	"Refresh": {}, "Timing-Allow-Origin": {}, "Accept-Ranges": {},
}

func isResponseHeader(name string) bool {
	_, listed := responseHeaders[name]
	return !listed && !strings.HasPrefix(name, "Access-Control-")
}
