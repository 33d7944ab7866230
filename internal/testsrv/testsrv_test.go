package testsrv

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

const key = "sk-test-0123456789abcdefghijklmnopqrstuvwxyz"

func start(t *testing.T, opts Options) *Server {
	t.Helper()
	if opts.Keys == nil {
		opts.Keys = map[string]string{"first": key}
	}
	s, err := Start(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// clientOf trusts s, follows no redirect and speaks HTTP/2 unless told.
func clientOf(t *testing.T, s *Server, http1 bool) *http.Client {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(s.CAPEM()) {
		t.Fatal("no certificate in CAPEM")
	}
	p := new(http.Protocols)
	p.SetHTTP1(http1)
	p.SetHTTP2(!http1)
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, Protocols: p, DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{
		Transport:     tr,
		Timeout:       20 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// do sends body, if any, with headers given in pairs.
func do(t *testing.T, c *http.Client, method, url, body string, headers ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

func read(t *testing.T, resp *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// at walks decoded JSON: at(v, "choices", 0, "text").
func at(t *testing.T, text string, path ...any) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[p]
		case int:
			l, _ := v.([]any)
			if p >= len(l) {
				return nil
			}
			v = l[p]
		}
	}
	return v
}

func TestStartRefuses(t *testing.T) {
	for _, opts := range []Options{{}, {Shape: "other"}, {Shape: OpenAI, Keys: map[string]string{"a": ""}}, {Shape: OpenAI, Addr: "127.0.0.1:99999"}} {
		if s, err := Start(opts); err == nil {
			_ = s.Close()
			t.Errorf("Start(%+v) succeeded", opts)
		}
	}
}

func TestSeen(t *testing.T) {
	s := start(t, Options{Shape: OpenAI, Remember: 20})
	resp := do(t, clientOf(t, s, false), "POST", s.BaseURL()+"/chat/../chat/%2e/completions?key="+key, "{}",
		"Authorization", "Bearer "+key, "X-Note", "<"+key+">", "X-Note", "placeholder")
	if resp.StatusCode != 400 {
		t.Fatalf("status %d", resp.StatusCode)
	}
	seen := s.Requests()
	if len(seen) != 1 {
		t.Fatalf("%d requests", len(seen))
	}
	r := seen[0]
	if r.Key != "first" || r.Proto != "HTTP/2.0" || r.Method != "POST" || r.Path != "/v1/chat/../chat/%2e/completions" || r.Query != "key={first}" ||
		r.Header.Get("Authorization") != "Bearer {first}" || strings.Join(r.Header["X-Note"], " ") != "<{first}> placeholder" || r.BodySize != 2 ||
		r.BodyDigest != "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a" || r.Host != s.Addr() {
		t.Errorf("%+v", r)
	}
	c := clientOf(t, s, true)
	for range 50 {
		do(t, c, "GET", s.URL()+"/nothing", "")
	}
	if seen = s.Requests(); len(seen) > 20 || seen[len(seen)-1].Proto != "HTTP/1.1" || seen[len(seen)-1].Key != "" {
		t.Errorf("%d kept, last %+v", len(seen), seen[len(seen)-1])
	}
}

func TestCertificates(t *testing.T) {
	for fault, ok := range map[CertFault]bool{CertGood: true, CertExpired: false, CertWrongName: false, CertUntrusted: false} {
		s := start(t, Options{Shape: OpenAI, Fault: fault})
		resp, err := clientOf(t, s, false).Get(s.URL() + "/hostile/landed")
		if (err == nil) != ok {
			t.Errorf("fault %d: %v", fault, err)
		}
		var bad *tls.CertificateVerificationError
		if err != nil && !errors.As(err, &bad) {
			t.Errorf("fault %d: %v", fault, err)
		}
		if err == nil {
			_ = resp.Body.Close()
		}
	}

	// The live name, for a client that is made to dial here.
	s := start(t, Options{Shape: OpenAI, Hosts: []string{"api.openai.com"}})
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.CAPEM())
	conn, err := tls.Dial("tcp", s.Addr(), &tls.Config{RootCAs: pool, ServerName: "api.openai.com"})
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
}

// TestCloseEnds has a client in every answer that never ends by itself.
func TestCloseEnds(t *testing.T) {
	gated := make(chan struct{}, 1)
	s := start(t, Options{Shape: OpenAI, Gate: func(ctx context.Context, _ int) error {
		gated <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}})
	var bodies []io.Reader
	for _, path := range []string{"sse?gap=1", "stall", "headers", "drip?bytes=1000000", "upgrade", "raw/second-answer", "huge?bytes=100000000000"} {
		conn := dialRaw(t, s)
		_, _ = io.WriteString(conn, "GET /hostile/"+path+" HTTP/1.1\r\nHost: x\r\n\r\n")
		if _, err := bufio.NewReaderSize(conn, 16).ReadByte(); err != nil {
			t.Fatal(path, err)
		}
		bodies = append(bodies, conn)
	}
	resp := do(t, clientOf(t, s, false), "POST", s.BaseURL()+"/chat/completions", chatBody("gpt-5", true), "Authorization", "Bearer "+key)
	<-gated
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	for _, b := range append(bodies, resp.Body) {
		_, _ = io.Copy(io.Discard, b) // ends, or the test times out
	}
	if _, err := http.Get(s.URL()); err == nil {
		t.Error("still listening")
	}
}

func dialRaw(t *testing.T, s *Server) *tls.Conn {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.CAPEM())
	conn, err := tls.Dial("tcp", s.Addr(), &tls.Config{RootCAs: pool, NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestNoKeyInRequests(t *testing.T) {
	s := start(t, Options{Shape: Anthropic})
	c := clientOf(t, s, true)
	do(t, c, "GET", s.URL()+"/"+key+"?q="+key, "", "Authorization", "Basic "+key, "X-Api-Key", key, "Cookie", "a="+key)
	b, err := json.Marshal(s.Requests())
	if err != nil || bytes.Contains(b, []byte(key)) || !bytes.Contains(b, []byte("{first}")) {
		t.Errorf("%s %v", b, err)
	}
}
