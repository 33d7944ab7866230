package sqlitestate

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/broker"
	"github.com/litentry/agentkeys/internal/broker/statetest"
)

const (
	pathVar = "SQLITESTATE_TEST_PATH"
	roleVar = "SQLITESTATE_TEST_ROLE"
)

var roles = map[string]func() error{"write": writeOn}

// TestMain lets this binary be the other process of a test.
func TestMain(m *testing.M) {
	if statetest.RunChild(func() (broker.State, error) { return place(os.Getenv(pathVar))(time.Now) }) {
		return
	}
	if role := os.Getenv(roleVar); role != "" {
		if err := roles[role](); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}
