package smtpin

import (
	"io"
	"net"
	"sync"
	"time"
)

// listener lets connections in as far as the gate does.
type listener struct {
	net.Listener
	s *Server
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		peer, ip := peerOf(conn.RemoteAddr())
		if l.s.gate.enter(peer, time.Now()) {
			return l.s.newWire(conn, peer, ip), nil
		}
		// A line into an empty buffer: it does not wait for the peer.
		_ = conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		_, _ = io.WriteString(conn, "421 4.7.0 too many connections\r\n")
		_ = conn.Close()
		l.s.c.Log.Debug("mail: connection refused", "peer", class(ip), "why", "too many connections")
	}
}

// handover is the listener of the server above TLS.
type handover struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newHandover() *handover { return &handover{conns: make(chan net.Conn), done: make(chan struct{})} }

func (h *handover) give(c net.Conn) bool {
	select {
	case h.conns <- c:
		return true
	case <-h.done:
		return false
	}
}

func (h *handover) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

func (h *handover) Close() error {
	h.once.Do(func() { close(h.done) })
	return nil
}

func (h *handover) Addr() net.Addr { return &net.TCPAddr{} }
