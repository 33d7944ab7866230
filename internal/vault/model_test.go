package vault_test

import (
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/vault"
	"github.com/litentry/agentkeys/internal/vault/vaulttest"
)

// TestModel runs random histories of one credential, each operation of which
// may meet a fault, beside another credential that must stay what it is. The
// model knows what was acknowledged, and what may have been done without.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld()
		other := permitFor(grant.ActStore, alice, brave)
		if _, err := w.vault().Store(ctx, other, record("bystander")); err != nil {
			rt.Fatal(err)
		}
		may := []string{""} // what may be there; "" for nothing
		serial := 0
		var top uint64 // the highest revision acknowledged or seen

		// call runs op on a vault that may meet a fault.
		call := func(op func(v *vault.Vault) error) error {
			fault := vaulttest.None
			if rapid.Bool().Draw(rt, "fault?") {
				fault = rapid.SampledFrom(vaulttest.EveryFault()).Draw(rt, "fault")
			}
			f := vaulttest.NewFaults(fault, rapid.IntRange(0, 8).Draw(rt, "step"), nil)
			err := op(w.faulty(f))
			if err != nil && !f.Met() {
				rt.Fatalf("without a fault: %v", err)
			}
			return err
		}
		rt.Repeat(map[string]func(*rapid.T){
			"store": func(*rapid.T) {
				serial++
				s := name("secret ", serial)
				err := call(func(v *vault.Vault) error {
					rev, err := v.Store(ctx, permit(grant.ActStore), record(s))
					if err == nil && rev <= top {
						rt.Fatalf("revision %d after %d", rev, top)
					}
					top = max(top, rev)
					return err
				})
				if may = append(may, s); err == nil {
					may = []string{s}
				}
			},
			"delete": func(*rapid.T) {
				err := call(func(v *vault.Vault) error {
					if err := v.Delete(ctx, permit(grant.ActDelete)); !errors.Is(err, vault.ErrNotFound) {
						return err
					}
					return nil
				})
				if may = append(may, ""); err == nil {
					may = []string{""}
				}
			},
			"load": func(*rapid.T) {
				_ = call(func(v *vault.Vault) error {
					_, _, err := read(v)
					if errors.Is(err, vault.ErrNotFound) {
						return nil
					}
					return err
				})
			},
			"add epoch": func(*rapid.T) {
				if w.keys.Epoch() < 6 {
					w.addEpoch(rt)
				}
			},
			"rotate": func(*rapid.T) {
				err := call(func(v *vault.Vault) error { return vault.Rotate(ctx, v, both, resealPermit, nil) })
				if err == nil {
					w.retire(rt, w.keys.Epoch())
				}
			},
			// After every action: a fresh process reads what may be there.
			"": func(*rapid.T) {
				got, h, err := read(w.vault())
				if errors.Is(err, vault.ErrNotFound) {
					got, err = "", nil
				}
				if err != nil || !slices.Contains(may, got) {
					rt.Fatalf("read %q, %v, want one of %q", got, err, may)
				}
				may, top = []string{got}, max(top, h.Revision)
				rec, _, err := w.vault().Load(ctx, permitFor(grant.ActReveal, alice, brave))
				if err != nil || string(rec.Secret.Expose()) != "bystander" {
					rt.Fatalf("the bystander: %v", err)
				}
			},
		})
	})
}
