package inject

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/grant"
)

// The benchmarks measure the proxy in a process of its own, beside the floor:
// httputil.ReverseProxy with a buffer pool. What counts is CPU time of that
// process for each request, taken in alternating rounds, and the ratio of the
// medians.

const childEnv = "AGENTKEYS_INJECT_BENCH_CHILD"

func TestMain(m *testing.M) {
	if spec := os.Getenv(childEnv); spec != "" {
		benchChild(spec)
		return
	}
	log.SetOutput(io.Discard) // see NewTransport
	os.Exit(m.Run())
}

type childSpec struct {
	Upstream string // base URL
	Cert     string // PEM, "" for plain HTTP
}

type childAddrs struct{ Floor, Proxy, Control string }

type usage struct {
	CPU    time.Duration
	Memory uint64 // of the heap and the stacks, in use
	Allocs uint64
	Bytes  uint64 // allocated, ever
}

type pool struct{ p sync.Pool }

func (p *pool) Get() []byte  { return p.p.Get().([]byte) }
func (p *pool) Put(b []byte) { p.p.Put(b) } //lint:ignore SA6002 as one writes it by hand

func benchChild(arg string) {
	fatal := func(err error) {
		if err != nil {
			log.Fatal(err)
		}
	}
	var spec childSpec
	fatal(json.Unmarshal([]byte(arg), &spec))
	base, err := url.Parse(spec.Upstream)
	fatal(err)
	roots := x509.NewCertPool()
	if spec.Cert != "" {
		roots.AppendCertsFromPEM([]byte(spec.Cert))
	}
	options := TransportOptions{Roots: roots, Allow: []netip.AddrPort{netip.MustParseAddrPort(base.Host)}}

	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		fatal(err)
		return l
	}
	floor, ours, control := listen(), listen(), listen()

	rp := &httputil.ReverseProxy{
		Rewrite:    func(r *httputil.ProxyRequest) { r.SetURL(base); r.Out.Header.Set("Authorization", "Bearer "+canary) },
		ErrorLog:   log.New(io.Discard, "", 0),
		BufferPool: &pool{sync.Pool{New: func() any { return make([]byte, 32<<10) }}},
		Transport:  NewTransport(options),
	}
	go func() { _ = NewServer(rp).Serve(floor) }()

	hosts, err := LoopbackHosts(ours.Addr())
	fatal(err)
	b := &benchBackend{backend: newBackend(&Route{
		Service: theService, Base: base, Transport: NewTransport(options), Policy: allowAll(),
		Place: []Placement{{Header: "Authorization", Prefix: "Bearer "}}, Meter: func() Meter { return new(fastMeter) },
	})}
	go func() { _ = NewServer(New(b, Options{Hosts: hosts})).Serve(ours) }()

	http.HandleFunc("/usage", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("gc") != "" {
			runtime.GC()
			runtime.GC()
		}
		var ru syscall.Rusage
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &ru)
		var ms runtime.MemStats
		runtime.ReadMemStats(&ms)
		_ = json.NewEncoder(w).Encode(usage{time.Duration(ru.Utime.Nano() + ru.Stime.Nano()), ms.HeapInuse + ms.StackInuse, ms.Mallocs, ms.TotalAlloc})
	})
	go func() { _ = http.Serve(control, nil) }()
	_ = json.NewEncoder(os.Stdout).Encode(childAddrs{floor.Addr().String(), ours.Addr().String(), control.Addr().String()})
	_, _ = io.Copy(io.Discard, os.Stdin) // until the parent is gone
}

// benchBackend decides and counts like the daemon will, without keeping what
// the tests look at.
type benchBackend struct{ *backend }

func (b *benchBackend) Identify(_ *http.Request, presented []string) (Caller, error) {
	for _, s := range presented {
		if s == placeholder {
			return Caller{theAgent, theWallet}, nil
		}
	}
	return Caller{}, ErrUnknownCaller
}

func (b *benchBackend) Lend(ctx context.Context, c Caller, r *Route, req grant.Request) (Loan, error) {
	permit, err := b.decider.Use(ctx, c.Agent, c.Wallet, r.Service, b.grant, r.Policy, req)
	return Loan{Permit: permit, Secret: b.secret}, err
}

func (b *benchBackend) Settle(p grant.Permit, o grant.Outcome) {
	_ = b.decider.Settle(p, time.Now(), o)
}

type child struct {
	childAddrs
	stop func()
}

func startChild(b *testing.B, spec childSpec) *child {
	b.Helper()
	arg, err := json.Marshal(spec)
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+string(arg))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	c := &child{stop: func() { _ = in.Close(); _ = cmd.Wait() }}
	b.Cleanup(func() { c.stop() })
	if err := json.NewDecoder(out).Decode(&c.childAddrs); err != nil {
		b.Fatal(err)
	}
	return c
}

func (c *child) usage(b *testing.B, gc bool) (u usage) {
	b.Helper()
	q := ""
	if gc {
		q = "?gc=1"
	}
	res, err := http.Get("http://" + c.Control + "/usage" + q)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if err := json.NewDecoder(res.Body).Decode(&u); err != nil {
		b.Fatal(err)
	}
	return u
}

// load sends n requests over each of several connections, as bytes, and reads
// the answers as bytes: the load generator shall not be what is measured.
func load(b *testing.B, addr, request string, conns, n, mayFail int) {
	b.Helper()
	var wg sync.WaitGroup
	for range conns {
		wg.Go(func() {
			req := strings.ReplaceAll(request, "HOST", addr)
			var c net.Conn
			var r *bufio.Reader
			failed := 0
			for i := 0; i < n; i++ {
				if c == nil {
					var err error
					if c, err = net.Dial("tcp", addr); err != nil {
						b.Error(err)
						return
					}
					r = bufio.NewReaderSize(c, 64<<10)
				}
				_, err := io.WriteString(c, req)
				if err == nil {
					err = skipAnswer(r)
				}
				if err != nil {
					// The floor now and then breaks a stream off: see agentBody.Read.
					_ = c.Close()
					c = nil
					i--
					if failed++; failed > mayFail {
						b.Error(err)
						return
					}
				}
			}
			_ = c.Close()
		})
	}
	wg.Wait()
}

func skipAnswer(r *bufio.Reader) error {
	length := -1
	for first := true; ; first = false {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if first && !bytes.HasPrefix(line, []byte("HTTP/1.1 200")) {
			return fmt.Errorf("answer %q", line)
		}
		if len(line) <= 2 {
			break
		}
		if v, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			length, _ = strconv.Atoi(strings.TrimSpace(string(v)))
		}
	}
	if length >= 0 {
		_, err := r.Discard(length)
		return err
	}
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		size, err := strconv.ParseInt(strings.TrimSpace(string(line)), 16, 64)
		if err != nil {
			return err
		}
		if _, err := r.Discard(int(size) + 2); err != nil {
			return err
		}
		if size == 0 {
			return nil
		}
	}
}

const benchEvents = 50

// benchUpstream answers /plain with 1 KiB of JSON and /stream with events that
// are each written at once; with ?gap, so many apart; with ?hold, until the
// client goes.
func benchUpstream(b *testing.B, secure, h2 bool) childSpec {
	b.Helper()
	plain := []byte(`{"id":"gen-1","choices":[{"message":{"content":"` + strings.Repeat("lorem ipsum ", 75) + `"}}],"usage":{"cost":0.0001}}`)
	event := []byte(`data: {"id":"gen-1","choices":[{"delta":{"content":"` + strings.Repeat("lorem ", 20) + `"}}]}` + "\n\n")
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if strings.HasSuffix(r.URL.Path, "/plain") {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(plain)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		gap, _ := time.ParseDuration(r.FormValue("gap"))
		for i := range benchEvents {
			if gap > 0 {
				if i > 0 {
					time.Sleep(gap)
				}
				_, _ = fmt.Fprintf(w, "data: %d\n\n", time.Now().UnixNano())
			} else {
				_, _ = w.Write(event)
			}
			_ = http.NewResponseController(w).Flush()
			if r.FormValue("hold") != "" {
				<-r.Context().Done()
				return
			}
		}
	}))
	srv.EnableHTTP2 = h2
	spec := childSpec{}
	if secure {
		srv.TLS = &tls.Config{}
		srv.StartTLS()
		spec.Cert = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}))
	} else {
		srv.Start()
	}
	b.Cleanup(srv.Close)
	spec.Upstream = srv.URL + "/api/v1"
	return spec
}

func benchRequest(method, path, body string) string {
	r := method + " " + path + " HTTP/1.1\r\nHost: HOST\r\nUser-Agent: OpenAI/Python 1.99\r\nAccept: application/json\r\nAccept-Encoding: gzip, deflate, br\r\n" +
		"Authorization: Bearer " + placeholder + "\r\nX-Stainless-Lang: python\r\nX-Stainless-Package-Version: 1.99\r\nX-Stainless-Os: Linux\r\nX-Stainless-Arch: x64\r\n" +
		"X-Stainless-Runtime: CPython\r\nX-Stainless-Runtime-Version: 3.12.1\r\nX-Stainless-Async: false\r\nX-Stainless-Retry-Count: 0\r\nContent-Type: application/json\r\n"
	if body != "" {
		r += fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	return r + "\r\n" + body
}

func median(d []float64) float64 {
	slices.Sort(d)
	return d[len(d)/2]
}

// BenchmarkProxy reports CPU for each request, ours by the floor's, and
// throughput likewise.
func BenchmarkProxy(b *testing.B) {
	prompt := `{"model":"x","messages":[{"role":"user","content":"` + strings.Repeat("hello ", 60) + `"}]}`
	for _, up := range []struct {
		name       string
		secure, h2 bool
	}{{"http", false, false}, {"tls1", true, false}, {"h2", true, true}} {
		for _, load1 := range []struct{ name, method, path, body string }{
			{"get", "GET", "/plain", ""}, {"post", "POST", "/plain", prompt}, {"stream", "POST", "/stream", prompt},
		} {
			for _, conns := range []int{1, 16} {
				b.Run(fmt.Sprintf("%s/%s/conns=%d", up.name, load1.name, conns), func(b *testing.B) {
					c := startChild(b, benchUpstream(b, up.secure, up.h2))
					n := 2400 / conns
					if load1.name == "stream" {
						n = max(1, n/10)
					}
					request := map[string]string{
						c.Floor: benchRequest(load1.method, load1.path, load1.body),
						c.Proxy: benchRequest(load1.method, "/openrouter"+load1.path, load1.body),
					}
					cpu, wall, allocs, bytes := map[string][]float64{}, map[string][]float64{}, map[string][]float64{}, map[string][]float64{}
					round := func(addr string, keep bool) {
						before, start := c.usage(b, false), time.Now()
						mayFail := 0
						if addr == c.Floor {
							mayFail = n
						}
						load(b, addr, request[addr], conns, n, mayFail)
						took := time.Since(start)
						if after := c.usage(b, false); keep {
							cpu[addr] = append(cpu[addr], float64(after.CPU-before.CPU)/float64(n*conns))
							allocs[addr] = append(allocs[addr], float64(after.Allocs-before.Allocs)/float64(n*conns))
							bytes[addr] = append(bytes[addr], float64(after.Bytes-before.Bytes)/float64(n*conns))
							wall[addr] = append(wall[addr], float64(took)/float64(n*conns))
						}
					}
					round(c.Floor, false)
					round(c.Proxy, false)
					for range max(11, b.N) {
						round(c.Floor, true)
						round(c.Proxy, true)
					}
					b.ReportMetric(0, "ns/op")
					b.ReportMetric(median(allocs[c.Floor]), "floor-allocs")
					b.ReportMetric(median(allocs[c.Proxy]), "proxy-allocs")
					b.ReportMetric(median(bytes[c.Floor]), "floor-B")
					b.ReportMetric(median(bytes[c.Proxy]), "proxy-B")
					b.ReportMetric(median(cpu[c.Floor])/1e3, "floor-cpu-µs")
					b.ReportMetric(median(cpu[c.Proxy])/1e3, "proxy-cpu-µs")
					b.ReportMetric(median(cpu[c.Proxy])/median(cpu[c.Floor]), "cpu-ratio")
					b.ReportMetric(median(wall[c.Floor])/median(wall[c.Proxy]), "throughput-ratio")
				})
			}
		}
	}
}

// BenchmarkEventDelay reports how long an event takes from the upstream's
// write to the agent's read.
func BenchmarkEventDelay(b *testing.B) {
	c := startChild(b, benchUpstream(b, true, true))
	delays, firsts := map[string][]float64{}, map[string][]float64{}
	path := map[string]string{c.Floor: "/stream?gap=2ms", c.Proxy: "/openrouter/stream?gap=2ms"}
	round := func(addr string, keep bool) {
		start := time.Now()
		r, err := http.NewRequestWithContext(b.Context(), "GET", "http://"+addr+path[addr], nil)
		if err != nil {
			b.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+placeholder)
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		s := bufio.NewScanner(res.Body)
		for first := true; s.Scan(); {
			if v, ok := strings.CutPrefix(s.Text(), "data: "); ok && keep {
				now := time.Now()
				at, _ := strconv.ParseInt(v, 10, 64)
				delays[addr] = append(delays[addr], float64(now.UnixNano()-at))
				if first {
					firsts[addr] = append(firsts[addr], float64(now.Sub(start)))
				}
				first = false
			}
		}
	}
	for i := range max(10, b.N) {
		round(c.Floor, i > 0)
		round(c.Proxy, i > 0)
	}
	p99 := func(d []float64) float64 { slices.Sort(d); return d[len(d)*99/100] }
	b.ReportMetric(median(delays[c.Floor])/1e3, "floor-p50-µs")
	b.ReportMetric(median(delays[c.Proxy])/1e3, "proxy-p50-µs")
	b.ReportMetric(median(delays[c.Proxy])/median(delays[c.Floor]), "p50-ratio")
	b.ReportMetric(p99(delays[c.Proxy])/p99(delays[c.Floor]), "p99-ratio")
	b.ReportMetric(median(firsts[c.Proxy])/median(firsts[c.Floor]), "first-ratio")
}

// BenchmarkStreamMemory reports what an open, idle stream holds in the proxy's
// process: heap and stacks, both connections included.
func BenchmarkStreamMemory(b *testing.B) {
	for _, h2 := range []bool{false, true} {
		b.Run(fmt.Sprintf("h2=%v", h2), func(b *testing.B) {
			c := startChild(b, benchUpstream(b, true, h2))
			const streams = 500
			measure := func(addr, path string) float64 {
				request := strings.ReplaceAll(benchRequest("GET", path+"?hold=1", ""), "HOST", addr)
				before := c.usage(b, true)
				var conns []net.Conn
				for range streams {
					conn, err := net.Dial("tcp", addr)
					if err != nil {
						b.Fatal(err)
					}
					conns = append(conns, conn)
					if _, err := io.WriteString(conn, request); err != nil {
						b.Fatal(err)
					}
				}
				for _, conn := range conns {
					r := bufio.NewReader(conn)
					for line := ""; !strings.HasPrefix(line, "data:"); {
						var err error
						if line, err = r.ReadString('\n'); err != nil {
							b.Fatal(err)
						}
					}
				}
				after := c.usage(b, true)
				for _, conn := range conns {
					_ = conn.Close()
				}
				time.Sleep(200 * time.Millisecond)
				return float64(int64(after.Memory)-int64(before.Memory)) / streams / 1024
			}
			floor := measure(c.Floor, "/stream")
			proxy := measure(c.Proxy, "/openrouter/stream")
			b.ReportMetric(floor, "floor-KiB/stream")
			b.ReportMetric(proxy, "proxy-KiB/stream")
		})
	}
}
