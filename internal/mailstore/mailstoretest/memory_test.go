package mailstoretest_test

import (
	"testing"

	"github.com/litentry/agentkeys/internal/mailstore/mailstoretest"
)

func TestMemory(t *testing.T) { mailstoretest.Run(t, mailstoretest.InMemory) }
