package pgstate

import (
	"context"
	"testing"
	"time"

	"github.com/litentry/agentkeys/internal/broker"
	"github.com/litentry/agentkeys/internal/broker/statetest"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/testsrv/postgres"
)

func TestConformance(t *testing.T) {
	statetest.Conformance(t, func(t *testing.T) statetest.Place {
		dsn, _ := postgres.Start(t)
		return place(dsn)
	})
}

func place(dsn secret.Value) statetest.Place {
	return func(now func() time.Time) (broker.State, error) {
		s, err := Open(context.Background(), dsn, now)
		if err != nil {
			return nil, err // not a State that is nil
		}
		return s, nil
	}
}
