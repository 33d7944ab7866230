package inject

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/textproto"
	"net/url"
	"strings"

	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/netguard"
)

// ErrRoute is wrapped by every failure of Route.Validate.
var ErrRoute = errors.New("malformed route")

// compiled is what is worked out once per Route.
type compiled struct {
	scheme, host string // host as in the Host header
	origin       origin
	path         string // of Base, without a trailing slash
	prefix       string // "/<service>", where the base is for the agent

	strip      map[string]struct{} // canonical header names
	stripQuery map[string]struct{} // as foldKey has them
	constant   http.Header
	merged     map[string][]string // elements by canonical name
	meterKeys  []string
}

// origin is a scheme, lower-case host name and port, with the default filled in.
type origin struct{ scheme, name, port string }

func originOf(u *url.URL) origin {
	o := origin{strings.ToLower(u.Scheme), strings.ToLower(u.Hostname()), u.Port()}
	switch {
	case o.port != "":
	case o.scheme == "https":
		o.port = "443"
	case o.scheme == "http":
		o.port = "80"
	}
	return o
}

// Validate reports what makes r unusable. It does the work that is kept for
// all requests, so that whoever makes routes finds faults when he makes them.
func (r *Route) Validate() error {
	_, err := r.compile()
	return err
}

func (r *Route) compile() (*compiled, error) {
	r.once.Do(func() {
		if r.compiled, r.err = newCompiled(r); r.err != nil {
			r.err = fmt.Errorf("%w: service %s: %w", ErrRoute, r.Service, r.err)
		}
	})
	return r.compiled, r.err
}

func newCompiled(r *Route) (*compiled, error) {
	if r.Service.IsZero() || r.Transport == nil {
		return nil, errors.New("no service or no transport")
	}
	if len(r.Place) == 0 {
		return nil, errors.New("no place for the credential")
	}
	c := &compiled{
		prefix: "/" + r.Service.String(), strip: map[string]struct{}{}, stripQuery: map[string]struct{}{},
		constant: http.Header{}, merged: map[string][]string{}, meterKeys: r.MeterKeys,
	}
	if c.meterKeys == nil {
		c.meterKeys = []string{"usage", "cost"}
	}
	if err := c.setBase(r.Base); err != nil {
		return nil, err
	}
	for _, name := range r.StripHeaders {
		if err := c.stripHeader(name); err != nil {
			return nil, err
		}
	}
	for _, key := range r.StripQuery {
		c.stripQuery[foldKey(key)] = struct{}{}
	}
	for _, p := range r.Place {
		switch {
		case (p.Header == "") == (p.Query == ""):
			return nil, errors.New("a placement is a header or a query parameter")
		case p.Query != "":
			c.stripQuery[foldKey(p.Query)] = struct{}{}
			continue
		case !injectable(p.Header) || !isFieldValue(p.Prefix) || strings.TrimLeft(p.Prefix, " \t") != p.Prefix:
			return nil, errors.New("a header that cannot carry a credential")
		}
		if err := c.stripHeader(p.Header); err != nil {
			return nil, err
		}
	}
	for name, values := range r.Constant {
		for _, v := range values {
			if !injectable(name) || !isFieldValue(v) {
				return nil, errors.New("a constant header that cannot be sent")
			}
		}
		c.constant[textproto.CanonicalMIMEHeaderKey(name)] = values
	}
	for name, values := range r.Merged {
		name = textproto.CanonicalMIMEHeaderKey(name)
		_, twice := c.constant[name]
		if _, stripped := c.strip[name]; twice || stripped || requestHeaders[name] != keep || name != canonical(name) {
			return nil, errors.New("a header that no list can be added to")
		}
		for _, v := range values {
			if !injectable(name) || !isFieldValue(v) {
				return nil, errors.New("a list that cannot be sent")
			}
			for e := range elements(v) {
				c.merged[name] = append(c.merged[name], e)
			}
		}
	}
	return c, nil
}

func (c *compiled) stripHeader(name string) error {
	if !isToken(name) {
		return errors.New("a malformed header name")
	}
	c.strip[canonical(name)] = struct{}{}
	return nil
}

// injectable reports whether a header may be set by a route: not those that
// frame or route the request.
func injectable(name string) bool {
	switch canonical(name) {
	case "Host", "Content-Length", "Transfer-Encoding", "Connection", "Trailer", "Te", "Upgrade", "Expect":
		return false
	}
	return isToken(name)
}

func (c *compiled) setBase(u *url.URL) error {
	if u == nil || u.Opaque != "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.RawPath != "" {
		return errors.New("the base URL is scheme, host and path, and nothing else")
	}
	if err := netguard.CheckHost(u.Hostname()); err != nil {
		return err
	}
	switch addr, err := netip.ParseAddr(u.Hostname()); {
	case u.Scheme == "https":
	// What never leaves the machine needs no TLS; all else does.
	case u.Scheme == "http" && err == nil && addr.IsLoopback():
	default:
		return errors.New("the base URL is not https")
	}
	c.path = strings.TrimSuffix(u.Path, "/")
	if _, err := grant.ParsePath(c.path + "/"); err != nil {
		return fmt.Errorf("base URL: %w", err)
	}
	c.scheme, c.host, c.origin = u.Scheme, u.Host, originOf(u)
	if p := u.Port(); p != "" {
		if _, err := net.LookupPort("tcp", p); err != nil || p[0] == '0' {
			return errors.New("the base URL's port is malformed")
		}
	}
	return nil
}

// isToken reports whether s is a token as of RFC 9110, section 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; !alnum(c) && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// isFieldValue reports whether s may be sent as the value of a header: ASCII
// without control bytes, the tab included.
func isFieldValue(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
