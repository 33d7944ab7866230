package testsrv

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

func status(_ *Server, w http.ResponseWriter, r *http.Request) {
	code, err := strconv.Atoi(r.PathValue("code"))
	if err != nil || code < 200 || code > 999 {
		http.Error(w, "unknown status", http.StatusNotFound)
		return
	}
	switch code {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", `Basic realm="your password, please"`)
	case http.StatusProxyAuthRequired:
		w.Header().Set("Proxy-Authenticate", `Basic realm="your password, please"`)
	}
	plain(w)
	w.WriteHeader(code)
	if code != http.StatusNoContent && code != http.StatusNotModified {
		_, _ = io.WriteString(w, "as you asked\n")
	}
}

func setCookie(_ *Server, w http.ResponseWriter, r *http.Request) {
	w.Header().Add("Set-Cookie", "track=1; Path=/; Max-Age=31536000")
	w.Header().Add("Set-Cookie", "wide=1; Domain="+hostOnly(r.Host)+"; Path=/")
	landed(nil, w, r)
}

func altSvc(_ *Server, w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Alt-Svc", `h3="evil.invalid:443"; ma=86400, h2="evil.invalid:443"; ma=86400`)
	w.Header().Set("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
	w.Header().Set("Clear-Site-Data", `"*"`)
	landed(nil, w, r)
}

func informational(_ *Server, w http.ResponseWriter, r *http.Request) {
	for i := range number(r, "count", 1000) {
		if r.Context().Err() != nil {
			return
		}
		w.Header().Set("Link", fmt.Sprintf("</%d.css>; rel=preload", i))
		w.WriteHeader(http.StatusEarlyHints)
	}
	w.Header().Del("Link")
	landed(nil, w, r)
}

var block = sync.OnceValue(func() []byte { return bytes.Repeat([]byte("0123456789abcdef"), 4096) }) // 64 KiB

func huge(_ *Server, w http.ResponseWriter, r *http.Request) {
	n := number(r, "bytes", 100<<20)
	plain(w)
	if r.URL.Query().Get("chunked") == "" {
		w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
	}
	for n > 0 {
		k, err := w.Write(block()[:min(n, int64(len(block())))])
		if err != nil {
			return
		}
		n -= int64(k)
	}
}

// gzipBomb sends the same member of 1 MiB of zeros again and again: members
// may follow one another (RFC 1952 section 2.2), and the server does no work.
func gzipBomb(_ *Server, w http.ResponseWriter, r *http.Request) {
	const unit = 1 << 20
	n := number(r, "bytes", 1<<30)
	member := gzipped(make([]byte, unit))
	plain(w)
	w.Header().Set("Content-Encoding", "gzip")
	for ; n >= unit; n -= unit {
		if _, err := w.Write(member); err != nil {
			return
		}
	}
	_, _ = w.Write(gzipped(make([]byte, n)))
}

func drip(_ *Server, w http.ResponseWriter, r *http.Request) {
	plain(w)
	gap := time.Duration(number(r, "gap", 10)) * time.Millisecond
	for range number(r, "bytes", 1000) {
		dribble(w, ".", 1)
		if !sleep(r.Context(), gap) {
			return
		}
	}
}

func cut(_ *Server, w http.ResponseWriter, r *http.Request) {
	n := number(r, "after", 100)
	plain(w)
	w.Header().Set("Content-Length", strconv.FormatInt(n+1, 10))
	dribble(w, strings.Repeat(".", int(min(n, 16<<20))), 32<<10)
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

func silent(_ *Server, _ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func stall(_ *Server, w http.ResponseWriter, r *http.Request) {
	plain(w)
	dribble(w, ".", 1)
	<-r.Context().Done()
}

func endlessSSE(_ *Server, w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	gap := time.Duration(number(r, "gap", 0)) * time.Millisecond
	for k := 0; sleep(r.Context(), gap); k++ {
		e := fmt.Sprintf("data: {\"k\":%d}\n\n", k)
		dribble(w, e, int64(len(e)))
	}
}

func largeHeaders(_ *Server, w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Large", strings.Repeat("x", int(min(number(r, "bytes", 65536), 64<<20))))
	landed(nil, w, r)
}
