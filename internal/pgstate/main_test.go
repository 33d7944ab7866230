package pgstate

import (
	"os"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/broker"
	"github.com/litentry/agentkeys/internal/broker/statetest"
	"github.com/litentry/agentkeys/internal/secret"
)

const dsnVar = "PGSTATE_TEST_DSN"

// TestMain lets this binary be another replica of a test.
func TestMain(m *testing.M) {
	if statetest.RunChild(func() (broker.State, error) { return place(secret.FromString(os.Getenv(dsnVar)))(time.Now) }) {
		return
	}
	os.Exit(m.Run())
}
