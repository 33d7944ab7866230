package mailrouter_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/mailroute"
	"github.com/litentry/agentkeys/internal/mailrouter"
	"github.com/litentry/agentkeys/internal/mailstore"
	"github.com/litentry/agentkeys/internal/mailstore/mailstoretest"
)

var (
	wallet = mailstoretest.Wallet(7)
	mine   = mailstoretest.Address(wallet)
	now    = time.Unix(1_763_805_600, 0)
)

// newRouter routes what is in m, with what change makes of the options.
func newRouter(t testing.TB, m mailstore.Arrived, change func(*mailrouter.Options)) *mailrouter.Router {
	t.Helper()
	o := mailrouter.Options{Store: m, Rules: mailstoretest.Rules(), Now: func() time.Time { return now }}
	if change != nil {
		change(&o)
	}
	r, err := mailrouter.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func event(id string) mailrouter.Event { return mailrouter.Event{ID: mailstoretest.ID(id)} }

// mail is an ordinary message to mine.
func mail(id string) mailstoretest.Mail {
	return mailstoretest.Mail{Shape: mailstoretest.Shapes[0], ID: id, Envelope: mine, To: mine, Sender: "bounce@sender.example", Size: 9000}
}

// stands checks which objects there are.
func stands(t *testing.T, m *mailstoretest.Memory, want ...string) {
	t.Helper()
	got := m.Objects()
	for _, key := range want {
		if _, ok := got[key]; !ok {
			t.Errorf("there is no %s", key)
		}
		delete(got, key)
	}
	for key := range got {
		t.Errorf("there is %s", key)
	}
}

// TestReads: how much is read of each real shape, with a recipient in the
// envelope and without.
func TestReads(t *testing.T) {
	for _, s := range mailstoretest.Shapes {
		for _, size := range []int{0, 12_000, 500_000} {
			for _, envelope := range []bool{true, false} {
				m := new(mailstoretest.Memory)
				x := mail("m")
				x.Shape, x.Size = s, size
				if !envelope {
					x.Envelope = ""
				}
				data := x.Bytes()
				if at := strings.Index(string(data), s.EOL+"To: ") + len(s.EOL); at != s.ToAt {
					t.Fatalf("%s: To is at %d, not %d", s.Name, at, s.ToAt)
				}
				if at := strings.Index(string(data), s.EOL+s.EOL) + 2*len(s.EOL); at != s.Ends {
					t.Fatalf("%s: the header ends at %d, not %d", s.Name, at, s.Ends)
				}
				m.Plant("inbound/m", data)
				e, err := newRouter(t, m, nil).Handle(t.Context(), event("m"))
				if err != nil || e.Outcome != mailrouter.Placed || e.Wallet != wallet {
					t.Fatalf("%s: %+v, %v", s.Name, e, err)
				}
				reads, fetched, by := 1, min(2048, len(data)), mailroute.ByReceived
				if !envelope {
					by = mailroute.ByTo
					if s.Ends > 2048 {
						reads, fetched = 2, min(16<<10, len(data))
					}
				}
				if e.Reads != reads || e.Fetched != int64(fetched) || e.By != by || e.Size != int64(len(data)) {
					t.Errorf("%s, %d bytes, envelope %v: %d reads of %d bytes by %s, want %d of %d by %s", s.Name, len(data), envelope, e.Reads, e.Fetched, e.By, reads, fetched, by)
				}
				if n, bytes := m.Reads(); n != reads || bytes != int64(fetched) {
					t.Errorf("%s: the store was read %d times, %d bytes", s.Name, n, bytes)
				}
			}
		}
	}
}

// asked keeps what was asked of a store.
type asked struct {
	mailstore.Arrived
	parts []string
}

func (a *asked) Read(ctx context.Context, id agentkeys.MessageID, off, n int64, v mailstore.Version) (mailstore.Part, error) {
	a.parts = append(a.parts, fmt.Sprint(off, "+", n, " ", v != ""))
	return a.Arrived.Read(ctx, id, off, n, v)
}

// TestLadder: each byte is fetched once, at the version of the first, and of a
// header without an end not more than can be one.
func TestLadder(t *testing.T) {
	m := new(mailstoretest.Memory)
	ladder := "[0+2048 false 2048+14336 true 16384+16384 true 32768+32768 true 65536+65536 true 131072+131072 true]"
	for ends, want := range map[int]struct {
		parts   string
		outcome mailrouter.Outcome
		reason  string
	}{
		2048:      {"[0+2048 false]", mailrouter.Placed, ""},
		2050:      {"[0+2048 false 2048+14336 true]", mailrouter.Placed, ""},
		16 << 10:  {"[0+2048 false 2048+14336 true]", mailrouter.Placed, ""},
		40_000:    {"[0+2048 false 2048+14336 true 16384+16384 true 32768+32768 true]", mailrouter.Placed, ""},
		256 << 10: {ladder, mailrouter.Placed, ""},
		300_000:   {ladder, mailrouter.Refused, mailroute.ReasonHeaderTooLong},
	} {
		m.Clear("")
		x := mail("m")
		x.Envelope, x.Ends, x.ToAt, x.Size = "", ends, 1900, 400_000
		m.Plant("inbound/m", x.Bytes())
		a := &asked{Arrived: m}
		e, err := newRouter(t, a, nil).Handle(t.Context(), event("m"))
		if err != nil || e.Outcome != want.outcome || e.Reason != want.reason || fmt.Sprint(a.parts) != want.parts {
			t.Errorf("a header of %d bytes: %+v, %v\nread %v\nwant %v", ends, e, err, a.parts, want.parts)
		}
	}
}

// TestMemory: what Handle allocates does not depend on the size of a message,
// besides what is fetched of one that is shorter than the first read.
func TestMemory(t *testing.T) {
	for _, envelope := range []string{mine, ""} {
		per := map[int]int64{}
		for _, size := range []int{1 << 10, 4 << 10, 1 << 20, mailstore.MaxMessage} {
			m := new(mailstoretest.Memory)
			x := mail("m")
			x.Shape = mailstoretest.Shape{EOL: "\n", Top: 600, ToAt: 800, Ends: 1000}
			x.Envelope, x.Size = envelope, size
			m.Plant("inbound/m", x.Bytes())
			r := newRouter(t, m, nil)
			per[size] = allocated(t, func() {
				if _, err := r.Handle(t.Context(), event("m")); err != nil {
					t.Fatal(err)
				}
			})
		}
		t.Logf("envelope %v: bytes allocated by size of message: %v", envelope != "", per)
		for size, n := range per {
			if small := per[4<<10]; n > small+small/20 || n < small-2048 {
				t.Errorf("%d bytes are allocated for a message of %d, %d for one of 4 KiB", n, size, small)
			}
		}
	}
}

// allocated returns how many bytes do allocates, at a time when it is the least.
func allocated(t *testing.T, do func()) (least int64) {
	t.Helper()
	do()
	for range 5 {
		const runs = 50
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range runs {
			do()
		}
		runtime.ReadMemStats(&after)
		if n := int64(after.TotalAlloc-before.TotalAlloc) / runs; least == 0 || n < least {
			least = n
		}
	}
	return least
}

// TestEveryCall lets each call of the store fail, before or after it was done,
// or be the last of a process: then the event comes again.
func TestEveryCall(t *testing.T) {
	several := mail("m")
	several.Envelope, several.To = "", mine+", "+mailstoretest.Address(mailstoretest.Wallet(8))
	for name, c := range map[string]struct {
		m     mailstoretest.Mail
		calls int // before the source is removed
		want  string
	}{
		"placed":  {mail("m"), 2, "bots/" + wallet.String() + "/inbound/m"},
		"refused": {several, 3, "refused/several-wallets/m"},
	} {
		for _, remove := range []bool{false, true} {
			for _, fault := range mailstoretest.EveryFault() {
				for at := 0; ; at++ {
					m := new(mailstoretest.Memory)
					m.Plant("inbound/m", c.m.Bytes())
					x := &mailstoretest.Mortal{Arrived: m, Fault: fault, At: at}
					r := newRouter(t, x, func(o *mailrouter.Options) { o.RemoveSource = remove })
					e, err := r.Handle(t.Context(), event("m"))
					if !x.Met() {
						want := c.calls
						if remove {
							want++
						}
						if err != nil || at != want {
							t.Fatalf("%s: %d calls, %v, want %d", name, at, err, want)
						}
						break
					}
					if !errors.Is(err, mailstoretest.ErrInjected) {
						t.Errorf("%s, %v at %d: %+v, %v", name, fault, at, e, err)
					}
					if deferred := e.Outcome == mailrouter.Deferred; deferred != (at < c.calls) {
						t.Errorf("%s, %v at %d: %+v", name, fault, at, e)
					}
					if fault == mailstoretest.Kill || fault == mailstoretest.KillDone {
						r = newRouter(t, m, func(o *mailrouter.Options) { o.RemoveSource = remove })
					}
					if e, err = r.Handle(t.Context(), event("m")); err != nil {
						t.Errorf("%s, %v at %d, again: %+v, %v", name, fault, at, e, err)
					}
					if remove {
						stands(t, m, c.want)
					} else {
						stands(t, m, c.want, "inbound/m")
					}
				}
			}
		}
	}
}

// changing replaces the message before each of so many calls.
type changing struct {
	*mailstoretest.Memory
	calls map[string]int
	data  []byte
}

func (c *changing) change(call string) {
	if c.calls[call] > 0 {
		c.calls[call]--
		c.Plant("inbound/m", c.data)
	}
}

func (c *changing) Read(ctx context.Context, id agentkeys.MessageID, off, n int64, v mailstore.Version) (mailstore.Part, error) {
	if off > 0 {
		c.change("read")
	}
	return c.Memory.Read(ctx, id, off, n, v)
}

func (c *changing) Place(ctx context.Context, id agentkeys.MessageID, v mailstore.Version, w agentkeys.Wallet) (bool, error) {
	c.change("place")
	return c.Memory.Place(ctx, id, v, w)
}

// TestChanged: what is replaced while it is handled is decided on anew, and
// goes where its own text says.
func TestChanged(t *testing.T) {
	old, other := mail("m"), mail("m")
	old.Envelope = ""
	to := mailstoretest.Wallet(8)
	other.Envelope, other.To = "", mailstoretest.Address(to)
	for _, call := range []string{"read", "place"} {
		for n := 1; n < 6; n++ {
			c := &changing{new(mailstoretest.Memory), map[string]int{call: n}, other.Bytes()}
			c.Plant("inbound/m", old.Bytes())
			r := newRouter(t, c, nil)
			e, err := r.Handle(t.Context(), event("m"))
			if n < 3 {
				if err != nil || e.Outcome != mailrouter.Placed || e.Wallet != to {
					t.Errorf("%s, %d times: %+v, %v", call, n, e, err)
				}
				stands(t, c.Memory, "inbound/m", "bots/"+to.String()+"/inbound/m")
				continue
			}
			if !errors.Is(err, mailrouter.ErrChanged) || e.Outcome != mailrouter.Deferred || e.Reason != mailrouter.ReasonChanged {
				t.Errorf("%s, %d times: %+v, %v", call, n, e, err)
			}
			stands(t, c.Memory, "inbound/m")
		}
	}
}

// nonsense is a store whose parts are not what was asked for.
type nonsense struct {
	mailstore.Arrived
	part func(n int, p mailstore.Part) mailstore.Part
	n    int
}

func (x *nonsense) Read(ctx context.Context, id agentkeys.MessageID, off, n int64, v mailstore.Version) (mailstore.Part, error) {
	p, err := x.Arrived.Read(ctx, id, off, n, "")
	x.n++
	return x.part(x.n, p), err
}

func TestNonsense(t *testing.T) {
	for name, part := range map[string]func(n int, p mailstore.Part) mailstore.Part{
		"no version":      func(_ int, p mailstore.Part) mailstore.Part { p.Version = ""; return p },
		"another version": func(n int, p mailstore.Part) mailstore.Part { p.Version += mailstore.Version(fmt.Sprint(n)); return p },
		"short":           func(n int, p mailstore.Part) mailstore.Part { p.Data = p.Data[:len(p.Data)-n/2]; return p },
		"long":            func(n int, p mailstore.Part) mailstore.Part { p.Data = append(p.Data, 'x'); return p },
		"negative":        func(_ int, p mailstore.Part) mailstore.Part { p.Size = -1; return p },
		"shrinks":         func(n int, p mailstore.Part) mailstore.Part { p.Size -= int64(n-1) * 8000; return p },
		"says it is all":  func(_ int, p mailstore.Part) mailstore.Part { p.Size = 2000; return p },
	} {
		m := new(mailstoretest.Memory)
		x := mail("m")
		x.Envelope = ""
		m.Plant("inbound/m", x.Bytes())
		e, err := newRouter(t, &nonsense{Arrived: m, part: part}, nil).Handle(t.Context(), event("m"))
		if !errors.Is(err, mailrouter.ErrStore) || e.Outcome != mailrouter.Deferred || e.Reason != mailrouter.ReasonStore {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
		stands(t, m, "inbound/m")
	}
}

func TestOutcomes(t *testing.T) {
	large := mail("m").Bytes()
	large = append(large, make([]byte, mailstore.MaxMessage+1-len(large))...)
	login := mail("m")
	login.Envelope = "login@" + mailstoretest.Domain
	inbox := "bots/" + wallet.String() + "/inbound/m"
	for name, c := range map[string]struct {
		id     string
		data   []byte
		rcpt   []string
		remove bool
		entry  string
		stands []string
	}{
		"placed": {"m", mail("m").Bytes(), nil, false,
			`{"time":"2025-11-22T10:00:00Z","id":"m","outcome":"placed","by":"received","wallet":"0xab00000000000000000000000000000000000007","tag":"or","reads":1,"fetched":2048,"size":9000}`,
			[]string{"inbound/m", inbox}},
		"moved": {"m", mail("m").Bytes(), []string{mine}, true,
			`{"time":"2025-11-22T10:00:00Z","id":"m","outcome":"placed","by":"notification","wallet":"0xab00000000000000000000000000000000000007","tag":"or","reads":1,"fetched":2048,"size":9000}`,
			[]string{inbox}},
		"ignored stays": {"m", login.Bytes(), nil, true,
			`{"time":"2025-11-22T10:00:00Z","id":"m","outcome":"ignored","reason":"other-address","by":"received","reads":1,"fetched":2048,"size":9000}`,
			[]string{"inbound/m"}},
		"refused": {"m", mail("m").Bytes(), []string{mine, mailstoretest.Address(mailstoretest.Wallet(8))}, true,
			`{"time":"2025-11-22T10:00:00Z","id":"m","outcome":"refused","reason":"several-wallets","by":"notification","reads":1,"fetched":2048,"size":9000}`,
			[]string{"refused/several-wallets/m"}},
		"too large": {"m", large, nil, true,
			`{"time":"2025-11-22T10:00:00Z","id":"m","outcome":"refused","reason":"too-large","by":"received","wallet":"0xab00000000000000000000000000000000000007","tag":"or","reads":1,"fetched":2048,"size":41943041}`,
			[]string{"refused/too-large/m"}},
		"gone": {"n", nil, []string{mine}, true,
			`{"time":"2025-11-22T10:00:00Z","id":"n","outcome":"gone","reads":0,"fetched":0,"size":0}`, nil},
		"empty": {"m", []byte{}, nil, true,
			`{"time":"2025-11-22T10:00:00Z","id":"m","outcome":"ignored","reason":"no-address","by":"to","reads":1,"fetched":0,"size":0}`,
			[]string{"inbound/m"}},
		"setup": {mailrouter.SetupNotification, mail("m").Bytes(), []string{mine}, true,
			`{"time":"2025-11-22T10:00:00Z","id":"AMAZON_SES_SETUP_NOTIFICATION","outcome":"ignored","reason":"setup-notification","reads":0,"fetched":0,"size":0}`,
			[]string{"inbound/" + mailrouter.SetupNotification}},
	} {
		t.Run(name, func(t *testing.T) {
			m := new(mailstoretest.Memory)
			if c.data != nil {
				m.Plant("inbound/"+c.id, c.data)
			}
			var recorded []mailrouter.Entry
			r := newRouter(t, m, func(o *mailrouter.Options) {
				o.RemoveSource = c.remove
				o.Record = func(_ context.Context, e mailrouter.Entry) error { recorded = append(recorded, e); return nil }
			})
			e, err := r.Handle(t.Context(), mailrouter.Event{ID: mailstoretest.ID(c.id), Recipients: c.rcpt})
			if err != nil || len(recorded) != 1 || recorded[0] != e {
				t.Fatalf("%+v, %v, recorded %+v", e, err, recorded)
			}
			if line, err := json.Marshal(e); err != nil || string(line) != c.entry {
				t.Errorf("%s, %v\nwant %s", line, err, c.entry)
			}
			stands(t, m, c.stands...)
		})
	}
}

// TestAgain: an event twice, and one for the router's own output, which is no
// message of inbound/.
func TestAgain(t *testing.T) {
	for _, remove := range []bool{false, true} {
		m := new(mailstoretest.Memory)
		m.Plant("inbound/m", mail("m").Bytes())
		r := newRouter(t, m, func(o *mailrouter.Options) { o.RemoveSource = remove })
		want := []mailrouter.Outcome{mailrouter.Placed, mailrouter.Already, mailrouter.Already}
		if remove {
			want = []mailrouter.Outcome{mailrouter.Placed, mailrouter.Gone, mailrouter.Gone}
		}
		for _, o := range want {
			if e, err := r.Handle(t.Context(), event("m")); err != nil || e.Outcome != o {
				t.Errorf("%+v, %v, want %s", e, err, o)
			}
		}
	}
}

// TestRecordFails: what was done but not recorded comes again, and its source
// stays until then.
func TestRecordFails(t *testing.T) {
	m := new(mailstoretest.Memory)
	m.Plant("inbound/m", mail("m").Bytes())
	broken := errors.New("broken")
	fail := true
	r := newRouter(t, m, func(o *mailrouter.Options) {
		o.RemoveSource = true
		o.Record = func(context.Context, mailrouter.Entry) error {
			if fail {
				return broken
			}
			return nil
		}
	})
	inbox := "bots/" + wallet.String() + "/inbound/m"
	if e, err := r.Handle(t.Context(), event("m")); !errors.Is(err, broken) || e.Outcome != mailrouter.Placed {
		t.Errorf("%+v, %v", e, err)
	}
	stands(t, m, "inbound/m", inbox)
	fail = false
	if e, err := r.Handle(t.Context(), event("m")); err != nil || e.Outcome != mailrouter.Already {
		t.Errorf("%+v, %v", e, err)
	}
	stands(t, m, inbox)
}

// stuck is a store that waits for the end of the context.
type stuck struct{ mailstore.Arrived }

func (stuck) Place(ctx context.Context, _ agentkeys.MessageID, _ mailstore.Version, _ agentkeys.Wallet) (bool, error) {
	<-ctx.Done()
	return false, ctx.Err()
}

// TestCancelled: an end of the context is temporary, and recorded all the same.
func TestCancelled(t *testing.T) {
	m := new(mailstoretest.Memory)
	m.Plant("inbound/m", mail("m").Bytes())
	for _, late := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		store := mailstore.Arrived(m)
		if late {
			store = stuck{m}
			time.AfterFunc(time.Millisecond, cancel)
		} else {
			cancel()
		}
		recorded := 0
		r := newRouter(t, store, func(o *mailrouter.Options) {
			o.Record = func(ctx context.Context, _ mailrouter.Entry) error {
				if recorded++; ctx.Err() != nil {
					t.Errorf("the time to record is over: %v", ctx.Err())
				}
				return nil
			}
		})
		e, err := r.Handle(ctx, event("m"))
		if !errors.Is(err, context.Canceled) || e.Outcome != mailrouter.Deferred || e.Reason != mailrouter.ReasonCancelled || recorded != 1 {
			t.Errorf("%+v, %v, recorded %d", e, err, recorded)
		}
		stands(t, m, "inbound/m")
	}
}

// TestOneMessageManyRouters: whoever comes first places it, once.
func TestOneMessageManyRouters(t *testing.T) {
	m := new(mailstoretest.Memory)
	m.Plant("inbound/m", mail("m").Bytes())
	r := newRouter(t, m, func(o *mailrouter.Options) { o.Limits.Wallet = mailrouter.Rate{Messages: 100, Per: time.Hour} })
	var mu sync.Mutex
	got := map[mailrouter.Outcome]int{}
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			e, err := r.Handle(t.Context(), event("m"))
			mu.Lock()
			defer mu.Unlock()
			if got[e.Outcome]++; err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got[mailrouter.Placed] != 1 || got[mailrouter.Already] != 15 {
		t.Errorf("%v", got)
	}
}

func TestOptions(t *testing.T) {
	m, rules := new(mailstoretest.Memory), mailstoretest.Rules()
	for name, o := range map[string]mailrouter.Options{
		"no store":      {Rules: rules},
		"no rules":      {Store: m},
		"no time":       {Store: m, Rules: rules, Limits: mailrouter.Limits{Wallet: mailrouter.Rate{Messages: 1}}},
		"no messages":   {Store: m, Rules: rules, Limits: mailrouter.Limits{Sender: mailrouter.Rate{Per: 1}}},
		"negative":      {Store: m, Rules: rules, Limits: mailrouter.Limits{Sender: mailrouter.Rate{Messages: -1, Per: 1}}},
		"no table":      {Store: m, Rules: rules, Limits: mailrouter.Limits{Remember: -1}},
		"endless table": {Store: m, Rules: rules, Limits: mailrouter.Limits{Remember: 1 << 40}},
	} {
		if _, err := mailrouter.New(o); !errors.Is(err, mailrouter.ErrOptions) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if e, err := newRouter(t, m, nil).Handle(t.Context(), mailrouter.Event{}); !errors.Is(err, mailstore.ErrInvalid) || e != (mailrouter.Entry{}) {
		t.Errorf("%+v, %v", e, err)
	}
}
