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
	Managed     int              `json:"management_keys"`       // services that make keys for grants
	Exchanged   int              `json:"exchanged"`             // services that tokens are exchanged for
	StoreError  string           `json:"store_error,omitempty"` // why Credentials is not known
	Cached      int              `json:"cached"`                // opened credentials in memory
	Agents      int              `json:"agents"`
	Grants      int              `json:"grants"`   // in force
	LogSize     int64            `json:"log_size"` // audit entries
	LogError    string           `json:"log_error,omitempty"`
	Hardening   daemon.Hardening `json:"hardening"`
	Broker      *BrokerStatus    `json:"broker,omitempty"` // nil: everything is on this machine
	Mail        *MailStatus      `json:"mail,omitempty"`   // nil: no mail comes in
}

// MailStatus is what a process says of how mail comes in.
type MailStatus struct {
	Domain string `json:"domain,omitempty"`
	SMTP   string `json:"smtp,omitempty"`  // where it is taken, if that is this process
	Error  string `json:"error,omitempty"` // why none is taken
}

// BrokerStatus is what a process that has a broker says of it.
type BrokerStatus struct {
	Issuer string          `json:"issuer"`
	Agent  agentkeys.Agent `json:"agent,omitzero"` // whose machine this is; zero: the master's
	Stream StreamStatus    `json:"stream"`
}

// Status answers from memory but for the count of credentials.
func (h *Host) Status(ctx context.Context) (Status, error) {
	s := Status{
		PID: os.Getpid(), Version: h.opts.Version, Address: h.addr.String(), Wallet: h.wallet,
		Started: h.started, Epoch: h.keys.Epoch(), Cached: h.daemon.Cached(),
		Agents:  len(h.dir.Agents()),
		LogSize: h.audit.Size(), Hardening: h.harden,
	}
	for _, g := range h.dir.Grants() {
		if h.inForce(g) {
			s.Grants++
		}
	}
	if m := h.mail; m.err != nil {
		s.Mail = &MailStatus{Error: m.err.Error()}
	} else if m.Mail != nil {
		s.Mail = &MailStatus{Domain: m.Domain, SMTP: m.addr}
	}
	if r := h.opts.Remote; r != nil {
		s.Broker = &BrokerStatus{r.Issuer, r.Agent, r.Stream.Status()}
	}
	if err := h.audit.Err(); err != nil {
		s.LogError = err.Error()
	}
	if h.opts.Remote != nil {
		// What this process is does not depend on a store far away.
		short, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		ctx = short
	}
	infos, err := h.vault.Infos(ctx, h.wallet)
	if err != nil && h.opts.Remote != nil {
		s.StoreError = err.Error()
	} else if err != nil {
		return s, err
	}
	for _, i := range infos {
		switch _, d, drawer := isDrawer(i.Service); {
		case !drawer:
			s.Credentials++
		case d == DrawerManagement:
			s.Managed++
		}
	}
	s.Exchanged = h.cat.exchanged()
	return s, nil
}
