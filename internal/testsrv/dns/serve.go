package dns

import (
	"encoding/binary"
	"io"
	"net"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// remember is how many queries Queries returns at most.
const remember = 100_000

func (s *Server) serveUDP() {
	buf := make([]byte, 64<<10)
	for {
		n, from, err := s.udp.ReadFrom(buf)
		if err != nil {
			return
		}
		if answer, _ := s.answer(buf[:n], "udp"); answer != nil {
			_, _ = s.udp.WriteTo(answer, from)
		}
	}
}

func (s *Server) serveTCP() {
	for {
		c, err := s.tcp.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		closed := s.closed
		s.conns[c] = struct{}{}
		s.mu.Unlock()
		if closed {
			_ = c.Close()
			return
		}
		s.wg.Go(func() {
			s.converse(c)
			_ = c.Close()
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
		})
	}
}

// converse answers the questions of one connection (RFC 1035 section 4.2.2).
func (s *Server) converse(c net.Conn) {
	for {
		_ = c.SetDeadline(time.Now().Add(30 * time.Second))
		var size [2]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		query := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(c, query); err != nil {
			return
		}
		answer, f := s.answer(query, "tcp")
		if answer == nil {
			_, _ = io.Copy(io.Discard, c) // until the peer gives up
			return
		}
		answer = append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)
		if f == Cut {
			_, _ = c.Write(answer[:len(answer)/2])
			return
		}
		if _, err := c.Write(answer); err != nil {
			return
		}
	}
}

// answer returns what to send, nil for nothing.
func (s *Server) answer(query []byte, network string) ([]byte, Fault) {
	var p dnsmessage.Parser
	h, err := p.Start(query)
	if err != nil || h.Response {
		return nil, 0
	}
	q, err := p.Question()
	if err != nil {
		return nil, 0
	}
	size := 512
	if network == "tcp" {
		size = 65535
	} else if p.SkipAllQuestions() == nil && p.SkipAllAnswers() == nil && p.SkipAllAuthorities() == nil {
		for {
			rh, err := p.AdditionalHeader()
			if err != nil {
				break
			}
			if rh.Type == dnsmessage.TypeOPT {
				size = max(size, int(rh.Class)) // RFC 6891: the size of UDP that is understood
			}
			if p.SkipAdditional() != nil {
				break
			}
		}
	}

	name := canonical(q.Name.String())
	s.mu.Lock()
	fault := s.faults[name]
	if len(s.queries) < remember {
		s.queries = append(s.queries, strings.TrimPrefix(q.Type.String(), "Type")+" "+name+" "+network)
	}
	answers, exists := s.lookup(name, q.Type, 0)
	s.mu.Unlock()

	m := dnsmessage.Message{
		Header: dnsmessage.Header{ID: h.ID, Response: true, Authoritative: true, RecursionDesired: h.RecursionDesired, RecursionAvailable: true},
		// As it was asked, letter by letter.
		Questions: []dnsmessage.Question{q}, Answers: answers,
	}
	switch {
	case fault == Silent:
		return nil, fault
	case fault == Garbage:
		return []byte("this is no answer"), fault
	case fault == ServFail:
		m.RCode, m.Answers = dnsmessage.RCodeServerFailure, nil
	case fault == Refused:
		m.RCode, m.Answers = dnsmessage.RCodeRefused, nil
	case (fault == Truncated || fault == Cut) && network == "udp":
		m.Truncated, m.Answers = true, nil
	case !exists:
		m.RCode = dnsmessage.RCodeNameError
	}
	b, err := m.Pack()
	if err == nil && len(b) > size {
		m.Truncated, m.Answers = true, nil
		b, err = m.Pack()
	}
	if err != nil {
		return nil, fault
	}
	return b, fault
}

// lookup returns the records of a name, at the end of its aliases.
func (s *Server) lookup(name string, typ dnsmessage.Type, depth int) (found []dnsmessage.Resource, exists bool) {
	all, exists := s.records[name]
	for _, r := range all {
		if r.Header.Type == typ {
			found = append(found, r)
		}
	}
	if len(found) > 0 || depth > 8 {
		return found, exists
	}
	for _, r := range all {
		if c, ok := r.Body.(*dnsmessage.CNAMEResource); ok {
			more, there := s.lookup(canonical(c.CNAME.String()), typ, depth+1)
			return append([]dnsmessage.Resource{r}, more...), there
		}
	}
	return nil, exists
}
