package mailstoretest

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/litentry/agentkeys/internal/mailrouter"
)

// BenchmarkHandle routes messages of a store, one after the other, as one core
// does: a mixture of the Shapes, four in five of which name their recipient in
// the envelope, and then single messages of growing size. clear removes what
// was placed. It reports messages a second and the bytes fetched of each.
func BenchmarkHandle(b *testing.B, s Store, clear func()) {
	var mixture []Mail
	for n := range 200 {
		m := Mail{Shape: Shapes[n%len(Shapes)], To: Address(Wallet(1)), Sender: "bounce@sender.example", Size: 5000 + 101*n}
		if n%5 != 0 {
			m.Envelope = m.To
		}
		mixture = append(mixture, m)
	}
	b.Run("mixture", func(b *testing.B) { handle(b, s, "mix", mixture, clear) })
	for _, size := range []int{1 << 10, 32 << 10, 1 << 20, 40 << 20} {
		m := Mail{Shape: Shape{EOL: "\r\n", Top: 600, ToAt: 800, Ends: 1000}, To: Address(Wallet(1)), Size: size}
		m.Envelope = m.To
		b.Run(fmt.Sprint("KiB=", size>>10), func(b *testing.B) { handle(b, s, fmt.Sprint("size", size), slices.Repeat([]Mail{m}, 5), clear) })
	}
}

func handle(b *testing.B, s Store, name string, mails []Mail, clear func()) {
	var events []mailrouter.Event
	for n, m := range mails {
		m.ID = fmt.Sprint(name, "-", n)
		data := m.Bytes()
		// Of an earlier round with fewer iterations it is there.
		_ = s.Remove(b.Context(), ID(m.ID))
		if err := s.Write(b.Context(), ID(m.ID), bytes.NewReader(data), int64(len(data))); err != nil {
			b.Fatal(err)
		}
		events = append(events, mailrouter.Event{ID: ID(m.ID)})
	}
	r, err := mailrouter.New(mailrouter.Options{Store: s, Rules: Rules()})
	if err != nil {
		b.Fatal(err)
	}
	clear()
	fetched := make([]int64, 0, 1<<20)
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if n > 0 && n%len(events) == 0 {
			b.StopTimer()
			clear()
			b.StartTimer()
		}
		e, err := r.Handle(b.Context(), events[n%len(events)])
		if err != nil || e.Outcome != mailrouter.Placed {
			b.Fatalf("%+v, %v", e, err)
		}
		if len(fetched) < cap(fetched) {
			fetched = append(fetched, e.Fetched)
		}
	}
	b.StopTimer()
	var sum int64
	for _, n := range fetched {
		sum += n
	}
	slices.Sort(fetched)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
	b.ReportMetric(float64(sum)/float64(len(fetched)), "fetched-B/message")
	b.ReportMetric(float64(fetched[len(fetched)/2]), "fetched-B/median")
	for _, e := range events {
		if err := s.Remove(b.Context(), e.ID); err != nil {
			b.Fatal(err)
		}
	}
}
