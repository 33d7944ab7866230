package sqlitestate

import "github.com/litentry/agentkeys/internal/broker"

// size is about how many bytes a change adds to a transaction.
func size(c broker.Change) (n int) {
	for _, w := range c.Writes {
		n += len(w.Value)
	}
	for _, e := range c.Events {
		n += len(e.Value)
	}
	return n
}
