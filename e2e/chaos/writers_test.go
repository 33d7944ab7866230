package chaos_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	secp "github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"
	"golang.org/x/crypto/sha3"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/brokerclient"
)

// writer is somebody who changes things of its own, one after the other, and
// knows what was acknowledged.
type writer interface {
	// step makes one change at some replica, perhaps. It returns false where
	// the writer does not know what became of it.
	step(rng *rand.Rand) bool
	// check holds the state against what is known, and takes what it finds for
	// known. Every replica is ready, and nobody writes.
	check()
}

// device is a device's key, and a client of each replica with it.
type device struct {
	key *ecdsa.PrivateKey
	at  []*brokerclient.Client
}

func (w *world) device() *device {
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		panic(err) // crypto/rand never fails
	}
	d := &device{key: key}
	for i := range w.replicas {
		d.at = append(d.at, w.client(key, i))
	}
	return d
}

func (w *world) client(key *ecdsa.PrivateKey, replica int) *brokerclient.Client {
	c, err := brokerclient.New(brokerclient.Options{
		URL: w.origin, Key: key, Agent: "chaos/" + strconv.Itoa(replica), Log: slog.New(slog.DiscardHandler), Now: time.Now,
	})
	if err != nil {
		panic(err) // the same for all
	}
	return c
}

func (d *device) id() string { return d.at[0].Device() }

func (d *device) any(rng *rand.Rand) *brokerclient.Client { return d.at[rng.IntN(len(d.at))] }

// in reports whether the device may have sessions at a replica, by having one.
func (w *world) in(d *device, replica int) (bool, error) {
	_, err := w.client(d.key, replica).Session(w.t.Context()) // it has none yet
	if errors.Is(err, brokerclient.ErrDeviceOut) {
		return false, nil
	}
	return true, err
}

// race has n goroutines try the same, each at some replica, and returns how
// many won, and the last of them. A loser is refused with one of these codes,
// or does not know.
func (w *world) race(what string, n int, rng *rand.Rand, try func(i, replica int) error, codes ...string) (won, last int) {
	errs, at := make([]error, n), make([]int, n)
	for i := range at {
		at[i] = rng.IntN(len(w.replicas))
	}
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = try(i, at[i]) })
	}
	wg.Wait()
	last, lost := -1, false
	for i, err := range errs {
		switch {
		case err == nil:
			won, last = won+1, i
		case w.lost(err):
			lost = true
		case !is(err, codes...):
			w.t.Errorf("%s: %v", what, err)
		}
	}
	if won > 1 {
		w.t.Errorf("%s was good %d times", what, won)
	}
	if won == 0 && !lost {
		w.t.Errorf("%s was good for nobody", what)
	}
	return won, last
}

// loginer logs devices in by a wallet of its own, and takes them out again.
type loginer struct {
	w       *world
	key     *secp256k1.PrivateKey
	address string
	wallet  agentkeys.Wallet
	inside  []*device // acknowledged
	outside []*device // the latest of those that are out, acknowledged
	maybe   []*device // asked for, and not known
	leaving []*device // to be out, and not known
}

func newLoginer(w *world) *loginer {
	key, err := secp256k1.GeneratePrivateKey()
	must(w.t, err)
	sum := keccak(key.PubKey().SerializeUncompressed()[1:])
	return &loginer{w: w, key: key, address: "0x" + hex.EncodeToString(sum[12:])}
}

func keccak(b []byte) []byte {
	h := sha3.NewLegacyKeccak256()
	_, _ = h.Write(b)
	return h.Sum(nil)
}

// sign is personal_sign.
func (l *loginer) sign(text string) string {
	sig := secp.SignCompact(l.key, keccak([]byte("\x19Ethereum Signed Message:\n"+strconv.Itoa(len(text))+text)), false)
	return "0x" + hex.EncodeToString(append(sig[1:], sig[0]))
}

// login logs a new device in. Nil means that it is not known, or was refused.
func (l *loginer) login(rng *rand.Rand) *device {
	w, ctx := l.w, l.w.t.Context()
	d := w.device()
	began, err := d.any(rng).BeginLogin(ctx, brokerapi.LoginRequest{Method: brokerapi.LoginWallet, Address: l.address})
	if err != nil {
		if !w.lost(err) {
			w.t.Errorf("begin: %v", err)
		}
		return nil
	}
	proof := brokerapi.WalletProof{Message: began.Message, Signature: l.sign(began.Message)}
	codes := make([]string, 4)
	prove := func(i, replica int) error {
		h, err := d.at[replica].ProveWallet(ctx, began.ID, proof)
		codes[i] = h.Code
		return err
	}
	won, i := w.race("a nonce", 3, rng, prove, brokerapi.CodeLogin)
	if won == 0 {
		return nil
	}
	code := codes[i]
	if rng.IntN(4) == 0 { // and later
		if err := prove(3, rng.IntN(len(d.at))); err == nil || !w.lost(err) && !is(err, brokerapi.CodeLogin) {
			w.t.Errorf("a nonce for the second time: %v", err)
		}
	}
	w.goodOnce("a code", "session.login wallet device "+d.id())
	l.maybe = append(l.maybe, d)
	end := func(_, replica int) error {
		s, err := d.at[replica].EndLogin(ctx, began.ID, brokerapi.HandoffProof{Code: code, Device: "test"})
		if err != nil {
			return err
		}
		w.sawSession(s)
		if !l.wallet.IsZero() && s.Wallet != l.wallet {
			w.t.Errorf("the wallet of %s was %s and is %s", l.address, l.wallet, s.Wallet)
		}
		return nil
	}
	won, _ = w.race("a code", 3, rng, end, brokerapi.CodeLogin)
	if won == 0 {
		return nil
	}
	if l.wallet.IsZero() {
		for _, c := range d.at {
			if s, err := c.Session(ctx); err == nil {
				l.wallet = s.Wallet
			}
		}
	}
	l.maybe = l.maybe[:len(l.maybe)-1]
	l.inside = append(l.inside, d)
	w.acknowledged(fact{op: "session.login", subject: "wallet device " + d.id()})
	if rng.IntN(4) == 0 {
		if err := end(0, rng.IntN(len(d.at))); err == nil || !w.lost(err) && !is(err, brokerapi.CodeLogin) {
			w.t.Errorf("a code for the second time: %v", err)
		}
	}
	return d
}

func (l *loginer) step(rng *rand.Rand) bool {
	if len(l.inside) < 2 || len(l.inside) < 6 && rng.IntN(2) == 0 {
		return l.login(rng) != nil
	}
	// The oldest leaves, by itself or by another.
	victim, by := l.inside[0], l.inside[1+rng.IntN(len(l.inside)-1)]
	l.inside = l.inside[1:]
	return l.leave(victim, by, rng)
}

func (l *loginer) leave(victim, by *device, rng *rand.Rand) bool {
	w, ctx := l.w, l.w.t.Context()
	l.leaving = append(l.leaving, victim)
	op, replica := "device.revoke", rng.IntN(len(by.at))
	var err error
	if rng.IntN(3) == 0 {
		op = "session.end"
		err = victim.at[replica].Logout(ctx)
	} else {
		err = by.at[replica].RevokeDevice(ctx, victim.id())
	}
	if err != nil {
		if !w.lost(err) {
			w.t.Errorf("%s: %v", op, err)
		}
		return false
	}
	at, calm := time.Now(), w.disturbed.Load()
	l.leaving = l.leaving[:len(l.leaving)-1]
	l.outside = append(l.outside, victim)
	if len(l.outside) > 8 {
		l.outside = l.outside[1:]
	}
	w.acknowledged(fact{op: op, subject: "device " + victim.id()})
	other := (replica + 1) % len(w.replicas)
	for end := at.Add(patience); ; {
		in, err := w.in(victim, other)
		if err != nil {
			return true // the next check looks again
		}
		if !in {
			break
		}
		if time.Now().After(end) {
			w.t.Errorf("a device that was taken out %v ago has a session", time.Since(at))
			return true
		}
		time.Sleep(5 * time.Millisecond)
	}
	if calm%2 == 0 && w.disturbed.Load() == calm {
		w.took("a device is out at another replica", time.Since(at))
	}
	return true
}

func (l *loginer) check() {
	w := l.w
	rng := rand.New(rand.NewPCG(uint64(len(l.outside)), 7))
	// What was to be out is taken out again, until somebody says that it is.
	for len(l.inside) < 2 {
		if l.login(rng) == nil {
			w.t.Error("a login failed though all is well")
			return
		}
	}
	for _, d := range l.leaving {
		err := l.inside[0].any(rng).RevokeDevice(w.t.Context(), d.id())
		if err != nil && !is(err, brokerapi.CodeNotFound) {
			w.t.Errorf("taking out a device again: %v", err)
		}
		l.outside = append(l.outside, d)
	}
	l.leaving = nil
	for i := range w.replicas {
		list, err := l.inside[len(l.inside)-1].at[i].Devices(w.t.Context())
		if err != nil {
			w.t.Errorf("devices at %d: %v", i, err)
			continue
		}
		has := func(d *device) bool {
			return slices.ContainsFunc(list, func(have brokerapi.Device) bool { return have.ID == d.id() })
		}
		for _, d := range l.inside {
			if !has(d) {
				w.t.Errorf("a device of an acknowledged login is lost at %d", i)
			}
		}
		for _, d := range l.outside {
			if has(d) {
				w.t.Errorf("a device that is out is listed at %d", i)
			}
		}
		if i == 0 {
			for _, d := range l.maybe {
				if has(d) {
					l.inside = append(l.inside, d)
				}
			}
			l.maybe = nil
		}
		if in, err := w.in(l.inside[rng.IntN(len(l.inside))], i); !in || err != nil {
			w.t.Errorf("a device of an acknowledged login is out at %d: %v", i, err)
		}
		for _, d := range l.outside {
			if in, err := w.in(d, i); in {
				w.t.Errorf("a device that is out has a session at %d: %v", i, err)
			}
		}
	}
}

// enroller makes enrolment codes, and redeems each with several devices.
type enroller struct {
	w       *world
	master  *device
	agent   agentkeys.Agent
	current *device   // acknowledged; nil: not known
	maybe   []*device // that may be it
	outside []*device // that were refused, or replaced by one that was acknowledged
}

func newEnroller(w *world, l *loginer, i int) *enroller {
	e := &enroller{w: w, master: w.master(l), agent: agentkeys.Must(agentkeys.ParseAgent(fmt.Sprint("enrolled-", i)))}
	_, err := e.master.at[0].CreateAgent(w.t.Context(), e.agent)
	must(w.t, err)
	return e
}

// master logs in a device that stays.
func (w *world) master(l *loginer) *device {
	w.t.Helper()
	d := l.login(rand.New(rand.NewPCG(1, 1)))
	if d == nil {
		w.t.Fatal("a login failed though all is well")
	}
	l.inside = l.inside[:len(l.inside)-1] // and is not touched
	return d
}

func (e *enroller) step(rng *rand.Rand) bool {
	w, ctx := e.w, e.w.t.Context()
	made, err := e.master.any(rng).Enrolment(ctx, e.agent)
	if err != nil {
		if !w.lost(err) {
			w.t.Errorf("enrolment: %v", err)
		}
		return false
	}
	tries := []*device{w.device(), w.device(), w.device()}
	var subjects []string
	for _, d := range tries {
		subjects = append(subjects, "agent.enrol device "+d.id())
	}
	w.goodOnce("an enrolment code", subjects...)
	enrol := func(d *device, replica int) error {
		s, err := d.at[replica].Enrol(ctx, brokerapi.EnrolRequest{Code: made.Code, Device: "test"})
		if err == nil {
			w.sawSession(s)
		}
		return err
	}
	won, i := w.race("an enrolment code", len(tries), rng, func(i, replica int) error { return enrol(tries[i], replica) }, brokerapi.CodeLogin)
	if won == 0 {
		e.maybe = append(e.maybe, tries...)
		return false
	}
	// Whoever was in before is out, and so are the others.
	if e.current != nil {
		e.outside = append(e.outside, e.current)
	}
	e.outside = append(append(e.outside, e.maybe...), slices.Delete(slices.Clone(tries), i, i+1)...)
	e.outside = e.outside[max(0, len(e.outside)-8):]
	e.current, e.maybe = tries[i], nil
	w.acknowledged(fact{op: "agent.enrol", subject: "device " + e.current.id()})
	if rng.IntN(3) == 0 {
		late := w.device()
		if err := enrol(late, rng.IntN(len(late.at))); err == nil || !w.lost(err) && !is(err, brokerapi.CodeLogin) {
			w.t.Errorf("an enrolment code for the second time: %v", err)
		}
	}
	return true
}

func (e *enroller) check() {
	w := e.w
	for i := range w.replicas {
		var in []*device
		for _, d := range append(slices.Clone(e.maybe), e.current) {
			if d == nil {
				continue
			}
			if is, err := w.in(d, i); err != nil {
				w.t.Errorf("%s at %d: %v", e.agent, i, err)
			} else if is {
				in = append(in, d)
			}
		}
		switch {
		case len(in) > 1:
			w.t.Errorf("%s has %d devices at %d", e.agent, len(in), i)
		case len(in) == 0 && e.current != nil:
			w.t.Errorf("the device of %s is lost at %d: it was acknowledged, and %d are not known", e.agent, i, len(e.maybe))
		case i == 0:
			e.maybe = nil
			if e.current = nil; len(in) == 1 {
				e.current = in[0]
			}
		}
		for _, d := range e.outside {
			if in, err := w.in(d, i); in {
				w.t.Errorf("%s: a device that was refused or replaced has a session at %d: %v", e.agent, i, err)
			}
		}
		if e.current != nil {
			if _, err := e.current.at[i].Mint(w.t.Context(), audienceES, agentkeys.Wallet{}, 0); err != nil {
				w.t.Errorf("a token of %s at %d: %v", e.agent, i, err)
			}
		}
	}
}
