package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/book"
	"github.com/litentry/agentkeys/internal/grant"
	"github.com/litentry/agentkeys/internal/secret"
	"github.com/litentry/agentkeys/internal/signer"
)

// host opens a host of f's: an agent's own, or the master's if agent is "".
func (f *far) host(agent string) *world {
	f.t.Helper()
	w := &world{t: f.t, dir: shortDir(f.t), roots: signer.NewRoots(), log: &syncBuffer{}}
	w.openFar(f, agent)
	f.t.Cleanup(w.close)
	return w
}

func (w *world) openFar(f *far, agent string) {
	w.t.Helper()
	o := w.options()
	o.Roots.Clear()
	o.Roots, o.Remote, o.Paths.Device = signer.Roots{}, f.remote(agent), "thumb"
	h, err := Open(o)
	if err != nil {
		w.t.Fatal(err)
	}
	w.Host = h
}

// ask sends a request through a host as an agent.
func (w *world) ask(label string) (status int, body string) {
	w.t.Helper()
	s, err := w.StartSession(w.t.Context(), agentOf(w.t, label), time.Hour)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.askWith(s.Token)
}

func (w *world) askWith(token string) (status int, body string) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), "POST", "http://"+w.addr.String()+"/openrouter/chat/completions", strings.NewReader("{}"))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer sk-or-v1-"+book.TokenMark+token)
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return resp.StatusCode, "cut: " + err.Error()
	}
	return resp.StatusCode, string(text)
}

// entries counts what the log has of an op.
func (w *world) entries(op string) (n int) {
	w.t.Helper()
	err := w.TailAudit(w.t.Context(), 1000, false, func(_ int64, raw json.RawMessage) error {
		var e grant.Event
		if json.Unmarshal(raw, &e) == nil && e.Op == op {
			n++
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

func within(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not so: %s", what)
		}
	}
}

// farWorld has a key that coder is lent, a master's host and one of coder's.
func farWorld(t *testing.T) (f *far, master, agent *world, up *service) {
	t.Helper()
	f, up = newFar(t), newService(t)
	up.answer(200, `{"ok":true}`, http.Header{"Content-Type": {"application/json"}})
	master = f.host("")
	master.store("openrouter", routerKey(1))
	master.agent("coder")
	master.lend("coder", "openrouter", book.Terms{Requests: &grant.Requests{Limit: 100, Per: grant.Total}})
	agent = f.host("coder")
	master.reach("openrouter", up, "")
	agent.reach("openrouter", up, "")
	return f, master, agent, up
}

func TestRemoteStory(t *testing.T) {
	f, master, agent, up := farWorld(t)
	for _, w := range []*world{master, agent} {
		if status, body := w.ask("coder"); status != 200 {
			t.Errorf("%d %s", status, body)
		}
	}
	if asked := up.requests(); len(asked) != 2 || asked[1].Header.Get("Authorization") != "Bearer "+routerKey(1) {
		t.Errorf("the service was asked %d times", len(asked))
	}
	if st, err := agent.Status(t.Context()); err != nil || st.Broker == nil || st.Broker.Agent != agentOf(t, "coder") || st.Wallet != f.wallet(signer.AgentPath(st.Broker.Agent)) {
		t.Errorf("%+v %v", st, err)
	}
	if master.revealed("openrouter") != routerKey(1) {
		t.Error("another key")
	}
	// Revoked on one machine, it is dead on the other.
	if err := master.Revoke(t.Context(), agentOf(t, "coder"), serviceOf(t, "openrouter")); err != nil {
		t.Fatal(err)
	}
	for _, w := range []*world{master, agent} {
		if status, body := w.ask("coder"); status != 403 || !strings.Contains(body, "no-grant") {
			t.Errorf("%d %s", status, body)
		}
	}
	infos, err := agent.vault.Infos(t.Context(), agent.wallet)
	if err != nil || len(infos) != 0 {
		t.Errorf("a copy is left: %v %v", infos, err)
	}
	within(t, "the end of the grant is on record", func() bool { return agent.entries("grant.end") == 1 })
	if n := master.entries("grant.revoke"); n != 2 {
		t.Errorf("%d entries of the revocation", n)
	}
}

// TestRemoteCut: what is under way on another machine ends with a revocation.
func TestRemoteCut(t *testing.T) {
	_, master, agent, up := farWorld(t)
	started, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	up.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(200)
		_, _ = io.WriteString(w, "begin")
		_ = http.NewResponseController(w).Flush()
		close(started)
		<-release
	})
	answer := make(chan string, 1)
	go func() {
		status, body := agent.ask("coder")
		answer <- fmt.Sprint(status, body)
	}()
	<-started
	if err := master.Revoke(t.Context(), agentOf(t, "coder"), serviceOf(t, "openrouter")); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-answer:
		// In the middle of the answer, or before its beginning was passed on.
		if !strings.Contains(got, "cut") && !strings.Contains(got, "the grant was revoked") {
			t.Errorf("%s", got)
		}
	case <-time.After(10 * time.Second):
		t.Error("it goes on")
	}
}

// TestRemoteSilent: what is not known to be in force is not lent.
func TestRemoteSilent(t *testing.T) {
	f, _, agent, up := farWorld(t)
	if status, _ := agent.ask("coder"); status != 200 {
		t.Fatal(status)
	}
	f.set(func() { f.silent = fmt.Errorf("%w: broker unreachable since yesterday", ErrAway) })
	for range 3 {
		status, body := agent.ask("coder")
		if status < 400 || !strings.Contains(body, "broker-unreachable") || !strings.Contains(body, "unreachable since yesterday") {
			t.Errorf("%d %s", status, body)
		}
	}
	if n := len(up.requests()); n != 1 {
		t.Errorf("the service was asked %d times", n)
	}
	f.set(func() { f.silent = nil })
	if status, body := agent.ask("coder"); status != 200 {
		t.Errorf("%d %s", status, body)
	}
	if agent.entries("broker.silent") != 1 || agent.entries("broker.heard") != 1 {
		t.Error("the log does not say once each that it was silent and heard again")
	}
	// It falls silent while the credential is read.
	agent.daemon.Forget(agent.wallet, serviceOf(t, "openrouter"))
	f.set(func() { f.beforeIO = func() { f.set(func() { f.silent = ErrAway }) } })
	if status, body := agent.ask("coder"); status < 400 || !strings.Contains(body, "broker-unreachable") {
		t.Errorf("%d %s", status, body)
	}
	if n := len(up.requests()); n != 2 {
		t.Errorf("the service was asked %d times", n)
	}
	// Without a first word of the broker nothing begins.
	agent.close()
	o := agent.options()
	o.Remote = f.remote("coder")
	if h, err := Open(o); !errors.Is(err, ErrAway) {
		t.Errorf("%v %v", h, err)
	}
	f.set(func() { f.silent, f.beforeIO = nil, nil })
	agent.openFar(f, "coder")
	if status, body := agent.ask("coder"); status != 200 {
		t.Errorf("%d %s", status, body)
	}
}

func TestAgentHostManagesNothing(t *testing.T) {
	_, _, agent, _ := farWorld(t)
	ctx, coder, router := t.Context(), agentOf(t, "coder"), serviceOf(t, "openrouter")
	for what, try := range map[string]func() error{
		"store": func() error {
			_, err := agent.Store(ctx, router, secret.FromString(routerKey(2)), StoreOptions{NoVerify: true})
			return err
		},
		"reveal":       func() error { _, err := agent.Reveal(ctx, router); return err },
		"remove":       func() error { return agent.Remove(ctx, router, true) },
		"create agent": func() error { _, err := agent.CreateAgent(ctx, agentOf(t, "other")); return err },
		"remove agent": func() error { return agent.RemoveAgent(ctx, coder) },
		"grant": func() error {
			_, err := agent.Grant(ctx, coder, router, book.Terms{Expires: time.Now().Add(time.Hour)})
			return err
		},
		"revoke":    func() error { return agent.Revoke(ctx, coder, router) },
		"enrolment": func() error { _, err := agent.Enrolment(ctx, coder); return err },
		"devices":   func() error { _, err := agent.Devices(ctx); return err },
		"revoke device": func() error {
			return agent.RevokeDevice(ctx, "d")
		},
	} {
		if err := try(); !errors.Is(err, ErrAgentHost) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := agent.Rotate(ctx, signer.NewRoots(), nil); !errors.Is(err, ErrRemote) {
		t.Errorf("rotate: %v", err)
	}
	if _, err := agent.Reseal(ctx, nil); !errors.Is(err, ErrAgentHost) {
		t.Errorf("reseal: %v", err)
	}
	if err := agent.Retire(signer.NewRoots()); !errors.Is(err, ErrRemote) {
		t.Errorf("retire: %v", err)
	}
	if status, _ := agent.ask("coder"); status != 200 {
		t.Error("it does not serve its agent")
	}
	if _, err := agent.StartSession(ctx, agentOf(t, "other"), time.Hour); !errors.Is(err, book.ErrUnknownAgent) {
		t.Errorf("a session of another agent: %v", err)
	}
}

func TestMasterOfRemote(t *testing.T) {
	_, master, _, _ := farWorld(t)
	if e, err := master.Enrolment(t.Context(), agentOf(t, "coder")); err != nil || e.Code != "code" || master.entries("agent.enrol") != 1 {
		t.Errorf("%v %v", e, err)
	}
	if all, err := master.Devices(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("%v %v", all, err)
	}
	if err := master.RevokeDevice(t.Context(), "d"); err != nil || master.entries("device.revoke") != 1 {
		t.Error(err)
	}
	w := newWorld(t)
	if _, err := w.Devices(t.Context()); !errors.Is(err, ErrNoBroker) {
		t.Errorf("a laptop: %v", err)
	}
}

// TestMirror: agents that come and go elsewhere do so here, with their
// placeholders and sockets.
func TestMirror(t *testing.T) {
	f, master, _, _ := farWorld(t)
	other := f.host("")
	if n := len(other.Agents()); n != 1 {
		t.Errorf("%d agents", n)
	}
	s, err := other.StartSession(t.Context(), agentOf(t, "coder"), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	// Removed and made anew between two words of the broker, it is another.
	f.set(func() {
		a := f.agents[agentOf(t, "coder")]
		a.Created = a.Created.Add(time.Millisecond)
		f.agents[a.Label] = a
	})
	f.tell(Change{Agents: true})
	within(t, "a placeholder of before is dead", func() bool { status, _ := other.askWith(s.Token); return status == 401 })
	within(t, "a later one is not, and its socket is there", func() bool {
		if s, err = other.StartSession(t.Context(), agentOf(t, "coder"), time.Hour); err != nil {
			return false
		}
		status, _ := other.askWith(s.Token)
		_, serr := os.Stat(other.daemon.SocketPath(agentOf(t, "coder")))
		return status != 401 && serr == nil
	})
	master.agent("second")
	within(t, "the second agent is known", func() bool {
		_, err := other.StartSession(t.Context(), agentOf(t, "second"), time.Hour)
		_, serr := os.Stat(other.daemon.SocketPath(agentOf(t, "second")))
		return err == nil && serr == nil
	})
	if err := master.RemoveAgent(t.Context(), agentOf(t, "coder")); err != nil {
		t.Fatal(err)
	}
	within(t, "its placeholder is dead", func() bool {
		status, _ := other.askWith(s.Token)
		_, serr := os.Stat(other.daemon.SocketPath(agentOf(t, "coder")))
		return status == 401 && errors.Is(serr, os.ErrNotExist)
	})
	if len(master.Agents()) != 1 || len(other.Agents()) != 1 {
		t.Error("it is still listed")
	}
	// What goes while a host is down is gone when it comes up.
	other.close()
	if err := master.RemoveAgent(t.Context(), agentOf(t, "second")); err != nil {
		t.Fatal(err)
	}
	other.openFar(f, "")
	if len(other.book.Agents()) != 0 {
		t.Error("an agent that is gone has a book entry")
	}
}

// TestFailedGrant: a grant that the broker does not make leaves no copy that
// the agent's machine could read.
func TestFailedGrant(t *testing.T) {
	f, master, agent, _ := farWorld(t)
	ctx, second, router := t.Context(), agentOf(t, "second"), serviceOf(t, "openrouter")
	a := master.agent("second")
	copies := func(w agentkeys.Wallet) int {
		infos, err := master.vault.Infos(ctx, w)
		if err != nil {
			t.Fatal(err)
		}
		return len(infos)
	}
	terms := book.Terms{Expires: time.Now().Add(time.Hour)}
	f.set(func() { f.refuse = ErrAway })
	if _, err := master.Grant(ctx, second, router, terms); !errors.Is(err, ErrAway) || copies(a.Wallet) != 0 {
		t.Errorf("%v, %d copies", err, copies(a.Wallet))
	}
	f.set(func() { f.refuse, f.after = nil, ErrAway })
	if _, err := master.Grant(ctx, second, router, terms); !errors.Is(err, ErrAway) || copies(a.Wallet) != 0 {
		t.Errorf("%v, %d copies", err, copies(a.Wallet))
	}
	// One that there was before keeps its copy.
	coder := agentOf(t, "coder")
	if _, err := master.Grant(ctx, coder, router, terms); !errors.Is(err, ErrAway) || copies(agent.wallet) != 1 {
		t.Errorf("%v, %d copies", err, copies(agent.wallet))
	}
	f.set(func() { f.after = nil })
	// A revocation that is not acknowledged holds here, and may be repeated.
	f.set(func() { f.refuse = ErrAway })
	if err := master.Revoke(ctx, coder, router); !errors.Is(err, ErrAway) {
		t.Error(err)
	}
	if status, body := master.ask("coder"); status != 403 {
		t.Errorf("%d %s", status, body)
	}
	f.set(func() { f.refuse = nil })
	if err := master.Revoke(ctx, coder, router); err != nil || copies(agent.wallet) != 0 {
		t.Errorf("%v, %d copies", err, copies(agent.wallet))
	}
	if err := master.Revoke(ctx, coder, router); !errors.Is(err, book.ErrUnknownGrant) {
		t.Errorf("revoked again: %v", err)
	}
}

// TestRevokeUnrecorded: a log that cannot be written does not keep a grant
// alive.
func TestRevokeUnrecorded(t *testing.T) {
	_, master, agent, _ := farWorld(t)
	if err := master.audit.Close(); err != nil {
		t.Fatal(err)
	}
	if err := master.Revoke(t.Context(), agentOf(t, "coder"), serviceOf(t, "openrouter")); err == nil {
		t.Error("it is on record")
	}
	if status, body := agent.ask("coder"); status != 403 {
		t.Errorf("%d %s", status, body)
	}
	master.Host = nil // it cannot be closed in order
}

// TestRemoteBudget: what was used before a restart counts after it.
func TestRemoteBudget(t *testing.T) {
	f, _, agent, _ := farWorld(t)
	for range 3 {
		if status, _ := agent.ask("coder"); status != 200 {
			t.Fatal(status)
		}
	}
	agent.close()
	agent.openFar(f, "coder")
	if g := agent.Grants(); len(g) != 1 || g[0].Usage.Requests != 3 {
		t.Errorf("%+v", g)
	}
}

// TestRemoteReplacedKey: a key that another machine stores anew is used here
// within the age that a credential may have.
func TestRemoteReplacedKey(t *testing.T) {
	_, master, agent, up := farWorld(t)
	if status, _ := agent.ask("coder"); status != 200 {
		t.Fatal(status)
	}
	master.store("openrouter", routerKey(2))
	master.lend("coder", "openrouter", book.Terms{}) // the grant is another: it is read anew
	within(t, "the new key is used", func() bool {
		if status, body := agent.ask("coder"); status != 200 {
			t.Fatal(status, body)
		}
		asked := up.requests()
		return asked[len(asked)-1].Header.Get("Authorization") == "Bearer "+routerKey(2)
	})
}

// TestOwnPlaces: a login leaves what the laptop has alone.
func TestOwnPlaces(t *testing.T) {
	w := newWorld(t)
	w.store("openrouter", routerKey(1))
	w.agent("coder")
	w.lend("coder", "openrouter", book.Terms{})
	w.close()
	f := newFar(t)
	w.openFar(f, "")
	if len(w.Agents())+len(w.Grants()) != 0 {
		t.Error("the laptop's agents are the broker's")
	}
	w.store("openrouter", routerKey(2))
	for _, name := range []string{"log", "log.vkey", "marks", "broker", "ledger.json"} {
		if _, err := os.Stat(filepath.Join(w.paths.Data, "devices", "thumb", name)); err != nil && name != "ledger.json" {
			t.Error(err)
		}
	}
	w.close()
	w.open()
	if w.revealed("openrouter") != routerKey(1) || len(w.Grants()) != 1 {
		t.Error("the laptop's own is changed")
	}
}

// TestLeftCopy: a revocation that ended between the broker and the store is
// repeated, by any of the master's machines.
func TestLeftCopy(t *testing.T) {
	f, master, agent, _ := farWorld(t)
	ctx, coder, router := t.Context(), agentOf(t, "coder"), serviceOf(t, "openrouter")
	if _, err := (seen{far: f}).RemoveGrant(ctx, coder, router); err != nil {
		t.Fatal(err)
	}
	if infos, err := agent.vault.Infos(ctx, agent.wallet); err != nil || len(infos) != 1 {
		t.Fatalf("%v %v", infos, err)
	}
	if err := master.Revoke(ctx, coder, router); err != nil {
		t.Error(err)
	}
	if infos, err := agent.vault.Infos(ctx, agent.wallet); err != nil || len(infos) != 0 {
		t.Errorf("%v %v", infos, err)
	}
	if err := master.Revoke(ctx, coder, router); !errors.Is(err, book.ErrUnknownGrant) {
		t.Errorf("revoked again: %v", err)
	}
}
