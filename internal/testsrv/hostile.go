package testsrv

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// Trick is one hostile answer. Every shape serves it, for any method and
// without a key, at /hostile/<Path> and below its base path.
type Trick struct {
	Path string // may end in {name}, which Does explains
	Does string
	// HTTP1 says that it breaks HTTP/1.1 itself; over HTTP/2 it is a 505.
	HTTP1 bool
}

type trick struct {
	path, does string
	http1      bool
	serve      func(s *Server, w http.ResponseWriter, r *http.Request)
}

// tricks are all of them. Query parameters are named in parentheses with their
// defaults; the credential is what leaked reads. They are made when they are
// first wanted: this package is linked into the program for its demo, and must
// not slow its start.
var tricks = sync.OnceValue(func() []trick {
	return append([]trick{
		{path: "landed", does: "answers 200 with a short text, the target of redirects", serve: landed},

		{path: "echo/headers", does: "every request header again as a response header, under its name and under X-Echo-<name>", serve: echoHeaders},
		{path: "echo/cookie", does: "the credential in Set-Cookie", serve: echoCookie},
		{path: "echo/body", does: "the credential in a text body (pad=0 bytes of dots on either side)", serve: echoBody},
		{path: "echo/error", does: "the credential in an HTML error page (status=500)", serve: echoError},
		{path: "echo/chunked", does: "the same as echo/body, flushed after every (every=1) bytes", serve: echoChunked},
		{path: "echo/range", does: "the same as echo/body, honouring Range", serve: echoRange},
		{path: "echo/sse", does: "events that each carry the credential, flushed after every (every=1) bytes (events=3)", serve: echoSSE},
		{path: "echo/as/{form}", does: "the credential written as " + strings.Join(formNames(), ", ") + " (pad=0)", serve: echoForm},
		{path: "echo/encoded/{coding}", does: "echo/body with Content-Encoding gzip, deflate (zlib), raw-deflate, stacked (gzip twice), or one of Options.Encoders (pad=0)", serve: echoEncoded},
		{path: "echo/mislabelled", does: "echo/body in gzip without Content-Encoding", serve: echoMislabelled},
		{path: "echo/trailer", does: "the credential in the trailer X-Echo", serve: echoTrailer},
		{path: "echo/informational", does: "the credential in the Link header of a 103 before the answer", serve: echoInformational},
		{path: "echo/redirect/{to}", does: "a redirect to same, host, port, scheme or (at=) with the credential in the Location's query (status=302)", serve: echoRedirect},

		{path: "status/{code}", does: "that status with a short text; 401 and 407 with a challenge", serve: status},
		{path: "set-cookie", does: "two cookies, one for the parent domain", serve: setCookie},
		{path: "alt-svc", does: "Alt-Svc, Strict-Transport-Security and Clear-Site-Data", serve: altSvc},
		{path: "informational", does: "(count=1000) 103 answers before the 200", serve: informational},

		{path: "huge", does: "(bytes=104857600) of body, with a length or (chunked=1) without", serve: huge},
		{path: "gzip-bomb", does: "a gzip body that grows to (bytes=1073741824)", serve: gzipBomb},
		{path: "drip", does: "(bytes=1000), one every (gap=10) ms", serve: drip},
		{path: "cut", does: "a body that ends after (after=100) of the bytes announced", serve: cut},
		{path: "silent", does: "nothing, until the client leaves", serve: silent},
		{path: "stall", does: "headers and one byte of a body, then nothing until the client leaves", serve: stall},
		{path: "sse", does: "events without end, one every (gap=0) ms", serve: endlessSSE},
		{path: "headers", does: "header lines up to (bytes=0) or without end", http1: true, serve: endlessHeaders},
		{path: "large-headers", does: "one well-formed header of (bytes=65536)", serve: largeHeaders},
	}, rawTricks()...)
})

// Hostile lists the tricks.
func Hostile() []Trick {
	list := make([]Trick, 0, len(tricks()))
	for _, t := range tricks() {
		list = append(list, Trick{t.path, t.does, t.http1})
	}
	return list
}

func (s *Server) trick(w http.ResponseWriter, r *http.Request, t trick) {
	if t.http1 && r.ProtoMajor != 1 {
		http.Error(w, "this trick needs HTTP/1.1", http.StatusHTTPVersionNotSupported)
		return
	}
	t.serve(s, w, r)
}

// leaked is the credential that the request carries: of the header that the
// query names (header=), or of the first that vendors use. A scheme is left
// out.
func leaked(r *http.Request) string {
	names := []string{"Authorization", "X-Api-Key", "X-Goog-Api-Key", "X-Subscription-Token", "Xi-Api-Key"}
	if name := r.URL.Query().Get("header"); name != "" {
		names = []string{name}
	}
	for _, name := range names {
		if v := r.Header.Get(name); v != "" {
			if len(v) > 7 && strings.EqualFold(v[:7], "bearer ") {
				v = v[7:]
			}
			return v
		}
	}
	return ""
}

// number reads a query parameter.
func number(r *http.Request, name string, fallback int64) int64 {
	n, err := strconv.ParseInt(r.URL.Query().Get(name), 10, 64)
	if err != nil || n < 0 {
		return fallback
	}
	return n
}

// padded puts (pad=) dots on either side of text, to move it over the edges of
// a reader's buffer.
func padded(r *http.Request, text string) string {
	dots := strings.Repeat(".", int(min(number(r, "pad", 0), 16<<20)))
	return dots + text + dots
}

// dribble writes text in pieces of n bytes, each flushed.
func dribble(w http.ResponseWriter, text string, n int64) {
	control := http.NewResponseController(w)
	for text != "" {
		k := min(int(max(n, 1)), len(text))
		if _, err := io.WriteString(w, text[:k]); err != nil || control.Flush() != nil {
			return
		}
		text = text[k:]
	}
}

func plain(w http.ResponseWriter) { w.Header().Set("Content-Type", "text/plain; charset=utf-8") }

func landed(_ *Server, w http.ResponseWriter, _ *http.Request) {
	plain(w)
	_, _ = io.WriteString(w, "landed\n")
}
