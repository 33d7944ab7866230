package mailsrv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/dirmail"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/mailconf"
	"github.com/litentry/agentkeys/internal/mailrouter"
	"github.com/litentry/agentkeys/internal/servicelog"
	"github.com/litentry/agentkeys/internal/smtpin"
)

// TestLimits: what a configuration allows is what the receiver does.
func TestLimits(t *testing.T) {
	if mailconf.MaxMessage != smtpin.MaxMessage {
		t.Errorf("mail.yaml allows %d bytes, the receiver takes %d", mailconf.MaxMessage, smtpin.MaxMessage)
	}
}

// TestReceiver: and it is handed over whole.
func TestReceiver(t *testing.T) {
	c := configuration(t.TempDir())
	limits := mailconf.Limits{MessageBytes: 1, Connections: 2, PeerConnections: 3, PeerMessagesPerMinute: 4, WalletMessagesPerHour: 5, SenderMessagesPerHour: 6, PeerBytesPerHour: 7}
	got, err := (&Server{}).receiver(c, Options{Now: time.Now}, limits, nil, c.Tags, newMetrics("test"))
	if err != nil {
		t.Fatal(err)
	}
	if want := (smtpin.Limits{Connections: 2, ConnectionsPerPeer: 3, MessagesPerMinute: 4, BytesPerHour: 7}); got.MaxMessage != 1 || got.Limits != want || got.TempDir != c.Spool {
		t.Errorf("%+v", got)
	}
	if want := (mailrouter.Limits{Sender: mailrouter.Rate{Messages: 6, Per: time.Hour}}); routerLimits(limits) != want {
		t.Errorf("%+v", routerLimits(limits))
	}
}

// TestEach: each kind of mail goes where it belongs, and the log says so, and
// no more than that.
func TestEach(t *testing.T) {
	t.Parallel()
	c := configuration(t.TempDir())
	r := start(t, c, nil)
	store := openDir(t, c.Store.Directory)
	w, other := wallet(1), wallet(2)
	digits := "17957240009876543"
	for _, to := range []string{
		"or-" + w.String() + "-" + digits + "@" + domainName,
		"br-" + other.String() + "-" + digits + "@" + domainName,
		"zz-" + w.String() + "-" + digits + "@" + domainName, // no service's tag
		"hello@" + domainName, // nobody's
	} {
		if err := send(r.Addr().String(), to, mail(to, "obviously-fake text")); err != nil {
			t.Fatalf("%s: %v", to, err)
		}
	}
	if err := send(r.Addr().String(), "hello@example.org", mail("hello@example.org", "")); err == nil {
		t.Error("mail for another domain is taken")
	}
	handled := func() bool {
		text := r.metrics(t)
		return strings.Count(text, "agentkeys_mail_handled_total{outcome=\"placed\",reason=\"\"} 2\n") == 1 &&
			strings.Contains(text, `agentkeys_mail_handled_total{outcome="refused",reason="unknown-tag"} 1`) &&
			strings.Contains(text, `agentkeys_mail_handled_total{outcome="ignored",reason="other-address"} 1`) &&
			strings.Contains(text, "agentkeys_mail_waiting 0\n")
	}
	eventually(t, "the four are handled", handled)
	places := map[string]int{}
	for _, k := range keys(t, c.Store.Directory) {
		places[filepath.Dir(k)]++
	}
	want := map[string]int{"inbound": 1, "bots/" + w.String() + "/inbound": 1, "bots/" + other.String() + "/inbound": 1, "refused/unknown-tag": 1}
	if fmt.Sprint(places) != fmt.Sprint(want) {
		t.Errorf("mail is in %v, want %v", places, want)
	}
	r.office.mu.Lock()
	if n := len(r.office.passed); n != 1 {
		t.Errorf("%d ignored messages are remembered: each sweep would read them again", n)
	}
	r.office.mu.Unlock()
	items := inboxOf(t, store, w)
	text, err := store.Fetch(t.Context(), w, items[0].ID, 1<<20)
	if err != nil || !strings.HasSuffix(string(text), "obviously-fake text\r\n") {
		t.Errorf("%q, %v", text, err)
	}
	get(t, "http://"+r.MetricsAddr().String()+"/readyz", 200)
	get(t, "http://"+r.MetricsAddr().String()+"/healthz", 200)
	for _, m := range []string{"agentkeys_mail_received_total 4", "agentkeys_audit_entries 4", "agentkeys_mail_waiting 0", "agentkeys_mail_put_off 0"} {
		if !strings.Contains(r.metrics(t), m+"\n") {
			t.Errorf("the metrics do not say %s", m)
		}
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}

	log, err := servicelog.Open(c.Audit, "agentkeys/mail/"+hostname, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	entries, err := log.Tail(10)
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]int{}
	var all strings.Builder
	for _, e := range entries {
		ev := e.Event
		if ev.Op != OpRoute || ev.Request == "" || ev.Time.IsZero() {
			t.Errorf("%+v", ev)
		}
		said[ev.Decision+" "+ev.Reason+" "+ev.Subject]++
		fmt.Fprintf(&all, "%+v\n", ev)
	}
	if want := map[string]int{
		"done  " + w.String() + " or": 1, "done  " + other.String() + " br": 1, "deny unknown-tag ": 1, "done other-address ": 1,
	}; fmt.Sprint(said) != fmt.Sprint(want) {
		t.Errorf("the log says %v, want %v", said, want)
	}
	for what, text := range map[string]string{"the log": r.log.String(), "the audit log": all.String()} {
		for _, canary := range []string{"obviously-fake", digits, "hello@", "sender"} {
			if strings.Contains(text, canary) {
				t.Errorf("%s has %q in it:\n%s", what, canary, text)
			}
		}
	}
}

// TestWallets: with recipients of wallets only, others are told so at once.
func TestWallets(t *testing.T) {
	t.Parallel()
	c := configuration(t.TempDir())
	c.Recipients = mailconf.Wallets
	r := start(t, c, nil)
	for to, ok := range map[string]bool{
		address(t, "or", wallet(1), 1): true, address(t, "zz", wallet(1), 1): false, "hello@" + domainName: false, "postmaster@" + domainName: true,
	} {
		err := send(r.Addr().String(), to, mail(to, "x"))
		if (err == nil) != ok {
			t.Errorf("%s: %v", to, err)
		}
		var reply *textproto.Error
		if !ok && (!errors.As(err, &reply) || reply.Code != 550) {
			t.Errorf("%s: %v, want 550", to, err)
		}
	}
}

// TestWalletLimit: beyond it the sender keeps the mail, for whichever address
// of the wallet it is, and other wallets' mail comes.
func TestWalletLimit(t *testing.T) {
	t.Parallel()
	c := configuration(t.TempDir())
	c.Limits.WalletMessagesPerHour = 3
	r := start(t, c, nil)
	for i := range 5 {
		to := address(t, []string{"or", "br"}[i%2], wallet(1), uint64(i))
		err := send(r.Addr().String(), to, mail(to, "x"))
		var reply *textproto.Error
		switch {
		case i < 3 && err != nil:
			t.Errorf("message %d: %v", i, err)
		case i >= 3 && (!errors.As(err, &reply) || reply.Code/100 != 4):
			t.Errorf("message %d: %v, want 4xx", i, err)
		}
	}
	to := address(t, "or", wallet(2), 1)
	if err := send(r.Addr().String(), to, mail(to, "x")); err != nil {
		t.Error(err)
	}
	eventually(t, "four are placed", func() bool { return strings.Contains(r.metrics(t), `{outcome="placed",reason=""} 4`) })
	if !strings.Contains(r.metrics(t), "agentkeys_mail_held_back_total 2\n") {
		t.Error("who was told to come back is not counted")
	}
}

// TestSenderLimit: beyond it mail waits here, and others' does not.
func TestSenderLimit(t *testing.T) {
	t.Parallel()
	c := configuration(t.TempDir())
	c.Limits.SenderMessagesPerHour = 2
	r := start(t, c, nil)
	for i := range 5 {
		to := address(t, "or", wallet(i), 1)
		if err := send(r.Addr().String(), to, mail(to, "x")); err != nil {
			t.Error(err)
		}
	}
	eventually(t, "two are placed, and three wait", func() bool {
		text := r.metrics(t)
		return strings.Contains(text, `{outcome="placed",reason=""} 2`) && strings.Contains(text, "agentkeys_mail_put_off 3\n") && strings.Contains(text, "agentkeys_mail_waiting 3\n")
	})
	if n := len(keys(t, filepath.Join(c.Store.Directory, "inbound"))); n != 3 {
		t.Errorf("%d are in inbound/", n)
	}
	if !strings.Contains(r.metrics(t), "agentkeys_audit_entries 2\n") {
		t.Error("what was put off has an entry of the log")
	}
}

// TestStart: what is wrong is told at once, and nothing stays open.
func TestStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	exposed := filepath.Join(dir, "exposed")
	if err := errors.Join(os.Mkdir(exposed, 0o755), os.Chmod(exposed, 0o755)); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		change func(*mailconf.Config)
		want   string
	}{
		{func(c *mailconf.Config) { c.Listen = taken.Addr().String() }, "listen = "},
		{func(c *mailconf.Config) { c.MetricsListen = taken.Addr().String() }, "metrics_listen = "},
		{func(c *mailconf.Config) { c.Store.Directory = exposed }, "store.directory: "},
		{func(c *mailconf.Config) { c.TLS = &mailconf.TLS{Cert: "none", Key: "none"} }, "tls: "},
		{func(c *mailconf.Config) { c.Store = mailconf.Store{S3: &mailconf.S3{}} }, "buckets cannot be opened here"},
		{func(c *mailconf.Config) { c.Spool = "/dev/null/spool" }, "spool: "},
	} {
		c := configuration(dir)
		x.change(c)
		if _, err := Open(t.Context(), c, Options{Log: discard, Now: time.Now}); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("got %v, want %q", err, x.want)
		}
	}
	start(t, configuration(dir), nil) // neither the log nor the store is held
}

// TestCertificate: STARTTLS is offered, and mail comes through it.
func TestCertificate(t *testing.T) {
	t.Parallel()
	c := configuration(t.TempDir())
	cert, key := selfSigned(t)
	c.TLS = &mailconf.TLS{Cert: cert, Key: key}
	r := start(t, c, nil)
	to := address(t, "or", wallet(1), 1)
	if err := sendTLS(r.Addr().String(), to, mail(to, "x")); err != nil {
		t.Fatal(err)
	}
	store := openDir(t, c.Store.Directory)
	eventually(t, "it is placed", func() bool { return len(inboxOf(t, store, wallet(1))) == 1 })
}

// faulty is a store whose disk fails.
type faulty struct{ Store }

func (faulty) Write(context.Context, agentkeys.MessageID, io.Reader, int64) error {
	return fmt.Errorf("%w: input/output error", dirmail.ErrStopped)
}

// TestDiskFails: the message is not accepted, and the server ends, so that it
// is started anew.
func TestDiskFails(t *testing.T) {
	t.Parallel()
	c := configuration(t.TempDir())
	dir := openDir(t, c.Store.Directory)
	c.Store = mailconf.Store{S3: &mailconf.S3{}}
	s, err := Open(t.Context(), c, Options{Log: discard, Now: time.Now, Bucket: func(context.Context, *mailconf.S3) (Store, error) { return faulty{dir}, nil }})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(t.Context()) }()
	to := address(t, "or", wallet(1), 1)
	if err := send(s.Addr().String(), to, mail(to, "x")); err == nil {
		t.Error("mail that was not stored is accepted")
	}
	if err := <-done; !errors.Is(err, dirmail.ErrStopped) {
		t.Errorf("it ends with %v", err)
	}
}

// brief is a log of somebody else's.
type brief struct{ n chan grant.Event }

func (b brief) Record(_ context.Context, e grant.Event) error {
	b.n <- e
	return nil
}

// TestOthersLog: with a recorder there is no log, and no directory for it.
func TestOthersLog(t *testing.T) {
	t.Parallel()
	c := configuration(t.TempDir())
	c.Audit, c.MetricsListen, c.Limits = "", "", mailconf.Limits{}
	b := brief{make(chan grant.Event, 1)}
	s, err := Open(t.Context(), c, Options{Log: discard, Now: time.Now, Recorder: b})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	to := address(t, "or", wallet(1), 1)
	if err := send(s.Addr().String(), to, mail(to, "x")); err != nil {
		t.Error(err)
	}
	if e := <-b.n; e.Op != OpRoute || e.Subject != wallet(1).String()+" or" {
		t.Errorf("%+v", e)
	}
	if s.MetricsAddr() != nil {
		t.Error("metrics are served")
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestKeeper: old mail goes, whether it was sorted or not.
func TestKeeper(t *testing.T) {
	t.Parallel()
	c := configuration(t.TempDir())
	r := start(t, c, nil)
	for _, to := range []string{address(t, "or", wallet(1), 1), address(t, "or", wallet(1), 2), "hello@" + domainName, "zz-" + wallet(1).String() + "-12345678@" + domainName} {
		if err := send(r.Addr().String(), to, mail(to, "x")); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all are handled", func() bool {
		text := r.metrics(t)
		return strings.Contains(text, "agentkeys_audit_entries 4\n") && strings.Contains(text, "agentkeys_mail_waiting 0\n")
	})
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	old := time.Now().AddDate(0, 0, -31)
	all := keys(t, c.Store.Directory)
	for i, k := range all {
		if i == 1 {
			continue // one that came yesterday
		}
		if err := os.Chtimes(filepath.Join(c.Store.Directory, k), old, old); err != nil {
			t.Fatal(err)
		}
	}
	r = start(t, c, nil)
	eventually(t, "old mail is gone", func() bool { return strings.Contains(r.metrics(t), "agentkeys_mail_pruned_total 3\n") })
	if left := keys(t, c.Store.Directory); len(left) != 1 || left[0] != all[1] {
		t.Errorf("left are %q of %q", left, all)
	}
}
