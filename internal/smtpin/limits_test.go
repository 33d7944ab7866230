package smtpin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/mailstore"
)

// dialFrom is dial from another address of loopback.
func dialFrom(t testing.TB, addr, from string) *raw {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.Dial("tcp", addr)
	if err != nil {
		t.Skipf("loopback is one address only here: %v", err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	return dialled(t, c)
}

func TestConnections(t *testing.T) {
	s, addr := serve(t, Config{Spool: &memory{}, Limits: Limits{Connections: 3, ConnectionsPerPeer: 2}})
	a := dial(t, addr)
	a.talk("", "220")
	b := dial(t, addr)
	b.talk("", "220")
	dial(t, addr).talk("", "421 4.7.0", "", "EOF")
	c := dialFrom(t, addr, "127.0.0.2")
	c.talk("", "220")
	dialFrom(t, addr, "127.0.0.3").talk("", "421 4.7.0", "", "EOF")
	a.talk("QUIT\r\n", "221", "", "EOF")
	for range 1000 { // until the place is free
		d := dialFrom(t, addr, "127.0.0.3")
		if strings.HasPrefix(d.hear(), "220") {
			d.talk("QUIT\r\n", "221")
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.gate.mu.Lock()
	defer s.gate.mu.Unlock()
	t.Errorf("the place of a connection that has ended is not free: %d", s.gate.open)
}

// TestPeers: an IPv4 address, however written, or an IPv6 /64 is one peer, and
// the table of them is bounded.
func TestPeers(t *testing.T) {
	of := func(s string) string {
		p, _ := peerOf(&net.TCPAddr{IP: net.ParseIP(s)})
		return p.String()
	}
	for in, want := range map[string]string{"192.0.2.1": "192.0.2.1/32", "::ffff:192.0.2.1": "192.0.2.1/32",
		"2001:db8::1": "2001:db8::/64", "2001:db8:0:0:ffff::1": "2001:db8::/64", "2001:db8:0:1::1": "2001:db8:0:1::/64"} {
		if got := of(in); got != want {
			t.Errorf("%s is %s, want %s", in, got, want)
		}
	}
	l := Limits{MessagesPerMinute: 2}
	if err := l.fill(); err != nil {
		t.Fatal(err)
	}
	g := newGate(l)
	now := time.Now()
	at := func(i int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
	}
	busy := at(1 << 20)
	if !g.enter(busy, now) || !g.message(busy, now) || !g.message(busy, now) || g.message(busy, now) {
		t.Fatal("two messages a minute are not two")
	}
	for i := range 3 * maxPeers {
		if !g.enter(at(i), now) {
			t.Fatal("refused")
		}
		g.message(at(i), now) // so that it cannot be forgotten for nothing
		g.leave(at(i))
	}
	if len(g.peers) > maxPeers || g.open != 1 {
		t.Errorf("%d peers, %d connections", len(g.peers), g.open)
	}
	if g.message(busy, now) {
		t.Error("a peer that is connected was forgotten")
	}
	if now = now.Add(31 * time.Second); !g.message(busy, now) || g.message(busy, now) {
		t.Error("half a minute is not one message")
	}
}

func TestRates(t *testing.T) {
	m := &memory{}
	_, addr := serve(t, Config{Spool: m, Limits: Limits{Messages: 2, MessagesPerMinute: 5}})
	one := []string{from + to + "DATA\r\n", "250", "", "250", "", "354", ".\r\n", "250"}
	for range 2 {
		r := dial(t, addr)
		r.talk(append(append(hello(one...), one...), from, "421 4.7.0")...)
		_ = r.conn.Close()
	}
	dial(t, addr).talk(append(hello(one...), from, "451 4.7.1")...)
	// As many as before are one address's: another's are not fewer for it.
	dialFrom(t, addr, "127.0.0.2").talk(hello(one...)...)
	if n := len(m.all()); n != 6 {
		t.Errorf("%d messages", n)
	}
	busy := 0
	_, addr = serve(t, Config{Spool: m, Busy: func(_ netip.Prefix, local, d string) bool {
		busy++
		return local+"@"+d == rcpt
	}, Limits: Limits{Commands: 20}})
	dial(t, addr).talk(started(to, "451 4.7.1", "DATA\r\n", "502", "RCPT TO:<x@"+domain+">\r\n", "250")...)
	if busy != 2 {
		t.Errorf("asked %d times", busy)
	}
	steps := hello()
	for range 18 {
		steps = append(steps, "NOOP\r\n", "250")
	}
	dial(t, addr).talk(append(steps, "", "421 4.7.0", "", "EOF")...)
	// Those for mail do not count: postmaster's is taken.
	steps = hello()
	for range 10 {
		steps = append(steps, from+"RCPT TO:<postmaster@"+domain+">\r\nDATA\r\n", "250", "", "250", "", "354", ".\r\n", "250")
	}
	dial(t, addr).talk(append(steps, "QUIT\r\n", "221")...)
}

// TestSlow: who says nothing, or too little, is not waited for.
func TestSlow(t *testing.T) {
	drip := func(r *raw, what string, every time.Duration) {
		go func() {
			for {
				if _, err := io.WriteString(r.conn, what); err != nil {
					return
				}
				time.Sleep(every)
			}
		}()
	}
	for _, c := range []struct {
		name  string
		l     func(short time.Duration) Limits
		steps []string
		drip  string
		want  string
	}{
		{"nothing said", idle, nil, "", "421 4.4.2"},
		{"a command, byte by byte", idle, hello(), "N", "421 4.4.2"},
		{"a message stops", idle, data("a: b\r\n", ""), "", "421 4.4.2"},
		{"a message, line by line", grace, data(), "x\r\n", "421 4.4.2"},
		{"a chunk stops", idle, started(to, "250", "BDAT 100\r\nabc", ""), "", "421 4.4.2"},
		{"a chunk, byte by byte", grace, started(to, "250", "BDAT 1000000\r\n", ""), "x", "421 4.4.2"},
		{"chunks, each by halves", grace, started(to, "250", "BDAT 2\r\nx", ""), "xBDAT 2\r\nx", "421 4.4.2"},
		{"all too long", func(short time.Duration) Limits { return Limits{Total: short, Commands: 1 << 30} }, hello(), "NOOP\r\n", ""},
		{"a handshake that does not come", idle, hello("STARTTLS\r\n", "220"), "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := &memory{}
			if c.steps == nil {
				c.steps = []string{"", "220"}
			}
			// A machine may be too busy to come to the slow part in time: then
			// there is more of it.
			var r *raw
			for short := 200 * time.Millisecond; ; short *= 4 {
				_, addr := serve(t, Config{Spool: m, Limits: c.l(short), TLS: serverTLS()})
				if r = dial(t, addr); r.comes(c.steps) {
					if c.drip != "" {
						drip(r, c.drip, short/10)
					}
					break
				}
				if short > 5*time.Second {
					t.Fatal("it hangs up at once")
				}
			}
			rest, err := io.ReadAll(r.r) // it ends
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				t.Fatal("it is waited for")
			}
			if !strings.Contains(string(rest), c.want) && err == nil {
				t.Errorf("said was %q", rest)
			}
			if len(m.all()) != 0 {
				t.Error("stored")
			}
		})
	}
}

func idle(short time.Duration) Limits  { return Limits{Idle: short} }
func grace(short time.Duration) Limits { return Limits{Grace: short, Rate: 1 << 30} }

// comes is talk for when it may not: it reports whether all went as it should.
func (r *raw) comes(steps []string) bool {
	r.t.Helper()
	for i := 0; i < len(steps); i += 2 {
		if steps[i] != "" {
			r.say(steps[i])
		}
		if want := steps[i+1]; want != "" && !strings.HasPrefix(r.hear(), want) {
			return false
		}
	}
	return true
}

// TestEndless: a message without an end is not read for ever, nor kept.
func TestEndless(t *testing.T) {
	dir := t.TempDir()
	_, addr := serve(t, Config{Spool: &memory{}, TempDir: dir, MaxMessage: 64 << 10})
	r := dial(t, addr)
	r.talk(data()...)
	line := []byte(strings.Repeat("x", 998) + "\r\n")
	n := 0
	for ; n < 64<<20; n += len(line) {
		if _, err := r.conn.Write(line); err != nil {
			break
		}
	}
	if n >= 64<<20 {
		t.Errorf("%d bytes are read", n)
	}
}

// failing is a spool that fails first.
type failing struct {
	memory
	errs []error
	mu   sync.Mutex
}

func (f *failing) Write(ctx context.Context, id agentkeys.MessageID, r io.Reader, size int64) error {
	f.mu.Lock()
	var err error
	if len(f.errs) > 0 {
		err, f.errs = f.errs[0], f.errs[1:]
	}
	f.mu.Unlock()
	if err != nil {
		return err
	}
	return f.memory.Write(ctx, id, r, size)
}

// TestSpoolFails: what is not kept is not answered by 250, and says whether to
// come again.
func TestSpoolFails(t *testing.T) {
	full := &fs.PathError{Op: "write", Path: "/secret/place", Err: syscall.ENOSPC}
	for _, c := range []struct {
		name string
		errs []error
		want string
		n    int
	}{
		{"anything", []error{errors.New("/secret/place is on fire")}, "451 4.3.0", 0},
		{"no room", []error{full}, "452 4.3.1", 0},
		{"no room for this user", []error{fmt.Errorf("x: %w", syscall.EDQUOT)}, "452 4.3.1", 0},
		{"too large", []error{mailstore.ErrTooLarge}, "552 5.3.4", 0},
		{"an id that is taken", []error{mailstore.ErrExists, mailstore.ErrExists}, "250", 2},
		{"ids that are taken", []error{mailstore.ErrExists, mailstore.ErrExists, mailstore.ErrExists}, "451 4.3.0", 0},
		{"the second", []error{nil, full}, "452 4.3.1", 1},
	} {
		m := &failing{errs: c.errs}
		_, addr := serve(t, Config{Spool: m})
		r := dial(t, addr)
		r.talk(started(to, "250", "RCPT TO:<postmaster@"+domain+">\r\n", "250", "DATA\r\n", "354")...)
		r.say(plainMail2 + ".\r\n")
		if got := r.hear(); !strings.HasPrefix(got, c.want) || strings.Contains(got, "secret") {
			t.Errorf("%s: got %q, want %s", c.name, got, c.want)
		}
		if n := len(m.all()); n != c.n {
			t.Errorf("%s: %d stored, want %d", c.name, n, c.n)
		}
		// The connection is as good as before.
		r.talk(from+to+"DATA\r\n", "250", "", "250", "", "354", plainMail2+".\r\n", "250")
	}
	_, addr := serve(t, Config{Spool: &memory{}, TempDir: "/nonexistent"})
	dial(t, addr).talk(data(plainMail2+".\r\n", "451 4.3.0")...)
	if !errors.Is(storage(full), errNoSpace) || strings.Contains(storage(fs.ErrPermission).Error(), "/") {
		t.Error("a full disk is not told from others")
	}
}

// TestTempFiles: a message that comes in is in no directory by name.
func TestTempFiles(t *testing.T) {
	dir := t.TempDir()
	_, addr := serve(t, Config{Spool: &memory{}, TempDir: dir})
	r := dial(t, addr)
	r.talk(data(plainMail2, "")...)
	for range 5 {
		if entries, err := os.ReadDir(dir); err != nil || len(entries) > 1 {
			t.Errorf("%v %v", entries, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
	r.talk(".\r\n", "250")
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("%v %v", entries, err)
	}
}

// TestShutdown: a message that is coming in is taken, and nothing else.
func TestShutdown(t *testing.T) {
	before := runtime.NumGoroutine()
	m := &memory{}
	s, addr := serve(t, Config{Spool: m, TLS: serverTLS(), Deliver: func(context.Context, agentkeys.MessageID, string) error { return nil }})
	idle := dial(t, addr)
	idle.talk(hello()...)
	safe := dial(t, addr)
	safe.talk(hello("STARTTLS\r\n", "220")...)
	safe, err := safe.secure(clientTLS())
	if err != nil {
		t.Fatal(err)
	}
	safe.talk(ehlo, "250")
	open := dial(t, addr)
	open.talk(data("Subject: a\r\n", "")...)
	done := make(chan error)
	go func() { done <- s.Shutdown(t.Context()) }()
	idle.talk("", "421 4.3.2", "", "EOF")
	safe.talk("", "421 4.3.2", "", "EOF")
	select {
	case err := <-done:
		t.Fatalf("shut down too early: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	if c, err := net.Dial("tcp", addr); err == nil {
		if b, _ := io.ReadAll(c); len(b) > 0 {
			t.Errorf("a new connection is greeted: %q", b)
		}
		_ = c.Close()
	}
	open.talk("\r\nbody\r\n.\r\n", "250", "", "421 4.3.2", "", "EOF")
	if err := <-done; err != nil {
		t.Error(err)
	}
	if len(m.all()) != 1 {
		t.Errorf("%d stored", len(m.all()))
	}
	if err := s.Serve(failListener{}); err != nil {
		t.Errorf("Serve after Shutdown: %v", err)
	}

	s, addr = serve(t, Config{Spool: m, Deliver: func(ctx context.Context, _ agentkeys.MessageID, _ string) error { <-ctx.Done(); return ctx.Err() }})
	stuck := dial(t, addr)
	stuck.talk(data(".\r\n", "250", from+to+"DATA\r\n", "250", "", "250", "", "354", "Subject: a\r\n", "")...)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown: %v", err)
	}
	stuck.talk("", "EOF")
	for range 2000 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	b := make([]byte, 1<<16)
	t.Errorf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, b[:runtime.Stack(b, true)])
}

type failListener struct{ net.Listener }

func (failListener) Close() error { return nil }

// TestConfig: what makes no sense is refused.
func TestConfig(t *testing.T) {
	good := func() Config { return Config{Hostname: host, Domains: []string{domain}, Spool: &memory{}} }
	for name, spoil := range map[string]func(*Config){
		"host":      func(c *Config) { c.Hostname = "a b" },
		"no host":   func(c *Config) { c.Hostname = "" },
		"no domain": func(c *Config) { c.Domains = nil },
		"domain":    func(c *Config) { c.Domains = []string{"a..b"} },
		"domain 2":  func(c *Config) { c.Domains = []string{"a)b"} },
		"spool":     func(c *Config) { c.Spool = nil },
		"large":     func(c *Config) { c.MaxMessage = MaxMessage + 1 },
		"small":     func(c *Config) { c.MaxMessage = 1 },
		"limit":     func(c *Config) { c.Limits.Commands = -1 },
		"time":      func(c *Config) { c.Limits.Idle = -1 },
		"header":    func(c *Config) { c.Limits.Header = 1 << 20 },
	} {
		c := good()
		spoil(&c)
		if _, err := New(c); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
	c := good()
	c.Domains = []string{"M\u00fcller.Example."}
	s, err := New(c)
	if err != nil || !s.domains["xn--mller-kva.example"] {
		t.Errorf("%v %v", s, err)
	}
}

// TestLog: the log has neither addresses nor texts, nor where a peer is.
func TestLog(t *testing.T) {
	var log bytes.Buffer
	var mu sync.Mutex
	logger := slog.New(slog.NewTextHandler(writer(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return log.Write(p)
	}), &slog.HandlerOptions{Level: slog.LevelDebug}))
	m := &failing{errs: []error{errors.New("secret@place"), nil, mailstore.ErrTooLarge}}
	s, addr := serve(t, Config{Spool: m, Log: logger, Accept: func(local, _ string) bool {
		if local == "panic" {
			panic("oh no@c.example")
		}
		return strings.HasPrefix(local, "or-")
	}, Deliver: func(context.Context, agentkeys.MessageID, string) error { return errors.New("secret@place") }})
	for range 3 {
		dial(t, addr).talk(data("Subject: words\r\n\r\n.\r\n", "")...)
	}
	dial(t, addr).talk(started("RCPT TO:<nobody@"+domain+">\r\n", "550", "RCPT TO:<x@elsewhere.example>\r\n", "550")...)
	dial(t, addr).talk(started("RCPT TO:<panic@"+domain+">\r\n", "421", "", "EOF")...)
	dial(t, addr).talk(data("words\n", "550")...)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	out := log.String()
	for _, secret := range []string{"@", "127.0.0.1", "c.example", wallet, "words", "nobody"} {
		if strings.Contains(out, secret) {
			t.Errorf("%q in\n%s", secret, out)
		}
	}
	for _, want := range []string{"mail: received", "mail: refused", "mail: not taken", "mail: not delivered yet", "mail: panic", "peer=loopback", "code=\"550 5.1.1\""} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }
