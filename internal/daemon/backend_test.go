package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/inject"
)

// book is a Directory.
type book struct {
	mu     sync.Mutex
	tokens map[string]inject.Caller
	grants map[agentkeys.Agent]*grant.Grant
}

func (b *book) CallerByToken(text string, _ time.Time) (inject.Caller, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c, ok := b.tokens[text]
	return c, ok
}

func (b *book) Grant(a agentkeys.Agent, s agentkeys.Service) *grant.Grant {
	b.mu.Lock()
	defer b.mu.Unlock()
	if g := b.grants[a]; g != nil && g.Svc == s {
		return g
	}
	return nil
}

func (b *book) set(a agentkeys.Agent, g *grant.Grant) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.grants[a] = g
}

// world is a Daemon over fakes, with one agent that is lent openai.
type world struct {
	*Daemon
	book   *book
	log    *memory
	shelf  *shelf
	caller inject.Caller
	route  *inject.Route
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		book:   &book{tokens: map[string]inject.Caller{}, grants: map[agentkeys.Agent]*grant.Grant{}},
		log:    &memory{},
		shelf:  &shelf{text: "key"},
		caller: inject.Caller{Agent: agentOf(t, "coder"), Wallet: wallet(1)},
	}
	w.book.tokens["good"] = w.caller
	w.book.grants[w.caller.Agent] = grantOf(t, w.caller.Wallet)
	w.Daemon = New(Options{
		Directory: w.book, Decider: grant.NewDecider(grant.NewLedger(), w.log), Vault: w.shelf,
		Routes: NewRoutes(func(s agentkeys.Service) (*catalog.Entry, error) {
			return entryOf(t, s.String(), catalog.Settings{}), nil
		}),
		SocketDir: t.TempDir() + "/s", Idle: time.Hour, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return start },
	})
	t.Cleanup(func() { _ = w.Close(context.Background()) })
	var err error
	if w.route, err = w.opts.Routes.Route(serviceOf(t, "openai")); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) lend(ctx context.Context, id string) (inject.Loan, error) {
	return (*backend)(w.Daemon).Lend(ctx, w.caller, w.route, grant.Request{ID: id, Method: "GET", Path: "/models", Time: start})
}

func TestIdentify(t *testing.T) {
	w := newWorld(t)
	b := (*backend)(w.Daemon)
	r, err := http.NewRequestWithContext(t.Context(), "GET", "http://agentkeys/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := b.Identify(r, []string{"bad", "good"}); err != nil || c != w.caller {
		t.Errorf("%v %v", c, err)
	}
	for _, presented := range [][]string{nil, {"bad"}, {""}} {
		if c, err := b.Identify(r, presented); !errors.Is(err, inject.ErrUnknownCaller) || c != (inject.Caller{}) {
			t.Errorf("%q: %v %v", presented, c, err)
		}
	}
	// On a socket the token of somebody else counts for nothing.
	other := inject.Caller{Agent: agentOf(t, "other"), Wallet: wallet(2)}
	on := r.WithContext(context.WithValue(r.Context(), peerKey{}, peer{caller: other}))
	if c, err := b.Identify(on, []string{"good"}); err != nil || c != other {
		t.Errorf("%v %v", c, err)
	}
	on = r.WithContext(context.WithValue(r.Context(), peerKey{}, peer{caller: other, err: ErrPeer}))
	if c, err := b.Identify(on, []string{"good"}); !errors.Is(err, ErrPeer) || c != (inject.Caller{}) {
		t.Errorf("%v %v", c, err)
	}
}

// TestLendRecordsFirst: what cannot be recorded is not opened.
func TestLendRecordsFirst(t *testing.T) {
	w := newWorld(t)
	w.log.err = errors.New("the disk is full")
	if l, err := w.lend(t.Context(), "r1"); !errors.Is(err, w.log.err) || !l.Secret.IsZero() {
		t.Errorf("%v %v", l, err)
	}
	if w.shelf.loads.Load() != 0 || w.Cached() != 0 {
		t.Error("opened all the same")
	}
	w.log.err = nil
	l, err := w.lend(t.Context(), "r2")
	if err != nil || l.Secret.IsZero() || w.Cached() != 1 {
		t.Fatalf("%v %v", l, err)
	}
	w.book.set(w.caller.Agent, nil)
	var d *grant.Denial
	if _, err := w.lend(t.Context(), "r3"); !errors.As(err, &d) || d.Code != grant.CodeNoGrant {
		t.Error(err)
	}
	(*backend)(w.Daemon).Settle(l.Permit, grant.Outcome{Status: 200})
	events := w.log.all()
	if last := events[len(events)-1]; last.Op != grant.OpSettle || last.Status != 200 || last.Request != "r2" {
		t.Errorf("%+v", last)
	}
	if len(w.cache.lent) != 0 {
		t.Error("still lent after it was settled")
	}
}

// TestLendUnreadable: a use that came to nothing costs nothing, and is on
// record as that.
func TestLendUnreadable(t *testing.T) {
	for reason, err := range map[string]error{
		"not-lent":         errors.New("damaged"),
		"exchange-refused": &inject.NoToken{Final: true, Err: errors.New("invalid_grant")},
		"exchange-failed":  fmt.Errorf("wrapped: %w", &inject.NoToken{Err: errors.New("status 503")}),
	} {
		w := newWorld(t)
		w.shelf.set("", err)
		if _, got := w.lend(t.Context(), "r1"); !errors.Is(got, err) {
			t.Fatalf("%s: %v", reason, got)
		}
		events := w.log.all()
		if last := events[len(events)-1]; len(events) != 2 || last.Op != grant.OpSettle || last.Decision != grant.Failed || last.Request != "r1" ||
			last.Reason != reason || last.Cost != 0 || last.Estimate {
			t.Errorf("%s: %+v", reason, events)
		}
	}
	// Who does not wait for it is told nothing, and that is on record.
	w := newWorld(t)
	w.shelf.began, w.shelf.let = make(chan struct{}, 1), make(chan struct{})
	defer close(w.shelf.let)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-w.shelf.began; cancel() }()
	if _, err := w.lend(ctx, "r1"); !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
	events := w.log.all()
	if last := events[len(events)-1]; last.Op != grant.OpSettle || last.Reason != "client-closed" {
		t.Errorf("given up: %+v", last)
	}
}

// TestLendRevokedMeanwhile: where the credential is gone because the grant is,
// the agent is told of the grant.
func TestLendRevokedMeanwhile(t *testing.T) {
	w := newWorld(t)
	w.shelf.began, w.shelf.let = make(chan struct{}, 1), make(chan struct{})
	got := make(chan error)
	go func() {
		_, err := w.lend(t.Context(), "r1")
		got <- err
	}()
	<-w.shelf.began
	w.book.set(w.caller.Agent, nil)
	w.shelf.set("", errors.New("no such credential"))
	close(w.shelf.let)
	var d *grant.Denial
	if err := <-got; !errors.As(err, &d) || d.Code != grant.CodeNoGrant {
		t.Errorf("%v", err)
	}
}

// TestDecided: a revocation must not be on record as done while a use that
// rests on the grant is not yet on record as begun.
func TestDecided(t *testing.T) {
	w := newWorld(t)
	recording, let := make(chan grant.Event, 1), make(chan struct{})
	w.log.waiting, w.log.let = recording, let
	lent := make(chan error)
	go func() {
		_, err := w.lend(t.Context(), "r1")
		lent <- err
	}()
	<-recording // the grant is found, the use not yet on record
	w.book.set(w.caller.Agent, nil)
	revoked := make(chan struct{})
	go func() {
		w.Decided()
		close(revoked)
	}()
	select {
	case <-revoked:
		t.Fatal("decided, with a decision under way")
	case <-time.After(50 * time.Millisecond):
	}
	let <- struct{}{}
	var d *grant.Denial
	if err := <-lent; !errors.As(err, &d) { // too late: it is on record, and goes nowhere
		t.Error(err)
	}
	<-revoked
	w.Decided() // nothing under way
}

// TestLendFresh: nothing is decided on, opened or lent while it is not known
// what is in force, not even if that began while the credential was read.
func TestLendFresh(t *testing.T) {
	w := newWorld(t)
	silent := errors.New("not heard since yesterday")
	var answers []error // of the calls to come; then nil
	w.opts.Fresh = func(context.Context) error {
		if len(answers) == 0 {
			return nil
		}
		err := answers[0]
		answers = answers[1:]
		return err
	}
	denied := func(err error) bool {
		var d *grant.Denial
		return errors.As(err, &d) && d.Code == CodeUnreachable && d.Detail == silent.Error() && d.RetryAfter > 0
	}
	answers = []error{silent}
	if l, err := w.lend(t.Context(), "r1"); !denied(err) || !l.Secret.IsZero() || len(w.log.all()) != 0 || w.shelf.loads.Load() != 0 {
		t.Errorf("%v, %d entries, %d loads", err, len(w.log.all()), w.shelf.loads.Load())
	}
	answers = []error{nil, silent}
	if l, err := w.lend(t.Context(), "r2"); !denied(err) || !l.Secret.IsZero() {
		t.Errorf("%v", err)
	}
	events := w.log.all()
	if last := events[len(events)-1]; last.Op != grant.OpSettle || last.Decision != grant.Failed || last.Request != "r2" {
		t.Errorf("%+v", last)
	}
	if len(w.cache.lent) != 0 || len(w.underway.uses) != 0 {
		t.Error("it is lent all the same")
	}
	if l, err := w.lend(t.Context(), "r3"); err != nil || l.Secret.IsZero() {
		t.Errorf("heard again: %v", err)
	}
}
