package daemon

import (
	"net"
	"net/http"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestConnectionsAreBounded: whoever opens connections on loopback and says
// nothing takes no more of this process's files than a quarter.
func TestConnectionsAreBounded(t *testing.T) {
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		t.Fatal(err)
	}
	few := lim
	few.Cur = 256
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	addr, err := w.ListenLoopback(0)
	if rerr := unix.Setrlimit(unix.RLIMIT_NOFILE, &lim); err != nil || rerr != nil {
		t.Fatal(err, rerr)
	}
	var held []net.Conn
	for range 64 {
		c, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
	}
	client := http.Client{Timeout: 300 * time.Millisecond, Transport: &http.Transport{DisableKeepAlives: true}}
	if resp, err := client.Get("http://" + addr.String() + "/"); err == nil {
		_ = resp.Body.Close()
		t.Error("one more than a quarter was served")
	}
	_ = held[0].Close()
	client.Timeout = 30 * time.Second
	resp, err := client.Get("http://" + addr.String() + "/")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	for _, c := range held {
		_ = c.Close()
	}
}
