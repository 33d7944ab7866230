package main

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/audit"
	"github.com/litentry/agentkeys/internal/envelope"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/secret"
)

// rate runs f over and over for a span and returns microseconds for each.
func rate(span time.Duration, f func()) float64 {
	n := 0
	began := time.Now()
	for time.Since(began) < span {
		for range 64 {
			f()
		}
		n += 64
	}
	return float64(time.Since(began).Microseconds()) / float64(n)
}

// envelope compares sealing and opening with bare AES-256-GCM over the same
// padded plaintext, key schedule included.
func (b *bench) envelope() error {
	name := envelope.Name{
		Wallet:  agentkeys.Must(agentkeys.ParseWallet("0x00000000000000000000000000000000000000aa")),
		Service: agentkeys.Must(agentkeys.ParseService("openrouter")),
	}
	for _, size := range []int{73, 4096, 32 << 10} {
		raw := make([]byte, 32)
		_, _ = rand.Read(raw)
		bare := append([]byte(nil), raw...)
		kek, err := envelope.NewKEK(raw)
		if err != nil {
			return err
		}
		key := make([]byte, size)
		_, _ = rand.Read(key)
		rec := envelope.Record{Secret: secret.New(key), Kind: "api-key", Route: "import"}
		sealed, err := envelope.Seal(kek, name, envelope.Header{Epoch: 1, Revision: 1}, rec)
		if err != nil {
			return err
		}
		plain := make([]byte, len(sealed)-77-16)
		nonce := make([]byte, 12)
		gcm := func() cipher.AEAD {
			block, _ := aes.NewCipher(bare)
			g, _ := cipher.NewGCM(block)
			return g
		}
		box := gcm().Seal(nil, nonce, plain, nil)
		var seal, open, bseal, bopen []float64
		span := b.span / 8
		for range b.rounds {
			seal = append(seal, rate(span, func() { _, _ = envelope.Seal(kek, name, envelope.Header{Epoch: 1, Revision: 1}, rec) }))
			bseal = append(bseal, rate(span, func() { gcm().Seal(nil, nonce, plain, nil) }))
			open = append(open, rate(span, func() {
				_, r, _ := envelope.Open(kek, name, sealed)
				r.Secret.Clear()
			}))
			bopen = append(bopen, rate(span, func() { _, _ = gcm().Open(nil, nonce, box, nil) }))
		}
		b.add(fmt.Sprintf("envelope: seal %d B", size), "µs", "AES-256-GCM", "–", seal, bseal)
		b.add(fmt.Sprintf("envelope: open %d B", size), "µs", "AES-256-GCM", "–", open, bopen)
	}
	return nil
}

// audit compares durable appends with a bare group-committed append and
// fdatasync to a preallocated file.
func (b *bench) audit() error {
	dir, err := os.MkdirTemp("", "agentkeys-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	e := grant.Event{
		Op: grant.OpUse, Decision: grant.Allowed, Time: time.Now().UTC(), Request: "5f1c0ffee0ddba11-12345", Grant: "g_0123456789abcdef0123",
		Actor:  agentkeys.Must(agentkeys.ParseWallet("0x00000000000000000000000000000000000000aa")),
		Parent: agentkeys.Must(agentkeys.ParseWallet("0x00000000000000000000000000000000000000bb")),
		Agent:  agentkeys.Must(agentkeys.ParseAgent("coder")), Svc: agentkeys.Must(agentkeys.ParseService("openrouter")),
		Method: "POST", Path: "POST /chat/completions",
	}
	for _, writers := range []int{1, 64, 256, 1024} {
		var ours, floor []float64
		for i := range b.rounds {
			key, err := audit.NewKey("bench", secret.New(make([]byte, 32)))
			if err != nil {
				return err
			}
			l, err := audit.Open(filepath.Join(dir, fmt.Sprint("log", writers, i)), audit.Options{Signer: key, Verifier: key.Verifier()})
			if err != nil {
				return err
			}
			n, err := b.writers(writers, func() error { return l.Record(context.Background(), e) })
			if err = errors.Join(err, l.Close()); err != nil {
				return err
			}
			ours = append(ours, n)
			g, err := newGroup(filepath.Join(dir, fmt.Sprint("floor", writers, i)))
			if err != nil {
				return err
			}
			line := make([]byte, 400)
			n, err = b.writers(writers, func() error { return g.append(line) })
			if err = errors.Join(err, g.f.Close()); err != nil {
				return err
			}
			floor = append(floor, n)
		}
		goal := "≥ 0.8"
		if writers == 1 {
			goal = "–"
		}
		b.add(fmt.Sprintf("audit: durable appends, %d writers", writers), "/s", "bare sync", goal, ours, floor)
	}
	return nil
}

// writers runs f in n goroutines for a span and returns calls a second.
func (b *bench) writers(n int, f func() error) (float64, error) {
	var wg sync.WaitGroup
	counts, errs := make([]int, n), make([]error, n)
	began := time.Now()
	end := began.Add(b.span / 2)
	for i := range n {
		wg.Go(func() {
			for time.Now().Before(end) && errs[i] == nil {
				errs[i] = f()
				counts[i]++
			}
		})
	}
	wg.Wait()
	total := 0
	for _, c := range counts {
		total += c
	}
	return float64(total) / time.Since(began).Seconds(), errors.Join(errs...)
}

// group is the floor: whoever comes first writes and syncs for all who wait.
type group struct {
	f    *os.File
	mu   sync.Mutex
	cur  *commit
	turn chan struct{}
	off  int64
}

type commit struct {
	buf  []byte
	done chan struct{}
	err  error
}

func newGroup(path string) (*group, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	if err := unix.Fallocate(int(f.Fd()), 0, 0, 64<<20); err != nil {
		return nil, err
	}
	g := &group{f: f, turn: make(chan struct{}, 1)}
	return g, f.Sync()
}

func (g *group) append(line []byte) error {
	g.mu.Lock()
	c := g.cur
	lead := c == nil
	if lead {
		c = &commit{done: make(chan struct{})}
		g.cur = c
	}
	c.buf = append(c.buf, line...)
	g.mu.Unlock()
	if !lead {
		<-c.done
		return c.err
	}
	g.turn <- struct{}{}
	g.mu.Lock()
	g.cur = nil
	g.mu.Unlock()
	if g.off+int64(len(c.buf)) > 64<<20 {
		g.off = 0
	}
	if _, c.err = g.f.WriteAt(c.buf, g.off); c.err == nil {
		c.err = unix.Fdatasync(int(g.f.Fd()))
	}
	g.off += int64(len(c.buf))
	<-g.turn
	close(c.done)
	return c.err
}
