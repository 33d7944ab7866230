package tokenkeys_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/durable/durabletest"
	"github.com/litentry/agentkeys/internal/token"
	"github.com/litentry/agentkeys/internal/tokenkeys"
)

// later is when the first three keys of withHistory are published no more.
var later = start.Add(100 * time.Hour)

func TestMain(m *testing.M) {
	keys := func(dir string) string { return filepath.Join(dir, "keys") }
	durabletest.Main(m, map[string]durabletest.Op{
		"rotate": func(dir string) error {
			k, err := tokenkeys.Rotate(keys(dir), token.ES256, later, time.Hour)
			if err != nil {
				return err
			}
			return durabletest.Ack(k.KID())
		},
		"prune": func(dir string) error {
			removed, err := tokenkeys.Prune(keys(dir), later, token.MasterLife)
			if err != nil {
				return err
			}
			return durabletest.Ack(strings.Join(removed, " "))
		},
	})
}

// withHistory makes four keys that replaced each other, one that waits, and
// what an earlier write left behind.
func withHistory(t *testing.T, dir string) {
	t.Helper()
	dir = filepath.Join(dir, "keys")
	for i := range 4 {
		rotate(t, dir, token.ES256, start.Add(time.Duration(i)*20*time.Hour), 0)
	}
	rotate(t, dir, token.ES256, later, time.Hour)
	if err := os.WriteFile(filepath.Join(dir, ".tmp-1"), []byte("half a key"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestEveryCall: whatever system call fails or is the last, the directory
// loads, and what is published is what was, and the new key if it is there.
func TestEveryCall(t *testing.T) {
	t.Run("rotate", func(t *testing.T) {
		t.Parallel()
		durabletest.Each(t, "rotate", withHistory, func(t *testing.T, r durabletest.Run) {
			dir := filepath.Join(r.Dir, "keys")
			kids := load(t, dir)
			if len(kids) != 5 && len(kids) != 6 {
				t.Errorf("%d keys are there", len(kids))
			}
			for _, kid := range r.Acks {
				if !slices.Contains(kids, kid) {
					t.Errorf("%s was acknowledged and is not there", kid)
				}
			}
			if r.Err == nil && len(r.Acks) != 1 {
				t.Error("success without a key")
			}
			published := ring(t, dir).Published(later)
			if len(published) != len(kids)-3 {
				t.Errorf("%d of %d are published", len(published), len(kids))
			}
			again(t, dir)
		})
	})
	t.Run("first", func(t *testing.T) {
		t.Parallel()
		durabletest.Each(t, "rotate", func(*testing.T, string) {}, func(t *testing.T, r durabletest.Run) {
			dir := filepath.Join(r.Dir, "keys")
			if _, err := os.Lstat(dir); err == nil {
				if kids := load(t, dir); len(kids) > 1 || len(r.Acks) == 1 && len(kids) != 1 {
					t.Errorf("%v, acknowledged %v", kids, r.Acks)
				}
			} else if r.Err == nil {
				t.Error(err)
			}
			again(t, dir)
		})
	})
	t.Run("prune", func(t *testing.T) {
		t.Parallel()
		durabletest.Each(t, "prune", withHistory, func(t *testing.T, r durabletest.Run) {
			dir := filepath.Join(r.Dir, "keys")
			if published := ring(t, dir).Published(later); len(published) != 2 {
				t.Errorf("%d are published, want the one that signs and the one that waits", len(published))
			}
			if len(r.Acks) == 1 && (len(strings.Fields(r.Acks[0])) != 3 || len(load(t, dir)) != 2) {
				t.Errorf("acknowledged %v", r.Acks)
			}
			removed, err := tokenkeys.Prune(dir, later, token.MasterLife)
			if err != nil || len(load(t, dir)) != 2 {
				t.Errorf("pruned again: %v, %v", removed, err)
			}
			again(t, dir)
		})
	})
}

// again rotates after all is over: nothing is in the way, and nothing is left.
func again(t *testing.T, dir string) {
	t.Helper()
	k := rotate(t, dir, token.ES256, later.Add(2*time.Hour), time.Hour)
	if !slices.Contains(load(t, dir), k.KID()) {
		t.Error("it is not there")
	}
	for name := range durabletest.Snapshot(t, dir) {
		if name != ".lock" && !strings.HasSuffix(name, ".key") {
			t.Errorf("%s is left", name)
		}
	}
}
