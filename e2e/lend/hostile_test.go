package lend_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"github.com/litentry/agentkeys/e2e/lend/canary"
	"github.com/litentry/agentkeys/e2e/lend/rig"
	"github.com/litentry/agentkeys/internal/testsrv"
)

// wire sends one request as written and returns all that comes back, to the
// last byte: status lines, informational answers, headers and trailers too. It
// hangs up after limit bytes, or after patience without one.
func wire(addr, request string, limit int64, patience time.Duration) ([]byte, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		return nil, err
	}
	var all bytes.Buffer
	buf := make([]byte, 64<<10)
	for int64(all.Len()) < limit {
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		n, err := conn.Read(buf)
		all.Write(buf[:n])
		if err != nil {
			break
		}
	}
	return all.Bytes(), nil
}

// whole adds the body to what came over the wire, without its chunks.
func whole(answer []byte) []byte {
	r := bufio.NewReader(bytes.NewReader(answer))
	for {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return answer
		}
		if resp.StatusCode < 200 {
			continue
		}
		body, _ := io.ReadAll(resp.Body)
		return append(append(bytes.Clone(answer), "\n\n"...), body...)
	}
}

// attack is one hostile answer, and how to ask for it.
type attack struct {
	path    string
	header  string // lines
	http1   bool
	endless bool
	limit   int64
	wait    time.Duration
}

// attacks are the tricks of the stand-in, each with what may make a difference.
func attacks(elsewhere string) []attack {
	variants := map[string][]string{
		"{form}": {
			"raw", "json", "json-mixed", "url", "url-lower", "url-mixed", "html", "hex", "hex-upper", "base64", "base64-off1", "base64-off2",
			"base64-lines", "base64url", "base64-basic", "base64-bearer", "utf16",
		},
		"{coding}": {"gzip", "deflate", "raw-deflate", "stacked", "br", "zstd", "unheard-of"},
		"{to}":     {"same", "host", "port", "scheme", "at"},
		"{code}":   {"204", "301", "304", "401", "407", "418", "500", "599", "999"},
	}
	queries := map[string][]string{
		"echo/body":          {"", "pad=1", "pad=4090", "pad=16370", "pad=32750", "pad=65520", "header=User-Agent"},
		"echo/chunked":       {"", "every=3", "every=7&pad=100", "every=16&pad=32750"},
		"echo/sse":           {"", "every=5", "events=20&every=1000"},
		"echo/error":         {"", "status=401", "status=503", "status=200"},
		"echo/as/{form}":     {"", "pad=32760"},
		"echo/encoded/gzip":  {"", "pad=100000"},
		"echo/redirect/{to}": {"", "status=301", "status=303", "status=307", "status=308"},
		"huge":               {"bytes=5000000", "bytes=5000000&chunked=1"},
		"gzip-bomb":          {"bytes=100000000"},
		"drip":               {"bytes=20&gap=5"},
		"headers":            {"", "bytes=40000", "bytes=200000"},
		"large-headers":      {"", "bytes=2000", "bytes=10000000"},
		"informational":      {"", "count=20"},
	}
	var list []attack
	for _, tr := range testsrv.Hostile() {
		paths := []string{tr.Path}
		for name, values := range variants {
			if head, _, ok := strings.Cut(tr.Path, name); ok {
				paths = nil
				for _, v := range values {
					paths = append(paths, head+v)
				}
			}
		}
		asks := queries[tr.Path]
		if asks == nil {
			asks = []string{""}
		}
		for _, path := range paths {
			for _, q := range asks {
				if strings.HasSuffix(path, "/at") {
					q = strings.TrimPrefix(q+"&at="+elsewhere, "&")
				}
				a := attack{path: "/hostile/" + path, http1: tr.HTTP1, limit: 8 << 20, wait: 5 * time.Second}
				if q != "" {
					a.path += "?" + q
				}
				switch tr.Path {
				case "silent", "stall", "sse":
					a.endless, a.limit, a.wait = true, 1<<20, 200*time.Millisecond
				}
				list = append(list, a)
			}
		}
	}
	for _, header := range []string{
		"Range: bytes=9-40", "Range: bytes=-60", "Accept-Encoding: br, gzip, zstd", "TE: trailers", "Expect: 100-continue",
		"Connection: keep-alive, Authorization", "Cookie: a=b", "X-Forwarded-For: 127.0.0.1", "If-None-Match: *",
		"Proxy-Authorization: Basic eDp5", "X-Http-Method-Override: TRACE",
	} {
		for _, path := range []string{"echo/body", "echo/range", "echo/headers", "echo/encoded/gzip"} {
			list = append(list, attack{path: "/hostile/" + path, header: header + "\r\n", limit: 1 << 20, wait: 5 * time.Second})
		}
	}
	return list
}

func encoders() map[string]func([]byte) ([]byte, error) {
	return map[string]func([]byte) ([]byte, error){
		"br": func(b []byte) ([]byte, error) {
			var out bytes.Buffer
			z := brotli.NewWriter(&out)
			_, err := z.Write(b)
			return out.Bytes(), errors.Join(err, z.Close())
		},
		"zstd": func(b []byte) ([]byte, error) {
			var out bytes.Buffer
			z, err := zstd.NewWriter(&out)
			if err != nil {
				return nil, err
			}
			_, err = z.Write(b)
			return out.Bytes(), errors.Join(err, z.Close())
		},
	}
}

// peak is the most memory that a process ever had, in bytes.
func peak(t *testing.T, pid int) int64 {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Skip(err)
	}
	_, rest, _ := strings.Cut(string(data), "VmHWM:")
	n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n << 10
}

// beyond are the answers in which the proxy does not find the key, as package
// inject says of itself: a choice of what to escape that no encoder makes, or
// something computed of the key. No service writes so unless it is set on
// telling its user, and then it has other ways.
var beyond = []string{"echo/as/json-mixed", "echo/as/url-mixed", "echo/as/base64-lines", "echo/as/utf16", "echo/mislabelled"}

// maxPeak is what a daemon may ever have taken, however it is treated. The
// race detector takes several times as much.
const maxPeak = 160 << 20

// TestHostileServices lends to services that tell the key to the agent, or do
// worse, in every way that the stand-in knows.
func TestHostileServices(t *testing.T) {
	h := rig.New(t)
	h.Up()
	key := rig.Key("")
	search := canary.New(key, h.Passphrase)
	keys := map[string]string{"real": key}
	elsewhere := h.Serve(testsrv.Options{Shape: testsrv.OpenAI, Keys: keys})
	servers := map[string]*testsrv.Server{}
	for name, http1 := range map[string]bool{"old": true, "new": false} {
		s := h.Serve(testsrv.Options{Shape: testsrv.OpenAI, Keys: keys, HTTP1: http1, Encoders: encoders()})
		servers[name] = s
		h.Custom(name, s)
		h.Store(name, key)
	}
	h.OK("agent", "create", "coder")
	h.OK("grant", "coder", "old")
	h.OK("grant", "coder", "new")
	a := h.Session("coder")
	addr := h.Status().Address

	n, leaked := 0, 0
	var mu sync.Mutex
	statuses := map[string]int{}
	work := make(chan func())
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for f := range work {
				f()
			}
		})
	}
	for _, at := range attacks(elsewhere.URL()) {
		for _, service := range []string{"old", "new"} {
			if at.http1 && service == "new" {
				continue
			}
			for _, method := range []string{"GET", "HEAD"} {
				if method == "HEAD" && at.endless {
					continue // answered at once, and then the stand-in serves nobody on that connection
				}
				n++
				work <- func() {
					request := fmt.Sprintf("%s /%s%s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer cu-agentkeys.%s\r\nConnection: close\r\n%s\r\n",
						method, service, at.path, addr, a.Token, at.header)
					answer, err := wire(addr, request, at.limit, at.wait)
					if err != nil {
						t.Errorf("%s %s: %v", service, at.path, err)
					}
					found := search.In(answer)
					if len(answer) < 1<<20 {
						found = append(found, search.In(whole(answer))...)
					}
					known := slices.ContainsFunc(beyond, func(p string) bool { return strings.HasPrefix(at.path, "/hostile/"+p) })
					mu.Lock()
					defer mu.Unlock()
					if len(found) > 0 && !known {
						if leaked++; leaked < 10 {
							t.Errorf("%s %s %s %q: %s\n%.2000s", method, service, at.path, at.header, found[0], answer)
						}
					}
					status, _, _ := bytes.Cut(answer, []byte("\r\n"))
					statuses[string(status)]++
				}
			}
		}
	}
	close(work)
	wg.Wait()
	t.Logf("%d answers: %v", n, statuses)
	if statuses["HTTP/1.1 200 OK"] < n/3 {
		t.Error("most answers are none: the search means nothing")
	}
	for _, s := range servers {
		told := 0
		for _, seen := range s.Requests() {
			if strings.Contains(fmt.Sprint(seen.Header), "{real}") {
				told++
			}
		}
		if told < len(s.Requests())*9/10 {
			t.Errorf("only %d of %d requests carried the key", told, len(s.Requests()))
		}
	}
	if got := elsewhere.Requests(); len(got) > 0 {
		t.Errorf("a redirect was followed: %+v", got[0])
	}
	if p := peak(t, h.PID()); p > maxPeak {
		t.Errorf("the daemon took up to %d MiB", p>>20)
	} else {
		t.Logf("the daemon took up to %d MiB", p>>20)
	}
	// Nobody else is worse off.
	if ans, err := a.Do("GET", "new", "/v1/models", ""); err != nil || ans.Status != 200 {
		t.Errorf("%v %v", ans, err)
	}
	cleanHome(t, h, search)
	h.OK("audit", "verify")
}

// TestCutAnywhere has an answer end after each byte of the key that it tells.
func TestCutAnywhere(t *testing.T) {
	h := rig.New(t)
	h.Up()
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hello" {
			_, _ = io.WriteString(w, "hello")
			return
		}
		n, _ := strconv.Atoi(r.URL.Query().Get("n"))
		text := "you sent " + strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ") + " to us, and here is some more"
		if r.URL.Query().Get("length") != "" {
			w.Header().Set("Content-Length", strconv.Itoa(len(text)))
		}
		_, _ = io.WriteString(w, text[:n])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	t.Cleanup(srv.Close)
	key := rig.Key("")
	h.CustomAt("cutter", srv.URL, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}))
	h.Store("cutter", key)
	h.OK("agent", "create", "coder")
	h.OK("grant", "coder", "cutter")
	a := h.Session("coder")
	search := canary.New(key)
	for n := range len(key) + 20 {
		for _, q := range []string{"", "&length=1"} {
			ans, err := a.Do("GET", "cutter", fmt.Sprintf("/cut?n=%d%s", n, q), "")
			if err == nil && ans.Status == 200 {
				t.Errorf("cut after %d bytes%s: it looks whole: %v", n, q, ans)
			}
			for _, f := range search.In(ans.Body) {
				t.Errorf("cut after %d bytes%s: %s: %q", n, q, f, ans.Body)
			}
		}
	}
	if ans, err := a.Do("GET", "cutter", "/hello", ""); err != nil || string(ans.Body) != "hello" {
		t.Errorf("%v %v", ans, err)
	}
}

// TestSlowAgents: agents that do not read what they asked for, and services
// that do not end, take bounded memory, and others are served meanwhile.
func TestSlowAgents(t *testing.T) {
	h := rig.New(t)
	h.Up()
	s := h.Serve(testsrv.Options{Shape: testsrv.OpenAI, Keys: map[string]string{"real": rig.Key("")}})
	h.Custom("custom", s)
	h.Store("custom", rig.Key(""))
	h.OK("agent", "create", "coder")
	h.OK("grant", "coder", "custom")
	a := h.Session("coder")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var open []*http.Response
	for i := range 120 {
		path := []string{"/hostile/huge", "/hostile/gzip-bomb", "/hostile/sse", "/hostile/huge?chunked=1", "/hostile/stall", "/hostile/drip"}[i%6]
		resp, err := a.Open(ctx, "GET", "custom", path, "")
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, resp)
	}
	for range 20 {
		if ans, err := a.Do("GET", "custom", "/hostile/landed", ""); err != nil || ans.Status != 200 {
			t.Fatalf("%v %v", ans, err)
		}
	}
	if p := peak(t, h.PID()); p > maxPeak {
		t.Errorf("the daemon took up to %d MiB", p>>20)
	} else {
		t.Logf("the daemon took up to %d MiB with %d answers that nobody reads", p>>20, len(open))
	}
	cancel()
	for _, resp := range open {
		_ = resp.Body.Close()
	}
	if ans, err := a.Do("GET", "custom", "/hostile/landed", ""); err != nil || ans.Status != 200 {
		t.Errorf("%v %v", ans, err)
	}
}
