package chaos_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// perWorld is after how many rounds a campaign goes on in a new installation.
const perWorld = 120

// TestReplicas has ten writers at two replicas on one PostgreSQL, and breaks
// what it can. AGENTKEYS_CHAOS_ROUNDS says how often, AGENTKEYS_CHAOS_SEED from
// where.
func TestReplicas(t *testing.T) { campaign(t, 2, true, 3) }

// TestAlone has them at a broker of its own, on SQLite.
func TestAlone(t *testing.T) { campaign(t, 1, false, 3) }

func campaign(t *testing.T, replicas int, shared bool, short int) {
	rounds := short
	if n := int(number(t, "AGENTKEYS_CHAOS_ROUNDS", 0)); n > 0 {
		rounds = n
		if !shared {
			rounds = max(short, n/4)
		}
	} else {
		t.Parallel()
	}
	if testing.Short() {
		rounds = 1
	}
	seed := number(t, "AGENTKEYS_CHAOS_SEED", rand.Uint64())
	t.Logf("%d rounds, AGENTKEYS_CHAOS_SEED=%d", rounds, seed)
	rng := rand.New(rand.NewPCG(seed, uint64(replicas)))
	for done := 0; done < rounds && !t.Failed(); done += perWorld {
		part := min(perWorld, rounds-done)
		t.Run("", func(t *testing.T) {
			newWorld(t, replicas, shared).rounds(part, done, rng)
			if t.Failed() {
				t.Logf("AGENTKEYS_CHAOS_SEED=%d", seed)
			}
		})
	}
}

func (w *world) rounds(n, before int, rng *rand.Rand) {
	t := w.t
	for _, r := range w.replicas {
		must(t, w.fetch(r))
	}
	login := []*loginer{newLoginer(w), newLoginer(w)}
	grants := []*granter{newGranter(w, login[0], 0), newGranter(w, login[1], 1)}
	writers := []writer{
		login[0], login[1], grants[0], grants[1], newEnroller(w, login[0], 0), newEnroller(w, login[1], 1),
		newHirer(w, login[0]), newMinter(w, login[0], 0), newMinter(w, login[1], 1), &replayer{w: w, master: w.master(login[0])},
	}
	ctx, stop := context.WithCancel(t.Context())
	var beside sync.WaitGroup
	var read, rotated int
	beside.Go(func() { read = w.publishing(ctx) })
	mine := rand.New(rand.NewPCG(rng.Uint64(), 0))
	var rotation sync.WaitGroup
	rctx, still := context.WithCancel(ctx)
	rotation.Go(func() { rotated = w.rotating(rctx, mine) })
	for _, g := range grants {
		for i := range w.replicas {
			beside.Go(func() { g.listening(ctx, i) })
		}
	}
	began := time.Now()
	for round := range n {
		w.round(writers, rng)
		for _, r := range w.replicas {
			w.listen(r.p)
		}
		w.checkLogs()
		if n >= 20 && (round+1)%10 == 0 {
			println(time.Now().Format(time.TimeOnly), "round", before+round+1, "acknowledged", w.acks)
		}
		if t.Failed() {
			t.Logf("round %d", before+round+1)
			break
		}
	}
	still()
	rotation.Wait()
	if !t.Failed() {
		w.turned()
		for _, m := range writers {
			m.check()
		}
		w.checkLogs()
	}
	stop()
	beside.Wait()
	w.report(t.Logf)
	t.Logf("%d rounds in %v: %d changes and tokens acknowledged; %d keys made and %d used, %d first seen in a token; %d key sets read; %d beats held against revocations",
		n, time.Since(began).Round(time.Second), w.acks, rotated, len(w.used), w.late, read, w.beats.Load())
	if len(w.used) < 3 || w.acks < 10*n || w.beats.Load() == 0 {
		t.Error("nothing much was done: this shows nothing")
	}
}

// round has the writers at work while something breaks, and looks at what is
// there.
func (w *world) round(writers []writer, rng *rand.Rand) {
	var over atomic.Bool
	var wg sync.WaitGroup
	for i, wr := range writers {
		mine := rand.New(rand.NewPCG(rng.Uint64(), uint64(i)))
		wg.Go(func() {
			for !over.Load() {
				if !wr.step(mine) {
					time.Sleep(10 * time.Millisecond)
				}
			}
		})
	}
	wait := func(most int) { time.Sleep(time.Duration(rng.IntN(most*1000)) * time.Microsecond) }
	wait(700)
	w.disturbed.Add(1)
	w.disturb(rng, wait)
	w.disturbed.Add(1)
	wait(900)
	over.Store(true)
	wg.Wait()
	for _, wr := range writers {
		wr.check()
	}
}

// disturb breaks something, and mends it.
func (w *world) disturb(rng *rand.Rand, wait func(most int)) {
	var down []*replica
	kill := func(r *replica) {
		r.kill()
		down = append(down, r)
	}
	one := w.replicas[rng.IntN(len(w.replicas))]
	what := rng.IntN(20)
	switch {
	case w.pg == nil:
		kill(one)
	case what < 9:
		kill(one)
	case what < 12:
		w.pg.Disconnect(w.t, w.dsn)
		kill(one)
	case what < 14:
		for _, r := range w.replicas {
			kill(r)
		}
	case what < 17:
		w.pg.Disconnect(w.t, w.dsn)
		wait(50)
		w.pg.Disconnect(w.t, w.dsn)
	default:
		w.pg.Kill(w.t)
		if rng.IntN(2) == 0 {
			kill(one)
		}
		wait(400)
		w.pg.Run(w.t)
	}
	wait(400)
	for _, r := range down {
		if rng.IntN(3) == 0 {
			w.verify(r) // as it lies there
		}
		if rng.IntN(5) == 0 { // and again during the start
			r.start()
			wait(200)
			r.kill()
		}
	}
	for _, r := range down {
		began := time.Now()
		r.start()
		r.ready()
		w.took("a replica is up again", time.Since(began))
	}
	w.await("the replicas", func() bool {
		for _, r := range w.replicas {
			if !r.isReady() {
				return false
			}
		}
		return true
	})
}
