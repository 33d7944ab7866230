package control

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/litentry/agentkeys/catalog"
	"github.com/litentry/agentkeys/internal/daemon"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/local"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/signer"
)

// code is that of an Error.
func code(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func TestDown(t *testing.T) {
	dir := t.TempDir()
	c := NewClient(filepath.Join(dir, "none"))
	if _, err := c.Status(t.Context()); !errors.Is(err, ErrDown) {
		t.Error(err)
	}
	// A socket that a dead process left.
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "dead"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	_ = dead.Close()
	if _, err := NewClient(filepath.Join(dir, "dead")).Status(t.Context()); !errors.Is(err, ErrDown) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Status(ctx); err == nil {
		t.Error("a cancelled context")
	}
}

// TestOddServer: whatever answers, a client says what went wrong.
func TestOddServer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "s")
	ln, err := daemon.ListenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	var answer atomic.Pointer[func(http.ResponseWriter)]
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { (*answer.Load())(w) })}
	go func() { _ = srv.Serve(ln) }()
	defer srv.Close()
	c := NewClient(path)
	for what, f := range map[string]func(http.ResponseWriter){
		"an error without JSON":  func(w http.ResponseWriter) { http.Error(w, "oops", 500) },
		"an error of other JSON": func(w http.ResponseWriter) { w.WriteHeader(500); _, _ = w.Write([]byte(`{"x":1}`)) },
		"no JSON":                func(w http.ResponseWriter) { _, _ = w.Write([]byte("hello")) },
		"half an answer":         func(w http.ResponseWriter) { w.Header().Set("Content-Length", "100"); _, _ = w.Write([]byte("{")) },
		"nothing":                func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
	} {
		answer.Store(&f)
		if _, err := c.Agents(t.Context()); err == nil || code(err) != "" {
			t.Errorf("%s: %v", what, err)
		}
	}
	broken := func(w http.ResponseWriter) {
		_, _ = w.Write([]byte(`{"done":1,"total":2}` + "\n" + `{"error":{"code":"disk","problem":"full","fix":"free some"}}` + "\n"))
	}
	answer.Store(&broken)
	seen := 0
	err = c.Rotate(t.Context(), secret.FromString("x"), func(Progress) { seen++ })
	if code(err) != CodeDisk || seen != 1 {
		t.Errorf("an error after a beginning: %v, %d lines", err, seen)
	}
}

// TestStory calls everything there is.
func TestStory(t *testing.T) {
	w := newWorld(t)
	c, ctx := w.client, t.Context()
	coder, router := agentOf(t, "coder"), serviceOf(t, "openrouter")
	key := "sk-or-v1-" + strings.Repeat("0123456789abcdef", 4)
	store := func(s string) (local.StoreResult, error) {
		return c.Store(ctx, router, secret.FromString(s), local.StoreOptions{NoVerify: true})
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}

	st, err := c.Status(ctx)
	must(err)
	if st.PID != os.Getpid() || st.Version != "test" || st.Credentials != 0 || st.Wallet.IsZero() {
		t.Errorf("%+v", st)
	}
	for what, s := range map[string]string{
		"malformed": "sk-or-v1-x", "too short": "short", "with a line break": "a-key-of-some\nlength", "empty": "",
		"too long": strings.Repeat("x", local.MaxSecret+1),
	} {
		if _, err := store(s); code(err) != CodeBadKey {
			t.Errorf("a key that is %s: %v", what, err)
		}
	}
	if _, err := c.Store(ctx, serviceOf(t, "no-such-service"), secret.FromString(key), local.StoreOptions{}); code(err) != CodeUnknown {
		t.Error(err)
	}
	if _, err := c.Reveal(ctx, router); code(err) != CodeNotFound {
		t.Error(err)
	}
	res, err := store(key)
	must(err)
	if res.Revision != 1 || res.Verdict != catalog.Unclear || res.Detail == "" {
		t.Errorf("%+v", res)
	}
	if v, err := c.Reveal(ctx, router); err != nil || string(v.Expose()) != key {
		t.Errorf("%q %v", v.Expose(), err)
	}
	infos, err := c.Credentials(ctx)
	must(err)
	if len(infos) != 1 || infos[0].Service != router || infos[0].Name != "OpenRouter" {
		t.Errorf("%+v", infos)
	}

	a, err := c.CreateAgent(ctx, coder)
	must(err)
	if _, err := c.CreateAgent(ctx, coder); code(err) != CodeExists {
		t.Error(err)
	}
	if list, err := c.Agents(ctx); err != nil || len(list) != 1 || list[0] != a {
		t.Errorf("%v %v", list, err)
	}
	expires := time.Now().Add(time.Hour)
	budget := &grant.Budget{Limit: grant.USD, Per: grant.Day}
	g, err := c.Grant(ctx, coder, router, GrantRequest{Budget: budget, Expires: expires})
	must(err)
	if g.Budget == nil || *g.Budget != *budget || !g.Expires.Equal(expires) || g.Wallet != a.Wallet {
		t.Errorf("%+v", g)
	}
	if _, err := c.Grant(ctx, agentOf(t, "nobody"), router, GrantRequest{Expires: expires}); code(err) != CodeNotFound {
		t.Error(err)
	}
	if _, err := c.Grant(ctx, coder, router, GrantRequest{Expires: time.Now().Add(-time.Hour)}); code(err) != CodeRequest {
		t.Error(err)
	}
	if _, err := c.Grant(ctx, coder, serviceOf(t, "openai"), GrantRequest{Budget: budget, Expires: expires}); code(err) != CodeRequest {
		t.Error(err)
	}
	if list, err := c.Grants(ctx); err != nil || len(list) != 1 || list[0].ID != g.ID {
		t.Errorf("%v %v", list, err)
	}
	if err := c.Remove(ctx, router, false); code(err) != CodeConflict {
		t.Error(err)
	}
	if res, err = store(key); err != nil || res.Revision != 2 || len(res.Agents) != 1 {
		t.Errorf("%+v %v", res, err)
	}
	d, err := c.Credential(ctx, router)
	must(err)
	if d.Length != len(key) || len(d.Grants) != 1 || d.Revision != 2 || !d.VerifiedAt.IsZero() {
		t.Errorf("%+v", d)
	}

	s, err := c.StartSession(ctx, SessionRequest{Agent: coder, TTL: 60})
	must(err)
	if s.Token == "" || s.Env.Agent != coder || len(s.Env.Set) < 3 || len(s.Env.Unset) == 0 {
		t.Errorf("%+v", s)
	}
	for _, ttl := range []int64{0, -1, 31 * 24 * 3600} {
		if _, err := c.StartSession(ctx, SessionRequest{Agent: coder, TTL: ttl}); code(err) != CodeRequest {
			t.Errorf("%d seconds: %v", ttl, err)
		}
	}
	must(c.EndSession(ctx, s.Token))
	must(c.EndSession(ctx, s.Token)) // twice is no error

	if list, err := c.Services(ctx); err != nil || len(list) < 20 {
		t.Errorf("%d services, %v", len(list), err)
	}
	if _, err := c.AddService(ctx, "x.yaml", []byte("id: x"), false); code(err) != CodeRequest || !strings.Contains(err.Error(), "x.yaml") {
		t.Error(err)
	}
	url := "https://models.example/v1"
	if i, err := c.SetService(ctx, serviceOf(t, "openai"), local.ServiceChange{BaseURL: &url}); err != nil || i.BaseURL != url {
		t.Errorf("%+v %v", i, err)
	}
	bad := "http://models.example/v1"
	if _, err := c.SetService(ctx, serviceOf(t, "openai"), local.ServiceChange{BaseURL: &bad}); code(err) != CodeRequest {
		t.Error(err)
	}
	must(c.RemoveService(ctx, serviceOf(t, "openai"), false))
	if err := c.RemoveService(ctx, serviceOf(t, "openai"), false); code(err) == "" {
		t.Error(err)
	}

	cp, err := c.Checkpoint(ctx)
	must(err)
	if !strings.Contains(cp.Note, "\n\n— agentkeys/"+st.Wallet.String()+" ") || !strings.HasPrefix(cp.Key, "agentkeys/"+st.Wallet.String()+"+") {
		t.Errorf("%+v", cp)
	}
	var last LogLine
	n := 0
	must(c.TailAudit(ctx, 5, false, func(l LogLine) error { n++; last = l; return nil }))
	if n != 5 || len(last.Entry) == 0 {
		t.Errorf("%d entries, the last %s", n, last.Entry)
	}
	// Following, until nobody wants to any more.
	follow, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	err = c.TailAudit(follow, 1, true, func(l LogLine) error {
		if l.Index == last.Index {
			_, err := store(key)
			return err
		}
		if l.Index >= last.Index+2 {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("following: %v", err)
	}
	stop := errors.New("enough")
	if err := c.TailAudit(ctx, 5, false, func(LogLine) error { return stop }); !errors.Is(err, stop) {
		t.Error(err)
	}

	must(c.Revoke(ctx, coder, router))
	if err := c.Revoke(ctx, coder, router); code(err) != CodeNotFound {
		t.Error(err)
	}
	must(c.RemoveAgent(ctx, coder))
	if err := c.RemoveAgent(ctx, coder); code(err) != CodeNotFound {
		t.Error(err)
	}
	must(c.Remove(ctx, router, false))
	if err := c.Remove(ctx, router, false); code(err) != CodeNotFound {
		t.Error(err)
	}

	// Roots of somebody else, and none at all.
	foreign, err := signer.EncodeRoots(signer.NewRoots())
	must(err)
	if err := c.Rotate(ctx, foreign, func(Progress) {}); err == nil {
		t.Error("rotated to the roots of somebody else")
	}
	if err := c.Retire(ctx, foreign); err == nil {
		t.Error("took the roots of somebody else")
	}
	if err := c.Rotate(ctx, secret.FromString("not roots"), func(Progress) {}); err == nil || strings.Contains(err.Error(), "not roots") {
		t.Errorf("%v", err)
	}
	if w.stops.Load() != 0 {
		t.Error("stopped")
	}
	must(c.Stop(ctx))
	if w.stops.Load() != 1 {
		t.Error("not stopped")
	}
	if strings.Contains(w.logged(), key) {
		t.Error("the key is in the log")
	}
}
