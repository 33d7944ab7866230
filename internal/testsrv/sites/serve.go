package sites

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// call is one request to a route.
type call struct {
	*http.Request
	s       *Site
	w       http.ResponseWriter
	session *session // never nil but on a route that is open
	json    map[string]any
}

// answer is what a route returns: a page, a redirect, or JSON.
type answer struct {
	status int    // 200 if zero; 303 with to
	to     string // where the browser is led
	page   *page
	json   any
	raw    string // HTML as it is, without the layout
}

// maxForm bounds what a form, or a call of an API, may hold.
const maxForm = 1 << 20

func (s *Site) handle(rt route) {
	host := rt.host
	if host == "" {
		host = s.plan.hosts[0]
	}
	if s.mux[host] == nil {
		s.mux[host] = http.NewServeMux()
	}
	s.mux[host].HandleFunc(rt.on, func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, rt) })
}

// hostOf is the name that a request is for: that of the API for an address, or
// byAddress where the site plays none.
func (s *Site) hostOf(r *http.Request) string {
	host := strings.ToLower(r.Host)
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil || host == "localhost" {
		if s.plan.api == "" {
			return byAddress
		}
		return s.plan.api
	}
	return host
}

// route answers a request as the good site does.
func (s *Site) route(w http.ResponseWriter, r *http.Request) {
	host := s.hostOf(r)
	mux := s.mux[host]
	if mux == nil || r.TLS != nil && r.TLS.ServerName != "" && !strings.EqualFold(r.TLS.ServerName, host) && host != s.plan.api {
		http.Error(w, "misdirected request", http.StatusMisdirectedRequest)
		return
	}
	if _, pattern := mux.Handler(r); pattern == "" && host != s.plan.api {
		c := &call{Request: r, s: s, w: w}
		s.render(c, notice(http.StatusNotFound, "Page not found", "This page does not exist."))
		return
	}
	mux.ServeHTTP(w, r)
}

// serve does what all routes have in common: bodies, sessions, form tokens and
// rates, and renders what the route says.
func (s *Site) serve(w http.ResponseWriter, r *http.Request, rt route) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	c := &call{Request: r, s: s, w: w}
	if main := "https://" + s.plan.hosts[0]; s.plan.scripted != "" && rt.host == s.plan.scripted && r.Header.Get("Origin") == main {
		w.Header().Set("Access-Control-Allow-Origin", main)
		w.Header().Set("Access-Control-Allow-Credentials", "true")
	}
	if !rt.open {
		c.session = s.resume(c)
	}
	if no, ok := c.refused(rt); ok {
		s.render(c, no)
		return
	}
	a := rt.do(c)
	if h := s.held(r, true); h != nil {
		h.wait(r.Context())
	}
	s.render(c, a)
}

func (c *call) refused(rt route) (answer, bool) {
	changes := c.Method != http.MethodGet && c.Method != http.MethodHead && c.Method != http.MethodOptions
	if changes && strings.HasPrefix(c.Header.Get("Content-Type"), "application/json") {
		body, err := io.ReadAll(c.Body)
		if err != nil || json.Unmarshal(body, &c.json) != nil {
			return notice(http.StatusBadRequest, "Bad request", "The request could not be read."), true
		}
	} else if err := c.ParseForm(); err != nil {
		return notice(http.StatusBadRequest, "Bad request", "The request could not be read."), true
	}
	if rt.open {
		return answer{}, false
	}
	if changes {
		if !c.s.allow(c) {
			return notice(http.StatusTooManyRequests, "Too many requests", "Too many requests. Please try again in a bit."), true
		}
		token := c.Header.Get("X-Csrf-Token")
		if token == "" {
			token = c.PostFormValue("csrf")
		}
		if subtle.ConstantTimeCompare([]byte(token), []byte(c.session.csrf)) != 1 {
			return notice(http.StatusForbidden, "Session expired", "This form has expired. Reload the page and try again."), true
		}
	}
	if rt.signedIn && c.account() == nil {
		return answer{to: c.s.url(c.s.plan.signIn) + "?redirect_url=" + url.QueryEscape(c.URL.Path)}, true
	}
	return answer{}, false
}

// field is a value of the form or of the JSON body.
func (c *call) field(name string) string {
	if c.json != nil {
		v, _ := c.json[name].(string)
		return strings.TrimSpace(v)
	}
	return strings.TrimSpace(c.PostFormValue(name))
}

// ticked reports whether a box of the form, or of the JSON body, is ticked.
func (c *call) ticked(name string) bool {
	if c.json != nil {
		v, _ := c.json[name].(bool)
		return v
	}
	return c.PostFormValue(name) != ""
}

// url is an address on the main host.
func (s *Site) url(path string) string { return "https://" + s.plan.hosts[0] + path }

// post sends a letter, or what a variant makes of it.
func (s *Site) post(l Letter) error {
	// A browser that is gone does not keep a mail from going out.
	ctx, cancel := context.WithTimeout(s.ctx, 30*time.Second)
	defer cancel()
	letters := []Letter{l}
	if s.variant.post != nil {
		letters = s.variant.post(s, l)
	}
	for _, l := range letters {
		if err := s.opts.Post(ctx, l); err != nil {
			return err
		}
	}
	return nil
}

// Visit is a request that a Site got.
type Visit struct{ Host, Method, Path string }

// maxVisits is how many visits are kept.
const maxVisits = 20_000

// Visits returns the requests so far, oldest first. A request is among them
// before it is answered; queries are left out.
func (s *Site) Visits() []Visit {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.visits)
}

// enter counts a handler in, so that Close can wait for it. It reports false
// when the Site is closed already.
func (s *Site) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.served.Add(1)
	}
	return !s.closed
}

// seen notes each request and has it wait where a test holds it.
func (s *Site) seen(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.enter() {
			panic(http.ErrAbortHandler)
		}
		defer s.served.Done()
		defer s.worked(time.Now())
		host := strings.ToLower(r.Host)
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		s.mu.Lock()
		if len(s.visits) < maxVisits {
			s.visits = append(s.visits, Visit{host, r.Method, r.URL.Path})
		}
		s.mu.Unlock()
		if h := s.held(r, false); h != nil {
			h.wait(r.Context())
			if r.Context().Err() != nil {
				panic(http.ErrAbortHandler) // the site has never heard of it
			}
		}
		next.ServeHTTP(w, r)
	})
}
