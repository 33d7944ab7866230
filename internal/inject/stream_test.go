package inject

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/andybalholm/brotli"

	"github.com/litentry/agentkeys/internal/secret"
)

// gated is an upstream that streams what it is given, each piece in a flush of
// its own, and ends with the channel. cut ends it by force.
func gated(t *testing.T, h2 bool, contentType string, pieces <-chan string) *Route {
	return upstream(t, h2, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_ = http.NewResponseController(w).Flush()
		for {
			select {
			case s, ok := <-pieces:
				if !ok {
					return
				}
				if s == "cut" {
					panic(http.ErrAbortHandler)
				}
				_, _ = io.WriteString(w, s)
				_ = http.NewResponseController(w).Flush()
			case <-r.Context().Done():
				return
			}
		}
	})
}

// within fails a read that takes longer than anything but a held-back byte.
func within(t *testing.T, what string, f func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	case <-time.After(30 * time.Second):
		t.Fatalf("%s: nothing came", what)
	}
}

// Headers and every piece come at once; only what may be the beginning of the
// credential waits for what follows it.
func TestStreamsAreNotHeldBack(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		for _, contentType := range []string{"text/event-stream", "application/x-ndjson", "application/octet-stream"} {
			t.Run(fmt.Sprintf("h2=%v %s", h2, contentType), func(t *testing.T) {
				pieces := make(chan string)
				b := newBackend(gated(t, h2, contentType, pieces))
				addr := serve(t, b, Options{})
				var res *http.Response
				within(t, "headers", func() (err error) {
					res, err = client(t).Do(newRequest(t, "GET", "http://"+addr+"/openrouter/a", nil))
					return err
				})
				defer func() { _ = res.Body.Close() }()
				expect := func(piece, want string) {
					t.Helper()
					pieces <- piece
					got := make([]byte, len(want))
					within(t, fmt.Sprintf("%q", piece), func() error { _, err := io.ReadFull(res.Body, got); return err })
					if string(got) != want {
						t.Fatalf("after %q: %q, want %q", piece, got, want)
					}
				}
				expect("data: one\n\n", "data: one\n\n")
				expect("data: risks", "data: risk")
				expect("!\n\n", "s!\n\n")
				expect("data: sk-or-v1-\n\n", "data: sk-or-v1-\n\n")
				expect("x"+canary[:30], "x")
				expect(canary[30:]+"\n\n", stars(canary)+"\n\n")
				expect(canary+canary[:5], stars(canary))
				close(pieces)
				rest, err := io.ReadAll(res.Body)
				if err != nil || string(rest) != canary[:5] {
					t.Errorf("the end: %q, %v", rest, err)
				}
				if o := b.outcome(t); o.Reason != "" || o.Status != 200 {
					t.Errorf("outcome %+v", o)
				}
			})
		}
	}
}

// A cut answer is a cut answer to the agent, who has got what came before.
func TestUpstreamCut(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		pieces := make(chan string, 3)
		pieces <- "data: one\n\n"
		pieces <- canary[:20]
		b := newBackend(gated(t, h2, "text/event-stream", pieces))
		res, err := client(t).Do(newRequest(t, "GET", "http://"+serve(t, b, Options{})+"/openrouter/a", nil))
		if err != nil {
			t.Fatal(err)
		}
		pieces <- "cut"
		got, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err == nil || string(got) != "data: one\n\n" {
			t.Errorf("h2=%v: %q, %v", h2, got, err)
		}
		if o := b.outcome(t); o.Reason != "upstream-cut" || o.Status != 200 || o.Unsent {
			t.Errorf("h2=%v: outcome %+v", h2, o)
		}
	}
	// Likewise where a length was announced.
	b := newBackend(rawUpstream(t, func(_ *http.Request, c net.Conn) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"half\":")
	}))
	addr := serve(t, b, Options{})
	res, err := client(t).Do(newRequest(t, "GET", "http://"+addr+"/openrouter/a", nil))
	if err == nil {
		_, err = io.ReadAll(res.Body)
		_ = res.Body.Close()
	}
	if err == nil {
		t.Error("a short body ended as if it were whole")
	}
	if o := b.outcome(t); o.Reason != "upstream-cut" {
		t.Errorf("outcome %+v", o)
	}
}

// An agent that leaves takes the upstream's request with it, before the answer
// and in the middle of it, and both are settled.
func TestAgentLeaves(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		for _, early := range []bool{true, false} {
			t.Run(fmt.Sprintf("h2=%v early=%v", h2, early), func(t *testing.T) {
				before := runtime.NumGoroutine()
				gone, begun := make(chan struct{}), make(chan struct{})
				route := upstream(t, h2, func(w http.ResponseWriter, r *http.Request) {
					if !early {
						w.Header().Set("Content-Type", "text/event-stream")
						_, _ = io.WriteString(w, "data: one\n\n")
						_ = http.NewResponseController(w).Flush()
					}
					close(begun)
					<-r.Context().Done()
					close(gone)
					// To return would be to end the answer well, which can get
					// through before the connection is closed.
					panic(http.ErrAbortHandler)
				})
				b := newBackend(route)
				addr := serve(t, b, Options{})
				ctx, cancel := context.WithCancel(t.Context())
				heard := make(chan struct{})
				go func() {
					if <-begun; !early {
						<-heard
					}
					cancel()
				}()
				c := client(t)
				res, err := c.Do(newRequest(t, "GET", "http://"+addr+"/openrouter/a", nil).WithContext(ctx))
				if err == nil {
					_, _ = io.ReadFull(res.Body, make([]byte, len("data: one\n\n")))
					close(heard)
					_, _ = io.ReadAll(res.Body)
					_ = res.Body.Close()
				}
				within(t, "upstream", func() error { <-gone; return nil })
				o := b.outcome(t)
				if o.Reason != "client-closed" || o.Unsent || !early && o.Status != 200 {
					t.Errorf("outcome %+v", o)
				}
				c.CloseIdleConnections()
				route.Transport.(*http.Transport).CloseIdleConnections()
				// What the servers of this test keep: a listener each, and two
				// connections that may linger.
				settleGoroutines(t, before+6)
			})
		}
	}
}

// Request bodies of any size are streamed, both ways at once if it comes to
// that, and none is kept.
func TestRequestBodiesStream(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		for _, size := range []int{1, maxSmall - 1, maxSmall, maxSmall + 1, 100 << 10, 8 << 20} {
			for _, chunked := range []bool{false, true} {
				route := upstream(t, h2, func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("X-Length", fmt.Sprint(r.ContentLength))
					b, err := io.ReadAll(r.Body)
					if err != nil {
						panic(http.ErrAbortHandler)
					}
					_, _ = w.Write(b)
				})
				data := make([]byte, size)
				_, _ = rand.Read(data)
				r := newRequest(t, "POST", "http://"+serve(t, newBackend(route), Options{})+"/openrouter/a", bytes.NewReader(data))
				want := fmt.Sprint(size)
				if chunked {
					r.ContentLength, want = -1, "-1"
				}
				res, body := do(t, r)
				if body != string(data) || res.Header.Get("X-Length") != want {
					t.Errorf("h2=%v size %d chunked %v: %d bytes came back, length %s", h2, size, chunked, len(body), res.Header.Get("X-Length"))
				}
			}
		}
	}
}

func TestFullDuplex(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		route := upstream(t, h2, func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).EnableFullDuplex()
			w.Header().Set("Content-Type", "text/event-stream")
			_ = http.NewResponseController(w).Flush()
			s := bufio.NewScanner(r.Body)
			for s.Scan() {
				_, _ = fmt.Fprintf(w, "data: %s\n\n", s.Text())
				_ = http.NewResponseController(w).Flush()
			}
		})
		pr, pw := io.Pipe()
		res, err := client(t).Do(newRequest(t, "POST", "http://"+serve(t, newBackend(route), Options{})+"/openrouter/a", pr))
		if err != nil {
			t.Fatal(err)
		}
		r := bufio.NewReader(res.Body)
		for i := range 5 {
			_, _ = fmt.Fprintf(pw, "%d\n", i)
			within(t, "echo", func() error {
				line, err := r.ReadString('\n')
				if line != fmt.Sprintf("data: %d\n", i) {
					err = errors.Join(err, fmt.Errorf("got %q", line))
				}
				_, _ = r.ReadString('\n')
				return err
			})
		}
		_ = pw.Close()
		if _, err := io.ReadAll(r); err != nil {
			t.Error(err)
		}
		_ = res.Body.Close()
	}
}

// An upstream that answers before it has read the body, and does not read it,
// is heard.
func TestEarlyAnswer(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		route := upstream(t, h2, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(402)
			_, _ = io.WriteString(w, "no credit")
		})
		addr := serve(t, newBackend(route), Options{})
		for range 20 {
			res, body := do(t, newRequest(t, "POST", "http://"+addr+"/openrouter/a", bytes.NewReader(make([]byte, 100<<10))))
			if res.StatusCode != 402 || body != "no credit" {
				t.Fatalf("h2=%v: %d %q", h2, res.StatusCode, body)
			}
		}
	}
}

// closedAtEnd is a body as a server's is once the answer has begun: read to its
// end, and closed.
type closedAtEnd struct{ left int }

func (c *closedAtEnd) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, http.ErrBodyReadAfterClose
	}
	n := min(len(p), c.left)
	if c.left -= n; c.left == 0 {
		return n, io.EOF
	}
	return n, nil
}

func (*closedAtEnd) Close() error { return nil }

type noDeadlines struct{}

func (noDeadlines) SetReadDeadline(time.Time) error  { return nil }
func (noDeadlines) SetWriteDeadline(time.Time) error { return nil }

// The transport's read after the end does not fail: it would break the answer
// off. After the handler has returned, no read reaches the server's body.
func TestReadAfterTheEnd(t *testing.T) {
	r := &http.Request{Body: &closedAtEnd{10}, ContentLength: 10}
	b := new(agentBody)
	b.init(r, 100, noDeadlines{}, time.Minute)
	if got, err := io.ReadAll(b); len(got) != 10 || err != nil {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	for range 2 {
		if n, err := b.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("after the end: %d, %v", n, err)
		}
		b.finish()
	}
	b = new(agentBody)
	b.init(r, 100, noDeadlines{}, time.Minute)
	b.finish()
	if n, err := b.Read(make([]byte, 1)); n != 0 || err != errBodyClosed {
		t.Errorf("after the handler: %d, %v", n, err)
	}
}

// An agent that stalls in its body, when the answer has long been given, is
// not waited for.
func TestAnsweredBodyIsNotAwaited(t *testing.T) {
	route := rawUpstream(t, func(_ *http.Request, c net.Conn) {
		_, _ = io.WriteString(c, "HTTP/1.1 402 Payment Required\r\nContent-Length: 0\r\n\r\n")
		_, _ = io.Copy(io.Discard, c)
	})
	addr := serve(t, newBackend(route), Options{Stall: time.Minute})
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	_, _ = fmt.Fprintf(c, "POST /openrouter/a HTTP/1.1\r\nHost: %s\r\nX-Api-Key: %s\r\nContent-Length: 100000\r\n\r\nhalf", addr, placeholder)
	answer, err := io.ReadAll(c)
	if err != nil || statusOf(string(answer)) != 402 {
		t.Errorf("%.100q, %v", answer, err)
	}
}

// What is left of a body, when it has been answered and given up, is not taken
// for a request.
func TestRestOfBodyIsNoRequest(t *testing.T) {
	asked := make(chan string, 10)
	route := rawUpstream(t, func(r *http.Request, c net.Conn) {
		asked <- r.RequestURI
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		_, _ = io.Copy(io.Discard, c)
	})
	b := newBackend(route)
	addr := serve(t, b, Options{Stall: 10 * time.Second})
	for _, framing := range []string{"Content-Length: 5000\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"} {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		head := fmt.Sprintf(" HTTP/1.1\r\nHost: %s\r\nX-Api-Key: %s\r\n", addr, placeholder)
		_, _ = io.WriteString(c, "POST /openrouter/a"+head+framing)
		r := bufio.NewReader(c)
		res, err := http.ReadResponse(r, nil)
		if err != nil || res.StatusCode != 200 {
			t.Fatalf("%v %v", res, err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		time.Sleep(linger + 200*time.Millisecond) // until nobody waits for the rest
		for range 5 {
			_, _ = io.WriteString(c, "GET /openrouter/smuggled"+head+"\r\n")
			time.Sleep(20 * time.Millisecond)
		}
		if rest, _ := io.ReadAll(r); len(rest) > 0 {
			t.Errorf("a second answer: %.100q", rest)
		}
		if path := <-asked; path != "/api/v1/a" || len(asked) > 0 || b.uses() != 1 {
			t.Errorf("asked for %s and %d more, %d uses", path, len(asked), b.uses())
		}
		b.lent = nil
	}
}

// The longest credential, in forms longer than the buffers, in small pieces.
func TestLongestSecret(t *testing.T) {
	long := strings.Repeat("k/", maxSecret/2)
	var b strings.Builder
	for i := range len(long) {
		fmt.Fprintf(&b, `\u%04x`, long[i])
	}
	text := "data: " + b.String() + "\n\ndata: " + long + "\n\n" + b.String()[:20000] + "!"
	route := upstream(t, true, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for s := text; s != ""; {
			n := min(len(s), 1500)
			_, _ = io.WriteString(w, s[:n])
			_ = http.NewResponseController(w).Flush()
			s = s[n:]
		}
	})
	be := newBackend(route)
	be.secret = secret.FromString(long)
	want := strings.ReplaceAll(strings.ReplaceAll(text, b.String(), stars(b.String())), long, stars(long))
	if _, body := get(t, serve(t, be, Options{}), "/openrouter/a"); body != want {
		t.Errorf("%d bytes of %d, %.100q", len(body), len(want), body)
	}
}

// reads is a body of reads of given sizes, and the room that each was offered.
type reads struct{ sizes, rooms []int }

func (r *reads) Read(p []byte) (int, error) {
	r.rooms = append(r.rooms, len(p))
	if len(r.sizes) == 0 {
		return 0, io.EOF
	}
	n := min(len(p), r.sizes[0])
	for i := range n {
		p[i] = 'x'
	}
	r.sizes = r.sizes[1:]
	return n, nil
}

// A stream holds a large buffer only while it needs one.
func TestBufferSizes(t *testing.T) {
	r := &reads{sizes: append([]int{100, 5000, 5000, 20000}, slices.Repeat([]int{100}, 12)...)}
	w := httptest.NewRecorder()
	s := sink{w: w, conn: noDeadlines{}, flush: func() error { return nil }}
	if _, err := s.pass(r, newRedactor([]byte(canary)), nil, 0); err != nil {
		t.Error(err)
	}
	want := append([]int{smallBuffer, smallBuffer}, slices.Repeat([]int{bigBuffer}, 2+smallReads)...)
	want = append(want, slices.Repeat([]int{smallBuffer}, 12-smallReads+1)...)
	if !slices.Equal(r.rooms, want) || w.Body.Len() != 100+smallBuffer+25000+1200 {
		t.Errorf("%v, %d bytes", r.rooms, w.Body.Len())
	}
}

type nothing struct{}

func (nothing) Read([]byte) (int, error) { return 0, nil }

// A decoder that makes nothing of what it reads does not spin for ever.
func TestNoProgress(t *testing.T) {
	s := sink{w: httptest.NewRecorder(), conn: noDeadlines{}}
	if _, err := s.pass(nothing{}, newRedactor([]byte(canary)), nil, 0); err != io.ErrNoProgress {
		t.Errorf("%v", err)
	}
}

func TestExpectContinue(t *testing.T) {
	u := new(recorder)
	b := newBackend(upstream(t, false, u.ServeHTTP))
	addr := serve(t, b, Options{})
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	_, _ = fmt.Fprintf(c, "POST /openrouter/a HTTP/1.1\r\nHost: %s\r\nX-Api-Key: %s\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n", addr, placeholder)
	r := bufio.NewReader(c)
	if line, err := r.ReadString('\n'); line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("%q, %v", line, err)
	}
	_, _ = r.ReadString('\n')
	_, _ = io.WriteString(c, "abc")
	if res, err := http.ReadResponse(r, nil); err != nil || res.StatusCode != 200 {
		t.Fatalf("%v %v", res, err)
	}
	if seen := u.take(); len(seen) != 1 || strings.Contains(seen[0], "Expect") || !strings.HasSuffix(seen[0], "\nabc") {
		t.Errorf("upstream saw %q", seen)
	}
	// One that is refused is not asked for its body.
	answer := raw(t, addr, "POST /openrouter/%2e HTTP/1.1\r\nHost: "+addr+"\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
	if statusOf(answer) != 400 {
		t.Errorf("%s", answer)
	}
}

func TestBodyBound(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		route := upstream(t, h2, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
		b := newBackend(route)
		addr := serve(t, b, Options{MaxRequestBody: 10000})
		r := newRequest(t, "POST", "http://"+addr+"/openrouter/a", bytes.NewReader(make([]byte, 10001)))
		if res, body := do(t, r); res.StatusCode != 413 || codeOf(body) != "request-too-large" || b.uses() != 0 {
			t.Errorf("announced: %d %s", res.StatusCode, body)
		}
		r = newRequest(t, "POST", "http://"+addr+"/openrouter/a", bytes.NewReader(make([]byte, 10001)))
		r.ContentLength = -1
		if res, body := do(t, r); res.StatusCode != 413 || codeOf(body) != "request-too-large" {
			t.Errorf("chunked: %d %s", res.StatusCode, body)
		}
		if o := b.outcome(t); o.Reason != "request-too-large" {
			t.Errorf("outcome %+v", o)
		}
		r = newRequest(t, "POST", "http://"+addr+"/openrouter/a", bytes.NewReader(make([]byte, 10000)))
		r.ContentLength = -1
		if res, body := do(t, r); res.StatusCode != 200 {
			t.Errorf("at the bound: %d %s", res.StatusCode, body)
		}
		b.outcome(t)
	}
}

// An agent that neither sends what it announced nor reads what it is sent is
// given up after the stall time, and an upstream that is merely silent is not.
func TestStalls(t *testing.T) {
	const stall = 300 * time.Millisecond
	flood := make([]byte, 64<<10)
	for i := range flood {
		flood[i] = 'x'
	}
	route := upstream(t, false, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/api/v1/flood":
			for {
				if _, err := w.Write(flood); err != nil {
					return
				}
			}
		case "/api/v1/slow":
			w.Header().Set("Content-Type", "text/event-stream")
			for range 3 {
				time.Sleep(stall + stall/2)
				_, _ = io.WriteString(w, "data\n\n")
				_ = http.NewResponseController(w).Flush()
			}
		default:
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				panic(http.ErrAbortHandler)
			}
		}
	})
	b := newBackend(route)
	addr := serve(t, b, Options{Stall: stall})
	head := func(method, path, more string) string {
		return fmt.Sprintf("%s /openrouter/%s HTTP/1.1\r\nHost: %s\r\nX-Api-Key: %s\r\n%s\r\n", method, path, addr, placeholder, more)
	}
	for _, request := range []string{head("POST", "a", "Content-Length: 10\r\n") + "half", head("POST", "a", "Content-Length: 10000\r\n") + "half", head("POST", "a", "Transfer-Encoding: chunked\r\n") + "4\r\nhalf\r\n"} {
		answer := raw(t, addr, request)
		if statusOf(answer) != 400 || codeOf(answer) != "request-broken" {
			t.Errorf("a body that stalls: %q: %.100s", request[len(request)-40:], answer)
		}
		if o := b.outcome(t); o.Reason != "request-broken" {
			t.Errorf("outcome %+v", o)
		}
	}
	if answer := raw(t, addr, head("POST", "%2e", "Content-Length: 10\r\n")+"half"); codeOf(answer) != "bad-path" {
		t.Errorf("a refused body that stalls: %.100s", answer)
	}
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(c, head("GET", "flood", ""))
	if o := b.outcome(t); o.Reason != "client-closed" || o.Status != 200 {
		t.Errorf("an agent that does not read: outcome %+v", o)
	}
	_ = c.Close()

	res, err := client(t).Do(newRequest(t, "GET", "http://"+addr+"/openrouter/slow", nil))
	if err == nil {
		var got []byte
		got, err = io.ReadAll(res.Body)
		_ = res.Body.Close()
		if string(got) != "data\n\ndata\n\ndata\n\n" {
			t.Errorf("a slow upstream: %q", got)
		}
	}
	if err != nil {
		t.Errorf("a slow upstream: %v", err)
	}
}

// A small answer that expands without end costs time, not memory.
func TestBombs(t *testing.T) {
	const size = 32 << 20
	for _, coding := range []string{"gzip", "br", "zstd"} {
		bomb := encodeZeros(t, coding, size)
		route := upstream(t, false, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", coding)
			_, _ = w.Write(bomb)
		})
		addr := serve(t, newBackend(route), Options{})
		res, err := client(t).Do(newRequest(t, "GET", "http://"+addr+"/openrouter/a", nil))
		if err != nil {
			t.Fatal(err)
		}
		var before, now, most runtime.MemStats
		runtime.ReadMemStats(&before)
		most = before
		buf, total := make([]byte, 1<<20), 0
		for {
			n, err := res.Body.Read(buf)
			if total += n; total>>22 != (total-n)>>22 {
				if runtime.ReadMemStats(&now); now.HeapInuse > most.HeapInuse {
					most = now
				}
			}
			if err != nil {
				break
			}
		}
		_ = res.Body.Close()
		if total != size {
			t.Errorf("%s: %d bytes", coding, total)
		}
		if grown := int64(most.HeapInuse) - int64(before.HeapInuse); grown > 20<<20 {
			t.Errorf("%s: the heap grew by %d MiB", coding, grown>>20)
		}
	}
}

// encodeZeros makes a bomb, of as few pieces as the coding lets be put together.
func encodeZeros(t *testing.T, coding string, size int) []byte {
	t.Helper()
	if coding != "br" {
		return bytes.Repeat(encode(t, coding, string(make([]byte, size/32))), 32)
	}
	var b bytes.Buffer
	w := brotli.NewWriterLevel(&b, 0)
	if _, err := w.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
