package mailstoretest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/mailroute"
	"github.com/litentry/agentkeys/internal/mailrouter"
	"github.com/litentry/agentkeys/internal/mailstore"
)

// Plan is the size of a campaign.
type Plan struct {
	Messages int // a fifth of them under the race detector
	Workers  int // 0: 4
	Seed     uint64
	// RemoveSource is the routers'.
	RemoveSource bool
	// Faults is the share of store calls that fail; 0: 0.05.
	Faults float64
}

// Campaign routes messages of all kinds through w, by two routers as two
// processes would, while calls fail, routers die, events come twice, late, in
// another order and for what is gone, and floods are held back. Then each
// message has to be where it belongs, once, byte for byte, and nothing else.
func Campaign(t *testing.T, w World, p Plan) {
	t.Helper()
	if p.Workers == 0 {
		p.Workers = 4
	}
	if p.Faults == 0 {
		p.Faults = 0.05
	}
	p.Messages = max(p.Messages/slow, min(p.Messages, 500))
	c := &campaign{t: t, w: w, p: p, rand: rand.New(rand.NewPCG(p.Seed, 2)), sent: map[agentkeys.MessageID]*sent{}}
	c.prepare()
	c.run()
	c.check()
}

// sent is one message and what has to become of it.
type sent struct {
	data    []byte
	outcome mailrouter.Outcome // placed, ignored, refused or gone
	wallet  agentkeys.Wallet   // of placed
	reason  string             // of refused and ignored
	events  int
}

type campaign struct {
	t    *testing.T
	w    World
	p    Plan
	rand *rand.Rand
	sent map[agentkeys.MessageID]*sent

	mu      sync.Mutex
	queue   []event
	working int // on events that are not in the queue
	clock   time.Duration
	entries []mailrouter.Entry
	handled int
	flooded int
	crashed int
	calls   int
	failed  int
}

// event is one that waits to be handled.
type event struct {
	mailrouter.Event
	tries int
}

const (
	hot   = 1 // the wallet that is flooded
	cold  = 30
	epoch = 1_763_805_600
	tick  = 5 * time.Millisecond // passes with each event
)

// limits hold the hot wallet back and nobody else.
var limits = mailrouter.Limits{
	Wallet: mailrouter.Rate{Messages: 10, Per: time.Second},
	Sender: mailrouter.Rate{Messages: 1000, Per: time.Second},
}

// message makes number n.
func (c *campaign) message(n int) (id agentkeys.MessageID, s *sent, recipients []string) {
	id = ID(fmt.Sprintf("%08x-%d", c.rand.Uint32(), n))
	m := Mail{Shape: Shapes[n%len(Shapes)], ID: id.String(), Sender: "bounce@sender.example", To: "you <hello@elsewhere.example>"}
	if n%5 == 0 {
		m.Sender = ""
	}
	switch k := c.rand.IntN(1000); {
	case k < 3:
		m.Size = 1<<20 + c.rand.IntN(1<<20)
	case k < 500:
		m.Size = c.rand.IntN(12_000)
	}
	s = &sent{outcome: mailrouter.Placed, events: 1}
	if s.wallet = Wallet(byte(2 + c.rand.IntN(cold))); c.rand.IntN(5) == 0 {
		s.wallet = Wallet(hot)
	}
	mine, other := Address(s.wallet), Address(Wallet(0xdd))
	is := func(o mailrouter.Outcome, reason string) {
		s.outcome, s.reason, s.wallet = o, reason, agentkeys.Wallet{}
	}
	switch k := c.rand.IntN(1000); {
	case k < 400: // To is whatever the sender likes
		m.Envelope = mine
		if n%2 == 0 {
			m.To = other
		}
	case k < 650:
		m.To = mine
	case k < 750: // the topmost Received has another, which is not the envelope
		recipients = []string{mine}
		if n%2 == 0 {
			m.To = other
		}
	case k < 800:
		m.Envelope = "login@" + Domain
		is(mailrouter.Ignored, mailroute.ReasonOtherAddress)
	case k < 840:
		m.Envelope, m.To = "someone@elsewhere.example", other
		is(mailrouter.Ignored, mailroute.ReasonOtherDomain)
	case k < 870:
		recipients, m.To = []string{"login@" + Domain}, other
		is(mailrouter.Ignored, mailroute.ReasonOtherAddress)
	case k < 900:
		m.To = mine + ", " + other
		is(mailrouter.Refused, mailroute.ReasonSeveralWallets)
	case k < 920:
		recipients = []string{mine, other}
		is(mailrouter.Refused, mailroute.ReasonSeveralWallets)
	case k < 950:
		m.Envelope = strings.Replace(mine, "-0x", "-0xz", 1)
		is(mailrouter.Refused, mailroute.ReasonMalformed)
	case k < 980:
		m.Envelope = "zz" + mine[2:]
		is(mailrouter.Refused, mailroute.ReasonUnknownTag)
	case k < 982:
		m.Ends, m.ToAt, m.To = 300_000, 290_000, mine
		is(mailrouter.Refused, mailroute.ReasonHeaderTooLong)
	case k < 990: // a long block that ends
		m.Ends, m.ToAt, m.To = 60_000, 50_000+c.rand.IntN(9000), mine
	default: // an event for what was deleted, or never was
		m.Envelope = mine
		is(mailrouter.Gone, "")
	}
	s.data = m.Bytes()
	return id, s, recipients
}

// prepare writes the messages and the events.
func (c *campaign) prepare() {
	setup := ID(mailrouter.SetupNotification)
	c.sent[setup] = &sent{outcome: mailrouter.Ignored, reason: mailrouter.ReasonSetup, data: []byte("To: " + Address(Wallet(hot)) + "\r\n\r\n"), events: 1}
	c.queue = append(c.queue, event{Event: mailrouter.Event{ID: setup}})
	c.w.Plant(c.t, arrivedAt(setup), c.sent[setup].data)
	for n := range c.p.Messages {
		id, s, recipients := c.message(n)
		c.sent[id] = s
		c.queue = append(c.queue, event{Event: mailrouter.Event{ID: id, Recipients: recipients}})
		if s.outcome == mailrouter.Gone && n%2 == 0 {
			continue
		}
		write(c.t, c.w.Store, id, string(s.data))
		if s.outcome == mailrouter.Gone {
			if err := c.w.Store.Remove(c.t.Context(), id); err != nil {
				c.t.Fatal(err)
			}
		}
	}
	// One in a hundred comes twice, at any time.
	for _, e := range slices.Clone(c.queue) {
		if c.rand.IntN(100) == 0 {
			c.sent[e.ID].events++
			c.queue = slices.Insert(c.queue, c.rand.IntN(len(c.queue)+1), e)
		}
	}
	// Half of them change places.
	move := c.rand.Perm(len(c.queue))[:len(c.queue)/2]
	c.rand.Shuffle(len(move), func(i, j int) {
		c.queue[move[i]], c.queue[move[j]] = c.queue[move[j]], c.queue[move[i]]
	})
}

// run handles events until there are none left: what fails comes back, last.
func (c *campaign) run() {
	var stores []*Unreliable
	var routers []*mailrouter.Router
	for i, s := range []Store{c.w.Store, c.w.other()} {
		u := NewUnreliable(s, c.p.Faults, c.p.Seed+uint64(i))
		r, err := mailrouter.New(c.options(u))
		if err != nil {
			c.t.Fatal(err)
		}
		stores, routers = append(stores, u), append(routers, r)
	}
	var wg sync.WaitGroup
	for worker := range c.p.Workers {
		rnd := rand.New(rand.NewPCG(c.p.Seed, uint64(10+worker)))
		wg.Go(func() {
			for {
				e, ok, over := c.next()
				if over {
					return
				}
				if !ok { // another worker's may come back
					time.Sleep(time.Millisecond)
					continue
				}
				r := routers[worker%2]
				var dead *Mortal
				if rnd.IntN(50) == 0 {
					dead = &Mortal{Arrived: stores[worker%2], Fault: []Fault{Kill, KillDone}[rnd.IntN(2)], At: rnd.IntN(5)}
					r = agentkeys.Must(mailrouter.New(c.options(dead)))
				}
				entry, err := r.Handle(c.t.Context(), e.Event)
				c.done(e, entry, err, dead)
			}
		})
	}
	wg.Wait()
	for _, u := range stores {
		calls, failed := u.Wait()
		c.calls, c.failed = c.calls+calls, c.failed+failed
	}
	if len(c.queue) > 0 {
		c.t.Errorf("%d events were not done with", len(c.queue))
	}
}

func (c *campaign) options(s mailstore.Arrived) mailrouter.Options {
	return mailrouter.Options{
		Store: s, Rules: Rules(), Record: c.record, Limits: limits, RemoveSource: c.p.RemoveSource,
		Now: func() time.Time {
			c.mu.Lock()
			defer c.mu.Unlock()
			return time.Unix(epoch, 0).Add(c.clock)
		},
	}
}

// next takes an event; over says that there will be none any more.
func (c *campaign) next() (e event, ok, over bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) == 0 {
		return event{}, false, c.working == 0
	}
	e, c.queue = c.queue[0], c.queue[1:]
	c.clock += tick
	c.working++
	return e, true, false
}

// done looks at what became of an event, and brings it again if need be.
func (c *campaign) done(e event, entry mailrouter.Entry, err error, dead *Mortal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.handled++
	c.working--
	if errors.Is(err, mailrouter.ErrFlood) {
		c.flooded++
	}
	if dead != nil && dead.Met() {
		c.crashed++
		err = ErrInjected // nobody heard of it
	}
	if err != nil {
		if !errors.Is(err, mailrouter.ErrFlood) {
			e.tries++
		}
		if e.tries > 100 || c.handled > 100*len(c.sent) {
			c.t.Errorf("%s is never done: %v", e.ID, err)
			c.queue = nil // nor would the others be
			return
		}
		c.queue = append(c.queue, e)
		return
	}
	s := c.sent[e.ID]
	ok := entry.Outcome == s.outcome && entry.Reason == s.reason && entry.Wallet == s.wallet
	switch entry.Outcome {
	case mailrouter.Already:
		ok = s.outcome == mailrouter.Placed && entry.Wallet == s.wallet
	case mailrouter.Gone:
		ok = s.outcome == mailrouter.Gone || c.p.RemoveSource && s.outcome != mailrouter.Ignored
	}
	if !ok {
		c.t.Errorf("%s, to be %s %s: %+v", e.ID, s.outcome, s.reason, entry)
	}
}

func (c *campaign) record(_ context.Context, e mailrouter.Entry) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rand.IntN(200) == 0 {
		return ErrInjected
	}
	c.entries = append(c.entries, e)
	return nil
}

// check looks at what is stored in the end, and at the entries.
func (c *campaign) check() {
	t := c.t
	want := map[string]string{}
	placed := map[agentkeys.MessageID]int{}
	for id, s := range c.sent {
		if s.outcome == mailrouter.Gone {
			continue
		}
		switch s.outcome {
		case mailrouter.Placed:
			want[placedAt(s.wallet, id)] = string(s.data)
		case mailrouter.Refused:
			want[refusedAt(s.reason, id)] = string(s.data)
		}
		if s.outcome == mailrouter.Ignored || !c.p.RemoveSource {
			want[arrivedAt(id)] = string(s.data)
		}
	}
	c.w.holds(t, want)
	var fetched []int64
	var hotPlaced int
	for _, e := range c.entries {
		if e.Outcome == mailrouter.Placed {
			placed[e.ID]++
			fetched = append(fetched, e.Fetched)
			if e.Wallet == Wallet(hot) {
				hotPlaced++
			}
		}
		line, err := json.Marshal(e)
		if err != nil || strings.ContainsAny(string(line), "@<") || strings.Contains(string(line), "sender") && e.Reason != mailrouter.ReasonFloodSender {
			t.Errorf("an entry says too much: %s, %v", line, err)
		}
	}
	for id, n := range placed {
		if n > 1 {
			t.Errorf("%s was placed %d times", id, n)
		}
	}
	// Each router may let that much through; of a dead one nothing is counted.
	refilled := int(c.clock.Seconds() / limits.Wallet.Per.Seconds() * float64(limits.Wallet.Messages))
	if most := 2 * (limits.Wallet.Messages + refilled + 1); hotPlaced > most+c.crashed {
		t.Errorf("%d messages of one wallet within %v", hotPlaced, c.clock)
	}
	if c.p.Messages >= 1000 && (c.flooded == 0 || c.crashed == 0 || c.failed == 0) {
		t.Error("nothing was held back, nobody died, or nothing failed: this shows nothing")
	}
	slices.Sort(fetched)
	t.Logf("%d messages, %d events handled, %d held back, %d routers died, %d of %d store calls failed; fetched per placed message: median %d, most %d bytes",
		c.p.Messages, c.handled, c.flooded, c.crashed, c.failed, c.calls, fetched[len(fetched)/2], fetched[len(fetched)-1])
}
