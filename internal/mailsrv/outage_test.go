package mailsrv

import (
	"errors"
	"io"
	"net"
	"net/textproto"
	"strings"
	"sync"
	"testing"

	"github.com/litentry/agentkeys"
)

// wire passes connections on to a server, until it is cut.
type wire struct {
	ln net.Listener
	to string

	mu    sync.Mutex
	cut   bool
	conns []net.Conn
}

func newWire(t *testing.T, to string) *wire {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{ln: ln, to: strings.TrimPrefix(to, "http://")}
	t.Cleanup(func() { _ = ln.Close(); w.set(true) })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go w.pass(c)
		}
	}()
	return w
}

func (w *wire) pass(c net.Conn) {
	far, err := net.Dial("tcp", w.to)
	w.mu.Lock()
	if w.cut || err != nil {
		w.mu.Unlock()
		_ = c.Close()
		return
	}
	w.conns = append(w.conns, c, far)
	w.mu.Unlock()
	go func() { _, _ = io.Copy(far, c); _ = far.Close() }()
	_, _ = io.Copy(c, far)
	_ = c.Close()
}

func (w *wire) set(cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut = cut; cut {
		for _, c := range w.conns {
			_ = c.Close()
		}
		w.conns = nil
	}
}

// TestBucketAway: nothing is accepted that is not durable, senders are told to
// come back, and when the bucket is there again it goes on by itself.
func TestBucketAway(t *testing.T) {
	t.Parallel()
	world, open, read := cloud(t)
	line := newWire(t, world.Endpoint)
	r := start(t, inBucket(t), open("http://"+line.ln.Addr().String()))
	own := read(itself)
	ready := "http://" + r.MetricsAddr().String() + "/readyz"
	to := address(t, "or", wallet(1), 1)
	if err := send(r.Addr().String(), to, mail(to, "before")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is placed", func() bool { return len(inboxOf(t, own, wallet(1))) == 1 })
	get(t, ready, 200)

	line.set(true)
	err := send(r.Addr().String(), to, mail(to, "during"))
	var reply *textproto.Error
	if !errors.As(err, &reply) || reply.Code/100 != 4 {
		t.Errorf("with the bucket away the sender is told %v, want 4xx", err)
	}
	if text := get(t, ready, 503); !strings.Contains(text, "store") {
		t.Error(text)
	}

	line.set(false)
	if err := send(r.Addr().String(), to, mail(to, "after")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is placed", func() bool { return len(inboxOf(t, own, wallet(1))) == 2 })
	get(t, ready, 200)
	router, err := open(world.Endpoint)(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "nothing is left", func() bool {
		page, err := router.Waiting(t.Context(), agentkeys.MessageID{}, 10)
		return err == nil && len(page.Items) == 0
	})
}

// TestBucketAwayWhileSorting: what was accepted is sorted when it can be.
func TestBucketAwayWhileSorting(t *testing.T) {
	t.Parallel()
	world, open, read := cloud(t)
	line := newWire(t, world.Endpoint)
	own := read(itself)
	router, err := open(world.Endpoint)(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	// Messages of a server that ended before it sorted them.
	to := address(t, "or", wallet(1), 1)
	for n := range 5 {
		msg := "Return-Path: <>\r\nReceived: from x (x [192.0.2.1])\r\n by " + hostname + " with ESMTP id " + number(n).String() +
			"\r\n for <" + to + ">; Sun, 22 Nov 2026 10:00:00 +0000\r\nX-AgentKeys-Receipt: " + number(n).String() + "\r\n" + string(mail(to, "x"))
		if err := router.Write(t.Context(), number(n), strings.NewReader(msg), int64(len(msg))); err != nil {
			t.Fatal(err)
		}
	}
	line.set(true)
	r := start(t, inBucket(t), open("http://"+line.ln.Addr().String()))
	eventually(t, "the store is missed", func() bool { return strings.Contains(r.log.String(), "the store cannot be listed") })
	if n := len(inboxOf(t, own, wallet(1))); n != 0 {
		t.Errorf("%d are placed", n)
	}
	line.set(false)
	eventually(t, "they are sorted", func() bool { return len(inboxOf(t, own, wallet(1))) == 5 })
}
