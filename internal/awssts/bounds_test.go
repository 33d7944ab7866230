package awssts

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"testing"
	"testing/synctest"
	"time"

	"github.com/litentry/agentkeys"
)

func numbered(n int) agentkeys.Wallet {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(n)))
	return agentkeys.WalletFrom([agentkeys.WalletSize]byte(sum[:20]))
}

// TestBounds: many wallets push out the one that was unused the longest, and
// time those that nobody uses.
func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := New(Config{Region: "eu-central-1", RoleARN: "arn:aws:iam::123456789012:role/x"}, func(context.Context, agentkeys.Wallet) (string, error) { return "", nil })
		if err != nil {
			t.Fatal(err)
		}
		first := s.session(numbered(0))
		for n := range maxSessions * 2 {
			s.session(numbered(n))
			if s.session(numbered(0)) != first {
				t.Fatal("one in use was dropped")
			}
			if s.Len() > maxSessions || s.Len() != s.byUse.Len() {
				t.Fatalf("%d sessions, %d by use", s.Len(), s.byUse.Len())
			}
		}
		time.Sleep(MinDuration - time.Second)
		s.session(numbered(0))
		if s.Len() != maxSessions {
			t.Errorf("%d sessions", s.Len())
		}
		time.Sleep(2 * time.Second)
		if s.session(numbered(0)) != first || s.Len() != 1 {
			t.Errorf("%d sessions, of which one is in use", s.Len())
		}
		time.Sleep(2 * MinDuration)
		if s.session(numbered(0)) != first || s.Len() != 1 {
			t.Error("the one that is asked for is not idle")
		}
	})
}
