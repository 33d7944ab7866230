package sqlitestate

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/broker"
	"github.com/litentry/agentkeys/internal/broker/statetest"
)

func TestConformance(t *testing.T) {
	statetest.Conformance(t, func(t *testing.T) statetest.Place { return place(filepath.Join(t.TempDir(), "state", "broker.db")) })
}

func place(path string) statetest.Place {
	return func(now func() time.Time) (broker.State, error) {
		s, err := Open(path, now)
		if err != nil {
			return nil, err // not a State that is nil
		}
		return s, nil
	}
}
