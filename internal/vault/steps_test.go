package vault_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/envelope"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/vault"
	"github.com/litentry/agentkeys/internal/vault/vaulttest"
)

var both = []agentkeys.Wallet{alice, bob}

// operation is one call and what may be read after it, acknowledged or not.
type operation struct {
	name string
	call func(v *vault.Vault) error
	// writes is the secret it leaves, "" for none, keep for what was there.
	writes string
}

const keep = "keep"

var operations = []operation{
	{"store", func(v *vault.Vault) error {
		_, err := v.Store(ctx, permit(grant.ActStore), record("new"))
		return err
	}, "new"},
	{"delete", func(v *vault.Vault) error {
		if err := v.Delete(ctx, permit(grant.ActDelete)); !errors.Is(err, vault.ErrNotFound) {
			return err
		}
		return nil
	}, ""},
	{"load", func(v *vault.Vault) error {
		if _, _, err := read(v); !errors.Is(err, vault.ErrNotFound) {
			return err
		}
		return nil
	}, keep},
	{"reseal", func(v *vault.Vault) error {
		if err := v.Reseal(ctx, permit(grant.ActReseal), 2); !errors.Is(err, vault.ErrNotFound) {
			return err
		}
		return nil
	}, keep},
	{"rotate", func(v *vault.Vault) error { return vault.Rotate(ctx, v, both, resealPermit, nil) }, keep},
	{"replace", func(v *vault.Vault) error {
		_, h, err := v.Load(ctx, permit(grant.ActVerify))
		if errors.Is(err, vault.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		_, err = v.Replace(ctx, permit(grant.ActStore), record("verified"), h)
		if errors.Is(err, vault.ErrConflict) && !errors.Is(err, vaulttest.ErrInjected) {
			return nil
		}
		return err
	}, "verified"},
}

// inners also has what takes two calls to upset an operation between them.
var inners = append(slices.Clip(operations),
	operation{"store and delete", func(v *vault.Vault) error {
		if _, err := v.Store(ctx, permit(grant.ActStore), record("brief")); err != nil {
			return err
		}
		return v.Delete(ctx, permit(grant.ActDelete))
	}, ""},
	operation{"delete and store", func(v *vault.Vault) error {
		if err := v.Delete(ctx, permit(grant.ActDelete)); err != nil && !errors.Is(err, vault.ErrNotFound) {
			return err
		}
		_, err := v.Store(ctx, permit(grant.ActStore), record("anew"))
		return err
	}, "anew"},
)

// beginnings are the states that an operation may meet. Each leaves the world
// at epoch 2, with what it stored under epoch 1.
var beginnings = []struct {
	name string
	make func(t tester, w *world)
	has  string
}{
	{"empty", func(tester, *world) {}, ""},
	{"stored", func(t tester, w *world) { store(t, w.vault(), "old") }, "old"},
	{"deleted", func(t tester, w *world) {
		store(t, w.vault(), "old")
		if err := w.vault().Delete(ctx, permit(grant.ActDelete)); err != nil {
			t.Fatal(err)
		}
	}, ""},
	{"stored elsewhere", func(t tester, w *world) {
		store(t, w.vault(), "older")
		store(t, w.newDevice(), "old")
	}, "old"},
}

// after is what may be read when op, begun on has, ended with err.
func (o operation) after(has string, err error) []string {
	w := o.writes
	if w == keep || o.name == "replace" && has == "" {
		w = has
	}
	if err == nil {
		return []string{w}
	}
	return []string{has, w}
}

// settled checks what a restarted device finds: one of want, no false alarm,
// every object under exactly one known key, and a vault that still works.
func settled(t tester, w *world, what string, want []string) {
	t.Helper()
	v := w.vault()
	got, h, err := read(v)
	if errors.Is(err, vault.ErrNotFound) {
		got, err = "", nil
	}
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	if !slices.Contains(want, got) {
		t.Errorf("%s: read %q, want one of %q", what, got, want)
	}
	rev := store(t, v, "again")
	if rev <= h.Revision {
		t.Errorf("%s: revision %d after %d", what, rev, h.Revision)
	}
	wantSecret(t, w.vault(), "again")
	if err := vault.Rotate(ctx, v, both, resealPermit, nil); err != nil {
		t.Errorf("%s: rotate: %v", what, err)
	}
	w.retire(t, w.keys.Epoch())
	wantSecret(t, w.vault(), "again")
	if err := v.Delete(ctx, permit(grant.ActDelete)); err != nil {
		t.Errorf("%s: delete: %v", what, err)
	}
	if _, _, err := read(w.vault()); !errors.Is(err, vault.ErrNotFound) {
		t.Errorf("%s: after the delete: %v", what, err)
	}
}

// TestEveryStep makes each step of each operation, in each state, fail, fail
// though it was done, and be the last before and after a kill.
func TestEveryStep(t *testing.T) {
	cases := 0
	for _, begin := range beginnings {
		for _, op := range operations {
			for _, fault := range vaulttest.EveryFault() {
				for at := 0; ; at++ {
					w := newWorld()
					begin.make(t, w)
					w.addEpoch(t)
					f := vaulttest.NewFaults(fault, at, nil)
					err := op.call(w.faulty(f))
					if !f.Met() {
						if err != nil {
							t.Errorf("%s on %s: %v", op.name, begin.name, err)
						}
						break
					}
					cases++
					what := name(op.name, " on ", begin.name, ", step ", at, ": ", fault)
					if err == nil && op.writes != keep {
						acknowledged(t, w, what)
					}
					if (fault == vaulttest.Fail || fault == vaulttest.Kill) && err == nil && op.writes != keep && !recoverable(w, op.writes) {
						t.Errorf("%s: acknowledged", what)
					}
					settled(t, w, what, op.after(begin.has, err))
				}
			}
		}
	}
	if cases < 300 {
		t.Errorf("only %d cases", cases)
	}
	t.Log(cases, "cases")
}

// acknowledged checks that the mark is as far as the store: what was
// acknowledged must not be rolled back unnoticed.
func acknowledged(t *testing.T, w *world, what string) {
	t.Helper()
	k := vault.CredentialKey(alice, or)
	m, err := w.marks.Get(ctx, k)
	if err != nil {
		t.Fatal(err)
	}
	sealed, _, err := w.blobs.Get(ctx, k)
	if errors.Is(err, vault.ErrNotFound) {
		if m.Revision != m.Removed {
			t.Errorf("%s: deleted, but marked %+v", what, m)
		}
		return
	}
	h, err := envelope.ParseHeader(sealed)
	if err != nil || m.Revision != h.Revision {
		t.Errorf("%s: revision %d, but marked %+v, %v", what, h.Revision, m, err)
	}
}

// retrying is a store whose client repeats a write that was done already, and
// so reports a conflict with itself.
type retrying struct{ vault.Blobs }

func (r retrying) Put(ctx context.Context, k vault.Key, b []byte, c vault.Condition) (vault.Version, error) {
	_, _ = r.Blobs.Put(ctx, k, b, c)
	return r.Blobs.Put(ctx, k, b, c)
}

func TestConflictWithOneself(t *testing.T) {
	w := newWorld()
	v := vault.New(retrying{w.blobs}, w.keys, w.marks)
	if rev := store(t, v, "one"); rev != 1 {
		t.Errorf("revision %d", rev)
	}
	h := wantSecret(t, v, "one")
	if rev, err := v.Replace(ctx, permit(grant.ActStore), record("two"), h); rev != 2 || err != nil {
		t.Errorf("revision %d, %v", rev, err)
	}
	wantSecret(t, v, "two")
}

// recoverable reports whether an acknowledged write is there in spite of the
// fault: a vault may look again and find or repeat it.
func recoverable(w *world, want string) bool {
	got, _, err := read(w.vault())
	return got == want && (err == nil || errors.Is(err, vault.ErrNotFound))
}

// TestOneInsideAnother runs a whole operation between each two steps of every
// other, on the same device and the same store.
func TestOneInsideAnother(t *testing.T) {
	cases := 0
	for _, begin := range beginnings {
		for _, outer := range operations {
			for _, inner := range inners {
				for at := 0; ; at++ {
					w := newWorld()
					begin.make(t, w)
					w.addEpoch(t)
					what := name(inner.name, " inside ", outer.name, " on ", begin.name, ", before step ", at)
					ran := false
					f := vaulttest.NewFaults(vaulttest.None, 0, func(step int) {
						if step == at {
							ran = true
							if err := inner.call(w.vault()); err != nil {
								t.Errorf("%s: inner: %v", what, err)
							}
						}
					})
					if err := outer.call(w.faulty(f)); err != nil {
						t.Errorf("%s: outer: %v", what, err)
					}
					if !ran {
						break
					}
					cases++
					settled(t, w, what, eitherOrder(begin.has, outer, inner))
				}
			}
		}
	}
	if cases < 700 {
		t.Errorf("only %d cases", cases)
	}
	t.Log(cases, "cases")
}

// eitherOrder is what may be there after both, whichever came first. A replace
// whose condition failed leaves what the other wrote.
func eitherOrder(has string, a, b operation) []string {
	var want []string
	for _, order := range [][2]operation{{a, b}, {b, a}} {
		mid := order[0].after(has, nil)[0]
		want = append(want, order[1].after(mid, nil)[0])
		if order[1].name == "replace" {
			want = append(want, mid)
		}
	}
	if a.name == "replace" && b.name == "replace" || a.name != "replace" && b.name != "replace" {
		return want
	}
	// The other one may have come between the replace's read and its write.
	for _, o := range []operation{a, b} {
		if o.name != "replace" {
			want = append(want, o.after(has, nil)[0])
		}
	}
	return want
}
