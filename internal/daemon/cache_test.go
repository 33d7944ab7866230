package daemon

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/envelope"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/secret"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func agentOf(t testing.TB, label string) agentkeys.Agent {
	t.Helper()
	a, err := agentkeys.ParseAgent(label)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func serviceOf(t testing.TB, name string) agentkeys.Service {
	t.Helper()
	s, err := agentkeys.ParseService(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func wallet(n byte) agentkeys.Wallet { return agentkeys.WalletFrom([agentkeys.WalletSize]byte{19: n}) }

// memory is a Recorder that keeps what it is given.
type memory struct {
	mu      sync.Mutex
	events  []grant.Event
	err     error
	waiting chan<- grant.Event // told of each Record, if not nil
	let     <-chan struct{}    // Record waits for it, if not nil
}

func (m *memory) Record(_ context.Context, e grant.Event) error {
	if m.waiting != nil {
		m.waiting <- e
	}
	if m.let != nil {
		<-m.let
	}
	return m.Note(e)
}

func (m *memory) Note(e grant.Event) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err == nil {
		m.events = append(m.events, e)
	}
	return m.err
}

func (m *memory) all() []grant.Event {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]grant.Event(nil), m.events...)
}

// lender makes permits for openai, for the agents whose wallets are asked for.
type lender struct {
	t       testing.TB
	decider *grant.Decider
	n       atomic.Int64
}

func newLender(t testing.TB) *lender {
	return &lender{t: t, decider: grant.NewDecider(grant.NewLedger(), &memory{})}
}

func (l *lender) permit(w agentkeys.Wallet) grant.Permit {
	l.t.Helper()
	g := grantOf(l.t, w)
	p, err := l.decider.Use(context.Background(), g.Agent, w, g.Svc, g, lendAll(l.t), grant.Request{
		ID: fmt.Sprint("r", l.n.Add(1)), Method: "GET", Path: "/models", Time: start,
	})
	if err != nil {
		l.t.Fatal(err)
	}
	return p
}

func grantOf(t testing.TB, w agentkeys.Wallet) *grant.Grant {
	return &grant.Grant{
		ID: "g_" + w.String(), Master: wallet(200), Wallet: w, Agent: agentOf(t, "coder"), Svc: serviceOf(t, "openai"),
		Created: start, Expires: start.AddDate(100, 0, 0),
	}
}

func lendAll(t testing.TB) grant.Policy {
	rule, err := grant.ParseRule("* /**")
	if err != nil {
		t.Fatal(err)
	}
	return grant.Policy{Allow: []grant.Rule{rule}}
}

// shelf is a Vault that counts. Every load gives a value of its own bytes.
type shelf struct {
	loads atomic.Int64
	began chan struct{} // told of each load, if not nil
	let   chan struct{} // a load waits for it, if not nil

	mu   sync.Mutex
	text string
	err  error
	out  []*[]byte // the live bytes of each value handed out
}

func (s *shelf) Load(ctx context.Context, p grant.Permit) (envelope.Record, envelope.Header, error) {
	s.loads.Add(1)
	if s.began != nil {
		s.began <- struct{}{}
	}
	if s.let != nil {
		<-s.let
	}
	if err := ctx.Err(); err != nil {
		return envelope.Record{}, envelope.Header{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return envelope.Record{}, envelope.Header{}, s.err
	}
	b := []byte(s.text + " of " + p.Wallet().String())
	s.out = append(s.out, &b)
	return envelope.Record{Secret: secret.New(b)}, envelope.Header{}, nil
}

func (s *shelf) set(text string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text, s.err = text, err
}

// cleared reports whether the bytes of value n are overwritten.
func (s *shelf) cleared(n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range *s.out[n] {
		if c != 0 {
			return false
		}
	}
	return true
}

// told collects what a cache forgets, as it was at that moment.
type told struct {
	mu  sync.Mutex
	was []string
}

func (f *told) forget(v secret.Value) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.was = append(f.was, string(v.Expose()))
}

func (f *told) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.was)
}

func mustGet(t *testing.T, c *cache, p grant.Permit, now time.Time) string {
	t.Helper()
	v, err := c.get(t.Context(), p, now)
	if err != nil {
		t.Fatal(err)
	}
	return string(v.Expose())
}

func TestCacheLoadsOnce(t *testing.T) {
	l, v, f := newLender(t), &shelf{text: "key", began: make(chan struct{}, 100), let: make(chan struct{})}, &told{}
	c := newCache(v, time.Minute, f.forget)
	var wg sync.WaitGroup
	permits := make(chan grant.Permit, 50)
	for range cap(permits) {
		p := l.permit(wallet(1))
		wg.Go(func() {
			got, err := c.get(t.Context(), p, start)
			if err != nil || string(got.Expose()) != "key of "+wallet(1).String() {
				t.Errorf("%q, %v", got.Expose(), err)
			}
			permits <- p
		})
	}
	<-v.began
	other := l.permit(wallet(2))
	close(v.let)
	wg.Wait()
	if got := mustGet(t, c, other, start); got != "key of "+wallet(2).String() {
		t.Errorf("another wallet got %q", got)
	}
	if n := v.loads.Load(); n != 2 || c.len() != 2 {
		t.Errorf("%d loads, %d kept", n, c.len())
	}
	close(permits)
	for p := range permits {
		c.release(p, start)
	}
	if len(c.lent) != 1 || f.count() != 0 {
		t.Errorf("%d lent, %d forgotten", len(c.lent), f.count())
	}
}

// TestCacheEvicts: what is idle is cleared, what is in use is not, and the
// proxy lets go of what it derived before the bytes are gone.
func TestCacheEvicts(t *testing.T) {
	l, v, f := newLender(t), &shelf{text: "key"}, &told{}
	c := newCache(v, time.Minute, f.forget)
	p := l.permit(wallet(1))
	mustGet(t, c, p, start)
	c.evict(start.Add(time.Hour), false)
	if c.len() != 1 || v.cleared(0) {
		t.Fatal("evicted while in use")
	}
	c.release(p, start.Add(time.Hour))
	c.evict(start.Add(time.Hour+59*time.Second), false)
	if c.len() != 1 || v.cleared(0) {
		t.Fatal("evicted before its time")
	}
	c.evict(start.Add(time.Hour+time.Minute), false)
	if c.len() != 0 || !v.cleared(0) {
		t.Fatal("not evicted, or not cleared")
	}
	if want := "key of " + wallet(1).String(); len(f.was) != 1 || f.was[0] != want {
		t.Errorf("forgotten: %q", f.was)
	}
	p = l.permit(wallet(1))
	mustGet(t, c, p, start)
	if v.loads.Load() != 2 {
		t.Error("what was evicted was not loaded again")
	}
	c.evict(start, true)
	if c.len() != 0 || v.cleared(1) {
		t.Error("everything is evicted, but what is in use stays as it is")
	}
	c.release(p, start)
	if !v.cleared(1) {
		t.Error("not cleared with its last use")
	}
}

// TestCacheReplaces: a request under way keeps the value it began with, later
// ones get the new one, and each is cleared when nobody has it any more.
func TestCacheReplaces(t *testing.T) {
	l, v, f := newLender(t), &shelf{text: "old"}, &told{}
	c := newCache(v, time.Minute, f.forget)
	a, b := l.permit(wallet(1)), l.permit(wallet(1))
	old, err := c.get(t.Context(), a, start)
	if err != nil {
		t.Fatal(err)
	}
	mustGet(t, c, b, start)
	v.set("new", nil)
	c.remove(wallet(1), serviceOf(t, "anthropic")) // another one
	c.remove(wallet(2), serviceOf(t, "openai"))
	if c.len() != 1 {
		t.Fatal("something else was removed")
	}
	c.remove(wallet(1), serviceOf(t, "openai"))
	n := l.permit(wallet(1))
	if got := mustGet(t, c, n, start); got != "new of "+wallet(1).String() {
		t.Errorf("after it was replaced: %q", got)
	}
	if string(old.Expose()) != "old of "+wallet(1).String() {
		t.Errorf("a request under way has %q", old.Expose())
	}
	c.release(a, start)
	c.release(a, start) // twice is once
	if v.cleared(0) {
		t.Fatal("cleared while another request has it")
	}
	c.release(b, start)
	if !v.cleared(0) || v.cleared(1) || f.count() != 1 {
		t.Error("the old value is not cleared, or the new one is")
	}
	c.release(l.permit(wallet(3)), start) // never lent
	c.release(n, start)
	if c.len() != 1 || len(c.lent) != 0 {
		t.Errorf("%d kept, %d lent", c.len(), len(c.lent))
	}
}

func TestCacheKeepsNoFailure(t *testing.T) {
	l, v, f := newLender(t), &shelf{}, &told{}
	c := newCache(v, time.Minute, f.forget)
	gone := errors.New("no such credential")
	v.set("", gone)
	for range 2 {
		if _, err := c.get(t.Context(), l.permit(wallet(1)), start); !errors.Is(err, gone) {
			t.Fatal(err)
		}
	}
	v.set("key", nil)
	mustGet(t, c, l.permit(wallet(1)), start)
	if v.loads.Load() != 3 || len(c.lent) != 1 {
		t.Errorf("%d loads, %d lent", v.loads.Load(), len(c.lent))
	}
}

// TestCacheImpatience: who gives up takes nothing from those who wait, and
// what nobody waits for any more is not left uncleared.
func TestCacheImpatience(t *testing.T) {
	l := newLender(t)
	v := &shelf{text: "key", began: make(chan struct{}, 1), let: make(chan struct{})}
	f := &told{}
	c := newCache(v, time.Minute, f.forget)
	ctx, cancel := context.WithCancel(t.Context())
	gaveUp := make(chan error)
	go func() {
		_, err := c.get(ctx, l.permit(wallet(1)), start)
		gaveUp <- err
	}()
	<-v.began
	patient := l.permit(wallet(1))
	got := make(chan string)
	go func() {
		v, err := c.get(t.Context(), patient, start)
		if err != nil {
			t.Error(err)
		}
		got <- string(v.Expose())
	}()
	cancel()
	if err := <-gaveUp; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	v.let <- struct{}{}
	if text := <-got; text != "key of "+wallet(1).String() {
		t.Errorf("the patient one got %q", text)
	}
	c.release(patient, start)

	// Nobody waits, and the credential is forgotten before it is there.
	c.remove(wallet(1), serviceOf(t, "openai"))
	ctx, cancel = context.WithCancel(t.Context())
	go func() {
		_, err := c.get(ctx, l.permit(wallet(1)), start)
		gaveUp <- err
	}()
	<-v.began
	cancel()
	<-gaveUp
	c.remove(wallet(1), serviceOf(t, "openai"))
	v.let <- struct{}{}
	for i := 0; f.count() < 2; i++ {
		if i == 30_000 {
			t.Fatal("what nobody waited for was not cleared")
		}
		time.Sleep(time.Millisecond)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !v.cleared(1) || len(c.entries) != 0 {
		t.Error("what nobody waited for was not cleared")
	}
}

// TestCacheRaces is for the race detector.
func TestCacheRaces(t *testing.T) {
	l, v, f := newLender(t), &shelf{text: "key"}, &told{}
	c := newCache(v, time.Nanosecond, f.forget)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 200 {
				p := l.permit(wallet(byte(1 + n%2)))
				got, err := c.get(t.Context(), p, start)
				if err != nil || string(got.Expose()) != "key of "+p.Wallet().String() {
					t.Errorf("%q %v", got.Expose(), err)
				}
				if i == 0 {
					c.remove(p.Wallet(), p.Service())
				}
				c.evict(start.Add(time.Hour), n%16 == 0)
				c.release(p, start)
			}
		})
	}
	wg.Wait()
	c.evict(start, true)
	for i := range v.out {
		if !v.cleared(i) {
			t.Fatal("a value was left behind")
		}
	}
	if int64(f.count()) != v.loads.Load() || len(c.lent) != 0 {
		t.Errorf("%d forgotten of %d, %d lent", f.count(), v.loads.Load(), len(c.lent))
	}
}

// TestCacheAge: what somebody else may have replaced is read anew after a
// while, also if it is in use all the time.
func TestCacheAge(t *testing.T) {
	l, v, f := newLender(t), &shelf{text: "key"}, &told{}
	c := newCache(v, time.Hour, f.forget)
	c.maxAge = time.Minute
	first := l.permit(wallet(1))
	mustGet(t, c, first, start)
	c.evict(start.Add(59*time.Second), false)
	if c.len() != 1 {
		t.Fatal("evicted before its time")
	}
	c.evict(start.Add(time.Minute), false)
	if c.len() != 0 || v.cleared(0) {
		t.Fatal("not evicted, or cleared while in use")
	}
	second := l.permit(wallet(1))
	mustGet(t, c, second, start.Add(time.Minute))
	if v.loads.Load() != 2 {
		t.Error("not read anew")
	}
	c.release(first, start)
	if !v.cleared(0) || v.cleared(1) {
		t.Error("the old one is not cleared with its last use, or the new one is")
	}
	c.release(second, start)
}
