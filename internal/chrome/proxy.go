package chrome

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/litentry/agentkeys/internal/provision/recipe"
)

// proxy is the browser's only way out: CONNECT to port 443, for who knows the
// secret of this launch. The browser is asked for it as any proxy asks, and the
// tab's guard answers by the Fetch domain: it is in no argument, environment or
// file. Another process of this machine gets 407, whichever user it is of.
type proxy struct {
	l      net.Listener
	dial   func(ctx context.Context, network, address string) (net.Conn, error)
	site   netip.AddrPort
	listed func(host string) bool
	secret string
	auth   []byte // the whole value of Proxy-Authorization
	end    context.Context
	stop   context.CancelFunc
	all    sync.WaitGroup
	bytes  atomic.Int64

	mu        sync.Mutex
	hosts     map[string]struct{}
	strangers []net.Conn // that have not shown the secret, the oldest first
}

// maxStrangers is the number of connections that are waited for to show the
// secret. Anybody on the machine may open them; the browser opens 32 at most.
const maxStrangers = 64

// proxyUser is the name that goes with the secret.
const proxyUser = "agentkeys"

func newProxy(dial func(context.Context, string, string) (net.Conn, error), site netip.AddrPort, listed func(string) bool) (*proxy, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStart, err)
	}
	p := &proxy{l: l, dial: dial, site: site, listed: listed, secret: rand.Text(), hosts: map[string]struct{}{}}
	p.auth = []byte("Basic " + base64.StdEncoding.EncodeToString([]byte(proxyUser+":"+p.secret)))
	p.end, p.stop = context.WithCancel(context.Background())
	p.all.Go(p.accept)
	return p, nil
}

func (p *proxy) address() string { return p.l.Addr().String() }

func (p *proxy) contacted() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]string, 0, len(p.hosts))
	for h := range p.hosts {
		out = append(out, h)
	}
	slices.Sort(out)
	return out
}

func (p *proxy) close() {
	p.stop()
	_ = p.l.Close()
	p.all.Wait()
}

func (p *proxy) accept() {
	for {
		c, err := p.l.Accept()
		switch {
		case p.end.Err() != nil || errors.Is(err, net.ErrClosed):
			if c != nil {
				_ = c.Close()
			}
			return
		case err != nil: // there are no more files, for a moment
			select {
			case <-p.end.Done():
			case <-time.After(10 * time.Millisecond):
			}
			continue
		}
		p.meet(c)
		p.all.Go(func() {
			defer func() { _ = c.Close() }()
			defer p.know(c)
			defer context.AfterFunc(p.end, func() { _ = c.Close() })()
			p.serve(c)
		})
	}
}

// meet closes the oldest connection of a stranger where there are too many.
func (p *proxy) meet(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.strangers = append(p.strangers, c); len(p.strangers) > maxStrangers {
		_ = p.strangers[0].Close()
		p.strangers = p.strangers[1:]
	}
}

// know is for a connection that has shown the secret, or is over.
func (p *proxy) know(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.strangers = slices.DeleteFunc(p.strangers, func(s net.Conn) bool { return s == c })
}

// serve answers requests on a connection until one becomes a tunnel. The
// browser asks again on the same one after a 407.
func (p *proxy) serve(c net.Conn) {
	r := bufio.NewReader(io.LimitReader(c, 1<<16))
	for range 4 {
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		answer := func(status int, header string) bool {
			_, err := fmt.Fprintf(c, "HTTP/1.1 %d %s\r\n%sContent-Length: 0\r\n\r\n", status, http.StatusText(status), header)
			return err == nil
		}
		switch {
		case subtle.ConstantTimeCompare([]byte(req.Header.Get("Proxy-Authorization")), p.auth) != 1:
			if !answer(http.StatusProxyAuthRequired, "Proxy-Authenticate: Basic realm=\"agentkeys\"\r\n") || req.Method != http.MethodConnect {
				return
			}
			continue
		case req.Method != http.MethodConnect:
			answer(http.StatusForbidden, "")
			return
		}
		p.know(c)
		host, port, err := net.SplitHostPort(req.Host)
		to := req.Host
		if err == nil && p.site.IsValid() {
			to = p.site.String()
			// A stand-in plays bot checks too, which show in frames.
			if _, bot := recipe.BotCheckIn([]string{"https://" + host + "/"}); !bot && !p.listed(host) {
				port = ""
			}
		}
		if err != nil || port != "443" {
			answer(http.StatusForbidden, "")
			return
		}
		ctx, cancel := context.WithTimeout(p.end, 30*time.Second)
		up, err := p.out(ctx, to)
		cancel()
		if err != nil {
			answer(http.StatusBadGateway, "")
			return
		}
		p.mu.Lock()
		p.hosts[host] = struct{}{}
		p.mu.Unlock()
		if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n"); err == nil {
			p.tunnel(c, r, up)
		}
		_ = up.Close()
		return
	}
}

// out dials. A stand-in is on this machine, where netguard lets nobody go, and
// was named by the owner.
func (p *proxy) out(ctx context.Context, to string) (net.Conn, error) {
	if p.site.IsValid() {
		return new(net.Dialer).DialContext(ctx, "tcp", to)
	}
	return p.dial(ctx, "tcp", to)
}

func (p *proxy) tunnel(c net.Conn, r *bufio.Reader, up net.Conn) {
	_ = c.SetDeadline(time.Time{})
	defer context.AfterFunc(p.end, func() { _ = up.Close() })()
	// Only what was read ahead is in r; its limit is not for the tunnel.
	ahead, _ := r.Peek(r.Buffered())
	if _, err := up.Write(ahead); err != nil {
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		n, _ := io.Copy(up, c)
		p.bytes.Add(n)
		if w, ok := up.(interface{ CloseWrite() error }); ok {
			_ = w.CloseWrite()
		}
	}()
	n, _ := io.Copy(c, up)
	p.bytes.Add(n)
	_ = c.Close()
	<-done
}
