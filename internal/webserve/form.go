package webserve

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Form reads a form-encoded body whose parameters are among names, each at
// most once, as RFC 6749 wants. The query does not count. What is wrong is a
// *brokerapi.Problem.
func Form(r *http.Request, names ...string) (map[string]string, error) {
	kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if !strings.EqualFold(strings.TrimSpace(kind), "application/x-www-form-urlencoded") {
		return nil, malformed("the body is not application/x-www-form-urlencoded")
	}
	data, err := readAll(r)
	if err != nil {
		return nil, err
	}
	values, err := url.ParseQuery(string(data))
	if err != nil {
		return nil, malformed("the body is not form-encoded")
	}
	out := make(map[string]string, len(values))
	for name, v := range values {
		switch {
		case !slices.Contains(names, name):
			return nil, malformed("it has a parameter that is not known here")
		case len(v) != 1:
			return nil, malformed("the parameter " + name + " stands twice")
		}
		out[name] = v[0]
	}
	return out, nil
}
