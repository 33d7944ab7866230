package smtpin

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/mailhead"
)

// FuzzConversation: whatever comes in over a connection, what is stored has our
// block, is for a mailbox of ours, and has no line that ends in anything but
// CRLF.
func FuzzConversation(f *testing.F) {
	f.Add([]byte(ehlo + from + to + "DATA\r\n" + plainMail + ".\r\nQUIT\r\n"))
	f.Add([]byte(ehlo + from + to + "BDAT 12\r\nSubject: a\r\nBDAT 8 LAST\r\n\r\nbody\r\nRSET\r\n"))
	f.Add([]byte(ehlo + from + to + "BDAT 3\r\na\r\nRSET\r\n" + from + to + "DATA\r\n.\r\n"))
	for _, h := range smuggles() {
		f.Add([]byte(ehlo + from + to + "DATA\r\n" + h.steps[10] + "QUIT\r\n"))
	}
	m := &memory{}
	s, addr := serve(f, Config{Spool: m, MaxMessage: 4096, Limits: Limits{Line: 200, Header: 1024, MessagesPerMinute: 1 << 30, Idle: 5 * time.Second}})
	f.Fuzz(func(t *testing.T, said []byte) {
		m.mu.Lock()
		m.ids, m.mail = nil, nil
		m.mu.Unlock()
		c := dial(t, addr)
		go func() {
			_, _ = c.conn.Write(said)
			_ = c.conn.(interface{ CloseWrite() error }).CloseWrite()
		}()
		replies, _ := io.ReadAll(c.r)
		_ = c.conn.Close()
		if !bytes.HasPrefix(replies, []byte("220 ")) {
			t.Errorf("said was %q", replies)
		}
		for _, b := range m.all() {
			top, ok := mailhead.Parse(b, true).Top(mailhead.Host(host))
			if !ok || !top.Whole || !strings.HasSuffix(strings.ToLower(top.For), "@"+domain) {
				t.Errorf("stored\n%s", b)
			}
			if n := bytes.Count(b, []byte("\r\n")); n != bytes.Count(b, []byte("\r")) || n != bytes.Count(b, []byte("\n")) {
				t.Errorf("lone CR or LF in %q", b)
			}
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.wires) > 1000 {
			t.Errorf("%d connections are left", len(s.wires))
		}
	})
}
