package inject

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// hostile generates requests that are wrong, or look right, in every place.
func hostile(host string) []string {
	auth := "Authorization: Bearer " + placeholder + "\r\n"
	var list []string
	add := func(line string, headers ...string) {
		list = append(list, line+"\r\nHost: "+host+"\r\n"+auth+strings.Join(headers, "")+"\r\n")
	}
	for c := range 256 {
		p := string([]byte{byte(c)})
		add("GET /openrouter/a" + p + "b HTTP/1.1")
		add("GET /openrouter/a?x=" + p + " HTTP/1.1")
		add("GET" + p + "/openrouter/a HTTP/1.1")
		add("GET" + p + " /openrouter/a HTTP/1.1")
		add("GET /openrouter/a HTTP/1.1", "X: y"+p+"z\r\n")
		add("GET /openrouter/a HTTP/1.1", "X"+p+": y\r\n")
		add("GET /openrouter/a HTTP/1.1", "Content-Length: "+p+"\r\n")
	}
	for _, p := range []string{
		"..", "//", "/../", "%00", "%0d%0a", "%2e%2e", "%2F", "%5c", "%u0041", "%c0%ae", "\xc0\xae", "\xff\xfe", "../../../../etc/passwd", "://", "@evil.example", "",
		"\r\n", "\r\nX: y", "\n\n", "\r", strings.Repeat("a", 5000), strings.Repeat("/a", 2000), strings.Repeat("%41", 500), strings.Repeat("a", 100000),
	} {
		add("GET /" + p + " HTTP/1.1")
		add("GET /openrouter/" + p + " HTTP/1.1")
		add("GET " + p + "/openrouter/a HTTP/1.1")
		add("GET /openrouter/a?" + p + " HTTP/1.1")
		add("GET /openrouter/a?key=" + p + " HTTP/1.1")
		add("GET /openrouter/a?" + p + "key=x&" + p + "=y HTTP/1.1")
		add(p + " /openrouter/a HTTP/1.1")
		add("GET /openrouter/a HTTP/" + p)
		for _, name := range []string{"X", "Cookie", "Authorization", "Origin", "Referer", "Expect", "Connection", "Te", "Transfer-Encoding", "Content-Length", "Upgrade", "Accept-Encoding", "X-Forwarded-For", "Sec-Fetch-Site"} {
			add("GET /openrouter/a HTTP/1.1", name+": "+p+"\r\n")
			add("POST /openrouter/a HTTP/1.1", name+p+": x\r\n", "Content-Length: 0\r\n")
		}
		list = append(list, "GET /openrouter/a HTTP/1.1\r\nHost: "+p+"\r\n"+auth+"\r\n", p, "GET /openrouter/a HTTP/1.1\r\nHost: "+host+p+"\r\n"+auth+"\r\n")
	}
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "PRI", "PROPFIND", "get", ""} {
		for _, target := range []string{"/openrouter/a", "*", "http://x/", "x:443", "", "/"} {
			for _, body := range []string{"Content-Length: 0\r\n\r\n", "Content-Length: 5\r\n\r\nabc", "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\nfffffffff\r\n", "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX: y\r\n\r\n", "Content-Length: 99999999999999999999\r\n\r\n", "Content-Length: 3\r\n\r\nabcGET /openrouter/smuggled HTTP/1.1\r\nHost: " + host + "\r\n\r\n"} {
				list = append(list, fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\n%s%s", method, target, host, auth, body))
			}
		}
	}
	for _, n := range []int{10, 100, 1000, 5000} {
		add("GET /openrouter/a HTTP/1.1", strings.Repeat("X: y\r\n", n))
		add("GET /openrouter/a HTTP/1.1", strings.Repeat("Authorization: Bearer x\r\n", n))
		add("GET /openrouter/a HTTP/1.1", "Connection: "+strings.Repeat("a,", n)+"\r\n")
		add("GET /openrouter/a?" + strings.Repeat("key=a&", n) + " HTTP/1.1")
	}
	return list
}

// Whatever comes in, nothing panics, no request makes a fault of ours, every
// permit is settled, nothing grows, and the next agent is served.
func TestHostileCorpus(t *testing.T) {
	u := new(recorder)
	route := upstream(t, false, u.ServeHTTP)
	b := newBackend(route)
	addr := serve(t, b, Options{})
	list := hostile(addr)
	if len(list) < 3000 {
		t.Errorf("only %d cases", len(list))
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	goroutines := runtime.NumGoroutine()

	cases := make(chan string)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for request := range cases {
				answer := rawClosed(t, addr, request)
				// 501 and 505 are net/http's own, for codings and versions.
				if s := statusOf(answer); s >= 500 && s != 501 && s != 505 {
					t.Errorf("%.200q: %.300s", request, answer)
				}
			}
		})
	}
	for _, request := range list {
		cases <- request
	}
	close(cases)
	wg.Wait()

	for _, seen := range u.take() {
		if strings.Contains(seen, placeholder) || strings.Contains(seen, "smuggled HTTP") && !strings.HasSuffix(seen, "abc") {
			t.Errorf("upstream saw %.300q", seen)
		}
		if line, _, _ := strings.Cut(seen, "\n"); !strings.Contains(line, " /api/v1/") || strings.Contains(line, "%") && !strings.Contains(line, "?") {
			t.Errorf("upstream saw %.300q", seen)
		}
	}
	for range 2000 {
		if b.mu.Lock(); len(b.outcomes) >= b.permits() {
			b.mu.Unlock()
			break
		}
		b.mu.Unlock()
		time.Sleep(10 * time.Millisecond)
	}
	if n := b.permits(); len(b.outcomes) != n {
		t.Errorf("%d permits, %d settled", n, len(b.outcomes))
	}
	if res, _ := get(t, addr, "/openrouter/a"); res.StatusCode != 200 {
		t.Errorf("afterwards: %d", res.StatusCode)
	}
	route.Transport.(*http.Transport).CloseIdleConnections()
	settleGoroutines(t, goroutines+20)
	b.mu.Lock()
	b.lent, b.outcomes = nil, nil
	b.mu.Unlock()
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 16<<20 {
		t.Errorf("the heap grew by %d KiB", grown>>10)
	}
}

// Agents that stall in every phase do not keep others waiting.
func TestStallersHarmNobody(t *testing.T) {
	route := upstream(t, true, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/flood") {
			for r.Context().Err() == nil {
				_, _ = w.Write(make([]byte, 32<<10))
			}
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
	})
	b := newBackend(route)
	addr := serve(t, b, Options{})
	head := " /openrouter/%s HTTP/1.1\r\nHost: " + addr + "\r\nX-Api-Key: " + placeholder + "\r\n"
	for i := range 40 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		_, _ = io.WriteString(c, []string{"GET", "GET" + fmt.Sprintf(head, "a"), "POST" + fmt.Sprintf(head, "a") + "Content-Length: 100000\r\n\r\nx", "GET" + fmt.Sprintf(head, "flood") + "\r\n"}[i%4])
	}
	var most runtime.MemStats
	for range 50 {
		start := time.Now()
		if res, _ := get(t, addr, "/openrouter/a"); res.StatusCode != 200 {
			t.Fatalf("%d", res.StatusCode)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("took %v", took)
		}
	}
	runtime.ReadMemStats(&most)
	if most.HeapInuse > 256<<20 {
		t.Errorf("%d MiB in use", most.HeapInuse>>20)
	}
}

// Thousands of answers in every shape that this package can meet, and the
// credential in none of them.
func TestCanaryExchanges(t *testing.T) {
	rounds := 250
	if testing.Short() {
		rounds = 30
	}
	forms := encodings(canary)
	var names []string
	for name := range forms {
		names = append(names, name)
	}
	route := upstream(t, true, func(w http.ResponseWriter, r *http.Request) {
		seed := uint64(len(r.URL.Query().Get("seed")))
		rng := rand.New(rand.NewPCG(seed, 7))
		form := forms[names[rng.IntN(len(names))]]
		w.Header().Set("X-Echo", form)
		w.Header().Set("Content-Type", []string{"application/json", "text/event-stream", "text/html", ""}[rng.IntN(4)])
		body := []byte(strings.Repeat("x", rng.IntN(5000)) + form + strings.Repeat("y", rng.IntN(5000)) + form)
		if coding := []string{"", "", "gzip", "br", "zstd", "deflate"}[rng.IntN(6)]; coding != "" {
			body = encode(t, coding, string(body))
			w.Header().Set("Content-Encoding", coding)
		}
		w.WriteHeader([]int{200, 400, 401, 500, 302}[rng.IntN(5)])
		for len(body) > 0 {
			n := min(len(body), 1+rng.IntN(3000))
			_, _ = w.Write(body[:n])
			_ = http.NewResponseController(w).Flush()
			body = body[n:]
		}
		w.Header().Set(http.TrailerPrefix+"X-Late", form)
	})
	route.Meter = func() Meter { return new(fastMeter) }
	addr := serve(t, newBackend(route), Options{})
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := range rounds {
				get(t, addr, "/openrouter/a?seed="+strings.Repeat("s", worker*rounds+i))
			}
		})
	}
	wg.Wait()
}
