package book_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/book"
	"github.com/litentry/agentkeys/internal/durable/durabletest"
	"github.com/litentry/agentkeys/internal/grant"
)

var (
	ctx    = context.Background()
	master = wallet(1)
	bot    = agentkeys.Must(agentkeys.ParseAgent("bot"))
	second = agentkeys.Must(agentkeys.ParseAgent("second"))
	or     = agentkeys.Must(agentkeys.ParseService("openrouter"))
	brave  = agentkeys.Must(agentkeys.ParseService("brave-search"))

	noon    = time.Date(2026, 4, 15, 12, 0, 0, 0, time.UTC)
	errDisk = errors.New("no space left on device")
)

func wallet(n byte) agentkeys.Wallet {
	return agentkeys.WalletFrom([agentkeys.WalletSize]byte{19: n})
}

func terms(requests int64) book.Terms {
	return book.Terms{
		Rules:    agentkeys.Must(grant.ParseRules([]string{"POST /chat", "GET /models/**"})),
		Unsafe:   agentkeys.Must(grant.ParseRules([]string{"GET /keys"})),
		Requests: &grant.Requests{Limit: requests, Per: grant.Day},
		Budget:   &grant.Budget{Limit: 5 * grant.USD, Per: grant.Week},
		Rate:     &grant.Rate{Limit: 60, Per: time.Minute},
		Expires:  noon.Add(24 * time.Hour),
	}
}

// tape is a Recorder in memory. Its call number failAt, from 1, fails.
type tape struct {
	mu     sync.Mutex
	events []grant.Event
	calls  int
	failAt int
}

func (r *tape) Record(ctx context.Context, e grant.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.calls++; r.calls == r.failAt {
		return errDisk
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	r.events = append(r.events, e)
	return nil
}

func (r *tape) Note(grant.Event) error { return errors.New("nothing here is only noted") }

// take returns what was recorded since the last take.
func (r *tape) take() []grant.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.events
	r.events, r.calls, r.failAt = nil, 0, 0
	return all
}

func open(t testing.TB, dir string) (*book.Book, *tape) {
	t.Helper()
	rec := &tape{}
	b, err := book.Open(dir, master, rec)
	if err != nil {
		t.Fatal(err)
	}
	return b, rec
}

func stateDir(t *testing.T) string { return filepath.Join(durabletest.Dir(t), "state") }

func create(t testing.TB, b *book.Book, label agentkeys.Agent, w byte) {
	t.Helper()
	if _, err := b.CreateAgent(ctx, label, wallet(w), noon); err != nil {
		t.Fatal(err)
	}
}

func put(t testing.TB, b *book.Book, label agentkeys.Agent, svc agentkeys.Service, requests int64) *grant.Grant {
	t.Helper()
	g, err := b.PutGrant(ctx, label, svc, terms(requests), noon)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func issue(t testing.TB, b *book.Book, label agentkeys.Agent) string {
	t.Helper()
	text, err := b.IssueToken(ctx, label, noon, noon.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// placeholder is a token as an agent presents it.
func placeholder(text string) string { return "sk-or-" + book.TokenMark + text }

func speaksFor(b *book.Book, text string, at time.Time) agentkeys.Agent {
	a, _ := b.AgentByToken(placeholder(text), at)
	return a.Label
}

// show is all that a Book tells about itself.
func show(t testing.TB, b *book.Book) string {
	t.Helper()
	data, err := json.MarshalIndent(map[string]any{"agents": b.Agents(), "grants": b.Grants()}, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// inForce is what a Book grants, without what differs from run to run.
func inForce(b *book.Book) string {
	s := ""
	for _, a := range b.Agents() {
		s += "agent " + a.Label.String() + "; "
	}
	for _, g := range b.Grants() {
		s += fmt.Sprintf("grant %s@%s %s; ", g.Agent, g.Svc, g.Requests)
	}
	return s
}
