package audit_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/audit"
)

// benchDir makes a directory that lasts until all benchmarks are done. For
// minutes after files were deleted, ext4 steps over each of their inodes, at
// a microsecond or so, whenever it makes a new file in that part of the disk:
// one benchmark's clean-up would be the next one's load.
func benchDir(b testing.TB) string {
	dir, err := os.MkdirTemp(benchRoot(), "log")
	if err != nil {
		b.Fatal(err)
	}
	return dir
}

var benchRooted bool

var benchRoot = sync.OnceValue(func() string {
	benchRooted = true
	dir, err := os.MkdirTemp("", "audit-bench")
	if err != nil {
		panic(err)
	}
	return dir
})

// floor is a bare group-committed append: the shortest code that makes n
// writers durable with one fdatasync for all who wait, and nothing else. With
// gather it also lets those join who are about to, as the log does, which is
// as fast as this can be done.
type floor struct {
	f      *os.File
	off    int64
	size   int64
	gather bool

	mu   sync.Mutex
	next *floorBatch
	free [][]byte
}

type floorBatch struct {
	buf  []byte
	led  bool
	turn chan struct{}
	done chan struct{}
}

func newFloor(b testing.TB, size int64, gather bool) *floor {
	f, err := os.Create(filepath.Join(benchDir(b), "floor"))
	if err != nil {
		b.Fatal(err)
	}
	zeros := make([]byte, 1<<20)
	for at := int64(0); at < size; at += 1 << 20 {
		if _, err := f.WriteAt(zeros, at); err != nil {
			b.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
	turn := make(chan struct{})
	close(turn)
	return &floor{f: f, size: size, gather: gather, next: &floorBatch{turn: turn, done: make(chan struct{})}}
}

func (f *floor) append(rec []byte) error {
	f.mu.Lock()
	b := f.next
	b.buf = append(b.buf, rec...)
	lead := !b.led
	b.led = true
	f.mu.Unlock()
	if !lead {
		<-b.done
		return nil
	}
	<-b.turn
	for was := -1; f.gather; {
		f.mu.Lock()
		n := len(b.buf)
		f.mu.Unlock()
		if n == was {
			break
		}
		was = n
		runtime.Gosched()
	}
	f.mu.Lock()
	f.next = &floorBatch{turn: b.done, done: make(chan struct{})}
	if n := len(f.free); n > 0 {
		f.next.buf, f.free = f.free[n-1][:0], f.free[:n-1]
	}
	f.mu.Unlock()
	if f.off+int64(len(b.buf)) > f.size {
		f.off = 0
	}
	if _, err := f.f.WriteAt(b.buf, f.off); err != nil {
		return err
	}
	if err := syscall.Fdatasync(int(f.f.Fd())); err != nil {
		return err
	}
	f.off += int64(len(b.buf))
	close(b.done)
	f.mu.Lock()
	f.free = append(f.free, b.buf)
	f.mu.Unlock()
	return nil
}

// BenchmarkAppend puts durable appends beside their floors: b.N alternating
// rounds of each, and the ratio of the medians. Run it with -benchtime 7x.
// What the log has put off is done between the rounds, on nobody's time; a
// round is long enough for most of it to fall into the round.
func BenchmarkAppend(b *testing.B) {
	e := useEvent()
	rec := make([]byte, 400)
	for _, writers := range []int{1, 64, 256, 1024} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			plain, gathered := newFloor(b, 8<<20, false), newFloor(b, 8<<20, true)
			k := newKey(b, 1)
			l, err := audit.Open(benchDir(b), audit.Options{Signer: k, Verifier: k.Verifier()})
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			runs := []struct {
				name string
				op   func() error
			}{
				{"sync", func() error { return plain.append(rec) }},
				{"gathered", func() error { return gathered.append(rec) }},
				{"audit", func() error { return l.Record(context.Background(), e) }},
			}
			wall, cpu := map[string][]float64{}, map[string][]float64{}
			for range b.N {
				for _, r := range runs {
					w, c := drive(b, writers, r.op)
					wall[r.name], cpu[r.name] = append(wall[r.name], w), append(cpu[r.name], c)
				}
				if _, err := l.Checkpoint(context.Background()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(0, "ns/op")
			for _, r := range runs {
				b.ReportMetric(1e9/median(wall[r.name]), r.name+"/s")
				b.ReportMetric(median(cpu[r.name]), r.name+"-cpu-ns")
			}
			b.ReportMetric(median(wall["sync"])/median(wall["audit"]), "of-sync")
			b.ReportMetric(median(wall["gathered"])/median(wall["audit"]), "of-gathered")
		})
	}
}

// drive has writers call op for a third of a second, and returns nanoseconds
// a call, of time and of CPU.
func drive(b *testing.B, writers int, op func() error) (wall, cpu float64) {
	var (
		wg   sync.WaitGroup
		done atomic.Int64
		end  atomic.Bool
	)
	start, used := time.Now(), cpuTime()
	time.AfterFunc(time.Second/3, func() { end.Store(true) })
	for range writers {
		wg.Go(func() {
			n := int64(0)
			for !end.Load() {
				if err := op(); err != nil {
					b.Error(err)
					break
				}
				n++
			}
			done.Add(n)
		})
	}
	wg.Wait()
	n := float64(done.Load())
	return float64(time.Since(start)) / n, float64(cpuTime()-used) / n
}

func cpuTime() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}
