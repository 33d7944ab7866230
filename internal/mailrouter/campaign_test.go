package mailrouter_test

import (
	"testing"

	"github.com/litentry/agentkeys/internal/mailstore/mailstoretest"
)

func TestCampaign(t *testing.T) {
	mailstoretest.Campaign(t, mailstoretest.InMemory(t), mailstoretest.Plan{Messages: 10_000, Seed: 1})
}

func TestCampaignRemovingSources(t *testing.T) {
	mailstoretest.Campaign(t, mailstoretest.InMemory(t), mailstoretest.Plan{Messages: 3_000, Seed: 2, RemoveSource: true})
}
