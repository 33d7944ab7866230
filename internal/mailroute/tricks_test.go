package mailroute_test

import (
	"testing"

	"github.com/litentry/agentkeys/internal/mailroute"
)

// What hides a part of a header from some reader changes nothing below an
// envelope, and no decision on a beginning. Without an envelope nothing but a
// field To or Cc, as a strict reader sees it, brings a wallet in.
func TestHiddenHeader(t *testing.T) {
	r := router(t)
	for _, c := range []struct{ head, want string }{
		{"Ü: 1\r\nTo: " + a1 + "\r\n\r\n", "1"},
		{"Ü: 1\r\nÜ: 2\r\nTo: " + a1 + "\r\n\r\n", nobody},
		{"junk\r\nTo: " + a1 + "\r\njunk\r\nTo: " + a2 + "\r\n\r\n", "1"},
		{"To\v: " + a2 + "\r\nTo: " + a1 + "\r\n\r\n", "1"},
		{"To\v: " + a1 + "\r\n\r\n", nobody},
		{"T o: " + a1 + "\r\n\r\n", nobody},
		{"To : " + a1 + "\r\nTo: " + a2 + "\r\n\r\n", several},
		{"X: 1\rTo: " + a2 + "\r\nTo: " + a1 + "\r\n\r\n", "1"},
		{"X: 1\n\nTo: " + a1 + "\r\n\r\n", nobody},
		{"To: " + a1 + "\n\r\nTo: " + a2 + "\r\n\r\n", "1"},
		{"To: " + a1 + "\r\n \r\nTo: " + a2 + "\r\n\r\n", several},
		{"X: 1\r\n \r\n To: " + a1 + "\r\n\r\n", nobody},
		{"X\x00: 1\r\nTo: " + a1 + "\r\n\r\n", "1"},
		{"X: \x00\r\nTo: " + a1 + "\r\n\r\n", "1"},
		{"To: " + a1 + "\x00\r\n\r\n", malformed},
		{"To: " + a1, "1"},
	} {
		for _, m := range []struct {
			head, want string
			rcpts      []string
		}{
			{c.head, c.want, nil},
			{c.head, "2", []string{a2}},
			{sesHead("h", "r", a2) + c.head, "2", nil},
			{sesHead("h", "r", "") + c.head, c.want, nil},
		} {
			whole := r.Decide([]byte(m.head), true, m.rcpts)
			if got := verdict(t, whole); got != m.want {
				t.Errorf("%q, for %v: %s, want %s", m.head, m.rcpts, got, m.want)
			}
			for n := range len(m.head) + 1 {
				if d := r.Decide([]byte(m.head[:n]), false, m.rcpts); d.Outcome != mailroute.More && d != whole {
					t.Fatalf("%q: on %d bytes %+v, on all %+v", m.head, n, d, whole)
				}
			}
		}
	}
}
