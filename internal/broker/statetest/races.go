package statetest

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/litentry/agentkeys/internal/broker"
)

// testRacingConsumptions: of a hundred who would use what can be used once,
// one does.
func testRacingConsumptions(t *testing.T, w *world) {
	replicas := []broker.State{w.State, w.replica()}
	for round := range 3 {
		name := fmt.Sprint("once-", round)
		v := w.put(name, "x", 0)
		won := race(t, 100, func(i int) error {
			_, err := replicas[i%2].Apply(t.Context(), broker.Change{
				Writes: []broker.Write{{Key: key(name), Expect: v}, {Key: key(fmt.Sprint(name, "-session-", i)), Value: []byte("x")}},
				Events: []broker.NewEvent{{Topic: name}},
			})
			return err
		})
		w.absent(name)
		if got := names(t, w, "test", name+"-", 10); len(won) != 1 || len(got) != 1 || got[0] != fmt.Sprint(name, "-session-", won[0]) {
			t.Errorf("racers %v won, and %v are there", won, got)
		}
		if events, err := w.Events(t.Context(), 0, 10); err != nil || len(events) != round+1 {
			t.Errorf("%d events after %d rounds, %v", len(events), round+1, err)
		}
	}
}

func testRacingCreations(t *testing.T, w *world) {
	replicas := []broker.State{w.State, w.replica()}
	for round := range 3 {
		name := fmt.Sprint("proof-", round)
		if round == 1 { // over one that expired
			w.lend(name, "old", 0, w.now())
		}
		won := race(t, 40, func(i int) error {
			_, err := replicas[i%2].Apply(t.Context(), broker.Change{Writes: []broker.Write{{Key: key(name), Value: []byte(strconv.Itoa(i))}}})
			return err
		})
		if len(won) != 1 {
			t.Fatalf("racers %v all created one item", won)
		}
		w.holds(name, strconv.Itoa(won[0]))
	}
}

// testSkew: two changes that each rest on what the other writes cannot both be
// made, whether they rest on a version or on an absence.
func testSkew(t *testing.T, w *world) {
	replicas := []broker.State{w.State, w.replica()}
	for round := range 40 {
		k := [2]broker.Key{key(fmt.Sprint("a-", round)), key(fmt.Sprint("b-", round))}
		var expect [2]int64
		if round%2 == 1 {
			for i := range k {
				expect[i] = w.put(k[i].Name, "x", 0)
			}
		}
		won := race(t, 2, func(i int) error {
			_, err := replicas[i].Apply(t.Context(), broker.Change{Writes: []broker.Write{
				{Key: k[i], Expect: expect[i], Check: true},
				{Key: k[1-i], Expect: expect[1-i], Value: []byte("changed")},
			}})
			return err
		})
		if len(won) != 1 {
			t.Fatalf("round %d: changes %v of two that exclude each other were made", round, won)
		}
	}
	// Changes that only check the same thing do not exclude each other.
	v := w.put("shared", "x", 0)
	won := race(t, 30, func(i int) error {
		_, err := replicas[i%2].Apply(t.Context(), broker.Change{Writes: []broker.Write{
			{Key: key("shared"), Expect: v, Check: true}, {Key: key("nobody")}, {Key: key(fmt.Sprint("own-", i)), Value: []byte("x")},
		}})
		return err
	})
	if len(won) != 30 {
		t.Errorf("of 30 changes with the same checks %d were made", len(won))
	}
}

// testCrossing: changes that name the same items in other orders do not wait
// for each other for ever.
func testCrossing(t *testing.T, w *world) {
	const items, writers, each = 8, 8, 15
	replicas := []broker.State{w.State, w.replica()}
	var made sync.Map
	var wg sync.WaitGroup
	for n := range writers {
		s := replicas[n%2]
		wg.Go(func() {
			for i := 0; i < each; {
				var c broker.Change
				for j := range items {
					k := key(fmt.Sprint("x-", (j*(2*n+1)+n)%items)) // another order for each
					item, err := s.Get(t.Context(), k)
					if err != nil && !errors.Is(err, broker.ErrAbsent) {
						t.Error(err)
						return
					}
					c.Writes = append(c.Writes, broker.Write{Key: k, Expect: item.Version, Value: []byte("x"), Check: (j+n+i)%3 == 0})
				}
				if n%2 == 0 {
					c.Events = []broker.NewEvent{{Topic: "crossing"}}
				}
				switch _, err := s.Apply(t.Context(), c); {
				case err == nil:
					made.Store([2]int{n, i}, true)
					i++
				case !errors.Is(err, broker.ErrConflict):
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	n := 0
	made.Range(func(any, any) bool { n++; return true })
	if n != writers*each {
		t.Errorf("%d changes made, want %d", n, writers*each)
	}
}

// testNoLostUpdate counts up from several goroutines, each reading and then
// replacing what it read.
func testNoLostUpdate(t *testing.T, w *world) {
	const writers, each = 6, 15
	replicas := []broker.State{w.State, w.replica()}
	w.put("counter", "0", 0)
	var wg sync.WaitGroup
	for n := range writers {
		wg.Go(func() {
			for i := 0; i < each; {
				err := count(t, replicas[n%2])
				if err == nil {
					i++
				} else if !errors.Is(err, broker.ErrConflict) {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	w.holds("counter", strconv.Itoa(writers*each))
}

func count(t *testing.T, s broker.State) error {
	i, err := s.Get(t.Context(), key("counter"))
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(string(i.Value))
	if err != nil {
		return err
	}
	_, err = s.Apply(t.Context(), broker.Change{Writes: []broker.Write{{Key: i.Key, Expect: i.Version, Value: []byte(strconv.Itoa(n + 1))}}})
	return err
}

// testNeverTorn moves money between accounts while others add it up, by a list
// and by a change that checks every account it read.
func testNeverTorn(t *testing.T, w *world) {
	const accounts, total, moves = 6, 600, 60
	replicas := []broker.State{w.State, w.replica()}
	for i := range accounts {
		w.put(fmt.Sprint("account-", i), strconv.Itoa(total/accounts), 0)
	}
	stop := make(chan struct{})
	var movers, readers sync.WaitGroup
	for n := range 3 {
		s := replicas[n%2]
		movers.Go(func() {
			for i := 0; i < moves; {
				from, to := (n+i)%accounts, (n+3*i+1)%accounts
				if from == to {
					to = (to + 1) % accounts
				}
				var c broker.Change
				for j, k := range []broker.Key{key(fmt.Sprint("account-", from)), key(fmt.Sprint("account-", to))} {
					item, err := s.Get(t.Context(), k)
					if err != nil {
						t.Error(err)
						return
					}
					balance, _ := strconv.Atoi(string(item.Value))
					c.Writes = append(c.Writes, broker.Write{Key: k, Expect: item.Version, Value: []byte(strconv.Itoa(balance + []int{-7, 7}[j]))})
				}
				switch _, err := s.Apply(t.Context(), c); {
				case err == nil:
					i++
				case !errors.Is(err, broker.ErrConflict):
					t.Error(err)
					return
				}
			}
		})
	}
	sum := func(items []broker.Item) (n int) {
		for _, i := range items {
			balance, _ := strconv.Atoi(string(i.Value))
			n += balance
		}
		return n
	}
	for n := range 2 {
		s := replicas[n%2]
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				items, err := s.List(t.Context(), "test", "account-", "", 100)
				if err != nil || len(items) != accounts || sum(items) != total {
					t.Errorf("%d accounts with %d in all, %v", len(items), sum(items), err)
					return
				}
				var c broker.Change
				var read []broker.Item
				for i := range accounts {
					item, err := s.Get(t.Context(), key(fmt.Sprint("account-", i)))
					if err != nil {
						t.Error(err)
						return
					}
					read = append(read, item)
					c.Writes = append(c.Writes, broker.Write{Key: item.Key, Expect: item.Version, Check: true})
				}
				if _, err := s.Apply(t.Context(), c); err == nil && sum(read) != total {
					t.Errorf("%d in all, and every account as it was read", sum(read))
				} else if err != nil && !errors.Is(err, broker.ErrConflict) {
					t.Error(err)
					return
				}
			}
		})
	}
	movers.Wait()
	close(stop)
	readers.Wait()
}
