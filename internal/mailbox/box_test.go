package mailbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/mailhead"
	"github.com/litentry/agentkeys/internal/mailroute"
	"github.com/litentry/agentkeys/internal/mailstore"
	"github.com/litentry/agentkeys/internal/verifymail"
)

const (
	domain = "agents.example"
	host   = "mx.agentkeys.localhost"
)

var (
	wallet = agentkeys.Must(agentkeys.ParseWallet("0x" + strings.Repeat("1a", 20)))
	other  = agentkeys.Must(agentkeys.ParseWallet("0x" + strings.Repeat("2b", 20)))

	errDown   = errors.New("the store does not answer")
	errDenied = errors.New("the store denied this")
)

// address is one of w's, of the run n.
func address(w agentkeys.Wallet, n uint64) mailroute.Address {
	return agentkeys.Must(mailroute.NewAddress("or", w, time.Unix(1795312800, 0), n))
}

// options wait for the message to the first address of wallet.
func options(inbox mailstore.Inbox) Options {
	return Options{
		Inbox: inbox, Wallet: wallet,
		Query: verifymail.Query{To: address(wallet, 1), Domain: domain, NotBefore: time.Now()},
		Rules: verifymail.Rules{
			Senders: []string{"service.example"}, LinkHosts: []string{"service.example"}, LinkPaths: []string{"/verify"},
			Receiver: mailhead.Host(host),
		},
		Permanent: func(err error) bool { return errors.Is(err, errDenied) },
	}
}

// mail is a message as the receiver stamps it.
type mail struct {
	to     mailroute.Address
	from   string        // domain
	at     time.Time     // when it was received
	late   time.Duration // how much later it was sorted
	token  string        // of the link
	noDKIM bool
	pad    int
}

func (m mail) bytes(id agentkeys.MessageID) []byte {
	if m.from == "" {
		m.from = "service.example"
	}
	dkim := "dkim=pass header.i=@" + m.from + " header.d=" + m.from
	if m.noDKIM {
		dkim = "dkim=none"
	}
	to := m.to.At(domain)
	text := fmt.Sprintf(`Return-Path: <bounce@%[1]s>
Received: from out.%[1]s (out.%[1]s [192.0.2.7])
 by %[2]s with ESMTPS id %[3]s
 for <%[4]s>; %[5]s
Received-SPF: pass
Authentication-Results: %[2]s; spf=pass smtp.mailfrom=bounce@%[1]s;
 %[6]s; dmarc=pass header.from=%[1]s
X-AgentKeys-Receipt: %[3]s
DKIM-Signature: v=1; a=rsa-sha256; d=%[1]s; s=fake; h=From:To:Subject:Date:Content-Type; bh=ZmFrZQ==; b=ZmFrZQ==
From: "Service" <noreply@%[1]s>
To: <%[4]s>
Subject: Verify your address
Date: %[5]s
Content-Type: text/plain; charset=utf-8

Follow https://service.example/verify?token=%[7]s to go on.
%[8]s
`, m.from, host, id, to, m.at.UTC().Format(time.RFC1123Z), dkim, m.token, strings.Repeat("x", m.pad))
	return []byte(strings.ReplaceAll(text, "\n", "\r\n"))
}

// box is an inbox that does what a test says.
type box struct {
	mu      sync.Mutex
	items   []mailstore.Item // sorted by id
	mail    map[agentkeys.MessageID]mail
	lists   int
	fetched map[agentkeys.MessageID]int
	onList  func(n int) error // the nth page, from 1, when it is made
	onFetch func(id agentkeys.MessageID, n int) error
}

func newBox() *box {
	return &box{mail: map[agentkeys.MessageID]mail{}, fetched: map[agentkeys.MessageID]int{}}
}

func id(s string) agentkeys.MessageID { return agentkeys.Must(agentkeys.ParseMessageID(s)) }

// put has a message come, now by the store's clock unless m says when.
func (b *box) put(name string, m mail) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if m.at.IsZero() {
		m.at = time.Now()
	}
	it := mailstore.Item{ID: id(name), Size: int64(len(m.bytes(id(name)))), At: m.at.Add(m.late)}
	i, _ := slices.BinarySearchFunc(b.items, it, func(a, b mailstore.Item) int { return strings.Compare(a.ID.String(), b.ID.String()) })
	b.items = slices.Insert(b.items, i, it)
	b.mail[it.ID] = m
}

func (b *box) List(ctx context.Context, w agentkeys.Wallet, after agentkeys.MessageID, limit int) (mailstore.Page, error) {
	page, n, err := b.page(ctx, w, after, limit)
	if err == nil && b.onList != nil {
		err = b.onList(n)
	}
	if err != nil {
		return mailstore.Page{}, err
	}
	return page, nil
}

func (b *box) page(ctx context.Context, w agentkeys.Wallet, after agentkeys.MessageID, limit int) (mailstore.Page, int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lists++
	if err := ctx.Err(); err != nil {
		return mailstore.Page{}, b.lists, err
	}
	if w != wallet || limit < 1 || limit > mailstore.MaxPage {
		return mailstore.Page{}, b.lists, mailstore.ErrInvalid
	}
	i, found := slices.BinarySearchFunc(b.items, after.String(), func(a mailstore.Item, s string) int { return strings.Compare(a.ID.String(), s) })
	if found {
		i++
	}
	end := min(i+limit, len(b.items))
	return mailstore.Page{Items: slices.Clone(b.items[i:end]), More: end < len(b.items)}, b.lists, nil
}

func (b *box) Fetch(ctx context.Context, w agentkeys.Wallet, id agentkeys.MessageID, limit int64) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fetched[id]++
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if b.onFetch != nil {
		if err := b.onFetch(id, b.fetched[id]); err != nil {
			return nil, err
		}
	}
	m, ok := b.mail[id]
	if !ok || w != wallet {
		return nil, mailstore.ErrGone
	}
	text := m.bytes(id)
	if int64(len(text)) > limit {
		return nil, mailstore.ErrTooLarge
	}
	return text, nil
}

func (b *box) looks() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lists
}

// watched is a box that tells of mail.
type watched struct {
	*box
	mu      sync.Mutex
	opened  int
	live    atomic.Int32
	fail    error
	hints   chan struct{}
	dropped chan struct{} // closed: the watch is lost
}

func (b *watched) Watch(ctx context.Context, _ agentkeys.Wallet) (<-chan struct{}, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.opened++
	if b.fail != nil {
		return nil, b.fail
	}
	b.hints, b.dropped = make(chan struct{}, 1), make(chan struct{})
	out := make(chan struct{})
	b.live.Add(1)
	go func(in, dropped <-chan struct{}) {
		defer b.live.Add(-1)
		defer close(out)
		for {
			select {
			case <-ctx.Done():
				return
			case <-dropped:
				return
			case <-in:
			}
			select {
			case <-ctx.Done():
				return
			case <-dropped:
				return
			case out <- struct{}{}:
			}
		}
	}(b.hints, b.dropped)
	return out, nil
}

func (b *watched) hint() {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case b.hints <- struct{}{}:
	default:
	}
}

func (b *watched) lose() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.dropped != nil {
		close(b.dropped)
		b.dropped = nil
	}
}

func (b *watched) watches() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.opened
}
