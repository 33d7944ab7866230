package sqlitestate

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/broker/statetest"
)

// TestKilled kills a process in the middle of its writes, again and again on
// one file.
func TestKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "broker.db")
	unused := 0
	for round := range 6 {
		set := statetest.Set{Name: fmt.Sprint("round-", round), N: 600}
		s := open(t, path)
		set.Make(t, s)
		shut(t, s)

		var heard statetest.Heard
		set.Spawn(t, "child", nil, pathVar+"="+path).Follow(t, &heard, 1+rand.IntN(200))

		s = open(t, path)
		unused += set.N - set.Verify(t, s, &heard)
		shut(t, s)
	}
	if unused == 0 {
		t.Error("no round was killed before it was done")
	}
}

func open(t testing.TB, path string) *State {
	t.Helper()
	s, err := Open(path, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func shut(t *testing.T, s *State) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
