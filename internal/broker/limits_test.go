package broker_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/broker"
	"github.com/litentry/agentkeys/internal/broker/brokertest"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/grant"
)

// TestGrantLimits: neither one grant nor all of an account's outgrow what a
// snapshot may be, and what has ended does not count.
func TestGrantLimits(t *testing.T) {
	w := brokertest.NewWorld(t)
	s := brokertest.SQLite(t, w)
	b := w.Still(t, s)
	d := enter(t, w, b, "ada@example.org")
	m := d.master(t, w, b)
	if _, err := b.CreateAgent(t.Context(), m, ci); err != nil {
		t.Fatal(err)
	}
	put := func(label agentkeys.Agent, svc string, rules ...grant.Rule) error {
		terms := brokerapi.Terms{Rules: rules, Expires: w.Clock.Now().Add(time.Hour)}
		_, err := b.PutGrant(t.Context(), m, label, agentkeys.Must(agentkeys.ParseService(svc)), terms)
		return err
	}
	long := make([]grant.Rule, 30)
	for i := range long {
		long[i] = agentkeys.Must(grant.ParseRule(fmt.Sprintf("GET /%03d/%s", i, strings.Repeat("x", 200))))
	}
	if err := put(ci, "s0", long...); !errors.Is(err, broker.ErrRequest) {
		t.Errorf("a grant of %d bytes and more: %v", 30*200, err)
	}
	if err := put(ci, "s0", long[:10]...); err != nil {
		t.Fatal(err)
	}
	// The rest of what an account may have, as if by other agents of it.
	all, err := s.List(t.Context(), "grant", "", "", 10)
	if err != nil || len(all) != 1 {
		t.Fatal(len(all), err)
	}
	for i := 1; i < broker.MaxAllGrants; {
		var c broker.Change
		for ; i < broker.MaxAllGrants && len(c.Writes) < broker.MaxChanges; i++ {
			k := broker.Key{Kind: "grant", Name: fmt.Sprintf("%s/other/s%d", d.session.Account, i)}
			c.Writes = append(c.Writes, broker.Write{Key: k, Value: all[0].Value, Expires: all[0].Expires})
		}
		if _, err := s.Apply(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	count := broker.Key{Kind: "grants", Name: d.session.Account}
	item, err := s.Get(t.Context(), count)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Apply(t.Context(), broker.Change{Writes: []broker.Write{{Key: count, Expect: item.Version}}}); err != nil {
		t.Fatal(err)
	}
	if err := put(ci, "new"); !errors.Is(err, broker.ErrFull) {
		t.Errorf("one too many: %v", err)
	}
	if err := put(ci, "s0"); err != nil {
		t.Errorf("in place of another: %v", err)
	}
	if err := b.DeleteGrant(t.Context(), m, ci, agentkeys.Must(agentkeys.ParseService("s0"))); err != nil {
		t.Fatal(err)
	}
	if err := put(ci, "new"); err != nil {
		t.Errorf("in the room of one that was revoked: %v", err)
	}
	if err := put(ci, "s0"); !errors.Is(err, broker.ErrFull) {
		t.Errorf("one too many again: %v", err)
	}
	w.Clock.Move(2 * time.Hour)
	if err := put(ci, "s0"); err != nil {
		t.Errorf("in the room of those that have ended: %v", err)
	}
}

// TestMailLimits: a stranger can neither flood a person with mails, under
// whatever form of the address, nor keep them from logging in.
func TestMailLimits(t *testing.T) {
	w := brokertest.NewWorld(t)
	b := w.Still(t, brokertest.SQLite(t, w))
	sent := func(peer, address string, times int) (n int) {
		t.Helper()
		for range times {
			d := &device{key: brokertest.NewKey(t)}
			key, err := b.ProveKey(t.Context(), request(t, w, d, "POST", "/"))
			if err != nil {
				t.Fatal(err)
			}
			_, err = b.BeginLogin(t.Context(), key, peer, brokerapi.LoginRequest{Method: brokerapi.LoginEmail, Email: address})
			var limit *broker.LimitError
			switch {
			case err == nil:
				n++
			case !errors.As(err, &limit) || limit.Wait <= 0 || limit.Wait > 15*time.Minute:
				t.Error(err)
			}
		}
		return n
	}
	for i, c := range []struct {
		peer, address string
		want          int
	}{
		{"stranger", "ada@example.org", 5},
		{"stranger", "Ada+1@example.org", 0},
		{"stranger", "ada@example.com", 5},
		{"home", "ada@example.org", 5},
		{"p1", "ada+1@example.org", 5}, {"p2", "ada+2@example.org", 5}, {"p3", "ada+3@example.org", 5}, {"p4", "ada+4@example.org", 5},
		{"p5", "ada+5@example.org", 0}, // 30 in all
		{"p5", "eve@example.org", 5},
	} {
		if n := sent(c.peer, c.address, 6); n != c.want {
			t.Errorf("%d: %s: %d mails to %s, want %d", i, c.peer, n, c.address, c.want)
		}
	}
	w.Clock.Move(16 * time.Minute)
	if n := sent("p5", "ada@example.org", 1); n != 1 {
		t.Error("it does not end with its window")
	}
}
