// Package signertest is the exam of signer.Core: whatever keeps the roots
// derives exactly what the published vectors say, and keeps names, epochs and
// callers apart. It depends on what it examines, internal/envelope and the
// vectors beside internal/signer.
package signertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/envelope"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/signer"
)

// Seed is what a signer under examination is made of: 32 bytes each.
type Seed struct {
	Identity []byte
	Sealing  map[uint32][]byte // by epoch; at least one
}

// Conformance shows that a signer keeps the promises of signer.Core. open
// makes one from a seed, of whose bytes it makes copies.
func Conformance(t *testing.T, open func(t *testing.T, s Seed) signer.Core) {
	t.Run("WalletVectors", func(t *testing.T) { testWallets(t, open) })
	t.Run("KEKVectors", func(t *testing.T) { testKEKs(t, open) })
	for _, c := range []struct {
		name string
		test func(*testing.T, signer.Core)
	}{
		{"Epochs", testEpochs},
		{"Refusals", testRefusals},
		{"Cancelled", testCancelled},
		{"Apart", testApart},
		{"OwnBytes", testOwnBytes},
		{"Concurrent", testConcurrent},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t, threeEpochs())) })
	}
}

// threeEpochs has epochs 2, 3 and 7: earlier ones are retired, and a counter
// may skip.
func threeEpochs() Seed {
	return Seed{Identity: Root(1), Sealing: map[uint32][]byte{2: Root(2), 3: Root(3), 7: Root(7)}}
}

// Root returns a root of 32 equal bytes.
func Root(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }

// Same fails the test unless two keys are the same, which it sees by sealing
// under one and opening under the other: a KEK cannot be read.
func Same(t testing.TB, a, b envelope.KEK, w agentkeys.Wallet, svc agentkeys.Service) {
	t.Helper()
	if err := crosses(a, b, w, svc); err != nil {
		t.Errorf("%s of %s: the keys differ: %v", svc, w, err)
	}
}

func crosses(a, b envelope.KEK, w agentkeys.Wallet, svc agentkeys.Service) error {
	name := envelope.Name{Wallet: w, Service: svc}
	sealed, err := envelope.Seal(a, name, envelope.Header{Epoch: 1, Revision: 1},
		envelope.Record{Secret: secret.FromString("x"), Kind: "api-key", Route: "import"})
	if err != nil {
		return err
	}
	_, _, err = envelope.Open(b, name, sealed)
	return err
}

var (
	account = agentkeys.Must(signer.ParseAccountID("0f1e2d"))
	coder   = agentkeys.Must(agentkeys.ParseAgent("coder"))
	router  = agentkeys.Must(agentkeys.ParseService("openrouter"))
	search  = agentkeys.Must(agentkeys.ParseService("brave-search"))
)

func wallet(t testing.TB, c signer.Core, p signer.Path) agentkeys.Wallet {
	t.Helper()
	w, err := c.Wallet(account, p)
	if err != nil || w.IsZero() {
		t.Fatalf("wallet at %q: %v %v", p, w, err)
	}
	return w
}

func key(t testing.TB, c signer.Core, w agentkeys.Wallet, svc agentkeys.Service, epoch uint32) secret.Value {
	t.Helper()
	v, err := c.ExposeKEK(t.Context(), w, svc, epoch)
	if err != nil || v.Len() != 32 {
		t.Fatalf("key of %s, epoch %d: %d bytes, %v", svc, epoch, v.Len(), err)
	}
	return v
}

func testEpochs(t *testing.T, c signer.Core) {
	if c.Epoch() != 7 {
		t.Errorf("the current epoch is %d, want the highest, 7", c.Epoch())
	}
	w := wallet(t, c, signer.MasterPath())
	for _, e := range []uint32{2, 3, 7} {
		key(t, c, w, router, e)
	}
	for _, e := range []uint32{0, 1, 4, 5, 6, 8, 1<<32 - 1} {
		if v, err := c.ExposeKEK(t.Context(), w, router, e); !errors.Is(err, signer.ErrUnknownEpoch) || !v.IsZero() {
			t.Errorf("epoch %d: %v, want ErrUnknownEpoch", e, err)
		}
		if _, err := c.KEK(t.Context(), w, router, e); !errors.Is(err, signer.ErrUnknownEpoch) {
			t.Errorf("KEK of epoch %d: %v, want ErrUnknownEpoch", e, err)
		}
	}
}

func testRefusals(t *testing.T, c signer.Core) {
	w := wallet(t, c, signer.MasterPath())
	for _, q := range []struct {
		w agentkeys.Wallet
		s agentkeys.Service
	}{{agentkeys.Wallet{}, router}, {w, agentkeys.Service{}}, {}} {
		if v, err := c.ExposeKEK(t.Context(), q.w, q.s, 7); !errors.Is(err, agentkeys.ErrName) || !v.IsZero() {
			t.Errorf("%q %q: %v, want ErrName", q.w, q.s, err)
		}
		if _, err := c.KEK(t.Context(), q.w, q.s, 7); !errors.Is(err, agentkeys.ErrName) {
			t.Errorf("KEK %q %q: %v, want ErrName", q.w, q.s, err)
		}
	}
	// A zero agent must not become its master.
	for _, p := range []signer.Path{{}, signer.AgentPath(agentkeys.Agent{})} {
		if got, err := c.Wallet(account, p); !errors.Is(err, agentkeys.ErrName) || !got.IsZero() {
			t.Errorf("zero path: %v %v", got, err)
		}
	}
	if got, err := c.Wallet(signer.AccountID{}, signer.MasterPath()); !errors.Is(err, agentkeys.ErrName) || !got.IsZero() {
		t.Errorf("zero account: %v %v", got, err)
	}
}

func testCancelled(t *testing.T, c signer.Core) {
	w := wallet(t, c, signer.MasterPath())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if v, err := c.ExposeKEK(ctx, w, router, 7); !errors.Is(err, context.Canceled) || !v.IsZero() {
		t.Errorf("%v, want context.Canceled", err)
	}
}

// testApart: no two names share a wallet or a key.
func testApart(t *testing.T, c signer.Core) {
	seen := map[string]string{}
	unique := func(what, value string) {
		t.Helper()
		if other, ok := seen[value]; ok {
			t.Errorf("%s is the same as %s", what, other)
		}
		seen[value] = what
	}
	accounts := []signer.AccountID{account, agentkeys.Must(signer.ParseAccountID("0f1e2d-")), agentkeys.Must(signer.ParseAccountID("coder"))}
	var wallets []agentkeys.Wallet
	for _, a := range accounts {
		for _, p := range []signer.Path{signer.MasterPath(), signer.AgentPath(coder), signer.AgentPath(agentkeys.Must(agentkeys.ParseAgent("coder2")))} {
			w, err := c.Wallet(a, p)
			if err != nil {
				t.Fatal(err)
			}
			unique(fmt.Sprintf("wallet %s %q", a, p), w.String())
			wallets = append(wallets, w)
		}
	}
	for _, w := range wallets {
		for _, svc := range []agentkeys.Service{router, search, agentkeys.Must(agentkeys.ParseService("openrouter2"))} {
			for _, e := range []uint32{2, 3, 7} {
				unique(fmt.Sprintf("key %s %s %d", w, svc, e), string(key(t, c, w, svc, e).Expose()))
			}
		}
	}
}

// testOwnBytes: to clear one answer clears no other, and no root.
func testOwnBytes(t *testing.T, c signer.Core) {
	w := wallet(t, c, signer.MasterPath())
	first := key(t, c, w, router, 7)
	keep := first.Clone()
	kek, err := c.KEK(t.Context(), w, router, 7)
	if err != nil {
		t.Fatal(err)
	}
	first.Clear()
	kek.Clear()
	if !key(t, c, w, router, 7).Equal(keep) {
		t.Error("the key changed when an earlier answer was cleared")
	}
	again, err := c.KEK(t.Context(), w, router, 7)
	if err != nil {
		t.Fatal(err)
	}
	exposed, err := envelope.NewKEK(keep.Expose())
	if err != nil {
		t.Fatal(err)
	}
	Same(t, again, exposed, w, router)
}

func testConcurrent(t *testing.T, c signer.Core) {
	w := wallet(t, c, signer.MasterPath())
	want := map[agentkeys.Service]secret.Value{router: key(t, c, w, router, 3), search: key(t, c, w, search, 3)}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10 {
				for svc, k := range want {
					if got, err := c.ExposeKEK(t.Context(), w, svc, 3); err != nil || !got.Equal(k) {
						t.Errorf("%s: another key, %v", svc, err)
					}
				}
				if got, err := c.Wallet(account, signer.MasterPath()); err != nil || got != w {
					t.Errorf("another wallet: %v %v", got, err)
				}
			}
		})
	}
	wg.Wait()
}
