package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/servicelog"
	"github.com/litentry/agentkeys/internal/token"
)

// mint measures what tokens cost the broker: the bare token, the whole
// request, and the check of a session.
func (b *bench) mint() error {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for _, cores := range []int{1, 2} {
		if cores > runtime.NumCPU() {
			break
		}
		runtime.GOMAXPROCS(cores)
		if err := b.bareMint(cores); err != nil {
			return err
		}
		clients := []int{32}
		if cores > 1 {
			clients = append(clients, 128)
		}
		if err := b.auditedMint(cores, clients); err != nil {
			return err
		}
	}
	return nil
}

// bareMint compares a signed web-identity token with the bare signature, and
// what is remembered of a session with its verification.
func (b *bench) bareMint(cores int) error {
	issuer, err := newIssuer()
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	digest := sha256.Sum256([]byte(prompt))
	device, err := token.ThumbprintOf(key.Public())
	if err != nil {
		return err
	}
	wallet := agentkeys.WalletFrom([20]byte(digest[:20]))
	session, err := issuer.Session(token.Session{
		ID: token.NewID(), Account: "bench", Wallet: wallet, Role: token.Master, Device: device, Expires: time.Now().Add(time.Hour),
	}, time.Now())
	if err != nil {
		return err
	}
	v := token.Verifier{Issuer: standOrigin, Audience: standOrigin, Keys: issuer.Ring()}
	cache := token.NewCache(1000)
	var once sync.Once
	var failed error
	note := func(err error) {
		if err != nil {
			once.Do(func() { failed = err })
		}
	}
	mint := func() {
		now := time.Now()
		_, err := issuer.Identity(token.Identity{ID: token.NewID(), Wallet: wallet, Audience: standAudience, Expires: now.Add(5 * time.Minute)}, token.ES256, now)
		note(err)
	}
	bare := func() {
		_, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
		note(err)
	}
	var rates, cpus [2][]float64
	var cached, verified []float64
	for range b.rounds {
		// Whatever else the machine does changes within a round: turn about.
		const turns = 8
		var calls, wall, used [2]float64
		for range turns {
			for i, f := range []func(){mint, bare} {
				before, began := cpu(os.Getpid()), time.Now()
				calls[i] += several(cores, b.span/16/turns, f)
				wall[i] += time.Since(began).Seconds()
				used[i] += cpu(os.Getpid()) - before
			}
		}
		for i := range calls {
			rates[i] = append(rates[i], calls[i]/wall[i])
			cpus[i] = append(cpus[i], used[i]/calls[i])
		}
		if cores > 1 {
			continue
		}
		now := time.Now()
		cached = append(cached, rate(b.span/32, func() {
			_, err := cache.Session(v, session, now)
			note(err)
		}))
		verified = append(verified, rate(b.span/32, func() {
			_, err := v.Session(session, now)
			note(err)
		}))
	}
	b.add("mint: tokens in process, "+ofCores(cores), "/s", "P-256 sign", "≥ 0.75", rates[0], rates[1])
	b.add("mint: CPU a token in process, "+ofCores(cores), "µs", "P-256 sign", "≤ 1.33", cpus[0], cpus[1])
	if cores == 1 {
		b.add("session: check from cache", "µs", "verification", "≤ 5 µs", cached, verified)
	}
	return failed
}

func ofCores(n int) string {
	if n == 1 {
		return "1 core"
	}
	return fmt.Sprint(n, " cores")
}

// several runs f on each of some cores for a span and returns how many calls
// there were.
func several(cores int, span time.Duration, f func()) float64 {
	var wg sync.WaitGroup
	calls := make([]float64, cores)
	for i := range cores {
		wg.Go(func() {
			for began := time.Now(); time.Since(began) < span; calls[i]++ {
				f()
			}
		})
	}
	wg.Wait()
	total := 0.0
	for _, n := range calls {
		total += n
	}
	return total
}

// auditedMint compares the whole handler with its durable log to one whose
// recorder keeps nothing.
func (b *bench) auditedMint(cores int, clients []int) error {
	dir, err := os.MkdirTemp("", "agentkeys-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	log, err := servicelog.Open(filepath.Join(dir, "audit"), "bench", time.Now)
	if err != nil {
		return err
	}
	defer log.Close()
	stands := make([]*stand, 2)
	for i, rec := range []grant.Recorder{log, nothing{}} {
		if stands[i], err = newStand(filepath.Join(dir, fmt.Sprint(i)), rec); err != nil {
			return err
		}
		defer stands[i].stop()
	}
	for _, n := range clients {
		var rates, cpus [2][]float64
		for range b.rounds {
			for i, s := range stands {
				perSecond, each, err := s.load(n, int(600*b.span.Seconds()))
				if err != nil {
					return err
				}
				rates[i], cpus[i] = append(rates[i], perSecond), append(cpus[i], each)
			}
		}
		where := fmt.Sprintf(", %d clients, %s", n, ofCores(cores))
		b.add("mint: requests"+where, "/s", "no log", "≥ 0.70", rates[0], rates[1])
		b.add("mint: CPU"+where, "µs", "no log", "–", cpus[0], cpus[1])
	}
	return nil
}

// load has n clients ask for so many tokens, and returns how many were given a
// second, and the processor time of each in microseconds. The proofs of the
// clients are made before.
func (s *stand) load(n, tokens int) (perSecond, each float64, err error) {
	proofs := make([]string, tokens)
	for i := range proofs {
		if proofs[i], err = s.proof(); err != nil {
			return 0, 0, err
		}
	}
	runtime.GC()
	var next sync.Mutex
	take := func() (p string) {
		next.Lock()
		defer next.Unlock()
		if len(proofs) > 0 {
			p, proofs = proofs[0], proofs[1:]
		}
		return p
	}
	errs := make([]error, n)
	var wg sync.WaitGroup
	before, began := cpu(os.Getpid()), time.Now()
	for i := range n {
		wg.Go(func() {
			for p := take(); p != "" && errs[i] == nil; p = take() {
				errs[i] = s.ask(p)
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	return float64(tokens) / took.Seconds(), (cpu(os.Getpid()) - before) / float64(tokens), errors.Join(errs...)
}
