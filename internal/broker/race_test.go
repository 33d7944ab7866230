package broker_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/broker"
	"github.com/litentry/agentkeys/internal/broker/brokertest"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/grant"
)

// TestRevokedWhileRecording: the log may take its time; a device that is
// revoked meanwhile gets no token.
func TestRevokedWhileRecording(t *testing.T) {
	w := brokertest.NewWorld(t)
	var onMint func()
	w.Tape.On = func(e grant.Event) {
		if e.Op == "token.mint" {
			onMint()
		}
	}
	b, _ := w.Replica(t, brokertest.SQLite(t, w))
	master, victim := enter(t, w, b, "ada@example.org"), enter(t, w, b, "ada@example.org")
	m := master.master(t, w, b)
	c, err := victim.call(t, w, b)
	if err != nil {
		t.Fatal(err)
	}
	heard, err := b.Subscribe(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer heard.Close()
	onMint = func() {
		if err := b.RevokeDevice(t.Context(), m, victim.session.Device); err != nil {
			t.Error(err)
		}
		for { // until this replica has heard of it
			e, err := heard.Next(t.Context())
			if err != nil || e.Name == brokerapi.EventEnded {
				return
			}
		}
	}
	if a, err := b.Mint(t.Context(), c, broker.MintRequest{Audience: brokertest.STS}); !errors.Is(err, broker.ErrDevice) || a.Token != "" {
		t.Errorf("minted: %v", err)
	}
}

// TestGrantRacesRemoval: of an agent that is removed no grant is left, whoever
// puts one meanwhile, and each that was made is told as revoked.
func TestGrantRacesRemoval(t *testing.T) {
	w := brokertest.NewWorld(t)
	s := brokertest.SQLite(t, w)
	b, _ := w.Replica(t, s)
	d := enter(t, w, b, "ada@example.org")
	m := d.master(t, w, b)
	c, err := d.call(t, w, b)
	if err != nil {
		t.Fatal(err)
	}
	heard, err := b.Subscribe(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer heard.Close()
	const rounds = 15
	for range rounds {
		if _, err := b.CreateAgent(t.Context(), m, ci); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for i := range 4 {
			svc := agentkeys.Must(agentkeys.ParseService(fmt.Sprint("s", i)))
			wg.Go(func() {
				_, err := b.PutGrant(t.Context(), m, ci, svc, brokerapi.Terms{Expires: w.Clock.Now().Add(time.Hour)})
				if err != nil && !errors.Is(err, broker.ErrUnknownAgent) {
					t.Error(err)
				}
			})
		}
		wg.Go(func() {
			if err := b.RemoveAgent(t.Context(), m, ci); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
	}
	if left, err := s.List(t.Context(), "grant", "", "", 10); err != nil || len(left) != 0 {
		t.Errorf("%d grants are left, %v", len(left), err)
	}
	inForce, agents := map[string]bool{}, 0
	for agents < 2*rounds {
		e, err := heard.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		switch v := e.Data.(type) {
		case grant.Grant:
			inForce[v.ID] = true
		case brokerapi.Revoked:
			delete(inForce, v.Grant)
		case []brokerapi.Agent:
			agents++
		}
	}
	for range 3 { // the revocations come behind the list of agents
		e, err := heard.Next(t.Context())
		for err == nil && e.Name == brokerapi.EventRevoked {
			delete(inForce, e.Data.(brokerapi.Revoked).Grant)
			e, err = heard.Next(t.Context())
		}
	}
	if len(inForce) != 0 {
		t.Errorf("%d grants look as if they were in force", len(inForce))
	}
}

// TestLeftOver: a grant that was left behind in the state, because the replica
// that removed its agent died then, is not in force for the next of that label.
func TestLeftOver(t *testing.T) {
	w := brokertest.NewWorld(t)
	s := brokertest.SQLite(t, w)
	b := w.Still(t, s)
	m := enter(t, w, b, "ada@example.org").master(t, w, b)
	var left []broker.Item
	for round := range 2 {
		if _, err := b.CreateAgent(t.Context(), m, ci); err != nil {
			t.Fatal(err)
		}
		if all, err := b.Grants(t.Context(), m); err != nil || len(all) != 0 {
			t.Errorf("round %d: %d grants, %v", round, len(all), err)
		}
		if round == 1 {
			return
		}
		svc := agentkeys.Must(agentkeys.ParseService("openrouter"))
		if _, err := b.PutGrant(t.Context(), m, ci, svc, brokerapi.Terms{Expires: w.Clock.Now().Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
		var err error
		if left, err = s.List(t.Context(), "grant", "", "", 10); err != nil || len(left) != 1 {
			t.Fatal(len(left), err)
		}
		if err := b.RemoveAgent(t.Context(), m, ci); err != nil {
			t.Fatal(err)
		}
		back := broker.Write{Key: left[0].Key, Value: left[0].Value, Expires: left[0].Expires}
		if _, err := s.Apply(t.Context(), broker.Change{Writes: []broker.Write{back}}); err != nil {
			t.Fatal(err)
		}
	}
}
