package pgstate

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/broker"
	"github.com/litentry/agentkeys/internal/broker/statetest"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/testsrv/postgres"
)

const enough = time.Minute

// TestKilledReplica: of three replicas one is killed, and the others go on,
// with what it held.
func TestKilledReplica(t *testing.T) {
	dsn, _ := postgres.Start(t)
	s := open(t, dsn)
	set := statetest.Set{Name: "set", N: 400}
	set.Make(t, s)
	var heard statetest.Heard
	var wg sync.WaitGroup
	for n, kill := range []int{0, 20, 0} {
		c := set.Spawn(t, fmt.Sprint("replica-", n), nil, dsnVar+"="+string(dsn.Expose()))
		wg.Go(func() { c.Follow(t, &heard, kill) })
	}
	wg.Wait()
	if used := set.Verify(t, s, &heard); used != set.N {
		t.Errorf("%d of %d tokens are used", used, set.N)
	}
}

// TestDisconnected terminates what serves the connections, in the middle of
// changes.
func TestDisconnected(t *testing.T) {
	dsn, server := postgres.Start(t)
	crash(t, dsn, func() { server.Disconnect(t, dsn) })
}

// TestComesBack: calls that find their connections gone take new ones.
func TestComesBack(t *testing.T) {
	dsn, server := postgres.Start(t)
	s := open(t, dsn)
	k := broker.Key{Kind: "a", Name: "b"}
	for round := range 3 {
		var wg sync.WaitGroup
		for range connections { // as many connections as there can be
			wg.Go(func() {
				if _, err := s.pool.Exec(t.Context(), "SELECT pg_sleep(0.05)"); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		server.Disconnect(t, dsn)
		var err error
		switch round {
		case 0:
			_, err = s.Apply(t.Context(), broker.Change{Writes: []broker.Write{{Key: k, Value: []byte("x")}}})
		case 1:
			_, err = s.Get(t.Context(), k)
		case 2:
			err = s.Ping(t.Context())
		}
		if err != nil {
			t.Errorf("round %d: %v", round, err)
		}
	}
}

// TestServerKilled kills the server, and starts it again.
func TestServerKilled(t *testing.T) {
	dsn, server := postgres.Own(t)
	crash(t, dsn, func() {
		server.Kill(t)
		server.Run(t)
	})
}

// crash lets two replicas use tokens, and crashes something after each part of
// them. Also a Wait goes on over it.
func crash(t *testing.T, dsn secret.Value, something func()) {
	const parts = 4
	set := statetest.Set{Name: "set", N: 400}
	replicas := []*State{open(t, dsn), open(t, dsn)}
	set.Make(t, replicas[0])
	ctx, cancel := context.WithTimeout(t.Context(), enough)
	defer cancel()

	var heard statetest.Heard
	var wg sync.WaitGroup
	for n, s := range replicas {
		who := fmt.Sprint("replica-", n)
		wg.Go(func() { set.Use(ctx, s, who, heard.Add) })
	}
	waited := make(chan error, 1)
	go func() {
		for after, heard := int64(0), 0; heard <= set.N; {
			if err := replicas[1].Wait(ctx, after); err != nil {
				waited <- err
				return
			}
			events, err := replicas[1].Events(ctx, after, broker.MaxList)
			if err != nil {
				time.Sleep(10 * time.Millisecond) // it is down
			}
			for _, e := range events {
				after = e.Seq
				heard++
			}
		}
		waited <- nil
	}()
	for part := 1; part < parts; part++ {
		for heard.Made() < part*set.N/parts && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		something()
	}
	wg.Wait()
	if used := set.Verify(t, replicas[0], &heard); used != set.N {
		t.Errorf("%d of %d tokens are used", used, set.N)
	}
	if _, err := replicas[0].Apply(ctx, broker.Change{Events: []broker.NewEvent{{Topic: "last"}}}); err != nil {
		t.Error(err)
	}
	if err := <-waited; err != nil {
		t.Errorf("wait: %v", err)
	}
	t.Logf("%d of %d were acknowledged", heard.Made(), set.N)
}

func open(t testing.TB, dsn secret.Value) *State {
	t.Helper()
	s, err := Open(t.Context(), dsn, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}
