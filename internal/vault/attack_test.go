package vault_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/litentry/agentkeys/internal/envelope"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/signer"
	"github.com/litentry/agentkeys/internal/vault"
)

// refused checks that nothing of what was put into the store is served.
func refused(t *testing.T, v *vault.Vault, what string, want ...error) {
	t.Helper()
	rec, h, err := v.Load(ctx, permit(grant.ActReveal))
	ok := false
	for _, w := range want {
		ok = ok || errors.Is(err, w)
	}
	var e *vault.Error
	if !ok || !errors.As(err, &e) || e.Service != or || !rec.Secret.IsZero() || h != (envelope.Header{}) {
		t.Errorf("%s: %q %v, %v", what, rec.Secret.Expose(), h, err)
	}
}

// TestSwaps puts every object in every other's place.
func TestSwaps(t *testing.T) {
	w := newWorld()
	v := w.vault()
	store(t, v, "revision 1")
	first := w.blob(t)
	store(t, v, "revision 2")
	for _, o := range []struct {
		what string
		k    vault.Key
	}{{"another service", vault.CredentialKey(alice, brave)}, {"another wallet", vault.CredentialKey(bob, or)}} {
		if _, err := v.Store(ctx, permitFor(grant.ActStore, o.k.Wallet(), o.k.Service()), record("theirs")); err != nil {
			t.Fatal(err)
		}
		b, _, err := w.blobs.Get(ctx, o.k)
		if err != nil {
			t.Fatal(err)
		}
		w.setBlob(b)
		refused(t, v, o.what, envelope.ErrCommitment)
		refused(t, w.newDevice(), o.what+" on a new device", envelope.ErrCommitment)
	}
	w.setBlob(first)
	refused(t, v, "an old revision", vault.ErrRollback)
	refused(t, w.vault(), "an old revision after a restart", vault.ErrRollback)
	// The documented exception: a device that never met it cannot know.
	wantSecret(t, w.newDevice(), "revision 1")
}

// TestFlipsAndCuts changes each byte of an object and cuts it at each length.
func TestFlipsAndCuts(t *testing.T) {
	w := newWorld()
	v := w.vault()
	store(t, v, "sk")
	whole := w.blob(t)
	kinds := []error{
		envelope.ErrTruncated, envelope.ErrVersion, envelope.ErrCommitment, envelope.ErrDecrypt,
		envelope.ErrZero, signer.ErrUnknownEpoch,
	}
	for i := range whole {
		for _, bit := range []byte{0x01, 0x80} {
			b := bytes.Clone(whole)
			b[i] ^= bit
			w.setBlob(b)
			refused(t, v, name("byte ", i, " flipped"), kinds...)
		}
		w.setBlob(whole[:i])
		refused(t, v, name("cut at ", i), kinds...)
	}
	w.setBlob(append(bytes.Clone(whole), make([]byte, 256)...))
	refused(t, v, "longer", kinds...)
	w.setBlob(make([]byte, vault.MaxBlob+1))
	refused(t, v, "too large", vault.ErrSize)
	w.setBlob(whole)
	wantSecret(t, v, "sk")
}

func TestRollback(t *testing.T) {
	w := newWorld()
	v := w.vault()
	var past [][]byte
	for i := range 3 {
		store(t, v, name("secret ", i+1))
		past = append(past, w.blob(t))
	}
	t.Run("old revisions are refused, and not laundered", func(t *testing.T) {
		w.addEpoch(t)
		for _, b := range past[:2] {
			w.setBlob(b)
			refused(t, v, "load", vault.ErrRollback)
			if err := v.Reseal(ctx, permit(grant.ActReseal), 2); !errors.Is(err, vault.ErrRollback) {
				t.Errorf("reseal: %v", err)
			}
			_, _, err := w.newDevice().Load(ctx, permit(grant.ActReveal))
			if err != nil {
				t.Errorf("new device: %v", err)
			}
		}
	})
	t.Run("a mark raised by a load counts", func(t *testing.T) {
		v := w.newDevice()
		w.setBlob(past[2])
		wantSecret(t, v, "secret 3")
		w.setBlob(past[1])
		refused(t, v, "load", vault.ErrRollback)
	})
	t.Run("storing ends it", func(t *testing.T) {
		w.setBlob(past[0])
		if rev := store(t, v, "secret 4"); rev != 4 {
			t.Errorf("revision %d", rev)
		}
		wantSecret(t, v, "secret 4")
	})
	t.Run("a withheld object is not a deleted one", func(t *testing.T) {
		w.setBlob(nil)
		refused(t, v, "load", vault.ErrMissing)
		if _, _, err := read(v); errors.Is(err, vault.ErrNotFound) {
			t.Error("ErrMissing is ErrNotFound")
		}
		if rev := store(t, v, "secret 5"); rev != 5 {
			t.Errorf("revision %d", rev)
		}
		w.setBlob(nil)
		if err := v.Delete(ctx, permit(grant.ActDelete)); !errors.Is(err, vault.ErrNotFound) {
			t.Errorf("delete what is withheld: %v", err)
		}
		refused(t, v, "load after the delete", vault.ErrNotFound)
	})
	t.Run("what was deleted does not come back", func(t *testing.T) {
		if rev := store(t, v, "secret 6"); rev != 6 {
			t.Errorf("revision %d", rev)
		}
		b := w.blob(t)
		if err := v.Delete(ctx, permit(grant.ActDelete)); err != nil {
			t.Fatal(err)
		}
		w.setBlob(b)
		refused(t, v, "load", vault.ErrRollback)
		refused(t, w.vault(), "load after a restart", vault.ErrRollback)
		if rev := store(t, v, "secret 7"); rev != 7 {
			t.Errorf("revision %d", rev)
		}
		wantSecret(t, v, "secret 7")
	})
}

// TestDeleteSeesTheRevision: a device that never read the current revision
// still remembers that it deleted that one, and not only what it had seen.
func TestDeleteSeesTheRevision(t *testing.T) {
	w := newWorld()
	for i := range 5 {
		store(t, w.vault(), name(i))
	}
	late := w.newDevice()
	b := w.blob(t)
	if err := late.Delete(ctx, permit(grant.ActDelete)); err != nil {
		t.Fatal(err)
	}
	w.setBlob(b)
	refused(t, late, "load", vault.ErrRollback)
	w.setBlob(nil)
	if rev := store(t, late, "x"); rev != 6 {
		t.Errorf("revision %d", rev)
	}
	wantSecret(t, w.vault(), "x")
}

// TestStoreContinues: a device that knows nothing counts on from what is there.
func TestStoreContinues(t *testing.T) {
	w := newWorld()
	for i := range 5 {
		store(t, w.vault(), name(i))
	}
	if rev := store(t, w.newDevice(), "x"); rev != 6 {
		t.Errorf("revision %d", rev)
	}
	wantSecret(t, w.vault(), "x")
}

// TestDeleteWithoutKey: revoking must work when the signer has no key for it.
func TestDeleteWithoutKey(t *testing.T) {
	w := newWorld()
	store(t, w.vault(), "x")
	other := vault.New(w.blobs, signer.New(signer.NewRoots()), w.marks)
	if err := other.Delete(ctx, permit(grant.ActDelete)); err != nil {
		t.Fatal(err)
	}
	refused(t, w.vault(), "load", vault.ErrNotFound)
}
