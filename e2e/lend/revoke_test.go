package lend_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/e2e/lend/rig"
	"github.com/litentry/agentkeys/internal/control"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/testsrv"
)

// TestRevokeRaces revokes while eight clients use the grant, a hundred times:
// by the log nothing begins after the revocation is on record as done, and by
// the clients nothing after its acknowledgement.
func TestRevokeRaces(t *testing.T) {
	h := rig.New(t)
	h.Up()
	s := h.StandIn(testsrv.Options{Shape: testsrv.OpenRouter, Remember: 1})
	svc, err := agentkeys.ParseService(s.Name)
	if err != nil {
		t.Fatal(err)
	}
	a := h.NewAgent("coder")
	client := h.Client()
	rounds := 100
	if testing.Short() {
		rounds = 10
	}
	var revoked atomic.Int64 // rounds acknowledged
	var used, refused, late, cut atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 8 {
		who := a
		if i%2 == 1 {
			who = a.Socket()
		}
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				before := revoked.Load()
				ans, err := who.Do("GET", s.Name, "/models", "")
				switch {
				case err != nil:
					cut.Add(1) // under way when its grant went
				case ans.Status == 200 && before%2 == 1 && revoked.Load() == before:
					// Began after the acknowledgement, and ended before the next grant.
					late.Add(1)
				case ans.Status == 200:
					used.Add(1)
				case ans.Code == "no-grant":
					refused.Add(1)
					time.Sleep(200 * time.Microsecond)
				default:
					t.Error(ans)
				}
			}
		})
	}
	for range rounds {
		_, err := client.Grant(t.Context(), a.Label, svc, control.GrantRequest{Expires: time.Now().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rand.IntN(8000)) * time.Microsecond)
		if err := client.Revoke(t.Context(), a.Label, svc); err != nil {
			t.Fatal(err)
		}
		revoked.Add(1) // odd: nothing may begin
		time.Sleep(2 * time.Millisecond)
		revoked.Add(1)
	}
	close(stop)
	wg.Wait()
	if late.Load() > 0 {
		t.Errorf("%d uses began after a revocation was acknowledged", late.Load())
	}
	if used.Load() < int64(rounds) || refused.Load() < int64(rounds) {
		t.Errorf("%d used, %d refused: that was no race", used.Load(), refused.Load())
	}
	t.Logf("%d rounds, %d used, %d refused", rounds, used.Load(), refused.Load())

	done := map[string]int64{}
	uses := 0
	for _, e := range h.Log(1e6) {
		if e.Op == "grant.revoke" && e.Decision == grant.Done {
			done[e.Grant] = e.Index
		}
		if at, gone := done[e.Grant]; e.Op == grant.OpUse && e.Decision == grant.Allowed {
			uses++
			if gone {
				t.Errorf("entry %d allows a use of grant %s, whose revocation was done at %d", e.Index, e.Grant, at)
			}
		}
	}
	if len(done) != rounds || uses < rounds {
		t.Errorf("the log has %d revocations and %d uses", len(done), uses)
	}
	h.OK("audit", "verify")
}

// TestRemoveAgentRaces is the same for an agent that is removed.
func TestRemoveAgentRaces(t *testing.T) {
	h := rig.New(t)
	h.Up()
	s := h.StandIn(testsrv.Options{Shape: testsrv.OpenRouter, Remember: 1})
	gone := map[string]int64{}
	for round := range 10 {
		label := fmt.Sprint("agent-", round)
		a := h.NewAgent(label)
		h.OK("grant", label, s.Name)
		var removed atomic.Bool
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for {
					before := removed.Load()
					ans, err := a.Do("GET", s.Name, "/models", "")
					// An error: under way when its agent went.
					if err == nil && ans.Status != 200 && ans.Code != "unknown-caller" && ans.Code != "no-grant" {
						t.Error(ans)
					}
					if before {
						if ans.Status == 200 {
							t.Error("a removed agent was served")
						}
						return
					}
				}
			})
		}
		time.Sleep(time.Duration(rand.IntN(5000)) * time.Microsecond)
		if err := h.Client().RemoveAgent(t.Context(), a.Label); err != nil {
			t.Fatal(err)
		}
		removed.Store(true)
		wg.Wait()
	}
	for _, e := range h.Log(1e6) {
		if e.Op == "agent.remove" && e.Decision == grant.Done {
			gone[e.Agent.String()] = e.Index
		}
		if at, is := gone[e.Agent.String()]; is && e.Op == grant.OpUse && e.Decision == grant.Allowed {
			t.Errorf("entry %d allows a use by agent %s, removed at %d", e.Index, e.Agent, at)
		}
	}
}
