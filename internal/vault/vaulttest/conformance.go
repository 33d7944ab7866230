package vaulttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/vault"
)

// Conformance shows that a backend keeps the promises of vault.Blobs. open
// returns an empty store, and is called once in each subtest.
func Conformance(t *testing.T, open func(t *testing.T) vault.Blobs) {
	for _, c := range []struct {
		name string
		test func(*testing.T, vault.Blobs)
	}{
		{"Conditions", testConditions},
		{"Refusals", testRefusals},
		{"Sizes", testSizes},
		{"OwnBytes", testOwnBytes},
		{"CancelledContext", testCancelled},
		{"Isolation", testIsolation},
		{"OddKeys", testOddKeys},
		{"Pages", testPages},
		{"PagesWhileChanging", testPagesWhileChanging},
		{"RacingCreates", testRacingCreates},
		{"RacingReplaces", testRacingReplaces},
		{"RacingDeletes", testRacingDeletes},
		{"NoLostUpdate", testNoLostUpdate},
		{"NeverHalf", testNeverHalf},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

// Wallet returns a wallet whose last byte is n.
func Wallet(n byte) agentkeys.Wallet {
	return agentkeys.WalletFrom([20]byte{0: 0xab, 19: n})
}

// Key returns a key under Wallet(n).
func Key(n byte, service string) vault.Key {
	return vault.CredentialKey(Wallet(n), agentkeys.Must(agentkeys.ParseService(service)))
}

func put(t *testing.T, b vault.Blobs, k vault.Key, data string, c vault.Condition) vault.Version {
	t.Helper()
	v, err := b.Put(t.Context(), k, []byte(data), c)
	if err != nil {
		t.Fatalf("put %s: %v", k, err)
	}
	if v == "" {
		t.Fatalf("put %s: an empty version", k)
	}
	return v
}

func holds(t *testing.T, b vault.Blobs, k vault.Key, want string) vault.Version {
	t.Helper()
	got, v, err := b.Get(t.Context(), k)
	if err != nil || string(got) != want {
		t.Fatalf("get %s: %q, %v, want %q", k, got, err, want)
	}
	return v
}

func fails(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

func testConditions(t *testing.T, b vault.Blobs) {
	ctx, k := t.Context(), Key(1, "openrouter")
	absent := func() {
		t.Helper()
		_, _, err := b.Get(ctx, k)
		fails(t, "get nothing", err, vault.ErrNotFound)
		_, err = b.Put(ctx, k, []byte("x"), vault.Replace("1"))
		fails(t, "replace nothing", err, vault.ErrConflict)
		fails(t, "delete nothing", b.Delete(ctx, k, "1"), vault.ErrNotFound)
		_, _, err = b.Get(ctx, k)
		fails(t, "get nothing again", err, vault.ErrNotFound)
	}
	absent()
	v1 := put(t, b, k, "one", vault.Create())
	if v := holds(t, b, k, "one"); v != v1 {
		t.Errorf("Get returned version %q, Put %q", v, v1)
	}
	_, err := b.Put(ctx, k, []byte("x"), vault.Create())
	fails(t, "create again", err, vault.ErrConflict)
	holds(t, b, k, "one")

	v2 := put(t, b, k, "two", vault.Replace(v1))
	if v2 == v1 {
		t.Error("a replaced object kept its version")
	}
	for _, stale := range []vault.Version{v1, v2 + "x", "1"} {
		_, err = b.Put(ctx, k, []byte("x"), vault.Replace(stale))
		fails(t, "replace another version", err, vault.ErrConflict)
		fails(t, "delete another version", b.Delete(ctx, k, stale), vault.ErrConflict)
	}
	if v := holds(t, b, k, "two"); v != v2 {
		t.Errorf("version %q, want %q", v, v2)
	}
	if err := b.Delete(ctx, k, v2); err != nil {
		t.Fatal(err)
	}
	absent()
	_, err = b.Put(ctx, k, []byte("x"), vault.Replace(v2))
	fails(t, "replace what was deleted", err, vault.ErrConflict)
	put(t, b, k, "three", vault.Create())
	holds(t, b, k, "three")
}

func testRefusals(t *testing.T, b vault.Blobs) {
	ctx, k := t.Context(), Key(1, "openrouter")
	_, _, err := b.Get(ctx, vault.Key{})
	fails(t, "get the zero key", err, vault.ErrInvalid)
	_, err = b.Put(ctx, vault.Key{}, nil, vault.Create())
	fails(t, "put the zero key", err, vault.ErrInvalid)
	fails(t, "delete the zero key", b.Delete(ctx, vault.Key{}, "1"), vault.ErrInvalid)
	for _, c := range []vault.Condition{{}, vault.Replace("")} {
		_, err = b.Put(ctx, k, []byte("x"), c)
		fails(t, "put without a condition", err, vault.ErrInvalid)
	}
	v := put(t, b, k, "one", vault.Create())
	_, err = b.Put(ctx, k, []byte("x"), vault.Condition{})
	fails(t, "overwrite without a condition", err, vault.ErrInvalid)
	fails(t, "delete without a version", b.Delete(ctx, k, ""), vault.ErrInvalid)
	p := vault.CredentialPrefix(Wallet(1))
	for what, call := range map[string]func() (vault.Page, error){
		"the zero prefix": func() (vault.Page, error) { return b.List(ctx, vault.Prefix{}, vault.Key{}, 1) },
		"limit 0":         func() (vault.Page, error) { return b.List(ctx, p, vault.Key{}, 0) },
		"limit -1":        func() (vault.Page, error) { return b.List(ctx, p, vault.Key{}, -1) },
		"limit 1001":      func() (vault.Page, error) { return b.List(ctx, p, vault.Key{}, vault.MaxPage+1) },
		"foreign after":   func() (vault.Page, error) { return b.List(ctx, p, Key(2, "x"), 1) },
	} {
		page, err := call()
		fails(t, "list with "+what, err, vault.ErrInvalid)
		if len(page.Items) > 0 {
			t.Errorf("list with %s returned items", what)
		}
	}
	if holds(t, b, k, "one") != v {
		t.Error("a refused call changed the version")
	}
}

func testSizes(t *testing.T, b vault.Blobs) {
	ctx := t.Context()
	for i, n := range []int{0, 1, 4096, vault.MaxBlob - 1, vault.MaxBlob} {
		k := Key(1, fmt.Sprint("s", i))
		data := bytes.Repeat([]byte{byte(i)}, n)
		v, err := b.Put(ctx, k, data, vault.Create())
		if err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		got, gv, err := b.Get(ctx, k)
		if err != nil || !bytes.Equal(got, data) || gv != v {
			t.Errorf("%d bytes came back as %d, %v", n, len(got), err)
		}
	}
	large := make([]byte, vault.MaxBlob+1)
	k := Key(1, "large")
	_, err := b.Put(ctx, k, large, vault.Create())
	fails(t, "put too much", err, vault.ErrSize)
	_, _, err = b.Get(ctx, k)
	fails(t, "get what was refused", err, vault.ErrNotFound)
	v := put(t, b, k, "one", vault.Create())
	_, err = b.Put(ctx, k, large, vault.Replace(v))
	fails(t, "replace by too much", err, vault.ErrSize)
	holds(t, b, k, "one")
	page, err := b.List(ctx, vault.CredentialPrefix(Wallet(1)), vault.Key{}, vault.MaxPage)
	if err != nil || len(page.Items) != 6 {
		t.Fatalf("%d items, %v", len(page.Items), err)
	}
	for i, want := range []int64{3, 0, 1, 4096, vault.MaxBlob - 1, vault.MaxBlob} {
		if page.Items[i].Size != want {
			t.Errorf("%s is listed with %d bytes, want %d", page.Items[i].Key, page.Items[i].Size, want)
		}
	}
}

// testOwnBytes: a store keeps no slice of its caller's and lends none.
func testOwnBytes(t *testing.T, b vault.Blobs) {
	k := Key(1, "openrouter")
	data := []byte("one")
	if _, err := b.Put(t.Context(), k, data, vault.Create()); err != nil {
		t.Fatal(err)
	}
	clear(data)
	got, _, err := b.Get(t.Context(), k)
	if err != nil || string(got) != "one" {
		t.Fatalf("%q %v", got, err)
	}
	clear(got)
	holds(t, b, k, "one")
}

func testCancelled(t *testing.T, b vault.Blobs) {
	k := Key(1, "openrouter")
	v := put(t, b, k, "one", vault.Create())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err := b.Get(ctx, k)
	fails(t, "get", err, context.Canceled)
	_, err = b.Put(ctx, k, []byte("x"), vault.Replace(v))
	fails(t, "replace", err, context.Canceled)
	_, err = b.Put(ctx, Key(1, "other"), []byte("x"), vault.Create())
	fails(t, "create", err, context.Canceled)
	fails(t, "delete", b.Delete(ctx, k, v), context.Canceled)
	_, err = b.List(ctx, vault.CredentialPrefix(Wallet(1)), vault.Key{}, 1)
	fails(t, "list", err, context.Canceled)
	if holds(t, b, k, "one") != v {
		t.Error("a cancelled call changed the version")
	}
	_, _, err = b.Get(t.Context(), Key(1, "other"))
	fails(t, "get what was cancelled", err, vault.ErrNotFound)
}

func testIsolation(t *testing.T, b vault.Blobs) {
	ctx := t.Context()
	mine, theirs := Key(0x10, "openrouter"), Key(0x11, "openrouter")
	v := put(t, b, mine, "mine", vault.Create())
	put(t, b, theirs, "theirs", vault.Create())
	holds(t, b, mine, "mine")
	if err := b.Delete(ctx, mine, v); err != nil {
		t.Fatal(err)
	}
	holds(t, b, theirs, "theirs")
	for n, want := range map[byte]int{0x10: 0, 0x11: 1, 0x12: 0} {
		page, err := b.List(ctx, vault.CredentialPrefix(Wallet(n)), vault.Key{}, vault.MaxPage)
		if err != nil || len(page.Items) != want || page.More {
			t.Errorf("wallet %x lists %v, %v", n, page, err)
		}
	}
}
