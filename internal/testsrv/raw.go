package testsrv

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// A rawAnswer is written to an HTTP/1.1 connection as it stands, with the
// credential for every ¤.
type rawAnswer struct {
	path, does string
	text       string
	// open leaves the connection open until the client closes it.
	open bool
}

const okText = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"

var rawAnswers = []rawAnswer{
	{"upgrade", "101 to whatever was asked, then the credential", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n¤", true},
	{"raw/reason", "the credential as the reason phrase", "HTTP/1.1 200 ¤\r\nContent-Length: 2\r\n\r\nok", false},
	{"raw/duplicate-length", "two lengths that differ", okText + "Content-Length: 2\r\nContent-Length: 40\r\n\r\nok, and here is more: ¤", false},
	{"raw/same-length-twice", "two lengths that agree", okText + "Content-Length: 2\r\nContent-Length: 2\r\n\r\nok", false},
	{"raw/length-list", "a list of lengths in one header", okText + "Content-Length: 2, 40\r\n\r\nok, and here is more: ¤", false},
	{"raw/length-signed", "a length of +2", okText + "Content-Length: +2\r\n\r\nok", false},
	{"raw/length-negative", "a length of -1", okText + "Content-Length: -1\r\n\r\nok", false},
	{"raw/length-and-chunked", "a length and chunks", okText + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", false},
	{"raw/chunked-twice", "Transfer-Encoding: chunked, chunked", okText + "Transfer-Encoding: chunked, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", false},
	{"raw/chunk-size", "a chunk size that is no number", okText + "Transfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n0\r\n\r\n", false},
	{"raw/chunk-overflow", "a chunk size beyond 64 bits", okText + "Transfer-Encoding: chunked\r\n\r\n10000000000000002\r\nok\r\n0\r\n\r\n", false},
	{"raw/chunk-extension", "the credential in a chunk extension", okText + "Transfer-Encoding: chunked\r\n\r\n2;note=¤\r\nok\r\n0\r\n\r\n", false},
	{"raw/trailer", "the credential in a trailer that was not announced", okText + "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Echo: ¤\r\n\r\n", false},
	{"raw/obs-fold", "a header folded over two lines", okText + "Content-Length: 2\r\nX-Note: a\r\n ¤\r\n\r\nok", false},
	{"raw/space-colon", "a space before a header's colon", okText + "Content-Length : 2\r\n\r\nok", false},
	{"raw/bare-lf", "lines that end in LF only", "HTTP/1.1 200 OK\nContent-Length: 2\nX-Note: ¤\n\nok", false},
	{"raw/bare-cr", "a CR within a header", okText + "Content-Length: 2\r\nX-Note: a\rX-Other: ¤\r\n\r\nok", false},
	{"raw/nul", "a NUL within a header", okText + "Content-Length: 2\r\nX-Note: a\x00b\r\n\r\nok", false},
	{"raw/no-colon", "a header line without a colon", okText + "Content-Length: 2\r\n¤\r\n\r\nok", false},
	{"raw/second-answer", "a second answer that nobody asked for", okText + "Content-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 9\r\nX-Note: ¤\r\n\r\nunasked-1", true},
	{"raw/http-0.9", "a body and nothing else", "you sent ¤", false},
	{"raw/not-http", "the greeting of another protocol", "220 mail.invalid ESMTP ¤\r\n", false},
	{"raw/half-header", "an end within the headers", okText + "X-Note: ¤", false},
	{"raw/empty", "an end before anything", "", false},
	{"raw/lying-coding", "Content-Encoding: gzip on plain text", okText + "Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok", false},
	{"raw/hop-by-hop", "a Connection header that names another", okText + "Content-Length: 2\r\nConnection: close, X-Note\r\nX-Note: ¤\r\n\r\nok", false},
}

func rawTricks() []trick {
	var list []trick
	for _, a := range rawAnswers {
		list = append(list, trick{path: a.path, does: a.does, http1: true, serve: func(s *Server, w http.ResponseWriter, r *http.Request) {
			s.hijack(w, func(conn io.ReadWriter) {
				_, err := io.WriteString(conn, strings.ReplaceAll(a.text, "¤", leaked(r)))
				if err == nil && a.open {
					_, _ = io.Copy(io.Discard, conn)
				}
			})
		}})
	}
	return list
}

// endlessHeaders sends lines of 1 KiB each.
func endlessHeaders(s *Server, w http.ResponseWriter, r *http.Request) {
	limit := number(r, "bytes", 0)
	s.hijack(w, func(conn io.ReadWriter) {
		_, err := io.WriteString(conn, okText)
		for sent, k := int64(0), 0; err == nil && (limit == 0 || sent < limit); k++ {
			line := fmt.Appendf(nil, "X-%08d: ", k)
			line = append(append(line, bytes.Repeat([]byte("x"), 1022-len(line))...), "\r\n"...)
			_, err = conn.Write(line)
			sent += int64(len(line))
		}
		if err == nil {
			_, _ = io.WriteString(conn, "Content-Length: 2\r\n\r\nok")
		}
	})
}

// hijack gives the bare connection to use and closes it afterwards.
func (s *Server) hijack(w http.ResponseWriter, use func(io.ReadWriter)) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if s.adopt(conn) {
		use(conn)
	}
	s.drop(conn)
}
