package webserve

import (
	"context"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

type peerKey struct{}

// Peer is the address of whoever sent the request: that of the connection, or,
// where that is a trusted proxy, the last one in X-Forwarded-For that is not.
// Outside Handler it is that of the connection.
func Peer(r *http.Request) netip.Addr {
	if a, ok := r.Context().Value(peerKey{}).(netip.Addr); ok {
		return a
	}
	return remote(r)
}

// Subnet is what limits count a peer by: its address, or for IPv6 the /64,
// which one customer has whole.
func Subnet(a netip.Addr) string {
	if a = a.Unmap(); a.Is6() {
		p, _ := a.Prefix(64)
		return p.String()
	}
	return a.String()
}

func remote(r *http.Request) netip.Addr {
	p, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return p.Addr().Unmap().WithZone("")
}

func withPeer(r *http.Request, trusted []netip.Prefix) *http.Request {
	in := func(a netip.Addr) bool {
		return slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	peer := remote(r)
	if in(peer) {
		hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
		for _, hop := range slices.Backward(hops) {
			hop = strings.TrimSpace(hop)
			a, err := netip.ParseAddr(hop)
			if p, perr := netip.ParseAddrPort(hop); perr == nil { // as some write it
				a, err = p.Addr(), nil
			}
			if err != nil {
				break // what stands before it, anybody may have written
			}
			if peer = a.Unmap().WithZone(""); !in(peer) {
				break
			}
		}
	}
	return r.WithContext(context.WithValue(r.Context(), peerKey{}, peer))
}
