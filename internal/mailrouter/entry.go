package mailrouter

import (
	"time"

	"github.com/litentry/agentkeys"
)

// Outcome is what became of a message.
type Outcome string

// The outcomes there are.
const (
	Placed   Outcome = "placed"   // is in its wallet's inbox, by this call
	Already  Outcome = "already"  // was there before
	Ignored  Outcome = "ignored"  // is not ours, and stays where it is
	Refused  Outcome = "refused"  // is under refused/, by this call or before
	Gone     Outcome = "gone"     // is not, or no longer, in inbound/
	Deferred Outcome = "deferred" // is to be tried again; Handle returned an error
)

// Reasons besides those of mailroute.
const (
	ReasonSetup       = "setup-notification" // ignored: what SES writes when a rule is made
	ReasonTooLarge    = "too-large"          // refused: beyond mailstore.MaxMessage
	ReasonFloodWallet = "flood-wallet"       // deferred: beyond Limits.Wallet
	ReasonFloodSender = "flood-sender"       // deferred: beyond Limits.Sender
	ReasonChanged     = "changed"            // deferred: ErrChanged
	ReasonStore       = "store"              // deferred: a call of the store failed
	ReasonCancelled   = "cancelled"          // deferred: the context ended
)

// Entry is the audit record of one Handle, one line of JSON:
//
//	{"time":"2026-11-22T10:00:00.123Z",  when Handle began, UTC
//	 "id":"0b1c…",                       the message
//	 "outcome":"placed",                 see Outcome
//	 "reason":"several-wallets",         kebab-case; why it was ignored, refused or deferred
//	 "by":"received",                    what named the recipient: "notification", "received" or "to"
//	 "wallet":"0x…40 digits",            whose it is; absent if nobody's
//	 "tag":"or",                         the service's tag in the address, with wallet
//	 "reads":1,"fetched":2048,           read calls that answered, and their bytes
//	 "size":8123}                        of the message, in bytes; 0 if it was not read
//
// Empty reason, by, wallet and tag are left out. There is no recipient, as its
// digits are what nobody can guess, no sender and no mail text.
type Entry struct {
	Time    time.Time           `json:"time"`
	ID      agentkeys.MessageID `json:"id"`
	Outcome Outcome             `json:"outcome"`
	Reason  string              `json:"reason,omitempty"`
	By      string              `json:"by,omitempty"`
	Wallet  agentkeys.Wallet    `json:"wallet,omitzero"`
	Tag     string              `json:"tag,omitempty"`
	Reads   int                 `json:"reads"`
	Fetched int64               `json:"fetched"`
	Size    int64               `json:"size"`
}

// copied reports whether there is a durable copy elsewhere.
func (e Entry) copied() bool {
	return e.Outcome == Placed || e.Outcome == Already || e.Outcome == Refused
}
