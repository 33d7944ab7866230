package audit_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/audit"
)

// Ten writers are killed at a random moment, again and again.
// AUDIT_KILL_ROUNDS says how often, for a campaign.
func TestKill(t *testing.T) {
	rounds := 15
	if s := os.Getenv("AUDIT_KILL_ROUNDS"); s != "" {
		var err error
		if rounds, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	dir, tmp := "", t.TempDir()
	var promised int64
	var known []audit.Checkpoint
	for r := range rounds {
		if r%8 == 0 {
			// A log grows too long to be read again in every round.
			if dir != "" {
				_ = os.RemoveAll(dir)
			}
			dir, known = memDir(t), nil
		}
		round := strconv.Itoa(r)
		path := filepath.Join(tmp, round)
		a, err := mapAcks(path)
		if err != nil {
			t.Fatal(err)
		}
		// Small segments make for many rotations, larger ones for tiles that
		// are written while entries come in.
		size := []int{4 << 10, 16 << 10, 64 << 10}[r%3]
		c := startChild(t, dir, path, round, fmt.Sprintf("10 0 %d", size))
		for start := time.Now(); a.ready.Load() == 0; time.Sleep(time.Millisecond) {
			if time.Since(start) > time.Minute {
				_ = c.Process.Kill()
				t.Fatalf("the child does not open the log: %s", c.Stderr)
			}
		}
		time.Sleep(time.Duration(rand.IntN(25000)) * time.Microsecond)
		if err := c.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = c.Wait()
		promised += checkPromises(t, dir, round, a)
		// And the past stays what it was.
		b, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
		if err != nil {
			t.Fatal(err)
		}
		v := newKey(t, 1).Verifier()
		cp, err := audit.ParseCheckpoint(b, v)
		if err != nil {
			t.Fatal(err)
		}
		known = append(known, cp)
		if _, err := audit.Verify(dir, audit.VerifyOptions{Verifier: v, Known: known}); err != nil {
			t.Fatal(err)
		}
	}
	if promised == 0 {
		t.Error("nothing was recorded before the kills")
	}
	t.Logf("%d rounds, %d promises kept", rounds, promised)
}
