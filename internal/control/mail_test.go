package control

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/daemon"
	"github.com/litentry/agentkeys/internal/dirmail"
	"github.com/litentry/agentkeys/internal/local"
	"github.com/litentry/agentkeys/internal/mailstore"
	"github.com/litentry/agentkeys/internal/verifymail"
)

const fakeLink = "https://clerk.openrouter.ai/v1/verify?token=obviously-fake-token-0123456789"

// come puts a message of OpenRouter's into a wallet's inbox, as the receiver
// and the router do.
func (w *world) come(t *testing.T, id string, a local.MailAddress) {
	t.Helper()
	_, domain, _ := strings.Cut(a.Address, "@")
	text := strings.ReplaceAll(fmt.Sprintf(`Return-Path: <bounce@openrouter.ai>
Received: from out.openrouter.ai ([192.0.2.7])
 by mx.%[1]s with ESMTPS
 id %[2]s
 for %[3]s;
 %[4]s
Received-SPF: pass (mx.%[1]s: openrouter.ai) client-ip=192.0.2.7;
Authentication-Results: mx.%[1]s;
 spf=pass smtp.mailfrom=openrouter.ai;
 dkim=pass header.i=@openrouter.ai;
 dmarc=pass header.from=openrouter.ai
X-AgentKeys-Receipt: %[2]s
DKIM-Signature: v=1; a=rsa-sha256; d=openrouter.ai; s=fake; h=From:To:Subject; bh=ZmFrZQ==; b=ZmFrZQ==
From: noreply@openrouter.ai
To: %[3]s
Subject: Verify

Go to %[5]s
`, domain, id, a.Address, time.Now().UTC().Format("Mon, 2 Jan 2006 15:04:05 -0700"), fakeLink), "\n", "\r\n")
	d, err := dirmail.Open(w.paths.Mail())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	m := messageOf(t, id)
	ctx := t.Context()
	if err := d.Write(ctx, m, strings.NewReader(text), int64(len(text))); err != nil {
		t.Fatal(err)
	}
	p, err := d.Read(ctx, m, 0, 1, "")
	if err == nil {
		_, err = d.Place(ctx, m, p.Version, a.Wallet)
	}
	if err != nil && !errors.Is(err, mailstore.ErrGone) { // else the process was faster
		t.Fatal(err)
	}
}

func messageOf(t *testing.T, s string) agentkeys.MessageID {
	t.Helper()
	id, err := agentkeys.ParseMessageID(s)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// TestMail: whose mail and which is meant gets through, and the link to whoever
// asks for it alone.
func TestMail(t *testing.T) {
	w := newWorld(t)
	ctx, router, coder := t.Context(), serviceOf(t, "openrouter"), agentOf(t, "coder")
	if _, err := w.client.CreateAgent(ctx, coder); err != nil {
		t.Fatal(err)
	}
	mine, err := w.client.MailAddress(ctx, MailAddressRequest{Service: router})
	if err != nil || mine.Service != router || !mine.Agent.IsZero() {
		t.Fatalf("%+v, %v", mine, err)
	}
	its, err := w.client.MailAddress(ctx, MailAddressRequest{Service: router, Agent: coder})
	if err != nil || its.Agent != coder || its.Wallet == mine.Wallet {
		t.Fatalf("%+v, %v", its, err)
	}
	if _, err := w.client.MailAddress(ctx, MailAddressRequest{}); code(err) != CodeRequest {
		t.Errorf("an address for nothing: %v", err)
	}
	w.come(t, "m1", its)
	w.come(t, "m2", its)
	w.come(t, "m3", mine)
	for _, c := range []struct {
		q local.MailQuery
		n int
	}{
		{local.MailQuery{Limit: 9}, 1},
		{local.MailQuery{Limit: 9, Agent: coder}, 2},
		{local.MailQuery{Limit: 1, Agent: coder}, 1},
		{local.MailQuery{Limit: 9, Agent: coder, Place: local.PlaceInbox}, 2},
		{local.MailQuery{Limit: 9, Agent: coder, Place: local.PlaceRefused}, 0},
	} {
		if list, err := w.client.Mails(ctx, c.q); err != nil || len(list) != c.n {
			t.Errorf("%+v: %+v, %v", c.q, list, err)
		}
	}
	for _, q := range []local.MailQuery{{}, {Limit: -1}, {Limit: local.MaxMails + 1}, {Limit: 1, Place: "spam"}} {
		if _, err := w.client.Mails(ctx, q); code(err) != CodeRequest {
			t.Errorf("%+v: %v", q, err)
		}
	}
	if _, err := w.client.Mails(ctx, local.MailQuery{Limit: 1, Agent: agentOf(t, "nobody")}); code(err) != CodeNotFound {
		t.Errorf("nobody's: %v", err)
	}
	for _, path := range []string{"/v1/mail?limit=x", "/v1/mail?limit=1&agent=a%20b", "/v1/mail/m3?agent=a%20b", "/v1/mail/m3?agent=nobody", "/v1/mail/a%20b", "/v1/mail/m1?limit=x"} {
		if status, body := w.raw(t, "GET", path, ""); status < 400 || status >= 500 {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	id := messageOf(t, "m1")
	if _, err := w.client.Mail(ctx, local.MailQuery{}, id); code(err) != CodeNotFound {
		t.Errorf("the agent's as the owner's: %v", err)
	}
	if m, err := w.client.Mail(ctx, local.MailQuery{Agent: coder}, id); err != nil || m.Has != verifymail.Link || m.Address != its.Address {
		t.Errorf("%+v, %v", m, err)
	}
	if status, body := w.raw(t, "GET", "/v1/mail/m1?agent=coder", ""); status != 200 || strings.Contains(body, "obviously-fake") {
		t.Errorf("%d %s", status, body)
	}
	if status, body := w.raw(t, "GET", "/v1/mail/m1/reveal?agent=coder", ""); status != http.StatusMethodNotAllowed {
		t.Errorf("revealed by GET: %d %s", status, body)
	}
	if m, err := w.client.RevealMail(ctx, local.MailQuery{Agent: coder}, id); err != nil || m.Link != fakeLink || m.Subject != "Verify" {
		t.Errorf("%+v, %v", m, err)
	}
	wait := local.MailWait{Service: router, Agent: coder, Address: its.Address, Timeout: 60}
	if f, err := w.client.WaitMail(ctx, wait, func(MailSeen) {}); err != nil || f.Link != "" || f.Kind != verifymail.Link {
		t.Errorf("%+v, %v", f, err)
	}
	wait.Reveal = true
	if f, err := w.client.WaitMail(ctx, wait, func(MailSeen) {}); err != nil || f.Link != fakeLink {
		t.Errorf("%+v, %v", f, err)
	}
	if strings.Contains(w.logged(), "obviously-fake") {
		t.Error("a link is in the log")
	}
}

// TestMailWait: what is seen is told while it lasts, an end without the message
// is an error, and who goes away is not waited for.
func TestMailWait(t *testing.T) {
	w := newWorld(t)
	ctx, router := t.Context(), serviceOf(t, "openrouter")
	mine, err := w.client.MailAddress(ctx, MailAddressRequest{Service: router})
	if err != nil {
		t.Fatal(err)
	}
	w.come(t, "m1", mine)
	want := local.MailWait{Service: router, Address: mine.Address, Want: verifymail.Code}

	want.Timeout = 1
	told := 0
	if f, err := w.client.WaitMail(ctx, want, func(s MailSeen) {
		if told++; s.Came() != 1 || s.Refused[verifymail.NoCode] != 1 || s.Error != "" {
			t.Errorf("%+v", s)
		}
	}); code(err) != CodeNoMail || f != (local.MailFound{}) || told == 0 {
		t.Errorf("%+v, %v, told %d times", f, err, told)
	}
	want.Timeout = 0
	if _, err := w.client.WaitMail(ctx, want, nil); code(err) != CodeRequest {
		t.Errorf("for no time: %v", err)
	}

	// An inbox that cannot be read for a while is told of, and waited through.
	inbox := filepath.Join(w.paths.Mail(), "bots", mine.Wallet.String(), "inbound")
	if err := errors.Join(os.Rename(inbox, inbox+".away"), os.WriteFile(inbox, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	want.Want, want.Timeout = "", 60
	broken := 0
	if f, err := w.client.WaitMail(ctx, want, func(s MailSeen) {
		if broken++; broken > 1 {
			return
		}
		if s.Error == "" {
			t.Errorf("%+v", s)
		}
		if err := errors.Join(os.Remove(inbox), os.Rename(inbox+".away", inbox)); err != nil {
			t.Error(err)
		}
	}); err != nil || f.Kind != verifymail.Link || broken == 0 {
		t.Errorf("%+v, %v, told %d times", f, err, broken)
	}
	want.Want = verifymail.Code

	// Told means: while it waits, not at its end.
	want.Timeout = int64(local.MaxMailWait / time.Second)
	stop, cancel := context.WithCancel(ctx)
	if _, err := w.client.WaitMail(stop, want, func(MailSeen) { cancel() }); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	// The process has no part in it any more: it could end at once.
	done, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if err := w.server.http.Shutdown(done); err != nil {
		t.Errorf("it is still waited for: %v", err)
	}
}

// TestMailWaitOdd: an answer that ends early, or has two ends, is no message.
func TestMailWaitOdd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "s")
	ln, err := daemon.ListenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	var answer atomic.Value
	srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		_, _ = rw.Write([]byte(answer.Load().(string)))
	})}
	go func() { _ = srv.Serve(ln) }()
	defer srv.Close()
	for _, text := range []string{"", "{}\n", `{"seen":{}}` + "\n", "nonsense\n", `{"found":{"kind":"link"}}` + "\n", `{"seen":{}}` + "\n" + `{"error":{"code":"no-mail"}}` + "\n"} {
		answer.Store(text)
		told := 0
		if f, err := NewClient(path).WaitMail(t.Context(), local.MailWait{}, func(MailSeen) { told++ }); err == nil || told != strings.Count(text, "seen") {
			t.Errorf("%q: %+v, told %d times", text, f, told)
		}
	}
}
