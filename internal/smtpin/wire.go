package smtpin

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// maxCommand is the longest command line, with its CRLF: RFC 5321 has 512, and
// SIZE, BODY, SMTPUTF8 and long addresses add to it.
const maxCommand = 2048

// What a message can be broken off for. They are replies, as with BDAT the
// library makes one of them itself.
var (
	errLoneCRLF = reply(550, "5.6.0", "lines end in CRLF; a lone CR or LF is not taken")
	errLongLine = reply(550, "5.6.0", "a line is too long")
	errSlow     = reply(421, "4.4.2", "the message comes too slowly")
)

// wire is what the SMTP library reads a connection from, and what sees to the
// strictness that the library lacks. It hands over commands line by line, so
// that what follows DATA's reply is the message and nothing else; lets no line
// through that ends in anything but CRLF; sets every deadline; and counts
// replies.
//
// For that it has to see lines, of which there are none below TLS. So it never
// lets the library begin TLS: it does the handshake itself when the reply to
// STARTTLS has gone out, hands what is left of the connection over to a second
// library server with a wire above TLS, and ends here. Everything the peer said
// before is forgotten with this (RFC 3207 section 4.2). If the library's reply
// ever changed, it would find a ClientHello where a wire wants a command, and
// nothing would get through.
type wire struct {
	conn net.Conn
	s    *Server
	peer netip.Prefix
	ip   netip.Addr
	tls  bool

	// The library calls Read and Write from one goroutine.
	br       *bufio.Reader
	mode     mode
	pending  []byte // of a command line, not handed over yet
	chunk    int64  // what is left of a BDAT chunk
	began    time.Time
	received int64 // of this message
	lineLen  int
	cr       bool // the byte before was one
	dot      bool // the line begins with one
	broken   error
	ended    bool // there is no more, whatever comes
	upgrade  bool
	swallow  bool // the greeting: it was said before TLS
	total    time.Time
	replies  int // since a message was accepted
	errors   int
	messages int

	accepted atomic.Bool // a message, which the next reply says

	mu      sync.Mutex
	closing bool
	waiting bool // for a command
	handed  bool // to the wire above TLS, with the connection
	closed  bool
}

type mode int

const (
	commands mode = iota
	message
	chunk
)

func (s *Server) newWire(conn net.Conn, peer netip.Prefix, ip netip.Addr) *wire {
	w := &wire{conn: conn, s: s, peer: peer, ip: ip, br: bufio.NewReaderSize(conn, 32<<10), total: time.Now().Add(s.c.Limits.Total)}
	s.mu.Lock()
	s.wires[w] = struct{}{}
	w.closing = s.closing
	s.mu.Unlock()
	return w
}

// Read implements net.Conn.
func (w *wire) Read(p []byte) (int, error) {
	if w.upgrade {
		w.upgrade = false
		w.startTLS()
	}
	switch {
	case len(p) == 0:
		return 0, nil
	case w.ended:
		return 0, io.EOF
	case len(w.pending) > 0:
		n := copy(p, w.pending)
		w.pending = w.pending[n:]
		return n, nil
	}
	switch w.mode {
	case message:
		return w.readMessage(p)
	case chunk:
		if w.chunk > 0 {
			return w.readChunk(p)
		}
		w.mode = commands
	}
	if !w.readCommand() {
		return 0, io.EOF
	}
	n := copy(p, w.pending)
	w.pending = w.pending[n:]
	return n, nil
}

// readCommand reads a line into pending, or ends the connection.
func (w *wire) readCommand() bool {
	w.mu.Lock()
	if w.closing {
		w.mu.Unlock()
		return w.end("421 4.3.2 shutting down")
	}
	w.waiting = true
	// One deadline for the whole line: a byte now and then does not move it.
	_ = w.conn.SetReadDeadline(w.deadline(time.Now().Add(w.s.c.Limits.Idle)))
	w.mu.Unlock()
	line, err := w.readLine()
	w.mu.Lock()
	w.waiting = false
	closing := w.closing
	w.mu.Unlock()
	var timeout net.Error
	switch {
	case err == nil:
	case errors.Is(err, bufio.ErrBufferFull):
		return w.end("500 5.5.2 the line is too long")
	case errors.As(err, &timeout) && timeout.Timeout():
		if closing {
			return w.end("421 4.3.2 shutting down")
		}
		return w.end("421 4.4.2 nothing was said for too long")
	default:
		return w.end("")
	}
	body, ok := bytes.CutSuffix(line, []byte("\r\n"))
	if !ok || bytes.ContainsAny(body, "\r\x00") {
		return w.end("500 5.5.2 a line ends in CRLF, and has no other control characters")
	}
	if i := bytes.LastIndexByte(body, ' '); i >= 0 && bytes.HasPrefix(body[i:], []byte(" HTTP/")) {
		// A web page can have a browser say whatever it likes to a port on
		// loopback, behind a request line: it is heard no further.
		return w.end("421 4.7.0 this is a mail server")
	}
	w.pending = append(w.pending[:0], line...)
	if n, ok := chunkSize(body); ok {
		if w.received == 0 {
			w.began = time.Now()
		}
		w.mode, w.chunk = chunk, n
	}
	return true
}

// readLine is ReadSlice for lines of up to maxCommand bytes.
func (w *wire) readLine() ([]byte, error) {
	for {
		b, _ := w.br.Peek(min(w.br.Buffered(), maxCommand))
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			_, _ = w.br.Discard(i + 1)
			return b[:i+1], nil
		}
		if len(b) == maxCommand {
			return nil, bufio.ErrBufferFull
		}
		if _, err := w.br.Peek(len(b) + 1); err != nil {
			return nil, err
		}
	}
}

// chunkSize parses BDAT as the library does. Were they ever at odds, the library
// has it: here it only decides whether bytes are looked at as lines.
func chunkSize(line []byte) (int64, bool) {
	if len(line) < 6 || !strings.EqualFold(string(line[:5]), "BDAT ") {
		return 0, false
	}
	args := strings.Fields(string(line[5:]))
	if len(args) == 0 || len(args) > 2 || len(args) == 2 && !strings.EqualFold(args[1], "LAST") {
		return 0, false
	}
	n, err := strconv.ParseUint(args[0], 10, 32)
	return int64(n), err == nil && n > 0
}

// readChunk hands over what BDAT announced, of which spool looks at the lines:
// a chunk may end between a CR and its LF.
func (w *wire) readChunk(p []byte) (int, error) {
	n, err := w.fill(min(int64(len(p)), w.chunk))
	if err != nil {
		return 0, err
	}
	n, _ = w.br.Read(p[:n])
	w.chunk -= int64(n)
	w.received += int64(n)
	return n, nil
}

// readMessage hands over what follows DATA, up to CRLF.CRLF and not a byte
// beyond it.
func (w *wire) readMessage(p []byte) (int, error) {
	if w.broken != nil {
		w.ended = true
		return 0, w.broken
	}
	n, err := w.fill(int64(len(p)))
	if err != nil {
		return 0, err
	}
	b, _ := w.br.Peek(n)
	for i, c := range b {
		w.lineLen++
		switch {
		case w.cr != (c == '\n'):
			w.broken = errLoneCRLF
		case w.lineLen > w.s.c.Limits.Line:
			w.broken = errLongLine
		}
		if w.broken != nil {
			return w.readMessage(p)
		}
		w.cr = c == '\r'
		if c == '\n' {
			if w.lineLen == 3 && w.dot {
				n = i + 1
				w.mode = commands
				break
			}
			w.lineLen = 0
		} else if w.lineLen == 1 {
			w.dot = c == '.'
		}
	}
	n, _ = w.br.Read(p[:n])
	w.received += int64(n)
	return n, nil
}

// fill waits for more of a message and returns how much there is of it, up to
// most bytes.
func (w *wire) fill(most int64) (int, error) {
	l := &w.s.c.Limits
	// The library reads on after a message that is too large, so that the peer
	// hears why; not without an end.
	if w.received > 2*w.s.c.MaxMessage+1<<20 {
		w.end("")
		return 0, io.EOF
	}
	if w.br.Buffered() == 0 {
		enough := w.began.Add(l.Grace + time.Duration(w.received/int64(l.Rate))*time.Second)
		at := time.Now().Add(l.Idle)
		if enough.Before(at) {
			at = enough
		}
		_ = w.conn.SetReadDeadline(w.deadline(at))
		if _, err := w.br.Peek(1); err != nil {
			var timeout net.Error
			w.ended = true
			if errors.As(err, &timeout) && timeout.Timeout() {
				w.broken = errSlow
				return 0, errSlow
			}
			return 0, io.ErrUnexpectedEOF
		}
	}
	return int(min(most, int64(w.br.Buffered()))), nil
}

// fresh begins to count the bytes of a message.
func (w *wire) fresh() { w.received = 0 }

func (w *wire) deadline(t time.Time) time.Time {
	if w.total.Before(t) {
		return w.total
	}
	return t
}

// Write implements net.Conn. The library writes line by line.
func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	handed := w.handed
	w.mu.Unlock()
	switch {
	case handed: // that TLS did not begin, the library says
		return len(p), nil
	case w.ended && w.broken == nil:
		return 0, net.ErrClosed
	case w.swallow:
		w.swallow = false
		return len(p), nil
	case bytes.HasPrefix(p, []byte("220 2.0.0 ")):
		if w.br.Buffered() > 0 {
			// Commands put in front of TLS by somebody in between.
			w.end("503 5.5.1 nothing may follow STARTTLS")
			return 0, net.ErrClosed
		}
		w.upgrade = true
	}
	_ = w.conn.SetWriteDeadline(w.deadline(time.Now().Add(time.Minute)))
	n, err := w.conn.Write(p)
	if len(p) > 3 && p[3] == ' ' {
		w.replied(p[:3])
	}
	return n, err
}

func (w *wire) replied(code []byte) {
	w.replies++
	if w.accepted.Swap(false) {
		w.replies = 0
	}
	if code[0] == '4' || code[0] == '5' {
		w.errors++
	}
	switch {
	case string(code) == "354":
		w.mode, w.began, w.received = message, time.Now(), 0
		w.lineLen, w.cr = 0, false
	case w.errors >= w.s.c.Limits.Errors:
		w.end("421 4.7.0 too many errors")
	case w.replies >= w.s.c.Limits.Commands:
		w.end("421 4.7.0 too many commands for no mail")
	}
}

// end says a last line, if there is one, and lets nothing more through.
func (w *wire) end(line string) bool {
	if !w.ended && line != "" {
		_ = w.conn.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = io.WriteString(w.conn, line+"\r\n")
	}
	w.ended = true
	return false
}

// startTLS does the handshake and hands the connection over.
func (w *wire) startTLS() {
	w.ended = true
	t := tls.Server(w.conn, w.s.tls)
	_ = w.conn.SetDeadline(w.deadline(time.Now().Add(w.s.c.Limits.Idle)))
	if err := t.HandshakeContext(w.s.ctx); err != nil {
		return
	}
	_ = w.conn.SetDeadline(time.Time{})
	up := w.s.newWire(t, w.peer, w.ip)
	up.tls, up.swallow = true, true
	up.total, up.replies, up.errors, up.messages = w.total, w.replies, w.errors, w.messages
	w.mu.Lock()
	w.handed = true
	w.mu.Unlock()
	if !w.s.upgraded.give(up) {
		_ = up.Close()
	}
}

// shut ends a connection that waits for a command, and others after the reply
// that is due.
func (w *wire) shut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closing = true
	if w.waiting {
		_ = w.conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// Close implements net.Conn.
func (w *wire) Close() error {
	w.s.mu.Lock()
	delete(w.s.wires, w)
	w.s.mu.Unlock()
	w.mu.Lock()
	again := w.closed || w.handed
	w.closed = true
	w.mu.Unlock()
	if again {
		return nil
	}
	w.s.gate.leave(w.peer)
	return w.conn.Close()
}

// The library has no say in deadlines.
func (w *wire) SetDeadline(time.Time) error      { return nil }
func (w *wire) SetReadDeadline(time.Time) error  { return nil }
func (w *wire) SetWriteDeadline(time.Time) error { return nil }
func (w *wire) LocalAddr() net.Addr              { return w.conn.LocalAddr() }
func (w *wire) RemoteAddr() net.Addr             { return w.conn.RemoteAddr() }
