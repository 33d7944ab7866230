package remote

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/local"
)

// identity is a web-identity token about this device's own wallet, for somebody
// outside. It is not kept: whoever takes it gives another for it.
func (b *Broker) identity(ctx context.Context, audience string) (string, time.Time, error) {
	if slices.Contains(b.own, audience) {
		return "", time.Time{}, fmt.Errorf("%w: with a token for %s its receiver could act as this wallet at the store or the signer", local.ErrAudience, audience)
	}
	if err := b.in(); err != nil {
		return "", time.Time{}, err
	}
	m, err := b.client.Mint(ctx, audience, agentkeys.Wallet{}, 0)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("a token for %s: %w", audience, as(err, brokerapi.CodeAudience, local.ErrAudience))
	}
	return m.Token, m.Expires, nil
}
