package inject

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/secret"
)

const (
	placeholder = "agentkeys-placeholder-0001"
	canary      = "sk-or-v1-c0ffee5eedb00c5c0ffee5eedb00c5c0ffee5eedb00c5c0ffee5eedb00c5aa"
)

var (
	theService = agentkeys.Must(agentkeys.ParseService("openrouter"))
	theAgent   = agentkeys.Must(agentkeys.ParseAgent("researcher"))
	theWallet  = agentkeys.WalletFrom([20]byte{1})
	theMaster  = agentkeys.WalletFrom([20]byte{2})
)

// backend is a Backend over grant's own decider, for one agent and its grants.
type backend struct {
	mu       sync.Mutex
	routes   map[agentkeys.Service]*Route
	grant    *grant.Grant
	decider  *grant.Decider
	secret   secret.Value
	lend     func() error // asked before the decision
	identify error
	routeErr error

	presented []string
	lent      []grant.Request
	outcomes  []grant.Outcome
	settled   chan grant.Outcome
	allowed   atomic.Int64
}

type nowhere struct{}

func (nowhere) Record(context.Context, grant.Event) error { return nil }
func (nowhere) Note(grant.Event) error                    { return nil }

func newBackend(routes ...*Route) *backend {
	b := &backend{
		routes: map[agentkeys.Service]*Route{}, secret: secret.FromString(canary),
		decider: grant.NewDecider(grant.NewLedger(), nowhere{}), settled: make(chan grant.Outcome, 10000),
		grant: &grant.Grant{ID: "g1", Master: theMaster, Wallet: theWallet, Agent: theAgent, Svc: theService, Created: time.Unix(1, 0), Expires: time.Now().Add(time.Hour)},
	}
	for _, r := range routes {
		b.routes[r.Service] = r
	}
	return b
}

func (b *backend) Identify(_ *http.Request, presented []string) (Caller, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.presented = append([]string(nil), presented...)
	if b.identify != nil {
		return Caller{}, b.identify
	}
	for _, s := range presented {
		if s == placeholder {
			return Caller{theAgent, theWallet}, nil
		}
	}
	return Caller{}, ErrUnknownCaller
}

func (b *backend) Route(s agentkeys.Service) (*Route, error) {
	if b.routeErr != nil {
		return nil, b.routeErr
	}
	if r := b.routes[s]; r != nil {
		return r, nil
	}
	return nil, ErrUnknownService
}

func (b *backend) Lend(ctx context.Context, c Caller, r *Route, req grant.Request) (Loan, error) {
	b.mu.Lock()
	b.lent = append(b.lent, req)
	lend, v := b.lend, b.secret
	b.mu.Unlock()
	if lend != nil {
		if err := lend(); err != nil {
			return Loan{}, err
		}
	}
	permit, err := b.decider.Use(ctx, c.Agent, c.Wallet, r.Service, b.grant, r.Policy, req)
	if err != nil {
		return Loan{}, err
	}
	b.allowed.Add(1)
	return Loan{Permit: permit, Secret: v}, nil
}

func (b *backend) Settle(p grant.Permit, o grant.Outcome) {
	b.mu.Lock()
	b.outcomes = append(b.outcomes, o)
	b.mu.Unlock()
	_ = b.decider.Settle(p, time.Now(), o)
	b.settled <- o
}

func (b *backend) outcome(t testing.TB) grant.Outcome {
	t.Helper()
	select {
	case o := <-b.settled:
		return o
	case <-time.After(10 * time.Second):
		t.Fatal("nothing was settled")
		return grant.Outcome{}
	}
}

// permits is how many uses were allowed.
func (b *backend) permits() int { return int(b.allowed.Load()) }

func (b *backend) uses() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.lent)
}

// upstream starts a TLS server, over HTTP/2 or HTTP/1.1, and the route to it.
func upstream(t testing.TB, h2 bool, h http.HandlerFunc) *Route {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.EnableHTTP2 = h2
	srv.Config.ErrorLog = NewServer(nil).ErrorLog
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return routeTo(t, srv.Listener.Addr(), srv.Certificate())
}

func routeTo(t testing.TB, addr net.Addr, cert *x509.Certificate) *Route {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	tr := NewTransport(TransportOptions{Roots: roots, Allow: []netip.AddrPort{netip.MustParseAddrPort(addr.String())}})
	t.Cleanup(tr.CloseIdleConnections)
	return &Route{
		Service: theService, Base: parseURL("https://" + addr.String() + "/api/v1"), Transport: tr,
		Place: []Placement{{Header: "Authorization", Prefix: "Bearer "}}, Policy: allowAll(),
	}
}

func allowAll() grant.Policy {
	rules, err := grant.ParseRules([]string{"* /**"})
	if err != nil {
		panic(err)
	}
	return grant.Policy{Allow: rules}
}

func parseURL(s string) *url.URL {
	u, err := url.Parse(s)
	if err != nil {
		panic(err)
	}
	return u
}

// rawUpstream is a TLS server that reads one request a connection and answers
// with exactly the bytes that script writes.
func rawUpstream(t testing.TB, script func(r *http.Request, c net.Conn)) *Route {
	t.Helper()
	donor := httptest.NewUnstartedServer(nil)
	donor.StartTLS()
	cert := donor.TLS.Certificates[0]
	leaf := donor.Certificate()
	donor.Close()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer func() { _ = c.Close() }()
				_ = c.SetDeadline(time.Now().Add(20 * time.Second))
				r, err := http.ReadRequest(bufio.NewReader(c))
				if err == nil {
					script(r, c)
				}
			})
		}
	})
	return routeTo(t, l.Addr(), leaf)
}

// serve starts a proxy over b on a loopback listener and returns its address.
func serve(t testing.TB, b Backend, o Options) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if o.Hosts, err = LoopbackHosts(l.Addr()); err != nil {
		t.Fatal(err)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(testLog{t}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	p := New(b, o)
	srv := NewServer(p)
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close(); p.ForgetAll() })
	return l.Addr().String()
}

// serveProxy starts p as it is on a loopback listener.
func serveProxy(t testing.TB, p *Proxy) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := NewServer(p)
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close(); p.ForgetAll() })
	return l.Addr().String()
}

type testLog struct{ t testing.TB }

func (l testLog) Write(b []byte) (int, error) {
	if hits := findCanary(b); hits != "" {
		l.t.Errorf("the log has the secret as %s: %s", hits, b)
	}
	return len(b), nil
}

// client is an http.Client that does not hide anything.
func client(t testing.TB) *http.Client {
	tr := &http.Transport{DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func newRequest(t testing.TB, method, url string, body io.Reader) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+placeholder)
	return r
}

// do sends r and returns the answer with its whole body, which has been
// searched for the secret.
func do(t testing.TB, r *http.Request) (*http.Response, string) {
	t.Helper()
	res, err := client(t).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("reading the body: %v (after %q)", err, body)
	}
	noCanary(t, res, body)
	return res, string(body)
}

func get(t testing.TB, addr, path string) (*http.Response, string) {
	t.Helper()
	return do(t, newRequest(t, "GET", "http://"+addr+path, nil))
}

// raw sends bytes and returns all that comes back: the first answer, and then
// whatever follows it until the proxy closes.
func raw(t testing.TB, addr, request string) string {
	t.Helper()
	return exchangeBytes(t, addr, request, false)
}

// rawClosed is raw for a request that the agent breaks off.
func rawClosed(t testing.TB, addr, request string) string {
	t.Helper()
	return exchangeBytes(t, addr, request, true)
}

func exchangeBytes(t testing.TB, addr, request string, closed bool) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, request); err != nil {
		return ""
	}
	if closed {
		_ = c.(*net.TCPConn).CloseWrite()
	}
	var out bytes.Buffer
	tee := bufio.NewReader(io.TeeReader(c, &out))
	method, _, _ := strings.Cut(request, " ")
	if res, err := http.ReadResponse(tee, &http.Request{Method: method}); err == nil {
		_, _ = io.Copy(io.Discard, res.Body)
	}
	_ = c.(*net.TCPConn).CloseWrite()
	_, _ = io.Copy(io.Discard, tee)
	if hits := findCanary(out.Bytes()); hits != "" {
		t.Errorf("the answer has the secret as %s", hits)
	}
	return out.String()
}

// answers counts the answers in a connection's bytes.
func answers(s string) int { return len(answerStart.FindAllString(s, -1)) }

var answerStart = regexp.MustCompile(`HTTP/1\.1 [0-9]{3} `)

func statusOf(answer string) int {
	var status int
	_, _ = fmt.Sscanf(answer, "HTTP/1.1 %d", &status)
	return status
}

// codeOf finds the problem code in an answer.
func codeOf(answer string) string {
	_, rest, ok := strings.Cut(answer, `"code":"`)
	if !ok {
		return ""
	}
	c, _, _ := strings.Cut(rest, `"`)
	return c
}

// settle waits until the number of goroutines is back to what it was.
func settleGoroutines(t *testing.T, before int) {
	t.Helper()
	for range 2000 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	buf := make([]byte, 1<<20)
	t.Errorf("%d goroutines before, %d after:\n%s", before, runtime.NumGoroutine(), buf[:runtime.Stack(buf, true)])
}
