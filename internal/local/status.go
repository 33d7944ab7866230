package local

import (
	"context"
	"os"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/daemon"
)

// Status is what the process says of itself.
type Status struct {
	PID         int              `json:"pid"`
	Version     string           `json:"version"`
	Address     string           `json:"address"` // of the loopback listener
	Wallet      agentkeys.Wallet `json:"wallet"`
	Started     time.Time        `json:"started"`
	Epoch       uint32           `json:"epoch"`
	Credentials int              `json:"credentials"`
	Cached      int              `json:"cached"` // opened credentials in memory
	Agents      int              `json:"agents"`
	Grants      int              `json:"grants"`
	LogSize     int64            `json:"log_size"` // audit entries
	LogError    string           `json:"log_error,omitempty"`
	Hardening   daemon.Hardening `json:"hardening"`
}

// Status answers from memory but for the count of credentials.
func (h *Host) Status(ctx context.Context) (Status, error) {
	s := Status{
		PID: os.Getpid(), Version: h.opts.Version, Address: h.addr.String(), Wallet: h.master,
		Started: h.started, Epoch: h.signer.Epoch(), Cached: h.daemon.Cached(),
		Agents: len(h.book.Agents()), Grants: len(h.book.Grants()),
		LogSize: h.audit.Size(), Hardening: h.harden,
	}
	if err := h.audit.Err(); err != nil {
		s.LogError = err.Error()
	}
	infos, err := h.vault.Infos(ctx, h.master)
	if err != nil {
		return s, err
	}
	s.Credentials = len(infos)
	return s, nil
}
