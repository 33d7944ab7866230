package vault_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/envelope"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/signer"
	"github.com/litentry/agentkeys/internal/vault"
	"github.com/litentry/agentkeys/internal/vault/vaulttest"
)

func TestStoreLoadDelete(t *testing.T) {
	w := newWorld()
	v := w.vault()
	if _, _, err := read(v); !errors.Is(err, vault.ErrNotFound) {
		t.Errorf("load nothing: %v", err)
	}
	rec := record("sk-one")
	rec.KeyID, rec.VerifiedAt = "id-1", time.Unix(1_700_000_000, 0).UTC()
	if rev, err := v.Store(ctx, permit(grant.ActStore), rec); rev != 1 || err != nil {
		t.Fatalf("first store: %d %v", rev, err)
	}
	got, h, err := v.Load(ctx, permit(grant.ActVerify))
	if err != nil || !got.Secret.Equal(rec.Secret) || got.KeyID != "id-1" || !got.VerifiedAt.Equal(rec.VerifiedAt) || h != (envelope.Header{Epoch: 1, Revision: 1}) {
		t.Errorf("%+v %v %v", got, h, err)
	}
	if rec.Secret.IsZero() {
		t.Error("Store cleared its caller's secret")
	}
	if rev := store(t, v, "sk-two"); rev != 2 {
		t.Errorf("second store: revision %d", rev)
	}
	wantSecret(t, v, "sk-two")
	if err := v.Delete(ctx, permit(grant.ActDelete)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := read(v); !errors.Is(err, vault.ErrNotFound) || errors.Is(err, vault.ErrMissing) {
		t.Errorf("load what was deleted: %v", err)
	}
	if err := v.Delete(ctx, permit(grant.ActDelete)); !errors.Is(err, vault.ErrNotFound) {
		t.Errorf("delete twice: %v", err)
	}
	if rev := store(t, v, "sk-three"); rev != 3 {
		t.Errorf("store after a delete: revision %d", rev)
	}
	wantSecret(t, v, "sk-three")
	if bytes.Contains(w.blob(t), []byte("sk-three")) {
		t.Error("the store holds plaintext")
	}
}

// usePermit is for an agent's use, which only a grant gives.
func usePermit(t *testing.T) grant.Permit {
	t.Helper()
	agent := agentkeys.Must(agentkeys.ParseAgent("coder"))
	now := time.Unix(1_700_000_000, 0)
	rule := agentkeys.Must(grant.ParseRule("* /**"))
	g := &grant.Grant{ID: "g", Master: bob, Wallet: alice, Agent: agent, Svc: or, Created: now, Expires: now.Add(time.Hour)}
	p, err := decider.Use(ctx, agent, alice, or, g, grant.Policy{Allow: []grant.Rule{rule}}, grant.Request{ID: "r", Method: "GET", Path: "/x", Time: now})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestPermits tries every method with every permit.
func TestPermits(t *testing.T) {
	w := newWorld()
	v := w.vault()
	methods := []struct {
		name    string
		allowed []grant.Action
		call    func(grant.Permit) error
	}{
		{"Load", []grant.Action{grant.ActUse, grant.ActReveal, grant.ActLend, grant.ActVerify},
			func(p grant.Permit) error { _, _, err := v.Load(ctx, p); return err }},
		{"Store", []grant.Action{grant.ActStore},
			func(p grant.Permit) error { _, err := v.Store(ctx, p, record("x")); return err }},
		{"Replace", []grant.Action{grant.ActStore},
			func(p grant.Permit) error {
				_, err := v.Replace(ctx, p, record("x"), envelope.Header{Epoch: 1, Revision: 1})
				return err
			}},
		{"Delete", []grant.Action{grant.ActDelete},
			func(p grant.Permit) error { return v.Delete(ctx, p) }},
		{"Reseal", []grant.Action{grant.ActReseal},
			func(p grant.Permit) error { return v.Reseal(ctx, p, 1) }},
	}
	permits := map[grant.Action]grant.Permit{"": {}, grant.ActUse: usePermit(t)}
	for _, a := range []grant.Action{grant.ActReveal, grant.ActLend, grant.ActVerify, grant.ActStore, grant.ActDelete, grant.ActReseal} {
		permits[a] = permit(a)
	}
	for _, m := range methods {
		for a, p := range permits {
			w.setBlob(nil)
			if err := v.Delete(ctx, permit(grant.ActDelete)); !errors.Is(err, vault.ErrNotFound) {
				t.Fatal(err)
			}
			store(t, v, "sk")
			before := w.blob(t)
			err := m.call(p)
			want := false
			for _, ok := range m.allowed {
				want = want || ok == a
			}
			if !want && (!errors.Is(err, vault.ErrPermit) || !bytes.Equal(before, w.blob(t))) {
				t.Errorf("%s with a permit to %q: %v", m.name, a, err)
			}
			if want && errors.Is(err, vault.ErrPermit) {
				t.Errorf("%s with a permit to %q: %v", m.name, a, err)
			}
		}
	}
}

func TestReplaceKeepsWhatWasStoredMeanwhile(t *testing.T) {
	w := newWorld()
	v := w.vault()
	store(t, v, "old")
	_, h, _ := read(v)
	store(t, v, "new")
	if _, err := v.Replace(ctx, permit(grant.ActStore), record("old, verified"), h); !errors.Is(err, vault.ErrConflict) {
		t.Errorf("replaced another revision: %v", err)
	}
	h = wantSecret(t, v, "new")
	if rev, err := v.Replace(ctx, permit(grant.ActStore), record("new, verified"), h); rev != 3 || err != nil {
		t.Errorf("revision %d, %v", rev, err)
	}
	wantSecret(t, v, "new, verified")
	if _, err := v.Replace(ctx, permit(grant.ActStore), record("x"), envelope.Header{}); !errors.Is(err, vault.ErrInvalid) {
		t.Errorf("replaced nothing: %v", err)
	}
}

func TestInfos(t *testing.T) {
	w := newWorld()
	v := w.vault()
	for range 2 {
		store(t, v, "x")
	}
	for _, s := range []string{"a", "a-b", "zz"} {
		if _, err := v.Store(ctx, permitFor(grant.ActStore, alice, svc(s)), record("x")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := v.Store(ctx, permitFor(grant.ActStore, bob, or), record("x")); err != nil {
		t.Fatal(err)
	}
	w.blobs.Set(vault.CredentialKey(alice, svc("cut")), []byte{1, 2})
	w.blobs.Set(vault.CredentialKey(alice, svc("huge")), make([]byte, vault.MaxBlob+1))
	infos, err := v.Infos(ctx, alice)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, i := range infos {
		got = append(got, name(i.Service, " ", i.Epoch, " ", i.Revision, " ", i.Size, " ", i.Err != nil))
	}
	want := "a-b 1 1 349 false, a 1 1 349 false, cut 0 0 2 true, huge 0 0 " + fmt.Sprint(vault.MaxBlob+1) + " true, openrouter 1 2 349 false, zz 1 1 349 false"
	if s := strings.Join(got, ", "); s != want {
		t.Errorf("got  %s\nwant %s", s, want)
	}
	for i, want := range map[int]error{2: envelope.ErrTruncated, 3: vault.ErrSize} {
		var e *vault.Error
		if !errors.Is(infos[i].Err, want) || !errors.As(infos[i].Err, &e) || e.Service != infos[i].Service {
			t.Errorf("%v", infos[i].Err)
		}
	}
	// What is damaged can be deleted, and stored anew.
	for _, s := range []string{"cut", "huge"} {
		if _, err := v.Store(ctx, permitFor(grant.ActStore, alice, svc(s)), record("x")); err == nil {
			t.Errorf("%s was overwritten", s)
		}
		if err := v.Delete(ctx, permitFor(grant.ActDelete, alice, svc(s))); err != nil {
			t.Errorf("%s: %v", s, err)
		}
		if _, err := v.Store(ctx, permitFor(grant.ActStore, alice, svc(s)), record("x")); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
	if _, err := v.Infos(ctx, agentkeys.Wallet{}); !errors.Is(err, vault.ErrInvalid) {
		t.Errorf("the zero wallet: %v", err)
	}
}

// TestForeignRoots: a store with the wrong roots, from an
// old backup say, must not destroy what the right ones can read.
func TestForeignRoots(t *testing.T) {
	w := newWorld()
	store(t, w.vault(), "mine")
	before := w.blob(t)
	other := vault.New(w.blobs, signer.New(signer.NewRoots()), &vaulttest.MemoryMarks{})
	if _, _, err := read(other); !errors.Is(err, envelope.ErrCommitment) {
		t.Errorf("load: %v", err)
	}
	if _, err := other.Store(ctx, permit(grant.ActStore), record("x")); !errors.Is(err, envelope.ErrCommitment) {
		t.Errorf("store: %v", err)
	}
	w.addEpoch(t)
	if err := vault.Rotate(ctx, w.vault(), []agentkeys.Wallet{alice}, resealPermit, nil); err != nil {
		t.Fatal(err)
	}
	if _, _, err := read(other); !errors.Is(err, signer.ErrUnknownEpoch) {
		t.Errorf("load: %v", err)
	}
	if _, err := other.Store(ctx, permit(grant.ActStore), record("x")); !errors.Is(err, signer.ErrUnknownEpoch) {
		t.Errorf("store: %v", err)
	}
	wantSecret(t, w.vault(), "mine")
	if bytes.Equal(before, w.blob(t)) {
		t.Error("nothing was resealed")
	}
}

func TestCancelled(t *testing.T) {
	w := newWorld()
	v := w.vault()
	store(t, v, "x")
	before := w.blob(t)
	c, cancel := context.WithCancel(ctx)
	cancel()
	for what, call := range map[string]func() error{
		"load":   func() error { _, _, err := v.Load(c, permit(grant.ActReveal)); return err },
		"store":  func() error { _, err := v.Store(c, permit(grant.ActStore), record("y")); return err },
		"delete": func() error { return v.Delete(c, permit(grant.ActDelete)) },
		"reseal": func() error { return v.Reseal(c, permit(grant.ActReseal), 2) },
		"infos":  func() error { _, err := v.Infos(c, alice); return err },
		"rotate": func() error { return vault.Rotate(c, v, []agentkeys.Wallet{alice}, resealPermit, nil) },
	} {
		if err := call(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if !bytes.Equal(before, w.blob(t)) {
		t.Error("a cancelled call wrote")
	}
}

// TestErrorsNameTheService, and no error shows a secret.
func TestErrorsNameTheService(t *testing.T) {
	w := newWorld()
	v := w.vault()
	store(t, v, "sk-canary")
	w.setBlob(w.blob(t)[:200])
	_, _, err := read(v)
	var e *vault.Error
	if !errors.As(err, &e) || e.Service != or || e.Wallet != alice || !strings.Contains(err.Error(), "openrouter") {
		t.Errorf("%v", err)
	}
	_, err = v.Store(ctx, permit(grant.ActStore), envelope.Record{})
	if err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("%v", err)
	}
}
