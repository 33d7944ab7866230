package local

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/audit"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/mailbox"
	"github.com/litentry/agentkeys/internal/mailroute"
	"github.com/litentry/agentkeys/internal/mailstore"
	"github.com/litentry/agentkeys/internal/testsrv/dns"
	"github.com/litentry/agentkeys/internal/testsrv/mailer"
	"github.com/litentry/agentkeys/internal/verifymail"
)

// mailWorld plays a service's mail, and the DNS that proves it.
type mailWorld struct {
	*world
	names   *dns.Server
	service *mailer.Mailer
}

func newMailWorld(t *testing.T) *mailWorld {
	t.Helper()
	names, err := dns.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = names.Close() })
	service, err := mailer.New(names, "openrouter.ai")
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	w.close()
	w.Host = nil
	o := w.options()
	o.Mail = MailSettings{Resolver: names.Addr(), Port: freePort(w.t)}
	if w.Host, err = Open(o); err != nil {
		t.Fatal(err)
	}
	return &mailWorld{w, names, service}
}

var openrouter = agentkeys.Must(agentkeys.ParseService("openrouter"))

func (w *mailWorld) address(label agentkeys.Agent) MailAddress {
	w.t.Helper()
	a, err := w.MailAddress(openrouter, label)
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

const fakeLink = "https://clerk.openrouter.ai/v1/verify?token=obviously-fake-token-0123456789"

func (w *mailWorld) send(from, to, body string) {
	w.t.Helper()
	text := "From: " + from + "\r\nTo: " + to + "\r\nSubject: Verify\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\n\r\n" + body + "\r\n"
	if err := w.service.Send(w.t.Context(), w.mail.addr, from, to, []byte(text)); err != nil {
		w.t.Fatal(err)
	}
}

// list waits until a place has so many messages.
func (w *mailWorld) list(q MailQuery, n int) []MailInfo {
	w.t.Helper()
	q.Limit = 10
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		list, err := w.Mails(w.t.Context(), q)
		if err != nil {
			w.t.Fatal(err)
		}
		if len(list) == n {
			return list
		}
		if time.Now().After(end) {
			w.t.Fatalf("%d messages in %q, not %d", len(list), q.Place, n)
		}
	}
}

func (w *world) ops(op string) (events []grant.Event) {
	w.t.Helper()
	err := w.audit.Replay(0, func(e audit.Entry) error {
		if e.Event.Op == op {
			events = append(events, e.Event)
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return events
}

func TestMail(t *testing.T) {
	w := newMailWorld(t)
	coder, err := w.CreateAgent(t.Context(), agentkeys.Must(agentkeys.ParseAgent("coder")))
	if err != nil {
		t.Fatal(err)
	}
	st, err := w.Status(t.Context())
	if err != nil || st.Mail == nil || st.Mail.Domain != DefaultMailDomain || st.Mail.SMTP != w.mail.addr {
		t.Errorf("status %+v, %v", st.Mail, err)
	}
	mine, its := w.address(agentkeys.Agent{}), w.address(coder.Label)
	if mine.Wallet == its.Wallet || its.Wallet != coder.Wallet || mine.Address == w.address(agentkeys.Agent{}).Address {
		t.Errorf("%+v, %+v", mine, its)
	}
	wait := MailWait{Service: openrouter, Address: mine.Address, Timeout: 30, Reveal: true}
	done := make(chan MailFound, 1)
	go func() {
		found, err := w.WaitMail(t.Context(), wait, func(mailbox.Seen) {})
		if err != nil {
			t.Error(err)
		}
		done <- found
	}()
	w.send("noreply@openrouter.ai", its.Address, "Your verification code is 424242.")
	w.send("noreply@openrouter.ai", mine.Address, "Go to "+fakeLink)
	w.send("noreply@openrouter.ai", "zz-"+mine.Wallet.String()+"-7@"+DefaultMailDomain, "hello")
	w.send("noreply@openrouter.ai", "login@"+DefaultMailDomain, "hello")
	found := <-done
	if found.Link != fakeLink || found.Code != "" || found.Kind != verifymail.Link {
		t.Errorf("found %+v", found)
	}

	list := w.list(MailQuery{}, 1)
	if m := list[0]; m.ID != found.ID || m.Address != mine.Address || m.Service != openrouter || m.By != mailroute.ByReceived || m.Has != verifymail.Link || !m.Verdicts.Aligned {
		t.Errorf("%+v", m)
	}
	theirs := w.list(MailQuery{Agent: coder.Label}, 1)
	if theirs[0].Has != verifymail.Code {
		t.Errorf("the agent's: %+v", theirs[0])
	}
	if m := w.list(MailQuery{Place: PlaceRefused}, 1)[0]; m.Reason != mailroute.ReasonUnknownTag || m.Decision != mailroute.Refuse || m.Has != "" {
		t.Errorf("refused: %+v", m)
	}
	if m := w.list(MailQuery{Place: PlaceInbound}, 1)[0]; m.Reason != mailroute.ReasonOtherAddress || m.Decision != mailroute.Ignore {
		t.Errorf("ignored: %+v", m)
	}
	// Nobody reads another's by its name, and what is read is on record first.
	if _, err := w.RevealMail(t.Context(), MailQuery{}, theirs[0].ID); !errors.Is(err, mailstore.ErrGone) {
		t.Errorf("the agent's mail in the owner's inbox: %v", err)
	}
	read := len(w.ops("mail.read"))
	text, err := w.RevealMail(t.Context(), MailQuery{Agent: coder.Label}, theirs[0].ID)
	if err != nil || text.Code != "424242" || !strings.Contains(text.Text, "424242") || text.Subject != "Verify" {
		t.Errorf("%+v, %v", text, err)
	}
	if events := w.ops("mail.read"); len(events) != read+1 || events[read].Subject != theirs[0].ID.String() || events[read].Agent != coder.Label {
		t.Errorf("%+v", events)
	}
	// A message may be listed before it is on record.
	within(t, "four mails on record", func() bool { return len(w.ops("mail.route")) == 4 })
	for _, e := range w.ops("mail.route") {
		if e.Actor != w.wallet {
			t.Errorf("not the owner's affair: %+v", e)
		}
	}
	if log := w.log.String(); strings.Contains(log, "424242") || strings.Contains(log, "obviously-fake") || strings.Contains(log, "openrouter.ai") {
		t.Errorf("mail is in the log: %s", log)
	}
}

// TestMailMayNot: what is asked for wrongly, or of the wrong one.
func TestMailMayNot(t *testing.T) {
	w := newMailWorld(t)
	mine := w.address(agentkeys.Agent{})
	other := strings.Replace(mine.Address, mine.Wallet.String(), "0x00112233445566778899aabbccddeeff00112233", 1)
	nobody := agentkeys.Must(agentkeys.ParseAgent("nobody"))
	ctx := t.Context()
	wait := func(q MailWait) error {
		q.Timeout = max(q.Timeout, 1)
		_, err := w.WaitMail(ctx, q, func(mailbox.Seen) {})
		return err
	}
	service := func(s string) agentkeys.Service { return agentkeys.Must(agentkeys.ParseService(s)) }
	for what, c := range map[string]struct{ err, want error }{
		"another's address":     {wait(MailWait{Service: openrouter, Address: other}), ErrMailAddress},
		"no address":            {wait(MailWait{Service: openrouter, Address: "x@" + DefaultMailDomain}), ErrMailAddress},
		"another domain":        {wait(MailWait{Service: openrouter, Address: strings.Replace(mine.Address, DefaultMailDomain, "example.com", 1)}), ErrMailAddress},
		"a wait without end":    {wait(MailWait{Service: openrouter, Address: mine.Address, Timeout: 1 << 40}), ErrMailSettings},
		"too little known":      {wait(MailWait{Service: service("groq"), Address: mine.Address}), ErrMailFacts},
		"a sender, and no link": {wait(MailWait{Service: service("groq"), Address: mine.Address, MailHints: MailHints{Senders: []string{"groq.example"}}}), ErrMailFacts},
		"no tag":                {second(w.MailAddress(service("github"), agentkeys.Agent{})), ErrNoTag},
		"no such place":         {second(w.Mails(ctx, MailQuery{Place: "spam", Limit: 1})), ErrPlace},
		"no limit":              {second(w.Mails(ctx, MailQuery{})), ErrMailSettings},
		"no such message":       {second(w.Mail(ctx, MailQuery{}, agentkeys.Must(agentkeys.ParseMessageID("none")))), mailstore.ErrGone},
		"nothing came":          {wait(MailWait{Service: openrouter, Address: mine.Address}), context.DeadlineExceeded},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v", what, c.err)
		}
	}
	if _, err := w.MailAddress(openrouter, nobody); err == nil {
		t.Error("an address of an agent that there is not")
	}
	if err := wait(MailWait{Service: service("groq"), Address: mine.Address, MailHints: MailHints{Senders: []string{"groq.example"}, LinkHosts: []string{"groq.example"}}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with what was missing: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

// TestMailSettings: what was chosen is remembered; what cannot be is refused;
// and a laptop serves all else without mail.
func TestMailSettings(t *testing.T) {
	w := newWorld(t)
	port := w.mail.addr
	w.close()
	w.open()
	if w.mail.addr != port {
		t.Errorf("the port was %s and is %s", port, w.mail.addr)
	}
	w.close()
	reopen := func(m MailSettings) error {
		o := w.options()
		o.Mail = m
		var err error
		w.Host, err = Open(o)
		return err
	}
	if err := reopen(MailSettings{Domain: "mail.example.com"}); err != nil || w.mail.Domain != "mail.example.com" {
		t.Fatalf("%v, %+v", err, w.mail.Mail)
	}
	w.close()
	w.open()
	if w.mail.Domain != "mail.example.com" {
		t.Errorf("the domain is %s", w.mail.Domain)
	}
	w.close()
	for _, m := range []MailSettings{{Port: 70000}, {Domain: "not a domain"}, {Resolver: "x"}, {Resolver: "127.0.0.1"}} {
		if err := reopen(m); !errors.Is(err, ErrMailSettings) {
			t.Errorf("%+v: %v", m, err)
		}
	}
	if err := reopen(MailSettings{Off: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.MailAddress(openrouter, agentkeys.Agent{}); !errors.Is(err, ErrNoMail) {
		t.Errorf("without mail: %v", err)
	}
	w.close()

	ln, err := net.Listen("tcp", port)
	if err != nil {
		t.Fatal(err)
	}
	if err := reopen(MailSettings{}); err != nil {
		t.Fatal(err)
	}
	st, err := w.Status(t.Context())
	if err != nil || st.Mail == nil || st.Mail.Error == "" {
		t.Errorf("with its port taken: %+v, %v", st.Mail, err)
	}
	if _, err := w.MailAddress(openrouter, agentkeys.Agent{}); !errors.Is(err, ErrNoMail) {
		t.Errorf("with its port taken: %v", err)
	}
	_ = ln.Close()
	w.close()
	if err := os.WriteFile(w.options().Paths.MailSettings(), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := reopen(MailSettings{}); err != nil {
		t.Fatal(err)
	}
	if st, err := w.Status(t.Context()); err != nil || !strings.Contains(st.Mail.Error, "mail.json") {
		t.Errorf("with damaged settings: %+v, %v", st.Mail, err)
	}
}
