package vault_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/envelope"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/signer"
	"github.com/litentry/agentkeys/internal/vault"
	"github.com/litentry/agentkeys/internal/vault/vaulttest"
)

// fill stores three credentials for each of two wallets, under epoch 1, and
// adds an epoch.
func fill(t tester, w *world) []vault.Key {
	t.Helper()
	var keys []vault.Key
	for _, wallet := range both {
		for _, s := range []agentkeys.Service{or, brave, svc("x")} {
			if _, err := w.vault().Store(ctx, permitFor(grant.ActStore, wallet, s), record(wallet.String()+s.String())); err != nil {
				t.Fatal(err)
			}
			keys = append(keys, vault.CredentialKey(wallet, s))
		}
	}
	w.addEpoch(t)
	return keys
}

// epochOf opens the object under k with every known key, and returns the epoch
// of the one that opens it.
func epochOf(t tester, w *world, k vault.Key) uint32 {
	t.Helper()
	sealed, _, err := w.blobs.Get(ctx, k)
	if err != nil {
		t.Fatal(err)
	}
	var opens []uint32
	for e := uint32(1); e <= w.keys.Epoch(); e++ {
		kek, err := w.keys.KEK(ctx, k.Wallet(), k.Service(), e)
		if err != nil {
			continue // retired
		}
		_, rec, err := envelope.Open(kek, envelope.Name{Wallet: k.Wallet(), Service: k.Service()}, sealed)
		if err == nil {
			opens = append(opens, e)
			if got, want := string(rec.Secret.Expose()), k.Wallet().String()+k.Service().String(); got != want {
				t.Errorf("%s: %q", k, got)
			}
		}
	}
	if len(opens) != 1 {
		t.Fatalf("%s opens under epochs %v", k, opens)
	}
	return opens[0]
}

// TestRotateEveryStep lets a rotation of six credentials meet each fault at
// each step, and then resumes it.
func TestRotateEveryStep(t *testing.T) {
	for _, fault := range vaulttest.EveryFault() {
		for at := 0; ; at++ {
			w := newWorld()
			keys := fill(t, w)
			f := vaulttest.NewFaults(fault, at, nil)
			err := vault.Rotate(ctx, w.faulty(f), both, resealPermit, nil)
			if !f.Met() {
				if err != nil {
					t.Fatal(err)
				}
				break
			}
			old := 0
			for _, k := range keys {
				if epochOf(t, w, k) == 1 {
					old++
				}
			}
			if err == nil && old > 0 {
				t.Errorf("%v at step %d: said to be done with %d under the old epoch", fault, at, old)
			}
			progress := 0
			err = vault.Rotate(ctx, w.vault(), both, resealPermit, func(done, total int) {
				if progress++; done != progress || total != old {
					t.Errorf("progress %d of %d, want %d of %d", done, total, progress, old)
				}
			})
			if err != nil || progress != old {
				t.Errorf("%v at step %d: resumed: %v, %d of %d", fault, at, err, progress, old)
			}
			w.retire(t, 2)
			for _, k := range keys {
				if e := epochOf(t, w, k); e != 2 {
					t.Errorf("%s is under epoch %d", k, e)
				}
				if _, _, err := w.vault().Load(ctx, permitFor(grant.ActReveal, k.Wallet(), k.Service())); err != nil {
					t.Errorf("%v at step %d: %v", fault, at, err)
				}
			}
		}
	}
}

// TestTwoRotatorsAndStores: nothing that anybody stored, before or during two
// rotations at once, is lost with the old roots.
func TestTwoRotatorsAndStores(t *testing.T) {
	w := newWorld()
	fill(t, w)
	v := w.vault()
	var wg sync.WaitGroup
	var last [4]atomic.Int64
	services := []agentkeys.Service{or, brave, svc("new-1"), svc("new-2")}
	for i, s := range services {
		wg.Go(func() {
			for n := range 15 {
				if _, err := v.Store(ctx, permitFor(grant.ActStore, alice, s), record(name(n))); err != nil {
					t.Error(err)
				}
				last[i].Store(int64(n))
			}
		})
	}
	for range 2 {
		wg.Go(func() {
			for range 5 {
				if err := vault.Rotate(ctx, v, both, resealPermit, nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := vault.Rotate(ctx, v, both, resealPermit, nil); err != nil {
		t.Fatal(err)
	}
	w.retire(t, 2)
	for i, s := range services {
		rec, _, err := v.Load(ctx, permitFor(grant.ActReveal, alice, s))
		if err != nil || string(rec.Secret.Expose()) != name(last[i].Load()) {
			t.Errorf("%s: %q, %v", s, rec.Secret.Expose(), err)
		}
	}
}

// TestRotateWaitsForStores: a store that took the old epoch and creates its
// object late would be lost with the old root, so Rotate must not be done
// before it is.
func TestRotateWaitsForStores(t *testing.T) {
	for at := range 4 {
		w := newWorld()
		reached, release := make(chan struct{}), make(chan struct{})
		f := vaulttest.NewFaults(vaulttest.None, 0, func(step int) {
			if step == at {
				close(reached)
				<-release
			}
		})
		v := w.faulty(f)
		stored := make(chan error, 1)
		go func() {
			_, err := v.Store(ctx, permit(grant.ActStore), record("late"))
			stored <- err
		}()
		<-reached
		w.addEpoch(t)
		rotated := make(chan error, 2)
		for range 2 {
			go func() { rotated <- vault.Rotate(ctx, v, both, resealPermit, nil) }()
		}
		select {
		case err := <-rotated:
			t.Fatalf("step %d: Rotate did not wait: %v", at, err)
		case <-time.After(20 * time.Millisecond):
		}
		short, cancel := context.WithTimeout(ctx, time.Millisecond)
		if err := vault.Rotate(short, v, both, resealPermit, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("step %d: a rotation with a deadline: %v", at, err)
		}
		cancel()
		close(release)
		for _, c := range []chan error{stored, rotated, rotated} {
			if err := <-c; err != nil {
				t.Error(err)
			}
		}
		w.retire(t, 2)
		wantSecret(t, w.vault(), "late")
	}
}

// TestRotateNeedsAll: what cannot be resealed keeps the old roots in use, and
// does not keep the rest from being resealed.
func TestRotateNeedsAll(t *testing.T) {
	w := newWorld()
	keys := fill(t, w)
	good, _, err := w.blobs.Get(ctx, keys[1])
	if err != nil {
		t.Fatal(err)
	}
	unfinished := func(what string, want error) {
		t.Helper()
		err := vault.Rotate(ctx, w.vault(), both, resealPermit, nil)
		var u *vault.Unfinished
		if !errors.As(err, &u) || !errors.Is(err, want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	flipped := append([]byte(nil), good...)
	flipped[len(flipped)-1] ^= 1
	w.blobs.Set(keys[1], flipped)
	unfinished("flipped", envelope.ErrDecrypt)
	if epochOf(t, w, keys[0]) != 2 || epochOf(t, w, keys[5]) != 2 {
		t.Error("one that failed stopped the others")
	}
	w.blobs.Set(keys[1], good[:50])
	unfinished("cut", envelope.ErrTruncated)
	future := append([]byte(nil), good...)
	future[4] = 9
	w.blobs.Set(keys[1], future)
	unfinished("under an epoch that there is not", signer.ErrUnknownEpoch)

	w.blobs.Set(keys[1], good)
	refusal := errors.New("the log is full")
	err = vault.Rotate(ctx, w.vault(), both, func(context.Context, agentkeys.Wallet, agentkeys.Service) (grant.Permit, error) {
		return grant.Permit{}, refusal
	}, nil)
	if !errors.Is(err, refusal) {
		t.Errorf("permit refused: %v", err)
	}
	err = vault.Rotate(ctx, w.vault(), both, func(context.Context, agentkeys.Wallet, agentkeys.Service) (grant.Permit, error) {
		return permitFor(grant.ActReseal, bob, or), nil
	}, nil)
	if !errors.Is(err, vault.ErrPermit) {
		t.Errorf("permit for something else: %v", err)
	}
	if err := vault.Rotate(ctx, w.vault(), both, resealPermit, nil); err != nil {
		t.Error(err)
	}
}

func TestResealIsIdempotent(t *testing.T) {
	w := newWorld()
	store(t, w.vault(), "x")
	w.addEpoch(t)
	for range 3 {
		for _, to := range []uint32{2, 1, 0} {
			if err := w.vault().Reseal(ctx, permit(grant.ActReseal), to); err != nil {
				t.Fatal(err)
			}
		}
	}
	if h := wantSecret(t, w.vault(), "x"); h != (envelope.Header{Epoch: 2, Revision: 2}) {
		t.Errorf("%v", h)
	}
}

// behind is a KeySource that has not heard of the last epoch.
type behind struct{ *signer.Signer }

func (b behind) Epoch() uint32 { return b.Signer.Epoch() - 1 }

// TestRotateLooksAgain: what another process stores under the old epoch behind
// the back of a pass is found by the next one.
func TestRotateLooksAgain(t *testing.T) {
	w := newWorld()
	keys := fill(t, w)
	late := vault.New(w.blobs, behind{w.keys}, w.marks)
	calls := 0
	err := vault.Rotate(ctx, w.vault(), both, resealPermit, func(done, _ int) {
		if calls++; calls <= 3 {
			if _, err := late.Store(ctx, permitFor(grant.ActStore, alice, svc(name("late-", done))), record("x")); err != nil {
				t.Error(err)
			}
		}
	})
	if err != nil || calls != len(keys)+3 {
		t.Fatalf("%d calls, %v", calls, err)
	}
	w.retire(t, 2)
	infos, err := w.vault().Infos(ctx, alice)
	if err != nil || len(infos) != 6 {
		t.Fatalf("%d infos, %v", len(infos), err)
	}
	for _, i := range infos {
		if _, _, err := w.vault().Load(ctx, permitFor(grant.ActReveal, alice, i.Service)); err != nil {
			t.Error(err)
		}
	}
}
