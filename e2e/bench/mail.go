package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/mailrouter"
	"github.com/litentry/agentkeys/internal/mailstore"
	"github.com/litentry/agentkeys/internal/mailstore/mailstoretest"
	"github.com/litentry/agentkeys/internal/s3mail"
)

// mail measures what a message costs: sorting it, in a process of ours and in
// the function as it is delivered, the start of the function, reading a link out
// of it, and receiving it by SMTP.
func (b *bench) mail() error {
	for _, part := range []func() error{b.mailInMemory, b.mailOverS3, b.mailFunction, b.mailStart, b.mailExtract, b.mailReceive} {
		if err := part(); err != nil {
			return err
		}
	}
	return nil
}

// mixture is 200 messages of the shapes of real samples, of 5 to 25 KB. In
// four of five the receiving host's own line names the recipient, as SES writes
// it; with none, that is left to the To field of all.
func mixture(name string, none bool) (all []mailstoretest.Mail) {
	for n := range 200 {
		m := mailstoretest.Mail{
			Shape: mailstoretest.Shapes[n%len(mailstoretest.Shapes)], ID: fmt.Sprint(name, "-", n),
			To: mailstoretest.Address(mailstoretest.Wallet(1)), Sender: "bounce@sender.example", Size: 5000 + 101*n,
		}
		if n%5 != 0 && !none {
			m.Envelope = m.To
		}
		all = append(all, m)
	}
	return all
}

// sized are messages of one shape and of growing size; the smallest has no
// room for more than 1,000 bytes of header.
func sized() (all []mailstoretest.Mail) {
	for _, size := range []int{1 << 10, 5 << 10, 1 << 20, 30 << 20, mailstore.MaxMessage} {
		m := mailstoretest.Mail{
			Shape: mailstoretest.Shape{EOL: "\r\n", Top: 600, ToAt: 800, Ends: 1000}, ID: fmt.Sprint("size-", size),
			To: mailstoretest.Address(mailstoretest.Wallet(1)), Sender: "bounce@sender.example", Size: size,
		}
		m.Envelope = m.To
		all = append(all, m)
	}
	return all
}

// forgetful is a store in memory that keeps no copies, so that a message can be
// placed over and over.
type forgetful struct{ *mailstoretest.Memory }

func (forgetful) Place(context.Context, agentkeys.MessageID, mailstore.Version, agentkeys.Wallet) (bool, error) {
	return true, nil
}

// turnAbout runs two functions in short turns, since whatever else the machine
// does changes within a round.
func (b *bench) turnAbout(clients int, span time.Duration, ours, theirs func()) (rates, cpus [2][]float64) {
	const turns = 8
	for range b.rounds {
		var calls, wall, used [2]float64
		for range turns {
			for i, f := range []func(){ours, theirs} {
				before, began := cpu(os.Getpid()), time.Now()
				calls[i] += several(clients, span/turns, f)
				wall[i] += time.Since(began).Seconds()
				used[i] += cpu(os.Getpid()) - before
			}
		}
		for i := range calls {
			rates[i] = append(rates[i], calls[i]/wall[i])
			cpus[i] = append(cpus[i], used[i]/calls[i])
		}
	}
	return rates, cpus
}

// first keeps the first error that there is.
type first struct{ err atomic.Pointer[error] }

func (f *first) note(err error) {
	if err != nil {
		f.err.CompareAndSwap(nil, &err)
	}
}

func (f *first) get() error {
	if err := f.err.Load(); err != nil {
		return *err
	}
	return nil
}

// routes returns a function that routes the next of some messages.
func (f *first) routes(r *mailrouter.Router, mails []mailstoretest.Mail) func() {
	var n atomic.Int64
	return func() {
		e, err := r.Handle(context.Background(), mailrouter.Event{ID: mailstoretest.ID(mails[int(n.Add(1))%len(mails)].ID)})
		if err == nil && e.Outcome != mailrouter.Placed {
			err = fmt.Errorf("%s was %s", e.ID, e.Outcome)
		}
		f.note(err)
	}
}

// mailInMemory routes on one core, with a store that costs nothing.
func (b *bench) mailInMemory() error {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	store := forgetful{new(mailstoretest.Memory)}
	mails := mixture("mix", false)
	for _, m := range mails {
		store.Plant("inbound/"+m.ID, m.Bytes())
	}
	r, err := mailrouter.New(mailrouter.Options{Store: store, Rules: mailstoretest.Rules()})
	if err != nil {
		return err
	}
	var failed first
	n := 0
	rates, _ := b.turnAbout(1, b.span/8, failed.routes(r, mails), func() {
		n++
		id := mailstoretest.ID(mails[n%len(mails)].ID)
		p, err := store.Read(context.Background(), id, 0, 2048, "")
		if err == nil {
			_, err = store.Place(context.Background(), id, p.Version, mailstoretest.Wallet(1))
		}
		failed.note(err)
	})
	b.add("mail: messages in memory, 1 core", "/s", "store alone", "–", rates[0], rates[1])
	return failed.get()
}

// counted counts requests.
type counted struct {
	http.RoundTripper
	n atomic.Int64
}

func (c *counted) RoundTrip(r *http.Request) (*http.Response, error) {
	c.n.Add(1)
	return c.RoundTripper.RoundTrip(r)
}

// mailOverS3 routes with a server that speaks S3 over HTTP, in a process of
// its own, against the two calls by hand.
func (b *bench) mailOverS3() error {
	up, err := b.part("s3")
	if err != nil {
		return err
	}
	defer up.stop()
	wire := http.DefaultTransport.(*http.Transport).Clone()
	wire.Proxy, wire.MaxIdleConnsPerHost = nil, 32
	count := &counted{RoundTripper: wire}
	store, err := s3mail.Open(s3mail.Config{
		Region: "eu-central-1", Bucket: mailBucket, Endpoint: "http://" + up.addr, PathStyle: true, TagCopies: true, Client: &http.Client{Transport: count},
	}, s3mail.Credentials{Router: credentials.NewStaticCredentialsProvider("AKIAEXAMPLE", "example", "example")})
	if err != nil {
		return err
	}
	r, err := mailrouter.New(mailrouter.Options{Store: store, Rules: mailstoretest.Rules()})
	if err != nil {
		return err
	}
	hand := newByHand(up.addr)
	var failed first
	sizes := sized()
	for _, c := range []struct {
		name    string
		mail    mailstoretest.Mail
		clients int
	}{{"5 KiB", sizes[1], 1}, {"5 KiB, 16 at once", sizes[1], 16}, {"30 MiB", sizes[3], 1}} {
		ours := failed.routes(r, []mailstoretest.Mail{c.mail})
		theirs := func() { failed.note(hand.route(c.mail.ID)) }
		ours() // connections
		theirs()
		rates, cpus := b.turnAbout(c.clients, b.span/4, ours, theirs)
		b.add("mail: CPU a message, "+c.name, "µs", "2 by hand", "≤ 1.3", cpus[0], cpus[1])
		if c.mail.Size < 1<<20 {
			b.add("mail: messages, "+c.name, "/s", "2 by hand", "–", rates[0], rates[1])
		}
	}
	if err := failed.get(); err != nil {
		return err
	}
	for _, c := range []struct {
		name, goal string
		mails      []mailstoretest.Mail
	}{{"the mixture", "≤ 1", mixture("mix", false)}, {"To fields only", "–", mixture("to", true)}} {
		var fetched []float64
		before, total := count.n.Load(), 0.0
		for _, m := range c.mails {
			e, err := r.Handle(b.ctx, mailrouter.Event{ID: mailstoretest.ID(m.ID)})
			if err != nil || e.Outcome != mailrouter.Placed {
				return fmt.Errorf("%s was %s: %w", m.ID, e.Outcome, err)
			}
			fetched = append(fetched, float64(e.Fetched))
			total += float64(e.Fetched)
		}
		per := float64(len(c.mails))
		b.add("mail: bytes fetched, median, "+c.name, "B", "8 KiB", c.goal, []float64{median(fetched)}, []float64{8 << 10})
		b.add("mail: bytes fetched, mean, "+c.name, "B", "8 KiB", "–", []float64{total / per}, []float64{8 << 10})
		b.add("mail: requests a message, "+c.name, "", "2", "–", []float64{float64(count.n.Load()-before) / per}, []float64{2})
	}
	return b.mailAllocated(r, sizes)
}

// mailAllocated compares all that routing allocates for large and small
// messages: it can hold no more of one than that.
func (b *bench) mailAllocated(r *mailrouter.Router, mails []mailstoretest.Mail) error {
	const each = 20
	var failed first
	all := map[int][]float64{}
	for range b.rounds {
		for _, m := range mails {
			route := failed.routes(r, []mailstoretest.Mail{m})
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for range each {
				route()
			}
			runtime.ReadMemStats(&after)
			all[m.Size] = append(all[m.Size], float64(after.TotalAlloc-before.TotalAlloc)/each/1024)
		}
	}
	b.add("mail: allocated a message, 30 MiB", "KiB", "1 MiB", "≤ 1.1", all[30<<20], all[1<<20])
	b.add("mail: allocated a message, 40 MiB", "KiB", "1 KiB", "≤ 1.1", all[mailstore.MaxMessage], all[1<<10])
	return failed.get()
}
