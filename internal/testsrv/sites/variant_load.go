package sites

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf16"
)

// deepHTML is markup that is nested far deeper than any parser keeps.
var deepHTML = "<div data-variant hidden>" + strings.Repeat("<div>", 3000) + "deep" + strings.Repeat("</div>", 3001)

// inUTF16 sends a page in another encoding than it says of itself.
func inUTF16(e *edited) {
	if !e.html() {
		return
	}
	var b bytes.Buffer
	b.Write([]byte{0xff, 0xfe})
	for _, u := range utf16.Encode([]rune(string(e.body))) {
		_ = binary.Write(&b, binary.LittleEndian, u)
	}
	e.body = b.Bytes()
	e.header.Set("Content-Type", "text/html; charset=utf-16")
}

func status(code int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(code)
		_, _ = w.Write([]byte("<!doctype html><title>" + strconv.Itoa(code) + "</title><p>" + text + "</p>"))
	}
}

// pause waits unless whoever asked is gone.
func pause(r *http.Request, d time.Duration) {
	select {
	case <-time.After(d):
	case <-r.Context().Done():
	}
}

// loadVariants change how answers come.
func loadVariants() []Change {
	once := func(answer http.HandlerFunc) func(string, http.Handler) http.Handler {
		return standing(func(w http.ResponseWriter, r *http.Request, nth int) bool {
			if nth > 0 {
				return false
			}
			answer(w, r)
			return true
		})
	}
	const late = 1500 * time.Millisecond
	return []Change{
		{Name: "slow", What: "every document is a second and a half late", Want: passes(), pages: standing(func(_ http.ResponseWriter, r *http.Request, _ int) bool { pause(r, late); return false })},
		{Name: "slow-scripts", What: "everything that scripts ask for is a second late", Want: passes(), pages: wrapped(func(w http.ResponseWriter, r *http.Request, plain http.Handler) {
			if !navigates(r) {
				pause(r, time.Second)
			}
			plain.ServeHTTP(w, r)
		})},
		{Name: "shown-late", What: "pages show nothing for a second and a half", Want: passes(), pages: script(`
			document.documentElement.style.display = 'none'; setTimeout(() => { document.documentElement.style.display = ''; }, 1500);`)},
		{Name: "drip", What: "pages come in pieces of 100 bytes", Want: passes(), pages: wrapped(drip)},
		{Name: "endless", What: "no page ever ends: blanks go on and on", Want: passes("no-load", "missing"), pages: wrapped(endless)},
		{Name: "hangs", What: "no page is ever answered", Want: stops("no-load"), pages: always(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })},
		{Name: "error-once", What: "the first document is an error of the server", Want: passes("no-load"), pages: once(status(http.StatusInternalServerError, "Internal server error"))},
		{Name: "busy-once", What: "the first document says to try again", Want: passes("no-load"), pages: once(status(http.StatusServiceUnavailable, "Try again"))},
		{Name: "error-always", What: "every document is an error of the server", Want: stops("no-load"), pages: always(status(http.StatusInternalServerError, "Internal server error"))},
		{Name: "not-found", What: "no document is found", Want: stops("no-load", "missing"), pages: always(status(http.StatusNotFound, "Not found"))},
		{Name: "forbidden", What: "every document is forbidden", Want: stops("no-load", "missing", "closed", "bot-check"), pages: always(status(http.StatusForbidden, "Access denied"))},
		{Name: "limited", What: "there were too many requests, always", Want: stops("rate-limited", "no-load"), pages: always(status(http.StatusTooManyRequests, "Too many requests"))},
		{Name: "limited-forms", What: "no form is taken: too many requests", Want: stops("rate-limited", "no-load", "missing", "need-human"), pages: wrapped(func(w http.ResponseWriter, r *http.Request, plain http.Handler) {
			if r.Method == http.MethodPost {
				status(http.StatusTooManyRequests, "Too many requests. Please try again later.")(w, r)
				return
			}
			plain.ServeHTTP(w, r)
		})},
		{Name: "auth", What: "the server wants a name and a password of its own", Want: stops("no-load", "missing"), pages: always(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("WWW-Authenticate", `Basic realm="Enter your password"`)
			status(http.StatusUnauthorized, "Log in")(w, r)
		})},
		{Name: "empty", What: "every document is empty", Want: stops("missing", "no-load"), pages: always(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Type", "text/html") })},
		{Name: "no-content", What: "every document is answered with no content", Want: stops("missing", "no-load"), pages: always(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })},
		{Name: "plain-text", What: "documents are text and no pages", Want: stops("missing", "no-load"), pages: editing(func(e *edited) {
			if e.html() {
				e.header.Set("Content-Type", "text/plain; charset=utf-8")
			}
		})},
		{Name: "download", What: "documents are files to be kept", Want: stops("no-load", "missing", "off-host"), pages: editing(func(e *edited) {
			if e.html() {
				e.header.Set("Content-Type", "application/octet-stream")
				e.header.Set("Content-Disposition", `attachment; filename="setup.exe"`)
			}
		})},
		{Name: "cut", What: "the connection is cut in the middle of each page", Want: passes("no-load", "missing", "unusable", "browser"), pages: wrapped(cut)},
		{Name: "huge-header", What: "answers have headers of 400 KB", Want: passes("no-load"), pages: editing(func(e *edited) {
			if e.html() {
				for i := range 100 {
					e.header.Set("X-Filler-"+strconv.Itoa(i), strings.Repeat("x", 4096))
				}
			}
		})},
		{Name: "huge-text", What: "each page has 5 MB of text", Want: passes("missing", "no-load"), pages: last("<p data-variant>" + strings.Repeat("words and words ", 5<<20/16) + "</p>")},
		{Name: "many-elements", What: "each page has 20,000 elements more", Want: passes("missing", "no-load"), pages: last("<div data-variant>" + strings.Repeat("<p>one <a href=#>more</a></p>", 10_000) + "</div>")},
		{Name: "many-buttons", What: "each page has 3,000 buttons more", Want: passes("missing", "no-load"), pages: last("<div data-variant>" + strings.Repeat("<button type=button>More</button>", 3000) + "</div>")},
		{Name: "bomb", What: "each page unpacks to 64 MB", Want: passes("missing", "no-load", "browser"), pages: editing(bomb)},
		{Name: "many-frames", What: "each page has 60 empty frames", Want: passes("missing", "no-load"), pages: last("<div data-variant>" + strings.Repeat(`<iframe width=40 height=30 srcdoc="<p>frame</p>"></iframe>`, 60) + "</div>")},
		{Name: "framed", What: "each page shows itself in a frame", Want: passes("missing", "ambiguous"), pages: framed},
	}
}

func wrapped(do func(http.ResponseWriter, *http.Request, http.Handler)) func(string, http.Handler) http.Handler {
	return func(_ string, plain http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { do(w, r, plain) })
	}
}

// hold lets plain answer, and returns the answer if it is a page's; it is on
// its way otherwise.
func hold(w http.ResponseWriter, r *http.Request, plain http.Handler) (*holding, bool) {
	held := &holding{header: http.Header{}}
	plain.ServeHTTP(held, r)
	for k, v := range held.header {
		w.Header()[k] = v
	}
	page := strings.HasPrefix(held.header.Get("Content-Type"), "text/html")
	w.WriteHeader(max(held.status, http.StatusOK))
	if !page {
		_, _ = w.Write(held.body.Bytes())
	}
	return held, page
}

func drip(w http.ResponseWriter, r *http.Request, plain http.Handler) {
	held, page := hold(w, r, plain)
	for page && held.body.Len() > 0 && r.Context().Err() == nil {
		_, _ = w.Write(held.body.Next(100))
		_ = http.NewResponseController(w).Flush()
		pause(r, 40*time.Millisecond)
	}
}

func endless(w http.ResponseWriter, r *http.Request, plain http.Handler) {
	held, page := hold(w, r, plain)
	if !page {
		return
	}
	for out := held.body.Bytes(); r.Context().Err() == nil; out = []byte("<!-- -->\n") {
		if _, err := w.Write(out); err != nil {
			return
		}
		_ = http.NewResponseController(w).Flush()
		pause(r, 100*time.Millisecond)
	}
}

func cut(w http.ResponseWriter, r *http.Request, plain http.Handler) {
	held := &holding{header: http.Header{}}
	plain.ServeHTTP(held, r)
	for k, v := range held.header {
		w.Header()[k] = v
	}
	body := held.body.Bytes()
	if strings.HasPrefix(held.header.Get("Content-Type"), "text/html") {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.WriteHeader(max(held.status, http.StatusOK))
		_, _ = w.Write(body[:len(body)*2/3])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(max(held.status, http.StatusOK))
	_, _ = w.Write(body)
}

// bombed is 64 MB of blanks, packed once.
var bombed = sync.OnceValue(func() []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	blank := bytes.Repeat([]byte(" "), 1<<20)
	for range 64 {
		_, _ = z.Write(blank)
	}
	_ = z.Close()
	return b.Bytes()
})

// bomb appends it: several gzip members in a row are one text.
func bomb(e *edited) {
	if !e.html() || !strings.Contains(e.request.Header.Get("Accept-Encoding"), "gzip") {
		return
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(e.body)
	_ = z.Close()
	e.body = append(b.Bytes(), bombed()...)
	e.header.Set("Content-Encoding", "gzip")
}

// framed answers what is asked for in a frame plainly, and everything else by a
// page with that frame.
func framed(_ string, plain http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !navigates(r) || r.Method != http.MethodGet || r.Header.Get("Sec-Fetch-Dest") == "iframe" || r.URL.Query().Has("framed") {
			plain.ServeHTTP(w, r)
			return
		}
		q := r.URL.Query()
		q.Set("framed", "1")
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write([]byte(`<!doctype html><title>Page</title><body style="margin:0"><iframe style="width:1000px;height:800px;border:0" src="` + r.URL.Path + `?` + strings.ReplaceAll(q.Encode(), "&", "&amp;") + `"></iframe>`))
	})
}
