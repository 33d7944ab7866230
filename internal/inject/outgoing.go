package inject

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"
)

var (
	identity    = []string{"identity"}
	noUserAgent = []string{} // present and empty: net/http then adds none
)

// outgoing is what goes to the upstream. The transport may hold on to it after
// the answer.
type outgoing struct {
	url   url.URL
	body  agentBody
	small bytes.Reader
}

// maxSmall is up to which length a body is read before it is sent. The
// transport writes such a request in one piece; one that it has to wait for
// costs it a packet for the headers alone.
const maxSmall = 4 << 10

// readSmall reads a small body ahead. Its buffer is not used again, since the
// transport may look at it after the answer.
func (o *outgoing) readSmall(n int64) error {
	b := make([]byte, n)
	if _, err := io.ReadFull(&o.body, b); err != nil {
		return err
	}
	o.small.Reset(b)
	return nil
}

// request makes the upstream's request of the agent's. header is what sift
// made of the agent's, and is taken over. Everything that says where the
// request goes and who it is from comes from the route.
func (c *compiled) request(ctx context.Context, r *http.Request, t target, header http.Header, query string, l *lent, o *outgoing) *http.Request {
	for name, values := range c.constant {
		if _, ok := header[name]; !ok {
			header[name] = values
		}
	}
	for name, ours := range c.merged {
		header[name] = merged(header[name], ours)
	}
	if _, ok := header["User-Agent"]; !ok {
		header["User-Agent"] = noUserAgent
	}
	header["Accept-Encoding"] = identity
	for i, p := range l.route.Place {
		if values := l.headers[i]; values != nil {
			header[http.CanonicalHeaderKey(p.Header)] = values
		}
	}
	if l.query != "" {
		if query != "" {
			query += "&"
		}
		query += l.query
	}
	path := c.path + t.path
	// RawPath beside Path: the path is sent as it is, brackets included.
	o.url = url.URL{Scheme: c.scheme, Host: c.host, Path: path, RawPath: path, RawQuery: query}

	out := r.WithContext(ctx)
	out.URL, out.Host, out.Header, out.RequestURI = &o.url, c.host, header, ""
	out.Proto, out.ProtoMajor, out.ProtoMinor = "HTTP/1.1", 1, 1
	out.Close, out.Trailer, out.TransferEncoding = false, nil, nil
	out.Form, out.PostForm, out.MultipartForm, out.TLS, out.RemoteAddr = nil, nil, nil, nil, ""
	switch {
	case r.ContentLength == 0:
		out.Body = nil // the transport may then try a dead connection's request again
	case o.small.Len() > 0:
		out.Body = io.NopCloser(&o.small)
	default:
		out.Body = &o.body
	}
	return out
}

var (
	errBodyTooLarge = errors.New("request body too large")
	errBodyClosed   = errors.New("request body read after its end")
)

// agentBody is the agent's request body as the transport reads it. The
// transport closes a body where it fails to connect, which on a server's body
// waits for the rest of it, and reads on after the answer has come, which on a
// server's body is a fault after the handler has returned: so closing is left
// to the server, and reading ends with the handler.
type agentBody struct {
	src   io.ReadCloser
	left  int64 // that may still be read
	conn  deadlines
	stall time.Duration // how long the agent may send nothing

	mu      sync.Mutex
	idle    sync.Cond // on mu: reading has ended
	closed  bool
	reading bool
	err     error     // other than io.EOF: why the body ended
	renewed time.Time // when the deadline was set last
	done    bool      // the end has been read
}

func (b *agentBody) init(r *http.Request, limit int64, conn deadlines, stall time.Duration) {
	b.src, b.left, b.conn, b.stall = r.Body, limit, conn, stall
	b.idle.L = &b.mu
	b.done = r.ContentLength == 0
}

func (b *agentBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	if b.done || b.closed {
		// The transport reads once more after the end, in its own time. The
		// server closes its body when the answer begins, and would fail that
		// read, upon which the transport would break off the answer.
		defer b.mu.Unlock()
		if b.err == nil && b.done {
			return 0, io.EOF
		}
		return 0, errBodyClosed
	}
	if now := time.Now(); now.Sub(b.renewed) > b.stall/4 {
		// At the end of the body the server clears it.
		b.renewed = now
		_ = b.conn.SetReadDeadline(now.Add(b.stall))
	}
	b.reading = true
	b.mu.Unlock()

	n, err := b.src.Read(p)

	b.mu.Lock()
	defer b.mu.Unlock()
	b.reading = false
	b.idle.Signal()
	if b.left -= int64(n); b.left < 0 {
		n, err = 0, errBodyTooLarge
	}
	if err != nil {
		b.done = true
		if err != io.EOF {
			b.err = err
		}
	}
	return n, err
}

// Close does nothing: see agentBody.
func (b *agentBody) Close() error { return nil }

// linger is how long the rest of a body is still read away after the answer:
// closing a connection on an agent that is sending may cost it the answer.
const linger = 500 * time.Millisecond

// finish ends reading, before the handler returns. It waits for a read that is
// under way: the server would wait for it too, without a deadline.
func (b *agentBody) finish() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	if b.src == nil {
		return // it never began
	}
	if b.done || b.conn.SetReadDeadline(time.Now().Add(linger)) != nil {
		return
	}
	for b.reading {
		b.idle.Wait()
	}
}

// ended reports whether all of the body has been read.
func (b *agentBody) ended() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.done
}

// fault says why the body broke off, if it did, and whether because the agent
// had stopped sending.
func (b *agentBody) fault() (pb *problem, stalled bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.err == nil:
		return nil, false
	case errors.Is(b.err, errBodyTooLarge):
		return fault(codeTooLarge, "the body is longer than AgentKeys forwards"), false
	case errors.Is(b.err, os.ErrDeadlineExceeded):
		return fault(codeRequestBroken, "the body stopped coming"), true
	}
	return fault(codeRequestBroken, "the body broke off"), false
}
