package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// play is what this program does when it is started as another part: the
// upstream, a server of objects, or the floor, a bare ReverseProxy with a pool
// of buffers that sets one header. It prints its address and serves until its
// standard input ends.
func play(role string, args []string) error {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	var h http.Handler
	switch role {
	case "upstream":
		h = http.HandlerFunc(answer)
	case "floor":
		target := &url.URL{Scheme: "http", Host: args[0]}
		h = &httputil.ReverseProxy{
			Rewrite: func(r *httputil.ProxyRequest) {
				r.SetURL(target)
				r.Out.Header.Set("Authorization", "Bearer not-a-real-key-0123456789abcdef0123456789abcdef")
			},
			Transport:  &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true},
			BufferPool: &buffers{sync.Pool{New: func() any { return make([]byte, 32<<10) }}},
		}
	case "s3":
		h = newObjects()
	default:
		return fmt.Errorf("no role %q", role)
	}
	fmt.Println(ln.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	return http.Serve(ln, h)
}

type buffers struct{ sync.Pool }

func (b *buffers) Get() []byte { return b.Pool.Get().([]byte) }

//lint:ignore SA6002 the interface has slices
func (b *buffers) Put(p []byte) { b.Pool.Put(p) }

// body is a chat completion of about a kilobyte, cost included.
var body = []byte(`{"id":"gen-1","object":"chat.completion","model":"some/model","choices":[{"index":0,"message":{"role":"assistant","content":"` +
	strings.Repeat("lorem ipsum ", 70) + `"},"finish_reason":"stop"}],"usage":{"prompt_tokens":12,"completion_tokens":170,"total_tokens":182,"cost":0.000321}}`)

const events = 20

func answer(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	if r.Header.Get("X-Stream") == "" {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		_, _ = w.Write(body)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	rc := http.NewResponseController(w)
	for i := range events {
		// The receiver compares with its own clock: the same machine's.
		fmt.Fprintf(w, "data: {\"n\":%d,\"at\":%d}\n\n", i, time.Now().UnixNano())
		_ = rc.Flush()
		time.Sleep(5 * time.Millisecond)
	}
	// An answer that hid its cost would be charged a part of the budget.
	fmt.Fprint(w, "data: {\"usage\":{\"cost\":0.0001}}\n\n")
}

// part is a child process and its address.
type part struct {
	addr string
	pids []int
	stop func()
}

func (b *bench) part(role string, args ...string) (*part, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(exe, append([]string{"-role", role}, args...)...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	line := make([]byte, 64)
	n, err := out.Read(line)
	if err != nil {
		return nil, err
	}
	return &part{string(bytes.TrimSpace(line[:n])), []int{cmd.Process.Pid}, func() { _ = in.Close(); _ = cmd.Wait() }}, nil
}
