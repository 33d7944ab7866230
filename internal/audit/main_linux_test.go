package audit_test

import (
	"flag"
	"os"
	"testing"
)

// TestMain also is the program that other tests run and kill.
func TestMain(m *testing.M) {
	if what := os.Getenv("AUDIT_TEST_CHILD"); what != "" {
		child(what)
		return
	}
	// The model is slow. For a campaign: -rapid.checks=100000.
	for name, v := range map[string]string{"rapid.checks": "20", "rapid.steps": "20"} {
		if err := flag.Set(name, v); err != nil {
			panic(err)
		}
	}
	code := m.Run()
	if benchRooted {
		_ = os.RemoveAll(benchRoot())
	}
	os.Exit(code)
}
