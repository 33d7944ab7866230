package local

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/book"
	"github.com/litentry/agentkeys/internal/mailbox"
	"github.com/litentry/agentkeys/internal/mailhead"
	"github.com/litentry/agentkeys/internal/mailroute"
	"github.com/litentry/agentkeys/internal/mailstore"
	"github.com/litentry/agentkeys/internal/signer"
	"github.com/litentry/agentkeys/internal/verifymail"
)

const (
	farDomain = "bots.example.com"
	farHost   = "mx.bots.example.com"
)

// stamped is a message of OpenRouter's as the receiver host stores it.
func stamped(host, id, to, body string, at time.Time) []byte {
	text := fmt.Sprintf(`Return-Path: <bounce@openrouter.ai>
Received: from out.openrouter.ai ([192.0.2.7])
 by %[1]s with ESMTPS
 id %[2]s
 for %[3]s;
 %[4]s
Received-SPF: pass (%[1]s: openrouter.ai) client-ip=192.0.2.7;
Authentication-Results: %[1]s;
 spf=pass smtp.mailfrom=openrouter.ai;
 dkim=pass header.i=@openrouter.ai;
 dmarc=pass header.from=openrouter.ai
X-AgentKeys-Receipt: %[2]s
DKIM-Signature: v=1; a=rsa-sha256; d=openrouter.ai; s=fake; h=From:To:Subject; bh=ZmFrZQ==; b=ZmFrZQ==
From: noreply@openrouter.ai
To: %[3]s
Subject: Verify

%[5]s
`, host, id, to, at.UTC().Format("Mon, 2 Jan 2006 15:04:05 -0700"), body)
	return []byte(strings.ReplaceAll(text, "\n", "\r\n"))
}

// shelves are inboxes for looking at.
type shelves struct {
	mu      sync.Mutex
	items   map[agentkeys.Wallet][]mailstore.Item
	mail    map[agentkeys.MessageID][]byte
	onFetch func(agentkeys.MessageID) error
	onList  func() error
	fetched int
}

func (b *shelves) put(w agentkeys.Wallet, id string, at time.Time, text []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.items == nil {
		b.items, b.mail = map[agentkeys.Wallet][]mailstore.Item{}, map[agentkeys.MessageID][]byte{}
	}
	m := agentkeys.Must(agentkeys.ParseMessageID(id))
	b.items[w] = append(b.items[w], mailstore.Item{ID: m, At: at, Size: int64(len(text))})
	slices.SortFunc(b.items[w], func(x, y mailstore.Item) int { return cmp.Compare(x.ID.String(), y.ID.String()) })
	b.mail[m] = text
}

func (b *shelves) List(_ context.Context, w agentkeys.Wallet, after agentkeys.MessageID, limit int) (page mailstore.Page, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.onList != nil {
		if err := b.onList(); err != nil {
			return page, err
		}
	}
	for _, item := range b.items[w] {
		if item.ID.String() <= after.String() {
			continue
		}
		if len(page.Items) == min(limit, 7) { // pages are short here
			page.More = true
			break
		}
		page.Items = append(page.Items, item)
	}
	return page, nil
}

func (b *shelves) Fetch(_ context.Context, w agentkeys.Wallet, id agentkeys.MessageID, limit int64) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fetched++
	if b.onFetch != nil {
		if err := b.onFetch(id); err != nil {
			return nil, err
		}
	}
	if !slices.ContainsFunc(b.items[w], func(i mailstore.Item) bool { return i.ID == id }) {
		return nil, mailstore.ErrGone
	}
	if int64(len(b.mail[id])) > limit {
		return nil, mailstore.ErrTooLarge
	}
	return bytes.Clone(b.mail[id]), nil
}

// farMail is a host of a broker's whose mail is in box: the master's, or an
// agent's own.
func farMail(t *testing.T, f *far, agent string) (*world, *shelves) {
	t.Helper()
	box := &shelves{}
	r := f.remote(agent)
	r.Mail = &Mail{box, farDomain, mailhead.Host(farHost)}
	w := &world{t: t, dir: shortDir(t), roots: signer.NewRoots(), log: &syncBuffer{}}
	o := w.options()
	o.Roots.Clear()
	o.Roots, o.Remote, o.Paths.Device = signer.Roots{}, r, "thumb"
	h, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	w.Host = h
	t.Cleanup(w.close)
	return w, box
}

// TestMailOfBroker: a broker's mail is read by wallet; what was not sorted is
// not here to be seen; and an agent's machine reads its own and no other.
func TestMailOfBroker(t *testing.T) {
	f := newFar(t)
	w, box := farMail(t, f, "")
	coder := w.agent("coder")
	mine, err := w.MailAddress(openrouter, agentkeys.Agent{})
	if err != nil || mine.SMTP != "" || !strings.HasSuffix(mine.Address, "@"+farDomain) || mine.Wallet != w.wallet {
		t.Errorf("%+v, %v", mine, err)
	}
	its, err := w.MailAddress(openrouter, coder.Label)
	if err != nil || its.Wallet != coder.Wallet {
		t.Errorf("%+v, %v", its, err)
	}
	if _, err := w.MailAddress(serviceOf(t, "github"), agentkeys.Agent{}); !errors.Is(err, ErrNoTag) {
		t.Errorf("without a tag: %v", err)
	}
	box.put(w.wallet, "m1", time.Now(), stamped(farHost, "m1", mine.Address, "Go to "+fakeLink, time.Now()))
	box.put(coder.Wallet, "m2", time.Now(), stamped(farHost, "m2", its.Address, "Your verification code is 424242.", time.Now()))
	ctx := t.Context()
	for label, id := range map[agentkeys.Agent]string{{}: "m1", coder.Label: "m2"} {
		list, err := w.Mails(ctx, MailQuery{Agent: label, Limit: 10})
		if err != nil || len(list) != 1 || list[0].ID.String() != id || list[0].Place != PlaceInbox || list[0].Service != openrouter || list[0].Error != "" || list[0].Why != "" {
			t.Errorf("%s: %+v, %v", label, list, err)
		}
	}
	for _, p := range []Place{PlaceInbound, PlaceRefused} {
		if _, err := w.Mails(ctx, MailQuery{Place: p, Limit: 1}); !errors.Is(err, ErrPlace) {
			t.Errorf("%s: %v", p, err)
		}
		if _, err := w.RevealMail(ctx, MailQuery{Place: p}, agentkeys.Must(agentkeys.ParseMessageID("m1"))); !errors.Is(err, ErrPlace) {
			t.Errorf("%s: %v", p, err)
		}
	}
	if _, err := w.Mails(ctx, MailQuery{Agent: agentOf(t, "nobody"), Limit: 1}); !errors.Is(err, book.ErrUnknownAgent) {
		t.Errorf("nobody's mail: %v", err)
	}

	own, box := farMail(t, f, "coder")
	box.put(coder.Wallet, "m2", time.Now(), stamped(farHost, "m2", its.Address, "Your verification code is 424242.", time.Now()))
	if list, err := own.Mails(ctx, MailQuery{Limit: 10}); err != nil || len(list) != 1 || list[0].Has != verifymail.Code {
		t.Errorf("its own: %+v, %v", list, err)
	}
	for what, err := range map[string]error{
		"list":    second(own.Mails(ctx, MailQuery{Agent: coder.Label, Limit: 10})),
		"address": second(own.MailAddress(openrouter, coder.Label)),
		"wait":    second(own.WaitMail(ctx, MailWait{Service: openrouter, Agent: coder.Label, Address: its.Address, Timeout: 1}, nil)),
	} {
		if !errors.Is(err, ErrAgentHost) {
			t.Errorf("%s by name: %v", what, err)
		}
	}
	if err := second(own.WaitMail(ctx, MailWait{Service: openrouter, Address: mine.Address, Timeout: 1}, nil)); !errors.Is(err, ErrMailAddress) {
		t.Errorf("the master's address: %v", err)
	}

	none := f.host("")
	if _, err := none.MailAddress(openrouter, agentkeys.Agent{}); !errors.Is(err, ErrNoMail) {
		t.Errorf("a broker without mail: %v", err)
	}
	if _, err := none.Mails(ctx, MailQuery{Limit: 1}); !errors.Is(err, ErrNoMail) {
		t.Errorf("a broker without mail: %v", err)
	}
}

// TestMailsNewestFirst: a listing has the newest, by when they came and not by
// name, no more than asked for; and one that cannot be read does not hide the
// others.
func TestMailsNewestFirst(t *testing.T) {
	w, box := farMail(t, newFar(t), "")
	mine, err := w.MailAddress(openrouter, agentkeys.Agent{})
	if err != nil {
		t.Fatal(err)
	}
	const n = 100
	now := time.Now().Truncate(time.Second)
	age := func(i int) time.Duration { return time.Duration(i*37%n) * time.Minute } // each once
	want := make([]string, n)
	for i := range n {
		id := fmt.Sprintf("m%03d", i)
		at := now.Add(-age(i))
		box.put(w.wallet, id, at, stamped(farHost, id, mine.Address, "hello", at))
		want[i*37%n] = id
	}
	box.onFetch = func(id agentkeys.MessageID) error {
		if id.String() == want[1] {
			return errors.New("not now")
		}
		return nil
	}
	for _, limit := range []int{1, 2, 3, 10, 25, 26, n - 1, n, n + 1, MaxMails} {
		before := box.fetched
		list, err := w.Mails(t.Context(), MailQuery{Limit: limit})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for i, m := range list {
			got = append(got, m.ID.String())
			if (m.Error != "") != (i == 1) || (m.Why != verifymail.NoLink && m.Why != verifymail.NoCode) != (i == 1) || m.At.IsZero() || m.Size == 0 || m.Place != PlaceInbox {
				t.Errorf("%d: %+v", i, m)
			}
		}
		if !slices.Equal(got, want[:min(limit, n)]) {
			t.Errorf("of %d: %v", limit, got)
		}
		if read := box.fetched - before; read != min(limit, n) {
			t.Errorf("%d are read for %d", read, limit)
		}
	}
	for _, limit := range []int{0, -1, MaxMails + 1} {
		if _, err := w.Mails(t.Context(), MailQuery{Limit: limit}); !errors.Is(err, ErrMailSettings) {
			t.Errorf("of %d: %v", limit, err)
		}
	}
	box.onList = func() error { return errors.New("down") }
	if _, err := w.Mails(t.Context(), MailQuery{Limit: 1}); err == nil {
		t.Error("an inbox that cannot be listed is empty")
	}
}

// TestRevealIsRecordedFirst: a message is not even read before it is on record
// that it will be, and not given if that cannot be.
func TestRevealIsRecordedFirst(t *testing.T) {
	f := newFar(t)
	w, box := farMail(t, f, "")
	coder := w.agent("coder")
	its, err := w.MailAddress(openrouter, coder.Label)
	if err != nil {
		t.Fatal(err)
	}
	box.put(coder.Wallet, "m1", time.Now(), stamped(farHost, "m1", its.Address, "Go to "+fakeLink, time.Now()))
	id := agentkeys.Must(agentkeys.ParseMessageID("m1"))
	q, ctx := MailQuery{Agent: coder.Label}, t.Context()

	// Without the text there is nothing to record.
	if m, err := w.Mail(ctx, q, id); err != nil || m.Has != verifymail.Link || len(w.ops("mail.read")) != 0 {
		t.Errorf("%+v, %v, %v", m, err, w.ops("mail.read"))
	}
	at := -1
	box.onFetch = func(agentkeys.MessageID) error { at = len(w.ops("mail.read")); return nil }
	text, err := w.RevealMail(ctx, q, id)
	if err != nil || text.Link != fakeLink || !bytes.Contains(text.Raw, []byte("X-AgentKeys-Receipt")) {
		t.Errorf("%+v, %v", text, err)
	}
	if at != 1 {
		t.Errorf("%d entries when it was read", at)
	}
	box.onFetch = nil

	wait := MailWait{Service: openrouter, Agent: coder.Label, Address: its.Address, Timeout: 30}
	found, err := w.WaitMail(ctx, wait, nil)
	if err != nil || found.Link+found.Code != "" || found.Kind != verifymail.Link || found.Host != "clerk.openrouter.ai" || len(w.ops("mail.read")) != 1 {
		t.Errorf("unasked: %+v, %v", found, err)
	}
	wait.Reveal = true
	found, err = w.WaitMail(ctx, wait, nil)
	if events := w.ops("mail.read"); err != nil || found.Link != fakeLink || len(events) != 2 ||
		events[1].Svc != openrouter || events[1].Agent != coder.Label || events[1].Subject != "m1" || events[1].Actor != w.wallet {
		t.Errorf("%+v, %v, %+v", found, err, events)
	}

	if err := w.audit.Close(); err != nil {
		t.Fatal(err)
	}
	before := box.fetched
	if text, err := w.RevealMail(ctx, q, id); err == nil || text.Text+text.Link != "" || text.Raw != nil {
		t.Error("a message is shown that is not on record")
	}
	if box.fetched != before {
		t.Error("it is read though it cannot be recorded")
	}
	if found, err := w.WaitMail(ctx, wait, nil); err == nil || found != (MailFound{}) {
		t.Error("a link is given that is not on record")
	}
	w.Host = nil // it cannot be closed in order
}

// TestWaitIsForThisRun: what came before does not count, nor what is of another
// kind; progress is told while the wait lasts; and what no repetition helps
// with ends it.
func TestWaitIsForThisRun(t *testing.T) {
	w, box := farMail(t, newFar(t), "")
	mine, err := w.MailAddress(openrouter, agentkeys.Agent{})
	if err != nil {
		t.Fatal(err)
	}
	to, _, err := mailroute.ParseAddress(mine.Address)
	made, ok := to.Made()
	if err != nil || !ok {
		t.Fatal(err)
	}
	ctx := t.Context()
	// look waits until it is known that nothing has come that counts, or until it
	// has, and returns what came instead.
	look := func(change func(*MailWait)) (found MailFound, seen mailbox.Tally, err error) {
		q := MailWait{Service: openrouter, Address: mine.Address, Timeout: 60}
		change(&q)
		stop, cancel := context.WithCancel(ctx)
		defer cancel()
		found, err = w.WaitMail(stop, q, func(s mailbox.Seen) { seen = s.Tally; cancel() })
		return found, seen, err
	}
	none := func(what string, older int, refused verifymail.Reason, change func(*MailWait)) {
		t.Helper()
		found, seen, err := look(change)
		if !errors.Is(err, context.Canceled) || seen.Older != older || refused != "" && seen.Refused[refused] == 0 {
			t.Errorf("%s: %+v, %+v, %v", what, found, seen, err)
		}
	}
	before := made.Add(-3 * time.Minute)
	box.put(w.wallet, "m1", before, stamped(farHost, "m1", mine.Address, "Go to "+fakeLink, before))
	none("older than the address", 1, "", func(*MailWait) {})
	// When it came is not only the store's word.
	box.put(w.wallet, "m2", time.Now(), stamped(farHost, "m2", mine.Address, "Go to "+fakeLink, before))
	none("received before, and sorted late", 1, verifymail.TooEarly, func(*MailWait) {})
	if found, _, err := look(func(q *MailWait) { q.Since = made.Add(-time.Hour) }); err != nil || found.ID.String() != "m2" {
		t.Errorf("since then: %+v, %v", found, err)
	}
	box.put(w.wallet, "m3", time.Now(), stamped(farHost, "m3", mine.Address, "Go to "+fakeLink, time.Now()))
	if found, _, err := look(func(*MailWait) {}); err != nil || found.ID.String() != "m3" {
		t.Errorf("of this run: %+v, %v", found, err)
	}
	if found, _, err := look(func(q *MailWait) { q.Address = strings.Replace(q.Address, farDomain, "BOTS.example.com", 1) }); err != nil {
		t.Errorf("in capitals: %+v, %v", found, err)
	}
	none("of an hour from now", 3, "", func(q *MailWait) { q.Since = time.Now().Add(time.Hour) })
	none("a link in place of a code", 1, verifymail.NoCode, func(q *MailWait) { q.Want = verifymail.Code })
	none("of another sender", 1, verifymail.SenderUnknown, func(q *MailWait) { q.Senders = []string{"other.example"} })
	none("to another host", 1, verifymail.LinkHost, func(q *MailWait) { q.LinkHosts = []string{"other.example"} })
	if _, _, err := look(func(q *MailWait) { q.Want = "poem" }); !errors.Is(err, mailbox.ErrOptions) {
		t.Errorf("of a kind that there is not: %v", err)
	}
	for _, n := range []int64{0, -1, int64(MaxMailWait/time.Second) + 1, 1 << 40, 18446744074} { // the last is a third of a second, modulo 2⁶⁴
		if _, _, err := look(func(q *MailWait) { q.Timeout = n }); !errors.Is(err, ErrMailSettings) {
			t.Errorf("%d seconds: %v", n, err)
		}
	}

	// Progress comes by this goroutine, and none once the wait is over.
	stop, cancel := context.WithCancel(ctx)
	told := false
	_, err = w.WaitMail(stop, MailWait{Service: openrouter, Address: mine.Address, Timeout: 3600, Want: verifymail.Code}, func(mailbox.Seen) {
		cancel()
		time.Sleep(50 * time.Millisecond) // the wait is over, but for this
		told = true
	})
	if !errors.Is(err, context.Canceled) || !told {
		t.Errorf("cancelled: %v, told %v", err, told)
	}

	for _, no := range []error{ErrRefusedAway, ErrLoggedOut} {
		box.onList = func() error { return fmt.Errorf("far: %w", no) }
		_, err := w.WaitMail(ctx, MailWait{Service: openrouter, Address: mine.Address, Timeout: 3600}, func(mailbox.Seen) { t.Error("it goes on") })
		if !errors.Is(err, no) {
			t.Errorf("%v: %v", no, err)
		}
	}
}

// TestMailOfUnknownFacts: of a service whose mail is not known, the message is
// shown as its own, and why nothing is taken out of it.
func TestMailOfUnknownFacts(t *testing.T) {
	w, box := farMail(t, newFar(t), "")
	groq := serviceOf(t, "groq")
	a, err := w.MailAddress(groq, agentkeys.Agent{})
	if err != nil {
		t.Fatal(err)
	}
	box.put(w.wallet, "m1", time.Now(), stamped(farHost, "m1", a.Address, "Go to "+fakeLink, time.Now()))
	box.put(w.wallet, "m2", time.Now(), stamped("mx.elsewhere.example", "m2", a.Address, "Go to "+fakeLink, time.Now()))
	ctx := t.Context()
	m, err := w.Mail(ctx, MailQuery{}, agentkeys.Must(agentkeys.ParseMessageID("m1")))
	if err != nil || m.Service != groq || m.Address != a.Address || m.Has != "" || m.Why != verifymail.BadRules || m.By != mailroute.ByReceived {
		t.Errorf("%+v, %v", m, err)
	}
	// A block of a receiver that is not believed proves nothing.
	m, err = w.Mail(ctx, MailQuery{}, agentkeys.Must(agentkeys.ParseMessageID("m2")))
	if err != nil || m.Verdicts.Received || m.Verdicts.Aligned || m.By == mailroute.ByReceived {
		t.Errorf("%+v, %v", m, err)
	}
}

// TestLargeMail: of what is too large to be a sign-up's, nothing is read.
func TestLargeMail(t *testing.T) {
	w := newMailWorld(t)
	ctx := t.Context()
	text := bytes.Repeat([]byte("x"), maxShown+1)
	id := agentkeys.Must(agentkeys.ParseMessageID("large"))
	if err := w.mail.dir.Write(ctx, id, bytes.NewReader(text), int64(len(text))); err != nil {
		t.Fatal(err)
	}
	m := w.list(MailQuery{Place: PlaceInbound}, 1)[0]
	if m.Error == "" || m.Size != maxShown+1 {
		t.Errorf("%+v", m)
	}
	if text, err := w.RevealMail(ctx, MailQuery{Place: PlaceInbound}, id); !errors.Is(err, mailstore.ErrTooLarge) || text.Raw != nil {
		t.Errorf("%d bytes, %v", len(text.Raw), err)
	}
}

// TestMailDomain: a domain is the same however it is written.
func TestMailDomain(t *testing.T) {
	for in, want := range map[string]string{"Bots.Example.COM": "bots.example.com", "m\u00fcller.example": "xn--mller-kva.example"} {
		w := newWorld(t)
		w.close()
		o := w.options()
		o.Mail = MailSettings{Domain: in}
		var err error
		if w.Host, err = Open(o); err != nil {
			t.Fatal(err)
		}
		a, err := w.MailAddress(openrouter, agentkeys.Agent{})
		if err != nil || !strings.HasSuffix(a.Address, "@"+want) || w.mail.Receiver.AuthServID() != "mx."+want {
			t.Errorf("%s: %+v, %v, %s", in, a, err, w.mail.Receiver)
		}
	}
}

// TestMailRules: what is given for one call stands in place of what is known,
// and what is known of other hosts says nothing of those given.
func TestMailRules(t *testing.T) {
	w := newWorld(t)
	entry := func(name string) *catalog.Entry {
		e, err := w.cat.entry(serviceOf(t, name))
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	rc := mailhead.Host(farHost)
	hosts, senders := []string{"link.example"}, []string{"sender.example"}
	known, err := MailRules(entry("openrouter"), rc, MailHints{})
	if err != nil || len(known.LinkPaths) == 0 || known.Code == nil || known.Receiver != rc {
		t.Errorf("%+v, %v", known, err)
	}
	if r, err := MailRules(entry("openrouter"), rc, MailHints{LinkHosts: hosts}); err != nil || len(r.LinkPaths) != 0 || !slices.Equal(r.LinkHosts, hosts) || !slices.Equal(r.Senders, known.Senders) {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err := MailRules(entry("openrouter"), rc, MailHints{Senders: senders}); err != nil || !slices.Equal(r.Senders, senders) || !slices.Equal(r.LinkPaths, known.LinkPaths) || !slices.Equal(r.LinkHosts, known.LinkHosts) {
		t.Errorf("%+v, %v", r, err)
	}
	for _, hints := range []MailHints{{}, {LinkHosts: hosts}, {Senders: senders}} {
		if r, err := MailRules(entry("groq"), rc, hints); !errors.Is(err, ErrMailFacts) || r.Senders != nil {
			t.Errorf("%+v: %+v, %v", hints, r, err)
		}
	}
}

// TestMailAfterStart: no address is made that this process would not sort yet,
// and what a kill has left of mail coming in is removed.
func TestMailAfterStart(t *testing.T) {
	w := newWorld(t)
	data, err := os.ReadFile("../../catalog/groq.yaml")
	if err != nil {
		t.Fatal(err)
	}
	added := bytes.Replace(data, []byte("\nmail_tag: gr\n"), []byte("\nmail_tag: qq\n"), 1)
	if _, err := w.AddService(t.Context(), "groq.yaml", added, true); err != nil {
		t.Fatal(err)
	}
	if a, err := w.MailAddress(serviceOf(t, "groq"), agentkeys.Agent{}); !errors.Is(err, ErrNoTag) {
		t.Errorf("%+v, %v", a, err)
	}
	p := w.options().Paths
	w.close()
	left := filepath.Join(p.MailSpool(), ".tmp-123")
	if err := os.WriteFile(left, []byte("half a message"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.open()
	if a, err := w.MailAddress(serviceOf(t, "groq"), agentkeys.Agent{}); err != nil || !strings.HasPrefix(a.Address, "qq-") {
		t.Errorf("%+v, %v", a, err)
	}
	if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what was left is there: %v", err)
	}
}
