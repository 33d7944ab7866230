package chrome

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/netguard"
	"github.com/litentry/agentkeys/internal/provision/recipe"
)

// ask sends the head of a request to a proxy and returns the status.
func ask(t *testing.T, p *proxy, head string) int {
	t.Helper()
	c, err := net.Dial("tcp", p.address())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_, _ = io.WriteString(c, head+"\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: http.MethodConnect})
	if err != nil {
		return 0
	}
	return res.StatusCode
}

func TestProxyRefuses(t *testing.T) {
	s := newSite(t)
	dialled := ""
	guard := netguard.New().DialContext(startTime)
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		dialled = address
		return guard(ctx, network, address)
	}
	p, err := newProxy(dial, netip.AddrPort{}, func(string) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	auth := "\r\nProxy-Authorization: " + string(p.auth)
	for name, c := range map[string]struct {
		head    string
		want    int
		dialled bool
	}{
		"no secret":        {"CONNECT " + shop + ":443 HTTP/1.1\r\nHost: x", 407, false},
		"another secret":   {"CONNECT " + shop + ":443 HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic YWdlbnRrZXlzOng=", 407, false},
		"no CONNECT":       {"GET http://" + shop + ":443/ HTTP/1.1\r\nHost: " + shop + ":443" + auth, 403, false},
		"another port":     {"CONNECT " + shop + ":80 HTTP/1.1\r\nHost: x" + auth, 403, false},
		"mail":             {"CONNECT " + shop + ":25 HTTP/1.1\r\nHost: x" + auth, 403, false},
		"this machine":     {"CONNECT 127.0.0.1:443 HTTP/1.1\r\nHost: x" + auth, 502, true},
		"this machine, v6": {"CONNECT [::1]:443 HTTP/1.1\r\nHost: x" + auth, 502, true},
		"by name":          {"CONNECT localhost:443 HTTP/1.1\r\nHost: x" + auth, 502, true},
		"private":          {"CONNECT 10.0.0.1:443 HTTP/1.1\r\nHost: x" + auth, 502, true},
		"metadata":         {"CONNECT 169.254.169.254:443 HTTP/1.1\r\nHost: x" + auth, 502, true},
		"odd spelling":     {"CONNECT 2130706433:443 HTTP/1.1\r\nHost: x" + auth, 502, true},
		"nonsense":         {"HELO", 0, false},
	} {
		dialled = ""
		if got := ask(t, p, c.head); got != c.want || (dialled != "") != c.dialled {
			t.Errorf("%s: %d, dialled %q", name, got, dialled)
		}
	}
	if got := p.contacted(); len(got) > 0 {
		t.Errorf("contacted: %q", got)
	}

	// A stand-in is all there is.
	q, err := newProxy(dial, s.addr, func(h string) bool { return h == shop })
	if err != nil {
		t.Fatal(err)
	}
	defer q.close()
	auth = "\r\nProxy-Authorization: " + string(q.auth)
	for host, want := range map[string]int{shop: 200, evil: 403, "127.0.0.1": 403} {
		if got := ask(t, q, "CONNECT "+host+":443 HTTP/1.1\r\nHost: x"+auth); got != want {
			t.Errorf("stand-in: %s: %d", host, got)
		}
	}
	if got := q.contacted(); fmt.Sprint(got) != "["+shop+"]" {
		t.Errorf("contacted: %q", got)
	}
}

// poor is a listener of a process that has no files left, at times.
type poor struct {
	net.Listener
	times int
}

func (l *poor) Accept() (net.Conn, error) {
	if l.times++; l.times%2 == 1 {
		return nil, syscall.EMFILE
	}
	return l.Listener.Accept()
}

// Others on the machine may connect as often as they like.
func TestStrangers(t *testing.T) {
	s := newSite(t)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{l: &poor{Listener: l}, site: s.addr, listed: func(string) bool { return true }, auth: []byte("Basic x"), hosts: map[string]struct{}{}}
	p.end, p.stop = context.WithCancel(t.Context())
	p.all.Go(p.accept)
	defer p.close()
	head := "CONNECT " + shop + ":443 HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic x\r\n\r\n"
	dial := func() net.Conn {
		c, err := net.Dial("tcp4", p.address())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetDeadline(time.Now().Add(20 * time.Second)) // of a test that fails
		return c
	}
	known, first := dial(), dial()
	_, _ = io.WriteString(known, head)
	answer := bufio.NewReader(known)
	if line, err := answer.ReadString('\n'); err != nil || !strings.Contains(line, "200") {
		t.Fatalf("%q, %v", line, err)
	}
	for range maxStrangers + 10 {
		dial()
	}
	if _, err := first.Read(make([]byte, 1)); err == nil {
		t.Error("the oldest stranger was told something")
	}
	if got := ask(t, p, strings.TrimSuffix(head, "\r\n\r\n")); got != http.StatusOK {
		t.Errorf("the browser gets %d", got)
	}
	// What is known goes on.
	_, _ = answer.ReadString('\n')
	if err := tls.Client(joined{answer, known}, &tls.Config{ServerName: shop, InsecureSkipVerify: true}).Handshake(); err != nil { //nolint:gosec // Whose certificate it is matters elsewhere.
		t.Errorf("the tunnel: %v", err)
	}
}

// joined is a connection of which something was read ahead.
type joined struct {
	io.Reader
	net.Conn
}

func (j joined) Read(b []byte) (int, error) { return j.Reader.Read(b) }

// A live browser reaches nothing that is not public, whatever its name says.
func TestPrivateAddresses(t *testing.T) {
	s := newSite(t)
	_, port, _ := net.SplitHostPort(s.addr.String())
	guard := netguard.New().DialContext(startTime)
	r := launch(t, s, func(o *Options) {
		o.Site, o.CAPEM, o.Hosts = netip.AddrPort{}, nil, []string{shop, "localhost"}
		// The name of a listed host leads to this machine.
		o.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return guard(ctx, network, "127.0.0.1:"+port)
		}
	})
	for _, host := range []string{shop, "localhost"} {
		if err := r.Open(t.Context(), "https://"+host+"/"); !errors.Is(err, recipe.ErrLoad) {
			t.Errorf("%s: %v", host, err)
		}
	}
	if len(s.visits) > 0 || len(r.Contacted()) > 0 {
		t.Errorf("visited %q, contacted %q", s.visits, r.Contacted())
	}
}

// Sub-resources are free, but by https and the proxy alone.
func TestSubresources(t *testing.T) {
	s := newSite(t)
	plain, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = plain.Close() }()
	reached := make(chan struct{}, 10)
	go func() {
		for {
			c, err := plain.Accept()
			if err != nil {
				return
			}
			reached <- struct{}{}
			_ = c.Close()
		}
	}()
	at := plain.Addr().String()
	s.handle(login+"/data", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		_, _ = io.WriteString(w, "data")
	})
	s.page(shop+"/", `<p id=out>-</p><script>
		const tries = [fetch('https://`+login+`/data').then(r=>r.text()), fetch('http://`+at+`/'), fetch('https://`+at+`/'), fetch('https://`+evil+`/'),
			new Promise((y,n)=>{const w=new WebSocket('ws://`+at+`/');w.onopen=y;w.onerror=n}), new Promise((y,n)=>{const w=new WebSocket('wss://`+at+`/');w.onopen=y;w.onerror=n}),
			new Promise((y,n)=>{const i=new Image();i.onload=y;i.onerror=n;i.src='http://`+at+`/i'}), new Promise((y,n)=>{const i=new Image();i.onload=y;i.onerror=n;i.src='http://localhost:`+at[strings.LastIndex(at, ":")+1:]+`/i'})];
		Promise.allSettled(tries).then(l => out.textContent = l.map(x => x.status == 'fulfilled' ? 'yes' : 'no').join(' '))</script>`)
	r := launch(t, s)
	r.open(shop + "/")
	var got string
	r.until("the answers", func(recipe.View) bool { got = r.read("#out"); return got != "-" })
	if got != "yes no no no no no no no" {
		t.Errorf("the page reached %q", got)
	}
	if len(reached) > 0 {
		t.Error("the browser went past the proxy")
	}
	if c := fmt.Sprint(r.Contacted()); c != "["+login+" "+shop+"]" {
		t.Errorf("contacted: %s", c)
	}
}

// The proxy's secret is for our proxy: another one, or a server, gets none.
func TestChallenges(t *testing.T) {
	s := newSite(t)
	var heard []string
	s.handle(shop+"/basic", func(w http.ResponseWriter, r *http.Request) {
		heard = append(heard, r.Header.Get("Authorization")+r.Header.Get("Proxy-Authorization"))
		w.Header().Set("WWW-Authenticate", `Basic realm="agentkeys"`)
		w.Header().Set("Proxy-Authenticate", `Basic realm="agentkeys"`)
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, "<p>who?")
	})
	r := launch(t, s)
	_ = r.Open(t.Context(), "https://"+shop+"/basic")
	for _, h := range heard {
		if h != "" {
			t.Errorf("a server was told %q", h)
		}
	}
	// And the tunnel really is one: the certificate is the server's.
	c, err := net.Dial("tcp", r.proxy.address())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_, _ = fmt.Fprintf(c, "CONNECT %s:443 HTTP/1.1\r\nHost: x\r\nProxy-Authorization: %s\r\n\r\n", shop, r.proxy.auth)
	head := make([]byte, len("HTTP/1.1 200 OK\r\n\r\n"))
	if _, err := io.ReadFull(c, head); err != nil || !strings.HasPrefix(string(head), "HTTP/1.1 200") {
		t.Fatalf("%q, %v", head, err)
	}
	tc := tls.Client(c, &tls.Config{ServerName: shop, InsecureSkipVerify: true}) //nolint:gosec // The certificate is what is looked at.
	if err := tc.Handshake(); err != nil || tc.ConnectionState().PeerCertificates[0].DNSNames[0] != shop {
		t.Errorf("the tunnel: %v", err)
	}
}
