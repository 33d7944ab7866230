package mailrouter

import (
	"strings"
	"testing"
)

func TestLRU(t *testing.T) {
	l := newLRU[int, string](3)
	for i := range 100 {
		l.put(i%7, "x")
		l.put(0, "zero")
		if l.order.Len() > 3 || len(l.at) != l.order.Len() {
			t.Fatalf("%d, %d", l.order.Len(), len(l.at))
		}
	}
	if v, ok := l.get(0); !ok || v != "zero" {
		t.Errorf("%q %v", v, ok)
	}
	if _, ok := l.get(8); ok {
		t.Error("what was never put")
	}
}

// TestSenderOf: no sender takes more of the table than a domain can.
func TestSenderOf(t *testing.T) {
	pass := []byte("Return-Path: <a@b>\r\nReceived-SPF: pass (x)\r\nReceived-SPF: fail\r\n\r\n")
	fail := []byte("Return-Path: <a@b>\nReceived-SPF:\n softfail (pass)\nReceived-SPF: pass\n\n")
	long := strings.Repeat("x", 254)
	for _, c := range []struct {
		head   []byte
		domain string
		want   string
	}{
		{pass, "b", "b"}, {fail, "b", "?b"}, {nil, "b", "?b"}, {pass[:len(pass)-32], "b", "?b"},
		{pass, "", ""}, {fail, "", ""}, {pass, long, "."}, {fail, long, "."},
	} {
		if got := senderOf(c.head, c.domain); got != c.want {
			t.Errorf("%q: %q, want %q", c.head, got, c.want)
		}
	}
}
