package inject

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// untouched checks that the backend was not asked anything.
func untouched(t *testing.T, b *backend) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.presented != nil || len(b.lent) > 0 {
		t.Errorf("the backend was asked: presented %q, lent %d", b.presented, len(b.lent))
	}
}

func TestLoopbackGuard(t *testing.T) {
	route := upstream(t, false, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.Header().Set("Access-Control-Allow-Credentials", "true")
	})
	b := newBackend(route)
	addr := serve(t, b, Options{})
	port := addr[strings.LastIndexByte(addr, ':'):]
	for _, c := range []struct {
		name, host string
		header     string
		want       int
	}{
		{"own name", addr, "", 200},
		{"localhost", "localhost" + port, "", 200},
		{"IPv6", "[::1]" + port, "", 200},
		{"own origin", addr, "Origin: http://" + addr, 200},
		{"own page", addr, "Referer: http://" + addr + "/x?y", 200},
		{"same origin", addr, "Sec-Fetch-Site: same-origin", 200},
		{"typed by the user", addr, "Sec-Fetch-Site: none", 200},
		{"OpenRouter's attribution is no Referer", addr, "HTTP-Referer: https://app.example", 200},

		{"rebound name", "evil.example" + port, "", 403},
		{"rebound name without port", "evil.example", "", 403},
		{"no port", "127.0.0.1", "", 403},
		{"other port", "127.0.0.1:1", "", 403},
		{"other loopback address", "127.0.0.2" + port, "", 403},
		{"odd spelling", "127.1" + port, "", 403},
		{"decimal", "2130706433" + port, "", 403},
		{"trailing dot", "localhost." + port, "", 403},
		{"upper case", "LOCALHOST" + port, "", 403},
		{"subdomain", "a.localhost" + port, "", 403},
		{"user information", "x@" + addr, "", 400},
		{"zero", "0.0.0.0" + port, "", 403},
		{"mapped", "[::ffff:127.0.0.1]" + port, "", 403},
		{"empty", "", "", 403},
		{"foreign origin", addr, "Origin: https://evil.example", 403},
		{"opaque origin", addr, "Origin: null", 403},
		{"empty origin", addr, "Origin:", 403},
		{"https origin", addr, "Origin: https://" + addr, 403},
		{"other port's origin", addr, "Origin: http://127.0.0.1:1", 403},
		{"the other own name's origin", addr, "Origin: http://localhost" + port, 403},
		{"origin with a prefix of ours", addr, "Origin: http://" + addr + ".evil.example", 403},
		{"origin with our name as user", addr, "Origin: http://" + addr + "@evil.example", 403},
		{"two origins", addr, "Origin: http://" + addr + "\r\nOrigin: https://evil.example", 403},
		{"extension", addr, "Origin: chrome-extension://abc", 403},
		{"foreign page", addr, "Referer: https://evil.example/x", 403},
		{"foreign page that names us", addr, "Referer: https://evil.example/?http://" + addr + "/", 403},
		{"page with our name as user", addr, "Referer: http://" + addr + "@evil.example/", 403},
		{"page with a prefix of ours", addr, "Referer: http://" + addr + ".evil.example/", 403},
		{"cross-site", addr, "Sec-Fetch-Site: cross-site", 403},
		{"same-site", addr, "Sec-Fetch-Site: same-site", 403},
		{"unknown site", addr, "Sec-Fetch-Site: future", 403},
		{"two sites", addr, "Sec-Fetch-Site: none\r\nSec-Fetch-Site: cross-site", 403},
	} {
		t.Run(c.name, func(t *testing.T) {
			b.mu.Lock()
			b.presented, b.lent = nil, nil
			b.mu.Unlock()
			for _, method := range []string{"GET", "POST", "OPTIONS"} {
				request := fmt.Sprintf("%s /openrouter/models HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nConnection: close\r\n", method, c.host, placeholder)
				if c.header != "" {
					request += c.header + "\r\n"
				}
				if method == "POST" {
					request += "Content-Length: 0\r\n"
				}
				if method == "OPTIONS" {
					request += "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Private-Network: true\r\n"
				}
				answer := raw(t, addr, request+"\r\n")
				if got := statusOf(answer); got != c.want {
					t.Errorf("%s: status %d, want %d: %s", method, got, c.want, answer)
				}
				if strings.Contains(answer, "Access-Control-") {
					t.Errorf("%s: cross-origin access was granted: %s", method, answer)
				}
			}
			if c.want >= 400 {
				untouched(t, b)
			}
		})
	}
}

func TestZeroHostsAnswerNobody(t *testing.T) {
	b := newBackend()
	for _, host := range []string{"", "localhost", "127.0.0.1:80"} {
		r := httptest.NewRequest("GET", "/openrouter/models", nil)
		r.Host = host
		w := httptest.NewRecorder()
		New(b, Options{}).ServeHTTP(w, r)
		if w.Code != 403 {
			t.Errorf("Host %q: %d", host, w.Code)
		}
	}
	untouched(t, b)
}

func TestHosts(t *testing.T) {
	for addr, ok := range map[string]bool{"127.0.0.1:80": true, "127.8.8.8:80": true, "[::1]:80": true, "0.0.0.0:80": false, "192.0.2.1:80": false, "[::]:80": false} {
		tcp, err := net.ResolveTCPAddr("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := LoopbackHosts(tcp); (err == nil) != ok {
			t.Errorf("LoopbackHosts(%s): %v, want ok %v", addr, err, ok)
		}
	}
	if _, err := LoopbackHosts(&net.UnixAddr{Name: "/x", Net: "unix"}); err == nil {
		t.Error("LoopbackHosts of a socket passed")
	}
	// On a socket every Host will do; pages are turned away all the same.
	h := SocketHosts().Guard(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }))
	for header, want := range map[string]int{"X: y": 204, "Origin: https://evil.example": 403, "Sec-Fetch-Site: cross-site": 403} {
		r := httptest.NewRequest("GET", "/", nil)
		name, value, _ := strings.Cut(header, ": ")
		r.Header.Set(name, value)
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != want {
			t.Errorf("%s: %d, want %d", header, w.Code, want)
		}
	}
}
