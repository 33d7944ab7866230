// Package signup_test runs the built agentkeys against played services: a real
// browser on their pages, their mail by SMTP, and the key at their API. It kills
// the command wherever it stands, and counts what the services have then.
package signup_test

import (
	"testing"

	"github.com/litentry/agentkeys/e2e/lend/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }
