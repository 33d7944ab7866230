package inject

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/litentry/agentkeys/internal/grant"
)

// head writes the status and the headers of the upstream's answer, redacted
// and without what is of its hop or for its site only. It returns how often it
// redacted.
func (c *compiled) head(w http.ResponseWriter, res *http.Response, t target, x *redactor, decoded bool) (found int) {
	h := w.Header()
	for name, values := range res.Header {
		if !isResponseHeader(name) || x.name(name) {
			continue
		}
		found += x.values(values)
		h[name] = values
	}
	dropNamed(h, res.Header["Connection"])
	// Decoded or by request not coded: either way it says nothing now.
	delete(h, "Content-Encoding")
	if decoded || res.Header["Content-Encoding"] != nil && res.Request.Method == http.MethodHead {
		delete(h, "Content-Length") // of the coded body
	}
	for i, v := range h["Location"] {
		h["Location"][i] = c.location(v, t)
	}
	found += x.values(h["Location"]) // what was written anew is searched anew
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil // or net/http would guess one
	}
	if len(res.Trailer) > 0 {
		names := make([]string, 0, len(res.Trailer))
		for name := range res.Trailer {
			if isTrailer(name) && !x.name(name) {
				names = append(names, name)
			}
		}
		if len(names) > 0 {
			h["Trailer"] = []string{strings.Join(names, ", ")}
			delete(h, "Content-Length") // trailers need chunks
		}
	}
	w.WriteHeader(res.StatusCode)
	return found
}

// values redacts header values in place.
func (x *redactor) values(values []string) (found int) {
	for i, v := range values {
		s, n := x.text(v)
		if n > 0 {
			values[i] = s
		}
		found += n
	}
	return found
}

// isTrailer reports whether a field may come after the body: not what frames,
// routes or is dropped from headers.
func isTrailer(name string) bool {
	switch name {
	case "Content-Length", "Content-Type", "Content-Encoding", "Content-Range", "Location", "Cache-Control", "Authorization", "Host":
		return false
	}
	return isResponseHeader(name) && isToken(name)
}

// trailers writes what came after the body. Those that had been announced go
// under their names, as net/http wants it, others with its prefix.
func trailers(w http.ResponseWriter, res *http.Response, x *redactor) (found int) {
	h := w.Header()
	announced := strings.Join(h["Trailer"], "")
	for name := range strings.SplitSeq(announced, ", ") {
		if announced != "" {
			delete(h, name) // a header of the same name is not the trailer
		}
	}
	for name, values := range res.Trailer {
		if len(values) == 0 || !isTrailer(name) || x.name(name) {
			continue
		}
		found += x.values(values)
		if !containsToken(announced, name) {
			name = http.TrailerPrefix + name
		}
		h[name] = values
	}
	return found
}

func containsToken(list, name string) bool {
	for t := range strings.SplitSeq(list, ", ") {
		if t == name {
			return true
		}
	}
	return false
}

// location turns a reference to the service's own API into one to this
// listener, so that an agent that follows it comes back with its placeholder.
// Any other becomes absolute: what is relative to the service is not relative
// to this listener.
func (c *compiled) location(v string, t target) string {
	ref, err := url.Parse(v)
	if err != nil {
		return v
	}
	// Without the query, which an empty reference would inherit: it may hold
	// the credential.
	abs := (&url.URL{Scheme: c.scheme, Host: c.host, Path: c.path + t.path}).ResolveReference(ref)
	path := abs.EscapedPath()
	rest, ok := strings.CutPrefix(path, c.path)
	if abs.User == nil && originOf(abs) == c.origin && ok {
		if _, err := grant.ParsePath(rest); err == nil {
			local := c.prefix + rest
			if abs.RawQuery != "" {
				local += "?" + abs.RawQuery
			}
			if f := abs.EscapedFragment(); f != "" {
				local += "#" + f
			}
			return local
		}
	}
	return abs.String()
}
