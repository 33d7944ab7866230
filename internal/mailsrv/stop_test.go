package mailsrv

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"
)

// TestHangUp: who is in the middle of a message when the server stops has his
// time to end it, and who is idle none.
func TestHangUp(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		hangUp time.Duration
		said   string
		last   string // what he hears in the end
	}{
		"idle":                       {time.Hour, "EHLO c.example\r\n", "421 4.3.2"},
		"with a recipient":           {time.Hour, "EHLO c.example\r\nMAIL FROM:<a@c.example>\r\nRCPT TO:<postmaster@" + domainName + ">\r\n", "421 4.3.2"},
		"in the middle of a message": {20 * time.Millisecond, "EHLO c.example\r\nMAIL FROM:<a@c.example>\r\nRCPT TO:<postmaster@" + domainName + ">\r\nDATA\r\n", "354"},
	} {
		s, err := Open(t.Context(), configuration(t.TempDir()), Options{Log: slog.New(slog.DiscardHandler), Now: time.Now, Version: "test", HangUp: c.hangUp})
		if err != nil {
			t.Fatal(err)
		}
		if s.hangUp != c.hangUp {
			t.Errorf("%s: he would have %s", what, s.hangUp)
		}
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		done := make(chan error, 1)
		go func() { done <- s.Serve(ctx) }()
		conn, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		in := bufio.NewReader(conn)
		last := ""
		for n := range 1 + strings.Count(c.said, "\r\n") {
			for {
				if last, err = in.ReadString('\n'); err != nil {
					t.Fatal(err)
				}
				if last[3] == ' ' {
					break
				}
			}
			if n < strings.Count(c.said, "\r\n") {
				fmt.Fprint(conn, strings.SplitAfter(c.said, "\r\n")[n])
			}
		}
		stop()
		if err := <-done; err != nil {
			t.Errorf("%s: %v", what, err)
		}
		rest, _ := io.ReadAll(in)
		if !strings.HasPrefix(string(rest), c.last) && !strings.HasPrefix(last+string(rest), c.last) {
			t.Errorf("%s: heard %q", what, rest)
		}
	}
}
