package mailsrv

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/litentry/agentkeys/internal/mailconf"
	"github.com/litentry/agentkeys/internal/mailroute"
	"github.com/litentry/agentkeys/internal/mailrouter"
	"github.com/litentry/agentkeys/internal/smtpin"
	"github.com/litentry/agentkeys/internal/webserve"
)

// mostWallets is how many wallets' limits are kept in mind, at some 200 bytes
// each. Addresses can be made up, so there is no end of wallets.
const mostWallets = 100_000

// door is what the receiver asks about recipients.
type door struct {
	tags    []string
	limiter *webserve.Limiter
	held    prometheus.Counter
}

func newDoor(c mailconf.Limits, tags []string, now func() time.Time, held prometheus.Counter) *door {
	n := c.WalletMessagesPerHour
	return &door{tags: tags, limiter: webserve.NewLimiter(time.Hour/time.Duration(n), n, mostWallets, now), held: held}
}

// accept takes what names a wallet, and a service that there is.
func (d *door) accept(local, _ string) bool {
	a, err := mailroute.ParseLocal(local)
	return err == nil && slices.Contains(d.tags, a.Tag())
}

// busy holds back mail beyond the limit of its wallet where it costs nothing
// yet: the sender keeps it, and comes back. Accepted risk: anybody may use up a
// wallet's limit, and so delay its mail. Which address of the wallet it is does
// not count, since all of them lead into the one inbox.
func (d *door) busy(local, _ string) bool {
	a, err := mailroute.ParseLocal(local)
	if err != nil {
		return false // nobody's inbox
	}
	if _, ok := d.limiter.Allow(a.Wallet().String()); ok {
		return false
	}
	d.held.Inc()
	return true
}

func receiverLimits(l mailconf.Limits) smtpin.Limits {
	return smtpin.Limits{Connections: l.Connections, ConnectionsPerPeer: l.PeerConnections, MessagesPerMinute: l.PeerMessagesPerMinute}
}

// routerLimits has none for wallets: what is beyond theirs was not let in, and
// what is in the store after an outage is not to wait again.
func routerLimits(l mailconf.Limits) mailrouter.Limits {
	return mailrouter.Limits{Sender: mailrouter.Rate{Messages: l.SenderMessagesPerHour, Per: time.Hour}}
}
