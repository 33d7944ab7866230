// Package ports finds ports on loopback for what a test starts, stops and
// starts again. It serves tests; nothing in production may import it.
package ports

import (
	"errors"
	"math/rand/v2"
	"net"
)

// They are below those that a system gives to connections and to listeners
// that do not mind, so that none is taken by chance while nobody listens.
const first, last = 10_000, 32_000

// Take returns a TCP port that nobody listens on, and no other test on this
// machine is given before the cleanup: its namesake of UDP is held until then.
// The cleanup is what T.Cleanup is called with.
func Take(cleanup func(func())) (int, error) {
	for range 1000 {
		n := first + rand.IntN(last-first)
		at := net.IPv4(127, 0, 0, 1)
		held, err := net.ListenUDP("udp4", &net.UDPAddr{IP: at, Port: n})
		if err != nil {
			continue
		}
		ln, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: at, Port: n})
		if err != nil {
			_ = held.Close()
			continue
		}
		if err := ln.Close(); err != nil {
			_ = held.Close()
			return 0, err
		}
		cleanup(func() { _ = held.Close() })
		return n, nil
	}
	return 0, errors.New("no free port on loopback")
}
