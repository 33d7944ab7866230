package mailsrv

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/mailconf"
	"github.com/litentry/agentkeys/internal/mailstore"
)

// child is the variable that makes a process of this test a mail server: its
// configuration, as JSON.
const child = "AGENTKEYS_MAILSRV_CHILD"

// stalled is the variable that keeps it from sorting.
const stalled = "AGENTKEYS_MAILSRV_STALLED"

func TestMain(m *testing.M) {
	if text := os.Getenv(child); text != "" {
		if err := serveChild(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// serveChild serves until it is killed, or its standard input ends.
func serveChild(text string) error {
	var c mailconf.Config
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	s, err := Open(ctx, &c, Options{Log: discard, Now: time.Now})
	if err != nil {
		return err
	}
	if os.Getenv(stalled) != "" {
		s.office.handle = func(ctx context.Context, _ *post) verdict {
			<-ctx.Done()
			return again
		}
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	fmt.Println(s.Addr())
	return s.Serve(ctx)
}

// process is a server that can be killed.
type process struct {
	cmd  *exec.Cmd
	in   io.Closer
	addr string
}

func spawn(t *testing.T, c *mailconf.Config, env ...string) *process {
	t.Helper()
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: exec.Command(os.Args[0])}
	p.cmd.Env = append(append(os.Environ(), child+"="+string(text)), env...)
	p.cmd.Stderr = os.Stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the server did not start: %v", err)
	}
	p.addr = strings.TrimSpace(line)
	return p
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// end is what SIGTERM does.
func (p *process) end(t *testing.T) {
	t.Helper()
	_ = p.in.Close()
	if err := p.cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// bodies counts, over all messages of wallets' inboxes, what their texts say.
func bodies(t *testing.T, dir string, wallets int) map[string]int {
	t.Helper()
	store := openDir(t, dir)
	all := map[string]int{}
	for w := range wallets {
		for _, item := range inboxOf(t, store, wallet(w)) {
			msg, err := store.Fetch(t.Context(), wallet(w), item.ID, mailstore.MaxMessage)
			if err != nil {
				t.Fatal(err)
			}
			_, text, _ := strings.Cut(string(msg), "\r\n\r\n")
			all[fmt.Sprintf("%d:%s", w, strings.TrimSpace(text))]++
		}
	}
	return all
}

func emptyInbound(t *testing.T, c *mailconf.Config) bool {
	return len(keys(t, filepath.Join(c.Store.Directory, "inbound"))) == 0
}

// TestKilledBeforeSorting: a hundred messages were accepted, and none of them
// sorted, when the server was killed. The next one sorts each of them, once.
func TestKilledBeforeSorting(t *testing.T) {
	t.Parallel()
	c := configuration(t.TempDir())
	c.MetricsListen = ""
	p := spawn(t, c, stalled+"=1")
	const n = 100
	for i := range n {
		// Whom it claims to be for is not whom it is for.
		claim := address(t, "or", wallet(i%10+1), uint64(i))
		if err := send(p.addr, address(t, "or", wallet(i%10), uint64(i)), mail(claim, fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	p.kill()
	if got := len(keys(t, filepath.Join(c.Store.Directory, "inbound"))); got != n {
		t.Fatalf("%d of %d accepted messages are there", got, n)
	}
	if all := bodies(t, c.Store.Directory, 10); len(all) != 0 {
		t.Fatalf("%d are sorted already: this shows nothing", len(all))
	}
	p = spawn(t, c)
	eventually(t, "all are sorted", func() bool { return emptyInbound(t, c) })
	p.end(t)
	all := bodies(t, c.Store.Directory, 10)
	for i := range n {
		if got := all[fmt.Sprintf("%d:%d", i%10, i)]; got != 1 {
			t.Errorf("message %d is there %d times", i, got)
		}
	}
	if len(all) != n {
		t.Errorf("%d messages", len(all))
	}
}

// TestKilled: a server is killed at any moment, six times over, while mail
// comes; senders send again what was not acknowledged. Nothing that was is
// lost, and nothing is there more often than it was sent.
func TestKilled(t *testing.T) {
	t.Parallel()
	c := configuration(t.TempDir())
	c.MetricsListen = ""
	c.Limits.PeerMessagesPerMinute, c.Limits.WalletMessagesPerHour = 1e6, 1e6
	const wallets, senders = 5, 4
	type sent struct{ tries, acknowledged int }
	var mu sync.Mutex
	record := map[string]*sent{}
	p := spawn(t, c)
	for round := range 6 {
		var wg sync.WaitGroup
		for s := range senders {
			wg.Go(func() {
				for i := 0; ; i++ {
					w := (s + i) % wallets
					key := fmt.Sprintf("%d:%d-%d-%d", w, round, s, i)
					mu.Lock()
					r := &sent{}
					record[key] = r
					mu.Unlock()
					_, text, _ := strings.Cut(key, ":")
					to := address(t, "br", wallet(w), uint64(i))
					err := send(p.addr, to, mail(to, text))
					mu.Lock()
					r.tries++
					if err == nil {
						r.acknowledged++
					}
					mu.Unlock()
					if err != nil {
						return // the server is gone
					}
				}
			})
		}
		time.Sleep(time.Duration(20+rand.IntN(200)) * time.Millisecond)
		p.kill()
		wg.Wait()
		p = spawn(t, c)
		// What was not acknowledged is sent again.
		for key, r := range record {
			if r.acknowledged == 0 {
				var w int
				num, text, _ := strings.Cut(key, ":")
				_, _ = fmt.Sscan(num, &w)
				to := address(t, "br", wallet(w), 1)
				if err := send(p.addr, to, mail(to, text)); err != nil {
					t.Fatal(err)
				}
				r.tries++
				r.acknowledged++
			}
		}
	}
	eventually(t, "all are sorted", func() bool { return emptyInbound(t, c) })
	p.end(t)
	all := bodies(t, c.Store.Directory, wallets)
	twice := 0
	for key, r := range record {
		if got := all[key]; got < r.acknowledged || got > r.tries {
			t.Errorf("message %s was sent %d times, acknowledged %d times, and is there %d times", key, r.tries, r.acknowledged, got)
		} else if got > 1 {
			twice++
		}
		delete(all, key)
	}
	if len(all) != 0 {
		t.Errorf("there is mail that nobody sent: %v", all)
	}
	if len(record) < 20 {
		t.Errorf("only %d messages", len(record))
	}
	t.Logf("%d messages, %d of them twice: stored, and the acknowledgement lost", len(record), twice)
}
