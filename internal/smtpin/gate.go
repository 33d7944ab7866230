package smtpin

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// maxPeers bounds the table of peers. Those that are connected are in it whatever
// happens; they are no more than Limits.Connections.
const maxPeers = 8192

// gate counts connections, in all and by peer, and the messages of a peer and
// their bytes.
type gate struct {
	l     Limits
	mu    sync.Mutex
	open  int
	peers map[netip.Prefix]*peer
}

// peer is an IPv4 address or an IPv6 /64, which is what one customer has.
type peer struct {
	open  int
	rate  *rate.Limiter
	bytes *rate.Limiter
	seen  time.Time
}

func newGate(l Limits) *gate { return &gate{l: l, peers: map[netip.Prefix]*peer{}} }

// peerOf returns what addr counts as. Addresses that are none, as of Unix
// sockets, are one peer.
func peerOf(addr net.Addr) (netip.Prefix, netip.Addr) {
	t, ok := addr.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}, netip.Addr{}
	}
	a, ok := netip.AddrFromSlice(t.IP)
	if !ok {
		return netip.Prefix{}, netip.Addr{}
	}
	a = a.Unmap().WithZone("")
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits)
	return p, a
}

// enter reports whether a connection may be; leave must be called if so.
func (g *gate) enter(p netip.Prefix, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open >= g.l.Connections {
		return false
	}
	q := g.peers[p]
	if q == nil {
		g.sweep()
		every := time.Minute / time.Duration(g.l.MessagesPerMinute)
		q = &peer{
			rate:  rate.NewLimiter(rate.Every(every), g.l.MessagesPerMinute),
			bytes: rate.NewLimiter(rate.Limit(float64(g.l.BytesPerHour)/time.Hour.Seconds()), int(g.l.BytesPerHour)),
		}
		g.peers[p] = q
	}
	q.seen = now
	if q.open >= g.l.ConnectionsPerPeer {
		return false
	}
	q.open++
	g.open++
	return true
}

func (g *gate) leave(p netip.Prefix) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open--
	if q := g.peers[p]; q != nil {
		q.open--
	}
}

// may reports whether p, which is connected, may begin a message now of which
// it says that it has so many bytes. It counts nothing.
func (g *gate) may(p netip.Prefix, bytes int64, now time.Time) bool {
	q := g.peer(p)
	return q != nil && q.rate.TokensAt(now) >= 1 && q.bytes.TokensAt(now) >= float64(min(bytes, g.l.BytesPerHour))
}

// message counts a recipient of p's, and reports whether it may be.
func (g *gate) message(p netip.Prefix, now time.Time) bool {
	q := g.peer(p)
	return q != nil && q.rate.AllowN(now, 1)
}

// size counts bytes of p's that are about to be kept, and reports whether they
// may be. What is more than all of a limit may be once all of it is there, or
// its sender would come back with it for ever.
func (g *gate) size(p netip.Prefix, bytes int64, now time.Time) bool {
	q := g.peer(p)
	return q != nil && q.bytes.AllowN(now, int(min(bytes, g.l.BytesPerHour)))
}

func (g *gate) peer(p netip.Prefix) *peer {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.peers[p]
}

// sweep makes room for one: of some peers that are not connected, the one that
// was away longest goes. Looking at all of them would be work for strangers to
// cause. Maps are walked in random order.
func (g *gate) sweep() {
	if len(g.peers) < maxPeers {
		return
	}
	var oldest netip.Prefix
	var at time.Time
	n := 0
	for p, q := range g.peers {
		if q.open > 0 {
			continue
		}
		if at.IsZero() || q.seen.Before(at) {
			oldest, at = p, q.seen
		}
		if n++; n == 16 {
			break
		}
	}
	delete(g.peers, oldest)
}

// class says of an address what may be logged.
func class(a netip.Addr) string {
	switch {
	case !a.IsValid():
		return "none"
	case a.IsLoopback():
		return "loopback"
	case a.IsPrivate() || a.IsLinkLocalUnicast():
		return "private"
	case a.Is4():
		return "public-4"
	}
	return "public-6"
}
