package book_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/book"
	"github.com/litentry/agentkeys/internal/durable/durabletest"
	"github.com/litentry/agentkeys/internal/grant"
)

func TestReopen(t *testing.T) {
	dir := stateDir(t)
	b, _ := open(t, dir)
	if b.Master() != master || len(b.Agents()) != 0 || b.Grants() != nil {
		t.Errorf("a new broker has %s", show(t, b))
	}
	create(t, b, second, 3)
	create(t, b, bot, 2)
	put(t, b, bot, or, 10)
	put(t, b, bot, brave, 20)
	put(t, b, second, or, 30)
	text := issue(t, b, bot)
	before := show(t, b)

	b, _ = open(t, dir)
	if got := show(t, b); got != before {
		t.Errorf("reopened: %s\nwant %s", got, before)
	}
	if got := speaksFor(b, text, noon); got != bot {
		t.Errorf("the token speaks for %q", got)
	}
	var got []string
	for _, g := range b.GrantsOf(bot) {
		got = append(got, g.Svc.String())
	}
	for _, g := range b.GrantsFor(or) {
		got = append(got, g.Agent.String())
	}
	if s := strings.Join(got, " "); s != "brave-search openrouter bot second" {
		t.Errorf("listed: %s", s)
	}
	if _, ok := b.Agent(agentkeys.Agent{}); ok || b.Grant(bot, agentkeys.Service{}) != nil || b.Grant(agentkeys.Agent{}, or) != nil {
		t.Error("zero names find something")
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err == nil && fi.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is %s", path, fi.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestAgents(t *testing.T) {
	b, rec := open(t, stateDir(t))
	create(t, b, bot, 2)
	rec.take()
	for _, w := range []byte{2, 3} {
		a, err := b.CreateAgent(ctx, bot, wallet(w), noon.Add(time.Hour))
		if !errors.Is(err, book.ErrAgentExists) || a.Wallet != wallet(2) || a.Created != noon {
			t.Errorf("a second one: %+v, %v", a, err)
		}
	}
	for _, c := range []struct {
		label  agentkeys.Agent
		wallet agentkeys.Wallet
	}{{agentkeys.Agent{}, wallet(4)}, {second, agentkeys.Wallet{}}, {}} {
		if _, err := b.CreateAgent(ctx, c.label, c.wallet, noon); err == nil {
			t.Errorf("agent %q with wallet %q", c.label, c.wallet)
		}
	}
	if _, err := b.PutGrant(ctx, second, or, terms(1), noon); !errors.Is(err, book.ErrUnknownAgent) {
		t.Error(err)
	}
	if _, err := b.IssueToken(ctx, second, noon, noon.Add(time.Hour)); !errors.Is(err, book.ErrUnknownAgent) {
		t.Error(err)
	}
	if _, err := b.RemoveAgent(ctx, second, noon); !errors.Is(err, book.ErrUnknownAgent) {
		t.Error(err)
	}
	if _, err := b.RemoveGrant(ctx, bot, or, noon); !errors.Is(err, book.ErrUnknownGrant) {
		t.Error(err)
	}
	if got := rec.take(); len(got) != 0 {
		t.Errorf("refusals recorded: %+v", got)
	}
	if _, err := book.Open(stateDir(t), agentkeys.Wallet{}, rec); err == nil {
		t.Error("a broker without a master")
	}
}

func TestRemoveAgent(t *testing.T) {
	dir := stateDir(t)
	b, _ := open(t, dir)
	create(t, b, bot, 2)
	create(t, b, second, 3)
	put(t, b, bot, or, 1)
	put(t, b, bot, brave, 2)
	kept := put(t, b, second, or, 3)
	text, keptText := issue(t, b, bot), issue(t, b, second)
	gone, err := b.RemoveAgent(ctx, bot, noon)
	if err != nil || len(gone) != 2 || gone[0].Svc != brave || gone[1].Svc != or {
		t.Fatalf("%v, %v", gone, err)
	}
	for range 2 {
		if got, want := inForce(b), "agent second; grant second@openrouter 3req/day; "; got != want {
			t.Errorf("left: %s", got)
		}
		if b.Grant(bot, or) != nil || len(b.GrantsOf(bot)) != 0 || b.Grant(second, or).ID != kept.ID {
			t.Error("the wrong grants are left")
		}
		if speaksFor(b, text, noon) != (agentkeys.Agent{}) || speaksFor(b, keptText, noon) != second {
			t.Error("the wrong tokens are left")
		}
		if _, err := b.RemoveGrant(ctx, bot, or, noon); !errors.Is(err, book.ErrUnknownGrant) {
			t.Errorf("its grant is still known: %v", err)
		}
		b, _ = open(t, dir)
	}
	// An agent of the same label is another one.
	create(t, b, bot, 2)
	if b.Grant(bot, or) != nil || speaksFor(b, text, noon) != (agentkeys.Agent{}) {
		t.Error("what the first had has come back")
	}
}

func TestPutGrant(t *testing.T) {
	dir := stateDir(t)
	b, _ := open(t, dir)
	create(t, b, bot, 2)
	asked := terms(10)
	asked.Expires = time.Now().Add(time.Hour) // with a monotonic reading
	first, err := b.PutGrant(ctx, bot, or, asked, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if first.Master != master || first.Wallet != wallet(2) || first.Agent != bot || first.Svc != or || first.Validate() != nil {
		t.Errorf("%+v", first)
	}
	// A monotonic reading stands still while a laptop sleeps.
	for _, at := range []time.Time{first.Expires, first.Created} {
		if at != at.Round(0) || at.Location() != time.UTC {
			t.Errorf("%#v is not a wall clock's", at)
		}
	}
	// Terms are copied: who gave them cannot change them any more.
	asked.Requests.Limit, asked.Budget.Limit, asked.Rate.Limit = 1e6, 1<<60, 1e6
	asked.Rules[0], asked.Unsafe[0] = grant.Rule{}, agentkeys.Must(grant.ParseRule("* /**"))
	if g := b.Grant(bot, or); g.Requests.Limit != 10 || g.Budget.Limit != 5*grant.USD || g.Rate.Limit != 60 || g.Rules[0].String() != "POST /chat" || g.Unsafe[0].String() != "GET /keys" {
		t.Errorf("%+v", g)
	}
	again := put(t, b, bot, or, 10)
	if again.ID == first.ID || again.ID == "" {
		t.Errorf("ids %q and %q", first.ID, again.ID)
	}
	if g := b.Grant(bot, or); g != again {
		t.Errorf("in force: %+v", g)
	}
	for name, bad := range map[string]book.Terms{
		"no expiry":  {},
		"zero rule":  {Expires: noon.Add(time.Hour), Rules: make([]grant.Rule, 1)},
		"no request": {Expires: noon.Add(time.Hour), Requests: &grant.Requests{}},
	} {
		if _, err := b.PutGrant(ctx, bot, or, bad, noon); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := b.PutGrant(ctx, bot, agentkeys.Service{}, terms(1), noon); err == nil {
		t.Error("a grant of nothing")
	}
	b, _ = open(t, dir)
	if g := b.Grant(bot, or); g == nil || g.ID != again.ID {
		t.Errorf("after reopening: %+v", g)
	}
	// What JSON's null makes of a rule must not get into a file, where it could
	// not be read again.
	var null book.Terms
	if err := json.Unmarshal([]byte(`{"Rules":[null],"Expires":"2027-01-01T00:00:00Z"}`), &null); err != nil || len(null.Rules) != 1 {
		t.Fatal(err)
	}
	if _, err := b.PutGrant(ctx, bot, or, null, noon); err == nil {
		t.Error("a null rule is accepted")
	}
	open(t, dir)
}

// TestRecords: what the log says about each change, before it and after it.
func TestRecords(t *testing.T) {
	b, rec := open(t, stateDir(t))
	east := noon.In(time.FixedZone("", 7200))
	var text, grantID string
	check := func(op string, agent agentkeys.Agent, svc agentkeys.Service, grantID string, err error) grant.Event {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		got := rec.take()
		if len(got) != 2 {
			t.Fatalf("%s: %d entries", op, len(got))
		}
		for i, decision := range []string{grant.Allowed, grant.Done} {
			e := got[i]
			if e.Op != op || e.Decision != decision || e.Actor != master || e.Agent != agent || e.Svc != svc || e.Grant != grantID || e.Reason != "" {
				t.Errorf("%s: entry %d is %+v", op, i, e)
			}
			if e.Time != noon {
				t.Errorf("%s: at %s", op, e.Time)
			}
			if text != "" && strings.Contains(fmt.Sprintf("%+v", e), text) {
				t.Errorf("%s: the token is in the log", op)
			}
		}
		if got[0].Subject != got[1].Subject {
			t.Errorf("%s: of %q, then of %q", op, got[0].Subject, got[1].Subject)
		}
		return got[0]
	}
	none := agentkeys.Service{}
	_, err := b.CreateAgent(ctx, bot, wallet(2), east)
	if e := check("agent.create", bot, none, "", err); e.Subject != wallet(2).String() {
		t.Errorf("of %q", e.Subject)
	}
	g, err := b.PutGrant(ctx, bot, or, terms(10), east)
	grantID = g.ID
	e := check("grant.create", bot, or, grantID, err)
	for _, part := range []string{"expires 2026-04-16T12:00:00Z", "POST /chat", "GET /models/**", "unsafe GET /keys", "$5.00/week", "10req/day", "60/min"} {
		if !strings.Contains(e.Subject, part) {
			t.Errorf("%q does not tell of %q", e.Subject, part)
		}
	}
	text, err = b.IssueToken(ctx, bot, east, noon.Add(time.Hour))
	check("session.start", bot, none, "", err)
	if err := b.RenewToken(text, noon, noon.Add(2*time.Hour)); err != nil || len(rec.take()) != 0 {
		t.Errorf("a renewal: %v", err)
	}
	check("session.end", bot, none, "", b.EndToken(ctx, text, east))
	if err := b.EndToken(ctx, text, noon); err != nil || len(rec.take()) != 0 {
		t.Errorf("ended a second time: %v", err)
	}
	_, err = b.RemoveGrant(ctx, bot, or, east)
	check("grant.revoke", bot, or, grantID, err)
	_, err = b.RemoveAgent(ctx, bot, east)
	check("agent.remove", bot, none, "", err)
}

// change is one change, made to a broker that setUp has prepared.
type change struct {
	name    string
	revokes bool
	do      func(b *book.Book, text string) error
}

var changes = []change{
	{"create agent", false, func(b *book.Book, _ string) error {
		_, err := b.CreateAgent(ctx, second, wallet(3), noon)
		return err
	}},
	{"grant", false, func(b *book.Book, _ string) error {
		_, err := b.PutGrant(ctx, bot, brave, terms(20), noon)
		return err
	}},
	{"grant anew", false, func(b *book.Book, _ string) error {
		_, err := b.PutGrant(ctx, bot, or, terms(11), noon)
		return err
	}},
	{"issue", false, func(b *book.Book, _ string) error {
		text, err := b.IssueToken(ctx, bot, noon, noon.Add(time.Hour))
		if (text == "") != (err != nil) {
			return errors.New("a token with an error, or neither")
		}
		return err
	}},
	{"revoke", true, func(b *book.Book, _ string) error {
		_, err := b.RemoveGrant(ctx, bot, or, noon)
		return err
	}},
	{"end", true, func(b *book.Book, text string) error { return b.EndToken(ctx, text, noon) }},
	{"remove agent", true, func(b *book.Book, _ string) error {
		_, err := b.RemoveAgent(ctx, bot, noon)
		return err
	}},
}

// setUp makes the agent bot with a grant and a token.
func setUp(t testing.TB, dir string) (*book.Book, *tape, string) {
	t.Helper()
	b, rec := open(t, dir)
	create(t, b, bot, 2)
	put(t, b, bot, or, 10)
	text := issue(t, b, bot)
	rec.take()
	return b, rec, text
}

// dead reports whether what a revoking change revokes is out of force.
func (c change) dead(b *book.Book, text string) bool {
	granted, speaks := b.Grant(bot, or) != nil, speaksFor(b, text, noon) == bot
	switch c.name {
	case "revoke":
		return !granted
	case "end":
		return !speaks
	}
	return !granted && !speaks
}

// TestRecorderFails at the entry before a change, or at the one after.
func TestRecorderFails(t *testing.T) {
	for _, c := range changes {
		for _, failAt := range []int{1, 2} {
			t.Run(fmt.Sprint(c.name, failAt), func(t *testing.T) {
				dir := stateDir(t)
				b, rec, text := setUp(t, dir)
				before, files := inForce(b), durabletest.Snapshot(t, dir)
				rec.failAt = failAt
				err := c.do(b, text)
				if !errors.Is(err, errDisk) {
					t.Fatalf("%v", err)
				}
				recorded := rec.take()
				if len(recorded) != failAt-1 {
					t.Errorf("%d entries", len(recorded))
				}
				changed := fmt.Sprint(durabletest.Snapshot(t, dir)) != fmt.Sprint(files)
				if failAt == 1 && changed {
					t.Error("the files changed without a record")
				}
				if failAt == 2 && !(changed && strings.Contains(err.Error(), "it is done")) {
					t.Errorf("changed: %v, and says %v", changed, err)
				}
				if c.revokes && !c.dead(b, text) {
					t.Error("what was revoked is in force")
				}
				if failAt == 1 && !c.revokes && inForce(b) != before {
					t.Errorf("in force without a record: %s", inForce(b))
				}
				if failAt == 1 && c.revokes {
					// Once the log works, to repeat it makes it last.
					if err := c.do(b, text); err != nil || len(rec.take()) != 2 {
						t.Errorf("repeated: %v", err)
					}
					if b, _ := open(t, dir); !c.dead(b, text) {
						t.Error("what was revoked is back after a restart")
					}
				}
			})
		}
	}
}

// TestCallerGone: a caller that gives up after the first entry does not keep
// the second one out of the log.
func TestCallerGone(t *testing.T) {
	_, rec, _ := setUp(t, stateDir(t))
	gone, cancel := context.WithCancel(ctx)
	rec2 := &cancelling{tape: rec, cancel: cancel}
	dir := stateDir(t)
	b, err := book.Open(dir, master, rec2)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.CreateAgent(gone, bot, wallet(2), noon); err != nil {
		t.Error(err)
	}
	if got := rec.take(); len(got) != 2 || got[1].Decision != grant.Done {
		t.Errorf("%+v", got)
	}
	if _, err := b.CreateAgent(gone, second, wallet(3), noon); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that is gone: %v", err)
	}
}

type cancelling struct {
	*tape
	cancel func()
}

func (c *cancelling) Record(ctx context.Context, e grant.Event) error {
	err := c.tape.Record(ctx, e)
	c.cancel()
	return err
}

// obstruct puts a directory in the place of every file of a kind, so that the
// files can be neither replaced nor removed; clear puts them back.
func obstruct(t *testing.T, dir, kind string) (clear func()) {
	t.Helper()
	away := filepath.Join(dir, kind) + ".away"
	if err := os.Rename(filepath.Join(dir, kind), away); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(away)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := os.MkdirAll(filepath.Join(dir, kind, e.Name(), "full"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		t.Helper()
		if err := os.RemoveAll(filepath.Join(dir, kind)); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(away, filepath.Join(dir, kind)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRevocationWithoutDisk: it is in force at once, it is reported as failed,
// it does not become a success or an unknown grant by being repeated, and once
// the disk works, repeating it makes it last.
func TestRevocationWithoutDisk(t *testing.T) {
	for _, c := range changes {
		if !c.revokes {
			continue
		}
		kinds := map[string][]string{"revoke": {"grants"}, "end": {"tokens"}, "remove agent": {"grants", "tokens", "agents"}}[c.name]
		for _, kind := range kinds {
			t.Run(c.name+" "+kind, func(t *testing.T) {
				dir := stateDir(t)
				b, rec, text := setUp(t, dir)
				clear := obstruct(t, dir, kind)
				for range 2 {
					if err := c.do(b, text); err == nil {
						t.Fatal("success")
					} else if errors.Is(err, book.ErrUnknownGrant) || errors.Is(err, book.ErrUnknownAgent) {
						t.Fatalf("%v, but its file is there", err)
					}
					if !c.dead(b, text) {
						t.Error("what was revoked is in force")
					}
					got := rec.take()
					if len(got) != 2 || got[0].Decision != grant.Allowed || got[1].Decision != grant.Failed || got[1].Reason == "" {
						t.Errorf("recorded %+v", got)
					}
				}
				clear()
				if again, _ := open(t, dir); kind != "agents" && c.dead(again, text) {
					t.Error("the test is off: its file did not matter")
				}
				if c.name == "remove agent" {
					gone, err := b.RemoveAgent(ctx, bot, noon)
					if err != nil || len(gone) != 1 || gone[0].Svc != or {
						t.Fatalf("repeated: %v, %v", gone, err)
					}
				} else if err := c.do(b, text); err != nil {
					t.Fatalf("repeated: %v", err)
				}
				if again, _ := open(t, dir); !c.dead(again, text) {
					t.Error("what was revoked is back after a restart")
				}
			})
		}
	}
}

// TestGrantAfterHalfARevocation: new terms in the place of a grant whose file
// could not be removed are a grant like any other.
func TestGrantAfterHalfARevocation(t *testing.T) {
	dir := stateDir(t)
	b, _, text := setUp(t, dir)
	clear := obstruct(t, dir, "grants")
	if err := changes[4].do(b, text); err == nil {
		t.Fatal("success")
	}
	if _, err := b.PutGrant(ctx, bot, or, terms(7), noon); err == nil || b.Grant(bot, or) != nil {
		t.Errorf("a grant that cannot be written: %v", err)
	}
	clear()
	g := put(t, b, bot, or, 7)
	if again, _ := open(t, dir); again.Grant(bot, or).ID != g.ID {
		t.Error("another grant is in force")
	}
	if _, err := b.RemoveGrant(ctx, bot, or, noon); err != nil {
		t.Error(err)
	}
	if _, err := b.RemoveGrant(ctx, bot, or, noon); !errors.Is(err, book.ErrUnknownGrant) {
		t.Errorf("the dead one is still there: %v", err)
	}
}

// TestConcurrency is for the race detector, and checks what is left.
func TestConcurrency(t *testing.T) {
	dir := stateDir(t)
	b, _ := open(t, dir)
	var wg, readers sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				for _, g := range b.Grants() {
					if _, ok := b.Agent(g.Agent); !ok && b.Grant(g.Agent, g.Svc) == g {
						t.Error("a grant of no agent")
					}
				}
				b.Agents()
				b.AgentByToken(placeholder("x"), noon)
			}
		})
	}
	for n := range 6 {
		wg.Go(func() {
			label := agentkeys.Must(agentkeys.ParseAgent(fmt.Sprintf("a%d", n)))
			for round := range 5 {
				create(t, b, label, byte(n+2))
				put(t, b, label, or, int64(round+1))
				put(t, b, label, brave, int64(round+1))
				text := issue(t, b, label)
				if speaksFor(b, text, noon) != label {
					t.Errorf("%s's token speaks for somebody else", label)
				}
				if _, err := b.RemoveGrant(ctx, label, or, noon); err != nil {
					t.Error(err)
				}
				if b.Grant(label, or) != nil || b.Grant(label, brave) == nil {
					t.Error("the wrong grants are in force")
				}
				if round == 4 {
					return
				}
				if _, err := b.RemoveAgent(ctx, label, noon); err != nil || speaksFor(b, text, noon) == label {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	readers.Wait()
	again, _ := open(t, dir)
	if len(b.Agents()) != 6 || len(b.Grants()) != 6 || show(t, again) != show(t, b) {
		t.Errorf("%d agents, %d grants; reopened: %s", len(b.Agents()), len(b.Grants()), inForce(again))
	}
}

// TestOneCreatorWins: of many that create the same agent.
func TestOneCreatorWins(t *testing.T) {
	b, _ := open(t, stateDir(t))
	var wg sync.WaitGroup
	var mu sync.Mutex
	wins := 0
	for n := range 16 {
		wg.Go(func() {
			_, err := b.CreateAgent(ctx, bot, wallet(byte(n+2)), noon)
			if err != nil && !errors.Is(err, book.ErrAgentExists) {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				wins++
			}
		})
	}
	wg.Wait()
	if wins != 1 {
		t.Errorf("%d winners", wins)
	}
}
