package lend_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys/e2e/lend/rig"
	"github.com/litentry/agentkeys/internal/testsrv"
)

// TestRevokeHalfSent: an agent has a request decided on, keeps back the end of
// its body, and sends it when the grant has been revoked. Nothing of the small
// one, and no whole large one, reaches the service.
func TestRevokeHalfSent(t *testing.T) {
	h := rig.New(t)
	h.Up()
	s := h.StandIn(testsrv.Options{Shape: testsrv.OpenRouter})
	a := h.NewAgent("coder")
	for _, size := range []int{200, 200_000} {
		h.OK("grant", "coder", s.Name)
		before := len(s.Requests())
		body := rig.ChatBody("some-model", strings.Repeat("x", size), false)
		conn, err := net.Dial("tcp", h.Status().Address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
		fmt.Fprintf(conn, "POST /%s/chat/completions HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
			s.Name, h.Status().Address, "placeholder-agentkeys."+a.Token, len(body), body[:len(body)-1])
		time.Sleep(300 * time.Millisecond) // time enough to be decided on
		h.OK("revoke", "coder", s.Name)
		_, _ = conn.Write([]byte(body[len(body)-1:])) // a closed connection is as good
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusForbidden {
				t.Errorf("%d bytes: %s after the revocation", size, resp.Status)
			}
		}
		if size > 100_000 {
			continue // it has begun before, and is broken off
		}
		if n := len(s.Requests()) - before; n != 0 {
			t.Errorf("%d bytes: the service got %d requests", size, n)
		}
	}
}
