package vaulttest

import (
	"testing"

	"github.com/litentry/agentkeys/internal/vault"
)

func TestMemory(t *testing.T) {
	Conformance(t, func(*testing.T) vault.Blobs { return &Memory{} })
}

func TestMemoryMarks(t *testing.T) {
	MarksConformance(t, func(*testing.T) vault.Marks { return &MemoryMarks{} })
}
