package smtpin

import (
	"errors"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/mailstore"
)

// budget lets so many copies be kept.
type budget struct {
	mu          sync.Mutex
	left        int
	asked, took int
}

func (b *budget) busy(netip.Prefix, string, string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked++
	return b.left < 1
}

func (b *budget) take(netip.Prefix, string, string) (func(), bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.left < 1 {
		return nil, false
	}
	b.left--
	b.took++
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.left++
		b.took--
	}, true
}

func (b *budget) is(t *testing.T, what string, took int) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.took != took {
		t.Errorf("%s: %d are counted, not %d", what, b.took, took)
	}
}

// TestCounted: what counts is a copy that is kept, and nothing that is said
// before.
func TestCounted(t *testing.T) {
	b := &budget{left: 3}
	m := &failing{}
	_, addr := serve(t, Config{Spool: m, Busy: b.busy, Take: b.take, Limits: Limits{MessagesPerMinute: 1000, Messages: 1000, Commands: 1000, Errors: 1000}})
	r := dial(t, addr)
	r.talk(hello()...)
	const second, third, fourth = "RCPT TO:<or-b@" + domain + ">\r\n", "RCPT TO:<or-c@" + domain + ">\r\n", "RCPT TO:<or-d@" + domain + ">\r\n"
	for range 40 { // to name them is no mail
		r.talk(from, "250", to, "250", second, "250", third, "250", "RSET\r\n", "250")
	}
	b.is(t, "recipients without a message", 0)
	asked := b.asked
	r.talk(from, "250", to, "250", to, "250", to, "250", "RSET\r\n", "250")
	if b.asked != asked+1 {
		t.Errorf("of one recipient, named thrice, it is asked %d times", b.asked-asked)
	}
	r.talk(from, "250", to, "250", second, "250", "DATA\r\n", "354", "a\n.\r\n", "550")
	b.is(t, "a message that is refused", 0)

	r = dial(t, addr)
	r.talk(hello(from, "250", to, "250", second, "250", third, "250", fourth, "250", "DATA\r\n", "354", plainMail2+".\r\n", "451 4.7.1")...)
	b.is(t, "a message of more copies than there may be", 0)
	if n := len(m.all()); n != 0 {
		t.Errorf("%d of its copies are kept", n)
	}
	m.errs = []error{nil, syscall.ENOSPC}
	r.talk(from, "250", to, "250", second, "250", third, "250", "DATA\r\n", "354", plainMail2+".\r\n", "452 4.3.1")
	b.is(t, "a message of which one copy was kept", 1)
	m.errs = []error{mailstore.ErrTooLarge}
	r.talk(from, "250", to, "250", "DATA\r\n", "354", plainMail2+".\r\n", "552")
	b.is(t, "one that was not kept", 1)
	r.talk(from, "250", to, "250", second, "250", "DATA\r\n", "354", plainMail2+".\r\n", "250")
	b.is(t, "all that there may be", 3)
	r.talk(from, "250", to, "451 4.7.1")
}

// TestRecipientsCount: a message to ten is ten of its peer's.
func TestRecipientsCount(t *testing.T) {
	m := &memory{}
	_, addr := serve(t, Config{Spool: m, Limits: Limits{MessagesPerMinute: 3}})
	r := dial(t, addr)
	steps := hello(from, "250")
	for _, x := range []struct{ local, want string }{{"a", "250"}, {"b", "250"}, {"a", "250"}, {"c", "250"}, {"d", "451 4.7.1"}, {"c", "250"}} {
		steps = append(steps, "RCPT TO:<"+x.local+"@"+domain+">\r\n", x.want)
	}
	r.talk(append(steps, "DATA\r\n", "354", plainMail2+".\r\n", "250", from, "451 4.7.1")...)
	if n := len(m.all()); n != 3 {
		t.Errorf("%d copies", n)
	}
}

// TestBytesOfAPeer: its copies count together, another's count apart, and what
// is larger than a limit is not refused for ever.
func TestBytesOfAPeer(t *testing.T) {
	m := &memory{}
	_, addr := serve(t, Config{Spool: m, Limits: Limits{BytesPerHour: 100_000}})
	body := "Subject: a\r\n\r\n" + strings.Repeat(strings.Repeat("x", 98)+"\r\n", 300) + ".\r\n" // 30 kB
	second := "RCPT TO:<or-b@" + domain + ">\r\n"
	r := dial(t, addr)
	r.talk(hello(from, "250", to, "250", second, "250", "DATA\r\n", "354", body, "250")...)
	r.talk("MAIL FROM:<a@c.example> SIZE=60000\r\n", "451 4.7.1") // told before it is sent
	r.talk(from, "250", to, "250", second, "250", "DATA\r\n", "354", body, "451 4.7.1")
	r.talk(from, "250", to, "250", "DATA\r\n", "354", body, "250")
	if n := len(m.all()); n != 3 {
		t.Errorf("%d copies", n)
	}
	large := "Subject: a\r\n\r\n" + strings.Repeat(strings.Repeat("x", 98)+"\r\n", 1500) + ".\r\n"
	r = dialFrom(t, addr, "127.0.0.2")
	r.talk(hello("MAIL FROM:<a@c.example> SIZE=150000\r\n", "250", to, "250", "DATA\r\n", "354", large, "250", "MAIL FROM:<a@c.example> SIZE=1000\r\n", "451 4.7.1")...)

	l := Limits{BytesPerHour: 3600}
	if err := l.fill(); err != nil {
		t.Fatal(err)
	}
	g, now := newGate(l), time.Now()
	p := netip.MustParsePrefix("192.0.2.1/32")
	if !g.enter(p, now) || !g.size(p, 3600, now) || g.size(p, 1, now) || g.may(p, 1, now) || !g.may(p, 0, now) {
		t.Error("an hour's bytes are not its bytes")
	}
	if now = now.Add(time.Minute); g.size(p, 61, now) || !g.size(p, 60, now) {
		t.Error("a minute's are not a sixtieth of them")
	}
}

// TestNoRoom: what there is no room for is not begun, and not kept.
func TestNoRoom(t *testing.T) {
	room := int64(1 << 20)
	var mu sync.Mutex
	set := func(n int64) { mu.Lock(); defer mu.Unlock(); room = n }
	m := &memory{}
	_, addr := serve(t, Config{Spool: m, Room: func(n int64) bool { mu.Lock(); defer mu.Unlock(); return n <= room }})
	second := "RCPT TO:<or-b@" + domain + ">\r\n"
	r := dial(t, addr)
	r.talk(hello("MAIL FROM:<a@c.example> SIZE=1048577\r\n", "452 4.3.1", "MAIL FROM:<a@c.example> SIZE=1000\r\n", "250")...)
	set(int64(2*len(plainMail2)) - 1)
	r.talk(to, "250", second, "250", "DATA\r\n", "354", plainMail2+".\r\n", "452 4.3.1", from, "250", to, "250")
	set(-1)
	r.talk("DATA\r\n", "354", plainMail2+".\r\n", "452 4.3.1", from, "452 4.3.1")
	if n := len(m.all()); n != 0 {
		t.Errorf("%d copies", n)
	}
	set(1 << 20)
	r.talk(from, "250", to, "250", "DATA\r\n", "354", plainMail2+".\r\n", "250")
	// Others may fill it while copies are written.
	asked := 0
	_, addr = serve(t, Config{Spool: m, Room: func(int64) bool { asked++; return asked < 4 }})
	dial(t, addr).talk(hello(from, "250", to, "250", second, "250", "DATA\r\n", "354", plainMail2+".\r\n", "452 4.3.1")...)
	if n := len(m.all()); n != 2 {
		t.Errorf("%d copies, where there was room for one", n-1)
	}
	if _, err := New(Config{Hostname: host, Domains: []string{domain}, Spool: m, Limits: Limits{BytesPerHour: -1}}); !errors.Is(err, ErrConfig) {
		t.Errorf("a negative limit: %v", err)
	}
}
