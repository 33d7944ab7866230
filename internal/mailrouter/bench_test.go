package mailrouter_test

import (
	"testing"

	"github.com/litentry/agentkeys/internal/mailstore/mailstoretest"
)

func BenchmarkHandle(b *testing.B) {
	m := new(mailstoretest.Memory)
	mailstoretest.BenchmarkHandle(b, m, func() { m.Clear("bots/") })
}
