// Package crash_test kills the background process, and fails its writes, at
// random moments, and holds what is found afterwards against what was
// acknowledged before.
package crash_test

import (
	"testing"

	"github.com/litentry/agentkeys/e2e/lend/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }
