package audit_test

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/litentry/agentkeys/internal/audit"
	"github.com/litentry/agentkeys/internal/grant"
)

// bigLogs are built once in a process: a million entries take some seconds.
var bigLogs sync.Map

// bigLog returns the directory of a closed log of n short entries.
func bigLog(b *testing.B, n int64) (string, audit.Options) {
	k := newKey(b, 1)
	o := audit.Options{Signer: k, Verifier: k.Verifier()}
	build, _ := bigLogs.LoadOrStore(n, sync.OnceValue(func() string {
		dir := benchDir(b)
		l, err := audit.Open(dir, o)
		if err != nil {
			b.Fatal(err)
		}
		for i := range n {
			e := grant.Event{Time: time.Unix(i, 0), Op: "session.start", Decision: grant.Done, Request: strconv.FormatInt(i, 10)}
			if err := l.Note(e); err != nil {
				b.Fatal(err)
			}
		}
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
		return dir
	}))
	return build.(func() string)(), o
}

// sizes are those of the growth curves. AUDIT_BENCH_ENTRIES adds one, such as
// 10000000, which takes a minute to build.
func sizes(b *testing.B) []int64 {
	s := []int64{10_000, 1_000_000}
	if v := os.Getenv("AUDIT_BENCH_ENTRIES"); v != "" {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		s = append(s, n)
	}
	return s
}

func BenchmarkProof(b *testing.B) {
	for _, n := range sizes(b) {
		dir, o := bigLog(b, n)
		r, err := audit.OpenReader(dir, o.Verifier)
		if err != nil {
			b.Fatal(err)
		}
		// Entries all over the log, so that no tile is always the same.
		at := func(i int) int64 { return int64(i) * 7_654_321 % n }
		b.Run(fmt.Sprintf("inclusion/of=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := r.Inclusion(at(i)); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("verify/of=%d", n), func(b *testing.B) {
			p, err := r.Inclusion(n / 3)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, err := p.VerifyAt(r.Head()); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("consistency/of=%d", n), func(b *testing.B) {
			// The roots of earlier trees, by which the proof is checked.
			var olds []audit.Checkpoint
			for i := range 16 {
				olds = append(olds, rootAt(b, dir, n, 1+at(i)))
			}
			for i := 0; b.Loop(); i++ {
				if _, err := r.Consistency(olds[i%len(olds)]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// rootAt is the checkpoint that the log of n entries in dir had at a size.
func rootAt(b *testing.B, dir string, n, size int64) audit.Checkpoint {
	c := &client{dir: dir, tree: tlog.Tree{N: n}}
	root, err := tlog.TreeHash(size, tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, x := range indexes {
			t := tlog.TileForIndex(8, x)
			t.W = int(min(256, n>>(8*t.L)-t.N*256))
			data, err := c.ReadTiles([]tlog.Tile{t})
			if err != nil {
				return nil, err
			}
			if out[i], err = tlog.HashFromTile(t, data[0], x); err != nil {
				return nil, err
			}
		}
		return out, nil
	}))
	if err != nil {
		b.Fatal(err)
	}
	return audit.Checkpoint{Origin: origin, Size: size, Root: root}
}

// BenchmarkOpen opens and closes a log, and says how much memory it takes.
func BenchmarkOpen(b *testing.B) {
	for _, n := range sizes(b) {
		dir, o := bigLog(b, n)
		b.Run(fmt.Sprintf("of=%d", n), func(b *testing.B) {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			for b.Loop() {
				l, err := audit.Open(dir, o)
				if err != nil {
					b.Fatal(err)
				}
				if err := l.Close(); err != nil {
					b.Fatal(err)
				}
			}
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/float64(b.N)/1024, "KiB/op")
		})
	}
}

// BenchmarkVerify checks a whole log.
func BenchmarkVerify(b *testing.B) {
	const n = 100_000
	dir, o := bigLog(b, n)
	for b.Loop() {
		if rep, err := audit.Verify(dir, audit.VerifyOptions{Verifier: o.Verifier}); err != nil || rep.Checked != n {
			b.Fatal(rep, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/entry")
}

// BenchmarkNote is what a settlement costs the request that it ends: CPU, since
// nobody waits for it.
func BenchmarkNote(b *testing.B) {
	k := newKey(b, 1)
	l, err := audit.Open(benchDir(b), audit.Options{Signer: k, Verifier: k.Verifier()})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	e := useEvent()
	b.ReportAllocs()
	used := cpuTime()
	for b.Loop() {
		if err := l.Note(e); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := l.Checkpoint(context.Background()); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(cpuTime()-used)/float64(b.N), "cpu-ns/op")
}
