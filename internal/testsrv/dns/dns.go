// Package dns answers DNS over UDP and TCP on loopback from what a test puts
// into it, and fails as it is told to. It serves tests and the demo command;
// nothing else in production may import it.
//
// Known divergences from a real server: there are no zones, so no delegations
// and no SOA; a name with nothing but names below it does not exist; every
// answer is authoritative and has no time to live.
package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"

	"golang.org/x/net/dns/dnsmessage"
)

// Fault is how a name is not answered. The zero value is no fault.
type Fault int

// The faults.
const (
	ServFail  Fault = iota + 1 // the server failed
	Refused                    // the server will not say
	Silent                     // no answer ever comes
	Garbage                    // what comes is no DNS
	Truncated                  // UDP answers are cut: the truth is to be had over TCP
	Cut                        // as Truncated, but TCP ends in the middle
)

// Server is a DNS server. It is safe for concurrent use.
type Server struct {
	addr string
	udp  net.PacketConn
	tcp  net.Listener
	wg   sync.WaitGroup

	mu      sync.Mutex
	records map[string][]dnsmessage.Resource // by name, in lower case with its final dot
	faults  map[string]Fault
	queries []string
	conns   map[net.Conn]struct{}
	closed  bool
}

// Start makes a Server that listens by the time it returns.
func Start() (*Server, error) {
	s := &Server{records: map[string][]dnsmessage.Resource{}, faults: map[string]Fault{}, conns: map[net.Conn]struct{}{}}
	for range 20 { // the port is to be free for both
		var err error
		if s.tcp, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return nil, fmt.Errorf("dns: %w", err)
		}
		s.addr = s.tcp.Addr().String()
		if s.udp, err = net.ListenPacket("udp", s.addr); err == nil {
			s.wg.Go(s.serveUDP)
			s.wg.Go(s.serveTCP)
			return s, nil
		}
		_ = s.tcp.Close()
	}
	return nil, errors.New("dns: no port is free for UDP and TCP")
}

// Close ends the server.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	_ = s.udp.Close()
	err := s.tcp.Close()
	s.wg.Wait()
	return err
}

// Addr is host and port.
func (s *Server) Addr() string { return s.addr }

// Resolver returns one that asks this server alone.
func (s *Server) Resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, s.addr)
	}}
}

// TXT adds a record for each text, in strings of 255 bytes.
func (s *Server) TXT(name string, texts ...string) {
	for _, t := range texts {
		r := &dnsmessage.TXTResource{}
		for len(t) > 255 {
			r.TXT, t = append(r.TXT, t[:255]), t[255:]
		}
		r.TXT = append(r.TXT, t)
		s.add(name, dnsmessage.TypeTXT, r)
	}
}

// MX adds a mail exchanger.
func (s *Server) MX(name string, preference uint16, exchanger string) {
	s.add(name, dnsmessage.TypeMX, &dnsmessage.MXResource{Pref: preference, MX: dnsmessage.MustNewName(canonical(exchanger))})
}

// Address adds an A or AAAA record for each address.
func (s *Server) Address(name string, addrs ...netip.Addr) {
	for _, a := range addrs {
		if a.Is4() {
			s.add(name, dnsmessage.TypeA, &dnsmessage.AResource{A: a.As4()})
		} else {
			s.add(name, dnsmessage.TypeAAAA, &dnsmessage.AAAAResource{AAAA: a.As16()})
		}
	}
}

// CNAME says that name is another's.
func (s *Server) CNAME(name, target string) {
	s.add(name, dnsmessage.TypeCNAME, &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(canonical(target))})
}

func (s *Server) add(name string, typ dnsmessage.Type, body dnsmessage.ResourceBody) {
	name = canonical(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records[name] = append(s.records[name], dnsmessage.Resource{
		Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(name), Type: typ, Class: dnsmessage.ClassINET}, Body: body})
}

// Remove takes everything of a name away: it does not exist then.
func (s *Server) Remove(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.records, canonical(name))
	delete(s.faults, canonical(name))
}

// Fail says how questions for a name fail, of whatever type.
func (s *Server) Fail(name string, f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[canonical(name)] = f
}

// Queries returns what was asked, as "TXT example.com. udp", oldest first.
func (s *Server) Queries() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.queries...)
}

func canonical(name string) string {
	name = strings.ToLower(name)
	if !strings.HasSuffix(name, ".") {
		name += "."
	}
	return name
}
