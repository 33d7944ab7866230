package sites

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// evil is the host that changes lead to. It is no site's.
const evil = "evil.test"

// edited is an answer on its way out.
type edited struct {
	service string
	request *http.Request
	sent    bool // something was posted to the site before
	status  int
	header  http.Header
	body    []byte
}

func (e *edited) html() bool {
	return strings.HasPrefix(e.header.Get("Content-Type"), "text/html")
}

// holding is a ResponseWriter that keeps what is written.
type holding struct {
	status int
	header http.Header
	body   bytes.Buffer
}

func (h *holding) Header() http.Header { return h.header }

func (h *holding) WriteHeader(status int) {
	if h.status == 0 {
		h.status = status
	}
}

func (h *holding) Write(p []byte) (int, error) {
	h.WriteHeader(http.StatusOK)
	return h.body.Write(p)
}

// navigates reports whether a request is for a document: what a person's
// browser asks for when a page is led somewhere.
func navigates(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept"), "text/html")
}

// editing has change see every answer before it goes out.
func editing(change func(*edited)) func(string, http.Handler) http.Handler {
	return func(service string, plain http.Handler) http.Handler {
		var mu sync.Mutex
		var posted bool
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			e := &edited{service: service, request: r, sent: posted}
			posted = posted || r.Method == http.MethodPost
			mu.Unlock()
			held := &holding{header: http.Header{}}
			plain.ServeHTTP(held, r)
			e.status, e.header, e.body = max(held.status, http.StatusOK), held.header, held.body.Bytes()
			change(e)
			// What a change inserts must run.
			e.header.Del("Content-Security-Policy")
			for k, v := range e.header {
				w.Header()[k] = v
			}
			w.Header().Set("Content-Length", strconv.Itoa(len(e.body)))
			w.WriteHeader(e.status)
			_, _ = w.Write(e.body)
		})
	}
}

// standing has answer see every request for a document first; it reports
// whether it answered.
func standing(answer func(w http.ResponseWriter, r *http.Request, nth int) bool) func(string, http.Handler) http.Handler {
	return func(_ string, plain http.Handler) http.Handler {
		var mu sync.Mutex
		var seen int
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if navigates(r) {
				mu.Lock()
				nth := seen
				seen++
				mu.Unlock()
				if answer(w, r, nth) {
					return
				}
			}
			plain.ServeHTTP(w, r)
		})
	}
}

// always is standing for what answers every request for a document.
func always(answer http.HandlerFunc) func(string, http.Handler) http.Handler {
	return standing(func(w http.ResponseWriter, r *http.Request, _ int) bool {
		answer(w, r)
		return true
	})
}

// atTop and atEnd put something into a page: the one before all that the page
// brings, scripts included.
func atTop(body []byte, what string) []byte {
	lower := bytes.ToLower(body)
	for _, tag := range []string{"<head", "<html", "<!doctype"} {
		if i := bytes.Index(lower, []byte(tag)); i >= 0 {
			if j := bytes.IndexByte(body[i:], '>'); j >= 0 {
				return insert(body, i+j+1, what)
			}
		}
	}
	return insert(body, 0, what)
}

func atBody(body []byte, what string) []byte {
	if i := bytes.Index(bytes.ToLower(body), []byte("<body")); i >= 0 {
		if j := bytes.IndexByte(body[i:], '>'); j >= 0 {
			return insert(body, i+j+1, what)
		}
	}
	return atEnd(body, what)
}

func atEnd(body []byte, what string) []byte {
	if i := bytes.LastIndex(bytes.ToLower(body), []byte("</body")); i >= 0 {
		return insert(body, i, what)
	}
	return insert(body, len(body), what)
}

func insert(body []byte, at int, what string) []byte {
	out := make([]byte, 0, len(body)+len(what))
	return append(append(append(out, body[:at]...), what...), body[at:]...)
}

// prelude is before each script. watch calls f once for each element that is
// there or comes; what a change adds itself has the attribute data-variant.
const prelude = `
const done = new WeakSet();
const ready = f => document.readyState === 'loading' ? addEventListener('DOMContentLoaded', f) : f();
const watch = (css, f) => ready(() => {
  const go = () => { for (const e of document.querySelectorAll(css)) {
    if (done.has(e) || e.closest('[data-variant]')) continue;
    done.add(e); f(e);
  } };
  go();
  new MutationObserver(go).observe(document.documentElement, {childList: true, subtree: true});
});
const add = html => { const d = document.createElement('div'); d.dataset.variant = ''; d.innerHTML = html; document.body.append(d); return d; };
const BUTTONS = 'button, input[type=submit], a[role=button]';
const FIELDS = 'input:not([type=hidden]):not([type=checkbox]):not([type=submit])';
const name = (e, to) => { if (e.tagName === 'INPUT') e.value = to; else { e.textContent = to; } e.removeAttribute('aria-label'); };
const named = e => e.tagName === 'INPUT' ? e.value : e.textContent;
`

// script has js run in every page, before the page's own scripts.
func script(js string) func(string, http.Handler) http.Handler {
	whole := "<script>(() => {" + prelude + js + "})();</script>"
	return editing(func(e *edited) {
		if e.html() {
			e.body = atTop(e.body, whole)
		}
	})
}

// first and last put HTML into every page.
func first(html string) func(string, http.Handler) http.Handler {
	return editing(func(e *edited) {
		if e.html() {
			e.body = atBody(e.body, html)
		}
	})
}

func last(html string) func(string, http.Handler) http.Handler {
	return editing(func(e *edited) {
		if e.html() {
			e.body = atEnd(e.body, html)
		}
	})
}
