package tokenkeys_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/token"
	"github.com/litentry/agentkeys/internal/tokenkeys"
)

func TestHolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	if _, err := tokenkeys.Hold(dir, token.MasterLife); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := tokenkeys.Hold(dir, token.MasterLife); !errors.Is(err, tokenkeys.ErrEmpty) {
		t.Error(err)
	}
	first := rotate(t, dir, token.ES256, start, 0)
	if _, err := tokenkeys.Hold(dir, time.Hour); !errors.Is(err, token.ErrKey) {
		t.Error(err)
	}
	h, err := tokenkeys.Hold(dir, token.MasterLife)
	if err != nil {
		t.Fatal(err)
	}
	kid := func() string {
		k, _ := h.Ring().Signing(token.ES256, start.Add(time.Hour))
		return k
	}
	if kid() != first.KID() || h.Err() != nil {
		t.Error(kid(), h.Err())
	}
	second := rotate(t, dir, token.ES256, start, time.Minute)
	if kid() != first.KID() {
		t.Error("a ring changed")
	}
	if err := h.Reload(); err != nil || kid() != second.KID() {
		t.Error(err)
	}
	// The directory is gone, then empty, then back.
	if err := os.Rename(dir, dir+"2"); err != nil {
		t.Fatal(err)
	}
	if err := h.Reload(); !errors.Is(err, fs.ErrNotExist) || !errors.Is(h.Err(), fs.ErrNotExist) || kid() != second.KID() {
		t.Error(err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := h.Reload(); !errors.Is(err, tokenkeys.ErrEmpty) || !errors.Is(h.Err(), tokenkeys.ErrEmpty) || kid() != second.KID() {
		t.Error(err)
	}
	if err := errors.Join(os.Remove(dir), os.Rename(dir+"2", dir)); err != nil {
		t.Fatal(err)
	}
	if err := h.Reload(); err != nil || h.Err() != nil {
		t.Error(err, h.Err())
	}
	// A key that was withdrawn is believed no more.
	if err := os.Remove(filepath.Join(dir, first.KID()+".key")); err != nil {
		t.Fatal(err)
	}
	if err := h.Reload(); err != nil {
		t.Error(err)
	}
	if _, _, ok := h.Ring().Key(first.KID()); ok {
		t.Error("a withdrawn key is still there")
	}
}

// TestWatch: what others change arrives by itself, among many readers.
func TestWatch(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	rotate(t, dir, token.ES256, start, 0)
	h, err := tokenkeys.Hold(dir, token.MasterLife)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { h.Watch(ctx, time.Millisecond) })
	next := rotate(t, dir, token.ES256, start, time.Minute)
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for ctx.Err() == nil {
				if _, _, ok := h.Ring().Key(next.KID()); ok {
					return
				}
				if err := h.Reload(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	until(t, func() bool { _, _, ok := h.Ring().Key(next.KID()); return ok })
	readers.Wait()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { return errors.Is(h.Err(), tokenkeys.ErrExposed) })
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { return h.Err() == nil })
	stop()
	wg.Wait()
}

// until waits for what comes in milliseconds, if it comes.
func until(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it never came")
		}
	}
}
