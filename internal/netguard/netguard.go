// Package netguard owns one decision: which addresses a connection may be
// opened to. It depends on the standard library only.
//
// Laws:
//   - The check is made on the socket address that is about to be connected,
//     after every resolution, so that no name, search list, hosts file or DNS
//     rebinding stands between the check and the use.
//   - Only addresses of the public internet pass. Everything that IANA lists
//     as special purpose, every form that embeds another address, and the
//     metadata services of clouds are refused, unless the operator listed that
//     exact IP address and port.
//   - A literal has one spelling. Hosts that some resolver somewhere reads as
//     an address written in another way are refused, not resolved.
//   - The zero Guard lists nothing and is ready for use.
//
// Not covered: a translator (NAT64) with a network-specific prefix looks like
// any public address, and so does a public address of this very host.
package netguard

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrForbiddenAddress is wrapped by every refusal of this package: of an
// address as of a spelling.
var ErrForbiddenAddress = errors.New("forbidden address")

// Guard decides about addresses. It is immutable after New and safe for
// concurrent use.
type Guard struct {
	listed map[netip.AddrPort]struct{}
}

// New makes a Guard that lets the public internet pass, and the listed
// addresses besides, each with its exact port.
func New(listed ...netip.AddrPort) *Guard {
	g := &Guard{listed: make(map[netip.AddrPort]struct{}, len(listed))}
	for _, ap := range listed {
		// The mapped form names the same socket, and net.TCPAddr gives it
		// for IPv4 listeners.
		g.listed[netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())] = struct{}{}
	}
	return g
}

// Check reports whether ap may be connected to, and if not why not.
func (g *Guard) Check(ap netip.AddrPort) error {
	if _, ok := g.listed[ap]; ok && ap.IsValid() {
		return nil
	}
	if why := special(ap.Addr()); why != "" {
		return fmt.Errorf("%w: %s is %s", ErrForbiddenAddress, ap.Addr(), why)
	}
	if ap.Port() == 0 {
		return fmt.Errorf("%w: port 0", ErrForbiddenAddress)
	}
	return nil
}

// Control is a net.Dialer.Control: it runs between socket and connect, once
// for each address that is tried.
func (g *Guard) Control(network, address string, _ syscall.RawConn) error {
	if network != "tcp4" && network != "tcp6" {
		return fmt.Errorf("%w: network %q", ErrForbiddenAddress, network)
	}
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: not a socket address", ErrForbiddenAddress)
	}
	return g.Check(ap)
}

// Dialer returns a dialer whose every attempt is checked. It does not check
// spellings; DialContext does.
func (g *Guard) Dialer(timeout time.Duration) *net.Dialer {
	return &net.Dialer{Timeout: timeout, KeepAlive: 30 * time.Second, Control: g.Control}
}

// DialContext returns a function for http.Transport.DialContext: it checks the
// spelling of the host, then every address that is tried.
func (g *Guard) DialContext(timeout time.Duration) func(ctx context.Context, network, address string) (net.Conn, error) {
	d := g.Dialer(timeout)
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, fmt.Errorf("%w: not host:port", ErrForbiddenAddress)
		}
		if err := CheckHost(host); err != nil {
			return nil, err
		}
		// A service name such as "https" would be looked up in a file.
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || strconv.FormatUint(n, 10) != port {
			return nil, fmt.Errorf("%w: malformed port", ErrForbiddenAddress)
		}
		return d.DialContext(ctx, network, address)
	}
}

// CheckHost reports whether host is a DNS name or an IP literal in its one
// spelling: dotted decimal IPv4, or IPv6 as RFC 5952 writes it, without a
// zone. It says nothing about where the name leads; an address that may not be
// dialled passes here.
//
// Refused are names that end in a number (a C library reads 127.1,
// 2130706433, 0177.0.0.1 and 0x7f.0.0.1 as 127.0.0.1), a trailing dot, and
// every byte that is no letter, digit, hyphen, underscore or dot.
func CheckHost(host string) error {
	if addr, err := netip.ParseAddr(host); err == nil {
		switch {
		case addr.Zone() != "":
			return fmt.Errorf("%w: an address with a zone", ErrForbiddenAddress)
		case addr.Is4In6():
			return fmt.Errorf("%w: an IPv4 address spelled as IPv6", ErrForbiddenAddress)
		case addr.String() != host:
			return fmt.Errorf("%w: an oddly spelled IPv6 address", ErrForbiddenAddress)
		}
		return nil
	}
	if host == "" || len(host) > 253 {
		return fmt.Errorf("%w: a host is 1 to 253 bytes", ErrForbiddenAddress)
	}
	last := ""
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 {
			return fmt.Errorf("%w: a host has an empty or overlong label", ErrForbiddenAddress)
		}
		for i := range len(label) {
			if c := label[i]; !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
				return fmt.Errorf("%w: a host has a byte that no name has", ErrForbiddenAddress)
			}
		}
		last = label
	}
	if numeric(last) {
		return fmt.Errorf("%w: an oddly spelled IPv4 address", ErrForbiddenAddress)
	}
	return nil
}

// numeric reports whether a label reads as a number in C: decimal, octal or
// 0x and hexadecimal digits, none included.
func numeric(label string) bool {
	if len(label) >= 2 && label[0] == '0' && label[1]|0x20 == 'x' {
		return strings.Trim(label[2:], "0123456789abcdefABCDEF") == ""
	}
	return strings.Trim(label, "0123456789") == ""
}
