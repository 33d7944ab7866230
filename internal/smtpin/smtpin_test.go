package smtpin

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/smtp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/mailhead"
	"github.com/litentry/agentkeys/internal/mailstore"
)

const (
	host   = "mx.agentkeys.test"
	domain = "agentkeys.test"
	wallet = "0x00000000000000000000000000000000000000aa"
	rcpt   = "or-" + wallet + "-170000000012345678@" + domain
)

// memory is a spool for looking at.
type memory struct {
	mu   sync.Mutex
	ids  []string
	mail map[string][]byte
	err  error
}

func (m *memory) Write(_ context.Context, id agentkeys.MessageID, r io.Reader, size int64) error {
	b, err := io.ReadAll(r)
	if err != nil || int64(len(b)) != size {
		return errors.New("not the size that was said")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return m.err
	}
	if m.mail == nil {
		m.mail = map[string][]byte{}
	}
	m.ids = append(m.ids, id.String())
	m.mail[id.String()] = b
	return nil
}

func (m *memory) Waiting(context.Context, agentkeys.MessageID, int) (mailstore.Page, error) {
	return mailstore.Page{}, nil
}

func (m *memory) all() (all [][]byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range m.ids {
		all = append(all, m.mail[id])
	}
	return all
}

// nowhere is DNS with nothing in it.
type nowhere struct{}

func (nowhere) LookupTXT(context.Context, string) ([]string, error)        { return nil, errNoName }
func (nowhere) LookupMX(context.Context, string) ([]*net.MX, error)        { return nil, errNoName }
func (nowhere) LookupIPAddr(context.Context, string) ([]net.IPAddr, error) { return nil, errNoName }
func (nowhere) LookupAddr(context.Context, string) ([]string, error)       { return nil, errNoName }

// serve starts a server of c, of which what is needed and missing is filled in.
func serve(t testing.TB, c Config) (*Server, string) {
	t.Helper()
	if c.Hostname == "" {
		c.Hostname = host
	}
	if c.Domains == nil {
		c.Domains = []string{domain}
	}
	if c.Resolver == nil {
		c.Resolver = nowhere{}
	}
	if c.TempDir == "" {
		c.TempDir = t.TempDir()
	}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return s, l.Addr().String()
}

const plainMail = "From: A <a@sender.example>\r\nTo: " + rcpt + "\r\nSubject: hi\r\n\r\nbody\r\n.dot\r\n"

// TestNetSMTP: what the standard library's client sends is in the spool, byte
// for byte, below our block.
func TestNetSMTP(t *testing.T) {
	m := &memory{}
	var told []string
	var mu sync.Mutex
	s, addr := serve(t, Config{Spool: m, Deliver: func(_ context.Context, id agentkeys.MessageID, to string) error {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, id.String()+" "+to)
		return errors.New("not now")
	}})
	if err := smtp.SendMail(addr, nil, "a@sender.example", []string{rcpt, "postmaster@" + domain}, []byte(plainMail)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	mails := m.all()
	if len(mails) != 2 || len(told) != 2 {
		t.Fatalf("%d mails, told of %d, want 2", len(mails), len(told))
	}
	for i, to := range []string{rcpt, "postmaster@" + domain} {
		top, ok := mailhead.Parse(mails[i], true).Top(mailhead.Host(host))
		if !ok || !top.Whole || top.For != to || top.ID != m.ids[i] || top.ReturnPath != "<a@sender.example>" {
			t.Errorf("the top is %+v %v\n%s", top, ok, mails[i])
		}
		if !bytes.HasSuffix(mails[i], []byte("X-AgentKeys-Receipt: "+top.ID+"\r\n"+plainMail)) {
			t.Errorf("stored\n%s", mails[i])
		}
		if !slices.Contains(told, top.ID+" "+to) {
			t.Errorf("nobody was told of %s: %v", top.ID, told)
		}
	}
	if !strings.Contains(string(mails[0]), " with ESMTP\r\n") {
		t.Errorf("no TLS, but\n%s", mails[0])
	}
}
