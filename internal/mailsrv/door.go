package mailsrv

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/mailconf"
	"github.com/litentry/agentkeys/internal/mailroute"
	"github.com/litentry/agentkeys/internal/mailrouter"
	"github.com/litentry/agentkeys/internal/smtpin"
)

// mostWallets is how many wallets' limits are kept in mind, and how many peers'
// shares of them, at some 200 bytes each. Addresses can be made up, so there is
// no end of wallets.
const mostWallets = 100_000

// share is which part of a wallet's limit one peer has, at most.
const share = 4

// door is what the receiver asks about recipients.
type door struct {
	tags []string
	now  func() time.Time
	held prometheus.Counter

	mu      sync.Mutex
	wallets *purses[agentkeys.Wallet]
	shares  *purses[visit]
	latest  time.Time
}

// visit is a peer at a wallet.
type visit struct {
	wallet agentkeys.Wallet
	peer   netip.Prefix
}

func newDoor(c mailconf.Limits, tags []string, now func() time.Time, held prometheus.Counter) *door {
	n := c.WalletMessagesPerHour
	return &door{
		tags: tags, now: now, held: held,
		wallets: newPurses[agentkeys.Wallet](n, mostWallets),
		shares:  newPurses[visit]((n+share-1)/share, mostWallets),
	}
}

// accept takes what names a wallet, and a service that there is.
func (d *door) accept(local, _ string) bool {
	a, err := mailroute.ParseLocal(local)
	return err == nil && slices.Contains(d.tags, a.Tag())
}

// busy holds back mail beyond the limit of its wallet where it costs nothing
// yet: the sender keeps it, and comes back. It counts nothing. Which address of
// the wallet it is does not matter, since all of them lead into the one inbox.
func (d *door) busy(peer netip.Prefix, local, _ string) bool {
	v, ok := visitOf(peer, local)
	if !ok {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.has(v, d.time()) {
		return false
	}
	d.held.Inc()
	return true
}

// take counts a message that is about to be kept. Accepted risk: whoever has
// several peers' addresses may use up a wallet's limit with messages of his, and
// so delay its mail.
func (d *door) take(peer netip.Prefix, local, _ string) (back func(), ok bool) {
	v, ok := visitOf(peer, local)
	if !ok {
		return func() {}, true
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.time()
	if !d.has(v, now) {
		d.held.Inc()
		return nil, false
	}
	taken := []*rate.Limiter{d.wallets.take(v.wallet, now)}
	if v.apart() {
		taken = append(taken, d.shares.take(v, now))
	}
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		for _, l := range taken {
			putBack(l, d.time())
		}
	}, true
}

func (d *door) has(v visit, now time.Time) bool {
	return d.wallets.has(v.wallet, now) && (!v.apart() || d.shares.has(v, now))
}

// time never goes back: a limiter that is told an earlier one gives the time
// between out twice.
func (d *door) time() time.Time {
	if now := d.now(); now.After(d.latest) {
		d.latest = now
	}
	return d.latest
}

// visitOf says whose mail it is; false: nobody's.
func visitOf(peer netip.Prefix, local string) (visit, bool) {
	a, err := mailroute.ParseLocal(local)
	return visit{a.Wallet(), peer}, err == nil
}

// apart reports whether the peer is one of many. On this machine, and on one of
// the operator's own, he is whoever passes mail on.
func (v visit) apart() bool {
	a := v.peer.Addr()
	return a.IsValid() && !a.IsLoopback() && !a.IsPrivate()
}

func receiverLimits(l mailconf.Limits) smtpin.Limits {
	return smtpin.Limits{
		Connections: l.Connections, ConnectionsPerPeer: l.PeerConnections,
		MessagesPerMinute: l.PeerMessagesPerMinute, BytesPerHour: l.PeerBytesPerHour,
	}
}

// routerLimits has none for wallets: what is beyond theirs was not let in, and
// what is in the store after an outage is not to wait again.
func routerLimits(l mailconf.Limits) mailrouter.Limits {
	return mailrouter.Limits{Sender: mailrouter.Rate{Messages: l.SenderMessagesPerHour, Per: time.Hour}}
}
