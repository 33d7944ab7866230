package testsrv

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf16"
)

func sentence(r *http.Request) string { return padded(r, "you sent "+leaked(r)+" to us") }

func echoHeaders(_ *Server, w http.ResponseWriter, r *http.Request) {
	plain(w)
	for name, values := range r.Header {
		switch name {
		case "Connection", "Content-Length", "Transfer-Encoding", "Upgrade", "Te", "Trailer":
			continue // would change the framing, which is another trick's work
		}
		w.Header()["X-Echo-"+name] = values
		w.Header()[name] = values
	}
	_, _ = io.WriteString(w, "see the headers\n")
}

func echoCookie(_ *Server, w http.ResponseWriter, r *http.Request) {
	w.Header().Add("Set-Cookie", "session="+leaked(r)+"; Path=/; HttpOnly; Secure")
	landed(nil, w, r)
}

func echoBody(_ *Server, w http.ResponseWriter, r *http.Request) {
	plain(w)
	_, _ = io.WriteString(w, sentence(r))
}

func echoError(_ *Server, w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(statusOf(r, http.StatusInternalServerError))
	_, _ = fmt.Fprintf(w, "<html><body><h1>Oops</h1><pre>Authorization: Bearer %s</pre></body></html>\n", html.EscapeString(leaked(r)))
}

func echoChunked(_ *Server, w http.ResponseWriter, r *http.Request) {
	plain(w)
	dribble(w, sentence(r), number(r, "every", 1))
}

func echoRange(_ *Server, w http.ResponseWriter, r *http.Request) {
	plain(w)
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(sentence(r)))
}

func echoSSE(_ *Server, w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	one := "data: {\"delta\":\"" + leaked(r) + "\"}\n\n"
	dribble(w, strings.Repeat(one, int(min(number(r, "events", 3), 1000))), number(r, "every", 1))
}

// forms are ways to write a credential that a reader undoes without thinking.
var forms = map[string]func(string) string{
	"raw":           func(s string) string { return s },
	"json":          func(s string) string { return `{"you":"` + each(s, `\u%04x`) + `"}` },
	"json-mixed":    func(s string) string { return `{"you":"` + alternate(s, `\u%04X`) + `"}` },
	"url":           func(s string) string { return each(s, "%%%02X") },
	"url-lower":     func(s string) string { return each(s, "%%%02x") },
	"url-mixed":     func(s string) string { return alternate(s, "%%%02X") },
	"html":          func(s string) string { return each(s, "&#%d;") },
	"hex":           func(s string) string { return hex.EncodeToString([]byte(s)) },
	"hex-upper":     func(s string) string { return strings.ToUpper(hex.EncodeToString([]byte(s))) },
	"base64":        func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	"base64-off1":   func(s string) string { return base64.StdEncoding.EncodeToString([]byte("x" + s)) },
	"base64-off2":   func(s string) string { return base64.StdEncoding.EncodeToString([]byte("xy" + s)) },
	"base64-lines":  func(s string) string { return wrap(base64.StdEncoding.EncodeToString([]byte(s)), 16) },
	"base64url":     func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) },
	"base64-basic":  func(s string) string { return base64.StdEncoding.EncodeToString([]byte("user:" + s)) },
	"base64-bearer": func(s string) string { return base64.StdEncoding.EncodeToString([]byte("Bearer " + s)) },
	"utf16":         func(s string) string { return utf16LE(s) },
}

func formNames() []string {
	var names []string
	for name := range forms {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Form writes text in one of the forms of echo/as, for a search for it; it is
// empty for an unknown form.
func Form(form, text string) string {
	write, ok := forms[form]
	if !ok {
		return ""
	}
	return write(text)
}

func each(s, format string) string {
	var b strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&b, format, s[i])
	}
	return b.String()
}

func alternate(s, format string) string {
	var b strings.Builder
	for i := range len(s) {
		if i%2 == 0 {
			fmt.Fprintf(&b, format, s[i])
		} else {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

func wrap(s string, n int) string {
	var b strings.Builder
	for len(s) > n {
		b.WriteString(s[:n] + "\r\n")
		s = s[n:]
	}
	return b.String() + s
}

func utf16LE(s string) string {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = append(b, byte(u), byte(u>>8))
	}
	return string(b)
}

func echoForm(_ *Server, w http.ResponseWriter, r *http.Request) {
	write, ok := forms[r.PathValue("form")]
	if !ok {
		http.Error(w, "unknown form", http.StatusNotFound)
		return
	}
	plain(w)
	_, _ = io.WriteString(w, padded(r, write(leaked(r))))
}

func gzipped(b []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, _ = z.Write(b)
	_ = z.Close()
	return out.Bytes()
}

func echoEncoded(s *Server, w http.ResponseWriter, r *http.Request) {
	body := []byte(sentence(r))
	coding := r.PathValue("coding")
	var out bytes.Buffer
	label := coding
	switch coding {
	case "gzip":
		out.Write(gzipped(body))
	case "stacked":
		label = "gzip, gzip"
		out.Write(gzipped(gzipped(body)))
	case "deflate":
		z := zlib.NewWriter(&out)
		_, _ = z.Write(body)
		_ = z.Close()
	case "raw-deflate":
		label = "deflate" // what some servers send under that name
		z, _ := flate.NewWriter(&out, flate.BestSpeed)
		_, _ = z.Write(body)
		_ = z.Close()
	default:
		encode, ok := s.opts.Encoders[coding]
		if !ok {
			http.Error(w, "unknown coding", http.StatusNotFound)
			return
		}
		b, err := encode(body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		out.Write(b)
	}
	plain(w)
	w.Header().Set("Content-Encoding", label)
	_, _ = w.Write(out.Bytes())
}

func echoMislabelled(_ *Server, w http.ResponseWriter, r *http.Request) {
	plain(w)
	_, _ = w.Write(gzipped([]byte(sentence(r))))
}

func echoTrailer(_ *Server, w http.ResponseWriter, r *http.Request) {
	plain(w)
	w.Header().Set("Trailer", "X-Echo")
	_, _ = io.WriteString(w, "see the trailer\n")
	_ = http.NewResponseController(w).Flush()
	w.Header().Set("X-Echo", leaked(r))
}

func echoInformational(_ *Server, w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Link", "</"+url.PathEscape(leaked(r))+">; rel=preload")
	w.WriteHeader(http.StatusEarlyHints)
	w.Header().Del("Link")
	landed(nil, w, r)
}

func echoRedirect(_ *Server, w http.ResponseWriter, r *http.Request) {
	host, query := r.Host, "/hostile/landed?leak="+url.QueryEscape(leaked(r))
	switch r.PathValue("to") {
	case "same":
		w.Header().Set("Location", query)
	case "host":
		w.Header().Set("Location", "https://evil.invalid"+query)
	case "port":
		w.Header().Set("Location", "https://"+hostOnly(host)+":1"+query)
	case "scheme":
		w.Header().Set("Location", "http://"+host+query)
	case "at":
		// A server of the test's own, so that it can see what follows.
		w.Header().Set("Location", r.URL.Query().Get("at")+query)
	default:
		http.Error(w, "unknown target", http.StatusNotFound)
		return
	}
	plain(w)
	w.WriteHeader(statusOf(r, http.StatusFound))
	_, _ = io.WriteString(w, "elsewhere\n")
}

func hostOnly(hostport string) string {
	u := url.URL{Host: hostport}
	if strings.Contains(u.Hostname(), ":") {
		return "[" + u.Hostname() + "]"
	}
	return u.Hostname()
}

func statusOf(r *http.Request, fallback int) int {
	if n := int(number(r, "status", int64(fallback))); n >= 200 && n <= 599 {
		return n
	}
	return fallback
}
