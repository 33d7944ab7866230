package inject

import (
	"net/http"
	"strings"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/grant"
)

// target is what a request asks for.
type target struct {
	service agentkeys.Service
	path    string // as it stood in the request line, from the second segment on
	query   string // likewise, without the question mark
}

// parseTarget refuses whatever is no ordinary request, and splits the request
// line. net/http has refused before: malformed request lines and headers,
// several or missing Host headers, contradicting lengths, unknown transfer
// codings. It has also resolved, rather than refused, two things that RFC 9112
// lets a server resolve: a folded header line became one line, and a
// Content-Length beside Transfer-Encoding was dropped. Both are gone before
// the request is written anew for the upstream.
func parseTarget(r *http.Request) (target, *problem) {
	switch r.Method {
	case http.MethodConnect, http.MethodTrace, "TRACK", "DEBUG", "PRI":
		return target{}, fault(codeMethod, "CONNECT, TRACE and the like are not served")
	}
	if strings.Trim(r.Method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" || len(r.Method) > 16 {
		return target{}, fault(codeMethod, "a method is an upper-case word")
	}
	if r.ProtoMajor != 1 || len(r.Header["Upgrade"]) > 0 || len(r.Header["Http2-Settings"]) > 0 {
		return target{}, fault(codeUpgrade, "the request asks for another protocol")
	}
	if e := r.Header["Expect"]; len(e) > 1 || len(e) == 1 && !strings.EqualFold(e[0], "100-continue") {
		return target{}, fault(codeExpect, "only 100-continue can be expected")
	}
	if !strings.HasPrefix(r.RequestURI, "/") {
		return target{}, fault(codeTarget, "the request line has no path")
	}
	path, query, _ := strings.Cut(r.RequestURI, "?")
	if _, err := grant.ParsePath(path); err != nil {
		return target{}, fault(codePath, err.Error())
	}
	if why := checkQuery(query); why != "" {
		return target{}, fault(codeQuery, why)
	}
	name, _, _ := strings.Cut(path[1:], "/")
	svc, err := agentkeys.ParseService(name)
	if err != nil {
		return target{}, fault(codeService, err.Error())
	}
	rest := path[1+len(name):]
	if rest == "" {
		rest = "/"
	}
	return target{svc, rest, query}, nil
}
