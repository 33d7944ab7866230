package smtpin

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/dirmail"
	"github.com/litentry/agentkeys/internal/mailhead"
	"github.com/litentry/agentkeys/internal/mailstore"
)

// killDir has this binary be a server, which keeps mail there.
const killDir = "SMTPIN_TEST_KILL_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(killDir); dir != "" {
		fmt.Fprintln(os.Stderr, beKilled(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// beKilled serves until it is killed.
func beKilled(dir string) error {
	spool, err := dirmail.Open(dir)
	if err != nil {
		return err
	}
	s, err := New(Config{Hostname: host, Domains: []string{domain}, Resolver: nowhere{}, Spool: spool, Limits: Limits{MessagesPerMinute: 1_000_000}})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	return s.Serve(l)
}

// TestKill: every message that was answered by 250 is there, whole, after the
// server was killed in the middle of others, and no part of any other is.
func TestKill(t *testing.T) {
	const kills, senders = 20, 4
	dir := filepath.Join(t.TempDir(), "mail")
	acked := map[string]bool{}
	body := strings.Repeat("0123456789 abcdefghijklmnopqrstuvwxyz\r\n", 500)
	for k := range kills {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), killDir+"="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		addr, err := bufio.NewReader(out).ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var wg sync.WaitGroup
		first := make(chan struct{}, senders*1000)
		for n := range senders {
			wg.Go(func() {
				c, err := net.Dial("tcp", strings.TrimSpace(addr))
				if err != nil {
					return
				}
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(30 * time.Second))
				r := dialled(t, c)
				for i, step := 0, r.hear()+r.ask(ehlo); !strings.Contains(step, "EOF"); i++ {
					subject := fmt.Sprintf("%d.%d.%d", k, n, i)
					if step = r.ask(from); !strings.HasPrefix(step, "250") {
						return
					}
					if r.ask(to); !strings.HasPrefix(r.ask("DATA\r\n"), "354") {
						return
					}
					if step = r.ask("Subject: " + subject + "\r\n\r\n" + body + ".\r\n"); strings.HasPrefix(step, "250") {
						mu.Lock()
						acked[subject] = true
						mu.Unlock()
						first <- struct{}{}
					}
				}
			})
		}
		<-first
		time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		_ = cmd.Wait()
	}

	spool, err := dirmail.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer spool.Close()
	var after agentkeys.MessageID
	found := 0
	for {
		page, err := spool.Waiting(t.Context(), after, mailstore.MaxPage)
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range page.Items {
			after = item.ID
			p, err := spool.Read(t.Context(), item.ID, 0, item.Size, "")
			if err != nil {
				t.Fatal(err)
			}
			found++
			b := mailhead.Parse(p.Data, true)
			top, ok := b.Top(mailhead.Host(host))
			if !ok || !top.Whole || top.ID != item.ID.String() || !bytes.HasSuffix(p.Data, []byte("\r\n\r\n"+body)) {
				t.Errorf("%s is a part of a message: %.500q", item.ID, p.Data)
				continue
			}
			delete(acked, mailhead.Unfold(b.Get("Subject")[0].Value))
		}
		if !page.More {
			break
		}
	}
	if len(acked) > 0 {
		t.Errorf("lost, though answered by 250: %v", acked)
	}
	t.Logf("%d messages after %d kills", found, kills)
}

// ask says something and hears the reply, "EOF" if there is none any more.
func (r *raw) ask(s string) string {
	if _, err := r.conn.Write([]byte(s)); err != nil {
		return "EOF"
	}
	line, err := r.r.ReadString('\n')
	for err == nil && len(line) > 3 && line[3] == '-' {
		line, err = r.r.ReadString('\n')
	}
	if err != nil {
		return "EOF"
	}
	return line
}
