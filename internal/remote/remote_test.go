package remote_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/book"
	"github.com/litentry/agentkeys/internal/brokerapi"
	"github.com/litentry/agentkeys/internal/device"
	"github.com/litentry/agentkeys/internal/local"
	"github.com/litentry/agentkeys/internal/remote"
	"github.com/litentry/agentkeys/internal/remote/remotetest"
	"github.com/litentry/agentkeys/internal/secret"
)

var (
	coder  = agentkeys.Must(agentkeys.ParseAgent("coder"))
	router = agentkeys.Must(agentkeys.ParseService("openrouter"))
)

const key = "sk-or-v1-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// machine is a device with a host over a broker.
type machine struct {
	*local.Host
	t      *testing.T
	dir    string
	key    device.Key
	broker *remote.Broker
}

func options(w *remotetest.World, k device.Key) remote.Options {
	return remote.Options{URL: w.URL, Key: k, Roots: w.Roots, Version: "test", Log: slog.New(slog.DiscardHandler), Now: time.Now}
}

// open makes a machine of a device that the broker knows.
func open(t *testing.T, w *remotetest.World, k device.Key) *machine {
	t.Helper()
	dir, err := os.MkdirTemp("", "rem-") // short: sockets are in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	m := &machine{t: t, dir: dir, key: k}
	if m.broker, err = remote.Open(t.Context(), options(w, k)); err != nil {
		t.Fatal(err)
	}
	parts, err := m.broker.Parts()
	if err != nil {
		t.Fatal(err)
	}
	paths, err := local.PathsFrom(func(name string) string { return map[string]string{"AGENTKEYS_HOME": dir}[name] })
	if err != nil {
		t.Fatal(err)
	}
	paths.Device = m.broker.Session().Device
	m.Host, err = local.Open(local.Options{
		Paths: paths, Remote: parts, Log: slog.New(slog.DiscardHandler), Now: time.Now, Version: "test",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := m.Close(ctx); err != nil {
			t.Error(err)
		}
		m.broker.Close()
	})
	return m
}

func TestStory(t *testing.T) {
	w := remotetest.Start(t)
	ctx := t.Context()
	laptop := device.New()
	c := w.Client(laptop)
	w.Login(c, "ada@example.com")
	master := open(t, w, laptop)

	a, err := master.CreateAgent(ctx, coder)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := master.CreateAgent(ctx, coder); !errors.Is(err, book.ErrAgentExists) {
		t.Errorf("made again: %v", err)
	}
	if _, err := master.Store(ctx, router, secret.FromString(key), local.StoreOptions{NoVerify: true}); err != nil {
		t.Fatal(err)
	}
	terms := book.Terms{Expires: time.Now().Add(time.Hour)}
	first, err := master.Grant(ctx, coder, router, terms)
	if err != nil {
		t.Fatal(err)
	}
	st, err := master.Status(ctx)
	if err != nil || st.Credentials != 1 || st.Epoch != 1 || st.Broker.Stream.State != local.StreamLive {
		t.Errorf("%+v %v", st, err)
	}
	want := fmt.Sprintf("bots/%s/credentials/openrouter.enc", a.Wallet)
	if names := strings.Join(w.Cloud.Names(), " "); !strings.Contains(names, want) || len(w.Cloud.Names()) != 2 {
		t.Errorf("stored: %s", names)
	}

	// The agent's own machine.
	e, err := master.Enrolment(ctx, coder)
	if err != nil {
		t.Fatal(err)
	}
	box := device.New()
	sess, err := w.Client(box).Enrol(ctx, brokerapi.EnrolRequest{Code: e.Code, Device: "sandbox"})
	if err != nil || sess.Agent != coder || sess.Wallet != a.Wallet {
		t.Fatalf("%+v %v", sess, err)
	}
	agent := open(t, w, box)
	if g := agent.Grants(); len(g) != 1 || g[0].ID != first.ID {
		t.Errorf("%+v", g)
	}
	if all, err := agent.Credentials(ctx); err != nil || len(all) != 1 {
		t.Errorf("%v %v", all, err)
	}
	if devices, err := master.Devices(ctx); err != nil || len(devices) != 2 {
		t.Errorf("%v %v", devices, err)
	}

	// Granted anew and revoked, it is so on both.
	if _, err := master.Grant(ctx, coder, router, terms); err != nil {
		t.Fatal(err)
	}
	if err := master.Revoke(ctx, coder, router); err != nil {
		t.Fatal(err)
	}
	within(t, "the grant is gone", func() bool { return len(agent.Grants())+len(master.Grants()) == 0 })
	if n := len(w.Cloud.Names()); n != 1 {
		t.Errorf("%d objects", n)
	}
	if err := master.Revoke(ctx, coder, router); !errors.Is(err, book.ErrUnknownGrant) {
		t.Errorf("revoked again: %v", err)
	}
	// The agent is out.
	if err := master.RemoveAgent(ctx, coder); err != nil {
		t.Fatal(err)
	}
	within(t, "the agent's machine knows", func() bool {
		st, err := agent.Status(ctx)
		return err == nil && st.Broker.Stream.State == local.StreamEnded
	})
	if _, err := remote.Open(ctx, options(w, box)); err == nil {
		t.Error("a machine that is out has a session")
	}
	if err := master.RemoveAgent(ctx, coder); !errors.Is(err, book.ErrUnknownAgent) {
		t.Errorf("removed again: %v", err)
	}
}

func within(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not so: %s", what)
		}
	}
}

// ask sends a request through a machine as coder.
func (m *machine) ask() (int, string) {
	m.t.Helper()
	s, err := m.StartSession(m.t.Context(), coder, time.Hour)
	if err != nil {
		m.t.Fatal(err)
	}
	st, err := m.Status(m.t.Context())
	if err != nil {
		m.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(m.t.Context(), "GET", "http://"+st.Address+"/openrouter/models", nil)
	if err != nil {
		m.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer sk-or-v1-"+book.TokenMark+s.Token)
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		m.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body)
}

// TestBrokerSilent: a broker that is not heard lends nothing through anybody.
func TestBrokerSilent(t *testing.T) {
	w := remotetest.Start(t)
	k := device.New()
	w.Login(w.Client(k), "ada@example.com")
	m := open(t, w, k)
	if _, err := m.CreateAgent(t.Context(), coder); err != nil {
		t.Fatal(err)
	}
	w.HangUp()
	if status, body := m.ask(); status != 403 || !strings.Contains(body, "no-grant") {
		t.Errorf("after a cut: %d %s", status, body)
	}
	w.Silence()
	within(t, "nothing is heard", func() bool {
		st, err := m.Status(t.Context())
		return err == nil && st.Broker.Stream.State == local.StreamSilent && st.Broker.Stream.Error != ""
	})
	if status, body := m.ask(); status < 400 || !strings.Contains(body, "broker-unreachable") {
		t.Errorf("%d %s", status, body)
	}
	// What could not be acknowledged is not lent here either, and says so.
	if _, err := m.CreateAgent(t.Context(), agentkeys.Must(agentkeys.ParseAgent("second"))); !errors.Is(err, local.ErrAway) {
		t.Errorf("%v", err)
	}
}

// TestRevokedLaptop: a machine of the owner's that was revoked shows nothing any
// more, though store and signer would still take what it was given.
func TestRevokedLaptop(t *testing.T) {
	w := remotetest.Start(t)
	ctx, k := t.Context(), device.New()
	w.Login(w.Client(k), "ada@example.com")
	m := open(t, w, k)
	if _, err := m.Store(ctx, router, secret.FromString(key), local.StoreOptions{NoVerify: true}); err != nil {
		t.Fatal(err)
	}
	v, err := m.Reveal(ctx, router)
	if err != nil || string(v.Expose()) != key {
		t.Fatalf("%v", err)
	}
	v.Clear()
	other := w.Client(device.New())
	w.Login(other, "ada@example.com")
	if err := other.RevokeDevice(ctx, m.broker.Session().Device); err != nil {
		t.Fatal(err)
	}
	within(t, "it knows", func() bool {
		st, err := m.Status(ctx)
		return err == nil && st.Broker.Stream.State == local.StreamEnded
	})
	if _, err := m.Reveal(ctx, router); !errors.Is(err, local.ErrLoggedOut) {
		t.Errorf("revealed: %v", err)
	}
	if _, err := m.Credential(ctx, router); !errors.Is(err, local.ErrLoggedOut) {
		t.Errorf("shown: %v", err)
	}
	if _, err := m.Store(ctx, router, secret.FromString(key), local.StoreOptions{NoVerify: true}); !errors.Is(err, local.ErrLoggedOut) {
		t.Errorf("stored: %v", err)
	}
}

// TestStoreDown: a store that does not answer is an error that says so.
func TestStoreDown(t *testing.T) {
	w := remotetest.Start(t)
	k := device.New()
	w.Login(w.Client(k), "ada@example.com")
	m := open(t, w, k)
	w.Cloud.Down(true)
	_, err := m.Store(t.Context(), router, secret.FromString(key), local.StoreOptions{NoVerify: true})
	if !errors.Is(err, local.ErrAway) {
		t.Errorf("%v", err)
	}
	if st, err := m.Status(t.Context()); err != nil || st.StoreError == "" {
		t.Errorf("%+v %v", st, err)
	}
}

// TestNotLoggedIn: a device that the broker does not know has no host.
func TestNotLoggedIn(t *testing.T) {
	w := remotetest.Start(t)
	if _, err := remote.Open(t.Context(), options(w, device.New())); err == nil {
		t.Error("it is let in")
	}
}
