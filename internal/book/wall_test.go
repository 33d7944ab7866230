package book

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/grant"
)

type silent struct{}

func (silent) Record(context.Context, grant.Event) error { return nil }
func (silent) Note(grant.Event) error                    { return nil }

// TestTokensByWallClock: two moments that both have a monotonic reading are
// compared by it, and it stands still while a laptop sleeps. So no token keeps
// one, neither new nor renewed.
func TestTokensByWallClock(t *testing.T) {
	b, err := Open(filepath.Join(t.TempDir(), "state"), agentkeys.WalletFrom([20]byte{1}), silent{})
	if err != nil {
		t.Fatal(err)
	}
	bot := agentkeys.Must(agentkeys.ParseAgent("bot"))
	now := time.Now()
	if _, err := b.CreateAgent(t.Context(), bot, agentkeys.WalletFrom([20]byte{2}), now); err != nil {
		t.Fatal(err)
	}
	text, err := b.IssueToken(t.Context(), bot, now, now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []string{"new", "renewed"} {
		for _, token := range b.tokens {
			if token.Expires != token.Expires.Round(0) {
				t.Errorf("%s: %#v", step, token.Expires)
			}
		}
		if err := b.RenewToken(text, now, now.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
}
