package s3blob_test

import (
	"testing"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/testsrv/versity/cloudtest"
	"github.com/litentry/agentkeys/internal/vault"
	"github.com/litentry/agentkeys/internal/vault/vaulttest"
)

// TestConformance is the exam on a real server, each wallet under its own
// session and its own policy.
func TestConformance(t *testing.T) {
	var wallets []agentkeys.Wallet
	for _, n := range []byte{1, 2, 0x10, 0x11, 0x12} {
		wallets = append(wallets, vaulttest.Wallet(n))
	}
	vaulttest.Conformance(t, func(t *testing.T) vault.Blobs {
		c := cloudtest.Start(t, wallets...)
		return open(t, config(c), sessions(t, c))
	})
}
