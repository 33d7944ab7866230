package daemon

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/envelope"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/secret"
)

// clock is one that is set.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// giver is a Vault that gives tokens, of no revision unless rev says so.
type giver struct {
	clock *clock
	life  time.Duration
	rev   uint64
	began chan struct{} // told of each load, if not nil
	let   chan struct{} // a load waits for it, if not nil

	mu    sync.Mutex
	err   error
	loads int
	out   []*[]byte
}

func (g *giver) Load(context.Context, grant.Permit) (envelope.Record, envelope.Header, error) {
	began := g.clock.now()
	if g.began != nil {
		g.began <- struct{}{}
	}
	if g.let != nil {
		<-g.let
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.loads++
	if g.err != nil {
		return envelope.Record{}, envelope.Header{}, g.err
	}
	b := fmt.Appendf(nil, "token-%d", len(g.out)+1)
	g.out = append(g.out, &b)
	return envelope.Record{Secret: secret.New(b), ExpiresAt: began.Add(g.life)}, envelope.Header{Revision: g.rev}, nil
}

func (g *giver) fail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.err = err
}

func (g *giver) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.loads
}

// left returns how many tokens are not cleared.
func (g *giver) left() (n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, b := range g.out {
		if strings.Trim(string(*b), "\x00") != "" {
			n++
		}
	}
	return n
}

// giving is a cache over a giver, with a clock that is set.
type giving struct {
	*cache
	*giver
	t *testing.T
	l *lender
	f *told
}

func newGiving(t *testing.T, life time.Duration) *giving {
	g := &giving{giver: &giver{clock: &clock{t: start}, life: life}, t: t, l: newLender(t), f: &told{}}
	g.cache = newCache(g.giver, time.Hour, g.f.forget)
	g.cache.now = g.clock.now
	return g
}

// use gets a token, and releases it.
func (g *giving) use() string {
	g.t.Helper()
	p := g.l.permit(wallet(1))
	v, err := g.get(g.t.Context(), p, g.clock.now())
	if err != nil {
		return err.Error()
	}
	text := string(v.Expose())
	g.release(p, g.clock.now())
	return text
}

// until waits for what happens in the background.
func (g *giving) until(what string, is func() bool) {
	g.t.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			g.t.Fatalf("not so: %s", what)
		}
	}
}

// renewing reports whether a renewal is under way.
func (g *giving) renewing() bool {
	g.cache.mu.Lock()
	defer g.cache.mu.Unlock()
	for _, e := range g.entries {
		if e.next != nil {
			return true
		}
	}
	return false
}

// loading waits for a load to begin.
func (g *giving) loading() {
	g.t.Helper()
	select {
	case <-g.began:
	case <-time.After(10 * time.Second):
		g.t.Fatal("nothing is loaded")
	}
}

func (g *giving) wants(want string) {
	g.t.Helper()
	if got := g.use(); got != want {
		g.t.Fatalf("got %s, want %s", got, want)
	}
}

// TestRenewal: one that ends soon is replaced in the background, by one load
// whatever the concurrency, and is used until the other is there.
func TestRenewal(t *testing.T) {
	g := newGiving(t, time.Hour)
	g.wants("token-1")
	g.clock.move(48 * time.Minute)
	g.wants("token-1")
	if g.count() != 1 {
		t.Fatal("renewed before its time")
	}
	g.began, g.let = make(chan struct{}, 100), make(chan struct{})
	g.clock.move(time.Second)
	held := g.l.permit(wallet(1))
	if v, err := g.get(t.Context(), held, g.clock.now()); err != nil || string(v.Expose()) != "token-1" {
		t.Fatalf("%s %v", v.Expose(), err)
	}
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if got := g.use(); got != "token-1" {
				t.Errorf("while it is renewed: %s", got)
			}
		})
	}
	wg.Wait()
	g.loading()
	close(g.let)
	g.until("the new one is used", func() bool { return g.use() == "token-2" })
	if g.count() != 2 || g.left() != 2 {
		t.Errorf("%d loads, %d not cleared", g.count(), g.left())
	}
	// A request that is under way keeps its own.
	g.release(held, g.clock.now())
	if g.left() != 1 || g.f.count() != 1 || g.len() != 1 {
		t.Errorf("%d not cleared, %d forgotten, %d kept", g.left(), g.f.count(), g.len())
	}
	// Over many lives it is one load a life.
	for n := 3; n < 20; n++ {
		g.clock.move(50 * time.Minute)
		g.use()
		g.until("renewed", func() bool { return g.use() == fmt.Sprint("token-", n) })
	}
	if g.count() != 19 || g.left() != 1 {
		t.Errorf("%d loads, %d not cleared", g.count(), g.left())
	}
}

// TestRenewalWindows: when that is, by how long it lives.
func TestRenewalWindows(t *testing.T) {
	for life, want := range map[time.Duration]time.Duration{
		2 * time.Second: time.Second, 90 * time.Second: 45 * time.Second, 2 * time.Minute: time.Minute,
		5 * time.Minute: time.Minute, 10 * time.Minute: 2 * time.Minute, time.Hour: 12 * time.Minute,
	} {
		l := lifeFrom(start, start.Add(life))
		if l.window() != want || l.due(start.Add(life-want)) || !l.due(start.Add(life-want+1)) {
			t.Errorf("%s: %s before its end, want %s", life, l.window(), want)
		}
		if l.over(start) || l.over(start.Add(life-min(10*time.Second, life/10)-1)) || !l.over(start.Add(life-min(10*time.Second, life/10))) {
			t.Errorf("%s is over at another time", life)
		}
	}
	if (life{}).over(start.AddDate(1000, 0, 0)) || (life{}).due(start.AddDate(1000, 0, 0)) {
		t.Error("what does not end does")
	}
}

// TestRenewalEnd: one that is over is not used, whatever became of its renewal.
func TestRenewalEnd(t *testing.T) {
	g := newGiving(t, time.Hour)
	g.wants("token-1")
	g.clock.move(50 * time.Minute)
	down := errors.New("down")
	g.fail(down)
	g.wants("token-1")
	g.until("a renewal failed", func() bool { return g.count() == 2 && !g.renewing() })
	// It is not tried at every use, and again after a while.
	for range 10 {
		g.wants("token-1")
		g.until("nothing is under way", func() bool { return !g.renewing() })
	}
	if n := g.count(); n != 2 {
		t.Errorf("%d loads", n)
	}
	for n := 3; n < 8; n++ {
		g.clock.move(lastAgain)
		g.wants("token-1")
		g.until("it is tried again", func() bool { return g.count() == n && !g.renewing() })
	}
	g.clock.move(10*time.Minute - 5*lastAgain - margin)
	g.wants("down")
	g.wants("down")
	if g.len() != 0 || g.left() != 0 {
		t.Errorf("%d kept, %d not cleared", g.len(), g.left())
	}
	g.fail(nil)
	g.wants("token-2")

	// What is over while its renewal is under way waits for that.
	g.clock.move(50 * time.Minute)
	g.began, g.let = make(chan struct{}, 100), make(chan struct{})
	g.wants("token-2")
	g.loading()
	g.clock.move(10 * time.Minute)
	got := make(chan string)
	for range 10 {
		go func() { got <- g.use() }()
	}
	g.until("the old one is cleared", func() bool { return g.left() == 0 })
	close(g.let)
	for range 10 {
		if text := <-got; text != "token-3" {
			t.Errorf("got %s", text)
		}
	}
	// One that comes when it is over already is not used either.
	g.life = -time.Second
	g.remove(wallet(1), serviceOf(t, "openai"))
	g.wants(errEnded.Error())
}

// TestRenewalForgotten: what is forgotten or revoked while it is renewed does
// not come back.
func TestRenewalForgotten(t *testing.T) {
	for _, all := range []bool{false, true} {
		g := newGiving(t, time.Hour)
		g.wants("token-1")
		g.clock.move(50 * time.Minute)
		g.began, g.let = make(chan struct{}, 100), make(chan struct{})
		g.wants("token-1")
		g.loading()
		if all {
			g.evict(g.clock.now(), true)
		} else {
			g.remove(wallet(1), serviceOf(t, "openai"))
		}
		if g.left() != 0 {
			t.Error("not cleared")
		}
		close(g.let)
		g.until("the load has ended", func() bool { return g.count() == 2 && g.f.count() == 2 })
		if g.len() != 0 || g.left() != 0 {
			t.Errorf("%d kept, %d not cleared", g.len(), g.left())
		}
		g.wants("token-3")
	}
}

// TestRenewalOfUse: what nobody uses is not renewed, and goes when it is idle
// or over; but not for its age, since nobody can have replaced it elsewhere.
func TestRenewalOfUse(t *testing.T) {
	g := newGiving(t, 10*time.Minute)
	g.maxAge = time.Minute
	g.wants("token-1")
	g.clock.move(5 * time.Minute)
	g.evict(g.clock.now(), false)
	g.wants("token-1")
	g.clock.move(5 * time.Minute)
	g.evict(g.clock.now(), false)
	if g.count() != 1 || g.len() != 0 || g.left() != 0 {
		t.Errorf("%d loads, %d kept, %d not cleared", g.count(), g.len(), g.left())
	}
}

// TestStoredEnds: a stored credential that has an end is kept as others are:
// whether it is still good is its service's affair.
func TestStoredEnds(t *testing.T) {
	g := newGiving(t, time.Minute)
	g.rev = 1
	g.wants("token-1")
	g.clock.move(time.Hour)
	g.wants("token-1")
	if g.count() != 1 || g.exchanged(grant.Permit{}) {
		t.Errorf("%d loads", g.count())
	}
}

// TestRenewalSleep: a token is over if either the wall clock says so, which goes
// on while a laptop sleeps, or the other one, which nobody can set.
func TestRenewalSleep(t *testing.T) {
	began := time.Now()
	l := lifeFrom(began, began.Add(time.Hour))
	slept := began.Round(0).Add(2 * time.Hour) // the wall clock alone
	if !l.over(slept) {
		t.Error("not over after a sleep")
	}
	// time.Now has no way to set one clock; a life whose end is far by the wall
	// clock is the same as one whose wall clock was set back.
	l.end = l.end.AddDate(1, 0, 0)
	if !l.over(began.Add(time.Hour)) || l.over(began.Add(30*time.Minute)) || !l.due(began.Add(50*time.Minute)) {
		t.Error("a clock that is set back prolongs a token")
	}
}

// TestRenewalRaces is for the race detector: everything at once, and nothing is
// used after its end or left behind.
func TestRenewalRaces(t *testing.T) {
	g := newGiving(t, time.Minute)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 300 {
				p := g.l.permit(wallet(byte(1 + n%2)))
				v, err := g.get(t.Context(), p, g.clock.now())
				if err != nil && !errors.Is(err, errEnded) {
					t.Error(err)
				}
				if err == nil && !strings.HasPrefix(string(v.Expose()), "token-") {
					t.Errorf("%q", v.Expose())
				}
				switch {
				case i == 0:
					g.clock.move(time.Second)
				case i == 1 && n%16 == 0:
					g.remove(p.Wallet(), p.Service())
				case i == 2 && n%32 == 0:
					g.evict(g.clock.now(), n%64 == 0)
				}
				g.release(p, g.clock.now())
			}
		})
	}
	wg.Wait()
	g.until("no load is under way", func() bool {
		g.evict(g.clock.now(), true)
		return g.left() == 0 && g.f.count() == len(g.out) && len(g.lent) == 0
	})
}

// TestRefusedEarly: a token that its service refuses before its end is used no
// more, once, and not again and again for who is refused whatever he shows.
func TestRefusedEarly(t *testing.T) {
	g := newGiving(t, time.Hour)
	lent := func(want string) grant.Permit {
		t.Helper()
		p := g.l.permit(wallet(1))
		if v, err := g.get(t.Context(), p, g.clock.now()); err != nil || string(v.Expose()) != want {
			t.Fatalf("%s %v", v.Expose(), err)
		}
		return p
	}
	one, two := lent("token-1"), lent("token-1")
	g.refused(one)
	g.wants("token-1") // it has just come
	g.clock.move(trust)
	g.refused(one)
	g.release(one, g.clock.now())
	g.wants("token-2")
	g.refused(two) // it is not the one that is used now
	g.refused(grant.Permit{})
	g.wants("token-2")
	if g.left() != 2 {
		t.Errorf("%d not cleared while a request has the old one", g.left())
	}
	g.release(two, g.clock.now())
	if g.count() != 2 || g.left() != 1 || g.len() != 1 {
		t.Errorf("%d loads, %d not cleared, %d kept", g.count(), g.left(), g.len())
	}
	// While another is on its way, that one is waited for.
	g.clock.move(50 * time.Minute)
	g.began, g.let = make(chan struct{}, 100), make(chan struct{})
	three := lent("token-2")
	g.loading()
	g.refused(three)
	g.release(three, g.clock.now())
	close(g.let)
	g.wants("token-3")
	if g.count() != 3 || g.left() != 1 {
		t.Errorf("%d loads, %d not cleared", g.count(), g.left())
	}
	// A stored key stays, whatever its service says.
	s := newGiving(t, time.Hour)
	s.rev = 1
	p := s.l.permit(wallet(1))
	if _, err := s.get(t.Context(), p, s.clock.now()); err != nil {
		t.Fatal(err)
	}
	s.clock.move(time.Minute)
	s.refused(p)
	s.release(p, s.clock.now())
	s.wants("token-1")
}

// TestLendKind: a route gets the kind of credential that it is for, and what is
// kept of the other kind goes.
func TestLendKind(t *testing.T) {
	w := newWorld(t)
	g := &giver{clock: &clock{t: start}, life: time.Hour}
	w.cache.vault = g
	if l, err := w.lend(t.Context(), "r1"); !errors.Is(err, errChanged) || !l.Secret.IsZero() || w.Cached() != 0 || g.left() != 0 {
		t.Errorf("a token for a route of keys: %v, %d cached", err, w.Cached())
	}
	e := entryOf(t, "openai", catalog.Settings{})
	e.Owner.Federation = &catalog.Exchange{}
	keyed := w.route
	routes := NewRoutes(func(agentkeys.Service) (*catalog.Entry, error) { return e, nil })
	var err error
	if w.route, err = routes.Route(serviceOf(t, "openai")); err != nil || !w.route.Exchanged || keyed.Exchanged {
		t.Fatal(err)
	}
	l, err := w.lend(t.Context(), "r2")
	if err != nil || string(l.Secret.Expose()) != "token-2" {
		t.Fatalf("%v %v", l, err)
	}
	(*backend)(w.Daemon).Settle(l.Permit, grant.Outcome{Status: 403})
	g.clock.move(trust)
	w.cache.now = g.clock.now
	if l, err = w.lend(t.Context(), "r2a"); err != nil || string(l.Secret.Expose()) != "token-2" {
		t.Fatalf("%v %v", l, err)
	}
	(*backend)(w.Daemon).Settle(l.Permit, grant.Outcome{Status: 401})
	if w.Cached() != 0 {
		t.Error("a token is kept that the service refuses")
	}
	w.Forget(w.caller.Wallet, serviceOf(t, "openai"))
	w.cache.vault = w.shelf
	if l, err := w.lend(t.Context(), "r3"); !errors.Is(err, errChanged) || !l.Secret.IsZero() || w.Cached() != 0 {
		t.Errorf("a key for a route of tokens: %v", err)
	}
	var unsent int
	for _, ev := range w.log.all() {
		if ev.Reason == "service changed" {
			unsent++
		}
	}
	if unsent != 2 {
		t.Errorf("%d were recorded", unsent)
	}
}
