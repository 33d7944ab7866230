package mailsrv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/mailstore"
)

func number(n int) agentkeys.MessageID {
	return agentkeys.Must(agentkeys.ParseMessageID(fmt.Sprintf("m%07d", n)))
}

// book counts tries, and says what becomes of each.
type book struct {
	mu    sync.Mutex
	tries map[agentkeys.MessageID][]time.Time
	say   func(p *post, tries int) verdict
}

func (b *book) handle(_ context.Context, p *post) verdict {
	b.mu.Lock()
	if b.tries == nil {
		b.tries = map[agentkeys.MessageID][]time.Time{}
	}
	b.tries[p.id] = append(b.tries[p.id], time.Now())
	n := len(b.tries[p.id])
	b.mu.Unlock()
	if b.say == nil {
		return settled
	}
	return b.say(p, n)
}

func (b *book) of(n int) []time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.tries[number(n)])
}

// opened is an office at work, and how it is ended.
func opened(t *testing.T, b *book, log *bytes.Buffer) (o *office, end func(grace time.Duration)) {
	t.Helper()
	if log == nil {
		log = &bytes.Buffer{}
	}
	o = newOffice(b.handle, time.Now, slog.New(slog.NewTextHandler(log, nil)))
	ctx, stop := context.WithCancel(context.Background())
	until, cut := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		o.run(ctx, until)
		close(done)
	}()
	return o, func(grace time.Duration) {
		timer := time.AfterFunc(grace, cut)
		defer timer.Stop()
		defer cut()
		stop()
		<-done
	}
}

func TestOfficeHandlesWhatItTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{}
		o, end := opened(t, b, nil)
		for n := range 500 {
			o.take(number(n), []string{"a@example.com"})
		}
		synctest.Wait()
		for n := range 500 {
			if got := len(b.of(n)); got != 1 {
				t.Fatalf("message %d was handled %d times", n, got)
			}
		}
		if held, later := o.size(); held != 0 || later != 0 {
			t.Errorf("%d held, %d later", held, later)
		}
		o.take(number(7), nil) // a second notice of one that is settled is handled: the store knows
		synctest.Wait()
		if got := len(b.of(7)); got != 2 {
			t.Errorf("%d tries", got)
		}
		end(time.Minute)
	})
}

// TestOfficeTriesAgain: with back-off, until it is done.
func TestOfficeTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{say: func(_ *post, tries int) verdict {
			if tries < 14 {
				return again
			}
			return settled
		}}
		o, end := opened(t, b, nil)
		o.take(number(1), nil)
		synctest.Wait()
		if held, later := o.size(); held != 1 || later != 1 {
			t.Errorf("%d held, %d later", held, later)
		}
		o.take(number(1), nil) // it is here already
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		at := b.of(1)
		if len(at) != 14 {
			t.Fatalf("%d tries", len(at))
		}
		for i := range 13 {
			most := min(time.Second<<i, latest)
			if wait := at[i+1].Sub(at[i]); wait < most/2 || wait > most {
				t.Errorf("try %d came after %v, want %v to %v", i+1, wait, most/2, most)
			}
		}
		if held, _ := o.size(); held != 0 {
			t.Errorf("%d held", held)
		}
		end(time.Minute)
	})
}

// TestOfficeOfOthers: a message that waits, or panics, holds up no other.
func TestOfficeOfOthers(t *testing.T) {
	var log bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		b := &book{say: func(p *post, tries int) verdict {
			if p.id == number(0) && tries < 3 {
				panic("obviously-fake text of a mail")
			}
			if p.id == number(1) {
				return again
			}
			return settled
		}}
		o, end := opened(t, b, &log)
		for n := range 100 {
			o.take(number(n), nil)
		}
		synctest.Wait()
		for n := range 100 {
			if len(b.of(n)) != 1 {
				t.Errorf("message %d: %d tries", n, len(b.of(n)))
			}
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := len(b.of(0)); n != 3 {
			t.Errorf("%d tries of one that panicked twice", n)
		}
		end(time.Minute)
	})
	if text := log.String(); !strings.Contains(text, "msg=panic") || strings.Contains(text, "obviously-fake") {
		t.Errorf("the log says %s", text)
	}
}

// TestOfficeBounds: it remembers so much and no more, and says so.
func TestOfficeBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		b := &book{say: func(*post, int) verdict {
			<-gate
			return again
		}}
		o, end := opened(t, b, nil)
		most := workers + mostFresh
		for n := range most + 10 {
			o.take(number(n), nil)
			if n == workers-1 {
				synctest.Wait() // each has one
			}
		}
		select {
		case <-o.missed:
		default:
			t.Error("nobody was told that messages were left to a sweep")
		}
		if held, _ := o.size(); held != most {
			t.Errorf("%d held, want %d", held, most)
		}
		close(gate)
		synctest.Wait()
		for n := most; n < 2*mostLater; n++ {
			o.take(number(n), nil)
			if n%mostFresh == 0 {
				synctest.Wait()
			}
		}
		synctest.Wait()
		if held, later := o.size(); held != mostLater || later != mostLater {
			t.Errorf("%d held, %d later, want %d", held, later, mostLater)
		}
		end(0)
	})
}

// TestOfficeEnds: what has come is handled in the time there is, nothing after
// it, and what waits to be tried again is left to the next start.
func TestOfficeEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{say: func(p *post, _ int) verdict {
			if p.id == number(0) {
				return again
			}
			time.Sleep(time.Second)
			return settled
		}}
		o, end := opened(t, b, nil)
		for n := range 200 {
			o.take(number(n), nil)
		}
		start := time.Now()
		end(5500 * time.Millisecond)
		if took := time.Since(start); took > 7*time.Second {
			t.Errorf("it took %v", took)
		}
		n := 0
		for i := 1; i < 200; i++ {
			n += len(b.of(i))
		}
		if n < 5*workers || n > 7*workers {
			t.Errorf("%d were handled in 5.5 seconds by %d, each of a second", n, workers)
		}
		if len(b.of(0)) != 1 {
			t.Errorf("%d tries of one that was put off", len(b.of(0)))
		}
		o.take(number(1000), nil)
		if o.find(context.Background(), number(1001)) {
			t.Error("it takes messages after its end")
		}
	})
}

// shelf is an inbound/ of numbers.
type shelf struct {
	mu    sync.Mutex
	ids   []agentkeys.MessageID
	fail  int // so many calls
	calls int
}

func (s *shelf) waiting(_ context.Context, after agentkeys.MessageID, limit int) (mailstore.Page, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if s.fail > 0 {
		s.fail--
		return mailstore.Page{}, errors.New("the store is away")
	}
	i, found := slices.BinarySearchFunc(s.ids, after, func(a, b agentkeys.MessageID) int { return strings.Compare(a.String(), b.String()) })
	if found {
		i++
	}
	rest := s.ids[i:]
	var p mailstore.Page
	for _, id := range rest[:min(limit, len(rest))] {
		p.Items = append(p.Items, mailstore.Item{ID: id})
	}
	p.More = len(rest) > limit
	return p, nil
}

func TestSweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{fail: 3}
		for n := range 2500 {
			s.ids = append(s.ids, number(n))
		}
		b := &book{say: func(p *post, tries int) verdict {
			switch {
			case p.id == number(5) && tries == 1:
				return again
			case p.id == number(6):
				return ignored
			}
			return settled
		}}
		o, end := opened(t, b, nil)
		var found []int
		failures := 0
		ctx, stop := context.WithCancel(t.Context())
		sweeping := &sweeper{s.waiting, nil, o, sweepEvery, missedAfter, func(n int) { found = append(found, n) }, func(error) { failures++ }}
		ended := make(chan struct{})
		go func() {
			sweeping.run(ctx)
			close(ended)
		}()
		time.Sleep(time.Minute) // three failures, of 1, 2 and 4 seconds at most
		synctest.Wait()
		if failures != 3 || !slices.Equal(found, []int{2500}) {
			t.Errorf("%d failures, found %v", failures, found)
		}
		for n := range 2500 {
			want := 1
			if n == 5 {
				want = 2
			}
			if got := len(b.of(n)); got != want {
				t.Errorf("message %d: %d tries, want %d", n, got, want)
			}
		}
		// The settled ones are gone, and the ignored one is still there.
		s.mu.Lock()
		s.ids, s.calls = []agentkeys.MessageID{number(6), number(9000)}, 0
		s.mu.Unlock()
		time.Sleep(sweepEvery)
		synctest.Wait()
		if !slices.Equal(found, []int{2500, 1}) || len(b.of(6)) != 1 || len(b.of(9000)) != 1 {
			t.Errorf("found %v; the ignored one was tried %d times", found, len(b.of(6)))
		}
		// One that somebody knows to be there is found soon, and once.
		s.mu.Lock()
		s.ids = append(s.ids, number(9001))
		s.mu.Unlock()
		signal(o.missed)
		signal(o.missed)
		time.Sleep(missedAfter + time.Second)
		synctest.Wait()
		if len(b.of(9001)) != 1 {
			t.Errorf("%d tries of one that was missed", len(b.of(9001)))
		}
		stop()
		<-ended
		end(time.Minute)
	})
}

// TestSweepEnds while nobody has time for what it found.
func TestSweepEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice((&book{}).handle, time.Now, slog.New(slog.DiscardHandler)) // nobody works
		ctx, stop := context.WithCancel(t.Context())
		s := &shelf{ids: []agentkeys.MessageID{number(1), number(2)}}
		done := make(chan error, 1)
		go func() {
			_, err := (&sweeper{waiting: s.waiting, office: o}).sweep(ctx)
			done <- err
		}()
		synctest.Wait()
		stop()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if held, _ := o.size(); held != 0 {
			t.Errorf("%d held", held)
		}
	})
}

// TestPassed: its memory has an end.
func TestPassed(t *testing.T) {
	var p passed
	if p.has(number(1)) {
		t.Error("it knows what it was never told")
	}
	p.add(number(1))
	if !p.has(number(1)) || p.has(number(2)) {
		t.Error("it does not know what it was told")
	}
	for n := range mostPassed + 10 {
		p.add(number(n))
	}
	if len(p) != mostPassed {
		t.Errorf("%d are remembered", len(p))
	}
}
