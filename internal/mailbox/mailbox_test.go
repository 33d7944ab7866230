package mailbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/mailstore"
	"github.com/litentry/agentkeys/internal/verifymail"
)

// linked is the secret part of what a found message says.
func linked(t *testing.T, f Found) string {
	t.Helper()
	_, token, ok := strings.Cut(string(f.Result.Link.Expose()), "token=")
	if !ok {
		t.Fatalf("found %s without a link", f.Item.ID)
	}
	return token
}

// within runs f in a bubble of its own, which fails if f leaves a goroutine
// behind, and gives it d to find something.
func within(t *testing.T, d time.Duration, f func(t *testing.T, ctx context.Context)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), d)
		defer cancel()
		f(t, ctx)
	})
}

func TestThere(t *testing.T) {
	within(t, time.Minute, func(t *testing.T, ctx context.Context) {
		b := newBox()
		o := options(b)
		b.put("m1", mail{to: address(wallet, 1), token: "t1"})
		began := time.Now()
		f, err := Wait(ctx, o)
		if err != nil || linked(t, f) != "t1" || f.Item.ID != id("m1") {
			t.Fatal(f, err)
		}
		if time.Since(began) != 0 || b.lists != 1 || b.fetched[id("m1")] != 1 {
			t.Errorf("after %v, %d pages, %d reads", time.Since(began), b.lists, b.fetched[id("m1")])
		}
		if f, err := Find(ctx, o); err != nil || linked(t, f) != "t1" {
			t.Error(f, err)
		}
	})
}

// A message is noticed within one poll, whenever it comes, and until then the
// inbox is not asked more than the poll says.
func TestLate(t *testing.T) {
	for after := range 12 {
		within(t, 10*time.Minute, func(t *testing.T, ctx context.Context) {
			b := newBox()
			o := options(b)
			came := time.Duration(after*after)*time.Second + 123*time.Millisecond
			time.AfterFunc(came, func() { b.put("m1", mail{to: address(wallet, 1), token: "late"}) })
			began := time.Now()
			f, err := Wait(ctx, o)
			if err != nil || linked(t, f) != "late" {
				t.Fatal(f, err)
			}
			took := time.Since(began)
			if took < came || took > came+LastPoll {
				t.Errorf("came after %v, noticed after %v", came, took)
			}
			if most := 6 + int(took/(LastPoll*3/4)); b.lists > most {
				t.Errorf("%d pages in %v", b.lists, took)
			}
		})
	}
}

// What comes between the last poll and the deadline is found all the same.
func TestBeforeDeadline(t *testing.T) {
	for tenths := range 120 {
		d := 8*time.Second + time.Duration(tenths)*100*time.Millisecond
		within(t, d, func(t *testing.T, ctx context.Context) {
			b := newBox()
			o := options(b)
			time.AfterFunc(d-lastLook-time.Millisecond, func() { b.put("m1", mail{to: address(wallet, 1), token: "last"}) })
			if f, err := Wait(ctx, o); err != nil || linked(t, f) != "last" {
				t.Fatal(d, err)
			}
		})
	}
}

// Other people's mail fills pages before and after it, and each is read once.
func TestPages(t *testing.T) {
	within(t, time.Minute, func(t *testing.T, ctx context.Context) {
		b := newBox()
		o := options(b)
		for i := range 2500 {
			m := mail{to: address(wallet, 7), token: "another run's"}
			if i%2 == 0 {
				m.at = time.Now().Add(-time.Hour)
			}
			b.put(fmt.Sprintf("m%05d", i), m)
		}
		time.AfterFunc(20*time.Second, func() { b.put("m02499-new", mail{to: address(wallet, 1), token: "t"}) })
		var seen Seen
		o.Progress = func(s Seen) { seen = s }
		f, err := Wait(ctx, o)
		if err != nil || linked(t, f) != "t" {
			t.Fatal(f, err)
		}
		if seen.Older != 1250 || seen.Came() != 1250 || len(seen.Refused) != 1 || seen.Err != nil {
			t.Errorf("seen %+v", seen)
		}
		for id, n := range b.fetched {
			if n != 1 {
				t.Errorf("%s was read %d times", id, n)
			}
		}
		if len(b.fetched) != 1251 {
			t.Errorf("%d messages were read", len(b.fetched))
		}
	})
}

// Of a resend the newest is taken, in whatever order the two are listed; the
// same message stored twice is as good as once.
func TestResend(t *testing.T) {
	names := []string{"a", "b", "c", "d"}
	for range 24 {
		rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		within(t, time.Minute, func(t *testing.T, ctx context.Context) {
			b := newBox()
			o := options(b)
			to := address(wallet, 1)
			// A router was slow with the first: it came last.
			b.put(names[0], mail{to: to, token: "first", late: 10 * time.Second})
			time.Sleep(time.Second)
			b.put(names[1], mail{to: to, token: "second"})
			time.Sleep(time.Second)
			b.put(names[2], mail{to: to, token: "third"})
			b.put(names[3], mail{to: to, token: "forged", noDKIM: true, at: time.Now().Add(time.Second)})
			f, err := Wait(ctx, o)
			if err != nil || linked(t, f) != "third" {
				t.Fatal(names, err)
			}
			if f, err = Find(ctx, o); err != nil || linked(t, f) != "third" {
				t.Fatal(names, err)
			}
		})
	}
}

// A message of an older run is not read, and one to the address of another run
// does not count; a clock that is a little behind loses nothing.
func TestOlder(t *testing.T) {
	within(t, 20*time.Second, func(t *testing.T, ctx context.Context) {
		b := newBox()
		o := options(b)
		b.put("old", mail{to: address(wallet, 1), token: "old", at: time.Now().Add(-Skew - time.Second)})
		b.put("run2", mail{to: address(wallet, 2), token: "another run's"})
		b.put("wallet2", mail{to: address(other, 1), token: "another wallet's"})
		_, err := Wait(ctx, o)
		to, ok := errors.AsType[*Timeout](err)
		if !ok || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if to.Older != 1 || to.Came() != 2 || to.Waited != 20*time.Second || b.fetched[id("old")] != 0 {
			t.Errorf("%+v", to)
		}
		b.put("slow-clock", mail{to: address(wallet, 1), token: "t", at: o.Query.NotBefore.Add(-Skew / 2)})
		if f, err := Find(t.Context(), o); err != nil || linked(t, f) != "t" {
			t.Error(err)
		}
	})
}

// Stores fail now and then: the message is found, and what could be read is not
// read again.
func TestFlaky(t *testing.T) {
	for round := range 20 {
		within(t, 10*time.Minute, func(t *testing.T, ctx context.Context) {
			b := newBox()
			o := options(b)
			rnd := rand.New(rand.NewPCG(uint64(round), 0))
			good := map[agentkeys.MessageID]int{}
			b.onList = func(int) error {
				if rnd.IntN(3) == 0 {
					return errDown
				}
				return nil
			}
			b.onFetch = func(id agentkeys.MessageID, _ int) error {
				if rnd.IntN(3) == 0 {
					return errDown
				}
				good[id]++
				return nil
			}
			for i := range 20 {
				b.put(fmt.Sprintf("m%02d", i), mail{to: address(wallet, 9), token: "another run's"})
			}
			time.AfterFunc(40*time.Second, func() { b.put("m07-new", mail{to: address(wallet, 1), token: "t"}) })
			told := 0
			o.Progress = func(s Seen) {
				if errors.Is(s.Err, errDown) {
					told++
				} else if s.Err != nil {
					t.Error(s.Err)
				}
			}
			f, err := Wait(ctx, o)
			if err != nil || linked(t, f) != "t" {
				t.Fatal(err)
			}
			for id, n := range good {
				if n != 1 {
					t.Errorf("%s was read %d times", id, n)
				}
			}
			if told == 0 {
				t.Error("nobody was told")
			}
		})
	}
}

// A newer message that cannot be read is tried again before the older is taken,
// but not for ever.
func TestUnreadableResend(t *testing.T) {
	for _, c := range []struct {
		fails int
		want  string
	}{{2, "second"}, {1000, "first"}} {
		within(t, 10*time.Minute, func(t *testing.T, ctx context.Context) {
			b := newBox()
			o := options(b)
			b.put("m1", mail{to: address(wallet, 1), token: "first"})
			time.Sleep(time.Second)
			b.put("m2", mail{to: address(wallet, 1), token: "second"})
			b.onFetch = func(got agentkeys.MessageID, n int) error {
				if got == id("m2") && n <= c.fails {
					return errDown
				}
				return nil
			}
			began := time.Now()
			f, err := Wait(ctx, o)
			if err != nil || linked(t, f) != c.want {
				t.Fatal(err)
			}
			if took := time.Since(began); took > maxTries*LastPoll {
				t.Errorf("took %v", took)
			}
			if b.fetched[id("m1")] != 1 {
				t.Error("the first was read again")
			}
		})
	}
	// The deadline comes before the tries are over.
	within(t, time.Second, func(t *testing.T, ctx context.Context) {
		b := newBox()
		o := options(b)
		b.put("m1", mail{to: address(wallet, 1), token: "first"})
		b.onList = func(n int) error { return nil }
		b.put("m2", mail{to: address(wallet, 1), token: "second", at: time.Now().Add(time.Second)})
		b.onFetch = func(got agentkeys.MessageID, n int) error {
			if got == id("m2") {
				return errDown
			}
			return nil
		}
		if f, err := Wait(ctx, o); err != nil || linked(t, f) != "first" {
			t.Fatal(err)
		}
	})
}

// What no repetition helps against ends the wait at once.
func TestPermanent(t *testing.T) {
	for _, cause := range []error{errDenied, fs.ErrPermission, mailstore.ErrInvalid} {
		for _, reading := range []bool{false, true} {
			within(t, time.Minute, func(t *testing.T, ctx context.Context) {
				b := newBox()
				o := options(b)
				b.put("m1", mail{to: address(wallet, 1), token: "t"})
				b.put("m2", mail{to: address(wallet, 2), token: "t"})
				if reading {
					b.onFetch = func(agentkeys.MessageID, int) error { return cause }
				} else {
					b.onList = func(int) error { return cause }
				}
				began := time.Now()
				if _, err := Wait(ctx, o); !errors.Is(err, ErrInbox) || !errors.Is(err, cause) || time.Since(began) != 0 {
					t.Errorf("after %v: %v", time.Since(began), err)
				}
				if b.fetched[id("m2")] > 0 {
					t.Error("it went on")
				}
				if _, err := Find(ctx, o); !errors.Is(err, ErrInbox) || !errors.Is(err, cause) {
					t.Error(err)
				}
			})
		}
	}
	b := newBox()
	b.onList = func(int) error { return errDown }
	if _, err := Find(t.Context(), options(b)); !errors.Is(err, errDown) || errors.Is(err, ErrInbox) {
		t.Error(err)
	}
}

// Who gives up gets his own error back, whatever the wait was at.
func TestCancelled(t *testing.T) {
	within(t, time.Minute, func(t *testing.T, parent context.Context) {
		for _, at := range []time.Duration{0, time.Millisecond, 10 * time.Second} {
			b := &watched{box: newBox()}
			ctx, cancel := context.WithCancel(parent)
			if at == 0 {
				cancel()
			}
			time.AfterFunc(at, cancel)
			if _, err := Wait(ctx, options(b)); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			synctest.Wait()
		}
	})
}

// A server that repeats itself does not keep it for ever.
type circle struct{ *box }

func (c circle) List(ctx context.Context, w agentkeys.Wallet, _ agentkeys.MessageID, n int) (mailstore.Page, error) {
	p, err := c.box.List(ctx, w, agentkeys.MessageID{}, n)
	p.More = true
	return p, err
}

func TestCircle(t *testing.T) {
	for _, full := range []bool{false, true} {
		b := newBox()
		if full {
			b.put("m1", mail{to: address(wallet, 2), token: "t"})
		}
		if _, err := Find(t.Context(), options(circle{b})); !errors.Is(err, errOrder) {
			t.Error(err)
		}
	}
}

// What is too large is not read, whether the listing says so or the store does.
func TestTooLarge(t *testing.T) {
	b := newBox()
	o := options(b)
	b.put("large", mail{to: address(wallet, 1), token: "t", pad: MaxRead})
	b.put("liar", mail{to: address(wallet, 1), token: "t", pad: MaxRead})
	b.items[1].Size = 1000
	b.put("gone", mail{to: address(wallet, 1), token: "t"})
	delete(b.mail, id("gone"))
	_, err := Find(t.Context(), o)
	to, ok := errors.AsType[*Timeout](err)
	if !ok || to.Refused[verifymail.TooLarge] != 2 || to.Refused[Gone] != 1 || b.fetched[id("large")] != 0 {
		t.Errorf("%+v, %v", to, err)
	}
}

func TestOptions(t *testing.T) {
	good := options(newBox())
	for name, change := range map[string]func(*Options){
		"no inbox":               func(o *Options) { o.Inbox = nil },
		"no wallet":              func(o *Options) { o.Wallet = agentkeys.Wallet{} },
		"another wallet's":       func(o *Options) { o.Query.To = address(other, 1) },
		"a time before the last": func(o *Options) { o.First = -1 },
		"no senders":             func(o *Options) { o.Rules.Senders = nil },
		"no domain":              func(o *Options) { o.Query.Domain = "" },
	} {
		o := good
		change(&o)
		if _, err := Wait(t.Context(), o); !errors.Is(err, ErrOptions) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := Find(t.Context(), o); !errors.Is(err, ErrOptions) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// crowd is an inbox of n messages that takes no room.
type crowd struct {
	n    int
	at   time.Time
	text []byte
}

func (c crowd) List(_ context.Context, _ agentkeys.Wallet, after agentkeys.MessageID, limit int) (mailstore.Page, error) {
	i := 0
	if !after.IsZero() {
		fmt.Sscanf(after.String()[100:], "%d", &i)
		i++
	}
	var p mailstore.Page
	for ; i < c.n && len(p.Items) < limit; i++ {
		p.Items = append(p.Items, mailstore.Item{ID: id(fmt.Sprintf("%0100d%08d", 0, i)), Size: int64(len(c.text)), At: c.at})
	}
	p.More = i < c.n
	return p, nil
}

func (c crowd) Fetch(context.Context, agentkeys.Wallet, agentkeys.MessageID, int64) ([]byte, error) {
	return append([]byte(nil), c.text...), nil
}

// Memory stays small with 100,000 messages of the run's time, and does not grow
// at all with older ones.
func TestMemory(t *testing.T) {
	text := mail{to: address(wallet, 2), token: "t", at: time.Now()}.bytes(id("m"))
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	for _, old := range []bool{false, true} {
		c := crowd{n: 100_000, at: time.Now(), text: text[:len(text)/4]}
		if old {
			c.at = c.at.Add(-time.Hour)
		}
		s, err := newSearch(options(c))
		if err != nil {
			t.Fatal(err)
		}
		before := heap()
		if err := s.look(t.Context()); err != nil {
			t.Fatal(err)
		}
		grown := heap() - before
		t.Logf("old %t: %d kB, %d known", old, grown>>10, len(s.judged))
		limit := int64(4 << 20)
		if old {
			limit = 256 << 10
		}
		if grown > limit {
			t.Errorf("old %t: grew by %d kB", old, grown>>10)
		}
		if s.tally.Came()+s.tally.Older != c.n {
			t.Errorf("%+v", s.tally)
		}
		runtime.KeepAlive(s)
	}
}

// What comes while it looks is told, and found by the next look: the watch
// begins before the look does.
// A message that counts is given, whatever else there is that cannot be read.
func TestFoundBesides(t *testing.T) {
	for _, cause := range []error{errDown, errDenied} {
		within(t, time.Minute, func(t *testing.T, ctx context.Context) {
			b := newBox()
			o := options(b)
			b.put("m1", mail{to: address(wallet, 1), token: "t"})
			b.put("m2", mail{to: address(wallet, 1), token: "t2"})
			b.put("m0", mail{to: address(wallet, 1), token: "t0"})
			b.onFetch = func(got agentkeys.MessageID, _ int) error {
				switch got {
				case id("m0"):
					return errDown
				case id("m2"):
					return cause
				}
				return nil
			}
			if f, err := Find(ctx, o); err != nil || linked(t, f) != "t" {
				t.Error(err)
			}
			if f, err := Wait(ctx, o); err != nil || linked(t, f) != "t" {
				t.Error(err)
			}
		})
	}
}

// keeper keeps what it gave away.
type keeper struct {
	*box
	given [][]byte
}

func (k *keeper) Fetch(ctx context.Context, w agentkeys.Wallet, id agentkeys.MessageID, limit int64) ([]byte, error) {
	msg, err := k.box.Fetch(ctx, w, id, limit)
	k.given = append(k.given, msg)
	return msg, err
}

// Nothing that was read stays in memory, but what is given away.
func TestCleared(t *testing.T) {
	within(t, time.Minute, func(t *testing.T, ctx context.Context) {
		k := &keeper{box: newBox()}
		o := options(k)
		for i, name := range []string{"a", "b", "c"} {
			k.put(name, mail{to: address(wallet, 1), token: name, at: time.Now().Add(time.Duration(i) * time.Second)})
		}
		s, err := newSearch(o)
		if err != nil {
			t.Fatal(err)
		}
		var passed []Found
		for _, it := range k.items {
			if err := s.judge(ctx, it); err != nil {
				t.Fatal(err)
			}
			passed = append(passed, *s.best)
		}
		f, ok := s.take()
		if !ok || linked(t, f) != "c" || s.tally.Superseded != 2 || s.tally.Came() != 2 {
			t.Errorf("%+v", s.tally)
		}
		if !passed[0].Result.Link.IsZero() || !passed[1].Result.Link.IsZero() {
			t.Error("a link that nobody got is still there")
		}
		f.Clear()
		if !passed[2].Result.Link.IsZero() {
			t.Error("cleared, it is still there")
		}
		for _, msg := range k.given {
			if len(msg) == 0 || strings.Trim(string(msg), "\x00") != "" {
				t.Error("a message is still there")
			}
		}
	})
}

// More than can be remembered ends the wait, instead of reading all anew.
func TestCrowded(t *testing.T) {
	s, err := newSearch(options(newBox()))
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint64(maxJudged) {
		s.judged[i] = struct{}{}
	}
	if err := s.remember(id("m1")); !errors.Is(err, ErrInbox) || !s.permanent(err) {
		t.Error(err)
	}
}

// At the deadline a look may be cut short: what it had counted so far is not
// what is told.
func TestCutShort(t *testing.T) {
	within(t, 10*time.Second, func(t *testing.T, ctx context.Context) {
		b := newBox()
		o := options(b)
		for i := range 5 {
			b.put(fmt.Sprintf("m%d", i), mail{to: address(wallet, 1), token: "t", at: time.Now().Add(-time.Hour)})
		}
		b.onList = func(int) error {
			if time.Since(o.Query.NotBefore) > 7*time.Second {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}
		_, err := Wait(ctx, o)
		to, ok := errors.AsType[*Timeout](err)
		if !ok || to.Older != 5 || to.Last != nil {
			t.Errorf("%+v", to)
		}
	})
}

// Received within one second, the one that came to the inbox later counts.
func TestSameSecond(t *testing.T) {
	for _, names := range [][2]string{{"a", "b"}, {"b", "a"}} {
		b := newBox()
		o := options(b)
		at := time.Now()
		b.put(names[0], mail{to: address(wallet, 1), token: "first", at: at})
		b.put(names[1], mail{to: address(wallet, 1), token: "second", at: at, late: time.Minute})
		if f, err := Find(t.Context(), o); err != nil || linked(t, f) != "second" {
			t.Error(names, err)
		}
	}
}

// Who gives up while a message that counts waits for a newer one gets none, and
// its link is forgotten.
func TestCancelledLate(t *testing.T) {
	within(t, time.Minute, func(t *testing.T, parent context.Context) {
		b := newBox()
		o := options(b)
		b.put("m1", mail{to: address(wallet, 1), token: "t"})
		b.put("m2", mail{to: address(wallet, 1), token: "t2"})
		b.onFetch = func(got agentkeys.MessageID, _ int) error {
			if got == id("m2") {
				return errDown
			}
			return nil
		}
		ctx, cancel := context.WithCancel(parent)
		time.AfterFunc(100*time.Millisecond, cancel)
		if f, err := Wait(ctx, o); !errors.Is(err, context.Canceled) || !f.Result.Link.IsZero() {
			t.Error(err)
		}
	})
}

// The watch ends with the wait, not with the context of who waited.
// Once told of something, it looks again as often as in the beginning: where
// one message came, another may.
