package grant

import (
	"context"
	"time"

	"github.com/litentry/agentkeys"
)

// Recorder keeps Events, in order, for good. Its methods may be called from
// many goroutines.
type Recorder interface {
	// Record returns nil once e is durable. Any error means that e may or may
	// not be found later and that nothing may be released on its strength.
	Record(ctx context.Context, e Event) error
	// Note queues e behind everything recorded so far, without waiting for
	// the disk. It fails only where Record would fail at once.
	Note(e Event) error
}

// Event is one entry of the audit log. It names things and counts them; it
// never carries a secret, a body, a query or a header.
type Event struct {
	Time time.Time `json:"time"` // UTC
	// Op is an open set of dotted names: credential.use, grant.create, …
	Op     string            `json:"op"`
	Actor  agentkeys.Wallet  `json:"actor,omitzero"`
	Parent agentkeys.Wallet  `json:"parent,omitzero"`
	Agent  agentkeys.Agent   `json:"agent,omitzero"`
	Svc    agentkeys.Service `json:"service,omitzero"`
	// Subject is what Op was done to, where the other fields do not say it.
	Subject string `json:"subject,omitempty"`
	// Decision is allow (before the deed), deny, done or failed.
	Decision string `json:"decision"`
	Reason   string `json:"reason,omitempty"`

	Grant   string `json:"grant,omitempty"`
	Request string `json:"request,omitempty"` // joins credential.use to credential.settle
	Method  string `json:"method,omitempty"`
	// Path is the rule that allowed the request, or the denied path without
	// its query, cut at 128 bytes.
	Path string `json:"path,omitempty"`

	Status   int    `json:"status,omitempty"`
	Hold     Money  `json:"hold_nusd,omitempty"` // reserved by a use
	Cost     Money  `json:"cost_nusd,omitempty"` // charged by a settlement
	Estimate bool   `json:"estimate,omitempty"`  // the answer did not say what it cost
	Repeated int64  `json:"repeated,omitempty"`  // like denials since the last entry, not written
	Revision uint64 `json:"revision,omitempty"`
	Epoch    uint32 `json:"epoch,omitempty"`
	Digest   string `json:"digest,omitempty"` // sha256:hex of what Subject names
}

// The operations this package records itself.
const (
	OpUse    = "credential.use"
	OpSettle = "credential.settle"
)

// The decisions there are.
const (
	Allowed = "allow"
	Denied  = "deny"
	Done    = "done"
	Failed  = "failed"
)
