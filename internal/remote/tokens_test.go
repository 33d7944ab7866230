package remote

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/brokerclient"
	"github.com/litentry/agentkeys/internal/local"
	"github.com/litentry/agentkeys/internal/s3blob"
)

func TestTokens(t *testing.T) {
	var made atomic.Int32
	var fail error
	now := time.Now()
	tok := &tokens{now: func() time.Time { return now }, mint: func(_ context.Context, w agentkeys.Wallet) (brokerclient.Minted, error) {
		if fail != nil {
			return brokerclient.Minted{}, fail
		}
		return brokerclient.Minted{Token: fmt.Sprint(w, made.Add(1)), Expires: now.Add(5 * time.Minute)}, nil
	}}
	get := func(n byte) string {
		t.Helper()
		s, err := tok.get(t.Context(), agentkeys.WalletFrom([20]byte{n}))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { _, _ = tok.get(t.Context(), agentkeys.WalletFrom([20]byte{1})) })
	}
	wg.Wait()
	first := get(1)
	if made.Load() != 1 || get(2) == first || made.Load() != 2 {
		t.Errorf("%d tokens", made.Load())
	}
	now = now.Add(5*time.Minute - spare)
	if get(1) == first {
		t.Error("a token that is about to end is used")
	}
	if len(tok.all) != 1 {
		t.Errorf("%d tokens are kept, of which one is of use", len(tok.all))
	}
	// A failure is told, and not remembered; who gives up does not wait.
	now = now.Add(time.Hour)
	fail = errors.New("no")
	if _, err := tok.get(t.Context(), agentkeys.WalletFrom([20]byte{1})); !errors.Is(err, fail) {
		t.Error(err)
	}
	fail = nil
	get(1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := tok.get(ctx, agentkeys.WalletFrom([20]byte{9})); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestExplain(t *testing.T) {
	for _, o := range outcomes {
		err := explain(fmt.Errorf("doing it: %w", o.part))
		if !errors.Is(err, o.is) || !errors.Is(err, o.part) {
			t.Errorf("%v: %v", o.part, err)
		}
	}
	if explain(nil) != nil {
		t.Error("nothing is something")
	}
	plain := errors.New("x")
	if err := explain(plain); err != plain {
		t.Error(err)
	}
	if errors.Is(explain(s3blob.ErrDenied), local.ErrAway) {
		t.Error("a refusal passes for an outage")
	}
}
