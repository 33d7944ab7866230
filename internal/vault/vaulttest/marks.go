package vaulttest

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/litentry/agentkeys/internal/vault"
)

// MarksConformance shows that marks keep the promises of vault.Marks. open
// returns empty ones, and is called once in each subtest.
func MarksConformance(t *testing.T, open func(t *testing.T) vault.Marks) {
	t.Run("Raise", func(t *testing.T) {
		m, ctx, k := open(t), t.Context(), Key(1, "openrouter")
		for _, step := range []struct{ raise, want vault.Mark }{
			{vault.Mark{}, vault.Mark{}},
			{vault.Mark{Revision: 5}, vault.Mark{Revision: 5}},
			{vault.Mark{Revision: 3, Removing: 2}, vault.Mark{Revision: 5, Removing: 2}},
			{vault.Mark{Removing: 5}, vault.Mark{Revision: 5, Removing: 5}},
			{vault.Mark{Removed: 5}, vault.Mark{Revision: 5, Removing: 5, Removed: 5}},
			{vault.Mark{}, vault.Mark{Revision: 5, Removing: 5, Removed: 5}},
			{vault.Mark{Revision: 1 << 63}, vault.Mark{Revision: 1 << 63, Removing: 5, Removed: 5}},
		} {
			if got, err := m.Raise(ctx, k, step.raise); err != nil || got != step.want {
				t.Errorf("raise %v: %v, %v, want %v", step.raise, got, err, step.want)
			}
			if got, err := m.Get(ctx, k); err != nil || got != step.want {
				t.Errorf("get: %v, %v, want %v", got, err, step.want)
			}
		}
		for _, other := range []vault.Key{Key(2, "openrouter"), Key(1, "openroute")} {
			if got, err := m.Get(ctx, other); err != nil || got != (vault.Mark{}) {
				t.Errorf("%s: %v, %v", other, got, err)
			}
		}
	})
	t.Run("Refusals", func(t *testing.T) {
		m := open(t)
		_, err := m.Get(t.Context(), vault.Key{})
		fails(t, "get the zero key", err, vault.ErrInvalid)
		_, err = m.Raise(t.Context(), vault.Key{}, vault.Mark{Revision: 1})
		fails(t, "raise the zero key", err, vault.ErrInvalid)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = m.Raise(ctx, Key(1, "x"), vault.Mark{Revision: 1})
		fails(t, "raise", err, context.Canceled)
		_, err = m.Get(ctx, Key(1, "x"))
		fails(t, "get", err, context.Canceled)
	})
	t.Run("Racing", func(t *testing.T) {
		m, k := open(t), Key(1, "openrouter")
		var wg sync.WaitGroup
		for w := range uint64(6) {
			wg.Go(func() {
				for i := range uint64(10) {
					want := 1 + i*6 + w
					got, err := m.Raise(t.Context(), k, vault.Mark{Revision: want})
					if err != nil || got.Revision < want {
						t.Errorf("raised to %d: %v, %v", want, got, err)
					}
				}
			})
		}
		wg.Wait()
		if got, err := m.Get(t.Context(), k); err != nil || got.Revision != 60 {
			t.Errorf("%s %v", fmt.Sprint(got), err)
		}
	})
}
