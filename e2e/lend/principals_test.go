package lend_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/litentry/agentkeys/e2e/lend/rig"
	"github.com/litentry/agentkeys/internal/control"
	"github.com/litentry/agentkeys/internal/testsrv"
)

// want fails the test unless an answer has a status and, for a refusal of
// agentkeys itself, a code.
func want(t *testing.T, what string, ans rig.Answer, err error, status int, code string) {
	t.Helper()
	if err != nil || ans.Status != status || ans.Code != code {
		t.Errorf("%s: %v %v, want %d %s", what, ans, err, status, code)
	}
}

// TestPrincipals is one story with an owner, two agents and a stranger.
func TestPrincipals(t *testing.T) {
	h := rig.New(t)
	h.Up()
	gates := make(chan struct{}, 100)
	var gated atomic.Bool
	router := h.StandIn(testsrv.Options{Shape: testsrv.OpenRouter, Gate: func(ctx context.Context, _ int) error {
		if !gated.Load() {
			return nil
		}
		select {
		case <-gates:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}})
	key := rig.Key("")
	other := h.Serve(testsrv.Options{Shape: testsrv.OpenAI, Keys: map[string]string{"real": key}})
	h.Custom("other", other)
	h.Store("other", key)
	h.OK("agent", "create", "alice")
	h.OK("agent", "create", "bob")
	h.OK("grant", "alice", "openrouter", "--path", "POST /chat/completions")
	h.OK("grant", "bob", "other")
	alice, bob := h.Session("alice"), h.Session("bob")

	// Each has what it was lent and nothing else, whichever way it comes.
	ways := map[string][2]*rig.Agent{"loopback": {alice, bob}, "socket": {alice.Socket(), bob.Socket()}}
	for way, pair := range ways {
		ans, err := pair[0].Chat("openrouter", "hello")
		want(t, way+": alice at openrouter", ans, err, 200, "")
		ans, err = pair[0].Do("GET", "openrouter", "/models", "")
		want(t, way+": alice beyond her paths", ans, err, 403, "path-not-allowed")
		ans, err = pair[0].Do("GET", "openrouter", "/key", "")
		want(t, way+": alice at a shut path", ans, err, 403, "path-shut")
		ans, err = pair[0].Do("GET", "other", "/v1/models", "")
		want(t, way+": alice at bob's grant", ans, err, 403, "no-grant")
		ans, err = pair[1].Chat("openrouter", "hello")
		want(t, way+": bob at alice's grant", ans, err, 403, "no-grant")
		ans, err = pair[1].Do("GET", "other", "/v1/models", "")
		want(t, way+": bob at his", ans, err, 200, "")
		ans, err = pair[1].Do("GET", "github", "/user", "")
		want(t, way+": bob at a service that nobody lends", ans, err, 403, "no-grant")
		ans, err = pair[1].Do("GET", "no-such-service", "/", "")
		want(t, way+": bob at no service", ans, err, 404, "unknown-service")
	}
	// On a socket the kernel says who it is, not the token.
	ans, err := alice.Socket().With(bob.Token).Do("GET", "other", "/v1/models", "")
	want(t, "bob's token on alice's socket", ans, err, 403, "no-grant")
	ans, err = bob.Socket().With(alice.Token).Chat("openrouter", "hello")
	want(t, "alice's token on bob's socket", ans, err, 403, "no-grant")
	ans, err = alice.Socket().With("nobody's").Chat("openrouter", "hello")
	want(t, "no good token on alice's socket", ans, err, 200, "")

	// Whoever has no token that lives is nobody.
	for what, token := range map[string]string{
		"none": "", "made up": rig.Random(32), "cut": alice.Token[:len(alice.Token)-1], "longer": alice.Token + "A",
		"the real key": router.Key, "in capitals": strings.ToUpper(alice.Token), "both": alice.Token + bob.Token,
	} {
		ans, err := alice.With(token).Chat("openrouter", "hello")
		want(t, "a token that is "+what, ans, err, 401, "unknown-caller")
	}
	second := h.Session("alice")
	ans, err = second.Chat("openrouter", "hello")
	want(t, "alice's second session", ans, err, 200, "")
	if err := h.Client().EndSession(t.Context(), second.Token); err != nil {
		t.Fatal(err)
	}
	ans, err = second.Chat("openrouter", "hello")
	want(t, "alice's second session, ended", ans, err, 401, "unknown-caller")
	short, err := h.Client().StartSession(t.Context(), control.SessionRequest{Agent: alice.Label, TTL: 1})
	if err != nil {
		t.Fatal(err)
	}
	ans, err = alice.With(short.Token).Chat("openrouter", "hello")
	want(t, "a session of a second", ans, err, 200, "")
	time.Sleep(time.Until(short.Expires) + 10*time.Millisecond)
	ans, err = alice.With(short.Token).Chat("openrouter", "hello")
	want(t, "a session of a second, later", ans, err, 401, "unknown-caller")
	if err := h.Client().RenewSession(t.Context(), short.Token); err == nil {
		t.Error("a dead session was renewed")
	}
	stranger(t, alice.Env["AGENTKEYS_SOCKET"])
	stranger(t, h.Paths.Control())

	// A stream under way is cut with its grant, though the service has more to
	// say and says nothing at the moment.
	gated.Store(true)
	gates <- struct{}{}
	gates <- struct{}{}
	resp, err := alice.Open(t.Context(), "POST", "openrouter", "/chat/completions", rig.ChatBody("events-20", "stream", true))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Scan()
	h.OK("revoke", "alice", "openrouter")
	gated.Store(false)
	ans, err = alice.Chat("openrouter", "hello")
	want(t, "alice, revoked", ans, err, 403, "no-grant")
	ans, err = alice.Socket().Chat("openrouter", "hello")
	want(t, "alice on her socket, revoked", ans, err, 403, "no-grant")
	if n := h.Status().Cached; n != 1 { // bob's
		t.Errorf("%d keys open in memory after the revocation", n)
	}
	last := ""
	for lines.Scan() {
		if lines.Text() != "" {
			last = lines.Text()
		}
	}
	if lines.Err() == nil || last == "data: [DONE]" {
		t.Errorf("the stream ended as if it were whole, with %q", last)
	}
	if r := h.Run("", "revoke", "alice", "openrouter"); r.Code != 4 {
		t.Errorf("revoked again: %+v", r)
	}

	h.OK("grant", "alice", "openrouter")
	ans, err = alice.Do("GET", "openrouter", "/models", "")
	want(t, "alice, granted anew and more", ans, err, 200, "")

	// A removed agent is gone with all it had, and so is what is open.
	held, err := net.Dial("unix", alice.Env["AGENTKEYS_SOCKET"])
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	h.OK("agent", "rm", "alice")
	ans, err = alice.Chat("openrouter", "hello")
	want(t, "alice, removed", ans, err, 401, "unknown-caller")
	if _, err := os.Lstat(alice.Env["AGENTKEYS_SOCKET"]); !os.IsNotExist(err) {
		t.Errorf("her socket is still there: %v", err)
	}
	_ = held.SetDeadline(time.Now().Add(5 * time.Second))
	if n, err := held.Read(make([]byte, 1)); n != 0 || err == nil || os.IsTimeout(err) {
		t.Errorf("a connection to her socket lives on: %d %v", n, err)
	}
	again := h.NewAgent("alice")
	ans, err = again.Chat("openrouter", "hello")
	want(t, "a new alice", ans, err, 403, "no-grant")
	h.OK("grant", "alice", "openrouter")
	ans, err = again.Chat("openrouter", "hello")
	want(t, "a new alice with a grant", ans, err, 200, "")
	ans, err = alice.Chat("openrouter", "hello")
	want(t, "the old alice's token", ans, err, 401, "unknown-caller")
	ans, err = bob.Do("GET", "other", "/v1/models", "")
	want(t, "bob, through all this", ans, err, 200, "")

	// With the key, everything that was lent of it is gone.
	if r := h.Run("", "rm", "other"); r.Code != 6 {
		t.Errorf("a key that is lent: %+v", r)
	}
	h.OK("rm", "other", "--force")
	ans, err = bob.Do("GET", "other", "/v1/models", "")
	want(t, "bob without the key", ans, err, 403, "no-grant")
	for _, s := range []*testsrv.Server{router.Server, other} {
		for _, seen := range s.Requests() {
			if seen.Key != "real" {
				t.Errorf("%s %s with %q", seen.Method, seen.Path, seen.Header)
			}
		}
	}
	h.OK("audit", "verify")
}

// stranger is a process of another user at a socket.
func stranger(t *testing.T, path string) {
	t.Helper()
	if os.Getuid() != 0 {
		return
	}
	cmd := rig.Helper(t, "dial", helperVar, path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: somebody, Gid: somebody}}
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "permission denied") {
		t.Errorf("another user at %s: %v %s", path, err, out)
	}
}

func init() {
	helpers["dial"] = func() error {
		c, err := net.Dial("unix", os.Args[1])
		if err == nil {
			_ = c.Close()
		}
		return err
	}
}

// somebody is a user that nobody is.
const somebody = 47110

// TestKeyReplaced stores a new key again and again while agents work: whatever
// begins after `store` has returned uses the new one.
func TestKeyReplaced(t *testing.T) {
	h := rig.New(t)
	h.Up()
	keys := map[string]string{}
	for i := range 6 {
		keys[fmt.Sprint("key ", i)] = rig.Key(testsrv.OpenRouter)
	}
	s := h.StandIn(testsrv.Options{Shape: testsrv.OpenRouter, Keys: keys})
	h.Store("openrouter", keys["key 0"])
	h.OK("agent", "create", "coder")
	h.OK("grant", "coder", "openrouter")
	a := h.Session("coder")

	var stored atomic.Int64 // the last key that is acknowledged
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i := range 4 {
		who := a
		if i%2 == 1 {
			who = a.Socket()
		}
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				// The query tells the service what must have been stored by now.
				ans, err := who.Do("GET", "openrouter", fmt.Sprintf("/models?least=%d", stored.Load()), "")
				want(t, "while keys change", ans, err, 200, "")
			}
		})
	}
	for i := 1; i < len(keys); i++ {
		time.Sleep(30 * time.Millisecond)
		h.Store("openrouter", keys[fmt.Sprint("key ", i)])
		stored.Store(int64(i))
		if i == 3 {
			if r := h.Run(rig.Key(testsrv.OpenRouter), "store", "openrouter", "--stdin"); r.Code != 5 {
				t.Errorf("a key that the service refuses: %+v", r)
			}
		}
	}
	time.Sleep(30 * time.Millisecond)
	cancel()
	wg.Wait()
	seen := map[string]int{}
	for _, r := range s.Requests() {
		var used, least int
		if _, err := fmt.Sscanf(r.Query, "least=%d", &least); err != nil {
			continue // a check of a key
		}
		if _, err := fmt.Sscanf(r.Key, "key %d", &used); err != nil || used < least {
			t.Errorf("%s %s?%s with %q", r.Method, r.Path, r.Query, r.Key)
		}
		seen[r.Key]++
	}
	if len(seen) != len(keys) {
		t.Errorf("the service saw %v", seen)
	}
}
