package mailsrv

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/smtp"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/dirmail"
	"github.com/litentry/agentkeys/internal/mailconf"
	"github.com/litentry/agentkeys/internal/mailroute"
	"github.com/litentry/agentkeys/internal/mailstore"
)

const (
	hostname   = "mx.example.com"
	domainName = "bots.example.com"
)

// log is one that several may write.
type log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// rig is a server at work.
type rig struct {
	*Server
	c    *mailconf.Config
	log  *log
	stop func() error // ends it, once, and says how it ended
}

// configuration keeps all in a directory, and asks no DNS that there is.
func configuration(dir string) *mailconf.Config {
	return &mailconf.Config{
		Hostname: hostname, Domains: []string{domainName}, Listen: "127.0.0.1:0", MetricsListen: "127.0.0.1:0",
		Store: mailconf.Store{Directory: filepath.Join(dir, "mail")}, Spool: filepath.Join(dir, "spool"), Audit: filepath.Join(dir, "audit"),
		Resolver: "127.0.0.1:1", Keep: mailconf.Keep{MailDays: 30}, Recipients: mailconf.All, Tags: []string{"or", "br"},
	}
}

func start(t *testing.T, c *mailconf.Config, bucket func(context.Context, *mailconf.S3) (Store, error)) *rig {
	t.Helper()
	l := &log{}
	s, err := Open(t.Context(), c, Options{Log: slog.New(slog.NewTextHandler(l, nil)), Now: time.Now, Version: "test", Bucket: bucket})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{Server: s, c: c, log: l}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	r.stop = sync.OnceValue(func() error {
		stop()
		return <-done
	})
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Errorf("serving ended with %v", err)
		}
		if t.Failed() {
			t.Logf("the server said:\n%s", l)
		}
	})
	return r
}

// metrics are as a monitor reads them.
func (r *rig) metrics(t *testing.T) string {
	t.Helper()
	return get(t, "http://"+r.MetricsAddr().String()+"/metrics", 200)
}

func get(t *testing.T, url string, want int) string {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != want {
		t.Fatalf("%s: %s, %v\n%s", url, res.Status, err, body)
	}
	return string(body)
}

// wallet makes wallet number n.
func wallet(n int) agentkeys.Wallet {
	return agentkeys.Must(agentkeys.ParseWallet(fmt.Sprintf("0x%040x", 0xa9e17000+n)))
}

// address makes one of w's.
func address(t testing.TB, tag string, w agentkeys.Wallet, n uint64) string {
	t.Helper()
	a, err := mailroute.NewAddress(tag, w, time.Now(), n)
	if err != nil {
		t.Fatal(err)
	}
	return a.At(domainName)
}

// mail is a message that proves nothing.
func mail(to, text string) []byte {
	return []byte("From: Sender <sender@obviously-fake-sender.example>\r\nTo: <" + to + ">\r\nSubject: obviously-fake subject\r\nMessage-ID: <1@sender.example>\r\n\r\n" + text + "\r\n")
}

// send is any SMTP client.
func send(addr, to string, msg []byte) error {
	return smtp.SendMail(addr, nil, "sender@obviously-fake-sender.example", []string{to}, msg)
}

// keys lists the files below a directory of mail, without what the directory
// itself needs.
func keys(t testing.TB, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !strings.HasPrefix(d.Name(), ".") && !strings.Contains(path, "/.tmp/") {
			name, _ := filepath.Rel(dir, path)
			all = append(all, name)
		}
		if os.IsNotExist(err) {
			return nil // what is being sorted moves
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// eventually waits for what happens in the background.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not after half a minute", what)
		}
	}
}

// inboxOf lists an inbox.
func inboxOf(t testing.TB, in mailstore.Inbox, w agentkeys.Wallet) []mailstore.Item {
	t.Helper()
	page, err := in.List(context.Background(), w, agentkeys.MessageID{}, mailstore.MaxPage)
	if err != nil {
		t.Fatal(err)
	}
	return page.Items
}

func openDir(t testing.TB, path string) *dirmail.Dir {
	t.Helper()
	d, err := dirmail.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}
