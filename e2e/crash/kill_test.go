package crash_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/litentry/agentkeys/e2e/lend/rig"
	"github.com/litentry/agentkeys/internal/control"
)

// number reads an environment variable.
func number(t *testing.T, name string, fallback uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return fallback
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// perHome is after how many rounds a campaign goes on in a new home: each kill
// costs a buyer the hold of a request, which is a hundredth of its budget.
const perHome = 80

// TestKill9 kills the background process under ten writers at a random moment,
// starts it again, and holds what it finds against what was acknowledged.
// AGENTKEYS_CRASH_ROUNDS says how often, AGENTKEYS_CRASH_SEED from where.
func TestKill9(t *testing.T) {
	rounds := int(number(t, "AGENTKEYS_CRASH_ROUNDS", 12))
	if testing.Short() {
		rounds = min(rounds, 3)
	}
	seed := number(t, "AGENTKEYS_CRASH_SEED", rand.Uint64())
	t.Logf("%d rounds, AGENTKEYS_CRASH_SEED=%d", rounds, seed)
	rng := rand.New(rand.NewPCG(seed, 0))

	var w *world
	var ups, late []time.Duration // late: of homes with many kills behind them
	var began time.Time
	changes, entries, early := 0, int64(0), 0
	for round := range rounds {
		if round%perHome == 0 {
			if w != nil {
				w.h.Kill()
				entries += w.last
			}
			w = newWorld(t, rig.New(t))
		}
		if round == 0 {
			began = time.Now()
		}
		st, err := w.client.Status(t.Context())
		must(t, err)
		w.round(rng, w.killed)
		changes += len(w.facts)
		if rng.IntN(8) == 0 {
			w.killEarly(rng)
			early++
		}
		start := time.Now()
		again := w.h.Up()
		ups = append(ups, time.Since(start))
		if round%perHome >= perHome*9/10 {
			late = append(late, ups[len(ups)-1])
		}
		if again.Address != w.addr {
			t.Errorf("after a kill it listens on %s, not on %s, which agents know", again.Address, w.addr)
		}
		w.checkAll(t, st.LogSize)
		if (round+1)%10 == 0 {
			t.Logf("%d rounds in %v, %d changes acknowledged, up again in %v at most", round+1,
				time.Since(began).Round(time.Second), changes, slices.Max(ups).Round(time.Millisecond))
			report(round+1, rounds, changes, slices.Max(ups))
		}
		if t.Failed() {
			t.Fatalf("round %d of AGENTKEYS_CRASH_SEED=%d", round+1, seed)
		}
	}
	entries += w.last
	slices.Sort(ups)
	ms := func(i int) time.Duration { return ups[i].Round(time.Millisecond) }
	t.Logf("%d kills, %d of them again during the start; %d changes acknowledged, %d log entries; up again in %v in the median, %v in 19 of 20 and %v at most",
		rounds, early, changes, entries, ms(len(ups)/2), ms((len(ups)-1)*19/20), ms(len(ups)-1))
	if slices.Sort(late); len(late) > 0 {
		t.Logf("up again in %v in the median after %d kills and more", late[len(late)/2].Round(time.Millisecond), perHome*9/10)
	}
	if w.seller.served.Load() == 0 || changes < rounds {
		t.Error("nothing much was written: this shows nothing")
	}
	// Two seconds are the goal; other tests may have the machine.
	if slowest := ups[len(ups)-1]; slowest > 30*time.Second {
		t.Errorf("up again only after %v", slowest)
	}
}

// report tells of a long campaign, of which go test would show nothing until
// its end.
func report(round, rounds, changes int, slowest time.Duration) {
	if rounds >= 100 {
		println(time.Now().Format(time.TimeOnly), "round", round, "of", rounds, "changes", changes, "slowest up", slowest.Milliseconds(), "ms")
	}
}

// killed is what an error of a writer means in a round that ends in a kill:
// the process is gone. An answer is no error that anybody expects.
func (w *world) killed(wr writer, err error) (again bool) {
	var answer *control.Error
	if errors.As(err, &answer) {
		w.t.Errorf("%T: %s: %v", wr, answer.Code, err)
	}
	return false
}

// round has the writers at work until the process is killed.
func (w *world) round(rng *rand.Rand, failed func(writer, error) bool) {
	w.work(rng, failed, func() {
		time.Sleep(time.Duration(rng.IntN(400_000)) * time.Microsecond)
		w.h.Kill()
	})
}

// work has the writers at work until the call of end returns, which is not
// before the process is gone. failed says whether one goes on after an error.
func (w *world) work(rng *rand.Rand, failed func(writer, error) bool, end func()) {
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	var wg sync.WaitGroup
	for i, wr := range w.writers {
		mine := rand.New(rand.NewPCG(rng.Uint64(), uint64(i)))
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := wr.write(ctx, mine); err != nil && !failed(wr, err) {
					return
				}
			}
		})
	}
	end()
	cancel()
	wg.Wait()
	anyhow.CloseIdleConnections()
}

// killEarly starts the process and kills it before, or soon after, it is ready.
func (w *world) killEarly(rng *rand.Rand) {
	cmd := w.h.Command(context.Background(), "up", "--foreground")
	must(w.t, cmd.Start())
	time.Sleep(time.Duration(rng.IntN(900_000)) * time.Microsecond)
	_ = cmd.Process.Signal(syscall.SIGKILL)
	_ = cmd.Wait()
}

func (w *world) checkAll(t *testing.T, size int64) {
	t.Helper()
	known := []string{"audit", "verify"}
	if w.note != "" {
		known = append(known, "--known", w.h.File("checkpoint", []byte(w.note)))
	}
	if r := w.h.Run("", known...); r.Code != 0 {
		t.Errorf("audit verify: %+v", r)
	}
	w.checkLog(t, size)
	for _, wr := range w.writers {
		wr.check(t)
	}
	w.facts = nil // what the checks did themselves
	w.seller.mu.Lock()
	defer w.seller.mu.Unlock()
	for _, s := range w.seller.stale {
		t.Errorf("the service was shown a key that had been replaced: %s", s)
	}
	left, err := filepath.Glob(filepath.Join(w.h.Dir, "data", "broker", "*", ".tmp-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %q %v", left, err)
	}
}
