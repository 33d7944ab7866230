package mailrouter_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/mailrouter"
	"github.com/litentry/agentkeys/internal/mailstore"
	"github.com/litentry/agentkeys/internal/mailstore/mailstoretest"
)

// flooded is a router with limits, a store and a clock.
type flooded struct {
	*mailrouter.Router
	m       *mailstoretest.Memory
	elapsed atomic.Int64
	n       atomic.Int64
}

func newFlooded(t *testing.T, l mailrouter.Limits) *flooded {
	f := &flooded{m: new(mailstoretest.Memory)}
	f.Router = newRouter(t, f.m, func(o *mailrouter.Options) {
		o.Limits = l
		o.Now = func() time.Time { return now.Add(time.Duration(f.elapsed.Load())) }
	})
	return f
}

// mail lets a message arrive and returns its id.
func (f *flooded) mail(change func(*mailstoretest.Mail)) string {
	id := fmt.Sprint("m", f.n.Add(1))
	x := mail(id)
	if change != nil {
		change(&x)
	}
	f.m.Plant("inbound/"+id, x.Bytes())
	return id
}

// is handles a message and checks what becomes of it; a reason means that it is
// held back.
func (f *flooded) is(t *testing.T, id string, o mailrouter.Outcome, reason string) {
	t.Helper()
	e, err := f.Handle(t.Context(), event(id))
	if e.Outcome != o || e.Reason != reason || errors.Is(err, mailrouter.ErrFlood) != (o == mailrouter.Deferred) || (err != nil) != (o == mailrouter.Deferred) {
		t.Errorf("%s: %+v, %v, want %s %s", id, e, err, o, reason)
	}
}

func (f *flooded) pass(d time.Duration) { f.elapsed.Add(int64(d)) }

func TestWalletLimit(t *testing.T) {
	f := newFlooded(t, mailrouter.Limits{Wallet: mailrouter.Rate{Messages: 3, Per: time.Minute}})
	first := f.mail(nil)
	f.is(t, first, mailrouter.Placed, "")
	f.is(t, f.mail(nil), mailrouter.Placed, "")
	f.is(t, f.mail(nil), mailrouter.Placed, "")
	late := f.mail(nil)
	f.is(t, late, mailrouter.Deferred, mailrouter.ReasonFloodWallet)
	f.is(t, late, mailrouter.Deferred, mailrouter.ReasonFloodWallet)
	f.is(t, f.mail(func(x *mailstoretest.Mail) { x.Envelope = mailstoretest.Address(mailstoretest.Wallet(8)) }), mailrouter.Placed, "")
	// What was placed is no matter of the limit any more.
	f.is(t, first, mailrouter.Already, "")
	f.pass(19 * time.Second)
	f.is(t, late, mailrouter.Deferred, mailrouter.ReasonFloodWallet)
	f.pass(2 * time.Second)
	f.is(t, late, mailrouter.Placed, "")
	f.is(t, f.mail(nil), mailrouter.Deferred, mailrouter.ReasonFloodWallet)
	// Not more than so many at once, however long it was quiet.
	f.pass(24 * time.Hour)
	for range 3 {
		f.is(t, f.mail(nil), mailrouter.Placed, "")
	}
	f.is(t, f.mail(nil), mailrouter.Deferred, mailrouter.ReasonFloodWallet)
	// A clock that goes back gives no time twice.
	for range 5 {
		f.pass(-10 * time.Second)
		f.is(t, first, mailrouter.Already, "")
		f.pass(10 * time.Second)
		f.is(t, f.mail(nil), mailrouter.Deferred, mailrouter.ReasonFloodWallet)
	}
}

func TestSenderLimit(t *testing.T) {
	f := newFlooded(t, mailrouter.Limits{Sender: mailrouter.Rate{Messages: 2, Per: time.Hour}})
	wallets := byte(0)
	from := func(sender, spf string) string { // each to a wallet of its own
		wallets++
		id := fmt.Sprint("s", wallets)
		x := mail(id)
		x.Sender, x.SPF, x.Envelope = sender, spf, mailstoretest.Address(mailstoretest.Wallet(wallets))
		f.m.Plant("inbound/"+id, x.Bytes())
		return id
	}
	for _, c := range []struct {
		a, b, spf string // two senders that are one
	}{
		{"one@sender.example", "two@SENDER.example", "pass"},
		{"one@other.example", "two@other.example", "pass"},
		// Somebody who writes another's name does not hold back his mail.
		{"one@sender.example", "two@sender.example", "fail"},
		{"one@third.example", "two@third.example", "none"},
	} {
		f.is(t, from(c.a, c.spf), mailrouter.Placed, "")
		f.is(t, from(c.b, c.spf), mailrouter.Placed, "")
		held := from(c.a, c.spf)
		f.is(t, held, mailrouter.Deferred, mailrouter.ReasonFloodSender)
		defer func() { f.is(t, held, mailrouter.Placed, "") }()
	}
	f.pass(time.Hour)
}

// TestNullSender: it is nobody's, so that nobody can use it up for others; the
// limit of a wallet is for it too.
func TestNullSender(t *testing.T) {
	f := newFlooded(t, mailrouter.Limits{
		Sender: mailrouter.Rate{Messages: 2, Per: time.Hour}, Wallet: mailrouter.Rate{Messages: 3, Per: time.Hour},
	})
	n := 0
	bounce := func(w byte, spf string) string {
		n++
		id := fmt.Sprint("b", n)
		x := mail(id)
		x.Sender, x.SPF, x.Envelope = "", spf, mailstoretest.Address(mailstoretest.Wallet(w))
		f.m.Plant("inbound/"+id, x.Bytes())
		return id
	}
	for w := range byte(5) {
		f.is(t, bounce(1+w, "pass"), mailrouter.Placed, "")
		f.is(t, bounce(1+w, "fail"), mailrouter.Placed, "")
		f.is(t, bounce(1+w, "none"), mailrouter.Placed, "")
	}
	f.is(t, bounce(1, "none"), mailrouter.Deferred, mailrouter.ReasonFloodWallet)
}

// TestFree: what is not newly placed costs nothing.
func TestFree(t *testing.T) {
	one := mailrouter.Rate{Messages: 1, Per: time.Hour}
	f := newFlooded(t, mailrouter.Limits{Wallet: one, Sender: one})
	ignored := f.mail(func(x *mailstoretest.Mail) { x.Envelope = "login@" + mailstoretest.Domain })
	refused := f.mail(func(x *mailstoretest.Mail) { x.Envelope = "zz" + mine[2:] })
	before := f.mail(nil) // placed by another process
	if e, err := newRouter(t, f.m, nil).Handle(t.Context(), event(before)); err != nil || e.Outcome != mailrouter.Placed {
		t.Fatalf("%+v, %v", e, err)
	}
	for range 3 {
		f.is(t, ignored, mailrouter.Ignored, "other-address")
		f.is(t, refused, mailrouter.Refused, "unknown-tag")
		f.is(t, "nothing", mailrouter.Gone, "")
		f.is(t, before, mailrouter.Already, "")
	}
	// Nor does what could not be placed.
	x := &mailstoretest.Mortal{Arrived: f.m, Fault: mailstoretest.Kill, At: 1}
	r := newRouter(t, x, func(o *mailrouter.Options) { o.Limits = mailrouter.Limits{Wallet: one, Sender: one} })
	id := f.mail(nil)
	for range 3 {
		x.Calls = 0
		if e, err := r.Handle(t.Context(), event(id)); !errors.Is(err, mailstoretest.ErrInjected) {
			t.Errorf("%+v, %v", e, err)
		}
	}
	x.Fault = mailstoretest.None
	if e, err := r.Handle(t.Context(), event(id)); err != nil || e.Outcome != mailrouter.Placed {
		t.Errorf("%+v, %v", e, err)
	}
	f.is(t, f.mail(nil), mailrouter.Placed, "")
	f.is(t, f.mail(nil), mailrouter.Deferred, mailrouter.ReasonFloodWallet)
}

// gate is a store in which nothing is placed until it is opened.
type gate struct {
	*mailstoretest.Memory
	came chan struct{}
	open chan struct{}
}

func (g *gate) Place(ctx context.Context, id agentkeys.MessageID, v mailstore.Version, w agentkeys.Wallet) (bool, error) {
	g.came <- struct{}{}
	<-g.open
	return g.Memory.Place(ctx, id, v, w)
}

// TestLimitIsExact: of many at once, as many as may be are placed; those that
// are on the way count.
func TestLimitIsExact(t *testing.T) {
	const all, most = 100, 10
	g := &gate{new(mailstoretest.Memory), make(chan struct{}, all), make(chan struct{})}
	r := newRouter(t, g, func(o *mailrouter.Options) {
		o.Limits = mailrouter.Limits{Wallet: mailrouter.Rate{Messages: most, Per: time.Hour}, Sender: mailrouter.Rate{Messages: 1000, Per: time.Hour}}
	})
	held := make(chan struct{}, all)
	var placed atomic.Int64
	var wg sync.WaitGroup
	for n := range all {
		id := fmt.Sprint("m", n)
		g.Plant("inbound/"+id, mail(id).Bytes())
		wg.Go(func() {
			switch e, err := r.Handle(t.Context(), event(id)); {
			case err == nil && e.Outcome == mailrouter.Placed:
				placed.Add(1)
			case errors.Is(err, mailrouter.ErrFlood):
				held <- struct{}{}
			default:
				t.Errorf("%+v, %v", e, err)
			}
		})
	}
	for range all {
		select {
		case <-g.came:
		case <-held:
		}
	}
	close(g.open)
	wg.Wait()
	if placed.Load() != most {
		t.Errorf("%d were placed", placed.Load())
	}
}

// TestTableIsBounded: what is remembered is not more than was said, and who
// is forgotten starts anew.
func TestTableIsBounded(t *testing.T) {
	f := newFlooded(t, mailrouter.Limits{Wallet: mailrouter.Rate{Messages: 1, Per: time.Hour}, Remember: 4})
	to := func(n byte) string {
		return f.mail(func(x *mailstoretest.Mail) { x.Envelope = mailstoretest.Address(mailstoretest.Wallet(n)) })
	}
	for n := range byte(4) {
		f.is(t, to(n), mailrouter.Placed, "")
	}
	f.is(t, to(0), mailrouter.Deferred, mailrouter.ReasonFloodWallet) // and so is the newest
	f.is(t, to(9), mailrouter.Placed, "")
	f.is(t, to(0), mailrouter.Deferred, mailrouter.ReasonFloodWallet)
	f.is(t, to(1), mailrouter.Placed, "")
}
