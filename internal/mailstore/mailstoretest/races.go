package mailstoretest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/mailstore"
)

const racers = 8

// race runs do by several at once, half of them as another process.
func (w World) race(do func(i int, s Store)) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range racers {
		s := w.Store
		if i%2 == 1 {
			s = w.other()
		}
		wg.Go(func() {
			<-start
			do(i, s)
		})
	}
	close(start)
	wg.Wait()
}

func testRacingWrites(t *testing.T, w World) {
	want := map[string]string{}
	for round := range 5 {
		id := ID(fmt.Sprint("m", round))
		var mu sync.Mutex
		var winners []int
		w.race(func(i int, s Store) {
			data := text(i, 3000+i)
			err := s.Write(t.Context(), id, strings.NewReader(data), int64(len(data)))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				winners = append(winners, i)
				want[arrivedAt(id)] = data
			case !errors.Is(err, mailstore.ErrExists):
				t.Errorf("write: %v", err)
			}
		})
		if len(winners) != 1 {
			t.Fatalf("racers %v all wrote one message", winners)
		}
	}
	w.holds(t, want)
}

func testRacingPlaces(t *testing.T, w World) {
	want := map[string]string{}
	for round := range 5 {
		id := ID(fmt.Sprint("m", round))
		data := text(round, 5000)
		v := write(t, w.Store, id, data)
		var mu sync.Mutex
		created := map[string]int{}
		w.race(func(i int, s Store) {
			var done bool
			var err error
			var key string
			if i < racers/2 {
				key = placedAt(Wallet(1), id)
				done, err = s.Place(t.Context(), id, v, Wallet(1))
			} else {
				key = refusedAt("odd", id)
				done, err = s.Refuse(t.Context(), id, v, "odd")
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Errorf("%s: %v", key, err)
			}
			if done {
				created[key]++
			}
		})
		for _, key := range []string{placedAt(Wallet(1), id), refusedAt("odd", id)} {
			if created[key] != 1 {
				t.Errorf("%s was created by %d", key, created[key])
			}
			want[key] = data
		}
		want[arrivedAt(id)] = data
	}
	w.holds(t, want)
}

// testPlaceWhileRemoved: a router that comes too late finds it gone, and no
// other's copy suffers.
func testPlaceWhileRemoved(t *testing.T, w World) {
	want := map[string]string{}
	for round := range 10 {
		id := ID(fmt.Sprint("m", round))
		data := text(round, 20_000)
		v := write(t, w.Store, id, data)
		w.race(func(_ int, s Store) {
			_, err := s.Place(t.Context(), id, v, Wallet(1))
			if err == nil {
				err = s.Remove(t.Context(), id)
			}
			if err != nil && !errors.Is(err, mailstore.ErrGone) {
				t.Error(err)
			}
		})
		want[placedAt(Wallet(1), id)] = data
	}
	w.holds(t, want)
}

// testPlaceWhileReplaced: what is placed is what was read, or nothing.
func testPlaceWhileReplaced(t *testing.T, w World) {
	for round := range 10 {
		id := ID(fmt.Sprint("m", round))
		old := text(round, 9000)
		v := write(t, w.Store, id, old)
		var wg sync.WaitGroup
		wg.Go(func() { w.Plant(t, arrivedAt(id), []byte(text(round+100, 9000))) })
		created, err := w.Store.Place(t.Context(), id, v, Wallet(1))
		wg.Wait()
		got, ferr := w.Store.Fetch(t.Context(), Wallet(1), id, 1<<20)
		switch {
		case err == nil:
			if !created || ferr != nil || string(got) != old {
				t.Errorf("placed (%v) %d bytes that are not those of the version, %v", created, len(got), ferr)
			}
		case !errors.Is(ferr, mailstore.ErrGone) && string(got) != old:
			t.Errorf("%v, and yet the inbox has %d bytes, %v", err, len(got), ferr)
		case errors.Is(err, mailstore.ErrGone):
			t.Error("replaced is not gone")
		}
	}
}

// testNeverHalf reads inbox and spool while others write and place, some of
// them cut off by their context: what is listed is whole.
func testNeverHalf(t *testing.T, w World) {
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for n := range 2 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				ctx, cancel := context.WithCancel(t.Context())
				if i%2 == 1 {
					ctx, cancel = context.WithTimeout(t.Context(), rand.N(3*time.Millisecond))
				}
				id, data := ID(fmt.Sprintf("m-%d-%d", n, i)), whole(rand.IntN(300_000))
				_ = w.other().Write(ctx, id, bytes.NewReader(data), int64(len(data)))
				if p, err := w.other().Read(ctx, id, 0, 1, ""); err == nil {
					_, _ = w.other().Place(ctx, id, p.Version, Wallet(1))
				}
				cancel()
			}
		})
	}
	seen := map[agentkeys.MessageID]bool{}
	for deadline := time.Now().Add(10 * time.Second); len(seen) < 40 && time.Now().Before(deadline); {
		for _, i := range pages(t, mailstore.MaxPage, inbox(t, w.Store, Wallet(1))) {
			if seen[i.ID] {
				continue
			}
			seen[i.ID] = true
			data, err := w.Store.Fetch(t.Context(), Wallet(1), i.ID, mailstore.MaxMessage)
			if err != nil || !isWhole(data) || int64(len(data)) != i.Size {
				t.Errorf("listed with %d bytes, fetched half: %d, %v", i.Size, len(data), err)
			}
		}
	}
	close(stop)
	wg.Wait()
	if len(seen) == 0 {
		t.Error("nothing was placed")
	}
	for key, data := range w.Objects(t) {
		if !isWhole(data) {
			t.Errorf("%s is half a message", key)
		}
	}
}

// whole makes a message that begins with the hash of the rest.
func whole(n int) []byte {
	body := bytes.Repeat([]byte{byte(rand.Int())}, n)
	sum := sha256.Sum256(body)
	return append(sum[:], body...)
}

func isWhole(b []byte) bool {
	if len(b) < sha256.Size {
		return false
	}
	sum := sha256.Sum256(b[sha256.Size:])
	return bytes.Equal(sum[:], b[:sha256.Size])
}
