package smtpin

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/mailstore"
	"github.com/litentry/agentkeys/internal/testsrv/dns"
)

// sink is a spool that keeps nothing.
type sink struct{}

func (sink) Write(_ context.Context, _ agentkeys.MessageID, r io.Reader, _ int64) error {
	_, err := io.Copy(io.Discard, r)
	return err
}

func (sink) Waiting(context.Context, agentkeys.MessageID, int) (mailstore.Page, error) {
	return mailstore.Page{}, nil
}

// signedMail is one of size bytes, signed for d.example.
func signedMail(size int) string {
	line := strings.Repeat("x", 76) + "\r\n"
	return edSign("d.example", "From: a@d.example\r\nTo: "+rcpt+"\r\nSubject: hi\r\n\r\n"+strings.Repeat(line, max(size/len(line), 1)))
}

// BenchmarkReceive is a message over loopback in a connection that is there
// already, SPF, DKIM and DMARC with a DNS server over loopback included.
func BenchmarkReceive(b *testing.B) {
	d, err := dns.Start()
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	d.TXT("d.example", "v=spf1 ip4:127.0.0.1 -all")
	d.TXT("s._domainkey.d.example", edRecord())
	d.TXT("_dmarc.d.example", "v=DMARC1; p=reject")
	for _, size := range []int{2 << 10, 64 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			_, addr := serve(b, Config{Spool: sink{}, Resolver: d.Resolver(), Limits: Limits{Messages: 1 << 30, MessagesPerMinute: 1 << 30}})
			msg := signedMail(size)
			b.SetBytes(int64(len(msg)))
			b.RunParallel(func(pb *testing.PB) {
				c := dial(b, addr)
				c.talk(hello()...)
				for pb.Next() {
					c.say(strings.Replace(from, "c.example", "d.example", 1) + to + "DATA\r\n")
					_, _, _ = c.hear(), c.hear(), c.hear()
					c.say(msg + ".\r\n")
					if got := c.hear(); !strings.HasPrefix(got, "250") {
						b.Fatal(got)
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
		})
	}
}

// peak is a spool that looks at the heap while a message is on its way.
type peak struct {
	sink
	heap atomic.Uint64
}

func (p *peak) Write(ctx context.Context, id agentkeys.MessageID, r io.Reader, size int64) error {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	p.heap.Store(m.HeapAlloc)
	return p.sink.Write(ctx, id, r, size)
}

// TestMemory: once a message of 8 MiB has been checked and is to be stored, no
// more of it is in memory than of one of 32 KiB, whether by DATA or BDAT.
func TestMemory(t *testing.T) {
	d, err := dns.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	d.TXT("s._domainkey.d.example", edRecord())
	small, large := signedMail(32<<10), signedMail(8<<20)
	measure := func(msg string, chunks bool) (heap uint64) {
		p := &peak{}
		_, addr := serve(t, Config{Spool: p, Resolver: d.Resolver()})
		c := dial(t, addr)
		c.talk(started(to, "250")...)
		if chunks {
			c.talk(fmt.Sprintf("BDAT %d LAST\r\n", len(msg)), "", msg, "250")
		} else {
			c.talk("DATA\r\n", "354", msg, "", ".\r\n", "250")
		}
		return p.heap.Load()
	}
	for _, chunks := range []bool{false, true} {
		measure(small, chunks)
		a, b := measure(small, chunks), measure(large, chunks)
		if b > a+1<<20 {
			t.Errorf("chunks %v: %d bytes for the large one, %d for the small one", chunks, b, a)
		}
		t.Logf("chunks %v: heap %d KiB with 32 KiB, %d KiB with 8 MiB", chunks, a>>10, b>>10)
	}
}
